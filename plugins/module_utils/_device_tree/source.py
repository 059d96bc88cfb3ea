# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Device trees as source text (dts): read by dtc, and written for people to read."""

from __future__ import annotations

import os
import tempfile

from .._runner import Runner
from .dtb import read_device_tree
from .tree import DeviceTree, Node


def read_source(path: str, runner: Runner) -> DeviceTree:
    """Read source text with dtc; the phandles of its references are kept, right or wrong.

    :raises CommandFailed: dtc does not accept it.
    :raises NotOnThisHost: dtc is not installed.
    """
    with tempfile.TemporaryDirectory() as directory:
        target = os.path.join(directory, "tree.dtb")
        remedy = "It takes the Debian package device-tree-compiler, and source text that dtc accepts (without #include)"
        runner.run(["dtc", "-q", "-f", "-I", "dts", "-O", "dtb", "-o", target, path], remedy=remedy)
        return DeviceTree(read_device_tree(target).root, path)


def to_dts(root: Node) -> str:
    """Return a tree as source text that dtc accepts, for people to read."""
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
