# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Who serves whom, and the order of starting and stopping that follows from it. The same for every kind of device."""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidInput

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

_BACKEND = re.compile(r"/local/domain/([0-9]+)/backend/[^/]+/[0-9]+/[^/]+")


class Service(t.NamedTuple):
    """One domain has a device of some kind (vif, vbd, 9pfs, vtpm and so on) from another; both by their domids."""

    backend: int
    client: int
    kind: str


class ServedDevice(t.NamedTuple):
    """A device of a domain, and the domid of its backend."""

    kind: str
    devid: str
    backend: int


def services(store: XenStore, domids: t.Collection[int]) -> list[Service]:
    """Return who serves whom among the running domains `domids`, as XenStore says now, in a stable order.

    A backend lists its clients below `backend/KIND/CLIENT`, and the toolstack what it gave to a client below
    `/libxl/CLIENT/device`. Either is enough: a device that only its backend knows is one that xl did not make (xenbus_device), and a
    backend cannot hide a client that the toolstack knows.
    """
    tops = {f"/local/domain/{domid}/backend": domid for domid in domids}
    kinds = {f"{top}/{kind}": (tops[top], kind) for top, names in store.directories(tops).items() for kind in names}
    clients = {
        f"{path}/{client}": Service(backend, int(client), kind)
        for path, names in store.directories(kinds).items()
        for backend, kind in [kinds[path]]
        for client in names
        if client.isdecimal() and int(client) in domids
    }
    # Xen before 4.15 left an empty directory when the last device was detached.
    found = {clients[path] for path, devids in store.directories(clients).items() if devids}
    for client, devices in device_backends(store, domids).items():
        found |= {Service(device.backend, client, device.kind) for device in devices if device.backend in domids}
    return sorted(service for service in found if service.backend != service.client)


def device_backends(store: XenStore, domids: t.Collection[int]) -> dict[int, list[ServedDevice]]:
    """Return the devices of running domains that the toolstack made, by domid.

    Read from `/libxl/DOMID/device`, which only the toolstack writes (libxl_device.c, libxl__device_libxl_path): what a guest has in
    its own home, it can change.
    """
    tops = {f"/libxl/{domid}/device": domid for domid in domids}
    kinds = {f"{top}/{kind}": (tops[top], kind) for top, names in store.directories(tops).items() for kind in names}
    devices = {f"{path}/{devid}/backend": (*kinds[path], devid) for path, devids in store.directories(kinds).items() for devid in devids}
    found: dict[int, list[ServedDevice]] = {domid: [] for domid in domids}
    for key, backend in store.read_texts(devices).items():
        domid, kind, devid = devices[key]
        match = _BACKEND.fullmatch(backend or "")
        if match:
            found[domid].append(ServedDevice(kind, devid, int(match.group(1))))
    return found


def stop_order(names: t.Sequence[str], serves: t.Iterable[tuple[str, str]]) -> list[str]:
    """Return the domains to be stopped in the order in which they are stopped: clients before their backends.

    Otherwise the last of `names` is stopped first. Domains that serve each other have no right order, but what serves them all the
    same comes after them.

    :param serves: backend and client of each pair, by name; others than `names` may be among them.
    """
    clients: dict[str, set[str]] = {name: set() for name in names}
    for backend, client in serves:
        if backend in clients and client in clients and backend != client:
            clients[backend].add(client)
    later = {name: position for position, name in enumerate(names)}
    ordered: list[str] = []
    while later:
        waiting = set(later)
        # Who depends on the fewest of those that still run, is stopped next: on none, unless domains serve each other.
        ordered.append(min(later, key=lambda name: (len(_dependants(name, clients, waiting)), -later[name])))
        del later[ordered[-1]]
    return ordered


def _dependants(name: str, clients: t.Mapping[str, t.Collection[str]], waiting: t.Collection[str]) -> set[str]:
    """The domains that a domain serves, directly or through others."""
    found: set[str] = set()
    unseen = [name]
    while unseen:
        new = {client for client in clients[unseen.pop()] if client in waiting} - found
        found |= new
        unseen += new
    return found


def start_order(names: t.Sequence[str], backends: t.Mapping[str, t.Collection[str]]) -> list[str]:
    """Return domains in an order in which each comes after its backends, and otherwise as given.

    :param backends: the backends of each domain by its name.
    :raises InvalidInput: there is no such order.
    """
    waiting = list(names)
    ordered: list[str] = []
    while waiting:
        free = next((name for name in waiting if not set(backends[name]) & set(waiting)), None)
        if free is None:
            raise InvalidInput(
                f"{', '.join(waiting)} can never start: each waits for a backend among them",
                rule="a backend must run before its frontends start",
                remedy="Correct backend",
            )
        waiting.remove(free)
        ordered.append(free)
    return ordered
