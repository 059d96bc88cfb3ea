# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The card that dom0 is reached by: what the variables must say, and what still keeps it from its driver domain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.uplinks import is_replaced
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink_record import (
    BOOT_LINK,
    BOOT_UNIT_FILE,
    UPLINK_RECORD,
    UplinkRecord,
    save_uplink,
)
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

CARD, MAC = "0000:00:04.0", "52:54:00:aa:00:02"
UPLINK0 = {"name": "uplink0", "match": {"mac": MAC}}
RECORD = UplinkRecord("uplink0", CARD, "eth1", "net-dd", "xenbr0", MAC, 90, True)


@pytest.fixture
def xen(tmp_path: Path) -> FakeXen:
    machine = plain_server(tmp_path)
    machine.addresses["eth1"] = ["192.0.2.9"]
    machine.connection("192.0.2.9", "198.51.100.9")
    return FakeXen(machine)


def test_the_card_of_the_connection_is_recorded_only_if_it_is_an_uplink(xen: FakeXen, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="management_route"):
        xen.apply("recorded", [UPLINK0], root=str(tmp_path))
    plan = xen.apply("recorded", [UPLINK0], uplinks=["uplink0"], root=str(tmp_path))
    assert plan.results["pending"] == []
    assert plan.results["devices"][0]["driver"] == "e1000e"
    # Nothing else takes it.
    with pytest.raises(Refused, match="management_route"):
        xen.apply("present", [UPLINK0], uplinks=["uplink0"], root=str(tmp_path))


def test_an_entry_that_was_removed_is_refused(xen: FakeXen, tmp_path: Path) -> None:
    path = tmp_path / UPLINK_RECORD.lstrip("/")
    xen.apply("recorded", [UPLINK0], uplinks=["uplink0"], root=str(tmp_path))
    save_uplink(RECORD, str(path))
    # dom0 has the card.
    assert xen.plan("recorded", [], root=str(tmp_path)).refusals == []
    xen.machine.hold(CARD)
    assert xen.plan("recorded", [UPLINK0], uplinks=["uplink0"], root=str(tmp_path)).refusals == []
    with pytest.raises(Refused, match="is reached by a vif of net-dd.*Put the entry back into dom0_vifs.*state: absent.*teardown.yml"):
        xen.apply("recorded", [], root=str(tmp_path))
    path.write_text("{")
    with pytest.raises(DriverDomainsError, match="does not hold the record of dom0's network card"):
        xen.plan("recorded", [], root=str(tmp_path))


@pytest.mark.parametrize(
    "change", [{"mac": "x"}, {"ifname": "a/b"}, {"backend": "-x"}, {"bdf": "*"}, {"bridge": 'a"b'}, {"limit": 0}, {"name": "a b"}]
)
def test_a_record_with_values_that_no_command_could_take_is_damaged(xen: FakeXen, tmp_path: Path, change: dict[str, str]) -> None:
    path = tmp_path / UPLINK_RECORD.lstrip("/")
    save_uplink(replace(RECORD, **change), str(path))
    with pytest.raises(DriverDomainsError, match=f"dom0's network card: {next(iter(change))} is"):
        xen.plan("recorded", [], root=str(tmp_path))


def test_a_card_that_each_boot_returns_stays_with_its_next_driver_domain(xen: FakeXen, tmp_path: Path) -> None:
    unit, link = tmp_path / BOOT_UNIT_FILE.lstrip("/"), tmp_path / BOOT_LINK.lstrip("/")
    link.parent.mkdir(parents=True)
    unit.write_text(f"ExecStart=python3 uplink.pyz boot uplink0 {CARD} eth1 net-dd {MAC}\n")
    link.symlink_to(f"../{unit.name}")
    xen.machine.addresses.pop("eth1")
    other = {"name": "other", "match": {"bdf": "0000:00:03.0"}}
    assert not [action for action in xen.plan("present", [other], root=str(tmp_path)).actions if "each boot" in action.description]
    xen.apply("present", [UPLINK0], ["management_route"], root=str(tmp_path))
    assert not link.is_symlink()


def test_a_vif_comes_too_late_for_the_initramfs() -> None:
    assert is_replaced("management_route", "carries the management connection from 10.0.2.2: ")
    assert not is_replaced("management_route", "is needed at the next boot, which unlocks the disk over SSH: ")
    assert not is_replaced("root_disk", "holds /")
