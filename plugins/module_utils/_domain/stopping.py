# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Stop running domains, clients before their backends, each waited for."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from .._errors import DriverDomainsError
from .._xen.watcher import REMOVED as REMOVED_BY_XL
from .._xen.watcher import is_watched
from .order import Service, services, stop_order

if t.TYPE_CHECKING:
    from .._xen.xl import Domain, Xl
    from .._xenstore.client import XenStore

#: Seconds that a domain may take to shut down, as long as Debian's xendomains waits (XENDOMAINS_STOP_MAXWAIT).
LIMIT = 300.0
#: Seconds in which somebody removes a domain that has shut down, if no xl watches over it, and for a domain that we destroy.
REMOVED = 5.0
_TOKEN = "stopping"
_REMAINS = "it has shut down, and nobody else removes it"


def with_clients(store: XenStore, names: t.Collection[str]) -> set[str]:
    """Return the running domains among `names`, and those that they serve, directly or through others."""
    running = _running(store)
    served = _serves(store, running)
    found = {domid for domid, name in running.items() if name in names}
    unseen = set(found)
    while unseen:
        unseen = {service.client for service in served if service.backend in unseen and service.client in running} - found
        found |= unseen
    return {running[domid] for domid in found}


def clients_of(store: XenStore, name: str) -> list[str]:
    """Return the names of the running domains, dom0 among them, that a domain serves directly."""
    names = store.domains()
    return sorted({names[service.client] for service in services(store, names) if names[service.backend] == name})


def serving_dom0(store: XenStore, stops_later: t.Callable[[str], bool]) -> set[str]:
    """Return the running domains that serve dom0, and those that they need themselves, directly or through others.

    :param stops_later: whether something stops a domain that serves dom0 when dom0 no longer needs it; others are left out.
    """
    names = store.domains()
    served = _serves(store, names)
    found = {service.backend for service in served if service.client == 0 and stops_later(names[service.backend])}
    unseen = set(found)
    while unseen:
        unseen = {service.backend for service in served if service.client in unseen} - found - {0}
        found |= unseen
    return {names[domid] for domid in found}


def stop_domains(
    store: XenStore,
    xl: Xl,
    names: t.Collection[str],
    say: t.Callable[[str], None],
    limit: float = LIMIT,
    clock: t.Callable[[], float] = time.monotonic,
) -> None:
    """Shut domains down, and wait until they are gone. One that others of them still use is asked later, all others at once.

    Who serves whom is what XenStore says while they run. Sleeps until XenStore reports that a domain has ended.

    :param limit: seconds that each may take; then it is destroyed.
    :param say: gets each event in words, as one line.
    :raises XenStoreError: xenstored does not answer.
    """
    stop = _Stop(store, xl, frozenset(names), say, limit, clock)
    for path in ("@releaseDomain", "@introduceDomain"):
        store.watch(path, _TOKEN)
    deadline = stop.step()
    while deadline is not None:
        store.next_event(max(0.0, deadline - clock()), _TOKEN)
        # One look answers all the events that have come by now.
        while store.next_event(0, _TOKEN):
            pass
        deadline = stop.step()
    for path in ("@releaseDomain", "@introduceDomain"):
        store.unwatch(path, _TOKEN)


@dataclass
class _Leaving:
    """A domain that is to end."""

    name: str
    asked: float
    #: When it is destroyed, and why then; "" if it was, and is given up.
    deadline: float
    why: str


class _Stop:
    def __init__(
        self, store: XenStore, xl: Xl, names: frozenset[str], say: t.Callable[[str], None], limit: float, clock: t.Callable[[], float]
    ) -> None:
        self._store = store
        self._xl = xl
        self._names = names
        self._say = say
        self._limit = limit
        self._clock = clock
        self._leaving: dict[int, _Leaving] = {}
        self._asked: set[str] = set()
        #: Who serves whom, by name. A domain that ends loses its devices before it is gone.
        self._served: set[tuple[str, str]] = set()
        #: What cannot even be destroyed.
        self._stuck: set[int] = set()

    def step(self) -> float | None:
        """Look, and do what is due; return when to look again at the latest, or None when all are gone."""
        running = _running(self._store)
        left = {domid: name for domid, name in running.items() if name in self._names and domid not in self._stuck}
        for domid in sorted(set(self._leaving) - set(left)):
            gone = self._leaving.pop(domid)
            if domid not in self._stuck:
                self._say(f"{gone.name} has stopped, after {self._clock() - gone.asked:.1f} s")
        if not left:
            return None
        listed = {domain.domid: domain for domain in self._xl.list()}
        for domid, name in left.items():
            if name in self._asked and domid not in self._leaving:
                now = self._clock()
                self._leaving[domid] = _Leaving(name, now, now, "it was started again when it had shut down")
            if domid in self._leaving:
                self._follow(domid, listed.get(domid))
        for domid in self._free(left):
            self._ask(domid, left[domid], listed.get(domid))
        return min((leaving.deadline for domid, leaving in self._leaving.items() if domid not in self._stuck), default=self._clock())

    def _free(self, left: t.Mapping[int, str]) -> list[int]:
        """The domains that nobody needs any more."""
        self._served |= {(left[service.backend], left[service.client]) for service in _serves(self._store, left)}
        serves = [(backend, client) for backend, client in self._served if {backend, client} <= set(left.values())]
        waiting = {domid: name for domid, name in left.items() if domid not in self._leaving}
        busy = {backend for backend, client in serves if backend != client}
        free = [domid for domid, name in waiting.items() if name not in busy]
        if not free and waiting and not self._leaving:
            # They serve each other, so one of them has to be the first.
            first = stop_order(list(waiting.values()), serves)[0]
            free = [domid for domid, name in waiting.items() if name == first]
        return free

    def _ask(self, domid: int, name: str, domain: Domain | None) -> None:
        self._say(f"Stopping {name}")
        self._asked.add(name)
        now = self._clock()
        self._leaving[domid] = _Leaving(name, now, now + self._limit, f"it did not shut down within {self._limit:g} s")
        self._try(name, self._request, domid, domain)

    def _request(self, domid: int, domain: Domain | None) -> None:
        if domain and domain.paused:
            self._xl.unpause(str(domid))
        self._xl.shutdown(str(domid))

    def _follow(self, domid: int, domain: Domain | None) -> None:
        leaving, now = self._leaving[domid], self._clock()
        if domain and not domain.alive and leaving.why and leaving.why != _REMAINS:
            # To destroy it as well while xl is at it would have both fail half-way.
            leaving.deadline, leaving.why = now + (REMOVED_BY_XL if is_watched(leaving.name) else REMOVED), _REMAINS
        if now < leaving.deadline:
            return
        if leaving.why:
            self._say(f"Destroying {leaving.name}: {leaving.why}")
            self._try(leaving.name, self._xl.destroy, str(domid))
            leaving.deadline, leaving.why = now + REMOVED, ""
        else:
            self._say(f"{leaving.name} does not end: nothing waits for it any more")
            self._stuck.add(domid)

    def _try(self, name: str, call: t.Callable[..., None], *arguments: t.Any) -> None:
        try:
            call(*arguments)
        except DriverDomainsError as exc:
            # It may have ended meanwhile. If not, its time will be over.
            self._say(f"{name}: {exc}")


def _running(store: XenStore) -> dict[int, str]:
    """The domains that can be stopped: a stub domain goes with the one whose device model it runs (libxl_dm.c, stub_dm_name)."""
    names = store.domains()
    return {domid: name for domid, name in names.items() if domid != 0 and _principal(name, names.values()) == name}


def _principal(name: str, names: t.Collection[str]) -> str:
    base = name[: -len("-dm")] if name.endswith("-dm") else name
    return base if base in names else name


def _serves(store: XenStore, domids: t.Mapping[int, str]) -> list[Service]:
    """Who serves whom among these domains; what serves a stub domain serves its principal."""
    names = store.domains()
    numbers = {name: domid for domid, name in names.items()}
    principals = {domid: numbers[_principal(name, numbers)] for domid, name in names.items()}
    found = [Service(principals[s.backend], principals[s.client], s.kind) for s in services(store, names)]
    return [service for service in found if service.backend in domids and service.client in domids]
