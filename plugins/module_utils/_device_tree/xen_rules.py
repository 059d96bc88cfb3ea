# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What Xen and its guests expect of a partial device tree, whether it is written or checked here.

Sources: Xen docs/misc/arm/passthrough.txt and docs/misc/arm/device-tree/passthrough.txt, common/device-tree/dom0less-build.c,
tools/libs/light/libxl_arm.c, public/arch-arm.h.
"""

from __future__ import annotations

import typing as t

from .._spans import MIB, Span
from .interrupts import Interrupt
from .tree import Node

#: Who starts the guest: Xen at boot, or `xl create`.
DOM0LESS, XL = "dom0less", "xl"
#: The phandle of the guest's interrupt controller, which xl fixes (GUEST_PHANDLE_GIC). A tree for dom0less must stay below it: Xen
#: 4.21 and later count their own phandles on from the highest one in the partial tree, and refuse 65000 and above.
XL_GIC_PHANDLE = 65000
#: What a guest that does not have the board's own memory layout already has at fixed addresses (public/arch-arm.h).
_GUEST_LAYOUT = (
    ("the guest's interrupt controller", Span(0x03001000, 0x04020000)),
    ("the guest's virtual UART", Span(0x22000000, 0x22001000)),
    ("the guest's grant table and XenStore pages", Span(0x38000000, 0x3A000000)),
)
#: Where Xen puts the grant table of a guest that it starts, even of one whose memory is mapped 1:1 (dom0less-build.c).
_GRANT_TABLE = ("the guest's grant table", Span(0x38000000, 0x39000000))
#: What only some guests have there: with PCI devices, or with ACPI.
_SOME_GUESTS = (
    ("the guest's PCI configuration space", Span(0x10000000, 0x20000000)),
    ("the guest's ACPI tables", Span(0x20000000, 0x22000000)),
)
#: Not copied: generated, or of no meaning to a guest.
REPLACED = {
    "phandle",
    "linux,phandle",
    "reg",
    "reg-names",
    "ranges",
    "dma-ranges",
    "interrupt-parent",
    "interrupts",
    "interrupts-extended",
    "interrupt-names",
    "interrupt-map",
    "interrupt-map-mask",
    "iommu-map",
    "iommu-map-mask",
    "msi-map",
    "msi-map-mask",
    "status",
    "assigned-clock-rates",
    "xen,passthrough",
}
#: Copied behind a PCI host bridge: addresses on its bus, which the guest's bridge translates.
BUS_ADDRESSES = {"reg", "reg-names", "ranges", "dma-ranges"}
#: The names that are left out together with the references.
NAMES = {
    "resets": "reset-names",
    "power-domains": "power-domain-names",
    "phys": "phy-names",
    "dmas": "dma-names",
    "mboxes": "mbox-names",
    "io-channels": "io-channel-names",
    "interconnects": "interconnect-names",
    "nvmem-cells": "nvmem-cell-names",
    "pinctrl-0": "pinctrl-names",
}
#: The memory of a guest in MiB, if nothing says how much it has.
USUAL_MEMORY = 512
_GUEST_RAM = (Span(0x40000000, 0x100000000), Span(0x200000000, 0x10000000000))


def handed_on(node: Node, line: Interrupt, flavour: str) -> bool:
    """Whether Xen passes an interrupt on to the guest: it must be a shared peripheral interrupt of the GIC.

    For dom0less, Xen itself reads them from the host's tree: only from the usual properties, and only those that go to the GIC
    directly (xen/arch/arm/device.c). For xl, `irqs` lists them.
    """
    if line.number is None or line.kind != "spi" or "amlogic,channel-interrupts" in node.properties:
        return False
    return flavour == XL or not line.through


def possible_conflicts(pages: t.Iterable[Span], larger: bool = False) -> list[str]:
    """Return which parts of the layout of some guests, but not of all, the pages of a device overlap.

    :param larger: whether the memory of guests that have more than `USUAL_MEMORY`, up to 2 GiB, is one of them.
    """
    memory = [("the memory of a larger guest", Span.sized(_GUEST_RAM[0].start, 2048 * MIB))] if larger else []
    return [f"{span} is where {what} is" for span in pages for what, taken in (*_SOME_GUESTS, *memory) if span.overlaps(taken)]


def grant_table_conflicts(pages: t.Iterable[Span]) -> list[str]:
    """Return which pages of a device are where a guest with the board's own layout has its grant table."""
    what, taken = _GRANT_TABLE
    return [f"{span} is where {what} is ({taken})" for span in pages if span.overlaps(taken)]


def layout_conflicts(pages: t.Iterable[Span], memory: int) -> list[str]:
    """Return which parts of each guest's own layout the pages of a device overlap; `memory` is the guest's, in MiB."""
    layout, left = list(_GUEST_LAYOUT), memory * MIB
    for bank in _GUEST_RAM:
        layout.append(("the guest's memory", Span.sized(bank.start, min(left, bank.size))))
        left -= min(left, bank.size)
    return [f"{span} is where {what} is" for span in pages for what, taken in layout if span.overlaps(taken)]
