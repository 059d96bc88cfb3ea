# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hand-written system description for the Odroid C4, and what the linter finds in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import read_device_tree
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.lint import lint_system
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.schema import VERSIONS
from device_trees.debian import directory

TEXT = Path(__file__).with_name("odroid_c4.system").read_text()


def findings(tree: DeviceTree, version: str = "2.1.0") -> list[tuple[str, str]]:
    lines = TEXT.splitlines()
    found = lint_system(TEXT, "vmm.system", version, Analysis(tree))
    return [(finding.rule, lines[int(finding.place.rpartition(":")[2]) - 1].strip()) for finding in found if finding.rule != "root"]


@pytest.fixture
def tree() -> DeviceTree:
    return read_device_tree(str(directory() / "amlogic/meson-sm1-odroid-c4.dtb"))


OF_ANY_TREE = [
    ("unquoted-value", '<map mr="guest_ram" vaddr=GUEST_RAM_ADDRESS perms="rw" setvar_vaddr="guest_ram_vaddr" />'),
    ("attribute", '<virtual_machine name="linux" id="0" priority="1">'),
    ("vcpu", '<virtual_machine name="linux" id="0" priority="1">'),
    ("unquoted-value", '<map mr="guest_ram" vaddr=GUEST_RAM_ADDRESS perms="rwx" />'),
    ("missing-map", '<irq irq="192" id="7" />'),
    ("wrong-trigger", '<irq irq="53" id="10" />'),
    ("unknown-interrupt", '<irq irq="5" id="17" />'),
]


@pytest.mark.parametrize("version", VERSIONS)
def test_with_debians_tree(tree: DeviceTree, version: str) -> None:
    assert findings(tree, version) == OF_ANY_TREE


def test_with_an_older_tree(tree: DeviceTree) -> None:
    """In the trees of older kernels, the two eMMC controllers are edge-triggered."""
    for name in ("mmc0", "mmc1"):
        node = tree.find(name)
        node.set_cells("interrupts", *node.cells("interrupts")[:2], 1)
    assert findings(DeviceTree(tree.root)) == [
        *OF_ANY_TREE,
        ("wrong-trigger", '<irq irq="222" id="18" />'),
        ("wrong-trigger", '<irq irq="223" id="19" />'),
    ]


def test_the_fixes_are_enough(tree: DeviceTree) -> None:
    fixed = (
        TEXT.replace("vaddr=GUEST_RAM_ADDRESS", 'vaddr="0x20000000"')
        .replace(' id="0" priority="1">', ' priority="1"><vcpu id="0" />')
        .replace("</virtual_machine>", '<map mr="gpu" vaddr="0xffe40000" cached="false" /></virtual_machine>')
        .replace('<irq irq="53" id="10" />', '<irq irq="53" id="10" trigger="edge" />')
        .replace('<irq irq="5" id="17" />', "")
    )
    gpu = '<memory_region name="gpu" size="0x40000" phys_addr="0xffe40000" />'
    assert lint_system(f"<system>{gpu}{fixed}</system>", "vmm.system", "2.1.0", Analysis(tree)) == []
