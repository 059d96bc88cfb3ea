# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Builds the partial device tree that describes the passed-through devices of an Arm board to a guest of Xen."""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import dataclass, field

from .._errors import InvalidInput
from .._spans import Span, pages
from .analysis import Device
from .dma import dma_windows, iommu_of
from .interrupts import SPI, Interrupt, bridge_map, interrupts, map_lines
from .needs import COPIED, GIVEN, MISSING, Need, clock_rate, is_virtual, references
from .pci_bridge import write_buses
from .registers import host_bridge, is_pci, registers
from .tree import DeviceTree, Node
from .xen_rules import BUS_ADDRESSES, DOM0LESS, NAMES, REPLACED, XL, XL_GIC_PHANDLE, handed_on

#: The phandle of the guest's interrupt controller.
_GIC_PHANDLE = {DOM0LESS: 1, XL: XL_GIC_PHANDLE}
#: The flags of a shared interrupt: a GIC, and so Linux, knows only the rising edge and the high level.
_FLAGS = {"edge": 1, "level": 4}
#: Takes the place of a missing interrupt in `interrupts-extended`, so that the others keep theirs.
_EMPTY = [0]


@dataclass(frozen=True)
class PassthroughRequest:
    """A device to pass through, and what the tree does not know about it."""

    device: Device
    #: Rates in Hz of clocks that the guest cannot reach, by name or by position.
    clock_rates: t.Mapping[str, int] = field(default_factory=dict)
    #: MAC addresses for it or nodes below it, by path.
    macs: t.Mapping[str, str] = field(default_factory=dict)
    #: Nodes below it to hide from the guest.
    leave_out: t.Sequence[Node] = ()


@dataclass
class Partial:
    """The partial tree, and what goes with it."""

    root: Node
    #: References to what the guest cannot reach.
    missing: list[Need] = field(default_factory=list)
    #: Names and positions of all clocks, for which `clock_rates` can have a rate.
    clocks: set[str] = field(default_factory=set)
    #: Interrupts that Xen cannot pass on.
    lost: list[tuple[Node, Interrupt]] = field(default_factory=list)
    #: Pages to map into the guest, each once.
    mapped: list[Span] = field(default_factory=list)
    irqs: list[int] = field(default_factory=list)
    #: Paths of the host's nodes that the guest gets pages or interrupts of.
    assigned: list[str] = field(default_factory=list)
    #: Paths of the host's nodes that are behind an IOMMU themselves.
    protected: list[str] = field(default_factory=list)


def build_partial(tree: DeviceTree, requests: t.Sequence[PassthroughRequest], flavour: str) -> Partial:
    """Return the tree that describes these devices to a guest.

    :raises InvalidInput: the rate of a clock that the guest cannot reach is not known.
    """
    return _Builder(tree, requests, flavour).build()


class _Builder:
    def __init__(self, tree: DeviceTree, requests: t.Sequence[PassthroughRequest], flavour: str) -> None:
        self.tree, self.flavour, self.requests = tree, flavour, requests
        self.given = [request.device.node for request in requests]
        self.copied = {id(part) for request in requests for part in visible(request.device.node, request.leave_out)}
        self.phandles: dict[int, int] = {}
        self.copies: dict[int, Node] = {}
        self.clocks: dict[int, int] = {}
        self.buses: dict[tuple[tuple[int, int, int], ...], Node] = {}
        # Numbers that no node of the board has: a reference of a kind that is not known here leads nowhere, and not to another node.
        self.free_phandles = (number for number in itertools.count(2) if number not in tree.by_phandle)
        self.unknown_clocks: list[str] = []
        root = Node("")
        root.set_cells("#address-cells", 2)
        root.set_cells("#size-cells", 2)
        self.result = Partial(root)
        self.passthrough = Node("passthrough")
        self._bus_properties(self.passthrough)

    def build(self) -> Partial:
        root = self.result.root
        if self.flavour == XL:
            # Also shows a reader, and our linter, that it is one for xl.
            self.passthrough.set_cells("interrupt-parent", self.gic_phandle)
        else:
            # Xen only takes the phandle from this node; it makes the real one itself.
            gic = Node("gic", root)
            gic.set_cells("#address-cells", 0)
            gic.set_cells("#interrupt-cells", 3)
            gic.properties["interrupt-controller"] = b""
            gic.set_cells("phandle", self.gic_phandle)
        for request in self.requests:
            self._copy(request.device.node, self._bus_of(request.device.node), request)
        if self.unknown_clocks:
            raise InvalidInput(
                f"Clocks with unknown rates: {'; '.join(self.unknown_clocks)}",
                rule="a guest cannot reach the board's clock controller, so the partial tree must say how fast each clock runs",
                remedy="Set the rates in Hz in clock_rates of the device; Linux shows them in /sys/kernel/debug/clk/clk_summary",
            )
        for original, number in self.phandles.items():
            if original in self.copies:
                self.copies[original].set_cells("phandle", number)
        self._aliases(root)
        root.children.append(self.passthrough)
        self.passthrough.parent = root
        self.result.irqs = sorted(set(self.result.irqs))
        self.result.mapped = pages(self.result.mapped)
        return self.result

    @property
    def gic_phandle(self) -> int:
        return _GIC_PHANDLE[self.flavour]

    @staticmethod
    def _bus_properties(node: Node) -> None:
        node.set_strings("compatible", "simple-bus")
        node.set_cells("#address-cells", 2)
        node.set_cells("#size-cells", 2)
        node.properties["ranges"] = b""

    def _bus_of(self, node: Node) -> Node:
        """Return a bus for a device that has the same view of memory as the board's."""
        memory = tuple(dma_windows(self.tree, node) or ())
        if not memory:
            return self.passthrough
        if memory not in self.buses:
            bus = Node(_unique_name(f"bus-{memory[0][0]:x}", self.passthrough), self.passthrough)
            self._bus_properties(bus)
            bus.set_wide("dma-ranges", *(number for window in memory for number in window))
            self.buses[memory] = bus
        return self.buses[memory]

    def _aliases(self, root: Node) -> None:
        names = {name: self.copies[id(node)] for name, node in self.tree.aliases.items() if id(node) in self.copies}
        names = {name: node for name, node in names.items() if not name.startswith("serial")}
        # ttyAMA0 is the guest's own console. Without aliases, the UART that is found first would take that name.
        serial = [self.copies[id(node)] for node in self.given if node.name.startswith("serial")]
        names.update({f"serial{number}": node for number, node in enumerate(serial, 1)})
        if names:
            aliases = Node("aliases", root)
            for name, node in sorted(names.items()):
                aliases.set_strings(name, _path_below(node))

    def _copy(self, node: Node, parent: Node, request: PassthroughRequest) -> None:
        bridge = host_bridge(node)
        behind = bridge not in (None, node)
        found = [] if behind else [entry for entry in registers(node) if entry.span]
        copy = Node(_unit_name(node, found[0].address if found else None, parent), parent)
        self.copies[id(node)] = copy
        dropped = self._references(node, copy, request)
        for name, value in node.properties.items():
            if name in copy.properties or name in dropped or (name in REPLACED and not (behind and name in BUS_ADDRESSES)):
                continue
            if name in ("local-mac-address", "mac-address") and not any(value):
                continue
            copy.properties[name] = value
        if node.path in request.macs:
            copy.properties["local-mac-address"] = bytes.fromhex(request.macs[node.path].replace(":", ""))
        if found:
            copy.set_wide("reg", *(number for entry in found for number in (entry.address or 0, entry.size)))
            if all(entry.name for entry in found):
                copy.set_strings("reg-names", *(entry.name for entry in found))
        elif "reg" in node.properties and parent.size_cells != 2:
            copy.properties["reg"] = node.properties["reg"]
        spans = [entry.span for entry in found if entry.span]
        if bridge is node:
            spans += write_buses(node, copy)
        elif "ranges" in node.properties and not behind:
            self._bus_properties(copy)
            self._keep(node, copy, "compatible")
        lines = self._interrupts(node, copy)
        if behind:
            self._interrupts_behind(node, copy, lines)
        elif parent.address_cells == parent.size_cells == 2 and (spans or lines):
            self._xen(node, copy, spans, lines)
        elif lines and (self.flavour == XL or {parent.address_cells, parent.size_cells} <= {1, 2}):
            # On a bus of its own, such as below a system controller: it has no registers for Xen, but interrupts.
            self._xen(node, copy, [], lines)
        else:
            self.result.lost += [(node, line) for line in lines]
        for child in _children(node, request.leave_out):
            self._copy(child, copy, request)
        if is_pci(node):
            self._interrupt_map(node, copy)

    def _interrupts_behind(self, node: Node, copy: Node, lines: list[Interrupt]) -> None:
        """Have the interrupts of a node behind a PCI host bridge passed on.

        Xen takes `xen,path` only on a bus of one or two cells, so a node of its own, which the guest ignores, names it.
        """
        if lines and self.flavour == DOM0LESS:
            copy = Node(_unique_name(f"interrupts-{node.name.replace('@', '-')}", self.passthrough), self.passthrough)
            copy.set_cells("interrupt-parent", self.gic_phandle)
            copy.set_cells("interrupts", *(cell for line in lines for cell in self._gic_cells(line)[1:]))
        if lines:
            self._xen(node, copy, [], lines)

    def _interrupt_map(self, bridge: Node, copy: Node) -> None:
        """Write the interrupts of what is behind a bridge: to the guest's GIC, whose address has no cells, or to a node that it has.

        Xen itself passes on only what is an interrupt of a node as well (map_device_irqs_to_domain reads no `interrupt-map`).
        """
        cells: list[int] = []
        raised = map_lines(self.tree, bridge)
        wanted = {line.number for line in raised if line.kind == "spi"}
        given = wanted if self.flavour == XL else wanted.intersection(self.result.irqs)
        for entry, line in bridge_map(self.tree, bridge):
            if entry.parent is not None and id(entry.parent) in self.copied:
                cells += [*entry.own, self._phandle(entry.parent), *entry.address, *entry.cells]
            elif line.number is not None and line.number in given:
                cells += [*entry.own, *self._gic_cells(line)]
        self.result.irqs += [number for number in given if number is not None]
        self.result.lost += [(bridge, line) for line in raised if line.number not in given]
        if cells:
            copy.set_cells("interrupt-map", *cells)
            self._keep(bridge, copy, "interrupt-map-mask")

    @staticmethod
    def _keep(node: Node, copy: Node, name: str) -> None:
        if name in node.properties:
            copy.properties[name] = node.properties[name]

    def _xen(self, node: Node, copy: Node, spans: list[Span], lines: list[Interrupt]) -> None:
        mapped = [part for span in pages(spans) for part in span.without(self.result.mapped)]
        self.result.mapped += mapped
        self.result.irqs += [line.number for line in lines if line.number is not None]
        self.result.assigned.append(node.path)
        protected = iommu_of(self.tree, node) is not None
        self.result.protected += [node.path] if protected else []
        if self.flavour == DOM0LESS:
            copy.set_wide("xen,reg", *(number for span in mapped for number in (span.start, span.size, span.start)))
            copy.set_strings("xen,path", node.path)
            if not protected:
                copy.properties["xen,force-assign-without-iommu"] = b""

    def _interrupts(self, node: Node, copy: Node) -> list[Interrupt]:
        """Write the interrupts that the guest can have; return those that are the GIC's."""
        found = interrupts(self.tree, node)
        inside = {line.controller: self.tree.by_path[line.controller] for line in found if line.controller and line.number is None}
        kept: list[tuple[str, list[int]]] = []
        lines = []
        for line in found:
            controller = inside.get(line.controller)
            if line.number is not None and handed_on(node, line, self.flavour):
                lines.append(line)
                kept.append((line.name, self._gic_cells(line)))
            elif controller is not None and id(controller) in self.copied:
                kept.append((line.name, [self._phandle(controller), *line.specifier]))
            else:
                self.result.lost.append((node, line))
                kept.append((line.name, _EMPTY))
        while kept and kept[-1][1] is _EMPTY:
            kept.pop()
        if kept and all(cells[0] == self.gic_phandle for _unused, cells in kept):
            copy.set_cells("interrupt-parent", self.gic_phandle)
            copy.set_cells("interrupts", *(cell for _unused, cells in kept for cell in cells[1:]))
        elif kept:
            copy.set_cells("interrupts-extended", *(cell for _unused, cells in kept for cell in cells))
        names = list(itertools.takewhile(bool, (name for name, _unused in kept)))
        if names:
            copy.set_strings("interrupt-names", *names)
        return lines

    def _gic_cells(self, line: Interrupt) -> list[int]:
        return [self.gic_phandle, SPI, (line.number or 0) - 32, _FLAGS[line.trigger or "level"]]

    def _references(self, node: Node, copy: Node, request: PassthroughRequest) -> set[str]:
        """Write the references that a guest can follow; return the properties not to copy."""
        by_property: dict[str, list[Need]] = {}
        for need in references(self.tree, node):
            by_property.setdefault(need.property, []).append(need)
        # Xen handles these for the guest.
        for name in ("iommus", "iommu-map", "msi-map"):
            by_property.pop(name, None)
        dropped = {"iommus", *by_property}
        for name, found in by_property.items():
            reached = [self._reach(need) for need in found]
            if name == "clocks":
                self.result.clocks.update(key for need in found for key in (need.name, str(need.index)) if key)
                copy.set_cells(name, *(cell for need, how in zip(found, reached) for cell in self._clock(need, how, request)))
            elif all(how == GIVEN for how in reached):
                copy.set_cells(name, *(cell for need in found for cell in self._reference(need)))
            else:
                # Linux substitutes a dummy for a missing description, such as a regulator that is always on.
                self.result.missing += [need for need, how in zip(found, reached) if how not in (GIVEN, COPIED)]
                dropped.add(NAMES.get(name, ""))
        return dropped

    def _reach(self, need: Need) -> str:
        if id(need.provider) in self.copied or _is_empty(need):
            return GIVEN
        return COPIED if need.provider is not None and is_virtual(need.provider) else MISSING

    def _reference(self, need: Need) -> list[int]:
        return [self._phandle(need.provider), *need.args] if need.provider else [0]

    def _clock(self, need: Need, how: str, request: PassthroughRequest) -> list[int]:
        if _is_empty(need) or (how == GIVEN and need.provider is not None and not is_virtual(need.provider)):
            return self._reference(need)
        rate = request.clock_rates.get(need.name) or request.clock_rates.get(str(need.index))
        if not rate:
            rate = clock_rate(self.tree, need.provider) if need.provider is not None else 0
        if not 0 < rate < 1 << 32:
            name = f"{need.name!r} (position {need.index})" if need.name else f"at position {need.index}"
            self.unknown_clocks.append(f"clock {name} of {need.consumer.path}, from {need.provider.path if need.provider else 'nowhere'}")
            return []
        if rate not in self.clocks:
            self.clocks[rate] = self._next_phandle()
            clock = Node(f"clock-{rate}")
            clock.set_strings("compatible", "fixed-clock")
            clock.set_cells("#clock-cells", 0)
            clock.set_cells("clock-frequency", rate)
            clock.set_cells("phandle", self.clocks[rate])
            clock.parent = self.passthrough
            self.passthrough.children.insert(0, clock)
        return [self.clocks[rate]]

    def _phandle(self, node: Node) -> int:
        if id(node) not in self.phandles:
            self.phandles[id(node)] = self._next_phandle()
        return self.phandles[id(node)]

    def _next_phandle(self) -> int:
        return next(self.free_phandles)


def _children(node: Node, left_out: t.Sequence[Node]) -> list[Node]:
    """Return the children that the guest sees."""
    return [child for child in node.children if child.available and child not in left_out]


def visible(node: Node, left_out: t.Sequence[Node]) -> t.Iterator[Node]:
    """Yield a node and all below it that the guest sees."""
    yield node
    for child in _children(node, left_out):
        yield from visible(child, left_out)


def _is_empty(need: Need) -> bool:
    """Whether it only holds the place of an optional entry."""
    return need.provider is None and not need.problem


def _unit_name(node: Node, address: int | None, parent: Node) -> str:
    """Return a name with the address that the node has in the guest, unique among its siblings."""
    return _unique_name(node.name if address is None else f"{node.name.split('@')[0]}@{address:x}", parent)


def _unique_name(name: str, parent: Node) -> str:
    number, unique = 1, name
    while parent.child(unique) is not None:
        number += 1
        base, at, unit = name.partition("@")
        unique = f"{base}-{number}{at}{unit}"
    return unique


def _path_below(node: Node) -> str:
    """Return the path of a node whose topmost ancestor is /passthrough, not yet attached to the root."""
    names = [node.name, *(parent.name for parent in node.ancestors())]
    return "/" + "/".join(reversed(names))
