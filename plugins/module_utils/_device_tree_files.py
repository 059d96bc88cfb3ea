# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Device trees as files: a flattened one (dtb) by libfdt, the live one of a running kernel, and source text to look at."""

from __future__ import annotations

import os
import struct
import tempfile
import typing as t

from ._device_tree import DeviceTree, Node
from ._errors import InvalidInput, NotOnThisHost
from ._runner import Runner

#: The module option that names a tree, see the documentation fragment device_tree.
DEVICE_TREE_OPTION: dict[str, t.Any] = {"type": "path", "default": "/proc/device-tree"}
_MAGIC = b"\xd0\x0d\xfe\xed"
_HEADER = 40
#: Room that a tree under construction has, in bytes; libfdt makes it larger when it must.
_FIRST_SIZE = 64 * 1024


def _libfdt() -> t.Any:
    """Return the Python binding of libfdt.

    :raises NotOnThisHost: it is not installed where the module runs.
    """
    try:
        import libfdt
    except ImportError as exc:
        raise NotOnThisHost(
            "The Python library libfdt is not installed where this task runs",
            remedy="Install the Debian package python3-libfdt, or pylibfdt from PyPI, for the Python that Ansible uses there; "
            "with 'delegate_to: localhost' that is the controller",
        ) from exc
    return libfdt


def read_device_tree(path: str) -> DeviceTree:
    """Read a dtb, or a directory such as C(/proc/device-tree).

    :raises InvalidInput: there is no device tree.
    :raises NotOnThisHost: a dtb, and libfdt is missing.
    """
    if os.path.isdir(path):
        return DeviceTree(_read_directory(path), path)
    try:
        with open(path, "rb") as handle:
            data = handle.read()
    except OSError as exc:
        raise InvalidInput(
            f"Can not read the device tree {path}: {exc.strerror}",
            rule="a device tree is a dtb file, or the directory /proc/device-tree of a board that runs Linux",
        ) from exc
    return DeviceTree(parse_dtb(data, path), path)


def parse_dtb(data: bytes, source: str) -> Node:
    """Return the root of a flattened device tree.

    :raises InvalidInput: it is none, or it is damaged.
    """
    if data[:4] != _MAGIC:
        raise InvalidInput(
            f"{source} is not a device tree blob",
            rule="a dtb begins with the bytes d0 0d fe ed",
            remedy="Compile source text with: dtc -I dts -O dtb -o FILE.dtb FILE.dts",
        )
    if not _header_is_sound(data):
        raise InvalidInput(f"The device tree blob {source} is damaged: its header does not fit its {len(data)} bytes")
    libfdt = _libfdt()
    try:
        return _parse(libfdt, libfdt.FdtRo(data))
    # Of a name that is no text, the binding makes a SystemError.
    except (libfdt.FdtException, UnicodeDecodeError, SystemError) as exc:
        raise InvalidInput(f"The device tree blob {source} is damaged: {exc}") from exc


def read_source(path: str, runner: Runner) -> DeviceTree:
    """Read source text by way of dtc; the phandles of its references are kept, right or wrong.

    :raises CommandFailed: dtc does not take it.
    :raises NotOnThisHost: dtc is not installed.
    """
    with tempfile.TemporaryDirectory() as directory:
        target = os.path.join(directory, "tree.dtb")
        remedy = "It needs the Debian package device-tree-compiler, and source text that dtc takes (without #include)"
        runner.run(["dtc", "-q", "-f", "-I", "dts", "-O", "dtb", "-o", target, path], remedy=remedy)
        return DeviceTree(read_device_tree(target).root, path)


def _header_is_sound(data: bytes) -> bool:
    """Whether all parts are where the header says; libfdt trusts it, and would read beyond the end of the file."""
    if len(data) < _HEADER:
        return False
    fields: tuple[int, ...] = struct.unpack(">9I", data[4:_HEADER])
    size, structure, strings, _unused, version, compatible, _unused, strings_size, structure_size = fields
    ends = structure + structure_size, strings + strings_size, size
    return version >= 17 and compatible <= 17 and min(structure, strings) >= _HEADER and max(ends) == size <= len(data)


def _parse(libfdt: t.Any, fdt: t.Any) -> Node:
    quiet = (libfdt.NOTFOUND,)
    offset, depth = 0, 0
    root = Node("")
    parents = [root]
    node = root
    while True:
        at = fdt.first_property_offset(offset, quiet)
        while at >= 0:
            value = fdt.get_property_by_offset(at)
            node.properties[value.name] = bytes(value)
            at = fdt.next_property_offset(at, quiet)
        offset, depth = fdt.next_node(offset, depth)
        if depth < 1:
            return root
        del parents[depth:]
        node = Node(fdt.get_name(offset), parents[-1])
        parents.append(node)


def _read_directory(path: str) -> Node:
    """Read a tree that the kernel shows as files; a property is a file, a node is a directory.

    C(name), which the kernel adds to each node, is left out, so that a live tree equals the dtb it came from.
    """
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
        raise InvalidInput(f"Can not read the device tree in {path}: {exc}", remedy="Run the task as root (become: true)") from exc
    if "compatible" not in root.properties and "#address-cells" not in root.properties:
        raise InvalidInput(f"{path} is not a device tree", rule="its root has the property compatible or #address-cells")
    return root


def to_dtb(root: Node) -> bytes:
    """Return a tree in its flattened form."""
    libfdt = _libfdt()
    fdt = libfdt.FdtSw(_FIRST_SIZE)
    fdt.finish_reservemap()

    def add(node: Node) -> None:
        with fdt.add_node(node.name):
            for name, value in node.properties.items():
                fdt.property(name, value)
            for child in node.children:
                add(child)

    add(root)
    flat = fdt.as_fdt()
    flat.pack()
    return bytes(flat.as_bytearray())


def to_dts(root: Node) -> str:
    """Return a tree as source text that dtc reads, for people to look at."""
    lines = ["/dts-v1/;", ""]

    def add(node: Node, indent: str) -> None:
        lines.append(f"{indent}{node.name or '/'} {{")
        for name, value in node.properties.items():
            lines.append(f"{indent}\t{name}{' = ' + _render(value) if value else ''};")
        for child in node.children:
            add(child, indent + "\t")
        lines.append(f"{indent}}};")

    add(root, "")
    return "\n".join(lines) + "\n"


def _render(value: bytes) -> str:
    parts = value[:-1].split(b"\0")
    if value.endswith(b"\0") and all(part and all(32 <= byte < 127 for byte in part) for part in parts):
        escaped = (part.decode().replace("\\", "\\\\").replace('"', '\\"') for part in parts)
        return ", ".join(f'"{part}"' for part in escaped)
    if len(value) % 4 == 0:
        return "<" + " ".join(f"{int.from_bytes(value[at : at + 4], 'big'):#x}" for at in range(0, len(value), 4)) + ">"
    return "[" + value.hex(" ") + "]"
