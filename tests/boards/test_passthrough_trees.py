# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Partial device trees made by passthrough_device_tree, in guests that boot with them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import card, guests, machine
from .parts import Parts

Run = Callable[..., dict[str, Any]]
DOM0 = guests.INIT.rpartition("exec")[0] + "echo dom0 has $(ls /sys/bus/amba/devices)\nexec setsid cttyhack sh\n"
#: Prints what the guest owns, raises interrupts, and prints it again.
VIRT_OWNER = (
    guests.INIT.rpartition("exec")[0]
    + """\
if [ -e /sys/bus/amba/devices/9010000.pl031 ]; then
  ls -l /sys/bus/amba/drivers/rtc-pl031/9010000.pl031 /sys/bus/amba/drivers/pl061_gpio/9030000.pl061
  for chip in /sys/class/gpio/gpiochip*; do base=$(cat $chip/base); done
  echo $((base + 3)) >/sys/class/gpio/export
  echo both >/sys/class/gpio/gpio$((base + 3))/edge
  hwclock -u
  echo +2 >/sys/class/rtc/rtc0/wakealarm
  sleep 4
  grep -E 'pl031|gpio' /proc/interrupts
  echo press the button
  sleep 6
  grep -E 'pl031|gpio' /proc/interrupts
  echo guest is done
fi
exec setsid cttyhack sh
"""
)


def press_power_button(path: Path) -> None:
    """Make QEMU raise line 3 of its GPIO controller."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(path))
        replies = channel.makefile()
        for command in ("qmp_capabilities", "system_powerdown"):
            replies.readline()
            channel.sendall(json.dumps({"execute": command}).encode() + b"\n")
        replies.readline()


@pytest.mark.parametrize("gic", [2, 3])
def test_clock_and_gpio_of_virt(
    board_parts: Parts, tftp: Path, tmp_path: Path, run_module: Run, monkeypatch: pytest.MonkeyPatch, gic: int
) -> None:
    usual = machine.virt_args()
    # With ACPI, QEMU has another power button instead of the GPIO controller.
    usual[1] = usual[1].replace("gic-version=2", f"gic-version={gic}") + ",acpi=off"
    monkeypatch.setattr(machine, "virt_args", lambda: list(usual))
    tree = tftp / "virt.dtb"
    tree.unlink()
    machine.virt_tree(board_parts, tree)
    made = run_module(
        "passthrough_device_tree",
        device_tree=str(tree),
        devices=[{"node": "arm,pl031"}, {"node": "arm,pl061"}],
        # dom0 loses the power button, which is one of the lines.
        force=["no_iommu", "shared_provider"],
        dest=str(tftp / "guest.dtb"),
    )
    assert made["passthrough_paths"] == ["/pl031@9010000", "/pl061@9030000"]
    assert run_module("device_tree_lint", device_tree=str(tree), partial=str(tftp / "guest.dtb"))["findings"] == []
    (tftp / "ramdisk.cpio.gz").write_bytes(guests.ramdisk(board_parts.busybox, DOM0))
    (tftp / "guest.cpio.gz").write_bytes(guests.ramdisk(board_parts.busybox, VIRT_OWNER))
    guest = {"name": "owner", "kernel": "vmlinuz", "ramdisk": "guest.cpio.gz", "memory": 256}
    run_module(
        "uboot_script",
        directory=str(tftp),
        memory_start="0x40000000",
        memory_end="0x80000000",
        device_tree="virt.dtb",
        xen="xen",
        xen_cmdline="console=dtuart bootscrub=0 xsm=dummy",
        dom0={"kernel": "vmlinuz", "ramdisk": "ramdisk.cpio.gz", "memory": 512},
        domus=[{**guest, "passthrough_dtb": "guest.dtb", "passthrough_paths": made["passthrough_paths"]}],
    )
    qmp = tmp_path / "qmp"
    usual += ["-qmp", f"unix:{qmp},server=on,wait=off"]
    with machine.virt(board_parts, tftp, log=tmp_path / "serial") as board:
        console = board.console
        board.uboot_prompt()
        board.source()
        console.wait(r"DOM1: .*press the button", 300)
        press_power_button(qmp)
        console.wait(r"DOM1: guest is done", 60)
        assert "Failed to assign" not in console.text
        console.wait_all(120, r"^dom0 has.*\n")
        text = console.text
    owned = re.findall(r"^dom0 has(.*)$", text, re.MULTILINE)[-1]
    assert "9010000.pl031" not in owned and "9030000.pl061" not in owned
    clock, gpio = ([int(number) for number in re.findall(rf"DOM1: +\d+: +(\d+) .*{name}", text)] for name in ("rtc-pl031", "gpiolib"))
    assert clock[-1] >= 1, "the alarm raises an interrupt"
    assert gpio[-1] > gpio[0], "the button raises interrupts"


UART_OWNER = (
    guests.INIT.rpartition("exec")[0]
    + """\
exec 3<>/dev/ttyAMA1
echo "this domain owns the UART" >&3
read -r line <&3
grep uart-pl011 /proc/interrupts >&3
exec setsid cttyhack sh
"""
)


def test_uart_of_the_raspberry_pi(board_parts: Parts, tmp_path: Path, run_module: Run) -> None:
    files = tmp_path / "card"
    card.write_files(board_parts, files, DOM0, UART_OWNER)
    made = run_module(
        "passthrough_device_tree",
        device_tree=str(files / "pi4.dtb"),
        devices=[{"node": "serial0", "clock_rates": {"uartclk": 48000000, "apb_pclk": 250000000}, "leave_out": ["bluetooth"]}],
        force=["shared_page", "shared_interrupt", "no_iommu"],
        dest=str(files / "uart0.dtb"),
    )
    assert made["passthrough_paths"] == [f"/soc/serial@7e201{offset}" for offset in ("000", "400", "600", "800", "a00")]
    guest = {"name": "uart-dd", "kernel": "vmlinuz", "ramdisk": "domu.cpio.gz", "memory": 256}
    run_module(
        "uboot_script",
        directory=str(files),
        **card.OPTIONS,
        domus=[{**guest, "passthrough_dtb": "uart0.dtb", "passthrough_paths": made["passthrough_paths"]}],
    )
    image = tmp_path / "sd.img"
    card.write_card(board_parts, files, files / "pi4.dtb", image)
    with machine.raspi4b(board_parts, image, log=tmp_path / "serial") as board:
        uart, auxiliary = board.consoles
        uart.wait("this domain owns the UART", 400)
        # The emulated port sends at once: only what comes in raises interrupts.
        uart.send("hello\n")
        interrupts = int(uart.wait(r": +(\d+) .*uart-pl011", 100)[1])
        auxiliary.wait_all(200, r"^dom0 has.*\n")
        assert "fe201000.serial" not in re.findall(r"^dom0 has(.*)$", auxiliary.text, re.MULTILINE)[-1]
        assert "Failed to assign" not in auxiliary.text
        assert interrupts > 0
