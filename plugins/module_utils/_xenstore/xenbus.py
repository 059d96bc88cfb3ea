# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Split devices between two domains: their nodes in XenStore are created at once, closed in order, and never disturbed while in use.

Sources: libxl__device_generic_add and libxl__initiate_device_generic_remove in tools/libs/light/libxl_device.c of Xen for nodes,
permissions and the order of closing; drivers/xen/xenbus/xenbus_probe.c and xenbus_client.c of Linux for how the drivers react.
"""

from __future__ import annotations

import functools
import re
import time
import typing as t

from .._errors import DriverDomainsError, InvalidInput, TimedOut
from .._plan import Action, Plan
from .._printable import printable_line
from .client import REMOVAL_DELAY, XenStore
from .nodes import Change, apply_inside, compare
from .paths import join
from .wire import check_seconds
from .xenbus_device import OWN_KEYS, STATES, XenbusDevice

_INITIALISING, _CONNECTED, _CLOSING, _CLOSED = "1", "4", "5", "6"
#: States in which a driver has a device in use.
_BUSY = frozenset("234578")
_ENDING = frozenset((_CLOSING, _CLOSED))
_TYPE = re.compile(r"[A-Za-z0-9_-]+")
_USE_RULE = "a device is not disturbed while drivers use it"
_USE_REMEDY = "Remove it first (state: absent), or leave it as it is"


class XenbusPlanner:
    """Compares devices with what XenStore has, and plans the changes.

    :param timeout: seconds that drivers may take to connect, or to close.
    """

    def __init__(self, store: XenStore, timeout: float) -> None:
        self._store = store
        self._timeout = timeout
        self._removed = False

    def plan(self, devices: t.Sequence[XenbusDevice]) -> Plan:
        """Return the plan that creates, changes and removes devices until they are as requested.

        :raises InvalidInput: a device cannot be created.
        """
        self._check(devices)
        plan = Plan()
        new = [device for device in devices if self._plan_device(plan, device)]
        for device in devices:
            self._plan_leftovers(plan, device)

        def create() -> None:
            if self._removed:
                time.sleep(REMOVAL_DELAY)
            self._store.transaction(lambda inside: self._create(inside, new))

        plan.add_together(create, [Action(f"create {device}", create, str(device), after=_lines(device)) for device in new])
        plan.results["devices"] = self._report(devices)
        plan.conclude = lambda: self._conclude(devices)
        return plan

    def _check(self, devices: t.Sequence[XenbusDevice]) -> None:
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
                for own in sorted(OWN_KEYS.intersection(keys)):
                    raise InvalidInput(f"The key {own!r} of {device} cannot be set", "The drivers and this module use it")
            for name, domid in ((device.frontend, device.frontend_id), (device.backend, device.backend_id)):
                if device.present and (domid is None or str(domid) not in running):
                    raise InvalidInput(
                        f"There is no running domain {name!r} for {device}", "Both ends of a device must run", "Start it first"
                    )
            if device.present:
                for side in device.nodes(_INITIALISING):
                    side.check(self._store)

    def _plan_device(self, plan: Plan, device: XenbusDevice) -> bool:
        """Plan removals and changes; return whether the device has to be created."""
        existing = [side for side in device.sides if self._store.read_text(side) is not None]
        if self._refuse_toolstack(plan, device) or self._refuse_elsewhere(plan, device):
            return False
        if not device.present:
            if existing:
                self._plan_removal(plan, device, "remove")
            return False
        if not existing:
            return True
        changes = compare(self._store, device.nodes(None))
        link = {*device.sides, *(join(side, key) for side in device.sides for key in OWN_KEYS)}
        broken = any(path in link for change in changes for path in change.writes)
        if broken or _ENDING.intersection(filter(None, self._states(device).values())):
            self._plan_removal(plan, device, "replace")
            return True
        if any(changes):
            use = self._use(device, changes)
            if use:
                # A task that removes the device may precede this one.
                plan.refuse("", str(device), use, passing=True, rule=_USE_RULE, remedy=_USE_REMEDY)
                return False
            before, after = zip(*(change.diff(self._store) for change in changes if change))
            plan.add(
                f"change {device}",
                lambda: self._store.transaction(lambda inside: self._change(plan, inside, device)),
                subject=str(device),
                before="".join(before),
                after="".join(after),
            )
        return False

    def _refuse_toolstack(self, plan: Plan, device: XenbusDevice) -> bool:
        """Refuse a device that libxl made: it would go on believing that the device is there (libxl__domain_device_libxl_path)."""
        own = f"/libxl/{device.frontend_id}/device/{device.kind}/{device.devid}"
        if device.frontend_id is None or self._store.read_text(own) is None:
            return False
        plan.refuse(
            "",
            str(device),
            f"it belongs to the toolstack: {own}",
            passing=True,
            rule="what the toolstack made is changed and removed by the toolstack",
            remedy="Use xl_vif for network interfaces, or xl_domain for the devices in its definition",
        )
        return True

    def _refuse_elsewhere(self, plan: Plan, device: XenbusDevice) -> bool:
        """Refuse a frontend whose backend is not the named one: a change would leave that backend without its other half."""
        if device.front not in device.sides:
            return False
        other = self._store.read_text(join(device.front, "backend")) or ""
        # The guest can write anything there.
        match = re.fullmatch(rf"/local/domain/([0-9]{{1,5}})/backend/{device.kind}/{device.frontend_id}/{device.devid}", other)
        if not match or other == device.back or self._store.read_text(join(other, "frontend")) != device.front:
            return False
        plan.refuse(
            "",
            str(device),
            f"it has its backend in domain {match.group(1)}: {other}",
            passing=True,
            rule="a device stays with its backend as long as it exists",
            remedy=f'Remove it there first (backend: "{match.group(1)}", state: absent), or name that backend',
        )
        return True

    def _use(self, device: XenbusDevice, changes: t.Sequence[Change]) -> str:
        """Return how drivers use a device that would have to change, or ""."""
        if not _BUSY.intersection(filter(None, self._states(device).values())):
            return ""
        differing = [path for change in changes for path in (*change.writes, *change.regrants)]
        return f"it is in use ({self._describe(device)}), and would have to change: {', '.join(differing)}"

    def _change(self, plan: Plan, store: XenStore, device: XenbusDevice) -> None:
        # Drivers may have come since it was planned; those that come from now on make the transaction fail.
        wanted = device.nodes(None)
        use = self._use(device, compare(store, wanted))
        if use:
            plan.refuse_now("", str(device), use, _USE_RULE, _USE_REMEDY)
        apply_inside(store, wanted)

    def _plan_removal(self, plan: Plan, device: XenbusDevice, verb: str) -> None:
        before = "".join(f"{path} = {value}\n" for side in device.sides for path, value in self._store.tree(side).items())
        plan.add(f"{verb} {device}", lambda: self._remove(plan, device), subject=str(device), before=before)

    def _plan_leftovers(self, plan: Plan, device: XenbusDevice) -> None:
        """Remove backends whose frontend's domain is gone: nothing else does."""
        if device.backend_id is None:
            return
        home = f"/local/domain/{device.backend_id}/backend/{device.kind}"
        running = set(self._store.directory("/local/domain"))
        for domid in self._store.directory(home):
            path = join(home, domid)
            if domid.isdecimal() and domid not in running and path not in {action.subject for action in plan.actions}:
                before = "".join(f"{node} = {value}\n" for node, value in self._store.tree(path).items())
                plan.add(f"remove {path}, whose domain is gone", functools.partial(self._store.rm, path), subject=path, before=before)

    def _create(self, store: XenStore, devices: t.Sequence[XenbusDevice]) -> None:
        for device in devices:
            for side in device.sides:
                if store.read_text(side) is not None:
                    raise DriverDomainsError(f"Something else created {side} meanwhile", remedy="Run the task again")
        apply_inside(store, [side for device in devices for side in device.nodes(_INITIALISING)])

    def _remove(self, plan: Plan, device: XenbusDevice) -> None:
        """Close the device as libxl does, then remove both sides and the directories that this leaves empty.

        :raises Refused: its drivers do not close it, and `force` does not name `not_closed`.
        """
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
            except TimedOut:
                plan.refuse_now(
                    "not_closed",
                    str(device),
                    f"its drivers did not close it within {self._timeout:g} s: {self._describe(device)}",
                    "a device is removed when both of its drivers have closed it",
                    "See the kernel logs of both domains",
                    device=self._report([device])[0],
                )
        self._store.transaction(lambda inside: self._remove_nodes(inside, device))

    def _start_closing(self, store: XenStore, device: XenbusDevice) -> dict[str, str | None]:
        states = self._states(device)
        front, back = states.get(device.front), states.get(device.back)
        if back not in (None, _CLOSED) and (front in _BUSY or back in _BUSY):
            # Closed while it is offline, a backend releases the device permanently.
            store.write_many({join(device.back, "online"): "0", join(device.back, "state"): _CLOSING})
        return states

    def _are_linked(self, device: XenbusDevice) -> bool:
        links = {join(device.front, "backend"): device.back, join(device.back, "frontend"): device.front}
        return len(device.sides) == 2 and self._store.read_texts(links) == links

    def _remove_nodes(self, store: XenStore, device: XenbusDevice) -> None:
        for side, last in ((device.front, "device"), (device.back, "backend")):
            if side not in device.sides:
                continue
            store.rm(side)
            above = side.rpartition("/")[0]
            while not above.endswith(f"/{last}") and store.read_text(above) is not None and not store.directory(above):
                store.rm(above)
                above = above.rpartition("/")[0]

    def _states(self, device: XenbusDevice) -> dict[str, str | None]:
        values = self._store.read_texts(join(side, "state") for side in device.sides)
        return {side: values[join(side, "state")] for side in device.sides}

    def _conclude(self, devices: t.Sequence[XenbusDevice]) -> dict[str, t.Any]:
        """Wait until the drivers have reached the requested states.

        :raises DriverDomainsError: a driver gave up; the error holds its reason.
        :raises TimedOut: they did not reach them in time.
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

    def _unconnected(self, devices: t.Sequence[XenbusDevice], values: t.Mapping[str, str | None]) -> DriverDomainsError:
        late = [device for device in devices if not _reached(device, values)]
        states = "; ".join(f"{device} should be {device.wait_for}, but {self._describe(device)}" for device in late)
        gave_up = bool(_ENDING.intersection(filter(None, values.values())))
        what = "A driver gave up" if gave_up else f"Not all drivers reached the requested state within {self._timeout:g} s"
        error = DriverDomainsError if gave_up else TimedOut
        return error(
            f"{what}: {states}",
            remedy="See the kernel logs of both domains: a side that is initialising has no driver, or its probe failed early",
            devices=self._report(late),
        )

    def _describe(self, device: XenbusDevice) -> str:
        """Return the states of both sides and the errors that Linux's drivers report, in words."""
        states = self._states(device)
        described = ", ".join(
            f"{name} in {domain} is {_names([states.get(side) or ''])}"
            for name, domain, side in (("the frontend", device.frontend, device.front), ("the backend", device.backend, device.back))
        )
        # xenbus_va_dev_error of Linux writes below the home of the domain.
        homes = [re.sub(r"^(/local/domain/[0-9]+)/(.*)$", r"\1/error/\2/error", side) for side in device.sides]
        errors = [printable_line(text) for text in self._store.read_texts(homes).values() if text]
        return described + (f" ({'; '.join(errors)})" if errors else "")

    def _report(self, devices: t.Sequence[XenbusDevice]) -> list[dict[str, t.Any]]:
        values = self._store.read_texts(join(side, "state") for device in devices for side in device.sides)

        def state(device: XenbusDevice, side: str) -> str:
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


def _lines(device: XenbusDevice) -> str:
    return "".join(line for side in device.nodes(_INITIALISING) for line in side.lines())


_NAME_OF = {str(number): name for number, name in enumerate(STATES)}


def _reached(device: XenbusDevice, values: t.Mapping[str, str | None]) -> bool:
    wanted = STATES.index(device.wait_for)
    states = [values[join(side, "state")] or "" for side in device.sides]
    return all(state in _NAME_OF and state not in _ENDING and int(state) >= wanted for state in states)


def _names(states: t.Iterable[str]) -> str:
    return " and ".join(_NAME_OF.get(state, f"{state!r}" if state else "missing") for state in states)
