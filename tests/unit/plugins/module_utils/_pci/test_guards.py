# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guard rails: each one refuses what it must, and lets the rest pass."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
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
        "0000:00:1e.0": {"unreadable": "does not answer: its configuration space reads as ones only"},
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


@pytest.mark.parametrize("point", ["/boot", "/boot/efi", "/usr", "/var"])
def test_other_file_systems_that_the_host_needs(tmp_path: Path, point: str) -> None:
    machine = lvm_server(tmp_path)
    machine.mount(point, "259:11", "/dev/nvme1n1p1")
    assert reasons(FakeXen(machine))["0000:05:00.0"] == {"root_disk": f"holds {point}: nvme1n1p1 -> 0000:05:00.0"}


def test_a_file_system_that_the_host_can_do_without(tmp_path: Path) -> None:
    machine = lvm_server(tmp_path)
    machine.mount("/srv/data", "259:11", "/dev/nvme1n1p1")
    machine.mount("/srv/again", "259:11", "/dev/nvme1n1p1")
    found = reasons(FakeXen(machine))["0000:05:00.0"]
    assert found == {"mounted_disk": "holds the mounted file system /srv/data: nvme1n1p1 -> 0000:05:00.0"}


@pytest.mark.parametrize(
    ("path", "kind", "chain"),
    [
        ("/dev/nvme1n1p2", "partition", "nvme1n1p2"),
        ("/srv/data/swapfile", "file", "nvme1n1p1"),
    ],
)
def test_swap_space(tmp_path: Path, path: str, kind: str, chain: str) -> None:
    machine = lvm_server(tmp_path)
    machine.mount("/srv/data", "259:11", "/dev/nvme1n1p1")
    machine.swap(path, kind)
    assert reasons(FakeXen(machine))["0000:05:00.0"]["root_disk"] == f"holds swap: {chain} -> 0000:05:00.0"


def test_a_file_system_without_a_device_number_is_known_by_its_source(tmp_path: Path) -> None:
    machine = lvm_server(tmp_path)
    machine.mount("/var", "0:27", "/dev/nvme1n1p1", "btrfs")
    assert "holds /var: nvme1n1p1" in reasons(FakeXen(machine))["0000:05:00.0"]["root_disk"]


def test_a_partition_of_a_raid(tmp_path: Path) -> None:
    machine = lvm_server(tmp_path)
    machine.disk("md0", "9:0", partitions=["md0p1"], slaves=["nvme0n1p2", "nvme1n1p2"])
    machine.mount("/var", "9:1", "/dev/md0p1")
    found = reasons(FakeXen(machine))
    assert found["0000:05:00.0"] == {"root_disk": "holds /var: md0p1 -> md0 -> nvme1n1p2 -> 0000:05:00.0"}


def test_an_nvme_disk_with_several_paths(tmp_path: Path) -> None:
    machine = lvm_server(tmp_path)
    machine.disk("nvme2n1", "259:30", where="virtual/nvme-subsystem/nvme-subsys2", partitions=["nvme2n1p1"])
    subsystem = machine.sys / "devices/virtual/nvme-subsystem/nvme-subsys2"
    controller = machine.device("0000:05:00.0") / "nvme/nvme1"
    (subsystem / "nvme1").symlink_to(controller)
    machine.mount("/boot", "259:31", "/dev/nvme2n1p1")
    assert reasons(FakeXen(machine))["0000:05:00.0"] == {"root_disk": "holds /boot: nvme2n1p1 -> 0000:05:00.0"}


@pytest.mark.parametrize(
    "environment",
    [
        {"SSH_CONNECTION": "198.51.100.9 50022 192.0.2.6 22"},
        {"SSH_CONNECTION": "2001:db8::9 50022 2001:db8::6 22"},
        {"SSH_CONNECTION": "fe80::9%eth1 50022 fe80::6%eth1 22"},
    ],
)
def test_the_connection_that_sshd_names(tmp_path: Path, environment: dict[str, str]) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.environment = environment
    xen.machine.addresses["eth1"] = ["192.0.2.6", "2001:db8::6", "fe80::6"]
    found = reasons(xen)
    assert "management_route" in found["0000:00:04.0"]
    # The session that a process of sshd holds is minded all the same.
    assert "management_route" in found["0000:00:03.0"]


def test_the_client_alone_is_looked_up_among_the_sockets(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.connection("192.0.2.6", "198.51.100.9", server="other")
    machine.addresses["eth1"] = ["192.0.2.6"]
    xen = FakeXen(machine)
    assert "0000:00:04.0" not in reasons(xen)
    xen.environment = {"SSH_CLIENT": "198.51.100.9 50022 22"}
    assert "management_route" in reasons(xen)["0000:00:04.0"]


@pytest.mark.parametrize(
    ("connection", "minded"),
    [
        ({"local": "192.0.2.6", "peer": "198.51.100.9", "server": "sshd"}, True),
        ({"local": "192.0.2.6", "peer": "198.51.100.9", "server": "sshd", "port": 2222}, True),
        ({"local": "192.0.2.6", "peer": "198.51.100.9", "server": "dropbear"}, True),
        ({"local": "2001:db8::6", "peer": "2001:db8::9"}, True),
        ({"local": "::ffff:192.0.2.6", "peer": "::ffff:198.51.100.9"}, True),
        ({"local": "192.0.2.6", "peer": "198.51.100.9", "server": "nginx", "port": 443}, False),
        ({"local": "192.0.2.7", "peer": "198.51.100.9"}, False),
    ],
)
def test_the_connections_that_ssh_servers_hold(tmp_path: Path, connection: dict[str, t.Any], minded: bool) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.machine.addresses["eth1"] = ["192.0.2.6", "2001:db8::6"]
    xen.machine.connection(**connection)
    assert ("management_route" in reasons(xen).get("0000:00:04.0", {})) is minded


def test_connections_that_an_ssh_server_opened_itself_are_not_minded(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.addresses["eth1"] = ["192.0.2.6"]
    machine.connection("192.0.2.6", "198.51.100.9", port=40001)
    tcp = machine.proc / "net/tcp"
    tcp.write_text("".join(line for line in tcp.read_text().splitlines(keepends=True) if ":9C41 00000000:0000 0A" not in line))
    assert "0000:00:04.0" not in reasons(FakeXen(machine))


def test_without_a_connection_nobody_is_asked_for_addresses(tmp_path: Path) -> None:
    xen = FakeXen(lvm_server(tmp_path))
    reasons(xen)
    assert [words[3:] for words in xen.questions] == [("route", "show", "table", "all", "default")] * 2


def test_the_host_is_read_once(tmp_path: Path) -> None:
    xen = FakeXen(plain_server(tmp_path))
    reasons(xen)
    assert len(xen.questions) == len(set(xen.questions)) == 4


def test_a_veth_into_a_bridge(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.virtual("br0", ports=["eth1"])
    machine.virtual("veth1", iflink="lo", master="br0")
    machine.virtual("veth0", iflink="veth1")
    machine.default_route("veth0")
    assert reasons(FakeXen(machine))["0000:00:04.0"] == {"default_route": "carries the default route: veth0 -> br0 -> eth1 -> 0000:00:04.0"}


def test_a_veth_that_leads_nowhere(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.virtual("veth0")
    (machine.sys / "class/net/veth0/iflink").write_text("99\n")
    machine.default_routes["-4"].clear()
    machine.default_route("veth0")
    assert not any("default_route" in guards for guards in reasons(FakeXen(machine)).values())


@pytest.mark.parametrize(
    ("interfaces", "options", "minded"),
    [
        (["eth1"], {}, True),
        (["eth1"], {"ipv6": True}, True),
        (["eth1"], {"table": "100"}, True),
        (["eth1"], {"kind": "unicast"}, True),
        (["eth2", "eth1"], {}, True),
        (["eth1"], {"kind": "unreachable"}, False),
        (["eth1"], {"kind": "blackhole", "ipv6": True}, False),
        (["eth2"], {}, False),
    ],
)
def test_default_routes(tmp_path: Path, interfaces: list[str], options: dict[str, t.Any], minded: bool) -> None:
    machine = plain_server(tmp_path)
    machine.default_route(*interfaces, **options)
    found = reasons(FakeXen(machine)).get("0000:00:04.0", {})
    assert found == ({"default_route": "carries the default route: eth1 -> 0000:00:04.0"} if minded else {})


@pytest.mark.parametrize(("way", "minded"), [("eth1", True), ("eth0", False), ("", False)])
def test_the_way_that_answers_take_by_rules(tmp_path: Path, way: str, minded: bool) -> None:
    """The address is on one card, and the kernel sends what comes from it by another."""
    machine = plain_server(tmp_path)
    machine.ways[("192.0.2.5", "198.51.100.7")] = way
    found = reasons(FakeXen(machine)).get("0000:00:04.0", {})
    reason = "carries the management connection from 198.51.100.7: the route from 192.0.2.5 to it: eth1 -> 0000:00:04.0"
    assert found == ({"management_route": reason} if minded else {})


def test_every_peer_is_asked_for(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.connection("192.0.2.5", "203.0.113.9")
    machine.ways[("192.0.2.5", "198.51.100.7")] = "eth0"
    machine.ways[("192.0.2.5", "203.0.113.9")] = "eth2"
    found = reasons(FakeXen(machine))
    assert "from 203.0.113.9" in found["0000:03:00.0"]["management_route"]
    assert "0000:00:04.0" not in found


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
        "virtual_functions": "has virtual functions, which vanish with it: 0000:05:10.0, 0000:05:10.1",
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
    told = "shares its requester ID with {} behind the same PCI bridge: the IOMMU cannot tell them apart"
    sound, card = "0000:06:01.0 (driver snd_ice1724)", "0000:06:00.0 (driver e1000)"
    assert found["0000:06:00.0"] == {"siblings": told.format(sound)}
    assert found["0000:06:01.0"] == {"siblings": told.format(card)}
    assert found["0000:06:02.0"] == {"siblings": told.format(f"{card}, {sound}")}
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


@pytest.mark.parametrize(
    ("upper", "minded"),
    [
        ({"lower": ["eth1"]}, True),
        ({"lower": ["eth1", "eth2"]}, True),
        ({"ports": ["eth1"]}, True),
        ({"lower": ["eth2"]}, False),
        ({}, False),
    ],
    ids=["team or VLAN of one", "bond of two", "bridge", "of another card", "of nothing"],
)
def test_what_the_management_address_stands_on(tmp_path: Path, upper: dict[str, t.Any], minded: bool) -> None:
    machine = plain_server(tmp_path)
    machine.virtual("upper0", **upper)
    machine.addresses = {"upper0": ["192.0.2.5"]}
    machine.default_routes["-4"].clear()
    assert ("management_route" in reasons(FakeXen(machine)).get("0000:00:04.0", {})) is minded


@pytest.mark.parametrize(("kind", "minded"), [("openvswitch", True), ("dummy", False)])
def test_open_vswitch(tmp_path: Path, kind: str, minded: bool) -> None:
    """An internal port shows nothing of the cards that are ports of its bridge; the datapath does."""
    machine = plain_server(tmp_path)
    machine.virtual("ovs-system", lower=["eth1"])
    machine.virtual("br-int")
    machine.kinds = {"ovs-system": "openvswitch", "br-int": kind}
    machine.addresses = {"br-int": ["192.0.2.5"]}
    machine.default_routes["-4"].clear()
    found = reasons(FakeXen(machine)).get("0000:00:04.0", {})
    reason = "carries the management connection from 198.51.100.7: 192.0.2.5 on br-int -> ovs-system -> eth1 -> 0000:00:04.0"
    assert found == ({"management_route": reason} if minded else {})


def test_open_vswitch_without_cards_ends(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.virtual("ovs-system")
    machine.kinds = {"ovs-system": "openvswitch"}
    machine.addresses = {"ovs-system": ["192.0.2.5"]}
    machine.default_routes["-4"].clear()
    assert not any("management_route" in guards for guards in reasons(FakeXen(machine)).values())


def test_every_path_of_a_multipath_disk(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    for number in (0, 1):
        bdf = f"0000:0{number + 3}:00.0"
        machine.pci(f"0000:00:1c.{number}", "8086:3420", "060400", driver="pcieport", header_type=1)
        machine.pci(bdf, "1077:2532", "0c0400", below=f"0000:00:1c.{number}", driver="qla2xxx")
        machine.disk(f"sd{'ab'[number]}", f"8:{16 * number}", where=f"pci0000:00/0000:00:1c.{number}/{bdf}/host{number}/rport/target/block")
    machine.disk("dm-0", "254:0", slaves=["sda", "sdb"])
    machine.disk("dm-1", "254:1", slaves=["dm-0"])
    machine.mount("/", "254:1", "/dev/mapper/mpatha-part2")
    found = reasons(FakeXen(machine))
    assert found["0000:03:00.0"] == {"root_disk": "holds /: dm-1 -> dm-0 -> sda -> 0000:03:00.0"}
    assert found["0000:04:00.0"] == {"root_disk": "holds /: dm-1 -> dm-0 -> sdb -> 0000:04:00.0"}


@pytest.mark.parametrize(
    ("disks", "minded"),
    [(["nvme0n1p3", "nvme1n1p3"], True), (["nvme0n1p3"], False), ([], False)],
    ids=["mirror", "one disk", "not visible"],
)
def test_zfs(tmp_path: Path, disks: list[str], minded: bool) -> None:
    machine = lvm_server(tmp_path)
    machine.mount("/var", "0:31", "rpool/ROOT/var", "zfs")
    machine.pools = {"rpool": disks}
    found = reasons(FakeXen(machine)).get("0000:05:00.0", {})
    assert found == ({"root_disk": "holds /var: nvme1n1p3 -> 0000:05:00.0"} if minded else {})


def test_btrfs_over_two_disks(tmp_path: Path) -> None:
    machine = lvm_server(tmp_path)
    members = machine.sys / "fs/btrfs/5ee5b21e-6f00/devices"
    members.mkdir(parents=True)
    (machine.sys / "fs/btrfs/features").mkdir()
    for name in ("nvme0n1p2", "nvme1n1p2"):
        (members / name).symlink_to(machine.sys / "class/block" / name)
    machine.mount("/var", "0:27", "/dev/nvme0n1p2", "btrfs")
    assert reasons(FakeXen(machine))["0000:05:00.0"] == {"root_disk": "holds /var: nvme1n1p2 -> 0000:05:00.0"}


def test_a_file_system_in_a_file(tmp_path: Path) -> None:
    machine = lvm_server(tmp_path)
    machine.mount("/srv/data", "259:11", "/dev/nvme1n1p1")
    machine.disk("loop0", "7:0")
    (machine.sys / "class/block/loop0/loop").mkdir()
    (machine.sys / "class/block/loop0/loop/backing_file").write_text("/srv/data/images/var.img\n")
    machine.mount("/var", "7:0", "/dev/loop0")
    found = reasons(FakeXen(machine))["0000:05:00.0"]
    assert found["root_disk"] == "holds /var: loop0 -> nvme1n1p1 -> 0000:05:00.0"


@pytest.mark.parametrize(("running", "minded"), [({0: "Domain-0", 7: "net-dd"}, True), ({0: "Domain-0"}, False)])
def test_a_device_in_use(tmp_path: Path, running: dict[int, str], minded: bool) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.pci_assignable_add("0000:00:04.0", "uplink0")
    xen.assign("0000:00:04.0", 7)
    xen.store.running = running
    assert reasons(xen).get("0000:00:04.0", {}) == ({"in_use": "is in use by the running domain 7"} if minded else {})


def test_an_empty_machine_refuses_nothing(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.pci("0000:00:04.0", "8086:10d3", "020000")
    assert reasons(FakeXen(machine)) == {}


@pytest.mark.parametrize("printed", [None, "1: eth0: <UP>"], ids=["fails", "is no JSON"])
@pytest.mark.parametrize("question", ["address", "-4"])
def test_what_cannot_be_read_is_not_taken_for_nothing(tmp_path: Path, question: str, printed: str | None) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.spoilt_ip = {question: printed}
    with pytest.raises(DriverDomainsError, match=rf"'ip -json .*{question}.*reached through is not known"):
        reasons(xen)


@pytest.mark.parametrize("question", ["-6", "get"])
def test_a_kernel_without_ipv6_or_without_a_route_has_no_answer(tmp_path: Path, question: str) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.spoilt_ip = {question: None}
    assert set(reasons(xen)["0000:00:03.0"]) == {"management_route", "default_route"}


def test_a_file_system_that_another_one_is_mounted_over_is_in_use_too(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.pci("0000:00:1f.5", "8086:2926", "010601", driver="ahci")
    machine.disk("sdb", "8:16", where="pci0000:00/0000:00:1f.5/ata2/host1/target1:0:0/1:0:0:0/block")
    machine.mount("/srv", "8:16")
    machine.mount("/srv", "0:33", "tmpfs", "tmpfs")
    assert reasons(FakeXen(machine))["0000:00:1f.5"] == {"mounted_disk": "holds the mounted file system /srv: sdb -> 0000:00:1f.5"}
