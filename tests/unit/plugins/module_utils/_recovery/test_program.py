# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program, unit and configuration of the recovery service, and how they are installed."""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import typing as t
import zipfile
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed, DriverDomainsError, InvalidInput, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._polling import wait_until
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery import main as command_line
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery import program
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import (
    UNIT,
    Places,
    is_alive,
    life_file,
    read_configuration,
    read_status,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.model import Configuration, Declared
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.program import Installer, pack, unit_text
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result
from ansible_collections.xen.driver_domains.plugins.module_utils._turn import Turn
from ansible_collections.xen.driver_domains.plugins.modules import domain_recovery
from ansible_collections.xen.driver_domains.tests.unit.fakes.recovery import FakeSite

CONFIGURATION = Configuration((Declared("net-dd", "/etc/xen/net-dd.cfg", "data/driver-domain/status", "ready"),))


class Host:
    """Where the service is installed, and systemd."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places = Places(
            f"{root}/lib/recovery.pyz", f"{root}/units", f"{root}/etc/recovery.json", f"{root}/run", textfiles=f"{root}/textfiles"
        )
        self.calls: list[tuple[str, ...]] = []
        self.enabled = self.active = False
        self.failing = False
        #: How long systemctl takes when it does something.
        self.seconds = 1.0

    def run(self, argv: t.Sequence[str], check: bool = True, timeout: float = 60.0) -> Result:
        words = tuple(argv[1:])
        if words[0].startswith("is-"):
            answer = {"is-enabled": ("disabled", "enabled")[self.enabled], "is-active": ("inactive", "active")[self.active]}[words[0]]
            return Result(words, 0, f"{answer}\n", "")
        self.calls.append(words)
        if timeout < self.seconds:
            raise TimedOut(f"'systemctl {words[0]}' did not end within {timeout:g} s and was stopped")
        if self.failing and words[0] == "restart":
            raise CommandFailed("'systemctl restart' failed with exit code 1: Job failed", stderr="Job failed")
        self.enabled = {"enable": True, "disable": False}.get(words[0], self.enabled)
        self.active = {"restart": True, "disable": False}.get(words[0], self.active)
        return Result(words, 0, "", "")

    def plan(self, configuration: Configuration | None) -> Plan:
        fake: t.Any = self
        return Installer(fake, "/usr/bin/python3", self.places).plan(configuration)

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.root)): path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_installing_repeating_changing_and_removing(host: Host) -> None:
    foretold = host.plan(CONFIGURATION)
    foretold.apply(check_mode=True)
    assert (host.files(), host.calls) == ({}, [])

    done = host.plan(CONFIGURATION).apply()
    assert done["actions"] == [action.description for action in foretold.actions] and done["changed"]
    assert set(host.files()) == {"lib/recovery.pyz", f"units/{UNIT}", "etc/recovery.json"}
    assert host.calls == [("daemon-reload",), ("enable", UNIT), ("restart", UNIT)]
    assert read_configuration(host.places.configuration) == CONFIGURATION
    host.calls.clear()

    assert (host.plan(CONFIGURATION).apply()["changed"], host.calls) == (False, [])

    host.plan(Configuration((), 3)).apply()
    assert host.calls == [("restart", UNIT)]
    host.calls.clear()

    (host.root / "run").mkdir()
    (host.root / "run" / "memory.json").write_text("{}")
    assert host.plan(None).diffs
    host.plan(None).apply()
    assert (host.files(), host.calls) == ({}, [("disable", "--now", UNIT), ("daemon-reload",)])
    assert not [name for name in ("lib", "etc", "run") if (host.root / name).exists()]
    assert not host.plan(None).actions


def test_node_exporter_finds_the_metrics(host: Host) -> None:
    host.plan(CONFIGURATION).apply()
    link = Path(host.places.textfile)
    assert not os.path.lexists(link), "there is no node_exporter"
    link.parent.mkdir()
    assert host.plan(CONFIGURATION).apply()["actions"] == [f"link {link}"]
    assert os.readlink(link) == "/run/xen-driver-domains-metrics/xen_driver_domains.prom"
    assert not host.plan(CONFIGURATION).actions
    link.unlink()
    link.write_text("older")
    host.plan(CONFIGURATION).apply()
    assert link.is_symlink()
    host.plan(None).apply()
    assert link.parent.is_dir()
    assert not os.path.lexists(link)
    assert not host.plan(None).actions


def test_what_is_left_without_a_unit_file_is_removed(host: Host) -> None:
    """Somebody has removed the file of a service that runs."""
    host.plan(CONFIGURATION).apply()
    Path(host.places.unit).unlink()
    link = Path(host.places.enabled)
    link.parent.mkdir()
    link.symlink_to(host.places.unit)
    life = Turn(life_file(host.places.run))
    assert life.take()
    host.calls.clear()
    host.plan(None).apply()
    life.pass_on()
    assert host.calls == [("stop", UNIT)]
    assert not [path for path in (host.places.program, host.places.configuration, host.places.enabled) if os.path.lexists(path)]
    assert not host.plan(None).actions


def test_the_service_runs_once_and_says_that_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = []

    class Service:
        def __init__(self, *arguments: t.Any, **options: t.Any) -> None:
            self.stopping = False

        def run(self, wake: int) -> None:
            alive.append(is_alive(str(tmp_path)))
            with pytest.raises(DriverDomainsError, match="runs already"):
                command_line.run()

    for name, value in {
        "RUN": str(tmp_path),
        "LIFE_WAIT": 0.0,
        "RecoveryService": Service,
        "XenStore": contextlib.nullcontext,
        "read_configuration": lambda path: CONFIGURATION,
        "wake_on_signals": lambda service: 0,
    }.items():
        monkeypatch.setattr(command_line, name, value)
    assert not is_alive(str(tmp_path))
    command_line.run()
    assert alive == [True]


def test_a_service_that_stopped_is_started(host: Host) -> None:
    host.plan(CONFIGURATION).apply()
    host.active = host.enabled = False
    assert host.plan(CONFIGURATION).apply()["actions"] == [f"enable {UNIT}", f"start {UNIT}"]


def test_the_program_is_shown_in_no_diff(host: Host) -> None:
    assert all("import" not in diff["after"] for diff in host.plan(CONFIGURATION).diffs)


def test_a_service_that_does_not_start(host: Host) -> None:
    host.failing = True
    with pytest.raises(DriverDomainsError, match=f"Job failed. See 'journalctl -u {UNIT}'"):
        host.plan(CONFIGURATION).apply()


def test_a_service_that_finishes_what_it_has_begun_is_waited_for(host: Host) -> None:
    """It may take 60 s before it ends, and is then started again."""
    host.seconds = 100.0
    assert host.plan(CONFIGURATION).apply()["changed"]
    host.seconds = 1000.0
    with pytest.raises(DriverDomainsError, match=f"did not end within 120 s and was stopped. See 'journalctl -u {UNIT}'"):
        host.plan(Configuration()).apply()


def test_the_unit() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # as its documentation says
    unit.read_string(unit_text("/usr/bin/python3"))
    service = dict(unit["Service"])
    assert service["ExecStart"] == "/usr/bin/python3 -ISB /usr/local/lib/xen-driver-domains/recovery.pyz run"
    # The monitor of a domain that xl leaves behind, and QEMU, outlive the service.
    assert (service["Type"], service["Restart"], service["KillMode"]) == ("notify", "on-failure", "process")
    # A file system view of its own would be theirs, too.
    views = ("Private", "Protect", "ReadOnly", "ReadWrite", "Inaccessible", "Root", "Temporary", "Bind", "Mount", "Device")
    assert not [key for key in service if key.startswith(views)]
    # At shutdown it stops before xendomains stops the domains.
    assert "xendomains.service" in unit["Unit"]["After"]


def test_the_program_is_whole_and_the_same_each_time(tmp_path: Path) -> None:
    path = tmp_path / "recovery.pyz"
    path.write_bytes(pack())
    assert pack() == path.read_bytes()
    path.chmod(0o755)
    # As an operator runs it.
    assert "status" in subprocess.run([str(path), "--help"], check=True, capture_output=True, text=True, timeout=60).stdout
    names = zipfile.ZipFile(path).namelist()
    assert not [name for name in names if "/_module" in name or "definition" in name or "/_pci" in name]
    # Apart from the collection, and from what is installed beside Python.
    done = subprocess.run([sys.executable, "-ISB", str(path), "--help"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0 and "pause" in done.stdout
    done = subprocess.run([sys.executable, "-ISB", str(path), "run"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "recovery.json is not a configuration of the recovery service" in done.stderr


OTHER_LOADERS = """
import hashlib, sys
from ansible.plugins.loader import init_plugin_loader
if sys.argv[1] == "controller":
    init_plugin_loader([sys.argv[2]])
else:
    sys.path.insert(0, sys.argv[2])
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.program import pack
print(hashlib.sha256(pack()).hexdigest())
"""


@pytest.mark.parametrize("place", ["controller", "host"])
def test_the_program_is_the_same_wherever_it_is_packed(tmp_path: Path, place: str) -> None:
    """A filter packs it on the controller, with the loader of Ansible, and a module on the host, from the archive that it is in."""
    utils = Path(program.__file__).parents[1]
    collections = utils.parents[4]
    where = collections
    if place == "host":
        where = tmp_path / "payload.zip"
        with zipfile.ZipFile(where, "w") as archive:
            parts = utils.relative_to(collections).parts
            for depth in range(1, len(parts) + 1):
                archive.writestr("/".join([*parts[:depth], "__init__.py"]), "")
            for folder in ("_recovery", "_domain", "_xen", "_xenstore"):
                archive.writestr("/".join([*parts, folder, "__init__.py"]), "")
            for file in utils.rglob("*.py"):
                archive.write(file, file.relative_to(collections))
    arguments = [sys.executable, "-c", OTHER_LOADERS, place, str(where)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=tmp_path, env={"PATH": "/bin", "HOME": str(tmp_path)})
    assert done.stdout.strip() == hashlib.sha256(pack()).hexdigest()


MEASURE = """
import sys
sys.path.insert(0, sys.argv[1])
from xen_driver_domains._recovery.main import Commands, RecoveryService, Xl, XenStore, read_configuration
service = RecoveryService(read_configuration(sys.argv[2]), XenStore(sys.argv[3]), Xl(), Commands(), directory=sys.argv[4] + "/run",
                  lock=sys.argv[4] + "/lock", say=print)
for _step in range(200):
    service.step()
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


def test_it_needs_little_memory_and_does_not_grow(tmp_path: Path) -> None:
    """With 20 clients of two devices each."""
    host = Host(tmp_path)
    host.plan(CONFIGURATION).apply()
    (tmp_path / "site").mkdir()
    with FakeSite(tmp_path / "site") as site:
        site.add("net-dd", ready="ready")
        for number in range(20):
            client = site.add(f"web{number}")
            site.plug(client, "vif", f"mac=00:16:3e:00:00:{number:02x},backend=net-dd,devid=0")
            site.plug(client, "vbd", "vdev=xvda,backend=net-dd,target=/dev/d")
        arguments = [host.places.program, host.places.configuration, site.store.path, str(tmp_path)]
        done = subprocess.run([sys.executable, "-ISB", "-c", MEASURE, *arguments], capture_output=True, text=True, check=True)
    kilobytes = int(done.stdout.split()[-1])
    assert kilobytes < 25_000
    status = read_status(f"{tmp_path}/run")
    assert status is not None and len(status["clients"]) == 40


RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from xen_driver_domains._recovery.main import Commands, RecoveryService, Xl, XenStore, read_configuration
from xen_driver_domains._recovery.service import wake_on_signals
from xen_driver_domains._recovery.status import notifier
service = RecoveryService(read_configuration(sys.argv[2]), XenStore(sys.argv[3]), Xl(executable=sys.argv[4] + "/xl"), Commands(),
                          directory=sys.argv[4] + "/run",
                          lock=sys.argv[4] + "/lock", userdata=sys.argv[5], program=sys.argv[4] + "/xl",
                          say=lambda line: print(line, flush=True), notify=notifier(sys.argv[4] + "/notify"))
service.run(wake_on_signals(service))
"""


def switches(pid: int) -> int:
    """How often the kernel has let a process run."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def sleeps(pid: int) -> bool:
    """Whether a process does not wake for a second. On a busy machine it may not have come to rest when it says that it is ready."""
    before = switches(pid)
    time.sleep(1)
    return switches(pid) == before


def test_the_process(tmp_path: Path) -> None:
    """It says when it is ready, sleeps, acts when something happens, takes note of the end of what it started, and ends when asked to."""
    host = Host(tmp_path)
    host.plan(CONFIGURATION).apply()
    (tmp_path / "xl").write_text(
        f'#!/bin/sh\n[ "$1" != list ] || exit 0\necho "$@" >>{tmp_path}/calls\n[ "$1" != network-detach ] || exit 1\n'
    )
    (tmp_path / "xl").chmod(0o755)
    (tmp_path / "site").mkdir()
    with FakeSite(tmp_path / "site") as site, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        site.add("net-dd", ready="ready")
        site.plug(site.add("web1"), "vif", "mac=00:16:3e:00:00:11,backend=net-dd,devid=0")
        arguments = [host.places.program, host.places.configuration, site.store.path, str(tmp_path), str(site.root / "lib")]
        with subprocess.Popen([sys.executable, "-ISB", "-c", RUN, *arguments], stdout=subprocess.PIPE, text=True) as process:
            assert systemd.recv(1000) == b"STATUS=1 of 1 devices of 1 clients work; backends: net-dd"
            assert systemd.recv(1000) == b"READY=1"
            try:
                # What it watches has events at first, and xl is asked once more. Then it sleeps.
                assert wait_until(lambda: sleeps(process.pid), 30)
                site.destroy(1)
                assert process.stdout
                lines = [process.stdout.readline().strip() for _line in range(2)]
                process.terminate()
                rest, _none = process.communicate(timeout=20)
            finally:
                process.kill()
        assert process.returncode == 0
        assert lines == ["net-dd (domain 1) is gone; it served web1", "web1: vif 0 was not detached: it ended with 1"]
        assert rest == ""
        assert (tmp_path / "calls").read_text() == "network-detach 2 0\n"
        assert not (tmp_path / "run" / "status.json").exists()
        assert Turn(str(tmp_path / "lock")).take()


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"domains": 1, "attempts": 5}', '{"domains": [{"x": 1}], "attempts": 5}'])
def test_a_configuration_that_is_none(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "recovery.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInput, match="is not a configuration of the recovery service"):
        read_configuration(str(path))


def test_no_status(tmp_path: Path) -> None:
    assert read_status(str(tmp_path)) is None
    (tmp_path / "status.json").write_text("[")
    assert read_status(str(tmp_path)) is None


# The module


def test_the_module_plans_what_it_is_given(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    fake: t.Any = host
    monkeypatch.setattr(domain_recovery, "Runner", lambda: fake)
    monkeypatch.setattr(domain_recovery, "Installer", lambda runner, python: Installer(runner, python, host.places))
    for check in ("require_dom0", "require_root"):
        monkeypatch.setattr(domain_recovery, check, lambda: None)
    ready = {"key": "data/up", "value": "yes", "error_key": None}
    domains = [
        {"name": "net-dd", "definition": None, "ready": ready, "wait_timeout": 90},
        {"name": "x", "definition": "/x.cfg", "ready": None, "wait_timeout": 300.0},
    ]
    domain_recovery.prepare({"state": "present", "domains": domains, "attempts": 7}).apply()
    found = json.loads(Path(host.places.configuration).read_text())
    assert found == {
        "attempts": 7,
        "domains": [
            {"name": "net-dd", "definition": "/etc/xen/net-dd.cfg", "ready_key": "data/up", "ready_value": "yes", "wait_timeout": 90.0},
            {"name": "x", "definition": "/x.cfg", "ready_key": "", "ready_value": "", "wait_timeout": 300.0},
        ],
    }
    assert sys.executable in Path(host.places.unit).read_text()
    domain_recovery.prepare({"state": "absent", "domains": [], "attempts": 5}).apply()
    assert host.files() == {}
