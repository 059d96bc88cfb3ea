# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The networks of a driver domain: what is refused, and the words that xendd reads."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._networks import (
    address_words,
    bridge_words,
    check_bridges,
    dhcp_range,
    network_features,
    source_addresses,
)

Settings = dict[str, t.Any]
MACS = {"a": "52:54:00:00:00:0a", "b": "52:54:00:00:00:0b"}
WAN: Settings = {"name": "wan", "ports": ["a"], "address": "10.0.3.9/24", "gateway": "10.0.3.2"}
LAN: Settings = {
    "name": "lan",
    "address": ["192.168.50.1/24", "fd00:50::1/64"],
    "forward": "nat",
    "dhcp": True,
    "dns": ["10.0.3.3", "2001:db8::3"],
}


def words(*bridges: Settings, image: str | None = "minimal") -> list[str]:
    check_bridges(bridges, image)
    return bridge_words(bridges, lambda _bridge, port: MACS[port])


@pytest.mark.parametrize(
    ("bridges", "expected"),
    [
        ([{"name": "br"}], ["xendd.bridge=br"]),
        ([{"name": "br", "ports": ["a", "b"], "mtu": "9000"}], [f"xendd.bridge=br,{MACS['a']},{MACS['b']},mtu=9000"]),
        (
            [{"name": f"br{vlan}", "ports": ["a"], "vlan": vlan} for vlan in (10, 20)],
            [f"xendd.bridge=br10,{MACS['a']},vlan=10", f"xendd.bridge=br20,{MACS['a']},vlan=20"],
        ),
        ([{"name": "br", "ports": ["a"], "vlan_aware": True}], [f"xendd.bridge=br,{MACS['a']},vlan=aware"]),
        (
            [
                {"name": f"br{vlan}", "ports": ports, "vlan": vlan, "bond": "802.3ad"}
                for vlan, ports in ((10, ["a", "b"]), (20, ["b", "a"]))
            ],
            [
                f"xendd.bridge=br10,{MACS['a']},{MACS['b']},vlan=10,bond=bond0:802.3ad",
                f"xendd.bridge=br20,{MACS['b']},{MACS['a']},vlan=20,bond=bond0:802.3ad",
            ],
        ),
        (
            [WAN, LAN],
            [
                f"xendd.bridge=wan,{MACS['a']}",
                "xendd.address=wan,10.0.3.9/24,10.0.3.2",
                "xendd.bridge=lan,forward=nat,dhcp=192.168.50.128-192.168.50.254,dns=10.0.3.3/2001:db8::3",
                "xendd.address=lan,192.168.50.1/24",
                "xendd.address=lan,fd00:50::1/64",
            ],
        ),
    ],
)
def test_words(bridges: list[Settings], expected: list[str]) -> None:
    assert words(*bridges) == expected


def test_open_vswitch_is_for_debian() -> None:
    switch = {"name": "ovs0", "ports": ["a"], "switch": "openvswitch"}
    assert words(switch, image="debian") == [f"xendd.bridge=ovs0,{MACS['a']},switch=openvswitch"]
    with pytest.raises(InvalidInput, match="ovs0: switch is openvswitch, and the image is minimal.*Set image: debian"):
        words(switch)


@pytest.mark.parametrize(
    ("bridges", "problem"),
    [
        ([{"name": "br", "mtu": 1279}], "br: mtu is 1279. Rule: the MTU of a bridge is 1280 to 65517"),
        ([{"name": "br", "mtu": "large"}], "br: mtu is 'large'. Rule: it is a number"),
        ([{"name": "br", "ports": ["a"], "vlan": 4095}], "br: vlan is 4095. Rule: a VLAN has a number from 1 to 4094"),
        ([{"name": "br", "ports": ["a"], "vlan": True}], "br: vlan is True"),
        ([{"name": "br", "vlan": 10}], "br: it has the VLAN 10 and no ports"),
        ([{"name": "br", "ports": ["a"], "vlan": 10, "vlan_aware": True}], "br: vlan_aware is set beside vlan"),
        ([{"name": "br", "vlan_aware": True, "switch": "openvswitch"}], "br: vlan_aware is set beside switch: openvswitch"),
        ([{"name": "br", "switch": "bsd"}], "br: switch is 'bsd'"),
        ([{"name": "br", "ports": ["a"], "bond": "802.3ad"}], "br: it has a bond of 1 ports"),
        ([{"name": "br", "ports": ["a", "b"], "bond": "balance-rr"}], "br: bond is 'balance-rr'"),
        ([{"name": "x", "ports": ["a"]}, {"name": "y", "ports": ["a"]}], "y: a is a port of x already, without a VLAN"),
        (
            [{"name": "x", "ports": ["a"], "vlan": 9}, {"name": "y", "ports": ["a"], "vlan": 9}],
            "y: a is a port of x already, with the VLAN 9",
        ),
        ([{"name": "x", "ports": ["a", "b"], "bond": "802.3ad"}, {"name": "y", "ports": ["a"], "vlan": 9}], "y: a is in no bond here"),
        (
            [{"name": "x", "ports": ["a", "b"], "bond": "802.3ad"}, {"name": "y", "ports": ["a", "b"], "bond": "active-backup", "vlan": 9}],
            "y: a is in another bond here",
        ),
        ([WAN, {"name": "lan", "forward": "bridge", "address": "10.1.0.1/24"}], "lan: forward is 'bridge'"),
        ([WAN, {"name": "lan", "forward": "nat"}], "lan: forward is nat, and it has no static address"),
        ([WAN, {"name": "lan", "forward": "nat", "address": "dhcp"}], "lan: forward is nat, and it has no static address"),
        ([{"name": "wan"}, {**LAN}], "lan: forward is nat, and there is nowhere to go"),
        ([WAN, {**LAN, "address": "fd00::1/64"}], "lan: dhcp is set, and it has no IPv4 network"),
        ([WAN, {**LAN, "address": "10.1.0.1/30"}], "lan: dhcp is set, and it has too small an IPv4 network"),
        ([WAN, {**LAN, "address": ["10.1.0.1/24", "10.2.0.1/24"]}], "lan: dhcp is set, and it has more than one IPv4 network"),
        ([WAN, {**LAN, "address": ["10.1.0.1/24", "fd00::1/48"]}], "lan: dhcp is set, and fd00::1/48 is not in a /64"),
        ([{"name": "br", "dns": ["10.0.3.3"]}], "br: there is dns without dhcp"),
        ([WAN, {**LAN, "dns": ["ns.example.org"]}], "lan, dns: 'ns.example.org'"),
        ([{"name": "b r"}], "bridges: 'b r' is not a valid bridge"),
    ],
)
def test_what_cannot_work_is_refused(bridges: list[Settings], problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        words(*bridges)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("image", "devices", "works"), [("debian", ["wifi0"], True), ("debian", ["a"], False), ("minimal", ["wifi0"], False)]
)
def test_a_device_that_is_no_port_may_be_the_way_out(image: str, devices: list[str], works: bool) -> None:
    """A Wi-Fi card: its network is set up inside of the domain, for which the image must be a whole system."""
    bridges = [{"name": "wan", "ports": ["a"]}, LAN]
    if works:
        check_bridges(bridges, image, devices=devices)
    else:
        with pytest.raises(InvalidInput, match="there is nowhere to go"):
            check_bridges(bridges, image, devices=devices)


@pytest.mark.parametrize(
    "extra", [{"mtu": 9000}, {"vlan_aware": True}, {"forward": "nat", "address": "10.1.0.1/24"}, {"switch": "openvswitch"}]
)
def test_an_image_of_ones_own_makes_its_networks_itself(extra: Settings) -> None:
    with pytest.raises(InvalidInput, match=f"br: {next(iter(extra))} is for an image of the collection"):
        words({"name": "br", "ports": ["a"], **extra}, image=None)
    assert words({"name": "br", "ports": ["a"], "switch": "linux", "vlan_aware": False}, image=None) == [f"xendd.bridge=br,{MACS['a']}"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.168.50.1/24", ("192.168.50.128", "192.168.50.254")),
        ("192.168.50.254/24", ("192.168.50.128", "192.168.50.253")),
        ("192.168.50.140/24", ("192.168.50.141", "192.168.50.254")),
        ("10.0.0.1/29", ("10.0.0.4", "10.0.0.6")),
    ],
)
def test_the_upper_half_is_handed_out(address: str, expected: tuple[str, str]) -> None:
    assert dhcp_range("lan", {"address": address}) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"address": []}, []),
        ({"address": "dhcp"}, ["xendd.address=eth0,dhcp"]),
        ({"address": ["dhcp", "auto"]}, ["xendd.address=eth0,dhcp", "xendd.address=eth0,auto"]),
        (
            {"address": ["10.0.3.5/24", "2001:db8::5/64", "2001:db8::6/64"], "gateway": ["2001:db8::1", "10.0.3.2"]},
            [
                "xendd.address=eth0,10.0.3.5/24,10.0.3.2",
                "xendd.address=eth0,2001:db8::5/64,2001:db8::1",
                "xendd.address=eth0,2001:db8::6/64",
            ],
        ),
    ],
)
def test_addresses(settings: Settings, expected: list[str]) -> None:
    assert address_words("eth0", settings) == expected


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"address": "dhcp", "gateway": "10.0.3.2"}, "eth0: there is a gateway '10.0.3.2' beside dhcp"),
        ({"address": ["10.0.3.5/24"], "gateway": ["fd00::1"]}, "eth0: there is a gateway 'fd00::1' and no static address of IPv6"),
        ({"address": ["10.0.3.5/24"], "gateway": ["10.0.3.1", "10.0.3.2"]}, "eth0: there are two gateways for IPv4"),
        ({"address": ["10.0.3.5"]}, "has no prefix length"),
        ({"address": "dhcp init=/bin/sh"}, "is not an address"),
    ],
)
def test_addresses_that_are_refused(settings: Settings, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        address_words("eth0", settings)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("vif", "expected"),
    [
        ({"backend": "net-dd", "address": ["10.0.3.5/24", "2001:db8::5/64"]}, "10.0.3.5 2001:db8::5"),
        ({"backend": "net-dd", "address": "10.0.3.5/24", "ip": "10.0.3.0/24 ::/0"}, "10.0.3.0/24 ::/0"),
        ({"backend": "net-dd", "address": "10.0.3.5/24", "ip": ""}, None),
        ({"backend": "net-dd", "address": "dhcp"}, None),
        ({"backend": "net-dd"}, None),
        ({"address": "10.0.3.5/24"}, None),
        ({"ip": "10.0.3.5"}, "10.0.3.5"),
        ({"backend": "net-dd", "address": "10.0.3.5/24", "vlan": "10p"}, "10.0.3.5"),
        ({"backend": "net-dd", "script": "vif-nat", "ip": "10.0.0.1/16"}, "10.0.0.1/16"),
    ],
)
def test_what_a_vif_is_held_to(vif: Settings, expected: str | None) -> None:
    assert source_addresses(vif, 0) == expected


def test_the_vifs_of_a_bond_have_its_addresses() -> None:
    bonds = [{"name": "bond0", "address": "10.0.3.5/24", "vifs": ["0", 1]}]
    assert [source_addresses({"backend": "net-dd"}, number, bonds) for number in range(3)] == ["10.0.3.5", "10.0.3.5", None]


@pytest.mark.parametrize(
    ("vif", "problem"),
    [
        ({"ip": "10.0.3.5/24"}, "vif 0: '10.0.3.5/24' in ip is neither an address nor a network"),
        ({"ip": "web1"}, "vif 0: 'web1' in ip"),
        ({"backend": "net-dd", "address": "10.0.3.5/24", "vlan": "10p/20"}, "vif 0: it has tagged VLANs (10p/20) and addresses (10.0.3.5)"),
        ({"backend": "net-dd", "address": "10.0.3.5/24", "bridge": "ovs0:10:20"}, "vif 0: it has tagged VLANs (ovs0:10:20)"),
    ],
)
def test_what_a_vif_cannot_be_held_to(vif: Settings, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        source_addresses(vif, 0)
    assert problem in str(caught.value)
    assert "Use 10.0.3.5 for that address alone" in str(caught.value) or "Set ip to ''" in str(caught.value) or "web1" in problem


def test_what_the_image_needs() -> None:
    assert network_features([{"name": "br", "ports": ["a"]}, WAN]) == []
    assert network_features([WAN, LAN]) == ["forward", "dhcp"]
    assert network_features([{"vlan": 10, "bond": "802.3ad"}, {"vlan_aware": True}, {"switch": "openvswitch"}]) == [
        "vlan",
        "vlan_aware",
        "bond",
        "openvswitch",
    ]
