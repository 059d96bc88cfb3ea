# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interrupts, followed to the GIC."""

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.interrupts import find_gic, interrupts
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import GIC, board, tree

CONTROLLERS: dict[str, t.Any] = {
    "gpio": {"compatible": "test,gpio", "interrupt-controller": True, "#interrupt-cells": 2, "phandle": 10},
    "gpc": {"compatible": "fsl,imx8mq-gpc", "interrupt-controller": True, "#interrupt-cells": 3, "phandle": 11},
    "nexus": {
        "#interrupt-cells": 1,
        "#address-cells": 1,
        "#size-cells": 0,
        "interrupt-map-mask": [0, 7],
        "interrupt-map": [0, 1, GIC, 0, 143, 4, 0, 2, GIC, 0, 144, 1, 0, 3, 10, 5, 4],
        "phandle": 12,
        "dev@8": {"reg": 8, "interrupts": [2]},
        "lost@9": {"reg": 9, "interrupts": [6]},
        "gpio@a": {"reg": 10, "interrupts": [3]},
    },
    "second": {
        "compatible": "arm,gic-400",
        "interrupt-controller": True,
        "#interrupt-cells": 3,
        "interrupt-parent": GIC,
        "interrupts": [0, 7, 4],
        "phandle": 13,
    },
    "broken": {"#interrupt-cells": 1, "#address-cells": 0, "interrupt-map": [1, 99], "phandle": 14},
    "sysirq": {"compatible": "mediatek,mt6577-sysirq", "interrupt-controller": True, "#interrupt-cells": 3, "phandle": 15},
    "huge": {"#interrupt-cells": 1, "#address-cells": 0xFFFFFFFF, "interrupt-map": [1, GIC, 0, 6, 1], "phandle": 16},
    # Its addresses are those of the root, of two cells. The first entry leads to a controller that is not enabled.
    "inheriting": {"#interrupt-cells": 1, "interrupt-map": [0, 0, 1, 18, 9, 0, 0, 1, GIC, 0, 6, 1], "phandle": 17},
    "off": {"interrupt-controller": True, "#interrupt-cells": 1, "status": "disabled", "phandle": 18},
}


LINES: list[t.Any] = [
    ({"interrupts": [0, 157, 4, 0, 158, 4], "interrupt-names": ["a", "b"]}, [(189, "level", "spi", ""), (190, "level", "spi", "")]),
    ({"interrupts": [1, 9, 0xF08]}, [(25, "level", "ppi", "")]),
    ({"interrupts": [0, 2, 1]}, [(34, "edge", "spi", "")]),
    ({"interrupts": [0, 2, 2]}, [(34, "edge", "spi", "")]),
    ({"interrupts": [0, 2, 0]}, [(34, "", "spi", "trigger type 0 is neither edge nor level")]),
    ({"interrupts": [2, 2, 4]}, [(None, "", "", "cell type 2: extended")]),
    ({"interrupts": [0, 988, 4]}, [(None, "", "", "there is no SPI 988")]),
    # Linux and Xen only add 16 to the number of a private interrupt.
    ({"interrupts": [1, 15, 4]}, [(31, "level", "ppi", "")]),
    ({"interrupts": [1, 126, 4]}, [(142, "level", "spi", "")]),
    ({"interrupts": [1, 1004, 4]}, [(None, "", "", "there is no PPI 1004")]),
    ({"interrupts": [0, 2]}, [(None, "", "", "not a multiple of what")]),
    ({"interrupts": [7, 1], "interrupt-parent": 10}, [(None, "", "", r"goes to /gpio \(test,gpio\)")]),
    ({"interrupts": [7, 1], "interrupt-parent": 99}, [(None, "", "", "no interrupt parent")]),
    ({"interrupts": [0, 5, 4], "interrupt-parent": 11}, [(37, "level", "spi", "")]),
    ({"interrupts": [1], "interrupt-parent": 12}, [(175, "level", "spi", "")]),
    (
        {"interrupts-extended": [GIC, 0, 1, 1, 0, 10, 3, 4, 12, 2], "interrupts": [9, 9, 9]},
        [(33, "edge", "spi", ""), (None, "", "", "goes to /gpio"), (176, "edge", "spi", "")],
    ),
    ({"interrupts-extended": [77, 0, 1, 1]}, [(None, "", "", "phandle 0x4d, which no node has")]),
    ({"interrupts": [0, 5, 8], "interrupt-parent": 15}, [(37, "level", "spi", "")]),
    ({"interrupts": [0, 1, 4], "interrupt-parent": 13}, [(None, "", "", "/second, which is not the GIC of the processors")]),
    ({"interrupts": [1], "interrupt-parent": 14}, [(None, "", "", "interrupt-map of /broken refers to phandle 0x63")]),
    ({"interrupts": [2], "interrupt-parent": 14}, [(None, "", "", "interrupt-map of /broken refers to phandle 0x63")]),
    ({"interrupts": [1], "interrupt-parent": 16}, [(None, "", "", "interrupt-map of /huge has no entry")]),
    ({"interrupts": [1], "interrupt-parent": 17}, [(38, "edge", "spi", "")]),
    ({"interrupts-extended": [0, GIC, 0, 6, 1]}, [(38, "edge", "spi", "")]),
    ({"amlogic,channel-interrupts": [64, 0xFFFFFFFF]}, [(96, "edge", "spi", ""), (None, "", "", "there is no SPI 4294967295")]),
    ({"amlogic,channel-interrupts": [64, 71]}, [(96, "edge", "spi", ""), (103, "edge", "spi", "")]),
]


@pytest.mark.parametrize(("properties", "wanted"), LINES, ids=[str(index) for index in range(len(LINES))])
def test_interrupts(properties: dict[str, t.Any], wanted: list[tuple[int | None, str, str, str]]) -> None:
    found = tree({**board(dev=properties), **CONTROLLERS})
    lines = interrupts(found, found.by_path["/soc/dev"])
    assert [(line.number, line.trigger, line.kind) for line in lines] == [entry[:3] for entry in wanted]
    for line, entry in zip(lines, wanted):
        assert bool(line.problem) is bool(entry[3])
        if entry[3]:
            assert re.search(entry[3], line.problem)


def test_interrupt_names_and_nexus_children() -> None:
    found = tree({**board(dev={"interrupts": [0, 1, 4, 0, 2, 4], "interrupt-names": ["tx"]}), **CONTROLLERS})
    assert [line.name for line in interrupts(found, found.by_path["/soc/dev"])] == ["tx", ""]
    assert [line.number for line in interrupts(found, found.by_path["/nexus/dev@8"])] == [176]
    assert "no entry" in interrupts(found, found.by_path["/nexus/lost@9"])[0].problem
    assert "goes to /gpio" in interrupts(found, found.by_path["/nexus/gpio@a"])[0].problem


def test_an_empty_place_keeps_the_names_in_order() -> None:
    found = tree(board(dev={"interrupts-extended": [GIC, 0, 1, 4, 0, GIC, 0, 2, 4], "interrupt-names": ["a", "b", "c"]}))
    assert [(line.name, line.number) for line in interrupts(found, found.by_path["/soc/dev"])] == [("a", 33), ("c", 34)]


def test_a_controller_in_between_is_named() -> None:
    found = tree({**board(dev={"interrupts": [0, 5, 8], "interrupt-parent": 15}), **CONTROLLERS})
    (line,) = interrupts(found, found.by_path["/soc/dev"])
    assert (line.through, line.controller) == ("/sysirq", "/interrupt-controller@ff841000")


def test_a_circle_of_controllers_ends() -> None:
    circle = {"compatible": "fsl,imx8mq-gpc", "interrupt-controller": True, "#interrupt-cells": 3}
    found = tree({**board(dev={"interrupts": [0, 1, 4], "interrupt-parent": 20}), "a": {**circle, "phandle": 20, "interrupt-parent": 20}})
    assert "circle" in interrupts(found, found.by_path["/soc/dev"])[0].problem


def test_the_gic_of_the_processors() -> None:
    second = {
        "compatible": "arm,gic-400",
        "interrupt-controller": True,
        "#interrupt-cells": 3,
        "interrupts": [0, 4, 4],
        "interrupt-parent": 1,
    }
    found = tree({"audio": second, **board()})
    gic = find_gic(found)
    assert gic is not None and gic.path == "/interrupt-controller@ff841000"
    assert find_gic(tree({"compatible": "test,none"})) is None
