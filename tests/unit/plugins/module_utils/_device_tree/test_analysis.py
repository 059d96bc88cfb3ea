# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The devices of a board, and the report about them."""

from __future__ import annotations

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dma import iommu_of
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.report import report, report_device
from ansible_collections.xen.driver_domains.plugins.module_utils._spans import Span
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import board, tree


def test_who_else_is_in_the_page_and_on_the_line() -> None:
    found = tree(board())
    whole = Analysis(found)
    uart = whole.device(found.find("serial0"))
    assert [node.path for node in whole.page_sharers([uart])] == ["/soc/serial@7e201400"]
    assert {number: [node.path for node in nodes] for number, nodes in whole.line_sharers([uart]).items()} == {
        153: ["/soc/serial@7e201400"]
    }
    both = [uart, whole.device(found.find("/soc/serial@7e201400"))]
    assert whole.page_sharers(both) == [] and whole.line_sharers(both) == {}
    rtc = whole.device(found.find("test,rtc"))
    assert rtc.pages == [Span(0xFE300000, 0xFE302000)]


def test_the_iommu_of_a_bus() -> None:
    smmu = {"compatible": "arm,smmu-v3", "#iommu-cells": 1, "phandle": 40}
    found = Analysis(tree(board(smmu=smmu, pcie={"device_type": "pci", "iommu-map": [0, 40, 0, 0x10000], "msi-map": [0, 99, 0, 0x10000]})))
    node = found.tree.find("/soc/pcie")
    reported = report_device(found, found.device(node))
    assert (reported["iommu"], iommu_of(found.tree, node)) == ("/soc/smmu", None)
    assert reported["problems"] == ["/soc/pcie: msi-map refers to phandle 0x63, which no node has"]


def test_a_report_is_complete() -> None:
    smmu = {"compatible": "arm,smmu-v3", "#iommu-cells": 1, "phandle": 40}
    nic = {"reg": [0x7E500000, 0x1000], "iommus": [40, 5], "local-mac-address": bytes.fromhex("dca632000001"), "mac-address": bytes(6)}
    found = tree(board(smmu=smmu, nic=nic))
    (reported,) = report(Analysis(found), ["/soc/nic"])["devices"]
    assert (reported["iommu"], reported["macs"], reported["enabled"]) == ("/soc/smmu", ["dc:a6:32:00:00:01"], True)
    smmu["status"] = "disabled"
    found = tree(board(smmu=smmu, nic=nic))
    assert Analysis(found).device(found.find("/soc/nic")).iommu is None


def test_devices_are_those_with_addresses_or_interrupts() -> None:
    paths = [device.path for device in Analysis(tree(board())).devices()]
    assert "/soc/serial@7e201000" in paths and "/memory@0" in paths
    assert "/aliases" not in paths and "/osc" not in paths
