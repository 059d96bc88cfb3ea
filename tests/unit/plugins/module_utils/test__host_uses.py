# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host stands on: the chain from an SSH connection, a route or a file system down to the device, which is a PCI one here."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.plugins.module_utils._host_uses import HOST_GUARDS, HostUses
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.host import functions_in_path
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine, lvm_server, plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

#: The cards of `plain_server`, and the bridge above one of them.
CARDS = {"0000:00:03.0", "0000:00:04.0", "0000:00:1c.0", "0000:03:00.0"}


def reasons(xen: FakeXen) -> dict[str, dict[str, str]]:
    """Return the reason of each guard for each device that the host needs."""
    fake: t.Any = xen
    found: dict[str, dict[str, str]] = {}
    for use in HostUses(fake, functions_in_path, str(xen.machine.sys), str(xen.machine.proc), xen.environment).uses:
        assert use.guard in HOST_GUARDS
        for device in use.devices:
            found.setdefault(device, {})[use.guard] = use.reason
    return found


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
    # The session that a process of sshd holds counts all the same.
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
    ("connection", "counts"),
    [
        ({"local": "192.0.2.6", "peer": "198.51.100.9", "server": "sshd"}, True),
        ({"local": "192.0.2.6", "peer": "198.51.100.9", "server": "sshd", "port": 2222}, True),
        ({"local": "192.0.2.6", "peer": "198.51.100.9", "server": "dropbear"}, True),
        ({"local": "2001:db8::6", "peer": "2001:db8::9"}, True),
        ({"local": "::ffff:192.0.2.6", "peer": "::ffff:198.51.100.9"}, True),
        ({"local": "192.0.2.6", "peer": "198.51.100.9", "server": "nginx", "port": 443}, False),
        # An address that no interface has, and no route: what carries it is not known.
        ({"local": "192.0.2.7", "peer": "198.51.100.9"}, True),
    ],
)
def test_the_connections_that_ssh_servers_hold(tmp_path: Path, connection: dict[str, t.Any], counts: bool) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.machine.addresses["eth1"] = ["192.0.2.6", "2001:db8::6"]
    xen.machine.connection(**connection)
    assert ("management_route" in reasons(xen).get("0000:00:04.0", {})) is counts


def test_connections_that_an_ssh_server_opened_itself_do_not_count(tmp_path: Path) -> None:
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


def test_a_veth_into_a_bridge(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.virtual("br0", ports=["eth1"])
    machine.virtual("veth1", iflink="lo", master="br0")
    machine.virtual("veth0", iflink="veth1")
    machine.default_route("veth0")
    assert reasons(FakeXen(machine))["0000:00:04.0"] == {"default_route": "carries the default route: veth0 -> br0 -> eth1 -> 0000:00:04.0"}


def test_a_veth_that_leads_nowhere_may_stand_on_any_card(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.virtual("veth0")
    (machine.sys / "class/net/veth0/iflink").write_text("99\n")
    machine.default_routes["-4"].clear()
    machine.default_route("veth0")
    found = reasons(FakeXen(machine))
    assert {bdf for bdf, guards in found.items() if "default_route" in guards} == CARDS
    assert found["0000:00:04.0"]["default_route"] == "carries the default route: veth0: what it stands on is not known"


@pytest.mark.parametrize(
    ("interfaces", "options", "counts"),
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
def test_default_routes(tmp_path: Path, interfaces: list[str], options: dict[str, t.Any], counts: bool) -> None:
    machine = plain_server(tmp_path)
    machine.default_route(*interfaces, **options)
    found = reasons(FakeXen(machine)).get("0000:00:04.0", {})
    assert found == ({"default_route": "carries the default route: eth1 -> 0000:00:04.0"} if counts else {})


@pytest.mark.parametrize(("way", "counts"), [("eth1", True), ("eth0", False), ("", False)])
def test_the_way_that_answers_take_by_rules(tmp_path: Path, way: str, counts: bool) -> None:
    """The address is on one card, and the kernel sends what comes from it by another."""
    machine = plain_server(tmp_path)
    machine.ways[("192.0.2.5", "198.51.100.7")] = way
    found = reasons(FakeXen(machine)).get("0000:00:04.0", {})
    reason = "carries the management connection from 198.51.100.7: the route from 192.0.2.5 to it: eth1 -> 0000:00:04.0"
    assert found == ({"management_route": reason} if counts else {})


def test_every_peer_is_asked_for(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.connection("192.0.2.5", "203.0.113.9")
    machine.ways[("192.0.2.5", "198.51.100.7")] = "eth0"
    machine.ways[("192.0.2.5", "203.0.113.9")] = "eth2"
    found = reasons(FakeXen(machine))
    assert "from 203.0.113.9" in found["0000:03:00.0"]["management_route"]
    assert "0000:00:04.0" not in found


@pytest.mark.parametrize(
    ("upper", "counts"),
    [
        ({"lower": ["eth1"]}, True),
        ({"lower": ["eth1", "eth2"]}, True),
        ({"ports": ["eth1"]}, True),
        ({"lower": ["eth2"]}, False),
        ({}, True),
    ],
    ids=["team or VLAN of one", "bond of two", "bridge", "of another card", "of nothing"],
)
def test_what_the_management_address_stands_on(tmp_path: Path, upper: dict[str, t.Any], counts: bool) -> None:
    machine = plain_server(tmp_path)
    machine.virtual("upper0", **upper)
    machine.addresses = {"upper0": ["192.0.2.5"]}
    machine.default_routes["-4"].clear()
    assert ("management_route" in reasons(FakeXen(machine)).get("0000:00:04.0", {})) is counts


def test_open_vswitch(tmp_path: Path) -> None:
    """An internal port shows nothing of the cards that are ports of its bridge; the datapath does."""
    machine = plain_server(tmp_path)
    machine.virtual("ovs-system", lower=["eth1"])
    machine.virtual("br-int")
    machine.kinds = {"ovs-system": "openvswitch", "br-int": "openvswitch"}
    machine.addresses = {"br-int": ["192.0.2.5"]}
    machine.default_routes["-4"].clear()
    found = reasons(FakeXen(machine)).get("0000:00:04.0", {})
    reason = "carries the management connection from 198.51.100.7: 192.0.2.5 on br-int -> ovs-system -> eth1 -> 0000:00:04.0"
    assert found == {"management_route": reason}


def test_open_vswitch_without_cards_may_stand_on_any_card(tmp_path: Path) -> None:
    machine = plain_server(tmp_path)
    machine.virtual("ovs-system")
    machine.kinds = {"ovs-system": "openvswitch"}
    machine.addresses = {"ovs-system": ["192.0.2.5"]}
    machine.default_routes["-4"].clear()
    assert {bdf for bdf, guards in reasons(FakeXen(machine)).items() if "management_route" in guards} == CARDS


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
    ("disks", "counts"),
    [(["nvme0n1p3", "nvme1n1p3"], True), (["nvme0n1p3"], False), ([], True)],
    ids=["mirror", "one disk", "not visible"],
)
def test_zfs(tmp_path: Path, disks: list[str], counts: bool) -> None:
    machine = lvm_server(tmp_path)
    machine.mount("/var", "0:31", "rpool/ROOT/var", "zfs")
    machine.pools = {"rpool": disks}
    found = reasons(FakeXen(machine)).get("0000:05:00.0", {})
    reason = "zfs rpool: what it stands on is not known" if not disks else "nvme1n1p3 -> 0000:05:00.0"
    assert found == ({"root_disk": f"holds /var: {reason}"} if counts else {})


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


@pytest.mark.parametrize("printed", [None, "1: eth0: <UP>"], ids=["fails", "is no JSON"])
@pytest.mark.parametrize("question", ["address", "-4"])
def test_what_cannot_be_read_is_not_taken_for_nothing(tmp_path: Path, question: str, printed: str | None) -> None:
    xen = FakeXen(plain_server(tmp_path))
    xen.spoilt_ip = {question: printed}
    with pytest.raises(DriverDomainsError, match=rf"'ip -json .*{question}.*how this host can be reached is not known"):
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
