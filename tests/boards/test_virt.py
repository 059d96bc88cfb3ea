# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot scripts on QEMU's virt machine, from U-Boot to the domains that Xen starts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import card, guests, machine
from .parts import Parts

BOARD = {
    "memory_start": "0x40000000",
    "memory_end": "0x80000000",
    "device_tree": "virt.dtb",
    "xen": "xen",
    "xen_cmdline": "console=dtuart bootscrub=0 xsm=dummy",
}
#: Every character that is allowed in a command line and that a shell might interpret.
ODD = "!#%&()*+,./09:;<=>?@AZ[x]^_az{y|z}~ - a;b&&c|d *?[x]"
RTC = Path(__file__).with_name("pl031.dts")
Run = Callable[..., dict[str, Any]]


def test_the_device_tree_is_as_planned(board_parts: Parts, tftp: Path, run_module: Run) -> None:
    """U-Boot's shell leaves command lines as they are, and there is room for two dozen domains."""
    names = [f"d{number}" for number in range(24)]
    domus = [{"name": name, "kernel": "vmlinuz", "cmdline": f"{name} {ODD}", "memory": 64} for name in names]
    (tftp / "extra").write_text("fdt print /chosen\necho printed\n")
    run_module(
        "uboot_script",
        directory=str(tftp),
        **{**BOARD, "xen_cmdline": f"console=dtuart xsm=dummy {ODD}"},
        domus=domus,
        boot_command="none",
        extra_commands_file="extra",
    )
    with machine.virt(board_parts, tftp) as board:
        board.uboot_prompt()
        board.source()
        board.console.wait("^printed$", 60)
        text = board.console.text
    assert re.findall(r"^\tdomU-(\w+) \{", text, re.MULTILINE) == names
    assert f'xen,xen-bootargs = "console=dtuart xsm=dummy {" ".join(ODD.split())}";' in text
    for name in names:
        assert f'bootargs = "{name} {ODD}";' in text
    assert "boot script:" not in text


@pytest.mark.parametrize("count", [1, 2, 8, 24])
def test_domains_start_in_the_order_listed(board_parts: Parts, tftp: Path, run_module: Run, count: int) -> None:
    names = [f"guest{number}" for number in range(count)]
    for name in names:
        (tftp / name).write_bytes(guests.tiny_kernel(f"here is {name}"))
    made = run_module("uboot_script", directory=str(tftp), **BOARD, domus=[{"name": name, "kernel": name, "memory": 16} for name in names])
    assert made["domids"] == {name: number for number, name in enumerate(names, 1)}
    with machine.virt(board_parts, tftp) as board:
        board.uboot_prompt()
        board.source()
        seen = {}
        for _name in names:
            # The first domain has the console at the beginning, and Xen then leaves out its name.
            match = board.console.wait(r"^\(XEN\) (?:DOM(\d+): )?here is (guest\d+)\n", 60)
            seen[match[2]] = int(match[1] or 1)
    assert seen == made["domids"]


@pytest.mark.parametrize(
    ("bus", "at_the_prompt", "boot_command"),
    [("scsi", "scsi scan; load scsi 0:1", "booti"), ("usb", "usb start; load usb 0:1", "bootefi")],
)
def test_files_come_from_a_disk(
    board_parts: Parts, tftp: Path, tmp_path: Path, run_module: Run, bus: str, at_the_prompt: str, boot_command: str
) -> None:
    """Nothing is served by TFTP, and Xen is started in both ways."""
    (tftp / "guest").write_bytes(guests.tiny_kernel("here is the guest"))
    domus = [{"name": "guest", "kernel": "guest", "memory": 16}]
    run_module("uboot_script", directory=str(tftp), **BOARD, domus=domus, load_command=bus, boot_command=boot_command)
    card.write_disk(board_parts, tftp, tmp_path / "disk.img")
    (tmp_path / "empty").mkdir()
    with machine.virt(board_parts, tmp_path / "empty", disk=tmp_path / "disk.img", bus=bus) as board:
        board.uboot_prompt()
        address = f"{machine.SCRIPT_ADDRESS['virt']:#x}"
        board.console.send(f"{at_the_prompt} {address} boot.scr; source {address}\n")
        board.console.wait(r"^\(XEN\) here is the guest\n", 90)


def test_a_script_stops_where_it_fails(board_parts: Parts, tftp: Path, run_module: Run) -> None:
    (tftp / "guest").write_bytes(guests.tiny_kernel("here"))
    run_module("uboot_script", directory=str(tftp), **BOARD, domus=[{"name": "guest", "kernel": "guest", "memory": 16}])
    (tftp / "guest").write_bytes(bytes(100))
    with machine.virt(board_parts, tftp) as board:
        board.uboot_prompt()
        board.source()
        board.console.wait("boot script: guest has another size than when this script was made", 30)
        board.console.wait(machine.PROMPT, 10)
        assert "Xen" not in board.console.text.partition("boot script:")[2]


def test_a_domain_owns_a_device(board_parts: Parts, tftp: Path, run_module: Run) -> None:
    """Its driver binds and gets interrupts, and dom0 does not have it."""
    (tftp / "pl031.dtb").write_bytes(board_parts.run("usr/bin/dtc", "-q", "-I", "dts", "-O", "dtb", RTC))
    linux = {"kernel": "vmlinuz", "ramdisk": "ramdisk.cpio.gz"}
    passthrough = {"passthrough_dtb": "pl031.dtb", "passthrough_paths": ["/pl031@9010000"]}
    run_module(
        "uboot_script",
        directory=str(tftp),
        **BOARD,
        dom0={**linux, "memory": 512},
        domus=[{"name": "rtc-dd", **linux, **passthrough, "memory": 256}],
    )
    subprocess.run(["mkimage", "-l", tftp / "boot.scr"], check=True)
    with machine.virt(board_parts, tftp) as board:
        console = board.console
        board.uboot_prompt()
        board.source()
        console.wait_all(
            180,
            r"^guest: console=hvc0 earlycon=xenboot, clocks: 0\n",
            r"DOM1: .*rtc-pl031 9010000.rtc: registered as rtc0",
            r"DOM1: guest: console=ttyAMA0, clocks: 1\n",
            # An alarm went off.
            r"DOM1: +\d+: +[1-9]\d* GIC-0 +34 Level +rtc-pl031",
        )
        assert "Failed to assign" not in console.text
