# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Devices that the running board itself needs are not passed through."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.guards import refuse_what_the_host_needs
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    """A board with its system on an SD card, and a network card through which the user is connected."""
    made = FakeMachine(tmp_path)
    base = made.sys / "firmware/devicetree/base"
    for device, node in (
        ("platform/soc", "soc"),
        ("platform/soc/fe580000.nic", "soc/nic@7e580000"),
        ("platform/fe340000.mmc", "mmc@fe340000"),
    ):
        (base / node).mkdir(parents=True)
        (made.sys / "devices" / device).mkdir(parents=True)
        (made.sys / "devices" / device / "of_node").symlink_to(base / node)
    nic = made.sys / "devices/platform/soc/fe580000.nic"
    (nic / "net/eth0").mkdir(parents=True)
    (nic / "net/eth0/device").symlink_to(nic)
    (made.sys / "class/net/eth0").symlink_to(nic / "net/eth0")
    made.disk("mmcblk0", "179:0", where="platform/fe340000.mmc/mmc_host/mmc0/mmc0:0001/block", partitions=["mmcblk0p1"])
    made.mount("/", "179:1")
    made.addresses = {"eth0": ["192.0.2.5"]}
    made.connection("192.0.2.5", "198.51.100.7")
    made.default_route("eth0")
    return made


def refusals(machine: FakeMachine, paths: t.Collection[str], source: str = "") -> list[tuple[str, str, str]]:
    plan, runner = Plan(), t.cast("t.Any", FakeXen(machine))
    tree = source or str(machine.sys / "firmware/devicetree/base")
    refuse_what_the_host_needs(plan, tree, paths, runner, str(machine.sys), str(machine.proc))
    return [(refusal.guard, refusal.subject, refusal.reason) for refusal in plan.refusals]


def test_what_the_host_needs(machine: FakeMachine) -> None:
    way = "eth0 -> /soc/nic@7e580000"
    assert refusals(machine, {"/soc/nic@7e580000", "/soc/nic@7e580000/mdio"}) == [
        ("management_route", "/soc/nic@7e580000", f"carries the management connection from 198.51.100.7: 192.0.2.5 on {way}"),
        ("default_route", "/soc/nic@7e580000", f"carries the default route: {way}"),
    ]
    assert refusals(machine, {"/mmc@fe340000"}) == [
        ("root_disk", "/mmc@fe340000", "holds /: mmcblk0p1 -> /mmc@fe340000"),
    ]
    assert {guard for guard, _path, _reason in refusals(machine, {"/soc"})} == {"management_route", "default_route"}
    assert refusals(machine, {"/soc/serial@7e201000"}) == []


def test_the_tree_of_another_board_says_nothing_about_this_host(machine: FakeMachine, tmp_path: Path) -> None:
    assert refusals(machine, {"/mmc@fe340000"}, str(tmp_path / "board.dtb")) == []
    (tmp_path / "device-tree").symlink_to(machine.sys / "firmware/devicetree/base")
    assert refusals(machine, {"/mmc@fe340000"}, str(tmp_path / "device-tree"))


def test_a_disk_behind_a_pci_host_bridge_that_no_node_describes(machine: FakeMachine) -> None:
    """The disk's controller is found when the bus is scanned; the bridge alone has a node."""
    bridge = machine.sys / "devices/platform/10.pcie"
    (machine.sys / "firmware/devicetree/base/pcie@10").mkdir()
    bridge.mkdir()
    (bridge / "of_node").symlink_to(machine.sys / "firmware/devicetree/base/pcie@10")
    machine.disk("nvme0n1", "259:0", where="platform/10.pcie/pci0000:00/0000:00:00.0/nvme/nvme0", partitions=["nvme0n1p1"])
    machine.mount("/srv", "259:1")
    assert [found[:2] for found in refusals(machine, {"/pcie@10"})] == [("mounted_disk", "/pcie@10")]
