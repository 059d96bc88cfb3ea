# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How devices reach memory."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dma import can_dma, dma_windows, unprotected
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import Tree, board, tree


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


BUS: Tree = {"#address-cells": 1, "#size-cells": 1, "ranges": True, "reg": [0x7E700000, 0x1000]}
CODEC: Tree = {"compatible": "vendor,video-codec", "reg": [0x7E701000, 0x1000]}
DMA: list[tuple[bool, Tree]] = [
    (True, CODEC),
    (True, {"compatible": "vendor,crypto-engine-v2", "reg": [0x7E701000, 0x1000], "interrupts": [0, 9, 4]}),
    (True, {"reg": [0x7E701000, 0x1000]}),
    (True, {"compatible": "arm,pl011", "reg": [0x7E701000, 0x1000], "dmas": [1, 2]}),
    (True, {"compatible": "vendor,x", "dma-coherent": True}),
    (True, {"compatible": "qcom,geni-uart", "reg": [0x7E701000, 0x1000]}),
    (True, {"compatible": "vendor,pl011-with-dma", "reg": [0x7E701000, 0x1000]}),
    (True, {**BUS, "interrupts": [0, 9, 4], "dev@7e701000": CODEC}),
    (True, {**BUS, "device_type": "pci"}),
    (False, {"compatible": ["vendor,uart", "arm,pl011"], "reg": [0x7E701000, 0x1000]}),
    (False, {"compatible": "arm,pl031", "reg": [0x7E701000, 0x1000]}),
    (False, {"compatible": "cdns,ttc", "reg": [0x7E701000, 0x1000]}),
    (False, {"compatible": "brcm,bcm2711-gpio", "reg": [0x7E701000, 0x1000]}),
    (False, {**BUS, "dev@7e701000": CODEC}),
    (False, {"compatible": "fixed-clock"}),
]


@pytest.mark.parametrize(("wanted", "device"), DMA, ids=[str(index) for index in range(len(DMA))])
def test_what_is_not_known_can_do_dma(wanted: bool, device: Tree) -> None:
    assert can_dma(tree(board(dev=device)).by_path["/soc/dev"]) is wanted


def test_each_node_needs_an_iommu_of_its_own() -> None:
    smmu = {"compatible": "arm,smmu-v3", "#iommu-cells": 1, "phandle": 40}
    off = {**smmu, "status": "disabled", "phandle": 41}
    core = {**CODEC, "iommus": [40, 1]}
    glue = {**BUS, "a@7e701000": core, "b@7e702000": {**core, "iommus": [41, 1]}, "c@7e703000": CODEC}
    found = tree(board(smmu=smmu, off=off, glue=glue))
    assert [node.name for node in unprotected(found, found.by_path["/soc/glue"].subtree())] == ["b@7e702000", "c@7e703000"]
