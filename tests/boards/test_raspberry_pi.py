# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example for the Raspberry Pi 4, with Debian's own device tree: U-Boot from an SD card, dom0, and a domain that owns the UART."""

from __future__ import annotations

from pathlib import Path

import yaml

from . import card, guests, machine
from .parts import Parts
from .playbooks import ROOT, playbook, write_inventory

EXAMPLE = ROOT / "examples/raspberry-pi-4"
OWNER = guests.INIT.replace("exec setsid", "read -r line\ngrep uart-pl011 /proc/interrupts\nexec setsid")


def test_from_the_example_to_a_domain_that_owns_the_uart(board_parts: Parts, tmp_path: Path) -> None:
    """The example's board, with the files of the tests, and of its domains the one that owns a device."""
    files, directory = tmp_path / "files", tmp_path / "card"
    card.write_files(board_parts, files, guests.INIT, OWNER)
    (files / "uart0.dtb").write_bytes(board_parts.run("usr/bin/dtc", "-q", "-I", "dts", "-O", "dtb", EXAMPLE / "uart0.dts"))
    board = yaml.safe_load((EXAMPLE / "inventory.yml").read_text())["boards"]["hosts"]["pi4"]
    owner = next(domain for domain in board["board_domus"] if domain["name"] == "net-dd")
    own_files = {"ramdisk": str(files / "domu.cpio.gz"), "passthrough_dtb": str(files / "uart0.dtb"), "cmdline": "console=ttyAMA0"}
    board |= {
        "board_dir": str(directory),
        "board_load_command": "sd",
        "board_ram": 2048,
        "board_xen": str(files / "xen"),
        "board_kernel": str(files / "vmlinuz"),
        "board_device_tree": str(files / "pi4.dtb"),
        "board_dom0": {"ramdisk": str(files / "dom0.cpio.gz"), "memory": 512},
        # The UART itself is its console, not one that Xen emulates.
        "board_domus": [{key: value for key, value in owner.items() if key != "image"} | own_files | {"vpl011": False}],
    }
    inventory = write_inventory(tmp_path / "inventory.yml", "pi4", board)
    predicted = playbook(ROOT / "playbooks/board.yml", inventory, 300, "--check", "--diff")
    assert "dom0 kernel: files/" in predicted and 'test "${filesize}" = ' in predicted, "the script of a new board is checked and shown"
    assert not directory.exists()
    playbook(ROOT / "playbooks/board.yml", inventory, 300)
    assert "changed=0" in playbook(ROOT / "playbooks/board.yml", inventory, 300)
    image = tmp_path / "sd.img"
    card.write_card(board_parts, directory, files / "pi4.dtb", image)
    with machine.raspi4b(board_parts, image, log=tmp_path / "serial") as pi:
        uart, auxiliary = pi.consoles
        auxiliary.wait("Xen version 4", 120)
        uart.wait(r"^guest: console=ttyAMA0", 300)
        uart.send("hello\n")
        uart.wait_all(30, r"fe201000.serial: ttyAMA0 at MMIO 0xfe201000", r"[1-9]\d* GIC-0 153 Level +uart-pl011")
        auxiliary.wait_all(120, r"^guest: console=hvc0")
        assert "Failed to assign" not in auxiliary.text
        assert "fe201000.serial" not in auxiliary.text
