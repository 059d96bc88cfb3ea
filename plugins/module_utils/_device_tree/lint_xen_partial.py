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
from .interrupts import interrupts, specifiers
from .needs import references
from .tree import DeviceTree, Node
from .xen_reg import xen_reg
from .xen_rules import DOM0LESS, XL, XL_GIC_PHANDLE, handed_on


def lint_partial(tree: DeviceTree, source: str, analysis: Analysis) -> list[Finding]:
    """Return the mistakes in a partial tree; it is one for dom0less if any of its properties begins with `xen,`, else for xl."""
    return list(_Partial(tree, source, analysis).findings())


class _Partial:
    def __init__(self, tree: DeviceTree, source: str, analysis: Analysis) -> None:
        self.tree, self.source, self.analysis = tree, source, analysis
        self.dom0less = any(name.startswith("xen,") for node in tree.nodes for name in node.properties)
        self.mapped: list[tuple[Node, Span]] = []
        self.gic = next((node for node in tree.root.children if "interrupt-controller" in node.properties), None)
        if not self.dom0less:
            # It is in the tree that xl adds to this one.
            self.gic = Node("gic")
            self.gic.set_cells("#interrupt-cells", 3)
            tree.by_phandle.setdefault(XL_GIC_PHANDLE, self.gic)

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
        devices = [node for node in passthrough.subtree() if node is not passthrough]
        for node in devices:
            yield from self._references(node)
            if "xen,path" in node.properties or "xen,reg" in node.properties:
                yield from self._assignment(node)
            elif self.dom0less and node.parent is passthrough and ("interrupts" in node.properties or "reg" in node.properties):
                fix = 'xen,path = "..."; xen,reg = <machine size guest>;'
                yield self._say(node, "not-assigned", "the guest sees the device, but Xen passes nothing of it through", fix)

    def _controller(self) -> t.Iterator[Finding]:
        gic = self.gic
        if self.dom0less:
            if gic is None or not gic.phandle:
                fix = "gic: gic { #interrupt-cells = <3>; interrupt-controller; };"
                yield self._say(self.tree.root, "no-gic", "no node with a phandle represents the interrupt controller", fix)
            elif gic.name != "gic":
                yield self._say(gic, "no-gic", "Xen looks for the interrupt controller under the name /gic", "Call the node gic")
            if max(self.tree.by_phandle, default=0) >= XL_GIC_PHANDLE:
                node = self.tree.by_phandle[max(self.tree.by_phandle)]
                problem = f"phandle {node.phandle} is in the range of Xen's own ones; newer versions refuse the tree"
                yield self._say(node, "phandle-range", problem, f"A phandle below {XL_GIC_PHANDLE}", WARNING)
        wanted = gic.phandle if gic is not None and self.dom0less else XL_GIC_PHANDLE
        for node in self.tree.nodes:
            parent = node.number("interrupt-parent")
            if parent and parent != wanted and parent not in self.tree.by_phandle:
                problem = f"interrupt-parent {parent:#x} is not a node of this tree"
                yield self._say(node, "interrupt-parent", problem, f"interrupt-parent = <{wanted:#x}>;")

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
            if not entry.whole_pages:
                start, end = span.start // PAGE * PAGE, -(-span.end // PAGE) * PAGE
                problem = f"xen,reg {span.start:#x} {span.size:#x} {entry.guest:#x} is not made of whole pages"
                yield self._say(node, "alignment", problem, f"xen,reg from {start:#x}, size {max(end - start, PAGE):#x}")
            for other, taken in self.mapped:
                if other is not node and taken.overlaps(span):
                    yield self._say(node, "overlap", f"{span} is in xen,reg of {other.path} as well", "Each page once", WARNING)
        self.mapped += [(node, span) for span in given]
        if path:
            yield from self._host(node, path, given, force)

    def _host(self, node: Node, path: str, given: list[Span], force: bool) -> t.Iterator[Finding]:
        host = self.analysis.tree.by_path.get(path)
        if host is None:
            yield self._say(node, "unknown-path", f"the board has no node {path}: Xen stops", "The path of the device in the board's tree")
            return
        device = self.analysis.device(host)
        given_here = [entry.machine for other in self.tree.nodes for entry in xen_reg(other) or []]
        own = pages(entry.span for entry in device.registers if entry.span)
        holes = [hole for span in own for hole in span.without(given_here)]
        if holes:
            where = ", ".join(map(str, holes))
            yield self._say(
                node,
                "missing-map",
                f"registers of {path} are not in xen,reg: {where}",
                f"xen,reg = <{holes[0].start:#x} {holes[0].size:#x} ...>;",
            )
        surplus = [part for span in given for part in span.without(device.pages)]
        for part in surplus:
            yield self._say(node, "surplus-map", f"xen,reg has {part}, where {path} has no registers", "Remove it", WARNING)
        iommu = iommu_of(self.analysis.tree, host)
        if iommu is None and not force:
            fix = "xen,force-assign-without-iommu; if it does no DMA, or the guest's memory is direct-map"
            yield self._say(node, "no-iommu", f"{path} has no IOMMU: Xen does not assign it", fix)
        if iommu is not None and force:
            yield self._say(node, "needless-force", f"{path} is behind {iommu.path}", "Remove xen,force-assign-without-iommu", WARNING)
        sharers = [other for other in self.analysis.page_sharers([device]) if not self._is_given(other)]
        for other in sharers:
            fix = f"xen,passthrough on {other.path} in the host's tree as well, so that dom0 does not use it"
            yield self._say(node, "shared-page", f"{other.path} is in the same page", fix, WARNING)
        for number, others in self.analysis.line_sharers([device]).items():
            for other in others:
                if not self._is_given(other):
                    fix = f"xen,passthrough on {other.path} in the host's tree as well"
                    yield self._say(node, "shared-interrupt", f"{other.path} raises interrupt {number} as well", fix, WARNING)
        yield from self._interrupts(node, host)

    def _is_given(self, host: Node) -> bool:
        return any(node.text("xen,path") == host.path for node in self.tree.nodes)

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
            elif _edge(here[key]) != _edge(flags):
                trigger = "edge" if _edge(flags) else "level"
                yield self._say(node, "wrong-trigger", f"interrupt {key[1] + 32} of {host.path} is triggered by {trigger}", wanted)
        for key in here.keys() - there.keys():
            raised = ", ".join(f"<0 {line} {flags}>" for (_unused, line), flags in there.items())
            fix = f"Remove it: the device has {raised or 'none'}"
            yield self._say(node, "unknown-interrupt", f"{host.path} does not raise <{key[0]} {key[1]}>", fix)


def _edge(flags: int) -> bool:
    return flags in (1, 2)
