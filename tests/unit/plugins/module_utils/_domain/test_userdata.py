# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that libxl keeps about running domains."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.userdata import kept_configuration, read_uuids, uuid_in
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeStore

OURS, THEIRS = "5e3f1c1e-0000-4000-8000-000000000001", "5e3f1c1e-0000-4000-8000-000000000002"
NOBODY = "00000000-0000-0000-0000-000000000000"


def keep(directory: Path, domid: int, uuid: str, text: str, written: int) -> None:
    path = directory / f"userdata-d.{domid}.{uuid}.libxl-json"
    path.write_text(text)
    os.utime(path, (written, written))


@pytest.mark.parametrize("written", [1000, 3000], ids=["older", "newer"])
def test_what_a_power_cut_has_left_of_an_earlier_domain(written: int, tmp_path: Path) -> None:
    """The numbers of domains begin at 1 again, and nobody removes the files of those that ran then. The clock may have been wrong."""
    keep(tmp_path, 3, THEIRS, "theirs", written)
    assert kept_configuration(str(tmp_path), 3, OURS) is None
    keep(tmp_path, 3, OURS, "ours", 2000)
    assert kept_configuration(str(tmp_path), 3, OURS) == "ours"
    assert kept_configuration(str(tmp_path), 4, OURS) is None


def test_without_a_uuid_nothing_is_known(tmp_path: Path) -> None:
    keep(tmp_path, 3, OURS, "ours", 2000)
    assert kept_configuration(str(tmp_path), 3, "") is None


def test_all_files_with_the_number_of_dom0_are_its_own(tmp_path: Path) -> None:
    """The one of this boot is the newest: its UUID is set where xencommons is configured so, and XenStore has none."""
    assert kept_configuration(str(tmp_path), 0, "") is None
    keep(tmp_path, 0, THEIRS, "before", 1000)
    keep(tmp_path, 0, NOBODY, "now", 2000)
    assert kept_configuration(str(tmp_path), 0, "") == "now"


@pytest.mark.parametrize(
    ("vm", "uuid"),
    [
        (f"/vm/{OURS}", OURS),
        # As init-dom0less writes it.
        (f"vm/{OURS}", OURS),
        (None, ""),
        ("", ""),
        ("/vm/", ""),
        (OURS, ""),
        # What a dom0less domain may write there.
        ("/vm/../../etc/passwd", ""),
        ("/vm/*", ""),
        (f"/vm/{'a' * 4000}", ""),
        ("/vm/\0", ""),
    ],
)
def test_the_uuid_of_a_domain(vm: str | None, uuid: str) -> None:
    assert uuid_in(vm) == uuid


def test_the_uuids_of_all_domains_are_one_reading() -> None:
    store: t.Any = FakeStore()
    store.values = {"/local/domain/1/vm": f"/vm/{OURS}", "/local/domain/2/vm": f"/vm/{THEIRS}", "/local/domain/0/name": "Domain-0"}
    readings = []
    read, store.read_texts = store.read_texts, lambda paths: readings.append(1) or read(paths)
    assert read_uuids(store, [0, 1, 2]) == {0: "", 1: OURS, 2: THEIRS}
    assert len(readings) == 1
