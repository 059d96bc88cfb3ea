# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Device trees as files: flattened ones (dtb), and the live tree of a running kernel."""

from __future__ import annotations

import os
import struct
import typing as t

from .._errors import InvalidInput
from .._file_types import DTB
from .._files import file_remedy, resolve
from .._spans import Span
from .tree import DeviceTree, Node

#: The module option that names a tree, see the documentation fragment device_tree.
DEVICE_TREE_OPTION: dict[str, t.Any] = {"type": "path", "default": "/proc/device-tree"}
#: Bytes of the header, and of the entry that ends the empty list of reserved memory (Devicetree Specification 5).
_HEADER, _RESERVED = 40, 16
_VERSION, _COMPATIBLE = 17, 16
_BEGIN_NODE, _END_NODE, _PROPERTY, _NOP, _END = 1, 2, 3, 4, 9
#: Linux does not accept deeper trees either (drivers/of/fdt.c).
_MAX_DEPTH = 64


def read_device_tree(path: str) -> DeviceTree:
    """Read a dtb, or a directory such as `/proc/device-tree`.

    :raises InvalidInput: there is no device tree, or it cannot be read.
    """
    if os.path.isdir(path):
        return DeviceTree(_read_directory(path), path)
    try:
        with open(path, "rb") as handle:
            data = handle.read()
    except OSError as exc:
        raise InvalidInput(
            f"Cannot read the device tree {path}: {exc.strerror}",
            rule="a device tree is a dtb file, or the directory /proc/device-tree of a board that runs Linux",
            remedy=file_remedy(exc),
        ) from exc
    tree = DeviceTree(parse_dtb(data, path), path)
    tree.set_aside = memory_reservations(data)
    return tree


def parse_dtb(data: bytes, source: str) -> Node:
    """Return the root of a flattened device tree.

    Without libfdt: its Python binding reads beyond the end of a damaged blob and crashes the interpreter.

    :raises InvalidInput: it is not one, or it is damaged.
    """
    if not DTB.matches(data):
        raise InvalidInput(
            f"{source} is not a device tree blob",
            rule="a dtb begins with the bytes d0 0d fe ed",
            remedy="Compile source text with: dtc -I dts -O dtb -o FILE.dtb FILE.dts",
        )
    try:
        return _parse(data)
    except (struct.error, ValueError) as exc:
        raise InvalidInput(
            f"The device tree blob {source} is damaged: {exc}",
            rule="a dtb has everything that its header and its nodes announce",
            remedy="Copy the file again, or compile it again with dtc",
        ) from exc


def check_outputs(outputs: t.Sequence[str], *sources: str) -> None:
    """Check that no two outputs are the same file, and that none overwrites a source.

    :raises InvalidInput: one would.
    """
    taken = {resolve(source) for source in sources}
    for output in outputs:
        place = resolve(output)
        if place in taken:
            raise InvalidInput(
                f"{output} would be written over a file that it is made from, or over another output",
                rule="each file has a path of its own",
                remedy="Choose another destination",
            )
        taken.add(place)


def _parse(data: bytes) -> Node:
    """Read the blob token by token.

    :raises ValueError, struct.error: it is damaged.
    """
    header: tuple[int, ...] = struct.unpack_from(">9I", data, 4)
    size, start, names_start, _unused, version, compatible, _unused, names_size, length = header
    if not compatible <= _VERSION <= version:
        raise ValueError(f"its version is {version}, not {_VERSION}")
    if not max(start + length, names_start + names_size) <= size <= len(data):
        raise ValueError(f"its header does not fit its {len(data)} bytes")
    block, names = data[start : start + length], data[names_start : names_start + names_size]
    open_nodes: list[Node] = []
    at = 0
    while True:
        (token,) = struct.unpack_from(">I", block, at)
        at += 4
        if token == _BEGIN_NODE:
            name = _string(block, at)
            at = _aligned(at + len(name) + 1)
            if len(open_nodes) == _MAX_DEPTH or (open_nodes and (not name or b"/" in name)):
                raise ValueError(f"a node at offset {at:#x} has no name, or is below {_MAX_DEPTH} others")
            open_nodes.append(Node(name.decode(), open_nodes[-1]) if open_nodes else Node(""))
        elif token == _PROPERTY and open_nodes:
            size, name_at = struct.unpack_from(">2I", block, at)
            value = block[at + 8 : at + 8 + size]
            if len(value) < size:
                raise ValueError(f"a property at offset {at:#x} announces {size} bytes")
            open_nodes[-1].properties[_string(names, name_at).decode()] = value
            at = _aligned(at + 8 + size)
        elif token == _END_NODE and open_nodes:
            node = open_nodes.pop()
            if not open_nodes:
                return node
        elif token != _NOP:
            raise ValueError(f"there is {token:#x} at offset {at:#x}")


def memory_reservations(data: bytes) -> list[Span]:
    """Return the memory that a blob sets aside in its own list (/memreserve/ in the source), apart from the nodes."""
    at, found = int.from_bytes(data[16:20], "big"), []
    while at + 16 <= len(data):
        start, size = struct.unpack_from(">2Q", data, at)
        if not (start or size):
            break
        found.append(Span.sized(start, size))
        at += 16
    return found


def _string(block: bytes, start: int) -> bytes:
    end = block.find(b"\0", start)
    if end < 0:
        raise ValueError(f"a name at offset {start:#x} has no end")
    return block[start:end]


def _aligned(offset: int) -> int:
    return (offset + 3) // 4 * 4


def _read_directory(path: str) -> Node:
    """Read a tree that the kernel exports: each node is a directory, each property a file.

    `name`, which the kernel adds to each node, is left out, so that a live tree equals its dtb.
    """
    # Checked first: another directory that somebody names by mistake may be endless.
    if not any(os.path.isfile(os.path.join(path, name)) for name in ("compatible", "#address-cells")):
        raise InvalidInput(f"{path} is not a device tree", rule="its root has the property compatible or #address-cells")
    root = Node("")
    waiting = [(path, root)]
    try:
        while waiting:
            directory, node = waiting.pop()
            for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, Node(entry.name, node)))
                elif entry.name != "name":
                    with open(entry.path, "rb") as handle:
                        node.properties[entry.name] = handle.read()
    except OSError as exc:
        raise InvalidInput(f"Cannot read the device tree in {path}: {exc}", remedy=file_remedy(exc)) from exc
    return root


def to_dtb(root: Node) -> bytes:
    """Return a tree in its flattened form (Devicetree Specification 5)."""
    structure, names = bytearray(), bytearray()
    places: dict[str, int] = {}

    def write(*numbers: int, data: bytes = b"") -> None:
        structure.extend(struct.pack(f">{len(numbers)}I", *numbers) + data + bytes(-len(data) % 4))

    def add(node: Node) -> None:
        write(_BEGIN_NODE, data=node.name.encode() + b"\0")
        for name, value in node.properties.items():
            if name not in places:
                places[name] = len(names)
                names.extend(name.encode() + b"\0")
            write(_PROPERTY, len(value), places[name], data=value)
        for child in node.children:
            add(child)
        write(_END_NODE)

    add(root)
    write(_END)
    start = _HEADER + _RESERVED
    end = start + len(structure)
    header = (end + len(names), start, end, _HEADER, _VERSION, _COMPATIBLE, 0, len(names), len(structure))
    return DTB.magic + struct.pack(">9I", *header) + bytes(_RESERVED) + structure + names
