# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The networks that xendd makes beside plain bridges, with stubs for what it starts. What it gives to nft is checked by nft."""

from __future__ import annotations

import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from .test_xendd import MAC, OTHER_MAC, SHELLS, STATUS, FakeDomain, until

LAN = "xendd.bridge=lan,forward={},dhcp=192.168.50.128-192.168.50.254 xendd.address=lan,192.168.50.1/24 xendd.address=lan,fd00:50::1/64"
ROUTED = "xendd.address=b,10.60.0.1/24 xendd.address=b,fd00:60::1/64"


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def domain(tmp_path: Path, request: pytest.FixtureRequest) -> FakeDomain:
    made = FakeDomain(tmp_path, request.param)
    made.add_interface("eth0", MAC)
    made.add_interface("eth1", OTHER_MAC)
    for name in ("eth0", "eth1"):
        made.write(f"sys/class/net/{name}/mtu", "1500\n")
    for path in ("run/xendd/empty", "proc/sys/net/ipv4/ip_forward", "proc/sys/net/ipv6/conf/all/forwarding"):
        made.write(path, "0\n")
    return made


def done(domain: FakeDomain, *words: str) -> list[str]:
    assert domain.run(" ".join(words)) == 0
    assert domain.status == ("ready", "")
    return domain.calls


def test_two_vlans_of_a_card(domain: FakeDomain) -> None:
    calls = done(domain, f"xendd.bridge=br10,{MAC},vlan=10", f"xendd.bridge=br20,{MAC},vlan=20")
    assert calls == [
        line
        for vlan in (10, 20)
        for line in (
            f"ip link add name br{vlan} type bridge",
            f"ip link set dev br{vlan} up",
            "ip link set dev eth0 up",
            f"ip link add link eth0 name eth0.{vlan} type vlan id {vlan}",
            f"ip link set dev eth0.{vlan} master br{vlan}",
            f"ip link set dev eth0.{vlan} up",
        )
    ]


def test_a_bridge_that_knows_vlans(domain: FakeDomain) -> None:
    calls = done(domain, f"xendd.bridge=xenbr0,{MAC},vlan=aware")
    assert domain.read("sys/class/net/xenbr0/bridge/vlan_filtering") == "1\n"
    assert calls[-3:] == ["ip link set dev eth0 master xenbr0", "bridge vlan add dev eth0 vid 2-4094", "ip link set dev eth0 up"]


@pytest.mark.parametrize("bond", ["", ",bond=bond0:active-backup"])
def test_a_bridge_beside_a_vlan_of_its_card_takes_no_tags(domain: FakeDomain, bond: str) -> None:
    cards = f"{OTHER_MAC},{MAC}{bond}" if bond else MAC
    done(domain, f"xendd.bridge=xenbr0,{cards}", f"xendd.bridge=br10,{cards},vlan=10", "xendd.bridge=inner")
    assert domain.read("sys/class/net/xenbr0/bridge/vlan_filtering") == "1\n"
    assert not [name for name in ("br10", "inner") if (domain.root / f"sys/class/net/{name}/bridge/vlan_filtering").exists()]


def test_a_bridge_whose_card_carries_no_vlan_passes_tags(domain: FakeDomain) -> None:
    done(domain, f"xendd.bridge=xenbr0,{MAC}", f"xendd.bridge=br10,{OTHER_MAC},vlan=10")
    assert not (domain.root / "sys/class/net/xenbr0/bridge/vlan_filtering").exists()


def test_a_switch_beside_a_vlan_of_its_card(domain: FakeDomain) -> None:
    done(domain, f"xendd.bridge=ovs0,{MAC},switch=openvswitch", f"xendd.bridge=br10,{MAC},vlan=10")


def test_jumbo_frames_on_a_vlan_and_less_on_another(domain: FakeDomain) -> None:
    calls = done(domain, f"xendd.bridge=br10,{MAC},mtu=9000,vlan=10", f"xendd.bridge=br20,{MAC},vlan=20")
    assert [line for line in calls if "mtu" in line] == [f"ip link set dev {name} mtu 9000" for name in ("br10", "eth0", "eth0.10")]


def test_a_bond_of_cards(domain: FakeDomain) -> None:
    calls = done(domain, f"xendd.bridge=xenbr0,{MAC},{OTHER_MAC},mtu=9000,bond=bond0:802.3ad")
    assert calls == [
        "ip link add name xenbr0 type bridge",
        "ip link set dev xenbr0 mtu 9000",
        "ip link set dev xenbr0 up",
        "modprobe bonding max_bonds=0",
        "ip link add name bond0 type bond",
        *(
            line
            for card in ("eth0", "eth1")
            for line in (
                f"ip link set dev {card} mtu 9000",
                f"ip link set dev {card} down",
                f"ip link set dev {card} master bond0",
                "ip link set dev bond0 up",
                "ip link set dev bond0 mtu 9000",
                "ip link set dev bond0 master xenbr0",
                "ip link set dev bond0 up",
            )
        ),
    ]
    options = {name: domain.read(f"sys/class/net/bond0/bonding/{name}").strip() for name in ("mode", "miimon", "xmit_hash_policy")}
    assert options == {"mode": "802.3ad", "miimon": "100", "xmit_hash_policy": "layer2+3"}


def test_vlans_of_a_bond(domain: FakeDomain) -> None:
    calls = done(domain, *(f"xendd.bridge=br{vlan},{MAC},{OTHER_MAC},vlan={vlan},bond=bond0:active-backup" for vlan in (10, 20)))
    for vlan in (10, 20):
        assert calls.count(f"ip link add link bond0 name bond0.{vlan} type vlan id {vlan}") == 1
        assert f"ip link set dev bond0.{vlan} master br{vlan}" in calls
    assert calls.count("ip link add name bond0 type bond") == 1


def test_the_cards_of_a_bond_are_known_after_it_gave_them_its_address(domain: FakeDomain) -> None:
    words = [f"xendd.bridge=br{vlan},{MAC},{OTHER_MAC},vlan={vlan},bond=bond0:802.3ad" for vlan in (10, 20)]
    domain.add_backends()
    for name in ("open", "stay", "sys/class/net/bond0.10/brport/state", "sys/class/net/bond0.20/brport/state"):
        domain.write(name, "")
    # The second time, in the same boot.
    for _start in range(2):
        with domain.running(" ".join(["xendd.backend=1", *words])):
            until(lambda: domain.reports(STATUS)[-1:] == ["ready"])
            domain.devd_is("S")
            time.sleep(0.6)
            assert domain.status == ("ready", "")
        assert domain.read("sys/class/net/eth1/address") == f"{MAC}\n"
        domain.store_file.unlink()
    assert domain.calls.count("ip link set dev eth1 master bond0") == 1


def test_a_switch(domain: FakeDomain) -> None:
    calls = done(domain, f"xendd.bridge=ovs0,{MAC},switch=openvswitch")
    assert calls == [
        "ovs-vsctl --timeout=30 -- --if-exists del-br ovs0 -- add-br ovs0",
        "ip link set dev ovs0 up",
        "ovs-vsctl --timeout=30 --may-exist add-port ovs0 eth0",
        "ip link set dev eth0 up",
    ]
    assert (domain.root / "run/xendd/switch.ovs0").exists()
    # A second start in the same boot keeps the ports of guests.
    domain.calls_file.unlink()
    assert done(domain, f"xendd.bridge=ovs0,{MAC},switch=openvswitch")[0] == "ovs-vsctl --timeout=30 --may-exist add-br ovs0"


def test_behind_nat(domain: FakeDomain) -> None:
    calls = done(domain, f"xendd.bridge=wan,{MAC} xendd.address=wan,10.0.3.9/24,10.0.3.2", LAN.format("nat"), "xendd.bridge=inner")
    assert "nft -f -" in calls
    rules = domain.read("nft")
    places = [
        rules.index(rule)
        for rule in (
            "forward jump sources",
            'forward oifname "lan" ct state established,related accept',
            'forward oifname "lan" counter drop',
            'forward iifname "lan" ip saddr 192.168.50.1/24 accept',
        )
    ]
    assert places == sorted(places)
    assert 'postrouting oifname != "lan" ip saddr 192.168.50.1/24 masquerade' in rules
    assert 'postrouting oifname != "lan" ip6 saddr fd00:50::1/64 masquerade' in rules
    assert "policy drop" in rules
    assert "inner" not in rules
    assert domain.read("proc/sys/net/ipv4/ip_forward") == domain.read("proc/sys/net/ipv6/conf/all/forwarding") == "1\n"


def test_routed(domain: FakeDomain) -> None:
    done(domain, "xendd.bridge=wan xendd.address=wan,10.0.3.9/24", LAN.format("route"))
    rules = domain.read("nft")
    assert 'forward oifname "lan" accept' in rules
    assert 'forward iifname "lan" ip6 saddr fd00:50::1/64 accept' in rules
    assert "masquerade" not in rules


def chain(domain: FakeDomain, name: str) -> list[str]:
    head = f"add rule inet xendd {name} "
    return [line[len(head) :] for line in domain.read("nft").splitlines() if line.startswith(head)]


def test_sources_are_checked_before_anything_is_let_in(domain: FakeDomain) -> None:
    """Otherwise a guest of one network could send to a guest of a routed one with any address."""
    done(domain, "xendd.bridge=wan xendd.address=wan,10.0.3.9/24,10.0.3.2", LAN.format("nat"), f"xendd.bridge=b,forward=route {ROUTED}")
    assert chain(domain, "sources") == [
        'iifname "lan" ip saddr 192.168.50.1/24 return',
        'iifname "lan" ip6 saddr fd00:50::1/64 return',
        'iifname "lan" counter drop',
        'iifname "b" ip saddr 10.60.0.1/24 return',
        'iifname "b" ip6 saddr fd00:60::1/64 return',
        'iifname "b" counter drop',
    ]
    assert chain(domain, "forward") == [
        "jump sources",
        'oifname "lan" ct state established,related accept',
        'oifname "lan" counter drop',
        'oifname "b" accept',
        'iifname "lan" ip saddr 192.168.50.1/24 accept',
        'iifname "lan" ip6 saddr fd00:50::1/64 accept',
        'iifname "b" ip saddr 10.60.0.1/24 accept',
        'iifname "b" ip6 saddr fd00:60::1/64 accept',
    ]


@pytest.mark.parametrize(
    "way", ["wan,10.0.3.9/24,10.0.3.2", "wan,10.0.3.9/24 xendd.address=wan,dhcp", "wan,10.0.3.9/24 xendd.address=wan,auto"]
)
def test_what_comes_from_outside_may_have_any_source(domain: FakeDomain, way: str) -> None:
    """The network with the gateway is routed as well here."""
    done(domain, f"xendd.bridge=wan,{MAC},forward=route xendd.address={way} xendd.bridge=b,forward=route {ROUTED}")
    assert 'iifname "wan" counter drop' not in chain(domain, "sources")
    assert 'iifname "b" counter drop' in chain(domain, "sources")
    assert 'iifname "wan" ip saddr 10.0.3.9/24 accept' in chain(domain, "forward")


def test_dhcp_and_dns(domain: FakeDomain) -> None:
    calls = done(
        domain, LAN.format("nat").replace(",forward", ",dns=10.0.3.3/2001:db8::3,forward"), "xendd.bridge=dmz,dhcp=10.7.0.8-10.7.0.14"
    )
    (server,) = [line for line in calls if line.startswith("dnsmasq ")]
    for word in (
        *("--interface=lan", "--dhcp-range=192.168.50.128,192.168.50.254,12h", "--dhcp-range=::,constructor:lan,ra-stateless"),
        *("--interface=dmz", "--dhcp-range=10.7.0.8,10.7.0.14,12h", "--server=10.0.3.3", "--server=2001:db8::3", "--no-resolv"),
    ):
        assert word in server.split()
    assert domain.read("run/xendd/bridge.lan") == "fd00:50::1/64\n"
    assert all((domain.root / f"run/xendd/dhcp.{name}").exists() for name in ("lan", "dmz"))


def test_two_ipv6_networks_of_a_bridge(domain: FakeDomain) -> None:
    (server,) = [line for line in done(domain, LAN.format("nat"), "xendd.address=lan,fd00:51::1/64") if line.startswith("dnsmasq ")]
    assert server.count("constructor:lan") == 1
    assert domain.read("run/xendd/bridge.lan") == "fd00:50::1/64 fd00:51::1/64\n"


def test_what_guests_say_is_neither_logged_nor_served(domain: FakeDomain) -> None:
    (server,) = [line for line in done(domain, LAN.format("nat")) if line.startswith("dnsmasq ")]
    words = {"--dhcp-ignore-names", "--dhcp-ignore-clid", "--quiet-dhcp", "--quiet-dhcp6", "--quiet-ra"}
    assert words <= set(server.split())
    assert "--log-facility" not in server


def test_who_dnsmasq_runs_as(domain: FakeDomain) -> None:
    assert "--user=root --group=root" in done(domain, LAN.format("nat"))[-1]
    domain.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndnsmasq:x:999:65534:dnsmasq:/:/bin/false\n")
    assert "--user=dnsmasq" in done(domain, LAN.format("nat"))[-1]


def started(domain: FakeDomain) -> int:
    return sum(line.startswith("dnsmasq ") for line in domain.calls)


def test_dnsmasq_is_started_again(domain: FakeDomain) -> None:
    domain.add_backends()
    for name in ("open", "stay"):
        domain.write(name, "")
    with domain.running(f"xendd.backend=1 {LAN.format('nat')}"):
        until(lambda: domain.reports(STATUS)[-1:] == ["ready"])
        domain.devd_is("S")
        time.sleep(0.6)
        assert started(domain) == 1
        # Another process has its number.
        domain.write("proc/4242/stat", "4242 (sleep) S 1\n")
        until(lambda: started(domain) == 2)
        time.sleep(0.6)
        assert (started(domain), domain.reports(STATUS)) == (2, ["starting", "attachable", "ready"])
        domain.write("brief", "")
        domain.write("proc/4242/stat", "4242 (dnsmasq) Z 1\n")
        until(lambda: domain.status == ("error", "no addresses and names for guests in lan: dnsmasq: it has ended again"))
        (domain.root / "brief").unlink()
        until(lambda: domain.status == ("ready", ""))


def test_dnsmasq_that_does_not_start_again(domain: FakeDomain) -> None:
    domain.add_backends()
    for name in ("open", "stay"):
        domain.write(name, "")
    with domain.running(f"xendd.backend=1 {LAN.format('nat')}"):
        until(lambda: domain.reports(STATUS)[-1:] == ["ready"])
        domain._program(domain.directory / "bin" / "dnsmasq", "echo 'no memory' >&2; exit 1\n")
        domain.devd_is("S")
        domain.write("proc/4242/stat", "4242 (dnsmasq) Z 1\n")
        until(lambda: domain.status == ("error", "no addresses and names for guests in lan: dnsmasq: no memory"))


def test_names_are_asked_where_this_domain_asks(domain: FakeDomain) -> None:
    (server,) = [line for line in done(domain, LAN.format("nat")) if line.startswith("dnsmasq ")]
    assert f"--resolv-file={domain.root}/run/xendd/resolv.conf" in server
    (domain.root / "run/systemd/resolve").mkdir(parents=True)
    assert f"--resolv-file={domain.root}/run/systemd/resolve/resolv.conf" in done(domain, LAN.format("nat"))[-1]


@pytest.mark.parametrize("program", ["nft", "dnsmasq", "ovs-vsctl", "bridge"])
def test_what_fails_is_reported(domain: FakeDomain, program: str) -> None:
    domain.fail = f"{program} *"
    domain.run(f"xendd.bridge=ovs0,switch=openvswitch xendd.bridge=a,{MAC},vlan=aware {LAN.format('nat')}")
    assert domain.status[0] == "error"
    assert program in domain.status[1]


def test_an_address_by_router_advertisements(domain: FakeDomain) -> None:
    domain.write("proc/sys/net/ipv6/conf/eth0/accept_ra", "1\n")
    assert done(domain, f"xendd.address={MAC},auto") == ["ip link set dev eth0 up"]
    assert domain.read("proc/sys/net/ipv6/conf/eth0/accept_ra") == "2\n"


@pytest.mark.parametrize("kind", ["nat", "route"])
def test_nft_takes_the_rules(domain: FakeDomain, kind: str) -> None:
    done(domain, "xendd.bridge=wan xendd.address=wan,10.0.3.9/24", LAN.format(kind), f"xendd.bridge=b,forward=route {ROUTED}")
    isolated = ["unshare", "--user", "--map-root-user", "--net"]
    if not shutil.which("nft") or subprocess.run([*isolated, "nft", "add table inet t"], capture_output=True, check=False).returncode:
        pytest.skip("this machine has no nft, or lets nobody make a network of his own")
    command = [*isolated, "nft", "--check", "--file", str(domain.root / "nft")]
    checked: t.Any = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
