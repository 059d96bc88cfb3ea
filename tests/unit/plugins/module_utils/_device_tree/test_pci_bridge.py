# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PCI host bridges: what of one a guest gets, and that nothing behind one is given without it."""

from __future__ import annotations

import typing as t
from itertools import product

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dma import unprotected
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.guards import check_devices
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.lint_xen_partial import lint_partial
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.pci_bridge import behind, host_bridges, requested
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.registers import host_bridge, registers, windows
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.report import report_device
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree, Node
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.xen_partial import Partial, PassthroughRequest, build_partial
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.xen_rules import DOM0LESS, XL
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._spans import Span
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import Tree, board, pi5, tree, virt

VIRT, PI5 = "/pcie@10000000", "/axi/pcie@1000120000"
ETHERNET = f"{PI5}/pci@0,0/dev@0,0/pci-ep-bus@1/ethernet@40100000"


def made(content: Tree, path: str, flavour: str) -> tuple[Analysis, Partial, Node]:
    """Return the board, the partial tree and the bridge in it."""
    board = Analysis(tree(content))
    partial = build_partial(board.tree, [PassthroughRequest(board.device(board.tree.find(path)))], flavour)
    found = [node for node in partial.root.subtree() if node.text("device_type") == "pci"]
    return board, partial, found[0]


def rows(node: Node, name: str, width: int) -> list[list[int]]:
    cells = node.cells(name)
    assert len(cells) % width == 0
    return [cells[at : at + width] for at in range(0, len(cells), width)]


def test_what_the_guest_gets_of_a_bridge() -> None:
    board, partial, bridge = made(virt(), VIRT, XL)
    assert bridge.path == "/passthrough/pcie@4010000000"
    assert bridge.cells("reg") == [0x40, 0x10000000, 0, 0x10000000]
    assert rows(bridge, "ranges", 7) == [
        [0x01000000, 0, 0, 0, 0x3EFF0000, 0, 0x10000],
        [0x02000000, 0, 0x10000000, 0, 0x10000000, 0, 0x2EFF0000],
        [0x03000000, 0x80, 0, 0x80, 0, 0x80, 0],
    ]
    # Two windows adjoin.
    wanted = [Span.sized(0x10000000, 0x2F000000), Span.sized(0x4010000000, 0x10000000), Span.sized(0x8000000000, 0x8000000000)]
    assert partial.mapped == wanted == board.device(board.tree.find(VIRT)).pages
    assert windows(bridge) == windows(board.tree.find(VIRT))
    assert bridge.compatible == ["pci-host-ecam-generic"]
    assert (bridge.address_cells, bridge.size_cells, bridge.cells("bus-range")) == (3, 2, [0, 255])
    assert "msi-map" not in bridge.properties and "dma-coherent" in bridge.properties


@pytest.mark.parametrize(("flavour", "gic"), [(XL, 65000), (DOM0LESS, 1)])
def test_intx_goes_to_the_guests_gic_without_a_unit_address(flavour: str, gic: int) -> None:
    own = {"interrupts": [0, 3, 4, 0, 4, 4, 0, 5, 4, 0, 6, 4]} if flavour == DOM0LESS else {}
    _board, partial, bridge = made(virt(**own), VIRT, flavour)
    assert rows(bridge, "interrupt-map", 8) == [
        [slot << 11, 0, 0, pin, gic, 0, 3 + (slot + pin - 1) % 4, 4] for slot, pin in product(range(4), range(1, 5))
    ]
    assert bridge.cells("interrupt-map-mask") == [0x1800, 0, 0, 7]
    assert (partial.irqs, partial.lost) == ([35, 36, 37, 38], [])


def test_xen_itself_passes_on_no_interrupt_map() -> None:
    _board, partial, bridge = made(virt(), VIRT, DOM0LESS)
    assert "interrupt-map" not in bridge.properties and partial.irqs == []
    assert [line.number for _node, line in partial.lost] == [35, 36, 37, 38]
    # One of the four is an interrupt of the node as well.
    _board, partial, bridge = made(virt(interrupts=[0, 4, 4]), VIRT, DOM0LESS)
    assert {row[6] for row in rows(bridge, "interrupt-map", 8)} == {4} and partial.irqs == [36]


def test_the_linter_agrees_and_sees_a_window_that_is_not_mapped() -> None:
    board, partial, bridge = made(virt(interrupts=[0, 3, 4]), VIRT, DOM0LESS)
    assert [finding for finding in lint_partial(DeviceTree(partial.root), "x", board) if finding.rule != "guest-layout"] == []
    bridge.set_wide("xen,reg", 0x4010000000, 0x10000000, 0x4010000000)
    found = lint_partial(DeviceTree(partial.root), "x", board)
    assert [finding.rule for finding in found] == ["missing-map", "missing-map"]
    assert "0x10000000-0x3effffff" in found[0].problem
    copy = bridge.cells("interrupt-map")
    copy[7 - 1] = 5
    bridge.set_cells("interrupt-map", *copy)
    [unrouted] = [finding for finding in lint_partial(DeviceTree(partial.root), "x", board) if finding.rule == "unrouted-interrupt"]
    assert "interrupt-map has 37, which" in unrouted.problem and "<0 5 4>" in unrouted.fix


def test_a_node_behind_a_bridge_keeps_its_addresses_on_the_bus() -> None:
    board, partial, bridge = made(pi5(), ETHERNET.rpartition("/pci@")[0], XL)
    copy = DeviceTree(partial.root)
    ethernet = copy.by_path[f"{bridge.path}/pci@0,0/dev@0,0/pci-ep-bus@1/ethernet@40100000"]
    assert bridge.path == "/passthrough/pcie@1000120000"
    assert ethernet.cells("reg") == [0, 0x40100000, 0, 0x4000]
    assert registers(ethernet)[0].span == registers(board.tree.find(ETHERNET))[0].span == Span(0x1F00100000, 0x1F00104000)
    assert copy.by_phandle[ethernet.number("interrupt-parent") or ethernet.cells("interrupts-extended")[0]].name == "dev@0,0"
    # From the bus to memory, in the cells of a bus of two.
    assert rows(bridge, "dma-ranges", 7) == [[0x02000000, 0, 0, 0x1F, 0, 0, 0x400000], [0x43000000, 0x10, 0, 0, 0, 0x10, 0]]
    assert [need.kind for need in partial.missing] == ["msi"]


def test_a_named_child_gives_the_bridge() -> None:
    board = Analysis(tree(pi5()))
    nodes = [board.tree.find(ETHERNET), board.tree.find("cdns,rp1-usb")]
    assert host_bridge(nodes[0]) is board.tree.by_path[PI5]
    assert [device.path for device in requested(board, nodes)] == [PI5], "two devices behind it are the bridge, once"
    [entry] = host_bridges((node.name, node) for node in nodes)
    assert (entry["node"], entry["requested"]) == (PI5, ["ethernet@40100000", "usb@40200000"])
    assert ETHERNET in entry["behind"] and len(entry["behind"]) == len(behind(board.tree.by_path[PI5])) == 4
    assert host_bridges([("soc", board.tree.find("/soc"))]) == []
    assert report_device(board, board.device(nodes[0]))["host_bridge"] == PI5
    assert report_device(board, board.device(board.tree.find("/soc")))["host_bridge"] is None


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        (pi5(), ETHERNET, f"behind the PCI host bridge {PI5}"),
        (pi5(), "/axi", "/axi is not a PCI host bridge, but contains one"),
        (virt(**{"#size-cells": 1}), VIRT, "three cells for an address and two for a size"),
        (virt(ranges=[0x02000000, 0, 0, 0, 0x10000000, 0, 0x40000000]), VIRT, "overlaps the machine's memory"),
        (virt(ranges=[0x02000000, 0, 0, 0, 0x08000000, 0, 0x10000]), VIRT, "in the pages of the interrupt controller"),
    ],
)
def test_refused(content: Tree, path: str, message: str) -> None:
    board = Analysis(tree(content))
    with pytest.raises(InvalidInput, match=message):
        check_devices(board, [board.device(board.tree.find(path))])


@pytest.mark.parametrize(
    ("properties", "protected"),
    [({}, False), ({"iommus": [70, 1]}, True), ({"iommu-map": [0, 70, 0, 0x10000]}, False)],
)
def test_what_is_behind_a_bridge_does_its_dma(properties: dict[str, t.Any], protected: bool) -> None:
    content = virt(**{"nic@1,0": {"reg": [0x800, 0, 0, 0, 0], "iommus": [70, 2]}, **properties})
    content["smmu"] = {"#iommu-cells": 1, "phandle": 70}
    found = tree(content)
    bridge = found.find(VIRT)
    assert (unprotected(found, bridge.subtree()) == []) is protected


def test_interrupts_of_a_node_behind_it_are_passed_on_by_a_node_that_xen_reads() -> None:
    """Xen takes no xen,path on a bus of three cells, and follows the map from a node behind the bridge."""
    wifi = {"compatible": "test,wifi", "reg": [0x800, 0, 0, 0, 0], "interrupts": [2]}
    _board, partial, bridge = made(virt(**{"wifi@1,0": wifi}), VIRT, DOM0LESS)
    helper = next(node for node in partial.root.subtree() if node.name == "interrupts-wifi-1,0")
    assert helper.path == "/passthrough/interrupts-wifi-1,0" and helper.text("xen,path") == f"{VIRT}/wifi@1,0"
    assert (helper.properties["xen,reg"], helper.cells("interrupts"), partial.irqs) == (b"", [0, 5, 4], [37])
    assert f"{VIRT}/wifi@1,0" in partial.assigned
    # The map can use it for the others behind the bridge.
    assert {row[6] for row in rows(bridge, "interrupt-map", 8)} == {5}


def test_a_controller_inside_the_bridge() -> None:
    intc = {
        "interrupt-controller": True,
        "#interrupt-cells": 1,
        "#address-cells": 0,
        "interrupts": [0, 30, 4],
        "interrupt-parent": 1,
        "phandle": 90,
    }
    own = {"intc": intc, "interrupt-map": [0, 0, 0, 1, 90, 0, 0, 0, 0, 2, 90, 1], "interrupt-map-mask": [0, 0, 0, 7]}
    board, partial, bridge = made(virt(**own), VIRT, DOM0LESS)
    inner = next(child for child in bridge.children if child.name == "intc")
    assert rows(bridge, "interrupt-map", 6) == [[0, 0, 0, 1, inner.phandle, 0], [0, 0, 0, 2, inner.phandle, 1]]
    assert (partial.irqs, partial.lost) == ([62], [])
    assert [line.number for _node, line in board.device(board.tree.find(VIRT)).lines] == [62]


def test_two_bridges_on_the_same_lines() -> None:
    content = virt()
    content["other@1"] = {**content["pcie@10000000"], "reg": [0x50, 0, 0, 0x1000], "ranges": [0x02000000, 0, 0, 0x60, 0, 0, 0x1000]}
    found = Analysis(tree(content))
    assert found.line_sharers([found.device(found.tree.find(VIRT))]) == {
        number: [found.tree.by_path["/other@1"]] for number in range(35, 39)
    }


def test_a_board_without_bridges() -> None:
    found = Analysis(tree(board()))
    assert found.windows == [] and all(host_bridge(node) is None for node in found.tree.nodes)
