# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the device tree of a board tells about its memory, and about devices that reach it by themselves."""

from __future__ import annotations

import re
import typing as t

from .._device_tree.tree import Node

#: Devices that move data in memory by themselves, by the start of their node's name or by a part of `compatible`.
_DMA_NAMES = re.compile(r"(ethernet|usb|mmc|mmcnr|sdhci|pcie?|sata|ufs|nvme|dma|dma-controller|gpu|gem|v3d|hdmi|virtio_mmio)(@|$)")
_DMA_COMPATIBLE = re.compile(r"virtio,mmio|genet|xhci|ehci|ohci|dwc2|sdhci|ahci|-pcie|pci-host|,gem|vc4|v3d")


def find(root: Node, path: str) -> Node | None:
    """Return the node with a full path, or None."""
    node: Node | None = root
    for name in path.split("/")[1:] if path != "/" else ():
        node = node.child(name) if node else None
    return node


def can_dma(node: Node) -> bool:
    """Tell whether a device reads and writes memory by itself, as far as its node tells."""
    return (
        bool(_DMA_NAMES.match(node.name))
        or bool({"dma-coherent", "dmas"} & set(node.properties))
        or any(_DMA_COMPATIBLE.search(name) for name in node.compatible)
    )


def behind_iommu(node: Node) -> bool:
    """Tell whether an IOMMU stands between a device and the memory."""
    return "iommus" in node.properties


def ram_banks(root: Node) -> list[tuple[int, int]]:
    """Return start and size in bytes of the memory that the tree names; firmware fills it in on some boards, so it may be none."""
    width = root.address_cells + root.size_cells
    banks = []
    for node in root.children:
        if node.text("device_type") == "memory":
            cells = node.cells("reg")
            for index in range(0, len(cells) - width + 1, width):
                start, size = number(cells[index : index + root.address_cells]), number(cells[index + root.address_cells : index + width])
                if size:
                    banks.append((start, size))
    return banks


def number(cells: t.Sequence[int]) -> int:
    """Join cells, the most significant first."""
    value = 0
    for cell in cells:
        value = value << 32 | cell
    return value
