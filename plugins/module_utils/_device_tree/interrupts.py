# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Which GIC interrupts a device raises, through interrupt parents, nexus nodes and controllers in between."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._spans import Span, pages
from .registers import registers
from .tree import DeviceTree, Node, once_per_node

GIC_V2 = (
    "arm,gic-400",
    "arm,cortex-a15-gic",
    "arm,cortex-a7-gic",
    "arm,cortex-a9-gic",
    "arm,cortex-a5-gic",
    "arm,eb11mp-gic",
    "arm,arm11mp-gic",
    "arm,tc11mp-gic",
    "arm,pl390",
    "brcm,brahma-b15-gic",
    "qcom,msm-qgic2",
    "qcom,msm-8660-qgic",
)
GIC_V3 = ("arm,gic-v3", "qcom,msm8996-gic-v3", "hisilicon,hip06-gic")
#: Controllers that pass the GIC's own numbers on unchanged: they only wake the machine or set a line's polarity.
_TRANSPARENT = (
    "fsl,imx7d-gpc",
    "fsl,imx8mq-gpc",
    "fsl,imx8mm-gpc",
    "nvidia,tegra20-ictlr",
    "nvidia,tegra30-ictlr",
    "nvidia,tegra124-ictlr",
    "nvidia,tegra210-ictlr",
    "mediatek,mt6577-sysirq",
    "allwinner,sun6i-a31-r-intc",
    "allwinner,sun50i-h6-r-intc",
)
#: Positions of the processor interface and of the virtual one in the registers of a GICv2 (Arm IHI 0048).
_GICC, _GICV = 1, 3
SPI, PPI = 0, 1
#: Shared peripheral interrupts begin at 32, private ones at 16. 1020 and above are reserved (GIC specification).
INTERRUPTS = 1020
_FIRST = {SPI: 32, PPI: 16}
_KIND = {SPI: "spi", PPI: "ppi"}
_HOPS = 16


@dataclass(frozen=True)
class Interrupt:
    """One interrupt of a device."""

    name: str
    #: The controller that it ends in, as far as it could be followed.
    controller: str
    #: Its cells, as many as the controller's `#interrupt-cells` says.
    specifier: tuple[int, ...]
    #: The line of the GIC, or None if it does not end there.
    number: int | None = None
    #: spi or ppi.
    kind: str = ""
    #: edge or level; empty if the tree does not say.
    trigger: str = ""
    #: A controller on the way that passes it on unchanged.
    through: str = ""
    problem: str = ""


def is_gic(node: Node) -> bool:
    """Whether a node is an interrupt controller that Xen and seL4 drive."""
    return "interrupt-controller" in node.properties and any(name in GIC_V2 + GIC_V3 for name in node.compatible)


def find_gic(tree: DeviceTree) -> Node | None:
    """Return the processors' GIC: the first one whose own interrupt, if any, does not go to another GIC."""
    found = [node for node in tree.nodes if is_gic(node)]
    return next((node for node in found if interrupt_parent(tree, node) not in [other for other in found if other is not node]), None)


def gic_v2_interfaces(gic: Node | None) -> tuple[Span, Span] | None:
    """Return the pages of the processor interface and of the virtual one of a GICv2 with virtualisation; None for other GICs."""
    if gic is None or not any(name in GIC_V2 for name in gic.compatible):
        return None
    return _interfaces(gic, _GICC)


def gic_v3_interfaces(gic: Node | None) -> tuple[Span, Span] | None:
    """Return the same of a GICv3 that has them for the sake of older software, after its redistributors (arm,gic-v3.yaml in Linux)."""
    if gic is None or not any(name in GIC_V3 for name in gic.compatible):
        return None
    return _interfaces(gic, 1 + max(gic.number("#redistributor-regions", 1), 1))


def _interfaces(gic: Node, first: int) -> tuple[Span, Span] | None:
    found = [entry.span for entry in registers(gic)]
    if len(found) <= first + _GICV - _GICC:
        return None
    real, virtual = found[first], found[first + _GICV - _GICC]
    return (pages([real])[0], pages([virtual])[0]) if real and virtual else None


def interrupt_parent(tree: DeviceTree, node: Node) -> Node | None:
    """Return where the interrupts of a node go: the nearest interrupt parent or ancestor with `#interrupt-cells`."""
    current: Node | None = node
    for _unused in range(64):
        if current is None:
            return None
        current = tree.by_phandle.get(current.number("interrupt-parent")) if "interrupt-parent" in current.properties else current.parent
        if current is not None and "#interrupt-cells" in current.properties:
            return current
    return None


@once_per_node
def interrupts(tree: DeviceTree, node: Node) -> list[Interrupt]:
    """Return the interrupts of a node, with their number in the GIC if they end there.

    Sources: Devicetree Specification 2.4; for cells of a GIC, Linux Documentation/devicetree/bindings/interrupt-controller.
    """
    names = node.strings("interrupt-names")
    found = []
    for index, (controller, cells, problem) in enumerate(specifiers(tree, node)):
        name = names[index] if index < len(names) else ""
        if controller is not None:
            found.append(replace(_follow(tree, node, controller, cells), name=name))
        elif problem:
            found.append(Interrupt(name, "", tuple(cells), problem=problem))
    # Amlogic's GPIO interrupt controller raises GIC interrupts that it does not list as interrupts.
    gic = find_gic(tree) if "amlogic,channel-interrupts" in node.properties else None
    if gic is not None:
        found += [
            _decode(Interrupt(f"channel{index}", gic.path, (SPI, line, 1)))
            for index, line in enumerate(node.cells("amlogic,channel-interrupts"))
        ]
    return found


def specifiers(tree: DeviceTree, node: Node) -> t.Iterator[tuple[Node | None, list[int], str]]:
    """Yield (controller, cells, problem) for each interrupt; without controller and problem, its place is left empty."""
    extended = "interrupts-extended" in node.properties
    if not extended and "interrupts" not in node.properties:
        return
    cells = node.cells("interrupts-extended" if extended else "interrupts")
    parent = None if extended else interrupt_parent(tree, node)
    at, problem = 0, "it has no interrupt parent"
    while at < len(cells):
        if extended:
            phandle, at = cells[at], at + 1
            if not phandle:
                yield None, [], ""
                continue
            parent, problem = tree.by_phandle.get(phandle), f"interrupts-extended refers to phandle {phandle:#x}, which no node has"
        if parent is None:
            yield None, cells[at:], problem
            return
        width = parent.number("#interrupt-cells", 0)
        if not width or at + width > len(cells):
            yield None, cells[at:], f"the cells are not a multiple of what {parent.path} takes ({width})"
            return
        yield parent, cells[at : at + width], ""
        at += width


def _follow(tree: DeviceTree, node: Node, controller: Node, cells: list[int], address: list[int] | None = None) -> Interrupt:
    # A nexus also compares the unit address: the device's in the first nexus, after that what the map says.
    through = ""
    for _unused in range(_HOPS):
        here = Interrupt("", controller.path, tuple(cells), through=through)
        above = interrupt_parent(tree, controller)
        if is_gic(controller):
            if above is not None and above is not controller and is_gic(above):
                return replace(here, problem=f"it goes to {controller.path}, which is not the GIC of the processors")
            return _decode(here)
        if "interrupt-controller" not in controller.properties and "interrupt-map" in controller.properties:
            if address is None:
                address = _unit_address(node, controller)
            target = _look_up(tree, controller, address, cells)
            if isinstance(target, str):
                return replace(here, problem=target)
            controller, address, cells = target
        elif any(name in _TRANSPARENT for name in controller.compatible):
            if above is None:
                return replace(here, problem=f"{controller.path} has no interrupt parent")
            controller, through = above, controller.path
        else:
            return replace(here, problem=f"it goes to {controller.path} ({(controller.compatible or ['?'])[0]}), not to the GIC")
    return Interrupt("", controller.path, tuple(cells), problem="its interrupt parents form a circle")


def _unit_address(node: Node, nexus: Node) -> list[int]:
    """Return a device's address in the cells of a nexus: those of the nexus itself or of the nearest node above that has them."""
    width = next((bus.address_cells for bus in (nexus, *nexus.ancestors()) if "#address-cells" in bus.properties), nexus.address_cells)
    # More cells than the map has cannot match.
    width = min(width, len(nexus.cells("interrupt-map")))
    return (node.cells("reg") + [0] * width)[:width]


class MapEntry(t.NamedTuple):
    """One entry of `interrupt-map`."""

    #: Unit address and interrupt on this side, as many cells as the nexus takes.
    own: list[int]
    #: Where it sends them; None if there is a problem.
    parent: Node | None
    address: list[int]
    cells: list[int]
    problem: str = ""


def map_entries(tree: DeviceTree, nexus: Node, width: int) -> t.Iterator[MapEntry]:
    """Yield the entries of the map of a nexus; the last one can be a problem.

    :param width: cells of a unit address and of an interrupt of the nexus, together.
    """
    table, at = nexus.cells("interrupt-map"), 0
    while at + width < len(table):
        own = table[at : at + width]
        at += width
        parent = tree.by_phandle.get(table[at])
        if parent is None:
            yield MapEntry(own, None, [], [], f"the interrupt-map of {nexus.path} refers to phandle {table[at]:#x}, which no node has")
            return
        address_width, cell_width = parent.number("#address-cells", 0), parent.number("#interrupt-cells", 0)
        target = table[at + 1 : at + 1 + address_width + cell_width]
        at += 1 + address_width + cell_width
        if len(target) < address_width + cell_width:
            yield MapEntry(own, None, [], [], f"the interrupt-map of {nexus.path} ends within an entry")
            return
        yield MapEntry(own, parent, target[:address_width], target[address_width:])


def bridge_map(tree: DeviceTree, bridge: Node) -> list[tuple[MapEntry, Interrupt]]:
    """Return the `interrupt-map` of a PCI bridge, each entry with the interrupt that it ends in."""
    found = []
    for entry in map_entries(tree, bridge, bridge.address_cells + bridge.number("#interrupt-cells", 1)):
        line = Interrupt("", bridge.path, tuple(entry.cells), problem=entry.problem)
        if entry.parent is not None:
            line = _follow(tree, bridge, entry.parent, entry.cells, entry.address)
        found.append((entry, replace(line, name="intx", through=bridge.path)))
    return found


def map_lines(tree: DeviceTree, bridge: Node) -> list[Interrupt]:
    """Return the interrupts that a PCI bridge raises for the devices behind it (INTx), each once.

    What ends in a controller of the bridge's own is not one: that controller's own interrupt is.
    """
    inside = {node.path for node in bridge.subtree()}
    lines: dict[tuple[int | None, str], Interrupt] = {}
    for _entry, line in bridge_map(tree, bridge):
        if line.number is not None or line.controller not in inside:
            lines.setdefault((line.number, line.problem), line)
    return list(lines.values())


def _look_up(tree: DeviceTree, nexus: Node, address: list[int], cells: list[int]) -> tuple[Node, list[int], list[int]] | str:
    """Return where the map of a nexus sends an interrupt (controller, address, cells), or why it does not."""
    own = address + cells
    mask = nexus.cells("interrupt-map-mask") or [0xFFFFFFFF] * len(own)
    for entry in map_entries(tree, nexus, len(own)):
        if entry.parent is None:
            return entry.problem
        if entry.parent.available and all(left & bits == right & bits for left, right, bits in zip(own, entry.own, mask)):
            return entry.parent, entry.address, entry.cells
    return f"the interrupt-map of {nexus.path} has no entry for it"


def _decode(interrupt: Interrupt) -> Interrupt:
    if len(interrupt.specifier) < 3:
        return replace(interrupt, problem=f"a GIC takes three cells, not {len(interrupt.specifier)}")
    space, line, flags = interrupt.specifier[:3]
    if space not in _FIRST:
        return replace(interrupt, problem=f"cell type {space}: extended interrupts of GICv3.1 cannot be passed on")
    # Linux and Xen only add 16 to the number of a private interrupt: what is then 32 or more is a shared one (gic_irq_xlate).
    number = _FIRST[space] + line
    if number >= INTERRUPTS:
        return replace(interrupt, problem=f"there is no {_KIND[space].upper()} {line}: a GIC has interrupts up to {INTERRUPTS - 1}")
    sense = flags & 0xF
    trigger = "edge" if sense in (1, 2) else "level" if sense in (4, 8) else ""
    problem = "" if trigger else f"trigger type {sense} is neither edge nor level"
    return replace(interrupt, number=number, kind=_KIND[PPI if number < _FIRST[SPI] else SPI], trigger=trigger, problem=problem)
