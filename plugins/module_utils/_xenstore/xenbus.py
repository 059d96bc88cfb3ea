# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Split devices between two domains: their nodes in XenStore, made at once, closed in order, never disturbed while they work.

Sources: libxl__device_generic_add and libxl__initiate_device_generic_remove in tools/libs/light/libxl_device.c of Xen for nodes,
permissions and the order of closing; drivers/xen/xenbus/xenbus_probe.c and xenbus_client.c of Linux for what the drivers make of them.
"""

from __future__ import annotations

import functools
import re
import time
import typing as t
from dataclasses import dataclass, field

from .._errors import DriverDomainsError, InvalidInput, Refused, TimedOut
from .._plan import Plan
from .client import Permission, XenStore
from .nodes import Change, Nodes, apply_inside, below, compare, join
from .wire import check_seconds

#: enum xenbus_state (xen/include/public/io/xenbus.h).
STATES = ("unknown", "initialising", "init_wait", "initialised", "connected", "closing", "closed", "reconfiguring", "reconfigured")
_INITIALISING, _CONNECTED, _CLOSING, _CLOSED = "1", "4", "5", "6"
#: States in which a driver has a device in use.
_BUSY = frozenset("234578")
_ENDING = frozenset((_CLOSING, _CLOSED))
_OWN_KEYS = frozenset(("backend", "backend-id", "frontend", "frontend-id", "online", "state"))
_TYPE = re.compile(r"[A-Za-z0-9_-]+")
#: Seconds that a kernel gets to see that a device is gone, before another one takes its place: it looks whether the directory
#: is there only when the event reaches it, and then would take the new device for the old one.
SETTLE = 1.0


@dataclass(frozen=True)
class Device:
    """A split device as the user wants it; a domain that does not run has the number None."""

    kind: str
    devid: int
    frontend: str
    backend: str
    frontend_id: int | None
    backend_id: int | None
    frontend_keys: t.Mapping[str, str] = field(default_factory=dict)
    backend_keys: t.Mapping[str, str] = field(default_factory=dict)
    #: One of STATES, or "none".
    wait_for: str = "connected"
    present: bool = True

    def __str__(self) -> str:
        return f"{self.kind} {self.devid} of {self.frontend} at {self.backend}"

    @property
    def front(self) -> str:
        """The directory of the frontend."""
        return f"/local/domain/{self.frontend_id}/device/{self.kind}/{self.devid}"

    @property
    def back(self) -> str:
        """The directory of the backend."""
        return f"/local/domain/{self.backend_id}/backend/{self.kind}/{self.frontend_id}/{self.devid}"

    @property
    def sides(self) -> list[str]:
        """The directories of those sides whose domains run."""
        return [path for path, known in ((self.front, self._frontend_runs), (self.back, self._backend_runs)) if known]

    @property
    def _frontend_runs(self) -> bool:
        return self.frontend_id is not None

    @property
    def _backend_runs(self) -> bool:
        return self.frontend_id is not None and self.backend_id is not None

    def nodes(self, state: str | None) -> tuple[Nodes, Nodes]:
        """Return both sides as nodes; with `state` None, whatever states they have will do.

        Each side belongs to its domain, the other one may read it, nobody else may do anything.
        """
        frontend_id, backend_id = self.frontend_id or 0, self.backend_id or 0
        front = {"backend": self.back, "backend-id": str(backend_id), **self.frontend_keys}
        back = {"frontend": self.front, "frontend-id": str(frontend_id), "online": "1", **self.backend_keys}

        def side(path: str, values: t.Mapping[str, str], owner: int, peer: int) -> Nodes:
            wanted = below(path, {key: value.encode() for key, value in values.items()})
            # Last, as it is what the drivers look at.
            wanted[join(path, "state")] = None if state is None else state.encode()
            return Nodes(path, wanted, (Permission("n", owner), Permission("r", peer)))

        return side(self.front, front, frontend_id, backend_id), side(self.back, back, backend_id, frontend_id)


class Planner:
    """Plans devices.

    :param force: guards that do not hold; `not_closed` removes a device whose drivers do not close it.
    :param timeout: seconds that drivers may take to connect, or to close.
    """

    def __init__(self, store: XenStore, force: t.Collection[str], timeout: float, settle: float = SETTLE) -> None:
        self._store = store
        self._force = force
        self._timeout = timeout
        self._settle = settle
        self._removed = False

    def plan(self, devices: t.Sequence[Device]) -> Plan:
        """Return the plan that makes the devices what they are to be.

        :raises InvalidInput: a device cannot be made.
        :raises Refused: a device that is in use would have to be changed.
        """
        self._check(devices)
        plan = Plan()
        new = [device for device in devices if self._plan_device(plan, device)]
        for device in devices:
            self._plan_leftovers(plan, device)
        todo = [new]

        def create() -> None:
            while todo:
                if self._removed:
                    time.sleep(self._settle)
                self._store.transaction(lambda inside: self._create(inside, todo[0]))
                todo.clear()

        # All of them in one transaction: the first action to be applied does it.
        for device in new:
            after = "".join(line for side in device.nodes(_INITIALISING) for line in side.lines())
            plan.add(f"create {device}", create, subject=str(device), after=after)
        plan.results["devices"] = self._report(devices)
        plan.conclude = lambda: self._conclude(devices)
        return plan

    def _check(self, devices: t.Sequence[Device]) -> None:
        check_seconds(self._timeout)
        running = set(self._store.directory("/local/domain"))
        seen = set()
        for device in devices:
            if not _TYPE.fullmatch(device.kind):
                raise InvalidInput(f"{device.kind!r} is not a type of device", "It has the characters A-Z a-z 0-9 - _")
            if device.devid < 0:
                raise InvalidInput(f"{device.devid} is not the number of a device", "It is 0 or more")
            identity = (device.kind, device.devid, device.frontend_id if device.frontend_id is not None else device.frontend)
            if identity in seen:
                raise InvalidInput(f"The device {device} is listed twice", "A frontend's domain has one device of a type and number")
            seen.add(identity)
            for keys in (device.frontend_keys, device.backend_keys):
                for own in sorted(_OWN_KEYS.intersection(keys)):
                    raise InvalidInput(f"The key {own!r} of {device} is not yours to set", "The drivers and this module use it")
            for name, domid in ((device.frontend, device.frontend_id), (device.backend, device.backend_id)):
                if device.present and (domid is None or str(domid) not in running):
                    raise InvalidInput(f"There is no running domain {name!r}, for {device}", "Both ends of a device run", "Start it first")
            if device.present:
                for side in device.nodes(_INITIALISING):
                    side.check(self._store)

    def _plan_device(self, plan: Plan, device: Device) -> bool:
        """Add to the plan what is to be removed or changed; tell whether the device is to be created."""
        there = [side for side in device.sides if self._store.read_text(side) is not None]
        self._refuse_elsewhere(device)
        if not device.present:
            if there:
                self._plan_removal(plan, device, "remove")
            return False
        if not there:
            return True
        changes = compare(self._store, device.nodes(None))
        link = {*device.sides, *(join(side, key) for side in device.sides for key in _OWN_KEYS)}
        broken = any(path in link for change in changes for path in change.writes)
        if broken or _ENDING.intersection(filter(None, self._states(device).values())):
            self._plan_removal(plan, device, "replace")
            return True
        if any(changes):
            self._refuse_in_use(device, changes)
            before, after = zip(*(change.diff(self._store) for change in changes if change))
            plan.add(
                f"change {device}",
                lambda: self._store.transaction(lambda inside: self._change(inside, device)),
                subject=str(device),
                before="".join(before),
                after="".join(after),
            )
        return False

    def _refuse_elsewhere(self, device: Device) -> None:
        """A frontend that has another backend than the named one: to touch it would leave that one without its other half."""
        if device.front not in device.sides:
            return
        other = self._store.read_text(join(device.front, "backend")) or ""
        # The guest can write there what it likes.
        match = re.fullmatch(rf"/local/domain/([0-9]{{1,5}})/backend/{device.kind}/{device.frontend_id}/{device.devid}", other)
        if match and other != device.back and self._store.read_text(join(other, "frontend")) == device.front:
            raise Refused(
                f"The device {device} has its backend in domain {match.group(1)}: {other}",
                "A device stays with its backend as long as it is there",
                f'Remove it there first (backend: "{match.group(1)}", state: absent), or name that backend',
            )

    def _refuse_in_use(self, device: Device, changes: t.Sequence[Change]) -> None:
        if _BUSY.intersection(filter(None, self._states(device).values())):
            differing = [path for change in changes for path in (*change.writes, *change.regrants)]
            raise Refused(
                f"The device {device} is in use ({self._describe(device)}), and would have to change: {', '.join(differing)}",
                "A device that drivers have in use is never disturbed",
                "Remove it first (state: absent), or leave it as it is",
            )

    def _change(self, store: XenStore, device: Device) -> None:
        # Drivers may have come since it was planned; those that come from now on spoil the transaction.
        wanted = device.nodes(None)
        self._refuse_in_use(device, compare(store, wanted))
        apply_inside(store, wanted)

    def _plan_removal(self, plan: Plan, device: Device, verb: str) -> None:
        before = "".join(f"{path} = {value}\n" for side in device.sides for path, value in self._store.tree(side).items())
        plan.add(f"{verb} {device}", lambda: self._remove(device), subject=str(device), before=before)

    def _plan_leftovers(self, plan: Plan, device: Device) -> None:
        """Backends whose frontend's domain is gone: nothing else ever removes them."""
        if device.backend_id is None:
            return
        home = f"/local/domain/{device.backend_id}/backend/{device.kind}"
        running = set(self._store.directory("/local/domain"))
        for domid in self._store.directory(home):
            path = join(home, domid)
            if domid.isdecimal() and domid not in running and path not in {action.subject for action in plan.actions}:
                before = "".join(f"{node} = {value}\n" for node, value in self._store.tree(path).items())
                plan.add(f"remove {path}, whose domain is gone", functools.partial(self._store.rm, path), subject=path, before=before)

    def _create(self, store: XenStore, devices: t.Sequence[Device]) -> None:
        for device in devices:
            for side in device.sides:
                if store.read_text(side) is not None:
                    raise DriverDomainsError(f"Somebody else created {side} meanwhile", remedy="Run the task again")
        apply_inside(store, [side for device in devices for side in device.nodes(_INITIALISING)])

    def _remove(self, device: Device) -> None:
        """Close the device as libxl does, then remove both sides and directories that are empty then."""
        self._removed = True
        states = self._store.transaction(lambda inside: self._start_closing(inside, device))
        front, back = states.get(device.front), states.get(device.back)
        # Only a frontend that has a driver closes itself, and only then does the backend: both follow each other's state.
        if self._are_linked(device) and (front in _BUSY or (front == _CLOSED and back in _BUSY)):
            awaited = [side for side in device.sides if side == device.front or back in _BUSY]
            try:
                self._store.wait_for(
                    [join(side, "state") for side in awaited],
                    lambda values: all(value in (None, _CLOSED) for value in values.values()),
                    self._timeout,
                )
            except TimedOut as exc:
                if "not_closed" not in self._force:
                    raise TimedOut(
                        f"The drivers of {device} did not close it within {self._timeout:g} s: {self._describe(device)}",
                        "A device is removed when both of its drivers have closed it",
                        "See the kernel logs of both domains, or remove it all the same: force: [not_closed]",
                        device=self._report([device])[0],
                    ) from exc
        self._store.transaction(lambda inside: self._remove_nodes(inside, device))

    def _start_closing(self, store: XenStore, device: Device) -> dict[str, str | None]:
        states = self._states(device)
        front, back = states.get(device.front), states.get(device.back)
        if back not in (None, _CLOSED) and (front in _BUSY or back in _BUSY):
            # Closed while it is offline, a backend lets go of the device for good.
            store.write_many({join(device.back, "online"): "0", join(device.back, "state"): _CLOSING})
        return states

    def _are_linked(self, device: Device) -> bool:
        links = {join(device.front, "backend"): device.back, join(device.back, "frontend"): device.front}
        return len(device.sides) == 2 and self._store.read_texts(links) == links

    def _remove_nodes(self, store: XenStore, device: Device) -> None:
        for side, last in ((device.front, "device"), (device.back, "backend")):
            if side not in device.sides:
                continue
            store.rm(side)
            above = side.rpartition("/")[0]
            while not above.endswith(f"/{last}") and store.read_text(above) is not None and not store.directory(above):
                store.rm(above)
                above = above.rpartition("/")[0]

    def _states(self, device: Device) -> dict[str, str | None]:
        values = self._store.read_texts(join(side, "state") for side in device.sides)
        return {side: values[join(side, "state")] for side in device.sides}

    def _conclude(self, devices: t.Sequence[Device]) -> dict[str, t.Any]:
        """Wait until the drivers have come to the wanted states.

        :raises DriverDomainsError: a driver gave up; its reason is in the error.
        :raises TimedOut: they did not.
        """
        waiting = [device for device in devices if device.present and device.wait_for != "none"]
        paths = [join(side, "state") for device in waiting for side in device.sides]

        def settled(values: t.Mapping[str, str | None]) -> bool:
            return all(_reached(device, values) for device in waiting) or bool(_ENDING.intersection(filter(None, values.values())))

        if waiting:
            try:
                values = self._store.wait_for(paths, settled, self._timeout)
            except TimedOut as exc:
                raise self._unconnected(waiting, exc.details["values"]) from exc
            if not all(_reached(device, values) for device in waiting):
                raise self._unconnected(waiting, values)
        return {"devices": self._report(devices)}

    def _unconnected(self, devices: t.Sequence[Device], values: t.Mapping[str, str | None]) -> DriverDomainsError:
        late = [device for device in devices if not _reached(device, values)]
        told = "; ".join(f"{device} is to be {device.wait_for}, but {self._describe(device)}" for device in late)
        gave_up = bool(_ENDING.intersection(filter(None, values.values())))
        what = "A driver gave up" if gave_up else f"Not all drivers came to the wanted state within {self._timeout:g} s"
        error = DriverDomainsError if gave_up else TimedOut
        return error(
            f"{what}: {told}",
            remedy="See the kernel logs of both domains: a side that is initialising has no driver, or one whose probe did not get far",
            devices=self._report(late),
        )

    def _describe(self, device: Device) -> str:
        """Tell the states of both sides, and the errors that Linux's drivers report."""
        states = self._states(device)
        told = ", ".join(
            f"{name} in {domain} is {_names([states.get(side) or ''])}"
            for name, domain, side in (("the frontend", device.frontend, device.front), ("the backend", device.backend, device.back))
        )
        # xenbus_va_dev_error of Linux writes below the home of the domain.
        homes = [re.sub(r"^(/local/domain/[0-9]+)/(.*)$", r"\1/error/\2/error", side) for side in device.sides]
        errors = [text for text in self._store.read_texts(homes).values() if text]
        return told + (f" ({'; '.join(errors)})" if errors else "")

    def _report(self, devices: t.Sequence[Device]) -> list[dict[str, t.Any]]:
        values = self._store.read_texts(join(side, "state") for device in devices for side in device.sides)

        def state(device: Device, side: str) -> str:
            return _names([values.get(join(side, "state")) or ""]) if side in device.sides else "missing"

        return [
            {
                "type": device.kind,
                "devid": device.devid,
                "frontend_id": device.frontend_id,
                "backend_id": device.backend_id,
                "frontend_path": device.front if device.front in device.sides else None,
                "backend_path": device.back if device.back in device.sides else None,
                "frontend_state": state(device, device.front),
                "backend_state": state(device, device.back),
            }
            for device in devices
        ]


def devices_from(store: XenStore, parameters: t.Sequence[dict[str, t.Any]]) -> list[Device]:
    """Return the devices of the module's option `devices`, with the numbers of their domains."""
    domids = store.domids_of({item[end] for item in parameters for end in ("frontend", "backend")})
    return [
        Device(
            kind=item["type"],
            devid=item["devid"],
            frontend=item["frontend"],
            backend=item["backend"],
            frontend_id=domids[item["frontend"]],
            backend_id=domids[item["backend"]],
            frontend_keys=_keys(item["frontend_keys"]),
            backend_keys=_keys(item["backend_keys"]),
            wait_for=item["wait_for"],
            present=item["state"] == "present",
        )
        for item in parameters
    ]


def _keys(keys: t.Mapping[str, t.Any] | None) -> dict[str, str]:
    for key, value in (keys or {}).items():
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise InvalidInput(f"The value of the key {key} is {value!r}", "A value is text or a whole number", "Put it in quotes")
    return {str(key): str(value) for key, value in (keys or {}).items()}


_NAME_OF = {str(number): name for number, name in enumerate(STATES)}


def _reached(device: Device, values: t.Mapping[str, str | None]) -> bool:
    wanted = STATES.index(device.wait_for)
    states = [values[join(side, "state")] or "" for side in device.sides]
    return all(state in _NAME_OF and state not in _ENDING and int(state) >= wanted for state in states)


def _names(states: t.Iterable[str]) -> str:
    return " and ".join(_NAME_OF.get(state, f"{state!r}" if state else "missing") for state in states)
