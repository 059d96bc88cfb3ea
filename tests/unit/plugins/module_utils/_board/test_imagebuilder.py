# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._board import imagebuilder as _imagebuilder
from ansible_collections.xen.driver_domains.plugins.module_utils._board.boot_files import Files
from ansible_collections.xen.driver_domains.plugins.module_utils._board.configuration import Board
from ansible_collections.xen.driver_domains.plugins.module_utils._board.load_map import lay_out
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.modules.imagebuilder_config import OPTIONS
from ansible_collections.xen.driver_domains.tests.unit.fakes import board as fake_board
from ansible_collections.xen.driver_domains.tests.unit.fakes.board import domu

EXTRA: dict[str, t.Any] = {name: option.get("default") for name, option in OPTIONS.items()}

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
    """Let bash source the text, as uboot-script-gen does, and tell what the variables are."""
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
    assert read_back(_imagebuilder.assignments(values), values, tmp_path) == values


def full(directory: Path) -> Board:
    """A board that uses everything."""
    fake_board.files(directory)
    return Board.from_parameters(
        fake_board.parameters(
            directory,
            xen_cmdline="console=dtuart !#%&()*;<>? [x] {y} |~",
            xen_policy="extra.txt",
            xen_load_command="load mmc 0:2",
            static_heap=[{"start": "0xa0000000", "size": "0x1000"}],
            dom0={"kernel": "Image", "ramdisk": "rd.cpio.gz", "memory": 512, "rootfs": "rd.cpio", "load_command": "sd"},
            overlays=["overlay.dtbo"],
            cpupools=[{"cpus": ["cpu@0", "cpu@1"], "scheduler": "null"}, {"cpus": ["cpu@2"]}],
            bitstream="extra.txt",
            extra_commands_file="extra.txt",
            domus=[
                domu("first", passthrough_dtb="rtc.dtb", passthrough_paths=["/pl031@9010000", "/soc/i2c@1"], driver_domain=True, cpupool=1),
                domu(
                    "second",
                    memory=None,
                    static_memory=[{"start": "0xb0000000", "size": "0x8000000"}, {"start": "0xb8000000", "size": "0x1000"}],
                    direct_map=False,
                    enhanced="no-xenstore",
                    vpl011=False,
                    colors="1-2",
                    nr_spis=64,
                    grant_version=1,
                    grant_frames=32,
                    maptrack_frames=8,
                    capabilities=["control", "hardware"],
                    vcpus=2,
                    vcpu_affinity={"0": "1", "1": "2-3"},
                    trap_unmapped=True,
                    shared_memory={"id": "shm", "host_address": "0x50000000", "guest_address": "0x6000000", "size": "0x1000"},
                    static_event_channels="1 /chosen/domU0 2",
                    load_command="load mmc 0:3",
                ),
                domu("third", boot=False, rootfs="rd.cpio"),
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
    "XEN_LOAD": "load mmc 0:2",
    "XEN_POLICY": "extra.txt",
    "XEN_STATIC_HEAP": "0xa0000000 0x1000",
    "DOM0_KERNEL": "Image",
    "DOM0_RAMDISK": "rd.cpio.gz",
    "DOM0_CMD": "console=hvc0 earlycon=xenboot",
    "DOM0_ROOTFS": "rd.cpio",
    "DOM0_LOAD": "load mmc 0:1",
    "NUM_DT_OVERLAY": "1",
    "DT_OVERLAY[0]": "overlay.dtbo",
    "NUM_CPUPOOLS": "2",
    "CPUPOOL[0]": "cpu@0,cpu@1 null",
    "CPUPOOL[1]": "cpu@2",
    "NUM_DOMUS": "3",
    "DOMU_KERNEL[0]": "Image",
    "DOMU_RAMDISK[0]": "rd.cpio.gz",
    "DOMU_CMD[0]": "console=ttyAMA0",
    "DOMU_ROOTFS[0]": "rd.cpio",
    "DOMU_MEM[0]": "64",
    "DOMU_VCPUS[0]": "1",
    "DOMU_NOBOOT[0]": "1",
    "DOMU_ENHANCED[0]": "1",
    "DOMU_KERNEL[1]": "Image",
    "DOMU_RAMDISK[1]": "rd.cpio.gz",
    "DOMU_CMD[1]": "console=ttyAMA0",
    "DOMU_VCPUS[1]": "2",
    "DOMU_ENHANCED[1]": "2",
    "DOMU_STATIC_MEM[1]": "0xb0000000 0x8000000 0xb8000000 0x1000",
    "DOMU_DIRECT_MAP[1]": "0",
    "DOMU_COLORS[1]": "1-2",
    "DOMU_VPL011[1]": "0",
    "DOMU_NR_SPIS[1]": "64",
    "DOMU_GRANT_VER[1]": "1",
    "DOMU_GRANT_FRAMES[1]": "32",
    "DOMU_MAPTRACK_FRAMES[1]": "8",
    "DOMU_CAPS[1]": "control,hardware",
    "DOMU_SHARED_MEM[1]": "shm 0x50000000 0x6000000 0x1000",
    "DOMU_STATIC_EVTCHNS[1]": "1 /chosen/domU0 2",
    "DOMU_TRAP_UNMAP[1]": "1",
    "DOMU_LOAD[1]": "load mmc 0:3",
    "DOMU_VCPU_HARD_AFFINITY[1,0]": "1",
    "DOMU_VCPU_HARD_AFFINITY[1,1]": "2-3",
    "DOMU_KERNEL[2]": "Image",
    "DOMU_RAMDISK[2]": "rd.cpio.gz",
    "DOMU_CMD[2]": "console=ttyAMA0",
    "DOMU_MEM[2]": "64",
    "DOMU_VCPUS[2]": "1",
    "DOMU_PASSTHROUGH_DTB[2]": "rtc.dtb",
    "DOMU_PASSTHROUGH_PATHS[2]": "/pl031@9010000 /soc/i2c@1",
    "DOMU_ENHANCED[2]": "1",
    "DOMU_CPUPOOL[2]": "1",
    "DOMU_DRIVER_DOMAIN[2]": "1",
    "BITSTREAM": "extra.txt",
    "NUM_BOOT_AUX_FILE": "1",
    "BOOT_AUX_FILE[0]": "BOOT.BIN",
    "APPEND_EXTRA_CMDS": "extra.txt",
    "UBOOT_SOURCE": "boot.source",
    "UBOOT_SCRIPT": "boot.scr",
    "FDTEDIT": "edited.dtb",
    "FIT": "all.fit",
    "FIT_ENC_KEY_DIR": "keys/dev",
    "FIT_ENC_UB_DTB": "u-boot.dtb",
}


def test_every_variable(tmp_path: Path) -> None:
    board = full(tmp_path)
    extra = {"fdtedit": "edited.dtb", "fit": "all.fit", "fit_enc_key_dir": "keys/dev", "fit_enc_ub_dtb": "u-boot.dtb"}
    values = _imagebuilder.variables(board, {**EXTRA, **extra, "boot_aux_files": ["BOOT.BIN"]})
    assert values == FULL
    assert list(values) == list(FULL)
    load_map = lay_out(board, Files(board.directory), domus=board.booted[::-1])
    assert read_back(_imagebuilder.render(values, board, load_map), values, tmp_path) == FULL


def test_generated_trees(tmp_path: Path) -> None:
    board = Board.from_parameters(fake_board.parameters(fake_board.files(tmp_path)))
    values = _imagebuilder.variables(board, {**EXTRA, "lopper_path": "/opt/lopper.py", "lopper_options": "-i x"})
    assert (values["LOPPER_PATH"], values["LOPPER_CMD"]) == ("/opt/lopper.py", "-i x")
    values = _imagebuilder.variables(board, {**EXTRA, "passthrough_dts_repo": "git@host:trees.git zcu102"})
    assert values["PASSTHROUGH_DTS_REPO"] == "git@host:trees.git zcu102"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"passthrough_dts_repo": "a", "lopper_path": "b"}, "are both set"),
        ({"lopper_path": "b"}, "a: passthrough_dtb is set, and lopper_path would make another one"),
        ({"lopper_options": "-i x"}, "lopper_options is set without lopper_path"),
        ({"uboot_script": ""}, "uboot_source and uboot_script are not both set"),
        ({"fit_enc_ub_dtb": "x"}, "fit_enc_ub_dtb is set without fit_enc_key_dir"),
        ({"fdtedit": "$x"}, "has a character that uboot-script-gen would interpret"),
    ],
)
def test_wrong_options(tmp_path: Path, extra: dict[str, t.Any], message: str) -> None:
    domain = domu("a", passthrough_dtb="rtc.dtb", passthrough_paths=["/pl031@9010000"])
    board = Board.from_parameters(fake_board.parameters(tmp_path, domus=[domain]))
    with pytest.raises(InvalidInput, match=message):
        _imagebuilder.check_extra(board, {**EXTRA, **extra})


def test_good_options(tmp_path: Path) -> None:
    board = Board.from_parameters(fake_board.parameters(tmp_path))
    _imagebuilder.check_extra(board, {**EXTRA, "lopper_path": "/opt/lopper.py", "lopper_options": "-i x", "fit_enc_key_dir": "k/d"})


def test_variables_that_would_be_ignored() -> None:
    assert _imagebuilder.missing_variables(["XEN", "DOMU_CAPS[0]", "DOMU_CAPS[1]"], None) == ["DOMU_CAPS"]
    assert _imagebuilder.missing_variables(["XEN", "DOMU_CAPS[0]", "XEN_LOAD"], 'if test "${DOMU_CAPS[i]}"') == ["XEN_LOAD"]


def test_the_load_map_is_that_of_uboot_script_gen(tmp_path: Path) -> None:
    """Its order, with the domains numbered backwards; files that are used twice are loaded twice."""
    fake_board.files(tmp_path)
    board = Board.from_parameters(fake_board.parameters(tmp_path, domus=[domu("a"), domu("b")]))
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
    board = Board.from_parameters(fake_board.parameters(tmp_path, memory_start="0x0", memory_end="0x20000000"))
    assert lay_out(board, Files(board.directory), domus=[])["boot script"].address == 0xC00000
