# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How devices reach memory."""

from __future__ import annotations

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dma import dma_windows
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import board, tree


def windows_of(content: t.Any, path: str) -> list[tuple[int, int, int]] | None:
    found = tree(content)
    return dma_windows(found, found.find(path))


def test_dma_windows() -> None:
    content = board()
    content["soc"]["dma-ranges"] = [0xC0000000, 0, 0, 0x40000000]
    assert windows_of(content, "serial0") == [(0xC0000000, 0, 0x40000000)]
    content["soc"]["bus"] = {
        "#address-cells": 1,
        "#size-cells": 1,
        "ranges": True,
        "dma-ranges": [0, 0xC1000000, 0x80000000],
        "dev": {},
    }
    assert windows_of(content, "/soc/bus/dev") == [(0, 0x1000000, 0x3F000000)]
    content["soc"]["bus"]["dma-ranges"] = [0, 0, 0x10]
    assert windows_of(content, "/soc/bus/dev") is None
    assert windows_of(board(), "serial0") == []


def test_a_dma_window_at_the_same_address_can_still_be_smaller_than_memory() -> None:
    content = board()
    content["soc"]["dma-ranges"] = [0, 0, 0, 0x40000000]
    assert windows_of(content, "serial0") == [(0, 0, 0x40000000)]


def test_a_dma_window_over_several_above() -> None:
    content = board(bus={"#address-cells": 1, "#size-cells": 1, "dma-ranges": [0, 0x1000, 0x2000], "dev": {}})
    content["soc"]["dma-ranges"] = [0x1000, 0, 0x80000000, 0x1000, 0x2000, 0, 0x90000000, 0x8000]
    assert windows_of(content, "/soc/bus/dev") == [(0, 0x80000000, 0x1000), (0x1000, 0x90000000, 0x1000)]


def test_dma_by_way_of_an_interconnect() -> None:
    """As on Allwinner's boards: memory is reached through a node other than the parent."""
    mbus = {"#interconnect-cells": 1, "#address-cells": 1, "#size-cells": 1, "dma-ranges": [0, 0x40000000, 0x10000000], "phandle": 70}
    content = board(mbus=mbus, dev={"interconnects": [70, 5], "interconnect-names": "dma-mem"})
    assert windows_of(content, "/soc/dev") == [(0, 0x40000000, 0x10000000)]
    content["soc"]["mbus"].update({"interconnects": [70, 5], "interconnect-names": "dma-mem"})
    assert windows_of(content, "/soc/dev") is None, "a circle ends"
