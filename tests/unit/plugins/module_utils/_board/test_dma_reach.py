# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Static memory where a device of the domain cannot reach it."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._board.dma_reach import check_dma_reach
from ansible_collections.xen.driver_domains.plugins.module_utils._board.reader import read_board
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import parse_dtb
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.tests.unit.fakes import board as fake_board
from ansible_collections.xen.driver_domains.tests.unit.fakes.board import VIRT, cells, domu, dtb

CARD, UART, BRIDGE = "/soc/ethernet@1000", "/soc/serial@2000", "/soc/pcie@3000"
WRAPPER = "/soc/usb@4000"


def tree(dma_ranges: bytes | None) -> bytes:
    """A board with a bus of one cell; the first GiB of memory begins at 0x40000000."""
    soc: dict[str, t.Any] = {
        "compatible": "simple-bus",
        "#address-cells": cells(1),
        "#size-cells": cells(1),
        "ranges": cells(0, 0, 0x7E000000, 0x100000),
        "ethernet@1000": {"compatible": "cdns,gem", "reg": cells(0x1000, 0x1000)},
        "serial@2000": {"compatible": "arm,pl011", "reg": cells(0x2000, 0x1000)},
        "pcie@3000": {
            "device_type": b"pci\0",
            "#address-cells": cells(3),
            "#size-cells": cells(2),
            "reg": cells(0x3000, 0x1000),
            "dma-ranges": cells(0x02000000, 0, 0, 0x40000000, 0, 0x20000000),
        },
    }
    # It has no registers of its own and so does no DMA; what is below it does.
    core = {"compatible": "snps,dwc3", "reg": cells(0x4000, 0x1000)}
    soc["usb@4000"] = {"#address-cells": cells(1), "#size-cells": cells(1), "ranges": None, "dma-ranges": None, "core@4000": core}
    if dma_ranges is not None:
        soc["dma-ranges"] = dma_ranges
    return dtb({**VIRT, "soc": soc})


def check(directory: Path, dma_ranges: bytes | None, start: str, path: str = CARD, **changes: t.Any) -> None:
    static = {"static_memory": [{"start": start, "size": "0x10000000"}], "memory": None, "passthrough_paths": [path], **changes}
    parameters = fake_board.parameters(fake_board.files(directory), domus=[domu("net-dd", passthrough_dtb="rtc.dtb", **static)])
    check_dma_reach(read_board(parameters), DeviceTree(parse_dtb(tree(dma_ranges), "board.dtb")))


FIRST_GIB = cells(0xC0000000, 0, 0x40000000, 0x40000000)


@pytest.mark.parametrize("start", ["0x80000000", "0x78000000", "0x30000000"], ids=["above", "half", "below"])
def test_memory_out_of_reach(tmp_path: Path, start: str) -> None:
    with pytest.raises(InvalidInput, match=rf"net-dd: {CARD} does not reach .*0x40000000-0x7fffffff.*Move static_memory there"):
        check(tmp_path, FIRST_GIB, start)


def test_memory_out_of_reach_of_what_is_behind_a_pci_host_bridge(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=rf"net-dd: {BRIDGE} does not reach .*0x40000000-0x5fffffff"):
        check(tmp_path, None, "0x60000000", BRIDGE)
    check(tmp_path, None, "0x50000000", BRIDGE)


def test_memory_out_of_reach_of_a_device_below(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=rf"net-dd: {WRAPPER}/core@4000 does not reach .*0x40000000-0x7fffffff"):
        check(tmp_path, FIRST_GIB, "0x80000000", WRAPPER)
    check(tmp_path, FIRST_GIB, "0x60000000", WRAPPER)


@pytest.mark.parametrize(
    ("dma_ranges", "path", "changes"),
    [
        (FIRST_GIB, CARD, {}),
        # No property: the device sees all memory, or it is not known what it sees.
        (None, CARD, {"static_memory": [{"start": "0xb0000000", "size": "0x8000000"}]}),
        (FIRST_GIB, UART, {"static_memory": [{"start": "0xb0000000", "size": "0x8000000"}]}),
        (FIRST_GIB, CARD, {"static_memory": [{"start": "0xb0000000", "size": "0x8000000"}], "direct_map": False}),
        (FIRST_GIB, "/none", {}),
    ],
    ids=["within", "everything", "no DMA", "not mapped 1:1", "no such node"],
)
def test_memory_within_reach(tmp_path: Path, dma_ranges: bytes | None, path: str, changes: dict[str, t.Any]) -> None:
    check(tmp_path, dma_ranges, "0x60000000", path, **changes)
