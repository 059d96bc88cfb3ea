# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What PCI devices share although they should not: interrupt lines and memory pages (no security support then: SUPPORT.md of Xen)."""

from __future__ import annotations

import typing as t

from .device import PciDevice
from .host import PciHost

_PAGE_BITS = 12


def shared_interrupts(devices: t.Sequence[PciDevice], host: PciHost) -> dict[str, list[str]]:
    """Return for each device the others on its interrupt line, by BDF."""
    return _sharing({str(device.bdf): {host.interrupt_line(device.bdf)} - {None} for device in devices})


def shared_pages(devices: t.Sequence[PciDevice], host: PciHost) -> dict[str, list[str]]:
    """Return for each device the others that have memory in a page of one of its own memory BARs, by BDF."""
    # Ranges do not overlap, so only the pages at their ends can be shared.
    ranges = {str(device.bdf): host.memory(device.bdf) for device in devices}
    return _sharing({bdf: {address >> _PAGE_BITS for ends in memory for address in ends} for bdf, memory in ranges.items()})


def _sharing(things: t.Mapping[str, t.Collection[int | None]]) -> dict[str, list[str]]:
    holders: dict[int | None, list[str]] = {}
    for bdf, held in things.items():
        for thing in held:
            holders.setdefault(thing, []).append(bdf)
    return {bdf: sorted({other for thing in held for other in holders[thing]} - {bdf}) for bdf, held in things.items()}
