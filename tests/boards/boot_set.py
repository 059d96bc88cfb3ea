# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a boot script leaves in memory, for an emulated board that has no U-Boot in Debian: QEMU loads the files there itself."""

from __future__ import annotations

import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".collections"))

from ansible_collections.xen.driver_domains.plugins.module_utils._board.script_image import text_of
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import parse_dtb, to_dtb
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import Node
from ansible_collections.xen.driver_domains.tests.unit.fakes.board import FakeUboot


@dataclass(frozen=True)
class InMemory:
    """What the script has loaded: Xen, the changed device tree, and the other files with their addresses."""

    xen: Path
    device_tree: Path
    modules: dict[Path, int]


def run_script(directory: Path, target: Path) -> InMemory:
    """Run the boot script of a board's directory, and write the device tree that it makes."""
    uboot = FakeUboot({str(path.relative_to(directory)): path.stat().st_size for path in directory.rglob("*") if path.is_file()})
    script = text_of((directory / "boot.scr").read_bytes())
    loads = {int(address, 16): directory / name for address, name in re.findall(r"^if tftpb (0x\w+) (\S+); then", script, re.MULTILINE)}
    xen, tree = (int(address, 16) for address in re.findall(r"^booti (0x\w+) - (0x\w+)$", script, re.MULTILINE)[0])
    uboot.tree = _content(parse_dtb(loads[tree].read_bytes(), str(loads[tree])))
    assert uboot.run(script), uboot.printed
    target.write_bytes(to_dtb(_node("", uboot.tree)))
    modules = {path: address for address, path in loads.items() if address not in (xen, tree)}
    return InMemory(loads[xen], target, modules)


def _content(node: Node) -> dict[str, Any]:
    return {**node.properties, **{child.name: _content(child) for child in node.children}}


def _node(name: str, content: dict[str, Any], parent: Node | None = None) -> Node:
    node = Node(name, parent)
    for key, value in content.items():
        if isinstance(value, dict):
            _node(key, value, node)
        else:
            node.properties[key] = _bytes(value)
    return node


def _bytes(value: bytes | list[Any]) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"".join(struct.pack(">I", item) if isinstance(item, int) else item.encode() + b"\0" for item in value)
