# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Known facts about the Raspberry Pi 4 and the Odroid C4, from their manuals, Linux's sources and running systems."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import read_device_tree
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.report import report_device
from device_trees.debian import directory

PI4, C4 = "broadcom/bcm2711-rpi-4-b.dtb", "amlogic/meson-sm1-odroid-c4.dtb"
# node: (pages as (address, number of pages), interrupts as (number, trigger))
DEVICES: list[tuple[str, str, list[tuple[int, int]], list[tuple[int, str]]]] = [
    (PI4, "ethernet0", [(0xFD580000, 16)], [(189, "level"), (190, "level")]),
    (PI4, "&uart2", [(0xFE201000, 1)], [(153, "level")]),
    (PI4, "&spi3", [(0xFE204000, 1)], [(150, "level")]),
    (PI4, "&i2c3", [(0xFE205000, 1)], [(149, "level")]),
    (PI4, "arm,gic-400", [(0xFF841000, 7)], [(25, "level")]),
    (C4, "mmc0", [(0xFFE05000, 1)], [(222, "level")]),
    (C4, "mmc1", [(0xFFE07000, 1)], [(223, "level")]),
    (C4, "serial0", [(0xFF803000, 1)], [(225, "edge")]),
    (C4, "ethernet0", [(0xFF3F0000, 16), (0xFF634000, 1)], [(40, "level")]),
    (C4, "/soc/gpu@ffe40000", [(0xFFE40000, 64)], [(194, "level"), (193, "level"), (192, "level")]),
    (C4, "/soc/bus@ff600000/hdmi-tx@0", [(0xFF600000, 16)], [(89, "edge")]),
    (C4, "/soc/vpu@ff900000", [(0xFF63C000, 1), (0xFF900000, 256)], [(35, "edge")]),
    (C4, "amlogic,meson-gpio-intc", [(0xFFD0F000, 1)], [(number, "edge") for number in range(96, 104)]),
    (C4, "arm,gic-400", [(0xFFC01000, 7)], [(25, "level")]),
]
PI4_TOGETHER = [
    ("&uart2", ["serial@7e201000", "serial@7e201600", "serial@7e201800", "serial@7e201a00"]),
    ("&spi3", ["spi@7e204000", "spi@7e204800", "spi@7e204a00", "spi@7e204c00"]),
    ("&i2c3", ["i2c@7e205000", "i2c@7e205800", "i2c@7e205a00", "i2c@7e205c00"]),
]


def board(name: str) -> Analysis:
    return Analysis(read_device_tree(str(directory() / name)))


@pytest.mark.parametrize(("name", "node", "pages", "lines"), DEVICES)
def test_device(name: str, node: str, pages: list[tuple[int, int]], lines: list[tuple[int, str]]) -> None:
    machine = board(name)
    device = machine.device(machine.tree.find(node))
    assert [(span.start, span.size // 0x1000) for span in device.pages] == pages
    assert [(line.number, line.trigger) for line in device.interrupts] == lines


@pytest.mark.parametrize(("node", "others"), PI4_TOGETHER)
def test_devices_of_the_pi_that_go_together(node: str, others: list[str]) -> None:
    """Some I2C and SPI controllers have a page of their own, but share an interrupt line."""
    machine = board(PI4)
    report = report_device(machine, machine.device(machine.tree.find(node)))
    paths = [f"/soc/{other}" for other in others]
    assert report["page_sharers"] == paths
    assert set(paths) <= set(report["interrupts"][0]["sharers"])


def test_the_pi_network_card_needs_nothing_from_others() -> None:
    machine = board(PI4)
    report: dict[str, Any] = report_device(machine, machine.device(machine.tree.find("ethernet0")))
    assert (report["path"], report["page_sharers"], report["needs"], report["iommu"]) == ("/scb/ethernet@7d580000", [], [], None)


def test_the_i2c_of_the_odroid_is_edge_triggered() -> None:
    machine = board(C4)
    found = [
        (line.number, line.trigger)
        for device in machine.devices()
        for line in device.interrupts
        if "amlogic,meson-axg-i2c" in device.node.compatible and line.number == 53
    ]
    assert found == [(53, "edge")]


@pytest.mark.parametrize("name", [PI4, C4])
def test_all_devices(name: str) -> None:
    machine = board(name)
    reports = [report_device(machine, device) for device in machine.devices()]
    assert len(reports) > 50
