# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines for unit tests: sysfs and procfs in the form of the kernel's."""

from __future__ import annotations

import os
import socket
import struct
import typing as t
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._pci.records import Record, Records


class FakeMachine:
    """A tree for /sys and one for /proc below `root`, made piece by piece."""

    def __init__(self, root: Path) -> None:
        self.sys = root / "sys"
        self.proc = root / "proc"
        self.root = root
        #: Called before every change with what is about to be done; a test that raises from it kills the run there.
        self.step: t.Callable[[str], None] = lambda what: None
        self.records = FakeRecords(self, str(root / "records"))
        self.addresses: dict[str, list[str]] = {}
        self.permanent_macs: dict[str, str] = {}
        #: What ifupdown gives to the interfaces that it has a configuration for.
        self.ifupdown: dict[str, list[str]] = {}
        self._sockets: list[tuple[str, int, str, int, str, int]] = []
        self._drivers: dict[str, str] = {}
        self._netdevs: dict[str, list[tuple[str, str]]] = {}
        self._mounts: list[str] = []
        for directory in ("bus/pci/devices", "bus/pci/drivers", "class/net", "class/block", "dev/block", "devices/virtual/net"):
            (self.sys / directory).mkdir(parents=True)
        (self.sys / "class/net/bonding_masters").write_text("\n")
        (self.sys / "bus/pci/drivers_probe").write_text("")
        self._write(self.proc / "self/mountinfo", "")
        self.boot_id = "boot-1"
        self.slow_udev = False
        #: What the kernel answers for routes: default ones by family, the way from an address to a peer, kinds of interfaces.
        self.default_routes: dict[str, list[dict[str, t.Any]]] = {"-4": [], "-6": []}
        self.ways: dict[tuple[str, str], str] = {}
        self.kinds: dict[str, str] = {}
        self.pools: dict[str, list[str]] = {}

    # PCI

    def pci(
        self,
        bdf: str,
        ids: str,
        class_code: str,
        *,
        below: str = "",
        driver: str = "",
        subsystem: str = "1af4:1100",
        boot_vga: str = "",
        header_type: int = 0,
        dead: bool = False,
        express: bool | None = None,
        virtual_of: str = "",
        irq: int = 0,
        bars: t.Sequence[tuple[int, int]] = (),
        serial: str = "",
    ) -> Path:
        """Add a function to the root bus, or below another function; behind a port it is PCI Express unless set otherwise."""
        parent = self.device(below) if below else self.sys / f"devices/pci{bdf[:4]}:00"
        directory = parent / bdf
        vendor, device = ids.split(":")
        subvendor, subdevice = subsystem.split(":")
        files = {
            "vendor": f"0x{vendor}\n",
            "device": f"0x{device}\n",
            "subsystem_vendor": f"0x{subvendor}\n",
            "subsystem_device": f"0x{subdevice}\n",
            "class": f"0x{class_code}\n",
            "modalias": (
                f"pci:v0000{vendor.upper()}d0000{device.upper()}sv0000{subvendor.upper()}sd0000{subdevice.upper()}"
                f"bc{class_code[:2]}sc{class_code[2:4]}i{class_code[4:]}\n"
            ),
            "driver_override": "(null)\n",
            "reset_method": "flr bus\n",
        }
        files["irq"] = f"{irq}\n"
        files["resource"] = "".join(f"0x{start:016x} 0x{start + size - 1:016x} 0x0000000000040200\n" for start, size in bars) + (
            "0x0000000000000000 0x0000000000000000 0x0000000000000000\n" * 7
        )
        if bool(below) if express is None else express:
            files["max_link_speed"] = "2.5 GT/s PCIe\n"
        if boot_vga:
            files["boot_vga"] = f"{boot_vga}\n"
        for name, text in files.items():
            self._write(directory / name, text)
        config = bytearray(64)
        config[:4] = struct.pack("<HH", int(vendor, 16), int(device, 16))
        config[0x0E] = header_type | 0x80
        if virtual_of:
            # The ids of a virtual function read as ones.
            config[:4] = b"\xff" * 4
            (directory / "physfn").symlink_to(f"../{virtual_of}")
            physical = self.device(virtual_of)
            (physical / f"virtfn{len(list(physical.glob('virtfn*')))}").symlink_to(f"../{bdf}")
        (directory / "config").write_bytes(b"\xff" * 64 if dead else bytes(config))
        if serial:
            self.set_serial(bdf, serial, directory)
        (self.sys / "bus/pci/devices" / bdf).symlink_to(os.path.relpath(directory, self.sys / "bus/pci/devices"))
        if driver:
            self._drivers[bdf] = driver
            self.bind(bdf, driver)
        return directory

    def set_serial(self, bdf: str, serial: str, directory: Path | None = None) -> None:
        """Give a function a serial number, as the second extended capability of its configuration space."""
        config = (directory or self.device(bdf)) / "config"
        extended = (
            struct.pack("<II", 0x14020001, 0).ljust(0x40, b"\0")
            + struct.pack("<I", 0x00010003)
            + bytes.fromhex(serial.replace("-", ""))[::-1]
        )
        config.write_bytes(config.read_bytes()[:64].ljust(0x100, b"\0") + extended)

    def device(self, bdf: str) -> Path:
        """Return the directory of a function below /sys/devices."""
        return (self.sys / "bus/pci/devices" / bdf).resolve()

    def driver_directory(self, driver: str) -> Path:
        """Return the directory of a driver, which is there once its module is loaded."""
        directory = self.sys / "bus/pci/drivers" / driver
        directory.mkdir(exist_ok=True)
        if driver == "pciback" and not (directory / "slots").exists():
            (directory / "slots").write_text("")
            (directory / "permissive").write_text("")
        return directory

    @property
    def slots(self) -> list[str]:
        """The list of pciback; what is in there twice, is there twice."""
        return (self.driver_directory("pciback") / "slots").read_text().split()

    @slots.setter
    def slots(self, bdfs: t.Sequence[str]) -> None:
        (self.driver_directory("pciback") / "slots").write_text("".join(f"{bdf}\n" for bdf in bdfs))

    def driver(self, bdf: str) -> str:
        """Return the driver of a function."""
        link = self.device(bdf) / "driver"
        return link.resolve().name if link.is_symlink() else ""

    def bind(self, bdf: str, driver: str) -> None:
        """Let a driver take a function: its interfaces go with the old one, and come with its own one. One that has it keeps it."""
        if driver and driver == self.driver(bdf):
            return
        link = self.device(bdf) / "driver"
        if link.is_symlink():
            (link.resolve() / bdf).unlink()
            link.unlink()
        for name, _mac in self._netdevs.get(bdf, []):
            (self.sys / "class/net" / name).unlink(missing_ok=True)
            (self.device(bdf) / "net" / name / "master").unlink(missing_ok=True)
            self.addresses.pop(name, None)
        if driver:
            directory = self.driver_directory(driver)
            link.symlink_to(os.path.relpath(directory, link.parent))
            (directory / bdf).symlink_to(os.path.relpath(self.device(bdf), directory))
            if driver == self._drivers.get(bdf):
                for name, mac in self._netdevs.get(bdf, []):
                    self._netdev(self.device(bdf) / "net" / name, f"new{name}" if self.slow_udev else name, mac)

    def settle(self) -> None:
        """Have a slow udev give new interfaces their names."""
        for link in (self.sys / "class/net").glob("new*"):
            link.rename(link.with_name(link.name[len("new") :]))

    def hold(self, bdf: str) -> None:
        """Let pciback take a function, as at boot."""
        self.slots = [*self.slots, bdf]
        self.bind(bdf, "pciback")

    def release(self, bdf: str) -> None:
        """Let pciback release a function, which has no driver then."""
        self.bind(bdf, "")
        self.slots = [slot for slot in self.slots if slot != bdf]

    def probe(self, bdf: str) -> None:
        """Do what the kernel does for drivers_probe; pciback takes what is in its list."""
        if self.driver(bdf):
            return
        override = (self.device(bdf) / "driver_override").read_text().strip().replace("(null)", "")
        driver = override or self._drivers.get(bdf, "")
        if (self.sys / "bus/pci/drivers/pciback").exists() and (override == "pciback" or (bdf in self.slots and not override)):
            driver = "pciback"
        if driver == "pciback" or driver == self._drivers.get(bdf):
            self.bind(bdf, driver)

    # Network

    def nic(self, name: str, bdf: str, mac: str, *, beneath: str = "") -> None:
        """Add the network interface of a function, or of what is attached to it (virtio0, usb1/1-1)."""
        if beneath:
            self._netdev(self.device(bdf) / beneath / "net" / name, name, mac)
            return
        self._netdevs.setdefault(bdf, []).append((name, mac))
        self._netdev(self.device(bdf) / "net" / name, name, mac)

    def virtual(self, name: str, *, lower: t.Sequence[str] = (), ports: t.Sequence[str] = (), iflink: str = "", master: str = "") -> None:
        """Add an interface that stands on others: a bond, VLAN or team by lower, a bridge by ports too, a veth by iflink."""
        directory = self.sys / "devices/virtual/net" / name
        self._netdev(directory, name, "02:00:00:00:00:01", device=False)
        for below in (*lower, *ports):
            (directory / f"lower_{below}").symlink_to(f"../../../../class/net/{below}")
        for port in ports:
            (directory / "brif").mkdir(exist_ok=True)
            (directory / "brif" / port).symlink_to(f"../../../../../class/net/{port}")
        if iflink:
            (directory / "iflink").write_text((self.sys / "class/net" / iflink / "ifindex").read_text())
        if master:
            (directory / "master").symlink_to(f"../{master}")

    def enslave(self, name: str, master: str) -> None:
        """Make an interface a port of a bridge or bond."""
        directory = (self.sys / "class/net" / name).resolve()
        (directory / "master").symlink_to(os.path.relpath((self.sys / "class/net" / master).resolve(), directory))

    def set_address(self, bdf: str, mac: str) -> None:
        """Give the interfaces of a card another MAC address when a driver has it next."""
        self._netdevs[bdf] = [(name, mac) for name, _mac in self._netdevs[bdf]]

    def _netdev(self, directory: Path, name: str, mac: str, *, device: bool = True) -> None:
        index = str(len(list((self.sys / "class/net").iterdir())) + 1)
        for file, text in (("address", mac), ("ifindex", index), ("iflink", index)):
            self._write(directory / file, f"{text}\n")
        if device and not (directory / "device").is_symlink():
            (directory / "device").symlink_to("../..")
        (self.sys / "class/net" / name).symlink_to(os.path.relpath(directory, self.sys / "class/net"))

    def connection(self, local: str, peer: str, *, port: int = 22, server: str = "sshd-session") -> None:
        """Add an established TCP connection that a process of `server` holds, and its listening socket."""
        pid = 1000 + len(self._sockets)
        self._sockets += [(local, port, peer, 50022, "01", pid), ("0.0.0.0", port, "0.0.0.0", 0, "0A", 1)]
        self._write(self.proc / str(pid) / "comm", f"{server}\n")
        descriptors = self.proc / str(pid) / "fd"
        descriptors.mkdir()
        (descriptors / "0").symlink_to("/dev/null")
        (descriptors / "4").symlink_to(f"socket:[{pid}]")
        for name, width in (("tcp", 4), ("tcp6", 16)):
            lines = [
                f"   {i}: {_kernel_address(s[0])}:{s[1]:04X} {_kernel_address(s[2])}:{s[3]:04X} {s[4]} 00000000:00000000 00:00000000 "
                f"00000000     0        0 {s[5]} 1 0000000000000000 20 4 30 10 -1"
                for i, s in enumerate(self._sockets)
                if len(_packed(s[0])) == width
            ]
            self._write(self.proc / "net" / name, "\n".join(["  sl  local_address rem_address   st ...", *lines, ""]))

    def default_route(self, *interfaces: str, ipv6: bool = False, kind: str = "", table: str = "main") -> None:
        """Set a default route, over several interfaces at once if so wanted; IPv6's unreachable one is there on every host."""
        route: dict[str, t.Any] = {"dst": "default", "flags": [], "table": table}
        if len(interfaces) == 1:
            route.update(dev=interfaces[0], gateway="192.0.2.1")
        else:
            route["nexthops"] = [{"dev": interface, "gateway": "192.0.2.1", "flags": []} for interface in interfaces]
        if kind:
            route["type"] = kind
        unreachable = {"type": "unreachable", "dst": "default", "dev": "lo", "metric": 4294967295, "flags": []}
        self.default_routes["-6" if ipv6 else "-4"] += [route, unreachable] if ipv6 else [route]

    # Disks

    def disk(
        self, name: str, number: str, *, where: str = "virtual/block", partitions: t.Sequence[str] = (), slaves: t.Sequence[str] = ()
    ) -> None:
        """Add a block device below /sys/devices; partitions get the numbers that follow, slaves are what it is made of."""
        major, minor = map(int, number.split(":"))
        base = (self.sys / "devices" / where).resolve() / name
        for offset, entry in enumerate((base, *(base / partition for partition in partitions))):
            entry.mkdir(parents=True)
            (self.sys / "class/block" / entry.name).symlink_to(os.path.relpath(entry, self.sys / "class/block"))
            (self.sys / "dev/block" / f"{major}:{minor + offset}").symlink_to(os.path.relpath(entry, self.sys / "dev/block"))
            if offset:
                (entry / "partition").write_text(f"{offset}\n")
        for slave in slaves:
            (base / "slaves").mkdir(exist_ok=True)
            (base / "slaves" / slave).symlink_to(os.path.relpath((self.sys / "class/block" / slave).resolve(), base / "slaves"))

    def mount(self, point: str, number: str, source: str = "/dev/root", kind: str = "ext4", options: str = "rw") -> None:
        """Mount a file system."""
        self._mounts.append(f"{30 + len(self._mounts)} 1 {number} / {point} rw,relatime shared:1 - {kind} {source} {options}\n")
        self._write(self.proc / "self/mountinfo", "".join(self._mounts))

    def swap(self, path: str, kind: str = "partition") -> None:
        """Use swap space."""
        self._write(self.proc / "swaps", f"Filename\tType\tSize\tUsed\tPriority\n{path}  {kind}\t1000\t0\t-2\n")

    @property
    def boot_id(self) -> str:
        """The identifier of this boot."""
        return (self.proc / "sys/kernel/random/boot_id").read_text().strip()

    @boot_id.setter
    def boot_id(self, value: str) -> None:
        self._write(self.proc / "sys/kernel/random/boot_id", f"{value}\n")

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class FakeRecords(Records):
    """Records that report each change to `step` first."""

    def __init__(self, machine: FakeMachine, directory: str) -> None:
        super().__init__(directory)
        self._machine = machine

    def save(self, record: Record) -> None:
        self._machine.step(f"save the record of {record.bdf}")
        super().save(record)

    def forget(self, record: Record) -> None:
        self._machine.step(f"remove the record of {record.bdf}")
        super().forget(record)


def plain_server(root: Path) -> FakeMachine:
    """Two network cards on the root bus, one behind a bridge, graphics, a SATA disk with the system."""
    machine = FakeMachine(root)
    machine.pci("0000:00:00.0", "8086:29c0", "060000")
    machine.pci("0000:00:01.0", "1234:1111", "030000", boot_vga="1", driver="bochs-drm")
    machine.pci("0000:00:02.0", "10de:1cb3", "030000", boot_vga="0")
    machine.pci("0000:00:03.0", "8086:100e", "020000", driver="e1000")
    machine.pci("0000:00:04.0", "8086:10d3", "020000", driver="e1000e", subsystem="8086:a01f")
    machine.pci("0000:00:1c.0", "8086:3420", "060400", driver="pcieport", header_type=1)
    machine.pci("0000:03:00.0", "8086:10d3", "020000", below="0000:00:1c.0", driver="e1000e")
    machine.pci("0000:00:1d.0", "8086:2934", "0c0300", driver="uhci_hcd")
    machine.pci("0000:00:1e.0", "1b21:1242", "0c0330", dead=True)
    machine.pci("0000:00:1f.2", "8086:2922", "010601", driver="ahci")
    machine.nic("eth0", "0000:00:03.0", "52:54:00:AA:00:01")
    machine.nic("eth1", "0000:00:04.0", "52:54:00:aa:00:02")
    machine.nic("eth2", "0000:03:00.0", "52:54:00:aa:00:03")
    machine.disk("sda", "8:0", where="pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block", partitions=["sda1", "sda2"])
    machine.mount("/", "8:1")
    machine.virtual("lo")
    machine.addresses = {"lo": ["127.0.0.1", "::1"], "eth0": ["192.0.2.5", "2001:db8::5"]}
    machine.connection("192.0.2.5", "198.51.100.7")
    machine.default_route("eth0")
    return machine


def bonded_server(root: Path) -> FakeMachine:
    """The management address is on a bridge over a VLAN over a bond of two cards; a third card is free."""
    machine = FakeMachine(root)
    for number, bdf in enumerate(("0000:03:00.0", "0000:03:00.1", "0000:04:00.0")):
        if bdf.endswith("0"):
            machine.pci(f"0000:00:1c.{number}", "8086:3420", "060400", driver="pcieport", header_type=1)
        machine.pci(bdf, "8086:10d3", "020000", below="0000:00:1c.0" if number < 2 else "0000:00:1c.2", driver="e1000e")
        machine.nic(f"eth{number}", bdf, "52:54:00:bb:00:01" if number < 2 else "52:54:00:bb:00:03")
    machine.permanent_macs = {"eth0": "52:54:00:bb:00:01", "eth1": "52:54:00:bb:00:02"}
    machine.virtual("bond0", lower=["eth0", "eth1"])
    machine.virtual("bond0.5", lower=["bond0"])
    machine.virtual("br0", ports=["bond0.5"])
    machine.addresses = {"br0": ["192.0.2.5"]}
    machine.connection("192.0.2.5", "198.51.100.7")
    return machine


def lvm_server(root: Path) -> FakeMachine:
    """The root file system is LVM on an encrypted partition of an NVMe disk; a second NVMe disk is free."""
    machine = FakeMachine(root)
    for number in (0, 1):
        bdf = f"0000:0{4 + number}:00.0"
        machine.pci(f"0000:00:1b.{number}", "8086:3420", "060400", driver="pcieport", header_type=1)
        machine.pci(bdf, "144d:a808", "010802", below=f"0000:00:1b.{number}", driver="nvme")
        where = f"pci0000:00/0000:00:1b.{number}/{bdf}/nvme/nvme{number}"
        machine.disk(f"nvme{number}n1", f"259:{10 * number}", where=where, partitions=[f"nvme{number}n1p{p}" for p in (1, 2, 3)])
    machine.disk("dm-0", "254:0", slaves=["nvme0n1p3"])
    machine.disk("dm-1", "254:1", slaves=["dm-0"])
    machine.disk("dm-2", "254:2", slaves=["dm-0"])
    machine.mount("/", "254:1", "/dev/mapper/vg-root")
    return machine


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _kernel_address(address: str) -> str:
    packed = _packed(address)
    return "".join(f"{struct.unpack('=I', packed[i : i + 4])[0]:08X}" for i in range(0, len(packed), 4))
