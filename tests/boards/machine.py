# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An emulated board that runs in the foreground of a test."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import boot_set
from .console import Console, ConsoleError
from .parts import Parts

PROMPT = r"^(=>|U-Boot>) $"
#: Where a script is loaded to; the board's memory begins below.
SCRIPT_ADDRESS = {"virt": 0x40200000, "raspi4b": 0x2400000}
MEMORY_MIB = 2048
#: How a disk is attached to the virt machine, by the name that U-Boot's load command has for it.
DISKS = {
    "virtio": ["-device", "virtio-blk-device,drive=disk0"],
    "scsi": ["-device", "ahci,id=ahci", "-device", "ide-hd,drive=disk0,bus=ahci.0"],
    "usb": ["-device", "qemu-xhci", "-device", "usb-storage,drive=disk0"],
}


@dataclass
class Machine:
    """A running board and its serial ports."""

    consoles: list[Console]
    process: subprocess.Popen[bytes]

    @property
    def console(self) -> Console:
        """The first serial port."""
        return self.consoles[0]

    def uboot_prompt(self) -> None:
        """Stop U-Boot before it boots by itself."""
        self.console.wait("Hit any key", 60)
        self.console.send("\n")
        self.console.wait(PROMPT, 20)

    def source(self, script: str = "boot.scr") -> None:
        """Make U-Boot load a script by TFTP and run it."""
        address = f"{SCRIPT_ADDRESS['virt']:#x}"
        self.console.send(f"setenv autoload no; dhcp; tftpb {address} {script}; source {address}\n")


def virt_args(processors: int = 2, memory: int = MEMORY_MIB) -> list[str]:
    """QEMU's virt machine, as its device tree describes it."""
    machine = "virt,virtualization=on,gic-version=2"
    return ["-machine", machine, "-cpu", "cortex-a57", "-smp", str(processors), "-m", str(memory)]


def virt_tree(parts: Parts, target: Path) -> None:
    """Write the device tree of the virt machine; U-Boot gets the same from QEMU."""
    args = virt_args()
    args[1] += f",dumpdtb={target}"
    subprocess.run(parts.qemu(*args, "-display", "none", "-bios", parts.u_boot("qemu_arm64")), check=True, capture_output=True)


@contextlib.contextmanager
def virt(
    parts: Parts,
    tftp: Path,
    *,
    disk: Path | None = None,
    bus: str = "virtio",
    ssh_port: int | None = None,
    log: Path | None = None,
) -> Iterator[Machine]:
    """Run QEMU's virt machine with U-Boot, a network with a TFTP server for a directory, and perhaps a disk."""
    forward = f",hostfwd=tcp:127.0.0.1:{ssh_port}-:22" if ssh_port else ""
    args = [*virt_args(), "-bios", str(parts.u_boot("qemu_arm64"))]
    args += ["-netdev", f"user,id=net0,tftp={tftp}{forward}", "-device", "virtio-net-device,netdev=net0,mac=52:54:00:aa:00:01"]
    if disk:
        args += ["-drive", f"file={disk},if=none,id=disk0,format=raw,cache=unsafe", *DISKS[bus]]
    with _running(parts, args, 1, log) as machine:
        yield machine


def start_virt(parts: Parts, tftp: Path, ssh_port: int, log: Path) -> int:
    """Start QEMU's virt machine for good, make U-Boot run the script of a directory, and return its process id once Xen has started."""
    args = [*virt_args(), "-bios", str(parts.u_boot("qemu_arm64"))]
    args += ["-netdev", f"user,id=net0,tftp={tftp},hostfwd=tcp:127.0.0.1:{ssh_port}-:22"]
    args += ["-device", "virtio-net-device,netdev=net0,mac=52:54:00:aa:00:01"]
    process, consoles, directory = _start(parts, args, 1, log, detached=True)
    try:
        machine = Machine(consoles, process)
        machine.uboot_prompt()
        machine.source()
        machine.console.wait("Xen version 4", 180)
    except ConsoleError:
        process.kill()
        raise
    finally:
        # What nobody reads is lost, but for the log.
        machine.console.close()
        shutil.rmtree(directory)
    return process.pid


#: Of the machine without an IOMMU whose RAM begins at 0, as that of the Raspberry Pi 4: its first network card.
CARD = {"node": "/ethernet@ff0c0000", "mac": "52:54:00:aa:00:02"}
#: With the two processors for real-time systems, which stay off.
_VERSAL = ["-machine", "xlnx-versal-virt", "-smp", "4", "-m", str(MEMORY_MIB)]


def versal_tree(parts: Parts, target: Path) -> None:
    """Write the device tree of QEMU's xlnx-versal-virt, as it is when QEMU starts a kernel there."""
    args = [*_VERSAL[:1], f"{_VERSAL[1]},dumpdtb={target}", *_VERSAL[2:], "-display", "none", "-serial", "null"]
    args += ["-kernel", str(parts.xen)]
    subprocess.run(parts.qemu(*args), check=True, capture_output=True)


@contextlib.contextmanager
def versal(parts: Parts, directory: Path, *, ssh_port: int, log: Path) -> Iterator[Machine]:
    """Run QEMU's xlnx-versal-virt with the boot set of a directory.

    Its first network card is `CARD`, in a network of its own, whose gateway is 10.0.3.2. The second one is for dom0. There is no U-Boot
    for it in Debian, so QEMU puts the files and the changed device tree where the boot script loads them.
    """
    loaded = boot_set.run_script(directory, log.with_name("changed.dtb"))
    args = [*_VERSAL, "-kernel", str(loaded.xen), "-dtb", str(loaded.device_tree)]
    for path, address in loaded.modules.items():
        args += ["-device", f"loader,file={path},addr={address:#x},force-raw=on"]
    args += ["-netdev", "user,id=net1,net=10.0.3.0/24", "-net", f"nic,netdev=net1,macaddr={CARD['mac']},model=cadence_gem"]
    args += ["-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{ssh_port}-:22"]
    args += ["-net", "nic,netdev=net0,macaddr=52:54:00:aa:00:01,model=cadence_gem"]
    with _running(parts, args, 1, log) as machine:
        yield machine


@contextlib.contextmanager
def raspi4b(parts: Parts, card: Path, *, log: Path | None = None) -> Iterator[Machine]:
    """Run a Raspberry Pi 4 with U-Boot and an SD card. The second serial port is the auxiliary UART."""
    args = ["-machine", "raspi4b", "-smp", "4", "-m", "2048", "-kernel", str(parts.u_boot("rpi_4"))]
    args += ["-dtb", str(card.with_suffix(".dtb")), "-drive", f"file={card},if=sd,format=raw,cache=unsafe"]
    with _running(parts, args, 2, log) as machine:
        yield machine


@contextlib.contextmanager
def _running(parts: Parts, args: list[str], ports: int, log: Path | None) -> Iterator[Machine]:
    process, consoles, directory = _start(parts, args, ports, log)
    try:
        yield Machine(consoles, process)
    finally:
        for console in consoles:
            console.close()
        process.kill()
        process.wait()
        shutil.rmtree(directory)


def _start(
    parts: Parts, args: list[str], ports: int, log: Path | None, detached: bool = False
) -> tuple[subprocess.Popen[bytes], list[Console], Path]:
    """Start QEMU and return its process, its serial ports, and the directory of their sockets."""
    # Sockets have short paths; the directory of a test does not.
    directory = Path(tempfile.mkdtemp(prefix="board-"))
    for number in range(ports):
        logfile = f",logfile={log}-{number}" if log else ""
        args += ["-chardev", f"socket,id=serial{number},path={directory}/{number},server=on,wait=off{logfile}"]
        args += ["-serial", f"chardev:serial{number}"]
    # With a thread for each emulated processor, Xen's domains hang now and then while they start.
    args += ["-accel", "tcg,thread=single"]
    command = parts.qemu("-nodefaults", "-no-user-config", "-display", "none", *args)
    output = subprocess.DEVNULL if detached else None
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=detached)
    consoles: list[Console] = []
    try:
        consoles += [Console(directory / str(number)) for number in range(ports)]
    except OSError:
        process.kill()
        process.wait()
        shutil.rmtree(directory)
        raise
    return process, consoles, directory
