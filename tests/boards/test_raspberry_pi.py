# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Raspberry Pi 4, with Debian's own device tree: U-Boot from an SD card, dom0, and a domain that owns the UART."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import card, guests, machine
from .parts import Parts

UART = Path(__file__).resolve().parents[2] / "examples/raspberry-pi-4/uart0.dts"
#: All that share registers and interrupt with uart0, so that dom0 gets none of them.
PATHS = [f"/soc/serial@7e201{offset}" for offset in ("000", "400", "600", "800", "a00")]
#: The emulated port sends at once: only what comes in raises interrupts.
OWNER = guests.INIT.replace("exec setsid", "read -r line\ngrep uart-pl011 /proc/interrupts\nexec setsid")


def test_a_domain_owns_the_uart(board_parts: Parts, tmp_path: Path, run_module: Callable[..., dict[str, Any]]) -> None:
    files = tmp_path / "card"
    card.write_files(board_parts, files, guests.INIT, OWNER)
    (files / "uart0.dtb").write_bytes(board_parts.run("usr/bin/dtc", "-q", "-I", "dts", "-O", "dtb", UART))
    made = run_module(
        "uboot_script",
        directory=str(files),
        **card.OPTIONS,
        domus=[
            {
                "name": "uart-dd",
                "kernel": "vmlinuz",
                "ramdisk": "domu.cpio.gz",
                "memory": 256,
                "passthrough_dtb": "uart0.dtb",
                "passthrough_paths": PATHS,
                # The UART itself is its console.
                "vpl011": False,
            }
        ],
    )
    assert made["domids"] == {"dom0": 0, "uart-dd": 1}
    image = tmp_path / "sd.img"
    card.write_card(board_parts, files, image)
    with machine.raspi4b(board_parts, image, log=tmp_path / "serial") as board:
        uart, auxiliary = board.consoles
        auxiliary.wait("Xen version 4", 120)
        uart.wait(r"^guest: console=ttyAMA0", 300)
        uart.send("hello\n")
        uart.wait_all(30, r"fe201000.serial: ttyAMA0 at MMIO 0xfe201000", r"[1-9]\d* GIC-0 153 Level +uart-pl011")
        auxiliary.wait_all(120, r"^guest: console=hvc0")
        assert "Failed to assign" not in auxiliary.text
        assert "fe201000.serial" not in auxiliary.text
