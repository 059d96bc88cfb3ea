# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the recovery service does next: pure functions of what it sees, what it remembers, and the time.

A vif is detached as soon as its backend is gone: its guest then knows that the link is down, and the time that a kernel needs to notice the
removal goes by while the backend starts. It is attached when the new domain has its drivers: `xl devd` serves what it finds there. A disk
stays until there is a backend to attach it to: a guest waits for what it has not written yet, and loses it when the disk is detached.
"""

from __future__ import annotations

import typing as t

from .._domain.devices import KINDS, VBD, VIF, PvDevice, script_failed
from .._xenstore.client import REMOVAL_DELAY
from .model import (
    ALL,
    Action,
    Attach,
    Configuration,
    Create,
    Decision,
    Declared,
    Destroy,
    Memory,
    Release,
    Released,
    Running,
    Snapshot,
    Sweep,
    device_key,
)
from .remember import PROVEN, ails, client_of, cut_off_key, key_of, noun, restless_until, silent_key, works

#: Seconds in which an xl that is there may start a domain again: it sleeps for 2 s first (xl_vmcontrol.c, on_reboot, on_crash and
#: on_watchdog), and took up to 7 s on a busy host. If it does not, it leaves, and nobody waits for it.
XL_RESTART = 30.0
#: Seconds in which whoever has destroyed a domain may start it again, when no xl watches over it any more. An xl that has reported the end
#: takes a moment to leave, too.
LEFT_ALONE = 2.0
#: Seconds that a device may take to connect, and that an orphan may stay; libxl gives a hotplug script 40 s (libxl_internal.h).
GRACE = 45.0
#: So many times as long as a driver domain may take to serve, dom0 may be without the vif that it is reached by: a start that hangs, and
#: another one.
CUT_OFF = 2
#: Seconds for which a disk waits until a vif of the same client is connected.
VIF_FIRST = 10.0
#: Seconds in which a dying domain may let go of memory and devices.
DYING = 60.0
#: Seconds after which a paused client is looked at again: unpausing it causes no event.
PAUSED = 5.0
#: Seconds after a failure until the next attempt; they double each time.
FIRST_DELAY = 5.0
#: So many devices are connected to one backend at the same time; one that takes longer than so many seconds does not hold up others. libxl
#: waits 10 s for a backend, and a domain with one processor does not answer twenty in that time.
TOGETHER, TOO_LONG = 6, 20.0
#: Once a device was attached so often within an hour, its backend has to serve for so many seconds first, and each time twice as long.
#: Guests lose memory each time (docs/recovery.md), and a backend that crashes again and again is a new domain each time.
OFTEN, STEADY = 20, 60.0


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
        # When its script has ended, its backend waits for the guest, if for anything.
        self._served = {
            key_of(device, snapshot.running)
            for device in snapshot.devices
            if {device.domid, device.backend_id} <= set(snapshot.running) and (device.connected or device.hotplug_status)
        }
        #: Keys of the devices that are there.
        self.present = {key_of(device, snapshot.running) for device in snapshot.devices if device.domid in snapshot.running}
        self._restless = {domid for domid, changes in memory.changes.items() if not self.is_due(restless_until(changes))}

    def decision(self) -> Decision:
        if self._look:
            return Decision(look=True)
        return Decision(tuple(sorted(self.actions, key=_rank)), min(self._times, default=None), hopeless=self.hopeless)

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

    def has_room(self, backend: Running) -> bool:
        """Whether another device may be attached to a backend now, beside those that it is still busy with."""
        started = [
            times[-1]
            for key, times in self.memory.attempts.items()
            if key.endswith(f"@{backend.domid}") and key.rpartition("@")[0] not in self._served
        ]
        started = [at for at in started if self.now < at + TOO_LONG]
        more = sum(isinstance(action, Attach) and action.backend.domid == backend.domid for action in self.actions)
        if len(started) + more < TOGETHER:
            return True
        if started:
            self.is_due(min(started) + TOO_LONG)
        return False

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


def often_key(key: str) -> str:
    """Return what counts how often a device was attached, at whatever backend."""
    return f"often/{key}"


def _rank(action: Action) -> int:
    """Return what goes first: domains, and then what takes no time. What waits for a backend that runs comes last."""
    if isinstance(action, (Create, Destroy)):
        return 0
    if isinstance(action, Release) and action.slow:
        return 2
    return 3 if isinstance(action, Sweep) else 1


def _orphan_key(path: str, running: t.Mapping[int, Running]) -> str:
    """Return the key of the device that a backend's directory was made for, or "": it has none."""
    kind, client, devid = path.split("/")[-3:]
    if kind in KINDS and client.isdecimal() and int(client) in running and devid.isdecimal():
        return device_key(running[int(client)].uuid, kind, int(devid))
    return ""


def _decide_device(choice: _Choice, device: PvDevice) -> None:
    snapshot, memory = choice.snapshot, choice.memory
    client = snapshot.running.get(device.domid)
    if client is None or not device.backend_path or works(device, snapshot.running):
        return
    key = key_of(device, snapshot.running)
    # As it will be called when the device is attached again.
    backend = memory.lost.get(device.backend_path) or memory.names.get(device.backend_id, "")
    if key in choice.busy or choice.is_aside(client.name, backend):
        return
    gone = device.backend_id not in snapshot.running
    attempt = f"{key}@{device.backend_id}"
    why = f"its backend, {backend} {device.backend_id}, is gone" if gone else ails(device, snapshot.running)
    if gone and not backend:
        # Nothing could take its place.
        if attempt not in memory.hopeless:
            choice.hopeless[attempt] = f"{client.name}: {noun(device)} cannot be attached again: nobody knows the name of its backend"
        return
    if gone:
        successor = snapshot.named(backend)
        if device.kind == VBD and (not choice.serves(successor) or _awaits_vif(choice, client)):
            return
    elif not why or (client.domid == 0 and not script_failed(device)) or not choice.serves(snapshot.running[device.backend_id]):
        # The interface that dom0 is reached through may be slow, but it is there.
        return
    elif not script_failed(device) and not choice.is_due(
        # One that is closed may be on its way out: somebody detaches it.
        max(memory.waiting.get(key, choice.now), memory.ready.get(device.backend_id, 0.0)) + GRACE
    ):
        return
    if not gone and not choice.knows_flags():
        return
    if not gone and snapshot.is_paused(client.domid):
        choice.is_due(choice.now + PAUSED)
        return
    if choice.may_try(attempt, f"{client.name}: {noun(device)} does not work, as {why}"):
        force = bool(memory.attempts.get(f"detach/{key}"))
        choice.actions.append(Release(key, device, client, why, force, slow=not gone))


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
    client, backend = client_of(snapshot, released), snapshot.named(released.backend)
    if client is None or key in choice.busy or key in choice.present or choice.is_aside(client.name, released.backend):
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
        often = len(choice.memory.attempts.get(often_key(key), ())) - OFTEN
        early = backend.attachable and released.kind == VIF and attempt not in choice.memory.attempts and often < 0
        if choice.serves(backend) and often >= 0:
            steady = min(STEADY * 2**often, PROVEN)
            if not choice.is_due(choice.memory.ready.get(backend.domid, choice.now) + steady):
                return
        if (choice.serves(backend) or early) and choice.has_room(backend) and choice.may_try(attempt, str(released)):
            choice.actions.append(Attach(key, released, client, backend))


def _decide_domain(choice: _Choice, domain: Declared) -> None:
    key, memory = f"create/{domain.name}", choice.memory
    _decide_silent(choice, domain)
    _decide_cut_off(choice, domain)
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


def _decide_cut_off(choice: _Choice, domain: Declared) -> None:
    """Give up a domain that dom0 is reached through when that has not worked for long, whatever is tried, or whoever starts it again and
    again: there is somebody who can return the card."""
    key = cut_off_key(domain.name)
    since = choice.memory.waiting.get(key)
    if since is not None and key not in choice.memory.hopeless and choice.is_due(since + CUT_OFF * domain.wait_timeout):
        choice.hopeless[key] = f"Domain-0: its vif at {domain.name} has not worked for {choice.now - since:.0f} s"


def _decide_silent(choice: _Choice, domain: Declared) -> None:
    """Destroy a domain that hangs in its boot: it neither serves nor says what is wrong, long after it was started. It is then gone, and is
    started again. One that serves somebody is not what it seems, and stays."""
    memory, running = choice.memory, choice.snapshot.named(domain.name)
    key = silent_key(running) if running else ""
    if running is None or key in memory.hopeless or key in choice.busy or choice.is_aside(domain.name):
        return
    if domain.name in memory.unfinished and choice.knows_flags():
        if choice.snapshot.is_paused(running.domid) and choice.may_try(key, str(running)):
            choice.actions.append(Destroy(key, running, "is what is left of a start that was killed"))
        return
    if key not in memory.waiting:
        return
    if any(device.backend_id == running.domid and works(device, choice.snapshot.running) for device in choice.snapshot.devices):
        return
    if not choice.is_due(memory.waiting[key] + domain.wait_timeout):
        return
    if len(memory.attempts.get(f"create/{domain.name}", ())) >= choice.configuration.attempts:
        choice.hopeless[key] = (
            f"{running} neither serves nor says why, and was started {choice.configuration.attempts} times within an hour"
        )
    elif choice.knows_flags():
        if choice.snapshot.is_paused(running.domid):
            choice.is_due(choice.now + PAUSED)
        elif choice.may_try(key, str(running)):
            choice.actions.append(Destroy(key, running, f"has neither served nor said why for {domain.wait_timeout:g} s"))
