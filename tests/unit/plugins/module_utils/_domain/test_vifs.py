# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Vifs between running domains, over a fake host; every mutating call is counted."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain import attacher
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.aside import UNWANTED, WaitingDevice
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.attacher import Attacher
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.attachments import DevicePlanner, devices_in_path
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vif_options import default_mac
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vifs import VIF_RULES, wanted_vifs
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import (
    CommandFailed,
    DriverDomainsError,
    InvalidInput,
    Refused,
    TimedOut,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._host_uses import HostUses, Use
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result, Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Xl
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost

MAC = "00:16:3e:00:00:11"
WEB = {"domain": "web", "mac": MAC, "backend": "net-dd", "bridge": "xenbr0"}


class Host(FakeHost):
    """Knows how to attach."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        #: What dom0 stands on, and how often that was asked.
        self.uses: list[Use] = []
        self.asked = 0
        #: Settings that this version of xl does nothing about.
        self.ignored: set[str] = set()
        #: Whether what is detached stays.
        self.stays = False
        #: The vifs in libxl's files, by domid.
        self.kept: dict[str, list[dict[str, t.Any]]] = {}
        #: What the recovery service would attach again.
        self.waiting: list[WaitingDevice] = []

    def attach_device(self, kind: str, domain: str, specification: str) -> None:
        assert kind == "vif"
        self.calls.append(("attach", domain, specification))
        settings = dict(part.split("=", 1) if "=" in part else (part, "") for part in specification.split(","))
        if "untrusted" in settings:
            settings["trusted"] = "False"
        made = {key: self.libxl(key, value) for key, value in settings.items() if key not in {"mac", "backend", "bridge", "untrusted"}}
        self.attach(domain, settings["mac"], settings.get("backend", "Domain-0"), settings.get("bridge", "xenbr0"), **made)

    def libxl(self, key: str, value: str) -> str:
        """Return a setting as libxl keeps it."""
        if key in self.ignored:
            return ""
        known = {"rate": {"10MB/s": "500000,50000", "1MB/s@20ms": "20000,20000"}, "type": {"ioemu": "vif_ioemu"}}
        if key == "script" and not value.startswith("/"):
            return f"/etc/xen/scripts/{value}"
        return known.get(key, {}).get(value, value)

    def attach(self, domain: str, mac: str, backend: str, bridge: str = "xenbr0", **settings: str) -> str:
        """Do what libxl does, which also writes to the home of the guest and keeps a file; return the frontend's directory."""
        settings = {"script": "/etc/xen/scripts/vif-bridge", "type": "vif", **{key: value for key, value in settings.items() if value}}
        domid = self.store.domid_of(domain)
        own = f"/libxl/{domid}/device/vif"
        devid = int(settings.pop("devid", "") or max((int(number) + 1 for number in self.store.directory(own)), default=0))
        assert f"{own}/{devid}" not in self.store.values, "xl refuses a number that is taken"
        self.connect(domain, devid, backend)
        front = f"/local/domain/{domid}/device/vif/{devid}"
        back = self.store.values[f"{own}/{devid}/backend"]
        kept = {key: settings.pop(key) for key in ("trusted", "model") if key in settings}
        self.kept.setdefault(f"{domid}", []).append({"mac": mac, "devid": devid, **kept})
        for path in (f"{own}/{devid}", back):
            self.store.values[path] = ""
            self.store.values.update({f"{path}/{key}": value for key, value in {"mac": mac, "bridge": bridge, **settings}.items()})
        self.store.values[f"{front}/mac"] = mac
        self.write_kept()
        return front

    def detach_device(self, kind: str, domain: str, devid: int, force: bool = False) -> None:
        assert kind == "vif"
        domid = int(domain) if domain.isdecimal() else self.store.domid_of(domain)
        self.calls.append(("detach", self.store.values[f"/local/domain/{domid}/name"], str(devid)))
        own = f"/libxl/{domid}/device/vif/{devid}"
        self.kept[f"{domid}"] = [vif for vif in self.kept[f"{domid}"] if vif["devid"] != devid]
        self.write_kept()
        gone = () if self.stays else (own, f"/local/domain/{domid}/device/vif/{devid}", self.store.values[f"{own}/backend"])
        self.store.values = {
            key: value for key, value in self.store.values.items() if not f"{key}/".startswith(tuple(f"{g}/" for g in gone))
        }

    def write_kept(self) -> None:
        for domid, nics in self.kept.items():
            self.kept_file(int(domid)).write_text(json.dumps({"c_info": {}, "nics": nics}) + "\0")

    def vifs(self, *items: dict[str, t.Any], check_mode: bool = False, force: t.Sequence[str] = (), prune: bool = False) -> Plan:
        fake: t.Any = self
        store: t.Any = self.store
        engine = Attacher(fake, store, 1, str(self.root / "log"))
        planner = DevicePlanner(VIF_RULES, store, engine, self.host_uses, self.paths.userdata, self.waiting)
        plan = planner.plan(wanted_vifs([{"state": "present", **item} for item in items]), prune)
        plan.results.update(plan.apply(force, check_mode))
        return plan

    def host_uses(self) -> list[Use]:
        self.asked += 1
        return self.uses


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(attacher, "REMOVAL_DELAY", 0.0)
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
    assert host.calls == [("attach", "web", f"mac={MAC},bridge=xenbr0,backend=net-dd,untrusted,devid=0")]
    (vif,) = done.results["vifs"]
    assert (vif["connected"], vif["backend"], vif["bridge"], vif["present"]) == (True, "net-dd", "xenbr0", True)

    host.calls.clear()
    assert (host.vifs(WEB).actions, host.calls) == ([], [])

    gone = host.vifs({**WEB, "state": "absent"})
    assert host.calls == [("detach", "web", "0")]
    made = "script=/etc/xen/scripts/vif-bridge,mtu=1500,type=vif,trusted=False"
    assert gone.diffs[0]["before"] == f"mac={MAC},bridge=xenbr0,backend=net-dd,{made}\n"
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
    assert host.calls[1][2].endswith(",devid=0")


def test_vifs_that_nobody_listed_are_pruned(host: Host) -> None:
    host.attach("web", "00:16:3e:00:00:99", "Domain-0")
    host.attach("net-dd", "00:16:3e:00:00:98", "Domain-0")
    host.vifs(WEB)
    host.calls.clear()
    plan = host.vifs(WEB, prune=True)
    assert [action.description for action in plan.actions] == ["detach vif 00:16:3e:00:00:99 of web from Domain-0 (it is not in the list)"]
    assert host.calls == [("detach", "web", "0")]


@pytest.mark.parametrize("ends", [True, False])
def test_a_hotplug_script_that_does_not_end(host: Host, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """It gets a while, in which nothing is changed."""
    host.vifs(WEB)
    path = "/local/domain/1/backend/vif/2/0/hotplug-status"
    del host.store.values[path]
    host.store.values["/local/domain/1/backend/vif/2/0/state"] = "2"
    host.calls.clear()
    waited = []
    wait_for = host.store.wait_for

    def wait(paths: t.Sequence[str], predicate: t.Callable[[t.Any], object], timeout: float) -> None:
        waited.append(timeout)
        if ends:
            host.store.values.update({path: "connected", "/local/domain/1/backend/vif/2/0/state": "4"})
        wait_for(paths, predicate, timeout)

    monkeypatch.setattr(host.store, "wait_for", wait)
    plan = host.vifs(WEB, check_mode=True)
    assert waited == [1]
    assert [action.description for action in plan.actions] == (
        []
        if ends
        else [
            f"detach vif {MAC} of web from net-dd (its hotplug script does not end: frontend state 4, backend state 2, hotplug not done)",
            f"attach vif {MAC} of web to net-dd",
        ]
    )
    assert host.calls == []


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
    front = host.attach("web", MAC, "net-dd", trusted="False")
    back = "/local/domain/1/backend/vif/2/0"
    if change == "front":
        host.store.values[f"{front}/state"] = "6"
    elif change == "back":
        host.store.values[f"{back}/state"] = "5"
    elif change == "no back":
        del host.store.values[f"{back}/state"]
    plan = host.vifs({**WEB, "bridge": "xenbr1"} if change == "bridge" else WEB)
    assert [call[0] for call in host.calls] == ["detach", "attach"]
    assert reason in plan.actions[0].description


@pytest.mark.parametrize(
    "rewrite",
    [
        {"mac": "00:16:3e:66:66:66"},
        {"mac": None},
        {"backend": "/local/domain/0/backend/vif/2/0", "backend-id": "0"},
        {"backend": "/local/domain/2/data", "mac": "x\udcff"},
        {"state": "4", "bridge": "xenbr9", "mac": ""},
    ],
    ids=str,
)
def test_what_a_guest_writes_about_its_vif_is_not_believed(host: Host, rewrite: dict[str, str | None]) -> None:
    """It keeps neither a vif that is to be absent, nor does it get another one, nor does it make anybody replace it."""
    front = host.attach("web", MAC, "net-dd", trusted="False")
    for key, value in rewrite.items():
        host.store.values.pop(f"{front}/{key}", None)
        if value is not None:
            host.store.values[f"{front}/{key}"] = value
    assert (host.vifs(WEB).actions, host.calls) == ([], [])
    host.vifs({**WEB, "state": "absent"})
    assert host.calls == [("detach", "web", "0")]


def test_a_vif_that_a_guest_made_up(host: Host) -> None:
    """It writes a MAC address that dom0 is to attach: nothing there is a vif."""
    front = "/local/domain/2/device/vif/0"
    host.store.values.update({f"{front}/mac": MAC, f"{front}/state": "4", f"{front}/backend": "/local/domain/1/backend/vif/2/0"})
    host.vifs(WEB)
    assert [call[0] for call in host.calls] == ["attach"]


def test_a_driver_domain_that_rewrites_its_backend(host: Host) -> None:
    host.attach("web", MAC, "net-dd", trusted="False")
    host.store.values["/local/domain/1/backend/vif/2/0/bridge"] = "xenbr9"
    assert (host.vifs(WEB).actions, host.calls) == ([], [])


def test_default_addresses_follow_the_place(host: Host) -> None:
    host.vifs({"domain": "web"}, {"domain": "Domain-0", "backend": "net-dd"}, {"domain": "web"})
    assert [call[1:] for call in host.calls] == [
        ("web", f"mac={default_mac('web', 0)},devid=0"),
        ("Domain-0", f"mac={default_mac('Domain-0', 0, 'net-dd')},backend=net-dd,untrusted,devid=0"),
        ("web", f"mac={default_mac('web', 1)},devid=1"),
    ]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([WEB, {**WEB, "domain": "net-dd"}], f"net-dd: the MAC address {MAC} is listed twice"),
        ([{"domain": "web", "mac": "01:16:3e:00:00:11"}], "a unicast address"),
        ([{**WEB, "rate": "fast"}], "'fast' is not the rate of a vif"),
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
        Xl(Failing()).attach_device("vif", "web", "mac=x,bridge=y")


SETTINGS: list[tuple[dict[str, t.Any], dict[str, t.Any], str]] = [
    ({}, {"rate": "10MB/s"}, "its rate is none, not 10MB/s"),
    ({"rate": "10MB/s"}, {"rate": "1MB/s@20ms"}, "its rate is 500000,50000, not 1MB/s@20ms"),
    ({"rate": "10MB/s"}, {}, "its rate is 500000,50000, not none"),
    ({}, {"script": "vif-route"}, "its script is /etc/xen/scripts/vif-bridge, not vif-route"),
    ({}, {"script": "/opt/vif"}, "its script is /etc/xen/scripts/vif-bridge, not /opt/vif"),
    ({}, {"ip": "192.0.2.1"}, "its ip is none, not 192.0.2.1"),
    ({"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}, "its ip is 192.0.2.1, not 192.0.2.2"),
    ({"ip": "192.0.2.1"}, {}, "its ip is 192.0.2.1, not none"),
    ({}, {"mtu": 9000}, "its mtu is 1500, not 9000"),
    ({"mtu": 9000}, {}, "its mtu is 9000, not 1500"),
    ({}, {"vifname": "web0"}, "its vifname is none, not web0"),
    ({"vifname": "web0"}, {}, "its vifname is web0, not none"),
    ({}, {"trusted": True}, "its trusted is no, not yes"),
    ({"trusted": True}, {"trusted": False}, "its trusted is yes, not no"),
    ({"trusted": True}, {}, "its trusted is yes, not no"),
    ({}, {"model": "e1000"}, "its model is none, not e1000"),
    ({}, {"type": "ioemu"}, "its type is vif, not ioemu"),
    ({"rate": "10MB/s"}, {"ip": "192.0.2.1", "mtu": 9000}, "its ip is none, not 192.0.2.1, its rate is 500000,50000, not none, its mtu"),
]


@pytest.mark.parametrize(("before", "after", "reason"), SETTINGS, ids=str)
def test_every_setting_is_reconciled(host: Host, before: dict[str, t.Any], after: dict[str, t.Any], reason: str) -> None:
    host.vifs({**WEB, **before})
    host.calls.clear()
    assert reason in host.vifs({**WEB, **after}, check_mode=True).actions[0].description
    assert host.calls == []
    host.vifs({**WEB, **after})
    assert [call[0] for call in host.calls] == ["detach", "attach"]
    host.calls.clear()
    assert (host.vifs({**WEB, **after}).actions, host.calls) == ([], [])


@pytest.mark.parametrize("left_out", ["bridge", "script", "type", "model"])
def test_a_setting_whose_default_dom0_decides(host: Host, left_out: str) -> None:
    """xl.conf or the kind of guest decides about it: left out, any value will do."""
    full = {**WEB, "script": "vif-route", "type": "vif", "model": "e1000"}
    host.vifs(full)
    assert host.vifs({key: value for key, value in full.items() if key != left_out}).actions == []


def test_a_setting_that_this_version_does_not_know(host: Host) -> None:
    """Every run would detach it again."""
    host.ignored.add("mtu")
    with pytest.raises(DriverDomainsError, match="is attached, but its mtu is 1500, not 9000. Rule: this version of Xen does not know"):
        host.vifs({**WEB, "mtu": 9000})


@pytest.mark.parametrize("known", [True, False], ids=["a UUID", "no UUID"])
def test_what_an_earlier_domain_left_says_nothing(host: Host, known: bool) -> None:
    """It had the same number, and a vif with the same address."""
    host.vifs(WEB)
    host.leave_behind(2, {"nics": [{"mac": MAC, "devid": 0, "trusted": "True"}]})
    if not known:
        del host.store.values["/local/domain/2/vm"]
    plan = host.vifs(WEB)
    assert plan.actions == []
    assert bool(plan.warnings) is not known


@pytest.mark.parametrize("content", [None, "{"])
def test_what_libxl_keeps_is_missing(host: Host, content: str | None) -> None:
    host.vifs(WEB)
    for kept in (host.root / "lib").iterdir():
        kept.unlink()
        if content is not None:
            kept.write_text(content)
    plan = host.vifs(WEB)
    assert plan.actions == []
    assert "has the wanted trusted is not known" in plan.warnings[0]


@pytest.mark.parametrize(("backend", "untrusted"), [("net-dd", True), ("Domain-0", False), (None, False)])
def test_clients_do_not_trust_driver_domains(host: Host, backend: str | None, untrusted: bool) -> None:
    host.vifs({**WEB, "backend": backend})
    assert ("untrusted" in host.calls[0][2].split(",")) is untrusted


def test_a_new_vif_waits_until_the_old_one_is_gone(host: Host) -> None:
    host.vifs(WEB)
    host.calls.clear()
    host.stays = True
    with pytest.raises(TimedOut, match="The vif 0 of web was detached, but was not gone within 1 s"):
        host.vifs({**WEB, "bridge": "xenbr1"})
    assert [call[0] for call in host.calls] == ["detach"]


def test_a_kernel_gets_time_to_notice(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(attacher, "REMOVAL_DELAY", 60.0)
    monkeypatch.setattr(attacher.time, "sleep", slept.append)
    host.vifs(WEB)
    assert sum(slept) == 0
    host.vifs({**WEB, "bridge": "xenbr1"})
    assert 59 < sum(slept) <= 60


OWN = {"domain": "Domain-0", "mac": MAC, "backend": "net-dd", "bridge": "xenbr0"}


@pytest.mark.parametrize("change", [{"state": "absent"}, {"bridge": "xenbr1"}, {"rate": "10MB/s"}, {"backend": "web"}], ids=str)
@pytest.mark.parametrize("guard", ["management_route", "default_route", "root_disk", "mounted_disk"])
def test_a_vif_that_dom0_is_reached_through(host: Host, change: dict[str, t.Any], guard: str) -> None:
    host.vifs(OWN)
    host.calls.clear()
    host.uses = [Use(guard, "carries it: eth0 -> vif-0", ("vif-0",))]
    for check_mode in (True, False):
        with pytest.raises(Refused, match=rf"Vif {MAC} of Domain-0: carries it: eth0 -> vif-0 \[{guard}\]"):
            host.vifs({**OWN, **change}, check_mode=check_mode)
    assert host.calls == []
    assert host.vifs(OWN).actions == []
    assert host.vifs({**OWN, **change}, force=[guard]).actions


def test_other_vifs_are_not_those_of_dom0(host: Host) -> None:
    """The vif 0 of a guest, and another one of dom0."""
    host.uses = [Use("management_route", "carries it", ("vif-0",))]
    second = {**OWN, "mac": "00:16:3e:00:00:12"}
    guest = {**WEB, "mac": "00:16:3e:00:00:13"}
    host.vifs(OWN, second, guest)
    assert host.asked == 0
    host.vifs({**guest, "state": "absent"})
    assert host.asked == 0
    host.vifs({**second, "state": "absent"})
    assert host.asked == 1


def test_a_host_that_is_not_understood(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without knowing what dom0 is reached through, nothing of it is detached."""

    def unknown() -> list[Use]:
        raise DriverDomainsError("'ip -json address show' failed")

    host.vifs(OWN)
    host.calls.clear()
    monkeypatch.setattr(host, "host_uses", unknown)
    with pytest.raises(DriverDomainsError, match="ip -json"):
        host.vifs({**OWN, "state": "absent"})
    assert host.calls == []


@pytest.mark.parametrize(
    ("chain", "found"),
    [
        ({"eth0": "vif-0"}, True),
        ({"br0": "", "eth0": "vif-0"}, True),
        ({"br0": "", "eth0.5": "", "eth0": "vif-0"}, True),
        ({"bond0": "", "eth1": "pci0000:00/0000:00:03.0", "eth0": "vif-0"}, True),
        ({"eth0": "vif-1"}, False),
        ({"br0": "", "vif3.0": "vif-3-0"}, False),
        ({"eth0": "pci0000:00/0000:00:03.0"}, False),
    ],
    ids=str,
)
def test_the_way_from_a_route_to_a_vif(tmp_path: Path, chain: dict[str, str], found: bool) -> None:
    """Over a tree as sysfs has it: each interface stands on those that follow without a device in between."""
    networks = tmp_path / "class" / "net"
    networks.mkdir(parents=True)
    upper: Path | None = None
    for name, device in chain.items():
        real = tmp_path / "devices" / (device or "virtual") / "net" / name
        real.mkdir(parents=True)
        (networks / name).symlink_to(real)
        if device:
            (real / "device").symlink_to(tmp_path / "devices" / device)
        if upper:
            (upper / f"lower_{name}").symlink_to(real)
        upper = upper if device else real
    top = next(iter(chain))

    class Ip(Runner):
        def run(self, argv: t.Sequence[str], **_options: t.Any) -> Result:
            answer = [{"dst": "default", "dev": top}] if argv[2] == "-4" else []
            return Result(tuple(argv), 0, json.dumps(answer), "")

    for file, text in {"self/mountinfo": "1 0 0:1 / / rw - tmpfs tmpfs rw\n", "net/tcp": "\n", "net/tcp6": "\n", "swaps": "\n"}.items():
        (tmp_path / "proc" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc" / file).write_text(text)
    uses = HostUses(Ip(), devices_in_path, str(tmp_path), str(tmp_path / "proc"), {}).uses
    assert any(use.devices[-1:] == ("vif-0",) and use.guard == "default_route" for use in uses) is found


@pytest.mark.parametrize(("status", "problem"), [("starting", "was not ready within 1 s"), ("error", "reports: no card")])
def test_nothing_is_detached_before_its_backend_serves(host: Host, status: str, problem: str) -> None:
    host.vifs(WEB)
    host.calls.clear()
    host.store.values.update({"/local/domain/1/data/driver-domain/status": status, "/local/domain/1/data/driver-domain/error": "no card"})
    with pytest.raises(DriverDomainsError, match=f"Domain net-dd {problem}"):
        host.vifs({**WEB, "bridge": "xenbr1"})
    assert host.calls == []
    # What is not attached again needs no backend, and dom0 serves always.
    host.vifs({**WEB, "backend": "Domain-0"})
    host.vifs({**WEB, "state": "absent"})
    assert [call[0] for call in host.calls] == ["detach", "attach", "detach"]


OTHER = "00:16:3e:00:00:12"


@pytest.mark.parametrize(
    ("items", "prune", "forgotten"),
    [
        ([{**WEB, "state": "absent"}], False, [MAC]),
        ([WEB], False, []),
        ([WEB], True, [OTHER]),
        ([{**WEB, "mac": OTHER}], False, []),
    ],
)
def test_what_waits_for_its_backend_is_forgotten(host: Host, items: list[dict[str, t.Any]], prune: bool, forgotten: list[str]) -> None:
    """Otherwise the recovery service attached it in the end."""
    host.waiting = [WaitingDevice("web", "vif", MAC), WaitingDevice("web", "vif", OTHER), WaitingDevice("web", "vbd", "xvda")]
    foretold = host.vifs(*items, check_mode=True, prune=prune)
    assert UNWANTED not in host.store.values
    host.vifs(*items, prune=prune)
    assert (host.store.values.get(UNWANTED) or "").split() == [f"web/vif/{mac}" for mac in forgotten]
    again = [action.description for action in host.vifs(*items, check_mode=True, prune=prune).actions]
    assert not [line for line in again if line.startswith("forget")]
    lines = [action.description for action in foretold.actions if action.description.startswith("forget")]
    assert lines == [f"forget the vif {mac} of web, which waits for its backend" for mac in forgotten]


@pytest.mark.parametrize(("devid", "number"), [(3, ["devid=3"]), (0, ["devid=1"])], ids=["free", "another one has it"])
def test_what_waits_for_its_backend_gets_its_number_again(host: Host, devid: int, number: list[str]) -> None:
    """With another one, the recovery service would not know that it is there, and attach it a second time."""
    host.attach("web", OTHER, "net-dd", trusted="False")
    host.waiting = [WaitingDevice("web", "vif", MAC, devid)]
    host.vifs(WEB)
    assert [re.findall("devid=.*", call[2]) for call in host.calls] == [number]


MACS = [f"00:16:3e:00:01:{number:02x}" for number in range(4)]


@pytest.mark.parametrize(
    ("gone", "wanted", "prune", "waiting", "numbers"),
    [
        ([0], [0], False, [], {0: 0}),
        ([1], [1], False, [], {1: 1}),
        ([0, 2], [2, 0], False, [], {2: 0, 0: 2}),
        ([0, 2], [2, 0], False, [(2, 2)], {2: 2, 0: 0}),
        ([0], [3], False, [(0, 0)], {3: 3}),
        ([], [3], False, [], {3: 3}),
        ([0], [0, 3], False, [], {0: 0, 3: 3}),
        ([], [3, 1, 2], True, [], {3: 0}),
    ],
    ids=["first", "middle", "in the order of the list", "waits", "reserved", "added", "both", "pruned"],
)
def test_numbers_of_what_is_attached(
    host: Host, gone: list[int], wanted: list[int], prune: bool, waiting: list[tuple[int, int]], numbers: dict[int, int]
) -> None:
    """libxl would take one more than the highest: the guest then has an interface more, and lacks the one that it had an address for."""
    for mac in MACS[:3]:
        host.attach("web", mac, "net-dd", trusted="False")
    for number in gone:
        host.detach_device("vif", "web", number)
    host.calls.clear()
    host.waiting = [WaitingDevice("web", "vif", MACS[place], devid) for place, devid in waiting]
    host.vifs(*({**WEB, "mac": MACS[place]} for place in wanted), prune=prune)
    attached = [re.fullmatch("mac=([^,]*),.*,devid=([0-9]*)", call[2]) for call in host.calls if call[0] == "attach"]
    assert {found[1]: int(found[2]) for found in attached if found} == {MACS[place]: devid for place, devid in numbers.items()}


def test_a_vif_that_takes_the_place_of_another(host: Host) -> None:
    host.attach("web", MACS[0], "net-dd", trusted="False")
    host.attach("web", MACS[1], "net-dd", trusted="False")
    host.vifs({**WEB, "mac": MACS[0], "state": "absent"}, {**WEB, "mac": MACS[2]})
    assert [call[0] for call in host.calls] == ["detach", "attach"]
    assert host.calls[1][2].endswith(",devid=0")
