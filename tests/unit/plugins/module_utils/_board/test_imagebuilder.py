# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._board import imagebuilder, uboot_script
from ansible_collections.xen.driver_domains.plugins.module_utils._board.boot_files import Files
from ansible_collections.xen.driver_domains.plugins.module_utils._board.configuration import Board
from ansible_collections.xen.driver_domains.plugins.module_utils._board.load_map import lay_out
from ansible_collections.xen.driver_domains.plugins.module_utils._board.reader import read_board
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.tests.unit.fakes import board as fake_board
from ansible_collections.xen.driver_domains.tests.unit.fakes.board import FakeUboot, domu, kernel

OUTPUTS = {"uboot_source": "boot.source", "uboot_script": "boot.scr", "fit": ""}

HOSTILE = [
    "plain",
    "two words",
    "$HOME ${HOME} $(id) `id` $((1+1))",
    "'single' \"double\" \\ back\\slash",
    "line\nline\n",
    "; reboot & # comment | cat > /dev/null < x",
    "*.dtb ? [a-z] {a,b} ~ ~root !! !x",
    "\ttab \a bell \x7f",
    "-n -e --",
    "ümlaut \udcff",
    "=a=b",
]


def read_back(text: str, names: t.Iterable[str], directory: Path) -> dict[str, str]:
    """Let bash source the text, as uboot-script-gen does, and return the variables."""
    path = directory / "config"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    names = list(names)
    show = "".join(f'printf "%s\\0" "${{{name}}}"\n' for name in names)
    script = f'source "$1"\n{show}'
    result = subprocess.run(["bash", "-c", script, "bash", str(path)], cwd=directory, capture_output=True, check=True)
    assert result.stderr == b""
    values = result.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
    return dict(zip(names, values))


def test_bash_reads_back_what_was_written(tmp_path: Path) -> None:
    values = {f"VALUE[{index}]": value for index, value in enumerate(HOSTILE)} | {"SCALAR": HOSTILE[2]}
    assert read_back(imagebuilder.assignments(values), values, tmp_path) == values


def full(directory: Path) -> Board:
    """A board that uses everything."""
    fake_board.files(directory)
    return read_board(
        fake_board.parameters(
            directory,
            xen_cmdline="console=dtuart !#%&()*;<>? [x] {y} |~",
            static_heap=[{"start": "0xa0000000", "size": "0x1000"}],
            dom0={"kernel": "Image", "ramdisk": "rd.cpio.gz", "memory": 512},
            overlays=["overlay.dtbo"],
            extra_commands_file="extra.txt",
            domus=[
                domu("first", passthrough_dtb="rtc.dtb", passthrough_paths=["/pl031@9010000", "/soc/i2c@1"]),
                domu(
                    "second",
                    memory=None,
                    static_memory=[{"start": "0xb0000000", "size": "0x8000000"}, {"start": "0xb8000000", "size": "0x1000"}],
                    direct_map=False,
                    enhanced="no-xenstore",
                    vpl011=False,
                    colors="1-2",
                    grant_version=1,
                    grant_frames=32,
                    maptrack_frames=8,
                    capabilities=["control", "hardware"],
                    vcpus=2,
                    shared_memory={"id": "shm", "host_address": "0x50000000", "guest_address": "0x6000000", "size": "0x1000"},
                ),
                domu("third", boot=False),
            ],
        )
    )


#: Variables in the order of the file. The domains are numbered backwards.
FULL = {
    "MEMORY_START": "0x40000000",
    "MEMORY_END": "0xc0000000",
    "LOAD_CMD": "tftpb",
    "BOOT_CMD": "booti",
    "DEVICE_TREE": "virt.dtb",
    "XEN": "xen",
    "XEN_CMD": "console=dtuart !#%&()*;<>? [x] {y} |~ dom0_mem=512M dom0_max_vcpus=1",
    "XEN_STATIC_HEAP": "0xa0000000 0x1000",
    "APPEND_EXTRA_CMDS": "extra.txt",
    "DOM0_KERNEL": "Image",
    "DOM0_RAMDISK": "rd.cpio.gz",
    "DOM0_CMD": "console=hvc0 earlycon=xenboot",
    "NUM_DT_OVERLAY": "1",
    "DT_OVERLAY[0]": "overlay.dtbo",
    "NUM_DOMUS": "3",
    "DOMU_KERNEL[0]": "Image",
    "DOMU_RAMDISK[0]": "rd.cpio.gz",
    "DOMU_CMD[0]": "console=ttyAMA0",
    "DOMU_MEM[0]": "64",
    "DOMU_VCPUS[0]": "1",
    "DOMU_NOBOOT[0]": "1",
    "DOMU_ENHANCED[0]": "1",
    "DOMU_KERNEL[1]": "Image",
    "DOMU_RAMDISK[1]": "rd.cpio.gz",
    "DOMU_CMD[1]": "console=ttyAMA0",
    "DOMU_VCPUS[1]": "2",
    "DOMU_VPL011[1]": "0",
    "DOMU_ENHANCED[1]": "2",
    "DOMU_STATIC_MEM[1]": "0xb0000000 0x8000000 0xb8000000 0x1000",
    "DOMU_DIRECT_MAP[1]": "0",
    "DOMU_COLORS[1]": "1-2",
    "DOMU_GRANT_VER[1]": "1",
    "DOMU_GRANT_FRAMES[1]": "32",
    "DOMU_MAPTRACK_FRAMES[1]": "8",
    "DOMU_CAPS[1]": "control|hardware",
    "DOMU_SHARED_MEM[1]": "shm 0x50000000 0x6000000 0x1000",
    "DOMU_KERNEL[2]": "Image",
    "DOMU_RAMDISK[2]": "rd.cpio.gz",
    "DOMU_CMD[2]": "console=ttyAMA0",
    "DOMU_MEM[2]": "64",
    "DOMU_VCPUS[2]": "1",
    "DOMU_PASSTHROUGH_DTB[2]": "rtc.dtb",
    "DOMU_PASSTHROUGH_PATHS[2]": "/pl031@9010000 /soc/i2c@1",
    "DOMU_ENHANCED[2]": "1",
    "UBOOT_SOURCE": "boot.source",
    "UBOOT_SCRIPT": "boot.scr",
    "FIT": "all.fit",
}


def test_every_variable(tmp_path: Path) -> None:
    board = full(tmp_path)
    values = imagebuilder.variables(board, {**OUTPUTS, "fit": "all.fit"})
    assert values == FULL
    assert list(values) == list(FULL)
    load_map = lay_out(board, Files(board.directory), domus=board.booted[::-1])
    assert read_back(imagebuilder.render(values, board, load_map), values, tmp_path) == FULL


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"uboot_script": ""}, "uboot_source and uboot_script are not both set"),
        ({"fit": "$x"}, "has a character that uboot-script-gen would interpret"),
    ],
)
def test_wrong_outputs(outputs: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        imagebuilder.check_output_names({**OUTPUTS, **outputs})


def test_good_outputs() -> None:
    imagebuilder.check_output_names({**OUTPUTS, "fit": "sub/all.fit"})


@pytest.mark.parametrize("outputs", [{"path": "xen"}, {"uboot_script": "Image"}, {"fit": "boot.scr"}])
def test_no_file_of_the_board_is_overwritten(tmp_path: Path, outputs: dict[str, str]) -> None:
    wanted = {**OUTPUTS, **outputs}
    options = {**fake_board.parameters(fake_board.files(tmp_path)), "checkout": None, **wanted}
    with pytest.raises(InvalidInput, match="would be written over a file that it is made from, or over another output"):
        imagebuilder.plan_configuration({**options, "path": str(tmp_path / wanted.get("path", "config"))})


def test_zero_is_not_the_lack_of_a_value(tmp_path: Path) -> None:
    board = read_board(fake_board.parameters(tmp_path, domus=[domu("a", maptrack_frames=0)]))
    assert imagebuilder.variables(board, OUTPUTS)["DOMU_MAPTRACK_FRAMES[0]"] == "0"


def test_variables_that_would_be_ignored() -> None:
    assert imagebuilder.missing_variables(["XEN", "DOMU_CAPS[0]", "DOMU_CAPS[1]"], None) == ["DOMU_CAPS"]
    assert imagebuilder.missing_variables(["XEN", "DOMU_CAPS[0]", "XEN_STATIC_HEAP"], 'if test "${DOMU_CAPS[i]}"') == ["XEN_STATIC_HEAP"]


def test_the_load_map_is_that_of_uboot_script_gen(tmp_path: Path) -> None:
    """Its order, with the domains numbered backwards; files that are used twice are loaded twice."""
    fake_board.files(tmp_path)
    board = read_board(fake_board.parameters(tmp_path, domus=[domu("a"), domu("b")]))
    load_map = lay_out(board, Files(board.directory), domus=board.booted[::-1])
    assert [(slot.what, slot.address, slot.room >> 20) for slot in load_map.slots] == [
        ("boot script", 0x40200000, 2),
        ("dom0 kernel", 0x40400000, 4),
        ("dom0 ramdisk", 0x40800000, 2),
        ("b kernel", 0x40A00000, 4),
        ("b ramdisk", 0x40E00000, 2),
        ("a kernel", 0x41000000, 4),
        ("a ramdisk", 0x41400000, 2),
        ("Xen", 0x41600000, 2),
        ("device tree", 0x41800000, 2),
    ]
    assert load_map.left == 0xC0000000 - 0x41A00000


def test_nothing_is_loaded_below_12_mib(tmp_path: Path) -> None:
    fake_board.files(tmp_path)
    board = read_board(fake_board.parameters(tmp_path, memory_start="0x0", memory_end="0x20000000"))
    assert lay_out(board, Files(board.directory), domus=[])["boot script"].address == 0xC00000


# --- what uboot-script-gen does otherwise --------------------------------------------------------------------------------------
def configure(directory: Path, checkout: str | None = None, fit: str | None = None, **changes: t.Any) -> Plan:
    fake_board.files(directory)
    options = {"path": str(directory / "config"), "checkout": checkout, "fit": fit, "uboot_source": "b.source", "uboot_script": "b.scr"}
    return imagebuilder.plan_configuration({**fake_board.parameters(directory, **changes), **options})


OTHERWISE: dict[str, tuple[dict[str, t.Any], str]] = {
    "no-xenstore": ({"domus": [domu("a", enhanced="no-xenstore")]}, "no-xenstore of a becomes enabled"),
    "no-xenstore without dom0": ({"dom0": None, "domus": [domu("a", enhanced="no-xenstore")]}, "of a becomes disabled"),
    "colours": ({"xen": "xen-static", "domus": [domu("a", colors="1-2")]}, "colors of a become the property colors"),
    "bootefi": ({"boot_command": "bootefi"}, "bootefi gets the argument '-'"),
}
OLD = "$BOOT_CMD $kernel_addr - $device_tree_addr"
NEW = 'no-xenstore llc-colors "bootefi") echo bootefi $kernel_addr $device_tree_addr'


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_is_done_otherwise(tmp_path: Path, name: str) -> None:
    changes, message = OTHERWISE[name]
    assert [warning for warning in configure(tmp_path, **changes).warnings if message in warning]
    script = tmp_path / "checkout/scripts/uboot-script-gen"
    script.parent.mkdir(parents=True)
    script.write_text(OLD)
    with pytest.raises(InvalidInput, match=f"would do something else: .*{message}.*the module uboot_script"):
        configure(tmp_path, str(tmp_path / "checkout"), **changes)
    script.write_text(NEW)
    assert not [warning for warning in configure(tmp_path, str(tmp_path / "checkout"), **changes).warnings if message in warning]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domus": [domu("a", cmdline="")]}, "a: cmdline is empty.*default of its own"),
        ({"dom0": {"kernel": "Image", "cmdline": " "}}, "dom0.cmdline is empty"),
        ({"dom0": None, "xen_cmdline": "", "domus": [domu("a")]}, "xen_cmdline, .* is empty"),
        ({"dom0": {"kernel": "Image", "cmdline": "x" * 1020}}, "dom0.cmdline has 1035 characters"),
        ({"fit": "all.fit", "memory_end": "0x80000000"}, "With fit, uboot-script-gen needs RAM up to 0x82000000"),
    ],
)
def test_what_it_cannot_do(tmp_path: Path, changes: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        configure(tmp_path, **changes)


def test_a_fit_image_that_has_room(tmp_path: Path) -> None:
    assert configure(tmp_path, fit="all.fit").warnings == []


def test_the_header_for_bootm(tmp_path: Path) -> None:
    """A Xen of just 2 MiB takes up 4 with the header that mkimage puts before it."""
    fake_board.files(tmp_path)
    (tmp_path / "xen").write_bytes(kernel(2 << 20))

    def room(command: str) -> int:
        board = read_board(fake_board.parameters(tmp_path, boot_command=command))
        return lay_out(board, Files(board.directory), domus=[])["Xen"].room

    assert (room("booti"), room("bootm")) == (2 << 20, 4 << 20)


CHECKOUT = os.environ.get("IMAGEBUILDER", "")


@pytest.mark.skipif(not CHECKOUT, reason="IMAGEBUILDER does not name a checkout of ImageBuilder")
@pytest.mark.parametrize(
    "domains",
    [
        [domu("a")],
        [domu("a", cmdline="console=ttyAMA0 quiet"), domu("b", vcpus=2, memory=96)],
        [domu("a", passthrough_dtb="rtc.dtb", passthrough_paths=["/pl031@9010000"])],
        [domu("a", enhanced="disabled")],
    ],
)
def test_the_real_script_makes_the_same_tree(tmp_path: Path, domains: list[dict[str, t.Any]]) -> None:
    """The domains of its script are those of ours: the same order, and the same properties."""
    changes: dict[str, t.Any] = {"dom0": {"kernel": "Image", "ramdisk": "rd.cpio.gz", "memory": 512, "cmdline": "root=/dev/x"}}
    plan = configure(tmp_path, CHECKOUT, domus=domains, **changes)
    plan.apply(["dma_without_iommu"])
    command = ["bash", f"{CHECKOUT}/scripts/uboot-script-gen", "-c", str(tmp_path / "config"), "-d", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "Generated uboot script" in done.stdout, done.stdout + done.stderr

    def booted(script: str) -> list[dict[str, t.Any]]:
        machine = FakeUboot({path.name: path.stat().st_size for path in tmp_path.iterdir()})
        machine.tree = {"chosen": {}, "pl031@9010000": {}}
        assert machine.run(script), machine.printed
        nodes = [node for node in machine.tree["chosen"].values() if isinstance(node, dict)]
        return [_comparable(node) for node in nodes if node.get("compatible") == ["xen,domain"]]

    board = read_board(fake_board.parameters(tmp_path, domus=domains, **changes))
    files = Files(board.directory)
    ours = uboot_script.source(board, files, uboot_script.plan_memory(board, files))
    assert booted((tmp_path / "b.source").read_text()) == booted(ours)


def _comparable(domain: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return a domain without addresses, and its modules by what they are."""
    modules = {str(node["compatible"][0]): node.get("bootargs") for node in domain.values() if isinstance(node, dict)}
    return {**{key: value for key, value in domain.items() if not isinstance(value, dict)}, "modules": modules}
