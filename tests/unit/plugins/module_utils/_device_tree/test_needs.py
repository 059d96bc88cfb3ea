# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What devices need from others."""

from __future__ import annotations

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.needs import clock_rate, closure, needs, reach
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import board, tree


def test_needs_and_what_a_guest_reaches() -> None:
    uart = {
        "reg": [0x7E400000, 0x100],
        "clocks": [3, 19, 2, 30],
        "clock-names": ["core", "xtal", "half"],
        "resets": [99, 1],
        "vcc-supply": 31,
        "pinctrl-0": [32],
        "enable-gpios": [33, 4, 0],
        "test,nr-gpios": 6,
        "phy-handle": 34,
        "mdio": {"phy@0": {"phandle": 34}},
        "test,syscon": [3, 0x1C],
    }
    content = board(
        dev=uart,
        half={"compatible": "fixed-factor-clock", "#clock-cells": 0, "clocks": 2, "clock-mult": 1, "clock-div": 2, "phandle": 30},
        gpio={"#gpio-cells": 2, "phandle": 33, "clocks": [3, 1], "group": {"phandle": 32}},
        vcc={"compatible": "regulator-fixed", "phandle": 31, "gpio": [33, 1, 0]},
    )
    found = tree(content)
    device = found.by_path["/soc/dev"]
    wanted = needs(found, device)
    summary = [(need.kind, need.name, need.provider.path if need.provider else "", reach(need, [device])) for need in wanted]
    assert summary == [
        ("clock", "core", "/soc/cprman@7e101000", "missing"),
        ("clock", "xtal", "/osc", "copied"),
        ("clock", "half", "/soc/half", "copied"),
        ("reset", "", "", "missing"),
        ("regulator", "", "/soc/vcc", "missing"),
        ("pins", "", "/soc/gpio/group", "missing"),
        ("gpio", "", "/soc/gpio", "missing"),
        ("system controller", "", "/soc/cprman@7e101000", "missing"),
    ]
    assert wanted[0].args == (19,) and wanted[6].args == (4, 0)
    assert "phandle 0x63" in wanted[3].problem
    assert reach(wanted[5], [device, found.by_path["/soc/gpio"]]) == "given"
    assert closure(found, device) == ["/osc", "/soc/cprman@7e101000", "/soc/gpio", "/soc/gpio/group", "/soc/half", "/soc/vcc"]
    assert clock_rate(found, found.by_path["/soc/half"]) == 12000000
    assert clock_rate(found, found.by_path["/soc/cprman@7e101000"]) == 0


def test_references_that_are_none_or_too_short() -> None:
    gpio = {"#gpio-cells": 2, "phandle": 33, "hog": {"gpio-hog": True, "gpios": [4, 0]}}
    found = tree(board(gpio=gpio, dev={"enable-gpios": [33, 4], "clocks": [77, 1]}))
    assert needs(found, found.by_path["/soc/gpio"]) == []
    assert [need.problem for need in needs(found, found.by_path["/soc/dev"])] == [
        "enable-gpios has 1 cells for /soc/gpio, which takes 2",
        "clocks refers to phandle 0x4d, which no node has",
    ]


@pytest.mark.parametrize(
    ("name", "cells", "kind", "args"),
    [
        ("gpio", [33, 4, 0], "gpio", (4, 0)),
        ("gpio-ranges", [33, 0, 10, 20], "pins", (0, 10, 20)),
        ("test,syscon", [33, 0x1C, 5], "system controller", (0x1C, 5)),
        ("fsl,stop-mode", [33, 0x10, 3], "system controller", (0x10, 3)),
        ("fsl,usbmisc", [33, 1], "other device", (1,)),
        ("snps,axi-config", [33], "other device", ()),
        ("mux-controls", [33, 0], "multiplexer", (0,)),
    ],
)
def test_references_with_what_follows_them(name: str, cells: list[int], kind: str, args: tuple[int, ...]) -> None:
    provider = {"phandle": 33, "#gpio-cells": 2, "#index-cells": 1, "#mux-control-cells": 1}
    found = tree(board(provider=provider, dev={name: cells}))
    (need,) = needs(found, found.by_path["/soc/dev"])
    assert need.provider is not None and (need.kind, need.provider.path, need.args) == (kind, "/soc/provider", args)
