# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What is wrong with the PCI devices for guests: how pciback gets them at boot, what they share, and what they are remembered by."""

from __future__ import annotations

import typing as t

from .._errors import InvalidInput
from .._pci import hide_list
from .._pci.device import PciDevice
from .facts import HostFacts, PciFacts
from .finding import HostFinding


def check_devices(facts: HostFacts) -> t.Iterator[HostFinding]:
    """Return what is wrong with the PCI devices."""
    pci = facts.pci
    items, problem = _hidden(pci)
    if problem:
        yield HostFinding("hide-malformed", "hide list", problem)
    elif not pci.loaded and (items or pci.records):
        what = "there is a list of hidden devices" if items else "there are records of assignable devices"
        yield HostFinding("pciback-missing", "dom0", f"{what}, and /sys/bus/pci/drivers/pciback is not there")
    if len(set(pci.lists)) > 1:
        yield HostFinding("hide-overridden", "hide list", f"the kernel got {', then '.join(pci.lists)}")
    if pci.loaded:
        yield from _not_taken(pci, items)
    yield from _records(pci, items)
    held = [device for device in pci.devices if device.pciback]
    for device in held:
        yield from _device(pci, device)
    for device in pci.devices:
        if device.stale_domid:
            yield HostFinding("stale-owner", _name(device), f"domain {device.stale_domid} is gone, and XenStore has it as the owner")
    assignable = {str(device.bdf) for device in held}
    for name, definition in facts.definitions.items():
        lost = [bdf for bdf in definition.devices if bdf not in assignable]
        if lost and pci.devices:
            yield HostFinding("definition-device", name, f"it names {', '.join(lost)}")


def _hidden(pci: PciFacts) -> tuple[tuple[str, ...], str]:
    """Return the items of the list that is in effect, and why the kernel could not read it."""
    try:
        items = hide_list.parse(pci.hidden)
    except InvalidInput as exc:
        return (), exc.problem
    too_long = len(pci.hidden.encode()) > hide_list.MAX_LENGTH
    return items, f"it has more than {hide_list.MAX_LENGTH} characters" if too_long else ""


def _stays(pci: PciFacts, item: str) -> bool:
    """Whether the next boot hides a device, or what an item of a list stands for, as well.

    One that was returned to dom0 is still in the list of this boot.
    """
    if pci.next_lists is None:
        return True
    for text in pci.next_lists:
        try:
            items = hide_list.parse(text)
            if item in items or hide_list.covers(items, item):
                return True
        except InvalidInput:
            return True
    return False


def _not_taken(pci: PciFacts, items: t.Sequence[str]) -> t.Iterator[HostFinding]:
    for item in items:
        # With a wildcard, the item stands for whatever there is.
        devices = [device for device in pci.devices if hide_list.covers([item], str(device.bdf)) and not device.bridge]
        if pci.devices and not any(hide_list.covers([item], str(device.bdf)) for device in pci.devices) and _stays(pci, item):
            yield HostFinding("hide-without-device", item, "the list of hidden devices has it, and sysfs has no such device")
        for device in devices:
            if not device.pciback and _stays(pci, str(device.bdf)):
                slots = "in" if device.in_pciback_slots else "not in"
                yield HostFinding("hide-not-taken", _name(device), f"{_holder(device)}, and it is {slots} the slots of pciback")


def _records(pci: PciFacts, items: t.Sequence[str]) -> t.Iterator[HostFinding]:
    devices = {str(device.bdf): device for device in pci.devices}
    for record in pci.records if devices else ():
        device = devices.get(record.bdf)
        difference = device.unlike(record) if device else "there is no device any more"
        if difference:
            yield HostFinding("record-mismatch", f"{record.name} ({record.bdf})", difference)
        elif device and pci.loaded and not device.pciback and not hide_list.covers(items, record.bdf):
            yield HostFinding("device-lost", _name(device), _holder(device))


def _device(pci: PciFacts, device: PciDevice) -> t.Iterator[HostFinding]:
    """Return what is wrong with a device that pciback holds."""
    bdf, name = str(device.bdf), _name(device)
    if not device.responds:
        yield HostFinding("device-silent", name, "its configuration space reads as all ones")
    if not device.reset_methods:
        yield HostFinding("no-reset", name, "the kernel lists no reset_method for it")
    if bdf in pci.reserved:
        yield HostFinding("rmrr", name, f"the firmware has reserved {pci.reserved[bdf]}")
    lines = _of_others(pci, device, pci.lines, pci.uses_line)
    if lines:
        yield HostFinding("shared-interrupt", name, f"on its interrupt line are {', '.join(lines)}")
    pages = _of_others(pci, device, pci.pages, None)
    if pages:
        yield HostFinding("shared-page", name, f"in a page with it are {', '.join(pages)}")


def _of_others(pci: PciFacts, device: PciDevice, sharing: t.Mapping[str, t.Sequence[str]], in_use: t.Collection[str] | None) -> list[str]:
    """Return the devices with which a device shares something, and that another domain has, or dom0.

    :param in_use: those of dom0 that count; None for all.
    """
    devices = {str(other.bdf): other for other in pci.devices}
    found = []
    for bdf in sharing.get(str(device.bdf), ()):
        other = devices[bdf]
        if other.pciback:
            if None not in (device.owner_domid, other.owner_domid) and device.owner_domid != other.owner_domid:
                found.append(f"{bdf} (domain {other.owner})")
        elif in_use is None or bdf in in_use:
            found.append(f"{bdf} ({_holder(other)})")
    return found


def _holder(device: PciDevice) -> str:
    return f"the driver {device.driver} of dom0 has it" if device.driver else "no driver has it"


def _name(device: PciDevice) -> str:
    name = device.xl_name or (device.record.name if device.record else "")
    return f"{name} ({device.bdf})" if name else str(device.bdf)
