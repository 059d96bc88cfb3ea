# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""PCI host bridges: a guest that has one has everything behind it, and nothing behind it can be given alone.

Sources: IEEE 1275's PCI binding; for Xen, xen/common/device-tree/dom0less-build.c (handle_passthrough_prop) and
xen/drivers/passthrough/device_tree.c. Only the bridge's node says what the processor sees of the bus: its registers, and windows that
all devices behind it share.
"""

from __future__ import annotations

import typing as t

from .._errors import InvalidInput
from .._spans import Span
from .analysis import Analysis, Device
from .interrupts import SPI, Interrupt
from .needs import Need, references
from .registers import bus_ranges, host_bridge, is_pci, pci_windows, windows
from .tree import Node


def device_or_bridge(analysis: Analysis, node: Node) -> Device:
    """Return the device of a node, or, for what is behind a PCI host bridge, that of the bridge."""
    return analysis.device(host_bridge(node) or node)


def requested(analysis: Analysis, nodes: t.Iterable[Node]) -> list[Device]:
    """Return the devices of these nodes; several behind the same PCI host bridge are that bridge, once."""
    found: list[Device] = []
    for node in nodes:
        device = device_or_bridge(analysis, node)
        if not (is_pci(device.node) and any(other is device for other in found)):
            found.append(device)
    return found


def behind(bridge: Node) -> list[Node]:
    """Return the devices behind a bridge that the tree names and that are enabled, other PCI bridges left out."""
    found: list[Node] = []
    for child in bridge.children:
        if child.available:
            found += [child] if child.compatible and not is_pci(child) else []
            found += behind(child)
    return found


def host_bridges(names: t.Iterable[tuple[str, Node]]) -> list[dict[str, t.Any]]:
    """Return what a module says of the PCI host bridges that it passes through.

    :param names: what the user asked for, and the node that this is.
    """
    found: dict[str, dict[str, t.Any]] = {}
    for name, node in names:
        bridge = host_bridge(node)
        if bridge is not None:
            entry = found.setdefault(bridge.path, {"node": bridge.path, "requested": [], "behind": [part.path for part in behind(bridge)]})
            entry["requested"].append(name)
    return list(found.values())


def bridge_notes(analysis: Analysis, bridges: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """Return what follows for the user from passing whole bridges through (`host_bridges`), as warnings."""
    found = []
    for entry in bridges:
        bridge = analysis.tree.by_path[entry["node"]]
        named = [name for name in entry["requested"] if analysis.tree.find(name) is not bridge]
        known = f", of which the tree names {', '.join(entry['behind'])}" if entry["behind"] else ""
        why = f" because {', '.join(named)} cannot be passed through without it" if named else ""
        found.append(f"The PCI host bridge {bridge.path} is passed through as a whole{why}: all PCI devices behind it go with it{known}")
        for need in lost_msi(analysis, bridge):
            provider = need.provider.path if need.provider else "a node that does not exist"
            found.append(
                f"Message-signalled interrupts (MSI) behind {bridge.path} go to {provider}, which the guest does not have: they have "
                "only the four interrupts INTA to INTD, and one whose driver insists on MSI does not work"
            )
    return found


def lost_msi(analysis: Analysis, bridge: Node) -> list[Need]:
    """Return the MSI controllers outside of a bridge that it refers to, each once."""
    inside = {id(node) for node in bridge.subtree()}
    needs = [need for need in references(analysis.tree, bridge) if need.kind == "msi" and id(need.provider) not in inside]
    return list({id(need.provider): need for need in needs if need.provider or need.problem}.values())


def blocked_by(analysis: Analysis, bridge: Node) -> Node | None:
    """Return the enabled IOMMU that a bridge's `iommu-map` names: if Xen drives it, it blocks all DMA from behind the bridge."""
    needs = (need for need in references(analysis.tree, bridge) if need.property == "iommu-map")
    return next((need.provider for need in needs if need.provider is not None and need.provider.available), None)


def check_bridge(analysis: Analysis, node: Node) -> None:
    """Check what is or contains a PCI host bridge, or is behind one.

    :raises InvalidInput: it cannot be passed through.
    """
    bridge = host_bridge(node)
    if bridge is None:
        inner = next((part for part in node.subtree() if is_pci(part)), None)
        if inner is not None:
            raise InvalidInput(
                f"{node.path} is not a PCI host bridge, but contains one",
                rule="a bridge is passed through alone",
                remedy=f"Name {inner.path}",
            )
        return
    if bridge is not node:
        raise InvalidInput(
            f"{node.path} is behind the PCI host bridge {bridge.path}",
            rule="what is behind a PCI host bridge is passed through together with the bridge",
            remedy=f"Name {bridge.path}",
        )
    if (node.address_cells, node.size_cells) != (3, 2):
        problem = f"{node.path} has {node.address_cells} and {node.size_cells} cells for addresses and sizes"
        raise InvalidInput(problem, rule="a PCI bus has three cells for an address and two for a size")
    for span in windows(node):
        for bank in analysis.banks:
            if span.overlaps(bank):
                problem = f"The window {span} of {node.path} overlaps the machine's memory ({bank})"
                raise InvalidInput(problem, rule="a window leads to PCI devices; a guest must not get the memory of others with it")


def lost_windows(bridge: Node) -> list[str]:
    """Return the windows of a bridge that no guest can have, as warnings."""
    return [
        f"The guest does not get window {index} of {bridge.path}, which leads to no address of the processor"
        for index, (_address, size, span) in enumerate(pci_windows(bridge))
        if size and span is None
    ]


def write_buses(bridge: Node, copy: Node) -> list[Span]:
    """Write `ranges` and `dma-ranges` of a host bridge on a bus of two cells for addresses and sizes; return its windows.

    The parent addresses of `ranges` become those of the processor. Those of `dma-ranges` stay as they are: the bus in the partial tree
    has the windows of all buses above.
    """
    forwarded = [(address, span) for address, _size, span in pci_windows(bridge) if span is not None]
    copy.set_cells("ranges", *(cell for address, span in forwarded for cell in (*address, *_wide(span.start), *_wide(span.size))))
    if "dma-ranges" in bridge.properties and bridge.parent is not None:
        cells, width = bridge.cells("dma-ranges"), bridge.address_cells
        step = width + bridge.parent.address_cells + bridge.size_cells
        seen = enumerate(bus_ranges(bridge, "dma-ranges"))
        rows = [[*cells[index * step : index * step + width], *_wide(above), *_wide(size)] for index, (_unused, above, size) in seen]
        copy.set_cells("dma-ranges", *(cell for row in rows for cell in row))
    return [span for _address, span in forwarded]


def _wide(number: int) -> tuple[int, int]:
    return number >> 32, number & 0xFFFFFFFF


def host_interrupts(lines: t.Iterable[Interrupt]) -> str:
    """Return the property `interrupts` that makes Xen route these lines, for a node whose interrupts go to the GIC."""
    cells = [f"{SPI} {line.number - 32} {1 if line.trigger == 'edge' else 4}" for line in lines if line.number is not None]
    return f"interrupts = <{' '.join(cells)}>;"
