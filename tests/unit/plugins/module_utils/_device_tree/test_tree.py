# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Device trees: files, names, addresses, interrupts, needs."""

from __future__ import annotations

import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dma import dma_windows, iommu_of
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import (
    check_outputs,
    parse_dtb,
    read_device_tree,
    to_dtb,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.interrupts import find_gic, interrupts
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.needs import clock_rate, closure, needs, reach
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.registers import memory_banks, registers
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.report import report, report_device
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.source import to_dts
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree, Node
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._spans import Span
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import GIC, board, build, tree


def same(one: Node, other: Node) -> bool:
    children = sorted(one.children, key=lambda node: node.name), sorted(other.children, key=lambda node: node.name)
    return (
        one.name == other.name
        and one.properties == other.properties
        and len(children[0]) == len(children[1])
        and all(same(left, right) for left, right in zip(*children))
    )


def write_live(node: Node, path: Path) -> None:
    """Write a tree the way the kernel shows it."""
    path.mkdir()
    (path / "name").write_bytes(node.name.encode() + b"\0")
    for name, value in node.properties.items():
        (path / name).write_bytes(value)
    for child in node.children:
        write_live(child, path / child.name)


def test_a_dtb_and_a_live_tree_say_the_same(tmp_path: Path) -> None:
    root = build(board())
    (tmp_path / "board.dtb").write_bytes(to_dtb(root))
    write_live(root, tmp_path / "live")
    for path in ("board.dtb", "live"):
        assert same(read_device_tree(str(tmp_path / path)).root, root)
    assert [node.path for node in read_device_tree(str(tmp_path / "board.dtb")).nodes] == [node.path for node in root.subtree()]


def test_source_text_holds_every_kind_of_value() -> None:
    text = to_dts(build({"a": "x", "b": ["x", 'y"'], "c": [1, 0xFF], "d": True, "e": b"\1\2\3", "node@1": {"reg": 1}}))
    lines = ['a = "x";', 'b = "x", "y\\"";', "c = <0x1 0xff>;", "d;", "e = [01 02 03];", "node@1 {", "\treg = <0x1>;", "};"]
    assert text == "/dts-v1/;\n\n/ {\n" + "".join(f"\t{line}\n" for line in lines) + "};\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"/dts-v1/;", "is not a device tree blob.*dtc -I dts"),
        (b"", "is not a device tree blob"),
        (b"\xd0\x0d\xfe\xed", "damaged"),
        (b"\xd0\x0d\xfe\xed" + b"\0" * 100, "damaged"),
    ],
)
def test_what_is_no_dtb(content: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_dtb(content, "board.dtb")


def test_a_truncated_dtb_is_refused() -> None:
    data = to_dtb(build(board()))
    for length in range(4, len(data), 97):
        with pytest.raises(InvalidInput, match="damaged"):
            parse_dtb(data[:length], "board.dtb")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        read_device_tree(str(tmp_path / "none.dtb"))
    with pytest.raises(InvalidInput, match="is not a device tree"):
        read_device_tree(str(tmp_path))


def test_a_damaged_dtb_is_refused_or_read() -> None:
    """Whatever one word of it becomes: no other exception, and no crash."""
    data = to_dtb(build(board()))
    refused, refusals = 0, set()
    for at in range(4, len(data) - 3, 4):
        for word in (0, 1, 2, 9, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF):
            try:
                root = parse_dtb(data[:at] + word.to_bytes(4, "big") + data[at + 4 :], "board.dtb")
                tree_of = Analysis(DeviceTree(root))
                assert all(report(tree_of)["devices"])
            except InvalidInput as exc:
                refused += 1
                refusals.add((exc.problem.partition(" damaged")[0], bool(exc.rule), bool(exc.remedy)))
    assert refused > 1000 and refusals == {("The device tree blob board.dtb is", True, True)}


def dtc(data: bytes, *options: str) -> bytes:
    """Let the device tree compiler, which uses libfdt, make a blob of source text or of a blob."""
    return subprocess.run(["dtc", "-q", *options, "-O", "dtb", "-"], input=data, stdout=subprocess.PIPE, check=True).stdout


def test_the_compiler_agrees() -> None:
    root = build({**board(), "a": {"b": {"empty": b"", "odd": b"12345"}}})
    assert same(parse_dtb(dtc(to_dts(root).encode(), "-I", "dts"), "x"), root)
    # As a boot loader leaves it: with room to grow.
    grown = dtc(to_dtb(root), "-I", "dtb", "-p", "4096")
    assert len(grown) > len(to_dtb(root)) + 4000 and same(parse_dtb(grown, "x"), root)


def test_a_tree_that_is_too_deep_is_refused() -> None:
    content: dict[str, t.Any] = {"compatible": "test"}
    for _unused in range(63):
        content = {"x": content}
    assert parse_dtb(to_dtb(build(content)), "x").children
    with pytest.raises(InvalidInput, match="below 64 others"):
        parse_dtb(to_dtb(build({"x": content})), "x")


def test_a_directory_that_is_no_tree_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless")
    with pytest.raises(InvalidInput, match="is not a device tree"):
        read_device_tree(str(tmp_path))


def test_outputs_have_places_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    check_outputs([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "c"))
    for outputs in (["a", "link"], ["c"]):
        with pytest.raises(InvalidInput, match="would be written over"):
            check_outputs([str(tmp_path / name) for name in outputs], str(tmp_path / "c"))


@pytest.mark.parametrize("value", ["console:115200n8", "/soc/serial@7e215000:115200n8", "bus/serial@7e215000:9600", "bus/serial@7e215000"])
def test_the_console(value: str) -> None:
    content = board()
    content["aliases"]["bus"] = "/soc"
    console = tree({**content, "chosen": {"stdout-path": value}}).console
    assert console is not None and console.path == "/soc/serial@7e215000"
    assert tree({**content, "chosen": {"stdout-path": "none:9600"}}).console is None
    assert tree({**content, "chosen": {}}).console is None


@pytest.mark.parametrize("name", ["/soc/serial@7e201000", "serial0", "uart0", "&uart0", "arm,pl011"])
def test_a_node_by_any_name(name: str) -> None:
    found = tree({**board(), "__symbols__": {"uart0": "/soc/serial@7e201000"}}).find(name)
    assert found.path == "/soc/serial@7e201000"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/soc/serial@7e20100", "no node.*Did you mean .*'/soc/serial@7e201000'"),
        ("uart0", "no labels"),
        ("&serial0", "no labels"),
        ("test,uart", "2 nodes.*/soc/serial@7e201000, /soc/serial@7e201400.*by its path"),
    ],
)
def test_a_name_for_no_node_or_several(name: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        tree(board()).find(name)


# --- registers ------------------------------------------------------------------------------------------------------
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

    assert look("/soc/bus@7e400000/inner/dev@80") == [(0xFE400080, ""), (None, "0x20000 is in no window of /soc/bus@7e400000")]
    assert look("/soc/i2c@7e500000") == [(0xFE500000, "")]
    assert look("/soc/i2c@7e500000/eeprom@50") == [(None, "")]
    assert look("/soc/bad@1") == [(None, "0x1 is in no window of /soc")]
    assert look("/soc/odd@2") == [(None, "reg has 12 bytes, which is no multiple of 8")]
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
    assert bridge.pages == [Span(0xFE600000, 0xFE601000)]
    assert [entry.address for entry in registers(found.by_path["/soc/pcie@7e600000/nic@0,0"])] == [None]


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


def test_memory_banks() -> None:
    content = board(ram={"device_type": "memory", "reg": [0x7E000000, 0x1000]})
    assert memory_banks(tree(content)) == [Span(0, 0x40000000), Span(0xFE000000, 0xFE001000)]
    assert memory_banks(tree({"#address-cells": 1, "#size-cells": 1, "memory": {"device_type": "memory", "reg": [0, 0]}})) == []


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
    """As on Allwinner's boards: memory is reached through another node than the one above."""
    mbus = {"#interconnect-cells": 1, "#address-cells": 1, "#size-cells": 1, "dma-ranges": [0, 0x40000000, 0x10000000], "phandle": 70}
    content = board(mbus=mbus, dev={"interconnects": [70, 5], "interconnect-names": "dma-mem"})
    assert windows_of(content, "/soc/dev") == [(0, 0x40000000, 0x10000000)]
    content["soc"]["mbus"].update({"interconnects": [70, 5], "interconnect-names": "dma-mem"})
    assert windows_of(content, "/soc/dev") is None, "a circle ends"


@pytest.mark.parametrize(
    ("bus", "reg", "address", "problem"),
    [
        ({"ranges": True}, [0x7E400000, 4], 0xFE400000, ""),
        ({}, [0x7E400000, 4], None, ""),
        ({"ranges": [1, 2]}, [0x7E400000, 4], None, "ranges cannot be read .8 bytes"),
        ({"#address-cells": 0, "ranges": [0x7E400000, 0x10]}, [4], 0xFE400000, ""),
        ({"#address-cells": 3, "ranges": [1, 0, 0, 0x7E400000, 0x10]}, [1, 0, 8, 4], 0xFE400008, ""),
        ({"#address-cells": 2, "#size-cells": 2, "ranges": True}, [0, 0x7E400000, 0, 4], 0xFE400000, ""),
        ({"#address-cells": 0xFFFFFFFF, "ranges": True}, [0x7E400000, 4], None, "no multiple of"),
        ({"#address-cells": 0, "#size-cells": 0, "ranges": True}, [4], None, "no multiple of 0"),
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


# --- interrupts -----------------------------------------------------------------------------------------------------
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
    ({"interrupts": [1, 16, 4]}, [(None, "", "", "there is no PPI 16")]),
    ({"interrupts": [0, 2]}, [(None, "", "", "no multiple of what")]),
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


# --- needs ----------------------------------------------------------------------------------------------------------
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
