# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units of domains: what they say, which there are, and which are active."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER, unit_name
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.unit_program import NOT_AGAIN
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.units import SHUTDOWN_UNIT
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput, Refused
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost

READY = {"key": "data/driver-domain/status", "value": "ready", "error_key": "data/driver-domain/error"}
NET = {"name": "net-dd", "driver_domain": True, "autostart": True, "ready": READY}
WEB = {"name": "web1", "autostart": True, "vifs": [{"mac": "00:16:3e:00:00:11", "backend": "net-dd"}]}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def define(host: FakeHost, *domains: dict[str, t.Any]) -> None:
    host.run_plan([{"autostart": True, "state": "present", **domain} for domain in domains])


def unit(host: FakeHost, name: str) -> configparser.ConfigParser:
    # Of what is there twice, it has the last.
    found = configparser.ConfigParser(interpolation=None, strict=False)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read(f"{host.paths.units}/{name}")
    return found


def words(host: FakeHost, name: str, key: str) -> list[str]:
    return unit(host, unit_name(name))["Unit"].get(key, "").split()


def enabled(host: FakeHost) -> set[str]:
    links = Path(host.paths.units, "multi-user.target.wants")
    return {link.name for link in links.iterdir() if link.resolve() == Path(host.paths.units, link.name)}


def test_a_unit_starts_stops_and_is_active_as_long_as_its_domain_is_wanted(host: FakeHost) -> None:
    define(host, NET, WEB)
    assert enabled(host) == {"xen-domain@net-dd.service", "xen-domain@web1.service", SHUTDOWN_UNIT}
    service = unit(host, "xen-domain@web1.service")["Service"]
    program = f"/usr/bin/python3 -ISB {host.paths.program}"
    assert service["ExecStart"] == f"{program} start web1 limit=1 backend=net-dd"
    assert service["ExecStop"] == f"{program} stop web1"
    assert (service["Type"], service["RemainAfterExit"], service["KillMode"]) == ("oneshot", "yes", "process")
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", str(NOT_AGAIN))
    assert float(service["TimeoutStopSec"]) > 300
    assert f"/run/{service['RuntimeDirectory']}" == "/run/xen-driver-domains/units/web1"
    start = unit(host, "xen-domain@net-dd.service")["Service"]["ExecStart"]
    assert start == f"{program} start net-dd limit=1 ready=data/driver-domain/status=ready error=data/driver-domain/error"
    stop = unit(host, SHUTDOWN_UNIT)["Service"]
    assert (stop["ExecStop"], stop["RemainAfterExit"]) == (f"{program} stop-all", "yes")
    text = Path(host.paths.units, SHUTDOWN_UNIT).read_text()
    assert f"ExecStop=/bin/touch {host.paths.all_stop}\nExecStop=" in text and stop["RuntimeDirectory"].endswith("/units/_shutdown")
    assert os.access(host.paths.program, os.X_OK)


def test_each_comes_after_its_backends_of_every_kind(host: FakeHost) -> None:
    store = {"name": "z-store", "driver_domain": True}
    net = {"name": "a-net", "driver_domain": True, "disks": [{"vdev": "xvda", "target": "/d", "backend": "z-store"}]}
    proxy = {"name": "a-proxy", "options": {"p9": ["tag=x,backend=web"]}}
    define(host, {"name": "web", "vifs": [{"backend": "a-net"}]}, proxy, net, store)
    after = {name: [word for word in words(host, name, "After") if "@" in word] for name in ("web", "a-proxy", "a-net", "z-store")}
    assert after == {
        "z-store": [],
        "a-net": ["xen-domain@z-store.service"],
        "web": ["xen-domain@a-net.service"],
        "a-proxy": ["xen-domain@web.service"],
    }
    before = {name: "xendomains.service" in words(host, name, "Before") for name in after}
    # Domains of others, which xendomains starts, may be clients of driver domains. It stops them before these.
    assert before == {"z-store": True, "a-net": True, "web": False, "a-proxy": False}
    assert [name for name in after if SHUTDOWN_UNIT in words(host, name, "Before")] == ["a-net", "z-store"]
    assert "xendomains.service" in words(host, "a-net", "Before") and "xendomains.service" not in words(host, "web", "After")


def test_also_after_those_of_another_call(host: FakeHost) -> None:
    define(host, NET)
    define(host, WEB)
    assert "xen-domain@net-dd.service" in words(host, "web1", "After")
    second = {"name": "b-net", "driver_domain": True, "vifs": [{"backend": "net-dd"}]}
    define(host, second)
    assert words(host, "b-net", "Before") == [SHUTDOWN_UNIT, "xendomains.service"]


def test_backends_of_others_start_with_xendomains(host: FakeHost) -> None:
    define(host, {"name": "net", "driver_domain": True, "vifs": [{"backend": "foreign"}]}, {"name": "web", "vifs": [{"backend": "net"}]})
    assert "xendomains.service" in words(host, "net", "After")
    assert words(host, "net", "Before") == [SHUTDOWN_UNIT]
    assert "xendomains.service" not in words(host, "web", "After")


def test_vifs_beside_emulated_cards_are_not_waited_for(host: FakeHost) -> None:
    vifs = [{"mac": "00:16:3e:00:00:12", "bridge": "br0"}, {"mac": "00:16:3e:00:00:13", "bridge": "br0", "type": "vif"}]
    host.virt_caps = "pv hvm hap"
    define(host, {"name": "web", "type": "hvm", "vifs": vifs}, {"name": "plain", "vifs": [{"bridge": "br0"}]})
    assert unit(host, "xen-domain@web.service")["Service"]["ExecStart"].endswith(" start web limit=1 emulated=00:16:3e:00:00:12")
    assert unit(host, "xen-domain@plain.service")["Service"]["ExecStart"].endswith(" start plain limit=1")


def test_those_that_wait_for_each_other(host: FakeHost) -> None:
    guests = [{"name": "a", "vifs": [{"backend": "b"}]}, {"name": "b", "vifs": [{"backend": "a"}]}]
    with pytest.raises(InvalidInput, match="a, b can never start: each waits"):
        define(host, *guests)


def test_what_a_domain_needs_of_dom0(host: FakeHost) -> None:
    (host.root / "a b.img").write_text("")
    disks = [{"vdev": "xvda", "target": f"{host.root}/a b.img"}, {"vdev": "xvdb", "target": "/dev/null"}]
    define(host, {"name": "web", "disks": disks, "vifs": [{"bridge": "br0"}]}, {"name": "plain"}, NET)
    section = unit(host, "xen-domain@web.service")["Unit"]
    assert section["RequiresMountsFor"] == f'"{host.root}/a b.img" {host.root}/kernel'
    assert {"network-online.target", "openvswitch-switch.service", "iscsi.service", "xen.service"} <= set(section["After"].split())
    assert section["Wants"] == "network-online.target"
    # The network of dom0 may be served by net-dd.
    assert "network-online.target" not in words(host, "net-dd", "After") + words(host, "net-dd", "Wants")
    assert "iscsi.service" not in words(host, "plain", "After")
    for name in ("net-dd", "web"):
        assert "xen-driver-domains-check.service" in words(host, name, "After")
    assert {"xendomains.service", "xen.service", "network-online.target", "remote-fs.target"} <= set(
        unit(host, SHUTDOWN_UNIT)["Unit"]["After"].split()
    )


def test_strange_values_stay_as_they_are(host: FakeHost) -> None:
    ready = {"key": "data/x", "value": '$HOME %n "a\\b"', "error_key": None}
    define(host, {"name": "a+b", "ready": ready})
    assert unit_name("a+b") == "xen-domain@a\\x2bb.service"
    start = unit(host, unit_name("a+b"))["Service"]["ExecStart"]
    assert start.endswith(r""" start a+b limit=1 "ready=data/x=$$HOME %%n \"a\\b\"" """.rstrip())


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_understands_them(host: FakeHost) -> None:
    define(
        host, NET, {**WEB, "disks": [{"vdev": "xvda", "target": "/dev/null"}]}, {"name": "a+b", "ready": {**READY, "value": "a $HOME %n"}}
    )
    units = [f"{host.paths.units}/{name}" for name in os.listdir(host.paths.units) if name.endswith(".service")]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if str(host.root) in line or "xen-" in line]
    assert (len(units), complaints) == (4, [])


class TestCalls:
    """At most one call of systemctl of each kind, whatever the number of domains, and none when nothing changes."""

    def test_starting_stopping_and_starting_again(self, host: FakeHost) -> None:
        guests = [{"name": f"web{number}", "autostart": True} for number in range(5)]
        names = [unit_name(guest["name"]) for guest in guests]
        host.run_plan(guests)
        assert host.systemctl == [("start", "--no-block", *names, SHUTDOWN_UNIT)]
        host.systemctl.clear()
        assert host.run_plan(guests).actions == []
        host.run_plan([{**guest, "state": "stopped"} for guest in guests])
        host.run_plan(guests)
        assert host.systemctl == [("stop", *names), ("start", "--no-block", *names)]

    def test_a_restart_leaves_the_unit_active(self, host: FakeHost) -> None:
        host.run_plan([WEB | {"vifs": None}])
        host.systemctl.clear()
        host.run_plan([{**WEB, "vifs": None, "memory": 64}], restart_changed=True)
        assert ("create", "web1") in host.calls and host.systemctl == []

    def test_a_domain_that_was_started_by_hand(self, host: FakeHost) -> None:
        host.run_plan([{"name": "web1"}])
        host.systemctl.clear()
        assert host.run_plan([{"name": "web1", "autostart": True}]).actions[-1].description == "systemctl start xen-domain@web1.service"
        assert host.systemctl == [("start", "--no-block", "xen-domain@web1.service")]

    def test_systemd_reads_what_has_changed(self, host: FakeHost) -> None:
        define(host, NET)
        host.systemctl.clear()
        define(host, {**NET, "wait_timeout": 7.0})
        define(host, {**NET, "autostart": False})
        assert host.systemctl == [("daemon-reload",), ("daemon-reload",)]
        assert enabled(host) == {SHUTDOWN_UNIT}


class TestUndoing:
    def test_the_last_domain_takes_everything_with_it(self, host: FakeHost) -> None:
        host.run_plan([NET, WEB])
        host.run_plan([{"name": "web1", "state": "absent"}])
        assert enabled(host) == {"xen-domain@net-dd.service", SHUTDOWN_UNIT}
        host.run_plan([{"name": "net-dd", "state": "absent"}])
        assert [path for path in Path(host.paths.units).rglob("*") if not path.is_dir()] == []
        assert not Path(host.paths.program).parent.exists()
        assert host.run_plan([{"name": "net-dd", "state": "absent"}]).actions == []

    def test_check_mode_lists_all_of_it(self, host: FakeHost) -> None:
        plan = host.run_plan([NET], check_mode=True)
        named = [action.description for action in plan.actions]
        assert f"write {host.paths.unit('net-dd')}" in named and "enable xen-domain@net-dd.service" in named
        assert not Path(host.paths.units).exists() and host.systemctl == []
        assert [diff["after"] for diff in plan.diffs if diff["after_header"] == host.paths.unit("net-dd")] != []

    def test_a_unit_of_others_is_left_alone(self, host: FakeHost) -> None:
        path = Path(host.paths.unit("web1"))
        path.parent.mkdir()
        path.write_text("[Unit]\n")
        for state in ("present", "absent"):
            with pytest.raises(Refused, match="xen-domain@web1.service: the file exists and was not written by this collection"):
                host.run_plan([{"name": "web1", "autostart": True, "state": state}])
        assert path.read_text() == "[Unit]\n"


class TestLinks:
    """What xendomains would start."""

    def test_those_to_our_definition_are_removed(self, host: FakeHost) -> None:
        auto = Path(host.paths.autostart)
        auto.mkdir(parents=True)
        for name, target in {"50-web1.cfg": "../web1.cfg", ".00-web1.cfg.held-back": "../web1.cfg", "50-other.cfg": "../other.cfg"}.items():
            (auto / name).symlink_to(target)
        (auto / "web1.cfg").write_text("of another domain\n")
        plan = host.run_plan([{"name": "web1", "autostart": True}])
        assert f"remove {auto}/50-web1.cfg" in [action.description for action in plan.actions]
        assert sorted(os.listdir(auto)) == ["50-other.cfg", "web1.cfg"]

    def test_also_when_the_domain_is_not_to_start_with_the_host(self, host: FakeHost) -> None:
        auto = Path(host.paths.autostart)
        auto.mkdir(parents=True)
        (auto / "web1.cfg").symlink_to("../web1.cfg")
        host.run_plan([{"name": "web1"}])
        assert os.listdir(auto) == []


def test_the_marker_is_that_of_the_module(host: FakeHost) -> None:
    define(host, NET)
    for name in (unit_name("net-dd"), SHUTDOWN_UNIT):
        text = Path(host.paths.units, name).read_text()
        assert text.startswith(MARKER) and not re.search(r"[{}]", text)
