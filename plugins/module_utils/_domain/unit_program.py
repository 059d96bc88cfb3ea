# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the units of domains run: start a domain and wait until it serves, stop one, and stop all in order when the host shuts down."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import typing as t
from dataclasses import dataclass
from functools import partial

from .._errors import DriverDomainsError, TimedOut
from .._files import read_text
from .._held_back import HELD_BACK, held_back
from .._printable import printable_line
from .._runner import Runner
from .._turn import Turn, take_turn
from .._xen.watcher import REMOVED, is_watched
from .._xen.xl import Domain, Xl
from .._xenstore.client import XenStore
from .aside import set_stopped
from .creation import create_domain
from .paths import SHUTDOWN, Paths
from .ready import Expected, Ready, WentAway, wait_until_ready
from .stopping import clients_of, serving_dom0, stop_domains, with_clients

#: Seconds that `xl create` may take.
CREATE_LIMIT = 300.0
#: Seconds within which xl starts a domain again that has crashed or rebooted: it sleeps for 2 s first (xl_vmcontrol.c).
RETURN = 6.0
#: How the images of the collection report that they serve.
STATUS, READY = "data/driver-domain/status", "ready"
#: The exit code of what ends in the same way another time; the units of domains are not tried again then.
NOT_AGAIN = 78
#: Seconds that systemctl may take to answer.
_SYSTEMCTL_LIMIT = 20.0
_USAGE = """\
usage: domain.pyz start NAME [limit=SECONDS] [ready=KEY=VALUE] [error=KEY] [emulated=MAC]... [backend=NAME]...
       domain.pyz stop NAME
       domain.pyz stop-all
Run by the units xen-domain@NAME.service and xen-driver-domains-shutdown.service.
"""


@dataclass(frozen=True)
class Start:
    """What the unit of a domain says about its start."""

    name: str
    #: Seconds to wait, for its backends and until it is ready.
    limit: float = 300.0
    ready: Ready | None = None
    backends: tuple[str, ...] = ()
    #: The MAC addresses of vifs beside which it has emulated cards.
    emulated: tuple[str, ...] = ()


def parse_start(words: t.Sequence[str]) -> Start:
    """Parse the arguments of `start`.

    :raises ValueError: they make no sense.
    """
    options = [word.partition("=")[::2] for word in words[1:]]
    if any(option not in ("limit", "ready", "error", "emulated", "backend") for option, _value in options):
        raise ValueError
    single = dict(options)
    key, _equals, value = single.get("ready", "").partition("=")
    return Start(
        words[0],
        float(single.get("limit", Start.limit)),
        Ready(key, value, single.get("error", "")) if key else None,
        tuple(value for option, value in options if option == "backend"),
        tuple(value for option, value in options if option == "emulated"),
    )


class NotStarted(DriverDomainsError):
    """A domain must not be started, or cannot, and another attempt would end in the same way."""


class Interrupted(BaseException):
    """The start of a domain is to end, and the domain to be stopped. No error: nothing may take it for one."""


class Interruption:
    """Raises `Interrupted` wherever a start is when systemd is to stop its unit.

    Systemd runs ExecStop= only after a start that has succeeded (systemd.service(5)). Before, it sends SIGTERM.
    """

    def __init__(self) -> None:
        self._came = False
        self._held = False

    def listen(self) -> None:
        """Begin to listen for SIGTERM. A handler, unlike a mask, does not get to what xl leaves behind."""
        signal.signal(signal.SIGTERM, self.come)

    def come(self, *_signal: object) -> None:
        """Take note that the start is to end. The first time counts: what stops the domain is not interrupted."""
        first, self._came = not self._came, True
        if first and not self._held:
            raise Interrupted

    @contextlib.contextmanager
    def held(self) -> t.Iterator[None]:
        """Let something end first, in whatever way."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._came:
                raise Interrupted


def host_stops(runner: Runner) -> bool:
    """Whether systemd is shutting the host down, in whatever way: it has queued the start of shutdown.target (systemd.special(7)).

    `systemctl is-system-running` would say "starting" if the host has not booted completely (systemd, manager_state).
    """
    with contextlib.suppress(DriverDomainsError):
        jobs = runner.run(["systemctl", "list-jobs", "--no-legend", "shutdown.target"], timeout=_SYSTEMCTL_LIMIT, check=False).stdout
        return any(line.split()[1:3] == ["shutdown.target", "start"] for line in jobs.splitlines())
    return False


class DomainUnit:
    """Starts and stops domains for systemd.

    :param say: gets each event in words, as one line.
    :param interruption: what ends a start.
    :param stopping: whether the host is being shut down.
    """

    def __init__(
        self,
        store: XenStore,
        xl: Xl,
        paths: Paths,
        say: t.Callable[[str], None],
        turn: Turn | None = None,
        held: str = HELD_BACK,
        interruption: Interruption | None = None,
        stopping: t.Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._xl = xl
        self._paths = paths
        self._say = say
        self._turn = turn or Turn()
        self._held = held
        self._interruption = interruption or Interruption()
        self._stopping = stopping

    def start(self, wanted: Start) -> None:
        """Start a domain unless it runs, and wait until it serves. One that runs but does not serve in time counts as started.

        :raises NotStarted: it must not be started, or has no definition.
        :raises DriverDomainsError: xl failed, or it ends right away.
        :raises Interrupted: its unit is to be stopped; not before an `xl create` has ended.
        """
        if self._runs(wanted.name):
            self._say(f"{wanted.name} runs already")
        else:
            reason = held_back(wanted.name, self._held)
            if reason:
                raise NotStarted(
                    f"{wanted.name} is not started: {reason}", remedy="Run the playbook that defines it, such as site.yml, again"
                )
            self._wait_for_restore(wanted)
            self._wait_for_backends(wanted)
            # Whoever has the turn may start it, too.
            take_turn(self._turn)
            try:
                if not self._runs(wanted.name):
                    self._create(wanted.name)
            finally:
                self._turn.pass_on()
        set_stopped(self._store, remove=[wanted.name])
        self._wait_until_ready(wanted)

    def stop(self, name: str, begun: bool = False) -> None:
        """Stop a domain, and let the recovery service leave it alone until it is started again.

        When the host shuts down, `stop_all` does it at the right time, but not what dom0 needs, and nothing if its unit was not started:
        then the domain is stopped here, and its clients before it.

        :param begun: its start was interrupted, so that `stop_all` may not have seen it.
        """
        names = {name}
        if self._stopping():
            if self._paths.is_active(SHUTDOWN) and not begun and name not in self._for_dom0():
                return
            names |= with_clients(self._store, names)
        clients = sorted(set(clients_of(self._store, name)) - names)
        if clients:
            self._say(f"{name} serves {', '.join(clients)}, whose devices do not work until it is started again")
        set_stopped(self._store, add=[name])
        stop_domains(self._store, self._xl, names, self._say)

    def stop_all(self) -> None:
        """Stop the domains of this collection, and those of others that are clients of them.

        Not what dom0 needs: systemd stops the units of these later than this one, and than what dom0 has mounted.
        """
        # One of ours may be on its way.
        own = self._paths.own()
        stop_domains(self._store, self._xl, (with_clients(self._store, own) | set(own)) - self._for_dom0(), self._say)

    def _for_dom0(self) -> set[str]:
        """The domains that dom0 needs while others stop. Without a unit, nothing else would stop them."""
        return serving_dom0(self._store, self._paths.is_active)

    def _runs(self, name: str) -> bool:
        """Whether a domain runs; what is left of one that has ended is removed."""
        found = [domain for domain in self._xl.list() if domain.name == name]
        for domain in found:
            # One that is suspended goes on, or whoever saves it removes it.
            if not (domain.alive or domain.suspended or self._is_removed(domain)):
                self._say(f"Destroying what is left of {name} ({domain.flags})")
                self._xl.destroy(str(domain.domid))
        return any(domain.alive or domain.suspended for domain in found)

    def _is_removed(self, domain: Domain) -> bool:
        """Whether the xl that watches over a domain removes it; waits for that."""
        if not is_watched(domain.name):
            return False
        try:
            self._store.wait_for(["@releaseDomain"], lambda _values: domain.domid not in self._store.domains(), REMOVED)
        except TimedOut:
            return False
        return True

    def _create(self, name: str) -> None:
        text = read_text(self._paths.definition(name))
        if text is None:
            raise NotStarted(f"{name} cannot be started: there is no {self._paths.definition(name)}")
        with self._interruption.held():
            create_domain(self._xl, self._store, self._paths, name, text, CREATE_LIMIT)

    def _wait_for_restore(self, wanted: Start) -> None:
        """Let xendomains restore a domain that it has saved: restored later, its memory would not fit its disks any more."""
        file = f"{self._paths.saved}/{wanted.name}"
        if not os.path.exists(file):
            return
        self._say(f"{wanted.name} waits: xendomains is to restore it from {file}")

        def restored(_values: dict[str, str | None]) -> bool:
            return self._store.domid_of(wanted.name) is not None or not os.path.exists(file)

        try:
            self._store.wait_for(["@introduceDomain"], restored, wanted.limit)
        except TimedOut as exc:
            raise NotStarted(
                f"{wanted.name} is not started: it was saved, and xendomains has not restored it",
                rule="a domain that is started writes to disks, which its saved memory then does not fit any more",
                remedy=f"Restore it (xl restore {file}), or remove that file and lose what it had in memory",
            ) from exc

    def _wait_for_backends(self, wanted: Start) -> None:
        deadline = time.monotonic() + wanted.limit
        missing = self._missing(wanted.backends)
        if missing:
            self._say(f"{wanted.name} waits: {missing}")
        while missing:
            try:
                self._await_change(wanted.backends, missing, max(0.0, deadline - time.monotonic()))
            except TimedOut:
                self._say(f"{wanted.name} is started although {missing} after {wanted.limit:g} s")
                return
            missing = self._missing(wanted.backends)

    def _await_change(self, backends: t.Sequence[str], missing: str, timeout: float) -> None:
        # A backend that is restarted has another home.
        domids = self._store.domids_of(backends)

        def changed(_values: dict[str, str | None]) -> bool:
            return self._store.domids_of(backends) != domids or self._missing(backends) != missing

        keys = [f"/local/domain/{domid}/{STATUS}" for domid in domids.values() if domid is not None]
        self._store.wait_for(["@introduceDomain", "@releaseDomain", *keys], changed, timeout)

    def _missing(self, backends: t.Sequence[str]) -> str:
        """Say which of these domains does not serve yet, or "". One that reports nothing may serve."""
        domids = self._store.domids_of(backends)
        keys = {name: f"/local/domain/{domid}/{STATUS}" for name, domid in domids.items()}
        values = self._store.read_texts(keys[name] for name, domid in domids.items() if domid is not None)
        what = [
            f"{name} does not run" if domids[name] is None else f"{name} is not ready"
            for name in backends
            if domids[name] is None or values[keys[name]] not in (None, READY)
        ]
        return ", ".join(what)

    def _wait_until_ready(self, wanted: Start) -> None:
        began = time.monotonic()
        while True:
            domid = self._store.domid_of(wanted.name)
            if domid is None:
                raise WentAway(f"{wanted.name} went away right after its start", remedy=f"See /var/log/xen/xl-{wanted.name}.log")
            try:
                remaining = max(0.0, began + wanted.limit - time.monotonic())
                wait_until_ready(self._store, wanted.name, domid, Expected(wanted.ready, emulated=wanted.emulated), remaining)
                self._say(f"{wanted.name} is ready, after {time.monotonic() - began:.1f} s")
                return
            except WentAway:
                self._await_return(wanted.name, domid)
            except DriverDomainsError as exc:
                # It runs, and systemd stops only what is active.
                self._say(f"{wanted.name} runs, but is not ready: {exc}")
                return

    def _await_return(self, name: str, domid: int) -> None:
        def back(_values: dict[str, str | None]) -> bool:
            return self._store.domid_of(name) not in (None, domid)

        try:
            self._store.wait_for(["@introduceDomain"], back, RETURN)
        except TimedOut as exc:
            raise WentAway(f"{name} has ended before it was ready", remedy=f"See /var/log/xen/xl-{name}.log") from exc


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command, start = words[0], parse_start(words[1:]) if words[0] != "stop-all" else None
        if command not in ("start", "stop", "stop-all"):
            raise ValueError
    except (IndexError, ValueError):
        sys.stderr.write(_USAGE)
        return 2
    interruption = Interruption()
    try:
        try:
            if start is None:
                _with_unit(DomainUnit.stop_all, interruption)
            elif command == "stop":
                _with_unit(lambda unit: unit.stop(start.name), interruption)
            else:
                interruption.listen()
                _with_unit(lambda unit: unit.start(start), interruption)
        except Interrupted:
            name = words[1]
            _say(f"{name} is to be stopped before its start has ended")
            # The other connection to XenStore may have been in the middle of a message.
            _with_unit(lambda unit: unit.stop(name, begun=True), interruption)
        return 0
    except (DriverDomainsError, OSError) as exc:
        _say(str(exc))
        return NOT_AGAIN if isinstance(exc, NotStarted) else 1


def _with_unit(call: t.Callable[[DomainUnit], None], interruption: Interruption) -> None:
    runner = Runner()
    with XenStore() as store:
        call(DomainUnit(store, Xl(runner), Paths(), _say, interruption=interruption, stopping=partial(host_stops, runner)))


def _say(line: str) -> None:
    sys.stdout.write(f"{printable_line(line)}\n")
    sys.stdout.flush()
