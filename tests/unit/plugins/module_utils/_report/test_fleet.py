# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the report says about hosts, from what the modules return."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._report.fleet import (
    DOM0,
    DRIVER,
    GOOD,
    GUEST,
    PROBLEM,
    UNREACHED,
    WARNING,
    FleetDomain,
    FleetHost,
    natural,
    read_fleet,
)
from ansible_collections.xen.driver_domains.tests.unit.fakes import fleet


def read(raw: dict[str, t.Any]) -> FleetHost:
    (host,), _kinds = read_fleet({"xen1": raw})
    return host


def named(host: FleetHost, name: str) -> FleetDomain:
    (found,) = [domain for domain in host.domains if domain.name == name]
    return found


def test_a_host_that_is_in_order() -> None:
    host = read(fleet.serving_host(guests=2))
    assert (host.state, host.findings) == (GOOD, ())
    assert [(domain.name, domain.kind) for domain in host.domains] == [
        ("Domain-0", DOM0),
        ("net-dd", DRIVER),
        ("store-dd", DRIVER),
        ("web1", GUEST),
        ("web2", GUEST),
    ]
    assert named(host, "net-dd").serves == (("web1", 1), ("web2", 1))
    assert named(host, "net-dd").pci == ("0000:03:00.0",)
    assert [(link.noun, link.backend, link.works) for link in named(host, "web1").links] == [
        ("vif 0", "net-dd", True),
        ("disk xvda", "store-dd", True),
    ]
    assert host.facts[-1] == "recovery service runs"


@pytest.mark.parametrize(
    ("result", "failure", "state"),
    [
        ({"info": {"unreachable": True, "msg": "No route\nto host"}}, "No route to host", UNREACHED),
        ({"info": {"failed": True, "msg": "no python"}}, "no python", PROBLEM),
        ({"info": {**fleet.INFO, "xen": False}, "domains": {"skipped": True}}, "It does not run Xen", PROBLEM),
        ({"info": fleet.INFO, "domains": {"unreachable": True, "msg": "gone"}}, "gone", UNREACHED),
        ({"info": {**fleet.INFO, "dom0": False}, "domains": {"skipped": True}}, "This is not the dom0 of its host", PROBLEM),
        ({}, "The run ended before this host was asked", UNREACHED),
    ],
    ids=["unreachable", "failed", "no Xen", "lost on the way", "a guest", "nothing"],
)
def test_a_host_that_was_not_read(result: dict[str, t.Any], failure: str, state: str) -> None:
    host = read(result)
    assert (host.failure, host.state, host.domains) == (failure, state, ())


@pytest.mark.parametrize(
    ("values", "state", "words"),
    [
        ({"flags": "r"}, GOOD, "running"),
        ({"flags": "c"}, PROBLEM, "crashed"),
        ({"flags": "s"}, PROBLEM, "shut down"),
        ({"flags": "cd"}, PROBLEM, "crashed"),
        ({"flags": "p", "status": "ready"}, WARNING, "paused"),
        ({"status": "ready"}, GOOD, "running, ready"),
        ({"status": "starting"}, PROBLEM, "running, not ready"),
        ({"status": "error", "reason": "no firmware"}, PROBLEM, "reports an error: no firmware"),
    ],
    ids=str,
)
def test_the_state_of_a_domain(values: dict[str, t.Any], state: str, words: str) -> None:
    domain = named(read(fleet.host(fleet.domain("net-dd", 1, **values))), "net-dd")
    assert (domain.state, domain.words, domain.kind) == (state, words, DRIVER if "status" in values else GUEST)


def test_the_recovery_service_knows_which_key_reports_readiness() -> None:
    raw = fleet.host(fleet.domain("own-dd", 1), drivers=["own-dd"])
    assert named(read(raw), "own-dd").state == GOOD
    raw["domains"]["recovery"] = fleet.recovery(backends=[{"name": "own-dd", "domid": 1, "ready": False}])
    assert named(read(raw), "own-dd").words == "running, not ready"


def test_what_should_run_is_missed_unless_it_is_left_alone() -> None:
    raw = fleet.host(drivers=["net-dd", "usb-dd"], guests=["web1"])
    raw["domains"]["recovery"] = fleet.recovery(aside=["usb-dd"])
    host = read(raw)
    assert {domain.name: (domain.kind, domain.state) for domain in host.domains if domain.domid} == {
        "net-dd": (DRIVER, PROBLEM),
        "usb-dd": (DRIVER, WARNING),
        "web1": (GUEST, PROBLEM),
    }
    assert [(finding.severity, finding.object) for finding in host.findings] == [
        ("error", "net-dd"),
        ("error", "web1"),
        ("warning", "usb-dd"),
    ]


def test_a_backend_that_is_gone_has_the_name_that_the_service_remembers() -> None:
    vif = {**fleet.device("vif", 0, "", 9)}
    raw = fleet.host(fleet.domain("web1", 3, vif), fleet.domain("web2", 4, {**vif, "devid": 1}))
    raw["domains"]["recovery"] = fleet.recovery(clients=[{"name": "web1", "kind": "vif", "devid": 0, "backend": "net-dd"}])
    host = read(raw)
    assert [link.backend for link in host.links] == ["net-dd", "domain 9"]
    assert {link.trouble for link in host.links} == {"its backend, domain 9, is gone"}
    # The devices say it, once each.
    assert [finding.object for finding in host.findings] == ["web1: vif 0", "web2: vif 1"]


def test_a_device_that_waits_is_shown() -> None:
    raw = fleet.host(fleet.domain("web1", 3))
    waiting = {"name": "web1", "kind": "vif", "devid": 0, "identity": "00:16:3e:00:00:11", "backend": "net-dd"}
    raw["domains"]["recovery"] = fleet.recovery(waiting=[waiting])
    (link,) = read(raw).links
    assert (link.noun, link.backend, link.detail, link.works) == ("vif 0", "net-dd", "00:16:3e:00:00:11", False)


@pytest.mark.parametrize(
    ("values", "trouble"),
    [
        ({"hotplug_error": "no bridge"}, "hotplug script failed: no bridge"),
        ({"hotplug_status": "error"}, "hotplug script failed: it gave no reason"),
        ({"frontend_state": "1", "backend_state": "2"}, "not connected: frontend initialising, backend waiting to be initialised"),
        ({"frontend_state": "", "backend_state": "7"}, "not connected: frontend missing, backend in state 7"),
        ({"hotplug_status": ""}, "not connected: its hotplug script has not ended"),
    ],
    ids=str,
)
def test_why_a_device_does_not_work(values: dict[str, t.Any], trouble: str) -> None:
    vif = fleet.device("vif", 0, "net-dd", 1, connected=False, **values)
    host = read(fleet.host(fleet.domain("net-dd", 1), fleet.domain("web1", 2, vif)))
    assert [link.trouble for link in host.links] == [trouble]
    assert (host.state, named(host, "web1").worst, named(host, "web1").state) == (PROBLEM, PROBLEM, GOOD)


def test_what_the_doctor_found_is_not_said_twice() -> None:
    (host,), kinds = read_fleet({"xen1": fleet.troubled_host()})
    ids = [(finding.id, finding.object) for finding in host.findings]
    assert ids[0] == ("hotplug-failed", "web1: vif 1")
    assert [name for name in ids if name[1] == "web1: vif 1"] == ids[:1]
    assert ("rmrr", "0000:03:00.0") in ids
    assert [(kind.id, kind.state) for kind in kinds] == [("hotplug-failed", PROBLEM), ("rmrr", WARNING)]
    assert ("", "recovery service") in ids


@pytest.mark.parametrize(("severity", "count"), [("error", 1), ("warning", 2), ("note", 2)])
def test_what_the_doctor_found_besides_hides_nothing(severity: str, count: int) -> None:
    finding = {**fleet.RMRR, "object": "net-dd", "severity": severity}
    host = read(fleet.host(drivers=["net-dd"], doctor={"findings": [finding]}))
    assert len(host.findings) == count
    assert host.findings[0].severity == "error"


def test_a_host_without_xen_has_findings() -> None:
    host = read({"info": {**fleet.INFO, "xen": False}, "domains": {"skipped": True}, "doctor": {"findings": [fleet.RMRR]}})
    assert (host.failure, [finding.id for finding in host.findings]) == ("It does not run Xen", ["rmrr"])


def test_a_note_is_no_problem() -> None:
    raw = fleet.host(doctor={"findings": [{**fleet.RMRR, "severity": "note"}]})
    assert (read(raw).state, len(read(raw).findings)) == (GOOD, 1)


@pytest.mark.parametrize("doctor", [None, {}, {"skipped": True}, {"failed": True, "msg": "no root"}], ids=str)
def test_the_doctor_is_optional(doctor: t.Any) -> None:
    host = read(fleet.host(doctor=doctor))
    assert host.state == GOOD
    assert host.facts[-1].startswith("not examined by the doctor")


def test_names_are_in_the_order_that_people_expect() -> None:
    assert sorted(["web10", "web2", "db", "1a"], key=natural) == ["1a", "db", "web2", "web10"]
