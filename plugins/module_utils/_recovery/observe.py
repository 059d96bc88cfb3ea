# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the recovery service sees of the host, and what it must be woken for. It believes what dom0 wrote, and what domains report of
themselves: their readiness and the states of their ends of devices."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

from .._domain.aside import ORDERS, PAUSED, STOPPED, UNWANTED
from .._domain.devices import CLOSED, KINDS, VIF, PvDevice, read_devices
from .._domain.userdata import uuid_in
from .._xen.watcher import is_watched
from .model import Configuration, Memory, Released, Running, Snapshot

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: Changes when an operator says to go on.
RESUMED = f"{ORDERS}/resumed"
#: How the images of the collection report that they serve.
STATUS, READY, ATTACHABLE = "data/driver-domain/status", "ready", "attachable"
#: What it says before it serves, or says what is wrong.
_NOT_YET = ("starting", ATTACHABLE)
#: The directories of backends for the kinds of devices that are recovered.
_BACKENDS = ("vbd", "vif")
#: When a domain has shut itself down, libxl leaves the directories of its PCI devices: it waits for a backend that works
#: (libxl__device_pci_remove_xenstore in libxl_pci.c), and that one is closed.
_PCI = "/local/domain/0/backend/pci"
#: What matters of the events below /libxl and of those of a backend: that devices come and go, and what they report.
_CONCERNS = re.compile(
    r"@.*|/libxl(?:/[0-9]+(?:/device(?:/(?:vif|vbd)(?:/[0-9]+(?:/backend)?)?)?)?)?"
    r"|/local/domain/[0-9]+(?:/backend(?:/[a-z0-9_]+(?:/[0-9]+(?:/[0-9]+(?:/(?:state|hotplug-status|hotplug-error))?)?)?)?)?"
    r"|/local/domain/[0-9]+/data(?:/.*)?|/tool(?:/.*)?"
)


#: What is watched because of devices.
_DEVICES = re.compile(r"/libxl|/local/domain/[0-9]+/backend")


def concerns(path: str) -> bool:
    """Whether an event can change what the service sees."""
    return _CONCERNS.fullmatch(path) is not None


def concerns_devices(watch: str) -> bool:
    """Whether what is watched concerns devices, and not domains or what they report of themselves."""
    return _DEVICES.fullmatch(watch) is not None


def observe(store: XenStore, configuration: Configuration, released: t.Iterable[Released] = (), ended: t.Collection[int] = ()) -> Snapshot:
    """Read the host.

    :param released: devices that are to be attached again; only for their domains it matters what the others are called.
    :param ended: the domids of domains that may still be there, but do not run: XenStore does not show that.
    :raises XenStoreError: xenstored does not answer.
    """
    domids = sorted(int(name) for name in store.directory("/local/domain") if name.isdecimal())
    keys = {domain.name: domain.ready_key for domain in configuration.domains if domain.ready_key}
    values = {domain.name: domain.ready_value for domain in configuration.domains if domain.ready_key}
    own = {key for key in keys.values() if key != STATUS}
    read = store.read_texts(f"/local/domain/{domid}/{key}" for domid in domids for key in ("name", "vm", STATUS, *sorted(own)))
    present = {}
    for domid in domids:
        home = f"/local/domain/{domid}"
        name = read[f"{home}/name"]
        if name is None:
            continue
        # One that nobody has declared, and that reports nothing, may serve.
        key, good = (keys[name], (values[name],)) if name in keys else (STATUS, (None, READY))
        ready = read[f"{home}/{key}"] in good
        uuid = uuid_in(read[f"{home}/vm"]) or f"domain-{domid}"
        attachable = key == STATUS and read[f"{home}/{key}"] == ATTACHABLE
        silent = name in keys and (not read[f"{home}/{key}"] or (key == STATUS and read[f"{home}/{key}"] in _NOT_YET))
        present[domid] = Running(domid, name, "dom0" if domid == 0 else uuid, ready, attachable, silent)
    running = {domid: domain for domid, domain in present.items() if domid not in ended}
    declared = {domain.name for domain in configuration.domains}
    names = {domid: domain.name for domid, domain in present.items()}
    wanted = {device.uuid for device in released}
    settings = ("mac", "dev") if any(domain.uuid in wanted for domain in running.values()) else ()
    devices = [device for found in read_devices(store, present, settings=settings, names=names).values() for device in found]
    backends = {device.backend_id for device in devices if device.backend_id} | {d.domid for d in running.values() if d.name in declared}
    absent = declared - {domain.name for domain in present.values()}
    orders = store.read_texts([PAUSED, STOPPED, RESUMED, UNWANTED])
    return Snapshot(
        running,
        tuple(device for device in devices if device.backend_id != 0 and device.domid in running),
        (*_orphans(store, present, {device.backend_path for device in devices}, backends), *_pci_orphans(store, present, declared)),
        frozenset(f"{orders[PAUSED] or ''} {orders[STOPPED] or ''}".split()),
        orders[RESUMED] or "",
        frozenset((orders[UNWANTED] or "").split()),
        taken=_taken(devices, {domid: domain.uuid for domid, domain in running.items() if domain.uuid in wanted}),
        ended={domid: domain.name for domid, domain in present.items() if domid in ended},
        watched=frozenset(name for name in absent if is_watched(name)),
    )


def read_serving(
    store: XenStore, domids: t.Iterable[int], ended: t.Collection[int], kinds: t.Sequence[str] = KINDS
) -> dict[int, list[PvDevice]]:
    """Read the devices of domains with all of their settings; a backend that has ended has no name: xl renames one that crashed
    (`rename-restart`)."""
    return {
        domid: [replace(device, backend="") if device.backend_id in ended else device for device in devices]
        for domid, devices in read_devices(store, domids, kinds).items()
    }


def _taken(devices: t.Iterable[PvDevice], clients: t.Mapping[int, str]) -> frozenset[str]:
    """Return the devices of some domains, by number and by name.

    :param clients: the UUIDs of the domains, by domid.
    """
    return frozenset(
        f"{clients[device.domid]}/{device.kind}/{name}"
        for device in devices
        if device.domid in clients
        for name in (device.devid, device.mac if device.kind == VIF else device.made.get("dev"))
    )


def _orphans(store: XenStore, present: t.Mapping[int, Running], known: t.Collection[str], backends: t.Collection[int]) -> tuple[str, ...]:
    """Return the directories of closed backends that no device has: they would fill the quota of their domain in the end."""
    tops = [f"/local/domain/{domid}/backend/{kind}" for domid in sorted(backends) if domid in present for kind in _BACKENDS]
    clients = [f"{top}/{name}" for top, names in store.directories(tops).items() for name in names if name.isdecimal()]
    nodes = [f"{client}/{devid}" for client, devids in store.directories(clients).items() for devid in devids]
    unknown = [node for node in nodes if node not in known]
    states = store.read_texts(f"{node}/state" for node in unknown) if unknown else {}
    return tuple(node for node in unknown if states[f"{node}/state"] in CLOSED or int(node.split("/")[-2]) not in present)


def _pci_orphans(store: XenStore, present: t.Collection[int], declared: t.Collection[str]) -> tuple[str, ...]:
    """Return what libxl has left of the PCI devices of declared domains that are gone."""
    left = [f"{_PCI}/{name}" for name in store.directory(_PCI) if name.isdecimal() and int(name) not in present]
    names = store.read_texts(f"{path}/0/domain" for path in left) if left else {}
    return tuple(path for path in left if names[f"{path}/0/domain"] in declared)


def watched(configuration: Configuration, snapshot: Snapshot, memory: Memory) -> set[str]:
    """Return the paths whose changes can call for a decision; there are few however many clients there are."""
    # A disk stays while its backend is gone, and waits for the readiness of the next one.
    awaited = {*(released.backend for released in memory.released.values()), *memory.lost.values()} - {""}
    names = {domain.name for domain in configuration.domains} | awaited
    serving = {device.backend_id for device in snapshot.devices}
    paths = {"@introduceDomain", "@releaseDomain", "/libxl", ORDERS}
    for domid, domain in snapshot.running.items():
        if domid != 0 and (domid in serving or domain.name in names):
            keys = [own.ready_key for own in configuration.domains if own.name == domain.name and own.ready_key] or [STATUS]
            paths |= {f"/local/domain/{domid}/backend", *(f"/local/domain/{domid}/{key}" for key in keys)}
    return paths
