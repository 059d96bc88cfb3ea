# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A driver domain and its guests in network namespaces: xendd and the hotplug script with the real ip, nft and dnsmasq, and with stubs for
XenStore. It shows who reaches whom; VLANs and bonds are those of a booted Xen, because this machine's kernel may have none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[4] / "roles/guest_image/files"
UPLINK = "52:54:00:aa:00:02"
WORDS = (
    f"xendd.bridge=wan,{UPLINK} xendd.address=wan,10.0.3.9/24,10.0.3.2 xendd.address=wan,2001:db8::9/64 "
    "xendd.bridge=lan,forward=nat,dhcp=192.168.50.128-192.168.50.254,dns=10.0.3.2 xendd.address=lan,192.168.50.1/24 "
    "xendd.address=lan,fd00:50::1/64 xendd.bridge=routed,forward=route xendd.address=routed,10.60.0.1/24 "
    "xendd.address=routed,fd00:60::1/64 xendd.bridge=inner xendd.address=inner,10.70.0.1/24"
)
#: Its directory is the argument. The outside is `out`; g1 and g2 are in `lan`, g3 in `routed`, g4 in `inner`.
SCRIPT = r"""
set -eu
directory=$1 files=$2
root=$directory/root
mount -t tmpfs run /run
mkdir -p /run/netns
mount -t sysfs sys "$root/sys"
ln -s /proc/sys/net "$root/proc/sys/net"
for path in /proc/sys/net/bridge/bridge-nf-call-*; do
    [ ! -e "$path" ] || echo 0 >"$path"
done
ip link set lo up
for name in out g1 g2 g3 g4; do
    ip netns add "$name"
    ip -n "$name" link set lo up
done
ip link add uplink0 address 52:54:00:aa:00:02 type veth peer name eth0 netns out
ip -n out link set eth0 up
ip -n out address add 10.0.3.2/24 dev eth0
ip -n out address add 2001:db8::2/64 dev eth0 nodad
ip -n out route add 192.168.50.0/24 via 10.0.3.9
ip -n out route add 10.60.0.0/24 via 10.0.3.9
ip -n out route add 10.70.0.0/24 via 10.0.3.9
ip -n out -6 route add fd00:60::/64 via 2001:db8::9
sh "$directory/xendd" >&2
server=$(cat "$root/run/xendd/dnsmasq.pid")
ln -s "/proc/$server" "$root/proc/$server"
for number in 1 2 3 4; do
    ip link add "vif$number.0" type veth peer name eth0 address "00:16:3e:00:00:1$number" netns "g$number"
    ip -n "g$number" link set eth0 up
    vif=vif$number.0 XENBUS_PATH=backend/vif/$number/0 sh "$root/scripts/vif-bridge" online type_if=vif
done
static() {
    ip netns exec "$1" sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad'
    shift
    ip "$@"
}
static g3 -n g3 address add 10.60.0.3/24 dev eth0
static g3 -n g3 address add fd00:60::3/64 dev eth0
ip -n g3 route add default via 10.60.0.1
ip -n g3 -6 route add default via fd00:60::1
static g4 -n g4 address add 10.70.0.4/24 dev eth0
ip -n g4 route add default via 10.70.0.1
for guest in g1 g2; do
    ip netns exec "$guest" timeout 30 busybox udhcpc -f -q -n -i eth0 -s "$directory/dhcp" >&2
done
# Addresses that guests make themselves are used once nobody has objected.
turns=0
until ip -n g2 -6 address show dev eth0 scope global -tentative | grep -q fd00:50; do
    turns=$((turns + 1))
    [ "$turns" -lt 200 ] || break
    sleep 0.1
done
for guest in g1 g2; do
    address=$(ip -n "$guest" -4 -o address show dev eth0 | awk '{print $4}')
    echo "$guest has $address $(ip -n "$guest" -6 -o address show dev eth0 scope global | awk '{print $4}')"
done
ping() { # FROM ADDRESS
    if ip netns exec "$1" busybox ping -c 2 -W 1 "$2" >&2; then echo "$1 $2 yes"; else echo "$1 $2 no"; fi
}
ping g1 10.0.3.2
ping g1 2001:db8::2
ping g1 10.60.0.3
ping g1 fd00:60::3
ping g1 "$(ip -n g2 -4 -o address show dev eth0 | awk '{sub("/.*", "", $4); print $4}')"
ping g2 192.168.50.5
ping g3 10.0.3.2
ping g3 2001:db8::2
ping g3 192.168.50.5
ping g4 10.0.3.2
ping out 192.168.50.5
ping out 10.60.0.3
ping out fd00:60::3
ping out 10.70.0.4
# The vif of g3 has no address of its own to be held to, but its network has.
ip -n g3 address add 10.99.0.3/32 dev eth0
ip -n out route add 10.99.0.0/24 via 10.0.3.9
ip route add 10.99.0.3 dev routed
if ip netns exec g3 busybox ping -c 1 -W 1 -I 10.99.0.3 10.0.3.2 >&2; then echo 'g3 lies yes'; else echo 'g3 lies no'; fi
# Neither has that of g2. It lies to a guest in a routed network.
for lie in 10.99.0.2/32,10.60.0.3 fd00:99::2/128,fd00:60::3; do
    address=${lie%/*}
    static g2 -n g2 address add "${lie%,*}" dev eth0
    ip route add "$address" dev lan
    if ip netns exec g2 busybox ping -c 1 -W 1 -I "$address" "${lie#*,}" >&2; then echo "g2 $address yes"; else echo "g2 $address no"; fi
done
kill "$(cat "$root/run/xendd/dnsmasq.pid")"
"""
STUBS = {
    **dict.fromkeys(("xenstore-write", "xenstore-watch", "dmesg"), ":"),
    "xenstore-list": 'cd "$XENDD_ROOT/store/$1" && printf "%s\\n" *',
    "xenstore-read": 'cd "$XENDD_ROOT/store" && for key; do cat "$key" || exit 1; done',
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What came out, by what was tried."""
    if os.geteuid() or not all(map(shutil.which, ("dnsmasq", "nft", "busybox", "unshare"))):
        pytest.skip("this needs root, dnsmasq and nft")
    isolated = ["unshare", "--net", "--mount"]
    probe = "mount -t tmpfs run /run && ip link add xenbr0 type bridge && nft add table inet t && nft add table netdev t"
    if subprocess.run([*isolated, "sh", "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("the kernel of this machine has no network namespaces, bridges or nftables, or this user cannot make them")
    directory = tmp_path_factory.mktemp("domain")
    root = directory / "root"
    for name in ("proc/sys/kernel", "usr/lib/xendd", "run/xendd", "var/log/xen", "scripts", "sys"):
        (root / name).mkdir(parents=True)
    (root / "proc/cmdline").write_text(f"{WORDS}\n")
    (root / "proc/interrupts").write_text("")
    shutil.copy("/proc/uptime", root / "proc/uptime")
    for name in ("networks", "vif-rules"):
        shutil.copy(FILES / name, root / "usr/lib/xendd")
    shutil.copy(FILES / "vif", root / "scripts/vif-bridge")
    for number, (bridge, ip) in enumerate((("lan", "192.168.50.5"), ("lan", ""), ("routed", ""), ("inner", "")), 1):
        keys = {"mac": f"00:16:3e:00:00:1{number}", "bridge": bridge, **({"ip": ip} if ip else {})}
        for key, value in keys.items():
            path = root / f"store/backend/vif/{number}/0/{key}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")
    # The card is one end of a pair of interfaces here, which have no device.
    (directory / "xendd").write_text((FILES / "xendd").read_text().replace('[ -e "$path/device" ] || continue', ":"))
    programs = {
        **STUBS,
        "../dhcp": '[ "$1" != bound ] || { ip address add "$ip/$mask" dev "$interface"; ip route add default via "$router"; }',
    }
    (directory / "bin").mkdir()
    for name, text in programs.items():
        (directory / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / "bin" / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{directory}/bin:{os.environ['PATH']}", "XENDD_ROOT": str(root)}
    ended = subprocess.run(
        [*isolated, "sh", "-c", SCRIPT, "sh", str(directory), str(FILES)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return {" ".join(line.split()[:2]): " ".join(line.split()[2:]) for line in ended.stdout.splitlines()}


@pytest.mark.parametrize(
    ("who", "reached"),
    [
        ("g1 10.0.3.2", True),
        ("g1 2001:db8::2", True),
        ("g1 10.60.0.3", True),
        ("g1 fd00:60::3", True),
        ("g2 192.168.50.5", True),
        ("g3 10.0.3.2", True),
        ("g3 192.168.50.5", False),
        ("g4 10.0.3.2", False),
        ("out 192.168.50.5", False),
        ("out 10.60.0.3", True),
        ("out fd00:60::3", True),
        ("out 10.70.0.4", False),
        ("g3 lies", False),
        ("g2 10.99.0.2", False),
        ("g2 fd00:99::2", False),
    ],
)
def test_who_reaches_whom(seen: dict[str, str], who: str, reached: bool) -> None:
    assert seen[who] == ("yes" if reached else "no")


def test_guests_have_addresses(seen: dict[str, str]) -> None:
    assert seen["g1 has"] == "192.168.50.5/24 fd00:50::216:3eff:fe00:11/64"
    address, _blank, made = seen["g2 has"].partition(" ")
    assert made == "fd00:50::216:3eff:fe00:12/64"
    assert 128 <= int(address.removesuffix("/24").rpartition(".")[2]) <= 254
