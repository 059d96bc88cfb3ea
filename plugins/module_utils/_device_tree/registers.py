# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Where the registers of devices are in the processor's address space, and which devices share pages."""

from __future__ import annotations

import bisect
import functools
import typing as t
from dataclasses import dataclass

from .._spans import Span
from .tree import DeviceTree, Node, join_cells

#: Addresses have 64 bits.
LIMIT = 1 << 64


@dataclass(frozen=True)
class Register:
    """One entry of `reg`."""

    index: int
    name: str
    #: As written in the node: an address on its bus.
    bus_address: int
    size: int
    #: The address for the processor; None if there is none.
    address: int | None
    #: Why there is none, if there should be one.
    problem: str = ""

    @property
    def span(self) -> Span | None:
        """Its addresses for the processor; None if there are none."""
        return None if self.address is None or not self.size else Span(self.address, self.address + self.size)


def registers(node: Node) -> list[Register]:
    """Return the entries of a node's `reg`, translated through the `ranges` of all buses above it.

    An entry on a bus outside the processor's address space (I2C, SPI, MDIO, CPU numbers, PCI configuration space) has no
    address, and that is not a problem.
    """
    bus = node.parent
    if bus is None or "reg" not in node.properties:
        return []
    names = node.strings("reg-names")
    width, size_width = bus.address_cells, bus.size_cells
    cells, step = node.cells("reg"), width + size_width
    if not step or len(node.properties["reg"]) % 4 or len(cells) % step:
        return [Register(0, "", 0, 0, None, f"reg has {len(node.properties['reg'])} bytes, which is not a multiple of {4 * step}")]
    found = []
    for index, at in enumerate(range(0, len(cells), step)):
        bus_address, size = join_cells(cells[at : at + width]), join_cells(cells[at + width : at + step])
        address, problem = _translate(bus, bus_address, size) if size_width and not is_pci(bus) else (None, "")
        found.append(Register(index, names[index] if index < len(names) else "", bus_address, size, address, problem))
    return found


def pci_windows(node: Node) -> list[tuple[list[int], int, Span | None]]:
    """Return each entry of a PCI bridge's `ranges`: its PCI address in cells, its size, and the addresses for the processor, if any."""
    if not is_pci(node) or node.parent is None:
        return []
    found = []
    cells, width = node.cells("ranges"), node.address_cells
    step = width + node.parent.address_cells + node.size_cells
    for index, (_unused, parent, size) in enumerate(bus_ranges(node)):
        address = _translate(node.parent, parent, size)[0] if size else None
        span = None if address is None else Span.sized(address, size)
        found.append((cells[index * step : index * step + width], size, span))
    return found


def windows(node: Node) -> list[Span]:
    """Return the processor's addresses that a PCI host bridge forwards to its bus."""
    return [span for _address, _size, span in pci_windows(node) if span is not None]


def memory_banks(tree: DeviceTree) -> list[Span]:
    """Return the board's RAM, bank by bank. Empty in a tree whose firmware only fills it in when it boots."""
    memory = (node for node in tree.nodes if node.text("device_type") == "memory")
    return [register.span for node in memory for register in registers(node) if register.span]


def reserved_memory(tree: DeviceTree, with_disabled: bool = False) -> list[tuple[str, Span]]:
    """Return (path, addresses) of what is set aside in /reserved-memory, such as the firmware's memory."""
    holder = tree.root.child("reserved-memory")
    children = [node for node in holder.children if node.available or with_disabled] if holder else []
    return [(node.path, entry.span) for node in children for entry in registers(node) if entry.span]


def _translate(bus: Node, address: int, size: int) -> tuple[int | None, str]:
    """Return the processor's address of an address on a bus, or why it has none.

    Through PCI bridges as well: what is behind one is found by its address on the PCI bus and the kind of that address.
    """
    while bus.parent is not None:
        if "ranges" not in bus.properties:
            return None, ""
        if bus.properties["ranges"]:
            pci = is_pci(bus)
            space, address = _pci_space(address) if pci else (0, address)
            entries = [
                (first, above, length) for kind, first, above, length in _windows_of(bus) if not pci or _PCI_KIND[kind] == _PCI_KIND[space]
            ]
            for child, parent, length in entries:
                if child <= address < child + length:
                    if address + size > child + length:
                        return None, f"{address:#x}-{address + size - 1:#x} crosses the end of a window of {bus.path}"
                    address += parent - child
                    break
            else:
                unread = "" if entries or pci else f", whose ranges cannot be read ({len(bus.properties['ranges'])} bytes)"
                return None, f"{address:#x} is not in a window of {bus.path}{unread}"
        bus = bus.parent
    if address + size > LIMIT:
        return None, f"{address:#x} with {size:#x} bytes goes beyond 64 bits"
    return address, ""


#: The kinds of a PCI address (bits 24 and 25 of its first cell, IEEE 1275 PCI binding): both kinds of memory are one space.
_PCI_KIND = ("configuration", "io", "memory", "memory")


def _pci_space(address: int) -> tuple[int, int]:
    """Return the kind of a PCI address of three cells, and the 64 bits of the address itself."""
    return address >> 88 & 3, address & LIMIT - 1


def _windows_of(bus: Node, name: str = "ranges") -> tuple[tuple[int, int, int, int], ...]:
    """Return (kind of PCI address, address on the bus, address above it, size) for each entry of `ranges`, or of `dma-ranges`."""
    above = bus.parent.address_cells if bus.parent is not None else 0
    skip = 1 if is_pci(bus) and bus.address_cells == 3 else 0
    return _read_ranges(bus.properties.get(name, b""), bus.address_cells, above, bus.size_cells, skip)


@functools.lru_cache(maxsize=1024)
def _read_ranges(data: bytes, width: int, above: int, size: int, skip: int) -> tuple[tuple[int, int, int, int], ...]:
    """Read the entries of a property once, as each device on the bus asks for them."""
    step = 4 * (width + above + size)
    if not step or len(data) // 4 * 4 % step:
        return ()

    def number(first: int, last: int) -> int:
        return int.from_bytes(data[first:last], "big")

    return tuple(
        (
            number(at, at + 4) >> 24 & 3 if width else 0,
            number(at + 4 * skip, at + 4 * width),
            number(at + 4 * width, at + 4 * (width + above)),
            number(at + 4 * (width + above), at + step),
        )
        for at in range(0, len(data) // 4 * 4, step)
    )


def bus_ranges(bus: Node, name: str = "ranges") -> list[tuple[int, int, int]]:
    """Return (address on the bus, address above it, size) for each entry of `ranges`, or of `dma-ranges`.

    The first cell of a PCI address says what kind of address it is, and is left out.
    """
    return [entry[1:] for entry in _windows_of(bus, name)]


def is_pci(node: Node) -> bool:
    """Whether a node is a PCI bridge: the host bridge, or one behind it."""
    return node.text("device_type") in ("pci", "pciex")


def host_bridge(node: Node) -> Node | None:
    """Return the PCI host bridge that a node is, or is behind: the topmost PCI bridge; None if there is none."""
    found = [part for part in (node, *node.ancestors()) if is_pci(part)]
    return found[-1] if found else None


class RegisterMap:
    """Index of register ranges: which devices have registers in a range of addresses."""

    def __init__(self, tree: DeviceTree) -> None:
        found = []
        for node in tree.nodes:
            memory = node.text("device_type") == "memory" or (node.parent is not None and node.parent.name == "reserved-memory")
            # What a simple bus has in `reg` is the window to its devices.
            if memory or "simple-bus" in node.compatible:
                continue
            found += [(register.span, node) for register in registers(node) if register.span]
        self._entries = sorted(found, key=lambda entry: entry[0])
        self._starts = [span.start for span, _unused in self._entries]
        self._furthest: list[int] = []
        for span, _unused in self._entries:
            self._furthest.append(max(span.end, self._furthest[-1] if self._furthest else 0))

    def nodes_in(self, spans: t.Iterable[Span]) -> list[Node]:
        """Return the devices with a register in these addresses, by path."""
        found: dict[int, Node] = {}
        for span in spans:
            at = bisect.bisect_left(self._starts, span.end) - 1
            while at >= 0 and self._furthest[at] > span.start:
                resident, node = self._entries[at]
                if resident.overlaps(span):
                    found.setdefault(id(node), node)
                at -= 1
        return sorted(found.values(), key=lambda node: node.path)
