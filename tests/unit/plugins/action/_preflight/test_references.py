# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What refers to something else."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.action.preflight import role_options
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.model import DeclaredHost, declared
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.references import check_references, undeclared_backends

OPTIONS = role_options(["dom0", "driver_domain", "domu"])
DEVICES = [
    {"name": "uplink0", "match": {"mac": "52:54:00:aa:00:02"}},
    {"name": "uplink1", "match": {"mac": "52:54:00:aa:00:03"}},
    {"name": "usb", "match": {"class": "usb"}, "match_all": True},
]
NET = {"name": "net-dd", "pci": ["uplink0"], "bridges": [{"name": "xenbr0", "ports": ["uplink0"]}]}


def host(drivers: t.Any = (NET,), guests: t.Any = (), **variables: t.Any) -> DeclaredHost:
    domains = {"driver_domain_domains": list(drivers), "domu_domains": list(guests)}
    return declared({"dom0_pci_assignable": DEVICES, **domains, **variables}, OPTIONS)


def errors(declaration: DeclaredHost, existing: t.Collection[str] = (), unread: str = "") -> list[str]:
    return [str(finding) for finding in check_references(declaration, existing, unread) if not finding.warning]


def guest(name: str = "web1", **options: t.Any) -> dict[str, t.Any]:
    return {"name": name, **options}


def test_what_is_right() -> None:
    guests = [
        guest(vifs=[{"backend": "net-dd", "bridge": "xenbr0"}, {"bridge": "br0"}, {"backend": "Domain-0"}, {"backend": "0"}]),
        guest("web2", vifs=[{"backend": "net-dd"}], pci=["usb.0", {"device": "usb.1"}]),
        guest("web3", vifs=[{"backend": "net-dd", "bridge": "ovs0", "script": "vif-openvswitch"}]),
    ]
    drivers = [NET, {"name": "own", "kernel": "/k"}, {"name": "stacked", "vifs": [{"backend": "net-dd", "bridge": "xenbr0"}]}]
    guests.append(guest("web4", vifs=[{"backend": "own", "bridge": "whatever"}]))
    assert errors(host(drivers, guests)) == []
    for image in ("none", "foreign"):
        assert errors(host([{**NET, "image": image}], [guest(vifs=[{"backend": "net-dd", "bridge": "br9"}])])) == []


@pytest.mark.parametrize("backend", ["net-d", "netdd", "storage"])
def test_an_unknown_backend(backend: str) -> None:
    declaration = host(guests=[guest(vifs=[{"backend": "net-dd"}, {"backend": backend}]), guest("web2", disks=[{"backend": backend}])])
    assert undeclared_backends(declaration) == {backend}
    assert errors(declaration, [backend]) == []
    assert errors(declaration, ["7"]) != []
    first, second = errors(declaration, ["Domain-0", "0", "other", "3"])
    assert first.startswith(f"domu_domains[0] (web1).vifs[1]: its backend '{backend}' is not known. Driver domains: net-dd.")
    assert "Other domains that the host has: other." in first
    assert second.startswith("domu_domains[1] (web2).disks[0]: ")
    assert ("Did you mean net-dd?" in first) == (backend != "storage")
    (again, _other) = errors(declaration, unread="not known (it does not run under Xen)")
    assert "not known (it does not run under Xen)" in again


def test_nobody_asks_for_backends_of_what_is_to_be_gone() -> None:
    declaration = host(guests=[guest(state="absent", vifs=[{"backend": "gone"}])])
    assert (undeclared_backends(declaration), errors(declaration)) == (set(), [])
    assert undeclared_backends(host(guests=[guest(vifs=[{"backend": "gone"}])], domu_state="absent")) == set()


@pytest.mark.parametrize(
    ("bridge", "remedy"), [("xenbr1", "Did you mean xenbr0?"), ("xnebr0", "Did you mean xenbr0?"), ("lan", "Use one of xenbr0")]
)
def test_a_bridge_that_the_backend_does_not_have(bridge: str, remedy: str) -> None:
    (error,) = errors(host(guests=[guest(vifs=[{"backend": "net-dd", "bridge": bridge}])]))
    assert f"vifs[0]: there is no bridge '{bridge}' in net-dd, which has: xenbr0." in error
    assert remedy in error


def test_a_backend_without_bridges() -> None:
    (error,) = errors(host([{"name": "net-dd"}], [guest(vifs=[{"backend": "net-dd", "bridge": "xenbr0"}])]))
    assert "which has: none" in error and "Add it to the bridges of net-dd" in error


@pytest.mark.parametrize(
    ("device", "remedy"),
    [("uplnk0", "Did you mean uplink0?"), ("usb", "Did you mean usb.0?"), ("other", "Use one of uplink0, uplink1, usb.0")],
)
def test_a_device_that_nothing_declares(device: str, remedy: str) -> None:
    found = errors(
        host(
            [{"name": "net-dd", "pci": [device], "bridges": [{"name": "xenbr0", "ports": [device]}]}],
            [guest(pci=[{"device": device}], state="present")],
        )
    )
    assert [error.partition(":")[0] for error in found] == [
        "driver_domain_domains[0] (net-dd).bridges[0] (xenbr0).ports[0]",
        "driver_domain_domains[0] (net-dd).pci[0]",
        "domu_domains[0] (web1).pci[0]",
        "driver_domain_domains[0] (net-dd).pci[0]",
    ]
    assert all(f"there is no device '{device}' in dom0_pci_assignable, which has: uplink0, uplink1, usb.0." in error for error in found[:3])
    assert all(remedy in error for error in found[:3])
    assert "is also that of domu_domains[0] (web1).pci[0]" in found[3]


def test_devices_of_a_role_of_its_own() -> None:
    own = [{"name": "card", "match": {"bdf": "0000:03:00.0"}}]
    assert errors(host([{"name": "net-dd", "pci": ["card"]}], driver_domain_pci_devices=own)) == []
    (error,) = errors(host([NET | {"bridges": []}], driver_domain_pci_devices=own))
    assert "there is no device 'uplink0' in driver_domain_pci_devices, which has: card" in error
    assert errors(host([{"name": "net-dd", "pci": ["card"]}], [guest(pci=["uplink0"])], driver_domain_pci_devices=own)) == []


def test_ports() -> None:
    (error,) = errors(host([{**NET, "bridges": [{"name": "xenbr0", "ports": ["uplink1"]}]}]))
    assert "the port 'uplink1' is no device of net-dd, which owns: uplink0. " in error and "Add uplink1 to pci of net-dd" in error
    bridges = [{"name": "xenbr0", "ports": ["uplink0"]}, {"name": "xenbr1", "ports": ["uplink0"]}]
    (error,) = errors(host([{**NET, "bridges": bridges}]))
    assert "the port 'uplink0' is also that of " in error


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"name": "a b", "match": {"bdf": "0000:03:00.0"}}, "'a b' cannot be the name of a device"),
        ({"name": "nic", "match": {"mac": "52:54:00:aa:00"}}, "'52:54:00:aa:00' is not a MAC address"),
        ({"name": "nic", "match": {"bdf": "03:00"}}, "03:00"),
        ({"name": "nic", "match": {"macc": "1"}}, "unknown criteria macc"),
        ({"name": "nic", "match": {}}, "match names no criterion"),
        ({"name": "nic", "match": {"mac": "52:54:00:AA:00:03"}}, "it is the same device as dom0_pci_assignable[1] (uplink1)"),
        ({"name": "uplink1", "match": {"bdf": "0000:03:00.0"}}, "the name 'uplink1' is also that of"),
    ],
)
def test_entries_of_devices(entry: dict[str, t.Any], problem: str) -> None:
    (error,) = errors(host(dom0_pci_assignable=[*DEVICES, entry]))
    assert problem in error and error.startswith("dom0_pci_assignable[")


def test_all_entries_are_looked_at() -> None:
    entries = [{"name": f"nic{number}", "match": {"mac": f"{number}"}} for number in range(3)]
    assert len(errors(host([], dom0_pci_assignable=entries))) == 3


def test_names_that_are_there_twice() -> None:
    found = errors(host([NET, {"name": "a"}, {"name": "a"}], [guest("net-dd"), guest("web1"), guest("web1")]))
    assert [error.split(" is also")[0].rpartition(": ")[2] for error in found] == ["the name 'net-dd'", "the name 'a'", "the name 'web1'"]
    bridges = [{"name": "xenbr0"}, {"name": "xenbr1"}, {"name": "xenbr0"}]
    (error,) = errors(host([{"name": "net-dd", "bridges": bridges}]))
    assert "the bridge 'xenbr0' is also that of driver_domain_domains[0] (net-dd).bridges[2] (xenbr0)" in error
    (error,) = errors(host([NET, {"name": "b", "pci": ["uplink0"]}]))
    assert "the device 'uplink0' is also that of driver_domain_domains[1] (b).pci[0]" in error
    assert errors(host([NET, {"name": "b", "pci": ["uplink0"], "state": "stopped"}])) == []


def test_mac_addresses() -> None:
    mac = "00:16:3e:00:00:11"
    (error,) = errors(host(guests=[guest(vifs=[{"mac": mac}]), guest("web2", vifs=[{}, {"mac": mac.upper()}])]))
    assert error.startswith(f"domu_domains[0] (web1).vifs[0]: the MAC address '{mac}' is also that of domu_domains[1] (web2).vifs[1]")
    (error,) = errors(host(guests=[guest(vifs=[{"mac": mac}, {"mac": mac}])]))
    assert "domu_domains[0] (web1).vifs[1]" in error
    found = errors(host(guests=[guest(vifs=[{"mac": "1"}, {}, {"mac": "01:16:3e:00:00:11"}])]))
    assert [error.split(". ")[0] for error in found] == [
        "domu_domains[0] (web1).vifs[0]: the MAC address is '1'",
        "domu_domains[0] (web1).vifs[2]: the MAC address is '01:16:3e:00:00:11'",
    ]
    assert errors(host(guests=[guest(vifs=[{"mac": mac}]), guest("web2", vifs=[{"mac": mac}], state="stopped")])) == []


def test_domains_that_serve_each_other() -> None:
    drivers = [
        {"name": "a", "vifs": [{"backend": "b"}]},
        {"name": "b", "disks": [{"backend": "c"}]},
        {"name": "c", "vifs": [{"backend": "a"}]},
        {"name": "d", "vifs": [{"backend": "d"}]},
        {"name": "e", "vifs": [{"backend": "a"}]},
    ]
    found = [error for error in errors(host(drivers)) if "none of them can start" in error]
    assert len(found) == 2
    assert any(" serves d: " in error for error in found)
    (cycle,) = [error.partition(": ")[2].partition(":")[0].split(" serves ") for error in found if " serves d" not in error]
    serves = {("b", "a"), ("c", "b"), ("a", "c")}
    assert set(zip(cycle, cycle[1:])) == serves


@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_a_backend_that_is_not_to_run(state: str) -> None:
    served = guest(vifs=[{"backend": "net-dd"}])
    (error,) = errors(host([{**NET, "state": state}], [served]))
    assert f"its backend net-dd is to be {state}, and web1 is to run" in error
    assert errors(host([NET], [served], driver_domain_state=state)) == [error]
    assert errors(host([{**NET, "state": "present"}], [served])) == []
    assert errors(host([{**NET, "state": state}], [{**served, "state": "present"}])) == []


def test_a_driver_domain_that_a_guest_serves() -> None:
    (error,) = errors(host([{"name": "a", "vifs": [{"backend": "web1"}]}], [guest()]))
    assert "which start after all driver domains" in error and "Move web1 to driver_domain_domains" in error


def test_start_with_the_host() -> None:
    def warnings(driver: bool, served: bool) -> list[str]:
        declaration = host([{**NET, "autostart": driver}], [guest(vifs=[{"backend": "net-dd"}], autostart=served)])
        findings = list(check_references(declaration))
        assert all(finding.warning for finding in findings)
        return [finding.problem for finding in findings]

    assert warnings(False, True) == ["web1 starts with the host, and its backend net-dd does not"]
    assert warnings(True, True) == warnings(True, False) == warnings(False, False) == []
