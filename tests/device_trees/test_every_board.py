# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every device tree of Debian's arm64 kernel: it is read without an exception, and what must be true of every board is."""

from __future__ import annotations

import struct

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import read_device_tree
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.report import report_device
from ansible_collections.xen.driver_domains.plugins.module_utils._spans import PAGE, Span
from device_trees.debian import directory, dtbs

BEGIN_NODE, END_NODE, PROPERTY, END = 1, 2, 3, 9


def count_nodes(data: bytes) -> int:
    """Count the nodes of a dtb token by token, without libfdt."""
    at = struct.unpack_from(">I", data, 8)[0]
    count = 0
    while True:
        token = struct.unpack_from(">I", data, at)[0]
        at += 4
        if token == END:
            return count
        if token == BEGIN_NODE:
            count += 1
            at = (data.index(0, at) + 4) // 4 * 4
        elif token == PROPERTY:
            at = (at + 8 + struct.unpack_from(">I", data, at)[0] + 3) // 4 * 4


def test_there_are_hundreds() -> None:
    assert len(dtbs()) > 500


@pytest.mark.parametrize("name", dtbs())
def test_board(name: str) -> None:
    path = directory() / name
    tree = read_device_tree(str(path))
    board = Analysis(tree)
    assert len(tree.nodes) == count_nodes(path.read_bytes())
    assert len(tree.by_path) == len(tree.nodes)
    for device in board.devices():
        report = report_device(board, device)
        end = 0
        for page in report["pages"]:
            assert page["address"] % PAGE == 0 and page["size"] % PAGE == 0 and page["size"] > 0
            assert page["address"] >= end, "pages overlap, or are not joined"
            end = page["address"] + page["size"] + 1
        for register in device.registers:
            if register.span:
                assert any(pages.contains(register.span) for pages in device.pages)
            elif register.size and not register.problem:
                # Not in the processor's address space: some bus above does not translate.
                assert any(not bus.properties.get("ranges") for bus in device.node.ancestors())
        assert not {device.path} & set(report["page_sharers"])
        for line, entry in zip(device.interrupts, report["interrupts"], strict=True):
            if line.number is None:
                assert line.problem, "an interrupt that leads nowhere, and nothing says why"
            else:
                assert (16 if line.kind == "ppi" else 32) <= line.number < (32 if line.kind == "ppi" else 1020)
                assert line.trigger in ("edge", "level") or line.problem
                assert device.path not in entry["sharers"]
        for need in device.needs:
            assert need.provider is not None or need.problem
        assert len(report["problems"]) == len(set(report["problems"]))


def test_pages_of_neighbours() -> None:
    """The sharers of a page are those that an exhaustive search finds."""
    board = Analysis(read_device_tree(str(directory() / "broadcom/bcm2711-rpi-4-b.dtb")))
    devices = [device for device in board.devices() if "simple-bus" not in device.node.compatible]
    own = {
        device.path: [Span(entry.address, entry.address + entry.size) for entry in device.registers if entry.address is not None]
        for device in devices
    }
    for device in devices:
        inside = {node.path for node in device.node.subtree()}
        expected = {
            path
            for path, spans in own.items()
            if path not in inside
            and not path.startswith("/memory@")
            and any(span.overlaps(page) for span in spans for page in device.pages)
        }
        assert {node.path for node in board.page_sharers([device])} == expected
