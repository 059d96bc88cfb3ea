# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Hand PCI devices to pciback, so that guests can have them, and take them back for this host's own drivers."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace
from functools import partial

from .._errors import CommandFailed, DriverDomainsError, InvalidInput, NotOnThisHost, TimedOut
from .._plan import Plan
from .._runner import Runner
from .._xen.xl import Xl, has_iommu
from .confirm_timer import SafetyNet
from .guards import Guards
from .host import PCIBACK, PCIBACK_MODULE, PciDevice, PciHost, with_kernel_modules
from .match import Request, choose

#: Seconds in which a driver that was given a device back makes itself and its network interface seen.
SETTLE = 15.0
#: Seconds in which udev renames the interface.
RENAME = 3.0

_NO_XEN_YET = "This host does not run under Xen yet: whether it has an IOMMU, which passing a device through needs, shows only then"


class Pool:
    """The devices that this host gives away.

    :param under_xen: whether this is the control domain of a running Xen; without, only plans can be made.
    :param names: whether xl knows names of devices (since Xen 4.15).
    :param patience: what the times to wait are multiplied by (tests).
    """

    def __init__(
        self,
        host: PciHost,
        xl: Xl,
        runner: Runner,
        guards: t.Callable[[list[PciDevice]], Guards],
        net: SafetyNet,
        *,
        under_xen: bool = True,
        names: bool = True,
        patience: float = 1.0,
    ) -> None:
        self._host = host
        self._xl = xl
        self._runner = runner
        self._make_guards = guards
        self._net = net
        self._under_xen = under_xen
        self._names = names
        self._patience = patience

    def plan(self, state: str, requests: t.Sequence[Request], confirm_timeout: int = 0) -> Plan:
        """Plan for one of the states `present`, `recorded`, `confirmed` and `absent`.

        :raises InvalidInput: a request fits no device or several, or its name is taken.
        :raises NotOnThisHost: a device shall be taken but the machine has no IOMMU.
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
            plan.conclude = lambda: {"devices": self._look_again(wanted)}
        return plan

    def _plan_present(
        self, plan: Plan, wanted: list[tuple[str, PciDevice]], devices: list[PciDevice], confirm_timeout: int
    ) -> list[dict[str, t.Any]]:
        self._check_names(plan, wanted, devices)
        to_take = [device for _name, device in wanted if not device.pciback]
        if to_take:
            self._prepare_host(plan)
        self._plan_probation(plan, wanted, to_take, confirm_timeout)
        guards = self._make_guards(devices)
        boot = self._host.boot_id
        results = []
        for name, device in wanted:
            self._plan_owner(plan, device)
            if not device.pciback:
                plan.refusals += guards.check(device, f"{name} ({device.bdf})", to_take)
                if not device.reset_methods:
                    plan.warnings.append(f"The kernel cannot reset {name} ({device.bdf}): each guest finds it as the last one left it")
                plan.add(
                    f"give {device.bdf} to pciback as {name}",
                    partial(self._take, name, device),
                    subject=str(device.bdf),
                    before=_state(device.driver, ""),
                    after=_state(PCIBACK, name),
                )
            elif device.owner_domid is not None:
                if self._names and device.xl_name != name:
                    plan.warnings.append(
                        f"xl does not know {device.bdf} as {name!r}, and it cannot be named while domain {device.owner_domid} has it"
                    )
                results.append(device.as_dict(name))
                continue
            elif (self._names and device.xl_name != name) or device.record != replace(device.as_record(name), boot=boot):
                plan.add(
                    f"name {device.bdf} {name}",
                    partial(self._name, name, device),
                    subject=str(device.bdf),
                    before=_state(PCIBACK, device.xl_name),
                    after=_state(PCIBACK, name),
                )
            taken = replace(device, driver=PCIBACK, interfaces=(), xl_name=name, record=device.as_record(name))
            results.append(taken.as_dict(name))
        return results

    def _plan_probation(self, plan: Plan, wanted: list[tuple[str, PciDevice]], to_take: list[PciDevice], confirm_timeout: int) -> None:
        """Stretch the safety net before the first device is taken, or take it away where none is wanted any more."""
        waiting = [str(device.bdf) for _name, device in wanted if str(device.bdf) in self._net.probation().bdfs]
        if confirm_timeout and (to_take or waiting):
            bdfs = waiting + [str(device.bdf) for device in to_take]
            plan.add(f"give {', '.join(bdfs)} back in {confirm_timeout} s unless confirmed", partial(self._net.arm, bdfs, confirm_timeout))
            plan.results["unconfirmed"] = bdfs
        elif waiting:
            plan.add(f"confirm {', '.join(waiting)}", self._net.confirm)

    def _plan_owner(self, plan: Plan, device: PciDevice) -> None:
        """A domain that ended without detaching leaves its number behind, and xl then believes that the device is taken."""
        if device.stale_domid:
            plan.add(
                f"forget that domain {device.stale_domid}, which is gone, has {device.bdf}",
                partial(self._host.clear_xl_memory, device.bdf, "domid"),
                subject=f"/libxl/pci/{device.bdf.xenstore_name}/domid",
                before=device.stale_domid,
            )

    def _plan_recorded(self, plan: Plan, wanted: list[tuple[str, PciDevice]], devices: list[PciDevice]) -> list[dict[str, t.Any]]:
        guards = self._make_guards(devices)
        to_take = [device for _name, device in wanted if not device.pciback]
        for name, device in wanted:
            if device.pciback:
                continue
            plan.refusals += guards.check(device, f"{name} ({device.bdf})", to_take)
            record = device.as_record(name)
            if device.record != record:
                plan.add(
                    f"record {device.bdf} as {name}",
                    partial(self._host.records.save, record),
                    subject=self._host.records.path(record.bdf),
                    before=device.record.text if device.record else "",
                    after=record.text,
                )
        return [device.as_dict(name) for name, device in wanted]

    def _plan_confirmed(self, plan: Plan, wanted: list[tuple[str, PciDevice]]) -> list[dict[str, t.Any]]:
        lost = [f"{name} ({device.bdf})" for name, device in wanted if not device.pciback]
        if lost:
            raise DriverDomainsError(
                f"Not held by {PCIBACK}, so that there is nothing to confirm: {', '.join(lost)}",
                rule="devices that are not confirmed in time are given back to their drivers",
                remedy="If the host could not be reached without them, leave them to it; otherwise allow more time with confirm_timeout",
            )
        probation = self._net.probation()
        waiting = [str(device.bdf) for _name, device in wanted if str(device.bdf) in probation.bdfs]
        if waiting:
            self._net.refuse_stale_session()
            plan.add(f"confirm {', '.join(probation.bdfs)}", self._net.confirm)
        return [device.as_dict(name) for name, device in wanted]

    def _plan_absent(self, plan: Plan, wanted: list[tuple[str, PciDevice]]) -> list[dict[str, t.Any]]:
        results = []
        for name, device in wanted:
            driver = device.record.driver if device.record else ""
            # Taking or giving back was cut off: nobody has it, or something would have pciback take it again.
            claimed = device.in_pciback_slots or device.driver_override == PCIBACK
            if device.owner_domid is not None:
                plan.refuse("in_use", f"{name} ({device.bdf})", f"is in use by the running domain {device.owner_domid}", passing=True)
            if device.pciback:
                plan.add(
                    f"take {device.bdf} back from pciback",
                    partial(self._give_back, device),
                    subject=str(device.bdf),
                    before=_state(PCIBACK, device.xl_name),
                    after=_state(driver or "(whichever the kernel chooses)", ""),
                )
                results.append(replace(device, driver=driver, xl_name="", owner_domid=None, owner="").as_dict(name))
                continue
            quarantined = device.record is not None and device.record.boot == self._host.boot_id
            if quarantined or (not device.driver and (device.record or claimed)):
                # Somebody took it from pciback by hand, and Xen still keeps it from reaching memory; or nobody has it.
                plan.add(
                    f"give {device.bdf} back to its driver",
                    partial(self._give_back if quarantined else self._finish_giving_back, device),
                    subject=str(device.bdf),
                    before=_state(device.driver, device.xl_name),
                    after=_state(driver or "(whichever the kernel chooses)", ""),
                )
            elif device.record or device.xl_name or claimed:
                plan.add(
                    f"forget {device.bdf}",
                    partial(self._forget, device),
                    subject=self._host.records.path(str(device.bdf)),
                    before=device.record.text if device.record else _state(device.driver, device.xl_name),
                )
            results.append(device.as_dict(name))
        return results

    def _prepare_host(self, plan: Plan) -> None:
        """See that devices can be taken at all, before the first one is."""
        if not self._under_xen:
            plan.warnings.append(_NO_XEN_YET)
        elif not has_iommu(self._xl.info()):
            raise NotOnThisHost(
                "This machine has no IOMMU that Xen can use, so it cannot pass devices through",
                rule="'xl info' shows pv_directio or hvm_directio in virt_caps where it can",
                remedy="Enable the IOMMU (Intel: VT-d, AMD: AMD-Vi or IOMMU) in the firmware, see that Xen's command line has no "
                "iommu=off, and reboot; 'xl dmesg' then says 'I/O virtualisation enabled'",
            )
        if not self._host.pciback_loaded:
            plan.add(f"modprobe {PCIBACK_MODULE}", self._load_pciback)

    def _check_names(self, plan: Plan, wanted: list[tuple[str, PciDevice]], devices: list[PciDevice]) -> None:
        """xl takes the first device that has a name, assignable or not (libxl_pci.c, name2bdf): no other one may keep it."""
        bdfs = {name: device.bdf for name, device in wanted}
        renamed = set(bdfs.values())
        for other in devices:
            if other.xl_name not in bdfs or other.bdf in renamed:
                continue
            if other.pciback:
                raise InvalidInput(
                    f"{bdfs[other.xl_name]} cannot be called {other.xl_name!r}: xl knows {other.bdf} by that name",
                    "each assignable device has a name of its own",
                    f"Give {other.bdf} back first (state: absent), or choose another name",
                )
            plan.add(
                f"forget that {other.bdf} was {other.xl_name}",
                partial(self._host.clear_xl_memory, other.bdf, "name"),
                subject=f"/libxl/pci/{other.bdf.xenstore_name}/name",
                before=other.xl_name,
            )

    def _load_pciback(self) -> None:
        self._runner.run(["modprobe", PCIBACK_MODULE], remedy="dom0's kernel needs the xen-pciback driver (CONFIG_XEN_PCIDEV_BACKEND)")
        if not self._host.pciback_loaded:
            raise DriverDomainsError(f"{PCIBACK_MODULE} is loaded but its driver does not appear in sysfs", remedy="See 'dmesg'")

    def _take(self, name: str, device: PciDevice) -> None:
        # Before the device is taken: afterwards its interface, and with it its MAC address, is gone.
        self._host.records.save(replace(device.as_record(name), boot=""))
        try:
            self._xl.pci_assignable_add(str(device.bdf), name if self._names else None)
            self._expect_pciback(device)
        except DriverDomainsError as exc:
            self._undo(device, exc)
            raise
        self._host.records.save(replace(device.as_record(name), boot=self._host.boot_id))

    def _expect_pciback(self, device: PciDevice) -> None:
        driver = self._host.driver(device.bdf)
        if driver != PCIBACK:
            raise DriverDomainsError(
                f"xl reported no error, yet {device.bdf} is bound to {driver or 'no driver'} instead of {PCIBACK}",
                remedy="The kernel's reason is in 'dmesg'; is something (udev, driverctl) rebinding the device?",
            )

    def _undo(self, device: PciDevice, failure: DriverDomainsError) -> None:
        """Leave the host as it was; xl binds the device before it puts it into quarantine, which may fail."""
        before = device.driver or (device.record.driver if device.record else "")
        try:
            if self._host.driver(device.bdf) == PCIBACK:
                self._host.release(device.bdf)
            self._host.clear_claims(device.bdf)
            if self._host.driver(device.bdf) != before:
                self._rebind(device, before)
            self._host.clear_xl_memory(device.bdf)
            if device.record:
                self._host.records.save(device.record)
            else:
                self._host.records.forget(device.as_record(""))
        except DriverDomainsError as exc:
            failure.details["undo"] = f"{device.bdf} could not be given back to {before or 'its driver'}: {exc}"

    def _name(self, name: str, device: PciDevice) -> None:
        """Name a device that is held, put it into quarantine, and record that: any of these may be missing."""
        self._xl.pci_assignable_add(str(device.bdf), name if self._names else None)
        self._host.records.save(replace(device.as_record(name), boot=self._host.boot_id))

    def _give_back(self, device: PciDevice) -> None:
        bdf = str(device.bdf)
        settled = device.record is not None and device.record.boot == self._host.boot_id
        # From here on it may be out of quarantine, and then in nobody's hands: the record tells that this was begun.
        record = replace(device.record or device.as_record(device.xl_name), boot="")
        if device.record != record:
            self._host.records.save(record)
        device = replace(device, record=record)
        try:
            if not settled:
                # pciback took it at boot, or taking it was cut off: xl can only take out of quarantine what is in there.
                self._xl.pci_assignable_add(bdf, device.xl_name or None)
            self._xl.pci_assignable_remove(bdf, rebind=True)
        except CommandFailed:
            # xl may have released the device and only have failed to bind it again.
            if self._host.driver(device.bdf) == PCIBACK:
                raise
        self._finish_giving_back(device)

    def _finish_giving_back(self, device: PciDevice) -> None:
        self._host.clear_claims(device.bdf)
        self._rebind(device, device.record.driver if device.record else "")
        self._forget(device)

    def _forget(self, device: PciDevice) -> None:
        self._host.clear_claims(device.bdf)
        self._host.clear_xl_memory(device.bdf)
        if device.record:
            self._host.records.forget(device.record)

    def _rebind(self, device: PciDevice, expected: str) -> None:
        """See that a device that was released has the driver `expected`, or any if that is not known, and its interface."""
        if not self._host.driver(device.bdf):
            if device.modalias:
                # udev loaded it when the device appeared, but it may have been unloaded since; a device may also have no driver.
                self._runner.run(["modprobe", "--quiet", "--use-blacklist", device.modalias], check=False)
            self._host.probe(device.bdf)
        if expected:
            self._wait(lambda: self._host.driver(device.bdf), f"{device.bdf} got no driver back; it had {expected}")
        elif device.kernel_modules:
            # The record is lost: the kernel has drivers for it, but it may never have had one here.
            self._reached(lambda: self._host.driver(device.bdf), SETTLE)
        driver = self._host.driver(device.bdf)
        if driver == PCIBACK or (expected and driver != expected):
            raise DriverDomainsError(
                f"{device.bdf} was given back but is bound to {driver or 'no driver'}" + (f" instead of {expected}" if expected else ""),
                remedy="The kernel's reason is in 'dmesg'; /sys/bus/pci/devices/.../driver_override keeps other drivers away",
            )
        if device.is_network and driver and (device.ifname or not expected):
            self._wait(
                lambda: self._host.interface_names(device.bdf),
                f"{device.bdf} is back at {driver} but its network interface does not appear",
            )
            # udev gives it its name a moment later, which may be another one than before.
            if device.ifname:
                self._reached(lambda: device.ifname in self._host.interface_names(device.bdf), RENAME)

    def _wait(self, condition: t.Callable[[], t.Any], failure: str) -> None:
        if not self._reached(condition, SETTLE):
            raise TimedOut(f"{failure} (waited {self._patience * SETTLE:g} s)", remedy="The kernel's reason is in 'dmesg'")

    def _reached(self, condition: t.Callable[[], t.Any], seconds: float) -> bool:
        end = time.monotonic() + self._patience * seconds
        while not condition():
            if time.monotonic() >= end:
                return False
            time.sleep(0.2)
        return True

    def _look_again(self, wanted: t.Sequence[tuple[str, PciDevice]]) -> list[dict[str, t.Any]]:
        now = {device.bdf: device for device in self._host.devices()}
        return [
            replace(now[device.bdf], kernel_modules=device.kernel_modules).as_dict(name) for name, device in wanted if device.bdf in now
        ]


def _still_there(plan: Plan, requests: t.Sequence[Request], devices: t.Sequence[PciDevice]) -> t.Sequence[Request]:
    """Return the requests without those whose device was pulled out: what is gone needs no giving back.

    Only where pciback holds nothing that is not known: that could be it.
    """
    gone = [request for request in requests if not any(map(request.fits, devices))]
    if any(device.pciback and not device.record for device in devices):
        return requests
    plan.warnings += [f"No device of this host matches {request}: it is taken for one that was pulled out" for request in gone]
    return [request for request in requests if request not in gone]


def _state(driver: str, name: str) -> str:
    return f"driver: {driver or '(none)'}\nname: {name or '(none)'}\n"
