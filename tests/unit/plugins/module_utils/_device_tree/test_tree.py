# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finding nodes by their names."""

from __future__ import annotations

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree, Node
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import board, build, tree


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


def test_of_two_with_the_same_name_the_first_counts() -> None:
    """As for Xen and libfdt. dtc makes no such tree, but an editor of blobs does."""
    root = build({"first": {"phandle": 5, "x": 1}, "second": {"phandle": 5}})
    twin = Node("first", root)
    twin.set_cells("x", 2)
    found = DeviceTree(root)
    assert (found.by_path["/first"].number("x"), found.by_phandle[5].name) == (1, "first")
