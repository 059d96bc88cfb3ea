# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device tree after a fake U-Boot has run the boot script."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._board import script_image, uboot_script
from ansible_collections.xen.driver_domains.plugins.module_utils._board.boot_files import Files
from ansible_collections.xen.driver_domains.plugins.module_utils._board.configuration import Board
from ansible_collections.xen.driver_domains.plugins.module_utils._board.load_map import LoadMap
from ansible_collections.xen.driver_domains.plugins.module_utils._board.reader import read_board
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.tests.unit.fakes import board as fake_board
from ansible_collections.xen.driver_domains.tests.unit.fakes.board import FakeUboot, domu, dtb

MODULE = "multiboot,module"
RTC = {"passthrough_dtb": "rtc.dtb", "passthrough_paths": ["/pl031@9010000"]}


def make(directory: Path, **changes: t.Any) -> tuple[Board, str, LoadMap]:
    if not (directory / "xen").exists():
        fake_board.files(directory)
    board = read_board(fake_board.parameters(directory, **changes))
    uboot_script.check_supported(board)
    files = Files(board.directory)
    load_map = uboot_script.plan_memory(board, files)
    return board, uboot_script.source(board, files, load_map), load_map


def uboot(directory: Path) -> FakeUboot:
    machine = FakeUboot({path.name: path.stat().st_size for path in directory.iterdir()})
    machine.tree = {"chosen": {}, "pl031@9010000": {}, "cpus": {"cpu@0": {}, "cpu@1": {}}}
    return machine


def boot(directory: Path, **changes: t.Any) -> dict[str, t.Any]:
    """Run the script and return /chosen."""
    _board, script, _load_map = make(directory, **changes)
    machine = uboot(directory)
    assert machine.run(script), machine.printed
    return t.cast("dict[str, t.Any]", machine.tree["chosen"])


def domains(chosen: dict[str, t.Any]) -> list[str]:
    """The domains in the order in which Xen finds them."""
    return [name for name, node in chosen.items() if isinstance(node, dict) and node.get("compatible") == ["xen,domain"]]


def test_zero_is_not_the_lack_of_a_value(tmp_path: Path) -> None:
    assert boot(tmp_path, domus=[domu("a", maptrack_frames=0)])["domU-a"]["max_maptrack_frames"] == [0]


def test_the_whole_script(tmp_path: Path) -> None:
    """A change of the text shows here; try it on a board."""
    _board, script, _load_map = make(
        tmp_path,
        xen_cmdline="console=dtuart xsm=dummy",
        overlays=["overlay.dtbo"],
        extra_commands_file="extra.txt",
        domus=[domu("rtc-dd", **RTC), domu("web", vcpus=2, cmdline="console=ttyAMA0 a;b")],
    )
    golden = Path(__file__).with_name("golden_boot.source")
    assert script == golden.read_text(encoding="ascii")


@pytest.mark.parametrize("count", [1, 2, 8, 24])
def test_numbers_follow_the_list(tmp_path: Path, count: int) -> None:
    names = [f"d{number}" for number in range(count)]
    chosen = boot(tmp_path, domus=[domu(name, memory=32) for name in names])
    assert domains(chosen) == [f"domU-{name}" for name in names]


@pytest.mark.parametrize("count", [1, 8, 24])
def test_the_device_tree_gets_room(tmp_path: Path, count: int) -> None:
    """The growth of the tree is known to the byte here; the script must ask for at least that."""
    _board, script, load_map = make(tmp_path, domus=[domu(f"d{number}", memory=32, cmdline="x" * 1000) for number in range(count)])
    machine = uboot(tmp_path)
    before = len(dtb(machine.tree))
    machine.run(script)

    def packed(value: t.Any) -> t.Any:
        if isinstance(value, dict):
            return {key: packed(item) for key, item in value.items()}
        if isinstance(value, list):
            return fake_board.cells(*value) if value and isinstance(value[0], int) else "".join(f"{text}\0" for text in value).encode()
        return value

    grown = len(dtb(packed(machine.tree))) - before
    (asked,) = (int(line.split()[3].rstrip(";"), 16) for line in script.splitlines() if line.startswith("if fdt resize"))
    assert grown <= asked
    tree = load_map["device tree"]
    assert tree.room >= tree.size + asked


def test_dom0(tmp_path: Path) -> None:
    _board, script, load_map = make(
        tmp_path, dom0={"kernel": "Image", "ramdisk": "rd.cpio.gz", "memory": 256, "cmdline": "console=hvc0 quiet"}
    )
    machine = uboot(tmp_path)
    assert machine.run(script)
    chosen = machine.tree["chosen"]
    assert chosen["xen,xen-bootargs"] == ["console=dtuart bootscrub=0 dom0_mem=256M dom0_max_vcpus=1"]
    assert chosen["xen,dom0-bootargs"] == ["console=hvc0 quiet"]
    kernel, ramdisk = load_map["dom0 kernel"], load_map["dom0 ramdisk"]
    assert chosen["dom0"] == {
        "compatible": ["xen,linux-zimage", "xen,multiboot-module", MODULE],
        "reg": [0, kernel.address, 0, kernel.size],
    }
    assert chosen["dom0-ramdisk"]["reg"] == [0, ramdisk.address, 0, ramdisk.size]
    assert machine.booted == f"booti {load_map['Xen'].address:#x} - {load_map['device tree'].address:#x}"
    assert machine.loaded == {slot.file: slot.address for slot in load_map.slots if slot.file}


def test_true_dom0less(tmp_path: Path) -> None:
    chosen = boot(tmp_path, dom0=None, domus=[domu("a")])
    assert "dom0" not in chosen and "xen,dom0-bootargs" not in chosen
    assert "xen,enhanced" not in chosen["domU-a"]


def test_a_device(tmp_path: Path) -> None:
    _board, script, load_map = make(tmp_path, domus=[domu("a", **RTC)])
    machine = uboot(tmp_path)
    assert machine.run(script)
    assert machine.tree["pl031@9010000"] == {"xen,passthrough": []}
    slot = load_map["a partial device tree"]
    assert machine.tree["chosen"]["domU-a"]["dtb"] == {
        "compatible": ["multiboot,device-tree", MODULE],
        "reg": [0, slot.address, 0, slot.size],
    }


def test_a_device_for_a_domain_that_starts_later(tmp_path: Path) -> None:
    _board, script, _load_map = make(tmp_path, domus=[domu("a", kernel=None, boot=False, passthrough_paths=["/pl031@9010000"])])
    machine = uboot(tmp_path)
    assert machine.run(script)
    assert machine.tree["pl031@9010000"] == {"xen,passthrough": []}
    assert domains(machine.tree["chosen"]) == []


def test_everything_else(tmp_path: Path) -> None:
    chosen = boot(
        tmp_path,
        memory_end="0xB0000000",
        static_heap=[{"start": "0x100000000", "size": "0x1000"}],
        domus=[
            domu(
                "a",
                memory=None,
                static_memory=[{"start": "0xb0000000", "size": "0x8000000"}],
                enhanced="no-xenstore",
                vpl011=False,
                colors="1-2",
                grant_version=1,
                grant_frames=32,
                maptrack_frames=8,
                capabilities=["control", "xenstore"],
            )
        ],
    )
    assert chosen["xen,static-heap"] == [1, 0, 0, 0x1000]
    domain = {key: value for key, value in chosen["domU-a"].items() if key not in ("kernel", "ramdisk")}
    assert domain == {
        "compatible": ["xen,domain"],
        "#address-cells": [2],
        "#size-cells": [2],
        "memory": [0, 128 << 10],
        "cpus": [1],
        "xen,enhanced": ["no-xenstore"],
        "xen,static-mem": [0, 0xB0000000, 0, 0x8000000],
        "direct-map": [],
        "llc-colors": ["1-2"],
        "max_grant_version": [1],
        "max_grant_frames": [32],
        "max_maptrack_frames": [8],
        "capabilities": [5],
    }


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"load_command": "sd"}, "if load mmc 0:1 0x40400000 Image; then"),
        ({"load_command": "scsi"}, "if load scsi 0:1 0x40400000 Image; then"),
        ({"load_command": "usb"}, "if fatload usb 0:1 0x40400000 Image; then"),
        ({"load_command": "load mmc 0:2"}, "if load mmc 0:2 0x40400000 Image; then"),
        ({"boot_command": "bootefi"}, "bootefi 0x40a00000 0x40c00000"),
        ({"boot_command": "none"}, "setenv host_fdt_addr 0x40c00000"),
        ({"overlays": ["overlay.dtbo"]}, "if fdt apply 0x40c00000; then"),
        ({"extra_commands_file": "extra.txt"}, "echo two"),
    ],
)
def test_lines(tmp_path: Path, changes: dict[str, t.Any], line: str) -> None:
    _board, script, _load_map = make(tmp_path, **changes)
    assert any(found.startswith(line) for found in script.splitlines()), script


def test_a_file_is_loaded_once(tmp_path: Path) -> None:
    _board, script, load_map = make(tmp_path, domus=[domu("a"), domu("b")])
    assert script.count(" Image; then") == 1
    assert load_map["a kernel"].address == load_map["b kernel"].address == load_map["dom0 kernel"].address


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("rd.cpio.gz", None, "boot script: rd.cpio.gz could not be loaded"),
        ("rd.cpio.gz", b"new", "boot script: rd.cpio.gz has another size than when this script was made"),
    ],
)
def test_it_stops_at_a_bad_file(tmp_path: Path, file: str, content: bytes | None, message: str) -> None:
    _board, script, _load_map = make(tmp_path)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    machine = uboot(tmp_path)
    assert not machine.run(script)
    assert machine.printed[0].startswith(message)
    assert not machine.booted


def test_it_stops_at_a_node_that_is_not_there(tmp_path: Path) -> None:
    _board, script, _load_map = make(tmp_path, domus=[domu("a", **RTC)])
    machine = uboot(tmp_path)
    del machine.tree["pl031@9010000"]
    assert not machine.run(script)
    assert machine.printed == ["boot script: the device tree could not be changed: /pl031@9010000 xen,passthrough"]


@pytest.mark.parametrize("broken", ["rd.cpio.gz", "xen", "node", "none"])
@pytest.mark.parametrize("boot_command", ["booti", "bootefi", "none"])
def test_nothing_is_booted_where_exit_does_nothing(tmp_path: Path, broken: str, boot_command: str) -> None:
    """As in U-Boot 2023.01: the script goes on after `exit`, and must not boot all the same."""
    (tmp_path / "more.txt").unlink(missing_ok=True)
    fake_board.files(tmp_path)
    (tmp_path / "more.txt").write_text("setenv more done\n")
    _board, script, _map = make(tmp_path, boot_command=boot_command, extra_commands_file="more.txt", domus=[domu("a", **RTC)])
    if broken not in ("node", "none"):
        (tmp_path / broken).write_bytes(b"another size")
    machine = uboot(tmp_path)
    machine.exits = False
    if broken == "node":
        del machine.tree["pl031@9010000"]
    started = machine.run(script)
    good = broken == "none"
    assert (machine.environment.get("more"), "host_fdt_addr" in machine.environment) == (
        "done" if good else None,
        good and boot_command == "none",
    )
    assert started is (good and boot_command != "none")
    assert bool(machine.booted) is started
    if not good:
        assert machine.printed[-1].startswith("boot script: Xen is not started")
        assert len(machine.printed) == 2


def test_a_failure_of_an_earlier_run_is_forgotten(tmp_path: Path) -> None:
    _board, script, _map = make(tmp_path)
    machine = uboot(tmp_path)
    machine.environment.update(xen_stop="1", xen_failed="something")
    assert machine.run(script)


def test_the_size_of_static_memory_is_exact(tmp_path: Path) -> None:
    """Xen stops if the property memory, in KiB, is another number than the sum of the regions."""
    regions = [{"start": "0xb0000000", "size": "0x8000000"}, {"start": "0xb8000000", "size": "0x1000"}]
    chosen = boot(tmp_path, domus=[domu("a", memory=None, static_memory=regions)])
    assert chosen["domU-a"]["memory"] == [0, 0x8001000 >> 10]


@pytest.mark.parametrize("length", [1023, 1024, 5000])
@pytest.mark.parametrize("where", ["xen_cmdline", "dom0", "domus"])
def test_long_command_lines(tmp_path: Path, length: int, where: str) -> None:
    added = len(" dom0_mem=512M dom0_max_vcpus=1")
    changes: dict[str, dict[str, t.Any]] = {
        "xen_cmdline": {"xen_cmdline": "x" * (length - added)},
        "dom0": {"dom0": {"kernel": "Image", "memory": 512, "cmdline": "x" * length}},
        "domus": {"domus": [domu("a", cmdline="x" * length)]},
    }
    if length > 1023:
        with pytest.raises(InvalidInput, match=f"has {length} characters.*U-Boot crashes"):
            make(tmp_path, **changes[where])
    else:
        assert "x" * 900 in make(tmp_path, **changes[where])[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"static_heap": [{"start": f"0x{index}0000000", "size": "0x100000"} for index in "abc"]},
        {"domus": [domu("a", memory=None, static_memory=[{"start": f"0x{index}0000000", "size": "0x100000"} for index in "abc"])]},
    ],
)
def test_more_numbers_than_a_command_takes(tmp_path: Path, changes: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidInput, match="would have 12 numbers.*List fewer regions"):
        make(tmp_path, **changes)


def test_a_tree_without_chosen(tmp_path: Path) -> None:
    fake_board.files(tmp_path)
    (tmp_path / "virt.dtb").write_bytes(dtb({key: value for key, value in fake_board.VIRT.items() if key != "chosen"}))
    _board, script, _load_map = make(tmp_path)
    machine = uboot(tmp_path)
    del machine.tree["chosen"]
    assert machine.run(script), machine.printed
    assert machine.tree["chosen"]["xen,xen-bootargs"]


@pytest.mark.parametrize(
    "changes",
    [
        {"boot_command": "bootm"},
        {"domus": [domu("a", shared_memory={"id": "x", "guest_address": "0x1000", "size": "0x1000"})]},
    ],
)
def test_what_only_imagebuilder_can_do(tmp_path: Path, changes: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidInput):
        make(tmp_path, **changes)


def test_the_image_holds_the_script(tmp_path: Path) -> None:
    _board, script, load_map = make(tmp_path)
    image = script_image.image(script, load_map["boot script"].address)
    assert script_image.text_of(image) == script
    assert script_image.text_of(b"#!/bin/sh\n") == ""


#: What mkimage of u-boot-tools 2023.01 made with -A arm64 -T script -C none -a ADDRESS -e ADDRESS -n 'Xen boot script', at the time 0.
MADE_BY_MKIMAGE = bytes.fromhex(
    "270519565834875a000000000000001340200000402000003db55e6f0516060058656e20626f6f74207363726970740000000000000000000000000000000000"
    "0000000b000000006563686f2068656c6c6f0a"
)


def test_the_image_is_what_mkimage_makes(tmp_path: Path) -> None:
    _board, _script, load_map = make(tmp_path)
    assert load_map["boot script"].address == 0x40200000
    assert script_image.image("echo hello\n", load_map["boot script"].address) == MADE_BY_MKIMAGE


def test_chosen_that_an_overlay_brings(tmp_path: Path) -> None:
    """The overlays are applied before nodes are made: one that exists cannot be made again."""
    fake_board.files(tmp_path)
    (tmp_path / "virt.dtb").write_bytes(dtb({name: node for name, node in fake_board.VIRT.items() if name != "chosen"}))
    assert "fdt mknod / chosen" in make(tmp_path)[1]
    (tmp_path / "overlay.dtbo").write_bytes(dtb({"fragment@0": {"target-path": "/", "__overlay__": {"chosen": {"x": "y"}}}}))
    assert "fdt mknod / chosen" not in make(tmp_path, overlays=["overlay.dtbo"])[1]


@pytest.mark.parametrize(("path", "source"), [("xen", ""), ("./virt.dtb", ""), ("boot.scr", "boot.scr"), ("boot.scr", "rtc.dtb")])
def test_no_file_of_the_board_is_overwritten(tmp_path: Path, path: str, source: str) -> None:
    options = {**fake_board.parameters(fake_board.files(tmp_path), domus=[domu("a", **RTC)]), "path": path, "source": source}
    with pytest.raises(InvalidInput, match="would be written over a file that it is made from, or over another output"):
        uboot_script.plan_script(options)
