# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guard rails: each one refuses what it must, and lets the rest pass."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._guards import GUARDS

from .fake_sysfs import FakeMachine, FakeXen, bonded_server, lvm_server, plain_server


def reasons(xen: FakeXen) -> dict[str, dict[str, str]]:
    """Return the reason of each guard for each device that is refused."""
    devices = xen.host().devices()
    guards = xen.guards(devices)
    found: dict[str, dict[str, str]] = {}
    for device in devices:
        for refusal in guards.check(device):
            assert refusal.guard in GUARDS
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
    assert "0000:05:00.0" not in reasons(FakeXen(machine))


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
    assert reasons(FakeXen(machine))["0000:05:00.0"] == {"root_disk": f"holds swap: {chain} -> 0000:05:00.0"}


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
    machine = lvm_server(tmp_path)
    xen = FakeXen(machine)
    reasons(xen)
    assert xen.questions == []


def test_the_host_is_read_once(tmp_path: Path) -> None:
    xen = FakeXen(plain_server(tmp_path))
    reasons(xen)
    assert xen.questions == [("ip", "-json", "address", "show")]


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
    machine.default_route("veth0")
    assert not any("default_route" in guards for guards in reasons(FakeXen(machine)).values())


@pytest.mark.parametrize(
    ("route", "minded"),
    [
        ({"interface": "eth1"}, True),
        ({"interface": "eth1", "ipv6": True}, True),
        ({"interface": "eth1", "flags": 2}, False),
        ({"interface": "eth1", "flags": 0x203}, False),
        ({"interface": "eth1", "ipv6": True, "flags": 0x200}, False),
    ],
)
def test_default_routes(tmp_path: Path, route: dict[str, t.Any], minded: bool) -> None:
    machine = plain_server(tmp_path)
    machine.default_route(**route)
    found = reasons(FakeXen(machine)).get("0000:00:04.0", {})
    assert found == ({"default_route": "carries the default route: eth1 -> 0000:00:04.0"} if minded else {})


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
