# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Carries out what the recovery service has decided, most of it with `xl`, and notes in its memory what became of it."""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace

from .._domain.attacher import remove_nodes
from .._domain.devices import VIF
from .._domain.exchange import finish
from .._domain.repairs import repair
from .._domain.userdata import kept_configuration
from .._errors import DriverDomainsError
from .._printable import printable_line
from .._xen.xl import attach_arguments, detach_arguments
from .._xenstore.client import XenStore
from .commands import Commands
from .decide import OFTEN, STEADY, often_key
from .files import memory_file, memory_text, replace_file
from .model import Action, Attach, Create, Destroy, Memory, Release, Released, Sweep
from .observe import read_serving

#: Seconds that commands may take: libxl waits for a backend for 10 s, and as long again until it forces a device out.
DEVICE_LIMIT, CREATE_LIMIT = 60.0, 300.0
#: So many commands run beside each other, and so many for devices of one backend; dom0 has few processors. Those that detach devices of a
#: backend that runs wait for it, and there are fewer of them.
AT_ONCE, OF_A_BACKEND, SLOW_OF_A_BACKEND = 6, 4, 2


class Actor:
    """Begins actions and notes their ends.

    :param tell: gets each event in words.
    :param directory: where the memory is kept.
    :param userdata: where libxl keeps the configurations of domains.
    :param program: xl.
    """

    def __init__(
        self, store: XenStore, commands: Commands, tell: t.Callable[[str], None], *, directory: str, userdata: str, program: str
    ) -> None:
        self._store = store
        self._commands = commands
        self._tell = tell
        self._memory_file = memory_file(directory)
        self._userdata = userdata
        self._program = program
        #: What the commands that run are for, by their keys.
        self._begun: dict[str, Action] = {}

    def begin(self, action: Action, memory: Memory, now: float, ended: t.Collection[int]) -> Memory:
        """Begin an action, or carry it out if it needs no command; return what is then to be remembered.

        :param ended: the domids of domains that are there, but do not run.
        :raises XenStoreError: xenstored is gone.
        """
        if isinstance(action, Sweep):
            self._sweep(action.key)
            return memory
        if isinstance(action, Release):
            return self._release(action, memory, now, ended)
        if isinstance(action, Attach):
            start = max(memory.ready.get(action.backend.domid, now), action.released.at)
            memory = replace(memory, attached={**memory.attached, action.key: start})
            memory = _counted(memory, f"{action.key}@{action.backend.domid}", now)
            memory = _counted(memory, often_key(action.key), now)
            if len(memory.attempts[often_key(action.key)]) == OFTEN:
                self._tell(
                    f"{action.released} was attached {OFTEN} times within an hour: from now on only when {action.backend.name} has served "
                    f"for {STEADY:g} s. 'recovery.pyz resume' ends that"
                )
            words = attach_arguments(action.released.kind, str(action.client.domid), action.released.text)
            return self._start(action, words, DEVICE_LIMIT, memory, now)
        memory = _counted(memory, action.key, now)
        if isinstance(action, Destroy):
            self._tell(f"{action.running} {action.why}: destroying it")
            return self._start(action, ("destroy", str(action.running.domid)), DEVICE_LIMIT, memory, now)
        return self._create(action, memory, now)

    def has_room(self, action: Action) -> bool:
        """Whether an action can begin now, beside those that run. A backend that does not answer must not hold up the clients of others."""
        if len(self._commands.keys) >= AT_ONCE:
            return False
        backend = _backend_of(action)
        same = [other for other in self._begun.values() if backend is not None and _backend_of(other) == backend]
        return len(same) < (SLOW_OF_A_BACKEND if isinstance(action, Release) and action.slow else OF_A_BACKEND)

    def end(self, key: str, problem: str, memory: Memory, now: float, killed: bool = False) -> Memory:
        """Take note of the end of a command, and return what is then to be remembered.

        :param problem: "" if it succeeded.
        :param killed: whether it was killed.
        """
        action = self._begun.pop(key, None)
        if isinstance(action, Release):
            released, device = memory.released.get(key), action.device
            if not problem and self._store.read_text(f"/libxl/{device.domid}/device/{device.kind}/{device.devid}/backend"):
                problem = "xl says that it was, but it is still there"
            if problem:
                self._tell(f"{action.client.name}: {action.device} was not detached: {problem}")
                return _counted(_counted(memory, f"{key}@{action.device.backend_id}", now), f"detach/{key}", now)
            if released:
                return replace(memory, released={**memory.released, key: replace(released, at=now)})
        elif isinstance(action, Attach) and problem:
            self._tell(f"{action.released} was not attached to {action.backend.name}: {problem}")
        elif isinstance(action, Destroy) and problem:
            self._tell(f"{action.running} was not destroyed: {problem}")
        elif isinstance(action, Create) and problem:
            self._tell(f"{action.domain.name} was not started: {problem}")
            if killed:
                return replace(memory, unfinished=memory.unfinished | {action.domain.name})
        return memory

    def _start(self, action: Action, words: t.Sequence[str], limit: float, memory: Memory, now: float) -> Memory:
        problem = self._commands.start(action.key, [self._program, *words], now, limit)
        self._begun[action.key] = action
        return self.end(action.key, problem, memory, now) if problem else memory

    def _create(self, action: Create, memory: Memory, now: float) -> Memory:
        domain = action.domain
        if not os.path.exists(domain.definition):
            self._tell(f"{domain.name} cannot be started: there is no {domain.definition}")
            return memory
        self._tell(f"Starting {domain.name}")
        try:
            finish(domain.definition)
        except DriverDomainsError as exc:
            self._tell(f"{domain.name} was not started: {exc}")
            return memory
        return self._start(action, ("create", "--quiet", domain.definition), CREATE_LIMIT, memory, now)

    def _sweep(self, path: str) -> None:
        kind, client, devid = path.split("/")[-3:]
        record, home = f"/libxl/{client}/device/{kind}/{devid}/backend", f"/local/domain/{client}/name"
        found = self._store.read_texts([record, home])
        # Since the look, somebody may have attached the device that it belongs to. libxl may have left the record of a domain that is gone.
        if found[record] != path or found[home] is None:
            self._tell(f"Removing what a device left behind: {path}")
            self._store.rm(path)

    def _release(self, action: Release, memory: Memory, now: float, ended: t.Collection[int]) -> Memory:
        device = action.device
        devices = read_serving(self._store, [device.domid], ended, [device.kind])[device.domid]
        whole = next((other for other in devices if other.devid == device.devid), None)
        if whole is None or whole.backend_path != device.backend_path or (whole.connected and whole.backend):
            # Since the look, it has gone, another one has taken its place, or it has connected.
            return memory
        try:
            plan = repair(whole, kept_configuration(self._userdata, device.domid, action.client.uuid), memory.names, action.why)
        except DriverDomainsError as exc:
            return self._give_up(action, memory, f"how it was made is not known: {printable_line(str(exc))}")
        if plan.backend == "?":
            return self._give_up(action, memory, "nobody knows the name of its backend")
        # Written down before anything is lost: libxl forgets it, too.
        released = Released(
            client=action.client.name,
            uuid=action.client.uuid,
            kind=device.kind,
            devid=device.devid,
            identity=whole.mac if device.kind == VIF else whole.made.get("dev", ""),
            backend=plan.backend or "Domain-0",
            text=plan.text,
            at=now,
            path=device.backend_path,
        )
        memory = replace(memory, released={**memory.released, action.key: released})
        replace_file(self._memory_file, memory_text(memory))
        if action.force:
            self._tell(f"{released}: removing it from XenStore, as xl cannot detach it")
            remove_nodes(self._store, whole)
            return memory
        # It does not work, so the guest cannot use it: xl need not wait for that.
        return self._start(action, detach_arguments(device.kind, str(device.domid), device.devid, force=True), DEVICE_LIMIT, memory, now)

    def _give_up(self, action: Release, memory: Memory, reason: str) -> Memory:
        self._tell(f"Giving up: {action.client.name}: {action.device} cannot be attached again: {reason}")
        return replace(memory, hopeless=memory.hopeless | {f"{action.key}@{action.device.backend_id}"})


def _backend_of(action: Action) -> int | None:
    """Return the domid of the backend that an action is about."""
    return action.backend.domid if isinstance(action, Attach) else action.device.backend_id if isinstance(action, Release) else None


def _counted(memory: Memory, key: str, now: float) -> Memory:
    """Return a memory with one more attempt."""
    return replace(memory, attempts={**memory.attempts, key: [*memory.attempts.get(key, ()), now]})
