# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses, gateways and networks."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.action.preflight import role_options
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.finding import InputFinding
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.model import declared
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.networks import check_networks

OPTIONS = role_options(["dom0", "driver_domain", "domu"])


def findings(*guests: dict[str, t.Any], bridges: t.Sequence[dict[str, t.Any]] = ()) -> list[InputFinding]:
    variables = {"driver_domain_domains": [{"name": "net-dd", "bridges": list(bridges)}], "domu_domains": list(guests)}
    return list(check_networks(declared(variables, OPTIONS).domains))


def vif(address: str | None = None, gateway: str | None = None, name: str = "web1", **more: t.Any) -> dict[str, t.Any]:
    given = {"address": address, "gateway": gateway, "backend": "net-dd", "bridge": "xenbr0", **more}
    return {"name": name, "vifs": [{key: value for key, value in given.items() if value is not None}]}


@pytest.mark.parametrize(
    ("address", "gateway"),
    [
        (None, None),
        ("dhcp", None),
        ("10.0.3.15/24", None),
        ("10.0.3.15/24", "10.0.3.2"),
        ("10.0.3.15/24", "10.0.3.254"),
        ("10.0.3.0/31", "10.0.3.1"),
        ("10.0.3.1/32", None),
        ("2001:db8::5/64", "fe80::1"),
        ("2001:db8::5/64", "2001:db8::1"),
        ("2001:db8::/64", None),
    ],
)
def test_what_is_right(address: str | None, gateway: str | None) -> None:
    assert findings(vif(address, gateway)) == []


@pytest.mark.parametrize(
    ("address", "gateway", "problem"),
    [
        ("10.0.3.15", None, "'10.0.3.15' has no prefix length"),
        ("10.0.3.300/24", None, "'10.0.3.300/24' does not appear to be"),
        ("10.0.3.15/33", None, "'10.0.3.15/33' does not appear to be"),
        ("fe80::1%eth0/64", None, "is not an address"),
        ("10.0.3.15/24", "10.0.4.1", "the gateway 10.0.4.1 is not in the network 10.0.3.0/24 of 10.0.3.15/24"),
        ("10.0.3.14/28", "10.0.3.17", "the gateway 10.0.3.17 is not in the network 10.0.3.0/28"),
        ("10.0.3.15/24", "10.0.3.2/24", "'10.0.3.2/24' does not appear to be"),
        ("10.0.3.15/24", "2001:db8::1", "there is a gateway 2001:db8::1 and no static address"),
        ("10.0.3.15/24", "10.0.3.15", "the gateway 10.0.3.15 is the interface itself"),
        ("10.0.3.0/24", None, "is the address of the network 10.0.3.0/24 itself, or its broadcast address"),
        ("10.0.3.255/24", None, "its broadcast address"),
        (None, "10.0.3.2", "there is a gateway 10.0.3.2 and no static address"),
        ("dhcp", "10.0.3.2", "there is a gateway 10.0.3.2 and no static address"),
    ],
)
def test_what_is_wrong(address: str | None, gateway: str | None, problem: str) -> None:
    (finding,) = findings(vif(address, gateway))
    assert finding.where == "domu_domains[0] (web1).vifs[0]"
    assert problem in finding.problem
    assert finding.rule and finding.remedy and not finding.warning


def test_every_kind_of_interface_is_checked() -> None:
    bond = {"name": "bond0", "address": "10.0.3.17/24", "gateway": "10.0.4.1"}
    guest = {"name": "web1", "vifs": [{"address": "10.1.0.1"}, {"address": "10.2.0.1/99"}], "bonds": [bond]}
    found = findings(
        guest, bridges=[{"name": "xenbr0", "address": "x/24"}, {"name": "xenbr1", "address": "10.0.0.5/24", "gateway": "1.1.1.1"}]
    )
    assert [finding.where for finding in found] == [
        "driver_domain_domains[0] (net-dd).bridges[0] (xenbr0)",
        "driver_domain_domains[0] (net-dd).bridges[1] (xenbr1)",
        "domu_domains[0] (web1).vifs[0]",
        "domu_domains[0] (web1).vifs[1]",
        "domu_domains[0] (web1).bonds[0] (bond0)",
    ]


def doubles(*guests: dict[str, t.Any], **more: t.Any) -> list[tuple[str, str, bool]]:
    return [
        (finding.where.partition(" ")[0], finding.problem.rpartition(" of ")[2], finding.warning) for finding in findings(*guests, **more)
    ]


def test_addresses_that_are_there_twice() -> None:
    own = {"name": "xenbr0", "address": "10.0.3.15/24"}
    assert doubles(vif("10.0.3.15/24"), vif("10.0.3.15/24", name="web2")) == [("domu_domains[1]", "domu_domains[0] (web1).vifs[0]", False)]
    assert doubles(vif("10.0.3.15/24"), bridges=[own]) == [
        ("domu_domains[0]", "driver_domain_domains[0] (net-dd).bridges[0] (xenbr0)", False)
    ]
    bond = {"name": "web2", "vifs": [{"bridge": "a"}, {"backend": "net-dd", "bridge": "xenbr0"}], "bonds": [{"address": "10.0.3.15/16"}]}
    assert [double[2] for double in doubles(vif("10.0.3.15/24"), bond)] == [False]


def test_the_same_address_in_another_network() -> None:
    """It may be another network, so it is a warning; different prefixes that do not meet are none."""
    first = vif("10.0.3.15/24")
    assert [double[2] for double in doubles(first, vif("10.0.3.15/24", name="web2", bridge="xenbr1"))] == [True]
    assert [double[2] for double in doubles(first, vif("10.0.3.15/24", name="web2", vlan="7"))] == [True]
    assert doubles(first, vif("10.0.3.16/24", name="web2")) == []
    assert doubles(first, {**vif("10.0.3.15/24", name="web2"), "state": "stopped"}) == []
