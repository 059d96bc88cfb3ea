# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every device of every board, compared with libfdt: the pages of its registers and its interrupts, worked out without our code."""

from __future__ import annotations

import ctypes
import os
import struct
import typing as t
from collections.abc import Callable, Iterable, Iterator

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import read_device_tree
from device_trees.conftest import LINES, PAGES
from device_trees.debian import directory, dtbs

PAGE = 4096
#: What the GIC is called, and the first numbers of its SPIs and PPIs (interrupt-controller/arm,gic.yaml and arm,gic-v3.yaml in Linux).
GIC = ("arm,gic-400", "arm,gic-v3", "arm,cortex-a15-gic")
FIRST = {0: 32, 1: 16}
#: `ranges` of a bus, or None; cells of an address on it; cells of a size.
Bus = tuple[list[int] | None, int, int]


class Reader:
    """A device tree as libfdt reads it; Debian's device-tree-compiler brings it. Nodes are offsets."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fdt = ctypes.CDLL("libfdt.so.1")
        self._fdt.fdt_get_name.restype = ctypes.c_char_p
        self._fdt.fdt_getprop.restype = ctypes.c_void_p
        assert self._fdt.fdt_check_header(data) == 0

    def name(self, node: int) -> str:
        """Return the name of a node, with its unit address."""
        found: bytes = self._fdt.fdt_get_name(self._data, node, None)
        return found.decode()

    def value(self, node: int, name: str) -> bytes | None:
        """Return a property; None if the node does not have it."""
        length = ctypes.c_int()
        found = self._fdt.fdt_getprop(self._data, node, name.encode(), ctypes.byref(length))
        return ctypes.string_at(found, length.value) if found else None

    def cells(self, node: int, name: str) -> list[int] | None:
        """Return a property as 32-bit numbers; None if the node does not have it."""
        data = self.value(node, name)
        return None if data is None else [word for (word,) in struct.iter_unpack(">I", data[: len(data) // 4 * 4])]

    def count(self, node: int, name: str, default: int) -> int:
        """Return a property with one number."""
        found = self.cells(node, name)
        return found[0] if found else default

    def text(self, node: int, name: str) -> str:
        """Return the first string of a property."""
        return (self.value(node, name) or b"").split(b"\0")[0].decode()

    def children(self, node: int) -> Iterator[int]:
        """Return the nodes right below one."""
        child = self._fdt.fdt_first_subnode(self._data, node)
        while child >= 0:
            yield child
            child = self._fdt.fdt_next_subnode(self._data, child)


class Found(t.NamedTuple):
    """What is known of one node, its subtree included."""

    #: First pages of what the processor sees of it, and those after.
    pages: list[tuple[int, int]]
    #: Whether PCI is at it, below it or above it: windows and configuration space follow rules of their own.
    pci: bool
    #: Its own interrupts, by the numbers of the GIC; None when they do not go straight to one.
    interrupts: list[int] | None


def number(cells: t.Sequence[int]) -> int:
    """Join cells."""
    value = 0
    for cell in cells:
        value = value << 32 | cell
    return value


def processor_address(buses: t.Sequence[Bus], address: int, size: int) -> int | None:
    """Translate an address; None when the processor does not see it.

    :param buses: those above it, the root first.
    """
    for depth in range(len(buses) - 1, 0, -1):
        ranges, width, size_width = buses[depth]
        if ranges is None:
            return None
        above = buses[depth - 1][1]
        step = width + above + size_width
        for at in range(0, len(ranges), step):
            first, length = number(ranges[at : at + width]), number(ranges[at + width + above : at + step])
            if first <= address and address + size <= first + length:
                address += number(ranges[at + width : at + width + above]) - first
                break
        else:
            if ranges:
                return None
    return address


def interrupts(reader: Reader, node: int, parent: int, phandles: dict[int, int]) -> list[int] | None:
    """Return the interrupts of a node; None when they do not go straight to a GIC."""
    extended, own = reader.cells(node, "interrupts-extended"), reader.cells(node, "interrupts")
    rest = extended if extended is not None else own
    if rest is None:
        # Some have them in properties of their own (amlogic,meson-gpio-intc).
        return None
    numbers = []
    while rest:
        controller = phandles.get(rest[0] if extended is not None else parent, -1)
        if controller < 0 or reader.text(controller, "compatible") not in GIC:
            return None
        rest = rest[1:] if extended is not None else rest
        width = reader.count(controller, "#interrupt-cells", 0)
        if not 3 <= width <= len(rest) or rest[0] not in FIRST:
            return None
        numbers.append(rest[1] + FIRST[rest[0]])
        rest = rest[width:]
    return numbers


def registers(reader: Reader, node: int, buses: t.Sequence[Bus]) -> Iterator[tuple[int, int]]:
    """Return the pages of the registers of one node."""
    _ranges, width, size_width = buses[-1]
    cells, step = reader.cells(node, "reg") or [], width + size_width
    for at in range(0, len(cells) - step + 1, step) if size_width else ():
        size = number(cells[at + width : at + step])
        address = processor_address(buses, number(cells[at : at + width]), size)
        if address is not None and size:
            yield address // PAGE, (address + size - 1) // PAGE + 1


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join what overlaps or touches."""
    found: list[tuple[int, int]] = []
    for first, after in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(after, found[-1][1]))
        else:
            found.append((first, after))
    return found


def read(data: bytes) -> dict[str, Found]:
    """Return what each node of a tree has, by path."""
    reader = Reader(data)
    phandles: dict[int, int] = {}
    found: dict[str, Found] = {}

    def collect(node: int) -> None:
        phandles[reader.count(node, "phandle", 0)] = node
        for child in reader.children(node):
            collect(child)

    def visit(node: int, path: str, buses: list[Bus], parent: int, behind_pci: bool) -> Found:
        pci = behind_pci or reader.text(node, "device_type") == "pci"
        parent = reader.count(node, "interrupt-parent", parent)
        bus = (reader.cells(node, "ranges"), reader.count(node, "#address-cells", 2), reader.count(node, "#size-cells", 1))
        below = [visit(child, f"{path.rstrip('/')}/{reader.name(child)}", [*buses, bus], parent, pci) for child in reader.children(node)]
        own = registers(reader, node, buses) if buses else ()
        found[path] = Found(
            joined([*own, *(span for child in below for span in child.pages)]),
            pci or any(child.pci for child in below),
            interrupts(reader, node, parent, phandles),
        )
        return found[path]

    collect(0)
    visit(0, "/", [], 0, False)
    return found


#: All of them take a minute and a half of processor time.
BOARDS = dtbs() if os.environ.get("LONG") == "1" else dtbs()[::4]


@pytest.mark.parametrize("name", BOARDS)
def test_pages_and_interrupts_of_a_board(name: str, record_property: Callable[[str, object], None]) -> None:
    path = directory() / name
    found = read(path.read_bytes())
    pages = lines = 0
    for device in Analysis(read_device_tree(str(path))).devices():
        other = found[device.path]
        if not other.pci and not any(register.problem for register in device.registers):
            assert [(span.start // PAGE, span.end // PAGE) for span in device.pages] == other.pages, device.path
            pages += bool(other.pages)
        if other.interrupts is not None:
            assert [line.number for line in device.interrupts] == other.interrupts, device.path
            lines += len(other.interrupts)
    record_property(PAGES, pages)
    record_property(LINES, lines)
