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
from .._domain.devices import KINDS, VBD, VIF, PvDevice, broken, late, lost_backend
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
#: Seconds in which whoever has destroyed a domain may start it again, when no xl watches over it any more. An xl that has reported the end
#: takes a moment to leave, too.
LEFT_ALONE = 2.0
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
#: A domain that begins or ceases to serve so often within so many seconds does not count as serving for as long.
CHANGES, RESTLESS = 10, 60.0
#: Seconds for which a domain has to serve until starting it counts as a success; one that fails before is in a loop.
PROVEN = 300.0
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
        if domid in memory.names and (domid in memory.ready or domid in memory.appeared):
            clients = sorted({running[d.domid].name for d in snapshot.devices if d.backend_id == domid and d.domid in running})
            happened.append(f"{memory.names[domid]} (domain {domid}) is gone; it served {', '.join(clients)}")
    gone_paths = {device.backend_path for device in snapshot.devices if device.backend_id not in running}
    lost = {path: name for path, name in memory.lost.items() if path in gone_paths}
    appeared = {domid: memory.appeared.get(domid, now) for domid in running}
    declared = {domain.name for domain in configuration.domains}
    changes = {domid: _recent(times, now) for domid, times in memory.changes.items() if domid in running and _recent(times, now)}
    ready = {}
    for domid, domain in running.items():
        serves = domain.ready and now >= _restless_until(changes.get(domid, ()))
        if domain.name in declared and serves != (domid in memory.ready) and domid in memory.appeared:
            changes[domid] = [*changes.get(domid, ()), now]
            what = f"serves, {now - appeared[domid]:.1f} s after it was started" if serves else "no longer reports that it serves"
            if _restless_until(changes[domid]):
                serves, what = False, "changes its mind too often: for a minute it does not count as serving"
            happened.append(f"{domain.name} (domain {domid}) {what}")
        if serves:
            ready[domid] = memory.ready.get(domid, now)
    seen = memory.seen | {domain.name for domain in configuration.domains if any(domain.name == r.name for r in running.values())}
    last = {name: domid for name, domid in memory.last.items() if name in declared}
    last.update({domain.name: domid for domid, domain in sorted(running.items()) if domain.name in declared})
    ended = declared & set(snapshot.ended.values())
    present = {domain.name for domain in running.values()}
    gone = {name: memory.gone.get(name, now) for name in sorted(seen & declared - present - ended)}
    happened += [
        f"{name} is gone" for name in gone if name not in memory.gone and not any(line.startswith(f"{name} (") for line in happened)
    ]
    happened += [f"{name} runs again" for name in sorted(memory.gone) if name in present]

    devices = {_key(device, running): device for device in snapshot.devices if device.domid in running}
    waiting = {key: memory.waiting.get(key, now) for key, device in devices.items() if _ails(device, running)}
    waiting.update({key: memory.waiting.get(key, now) for key in (*snapshot.orphans, *(f"ended/{name}" for name in ended - present))})
    attached, recovered = {}, dict(memory.recovered)
    for key, since in memory.attached.items():
        device = devices.get(key)
        if device and _works(device, running):
            name = f"{device.backend} (domain {device.backend_id})"
            counted = f"{device.kind}/{running[device.domid].name}"
            recovered[counted] = recovered.get(counted, 0) + 1
            # It may have been attached before the backend was ready.
            since = max(since, ready.get(device.backend_id, since))
            happened.append(f"{running[device.domid].name}: {_noun(device)} works again at {name}, after {now - since:.1f} s")
        elif device or key in busy:
            attached[key] = since
    released = _released(snapshot, memory, now, devices, busy)
    waiting.update({key: memory.waiting.get(key, now) for key in released if not _client(snapshot, released[key])})

    # Devices that were attached count even if that helped: a backend that alternately works and fails must not keep dom0 busy.
    known = {**memory.names, **names}
    proven = {f"create/{known.get(domid, '')}" for domid, since in {**ready, **memory.ready}.items() if now - since >= PROVEN}
    attempts = {key: [at for at in times if now - at < COUNTED] for key, times in memory.attempts.items() if key not in proven}
    hopeless = frozenset(key for key in memory.hopeless if _still_hopeless(key, devices, released, {*gone, *waiting}))
    if snapshot.resumed != memory.resumed:
        attempts, hopeless = {}, frozenset()
        happened.append("an operator says to go on")
    return (
        Memory(
            names=names,
            lost=lost,
            seen=seen & declared,
            last=last,
            gone=gone,
            waiting=waiting,
            released=released,
            attached=attached,
            attempts={key: times for key, times in attempts.items() if times},
            hopeless=hopeless,
            ready=ready,
            changes=changes,
            appeared=appeared,
            recovered=recovered,
            resumed=snapshot.resumed,
        ),
        happened,
    )


def _recent(changes: t.Sequence[float], now: float) -> list[float]:
    """Return the changes of the last minute, and all those that made a domain restless until its time is over."""
    if now < _restless_until(changes):
        return list(changes)
    return [at for at in changes if now - at < RESTLESS]


def _restless_until(changes: t.Sequence[float]) -> float:
    """Return until when a domain with these changes does not count as serving, or 0."""
    return changes[-1] + RESTLESS if len(changes) >= CHANGES else 0.0


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
                or {key, f"{released.uuid}/{released.kind}/{released.identity}"} & snapshot.taken
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
    if name.startswith("ended/"):
        return name in gone
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
        self._restless = {domid for domid, changes in memory.changes.items() if not self.is_due(_restless_until(changes))}

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
            self.hopeless[key] = f"{what}: that was tried {len(times)} times within an hour"
            return False
        return not times or self.is_due(times[-1] + FIRST_DELAY * 2 ** (len(times) - 1))

    def serves(self, domain: Running | None) -> bool:
        """Whether a domain runs and serves."""
        return domain is not None and domain.ready and domain.domid not in self._restless

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
    # The same device gets the same directory again.
    attaching = {*busy, *(action.key for action in choice.actions if isinstance(action, Attach))}
    for path in snapshot.orphans:
        if _orphan_key(path, snapshot.running) not in attaching and choice.is_due(memory.waiting.get(path, now) + GRACE):
            choice.actions.append(Sweep(path))
    return choice.decision()


def _orphan_key(path: str, running: t.Mapping[int, Running]) -> str:
    """Return the key of the device that a backend's directory was made for, or "": it has none."""
    kind, client, devid = path.split("/")[-3:]
    if kind in KINDS and client.isdecimal() and int(client) in running and devid.isdecimal():
        return device_key(running[int(client)].uuid, kind, int(devid))
    return ""


def _decide_device(choice: _Choice, device: PvDevice) -> None:
    snapshot, memory = choice.snapshot, choice.memory
    client = snapshot.running.get(device.domid)
    if client is None or not device.backend_path or _works(device, snapshot.running):
        return
    key = _key(device, snapshot.running)
    # As it will be called when the device is attached again.
    backend = memory.lost.get(device.backend_path) or memory.names.get(device.backend_id, "")
    if key in choice.busy or choice.is_aside(client.name, backend):
        return
    gone = device.backend_id not in snapshot.running
    attempt = f"{key}@{device.backend_id}"
    why = f"its backend, {backend} {device.backend_id}, is gone" if gone else _ails(device, snapshot.running)
    if gone and not backend:
        # Nothing could take its place.
        if attempt not in memory.hopeless:
            choice.hopeless[attempt] = f"{client.name}: {_noun(device)} cannot be attached again: nobody knows the name of its backend"
        return
    if gone:
        successor = snapshot.named(backend)
        if device.kind == VBD and (not choice.serves(successor) or _awaits_vif(choice, client)):
            return
    elif not why or client.domid == 0 or not choice.serves(snapshot.running[device.backend_id]):
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
        if (choice.serves(backend) or early) and choice.may_try(attempt, str(released)):
            choice.actions.append(Attach(key, released, client, backend))


def _decide_domain(choice: _Choice, domain: Declared) -> None:
    key, memory = f"create/{domain.name}", choice.memory
    ended = f"ended/{domain.name}"
    if ended in memory.waiting and ended not in memory.hopeless and not choice.is_aside(domain.name):
        # Its name is taken. Who keeps it may let it go: xl writes down the memory of one that crashed, and then restarts it.
        if choice.is_due(memory.waiting[ended] + DYING):
            domids = [str(domid) for domid, name in choice.snapshot.ended.items() if name == domain.name]
            choice.hopeless[ended] = (
                f"{domain.name} is not started again: domain {', '.join(domids)} of that name has ended, but is still there "
                "('xl destroy' removes it)"
            )
        return
    if domain.name not in memory.gone or key in choice.busy or choice.is_aside(domain.name):
        return
    since = memory.gone[domain.name]
    if not choice.is_due(since + LEFT_ALONE):
        return
    if domain.name in choice.snapshot.watched and not choice.is_due(since + XL_RESTART):
        # Nothing reports that it has left.
        choice.is_due(choice.now + LEFT_ALONE)
        return
    if not choice.may_try(key, f"{domain.name} is not started again"):
        return
    if not choice.knows_flags():
        return
    flags = choice.snapshot.flags or {}
    if "d" in flags.get(memory.last.get(domain.name, 0), "") and choice.now < since + DYING:
        # What is left of it may still have its devices and memory: `(null)` in `xl list`.
        choice.is_due(choice.now + PAUSED)
        return
    choice.actions.append(Create(key, domain))
