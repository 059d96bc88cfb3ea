# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The property `xen,reg` of a partial device tree (Xen docs/misc/arm/device-tree/passthrough.txt)."""

from __future__ import annotations

import typing as t

from .._spans import PAGE, Span
from .tree import Node, join_cells


class XenRange(t.NamedTuple):
    """One entry of `xen,reg`: addresses of the machine, and the address in the guest at which they are mapped."""

    machine: Span
    guest: int

    @property
    def whole_pages(self) -> bool:
        """Whether it is made of whole pages, and of at least one."""
        return self.machine.size > 0 and not (self.machine.start | self.machine.size | self.guest) % PAGE


def xen_reg(node: Node) -> list[XenRange] | None:
    """Return the entries of a node's `xen,reg`, or None if its cells do not make whole entries.

    Each has the address in the machine, the size and the address in the guest, in the cells of the node above.
    """
    bus = node.parent or node
    width = bus.address_cells
    cells, step = node.cells("xen,reg"), 2 * width + bus.size_cells
    if not cells:
        return []
    if not step or len(cells) % step:
        return None
    found = []
    for at in range(0, len(cells), step):
        machine, size, guest = cells[at : at + width], cells[at + width : at + step - width], cells[at + step - width : at + step]
        found.append(XenRange(Span.sized(join_cells(machine), join_cells(size)), join_cells(guest)))
    return found
