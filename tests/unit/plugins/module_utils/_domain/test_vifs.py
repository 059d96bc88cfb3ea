# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Vifs between running domains, over a fake host; every mutating call is counted."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vif_options import default_mac
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vifs import VifPlanner, wanted_vifs
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import (
    CommandFailed,
    DriverDomainsError,
    InvalidInput,
    Refused,
    TimedOut,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result, Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Xl
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost

MAC = "00:16:3e:00:00:11"
WEB = {"domain": "web", "mac": MAC, "backend": "net-dd", "bridge": "xenbr0"}


class Host(FakeHost):
    """Knows how to attach."""

    def network_attach(self, domain: str, vif: str) -> None:
        self.calls.append(("attach", domain, vif))
        settings = dict(part.split("=", 1) for part in vif.split(","))
        self.attach(domain, settings["mac"], settings.get("backend", "Domain-0"), settings.get("bridge", ""))

    def attach(self, domain: str, mac: str, backend: str, bridge: str = "xenbr0") -> str:
        home = f"/local/domain/{self.store.domid_of(domain)}/device/vif"
        devid = len(self.store.directory(home))
        self.connect(domain, devid, backend)
        self.store.values[f"{home}/{devid}/mac"] = mac
        self.store.values[self.store.values[f"{home}/{devid}/backend"] + "/bridge"] = bridge
        return f"{home}/{devid}"

    def network_detach(self, domain: str, devid: int) -> None:
        self.calls.append(("detach", domain, str(devid)))
        home = f"/local/domain/{self.store.domid_of(domain)}/device/vif/{devid}/"
        self.store.values = {key: value for key, value in self.store.values.items() if not key.startswith(home)}

    def vifs(self, *items: dict[str, t.Any], check_mode: bool = False) -> Plan:
        plan = VifPlanner(t.cast(t.Any, self), t.cast(t.Any, self.store), 1).plan(
            wanted_vifs([{"state": "present", **item} for item in items])
        )
        plan.results.update(plan.apply(check_mode=check_mode))
        return plan


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    for name in ("net-dd", "web"):
        host.add(name)
    return host


def test_attach_repeat_and_detach(host: Host) -> None:
    before = dict(host.store.values)
    predicted = host.vifs(WEB, check_mode=True)
    assert [action.description for action in predicted.actions] == [f"attach vif {MAC} of web to net-dd"]
    assert (host.calls, host.store.values) == ([], before)

    done = host.vifs(WEB)
    assert host.calls == [("attach", "web", f"mac={MAC},bridge=xenbr0,backend=net-dd")]
    (vif,) = done.results["vifs"]
    assert (vif["connected"], vif["backend"], vif["bridge"], vif["present"]) == (True, "net-dd", "xenbr0", True)

    host.calls.clear()
    assert (host.vifs(WEB).actions, host.calls) == ([], [])

    gone = host.vifs({**WEB, "state": "absent"})
    assert host.calls == [("detach", "web", "0")]
    assert gone.diffs[0]["before"] == f"mac={MAC},bridge=xenbr0,backend=net-dd\n"
    host.calls.clear()
    assert (host.vifs({**WEB, "state": "absent"}).actions, host.calls) == ([], [])


def test_others_are_left_alone(host: Host) -> None:
    host.attach("web", "00:16:3e:00:00:99", "Domain-0")
    host.vifs(WEB, {"domain": "web", "mac": "00:16:3e:00:00:98", "state": "absent"})
    assert [call[0] for call in host.calls] == ["attach"]


def test_a_backend_that_was_restarted(host: Host) -> None:
    host.vifs(WEB)
    host.calls.clear()
    host.remove("net-dd")
    host.add("net-dd")
    plan = host.vifs(WEB)
    assert [call[0] for call in host.calls] == ["detach", "attach"]
    assert "its backend is domain 1, not 3" in plan.actions[0].description


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("bridge", "its bridge is xenbr0, not xenbr1"),
        ("front", "frontend state 6"),
        ("back", "backend state 5"),
        ("no back", "backend state none"),
    ],
)
def test_a_vif_that_must_be_made_anew(host: Host, change: str, reason: str) -> None:
    front = host.attach("web", MAC, "net-dd")
    back = host.store.values[f"{front}/backend"]
    if change == "front":
        host.store.values[f"{front}/state"] = "6"
    elif change == "back":
        host.store.values[f"{back}/state"] = "5"
    elif change == "no back":
        del host.store.values[f"{back}/state"]
    plan = host.vifs({**WEB, "bridge": "xenbr1"} if change == "bridge" else WEB)
    assert [call[0] for call in host.calls] == ["detach", "attach"]
    assert reason in plan.actions[0].description


def test_default_addresses_follow_the_place(host: Host) -> None:
    host.vifs({"domain": "web"}, {"domain": "Domain-0", "backend": "net-dd"}, {"domain": "web"})
    assert [call[1:] for call in host.calls] == [
        ("web", f"mac={default_mac('web', 0)}"),
        ("Domain-0", f"mac={default_mac('Domain-0', 0)},backend=net-dd"),
        ("web", f"mac={default_mac('web', 1)}"),
    ]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([WEB, {**WEB, "domain": "net-dd"}], f"net-dd: the MAC address {MAC} is listed twice"),
        ([{"domain": "web", "mac": "01:16:3e:00:00:11"}], "a unicast address"),
    ],
)
def test_bad_input(host: Host, items: list[dict[str, t.Any]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        host.vifs(*items)
    assert host.calls == []


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"domain": "none"}, "the domain 'none', which should have it, does not run.*which are: Domain-0, net-dd, web"),
        ({"domain": "web", "backend": "none"}, "the domain 'none', which should serve it, does not run.*init-dom0less"),
    ],
)
def test_a_domain_that_does_not_run(host: Host, item: dict[str, t.Any], message: str) -> None:
    """An earlier task that starts or names it has done nothing in check mode, which therefore only warns."""
    with pytest.raises(Refused, match=message):
        host.vifs(item)
    assert "Would be refused" in host.vifs(item, check_mode=True).warnings[0]
    assert host.calls == []


def test_a_domain_that_is_not_there_has_no_vif(host: Host) -> None:
    assert host.vifs({"domain": "none", "state": "absent"}).actions == []


def test_a_hotplug_script_that_fails(host: Host) -> None:
    host.hotplug = {"hotplug-status": "error", "hotplug-error": "Could not find bridge device xenbr0"}
    with pytest.raises(DriverDomainsError, match="Could not find bridge device xenbr0"):
        host.vifs(WEB)


def test_a_domain_that_goes_away(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.vif_state = "2"
    read = host.store.read_text
    monkeypatch.setattr(host.store, "read_text", lambda path: None if path.endswith("/name") else read(path))
    with pytest.raises(DriverDomainsError, match=f"Domain web went away before its vif {MAC} was connected"):
        host.vifs(WEB)


def test_it_is_never_connected(host: Host) -> None:
    host.vif_state = "2"
    with pytest.raises(TimedOut, match="was not connected within 1 s: vif 0 at net-dd: frontend state 2.*xsm=silo"):
        host.vifs(WEB)


def test_an_attach_that_fails_says_what_to_check() -> None:
    class Failing(Runner):
        def run(self, argv: t.Sequence[str], **options: t.Any) -> Result:
            raise CommandFailed(f"{' '.join(argv)} failed", remedy=options["remedy"])

    with pytest.raises(CommandFailed, match="network-attach web mac=x bridge=y failed.*'xl devd' must run in it"):
        Xl(Failing()).network_attach("web", "mac=x,bridge=y")
