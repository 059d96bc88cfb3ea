# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the units of domains run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import typing as t
import zipfile
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._archive import pack
from ansible_collections.xen.driver_domains.plugins.module_utils._domain import unit_program
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.aside import ORDERS, STOPPED
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER, Paths
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.ready import Ready
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.unit_program import (
    NOT_AGAIN,
    STATUS,
    DomainUnit,
    Interrupted,
    Interruption,
    NotStarted,
    Start,
    host_stops,
    main,
    parse_start,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed, DriverDomainsError, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._held_back import hold_back
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result, Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._turn import Turn
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore
from ansible_collections.xen.driver_domains.tests.unit.fakes.running import RunningDomains, times_out

NET = Start("net-dd", 5.0, Ready(STATUS, "ready", "data/driver-domain/error"))


class Host(RunningDomains):
    """A host with two definitions, whose driver domain reports at once that it serves."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.paths = Paths(
            f"{root}/xen", f"{root}/auto", f"{root}/lib", f"{root}/sys", f"{root}/run", f"{root}/saved", active=f"{root}/active"
        )
        (root / "xen").mkdir()
        for name in ("net-dd", "web1"):
            (root / f"xen/{name}.cfg").write_text(MARKER + f'name = "{name}"\n')
        self.status: str | None = "ready"
        self.interruption = Interruption()
        #: Whether the host shuts down.
        self.stopping = False
        self.creation = self.come_up

    def come_up(self, name: str) -> None:
        domid = self.add(name, *(["net-dd"] if name == "web1" else []))
        if name == "net-dd" and self.status:
            self.report(domid, self.status)

    def report(self, domid: int, status: str) -> None:
        self.server.set(f"/local/domain/{domid}/{STATUS}", status)

    def unit(self) -> DomainUnit:
        fake: t.Any = self
        turn, held = Turn(f"{self.root}/lock"), f"{self.root}/held"
        return DomainUnit(self.store, fake, self.paths, self.said.append, turn, held, self.interruption, lambda: self.stopping)

    def activate(self, *names: str) -> None:
        """Let units be active."""
        for name in names:
            (self.root / "active" / name).mkdir(parents=True)


@pytest.fixture
def host(tmp_path: Path) -> t.Iterator[Host]:
    with Host(tmp_path) as host:
        assert isinstance(host, Host)
        yield host


def later(call: t.Callable[[], object], seconds: float = 0.3) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.start()
    return timer


def test_a_domain_is_started_once(host: Host) -> None:
    host.unit().start(NET)
    host.unit().start(NET)
    assert host.calls == ["create net-dd"]
    assert host.said[0].startswith("net-dd is ready, after ") and host.said[1] == "net-dd runs already"


def test_what_is_left_of_a_domain_is_destroyed_before_its_start(host: Host) -> None:
    host.leave(host.add("net-dd"))
    host.unit().start(NET)
    assert host.calls == ["destroy net-dd", "create net-dd"]


def test_what_xl_is_about_to_remove_is_left_to_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_program, "is_watched", lambda name: name == "net-dd")
    domid = host.add("net-dd")
    host.leave(domid)
    timer = later(lambda: host.end(domid))
    host.unit().start(NET)
    timer.join()
    assert host.calls == ["create net-dd"]


def test_what_xl_does_not_remove_in_time_is_destroyed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_program, "is_watched", lambda name: True)
    monkeypatch.setattr(unit_program, "REMOVED", 0.2)
    host.leave(host.add("net-dd"))
    host.unit().start(NET)
    assert host.calls == ["destroy net-dd", "create net-dd"]


def test_it_waits_until_the_domain_reports(host: Host) -> None:
    host.status = "starting"
    timer = later(lambda: host.report(host.domid("net-dd"), "ready"))
    host.unit().start(NET)
    timer.join()
    assert host.said == [line for line in host.said if line.startswith("net-dd is ready, after 0.")] != []


@pytest.mark.parametrize(
    ("status", "reason"),
    [("starting", "its key data/driver-domain/status is 'starting', not 'ready'"), ("error", "Domain net-dd reports: it gave no reason")],
)
def test_a_domain_that_is_not_ready_runs_all_the_same(host: Host, status: str, reason: str) -> None:
    host.status = status
    host.unit().start(Start("net-dd", 0.2, NET.ready))
    (line,) = host.said
    assert line.startswith("net-dd runs, but is not ready: ") and reason in line


def test_a_vif_beside_an_emulated_card_is_not_waited_for(host: Host) -> None:
    """A guest without Xen's drivers uses the emulated card, and never connects the other."""

    def come_up(name: str) -> None:
        domid = host.add(name, "Domain-0")
        host.server.set(f"/libxl/{domid}/device/vif/0/mac", "00:16:3e:00:00:12")
        host.server.set(f"/local/domain/{domid}/device/vif/0/state", "1")

    host.creation = come_up
    host.unit().start(Start("web1", 0.2, emulated=("00:16:3e:00:00:12",)))
    assert [line for line in host.said if line.startswith("web1 is ready")] == host.said != []


def test_a_domain_that_restarts_itself_meanwhile_is_waited_for(host: Host) -> None:
    def restart() -> None:
        host.end(host.domid("net-dd"))
        host.status = "ready"
        later(lambda: host.come_up("net-dd"), 0.1)

    host.status = "starting"
    later(restart)
    host.unit().start(NET)
    assert host.domid("net-dd") == 2 and host.said[-1].startswith("net-dd is ready")


def test_a_domain_that_ends_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_program, "RETURN", 0.1)
    host.status = "starting"
    later(lambda: host.end(host.domid("net-dd")))
    with pytest.raises(DriverDomainsError, match=r"net-dd has ended before it was ready. See /var/log/xen/xl-net-dd.log"):
        host.unit().start(NET)
    host.creation = lambda name: None
    with pytest.raises(DriverDomainsError, match="went away right after its start"):
        host.unit().start(NET)


def test_what_xl_refuses(host: Host) -> None:
    def refuse(_name: str) -> None:
        raise CommandFailed("'xl create' failed with exit code 1: no")

    host.creation = refuse
    with pytest.raises(CommandFailed, match="exit code 1: no"):
        host.unit().start(NET)
    host.creation = times_out
    with pytest.raises(DriverDomainsError, match="did not end"):
        host.unit().start(NET)
    # The turn is free again.
    assert Turn(f"{host.root}/lock").take()


def test_one_that_was_held_back_at_boot(host: Host) -> None:
    hold_back("net-dd", "it would get 0000:03:00.0, which is not uplink0 any more", f"{host.root}/held")
    with pytest.raises(NotStarted, match="net-dd is not started: it would get 0000:03:00.0, which is not uplink0.*site.yml, again"):
        host.unit().start(NET)
    assert host.calls == []
    # Whoever has started it knew better.
    host.come_up("net-dd")
    host.unit().start(NET)
    assert host.said[-1].startswith("net-dd is ready")


def test_one_without_a_definition(host: Host) -> None:
    with pytest.raises(NotStarted, match="there is no .*/xen/gone.cfg"):
        host.unit().start(Start("gone"))


def test_what_is_left_of_one_that_has_crashed(host: Host) -> None:
    host.add("web1", flags="sc")
    host.unit().start(Start("web1")) if host.add("net-dd") else None
    assert host.calls == ["destroy web1", "create web1"]


class TestSaved:
    """By xendomains, when the host shut down."""

    def test_it_is_restored_and_not_started(self, host: Host) -> None:
        (host.root / "saved").mkdir()
        (host.root / "saved/net-dd").write_text("")
        timer = later(lambda: host.come_up("net-dd"))
        host.unit().start(NET)
        timer.join()
        assert host.calls == []
        assert host.said[0].startswith("net-dd waits: xendomains is to restore it from ") and host.said[-1].startswith("net-dd is ready")

    def test_xendomains_does_not(self, host: Host) -> None:
        (host.root / "saved").mkdir()
        (host.root / "saved/net-dd").write_text("")
        with pytest.raises(NotStarted, match=r"it was saved, and xendomains has not restored it.*xl restore /.*/saved/net-dd\)"):
            host.unit().start(Start("net-dd", 0.2))
        assert host.calls == []


class TestBackends:
    CLIENT = Start("web1", 5.0, None, ("net-dd",))

    def test_one_that_starts_later(self, host: Host) -> None:
        host.status = "starting"
        timers = [later(lambda: host.come_up("net-dd"), 0.2), later(lambda: host.report(host.domid("net-dd"), "ready"), 0.5)]
        host.unit().start(self.CLIENT)
        assert host.calls == ["create web1"]
        assert host.said[0] == "web1 waits: net-dd does not run" and host.said[-1].startswith("web1 is ready")
        assert [timer.join() for timer in timers] == [None, None]

    def test_one_that_is_not_ready_in_time(self, host: Host) -> None:
        host.status = "error"
        host.come_up("net-dd")
        host.unit().start(Start("web1", 0.2, None, ("net-dd",)))
        assert host.calls == ["create web1"]
        assert host.said[1] == "web1 is started although net-dd is not ready after 0.2 s"

    def test_one_that_reports_nothing(self, host: Host) -> None:
        host.status = None
        host.come_up("net-dd")
        host.unit().start(self.CLIENT)
        assert len(host.said) == 1


class TestStop:
    def test_one_domain(self, host: Host) -> None:
        host.server.set(ORDERS, "")
        host.come_up("net-dd")
        host.come_up("web1")
        host.reactions["web1"] = lambda domid: None
        host.unit().stop("net-dd")
        assert host.calls == ["shutdown net-dd"]
        assert host.said[0] == "net-dd serves web1, whose devices do not work until it is started again"
        # The recovery service does not bring it back, until it is started.
        assert host.store.read_text(STOPPED) == "net-dd"
        host.unit().start(NET)
        assert host.store.read_text(STOPPED) == ""

    def test_when_the_host_shuts_down_it_is_left_to_the_unit_that_stops_all(self, host: Host) -> None:
        host.come_up("net-dd")
        host.activate("_shutdown", "net-dd")
        host.stopping = True
        host.unit().stop("net-dd")
        assert host.calls == []

    def test_that_unit_was_not_started_when_the_host_shuts_down(self, host: Host) -> None:
        """It comes after driver domains that are not ready. Systemd then runs its ExecStop= never, and stops all other units."""
        host.come_up("net-dd")
        host.add("by-hand", "net-dd")
        host.add("behind", "by-hand", kind="9pfs")
        host.add("other")
        host.activate("net-dd")
        host.stopping = True
        host.unit().stop("net-dd")
        assert host.calls == ["shutdown behind", "shutdown by-hand", "shutdown net-dd"]
        assert host.said[0] == "Stopping behind"

    def test_all(self, host: Host) -> None:
        (host.root / "xen/foreign.cfg").write_text('name = "foreign"\n')
        host.come_up("net-dd")
        host.come_up("web1")
        host.add("foreign")
        host.add("client-of-ours", "net-dd")
        host.unit().stop_all()
        assert host.calls == ["shutdown web1", "shutdown client-of-ours", "shutdown net-dd"]


class TestServingDom0:
    """What dom0 has from a domain, such as a mounted file system, it needs until its own units have stopped."""

    @pytest.fixture
    def host(self, host: Host) -> Host:
        for name in ("store-dd", "san-dd", "plain-dd"):
            (host.root / f"xen/{name}.cfg").write_text(MARKER)
        san, store = host.add("san-dd"), host.add("store-dd")
        host.serve(store, san, kind="vbd")
        host.serve(0, store, kind="vbd")
        host.add("plain-dd")
        host.add("web1", "store-dd", "plain-dd")
        host.stopping = True
        return host

    def test_it_is_stopped_by_its_own_unit_and_so_is_what_it_needs(self, host: Host) -> None:
        host.activate("_shutdown", "store-dd", "san-dd", "plain-dd", "web1")
        host.unit().stop("web1")
        assert host.calls == []
        host.unit().stop_all()
        assert host.calls == ["shutdown web1", "shutdown plain-dd"]
        # Its unit is stopped when the other one has stopped.
        (host.root / "active/_shutdown").rmdir()
        host.unit().stop("store-dd")
        host.unit().stop("san-dd")
        assert host.calls[2:] == ["shutdown store-dd", "shutdown san-dd"]

    def test_also_if_systemd_stops_its_unit_at_the_same_time(self, host: Host) -> None:
        """That of a domain that is none of the driver domains comes in no order with the one that stops all."""
        host.activate("_shutdown", "store-dd")
        host.unit().stop("store-dd")
        assert host.calls == ["shutdown web1", "shutdown store-dd"]

    def test_without_a_unit_nothing_else_would_stop_it(self, host: Host) -> None:
        host.activate("_shutdown", "san-dd")
        host.unit().stop_all()
        assert host.calls == ["shutdown web1", "shutdown store-dd", "shutdown plain-dd", "shutdown san-dd"]

    def test_a_network_interface_of_dom0_counts_as_well(self, host: Host) -> None:
        host.activate("plain-dd")
        host.serve(0, host.domid("plain-dd"), devid=1)
        host.unit().stop_all()
        assert host.calls == ["shutdown web1", "shutdown store-dd", "shutdown san-dd"]


def terminate() -> None:
    """As systemd does."""
    os.kill(os.getpid(), signal.SIGTERM)


class TestInterrupted:
    """Systemd runs ExecStop= only after a start that has succeeded: before, it ends the start (SIGTERM)."""

    def interrupt(self, host: Host, wanted: Start, seconds: float | None = 0.3) -> None:
        """Run a start that gets SIGTERM so many seconds after it began to listen, or when the test sends it."""
        listen = Interruption.listen

        def listen_and_wait(interruption: Interruption) -> None:
            listen(interruption)
            if seconds is not None:
                later(terminate, seconds)

        monkeypatch = pytest.MonkeyPatch()
        monkeypatch.setattr(unit_program, "XenStore", lambda: XenStore(host.server.path))
        monkeypatch.setattr(unit_program, "Xl", lambda _runner: host)
        monkeypatch.setattr(unit_program, "Paths", lambda: host.paths)
        monkeypatch.setattr(unit_program, "host_stops", lambda _runner: host.stopping)
        monkeypatch.setattr(unit_program, "Turn", lambda: Turn(f"{host.root}/lock"))
        monkeypatch.setattr(Interruption, "listen", listen_and_wait)
        before = signal.getsignal(signal.SIGTERM)
        try:
            ready = [f"ready={wanted.ready.key}={wanted.ready.value}"] if wanted.ready else []
            backends = [f"backend={backend}" for backend in wanted.backends]
            assert main(["start", wanted.name, f"limit={wanted.limit:g}", *ready, *backends]) == 0
        finally:
            signal.signal(signal.SIGTERM, before)
            monkeypatch.undo()

    def test_while_it_waits_until_the_domain_is_ready(self, host: Host) -> None:
        host.status = "starting"
        self.interrupt(host, Start("net-dd", 20.0, NET.ready))
        assert host.calls == ["create net-dd", "shutdown net-dd"]

    def test_while_it_waits_for_backends(self, host: Host) -> None:
        self.interrupt(host, Start("web1", 20.0, None, ("net-dd",)))
        assert host.calls == []

    def test_while_others_have_the_turn(self, host: Host) -> None:
        turn = Turn(f"{host.root}/lock")
        assert turn.take()
        self.interrupt(host, Start("net-dd", 20.0))
        assert host.calls == []
        turn.pass_on()

    def test_while_xl_is_at_work_which_ends_first(self, host: Host) -> None:
        def come_up_slowly(name: str) -> None:
            terminate()
            time.sleep(0.1)
            host.calls.append("xl has ended")
            host.come_up(name)

        host.creation = come_up_slowly
        self.interrupt(host, Start("net-dd", 20.0, NET.ready), None)
        assert host.calls == ["create net-dd", "xl has ended", "shutdown net-dd"]
        assert Turn(f"{host.root}/lock").take()

    def test_while_xl_is_at_work_and_fails(self, host: Host) -> None:
        def fail(_name: str) -> None:
            terminate()
            raise CommandFailed("no")

        host.creation = fail
        self.interrupt(host, Start("net-dd", 20.0), None)
        assert host.calls == ["create net-dd"]

    def test_when_the_host_shuts_down_the_unit_that_stops_all_may_not_have_seen_it(self, host: Host) -> None:
        host.status = "starting"
        host.stopping = True
        host.activate("_shutdown", "net-dd")
        self.interrupt(host, Start("net-dd", 20.0, NET.ready))
        assert host.calls == ["create net-dd", "shutdown net-dd"]

    def test_twice_is_as_good_as_once(self) -> None:
        interruption = Interruption()
        with pytest.raises(Interrupted):
            interruption.come()
        interruption.come()
        with pytest.raises(Interrupted), interruption.held():
            pass


@pytest.mark.parametrize(
    ("jobs", "stops"),
    [
        ("  812 shutdown.target start waiting\n", True),
        ("812 shutdown.target start running\n", True),
        ("", False),
        ("No jobs running.\n", False),
        ("7 shutdown.target stop waiting\n", False),
    ],
)
def test_whether_the_host_shuts_down(jobs: str, stops: bool) -> None:
    class Systemctl(Runner):
        def run(self, argv: t.Sequence[str], **_options: t.Any) -> Result:
            assert argv == ["systemctl", "list-jobs", "--no-legend", "shutdown.target"]
            return Result(tuple(argv), 0, jobs, "")

    assert host_stops(Systemctl()) is stops


def test_a_systemd_that_does_not_answer() -> None:
    class Silent(Runner):
        def run(self, argv: t.Sequence[str], **_options: t.Any) -> Result:
            raise TimedOut("'systemctl' did not end")

    assert host_stops(Silent()) is False


def test_arguments() -> None:
    words = ["a+b", "limit=12.5", "ready=data/x=y=z", "error=data/e", "backend=net-dd", "backend=c d", "emulated=00:16:3e:00:00:12"]
    assert parse_start(words) == Start("a+b", 12.5, Ready("data/x", "y=z", "data/e"), ("net-dd", "c d"), ("00:16:3e:00:00:12",))
    assert parse_start(["web1"]) == Start("web1")


@pytest.mark.parametrize("words", [[], ["start"], ["start", "web1", "wait=1"], ["start", "web1", "limit=x"], ["stop"], ["restart", "web1"]])
def test_arguments_that_make_no_sense(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "usage: domain.pyz start NAME" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(NotStarted, NOT_AGAIN), (CommandFailed, 1)], ids=["in vain", "xl"])
def test_systemd_tries_again_only_what_may_help(
    host: Host, error: type[DriverDomainsError], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_unit: DomainUnit, _wanted: Start) -> None:
        raise error("no")

    monkeypatch.setattr(DomainUnit, "start", fail)
    monkeypatch.setattr(unit_program, "XenStore", lambda: host.store)
    assert main(["start", "web1"]) == code


def test_the_program_is_small_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "domain.pyz"
    path.write_bytes(pack("_domain.unit_program"))
    done = subprocess.run(
        [sys.executable, "-ISB", str(path), "stop-all"], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stdout.startswith("This machine has no XenStore")
    names = zipfile.ZipFile(path).namelist()
    assert not [name for name in names if any(part in name for part in ("_module", "definition", "/host", "_pci", "_plan", "_recovery"))]
