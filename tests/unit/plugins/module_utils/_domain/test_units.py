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
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER, unit_name
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.stopping import LIMIT
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.unit_program import CREATE_LIMIT, NOT_AGAIN
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
    assert float(service["TimeoutStopSec"]) > CREATE_LIMIT + LIMIT
    assert f"/run/{service['RuntimeDirectory']}" == "/run/xen-driver-domains/units/web1"
    start = unit(host, "xen-domain@net-dd.service")["Service"]["ExecStart"]
    assert start == f"{program} start net-dd limit=1 ready=data/driver-domain/status=ready error=data/driver-domain/error"
    stop = unit(host, SHUTDOWN_UNIT)["Service"]
    assert (stop["ExecStop"], stop["RemainAfterExit"]) == (f"{program} stop-all", "yes")
    assert f"/run/{stop['RuntimeDirectory']}" == "/run/xen-driver-domains/units/_shutdown"
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
    assert {"xendomains.service", "xen.service", "network.target", "network-online.target", "remote-fs.target"} <= set(
        unit(host, SHUTDOWN_UNIT)["Unit"]["After"].split()
    )


def test_strange_values_stay_as_they_are(host: FakeHost) -> None:
    ready = {"key": "data/x", "value": '$HOME %n "a\\b"', "error_key": None}
    define(host, {"name": "a+b", "ready": ready})
    assert unit_name("a+b") == "xen-domain@a\\x2bb.service"
    start = unit(host, unit_name("a+b"))["Service"]["ExecStart"]
    assert start.endswith(r""" start a+b limit=1 "ready=data/x=$$HOME %%n \"a\\b\"" """.rstrip())


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("yes", "ready=data/x=yes"),
        ("it's", '"ready=data/x=it\'s"'),
        ("a;b", '"ready=data/x=a;b"'),
        ("a\tb", '"ready=data/x=a\tb"'),
        ("a\nExecStart=/bin/sh", r'"ready=data/x=a\nExecStart=/bin/sh"'),
        ("\\", r'"ready=data/x=\\"'),
        ("${HOME}", "ready=data/x=$${HOME}"),
    ],
)
def test_each_argument_is_one_word(host: FakeHost, value: str, word: str) -> None:
    define(host, {"name": "web", "ready": {"key": "data/x", "value": value, "error_key": None}})
    lines = Path(host.paths.unit("web")).read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("ExecStart=")]
    assert line.endswith(f" start web limit=1 {word}")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_understands_them(host: FakeHost) -> None:
    define(
        host, NET, {**WEB, "disks": [{"vdev": "xvda", "target": "/dev/null"}]}, {"name": "a+b", "ready": {**READY, "value": "a $HOME %n"}}
    )
    units = [f"{host.paths.units}/{name}" for name in os.listdir(host.paths.units) if name.endswith(".service")]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if str(host.root) in line or "xen-" in line]
    assert (len(units), complaints) == (4, [])


def services(host: FakeHost) -> dict[str, str]:
    """What needrestart would do with services: "1" where it restarts one."""
    names = ["xen-domain@web1.service", "xen-domain@a\\x2bb.service", "xen-domain-recovery.service", "not-xen-domain@web1.service"]
    # As needrestart reads its configuration and looks a service up.
    program = """
        our %nrconf = (override_rc => {qr(^xendomains) => 0});
        eval do { local(@ARGV, $/) = shift; <>};
        die $@ if $@;
        for my $rc (@ARGV) {
            my $restart = 1;
            for my $re (keys %{$nrconf{override_rc}}) { $restart = $nrconf{override_rc}->{$re} if $rc =~ /$re/ }
            print "$rc $restart\n";
        }
    """
    command = ["perl", "-e", program, host.paths.needrestart, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return dict(line.split(" ") for line in done.stdout.splitlines())


@pytest.mark.skipif(not shutil.which("perl"), reason="needs perl")
def test_needrestart_leaves_domains_alone(host: FakeHost) -> None:
    """Of the processes in the cgroups of units, all are those of domains that xl has started."""
    define(host, WEB)
    assert services(host) == {
        "xen-domain@web1.service": "0",
        "xen-domain@a\\x2bb.service": "0",
        "xen-domain-recovery.service": "1",
        "not-xen-domain@web1.service": "1",
    }


#: Xen's services, as Debian's init scripts become units (systemd-sysv-generator(8)).
DEBIAN = {
    "xen.service": "After=remote-fs.target\n",
    "xendomains.service": "After=network-online.target remote-fs.target xen.service\n",
}
FSTAB_GENERATOR = "/usr/lib/systemd/system-generators/systemd-fstab-generator"


def cycles(host: FakeHost, fstab: str) -> list[str]:
    """What systemd says about the order in which a host starts that has a file system from the driver domain store-dd."""
    units = Path(host.paths.units)
    table = host.root / "fstab"
    table.write_text(fstab)
    places = [str(host.root / name) for name in ("generated", "early", "late")]
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
        os.mkdir(place)
    subprocess.run([FSTAB_GENERATOR, *places], env={**os.environ, "SYSTEMD_FSTAB": str(table)}, check=True, timeout=60)
    shutil.copy(host.root / "generated/srv.mount", units)
    for name, order in DEBIAN.items():
        (units / name).write_text(f"[Unit]\n{order}[Service]\nExecStart=/bin/true\n")
    names = [name for name in os.listdir(units) if name.endswith((".service", ".mount"))]
    (units / "boot.target").write_text(f"[Unit]\nWants=remote-fs.target network-online.target {' '.join(names)}\n")
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:/lib/systemd/system"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(units / "boot.target")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    return [line for line in done.stderr.splitlines() if "cycle" in line]


@pytest.mark.skipif(not (shutil.which("systemd-analyze") and os.path.exists(FSTAB_GENERATOR)), reason="needs systemd")
def test_a_file_system_of_dom0_from_a_driver_domain_is_mounted_as_the_guide_says(host: FakeHost) -> None:
    text = Path(__file__).parents[5].joinpath("docs/recovery.md").read_text()
    (line,) = re.findall(r"^/dev/xvda .* 0 0$", text, re.MULTILINE)
    disks = [{"vdev": "xvda", "target": "/srv/web1.img"}]
    (host.root / "web1.img").write_text("")
    define(host, {"name": "store-dd", "driver_domain": True}, {"name": "web1", "disks": [{**disks[0], "target": f"{host.root}/web1.img"}]})
    drop_in = Path(f"{host.paths.unit('web1')}.d/disk.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[Unit]\nRequiresMountsFor=/srv/web1.img\n")
    assert cycles(host, line) == cycles(host, line.replace("ext4 ", "ext4 _netdev,")) == []
    mount = unit(host, "srv.mount")["Unit"]
    assert mount["Before"] == SHUTDOWN_UNIT, "it is unmounted after guests have stopped"
    # Without this, it would be needed by what the driver domain itself needs.
    assert "Found ordering cycle" in cycles(host, line.replace("nofail", "defaults"))[0]
    assert "Found ordering cycle" in cycles(host, line.replace("nofail", "_netdev"))[0]


class TestCalls:
    """At most one call of systemctl of each kind, whatever the number of domains, and none when nothing changes."""

    def test_starting_stopping_and_starting_again(self, host: FakeHost) -> None:
        guests = [{"name": f"web{number}", "autostart": True} for number in range(5)]
        names = [unit_name(guest["name"]) for guest in guests]
        host.run_plan(guests)
        # What was started too often before would not be started.
        assert host.systemctl == [("reset-failed", *names, SHUTDOWN_UNIT), ("start", "--no-block", *names, SHUTDOWN_UNIT)]
        host.systemctl.clear()
        assert host.run_plan(guests).actions == []
        assert host.shown == []
        host.run_plan([{**guest, "state": "stopped"} for guest in guests])
        host.run_plan(guests)
        assert host.systemctl == [("stop", *names), ("reset-failed", *names), ("start", "--no-block", *names)]
        assert host.shown == [tuple(names)]

    def test_a_restart_leaves_the_unit_active(self, host: FakeHost) -> None:
        host.run_plan([WEB | {"vifs": None}])
        host.systemctl.clear()
        host.run_plan([{**WEB, "vifs": None, "memory": 64}], restart_changed=True)
        assert ("create", "web1") in host.calls and host.systemctl == []

    def test_a_domain_that_was_started_by_hand(self, host: FakeHost) -> None:
        host.run_plan([{"name": "web1"}])
        host.systemctl.clear()
        assert host.run_plan([{"name": "web1", "autostart": True}]).actions[-1].description == "systemctl start xen-domain@web1.service"
        assert host.systemctl[-1] == ("start", "--no-block", "xen-domain@web1.service")

    def test_systemd_reads_what_has_changed_even_if_the_run_fails_later(self, host: FakeHost) -> None:
        host.run_plan([NET, WEB])
        host.systemctl.clear()
        host.deaf.add("web1")
        with pytest.raises(Refused, match="it did not shut down"):
            host.run_plan([{**NET, "wait_timeout": 7.0}, {"name": "web1", "state": "stopped", "autostart": True}])
        assert host.systemctl == [("daemon-reload",)]
        host.systemctl.clear()
        host.deaf.clear()
        host.run_plan([{"name": "web1", "state": "absent"}])
        assert host.systemctl == [("stop", "xen-domain@web1.service"), ("daemon-reload",)]

    def test_systemd_reads_what_has_changed(self, host: FakeHost) -> None:
        define(host, NET)
        host.systemctl.clear()
        define(host, {**NET, "wait_timeout": 7.0})
        define(host, {**NET, "autostart": False})
        assert host.systemctl == [("daemon-reload",), ("daemon-reload",)]
        assert enabled(host) == {SHUTDOWN_UNIT}


class TestOnTheirWay:
    """Units that systemd has not started or stopped yet, or will start again: their domains would be as requested only until then."""

    STATES: t.ClassVar = [("inactive", "17"), ("activating", ""), ("activating", "18"), ("deactivating", "19"), ("failed", "20")]

    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("wanted", ["stopped", "absent"])
    def test_what_would_start_later_is_stopped(self, host: FakeHost, wanted: str, state: tuple[str, str]) -> None:
        host.run_plan([{**WEB, "vifs": None, "state": "present"}, {**NET, "state": "present"}])
        host.systemctl.clear()
        host.unit_states["xen-domain@web1.service"] = state
        again = [{"name": "web1", "state": wanted, "autostart": True}]
        plan = host.run_plan(again)
        assert "systemctl stop xen-domain@web1.service" in [action.description for action in plan.actions]
        assert ("stop", "xen-domain@web1.service") in host.systemctl
        assert host.run_plan(again).actions == []

    @pytest.mark.parametrize("state", [("inactive", ""), ("inactive", "0"), ("failed", "")])
    def test_what_does_not_is_left(self, host: FakeHost, state: tuple[str, str]) -> None:
        host.run_plan([{**WEB, "vifs": None, "state": "present"}])
        host.unit_states["xen-domain@web1.service"] = state
        assert host.run_plan([{**WEB, "vifs": None, "state": "stopped"}]).actions == []

    @pytest.mark.parametrize("state", STATES[:3])
    def test_what_will_start_is_not_started_again(self, host: FakeHost, state: tuple[str, str]) -> None:
        guests = [{"name": "web1", "autostart": True}, {"name": "web2", "autostart": True}]
        host.run_plan(guests)
        for name in ("web1", "web2", "_shutdown"):
            os.rmdir(f"{host.paths.active}/{name}")
        host.systemctl.clear()
        host.unit_states.update({"xen-domain@web1.service": state, SHUTDOWN_UNIT: ("inactive", "5")})
        plan = host.run_plan(guests)
        assert [action.description for action in plan.actions] == ["systemctl start xen-domain@web2.service"]
        host.unit_states["xen-domain@web2.service"] = ("inactive", "21")
        os.rmdir(f"{host.paths.active}/web2")
        assert host.run_plan(guests).actions == []


class TestUndoing:
    def test_the_last_domain_takes_everything_with_it(self, host: FakeHost) -> None:
        host.run_plan([NET, WEB])
        host.run_plan([{"name": "web1", "state": "absent"}])
        assert enabled(host) == {"xen-domain@net-dd.service", SHUTDOWN_UNIT}
        host.run_plan([{"name": "net-dd", "state": "absent"}])
        assert [path for path in Path(host.paths.units).rglob("*") if not path.is_dir()] == []
        assert not Path(host.paths.program).parent.exists() and not (host.root / "needrestart").exists()
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


def starts(host: FakeHost, name: str) -> set[str]:
    """What would start a domain when the host boots."""
    definition = Path(host.paths.definition(name))
    found = {"xendomains" for file in os.scandir(host.paths.autostart) if f'name = "{name}"' in Path(file.path).read_text()}
    unit = Path(host.paths.wants(unit_name(name)))
    if unit.exists() and Path(host.paths.program).exists() and definition.exists():
        found.add("unit")
    return found


class TestPowerCut:
    """After each step of an upgrade from links, domains start with the host, and once: xendomains does not start what runs."""

    def upgrade(self, host: FakeHost, links: t.Mapping[str, str], wanted: t.Sequence[dict[str, t.Any]]) -> None:
        auto = Path(host.paths.autostart)
        auto.mkdir(parents=True)
        for name, text in links.items():
            Path(host.paths.definition(name)).write_text(text)
            (auto / f"{name}.cfg").symlink_to(f"../{name}.cfg")
        plan = host.plan(wanted)
        assert all(starts(host, name) for name in links)
        for action in plan.actions:
            action.apply()
            for name in links:
                assert starts(host, name), (name, action.description)
        assert [starts(host, name) for name in links] == [{"unit"}] * len(links)

    def test_after_each_step(self, host: FakeHost) -> None:
        text = MARKER + 'name = "{}"\n'
        self.upgrade(host, {name: text.format(name) for name in ("net-dd", "web1")}, [NET, WEB])

    def test_definitions_of_others_and_copies_of_them(self, host: FakeHost) -> None:
        plan = host.plan([{"name": "web1", "autostart": True}])
        (text,) = [action.after for action in plan.actions if action.subject == host.paths.definition("web1")]
        auto = Path(host.paths.autostart)
        auto.mkdir(parents=True)
        (auto / "web1.cfg").write_text("# Mine\n" + text[len(MARKER) :])
        for action in host.plan([{"name": "web1", "autostart": True}]).actions:
            action.apply()
            assert starts(host, "web1"), action.description
        assert starts(host, "web1") == {"unit"}

    def test_a_run_that_fails_at_a_stop(self, host: FakeHost) -> None:
        text = MARKER + 'name = "{}"\n'
        auto = Path(host.paths.autostart)
        auto.mkdir(parents=True)
        for name in ("net-dd", "web1", "old"):
            Path(host.paths.definition(name)).write_text(text.format(name))
            (auto / f"{name}.cfg").symlink_to(f"../{name}.cfg")
        host.add("old", text=text.format("old"))
        host.deaf.add("old")
        with pytest.raises(Refused, match="Domain old: it did not shut down"):
            host.run_plan([NET, WEB, {"name": "old", "state": "absent"}])
        assert [starts(host, name) for name in ("net-dd", "web1")] == [{"unit"}, {"unit"}]
        assert SHUTDOWN_UNIT in enabled(host)


def test_the_marker_is_that_of_the_module(host: FakeHost) -> None:
    define(host, NET)
    for name in (unit_name("net-dd"), SHUTDOWN_UNIT):
        text = Path(host.paths.units, name).read_text()
        assert text.startswith(MARKER) and not re.search(r"[{}]", text)


# A host without systemd


def test_a_host_without_systemd_gets_no_units(host: FakeHost) -> None:
    host.paths = replace(host.paths, systemd=f"{host.root}/no-systemd")
    host.run_plan([{"name": "web1", "state": "running"}])
    assert "web1" in host.domains
    assert not Path(host.paths.units).exists() and not host.systemctl
    host.run_plan([{"name": "web1", "state": "absent"}])
    assert "web1" not in host.domains and not host.systemctl


def test_a_domain_cannot_start_with_a_host_without_systemd(host: FakeHost) -> None:
    host.paths = replace(host.paths, systemd=f"{host.root}/no-systemd")
    with pytest.raises(Refused, match="Domain web1: it cannot start with the host, which systemd does not run"):
        define(host, WEB)
    assert not Path(host.paths.definition("web1")).exists()
