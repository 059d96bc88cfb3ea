# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Guard rails: the reasons why a PCI device should not be taken from this host, each with the chain of things that shows it."""

from __future__ import annotations

import typing as t
from functools import cached_property

from .._host_chains import NETWORK, STORAGE, Use
from .._host_uses import HOST_GUARDS, HostUses
from .._plan import Refusal
from .._runner import Runner
from .device import PciDevice
from .host import PciHost, functions_in_path
from .sharing import shared_interrupts, shared_pages

#: What `force` can name.
PCI_GUARDS = (
    *HOST_GUARDS,
    "boot_vga",
    "bridge",
    "siblings",
    "shared_page",
    "shared_interrupt",
    "interrupt_remapping",
    "virtual_functions",
    "in_use",
    "unreadable",
    "failed_trial",
    "local_trial",
)

#: PCI classes of what can be at the end of a chain that is not known. It is not known either what a device without a driver is for.
_CLASSES = {NETWORK: ("02", "0d", "0c06"), STORAGE: ("01", "0c04", "0c06")}


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
        self._pci = PciHost(sysfs, procfs=procfs)

    def check(self, device: PciDevice, subject: str = "", taking: t.Sequence[PciDevice] = ()) -> list[Refusal]:
        """Return the reasons against taking `device` together with `taking`; `subject` is what the refusals call it.

        :raises DriverDomainsError: what the host needs could not be read.
        """
        gone = {str(device.bdf), *device.virtual_functions}
        together = {other.bdf for other in taking} | {device.bdf}
        reasons = [(use.guard, use.reason) for use in self._uses(gone, {*gone, *map(str, together)})]
        reasons += [
            (use.guard, use.reason)
            for use in self._host.uses
            if not gone & set(use.devices) and not device.pciback and device.class_code.startswith(_prefixes(use))
        ]
        if device.boot_vga:
            reasons.append(("boot_vga", "is the graphics card that the firmware and the console use"))
        if device.bridge:
            below = [str(other.bdf) for other in self._devices if device.slot and other.slot.startswith(f"{device.slot}/")]
            reasons.append(("bridge", "is a bridge" + (f": taking it takes {', '.join(below)} below it" if below else "")))
        siblings = ", ".join(f"{other.bdf} (driver {other.driver})" for other in self._siblings(device) if other.bdf not in together)
        if siblings:
            reasons.append(
                ("siblings", f"shares its requester ID with {siblings} behind the same PCI bridge: the IOMMU cannot tell them apart")
            )
        reasons += self._shared(device, set(map(str, together)))
        if device.virtual_functions:
            reasons.append(("virtual_functions", f"has virtual functions, which would disappear: {', '.join(device.virtual_functions)}"))
        for other in self._devices:
            if other.owner_domid is not None and str(other.bdf) in gone:
                part = "" if other.bdf == device.bdf else f"has the virtual function {other.bdf}, which "
                reasons.append(("in_use", f"{part}is in use by the running domain {other.owner_domid}"))
        if not device.responds:
            reasons.append(("unreadable", "does not respond: its configuration space reads as all ones"))
        return [Refusal(guard, subject or str(device.bdf), reason) for guard, reason in reasons]

    def _uses(self, gone: set[str], taken: set[str]) -> list[Use]:
        """Return what the host needs of the devices `gone`; of a group it needs one, so all of that have to be in `taken`."""
        uses = self._host.uses
        left = {use.group for use in uses if use.group and not taken & set(use.devices)}
        return [use for use in uses if gone & set(use.devices) and use.group not in left]

    def _shared(self, device: PciDevice, together: set[str]) -> t.Iterator[tuple[str, str]]:
        """What a device shares with others that are not taken with it (no security support then: SUPPORT.md of Xen)."""
        if device.pciback:
            return
        pages = [bdf for bdf in self._pages.get(str(device.bdf), ()) if bdf not in together]
        if pages:
            yield "shared_page", f"has memory in the same page as {', '.join(pages)}, which a guest could then write to"
        # A device that signals by messages (MSI) does not use its line, and what pciback holds uses none in this host.
        lines = [bdf for bdf in self._lines.get(str(device.bdf), ()) if bdf not in together and self._uses_line(bdf)]
        if lines:
            yield "shared_interrupt", f"is on the same interrupt line as {', '.join(lines)}, which this host drives: a guest could block it"

    def _uses_line(self, bdf: str) -> bool:
        other = next(device for device in self._devices if str(device.bdf) == bdf)
        return bool(other.driver) and not other.pciback and not other.bridge and not self._pci.has_message_interrupts(other.bdf)

    @cached_property
    def _pages(self) -> dict[str, list[str]]:
        return shared_pages(self._devices, self._pci)

    @cached_property
    def _lines(self) -> dict[str, list[str]]:
        return shared_interrupts(self._devices, self._pci)

    def _siblings(self, device: PciDevice) -> list[PciDevice]:
        """Devices of this host that share the requester ID of a conventional PCI device: everything behind the same bridge."""
        bridge = device.slot.rpartition("/")[0]
        if device.express or device.bridge or "/" not in bridge:
            return []
        behind = [other for other in self._devices if other.slot.startswith(f"{bridge}/") and other.bdf != device.bdf]
        return [other for other in behind if other.driver and not other.pciback and not other.bridge]


def _prefixes(use: Use) -> tuple[str, ...]:
    """Return how the class codes begin of all devices that may be at the end of a chain."""
    return tuple(prefix for name in use.unknown for prefix in _CLASSES[name])
