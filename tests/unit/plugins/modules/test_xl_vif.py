# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a vif: two modules take them as suboptions, which documentation fragments cannot share."""

from __future__ import annotations

import typing as t

import yaml

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vif_options import VIF_OPTIONS
from ansible_collections.xen.driver_domains.plugins.modules import xl_domain, xl_vif


def documented(module: t.Any, *path: str) -> dict[str, t.Any]:
    """Return the suboptions of an option in a module's documentation."""
    options: dict[str, t.Any] = yaml.safe_load(module.DOCUMENTATION)["options"]
    for name in path:
        options = options[name]["suboptions"]
    return options


def test_both_modules_document_a_vif_in_the_same_words() -> None:
    one, other = documented(xl_domain, "domains", "vifs"), documented(xl_vif, "vifs")
    assert set(one) == set(VIF_OPTIONS)
    # The default MAC address depends on the vif's position in the list, and the lists differ.
    shared = set(VIF_OPTIONS) - {"mac"}
    assert {name: one[name] for name in shared} == {name: other[name] for name in shared}
