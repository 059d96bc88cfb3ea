# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Guard rails: the reasons why a PCI device should not be taken from this host, each with the chain of things that shows it."""

from __future__ import annotations

import typing as t

from .._host_uses import HOST_GUARDS, HostUses
from .._plan import Refusal
from .._runner import Runner
from .device import PciDevice
from .host import functions_in_path

#: What `force` can name.
PCI_GUARDS = (*HOST_GUARDS, "boot_vga", "bridge", "siblings", "virtual_functions", "in_use", "unreadable")


class Guards:
    """Checks devices against what this host needs; reads the host once, when first asked."""

    def __init__(
        self,
        devices: t.Sequence[PciDevice],
        runner: Runner,
        sysfs: str = "/sys",
        procfs: str = "/proc",
        environment: t.Mapping[str, str] | None = None,
    ) -> None:
        """`devices` are all PCI devices of the host; the other parameters are those of `HostUses`."""
        self._devices = devices
        self._host = HostUses(runner, functions_in_path, sysfs, procfs, environment)

    def check(self, device: PciDevice, subject: str = "", taking: t.Sequence[PciDevice] = ()) -> list[Refusal]:
        """Return the reasons against taking `device` together with `taking`; `subject` is what the refusals call it.

        :raises DriverDomainsError: what the host needs could not be read.
        """
        gone = {str(device.bdf), *device.virtual_functions}
        reasons = [(use.guard, use.reason) for use in self._host.uses if gone & set(use.devices)]
        if device.boot_vga:
            reasons.append(("boot_vga", "is the graphics card that the firmware and the console use"))
        if device.bridge:
            below = [str(other.bdf) for other in self._devices if device.slot and other.slot.startswith(f"{device.slot}/")]
            reasons.append(("bridge", "is a bridge" + (f": taking it takes {', '.join(below)} below it" if below else "")))
        together = {other.bdf for other in taking}
        siblings = ", ".join(f"{other.bdf} (driver {other.driver})" for other in self._siblings(device) if other.bdf not in together)
        if siblings:
            reasons.append(
                ("siblings", f"shares its requester ID with {siblings} behind the same PCI bridge: the IOMMU cannot tell them apart")
            )
        if device.virtual_functions:
            reasons.append(("virtual_functions", f"has virtual functions, which would disappear: {', '.join(device.virtual_functions)}"))
        for other in self._devices:
            if other.owner_domid is not None and str(other.bdf) in gone:
                part = "" if other.bdf == device.bdf else f"has the virtual function {other.bdf}, which "
                reasons.append(("in_use", f"{part}is in use by the running domain {other.owner_domid}"))
        if not device.responds:
            reasons.append(("unreadable", "does not respond: its configuration space reads as all ones"))
        return [Refusal(guard, subject or str(device.bdf), reason) for guard, reason in reasons]

    def _siblings(self, device: PciDevice) -> list[PciDevice]:
        """Devices of this host that share the requester ID of a conventional PCI device: everything behind the same bridge."""
        bridge = device.slot.rpartition("/")[0]
        if device.express or device.bridge or "/" not in bridge:
            return []
        behind = [other for other in self._devices if other.slot.startswith(f"{bridge}/") and other.bdf != device.bdf]
        return [other for other in behind if other.driver and not other.pciback and not other.bridge]
