# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the recovery service does next: pure functions of what it sees, what it remembers, and the time.

A vif is detached as soon as its backend is gone: its guest then knows that the link is down, and the time that a kernel needs to notice the
removal goes by while the backend starts. It is attached when only `xl devd` is still to come there, which serves what it finds. A disk
stays until there is a backend to attach it to: a guest waits for what it has not written yet, and loses it when the disk is detached.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._domain.aside import WaitingDevice
from .._domain.devices import VBD, VIF, PvDevice, broken, late, lost_backend
from .._xenstore.client import REMOVAL_DELAY
from .model import (
    ALL,
    Action,
    Attach,
    Configuration,
    Create,
    Decision,
    Declared,
    Memory,
    Release,
    Released,
    Running,
    Snapshot,
    Sweep,
    device_key,
)

#: Seconds in which xl itself may start a domain again: it sleeps for 2 s first (xl_vmcontrol.c, on_reboot, on_crash and on_watchdog).
XL_RESTART = 6.0
#: Seconds that a device may take to connect, and that an orphan may stay; libxl gives a hotplug script 40 s (libxl_internal.h).
GRACE = 45.0
#: Seconds for which a disk waits until a vif of the same client is connected.
VIF_FIRST = 10.0
#: Seconds in which a dying domain may let go of memory and devices.
DYING = 60.0
#: Seconds after which a paused client is looked at again: unpausing it causes no event.
PAUSED = 5.0
#: Seconds after a failure until the next attempt; they double each time.
FIRST_DELAY = 5.0
#: Attempts that are older than so many seconds do not count.
COUNTED = 3600.0
#: Seconds after which the devices of a domain that is gone are forgotten: it may be rebooting.
FORGET = 600.0


def remember(
    configuration: Configuration, snapshot: Snapshot, memory: Memory, now: float, busy: t.Collection[str] = ()
) -> tuple[Memory, list[str]]:
    """Return what is known after a look at the host, and what happened since the last one, in words.

    :param busy: keys of what is being done right now.
    """
    happened: list[str] = []
    running = snapshot.running
    referred = {device.backend_id for device in snapshot.devices}
    names = {domid: name for domid, name in memory.names.items() if domid in referred and domid not in running}
    names.update({domid: domain.name for domid, domain in running.items()})
    for domid in sorted(referred - set(running)):
        if domid in memory.names and domid in memory.ready:
            clients = sorted({running[d.domid].name for d in snapshot.devices if d.backend_id == domid and d.domid in running})
            happened.append(f"{memory.names[domid]} (domain {domid}) is gone; it served {', '.join(clients)}")
    ready = {domid: memory.ready.get(domid, now) for domid, domain in running.items() if domain.ready}
    appeared = {domid: memory.appeared.get(domid, now) for domid in running}
    declared = {domain.name for domain in configuration.domains}
    for domid, domain in running.items():
        if domain.name in declared and (domid in ready) != (domid in memory.ready) and domid in memory.appeared:
            what = f"serves, {now - appeared[domid]:.1f} s after it was started" if domain.ready else "no longer reports that it serves"
            happened.append(f"{domain.name} (domain {domid}) {what}")
    seen = memory.seen | {domain.name for domain in configuration.domains if any(domain.name == r.name for r in running.values())}
    present = {domain.name for domain in running.values()}
    gone = {name: memory.gone.get(name, now) for name in sorted(seen & declared - present)}
    happened += [
        f"{name} is gone" for name in gone if name not in memory.gone and not any(line.startswith(f"{name} (") for line in happened)
    ]
    happened += [f"{name} runs again" for name in sorted(memory.gone) if name in present]

    devices = {_key(device, running): device for device in snapshot.devices if device.domid in running}
    waiting = {key: memory.waiting.get(key, now) for key, device in devices.items() if _ails(device, running)}
    waiting.update({path: memory.waiting.get(path, now) for path in snapshot.orphans})
    attached = {}
    for key, since in memory.attached.items():
        device = devices.get(key)
        if device and _works(device, running):
            name = f"{device.backend} (domain {device.backend_id})"
            # It may have been attached before the backend was ready.
            since = max(since, ready.get(device.backend_id, since))
            happened.append(f"{running[device.domid].name}: {_noun(device)} works again at {name}, after {now - since:.1f} s")
        elif device or key in busy:
            attached[key] = since
    released = _released(snapshot, memory, now, devices, busy)
    waiting.update({key: memory.waiting.get(key, now) for key in released if not _client(snapshot, released[key])})

    works = {f"{key}@{device.backend_id}" for key, device in devices.items() if _works(device, running)}
    attempts = {key: [at for at in times if now - at < COUNTED] for key, times in memory.attempts.items() if key not in works}
    hopeless = frozenset(key for key in memory.hopeless if _still_hopeless(key, devices, released, gone))
    if snapshot.resumed != memory.resumed:
        attempts, hopeless = {}, frozenset()
        happened.append("an operator says to go on")
    return (
        Memory(
            names=names,
            seen=seen & declared,
            gone=gone,
            waiting=waiting,
            released=released,
            attached=attached,
            attempts={key: times for key, times in attempts.items() if times},
            hopeless=hopeless,
            ready=ready,
            appeared=appeared,
            resumed=snapshot.resumed,
        ),
        happened,
    )


def _key(device: PvDevice, running: t.Mapping[int, Running]) -> str:
    return device_key(running[device.domid].uuid, device.kind, device.devid)


def _noun(device: PvDevice) -> str:
    return f"{'vif' if device.kind == VIF else 'disk'} {device.devid}"


def _works(device: PvDevice, running: t.Collection[int]) -> bool:
    """Whether a device works. The frontend of one whose backend is gone goes on saying so."""
    return device.connected and device.backend_id in running


def _ails(device: PvDevice, running: t.Mapping[int, Running]) -> str:
    """Say why a device whose backend runs may not work, or ""."""
    if device.backend_id not in running:
        return ""
    return lost_backend(device, running) or broken(device) or late(device)


def _client(snapshot: Snapshot, released: Released) -> Running | None:
    return next((domain for domain in snapshot.running.values() if domain.uuid == released.uuid), None)


def _released(
    snapshot: Snapshot, memory: Memory, now: float, devices: t.Mapping[str, PvDevice], busy: t.Collection[str]
) -> dict[str, Released]:
    kept = {}
    for key, released in memory.released.items():
        client = _client(snapshot, released)
        if key not in busy:
            # A playbook, or the guest's own reboot, has brought it back; or nobody will, or should.
            if (
                key in devices
                or str(WaitingDevice(released.client, released.kind, released.identity)) in snapshot.unwanted
                or (client is None and now - memory.waiting.get(key, now) > FORGET)
            ):
                continue
            if client and not released.noticed and snapshot.flags is not None:
                if snapshot.is_paused(client.domid):
                    released = replace(released, at=now)
                elif now >= released.at + REMOVAL_DELAY:
                    released = replace(released, noticed=True)
        kept[key] = released
    return kept


def _still_hopeless(key: str, devices: t.Mapping[str, PvDevice], released: t.Mapping[str, Released], gone: t.Collection[str]) -> bool:
    """Whether what was given up still does not work. A device at another backend is another matter."""
    name, _at, backend = key.partition("@")
    if name.startswith("create/"):
        return name[len("create/") :] in gone
    return name in released or (name in devices and str(devices[name].backend_id) == backend)


class _Choice:
    """Collects a decision: what is due, and the earliest time at which something else is."""

    def __init__(self, configuration: Configuration, snapshot: Snapshot, memory: Memory, now: float, busy: t.Collection[str]) -> None:
        self.configuration = configuration
        self.snapshot = snapshot
        self.memory = memory
        self.now = now
        self.busy = busy
        self.actions: list[Action] = []
        self.hopeless: dict[str, str] = {}
        self._times: list[float] = []
        self._look = False

    def decision(self) -> Decision:
        if self._look:
            return Decision(look=True)
        return Decision(tuple(self.actions), min(self._times, default=None), hopeless=self.hopeless)

    def is_due(self, at: float) -> bool:
        """Whether a time has come; if not, it is a time to decide again."""
        if self.now < at:
            self._times.append(at)
        return self.now >= at

    def knows_flags(self) -> bool:
        """Whether the state letters are known; if not, they are needed."""
        self._look = self._look or self.snapshot.flags is None
        return not self._look

    def may_try(self, key: str, what: str) -> bool:
        """Whether another attempt is allowed now."""
        if key in self.memory.hopeless:
            return False
        times = self.memory.attempts.get(key, ())
        if len(times) >= self.configuration.attempts:
            self.hopeless[key] = f"{what}: {len(times)} attempts within an hour have failed"
            return False
        return not times or self.is_due(times[-1] + FIRST_DELAY * 2 ** (len(times) - 1))

    def is_aside(self, *names: str) -> bool:
        """Whether an operator keeps the service away from one of these domains."""
        return ALL in self.snapshot.aside or any(name in self.snapshot.aside for name in names)


def decide(configuration: Configuration, snapshot: Snapshot, memory: Memory, now: float, busy: t.Collection[str] = ()) -> Decision:
    """Return what to do about a host, and when to decide again.

    :param memory: what `remember` returned about the same snapshot.
    :param busy: keys of what is being done right now.
    """
    choice = _Choice(configuration, snapshot, memory, now, busy)
    for kind in (VIF, VBD):
        for device in snapshot.devices:
            if device.kind == kind:
                _decide_device(choice, device)
        for key, released in memory.released.items():
            if released.kind == kind:
                _decide_released(choice, key, released)
    for domain in configuration.domains:
        _decide_domain(choice, domain)
    for path in snapshot.orphans:
        if choice.is_due(memory.waiting.get(path, now) + GRACE) and path not in busy:
            choice.actions.append(Sweep(path))
    return choice.decision()


def _decide_device(choice: _Choice, device: PvDevice) -> None:
    snapshot, memory = choice.snapshot, choice.memory
    client = snapshot.running.get(device.domid)
    if client is None or not device.backend_path or _works(device, snapshot.running):
        return
    key = _key(device, snapshot.running)
    backend = memory.names.get(device.backend_id, "")
    if key in choice.busy or choice.is_aside(client.name, backend):
        return
    gone = device.backend_id not in snapshot.running
    why = f"its backend, {backend or 'domain'} {device.backend_id}, is gone" if gone else _ails(device, snapshot.running)
    if gone:
        successor = snapshot.named(backend)
        if device.kind == VBD and backend and (not (successor and successor.ready) or _awaits_vif(choice, client)):
            return
    elif not why or client.domid == 0 or not snapshot.running[device.backend_id].ready:
        # The interface that dom0 is reached through may be slow, but it is there.
        return
    elif not broken(device) and not choice.is_due(
        max(memory.waiting.get(key, choice.now), memory.ready.get(device.backend_id, 0.0)) + GRACE
    ):
        return
    if not gone and not choice.knows_flags():
        return
    if not gone and snapshot.is_paused(client.domid):
        choice.is_due(choice.now + PAUSED)
        return
    attempt = f"{key}@{device.backend_id}"
    if choice.may_try(attempt, f"{client.name}: {_noun(device)} does not work, as {why}"):
        force = bool(memory.attempts.get(f"detach/{key}"))
        choice.actions.append(Release(key, device, client, why, force))


def _awaits_vif(choice: _Choice, client: Running) -> bool:
    """Whether a vif of a client is being attached. The thread of its kernel that connects it also removes disks, and then waits for what
    they had not written yet (xenwatch_thread in drivers/xen/xenbus/xenbus_xs.c, blkfront_remove): the vif comes first."""
    vif = f"{client.uuid}/{VIF}/"
    if any(action.key.startswith(vif) for action in choice.actions) or any(key.startswith(vif) for key in choice.busy):
        return True
    attached = [since for key, since in choice.memory.attached.items() if key.startswith(vif)]
    return bool(attached) and not choice.is_due(max(attached) + VIF_FIRST)


def _decide_released(choice: _Choice, key: str, released: Released) -> None:
    snapshot = choice.snapshot
    client, backend = _client(snapshot, released), snapshot.named(released.backend)
    if client is None or key in choice.busy or choice.is_aside(client.name, released.backend):
        return
    if not released.noticed:
        # Found out while the backend starts; a domain that is paused later on connects when it is unpaused.
        if snapshot.is_paused(client.domid):
            choice.is_due(choice.now + PAUSED)
        elif choice.is_due(released.at + REMOVAL_DELAY):
            choice.knows_flags()
    elif backend:
        attempt = f"{key}@{backend.domid}"
        # Early once at most: what fails is tried again when the backend is ready.
        early = backend.attachable and released.kind == VIF and attempt not in choice.memory.attempts
        if (backend.ready or early) and choice.may_try(attempt, str(released)):
            choice.actions.append(Attach(key, released, client, backend))


def _decide_domain(choice: _Choice, domain: Declared) -> None:
    key, memory = f"create/{domain.name}", choice.memory
    if domain.name not in memory.gone or key in choice.busy or choice.is_aside(domain.name):
        return
    since = memory.gone[domain.name]
    if not choice.is_due(since + XL_RESTART) or not choice.may_try(key, f"{domain.name} cannot be started"):
        return
    if not choice.knows_flags():
        return
    flags = choice.snapshot.flags or {}
    if any("d" in letters for letters in flags.values()) and choice.now < since + DYING:
        # What is left of it may still have its devices and memory: `(null)` in `xl list`.
        choice.is_due(choice.now + PAUSED)
        return
    choice.actions.append(Create(key, domain))
