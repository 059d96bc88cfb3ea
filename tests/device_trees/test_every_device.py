# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passes through every device of every board: our own linter finds no mistake in the result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis, Device
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import parse_dtb, read_device_tree, to_dtb
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.findings import ERROR
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.guards import check_devices
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.interrupts import Interrupt
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.lint_xen_partial import lint_partial
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.lint_xl_config import lint_xl_config
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.registers import is_pci, windows
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree, Node
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.xen_partial import Partial, PassthroughRequest, build_partial
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.xen_rules import DOM0LESS, XL, handed_on
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.system import DriverVm, build_system
from ansible_collections.xen.driver_domains.plugins.module_utils._spans import PAGE, Span
from device_trees.conftest import BOARD, SECONDS, TREES
from device_trees.debian import directory, dtbs

#: Rates for clocks without a name, by position; those with a name are added below.
ANY_RATE = {str(place): 1000000 for place in range(64)}


def devices_of(board: Analysis, usable: Callable[[Node, Interrupt], bool]) -> Iterator[Device]:
    for device in board.devices():
        if device.node.text("device_type") == "memory" or "simple-bus" in device.node.compatible:
            continue
        try:
            check_devices(board, [device], usable)
        except InvalidInput:
            continue
        yield device


def settings(partial: Partial) -> str:
    """Return the xl.cfg for a tree, as the module's results say."""
    iomem = [f"{span.start // PAGE:#x},{span.size // PAGE:#x}" for span in partial.mapped]
    dtdev = f"dtdev = {json.dumps(partial.protected)}\n" if partial.protected else ""
    return f'device_tree = "x.dtb"\n{dtdev}iomem = {json.dumps(iomem)}\nirqs = {json.dumps(partial.irqs)}\n'


def check_board(name: str, flavour: str) -> int:
    """Pass each device through to one kind of guest; return the number of trees."""
    board = Analysis(read_device_tree(str(directory() / name)))
    count = 0
    for device in devices_of(board, lambda node, line: handed_on(node, line, flavour)):
        names = {name for node in device.node.subtree() for name in node.strings("clock-names")}
        request = PassthroughRequest(device, {**ANY_RATE, **dict.fromkeys(names, 1000000)})
        partial = build_partial(board.tree, [request], flavour)
        if is_pci(device.node):
            bridge = next(node for node in partial.root.subtree() if is_pci(node))
            assert windows(bridge) == windows(device.node), "the guest sees the windows at the processor's addresses"
            assert all(any(span.contains(window) for span in partial.mapped) for window in device.windows)
        assert partial.mapped or partial.irqs, "nothing of it is passed through"
        tree = DeviceTree(parse_dtb(to_dtb(partial.root), device.path), device.path)
        for one, other in pairwise(partial.mapped):
            assert one.end < other.start, "pages overlap, or are not joined"
        assert all(span.start % PAGE == span.end % PAGE == 0 for span in partial.mapped)
        assert all(32 <= number < 1020 for number in partial.irqs)
        # That of xl with the tree that it names, which is checked as well.
        found = lint_partial(tree, device.path, board) if flavour == DOM0LESS else []
        found += lint_xl_config(settings(partial), device.path, board, tree) if flavour == XL else []
        for finding in found:
            assert finding.severity != ERROR, finding
        count += 1
    return count


@pytest.mark.parametrize("flavour", [DOM0LESS, XL])
@pytest.mark.parametrize("name", dtbs())
def test_devices_of_a_board(name: str, flavour: str, record_property: Callable[[str, object], None]) -> None:
    before = time.process_time()
    count = check_board(name, flavour)
    record_property(SECONDS, time.process_time() - before)
    record_property(TREES, count)
    record_property(BOARD, name)


@pytest.mark.parametrize("name", dtbs()[5::10])
def test_driver_vms_of_a_board(name: str) -> None:
    board = Analysis(read_device_tree(str(directory() / name)))
    # As many devices as there are channels for their interrupts. Memory is separate: these trees do not say where it is.
    vm = DriverVm(version="2.1.0", one_to_one=False, ram=Span(0xF000000000, 0xF010000000))
    room: list[Device] = []
    for device in devices_of(board, lambda _node, line: line.number is not None and line.kind == "spi"):
        if len({line.number for other in [*room, device] for _part, line in other.lines}) <= 60 and not any(
            vm.ram.overlaps(span) or span.end > 1 << 40 or span.size > 1 << 34 for span in device.pages
        ):
            nested = any(device.node in other.node.subtree() or other.node in device.node.subtree() for other in room)
            room += [] if nested else [device]
    if board.gic is None:
        assert not room, "the Raspberry Pi 3 and others"
        return
    system = build_system(board, room, vm)
    spans = sorted(region.span for region in system.regions)
    for one, other in pairwise(spans):
        assert one.end <= other.start, "a page is in two regions"
