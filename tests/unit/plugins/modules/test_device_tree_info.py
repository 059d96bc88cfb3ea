# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import to_dtb
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.modules import device_tree_info
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import board, build


def test_named_nodes_and_all(tmp_path: Path) -> None:
    path = tmp_path / "board.dtb"
    path.write_bytes(to_dtb(build(board())))
    plan = device_tree_info.prepare({"device_tree": str(path), "nodes": ["test,rtc", "serial0"]})
    assert not plan.actions
    result = plan.results
    assert (result["model"], result["compatible"], result["interrupt_controller"]) == (
        "Test board",
        ["test,board"],
        "/interrupt-controller@ff841000",
    )
    rtc, uart = result["devices"]
    assert rtc["pages"] == [{"address": 0xFE300000, "size": 0x2000}]
    assert uart["interrupts"][0]["sharers"] == ["/soc/serial@7e201400"]
    assert (uart["aliases"], uart["console"]) == (["serial0"], False)
    everything = device_tree_info.prepare({"device_tree": str(path), "nodes": None}).results
    assert [device["path"] for device in everything["devices"] if device["console"]] == ["/soc/serial@7e215000"]
    with pytest.raises(InvalidInput, match="no node 'wifi'"):
        device_tree_info.prepare({"device_tree": str(path), "nodes": ["wifi"]})
