# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What PCI devices share although nothing should: interrupt lines and memory pages (SUPPORT.md of Xen: no security support then)."""

from __future__ import annotations

import typing as t

from .._files import read_text
from .host import PciDevice

_PAGE_BITS = 12
#: Flag of a memory range in sysfs's resource files (Linux, ioport.h), and how many lines of these are BARs.
_MEMORY, _BARS = 0x200, 6


def shared_interrupts(devices: t.Sequence[PciDevice], sysfs: str = "/sys") -> dict[str, list[str]]:
    """Return for each device the others that have its interrupt line."""
    lines: dict[str, set[int]] = {}
    for device in devices:
        irq = int((read_text(f"{sysfs}/bus/pci/devices/{device.bdf}/irq") or "0").strip())
        # 255 is what the firmware writes for "none".
        lines[str(device.bdf)] = {irq} - {0, 255}
    return _sharing(lines)


def shared_pages(devices: t.Sequence[PciDevice], sysfs: str = "/sys") -> dict[str, list[str]]:
    """Return for each device the others that have a memory BAR in a page of one of its own."""
    pages: dict[str, set[int]] = {}
    for device in devices:
        mine = pages.setdefault(str(device.bdf), set())
        for line in (read_text(f"{sysfs}/bus/pci/devices/{device.bdf}/resource") or "").splitlines()[:_BARS]:
            start, end, flags = (int(number, 16) for number in line.split())
            if flags & _MEMORY and start:
                # Ranges do not overlap, so that only the pages at their ends can be shared.
                mine.update((start >> _PAGE_BITS, end >> _PAGE_BITS))
    return _sharing(pages)


def _sharing(things: dict[str, set[int]]) -> dict[str, list[str]]:
    holders: dict[int, list[str]] = {}
    for bdf, held in things.items():
        for thing in held:
            holders.setdefault(thing, []).append(bdf)
    return {bdf: sorted({other for thing in held for other in holders[thing]} - {bdf}) for bdf, held in things.items()}
