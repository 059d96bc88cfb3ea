# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this kernel says of real interfaces, mounts and disks: each test makes them in namespaces of its own, or says why it cannot."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._host_chains import DISK, Thing
from ansible_collections.xen.driver_domains.plugins.module_utils._host_disks import HostDisks
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner

NOT_KNOWN = "what it stands on is not known"

#: An interface whose name begins with `card` stands for hardware.
USES = """
import json, os
from ansible_collections.xen.driver_domains.plugins.module_utils._host_uses import HostUses
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
connection = {"SSH_CONNECTION": os.environ["CONNECTION"]} if os.environ["CONNECTION"] else {}
uses = HostUses(Runner(), lambda path: [path.split("/")[-1]] if "/net/card" in path else [], environment=connection).uses
wanted = ("default_route", "management_route")
print(json.dumps([[use.guard, use.reason] for use in uses if use.guard in wanted]))
"""
MOUNTS = """
import json, os
from ansible_collections.xen.driver_domains.plugins.module_utils._host_disks import HostDisks
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
disks = HostDisks(Runner(), lambda path: [], "/sys", "/proc")
here = [mount for mount in disks.mounts if mount.point.startswith(os.environ["PLACE"])]
names = [mount.point.encode("utf-8", "surrogateescape").hex() for mount in here]
things = [thing for mount in here for thing in disks.of_mount(mount)]
below = [other for thing in things for other in disks.footing(thing.name).below]
print(json.dumps([names, things, below]))
"""
#: `card NAME` makes an interface of whatever kind this kernel has; nothing is done to real ones, for the namespace has none.
PREPARE = """
set -e
mount --make-rprivate /
card() { ip link add "$1" type dummy 2>/dev/null || ip link add "$1" type ifb 2>/dev/null || ip link add "$1" type veth; }
"""


def run(script: str, program: str, **environment: str) -> t.Any:
    """Return what a program prints that runs after a script, in new namespaces; skip the test if the script fails."""
    argv = ["unshare", "--net", "--mount", "sh", "-c", f'{PREPARE}\n{script}\nexec "$0" -c "$PROGRAM"', sys.executable]
    variables = {**os.environ, "PROGRAM": program, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    try:
        done = subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode and "Traceback" not in done.stderr:
        pytest.skip(f"this kernel, or this user, cannot make it: {' '.join(done.stderr.split())}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LOST = {
    "veth": ["ip link add x0 type veth peer name x1"],
    "tun": ["ip tuntap add x0 mode tun"],
    "tap": ["ip tuntap add x0 mode tap"],
    "WireGuard": ["ip link add x0 type wireguard"],
    "VXLAN": ["ip link add x0 type vxlan id 5 remote 192.0.2.9 dstport 4789"],
    "Geneve": ["ip link add x0 type geneve id 5 remote 192.0.2.9"],
    "GRE": ["ip link add x0 type gretap remote 192.0.2.9"],
    "IPIP": ["ip link add x0 type ipip remote 192.0.2.9"],
    "dummy": ["ip link add x0 type dummy"],
    "ifb": ["ip link add x0 type ifb"],
    "empty bridge": ["ip link add x0 type bridge"],
    "bridge of a tap": ["ip tuntap add x1 mode tap", "ip link add x0 type bridge", "ip link set x1 master x0"],
    "veth into a bridge of nothing else": [
        "ip link add x0 type veth peer name x1",
        "ip link add x2 type bridge",
        "ip link set x1 master x2",
    ],
    "macvlan on a veth": ["ip link add x1 type veth peer name x2", "ip link add x0 link x1 type macvlan"],
}


@pytest.mark.parametrize("kind", LOST)
def test_an_interface_that_leads_nowhere(kind: str) -> None:
    script = ["mount -t sysfs sysfs /sys", "card card0", *LOST[kind], "ip link set x0 up", "ip route add default dev x0"]
    found = run("\n".join(script), USES, CONNECTION="")
    assert found and all(guard == "default_route" and NOT_KNOWN in reason for guard, reason in found)


FOLLOWED = {
    "VLAN": ["ip link add link card0 name x0 type vlan id 5"],
    "bridge": ["ip link add x0 type bridge", "ip link set card0 master x0"],
    "macvlan": ["ip link add x0 link card0 type macvlan"],
    "macvtap": ["ip link add x0 link card0 type macvtap"],
    "ipvlan": ["ip link add x0 link card0 type ipvlan"],
    "bond": ["ip link add x0 type bond", "ip link set card0 down", "ip link set card0 master x0"],
    "team": ["ip link add x0 type team", "ip link set card0 down", "ip link set card0 master x0"],
    "VRF": ["ip link add x0 type vrf table 10", "ip link set card0 master x0"],
    "MACsec": ["ip link add x0 link card0 type macsec"],
    "VXLAN of one card": ["ip link add x0 type vxlan id 5 dev card0 remote 192.0.2.9 dstport 4789"],
    "GRE of one card": ["ip link add x0 type gretap remote 192.0.2.9 dev card0"],
    "veth into a bridge": [
        *("ip link add x0 type veth peer name x1", "ip link add x2 type bridge", "ip link set x1 master x2", "ip link set card0 master x2"),
    ],
    "bridge and its own port": [
        *("ip link add x0 type bridge", "ip link add x1 type veth peer name x2", "ip link set x1 master x0", "ip link set x2 master x0"),
        "ip link set card0 master x0",
    ],
    "macvlan on a bridge of a macvlan": [
        *("ip link add x1 link card0 type macvlan", "ip link add x2 type bridge", "ip link set x1 master x2"),
        "ip link add x0 link x2 type macvlan",
    ],
}


@pytest.mark.parametrize("kind", FOLLOWED)
def test_an_interface_that_leads_to_a_card(kind: str) -> None:
    script = ["mount -t sysfs sysfs /sys", "card card0", *FOLLOWED[kind], "ip link set card0 up", "ip link set x0 up"]
    found = run("\n".join([*script, "ip route add default dev x0"]), USES, CONNECTION="")
    assert any(reason.startswith("carries the default route: x0 -> ") and reason.endswith("-> card0 -> card0") for _guard, reason in found)
    assert not any(NOT_KNOWN in reason for _guard, reason in found)


def test_answers_that_leave_another_way() -> None:
    """The management address is on one card, and a rule sends its answers through another one."""
    script = """
    mount -t sysfs sysfs /sys
    card card0; card card1; card card2
    for card in card0 card1 card2; do ip link set $card up; done
    ip address add 192.0.2.5/24 dev card0
    ip route add default dev card2
    ip rule add from 192.0.2.5 lookup 7
    ip route add default dev card1 table 7
    """
    found = run(script, USES, CONNECTION="198.51.100.7 50022 192.0.2.5 22")
    ways = {guard: {reason.split()[-1] for other, reason in found if other == guard} for guard, _reason in found}
    assert ways == {"management_route": {"card0", "card1"}, "default_route": {"card1", "card2"}}


def test_a_host_without_ipv4() -> None:
    script = """
    mount -t sysfs sysfs /sys
    card card0
    ip link set card0 up
    ip address add 2001:db8::5/64 dev card0 nodad
    ip -6 route add default via 2001:db8::1 dev card0
    """
    found = run(script, USES, CONNECTION="2001:db8:1::7 50022 2001:db8::5 22")
    assert {guard for guard, _reason in found} == {"default_route", "management_route"}
    assert all(reason.endswith("card0 -> card0") for _guard, reason in found)


def test_a_veth_into_another_namespace() -> None:
    """The number of its other end is one of that namespace, where an interface here may have the same."""
    script = """
    mount -t sysfs sysfs /sys
    card card0
    unshare --net sleep 30 & other=$!
    sleep 0.5
    ip link add x0 type veth peer name x1
    ip link set x1 netns $other
    ip link set x0 up
    ip route add default dev x0
    """
    found = run(script, USES, CONNECTION="")
    assert found and all(NOT_KNOWN in reason for _guard, reason in found)


NAMES = ["plain", "a blank", "a\nnewline", "a\ttab", "back\\slash", "v\x0bt", "f\x0cf", "n\u0085l", "l\u2028s", "e\x1b[2J", "#", "-"]


@pytest.mark.parametrize("name", [*map(os.fsencode, NAMES), b"\xff\xfe"])
def test_the_names_of_mount_points(tmp_path: Path, name: bytes) -> None:
    place = os.fsencode(tmp_path) + b"/" + name
    os.mkdir(place)
    names, things, _below = run(f"mount -t tmpfs none {shlex.quote(os.fsdecode(place))}", MOUNTS, PLACE=str(tmp_path))
    assert (names, things) == ([place.hex()], [])


def disks() -> HostDisks:
    return HostDisks(Runner(), lambda path: [], "/sys", "/proc")


def test_an_overlay(tmp_path: Path) -> None:
    """It stands on what its layers are on; overlays of this kernel cannot have every file system below them."""
    script = f"""
    cd {tmp_path}
    mkdir ram all low
    mount -t tmpfs none ram
    mkdir ram/up ram/work
    mount -t overlay none -o lowerdir={tmp_path}/low,upperdir={tmp_path}/ram/up,workdir={tmp_path}/ram/work all
    """
    _names, things, _below = run(script, MOUNTS, PLACE=str(tmp_path))
    assert [Thing(*thing) for thing in things] == disks().of_file(str(tmp_path))


def test_a_file_system_in_a_file(tmp_path: Path) -> None:
    script = f"""
    cd {tmp_path}
    truncate -s 8M 'an image'
    mkfs.ext4 -q 'an image'
    mkdir here
    mount -o loop 'an image' here
    """
    _names, things, below = run(script, MOUNTS, PLACE=f"{tmp_path}/here")
    ((kind, name),) = things
    assert kind == DISK and name.startswith("loop")
    assert [Thing(*thing) for thing in below] == disks().of_file(str(tmp_path / "an image"))


@contextlib.contextmanager
def loop_device(image: Path, *options: str) -> t.Iterator[str]:
    try:
        done = subprocess.run(["losetup", "--find", "--show", *options, image], capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("there is no losetup here")
    if done.returncode:
        pytest.skip(f"this kernel, or this user, cannot make it: {done.stderr.strip()}")
    try:
        yield done.stdout.strip()
    finally:
        subprocess.run(["losetup", "--detach", done.stdout.strip()], timeout=60, check=True)


def test_a_loop_device(tmp_path: Path) -> None:
    """It stands on the file system of its file; a file in RAM needs nothing."""
    image = tmp_path / "image with a blank"
    image.write_bytes(bytes(1 << 20))
    with loop_device(image) as device:
        found = disks().footing(os.path.basename(device))
        assert list(found.below) == disks().of_file(str(image))
        assert found.below or found.end


def test_a_partition_of_a_loop_device(tmp_path: Path) -> None:
    image = tmp_path / "image"
    # One partition from sector 2048 on (the layout of a DOS partition table).
    entry = bytes([0, 0, 2, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (2048).to_bytes(4, "little")
    image.write_bytes(bytes(446) + entry + bytes(48) + b"\x55\xaa" + bytes(4 << 20))
    with loop_device(image, "--partscan") as device:
        name = os.path.basename(device)
        if not os.path.isdir(f"/sys/class/block/{name}p1"):
            pytest.skip("this kernel does not look for partitions on loop devices")
        assert disks().footing(f"{name}p1").below == [Thing(DISK, name)]


def test_a_device_of_the_device_mapper(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    with loop_device(image) as device:
        name = f"xdd-test-{os.getpid()}"
        table = f"0 2048 linear {device} 0"
        try:
            done = subprocess.run(["dmsetup", "create", name, "--table", table], capture_output=True, text=True, timeout=60, check=False)
        except FileNotFoundError:
            pytest.skip("there is no dmsetup here")
        if done.returncode:
            pytest.skip(f"this kernel, or this user, cannot make it: {' '.join(done.stderr.split())}")
        try:
            mapped = os.path.basename(os.path.realpath(f"/dev/mapper/{name}"))
            assert disks().footing(mapped).below == [Thing(DISK, os.path.basename(device))]
        finally:
            subprocess.run(["dmsetup", "remove", name], timeout=60, check=True)


def test_memory_that_is_a_disk() -> None:
    control = Path("/sys/class/zram-control")
    try:
        number = (control / "hot_add").read_text(encoding="ascii").strip()
    except OSError as exc:
        pytest.skip(f"this kernel, or this user, cannot make it: {exc}")
    try:
        assert disks().footing(f"zram{number}").end
    finally:
        (control / "hot_remove").write_text(number, encoding="ascii")
