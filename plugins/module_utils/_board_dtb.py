# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Read a flattened device tree, as far as a board's boot files need it (Devicetree Specification, chapter 5)."""

from __future__ import annotations

import re
import struct
import typing as t
from dataclasses import dataclass, field

from ._errors import InvalidInput

MAGIC = 0xD00DFEED
_BEGIN_NODE, _END_NODE, _PROPERTY, _NOP, _END = 1, 2, 3, 4, 9

#: Devices that move data in memory by themselves, by the start of their node's name or by a part of C(compatible).
_DMA_NAMES = re.compile(r"(ethernet|usb|mmc|mmcnr|sdhci|pcie?|sata|ufs|nvme|dma|dma-controller|gpu|gem|v3d|hdmi|virtio_mmio)(@|$)")
_DMA_COMPATIBLE = re.compile(r"virtio,mmio|genet|xhci|ehci|ohci|dwc2|sdhci|ahci|-pcie|pci-host|,gem|vc4|v3d")


@dataclass
class Node:
    """One node; I(path) is its full path."""

    path: str
    parent: Node | None = None
    properties: dict[str, bytes] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def walk(self) -> t.Iterator[Node]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, path: str) -> Node | None:
        """Return the node with a full path, or None."""
        return next((node for node in self.walk() if node.path == path), None)

    def text(self, name: str) -> str | None:
        """Return a property that is a text."""
        value = self.properties.get(name)
        return None if value is None else value.rstrip(b"\0").decode("utf-8", "replace")

    def cells(self, name: str) -> list[int]:
        """Return a property that is a list of 32-bit numbers; an absent one is empty."""
        value = self.properties.get(name, b"")
        return [number for (number,) in struct.iter_unpack(">I", value[: len(value) // 4 * 4])]

    @property
    def can_dma(self) -> bool:
        """Whether the device reads and writes memory by itself, as far as its node tells."""
        return (
            bool(_DMA_NAMES.match(self.name))
            or bool({"dma-coherent", "dmas"} & set(self.properties))
            or bool(_DMA_COMPATIBLE.search(self.text("compatible") or ""))
        )

    @property
    def behind_iommu(self) -> bool:
        """Whether an IOMMU stands between the device and the memory."""
        return "iommus" in self.properties


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
            child = Node(f"{node.path.rstrip('/')}/{name}" if node else "/", node)
            if node:
                node.children.append(child)
            node = child
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
    address_cells, size_cells = (root.cells(f"#{what}-cells") or [default] for what, default in (("address", 2), ("size", 1)))
    banks = []
    for node in root.children:
        if node.text("device_type") == "memory":
            cells = node.cells("reg")
            width = address_cells[0] + size_cells[0]
            for index in range(0, len(cells) - width + 1, width):
                start = number(cells[index : index + address_cells[0]])
                size = number(cells[index + address_cells[0] : index + width])
                if size:
                    banks.append((start, size))
    return banks


def number(cells: t.Sequence[int]) -> int:
    """Join cells, the most significant first."""
    value = 0
    for cell in cells:
        value = value << 32 | cell
    return value
