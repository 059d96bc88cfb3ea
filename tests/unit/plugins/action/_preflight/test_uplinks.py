# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with `dom0_vifs` is known before anything is changed."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.action import preflight
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.model import declared

OPTIONS = preflight.role_options(preflight.SITE)
GOOD: dict[str, t.Any] = {
    "dom0_pci_assignable": [{"name": "uplink0", "match": {"mac": "52:54:00:aa:00:01"}}],
    "dom0_vifs": [{"device": "uplink0", "backend": "net-dd", "bridge": "xenbr0"}],
    "driver_domain_domains": [{"name": "net-dd", "pci": ["uplink0"], "bridges": [{"name": "xenbr0", "ports": ["uplink0"]}]}],
}


def problems(variables: dict[str, t.Any]) -> list[str]:
    values, findings = preflight.read_variables(variables, OPTIONS)
    facts = preflight.HostFacts(unread="")
    return [str(finding) for finding in findings + preflight.check_values(declared(values, OPTIONS), values, "xen1", facts)]


def test_what_the_guide_says_is_right() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"backend": "net-d"}, "its backend 'net-d' is no item of driver_domain_domains, which has: net-dd"),
        ({"bridge": "xenbr1"}, "there is no bridge 'xenbr1' in net-dd, which has: xenbr0"),
        ({"device": "uplink1"}, "there is no device 'uplink1' in dom0_pci_assignable, which has: uplink0"),
        ({"mac": "53:54:00:aa:00:01"}, "the interface of dom0 has the MAC address '53:54:00:aa:00:01'"),
        ({"limit": 0}, "limit is 0"),
        ({"state": "absent"}, "uplink0 is to return to dom0, and is an item of dom0_pci_assignable"),
        ({"state": "gone"}, "value of state must be one of: present, absent"),
    ],
)
def test_a_wrong_entry(change: dict[str, t.Any], expected: str) -> None:
    variables = copy.deepcopy(GOOD)
    variables["dom0_vifs"][0].update(change)
    assert [problem for problem in problems(variables) if expected in problem]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"autostart": False}, "does not start with the host"),
        ({"state": "stopped"}, "is not to run"),
        ({"image": "none", "kernel": "/boot/vmlinuz"}, "has no image of the collection"),
        ({"image": "foreign", "type": "hvm"}, "has no image of the collection"),
        ({"pci": []}, "uplink0 is no device of its backend net-dd"),
        ({"bridges": [{"name": "xenbr0"}]}, "uplink0 is no port of the bridge xenbr0 of net-dd"),
    ],
)
def test_a_driver_domain_that_cannot_serve_dom0(change: dict[str, t.Any], expected: str) -> None:
    variables = copy.deepcopy(GOOD)
    variables["driver_domain_domains"][0].update(change)
    assert [problem for problem in problems(variables) if expected in problem]


def test_without_the_recovery_service() -> None:
    assert "driver_domain_recovery is false" in problems({**GOOD, "driver_domain_recovery": False})[0]


def test_dom0_is_reached_by_one_card() -> None:
    assert [problem for problem in problems({**GOOD, "dom0_vifs": GOOD["dom0_vifs"] * 2}) if "it has 2 entries" in problem]


def test_the_card_may_return() -> None:
    assert problems({"dom0_vifs": [{**GOOD["dom0_vifs"][0], "state": "absent"}]}) == []


def test_the_guards_that_a_vif_replaces_are_not_reported() -> None:
    guards = [
        {"guard": "management_route", "reason": "carries the management connection from 10.0.2.2: "},
        {"guard": "management_route", "reason": "is needed at the next boot, which unlocks the disk over SSH: "},
        {"guard": "boot_vga", "reason": "is the graphics card"},
    ]
    device = {"name": "uplink0", "bdf": "0000:00:03.0", "pciback": False, "guards": guards}
    assert len(preflight.check_devices([device], [])) == 3
    assert [finding.problem for finding in preflight.check_devices([device], [], ["uplink0"])] == [
        "0000:00:03.0 is needed at the next boot, which unlocks the disk over SSH: ",
        "0000:00:03.0 is the graphics card",
    ]
