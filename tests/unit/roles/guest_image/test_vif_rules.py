# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules that hold a vif to its addresses, with real frames: in a network namespace with a bridge, and pairs of interfaces as vifs."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[4] / "roles/guest_image/files"
SHELLS = (("dash",), ("busybox", "sh"))
ISOLATED = ("unshare", "--user", "--map-root-user", "--net")

MAC, OTHER = "00163e000011", "00163e000022"
OWN_LL, OTHER_LL = "fe8000000000000002163efffe000011", "fe8000000000000002163efffe000022"
OWN6, OTHER6 = "20010db8000000000000000000000005", "20010db8000000000000000000000006"
GIVEN6 = "fd0000500000000002163efffe000011"
NONE6, ALL6 = "0" * 32, "ff020000000000000000000000000001"
OWN4, OTHER4 = "0a000005", "0a000006"
BROADCAST = "f" * 12

#: Sets up the bridge, attaches the vif with the rules on standard input, sends each frame from the guest's side, and prints which of them
#: came out of the bridge, and the counters.
SENDER = r"""
import glob, json, socket, subprocess, sys, time
frames = json.loads(sys.argv[1])
run = lambda *command, **more: subprocess.run(command, check=True, **more)
for name in ("all", "default"):
    open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w").write("1")
# Where the kernel looks at bridged packets as if it routed them, it drops those without checksums.
for path in glob.glob("/proc/sys/net/bridge/bridge-nf-call-*"):
    open(path, "w").write("0")
run("ip", "link", "add", "xenbr0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0")
for vif, guest in (("vif1.0", "guest"), ("vif2.0", "out")):
    run("ip", "link", "add", vif, "type", "veth", "peer", "name", guest)
run("nft", "-f", "-", stdin=sys.stdin)
for name in ("xenbr0", "vif1.0", "vif2.0", "guest", "out"):
    run("ip", "link", "set", name, *(["master", "xenbr0"] if name.startswith("vif") else []), "up")
while run("bridge", "link", capture_output=True).stdout.count(b"state forwarding") < 2:
    time.sleep(0.05)
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
out.bind(("out", 3))
# Tags that the kernel took out of a frame come beside it.
out.setsockopt(263, 8, 1)
guest = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
guest.bind(("guest", 0))
sent = {name: bytes.fromhex(frame).ljust(60, b"\0") for name, frame in frames.items()}
for frame in sent.values():
    guest.send(frame)
arrived = set()
out.settimeout(0.5)
try:
    while True:
        data, extra, flags, address = out.recvmsg(2048, 64)
        if address[2] != socket.PACKET_OUTGOING:
            arrived |= {name for name, frame in sent.items() if frame[-20:] == data[-20:]}
except TimeoutError:
    pass
listed = json.loads(run("nft", "--json", "list", "counters", capture_output=True).stdout)["nftables"]
print(json.dumps([sorted(arrived), {item["counter"]["name"]: item["counter"]["packets"] for item in listed if "counter" in item}]))
"""


@functools.cache
def possible() -> bool:
    """Whether this machine has nft, and lets us make a network of our own with such a chain."""
    probe = (
        "ip link add vif1.0 type veth peer name guest && ip link add xenbr0 type bridge && "
        "nft 'table netdev t { chain c { type filter hook ingress device vif1.0 priority 0; }; }'"
    )
    return (
        bool(shutil.which("nft") and shutil.which("unshare"))
        and subprocess.run([*ISOLATED, "sh", "-c", probe], capture_output=True, check=False).returncode == 0
    )


def rules(shell: t.Sequence[str], ip: str, networks: str = "", mac: str = "00:16:3e:00:00:11") -> str:
    """Return what the script gives to nft; nothing if it refuses."""
    script = f'. "{FILES}/vif-rules"; print_rules vif1.0 "$1" "$2" "$3"'
    ended = subprocess.run([*shell, "-uc", script, "sh", mac, ip, networks], capture_output=True, check=False, text=True, timeout=30)
    assert not ended.stderr
    return ended.stdout if ended.returncode == 0 else ""


def ethernet(kind: str, payload: str, source: str = MAC, target: str = BROADCAST) -> str:
    return target + source + kind + payload


def arp(sender: str, mac: str = MAC, wanted: str = OTHER4, source: str = MAC, request: bool = True) -> str:
    return ethernet("0806", f"000108000604{1 if request else 2:04x}{mac}{sender}{'0' * 12}{wanted}", source)


def udp4(source: str, ports: str = "13881388", mac: str = MAC, tag: str = "", fragment: str = "0000") -> str:
    return ethernet(f"{tag}0800", f"450000200001{fragment}40110000{source}ffffffff{ports}000c000061626364", mac)


def dhcp4(source: str, client: str) -> str:
    """A message of a DHCP client, with its MAC address inside."""
    message = f"01010600{'0' * 48}{client}{'0' * 20}{'0' * 384}63825363350101ff"
    size = len(message) // 2 + 8
    return ethernet("0800", f"4500{size + 20:04x}0001000040110000{source}ffffffff00440043{size:04x}0000{message}")


def icmp6(source: str, kind: str, body: str, target: str = ALL6, hop: bool = False) -> str:
    message = kind + "000000" + body
    header = "3a00050200000100" if hop else ""
    length = f"{len(header + message) // 2:04x}"
    return ethernet("86dd", f"60000000{length}{'00' if hop else '3a'}ff{source}{target}{header}{message}")


def advert(target: str, source: str = OWN6) -> str:
    return icmp6(source, "88", f"20000000{target}0201{MAC}")


def solicit(target: str, source: str = OWN6) -> str:
    return icmp6(source, "87", f"00000000{target}")


def udp6(source: str, ports: str) -> str:
    return ethernet("86dd", f"60000000000c11ff{source}{ALL6}{ports}000c000061626364")


GOOD = {
    "IPv4": udp4(OWN4),
    "ARP request": arp(OWN4),
    "ARP answer": arp(OWN4, request=False),
    "ARP probe of its own": arp("00000000", wanted=OWN4),
    "IPv4, a fragment": udp4(OWN4, fragment="2000"),
    "DHCP request": dhcp4("00000000", MAC),
    "DHCP renewal": dhcp4(OWN4, MAC),
    "IPv6": udp6(OWN6, "13881388"),
    "IPv6, link-local": udp6(OWN_LL, "13881388"),
    "IPv6, from its MAC address": udp6(GIVEN6, "13881388"),
    "DHCPv6 request": udp6(OWN_LL, "02220223"),
    "solicitation": solicit(OTHER6),
    "solicitation, before it takes it": solicit(OWN6, NONE6),
    "solicitation of a router": icmp6(NONE6, "85", "00000000"),
    "advertisement": advert(OWN6),
    "advertisement, link-local": advert(OWN_LL, OWN_LL),
    "report of listeners": icmp6(NONE6, "8f", "00000000", hop=True),
}
#: With the counter that must count it.
BAD = {
    "another MAC address": ("mac", udp4(OWN4, mac=OTHER)),
    "ARP from another MAC address": ("mac", arp(OWN4, source=OTHER)),
    "ARP for another address": ("arp", arp(OTHER4)),
    "ARP answer for another address": ("arp", arp(OTHER4, request=False)),
    "ARP with another MAC address inside": ("arp", arp(OWN4, mac=OTHER)),
    "ARP probe of another": ("arp", arp("00000000", wanted=OTHER4)),
    "another IPv4 address": ("ip4", udp4(OTHER4)),
    "no IPv4 address": ("ip4", udp4("00000000")),
    "DHCP answer": ("dhcp", udp4(OWN4, "00430044")),
    "DHCP answer from another": ("dhcp", udp4(OTHER4, "00430044")),
    "DHCP answer from another port": ("dhcp", udp4(OWN4, "04430044")),
    "DHCP request for another": ("dhcp", dhcp4("00000000", OTHER)),
    "DHCP release for another": ("dhcp", dhcp4(OWN4, OTHER)),
    "DHCP request, the first fragment": ("dhcp", udp4(OWN4, "00440043", fragment="2000")),
    "DHCPv6 answer": ("dhcp", udp6(OWN_LL, "02230222")),
    "DHCPv6 answer from another port": ("dhcp", udp6(OWN_LL, "04230222")),
    "another IPv6 address": ("ip6", udp6(OTHER6, "13881388")),
    "another link-local address": ("ip6", udp6(OTHER_LL, "13881388")),
    "no IPv6 address": ("ip6", udp6(NONE6, "13881388")),
    "advertisement of another": ("neighbour", advert(OTHER6)),
    "advertisement of another, link-local": ("neighbour", advert(OTHER_LL, OWN_LL)),
    "advertisement from another": ("ip6", advert(OWN6, OTHER6)),
    "solicitation, before it takes that of another": ("neighbour", solicit(OTHER6, NONE6)),
    "solicitation from another": ("ip6", solicit(OWN6, OTHER6)),
    "router advertisement": ("ra", icmp6(OWN_LL, "86", "40000708" + "0" * 16)),
    "redirect": ("ra", icmp6(OWN_LL, "89", "00000000" + OTHER6 + OWN6)),
    "VLAN tag": ("protocol", udp4(OWN4, tag="8100000a")),
    "two VLAN tags": ("protocol", udp4(OWN4, tag="88a8000a8100000b")),
    "spanning tree": ("protocol", ethernet("0026", "424203" + "00" * 35, target="0180c2000000")),
}


def send(shell: t.Sequence[str], ip: str, frames: t.Mapping[str, str], networks: str = "") -> tuple[set[str], dict[str, int]]:
    """Return which of the frames of a guest with these addresses reach its neighbour, and what was counted."""
    if not possible():
        pytest.skip("this machine has no nft, or lets nobody make a network of his own")
    # Each has an end of its own, by which it is known.
    marked = {name: frame + f"{number:08x}" * 5 for number, (name, frame) in enumerate(frames.items(), 1)}
    ended = subprocess.run(
        [*ISOLATED, sys.executable, "-c", SENDER, json.dumps(marked)],
        input=rules(shell, ip, networks),
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    arrived, counters = json.loads(ended.stdout)
    return set(arrived), {name.removeprefix("vif1.0-"): count for name, count in counters.items()}


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_what_passes_and_what_is_counted(shell: t.Sequence[str]) -> None:
    expected: dict[str, int] = dict.fromkeys(("mac", "protocol", "arp", "ip4", "ip6", "neighbour", "ra", "dhcp"), 0)
    for counter, _frame in BAD.values():
        expected[counter] += 1
    frames = {**GOOD, **{name: frame for name, (_counter, frame) in BAD.items()}}
    assert send(shell, "10.0.0.5 2001:db8::5", frames, "fd00:50::/64") == (set(GOOD), expected)


def test_without_rules_all_of_it_passes() -> None:
    """That the frames are what they seem to be."""
    if not possible():
        pytest.skip("this machine has no nft, or lets nobody make a network of his own")
    frames = {**GOOD, **{name: frame for name, (_counter, frame) in BAD.items()}}
    marked = {name: frame + f"{number:08x}" * 5 for number, (name, frame) in enumerate(frames.items(), 1)}
    ended = subprocess.run(
        [*ISOLATED, sys.executable, "-c", SENDER, json.dumps(marked)], input="", capture_output=True, check=False, text=True, timeout=60
    )
    assert set(json.loads(ended.stdout)[0]) == set(frames)


def test_a_router_may_have_all_addresses_and_no_other_mac_address() -> None:
    names = ["another IPv4 address", "another IPv6 address", "advertisement of another", "ARP for another address"]
    arrived, counters = send(
        SHELLS[0], "0.0.0.0/0 ::/0", {name: BAD[name][1] for name in [*names, "another MAC address", "DHCP answer", "router advertisement"]}
    )
    assert arrived == set(names)
    assert (counters["mac"], counters["dhcp"], counters["ra"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [("2001:db8::/64", OWN6, "20010db8000000010000000000000005"), ("2001:db8::4/126", OTHER6, "20010db8000000000000000000000008")],
)
def test_a_network_of_addresses(network: str, inside: str, outside: str) -> None:
    frames = {"inside": advert(inside, inside), "outside": advert(outside, inside), "from outside": advert(inside, outside)}
    assert send(SHELLS[0], network, frames)[0] == {"inside"}


def test_an_address_of_one_kind_leaves_none_of_the_other() -> None:
    assert send(SHELLS[0], "10.0.0.5", {"4": udp4(OWN4), "6": udp6(OWN6, "13881388"), "link-local": udp6(OWN_LL, "13881388")})[0] == {
        "4",
        "link-local",
    }
    assert send(SHELLS[0], "2001:db8::5", {"4": udp4(OWN4), "arp": arp(OWN4), "6": udp6(OWN6, "13881388")})[0] == {"6"}


def test_rules_can_be_set_again_and_removed_twice() -> None:
    if not possible():
        pytest.skip("this machine has no nft, or lets nobody make a network of his own")
    script = f"""
. "{FILES}/vif-rules"
set -e
ip link add vif1.0 type veth peer name guest
print_rules vif1.0 00:16:3e:00:00:11 10.0.0.5 "" | nft -f -
print_rules vif1.0 00:16:3e:00:00:11 10.0.0.6 "" | nft -f -
nft list ruleset | grep -c 'ip saddr 10.0.0.' >&2
ip link del vif1.0
for turn in 1 2; do
    {{ echo 'add table netdev xendd'; remove_rules vif1.0; }} | nft -f -
done
nft list ruleset
"""
    ended = subprocess.run([*ISOLATED, "sh", "-c", script], capture_output=True, check=False, text=True, timeout=60)
    assert (ended.returncode, ended.stdout.split(), ended.stderr.split()) == (0, ["table", "netdev", "xendd", "{", "}"], ["1"])


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    "ip", ["web1", "2001:db8::5::1", "2001:db8:::", "1:2:3:4:5:6:7:8:9", "2001:db8::12345", "1:2:3", "::ffff:10.0.0.1", "2001:db8::g"]
)
def test_what_is_no_address_is_refused(shell: t.Sequence[str], ip: str) -> None:
    assert rules(shell, ip) == ""


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    ("ip", "digits"),
    [
        ("::", "0" * 32),
        ("::1", "0" * 31 + "1"),
        ("1::", "0001" + "0" * 28),
        ("1:2:3:4:5:6:7:8", "00010002000300040005000600070008"),
        ("2001:DB8::a", "20010DB800000000000000000000000a"),
    ],
)
def test_all_forms_of_an_address(shell: t.Sequence[str], ip: str, digits: str) -> None:
    assert f"@th,64,128 0x{digits} accept" in rules(shell, ip)
