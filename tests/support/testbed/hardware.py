# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The emulated machine: its devices, and the QEMU command line that makes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

MEMORY_MIB = 3072
PROCESSORS = 2
DISK_NODE = "disk0"
DISK_SLOT = 0x5
EMPTY_DISK_MIB = 512


@dataclass(frozen=True)
class Nic:
    """A network card on an emulated network with a gateway that answers; cards with the same network share it."""

    model: str
    slot: int
    mac: str
    network: IPv4Network
    #: The root port that it is plugged into; on PCI bus 0 without.
    port: str = ""

    @property
    def bdf(self) -> str:
        """Its PCI address; the firmware numbers the buses of root ports in their order."""
        bus = list(PORTS).index(self.port) + 1 if self.port else 0
        return f"0000:{bus:02x}:{self.slot:02x}.0"

    @property
    def gateway(self) -> str:
        """An address on its network that answers a ping."""
        return str(self.network[2])


MANAGEMENT = Nic("virtio-net-pci", 0x3, "52:54:00:aa:00:01", IPv4Network("10.0.2.0/24"))
MANAGEMENT_ADDRESS = "10.0.2.15"

# The cards to pass through. Another model, or one more, is one more line here.
SPARE = (
    Nic("e1000e", 0x4, "52:54:00:aa:00:02", IPv4Network("10.0.3.0/24")),
    Nic("igb", 0x6, "52:54:00:aa:00:03", IPv4Network("10.0.4.0/24")),
    Nic("e1000", 0x7, "52:54:00:aa:00:04", IPv4Network("10.0.5.0/24")),
)

# Root ports by name, with their slots on PCI bus 0. The first one is empty: what is plugged into it moves the bus behind the second.
PORTS = {"port1": 0x10, "port2": 0x11}


@dataclass(frozen=True)
class Hardware:
    """A kind of machine: what it has beside the management card and the disk."""

    nics: tuple[Nic, ...] = SPARE
    management: Nic = MANAGEMENT
    #: Other devices, in the syntax of QEMU's -device.
    devices: tuple[str, ...] = ()
    #: Names of empty disks for them, each of which lasts as long as the machine.
    disks: tuple[str, ...] = ()
    #: Whether QEMU can save its state. If not, the machine boots each time.
    saved: bool = True


_MODULAR = replace(MANAGEMENT, model="e1000e")

# The kinds of machine that `--hardware` names.
HARDWARE = {
    # The first two spare cards are on one network, as the uplinks of a redundant pair of driver domains are.
    "plain": Hardware(nics=(SPARE[0], replace(SPARE[1], network=SPARE[0].network), *SPARE[2:])),
    "varied": Hardware(
        nics=(Nic("e1000e", 0x0, SPARE[0].mac, SPARE[0].network, "port2"), *SPARE[1:]),
        devices=(
            *(f"pcie-root-port,id={name},chassis={slot},addr={slot:#x}" for name, slot in PORTS.items()),
            "ich9-ahci,id=storage,addr=0x8",
            "qemu-xhci,id=usb,addr=0x9",
        ),
    ),
    # Two controllers, each with an empty disk. QEMU does not save the state of an NVMe disk.
    "controllers": Hardware(
        devices=(
            "nvme,drive=first,serial=NVME0001,addr=0x8",
            "ich9-ahci,id=sata,addr=0x9",
            "ide-hd,drive=second,bus=sata.0,serial=SATA0001",
        ),
        disks=("first", "second"),
        saved=False,
    ),
    # Every driver of a card is a module, so that even the management card can be hidden at boot.
    "modular": Hardware(management=_MODULAR),
    # The same with no other card: whatever takes it has to leave a way to the machine.
    "single": Hardware(nics=(), management=_MODULAR),
    # After `modular`, the first two spare cards have changed places: each has the address of the other.
    "moved": Hardware(nics=(replace(SPARE[0], slot=SPARE[1].slot), replace(SPARE[1], slot=SPARE[0].slot), *SPARE[2:]), management=_MODULAR),
}


@dataclass(frozen=True)
class Files:
    """The files through which a running machine is reached."""

    disk: Path
    serial_log: Path
    qmp_socket: Path
    pid_file: Path


def qemu_args(files: Files, ssh_port: int, snapshot: str | None = None, hardware: str = "plain") -> list[str]:
    """Return the arguments of QEMU; with a snapshot, the machine goes on from there."""
    args = ["-name", "xen-testbed", "-nodefaults", "-no-user-config", "-display", "none", "-vga", "std"]
    # Xen needs the interrupt remapping of an IOMMU to pass devices through, to PV guests too, and
    # of the emulated ones only Intel's can be saved in a snapshot.
    args += ["-machine", "q35,kernel-irqchip=split", "-device", "intel-iommu,intremap=on"]
    # With the emulated nested paging (npt) of AMD's virtualisation (svm), Xen has hap: PVH and HVM guests run without hardware for it.
    args += ["-accel", "tcg,thread=multi", "-cpu", "qemu64,+svm,+npt", "-smp", str(PROCESSORS), "-m", str(MEMORY_MIB)]
    args += ["-blockdev", json.dumps(_disk(files.disk))]
    # SeaBIOS tries one disk alone, and without an order that would be one of SATA.
    order = ",bootindex=0" if HARDWARE[hardware].disks else ""
    args += ["-device", f"virtio-blk-pci,drive={DISK_NODE},addr={DISK_SLOT:#x}{order}"]
    forward = f"hostfwd=tcp:127.0.0.1:{ssh_port}-{MANAGEMENT_ADDRESS}:22"
    args += _network("net0", HARDWARE[hardware].management, forward) + _card("net0", HARDWARE[hardware].management)
    for name in HARDWARE[hardware].disks:
        # What is written is in a temporary file of QEMU's.
        args += ["-drive", f"if=none,id={name},snapshot=on,file.driver=null-co,file.size={EMPTY_DISK_MIB}M,file.read-zeroes=on"]
    for device in HARDWARE[hardware].devices:
        args += ["-device", device]
    nics = HARDWARE[hardware].nics
    for number, nic in enumerate(nics, 1):
        sharing = [other for other in nics if other.network == nic.network]
        if len(sharing) == 1:
            args += _network(f"net{number}", nic, "restrict=on")
        else:
            # A hub, which the first of them connects to the network.
            hub = nics.index(sharing[0]) + 1
            if number == hub:
                args += [*_network(f"user{hub}", nic, "restrict=on"), "-netdev", f"hubport,id=hub{hub},hubid={hub},netdev=user{hub}"]
            args += ["-netdev", f"hubport,id=net{number},hubid={hub}"]
        args += _card(f"net{number}", nic)
    args += ["-chardev", f"file,id=serial0,path={_escape(files.serial_log)}", "-serial", "chardev:serial0"]
    args += ["-qmp", f"unix:{_escape(files.qmp_socket)},server=on,wait=off"]
    args += ["-daemonize", "-pidfile", str(files.pid_file)]
    return args if snapshot is None else [*args, "-loadvm", snapshot]


def qemu_args_from(args: list[str], snapshot: str) -> list[str]:
    """Return the same arguments, with which QEMU goes on from the snapshot."""
    started_from = args.index("-loadvm") if "-loadvm" in args else len(args)
    return [*args[:started_from], "-loadvm", snapshot]


def fingerprint(hardware: str) -> list[str]:
    """Return what a saved machine state depends on, free of what differs between two machines of a kind."""
    return qemu_args(Files(*map(Path, ("disk", "serial", "qmp", "pid"))), ssh_port=0, hardware=hardware)


def nics_for_inventory(hardware: str) -> list[Mapping[str, str]]:
    """Return the spare cards as tests want to know them."""
    return [
        {"model": nic.model, "mac": nic.mac, "bdf": nic.bdf, "gateway": nic.gateway, "network": str(nic.network)}
        for nic in HARDWARE[hardware].nics
    ]


def _disk(image: Path) -> dict[str, Any]:
    return {
        "driver": "qcow2",
        "node-name": DISK_NODE,
        "discard": "unmap",
        # The guest's flushes are not passed on: after a crash of the host one starts again anyway.
        "cache": {"no-flush": True},
        "file": {"driver": "file", "filename": str(image), "cache": {"no-flush": True}},
    }


def _network(name: str, nic: Nic, option: str) -> list[str]:
    return ["-netdev", f"user,id={name},net={nic.network},{option}"]


def _card(name: str, nic: Nic) -> list[str]:
    # An empty romfile: no boot ROM, nothing of this machine boots from the network.
    device = f"{nic.model},netdev={name},mac={nic.mac},addr={nic.slot:#x},romfile="
    return ["-device", device + (f",bus={nic.port}" if nic.port else "")]


def _escape(path: Path) -> str:
    return str(path).replace(",", ",,")
