# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The devices of a board, as the return values of device_tree_info."""

from __future__ import annotations

import typing as t

from .analysis import Analysis, Device
from .dma import dma_windows
from .needs import Need, clock_rate, closure, reach
from .registers import host_bridge
from .tree import DeviceTree, Node, is_enabled


def report(analysis: Analysis, names: t.Iterable[str] | None = None) -> dict[str, t.Any]:
    """Return what is known about these devices; without names, about all that have addresses or interrupts.

    :raises InvalidInput: a name does not identify one node.
    """
    tree = analysis.tree
    devices = analysis.devices() if names is None else [analysis.device(tree.find(name)) for name in names]
    return {
        "model": tree.root.text("model"),
        "compatible": tree.root.compatible,
        "interrupt_controller": analysis.gic.path if analysis.gic else None,
        "nodes": len(tree.nodes),
        "devices": [report_device(analysis, device) for device in devices],
    }


def report_device(analysis: Analysis, device: Device) -> dict[str, t.Any]:
    """Return what is known about one device."""
    tree, node = analysis.tree, device.node
    lines = analysis.line_sharers([device])
    memory = dma_windows(tree, node)
    bridge = host_bridge(node)
    return {
        "path": device.path,
        "aliases": tree.names_of(node, tree.aliases),
        "labels": tree.names_of(node, tree.labels),
        "compatible": node.compatible,
        "enabled": is_enabled(node),
        "console": node is tree.console,
        "registers": [
            {"name": entry.name, "bus_address": entry.bus_address, "address": entry.address, "size": entry.size}
            for entry in device.registers
            if not entry.problem
        ],
        "pages": [{"address": span.start, "size": span.size} for span in device.pages],
        "page_sharers": [other.path for other in analysis.page_sharers([device])],
        "host_bridge": bridge.path if bridge else None,
        "windows": [{"address": span.start, "size": span.size} for span in device.windows],
        "interrupts": [
            {
                "name": line.name,
                "number": line.number,
                "kind": line.kind,
                "trigger": line.trigger,
                "controller": line.controller,
                "sharers": [other.path for other in lines.get(line.number, [])] if line.number is not None else [],
            }
            for line in device.interrupts
        ],
        "iommu": device.iommu.path if device.iommu else None,
        "dma_windows": None if memory is None else [{"bus_address": bus, "address": at, "size": size} for bus, at, size in memory],
        "macs": device.macs,
        "needs": [_need(tree, need, need.provider, device) for need in device.needs if need.provider],
        "closure": closure(tree, node),
        "problems": device.problems,
    }


def _need(tree: DeviceTree, need: Need, provider: Node, device: Device) -> dict[str, t.Any]:
    return {
        "kind": need.kind,
        "property": need.property,
        "name": need.name,
        "consumer": need.consumer.path,
        "provider": provider.path,
        "args": list(need.args),
        "rate": clock_rate(tree, provider) if need.kind == "clock" else None,
        "reach": reach(need, [device.node]),
    }
