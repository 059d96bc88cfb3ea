# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Settings of vifs and disks as texts of xl.cfg(5)."""

from __future__ import annotations

import re
import typing as t

from .._xen.xlcfg import specification


def device_text(kind: str, settings: t.Mapping[str, t.Any]) -> str:
    """Return settings of a vif or a disk as xl takes them."""
    return specification("vif", settings) if kind == "vif" else specification("disk", settings, last="target")


def setting_in(text: str, key: str) -> str:
    """Return a setting in such a text; "" if it is not there. The target of a disk comes last, and may look like settings."""
    found = re.search(rf"(?:^|,){key}=([^,]*)", text.partition(",target=")[0])
    return found.group(1) if found else ""
