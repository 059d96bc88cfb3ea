# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guard rails: each one refuses what it must, and lets the rest pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._pci.guards import PCI_GUARDS
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine, bonded_server, lvm_server, plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen


def reasons(xen: FakeXen) -> dict[str, dict[str, str]]:
    """Return the reason of each guard for each device that is refused."""
    devices = xen.host().devices()
    guards = xen.guards(devices)
    found: dict[str, dict[str, str]] = {}
    for device in devices:
        for refusal in guards.check(device):
            assert refusal.guard in PCI_GUARDS
            assert refusal.subject == str(device.bdf)
            found.setdefault(refusal.subject, {})[refusal.guard] = refusal.reason
    return found


def test_a_plain_server(tmp_path: Path) -> None:
    assert reasons(FakeXen(plain_server(tmp_path))) == {
        "0000:00:00.0": {"bridge": "is a bridge"},
        "0000:00:01.0": {"boot_vga": "is the graphics card that the firmware and the console use"},
        "0000:00:03.0": {
            "management_route": "carries the management connection from 198.51.100.7: 192.0.2.5 on eth0 -> 0000:00:03.0",
            "default_route": "carries the default route: eth0 -> 0000:00:03.0",
        },
        "0000:00:1c.0": {"bridge": "is a bridge: taking it takes 0000:03:00.0 below it"},
        "0000:00:1e.0": {"unreadable": "does not respond: its configuration space reads as all ones"},
        "0000:00:1f.2": {"root_disk": "holds /: sda1 -> 0000:00:1f.2"},
    }


def test_a_bond_below_a_vlan_below_a_bridge(tmp_path: Path) -> None:
    found = reasons(FakeXen(bonded_server(tmp_path)))
    start = "carries the management connection from 198.51.100.7: 192.0.2.5 on br0 -> bond0.5 -> bond0 -> "
    assert found["0000:03:00.0"] == {"management_route": start + "eth0 -> 0000:03:00.0"}
    assert found["0000:03:00.1"] == {"management_route": start + "eth1 -> 0000:03:00.1"}
    assert "0000:04:00.0" not in found
    # The bridge above takes them with it; the one above the free card takes only that.
    assert set(found["0000:00:1c.0"]) == {"bridge", "management_route"}
    assert found["0000:00:1c.0"]["bridge"] == "is a bridge: taking it takes 0000:03:00.0, 0000:03:00.1 below it"
    assert set(found["0000:00:1c.2"]) == {"bridge"}


def test_the_root_disk_below_encryption_and_lvm(tmp_path: Path) -> None:
    machine = lvm_server(tmp_path)
    found = reasons(FakeXen(machine))
    assert found["0000:04:00.0"] == {"root_disk": "holds /: dm-1 -> dm-0 -> nvme0n1p3 -> 0000:04:00.0"}
    assert set(found["0000:00:1b.0"]) == {"bridge", "root_disk"}
    assert "0000:05:00.0" not in found


def test_the_host_is_read_once(tmp_path: Path) -> None:
    xen = FakeXen(plain_server(tmp_path))
    reasons(xen)
    assert len(xen.questions) == len(set(xen.questions)) == 4


def sriov_server(root: Path) -> FakeMachine:
    """A card with two virtual functions, of which one has the management address; another card without any."""
    machine = plain_server(root)
    machine.pci("0000:00:1c.1", "8086:3420", "060400", driver="pcieport", header_type=1)
    machine.pci("0000:05:00.0", "8086:10c9", "020000", below="0000:00:1c.1", driver="igb")
    for number in (0, 1):
        bdf = f"0000:05:10.{number}"
        machine.pci(bdf, "8086:10ca", "020000", below="0000:00:1c.1", driver="igbvf", virtual_of="0000:05:00.0")
        machine.nic(f"vf{number}", bdf, f"52:54:00:cc:00:0{number}")
    machine.nic("pf", "0000:05:00.0", "52:54:00:cc:00:09")
    return machine


def test_a_physical_function_goes_with_its_virtual_ones(tmp_path: Path) -> None:
    xen = FakeXen(sriov_server(tmp_path))
    xen.machine.addresses["vf1"] = ["192.0.2.77"]
    xen.machine.connection("192.0.2.77", "198.51.100.7")
    found = reasons(xen)
    assert found["0000:05:00.0"] == {
        "management_route": "carries the management connection from 198.51.100.7: 192.0.2.77 on vf1 -> 0000:05:10.1",
        "virtual_functions": "has virtual functions, which would disappear: 0000:05:10.0, 0000:05:10.1",
    }
    assert set(found["0000:05:10.1"]) == {"management_route"}
    # A virtual function can be taken, although its ids read as ones.
    assert "0000:05:10.0" not in found


def test_a_physical_function_whose_virtual_one_a_domain_has(tmp_path: Path) -> None:
    xen = FakeXen(sriov_server(tmp_path))
    xen.pci_assignable_add("0000:05:10.0", "vf")
    xen.assign("0000:05:10.0", 7)
    xen.store.running[7] = "net-dd"
    found = reasons(xen)
    assert found["0000:05:00.0"]["in_use"] == "has the virtual function 0000:05:10.0, which is in use by the running domain 7"
    assert found["0000:05:10.0"] == {"in_use": "is in use by the running domain 7"}
    assert "0000:05:10.1" not in found


def bridged_box(root: Path) -> FakeMachine:
    """Conventional cards behind a PCI bridge, and a USB controller of several functions on the root bus."""
    machine = FakeMachine(root)
    machine.pci("0000:00:1e.0", "8086:244e", "060401", header_type=1)
    machine.pci("0000:06:00.0", "8086:100e", "020000", below="0000:00:1e.0", driver="e1000", express=False)
    machine.pci("0000:06:01.0", "1412:1724", "040100", below="0000:00:1e.0", driver="snd_ice1724", express=False)
    machine.pci("0000:06:02.0", "104c:8024", "0c0010", below="0000:00:1e.0", express=False)
    for function, driver in enumerate(("uhci_hcd", "uhci_hcd", "", "ehci-pci")):
        machine.pci(f"0000:00:1d.{function}", f"8086:293{function}", "0c0300", driver=driver)
    return machine


def test_siblings_behind_a_conventional_bridge(tmp_path: Path) -> None:
    found = reasons(FakeXen(bridged_box(tmp_path)))
    problem = "shares its requester ID with {} behind the same PCI bridge: the IOMMU cannot tell them apart"
    sound, card = "0000:06:01.0 (driver snd_ice1724)", "0000:06:00.0 (driver e1000)"
    assert found["0000:06:00.0"] == {"siblings": problem.format(sound)}
    assert found["0000:06:01.0"] == {"siblings": problem.format(card)}
    assert found["0000:06:02.0"] == {"siblings": problem.format(f"{card}, {sound}")}
    assert set(found) == {"0000:06:00.0", "0000:06:01.0", "0000:06:02.0", "0000:00:1e.0"}
    assert found["0000:00:1e.0"] == {"bridge": "is a bridge: taking it takes 0000:06:00.0, 0000:06:01.0, 0000:06:02.0 below it"}


def test_siblings_that_are_taken_together_or_that_pciback_has(tmp_path: Path) -> None:
    xen = FakeXen(bridged_box(tmp_path))
    devices = xen.host().devices()
    behind = [device for device in devices if str(device.bdf).startswith("0000:06")]
    guards = xen.guards(devices)
    assert [guards.check(device, taking=behind) for device in behind] == [[], [], []]
    xen.machine.hold("0000:06:01.0")
    assert "0000:06:00.0" not in reasons(xen)


def laptop(root: Path) -> FakeMachine:
    """One NVMe disk with everything, a wireless card for the way out, one graphics card, no SSH."""
    machine = FakeMachine(root)
    machine.pci("0000:00:02.0", "8086:9a49", "030000", boot_vga="1", driver="i915")
    machine.pci("0000:00:14.0", "8086:a0ed", "0c0330", driver="xhci_hcd")
    machine.pci("0000:00:1c.0", "8086:a0b8", "060400", driver="pcieport", header_type=1)
    machine.pci("0000:01:00.0", "8086:2723", "028000", below="0000:00:1c.0", driver="iwlwifi")
    machine.pci("0000:00:1d.0", "8086:a0b0", "060400", driver="pcieport", header_type=1)
    machine.pci("0000:02:00.0", "144d:a80a", "010802", below="0000:00:1d.0", driver="nvme")
    machine.nic("wlan0", "0000:01:00.0", "52:54:00:dd:00:01")
    machine.nic("usb0", "0000:00:14.0", "52:54:00:dd:00:02", beneath="usb2/2-1/2-1:1.0")
    machine.disk("nvme0n1", "259:0", where="pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0", partitions=["nvme0n1p1", "nvme0n1p2"])
    machine.mount("/", "259:2")
    machine.mount("/boot/efi", "259:1")
    machine.default_route("wlan0")
    return machine


def test_a_laptop(tmp_path: Path) -> None:
    found = {bdf: set(guards) for bdf, guards in reasons(FakeXen(laptop(tmp_path))).items()}
    assert found == {
        "0000:00:02.0": {"boot_vga"},
        "0000:00:1c.0": {"bridge", "default_route"},
        "0000:01:00.0": {"default_route"},
        "0000:00:1d.0": {"bridge", "root_disk"},
        "0000:02:00.0": {"root_disk"},
    }


def test_a_laptop_that_is_reached_through_its_usb_adapter(tmp_path: Path) -> None:
    machine = laptop(tmp_path)
    machine.addresses["usb0"] = ["192.0.2.8"]
    machine.connection("192.0.2.8", "198.51.100.7")
    assert set(reasons(FakeXen(machine))["0000:00:14.0"]) == {"management_route"}


@pytest.mark.parametrize(("running", "counts"), [({0: "Domain-0", 7: "net-dd"}, True), ({0: "Domain-0"}, False)])
def test_a_device_in_use(tmp_path: Path, running: dict[int, str], counts: bool) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.pci_assignable_add("0000:00:04.0", "uplink0")
    xen.assign("0000:00:04.0", 7)
    xen.store.running = running
    assert reasons(xen).get("0000:00:04.0", {}) == ({"in_use": "is in use by the running domain 7"} if counts else {})


def test_an_empty_machine_refuses_nothing(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.pci("0000:00:04.0", "8086:10d3", "020000")
    assert reasons(FakeXen(machine)) == {}


def lines_and_pages(root: Path) -> FakeMachine:
    """Cards that share interrupt lines and memory pages with what dom0 drives."""
    machine = FakeMachine(root)
    machine.pci("0000:00:03.0", "8086:100e", "020000", driver="e1000", irq=21, bars=[(0xFEB20000, 0x800)])
    machine.pci("0000:00:04.0", "8086:10d3", "020000", driver="e1000e", irq=21, bars=[(0xFEB20800, 0x800)])
    machine.pci("0000:00:05.0", "8086:2922", "010601", irq=21)
    machine.pci("0000:00:06.0", "8086:10d3", "020000", driver="e1000e", irq=22)
    machine.pci("0000:00:07.0", "8086:10d3", "020000", driver="nvme", irq=22)
    (machine.device("0000:00:07.0") / "msi_irqs").mkdir()
    (machine.device("0000:00:07.0") / "msi_irqs/30").write_text("msix")
    return machine


def test_shared_lines_and_pages(tmp_path: Path) -> None:
    xen = FakeXen(lines_and_pages(tmp_path))
    found = {bdf: set(guards) for bdf, guards in reasons(xen).items()}
    assert found == {
        "0000:00:03.0": {"shared_page", "shared_interrupt"},
        "0000:00:04.0": {"shared_page", "shared_interrupt"},
        # Nobody uses this one, but it is on the line of others.
        "0000:00:05.0": {"shared_interrupt"},
        # The other one on the line of 06.0 signals by messages; 06.0 itself does not.
        "0000:00:07.0": {"shared_interrupt"},
    }
    devices = xen.host().devices()
    pair = devices[:2]
    assert [xen.guards(devices).check(device, taking=pair) for device in pair] == [[], []]


def test_what_pciback_holds_uses_no_line(tmp_path: Path) -> None:
    xen = FakeXen(lines_and_pages(tmp_path))
    for bdf in ("0000:00:03.0", "0000:00:06.0"):
        xen.machine.hold(bdf)
    found = reasons(xen)
    assert set(found["0000:00:04.0"]) == {"shared_page"}
    assert "0000:00:07.0" not in found


def test_a_serial_card_with_the_console(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.pci("0000:00:06.0", "1b36:0002", "070002", driver="serial")
    for name, where in (
        ("ttyS4", machine.device("0000:00:06.0") / "tty/ttyS4"),
        ("ttyS0", machine.sys / "devices/platform/serial8250/tty/ttyS0"),
    ):
        where.mkdir(parents=True)
        (machine.sys / "class/tty").mkdir(exist_ok=True)
        (machine.sys / "class/tty" / name).symlink_to(where)
    (machine.sys / "class/tty/console").mkdir()
    active = machine.sys / "class/tty/console/active"
    active.write_text("tty0 ttyS0\n")
    assert "0000:00:06.0" not in reasons(FakeXen(machine))
    active.write_text("tty0 ttyS0 ttyS4\n")
    assert reasons(FakeXen(machine))["0000:00:06.0"] == {"console": "is a console of this host: ttyS4 -> 0000:00:06.0"}


#: What the kernel prints for a keyboard, a power button and a mouse (64 bits a word).
KEYBOARD, BUTTON, MOUSE = "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe", "10000000000000 0", "1f0000 0 0 0 0"


def keyboard(machine: FakeMachine, where: str, keys: str = KEYBOARD) -> None:
    inputs = machine.sys / "class/input"
    number = len(list(inputs.iterdir())) if inputs.exists() else 0
    directory = machine.sys / "devices" / where / f"input/input{number}"
    (directory / "capabilities").mkdir(parents=True)
    (directory / "capabilities/key").write_text(f"{keys}\n")
    (directory / "name").write_text("a keyboard\n")
    inputs.mkdir(exist_ok=True)
    (inputs / f"input{number}").symlink_to(directory)


USB, USB2, PS2 = "pci0000:00/0000:00:1d.0/usb1/1-1/1-1:1.0", "pci0000:00/0000:00:1e.0/usb2/2-1/2-1:1.0", "platform/i8042/serio0"


@pytest.mark.parametrize(
    ("places", "crypttab", "counts"),
    [
        ([USB], "", True),
        ([USB, PS2], "", False),
        ([USB, USB2], "", False),
        ([USB, PS2], "root UUID=1 none luks\n", True),
        ([USB, USB2], "root UUID=1\n", True),
        ([USB, PS2], "# root UUID=1 none\ndata UUID=2 /etc/keys/data luks\n", False),
        ([USB, "virtual"], "", True),
        ([], "root UUID=1 none luks\n", False),
    ],
)
def test_keyboards(tmp_path: Path, places: list[str], crypttab: str, counts: bool) -> None:
    machine = plain_server(tmp_path)
    for place in places:
        keyboard(machine, place)
    keyboard(machine, "LNXSYSTM:00/LNXPWRBN:00", BUTTON)
    keyboard(machine, "pci0000:00/0000:00:1d.0/usb1/1-2/1-2:1.0", MOUSE)
    (machine.root / "etc").mkdir()
    (machine.root / "etc/crypttab").write_text(crypttab)
    assert ("keyboard" in reasons(FakeXen(machine)).get("0000:00:1d.0", {})) is counts


def test_the_last_two_keyboards_cannot_be_taken_together(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    keyboard(machine, USB)
    keyboard(machine, USB2)
    devices = FakeXen(machine).host().devices()
    both = [device for device in devices if str(device.bdf) in ("0000:00:1d.0", "0000:00:1e.0")]
    for device in both:
        assert "keyboard" in [refusal.guard for refusal in FakeXen(machine).guards(devices).check(device, taking=both)]


def test_an_open_encrypted_volume_needs_a_keyboard_at_the_next_boot(tmp_path: Path) -> None:
    machine = lvm_server(tmp_path)
    machine.pci("0000:00:1d.0", "8086:2934", "0c0300", driver="uhci_hcd")
    keyboard(machine, USB)
    keyboard(machine, PS2)
    (machine.sys / "class/block/dm-0/dm").resolve().mkdir()
    (machine.sys / "class/block/dm-0/dm/uuid").write_text("CRYPT-LUKS2-1-root\n")
    assert set(reasons(FakeXen(machine))["0000:00:1d.0"]) == {"keyboard"}


@pytest.mark.parametrize("bridge", ["xenbr0", "ovs-system"])
@pytest.mark.parametrize("vif", ["vif1.0", "web1-lan", ""], ids=["default name", "vifname", "no guest"])
def test_a_port_of_a_bridge_that_serves_running_guests(tmp_path: Path, bridge: str, vif: str) -> None:
    machine = plain_server(tmp_path)
    if vif:
        machine._netdev(machine.sys / "devices/vif-1-0/net" / vif, vif, "fe:ff:ff:ff:ff:ff")
    machine.virtual("eth1.5", lower=["eth1"])
    machine.virtual(bridge, ports=["eth1.5", *([vif] if vif else [])])
    if vif:
        (machine.sys / "devices/vif-1-0/net" / vif / "master").symlink_to(machine.sys / "devices/virtual/net" / bridge)
    found = reasons(FakeXen(machine)).get("0000:00:04.0", {})
    reason = f"serves running guests: {vif} on {bridge} -> eth1.5 -> eth1 -> 0000:00:04.0"
    assert found == ({"guest_network": reason} if vif else {})


def test_a_disk_that_dom0_serves_to_a_running_guest(tmp_path: Path) -> None:
    machine = lvm_server(tmp_path)
    machine.disk("dm-9", "254:9", slaves=["nvme1n1p1"])
    backend = machine.sys / "bus/xen-backend/devices/vbd-1-51712"
    backend.mkdir(parents=True)
    (backend / "physical_device").write_text("fe:9\n")
    reason = "serves a running guest (vbd-1-51712): dm-9 -> nvme1n1p1 -> 0000:05:00.0"
    assert reasons(FakeXen(machine))["0000:05:00.0"] == {"guest_disk": reason}
