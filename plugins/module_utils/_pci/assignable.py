# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.
"""Which PCI devices of this host are assignable to guests, and how to get from there to what the user requests."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace
from functools import partial

from .._errors import DriverDomainsError, InvalidInput, NotOnThisHost
from .._host_interfaces import put_back
from .._plan import Plan
from .._runner import Runner
from .._xen.xl import Xl, has_interrupt_remapping, has_iommu
from .confirm_timer import ConfirmTimer
from .device import PCIBACK, PCIBACK_MODULE, PciDevice
from .guards import Guards
from .host import PciHost, with_kernel_modules
from .match import PciRequest, choose
from .steps import DeviceSteps
from .uplinks import is_replaced, plan_keeping, refuse_forgotten

_NO_XEN_YET = "This host does not run under Xen yet. Whether it has an IOMMU, which passing devices through needs, is known once it does"
_INTERRUPTS_NOT_KNOWN = (
    "Whether Xen remaps interrupts is not known: 'xl dmesg' has no line of its boot that says so any more. Without it, a domain that has "
    "a device can send any interrupt to Xen and to other domains. Look for 'Interrupt remapping' there right after the next boot"
)
_PROTECTS_NOTHING = (
    "confirm_timeout protects nothing here: this run did not come over SSH, so the confirmation does not show that the host can be reached"
)
_ANY_DRIVER = "(whichever the kernel chooses)"


class AssignablePool:
    """Plans the changes to the devices that this host makes assignable.

    :param under_xen: whether this is the control domain of a running Xen; otherwise only plans can be made.
    :param names: whether xl can name devices (since Xen 4.15).
    :param patience: factor for all timeouts (tests).
    :param uplinks: the names of devices that dom0 is reached by, and that `_uplink` hands over.
    :param root: directory that stands for / (tests).
    """

    def __init__(
        self,
        host: PciHost,
        xl: Xl,
        runner: Runner,
        guards: t.Callable[[list[PciDevice]], Guards],
        timer: ConfirmTimer,
        *,
        under_xen: bool = True,
        names: bool = True,
        patience: float = 1.0,
        uplinks: t.Collection[str] = (),
        root: str = "",
    ) -> None:
        self._host = host
        self._xl = xl
        self._runner = runner
        self._make_guards = guards
        self._timer = timer
        self._under_xen = under_xen
        self._names = names
        self._uplinks = uplinks
        self._root = root
        again = partial(put_back, runner, host.sysfs)
        self._steps = DeviceSteps(host, xl, runner, names=names, patience=patience, put_back=again)

    def plan(self, state: str, requests: t.Sequence[PciRequest], confirm_timeout: int = 0) -> Plan:
        """Plan for one of the states `present`, `recorded`, `confirmed` and `absent`.

        :param confirm_timeout: seconds within which a new connection has to confirm what `present` takes; 0 takes it permanently.
        :raises InvalidInput: a request matches no device or several, or its name is taken.
        :raises NotOnThisHost: a device is to be taken but the machine has no IOMMU.
        """
        devices = self._host.devices()
        plan = Plan()
        if state == "absent":
            requests = _still_there(plan, requests, devices)
        chosen = choose(requests, devices)
        complete = with_kernel_modules([device for _name, device in chosen], self._runner)
        wanted = [(name, device) for (name, _device), device in zip(chosen, complete)]
        if state == "present":
            results = self._plan_present(plan, wanted, devices, confirm_timeout)
        elif state == "recorded":
            results = self._plan_recorded(plan, wanted, devices)
        elif state == "confirmed":
            results = self._plan_confirmed(plan, wanted)
        else:
            results = self._plan_absent(plan, wanted)
        plan.results["devices"] = results
        if plan.actions:
            plan.conclude = lambda: {"devices": self._read_again(wanted)}
        return plan

    # -- the states -----------------------------------------------------------------------------------------------------

    def _plan_present(
        self, plan: Plan, wanted: list[tuple[str, PciDevice]], devices: list[PciDevice], confirm_timeout: int
    ) -> list[dict[str, t.Any]]:
        self._check_names(plan, wanted, devices)
        to_take = [device for _name, device in wanted if not device.pciback]
        if to_take:
            self._prepare_host(plan)
        timed = self._plan_timer(plan, wanted, to_take, confirm_timeout)
        plan_keeping(plan, [device for _name, device in wanted], self._root)
        guards = self._make_guards(devices)
        results = []
        for name, device in wanted:
            self._forget_stale_owner(plan, device)
            if not device.pciback:
                plan.refusals += guards.check(device, f"{name} ({device.bdf})", to_take)
                self._plan_taking(plan, name, device, timed)
            elif device.owner_domid is not None:
                # xl forgets names when the host reboots. Definitions hold addresses, so one that is recorded is not missed.
                forgotten = not device.xl_name and device.record is not None and device.record.name == name
                if self._names and device.xl_name != name and not forgotten:
                    plan.warnings.append(
                        f"xl does not know {device.bdf} as {name!r}, and it cannot be named while domain {device.owner_domid} has it"
                    )
                results.append(device.as_dict(name))
                continue
            else:
                self._plan_name(plan, name, device, timed)
            taken = replace(device, driver=PCIBACK, interfaces=(), xl_name=name, record=device.as_record(name))
            results.append(taken.as_dict(name))
        return results

    def _plan_recorded(self, plan: Plan, wanted: list[tuple[str, PciDevice]], devices: list[PciDevice]) -> list[dict[str, t.Any]]:
        """Record devices that are not taken yet; whatever blocks taking them blocks recording them as well."""
        refuse_forgotten(plan, self._uplinks, devices, self._root)
        left = [(name, device) for name, device in wanted if name in self._uplinks and not device.pciback]
        present = Plan()
        self._plan_present(present, [other for other in wanted if other not in left], devices, 0)
        plan.refusals += present.refusals
        if left:
            self._plan_left(plan, left, devices)
        plan.results["pending"] = [action.description for action in present.actions]
        for name, device in wanted:
            record = device.as_record(name)
            if not device.pciback and device.record != record:
                plan.add(
                    f"record {device.bdf} as {name}",
                    partial(self._host.records.save, record),
                    subject=self._host.records.path(record.bdf),
                    before=device.record.text if device.record else "",
                    after=record.text,
                )
        return [device.as_dict(name) for name, device in wanted]

    def _plan_left(self, plan: Plan, left: list[tuple[str, PciDevice]], devices: list[PciDevice]) -> None:
        """Refuse what would keep a card from its driver domain, but for what the vif replaces."""
        check = Plan()
        self._prepare_host(check)
        guards = self._make_guards(devices)
        found = [refusal for name, device in left for refusal in guards.check(device, f"{name} ({device.bdf})", [device])]
        plan.refusals += [refusal for refusal in check.refusals + found if not is_replaced(refusal.guard, refusal.reason)]

    def _plan_confirmed(self, plan: Plan, wanted: list[tuple[str, PciDevice]]) -> list[dict[str, t.Any]]:
        lost = [f"{name} ({device.bdf})" for name, device in wanted if not device.pciback]
        if lost:
            raise DriverDomainsError(
                f"{PCIBACK} does not hold {', '.join(lost)}, so there is nothing to confirm",
                rule="devices that are not confirmed in time are returned to their drivers",
                remedy="If the host cannot be reached without them, leave them with dom0; otherwise allow more time with confirm_timeout",
            )
        waiting = self._waiting(wanted)
        if waiting:
            if self._timer.same_session(waiting):
                plan.refuse(
                    "",
                    ", ".join(waiting),
                    "the confirmation came over the connection that the devices were taken over",
                    rule="only a new connection shows that the host can still be reached",
                    remedy="Put 'meta: reset_connection' before the task with state: confirmed",
                )
            plan.add(f"confirm {', '.join(waiting)}", partial(self._timer.confirm, waiting))
        return [device.as_dict(name) for name, device in wanted]

    def _plan_absent(self, plan: Plan, wanted: list[tuple[str, PciDevice]]) -> list[dict[str, t.Any]]:
        results = []
        for name, device in wanted:
            driver = device.record.driver if device.record else ""
            back = _state(driver or _ANY_DRIVER, "")
            # Taking or returning it was interrupted: it has no driver, or something would make pciback take it again.
            claimed = device.in_pciback_slots or device.driver_override == PCIBACK
            if device.owner_domid is not None:
                plan.refuse("in_use", f"{name} ({device.bdf})", f"is in use by the running domain {device.owner_domid}", passing=True)
            if device.pciback:
                plan.add(
                    f"return {device.bdf} to its driver",
                    partial(self._steps.give_back, device),
                    subject=str(device.bdf),
                    before=_state(PCIBACK, device.xl_name),
                    after=back,
                )
                results.append(replace(device, driver=driver, xl_name="", owner_domid=None, owner="").as_dict(name))
                continue
            quarantined = self._host.in_quarantine(device)
            if quarantined or (not device.driver and (device.record or claimed)):
                # Somebody unbound it from pciback while Xen still has it in quarantine, or it has no driver.
                plan.add(
                    f"bind {device.bdf} to its driver again",
                    partial(self._steps.give_back if quarantined else self._steps.finish_giving_back, device),
                    subject=str(device.bdf),
                    before=_state(device.driver, device.xl_name),
                    after=back,
                )
            elif device.record or device.xl_name or claimed:
                plan.add(
                    f"forget {device.bdf}",
                    partial(self._steps.forget, device),
                    subject=self._host.records.path(str(device.bdf)),
                    before=device.record.text if device.record else _state(device.driver, device.xl_name),
                )
            results.append(device.as_dict(name))
        return results

    # -- parts of the state present -------------------------------------------------------------------------------------

    def _check_names(self, plan: Plan, wanted: list[tuple[str, PciDevice]], devices: list[PciDevice]) -> None:
        """xl takes the first device that has a name, assignable or not (libxl_pci.c, name2bdf): no other one may keep it."""
        bdfs = {name: device.bdf for name, device in wanted}
        renamed = set(bdfs.values())
        for other in devices:
            if other.xl_name not in bdfs or bdfs[other.xl_name] == other.bdf:
                continue
            if other.owner_domid is not None:
                raise InvalidInput(
                    f"{bdfs[other.xl_name]} cannot be called {other.xl_name!r}: the running domain {other.owner_domid} has {other.bdf} "
                    "by that name",
                    "the name of a device stays while a running domain has it",
                    f"Stop domain {other.owner_domid} first, or choose another name",
                )
            if other.bdf in renamed:
                continue
            if other.pciback:
                raise InvalidInput(
                    f"{bdfs[other.xl_name]} cannot be called {other.xl_name!r}: xl knows {other.bdf} by that name",
                    "each assignable device has a unique name",
                    f"Return {other.bdf} first (state: absent), or choose another name",
                )
            plan.add(
                f"forget that {other.bdf} was {other.xl_name}",
                partial(self._host.clear_xl_memory, other.bdf, "name"),
                subject=f"/libxl/pci/{other.bdf.xenstore_name}/name",
                before=other.xl_name,
            )

    def _prepare_host(self, plan: Plan) -> None:
        """Check that devices can be taken at all, before the first one is."""
        info = self._xl.info() if self._under_xen else {}
        if not self._under_xen:
            plan.warnings.append(_NO_XEN_YET)
        elif not has_iommu(info):
            raise NotOnThisHost(
                "This machine has no IOMMU that Xen can use, so it cannot pass devices through",
                rule="'xl info' shows pv_directio or hvm_directio in virt_caps where it can",
                remedy="Enable the IOMMU (Intel: VT-d, AMD: AMD-Vi or IOMMU) in the firmware, check that Xen's command line has no "
                "iommu=off, and reboot; 'xl dmesg' then says 'I/O virtualisation enabled'",
            )
        elif info.get("machine", "x86_64").startswith("x86"):
            self._check_interrupts(plan)
        if not self._host.pciback_loaded:
            plan.add(f"modprobe {PCIBACK_MODULE}", self._steps.load_pciback)

    def _check_interrupts(self, plan: Plan) -> None:
        remapping = None
        with contextlib.suppress(DriverDomainsError):
            remapping = has_interrupt_remapping(self._xl.dmesg())
        if remapping is None:
            plan.warnings.append(_INTERRUPTS_NOT_KNOWN)
        elif not remapping:
            plan.refuse(
                "interrupt_remapping",
                "this host",
                "Xen does not remap interrupts",
                rule="without it, a domain that has a device can send any interrupt to Xen and to other domains",
                remedy="Enable it in the firmware (Intel: VT-d with interrupt remapping, x2APIC), check that Xen's command line has no "
                "iommu=no-intremap, and reboot; 'xl dmesg' then says 'Interrupt remapping enabled'",
            )

    def _plan_timer(
        self, plan: Plan, wanted: list[tuple[str, PciDevice]], to_take: list[PciDevice], confirm_timeout: int
    ) -> t.Collection[str]:
        """Arm the confirmation timer before the first device is taken, or cancel one that is no longer needed.

        :returns: the BDFs of what the timer will return.
        """
        waiting = self._waiting(wanted)
        if confirm_timeout and (to_take or waiting):
            bdfs = waiting + [str(device.bdf) for device in to_take]
            when = f"in {confirm_timeout} s unless confirmed"
            plan.add(f"return {', '.join(bdfs)} {when}", partial(self._timer.arm, bdfs, confirm_timeout))
            plan.results["unconfirmed"] = bdfs
            if not self._timer.session():
                plan.warnings.append(_PROTECTS_NOTHING)
            return bdfs
        if waiting:
            plan.add(f"confirm {', '.join(waiting)}", partial(self._timer.confirm, waiting))
        return ()

    def _take(self, step: t.Callable[[str, PciDevice], None], name: str, device: PciDevice, timed: t.Collection[str]) -> None:
        """Do a step that has pciback hold a device, but not behind the back of the timer that is to return it."""
        with self._timer.waiting(str(device.bdf)) if str(device.bdf) in timed else contextlib.nullcontext():
            step(name, device)

    def _waiting(self, wanted: list[tuple[str, PciDevice]]) -> list[str]:
        """Return the BDFs that still have to be confirmed."""
        unconfirmed = self._timer.unconfirmed().bdfs
        return [str(device.bdf) for _name, device in wanted if str(device.bdf) in unconfirmed]

    def _forget_stale_owner(self, plan: Plan, device: PciDevice) -> None:
        """A domain that ended without detaching leaves its number behind, and xl then believes that the device is taken."""
        if device.stale_domid:
            plan.add(
                f"forget that domain {device.stale_domid}, which is gone, has {device.bdf}",
                partial(self._host.clear_xl_memory, device.bdf, "domid"),
                subject=f"/libxl/pci/{device.bdf.xenstore_name}/domid",
                before=device.stale_domid,
            )

    def _plan_taking(self, plan: Plan, name: str, device: PciDevice, timed: t.Collection[str]) -> None:
        if not device.reset_methods:
            plan.warnings.append(
                f"The kernel cannot reset {name} ({device.bdf}): each guest finds it in the state in which the previous one left it"
            )
        plan.add(
            f"make {device.bdf} assignable as {name}",
            partial(self._take, self._steps.take, name, device, timed),
            subject=str(device.bdf),
            before=_state(device.driver, ""),
            after=_state(PCIBACK, name),
        )

    def _plan_name(self, plan: Plan, name: str, device: PciDevice, timed: t.Collection[str]) -> None:
        recorded = device.record == replace(device.as_record(name), boot=self._host.boot_id)
        if not recorded or (self._names and device.xl_name != name):
            plan.add(
                f"name {device.bdf} {name}",
                partial(self._take, self._steps.rename, name, device, timed),
                subject=str(device.bdf),
                before=_state(PCIBACK, device.xl_name),
                after=_state(PCIBACK, name),
            )

    def _read_again(self, wanted: t.Sequence[tuple[str, PciDevice]]) -> list[dict[str, t.Any]]:
        now = {device.bdf: device for device in self._host.devices()}
        return [
            replace(now[device.bdf], kernel_modules=device.kernel_modules).as_dict(name) for name, device in wanted if device.bdf in now
        ]


def _still_there(plan: Plan, requests: t.Sequence[PciRequest], devices: t.Sequence[PciDevice]) -> t.Sequence[PciRequest]:
    """Return the requests without those whose device was removed from the host: it need not be returned.

    Only if every device that pciback holds is recorded: one that is not could be the missing one.
    """
    gone = [request for request in requests if not any(map(request.fits, devices))]
    if any(device.pciback and not device.record for device in devices):
        return requests
    plan.warnings += [
        f"No device of this host matches {request}: the device is assumed to have been removed from the host" for request in gone
    ]
    return [request for request in requests if request not in gone]


def _state(driver: str, name: str) -> str:
    return f"driver: {driver or '(none)'}\nname: {name or '(none)'}\n"
