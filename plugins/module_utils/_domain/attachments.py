# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Attach and detach devices of running domains: plan what makes them as wanted. The same for vifs and disks; `Rules` has what differs."""

from __future__ import annotations

import itertools
import re
import typing as t
from dataclasses import dataclass
from functools import partial

from .._errors import DriverDomainsError
from .._plan import Plan
from .aside import UNWANTED, WaitingDevice, give_up_waiting, words_in
from .attacher import Attacher
from .device_text import device_text
from .devices import VBD, VIF, PvDevice, kept_device, read_devices
from .disk import vdev_number
from .userdata import USERDATA, kept_configuration, read_uuids

if t.TYPE_CHECKING:
    from .._host_chains import Use
    from .._xenstore.client import XenStore

#: The guard of a disk that works, and that a guest may be writing to.
CONNECTED_DISK = "connected_disk"


@dataclass(frozen=True)
class WantedDevice:
    """One device of a domain; `settings` are those of xl-network-configuration(5) or xl-disk-configuration(5)."""

    domain: str
    #: What it is found by: the MAC address of a vif, the name of a disk in the guest.
    identity: str
    present: bool
    settings: t.Mapping[str, t.Any]

    @property
    def backend(self) -> str:
        """Name of the domain that serves it."""
        return str(self.settings.get("backend") or "Domain-0")


@dataclass(frozen=True)
class Rules:
    """What differs between kinds of devices."""

    kind: str
    #: Its name in messages.
    noun: str
    is_wanted: t.Callable[[WantedDevice, PvDevice], bool]
    #: The settings with which a device was made, from what libxl wrote and keeps.
    made: t.Callable[[PvDevice, t.Mapping[str, t.Any] | None], t.Mapping[str, t.Any]]
    #: In words, how the wanted settings differ from those.
    differences: t.Callable[[t.Mapping[str, t.Any], t.Mapping[str, t.Any]], list[str]]
    #: What it is called by, of `WantedDevice.identity`.
    identity: t.Callable[[PvDevice], str]


def devices_in_path(path: str) -> list[str]:
    """Return the vif or vbd of this domain that a resolved path of sysfs leads through, if any (frontend_bus_id in
    xenbus_probe_frontend.c)."""
    return re.findall(r"/((?:vif|vbd)-[0-9]+)(?=/|$)", path)


class DevicePlanner:
    """Compares devices with what the toolstack made, and plans the calls of xl that they need.

    xl changes no setting of a device that exists: what differs is detached and attached again.

    :param timeout: seconds to wait for each device.
    :param host_uses: what dom0 stands on, with its own devices as `devices_in_path` names them; asked only before one is detached.
    :param userdata: the directory of libxl's own files.
    :param waiting: the devices that the recovery service would attach again.
    """

    def __init__(
        self,
        rules: Rules,
        store: XenStore,
        attacher: Attacher,
        host_uses: t.Callable[[], t.Sequence[Use]],
        userdata: str = USERDATA,
        waiting: t.Iterable[WaitingDevice] = (),
    ) -> None:
        self._rules = rules
        self._waiting = [device for device in waiting if device.kind == rules.kind]
        self._store = store
        self._attacher = attacher
        self._host_uses = host_uses
        self._userdata = userdata
        #: The UUIDs of the domains, by domid.
        self._uuids: dict[int, str] = {}

    def plan(self, wanted: t.Sequence[WantedDevice], prune: bool = False) -> Plan:
        """Return the plan that attaches, replaces and detaches devices.

        Everything is detached first, so that the guests' kernels need to be waited for only once.

        :param prune: detach all other devices of this kind of the same domains.
        """
        plan = Plan()
        running = self._store.domains()
        domids = {name: domid for domid, name in reversed(list(running.items()))}
        named = {device.domain for device in wanted if device.domain in domids}
        existing = read_devices(self._store, [domids[name] for name in sorted(named)], [self._rules.kind])
        self._uuids = read_uuids(self._store, existing)
        attach: list[tuple[WantedDevice, PvDevice | None]] = []
        #: The numbers of the devices that stay, or are replaced by one with the same number.
        taken = {name: {device.devid for device in existing[domids[name]]} for name in named}
        #: The domains that serve what is detached only to be attached again; known when all is planned.
        backends: list[str] = []
        for device in wanted:
            found = existing.get(domids[device.domain], ()) if device.domain in domids else ()
            current = next((other for other in found if self._rules.is_wanted(device, other)), None)
            if not device.present:
                if current:
                    self._detach(plan, device.domain, current)
                    taken[device.domain].discard(current.devid)
            elif not self._refuse_missing(plan, device, domids):
                useless = self._attacher.stuck(current, running) if current else ""
                reason = self._moved(device, current, domids) or useless or self._differs(plan, device, current) if current else ""
                if current and reason:
                    self._detach(plan, device.domain, current, reason, bool(useless), backends=backends)
                if not current or reason:
                    attach.append((device, current))
        # One that gets a device itself may not be ready before.
        backends += sorted({device.backend for device, _current in attach} - {device.domain for device, _current in attach})
        for name in sorted(named) if prune else ():
            for other in existing[domids[name]]:
                if not any(device.domain == name and self._rules.is_wanted(device, other) for device in wanted):
                    self._detach(plan, name, other, "it is not in the list", replaced=False)
                    taken[name].discard(other.devid)
        self._forget(plan, wanted, named if prune else ())
        for device, current in attach:
            self._attach(plan, device, current.devid if current else self._free_number(device, taken[device.domain]))
        plan.conclude = lambda: self._conclude(wanted)
        return plan

    def _forget(self, plan: Plan, wanted: t.Sequence[WantedDevice], pruned: t.Collection[str]) -> None:
        """Append what keeps the recovery service from attaching what is not wanted."""

        def own(device: WantedDevice | WaitingDevice) -> tuple[str, str]:
            # Several names stand for the same disk.
            return device.domain, vdev_number(device.identity) if self._rules.kind == VBD else device.identity

        present = {own(device) for device in wanted if device.present}
        absent = {own(device) for device in wanted if not device.present}
        unwanted = [device for device in self._waiting if own(device) in absent or (device.domain in pruned and own(device) not in present)]
        # A service that does not run has not followed an order of an earlier run yet.
        given_up = words_in(self._store, UNWANTED) if unwanted else set()
        for device in (device for device in unwanted if str(device) not in given_up):
            plan.add(
                f"forget the {self._rules.noun} {device.identity} of {device.domain}, which waits for its backend",
                partial(give_up_waiting, self._store, [device]),
                subject=f"{self._rules.noun} of {device.domain}",
                before=f"{device.identity} (detached)",
            )

    def _free_number(self, wanted: WantedDevice, taken: set[int]) -> int:
        """Return the number for a device that is not there, and add it to `taken`.

        It is the one that the recovery service has detached it with: the service knows by its number that it is there again. Without that,
        it is the lowest one that is free, so that what was detached by hand most often comes back as what it was. libxl would take one more
        than the highest (libxl__device_nextid in libxl_device.c).
        """
        waiting = {device.identity: device.devid for device in self._waiting if device.domain == wanted.domain}
        number = waiting.get(wanted.identity)
        if number is None or number in taken:
            number = next(number for number in itertools.count() if number not in taken and number not in waiting.values())
        taken.add(number)
        return number

    def _refuse_missing(self, plan: Plan, device: WantedDevice, domids: t.Collection[str]) -> bool:
        missing = False
        for role, name in (("should have it", device.domain), ("should serve it", device.backend)):
            if name not in domids:
                missing = True
                plan.refuse(
                    "",
                    self._subject(device.identity, device.domain),
                    f"the domain {name!r}, which {role}, does not run",
                    # An earlier task may start it, or name it.
                    passing=True,
                    rule=f"a {self._rules.noun} is attached between running domains, which are: {', '.join(sorted(domids))}",
                    remedy="Start it first. A dom0less domain has a name only after init-dom0less",
                )
        return missing

    def _subject(self, identity: str, domain: str) -> str:
        return f"{self._rules.noun.capitalize()} {identity} of {domain}"

    @staticmethod
    def _moved(wanted: WantedDevice, current: PvDevice, domids: t.Mapping[str, int]) -> str:
        backend_id = domids[wanted.backend]
        return "" if current.backend_id == backend_id else f"its backend is domain {current.backend_id}, not {backend_id}"

    def _differs(self, plan: Plan, wanted: WantedDevice, current: PvDevice) -> str:
        """Return how an existing device differs from the wanted settings, or ""."""
        bridge = wanted.settings.get("bridge")
        if bridge and current.bridge != bridge:
            return f"its bridge is {current.bridge or 'none'}, not {bridge}"
        made = self._made(current)
        unknown = [key for key in wanted.settings if key in ("trusted", "model", "gatewaydev", "vlan") and key not in made]
        if unknown:
            plan.warnings.append(
                f"Whether the {self._rules.noun} {wanted.identity} of {wanted.domain} has the wanted {' and '.join(unknown)} is not known: "
                f"libxl keeps no configuration of it in {self._userdata}. It is left as it is"
            )
        return ", ".join(self._rules.differences(wanted.settings, made))

    def _made(self, device: PvDevice) -> t.Mapping[str, t.Any]:
        if device.domid not in self._uuids:
            # It has been started since.
            self._uuids |= read_uuids(self._store, [device.domid])
        kept = kept_configuration(self._userdata, device.domid, self._uuids[device.domid])
        return self._rules.made(device, kept_device(kept, device))

    def _attach(self, plan: Plan, wanted: WantedDevice, devid: int) -> None:
        # Guests know interfaces by their numbers. That of a disk follows from its name.
        number = {"devid": devid} if self._rules.kind == VIF else {}
        text = device_text(self._rules.kind, {**wanted.settings, **number})
        plan.add(
            f"attach {self._rules.noun} {wanted.identity} of {wanted.domain} to {wanted.backend}",
            lambda: self._attacher.attach(wanted.domain, self._rules.kind, text),
            subject=f"{self._rules.noun} of {wanted.domain}",
            after=text,
        )

    def _detach(
        self,
        plan: Plan,
        domain: str,
        current: PvDevice,
        why: str = "",
        useless: bool = False,
        replaced: bool = True,
        backends: t.Sequence[str] = (),
    ) -> None:
        identity = self._rules.identity(current)
        if current.domid == 0:
            self._guard_own(plan, identity, current)
        if why and replaced and current.kind == VBD and current.connected and not useless:
            plan.refuse(
                CONNECTED_DISK,
                self._subject(identity, domain),
                f"it would be replaced, as {why}, and is connected: the guest may be writing to it",
                rule="a disk is detached only when its guest does not use it, which dom0 cannot know",
                remedy=f"Unmount it in {domain} first",
            )
        own = {"mac": identity, "bridge": current.bridge} if current.kind != VBD else {"vdev": identity}
        before = {**own, "backend": current.backend or str(current.backend_id), **self._made(current)}
        plan.add(
            f"detach {self._rules.noun} {identity} of {domain} from {current.backend or current.backend_id}{f' ({why})' if why else ''}",
            partial(self._detach_when_served, domain, current, useless, backends),
            subject=f"{self._rules.noun} of {domain}",
            before=",".join(f"{key}={value}" for key, value in before.items() if value not in ("", None)),
        )

    def _detach_when_served(self, domain: str, current: PvDevice, useless: bool, backends: t.Sequence[str]) -> None:
        """Detach a device once all of `backends` serve: the guest could get no other one before."""
        for backend in backends:
            self._attacher.wait_serving(backend)
        self._attacher.detach(domain, current, useless)

    def _guard_own(self, plan: Plan, identity: str, current: PvDevice) -> None:
        """Refuse to detach a device of dom0 that it is reached through, or that it cannot live without."""
        for use in self._host_uses():
            if f"{current.kind}-{current.devid}" in use.devices:
                plan.refuse(
                    use.guard,
                    self._subject(identity, "Domain-0"),
                    use.reason,
                    rule=f"a change of a {self._rules.noun} detaches it first, and whether it comes back is not certain",
                    remedy="Reach dom0 another way first, or change it at the host's console",
                )

    def _conclude(self, wanted: t.Sequence[WantedDevice]) -> dict[str, t.Any]:
        """Wait until all are connected, and return their states."""
        rules, results = self._rules, []
        for device in wanted:
            domid, found = self._store.domid_of(device.domain), None
            if device.present and domid is not None:

                def is_it(other: PvDevice, device: WantedDevice = device) -> bool:
                    return rules.is_wanted(device, other)

                found = self._attacher.wait_connected(device.domain, domid, rules.kind, is_it, f"{rules.noun} {device.identity}")
            if found:
                self._check_made(device, found)
            own = {"mac" if rules.kind != VBD else "vdev": device.identity}
            results.append({"domain": device.domain, **own, "present": found is not None, **(found.as_dict() if found else {})})
        return {f"{rules.kind}s": results}

    def _check_made(self, wanted: WantedDevice, found: PvDevice) -> None:
        """Check that the toolstack made a device as requested: another run would replace it once more."""
        different = self._rules.differences(wanted.settings, self._made(found))
        if different:
            raise DriverDomainsError(
                f"The {self._rules.noun} {wanted.identity} of {wanted.domain} is attached, but {', '.join(different)}",
                rule="this version of Xen does not know the setting, or changes it",
                remedy="Leave the setting out, or give it as 'xl' understands it",
                **{found.kind: found.as_dict()},
            )
