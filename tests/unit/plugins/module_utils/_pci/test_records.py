# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The records of devices that were taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.records import Record, Records

RECORD = Record("uplink0", "0000:00:04.0", "8086:10d3", "0000:00/04.0", "52:54:00:aa:00:02", "eth1", "e1000e")


def test_save_load_forget(tmp_path: Path) -> None:
    records = Records(str(tmp_path / "pci"))
    assert records.load() == []
    records.save(RECORD)
    assert (tmp_path / "pci/0000:00:04.0.json").stat().st_mode & 0o777 == 0o600
    assert records.load() == [RECORD]
    records.forget(RECORD)
    assert records.load() == []


def test_a_device_whose_bdf_moved_has_one_record(tmp_path: Path) -> None:
    records = Records(str(tmp_path))
    moved = Record(**{**vars(RECORD), "bdf": "0000:09:04.0"})
    records.save(RECORD)
    records.save(moved)
    assert records.load() == [moved]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', '{"colour": "red"}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "0000:00:04.0.json").write_text(text)
    with pytest.raises(DriverDomainsError, match=r"0000:00:04\.0\.json does not hold the record.*Remove the file"):
        Records(str(tmp_path)).load()
