# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of XenStore of a domain that is mapped 1:1, by the release of Xen and the RAM of the board."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._board import imagebuilder, uboot_script
from ansible_collections.xen.driver_domains.plugins.module_utils._board.script_image import text_of
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.tests.unit.fakes import board as fake_board
from ansible_collections.xen.driver_domains.tests.unit.fakes.board import VIRT, cells, domu, dtb

STATIC = {"static_memory": [{"start": "0x20000000", "size": "0x10000000"}], "memory": None}
OPTIONS = ("CONFIG_ARM_64", "CONFIG_STATIC_MEMORY")
WINDOW = {"memory_start": "0x0", "memory_end": "0x10000000"}


def ram(*banks: tuple[int, int], **nodes: t.Any) -> bytes:
    """A device tree with RAM there."""
    rest = {name: node for name, node in VIRT.items() if not name.startswith("memory@")}
    memory = {
        f"memory@{start:x}": {"device_type": "memory", "reg": cells(start >> 32, start & 0xFFFFFFFF, 0, size)} for start, size in banks
    }
    return dtb({**rest, **memory, **nodes})


#: As the firmware of a Raspberry Pi 4 fills it in.
PI = ram((0, 0x3B400000), (0x40000000, 0xBC000000))


def script(directory: Path, release: str, tree: bytes = PI, **changes: t.Any) -> str:
    """The text of the boot script for this release of Xen."""
    fake_board.files(directory)
    (directory / "virt.dtb").write_bytes(tree)
    (directory / "xen").write_bytes(fake_board.xen(*OPTIONS, release=release) if release else fake_board.kernel())
    parameters = fake_board.parameters(directory, **{**WINDOW, "domus": [domu("dd", **STATIC)], **changes}, path="boot.scr", source="")
    plan = uboot_script.plan_script(parameters)
    plan.apply()
    return text_of((directory / "boot.scr").read_bytes())


WITH = (
    "fdt set /chosen/domU-dd xen,static-mem <0x0 0x20000000 0x0 0x10000000 0x0 0x39000000 0x0 0x200000>",
    # 256 MiB and 2 MiB, in KiB.
    "fdt set /chosen/domU-dd memory <0x0 0x40800>",
    'fdt set /chosen/domU-dd/kernel bootargs "console=ttyAMA0 mem=262144K"',
)


@pytest.mark.parametrize("release", ["4.17.5", "4.20.4", ""])
def test_the_page_is_part_of_the_memory_and_linux_keeps_off(tmp_path: Path, release: str) -> None:
    lines = script(tmp_path, release).splitlines()
    assert [any(line.startswith(command) for line in lines) for command in WITH] == [True] * 3


@pytest.mark.parametrize(
    ("release", "changes"),
    [
        ("4.21.0", {}),
        ("5.0.0", {}),
        ("4.17.5", {"domus": [domu("dd", enhanced="no-xenstore", **STATIC)]}),
        ("4.17.5", {"domus": [domu("dd", direct_map=False, **STATIC)]}),
    ],
    ids=["4.21", "5.0", "no-xenstore", "not-mapped"],
)
def test_no_page_where_none_is_needed(tmp_path: Path, release: str, changes: dict[str, t.Any]) -> None:
    text = script(tmp_path, release, **changes)
    assert "xen,static-mem <0x0 0x20000000 0x0 0x10000000> " in text and "mem=262144K" not in text


def test_memory_that_only_the_firmware_knows(tmp_path: Path) -> None:
    """Debian's device tree of the Raspberry Pi 4 has no RAM."""
    assert WITH[0] in script(tmp_path, "4.17.5", ram(), ram=4096)


def test_a_limit_of_ones_own(tmp_path: Path) -> None:
    text = script(tmp_path, "4.17.5", domus=[domu("dd", cmdline="mem=128M", **STATIC)])
    assert 'bootargs "mem=128M"' in text and WITH[0] in text


@pytest.mark.parametrize(
    ("tree", "changes", "message"),
    [
        (
            ram((0x40000000, 0x80000000)),
            {},
            "dd: a domain that is mapped 1:1 cannot have XenStore here: the board has no RAM there.*0x4000",
        ),
        (ram((0, 0x39000000)), {}, "the board has no RAM there"),
        (
            ram((0, 0x80000000), **{"reserved-memory": {}}),
            {"memory_end": "0x40000000", "memory_start": "0x30000000"},
            "the window that files",
        ),
        (
            ram((0, 0x80000000), **{"reserved-memory": {"ranges": None, "fw@39100000": {"reg": cells(0, 0x39100000, 0x1000)}}}),
            {},
            "it belongs to /reserved-memory/fw@39100000",
        ),
        (
            PI,
            {"domus": [domu("dd", **STATIC), domu("b", memory=None, static_memory=[{"start": "0x50000000", "size": "0x10000000"}])]},
            "b: ",
        ),
        (
            PI,
            {"domus": [domu("dd", memory=None, static_memory=[{"start": "0x38000000", "size": "0x2000000"}])]},
            "dd: static_memory 0x38000000-0x39ffffff does not end before 0x39000000.*Xen 4.17 .*Choose memory below",
        ),
        (PI, {"domus": [domu("dd", cmdline="x" * 1020, **STATIC)]}, "dd: cmdline has 1032 characters"),
    ],
    ids=["virt", "too little", "window", "reserved", "second", "overlap", "long"],
)
def test_where_it_is_not_possible(tmp_path: Path, tree: bytes, changes: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        script(tmp_path, "4.17.5", tree, **{**WINDOW, **changes})
    assert not (tmp_path / "boot.scr").exists()


def test_imagebuilder_gets_the_same(tmp_path: Path) -> None:
    fake_board.files(tmp_path)
    (tmp_path / "virt.dtb").write_bytes(PI)
    (tmp_path / "xen").write_bytes(fake_board.xen(*OPTIONS, release="4.17.5"))
    extra = {"path": str(tmp_path / "config"), "checkout": None, "uboot_source": "boot.source", "uboot_script": "boot.scr", "fit": None}
    parameters = fake_board.parameters(tmp_path, **WINDOW, domus=[domu("dd", **STATIC)], **extra)
    values = imagebuilder.plan_configuration(parameters).results["variables"]
    assert values["DOMU_STATIC_MEM[0]"] == "0x20000000 0x10000000 0x39000000 0x200000"
    assert values["DOMU_CMD[0]"] == "console=ttyAMA0 mem=262144K" and "DOMU_MEM[0]" not in values
