# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An SD card for an emulated Raspberry Pi 4, its files, and the device tree that fits the emulation."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

from . import guests
from .parts import Parts

_SIZE = 256 << 20
_START = 1 << 20
#: The devices of a Raspberry Pi 4 that QEMU 10 lacks, by the start of the nodes' names.
_MISSING = (
    r"pcie@|ethernet@7d58|hdmi|interrupt-controller@7ef00100|v3d|gpu|vc4|hvs|pixelvalve|txp|dsi|csi|vec|rng@|clock@7ef00000"
    r"|avs-monitor|watchdog|i2c@7ef0"
)


#: Options of uboot_script for a board that has the files of `write_files`.
OPTIONS = {
    "load_command": "sd",
    "memory_start": "0x0",
    "memory_end": "0x20000000",
    "ram": 2048,
    "device_tree": "pi4.dtb",
    "xen": "xen",
    "xen_cmdline": "console=dtuart dtuart=/soc/serial@7e215040 bootscrub=0 xsm=dummy",
    "dom0": {"kernel": "vmlinuz", "ramdisk": "dom0.cpio.gz", "memory": 512, "cmdline": "console=hvc0 earlycon=xenboot clk_ignore_unused"},
}


def write_files(parts: Parts, directory: Path, dom0: str, domu: str) -> None:
    """Write device tree, Xen and kernel, and ramdisks in which dom0 and a domain run these scripts."""
    directory.mkdir()
    emulated_tree(parts, directory / "pi4.dtb")
    shutil.copy(parts.xen, directory / "xen")
    shutil.copy(parts.kernel, directory / "vmlinuz")
    for name, init in (("dom0", dom0), ("domu", domu)):
        (directory / f"{name}.cpio.gz").write_bytes(guests.ramdisk(parts.busybox, init))


def emulated_tree(parts: Parts, target: Path) -> None:
    """Write the device tree of the Raspberry Pi 4 without what the emulation lacks."""
    target.write_bytes(parts.raspberry_pi_tree.read_bytes())
    env = parts.tools.env()
    for path in _nodes(parts, target):
        if re.match(_MISSING, path.rpartition("/")[2]):
            command = parts.tools.argv("usr/bin/fdtput", "-t", "s", target, path, "status", "disabled")
            subprocess.run(command, check=True, capture_output=True, env=env)


def _nodes(parts: Parts, tree: Path) -> list[str]:
    """Return the paths of all nodes with registers."""
    text = parts.run("usr/bin/dtc", "-q", "-I", "dtb", "-O", "dts", tree).decode()
    path: list[str] = []
    found = []
    for line in text.splitlines():
        opened = re.match(r"\s*(?:[\w-]+:\s*)?([\w,.+@/-]+) \{$", line)
        if opened:
            path.append(opened[1].strip("/"))
            found.append("/".join(path) or "/")
        elif line.strip() == "};":
            path.pop()
    return [name for name in found if name.startswith("/") and len(name) > 1]


def write_card(parts: Parts, source: Path, device_tree: Path, target: Path) -> None:
    """Write a card with a directory's files, and the firmware's device tree beside it."""
    shutil.copy(device_tree, target.with_suffix(".dtb"))
    write_disk(parts, source, target)


def write_disk(parts: Parts, source: Path, target: Path) -> None:
    """Write a disk with one FAT partition that holds a directory's files."""
    beyond_chs = b"\xfe\xff\xff"
    entry = struct.pack("<B3sB3sII", 0x80, beyond_chs, 0x0C, beyond_chs, _START // 512, (_SIZE - _START) // 512)
    with target.open("wb") as card:
        card.truncate(_SIZE)
        card.write(bytes(446) + entry + bytes(48) + b"\x55\xaa")
    image = f"{target}@@{_START}"
    env = {**parts.tools.env(), "MTOOLS_SKIP_CHECK": "1"}
    commands = [["mformat", "-i", image, "-F", "-T", str((_SIZE - _START) // 512), "-h", "255", "-s", "63", "::"]]
    names = sorted(os.listdir(source))
    commands.append(["mcopy", "-s", "-Q", "-i", image, *(str(source / name) for name in names), "::"])
    for program, *args in commands:
        subprocess.run(parts.tools.argv(f"usr/bin/{program}", *args), check=True, capture_output=True, env=env)
