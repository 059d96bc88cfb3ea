# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.
"""Changes to one PCI device: hand it to pciback, return it to its driver, and undo what failed half-way."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._errors import CommandFailed, DriverDomainsError, TimedOut
from .._polling import wait_until
from .._runner import Runner
from .._xen.xl import Xl
from .device import PCIBACK, PCIBACK_MODULE, PciDevice
from .host import PciHost

#: Seconds within which a driver has to bind a returned device and to create its network interface, and udev to rename that.
BIND_TIMEOUT = 15.0


class DeviceSteps:
    """Applies what `AssignablePool` plans.

    :param names: whether xl can name devices (since Xen 4.15).
    :param patience: factor for all timeouts (tests).
    :param put_back: has an interface that came back used as before, by its name and its bridge or bond. Without it, the caller does that.
    """

    def __init__(
        self,
        host: PciHost,
        xl: Xl,
        runner: Runner,
        *,
        names: bool = True,
        patience: float = 1.0,
        put_back: t.Callable[[str, str], None] | None = None,
    ) -> None:
        self._host = host
        self._xl = xl
        self._runner = runner
        self._names = names
        self._patience = patience
        self._put_back = put_back

    def load_pciback(self) -> None:
        """Load pciback's module.

        :raises CommandFailed: the kernel has no such module.
        :raises DriverDomainsError: the driver does not appear.
        """
        self._runner.run(["modprobe", PCIBACK_MODULE], remedy="dom0's kernel needs the xen-pciback driver (CONFIG_XEN_PCIDEV_BACKEND)")
        if not self._host.pciback_loaded:
            raise DriverDomainsError(f"{PCIBACK_MODULE} is loaded but its driver does not appear in sysfs", remedy="See 'dmesg'")

    def take(self, name: str, device: PciDevice) -> None:
        """Hand a device to pciback; if that fails, the device is returned to its driver.

        :raises DriverDomainsError: it failed; `undo` in the details says why the device could not be returned, if so.
        """
        # First, because its interface, and with it its MAC address, is gone once the device is taken.
        self._host.records.save(replace(device.as_record(name), boot=""))
        try:
            self._xl.pci_assignable_add(str(device.bdf), name if self._names else None)
            self._check_pciback(device)
        except DriverDomainsError as exc:
            self._roll_back(device, exc)
            raise
        self._host.records.save(replace(device.as_record(name), boot=self._host.boot_id))

    def rename(self, name: str, device: PciDevice) -> None:
        """Name a device that is held, put it into quarantine, and record that: any of these may be missing."""
        self._xl.pci_assignable_add(str(device.bdf), name if self._names else None)
        self._host.records.save(replace(device.as_record(name), boot=self._host.boot_id))

    def give_back(self, device: PciDevice) -> None:
        """Take a device from pciback and out of quarantine, and wait until its driver has it.

        :raises DriverDomainsError: it stays with pciback, or gets another driver than before, or none.
        """
        bdf = str(device.bdf)
        quarantined = self._host.in_quarantine(device)
        # From here on it may be out of quarantine without having a driver: the record says that this was begun.
        record = replace(device.record or device.as_record(device.xl_name), boot="")
        if device.record != record:
            self._host.records.save(record)
        device = replace(device, record=record)
        if quarantined or self._quarantine(device):
            try:
                self._xl.pci_assignable_remove(bdf, rebind=True)
            except CommandFailed:
                # xl may have released the device and have failed only to bind it again.
                if self._host.driver(device.bdf) == PCIBACK:
                    raise
        elif self._host.driver(device.bdf) == PCIBACK:
            self._host.release(device.bdf)
        self.finish_giving_back(device)

    def _quarantine(self, device: PciDevice) -> bool:
        """Put a device into quarantine that pciback took at boot, or whose taking was interrupted: xl can release only what is there.

        :returns: whether it is there. Without an IOMMU nothing can be, and then dom0 can use the device once pciback releases it.
        """
        try:
            self._xl.pci_assignable_add(str(device.bdf), device.xl_name or None)
        except CommandFailed:
            return False
        return True

    def finish_giving_back(self, device: PciDevice) -> None:
        """Bind a device that pciback does not hold to its driver, and forget it.

        :raises DriverDomainsError: it gets another driver than before, or none.
        """
        self._host.clear_claims(device.bdf)
        self._rebind(device, device.record.driver if device.record else "")
        self.forget(device)

    def forget(self, device: PciDevice) -> None:
        """Remove what pciback, xl and our records have of a device."""
        self._host.clear_claims(device.bdf)
        self._host.clear_xl_memory(device.bdf)
        if device.record:
            self._host.records.forget(device.record)

    def _check_pciback(self, device: PciDevice) -> None:
        driver = self._host.driver(device.bdf)
        if driver != PCIBACK:
            raise DriverDomainsError(
                f"xl reported no error, yet {device.bdf} is bound to {driver or 'no driver'} instead of {PCIBACK}",
                remedy="The kernel's reason is in 'dmesg'; is something (udev, driverctl) rebinding the device?",
            )

    def _roll_back(self, device: PciDevice, failure: DriverDomainsError) -> None:
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
            failure.details["undo"] = f"{device.bdf} could not be returned to {before or 'its driver'}: {exc}"

    def _rebind(self, device: PciDevice, expected: str) -> None:
        """Bind a released device to the driver `expected`, or to any if that is not known, and wait for its interface."""
        if not self._host.driver(device.bdf):
            if device.modalias:
                # udev loaded it when the device appeared, but it may have been unloaded since; a device may also have no driver.
                self._runner.run(["modprobe", "--quiet", "--use-blacklist", device.modalias], check=False)
            self._host.probe(device.bdf)
        if expected and not self._has_driver(device):
            raise self._timed_out(f"{device.bdf} has no driver after its return; it had {expected} before")
        if not expected and device.kernel_modules:
            # The record is lost: the kernel has drivers for the device, but it may never have had one here.
            self._has_driver(device)
        driver = self._host.driver(device.bdf)
        if driver == PCIBACK or (expected and driver != expected):
            raise DriverDomainsError(
                f"{device.bdf} was returned but is bound to {driver or 'no driver'}" + (f" instead of {expected}" if expected else ""),
                remedy="The kernel's reason is in 'dmesg'; /sys/bus/pci/devices/.../driver_override keeps other drivers away",
            )
        if device.is_network and driver and (device.ifname or not expected):
            self._await_interface(device, driver)

    def _has_driver(self, device: PciDevice) -> bool:
        return wait_until(lambda: self._host.driver(device.bdf), self._patience * BIND_TIMEOUT)

    def _await_interface(self, device: PciDevice, driver: str) -> None:
        if not wait_until(lambda: self._host.interface_names(device.bdf), self._patience * BIND_TIMEOUT):
            raise self._timed_out(f"{device.bdf} is bound to {driver} again but its network interface does not appear")
        if device.ifname and device.ifname not in self._host.interface_names(device.bdf):
            # udev renames it a moment later, possibly to another name than before.
            self._runner.run(["udevadm", "settle", f"--timeout={BIND_TIMEOUT:g}"], timeout=BIND_TIMEOUT + 5, check=False)
        if self._put_back and device.ifname in self._host.interface_names(device.bdf):
            self._put_back(device.ifname, device.master)

    def _timed_out(self, problem: str) -> TimedOut:
        return TimedOut(f"{problem} (waited {self._patience * BIND_TIMEOUT:g} s)", remedy="The kernel's reason is in 'dmesg'")
