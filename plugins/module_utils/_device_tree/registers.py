# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Where a device's registers are: translated to the processor's addresses, and as pages that can be mapped into a guest."""

from __future__ import annotations

import bisect
import typing as t
from dataclasses import dataclass

from .._spans import Span
from .needs import references
from .tree import DeviceTree, Node, join_cells

#: Addresses are 64 bit numbers.
LIMIT = 1 << 64


@dataclass(frozen=True)
class Register:
    """One entry of `reg`."""

    index: int
    name: str
    #: As written in the node: an address on the bus that the node sits on.
    bus_address: int
    size: int
    #: The processor's address, or None if it has none.
    address: int | None
    #: Why there is none, or what else is odd.
    problem: str = ""

    @property
    def span(self) -> Span | None:
        """Where it is, unless it is nowhere."""
        return None if self.address is None or not self.size else Span(self.address, self.address + self.size)


def registers(node: Node) -> list[Register]:
    """Return the entries of a node's `reg`, translated through the `ranges` of all buses above it.

    Addresses on buses that are no part of the processor's address space (I2C, SPI, MDIO, CPU numbers, PCI configuration
    space) have no address; neither is that a problem.
    """
    bus = node.parent
    if bus is None or "reg" not in node.properties:
        return []
    names = node.strings("reg-names")
    width, size_width = bus.address_cells, bus.size_cells
    cells, step = node.cells("reg"), width + size_width
    if not step or len(node.properties["reg"]) % 4 or len(cells) % step:
        return [Register(0, "", 0, 0, None, f"reg has {len(node.properties['reg'])} bytes, which is no multiple of {4 * step}")]
    found = []
    for index, at in enumerate(range(0, len(cells), step)):
        bus_address, size = join_cells(cells[at : at + width]), join_cells(cells[at + width : at + step])
        address, problem = _translate(bus, bus_address, size) if size_width and not _is_pci(bus) else (None, "")
        found.append(Register(index, names[index] if index < len(names) else "", bus_address, size, address, problem))
    return found


def windows(node: Node) -> list[Span]:
    """Return the processor's addresses that a PCI host bridge hands on to its bus."""
    if not _is_pci(node) or node.parent is None:
        return []
    spans = []
    for _unused, parent, size in _ranges(node):
        address = _translate(node.parent, parent, size)[0]
        if address is not None and size:
            spans.append(Span(address, address + size))
    return spans


def dma_windows(tree: DeviceTree, node: Node) -> list[tuple[int, int, int]] | None:
    """Return how a device sees memory, as (its address, the processor's address, size), or None if it cannot be told.

    Empty: all of it, as the processor does. A window at the same address is told, too: it can be smaller than memory.
    """
    found: list[tuple[int, int, int]] = []
    for bus in _dma_buses(tree, node):
        if bus.properties.get("dma-ranges"):
            entries = _ranges(bus, "dma-ranges") if not _is_pci(bus) else []
            if not entries:
                return None
            if not found:
                found = entries
                continue
            found = [
                (address + first - middle, first - above + memory, last - first)
                for address, middle, size in found
                for above, memory, length in entries
                for first, last in [(max(middle, above), min(middle + size, above + length))]
                if first < last
            ]
            if not found:
                return None
    return found


def _dma_buses(tree: DeviceTree, node: Node) -> t.Iterator[Node]:
    """Yield the buses between a device and memory: those above it, unless `interconnects` names another way (dma-mem)."""
    current: Node | None = node
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        ways = references(tree, current) if "interconnects" in current.properties else []
        named = (need.provider for need in ways if (need.property, need.name) == ("interconnects", "dma-mem"))
        current = next(named, None) or current.parent
        if current is not None:
            yield current


def _translate(bus: Node, address: int, size: int) -> tuple[int | None, str]:
    while bus.parent is not None:
        if "ranges" not in bus.properties:
            return None, ""
        if bus.properties["ranges"]:
            if _is_pci(bus):
                return None, ""
            entries = _ranges(bus)
            for child, parent, length in entries:
                if child <= address < child + length:
                    if address + size > child + length:
                        return None, f"{address:#x}-{address + size - 1:#x} crosses the end of a window of {bus.path}"
                    address += parent - child
                    break
            else:
                unread = "" if entries else f", whose ranges cannot be read ({len(bus.properties['ranges'])} bytes)"
                return None, f"{address:#x} is in no window of {bus.path}{unread}"
        bus = bus.parent
    if address + size > LIMIT:
        return None, f"{address:#x} with {size:#x} bytes goes beyond 64 bits"
    return address, ""


def _ranges(bus: Node, name: str = "ranges") -> list[tuple[int, int, int]]:
    """Return (address on the bus, address on the bus above, size); of a PCI address the flags are cut off."""
    above = bus.parent.address_cells if bus.parent is not None else 0
    width = bus.address_cells
    step = width + above + bus.size_cells
    cells = bus.cells(name)
    if not step or len(cells) % step:
        return []
    skip = 1 if _is_pci(bus) and width == 3 else 0
    return [
        (join_cells(entry[skip:width]), join_cells(entry[width : width + above]), join_cells(entry[width + above :]))
        for entry in (cells[at : at + step] for at in range(0, len(cells), step))
    ]


def _is_pci(node: Node) -> bool:
    return node.text("device_type") in ("pci", "pciex")


class RegisterMap:
    """Who lives where: every device of a tree that has registers, for the question who else is in a page."""

    def __init__(self, tree: DeviceTree) -> None:
        found = []
        for node in tree.nodes:
            memory = node.text("device_type") == "memory" or (node.parent is not None and node.parent.name == "reserved-memory")
            # The registers of a simple bus are the window to its devices.
            if memory or "simple-bus" in node.compatible:
                continue
            found += [(register.span, node) for register in registers(node) if register.span]
        self._entries = sorted(found, key=lambda entry: entry[0])
        self._starts = [span.start for span, _unused in self._entries]
        self._furthest: list[int] = []
        for span, _unused in self._entries:
            self._furthest.append(max(span.end, self._furthest[-1] if self._furthest else 0))

    def nodes_in(self, spans: t.Iterable[Span]) -> list[Node]:
        """Return the devices with a register in these addresses, by address."""
        found: dict[int, Node] = {}
        for span in spans:
            at = bisect.bisect_left(self._starts, span.end) - 1
            while at >= 0 and self._furthest[at] > span.start:
                resident, node = self._entries[at]
                if resident.overlaps(span):
                    found.setdefault(id(node), node)
                at -= 1
        return sorted(found.values(), key=lambda node: node.path)
