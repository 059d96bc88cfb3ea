# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chains that lead to no device: only a known harmless end needs nothing; anything else may stand on any device of its class."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed, DriverDomainsError, NotOnThisHost, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._host_disks import remote
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.guards import Guards
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine, plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

#: The cards of `server`, one of which has no driver and so no interface, and what is no card and no disk.
CARDS = {"0000:00:03.0", "0000:00:04.0", "0000:00:05.0", "0000:03:00.0"}
DISKS = {"0000:00:1f.2"}
OTHERS = {"0000:00:02.0", "0000:00:1d.0"}
NOT_KNOWN = "what it stands on is not known"


def server(root: Path) -> FakeMachine:
    machine = plain_server(root)
    machine.pci("0000:00:05.0", "15b3:1017", "020000")
    (machine.proc / "net/if_inet6").write_text("")
    return machine


def refused(xen: FakeXen, guard: str) -> dict[str, str]:
    """Return the reasons why devices other than bridges are refused by a guard, as far as the chain is not known."""
    fake: t.Any = xen
    devices = xen.host().devices()
    guards = Guards(devices, fake, str(xen.machine.sys), str(xen.machine.proc), xen.environment)
    found = [(str(device.bdf), refusal) for device in devices if not device.bridge for refusal in guards.check(device)]
    return {bdf: refusal.reason for bdf, refusal in found if refusal.guard == guard and NOT_KNOWN in refusal.reason}


LOST_INTERFACES = ["wg0", "ppp0", "tun0", "tap0", "tailscale0", "gre1", "vxlan0", "sit0", "ipip0", "l2tp0", "zt0", "bond0", "br0", "dummy0"]


@pytest.mark.parametrize("name", LOST_INTERFACES)
@pytest.mark.parametrize("need", ["default_route", "management_route"])
def test_an_interface_that_leads_nowhere_may_stand_on_any_card(tmp_path: Path, name: str, need: str) -> None:
    machine = server(tmp_path)
    machine.virtual(name)
    if name == "dummy0":
        machine.kinds[name] = "dummy"
    if need == "default_route":
        machine.default_routes["-4"].clear()
        machine.default_route(name)
    else:
        machine.addresses = {name: ["192.0.2.5"]}
    assert set(refused(FakeXen(machine), need)) == CARDS


@pytest.mark.parametrize(
    "layers",
    [
        {"bond0": {"lower": ["eth1", "wg0"]}, "wg0": {}},
        {"br0": {"ports": ["eth1", "gretap0"]}, "gretap0": {}},
        {"wg0.5": {"lower": ["wg0"]}, "wg0": {}},
        {"team0": {"lower": ["br1"]}, "br1": {"ports": ["vxlan0"]}, "vxlan0": {}},
        {"macvlan0": {"lower": ["tap0"]}, "tap0": {}},
    ],
)
def test_one_lost_branch_is_enough(tmp_path: Path, layers: dict[str, dict[str, t.Any]]) -> None:
    machine = server(tmp_path)
    for name, below in reversed(layers.items()):
        machine.virtual(name, **below)
    machine.default_routes["-4"].clear()
    machine.default_route(next(iter(layers)))
    assert set(refused(FakeXen(machine), "default_route")) == CARDS


@pytest.mark.parametrize(
    ("connection", "environment"),
    [
        ({"local": "127.0.0.1", "peer": "127.0.0.1"}, {}),
        ({"local": "::1", "peer": "::1"}, {}),
        ({}, {"SSH_CONNECTION": "127.0.0.1 50022 127.0.0.1 22"}),
        ({}, {"SSH_CONNECTION": "100.64.0.9 50022 100.64.0.5 22"}),
    ],
    ids=["reverse tunnel", "reverse tunnel over IPv6", "that sshd names", "an address of no interface"],
)
def test_a_connection_whose_peer_is_not_seen(tmp_path: Path, connection: dict[str, str], environment: dict[str, str]) -> None:
    machine = server(tmp_path)
    machine.ways = {("127.0.0.1", "127.0.0.1"): "lo", ("::1", "::1"): "lo"}
    if connection:
        machine.connection(**connection)
    xen = FakeXen(machine)
    xen.environment = environment
    assert set(refused(xen, "management_route")) == CARDS


def test_the_connection_of_a_process_above_that_no_server_of_ours_holds(tmp_path: Path) -> None:
    machine = server(tmp_path)
    machine.virtual("tailscale0")
    machine.addresses["tailscale0"] = ["100.64.0.5"]
    machine.connection("100.64.0.5", "100.64.0.9", server="tailscaled", port=2022)
    xen = FakeXen(machine)
    assert refused(xen, "management_route") == {}
    holder = next(path.parent for path in machine.proc.glob("*/comm") if path.read_text() == "tailscaled\n")
    own = machine.proc / str(os.getpid())
    (own / "fd").mkdir(parents=True)
    (own / "stat").write_text(f"{os.getpid()} (python3) S {holder.name} 0")
    (holder / "stat").write_text(f"{holder.name} (tailscaled be-child ssh) S 1 0")
    assert set(refused(xen, "management_route")) == CARDS


@pytest.mark.parametrize("name", ["lo", "vif-0", "vif1.0", "vif1.0-emu", "tap1.0"])
def test_known_harmless_interfaces(tmp_path: Path, name: str) -> None:
    machine = server(tmp_path)
    if name == "vif-0":
        machine._netdev(machine.sys / "devices/vif-0/net/enX0", "enX0", "00:16:3e:00:00:01")
        name = "enX0"
    elif name != "lo":
        machine._netdev(machine.sys / "devices/vif-1-0/net/vif1.0", "vif1.0", "fe:ff:ff:ff:ff:ff")
        if name != "vif1.0":
            machine.virtual(name)
    machine.default_routes["-4"].clear()
    machine.default_route(name)
    assert refused(FakeXen(machine), "default_route") == {}


def test_a_tap_of_no_guest_is_not_harmless(tmp_path: Path) -> None:
    machine = server(tmp_path)
    machine.virtual("tap1.0")
    machine.default_routes["-4"].clear()
    machine.default_route("tap1.0")
    assert set(refused(FakeXen(machine), "default_route")) == CARDS


def test_a_veth_into_another_namespace_is_not_followed_to_an_interface_that_has_the_same_number_here(tmp_path: Path) -> None:
    machine = server(tmp_path)
    machine.virtual("veth0", iflink="eth1")
    machine.default_routes["-4"].clear()
    machine.default_route("veth0")
    xen = FakeXen(machine)
    xen.spoilt_ip = {"address": '[{"ifname": "veth0", "link_netnsid": 0, "linkinfo": {"info_kind": "veth"}, "addr_info": []}]'}
    assert set(refused(xen, "default_route")) == CARDS


def test_a_port_of_a_switch_chip(tmp_path: Path) -> None:
    """It is hardware of another kind, and its packets go through a card (DSA): both are needed."""
    machine = server(tmp_path)
    machine._netdev(machine.sys / "devices/platform/switch/net/lan1", "lan1", "02:00:00:00:00:09")
    (machine.sys / "devices/platform/switch/net/lan1/iflink").write_text((machine.sys / "class/net/eth1/ifindex").read_text())
    machine.default_routes["-4"].clear()
    machine.default_route("lan1")
    assert f"carries the default route: lan1 -> eth1 -> {CARD}" in card_reason(FakeXen(machine))


def test_a_tunnel_of_one_card(tmp_path: Path) -> None:
    machine = server(tmp_path)
    machine.virtual("gre1", iflink="eth1")
    machine.default_routes["-4"].clear()
    machine.default_route("gre1")
    assert refused(FakeXen(machine), "default_route") == {}


def test_an_ipv6_only_host_whose_routes_cannot_be_read(tmp_path: Path) -> None:
    xen = FakeXen(server(tmp_path))
    xen.spoilt_ip = {"-6": None}
    with pytest.raises(DriverDomainsError, match=r"'ip -json -6 .*can be reached is not known"):
        refused(xen, "default_route")


@pytest.mark.parametrize("failure", [TimedOut("hangs"), NotOnThisHost("not there"), CommandFailed("crashed")])
def test_a_route_to_the_peer_that_cannot_be_read(tmp_path: Path, failure: DriverDomainsError, monkeypatch: pytest.MonkeyPatch) -> None:
    xen = FakeXen(server(tmp_path))
    fails_for(xen, monkeypatch, "get", failure)
    assert set(refused(xen, "management_route")) == CARDS


def fails_for(xen: FakeXen, monkeypatch: pytest.MonkeyPatch, word: str, failure: DriverDomainsError | Result) -> None:
    run = xen.run

    def failing(argv: t.Sequence[str], **options: t.Any) -> Result:
        if word not in argv:
            return run(argv, **options)
        if isinstance(failure, DriverDomainsError):
            raise failure
        return failure

    monkeypatch.setattr(xen, "run", failing)


# File systems and disks


@pytest.mark.parametrize(
    ("kind", "source", "options"),
    [
        ("nfs4", "nas:/root", "rw,vers=4.2,clientaddr=192.0.2.5,addr=203.0.113.9"),
        ("nfs", "203.0.113.9:/root", "rw"),
        ("cifs", "//203.0.113.9/share", "rw"),
        ("ceph", "203.0.113.9:6789:/", "rw"),
        ("ceph", "user@fsid.fs=/", "rw,mon_addr=203.0.113.9:6789"),
        ("fuse.sshfs", "203.0.113.9:/", "rw"),
    ],
)
def test_a_remote_file_system_stands_on_the_route_to_its_server(tmp_path: Path, kind: str, source: str, options: str) -> None:
    machine = server(tmp_path)
    machine.mount("/var", "0:40", source, kind, options)
    machine.ways[("", "203.0.113.9")] = "eth1"
    assert card_reason(FakeXen(machine)) == f"holds /var: 203.0.113.9 -> eth1 -> {CARD}"


CARD = "0000:00:04.0"


def card_reason(xen: FakeXen) -> str:
    devices = xen.host().devices()
    device = next(device for device in devices if str(device.bdf) == CARD)
    return "; ".join(refusal.reason for refusal in xen.guards(devices).check(device))


@pytest.mark.parametrize(
    ("kind", "source", "classes"),
    [
        ("nfs", "nas:/root", CARDS),
        ("cifs", "//nas/share", CARDS),
        ("fuse.glusterfs", "nas:/vol", CARDS),
        ("nfs", "127.0.0.1:/root", CARDS),
        ("nfs", "203.0.113.77:/no/route", CARDS),
        ("9p", "root", CARDS | DISKS),
        ("virtiofs", "root", CARDS | DISKS),
        ("fuse.something", "something", CARDS | DISKS),
        ("ubifs", "ubi0:root", CARDS | DISKS),
        ("bcachefs", "/dev/gone0:/dev/gone1", CARDS | DISKS),
        ("btrfs", "/dev/gone0", CARDS | DISKS),
        ("zfs", "rpool/root", CARDS | DISKS),
        ("new-in-linux-8", "none", CARDS | DISKS),
    ],
)
@pytest.mark.parametrize(("point", "guard"), [("/var", "root_disk"), ("/srv", "mounted_disk")])
def test_a_file_system_that_cannot_be_followed(tmp_path: Path, kind: str, source: str, classes: set[str], point: str, guard: str) -> None:
    machine = server(tmp_path)
    machine.ways[("", "127.0.0.1")] = "lo"
    machine.mount(point, "0:40", source, kind)
    assert set(refused(FakeXen(machine), guard)) == classes


@pytest.mark.parametrize(
    "kind", ["tmpfs", "ramfs", "proc", "sysfs", "cgroup2", "devtmpfs", "efivarfs", "autofs", "rootfs", "xenfs", "fuse.lxcfs"]
)
def test_file_systems_that_need_nothing(tmp_path: Path, kind: str) -> None:
    machine = server(tmp_path)
    machine.mount("/var", "0:40", "none", kind)
    assert refused(FakeXen(machine), "root_disk") == {}


def test_the_devices_of_bcachefs(tmp_path: Path) -> None:
    machine = server(tmp_path)
    machine.pci("0000:00:1f.5", "8086:2926", "010601", driver="ahci")
    machine.disk("sdb", "8:16", where="pci0000:00/0000:00:1f.5/ata2/block")
    machine.mount("/srv", "0:40", "/dev/sda2:/dev/sdb", "bcachefs")
    found = {str(d.bdf): [r.guard for r in FakeXen(machine).guards([]).check(d)] for d in FakeXen(machine).host().devices()}
    assert (found["0000:00:1f.5"], found["0000:00:1f.2"]) == (["mounted_disk"], ["root_disk", "mounted_disk"])


def second_disk(root: Path) -> FakeMachine:
    machine = server(root)
    machine.pci("0000:00:1f.5", "8086:2926", "010601", driver="ahci")
    machine.disk("sdb", "8:16", where="pci0000:00/0000:00:1f.5/ata2/block", partitions=["sdb1"])
    return machine


def second_disk_reasons(machine: FakeMachine) -> list[str]:
    xen = FakeXen(machine)
    devices = xen.host().devices()
    device = next(device for device in devices if str(device.bdf) == "0000:00:1f.5")
    return [refusal.reason for refusal in xen.guards(devices).check(device)]


@pytest.mark.parametrize("name", ["a\x0bb", "a\x0cb", "a\x1cb", "a\x85b", "a\u2028b", "a\\012b", "\udcff", "-", "a\\040-\\040b"])
def test_a_user_who_mounts_something_with_an_odd_name(tmp_path: Path, name: str) -> None:
    """The kernel escapes blanks, tabs, newlines and backslashes, and nothing else (fs/proc_namespace.c, mangle)."""
    machine = second_disk(tmp_path)
    lines = f"90 1 0:70 / /home/u/{name} rw - fuse.lxcfs {name} rw\n91 1 8:17 / /srv rw - ext4 /dev/sdb1 rw\n"
    with (machine.proc / "self/mountinfo").open("ab") as handle:
        handle.write(lines.encode("utf-8", "surrogateescape"))
    assert second_disk_reasons(machine) == ["holds the mounted file system /srv: sdb1 -> 0000:00:1f.5"]


@pytest.mark.parametrize("options", ["rw,attr2,logdev=/dev/sdb1,noquota", "rw,rtdev=/dev/sdb1", "rw,device=/dev/sdb1"])
def test_a_file_system_with_a_log_on_another_disk(tmp_path: Path, options: str) -> None:
    machine = second_disk(tmp_path)
    machine.mount("/var", "8:2", "/dev/sda2", "xfs", options)
    assert second_disk_reasons(machine) == ["holds /var: sdb1 -> 0000:00:1f.5"]


@pytest.mark.parametrize(
    ("program", "path", "reasons"),
    [
        ("qemu-system-i38", "/dev/sdb1", ["serves a running guest (qemu-system-i38): sdb1 -> 0000:00:1f.5"]),
        ("tapdisk", "/dev/dm-3", ["serves a running guest (tapdisk): dm-3 -> sdb -> 0000:00:1f.5"]),
        ("qemu-system-i38", "/dev/null", []),
        ("qemu-system-i38", "/srv/disk.img", []),
        ("smartd", "/dev/sdb", []),
    ],
)
def test_a_disk_that_a_program_serves_to_a_guest(tmp_path: Path, program: str, path: str, reasons: list[str]) -> None:
    machine = second_disk(tmp_path)
    machine.disk("dm-3", "254:3", slaves=["sdb"])
    for number, (name, target) in enumerate({program: path, "sh": "/dev/pts/0"}.items()):
        process = machine.proc / str(5000 + number)
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text(f"{name}\n")
        (process / "fd/7").symlink_to(target)
        (process / "fd/8").symlink_to(target)
    assert second_disk_reasons(machine) == reasons


@pytest.mark.parametrize(
    ("name", "where", "classes"),
    [
        ("nbd0", "virtual/block", CARDS | DISKS),
        ("rbd0", "rbd/0/block", CARDS | DISKS),
        ("etherd!e0.0", "virtual/block", CARDS | DISKS),
        ("dm-9", "virtual/block", CARDS | DISKS),
        ("md9", "virtual/block", CARDS | DISKS),
        ("drbd0", "virtual/block", CARDS | DISKS),
        ("sdx", "tcm_loop_0/tcm_loop_adapter_0/host9/target9:0:1/9:0:1:0/block", CARDS | DISKS),
        ("sdx", "platform/vhci_hcd.0/usb3/3-1/3-1:1.0/host9/target9:0:0/9:0:0:0/block", CARDS | DISKS),
        ("sdx", "platform/host9/session3/target9:0:0/9:0:0:1/block", CARDS),
        ("nvme9n1", "virtual/nvme-fabrics/ctl/nvme9", CARDS | DISKS),
        ("xvda", "vbd-51712/block", set()),
        ("mmcblk0", "platform/fe340000.mmc/mmc_host/mmc0/mmc0:0001/block", set()),
        ("zram0", "virtual/block", set()),
        ("ram0", "virtual/block", set()),
    ],
)
@pytest.mark.parametrize("layer", ["alone", "LVM on LUKS"])
def test_a_disk_without_a_device(tmp_path: Path, name: str, where: str, classes: set[str], layer: str) -> None:
    machine = server(tmp_path)
    machine.disk(name, "240:0", where=where)
    number = "240:0"
    if layer != "alone":
        machine.disk("dm-20", "254:20", slaves=[name])
        machine.disk("dm-21", number := "254:21", slaves=["dm-20"])
    machine.mount("/usr", number)
    assert set(refused(FakeXen(machine), "root_disk")) == classes


@pytest.mark.parametrize("way", ["iSCSI", "NVMe/TCP", "NVMe/TCP with multipath"])
def test_a_disk_of_a_server(tmp_path: Path, way: str) -> None:
    machine = server(tmp_path)
    machine.ways[("", "203.0.113.9")] = "eth1"
    controller = machine.sys / "devices/virtual/nvme-fabrics/ctl/nvme9"
    if way == "iSCSI":
        machine.disk("sdx", "65:0", where="platform/host9/session3/target9:0:0/9:0:0:1/block")
        connection = machine.sys / "class/iscsi_connection/connection3:0"
        connection.mkdir(parents=True)
        (connection / "address").write_text("203.0.113.9\n")
    else:
        place = "virtual/nvme-subsystem/nvme-subsys9" if "multipath" in way else "virtual/nvme-fabrics/ctl/nvme9"
        machine.disk("nvme9n1", "65:0", where=place)
        controller.mkdir(parents=True, exist_ok=True)
        (controller / "transport").write_text("tcp\n")
        (controller / "address").write_text("traddr=203.0.113.9,trsvcid=4420,src_addr=192.0.2.5\n")
        if "multipath" in way:
            (machine.sys / "devices/virtual/nvme-subsystem/nvme-subsys9/nvme9").symlink_to(controller)
    machine.mount("/usr", "65:0")
    name = "sdx" if way == "iSCSI" else "nvme9n1"
    assert card_reason(FakeXen(machine)) == f"holds /usr: {name} -> 203.0.113.9 -> eth1 -> {CARD}"


def test_the_cache_of_bcache(tmp_path: Path) -> None:
    machine = server(tmp_path)
    machine.pci("0000:00:1f.5", "8086:2926", "010802", driver="nvme")
    machine.disk("nvme0n1", "259:0", where="pci0000:00/0000:00:1f.5/nvme/nvme0")
    machine.disk("bcache0", "252:0", slaves=["sda"])
    cache = machine.sys / "fs/bcache/1/cache0"
    (machine.sys / "class/block/nvme0n1/bcache").resolve().mkdir()
    cache.parent.mkdir(parents=True)
    cache.symlink_to((machine.sys / "class/block/nvme0n1/bcache").resolve())
    (machine.sys / "class/block/bcache0/bcache").resolve().mkdir()
    ((machine.sys / "class/block/bcache0/bcache").resolve() / "cache").symlink_to(cache.parent)
    machine.mount("/usr", "252:0")
    xen = FakeXen(machine)
    devices = xen.host().devices()
    device = next(device for device in devices if str(device.bdf) == "0000:00:1f.5")
    assert [refusal.reason for refusal in xen.guards(devices).check(device)] == ["holds /usr: bcache0 -> nvme0n1 -> 0000:00:1f.5"]


@pytest.mark.parametrize(("backing", "classes"), [("none", set()), ("/dev/sda2", set()), ("/dev/nbd0", CARDS | DISKS)])
def test_swap_in_zram(tmp_path: Path, backing: str, classes: set[str]) -> None:
    machine = server(tmp_path)
    machine.disk("zram0", "251:0")
    machine.disk("nbd0", "43:0")
    (machine.sys / "class/block/zram0/backing_dev").write_text(f"{backing}\n")
    machine.swap("/dev/zram0")
    assert set(refused(FakeXen(machine), "root_disk")) == classes


@pytest.mark.parametrize(
    ("options", "classes"),
    [
        ("rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/up,workdir=/media/root-rw/work", set()),
        ("rw,lowerdir=/media/root\\055ro,upperdir=/media/root-rw/up", set()),
        ("rw,lowerdir=root-ro,upperdir=/media/root-rw/up", CARDS | DISKS),
        ("rw,lowerdir=/gone/a:/media/root-ro,upperdir=/media/root-rw/up", CARDS | DISKS),
        ("rw", CARDS | DISKS),
    ],
)
def test_an_overlay_stands_on_its_layers(tmp_path: Path, options: str, classes: set[str]) -> None:
    machine = FakeMachine(tmp_path)
    for bdf, code in (("0000:00:03.0", "020000"), ("0000:00:04.0", "020000"), ("0000:00:05.0", "020000"), ("0000:03:00.0", "020000")):
        machine.pci(bdf, "8086:100e", code)
    machine.pci("0000:00:1f.2", "8086:2922", "010601", driver="ahci")
    machine.disk("sda", "8:0", where="pci0000:00/0000:00:1f.2/ata1/block")
    machine.mount("/", "0:50", "overlay", "overlay", options)
    machine.mount("/media/root-ro", "8:0", "/dev/sda")
    machine.mount("/media/root-rw", "0:51", "tmpfs", "tmpfs")
    xen = FakeXen(machine)
    assert set(refused(xen, "root_disk")) == classes
    disk = next(device for device in xen.host().devices() if str(device.bdf) in DISKS)
    assert "root_disk" in [refusal.guard for refusal in xen.guards([]).check(disk)]


@pytest.mark.parametrize("failure", [TimedOut("hangs"), NotOnThisHost("not there"), Result(("zpool",), 1, "", "no such pool")])
def test_zpool_that_hangs_or_fails(tmp_path: Path, failure: DriverDomainsError | Result, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = server(tmp_path)
    machine.mount("/var", "0:31", "rpool/var", "zfs")
    xen = FakeXen(machine)
    fails_for(xen, monkeypatch, "zpool", failure)
    assert set(refused(xen, "root_disk")) == CARDS | DISKS


def test_mounts_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path) -> None:
    machine = server(tmp_path)
    (machine.proc / "self/mountinfo").unlink()
    with pytest.raises(DriverDomainsError, match="mountinfo"):
        refused(FakeXen(machine), "root_disk")


@pytest.mark.parametrize(
    ("source", "options", "servers"),
    [
        ("nas:/x", "rw,addr=192.0.2.9", ["192.0.2.9"]),
        ("nas:/x", "rw,addr=2001:db8::9", ["2001:db8::9"]),
        ("[2001:db8::9]:/x", "", ["2001:db8::9"]),
        ("192.0.2.1:6789,192.0.2.2:6789:/", "", ["192.0.2.1", "192.0.2.2"]),
        ("x", "mon_addr=192.0.2.1:6789/192.0.2.2:6789", ["192.0.2.1", "192.0.2.2"]),
        ("nas:/x", "", ["nas:/x"]),
    ],
)
def test_servers_of_remote_file_systems(source: str, options: str, servers: list[str]) -> None:
    assert [thing.name for thing in remote(source, options)] == servers
