# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reaches whom in the networks of two driver domains, and what a guest cannot pretend to be."""

from __future__ import annotations

import re
import typing as t

import pytest

if t.TYPE_CHECKING:
    from testinfra.host import Host

    Console = t.Callable[..., str]

#: From, to, whether it is reached, and why.
TABLE = (
    ("guest1", "10.0.3.16", True, "same bridge"),
    ("one", "10.0.3.15", True, "same bridge"),
    ("one", "10.0.3.2", True, "the outside"),
    ("one", "10.10.0.17", True, "same VLAN, same driver domain"),
    ("one", "10.10.0.2", True, "same VLAN, through the wire"),
    ("one", "-s 3800 10.10.0.2", True, "a large frame through the wire"),
    ("one", "fd00:10::2", True, "same VLAN, through the wire, IPv6"),
    ("guest1", "10.10.0.2", False, "another VLAN"),
    ("two", "192.168.50.1", True, "its router"),
    ("two", "fd00:50::1", True, "its router, IPv6"),
    ("two", "10.0.5.2", True, "the outside, through NAT"),
    ("two", "10.60.0.17", True, "a routed network, through NAT"),
    ("two", "fd00:60::17", True, "a routed network, through NAT, IPv6"),
    ("three", "10.0.5.9", True, "its driver domain"),
    ("three", "fd00:60::1", True, "its router, IPv6"),
    ("three", "192.168.50.16", False, "behind NAT"),
)
#: What guest1 does, and what counts it. It has 10.0.3.15 and the MAC address 00:16:3e:00:00:11; its neighbour is 10.0.3.16.
LIES = (
    ("arp", "ip address add 10.0.3.99/24 dev eth0; ping -c 2 -W 1 -I 10.0.3.99 10.0.3.77; ip address del 10.0.3.99/24 dev eth0"),
    (
        "ip4",
        "ping -c 1 10.0.3.16 >/dev/null; ip address add 10.0.3.99/24 dev eth0; ping -c 2 -W 1 -I 10.0.3.99 10.0.3.16; "
        "ip address del 10.0.3.99/24 dev eth0",
    ),
    # It asks whether somebody has the address, without one of its own.
    ("neighbour", "ip address add fec0::16/64 dev eth0; sleep 2; ip address del fec0::16/64 dev eth0"),
    (
        "ip6",
        "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ip address add fec0::99/64 dev eth0; ping -6 -c 2 -W 1 -I fec0::99 fec0::16; "
        "ip address del fec0::99/64 dev eth0",
    ),
    (
        "mac",
        # Not while it is up.
        "for mac in 00:16:3e:00:00:99 00:16:3e:00:00:11; do ip link set dev eth0 down; ip link set dev eth0 address $mac; "
        "ip link set dev eth0 up; [ $mac = 00:16:3e:00:00:11 ] || ping -c 2 -W 1 10.0.3.16; done",
    ),
)
#: A DHCP server in a guest.
ROGUE = (
    "mkdir -p /tmp; printf 'start 10.0.3.50\\nend 10.0.3.60\\ninterface eth0\\nlease_file /tmp/leases\\npidfile /tmp/pid\\n' >/tmp/rogue; "
    ": >/tmp/leases; udhcpd /tmp/rogue"
)


@pytest.fixture(scope="module")
def vif(host: Host) -> str:
    """The name of guest1's vif in net-dd."""
    return f"vif{host.check_output('timeout 30 xl domid guest1')}.0"


def counted(console: Console, vif: str) -> dict[str, int]:
    listed = console("net-dd", "nft list counters table netdev xendd")
    found = re.findall(rf"counter {re.escape(vif)}-(\w+) {{\s+packets (\d+)", listed)
    assert len(found) == 8, listed
    return {name: int(packets) for name, packets in found}


@pytest.mark.parametrize(("guest", "address", "reached", "why"), TABLE, ids=[f"{row[0]}: {row[3]}" for row in TABLE])
def test_who_reaches_whom(console: Console, guest: str, address: str, reached: bool, why: str) -> None:
    output = console(guest, f"ping -c 3 -W 2 {address} || :")
    assert (" 0% packet loss" in output) == reached, f"{why}:\n{output}"


def test_the_bridge_beside_a_vlan_of_its_card_passes_no_tags(console: Console) -> None:
    assert "filtering=1" in console("net-dd", "echo filtering=$(cat /sys/class/net/xenbr0/bridge/vlan_filtering)")


def test_a_guest_has_the_address_that_it_is_held_to(console: Console) -> None:
    assert "192.168.50.16/24" in console("two", "ip -4 address show dev eth0")


def test_names_are_served(console: Console) -> None:
    assert "192.168.50.1" in console("two", "cat /run/xendd/resolv.conf")


@pytest.mark.parametrize(("counter", "lie"), LIES, ids=[lie[0] for lie in LIES])
def test_a_lie_is_stopped_and_counted(console: Console, vif: str, counter: str, lie: str) -> None:
    """And heard by nobody: what the neighbour received does not grow."""
    before = counted(console, vif)
    output = console("guest1", f"({lie}) 2>&1 || :")
    after = counted(console, vif)
    assert after[counter] > before[counter], output
    assert ", 0% packet loss" not in output


def test_a_dhcp_server_in_a_guest_is_not_heard(console: Console, vif: str) -> None:
    before = counted(console, vif)["dhcp"]
    console("guest1", ROGUE)
    # The server first asks for 2 s whether somebody has the address.
    output = console("one", "udhcpc -f -n -q -t 3 -T 2 -i eth0 -s /bin/true 2>&1 || :; sleep 5")
    console("guest1", "kill $(cat /tmp/pid)")
    assert counted(console, vif)["dhcp"] > before, output
    assert "10.0.3.5" not in output


def test_the_truth_passes_after_that(console: Console, vif: str) -> None:
    before = counted(console, vif)
    assert ", 0% packet loss" in console("guest1", "ping -c 3 10.0.3.16")
    after = counted(console, vif)
    assert {name: after[name] - before[name] for name in ("mac", "arp", "ip4", "dhcp")} == dict.fromkeys(("mac", "arp", "ip4", "dhcp"), 0)


def test_clients_do_not_trust_driver_domains(host: Host) -> None:
    for name in ("guest1", "two"):
        domid = host.check_output(f"timeout 30 xl domid {name}")
        assert host.check_output(f"timeout 30 xenstore-read /local/domain/{domid}/device/vif/0/trusted") == "0"
