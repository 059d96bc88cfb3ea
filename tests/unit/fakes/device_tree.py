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


def virt(**own: t.Any) -> Tree:
    """Return QEMU's board virt with a GICv2, as far as its PCI host bridge goes; `own` are further properties of the bridge.

    Sources: hw/arm/virt.c (create_pcie, create_pcie_irq_map), and the tree that QEMU 7.2 dumps.
    """
    swizzled = [
        cell for slot in range(4) for pin in range(1, 5) for cell in (slot << 11, 0, 0, pin, GIC, 0, 0, 0, 3 + (slot + pin - 1) % 4, 4)
    ]
    bridge = {
        "compatible": "pci-host-ecam-generic",
        "device_type": "pci",
        "linux,pci-domain": 0,
        "bus-range": [0, 255],
        "dma-coherent": True,
        "#address-cells": 3,
        "#size-cells": 2,
        "#interrupt-cells": 1,
        "msi-map": [0, 9, 0, 0x10000],
        "reg": [0x40, 0x10000000, 0, 0x10000000],
        "ranges": [
            *(0x01000000, 0, 0, 0, 0x3EFF0000, 0, 0x10000),
            *(0x02000000, 0, 0x10000000, 0, 0x10000000, 0, 0x2EFF0000),
            *(0x03000000, 0x80, 0, 0x80, 0, 0x80, 0),
        ],
        "interrupt-map": swizzled,
        "interrupt-map-mask": [0x1800, 0, 0, 7],
        **own,
    }
    return {
        "model": "linux,dummy-virt",
        "#address-cells": 2,
        "#size-cells": 2,
        "interrupt-parent": GIC,
        "memory@40000000": {"device_type": "memory", "reg": [0, 0x40000000, 0, 0x80000000]},
        "intc@8000000": {
            "compatible": "arm,cortex-a15-gic",
            "interrupt-controller": True,
            "#interrupt-cells": 3,
            "#address-cells": 2,
            "#size-cells": 2,
            "ranges": True,
            "reg": [0, 0x08000000, 0, 0x10000, 0, 0x08010000, 0, 0x10000],
            "phandle": GIC,
            "v2m@8020000": {"compatible": "arm,gic-v2m-frame", "reg": [0, 0x08020000, 0, 0x1000], "msi-controller": True, "phandle": 9},
        },
        "pcie@10000000": bridge,
    }


def pi5() -> Tree:
    """Return a Raspberry Pi 5, as far as the bridge to its chip RP1 goes.

    Sources: bcm2712.dtsi, rp1-nexus.dtsi and rp1-common.dtsi of Linux.
    """
    bus = {
        "compatible": "simple-bus",
        "#address-cells": 2,
        "#size-cells": 2,
        "ranges": [0, 0x40000000, 1, 0, 0, 0, 0x400000],
        "dma-ranges": [0x10, 0, 0x43000000, 0x10, 0, 0x10, 0],
        "ethernet@40100000": {
            "compatible": "raspberrypi,rp1-gem",
            "reg": [0, 0x40100000, 0, 0x4000],
            "interrupts": [6, 4],
            "interrupt-parent": 31,
        },
        "usb@40200000": {"compatible": "cdns,rp1-usb", "reg": [0, 0x40200000, 0, 0x100000], "interrupts": [31, 1], "interrupt-parent": 31},
        "off@40300000": {"compatible": "test,off", "reg": [0, 0x40300000, 0, 0x1000], "status": "disabled"},
    }
    chip = {
        "compatible": "pci1de4,1",
        "reg": [0x10000, 0, 0, 0, 0],
        "ranges": [1, 0, 0, 0x02010000, 0, 0, 0, 0x400000],
        "#address-cells": 3,
        "#size-cells": 2,
        "interrupt-controller": True,
        "#interrupt-cells": 2,
        "phandle": 31,
        "pci-ep-bus@1": {**bus, "ranges": [0, 0x40000000, 1, 0, 0, 0, 0x400000], "dma-ranges": [0x10, 0, 0x43000000, 0x10, 0, 0, 0x10, 0]},
    }
    port = {
        "device_type": "pci",
        "reg": [0, 0, 0, 0, 0],
        "#address-cells": 3,
        "#size-cells": 2,
        "bus-range": [1, 1],
        "ranges": [0x02000000, 0, 0, 0x02000000, 0, 0, 0, 0x400000],
        "dev@0,0": chip,
    }
    bridge = {
        "compatible": "brcm,bcm2712-pcie",
        "device_type": "pci",
        "reg": [0x10, 0x00120000, 0, 0x9310],
        "#address-cells": 3,
        "#size-cells": 2,
        "#interrupt-cells": 1,
        "interrupts": [0, 223, 4, 0, 224, 4],
        "interrupt-names": ["pcie", "msi"],
        "interrupt-map": [cell for pin in range(1, 5) for cell in (0, 0, 0, pin, GIC, 0, 228 + pin, 4)],
        "interrupt-map-mask": [0, 0, 0, 7],
        "msi-parent": 32,
        "ranges": [0x02000000, 0, 0, 0x1F, 0, 0, 0xFFFFFFFC, 0x43000000, 4, 0, 0x1C, 0, 3, 0],
        "dma-ranges": [0x02000000, 0, 0, 0x1F, 0, 0, 0x400000, 0x43000000, 0x10, 0, 0, 0, 0x10, 0],
        "pci@0,0": port,
    }
    mip = {"compatible": "brcm,bcm2712-mip", "reg": [0x10, 0x00130000, 0, 0xC0], "msi-controller": True, "phandle": 32}
    axi = {
        "compatible": "simple-bus",
        "#address-cells": 2,
        "#size-cells": 2,
        "ranges": True,
        "pcie@1000120000": bridge,
        "msi-controller@1000130000": mip,
    }
    return {**board(), "axi": axi}
