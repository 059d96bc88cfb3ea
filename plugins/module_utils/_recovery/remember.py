# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the recovery service remembers after a look at the host: pure functions of what it saw, what it knew, and the time."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._domain.aside import WaitingDevice
from .._domain.devices import VIF, PvDevice, broken, late, lost_backend
from .._xenstore.client import REMOVAL_DELAY
from .model import ALL, Configuration, Memory, Released, Running, Snapshot, device_key

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
        serves = domain.ready and now >= restless_until(changes.get(domid, ()))
        if domain.name in declared and serves != (domid in memory.ready) and domid in memory.appeared:
            changes[domid] = [*changes.get(domid, ()), now]
            what = f"serves, {now - appeared[domid]:.1f} s after it was started" if serves else "no longer reports that it serves"
            if restless_until(changes[domid]):
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

    devices = {key_of(device, running): device for device in snapshot.devices if device.domid in running}
    waiting = {key: memory.waiting.get(key, now) for key, device in devices.items() if ails(device, running)}
    # Until it is gone, or somebody has let it run.
    unfinished = frozenset(
        domain.name
        for domid, domain in running.items()
        if domain.name in memory.unfinished and (snapshot.flags is None or snapshot.is_paused(domid))
    )
    silent = [silent_key(domain) for domain in running.values() if domain.silent or domain.name in unfinished]
    waiting.update(
        {key: memory.waiting.get(key, now) for key in (*snapshot.orphans, *(f"ended/{name}" for name in ended - present), *silent)}
    )
    attached, recovered = {}, dict(memory.recovered)
    for key, since in memory.attached.items():
        device = devices.get(key)
        if device and works(device, running):
            name = f"{device.backend} (domain {device.backend_id})"
            # It may have been attached before the backend was ready.
            since = max(since, ready.get(device.backend_id, since))
            counted = f"{device.kind}/{running[device.domid].name}"
            recovered[counted] = recovered.get(counted, 0) + 1
            happened.append(f"{running[device.domid].name}: {noun(device)} works again at {name}, after {now - since:.1f} s")
        elif device or key in busy:
            attached[key] = since
    released = _released(snapshot, memory, now, devices, busy)
    waiting.update({key: memory.waiting.get(key, now) for key in released if not client_of(snapshot, released[key])})
    known_since = {} if snapshot.resumed != memory.resumed else memory.waiting
    waiting.update({key: known_since.get(key, now) for key in map(cut_off_key, _cut_off(snapshot, released.values(), names, lost))})

    # Devices that were attached count even if that helped: a backend that alternately works and fails must not keep dom0 busy.
    known = {**memory.names, **names}
    proven = {f"create/{known.get(domid, '')}" for domid, since in {**ready, **memory.ready}.items() if now - since >= PROVEN}
    # What could not be detached, and then worked, is another matter the next time.
    proven |= {f"detach/{key}" for key, device in devices.items() if works(device, running)}
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
            unfinished=unfinished,
            recovered=recovered,
            resumed=snapshot.resumed,
        ),
        happened,
    )


def _recent(changes: t.Sequence[float], now: float) -> list[float]:
    """Return the changes of the last minute, and all those that made a domain restless until its time is over."""
    if now < restless_until(changes):
        return list(changes)
    return [at for at in changes if now - at < RESTLESS]


def restless_until(changes: t.Sequence[float]) -> float:
    """Return until when a domain with these changes does not count as serving, or 0."""
    return changes[-1] + RESTLESS if len(changes) >= CHANGES else 0.0


def key_of(device: PvDevice, running: t.Mapping[int, Running]) -> str:
    return device_key(running[device.domid].uuid, device.kind, device.devid)


def silent_key(domain: Running) -> str:
    """Return what stands for a domain that neither serves nor says why."""
    return f"silent/{domain.name}@{domain.domid}"


def cut_off_key(backend: str) -> str:
    """Return what stands for dom0 when a vif that a domain serves it does not work."""
    return f"cut-off/{backend}"


def _cut_off(snapshot: Snapshot, released: t.Iterable[Released], names: t.Mapping[int, str], lost: t.Mapping[str, str]) -> set[str]:
    """Return the domains whose vifs dom0 has lost, but for those that an operator keeps the service away from."""
    dom0 = snapshot.running.get(0)
    found = {item.backend for item in released if dom0 and item.kind == VIF and item.uuid == dom0.uuid}
    for device in snapshot.devices:
        if device.domid == 0 and device.kind == VIF and not works(device, snapshot.running):
            found.add(lost.get(device.backend_path) or names.get(device.backend_id, ""))
    return set() if ALL in snapshot.aside else found - snapshot.aside - {""}


def noun(device: PvDevice) -> str:
    return f"{'vif' if device.kind == VIF else 'disk'} {device.devid}"


def works(device: PvDevice, running: t.Collection[int]) -> bool:
    """Whether a device works. The frontend of one whose backend is gone goes on saying so."""
    return device.connected and device.backend_id in running


def ails(device: PvDevice, running: t.Mapping[int, Running]) -> str:
    """Say why a device whose backend runs may not work, or ""."""
    if device.backend_id not in running:
        return ""
    return lost_backend(device, running) or broken(device) or late(device)


def client_of(snapshot: Snapshot, released: Released) -> Running | None:
    return next((domain for domain in snapshot.running.values() if domain.uuid == released.uuid), None)


def _released(
    snapshot: Snapshot, memory: Memory, now: float, devices: t.Mapping[str, PvDevice], busy: t.Collection[str]
) -> dict[str, Released]:
    kept = {}
    for key, released in memory.released.items():
        client = client_of(snapshot, released)
        if key not in busy and not _is_being_detached(devices.get(key), released, snapshot.running):
            # A playbook, or the guest's own reboot, has brought it back; or nobody will, or should.
            if (
                key in devices
                or {key, f"{released.uuid}/{released.kind}/{released.identity}"} & snapshot.taken
                or str(WaitingDevice(released.client, released.kind, released.identity)) in snapshot.unwanted
                or (client is None and now - memory.waiting.get(key, now) > FORGET)
            ):
                continue
            if released.path and key not in devices:
                # From now on its kernel can notice.
                released = replace(released, at=now, path="")
            if client and not released.noticed and snapshot.flags is not None:
                if snapshot.is_paused(client.domid):
                    released = replace(released, at=now)
                elif now >= released.at + REMOVAL_DELAY:
                    released = replace(released, noticed=True)
        kept[key] = released
    return kept


def _is_being_detached(device: PvDevice | None, released: Released, running: t.Collection[int]) -> bool:
    """Whether a device is still there that was to be detached: a service that was killed may have left an xl behind that is at it."""
    return device is not None and device.backend_path == released.path and not works(device, running)


def _still_hopeless(key: str, devices: t.Mapping[str, PvDevice], released: t.Mapping[str, Released], gone: t.Collection[str]) -> bool:
    """Whether what was given up still does not work. A device at another backend is another matter."""
    name, _at, backend = key.partition("@")
    if name.startswith("create/"):
        return name[len("create/") :] in gone
    if name.startswith("ended/"):
        return name in gone
    if name.startswith(("silent/", "cut-off/")):
        return key in gone
    return name in released or (name in devices and str(devices[name].backend_id) == backend)
