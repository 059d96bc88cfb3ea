# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Device trees written as dictionaries: a dictionary is a node, everything else a property."""

from __future__ import annotations

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree, Node

Tree = dict[str, t.Any]
GIC = 1


def build(content: Tree, name: str = "", parent: Node | None = None) -> Node:
    """Return a node: numbers become cells, texts strings, True an empty property; bytes stay as they are."""
    node = Node(name, parent)
    for key, value in content.items():
        if isinstance(value, dict):
            build(value, key, node)
        elif value is True:
            node.properties[key] = b""
        elif isinstance(value, bytes):
            node.properties[key] = value
        else:
            values = value if isinstance(value, list) else [value]
            if all(isinstance(item, str) for item in values):
                node.set_strings(key, *values)
            else:
                node.set_cells(key, *values)
    return node


def tree(content: Tree) -> DeviceTree:
    """Return a tree with this content."""
    return DeviceTree(build(content), "the test's tree")


def board(**devices: t.Any) -> Tree:
    """Return a board with a GIC-400, a bus that maps 0x7e000000 to 0xfe000000, a clock, and these nodes on the bus.

    `serial__1000` is the node serial@1000.
    """
    return {
        "model": "Test board",
        "compatible": ["test,board"],
        "#address-cells": 2,
        "#size-cells": 1,
        "interrupt-parent": GIC,
        "aliases": {"serial0": "/soc/serial@7e201000", "console": "/soc/serial@7e215000"},
        "chosen": {"stdout-path": "console:115200n8"},
        "memory@0": {"device_type": "memory", "reg": [0, 0, 0x40000000]},
        "interrupt-controller@ff841000": {
            "compatible": "arm,gic-400",
            "interrupt-controller": True,
            "#interrupt-cells": 3,
            "#address-cells": 0,
            "reg": [0, 0xFF841000, 0x1000, 0, 0xFF842000, 0x2000, 0, 0xFF844000, 0x2000, 0, 0xFF846000, 0x2000],
            "interrupts": [1, 9, 0xF04],
            "phandle": GIC,
        },
        "osc": {"compatible": "fixed-clock", "#clock-cells": 0, "clock-frequency": 24000000, "phandle": 2},
        "soc": {
            "compatible": "simple-bus",
            "#address-cells": 1,
            "#size-cells": 1,
            "ranges": [0x7E000000, 0, 0xFE000000, 0x1800000],
            "cprman@7e101000": {
                "compatible": "test,clocks",
                "#clock-cells": 1,
                "#reset-cells": 1,
                "reg": [0x7E101000, 0x2000],
                "phandle": 3,
            },
            "serial@7e201000": {
                "compatible": ["test,uart", "arm,pl011"],
                "reg": [0x7E201000, 0x200],
                "interrupts": [0, 121, 4],
                "clocks": [3, 19, 2],
                "clock-names": ["uartclk", "apb_pclk"],
            },
            "serial@7e201400": {
                "compatible": "test,uart",
                "reg": [0x7E201400, 0x200],
                "interrupts": [0, 121, 4],
                "status": "disabled",
            },
            "serial@7e215000": {"compatible": "test,console", "reg": [0x7E215000, 0x100], "interrupts": [0, 93, 4]},
            "rtc@7e300000": {"compatible": "test,rtc", "reg": [0x7E300FC0, 0x80], "interrupts": [0, 2, 1]},
            **{name.replace("__", "@"): content for name, content in devices.items()},
        },
    }
