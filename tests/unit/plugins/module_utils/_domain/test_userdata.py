# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that libxl keeps about running domains."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.userdata import kept_configuration


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_what_a_power_cut_has_left_of_an_earlier_domain(names: tuple[str, str], tmp_path: Path) -> None:
    """The numbers of domains begin at 1 again, and nobody removes the files of those that ran then."""
    for name, text, written in zip(names, ("old", "new"), (1000, 2000)):
        path = tmp_path / f"userdata-d.3.{name}.libxl-json"
        path.write_text(text)
        os.utime(path, (written, written))
    assert kept_configuration(str(tmp_path), 3) == "new"
    assert kept_configuration(str(tmp_path), 4) is None
