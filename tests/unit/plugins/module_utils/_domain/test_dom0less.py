# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.boot_findings import findings
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.dom0less import Dom0less
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput, NotOnThisHost
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Domain

CMDLINE = "console=dtuart dom0_mem=512M xsm=dummy"


class Host:
    """Stands for xl, the runner and XenStore."""

    def __init__(self, *names: str) -> None:
        #: The names of the domains in XenStore; "" when it is not there.
        self.known = dict(enumerate(["Domain-0", *names]))
        self.calls: list[t.Any] = []

    def list(self) -> list[Domain]:
        return [Domain(name or "(null)", domid, 128, 1, "b") for domid, name in self.known.items()]

    def domains(self) -> dict[int, str]:
        return {domid: name for domid, name in self.known.items() if name}

    def write(self, path: str, value: str) -> None:
        self.calls.append((path, value))
        self.known[int(path.split("/")[3])] = value

    def run(self, argv: t.Sequence[str], **_options: t.Any) -> None:
        self.calls.append(argv[0])
        self.known = {domid: name or f"dom0less-{domid}" for domid, name in self.known.items()}

    def plan(self, *names: str) -> Plan:
        host: t.Any = self
        return Dom0less(host, host, host, (4, 20)).plan(names)


def test_fresh_named_and_named_again() -> None:
    host = Host("", "")
    plan = host.plan("net-dd", "web")
    assert host.calls == []
    plan.apply()
    assert host.calls == ["/usr/lib/xen-4.20/bin/init-dom0less", ("/local/domain/1/name", "net-dd"), ("/local/domain/2/name", "web")]
    assert plan.results["domains"] == [{"name": "net-dd", "domid": 1}, {"name": "web", "domid": 2}]
    assert host.plan("net-dd", "web").actions == []


def test_only_the_name_is_missing() -> None:
    assert [action.description for action in Host("net-dd", "dom0less-2").plan("net-dd", "web").actions] == ["name domain 2 web"]


def test_a_domain_that_does_not_run() -> None:
    with pytest.raises(NotOnThisHost, match=r"Xen runs no domain 2 \(web\); there are 0, 1"):
        Host("net-dd").plan("net-dd", "web")


@pytest.mark.parametrize(
    ("running", "names", "message"),
    [
        ([""], ["a/b"], "'a/b' is not a name for a domain"),
        ([""], [""], "'' is not a name for a domain"),
        ([""], ["Domain-0"], "'Domain-0' is not a name for a domain"),
        (["", ""], ["a", "a"], "Two domains have the name 'a'"),
        (["net-dd", "web1"], ["net-dd", "db-dd"], r"Domain 2 is called 'web1', and is not renamed to 'db-dd'.*xl rename 2 db-dd"),
        (["dom0less-1", "web1", "net-dd"], ["net-dd"], "Domain 3 is called 'net-dd' as well"),
    ],
)
def test_names_that_cannot_be_given(running: list[str], names: list[str], message: str) -> None:
    host = Host(*running)
    with pytest.raises(InvalidInput, match=message):
        host.plan(*names)
    assert host.calls == []


def test_a_wrong_order_is_mended() -> None:
    assert len(Host("web", "net-dd").plan("net-dd", "web").actions) == 2


FINDINGS: dict[str, tuple[Host, str, str]] = {
    "": (Host("net-dd", "web"), CMDLINE, ""),
    "device_not_assigned": (Host("net-dd", "web"), CMDLINE, "(XEN) Failed to assign device /pl031@9010000\n"),
    "domain_missing": (Host("net-dd"), CMDLINE, ""),
    "not_initialised": (Host("net-dd", ""), CMDLINE, ""),
    "wrong_order": (Host("web", "web"), CMDLINE, ""),
    "not_named": (Host("net-dd", "dom0less-2"), CMDLINE, ""),
    "silo": (Host("net-dd", "web"), "console=dtuart dom0_mem=1G", "(XEN) Initialising XSM SILO mode\n"),
    "console": (Host("net-dd", "web"), "dom0_mem=1G xsm=dummy", ""),
    "dom0_memory": (Host("net-dd", "web"), "console=dtuart xsm=dummy", ""),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_findings(name: str) -> None:
    host, cmdline, dmesg = FINDINGS[name]
    found = findings(["net-dd", "web"], host.list(), host.domains(), dmesg, cmdline)
    assert [finding.name for finding in found] == ([name] if name else [])
    assert all(finding.remedy in str(finding) for finding in found)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("(XEN) Failed to assign device /pl031@9010000", "/pl031@9010000"),
        ("(XEN) Failed to assign device to d1", "(see xl dmesg)"),
        ("(XEN) [2026-11-25 12:00:00.000] Failed to assign device to d1", "(see xl dmesg)"),
        ("(XEN) DOM1: Failed to assign device to d1", ""),
        ("(XEN) DOM1: (XEN) Failed to assign device to d1", ""),
        ("(d1) Failed to assign device to d1", ""),
        ("(d1) (XEN) Failed to assign device to d1", ""),
        ("(d1) x\x0c(XEN) Failed to assign device to d1", ""),
        ("(d1) x\u2028(XEN) Failed to assign device to d1", ""),
    ],
)
def test_what_a_guest_prints_is_no_finding(line: str, found: str) -> None:
    """The log of Xen holds the output of guests, too."""
    host, cmdline, _dmesg = FINDINGS[""]
    problems = [finding.problem for finding in findings(["net-dd", "web"], host.list(), host.domains(), line, cmdline)]
    assert problems == ([f"Xen could not assign the device {found}, and started its domain without it"] if found else [])


@pytest.mark.parametrize(("cmdline", "silo"), [("xsm=silo", True), ("xsm=silo xsm=dummy", False), ("", True), ("xsm=flask", False)])
def test_silo(cmdline: str, silo: bool) -> None:
    found = findings(["a", "b"], Host("a", "b").list(), {1: "a", 2: "b"}, "(XEN) Initialising XSM SILO mode", f"{cmdline} {CMDLINE[:-10]}")
    assert ("silo" in [finding.name for finding in found]) is silo


def test_one_domain_may_be_alone_with_dom0() -> None:
    assert findings(["a"], Host("a").list(), {1: "a"}, "", "console=dtuart dom0_mem=1G xsm=silo") == []
