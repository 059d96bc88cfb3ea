# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Which devices the firmware has reserved memory for, from the ACPI table DMAR (Intel, VT-d specification, chapter 8)."""

from __future__ import annotations

import struct
import typing as t

#: Xen overwrites the name, so that Linux in dom0 leaves the IOMMU alone (acpi_dmar_zap in xen/drivers/passthrough/vtd/dmar.c).
NAMES = ("DMAR", "XMAR")
#: The header of the table, its type for reserved memory, what comes before the devices there, and the types of devices: one, and a bridge
#: with all that is below it.
_HEADER, _RESERVED, _SCOPES = 48, 1, 24
_ENDPOINT, _BRIDGE = 1, 2


class ReservedFor(t.NamedTuple):
    """A device with reserved memory, by the path from its root bus as `PciDevice.slot` has it; or all devices below a bridge."""

    slot: str
    below: bool
    start: int
    end: int

    def covers(self, slot: str) -> bool:
        """Whether it is for the device in a slot."""
        return slot.startswith(f"{self.slot}/") if self.below else slot == self.slot


def reserved_memory(table: bytes) -> list[ReservedFor]:
    """Return what is reserved, for each device, in the order of the table. What is cut off at its end is left out."""
    found: list[ReservedFor] = []
    for kind, body in _structures(table, _HEADER):
        if kind != _RESERVED or len(body) < _SCOPES:
            continue
        segment, start, end = struct.unpack_from("<HQQ", body, 6)
        position = _SCOPES
        while position + 6 <= len(body):
            scope, length, _flags, _number, bus = struct.unpack_from("<BBHBB", body, position)
            path = body[position + 6 : position + length]
            if length < 6:
                break
            if scope in (_ENDPOINT, _BRIDGE):
                steps = [f"{path[place]:02x}.{path[place + 1]:x}" for place in range(0, len(path) - 1, 2)]
                found.append(ReservedFor("/".join([f"{segment:04x}:{bus:02x}", *steps]), scope == _BRIDGE, start, end))
            position += length
    return found


def _structures(table: bytes, position: int) -> t.Iterator[tuple[int, bytes]]:
    while position + 4 <= len(table):
        kind, length = struct.unpack_from("<HH", table, position)
        if length < 4:
            return
        yield kind, table[position : position + length]
        position += length
