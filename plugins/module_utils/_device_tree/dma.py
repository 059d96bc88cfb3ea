# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""How a device reaches memory by itself (DMA): whether it does so, behind which IOMMU, and through which windows."""

from __future__ import annotations

import re
import typing as t

from .needs import Need, references
from .registers import bus_ranges, is_pci
from .tree import DeviceTree, Node

#: Devices that do DMA, by the beginning of their node's name or by a part of `compatible`.
_DMA_NAMES = re.compile(r"(ethernet|usb|mmc|mmcnr|sdhci|pcie?|sata|ufs|nvme|dma|dma-controller|gpu|gem|v3d|hdmi|virtio_mmio)(@|$)")
_DMA_COMPATIBLE = re.compile(r"virtio,mmio|genet|xhci|ehci|ohci|dwc2|sdhci|ahci|-pcie|pci-host|,gem|vc4|v3d")


def can_dma(node: Node) -> bool:
    """Whether a device reads and writes memory by itself, as far as its node says."""
    return (
        bool(_DMA_NAMES.match(node.name))
        or bool({"dma-coherent", "dmas"} & set(node.properties))
        or any(_DMA_COMPATIBLE.search(name) for name in node.compatible)
    )


def iommu_of(tree: DeviceTree, node: Node) -> Node | None:
    """Return the IOMMU that the DMA of a node itself goes through, whatever is below it; None if there is none."""
    return enabled_iommu(need for need in references(tree, node) if need.property == "iommus")


def enabled_iommu(needs: t.Iterable[Need]) -> Node | None:
    """Return the first IOMMU among the providers that is enabled.

    Source: xen/drivers/passthrough/device_tree.c (iommu_dt_xlate): behind one with another `status`, Xen does not protect a device.
    """
    providers = (need.provider for need in needs if need.kind == "iommu")
    return next((provider for provider in providers if provider and provider.available), None)


def dma_windows(tree: DeviceTree, node: Node) -> list[tuple[int, int, int]] | None:
    """Return how a device sees memory, as (its address, the processor's address, size); None if the tree does not say.

    Empty if it sees all memory at the same addresses as the processor. A window at the same address is returned as well: it can
    be smaller than the memory.
    """
    found: list[tuple[int, int, int]] = []
    for bus in _dma_buses(tree, node):
        if bus.properties.get("dma-ranges"):
            entries = bus_ranges(bus, "dma-ranges") if not is_pci(bus) else []
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
    """Yield the buses between a device and memory: those above it, unless `interconnects` names another path (dma-mem)."""
    current: Node | None = node
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        ways = references(tree, current) if "interconnects" in current.properties else []
        named = (need.provider for need in ways if (need.property, need.name) == ("interconnects", "dma-mem"))
        current = next(named, None) or current.parent
        if current is not None:
            yield current
