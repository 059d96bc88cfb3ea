# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading the PCI devices of a host."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.plugins.module_utils._files import list_directory
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.bdf import Bdf
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.device import Interface, PciDevice
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.host import PciHost, read_permanent_mac, with_kernel_modules
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.records import Record, Records
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine, bonded_server, plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

RECORD = Record("uplink0", "0000:00:04.0", "8086:10d3", "0000:00/04.0", "52:54:00:aa:00:02", "eth1", "e1000e")


def by_bdf(host: PciHost) -> dict[str, PciDevice]:
    return {str(device.bdf): device for device in host.devices()}


def test_an_interface_that_udev_renames_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeXen(plain_server(tmp_path)).host()
    interfaces = Path(host.sysfs) / "class/net"

    def listed_and_renamed(path: str) -> list[str]:
        names = list_directory(path)
        if (interfaces / "eth1").is_symlink() and Path(path) == interfaces:
            (interfaces / "eth1").rename(interfaces / "enp0s4")
        return names

    monkeypatch.setattr("ansible_collections.xen.driver_domains.plugins.module_utils._pci.host.list_directory", listed_and_renamed)
    assert host.interface_names(Bdf.parse("0000:00:04.0")) == ["enp0s4"]


def test_a_device_is_read_in_full(tmp_path: Path) -> None:
    assert by_bdf(FakeXen(plain_server(tmp_path)).host())["0000:00:04.0"] == PciDevice(
        bdf=Bdf.parse("0000:00:04.0"),
        slot="0000:00/04.0",
        vendor_device="8086:10d3",
        subsystem="8086:a01f",
        class_code="020000",
        modalias="pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00",
        driver="e1000e",
        interfaces=(Interface("eth1", "52:54:00:aa:00:02"),),
        in_pciback_slots=False,
        iommu_group=None,
        reset_methods=("flr", "bus"),
        boot_vga=False,
        bridge=False,
        responds=True,
        express=False,
    )


def test_devices_come_in_the_order_of_their_addresses_without_those_that_xen_cannot_address(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.pci("10000:e1:00.0", "144d:a808", "010802")
    addresses = [str(device.bdf) for device in FakeXen(machine).host().devices()]
    assert addresses == sorted(addresses)
    assert "0000:03:00.0" in addresses
    assert not any(address.startswith("10000") for address in addresses)


@pytest.mark.parametrize(
    ("bdf", "attribute", "value"),
    [
        ("0000:03:00.0", "slot", "0000:00/1c.0/00.0"),
        ("0000:00:1c.0", "bridge", True),
        ("0000:00:00.0", "bridge", True),
        ("0000:03:00.0", "bridge", False),
        ("0000:00:01.0", "boot_vga", True),
        ("0000:00:02.0", "boot_vga", False),
        ("0000:00:02.0", "driver", ""),
        ("0000:00:1e.0", "responds", False),
        ("0000:00:1e.0", "bridge", False),
        ("0000:00:03.0", "mac", "52:54:00:aa:00:01"),
        ("0000:00:1d.0", "mac", ""),
        ("0000:00:1d.0", "ifname", ""),
        ("0000:00:1d.0", "is_network", False),
        ("0000:00:03.0", "is_network", True),
    ],
)
def test_attributes(tmp_path: Path, bdf: str, attribute: str, value: t.Any) -> None:
    assert getattr(by_bdf(FakeXen(plain_server(tmp_path)).host())[bdf], attribute) == value


def test_a_bridge_is_known_by_its_header_type_too(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.pci("0000:00:05.0", "1af4:0001", "ff0000", header_type=1)
    assert FakeXen(machine).host().devices()[0].bridge


def test_the_iommu_group_is_reported_where_linux_has_one(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    (machine.device("0000:00:04.0") / "iommu_group").symlink_to("../../../kernel/iommu_groups/14")
    assert by_bdf(FakeXen(machine).host())["0000:00:04.0"].iommu_group == 14


def test_ports_of_a_bond_differ_in_their_permanent_addresses(tmp_path: Path) -> None:
    devices = by_bdf(FakeXen(bonded_server(tmp_path)).host())
    assert devices["0000:03:00.0"].mac == "52:54:00:bb:00:01"
    assert devices["0000:03:00.1"].mac == "52:54:00:bb:00:02"


def test_interfaces_of_something_below_the_function_are_its_own(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.pci("0000:00:06.0", "1af4:1041", "020000", driver="virtio-pci")
    machine.nic("eth3", "0000:00:06.0", "52:54:00:aa:00:04", beneath="virtio0")
    machine.nic("usb0", "0000:00:1d.0", "52:54:00:aa:00:05", beneath="usb1/1-1/1-1:1.0")
    devices = by_bdf(FakeXen(machine).host())
    assert devices["0000:00:06.0"].interfaces == (Interface("eth3", "52:54:00:aa:00:04"),)
    assert devices["0000:00:1d.0"].ifname == "usb0"
    assert devices["0000:00:1d.0"].as_dict()["interfaces"] == [{"name": "usb0", "mac": "52:54:00:aa:00:05"}]


def test_a_held_device_is_known_by_its_record_and_by_what_xl_knows(tmp_path: Path) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.machine.records.save(RECORD)
    xen.pci_assignable_add("0000:00:04.0", "uplink0")
    xen.assign("0000:00:04.0", 7)
    xen.store.running[7] = "net-dd"
    device = by_bdf(xen.host())["0000:00:04.0"]
    assert (device.pciback, device.in_pciback_slots, device.interfaces) == (True, True, ())
    assert (device.mac, device.ifname, device.xl_name) == ("52:54:00:aa:00:02", "eth1", "uplink0")
    assert (device.owner_domid, device.owner, device.stale_domid) == (7, "net-dd", "")


def test_the_permissive_flag(tmp_path: Path) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.pci_assignable_add("0000:00:04.0")
    assert not by_bdf(xen.host())["0000:00:04.0"].permissive
    (xen.machine.driver_directory("pciback") / "permissive").write_text("0000:00:04.0\n")
    assert by_bdf(xen.host())["0000:00:04.0"].permissive


def test_an_owner_that_no_longer_runs_is_none(tmp_path: Path) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.pci_assignable_add("0000:00:04.0", "uplink0")
    xen.assign("0000:00:04.0", 7)
    device = by_bdf(xen.host())["0000:00:04.0"]
    assert (device.owner_domid, device.owner, device.stale_domid) == (None, "", "7")


def test_a_host_without_xen_is_read_too(tmp_path: Path) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.under_xen = False
    assert not xen.host().pciback_loaded
    assert all(not device.pciback and device.owner_domid is None for device in xen.host().devices())


@pytest.mark.parametrize(
    ("record", "mac"),
    [
        (RECORD, "52:54:00:aa:00:02"),
        (Record(**{**vars(RECORD), "bdf": "0000:09:04.0"}), "52:54:00:aa:00:02"),
        (Record(**{**vars(RECORD), "slot": "0000:00/05.0"}), ""),
        (Record(**{**vars(RECORD), "vendor_device": "8086:100e"}), ""),
    ],
    ids=["same", "bdf moved", "another slot", "another card"],
)
def test_a_record_counts_only_for_the_same_card_in_the_same_slot(tmp_path: Path, record: Record, mac: str) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.machine.records.save(record)
    xen.machine.hold("0000:00:04.0")
    assert by_bdf(xen.host())["0000:00:04.0"].mac == mac


class TestKernelModules:
    def test_one_call_for_all_devices(self, tmp_path: Path) -> None:
        xen = FakeXen(plain_server(tmp_path))
        fake: t.Any = xen
        devices = {str(d.bdf): d.kernel_modules for d in with_kernel_modules(xen.host().devices(), fake)}
        assert devices["0000:00:03.0"] == ("e1000",)
        assert devices["0000:00:04.0"] == devices["0000:03:00.0"] == ("e1000e",)
        assert devices["0000:00:1c.0"] == ()
        assert (len(xen.questions), xen.calls) == (1, [])

    def test_without_modprobe_nothing_is_known(self, tmp_path: Path) -> None:
        xen = FakeXen(plain_server(tmp_path))
        xen.modprobe = False
        fake: t.Any = xen
        assert not any(device.kernel_modules for device in with_kernel_modules(xen.host().devices(), fake))

    def test_without_the_separating_module_nothing_is_guessed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        xen = FakeXen(plain_server(tmp_path))
        monkeypatch.setattr(xen, "_modules", lambda word: ["e1000e"] if word.startswith("pci:") else [])
        fake: t.Any = xen
        assert not any(device.kernel_modules for device in with_kernel_modules(xen.host().devices(), fake))

    def test_no_devices_no_call(self, tmp_path: Path) -> None:
        xen = FakeXen(plain_server(tmp_path))
        fake: t.Any = xen
        assert with_kernel_modules([], fake) == []
        assert xen.questions == []


@pytest.mark.parametrize("interface", ["lo", "no-such-if", "a" * 15])
def test_an_interface_without_a_permanent_address_has_none(interface: str) -> None:
    assert read_permanent_mac(interface) == ""


def test_what_the_kernel_refuses_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    host = PciHost(str(tmp_path), Records(str(tmp_path)))
    with pytest.raises(DriverDomainsError, match=r"Cannot write '0000:00:04\.0' to .*/drivers_probe"):
        host.probe(Bdf.parse("0000:00:04.0"))


@pytest.mark.parametrize(
    ("extended", "serial"),
    [
        ("0100021c" + "00" * 0xBC + "03000100" + "0200aaffff005452", "52-54-00-ff-ff-aa-00-02"),
        ("03000100" + "0200aaffff005452", "52-54-00-ff-ff-aa-00-02"),
        ("", ""),
        ("00000000", ""),
        ("ffffffff", ""),
        ("01000210" + "00" * 8, ""),
        ("01000104" + "00" * 8, ""),
    ],
    ids=["second", "first", "no extended space", "no capabilities", "does not respond", "a loop", "an offset before the first"],
)
def test_serial_numbers(tmp_path: Path, extended: str, serial: str) -> None:
    machine = plain_server(tmp_path)
    config = machine.device("0000:00:04.0") / "config"
    config.write_bytes(config.read_bytes().ljust(0x100 if extended else 64, b"\0") + bytes.fromhex(extended))
    (device,) = [device for device in FakeXen(machine).host().devices() if str(device.bdf) == "0000:00:04.0"]
    assert device.serial == serial


def test_a_record_of_another_card_in_the_same_slot(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.set_serial("0000:00:04.0", "52-54-00-ff-ff-aa-00-02")
    xen = FakeXen(machine)
    xen.apply("recorded", [{"name": "uplink0", "match": {"bdf": "00:04.0"}}])
    assert machine.records.load()[0].serial == "52-54-00-ff-ff-aa-00-02"
    machine.set_serial("0000:00:04.0", "52-54-00-ff-ff-aa-00-09")
    assert [device.record for device in xen.host().devices()] == [None] * len(xen.host().devices())
