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

from ._errors import CommandFailed, DriverDomainsError, InvalidInput, NotOnThisHost, TimedOut
from ._guards import Guards
from ._module import Plan
from ._pci import PCIBACK, PCIBACK_MODULE, PciDevice, PciHost, with_kernel_modules
from ._pci_match import Request, choose
from ._runner import Runner
from ._xl import Xl, has_iommu

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
        *,
        under_xen: bool = True,
        names: bool = True,
        patience: float = 1.0,
    ) -> None:
        self._host = host
        self._xl = xl
        self._runner = runner
        self._make_guards = guards
        self._under_xen = under_xen
        self._names = names
        self._patience = patience

    def plan(self, state: str, requests: t.Sequence[Request]) -> Plan:
        """Plan for one of the states C(present), C(recorded) and C(absent).

        :raises InvalidInput: a request fits no device or several, or its name is taken.
        :raises NotOnThisHost: a device shall be taken but the machine has no IOMMU.
        """
        plans = {"present": self._plan_present, "recorded": self._plan_recorded, "absent": self._plan_absent}
        devices = self._host.devices()
        chosen = with_kernel_modules(choose(requests, devices), self._runner)
        plan = Plan()
        plan.results["devices"] = plans[state](plan, list(zip((request.name for request in requests), chosen)), devices)
        if plan.actions:
            plan.conclude = lambda: {"devices": self._look_again(requests, chosen)}
        return plan

    def _plan_present(self, plan: Plan, wanted: list[tuple[str, PciDevice]], devices: list[PciDevice]) -> list[dict[str, t.Any]]:
        guards = self._make_guards(devices)
        if not all(device.pciback for _name, device in wanted):
            self._prepare_host(plan)
        results = []
        for name, device in wanted:
            self._check_name(name, device, wanted, devices)
            if not device.pciback:
                self._refuse(plan, guards, name, device)
                plan.add(
                    f"give {device.bdf} to pciback as {name}",
                    partial(self._take, name, device),
                    subject=str(device.bdf),
                    before=_state(device.driver, ""),
                    after=_state(PCIBACK, name),
                )
            elif self._names and device.xl_name != name:
                if device.owner_domid is not None:
                    plan.warnings.append(
                        f"xl does not know {device.bdf} as {name!r}, and it can not be named while domain {device.owner_domid} has it"
                    )
                    results.append(device.as_dict(name))
                    continue
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

    def _plan_recorded(self, plan: Plan, wanted: list[tuple[str, PciDevice]], devices: list[PciDevice]) -> list[dict[str, t.Any]]:
        guards = self._make_guards(devices)
        for name, device in wanted:
            if device.pciback:
                continue
            self._refuse(plan, guards, name, device)
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

    def _plan_absent(self, plan: Plan, wanted: list[tuple[str, PciDevice]], devices: list[PciDevice]) -> list[dict[str, t.Any]]:
        results = []
        for name, device in wanted:
            if device.pciback:
                if device.owner_domid is not None:
                    plan.refuse("in_use", f"{name} ({device.bdf})", f"is in use by the running domain {device.owner_domid}")
                driver = device.record.driver if device.record else ""
                plan.add(
                    f"take {device.bdf} back from pciback",
                    partial(self._give_back, name, device),
                    subject=str(device.bdf),
                    before=_state(PCIBACK, device.xl_name),
                    after=_state(driver or "(whichever the kernel chooses)", ""),
                )
                results.append(replace(device, driver=driver, xl_name="", owner_domid=None).as_dict(name))
                continue
            results.append(device.as_dict(name))
            if device.record:
                plan.add(
                    f"forget {device.bdf}",
                    partial(self._host.records.forget, device.record),
                    subject=self._host.records.path(device.record.bdf),
                    before=device.record.text,
                )
        return results

    def _prepare_host(self, plan: Plan) -> None:
        """See that devices can be taken at all, before the first one is."""
        if not self._under_xen:
            plan.warnings.append(_NO_XEN_YET)
        elif not has_iommu(self._xl.info()):
            raise NotOnThisHost(
                "This machine has no IOMMU that Xen can use, so it can not pass devices through",
                rule="'xl info' shows pv_directio or hvm_directio in virt_caps where it can",
                remedy="Enable the IOMMU (Intel: VT-d, AMD: AMD-Vi or IOMMU) in the firmware, see that Xen's command line has no "
                "iommu=off, and reboot; 'xl dmesg' then says 'I/O virtualisation enabled'",
            )
        if not self._host.pciback_loaded:
            plan.add(f"modprobe {PCIBACK_MODULE}", self._load_pciback)

    def _check_name(self, name: str, device: PciDevice, wanted: list[tuple[str, PciDevice]], devices: list[PciDevice]) -> None:
        """xl takes the first device that has a name (libxl_pci.c, name2bdf): no other one may keep it."""
        renamed = {other.bdf for _name, other in wanted}
        for other in devices:
            if other.xl_name == name and other.bdf != device.bdf and other.bdf not in renamed:
                raise InvalidInput(
                    f"{device.bdf} can not be called {name!r}: xl knows {other.bdf} by that name",
                    "each assignable device has a name of its own",
                    f"Give {other.bdf} back first (state: absent), or choose another name",
                )

    @staticmethod
    def _refuse(plan: Plan, guards: Guards, name: str, device: PciDevice) -> None:
        plan.refusals += guards.check(device, f"{name} ({device.bdf})")

    def _load_pciback(self) -> None:
        self._runner.run(["modprobe", PCIBACK_MODULE], remedy="dom0's kernel needs the xen-pciback driver (CONFIG_XEN_PCIDEV_BACKEND)")
        if not self._host.pciback_loaded:
            raise DriverDomainsError(f"{PCIBACK_MODULE} is loaded but its driver does not appear in sysfs", remedy="See 'dmesg'")

    def _take(self, name: str, device: PciDevice) -> None:
        # Before the device is taken: afterwards its interface, and with it its MAC address, is gone.
        self._host.records.save(device.as_record(name))
        try:
            self._xl.pci_assignable_add(str(device.bdf), name if self._names else None)
            self._expect_pciback(device)
        except DriverDomainsError as exc:
            self._undo(device, exc)
            raise

    def _expect_pciback(self, device: PciDevice) -> None:
        driver = self._host.driver(device.bdf)
        if driver != PCIBACK:
            raise DriverDomainsError(
                f"xl reported no error, yet {device.bdf} is bound to {driver or 'no driver'} instead of {PCIBACK}",
                remedy="The kernel's reason is in 'dmesg'; is something (udev, driverctl) rebinding the device?",
            )

    def _undo(self, device: PciDevice, failure: DriverDomainsError) -> None:
        """Leave the host as it was; xl binds the device before it puts it into quarantine, which may fail."""
        try:
            driver = self._host.driver(device.bdf)
            if driver == PCIBACK:
                self._host.release(device.bdf)
            if driver != device.driver:
                self._rebind(device, device.driver)
            if device.record:
                self._host.records.save(device.record)
            else:
                self._host.records.forget(device.as_record(""))
        except DriverDomainsError as exc:
            failure.details["undo"] = f"{device.bdf} could not be given back to {device.driver or 'its driver'}: {exc}"

    def _name(self, name: str, device: PciDevice) -> None:
        self._xl.pci_assignable_add(str(device.bdf), name)
        self._host.records.save(device.as_record(name))

    def _give_back(self, name: str, device: PciDevice) -> None:
        if not device.xl_name:
            # pciback took it at boot, so that Xen has it in no quarantine, and xl would fail to take it out of there.
            self._xl.pci_assignable_add(str(device.bdf), name if self._names else None)
        try:
            self._xl.pci_assignable_remove(str(device.bdf), rebind=True)
        except CommandFailed:
            # xl may have released the device and only have failed to bind it again.
            if self._host.driver(device.bdf) == PCIBACK:
                raise
        self._rebind(device, device.record.driver if device.record else "")
        if device.record:
            self._host.records.forget(device.record)

    def _rebind(self, device: PciDevice, expected: str) -> None:
        """See that a device that was released has the driver I(expected), or any if that is not known, and its interface."""
        if not self._host.driver(device.bdf):
            if device.modalias:
                # udev loaded it when the device appeared, but it may have been unloaded since; a device may also have no driver.
                self._runner.run(["modprobe", "--quiet", "--use-blacklist", device.modalias], check=False)
            self._host.probe(device.bdf)
        if expected:
            self._wait(lambda: self._host.driver(device.bdf), f"{device.bdf} got no driver back; it had {expected}")
        driver = self._host.driver(device.bdf)
        if driver == PCIBACK or (expected and driver != expected):
            raise DriverDomainsError(
                f"{device.bdf} was given back but is bound to {driver or 'no driver'}" + (f" instead of {expected}" if expected else ""),
                remedy="The kernel's reason is in 'dmesg'; /sys/bus/pci/devices/.../driver_override keeps other drivers away",
            )
        if device.is_network and device.ifname and driver:
            self._wait(
                lambda: self._host.interface_names(device.bdf),
                f"{device.bdf} is back at {driver} but its network interface does not appear",
            )
            # udev gives it its name a moment later, which may be another one than before.
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

    def _look_again(self, requests: t.Sequence[Request], chosen: t.Sequence[PciDevice]) -> list[dict[str, t.Any]]:
        now = {device.bdf: device for device in self._host.devices()}
        return [
            replace(now[device.bdf], kernel_modules=device.kernel_modules).as_dict(request.name)
            for request, device in zip(requests, chosen)
            if device.bdf in now
        ]


def _state(driver: str, name: str) -> str:
    return f"driver: {driver or '(none)'}\nname: {name or '(none)'}\n"
