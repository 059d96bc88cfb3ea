# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The recovery service: look at the host, decide, act through `xl`, and sleep until something happens.

One process, one thread, however many domains there are. While nothing is wrong nothing runs: the process sleeps in poll(2) until XenStore
reports a change, a command ends, or a time that `decide` has named has come.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
import typing as t
from dataclasses import replace

from .._domain.aside import ORDERS, UNWANTED
from .._domain.devices import kept_device
from .._domain.repairs import backend_name
from .._domain.userdata import USERDATA, kept_configuration
from .._errors import DriverDomainsError
from .._polling import wait_until
from .._printable import printable_line
from .._turn import LOCK, Turn
from .._xen.xl import Xl
from .._xenstore.client import XenStore
from .act import CREATE_LIMIT, Actor
from .commands import Commands
from .decide import decide
from .files import RUN, memory_file, memory_text, read_memory, replace_file, status_file
from .metrics import METRICS, metrics_text
from .model import Action, Configuration, Decision, Snapshot
from .observe import concerns, concerns_devices, observe, read_serving, watched
from .remember import remember
from .status import status_of, summary_of

#: Seconds in which further events are expected after one: a domain that starts or ends causes many.
SETTLE = 0.03
#: Seconds between two looks at the host while events keep coming, and at least so many times what reading it took: after what concerns
#: domains and their readiness, and after what concerns devices, each of which causes many events. A domain can cause as many as it likes,
#: and what reads XenStore keeps it from those who attach devices. While these keep it busy, reading takes long: the pause is no longer
#: than the last of these numbers.
PACE, PACE_OF_DOMAINS, PACE_OF_DEVICES, LONGEST_PACE = 0.1, 2, 10, 2.0
#: Seconds in which the service begins something new before others get their turn: modules wait for 15 minutes, and a domain that is being
#: created then may take its time. And seconds that others then have to take it: they ask several times a second.
OWN_TURN, TURN_OF_OTHERS = 120.0, 2.0
#: Seconds until `xl` is asked again about a domain that is suspended: that it goes on causes no event. They grow as time goes by.
SUSPENDED, LONG_SUSPENDED = 5.0, 60.0
#: Seconds after which a command is tried again that could not be started, and those that a wait for events takes at most.
NO_START, LONGEST_SLEEP = 5.0, 3600.0
#: Seconds that a service that is to end waits for its commands; systemd gives it 90 s.
LAST_WAIT = 60.0
#: The key of the command that waits for the turn of a playbook to end.
_WAITER = "turn"
#: So many of the last recoveries are shown.
_SHOWN = 20


class RecoveryService:
    """The service on one host.

    :param directory: where its files are.
    :param metrics: the directory for what others can read, or "".
    :param say: gets each event in words, as one line.
    :param notify: gets what systemd wants to know, sd_notify(3).
    :param clock: seconds, as time.monotonic().
    :param gave_up: gets the name of a driver domain that is not started again.
    """

    def __init__(
        self,
        configuration: Configuration,
        store: XenStore,
        xl: Xl,
        commands: Commands,
        *,
        directory: str = RUN,
        metrics: str = "",
        userdata: str = USERDATA,
        lock: str = LOCK,
        program: str = "xl",
        say: t.Callable[[str], None],
        notify: t.Callable[[str], None] = lambda text: None,
        clock: t.Callable[[], float] = time.monotonic,
        gave_up: t.Callable[[str], None] = lambda name: None,
    ) -> None:
        self._configuration = configuration
        self._gave_up = gave_up
        self._store = store
        self._xl = xl
        self._directory = directory
        self._metrics = f"{metrics}/{METRICS}" if metrics else ""
        self._userdata = userdata
        self._turn = Turn(lock)
        #: When the turn was taken, and until when it is left to others.
        self._taken, self._left = clock(), 0.0
        self._say = say
        self._notify = notify
        self._clock = clock
        self._commands = commands
        self._actor = Actor(store, commands, self._tell, directory=directory, userdata=userdata, program=program)
        self._watches: set[str] = set()
        self._written: dict[str, str] = {}
        self._recoveries: list[str] = []
        self._memory = read_memory(memory_file(directory), self._tell)
        #: When the last look at the host ended, and how long it took.
        self._looked = self._cost = 0.0
        #: Whether a domain may have ended since `xl` was asked which have; those that are still there, and whether they may run again.
        self._may_have_ended = True
        #: Since when that is not known for good.
        self._unsure: float | None = None
        self._ended: frozenset[int] = frozenset()
        self._news: float | None = None
        self._deadline: float | None = None
        #: What is to be done when commands that run have ended.
        self._queue: list[Action] = []
        self.stopping = False

    # The loop

    def run(self, wake: int) -> None:
        """Serve until `stopping` is set.

        :param wake: a descriptor that can be read when a signal has come.
        :raises XenStoreError: xenstored is gone.
        """
        # It shows others that there is somebody to give orders to.
        self._store.mkdir(ORDERS)
        deadline = self.step()
        self._notify("READY=1")
        while not self.stopping:
            due = self._sleep(wake, deadline)
            if not self.stopping:
                deadline = self.step(due)
        self._notify("STOPPING=1")
        # What has begun is finished, so that others find whole devices.
        wait_until(self._is_idle, LAST_WAIT)
        replace_file(memory_file(self._directory), memory_text(self._memory))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(status_file(self._directory))
        self._turn.pass_on()

    def step(self, due: bool = True) -> float | None:
        """Look, decide and act; return when to do so again if nothing happens, on the clock, or None.

        :param due: whether something has happened that calls for a look; else only commands may have ended. A look costs time, and so
            the next commands start without one.
        """
        now = self._clock()
        ended = self._take_note()
        if self._is_over(now):
            self._queue.clear()
        elif not due:
            self._start_queued()
        # The end of `xl list`, which was asked during a look, calls for no other one.
        if due or (ended and not (self._queue or self._working)):
            self._deadline = self._look_and_decide(now)
        if not self._working:
            if self._is_over(now):
                self._left = now + TURN_OF_OTHERS
            self._turn.pass_on()
        left = self._left if now < self._left else None
        return min((at for at in (self._deadline, self._commands.deadline, left) if at is not None), default=None)

    def _is_over(self, now: float) -> bool:
        """Whether the service has had its turn for so long that it only finishes what runs. That should end soon: a domain that starts may
        take long, and nobody else gets the turn until then."""
        starting = any(key.startswith("create/") for key in self._commands.keys)
        return self._turn.taken and now >= self._taken + OWN_TURN + (CREATE_LIMIT if starting else 0)

    def _take_turn(self, now: float) -> bool:
        """Take the turn unless others have it, or should; return whether something new may begin."""
        if not self._turn.taken and now >= self._left and self._turn.take():
            self._taken = now
        return self._turn.taken and not self._is_over(now)

    def _take_note(self) -> bool:
        """Take note of commands that have ended; return whether any has."""
        found = self._commands.ended(self._clock())
        for ended in found:
            self._memory = self._actor.end(ended.key, ended.problem, self._memory, self._clock(), ended.killed)
        return bool(found)

    def _is_idle(self) -> bool:
        self._take_note()
        return not self._working

    @property
    def _working(self) -> bool:
        """Whether commands run that change the host."""
        return bool(self._commands.keys - {_WAITER})

    def _look_and_decide(self, now: float) -> float | None:
        """Look and decide, and put what is to be done into the queue; return when to look again."""
        # It was decided about the host as it was.
        self._queue.clear()
        # Taken before it is known whether there is anything to do: what is seen afterwards nobody else changes.
        mine = self._take_turn(now)
        snapshot = self._look(now)
        decision = self._decide(snapshot, now)
        if decision.actions and not mine:
            again = self._await_turn(now)
            self._save(snapshot)
            return again
        for key, reason in decision.hopeless.items():
            self._memory = replace(self._memory, hopeless=self._memory.hopeless | {key})
            self._tell(f"Giving up: {reason}. 'recovery.pyz resume' tries again")
            kind, _slash, name = key.partition("/")
            if kind in ("create", "ended", "silent", "cut-off"):
                self._gave_up(name.rpartition("@")[0] if kind == "silent" else name)
        self._obey(snapshot)
        self._queue += decision.actions
        self._start_queued()
        self._watch(watched(self._configuration, snapshot, self._memory))
        self._save(snapshot)
        # What needed no command, or failed at once, may call for something else.
        again = None if all(action.key in self._busy for action in decision.actions) else self._looked + PACE
        return min((at for at in (decision.deadline, again, self._suspended(now)) if at is not None), default=None)

    def _suspended(self, now: float) -> float | None:
        """Return when to ask again about domains that may go on without an event."""
        if not self._may_have_ended:
            self._unsure = None
            return None
        self._unsure = now if self._unsure is None else self._unsure
        return now + min(max(SUSPENDED, now - self._unsure), LONG_SUSPENDED)

    @property
    def _busy(self) -> frozenset[str]:
        return self._commands.keys | {action.key for action in self._queue}

    def _start_queued(self) -> None:
        for action in [*self._queue]:
            if self._actor.has_room(action):
                self._queue.remove(action)
                self._memory = self._actor.begin(action, self._memory, self._clock(), self._ended)

    def _sleep(self, wake: int, deadline: float | None) -> bool:
        """Sleep until a signal comes, or there is reason to look again, events or the deadline; return whether there is."""
        poller = select.poll()
        poller.register(self._store.fileno(), select.POLLIN)
        poller.register(wake, select.POLLIN)
        # Events that came before a signal woke us still wait for their look.
        news, self._news = self._news, None
        while not self.stopping:
            now = self._clock()
            pace = self._take_events()
            if pace:
                at = max(now + SETTLE, self._looked + min(max(PACE, pace * self._cost), LONGEST_PACE))
                news = at if news is None else min(news, at)
            times = [at for at in (deadline, news) if at is not None]
            if times and now >= min(times):
                return True
            # Rounded up: to wake too early is to wake twice.
            ready = poller.poll(int(min(min(times) - now, LONGEST_SLEEP) * 1000) + 1 if times else None)
            if any(descriptor == wake for descriptor, _event in ready):
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
                self._news = news
                return False
        return False

    def _take_events(self) -> int:
        """Take all events that have come, and return the pace that they call for, or 0 if none of them matters."""
        found: set[int] = set()
        event = self._store.next_event(0)
        while event is not None:
            self._may_have_ended = self._may_have_ended or event.path == "@releaseDomain"
            # What is watched includes the keys that report readiness, wherever they are.
            if event.path in self._watches or concerns(event.path):
                found.add(PACE_OF_DEVICES if concerns_devices(event.token) else PACE_OF_DOMAINS)
            event = self._store.next_event(0)
        return min(found, default=0)

    # Looking

    def _look(self, now: float) -> Snapshot:
        flags = self._flags() if self._may_have_ended else None
        # What xl did not say is asked again at the next look.
        self._may_have_ended = self._may_have_ended and flags is None
        if flags is not None:
            # One that is suspended may go on without an event.
            self._may_have_ended = any(letters.count("s") > 1 and "d" not in letters for letters in flags.values())
            self._ended = frozenset(domid for domid, letters in flags.items() if {*"scd"} & {*letters})
        snapshot = replace(observe(self._store, self._configuration, self._memory.released.values(), self._ended), flags=flags)
        self._watch(watched(self._configuration, snapshot, self._memory))
        self._looked = self._clock()
        self._cost = self._looked - now
        return snapshot

    def _decide(self, snapshot: Snapshot, now: float) -> Decision:
        """Remember what was seen, and decide; ask `xl` about the domains only if something depends on it."""
        busy = self._busy
        self._name_lost_backends(snapshot)
        self._memory, happened = remember(self._configuration, snapshot, self._memory, now, busy)
        for line in happened:
            self._tell(line)
        decision = decide(self._configuration, snapshot, self._memory, now, busy)
        if not decision.look:
            return decision
        known = replace(snapshot, flags=self._flags() or {})
        self._memory, _same = remember(self._configuration, known, self._memory, now, busy)
        return decide(self._configuration, known, self._memory, now, busy)

    def _flags(self) -> dict[int, str] | None:
        """Return the state letters of all domains; None when xl does not say."""
        try:
            return {domain.domid: domain.flags for domain in self._xl.list()}
        except DriverDomainsError as exc:
            self._tell(f"xl does not list the domains: {printable_line(str(exc))}")
            return None

    def _name_lost_backends(self, snapshot: Snapshot) -> None:
        """Find out the names of backends that are gone, once: as they are when their devices are attached again."""
        known, running = self._memory.lost, snapshot.running
        new = [device for device in snapshot.devices if device.backend_id not in running and device.backend_path not in known]
        lost = {device.backend_path: "" for device in new}
        whole = read_serving(self._store, {device.domid for device in new}, self._ended) if new else {}
        for domid, devices in whole.items():
            kept = kept_configuration(self._userdata, domid, running[domid].uuid)
            for device in devices:
                if device.backend_path in lost:
                    name = backend_name(device, kept_device(kept, device), self._memory.names)
                    lost[device.backend_path] = "" if name == "?" else name
        self._memory = replace(self._memory, lost={**known, **lost})

    def _watch(self, paths: set[str]) -> None:
        for path in sorted(paths - self._watches):
            self._store.watch(path, path)
        for path in sorted(self._watches - paths):
            self._store.unwatch(path, path)
        self._watches = paths

    # Acting

    def _await_turn(self, now: float) -> float | None:
        """Wait for the turn; return when to look again, or None: something will wake us."""
        # Where it is left to others for a moment, there is a time for the next look.
        if self._turn.taken or now < self._left or _WAITER in self._commands.keys:
            return None
        # It ends when the one that has the turn does.
        problem = self._commands.start(_WAITER, ["flock", self._turn.path, "true"], now, 86400.0)
        return now + NO_START if problem else None

    # Telling

    def _tell(self, line: str) -> None:
        text = printable_line(line)
        self._recoveries = [*self._recoveries, f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}"][-_SHOWN:]
        self._say(text)

    def _obey(self, snapshot: Snapshot) -> None:
        """Clear an order that has been followed: the same device may be wanted later."""
        if snapshot.unwanted and not self._commands.keys - {_WAITER}:
            self._store.write(UNWANTED, "")

    def _save(self, snapshot: Snapshot) -> None:
        status = status_of(self._configuration, snapshot, self._memory, self._recoveries, _WAITER in self._commands.keys)
        texts = {memory_file(self._directory): memory_text(self._memory), status_file(self._directory): json.dumps(status, indent=1) + "\n"}
        for path, text in texts.items():
            if self._written.get(path) != text:
                replace_file(path, text)
                self._written[path] = text
        if self._metrics:
            text = metrics_text(self._configuration, snapshot, self._memory)
            if self._written.get(self._metrics) != text:
                replace_file(self._metrics, text, 0o644)
                self._written[self._metrics] = text
        summary = f"STATUS={summary_of(status)}"
        if self._written.get("") != summary:
            self._notify(summary)
            self._written[""] = summary


def wake_on_signals(service: RecoveryService) -> int:
    """Let signals wake the service, and return the descriptor that can then be read: a child has ended, or the service is to stop."""
    reading, writing = os.pipe()
    for descriptor in (reading, writing):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def stop(_number: int, _frame: t.Any) -> None:
        service.stopping = True

    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return reading
