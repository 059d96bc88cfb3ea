# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Read a flattened device tree with the standard library alone (Devicetree Specification, chapter 5).

Who serves a board's files need not have libfdt, by which _device_tree_files reads and writes trees.
"""

from __future__ import annotations

import re
import struct
import typing as t

from ._device_tree import Node
from ._errors import InvalidInput

MAGIC = 0xD00DFEED
_BEGIN_NODE, _END_NODE, _PROPERTY, _NOP, _END = 1, 2, 3, 4, 9

#: Devices that move data in memory by themselves, by the start of their node's name or by a part of C(compatible).
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


def parse(blob: bytes, name: str = "the device tree") -> Node:
    """Return the root of a device tree blob.

    :raises InvalidInput: it is damaged, or none.
    """
    try:
        magic, total, structure, strings = struct.unpack_from(">4I", blob)
        if magic != MAGIC or total > len(blob):
            raise ValueError("it does not start with d00dfeed" if magic != MAGIC else "it is cut off")
        return _parse(blob, structure, strings)
    except (ValueError, IndexError, AttributeError, struct.error) as exc:
        raise InvalidInput(f"{name} can not be read as a device tree blob: {exc}", remedy="Make it with dtc -I dts -O dtb") from exc


def _parse(blob: bytes, offset: int, strings: int) -> Node:
    root: Node | None = None
    node: Node | None = None
    while True:
        (token,) = struct.unpack_from(">I", blob, offset)
        offset += 4
        if token == _BEGIN_NODE:
            end = blob.index(b"\0", offset)
            name = blob[offset:end].decode()
            offset = (end + 4) & ~3
            node = Node(name, node)
            root = root or node
        elif token == _END_NODE:
            node = t.cast(Node, node).parent
        elif token == _PROPERTY:
            length, position = struct.unpack_from(">2I", blob, offset)
            start = strings + position
            value = blob[offset + 8 : offset + 8 + length]
            t.cast(Node, node).properties[blob[start : blob.index(b"\0", start)].decode()] = value
            offset = (offset + 8 + length + 3) & ~3
        elif token == _END and root is not None:
            return root
        elif token != _NOP:
            raise ValueError(f"unknown token {token:#x}")


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
