# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Registers, translated through every bus."""

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.registers import memory_banks, registers
from ansible_collections.xen.driver_domains.plugins.module_utils._spans import Span
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import board, tree


def test_addresses_go_through_every_bus() -> None:
    content = board(
        bus__7e400000={
            "#address-cells": 1,
            "#size-cells": 1,
            "ranges": [0, 0x7E400000, 0x10000],
            "inner": {"#address-cells": 1, "#size-cells": 1, "ranges": True, "dev@80": {"reg": [0x80, 0x20, 0x20000, 4]}},
        },
        i2c__7e500000={"#address-cells": 1, "#size-cells": 0, "reg": [0x7E500000, 0x20], "eeprom@50": {"reg": 0x50}},
        bad__1={"reg": [1, 4], "reg-names": ["regs"]},
        odd__2={"reg": [1, 2, 3]},
        across={"reg": [0x7F7FFFF0, 0x20]},
    )
    found = tree(content)

    def look(path: str) -> list[tuple[int | None, str]]:
        return [(entry.address, entry.problem) for entry in registers(found.by_path[path])]

    assert look("/soc/bus@7e400000/inner/dev@80") == [(0xFE400080, ""), (None, "0x20000 is not in a window of /soc/bus@7e400000")]
    assert look("/soc/i2c@7e500000") == [(0xFE500000, "")]
    assert look("/soc/i2c@7e500000/eeprom@50") == [(None, "")]
    assert look("/soc/bad@1") == [(None, "0x1 is not in a window of /soc")]
    assert look("/soc/odd@2") == [(None, "reg has 12 bytes, which is not a multiple of 8")]
    assert look("/soc/across") == [(None, "0x7f7ffff0-0x7f80000f crosses the end of a window of /soc")]
    assert registers(found.by_path["/soc/bad@1"])[0].name == "regs"
    assert look("/aliases") == []


def test_a_pci_bus_has_windows_and_no_addresses_below_it() -> None:
    pcie = {
        "device_type": "pci",
        "#address-cells": 3,
        "#size-cells": 2,
        "reg": [0x7E600000, 0x1000],
        "ranges": [0x02000000, 0, 0xF8000000, 0x7E700000, 0, 0x4000],
        "nic@0,0": {"reg": [0, 0, 0, 0, 0]},
    }
    found = tree(board(pcie__7e600000=pcie))
    bridge = Analysis(found).device(found.find("/soc/pcie@7e600000"))
    assert bridge.windows == [Span(0xFE700000, 0xFE704000)]
    assert bridge.pages == [Span(0xFE600000, 0xFE601000), Span(0xFE700000, 0xFE704000)]
    assert [entry.address for entry in registers(found.by_path["/soc/pcie@7e600000/nic@0,0"])] == [None]


def test_memory_banks() -> None:
    content = board(ram={"device_type": "memory", "reg": [0x7E000000, 0x1000]})
    assert memory_banks(tree(content)) == [Span(0, 0x40000000), Span(0xFE000000, 0xFE001000)]
    assert memory_banks(tree({"#address-cells": 1, "#size-cells": 1, "memory": {"device_type": "memory", "reg": [0, 0]}})) == []


@pytest.mark.parametrize(
    ("bus", "reg", "address", "problem"),
    [
        ({"ranges": True}, [0x7E400000, 4], 0xFE400000, ""),
        ({}, [0x7E400000, 4], None, ""),
        ({"ranges": [1, 2]}, [0x7E400000, 4], None, "ranges cannot be read .8 bytes"),
        ({"#address-cells": 0, "ranges": [0x7E400000, 0x10]}, [4], 0xFE400000, ""),
        ({"#address-cells": 3, "ranges": [1, 0, 0, 0x7E400000, 0x10]}, [1, 0, 8, 4], 0xFE400008, ""),
        ({"#address-cells": 2, "#size-cells": 2, "ranges": True}, [0, 0x7E400000, 0, 4], 0xFE400000, ""),
        ({"#address-cells": 0xFFFFFFFF, "ranges": True}, [0x7E400000, 4], None, "not a multiple of"),
        ({"#address-cells": 0, "#size-cells": 0, "ranges": True}, [4], None, "not a multiple of 0"),
    ],
)
def test_odd_buses(bus: dict[str, t.Any], reg: list[int], address: int | None, problem: str) -> None:
    found = tree(board(bus={"#address-cells": 1, "#size-cells": 1, **bus, "dev": {"reg": reg}}))
    (entry,) = registers(found.by_path["/soc/bus/dev"])
    assert entry.address == address
    assert re.search(problem, entry.problem) if problem else not entry.problem


def test_addresses_of_64_bits() -> None:
    content = board()
    content["#size-cells"] = 2
    content["far@f000000000"] = {"reg": [0xF0, 0x10, 1, 0]}
    content["end"] = {"reg": [0xFFFFFFFF, 0xFFFFF000, 0, 0x1000]}
    content["beyond"] = {"reg": [0xFFFFFFFF, 0xFFFFF000, 0, 0x1001]}
    found = Analysis(tree(content))
    assert found.device(found.tree.find("/far@f000000000")).pages == [Span(0xF000000000, 0xF100001000)]
    assert found.device(found.tree.find("/end")).pages == [Span((1 << 64) - 0x1000, 1 << 64)]
    assert "beyond 64 bits" in found.device(found.tree.find("/beyond")).problems[0]
