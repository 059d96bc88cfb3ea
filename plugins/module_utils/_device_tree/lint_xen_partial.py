# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Checks a partial device tree for a Xen guest against the board's device tree."""

from __future__ import annotations

import typing as t

from .._spans import PAGE, Span, pages
from .analysis import Analysis
from .dma import iommu_of
from .findings import ERROR, WARNING, Finding
from .interrupts import bridge_map, interrupts, specifiers
from .needs import references
from .registers import LIMIT, is_pci, registers, windows
from .tree import DeviceTree, Node, is_enabled
from .xen_reg import XenRange, xen_reg
from .xen_rules import DOM0LESS, USUAL_MEMORY, XL, XL_GIC_PHANDLE, handed_on, layout_conflicts, possible_conflicts


class PartialUse(t.NamedTuple):
    """How a partial tree is used, as far as it is known."""

    #: Whether Xen itself starts the guest; None: to be seen from the tree.
    dom0less: bool | None = None
    #: Xen's console; None: the one that the board's tree names.
    console: Node | None = None
    #: Memory of the guest in MiB; None if that is not known.
    memory: int | None = None
    #: Whether its memory is at the machine's own addresses.
    direct_map: bool | None = None
    #: Paths of the nodes that are marked with `xen,passthrough`, so that dom0 does not use them; None if that is not known.
    marked: t.Collection[str] | None = None


def lint_partial(tree: DeviceTree, source: str, analysis: Analysis, use: PartialUse | None = None) -> list[Finding]:
    """Return the mistakes in a partial tree.

    Unless `use` says it, the tree is one for xl if it refers to the interrupt controller that xl adds (phandle 65000) and no property
    begins with `xen,`; else one for dom0less.
    """
    return list(_Partial(tree, source, analysis, use or PartialUse()).findings())


class _Partial:
    def __init__(self, tree: DeviceTree, source: str, analysis: Analysis, use: PartialUse) -> None:
        self.tree, self.source, self.analysis, self.use = tree, source, analysis, use
        self.assigned = any(name.startswith("xen,") for node in tree.nodes for name in node.properties)
        for_xl = any(XL_GIC_PHANDLE in (node.number("interrupt-parent"), *node.cells("interrupts-extended")) for node in tree.nodes)
        self.dom0less = use.dom0less if use.dom0less is not None else self.assigned or not for_xl
        self.mapped: list[tuple[Node, Span]] = []
        # Xen takes its phandle from the node /gic; if there is none, and for xl, it is 65000 (domain_handle_dtb_bootmodule).
        found = [node for node in tree.root.children if "interrupt-controller" in node.properties] if self.dom0less else []
        gic = tree.root.child("gic") if self.dom0less else None
        self.gic = gic or next(iter(found), None)
        self.implied = self.gic is None or (gic is not None and not gic.phandle and for_xl)
        if self.gic is None:
            self.gic = Node("gic")
            self.gic.set_cells("#interrupt-cells", 3)
        if self.implied:
            tree.by_phandle.setdefault(XL_GIC_PHANDLE, self.gic)
        self.paths = {node.text("xen,path") for node in tree.nodes if "xen,path" in node.properties} | set(use.marked or ())
        self.console = use.console or analysis.tree.console
        self.entries = [entry for node in tree.nodes for entry in xen_reg(node) or []]

    def _say(self, node: Node, rule: str, problem: str, fix: str, severity: str = ERROR) -> Finding:
        return Finding(f"{self.source}:{node.path}", rule, problem, fix, severity)

    def findings(self) -> t.Iterator[Finding]:
        """Check the tree as a whole, then each node."""
        passthrough = self.tree.root.child("passthrough")
        if passthrough is None:
            yield self._say(
                self.tree.root, "no-passthrough", "there is no node /passthrough, the only place where Xen looks", "Put the devices in it"
            )
            return
        for bus in (passthrough, *passthrough.subtree()):
            if "simple-bus" in bus.compatible and "ranges" not in bus.properties:
                yield self._say(bus, "no-ranges", "a simple-bus without ranges: the guest cannot translate addresses below it", "ranges;")
                break
        if "simple-bus" not in passthrough.compatible:
            yield self._say(
                passthrough, "no-bus", "it is not a simple-bus: the guest ignores the devices in it", 'compatible = "simple-bus";'
            )
        yield from self._controller()
        yield from self._phandles()
        yield from self._guest_pages()
        devices = [node for node in passthrough.subtree() if node is not passthrough]
        if self.dom0less and not self.assigned:
            problem = "no node has xen,path and xen,reg: Xen passes nothing through, and nobody has what dom0 leaves alone"
            fix = f'xen,path = "..."; xen,reg = <machine size guest>; or, if xl starts the guest, interrupt-parent = <{XL_GIC_PHANDLE}>;'
            yield self._say(passthrough, "no-xen", problem, fix)
        for node in devices:
            yield from self._references(node)
            if "xen,path" in node.properties or "xen,reg" in node.properties:
                yield from self._assignment(node)
            elif self.dom0less and self.assigned and node.parent is passthrough and {"interrupts", "reg"} & node.properties.keys():
                fix = 'xen,path = "..."; xen,reg = <machine size guest>;'
                yield self._say(node, "not-assigned", "the guest sees the device, but Xen passes nothing of it through", fix)

    def _controller(self) -> t.Iterator[Finding]:
        gic = self.gic
        if self.dom0less and gic is not None and not self.implied:
            raised = any({"interrupts", "interrupts-extended"} & node.properties.keys() for node in self.tree.nodes)
            if gic.name != "gic":
                yield self._say(gic, "no-gic", "Xen looks for the interrupt controller under the name /gic", "Call the node gic")
            elif not gic.phandle and raised:
                fix = "gic: gic { #interrupt-cells = <3>; interrupt-controller; }; and interrupt-parent = <&gic>;, or no such node"
                yield self._say(gic, "no-gic", "/gic has no phandle: no interrupt leads to the guest's controller", fix)
        if self.dom0less and max((node.phandle for node in self.tree.nodes), default=0) >= XL_GIC_PHANDLE:
            node = max(self.tree.nodes, key=lambda node: node.phandle)
            problem = f"phandle {node.phandle} is in the range of Xen's own ones; newer versions refuse the tree"
            yield self._say(node, "phandle-range", problem, f"A phandle below {XL_GIC_PHANDLE}", WARNING)
        wanted = XL_GIC_PHANDLE if gic is None or self.implied else gic.phandle
        for node in self.tree.nodes:
            parent = node.number("interrupt-parent")
            if parent and parent != wanted and parent not in self.tree.by_phandle:
                problem = f"interrupt-parent {parent:#x} is not a node of this tree"
                yield self._say(node, "interrupt-parent", problem, f"interrupt-parent = <{wanted:#x}>;")

    def _phandles(self) -> t.Iterator[Finding]:
        """Find nodes with the phandle of another one: what refers to them leads to the first."""
        for node in self.tree.nodes:
            first = self.tree.by_phandle.get(node.phandle, node)
            # There is a finding of its own for a node with the phandle of Xen's interrupt controller.
            if first is not node and not (self.implied and first is self.gic):
                yield self._say(node, "phandle", f"{first.path} has the phandle {node.phandle:#x} as well", "A phandle of its own")

    def _guest_pages(self) -> t.Iterator[Finding]:
        """Find a page of the guest that is said to be two pages of the machine: what Xen maps last counts."""
        for index, entry in enumerate(self.entries):
            guest = Span.sized(entry.guest, entry.machine.size)
            for other in self.entries[:index]:
                moved = other.guest - other.machine.start != entry.guest - entry.machine.start
                if moved and guest.overlaps(Span.sized(other.guest, other.machine.size)):
                    problem = f"xen,reg maps {entry.machine} and {other.machine} to the same page of the guest"
                    yield self._say(self.tree.by_path["/passthrough"], "guest-address", problem, "Each at an address of its own")

    def _references(self, node: Node) -> t.Iterator[Finding]:
        found = references(self.tree, node)
        for need in found:
            if need.problem:
                rule = "missing-clock" if need.kind == "clock" else "missing-provider"
                fix = (
                    "A fixed-clock in /passthrough instead"
                    if need.kind == "clock"
                    else f"Remove {need.property}, or copy the provider into the tree"
                )
                yield self._say(node, rule, need.problem, fix)
        clocks = [need for need in found if need.property == "clocks"]
        names = node.strings("clock-names")
        if "clock-names" in node.properties and (not names or len(names) > len(clocks)):
            problem = f"{len(names)} clock-names and {len(clocks)} clocks: the driver does not find its clocks"
            yield self._say(node, "missing-clock", problem, "A fixed-clock in /passthrough for each name")

    def _assignment(self, node: Node) -> t.Iterator[Finding]:
        bus = node.parent or self.tree.root
        width, size_width = bus.address_cells, bus.size_cells
        if width not in (1, 2) or size_width not in (1, 2):
            problem = f"addresses of {width} and sizes of {size_width} cells: Xen takes one or two"
            yield self._say(node, "cells", problem, "#address-cells = <2>; #size-cells = <2>; in the node above")
            return
        path = node.text("xen,path")
        force = "xen,force-assign-without-iommu" in node.properties
        if not path and not force:
            yield self._say(node, "no-path", "xen,reg without xen,path", 'xen,path = "/path/in/the/host/tree";')
        if "xen,reg" not in node.properties:
            yield self._say(node, "no-reg", "xen,path without xen,reg", "xen,reg = <machine size guest>;")
        entries = xen_reg(node)
        if entries is None:
            step = 2 * width + size_width
            problem = f"xen,reg has {len(node.cells('xen,reg'))} cells, which is not a multiple of {step} (machine, size, guest)"
            yield self._say(node, "cells", problem, "Three values for each range, in the cells of the node above")
            return
        given = [entry.machine for entry in entries]
        for entry in entries:
            span = entry.machine
            if max(span.end, entry.guest + span.size) > LIMIT:
                yield self._say(node, "range", f"xen,reg {span.start:#x} {span.size:#x} {entry.guest:#x} goes beyond 64 bits", "Its size")
            if not entry.whole_pages:
                start, end = span.start // PAGE * PAGE, -(-span.end // PAGE) * PAGE
                problem = f"xen,reg {span.start:#x} {span.size:#x} {entry.guest:#x} is not made of whole pages"
                yield self._say(node, "alignment", problem, f"xen,reg from {start:#x}, size {max(end - start, PAGE):#x}")
            for other, taken in self.mapped:
                if other is not node and taken.overlaps(span):
                    yield self._say(node, "overlap", f"{span} is in xen,reg of {other.path} as well", "Each page once", WARNING)
        self.mapped += [(node, span) for span in given]
        yield from self._layout(node, entries)
        off = next((part for part in (node, *node.ancestors()) if not part.available), None)
        if off is not None:
            problem = f'the guest does not use it (status = "{off.text("status")}" in {off.path}), and nobody else has it'
            yield self._say(node, "status", problem, "No status", WARNING)
        host = self.analysis.tree.by_path.get(path) if path else None
        yield from self._foreign(node, host, given)
        if path:
            yield from self._host(node, path, given, force)

    def _layout(self, node: Node, entries: list[XenRange]) -> t.Iterator[Finding]:
        """Find what the guest already has at an address at which registers are mapped."""
        if self.use.direct_map:
            return
        for entry in entries:
            sure = self.use.direct_map is False or entry.guest != entry.machine.start
            span = Span.sized(entry.guest, entry.machine.size)
            certain = layout_conflicts([span], self.use.memory or USUAL_MEMORY)
            for conflict in certain:
                fix = "Another guest address, the same in reg" + ("" if sure else ", unless the guest has direct-map")
                yield self._say(node, "guest-layout", f"in the guest, {conflict}", fix, ERROR if sure else WARNING)
            # Only registers that were moved can be moved elsewhere.
            larger = not certain and self.use.memory is None and entry.guest != entry.machine.start
            for conflict in possible_conflicts([span], larger):
                fix = "Another guest address, unless the guest has no such thing"
                yield self._say(node, "guest-layout", f"in the guest, {conflict}", fix, WARNING)

    def _foreign(self, node: Node, host: Node | None, given: list[Span]) -> t.Iterator[Finding]:
        """Find pages that belong to something other than the device."""
        device = self.analysis.device(host) if host is not None else None
        own = device.pages if device else []
        taken: list[Span] = []
        for what, spans, everywhere in self._forbidden():
            for span in pages(spans):
                for part in given:
                    # A page that the device has in common with the console is reported as shared.
                    if part.overlaps(span) and (everywhere or any(piece.overlaps(span) for piece in part.without(own))):
                        taken.append(span)
                        yield self._say(node, "forbidden-map", f"xen,reg has {part}, which contains {what} ({span})", "Leave it out")
        if host is None and (node.text("xen,path") or "xen,force-assign-without-iommu" not in node.properties):
            # Another finding says that it is assigned to nobody.
            return
        above = set(map(id, host.ancestors())) if host is not None else set()
        for part in [piece for span in given for piece in span.without([*own, *taken])]:
            others = [
                other for other in self.analysis.register_map.nodes_in([part]) if not self._is_given(other) and id(other) not in above
            ]
            used = [other.path for other in others if is_enabled(other)]
            whose = f"where {host.path} has no registers" if host is not None else "without xen,path"
            if used:
                fix = f"Leave it out, or xen,passthrough on {used[0]} and a node for it with its xen,path"
                yield self._say(node, "foreign-map", f"xen,reg has {part}, the registers of {', '.join(used)}", fix)
            elif host is not None or others:
                yield self._say(node, "surplus-map", f"xen,reg has {part}, {whose}", "Remove it", WARNING)

    def _forbidden(self) -> t.Iterator[tuple[str, list[Span], bool]]:
        """Yield (what it is, addresses, whether also as a part of the device itself) of what no guest may have."""
        yield "the interrupt controller", self.analysis.gic_spans, True
        if self.console is not None and (self.use.console is not None or not self._is_given(self.console)):
            spans = [entry.span for entry in self.analysis.registers(self.console) if entry.span]
            yield f"Xen's console {self.console.path}", spans, self.use.console is not None
        # Some trees have one bank that begins below the devices and ends above them.
        yield "memory of the machine", self.analysis.memory, False

    def _guest_addresses(self, node: Node, host: Node) -> t.Iterator[Finding]:
        """Check that what `reg` says leads to the registers of the device."""
        theirs = [entry.span for entry in self.analysis.registers(host) if entry.span]
        own = [entry.span for entry in registers(node) if entry.span]
        for index, span in enumerate(own):
            ranges = [(Span.sized(entry.guest, entry.machine.size), entry.machine.start) for entry in self.entries]
            holes = span.without([guest for guest, _machine in ranges])
            if holes:
                there = ", ".join(str(guest) for guest, _machine in ranges) or "nothing"
                problem = f"reg says {span}, and xen,reg maps nothing to {holes[0]} of the guest, but to {there}"
                yield self._say(node, "guest-address", problem, "The third value of xen,reg is the page that reg names")
                continue
            first = Span.sized(span.start, 1)
            machine = next((at + span.start - guest.start for guest, at in ranges if guest.contains(first)), span.start)
            wanted = [theirs[index]] if len(own) == len(theirs) else theirs
            if wanted and not any(target.start <= machine < target.end for target in wanted):
                problem = f"reg {span} leads to {machine:#x} of the machine, and {host.path} has {', '.join(map(str, wanted))} there"
                yield self._say(node, "guest-address", problem, "The same page, and the same offset in it, as in the board's tree")

    def _host(self, node: Node, path: str, given: list[Span], force: bool) -> t.Iterator[Finding]:
        host = self.analysis.tree.by_path.get(path)
        if host is None:
            yield self._say(node, "unknown-path", f"the board has no node {path}: Xen stops", "The path of the device in the board's tree")
            return
        console = self.analysis.tree.console
        if self.use.console is None and console is not None and host in (console, *console.ancestors()):
            problem = f"xen,path passes through {console.path}, the console of the firmware and, by default, of Xen"
            yield self._say(node, "console", problem, "Leave it out, or give Xen another console (dtuart= in its command line)", WARNING)
        device = self.analysis.device(host)
        given_here = [entry.machine for entry in self.entries]
        own = pages(entry.span for entry in device.registers if entry.span)
        holes = [hole for span in own for hole in span.without(given_here)]
        wrong = list(self._guest_addresses(node, host))
        if holes:
            told = [entry for entry in registers(node) if entry.span]
            # The guest is not told of what its tree leaves out on purpose, such as the window of a flash memory.
            left_out = bool(told) and not wrong and len(told) < len([entry for entry in device.registers if entry.span])
            where = ", ".join(map(str, holes))
            yield self._say(
                node,
                "missing-map",
                f"registers of {path} are not in xen,reg: {where}",
                f"xen,reg = <{holes[0].start:#x} {holes[0].size:#x} ...>;",
                WARNING if left_out else ERROR,
            )
        else:
            yield from wrong
        yield from self._windows(node)
        yield from self._map(node, host)
        iommu = iommu_of(self.analysis.tree, host)
        if iommu is None and not force:
            fix = "xen,force-assign-without-iommu; if it does no DMA, or the guest's memory is direct-map"
            yield self._say(node, "no-iommu", f"{path} has no IOMMU: Xen does not assign it", fix)
        if iommu is not None and force:
            yield self._say(node, "needless-force", f"{path} is behind {iommu.path}", "Remove xen,force-assign-without-iommu", WARNING)
        for other in self.analysis.page_sharers([device]):
            yield from self._shared(node, other, "shared-page", "is in the same page")
        for number, others in self.analysis.line_sharers([device]).items():
            for other in others:
                yield from self._shared(node, other, "shared-interrupt", f"raises interrupt {number} as well")
        yield from self._interrupts(node, host)

    def _windows(self, node: Node) -> t.Iterator[Finding]:
        """Check that the guest gets the windows of a PCI host bridge that its tree has."""
        mapped = [Span.sized(entry.guest, entry.machine.size) for entry in self.entries]
        for hole in [hole for span in pages(windows(node)) for hole in span.without(mapped)]:
            problem = f"ranges has the window {hole} to PCI devices, which no xen,reg maps"
            yield self._say(node, "missing-map", problem, f"xen,reg = <{hole.start:#x} {hole.size:#x} {hole.start:#x}>;")

    def _map(self, node: Node, host: Node) -> t.Iterator[Finding]:
        """Find interrupts of an `interrupt-map` that Xen does not pass on: it reads only the interrupts of nodes."""
        if not self.dom0less or not is_pci(node):
            return
        raised = ((part, line) for part in host.subtree() for line in interrupts(self.analysis.tree, part))
        passed_on = {line.number for part, line in raised if handed_on(part, line, DOM0LESS)}
        wanted = {entry.cells[1] for entry, _line in bridge_map(self.tree, node) if entry.parent is self.gic and len(entry.cells) == 3}
        lost = sorted(number for number in wanted if number + 32 not in passed_on)
        if lost:
            numbers = ", ".join(str(number + 32) for number in lost)
            cells = " ".join(f"0 {number} 4" for number in lost)
            fix = f"interrupts = <{cells}>; in {host.path} of the host's tree as well, or no such entries"
            problem = f"interrupt-map has {numbers}, which are no interrupts of {host.path} itself: Xen does not pass them on"
            yield self._say(node, "unrouted-interrupt", problem, fix)

    def _shared(self, node: Node, other: Node, rule: str, how: str) -> t.Iterator[Finding]:
        known = self.use.marked is not None
        # dom0 does not use what is disabled, but where that is not known of the tree that boots, it is said.
        if not self._is_given(other) and (is_enabled(other) or not known):
            fix = f"xen,passthrough on {other.path} in the host's tree as well, so that dom0 does not use it"
            yield self._say(node, rule, f"{other.path} {how}", fix, ERROR if known else WARNING)

    def _is_given(self, host: Node) -> bool:
        return not self.paths.isdisjoint([host.path, *(node.path for node in host.ancestors())])

    def _interrupts(self, node: Node, host: Node) -> t.Iterator[Finding]:
        here: dict[tuple[int, int], int] = {}
        for controller, cells, _unused in specifiers(self.tree, node):
            if controller in (None, self.gic):
                here.update({(kind, line): flags & 0xF for kind, line, flags in zip(cells[::3], cells[1::3], cells[2::3])})
        flavour = DOM0LESS if self.dom0less else XL
        lines = [line for line in interrupts(self.analysis.tree, host) if handed_on(host, line, flavour)]
        there = {(0, (line.number or 0) - 32): line.specifier[2] & 0xF for line in lines}
        for key, flags in there.items():
            wanted = f"interrupts = <0 {key[1]} {flags}>;"
            if key not in here:
                yield self._say(node, "missing-interrupt", f"interrupt {key[1] + 32} of {host.path} is missing", wanted)
            elif not here[key]:
                yield self._say(node, "wrong-trigger", f"interrupt {key[1] + 32} of {host.path} has no trigger here", wanted, WARNING)
            elif _edge(here[key]) != _edge(flags):
                trigger = "edge" if _edge(flags) else "level"
                yield self._say(node, "wrong-trigger", f"interrupt {key[1] + 32} of {host.path} is triggered by {trigger}", wanted)
        for key in here.keys() - there.keys():
            raised = ", ".join(f"<0 {line} {flags}>" for (_unused, line), flags in there.items())
            fix = f"Remove it: the device has {raised or 'none'}"
            yield self._say(node, "unknown-interrupt", f"{host.path} does not raise <{key[0]} {key[1]}>", fix)


def _edge(flags: int) -> bool:
    return flags in (1, 2)
