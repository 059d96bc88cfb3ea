# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Reads the PCI devices of this host: the only Python code that reads or writes what sysfs has of PCI devices."""

from __future__ import annotations

import array
import fcntl
import os
import re
import socket
import struct
import typing as t
from dataclasses import replace

from .._errors import DriverDomainsError, InvalidInput, NotOnThisHost
from .._files import list_directory, read_text, resolve
from .._runner import Runner
from .bdf import Bdf
from .device import PCIBACK, PCIBACK_MODULE, Interface, PciDevice
from .records import Records

#: The PCI functions that a path below /sys/devices leads through. Domains above ffff (Intel VMD) are unknown to Xen.
_BDF_IN_PATH = re.compile(r"(?<=/)[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7](?=/|$)")
#: Flag of a memory range in sysfs's resource files (Linux, ioport.h), and how many of their lines are BARs.
_MEMORY, _BARS = 0x200, 6
#: The extended configuration space, what its capabilities have room for, and the capability with the serial number (pci_regs.h).
_EXTENDED, _CAPABILITIES, _SERIAL = 0x100, 48, 0x0003
_SLOT = re.compile(r".*/pci([0-9a-f]{4}:[0-9a-f]{2})((?:/[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])+)$")


class PciStore(t.Protocol):
    """What is needed of a XenStore client."""

    def read_texts(self, paths: t.Iterable[str]) -> dict[str, str | None]:
        """Return the values of keys, None for one that is not there."""

    def domains(self) -> dict[int, str]:
        """Return the names of the running domains by their number."""

    def rm(self, path: str) -> None:
        """Remove a key with all below it; one that is not there is fine."""


class PciHost:
    """Reads the PCI devices of a host, and writes the few files of sysfs that return a device to its driver.

    :param store: where libxl keeps names and owners; None on a host that does not run under Xen.
    :param permanent_mac: returns the MAC address burnt into the card of an interface, or "" (tests).
    """

    def __init__(
        self,
        sysfs: str = "/sys",
        records: Records | None = None,
        store: PciStore | None = None,
        permanent_mac: t.Callable[[str], str] | None = None,
        procfs: str = "/proc",
    ) -> None:
        self.sysfs = resolve(sysfs)
        self._procfs = procfs
        self.records = records or Records()
        self._store = store
        self._permanent_mac = permanent_mac or read_permanent_mac

    @property
    def pciback_loaded(self) -> bool:
        """Whether the kernel has the driver pciback."""
        return os.path.isdir(f"{self.sysfs}/bus/pci/drivers/{PCIBACK}")

    @property
    def boot_id(self) -> str:
        """An identifier of this boot of the host."""
        return (read_text(f"{self._procfs}/sys/kernel/random/boot_id") or "").strip()

    def in_quarantine(self, device: PciDevice) -> bool:
        """Return whether Xen has a device in quarantine; only our record of this boot knows, as nothing shows it."""
        return device.record is not None and device.record.boot == self.boot_id

    def in_slots(self, bdf: Bdf) -> bool:
        """Return whether pciback has a device in its list, and so takes it whenever the kernel looks for drivers."""
        return str(bdf) in self._pciback_list("slots")

    def devices(self) -> list[PciDevice]:
        """Read all devices, in the order of their addresses."""
        interfaces = self._interfaces()
        slots, permissive = self._pciback_list("slots"), self._pciback_list("permissive")
        records = self.records.load()
        devices = []
        for name in list_directory(f"{self.sysfs}/bus/pci/devices"):
            try:
                bdf = Bdf.parse(name)
            except InvalidInput:
                continue
            device = replace(self._device(bdf, interfaces.get(name, ()), name in slots), permissive=name in permissive)
            devices.append(replace(device, record=next((record for record in records if device.is_of(record)), None)))
        return self._as_xl_knows_them(devices)

    def driver(self, bdf: Bdf) -> str:
        """Return the name of the driver that holds a device now, or an empty string."""
        return self._link(f"{self._directory(bdf)}/driver")

    def interface_names(self, bdf: Bdf) -> list[str]:
        """Return the network interfaces that a device has now."""
        return [interface.name for interface in self._interfaces().get(str(bdf), ())]

    def interrupt_line(self, bdf: Bdf) -> int | None:
        """Return the number of the device's interrupt line, or None if it has none."""
        (line,) = _numbers(f"{self._directory(bdf)}/irq", read_text(f"{self._directory(bdf)}/irq") or "0", 1, 10)
        # The firmware writes 255 for "none".
        return line if line not in (0, 255) else None

    def has_message_interrupts(self, bdf: Bdf) -> bool:
        """Return whether the device's driver has it signal by messages (MSI), so that it does not use its interrupt line."""
        return bool(list_directory(f"{self._directory(bdf)}/msi_irqs"))

    def memory(self, bdf: Bdf) -> list[tuple[int, int]]:
        """Return the first and the last address of each range of memory that the device has (its memory BARs)."""
        ranges = []
        path = f"{self._directory(bdf)}/resource"
        for line in (read_text(path) or "").splitlines()[:_BARS]:
            start, end, flags = _numbers(path, line, 3, 16)
            if flags & _MEMORY and start:
                ranges.append((start, end))
        return ranges

    def is_module(self, driver: str) -> bool:
        """Return whether a driver was loaded as a module, as opposed to one that is built into the kernel."""
        # Only modules that were loaded have a state (Linux, kernel/module/sysfs.c).
        return os.path.exists(f"{self.sysfs}/bus/pci/drivers/{driver}/module/initstate")

    def probe(self, bdf: Bdf) -> None:
        """Let the kernel look for a driver for a device that has none.

        :raises DriverDomainsError: the kernel refused.
        """
        self._write(f"{self.sysfs}/bus/pci/drivers_probe", str(bdf))

    def release(self, bdf: Bdf) -> None:
        """Take a device that Xen did not put into quarantine from pciback, without xl.

        :raises DriverDomainsError: the kernel refused.
        """
        self._write(f"{self.sysfs}/bus/pci/drivers/{PCIBACK}/unbind", str(bdf))

    def clear_claims(self, bdf: Bdf) -> None:
        """Remove what makes pciback take a device again: its entry in pciback's list, and pciback as its only driver.

        :raises DriverDomainsError: the kernel refused.
        """
        if self.in_slots(bdf):
            self._write(f"{self.sysfs}/bus/pci/drivers/{PCIBACK}/remove_slot", str(bdf))
        override = f"{self._directory(bdf)}/driver_override"
        if (read_text(override) or "").strip() == PCIBACK:
            self._write(override, "\n")

    def clear_xl_memory(self, bdf: Bdf, key: str = "") -> None:
        """Remove what xl remembers of a device (libxl_pci.c, PCI_INFO_PATH), or one key of it.

        xl uses the first device that has a name, whether that device is assignable or not.
        """
        if self._store:
            self._store.rm(f"/libxl/pci/{bdf.xenstore_name}" + (f"/{key}" if key else ""))

    def _device(self, bdf: Bdf, interfaces: tuple[Interface, ...], in_pciback_slots: bool) -> PciDevice:
        directory = self._directory(bdf)
        config = _read_config(f"{directory}/config")
        class_code = self._hex(f"{directory}/class").zfill(6)
        slot = _SLOT.match(resolve(directory))
        iommu_group = self._link(f"{directory}/iommu_group")
        return PciDevice(
            bdf=bdf,
            slot=slot.group(1) + "".join(f"/{step[8:]}" for step in slot.group(2).split("/")[1:]) if slot else "",
            vendor_device=f"{self._hex(f'{directory}/vendor')}:{self._hex(f'{directory}/device')}",
            subsystem=f"{self._hex(f'{directory}/subsystem_vendor')}:{self._hex(f'{directory}/subsystem_device')}",
            class_code=class_code,
            modalias=(read_text(f"{directory}/modalias") or "").strip(),
            driver=self.driver(bdf),
            interfaces=interfaces,
            in_pciback_slots=in_pciback_slots,
            iommu_group=int(iommu_group) if iommu_group.isdecimal() else None,
            reset_methods=tuple((read_text(f"{directory}/reset_method") or "").split()),
            boot_vga=(read_text(f"{directory}/boot_vga") or "").strip() == "1",
            # Byte 0x0e is the header type, whose top bit only says that there are more functions; 1 and 2 are bridges.
            bridge=class_code.startswith("06") or (len(config) > 0x0E and config[0x0E] & 0x7F in (1, 2)),
            # The IDs of a virtual function always read as ones (SR-IOV specification); if all bytes do, the device does not respond.
            responds=not config or config.strip(b"\xff") != b"",
            # Only PCI Express devices have link files (pci-sysfs.c).
            express=os.path.exists(f"{directory}/max_link_speed"),
            serial=_read_serial(f"{directory}/config"),
            driver_override=(read_text(f"{directory}/driver_override") or "").strip().replace("(null)", ""),
            physical_function=self._link(f"{directory}/physfn"),
            virtual_functions=tuple(
                sorted(self._link(f"{directory}/{entry}") for entry in list_directory(directory) if re.fullmatch(r"virtfn\d+", entry))
            ),
        )

    def _pciback_list(self, name: str) -> list[str]:
        return (read_text(f"{self.sysfs}/bus/pci/drivers/{PCIBACK}/{name}") or "").split()

    def _as_xl_knows_them(self, devices: list[PciDevice]) -> list[PciDevice]:
        """Fill in the names and owners that libxl keeps in XenStore (libxl_pci.c, PCI_INFO_PATH)."""
        if not devices or not self._store:
            return devices
        paths = {device.bdf: f"/libxl/pci/{device.bdf.xenstore_name}" for device in devices}
        keys = self._store.read_texts([f"{path}/{key}" for path in paths.values() for key in ("name", "domid")])
        # libxl leaves domid behind when a domain ends without detaching: it counts only while that domain is there.
        owners = {device.bdf: keys.get(f"{paths[device.bdf]}/domid") or "" for device in devices}
        running = {str(domid): name for domid, name in self._store.domains().items()} if any(owners.values()) else {}
        known = []
        for device in devices:
            domid = owners[device.bdf]
            owned = domid in running
            known.append(
                replace(
                    device,
                    xl_name=keys.get(f"{paths[device.bdf]}/name") or "",
                    owner_domid=int(domid) if owned else None,
                    owner=running[domid] if owned else "",
                    stale_domid=domid if domid and not owned else "",
                )
            )
        return known

    def _interfaces(self) -> dict[str, tuple[Interface, ...]]:
        """Return the network interfaces by BDF, including those of devices further down (virtio, USB)."""
        names = list_directory(f"{self.sysfs}/class/net")
        while True:
            found: dict[str, tuple[Interface, ...]] = {}
            for name in names:
                path = f"{self.sysfs}/class/net/{name}"
                functions = functions_in_path(resolve(path))
                if functions:
                    mac = self._permanent_mac(name) or (read_text(f"{path}/address") or "").strip()
                    found[functions[-1]] = (*found.get(functions[-1], ()), Interface(name, mac.lower(), self._link(f"{path}/master")))
            # udev renames an interface after it has appeared, which would be missing if that was just now.
            before, names = names, list_directory(f"{self.sysfs}/class/net")
            if names == before:
                return found

    def _directory(self, bdf: Bdf) -> str:
        return f"{self.sysfs}/bus/pci/devices/{bdf}"

    @staticmethod
    def _link(path: str) -> str:
        """Return the last part of what a link points to, or an empty string."""
        return os.path.basename(os.readlink(path)) if os.path.islink(path) else ""

    @staticmethod
    def _hex(path: str) -> str:
        return (read_text(path) or "").strip().lower().replace("0x", "", 1)

    def _write(self, path: str, text: str) -> None:
        try:
            with open(path, "w", encoding="ascii") as handle:
                handle.write(text)
        except OSError as exc:
            raise DriverDomainsError(
                f"Cannot write {text.strip()!r} to {path}: {exc.strerror}", remedy="The kernel's reason is in 'dmesg'"
            ) from exc


def functions_in_path(path: str) -> list[str]:
    """Return the PCI functions that a resolved path of sysfs leads through; the last one is the device, the others are bridges."""
    return _BDF_IN_PATH.findall(path)


def with_kernel_modules(devices: t.Sequence[PciDevice], runner: Runner) -> list[PciDevice]:
    """Return the devices with the kernel modules that can drive them; no module is loaded.

    One call for all devices: modprobe prints the names without saying which alias they belong to, so the name of pciback's own
    module, which drives no device by itself, is put between them. Without such a module or modprobe the lists stay empty.
    """
    aliases = sorted({device.modalias for device in devices if device.modalias})
    if not aliases:
        return list(devices)
    arguments = [word for alias in aliases for word in (alias, PCIBACK_MODULE)]
    try:
        printed = runner.run(["modprobe", "--quiet", "--all", "--resolve-alias", *arguments], check=False).stdout.split()
    except NotOnThisHost:
        return list(devices)
    separator = PCIBACK_MODULE.replace("-", "_")
    if printed.count(separator) != len(aliases):
        return list(devices)
    modules: dict[str, tuple[str, ...]] = {}
    for alias in aliases:
        end = printed.index(separator)
        modules[alias] = tuple(dict.fromkeys(printed[:end]))
        printed = printed[end + 1 :]
    return [replace(device, kernel_modules=modules.get(device.modalias, ())) for device in devices]


def read_permanent_mac(interface: str) -> str:
    """Return the MAC address burnt into a card (ETHTOOL_GPERMADDR of linux/ethtool.h), or an empty string.

    sysfs has another one for the ports of a bond: they all show the bond's.
    """
    siocethtool, ethtool_gpermaddr, room = 0x8946, 0x20, 32
    answer = array.array("B", struct.pack("=II", ethtool_gpermaddr, room) + bytes(room))
    request = struct.pack("16sP", interface.encode(), answer.buffer_info()[0]).ljust(40, b"\0")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, siocethtool, request)
    except OSError:
        return ""
    length = struct.unpack("=II", answer[:8].tobytes())[1]
    address = answer[8 : 8 + length].tobytes()
    return address.hex(":") if length == 6 and any(address) else ""


def _numbers(path: str, text: str, count: int, base: int) -> list[int]:
    """Return the numbers in a line of a file.

    :raises DriverDomainsError: it holds something else.
    """
    try:
        numbers = [int(word, base) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise DriverDomainsError(f"{path} does not hold {count} numbers: {text!r}", remedy="The kernel's log may say more: dmesg")
    return numbers


def _read_config(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as handle:
            return handle.read(64)
    except OSError:
        return b""


def _read_serial(path: str) -> str:
    """Return the serial number of PCI Express: an extended capability of 8 bytes, the last one first (Linux, pci_regs.h), or ""."""
    offset = _EXTENDED
    try:
        with open(path, "rb", buffering=0) as handle:
            # The list of capabilities ends with 0. One that never ends is broken.
            for _attempt in range(_CAPABILITIES):
                handle.seek(offset)
                header = int.from_bytes(handle.read(4), "little")
                if header & 0xFFFF == _SERIAL:
                    return handle.read(8)[::-1].hex("-")
                offset = header >> 20
                if offset < _EXTENDED or header == 0xFFFFFFFF:
                    return ""
    except OSError:
        pass
    return ""
