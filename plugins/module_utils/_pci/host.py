# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The PCI devices of this host as sysfs, XenStore and our own records show them; the only place that touches sysfs for PCI."""

from __future__ import annotations

import array
import fcntl
import json
import os
import re
import socket
import struct
import typing as t
from dataclasses import asdict, dataclass, replace

from .._errors import DriverDomainsError, InvalidInput, NotOnThisHost
from .._files import list_directory, read_text, remove, write_text
from .._runner import Runner
from .bdf import Bdf

#: Name of the driver that holds devices for guests (drivers/xen/xen-pciback of Linux); its module is called xen-pciback.
PCIBACK = "pciback"
PCIBACK_MODULE = "xen-pciback"

RECORDS = "/var/lib/xen-driver-domains/pci"

#: The PCI functions that a path below /sys/devices leads through. Domains above ffff (Intel VMD) are unknown to Xen.
_BDF_IN_PATH = re.compile(r"(?<=/)[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7](?=/|$)")
_SLOT = re.compile(r".*/pci([0-9a-f]{4}:[0-9a-f]{2})((?:/[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])+)$")


class Store(t.Protocol):
    """What is needed of a XenStore client."""

    def read_texts(self, paths: t.Iterable[str]) -> dict[str, str | None]:
        """Return the values of keys, None for one that is not there."""

    def domains(self) -> dict[int, str]:
        """Return the names of the running domains by their number."""

    def rm(self, path: str) -> None:
        """Remove a key with all below it; one that is not there is fine."""


@dataclass(frozen=True)
class Interface:
    """A network interface; `mac` is the address burnt into the card where the driver tells it, else the one in use."""

    name: str
    mac: str


@dataclass(frozen=True)
class Record:
    """What was known of a device while its own driver had it."""

    name: str
    bdf: str
    vendor_device: str
    slot: str
    mac: str
    ifname: str
    driver: str
    #: The boot of the host (its boot id) in which taking the device was seen to its end: bound, named and in Xen's quarantine.
    #: Neither quarantine nor names outlive the boot, and nothing tells what is in quarantine.
    boot: str = ""

    @property
    def text(self) -> str:
        """The record as it stands in its file."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass(frozen=True)
class PciDevice:
    """One PCI function. Texts are empty where there is nothing to tell; hexadecimal numbers have no `0x`."""

    bdf: Bdf
    #: The way from the root bus: bus, then device.function of each bridge and of the device. Bus numbers move, this does not.
    slot: str
    vendor_device: str
    subsystem: str
    class_code: str
    modalias: str
    driver: str
    interfaces: tuple[Interface, ...]
    in_pciback_slots: bool
    iommu_group: int | None
    reset_methods: tuple[str, ...]
    boot_vga: bool
    bridge: bool
    #: False when its configuration space cannot be read: dead, powered off or gone.
    responds: bool
    #: Whether it is PCI Express; what is not, shares its requester id with all that is behind the same bridge.
    express: bool = True
    #: The name of the only driver that may have it, where somebody set one.
    driver_override: str = ""
    #: Whether a guest may write all of its configuration space (pciback's flag).
    permissive: bool = False
    #: SR-IOV: the physical function of a virtual one, and the virtual functions of a physical one.
    physical_function: str = ""
    virtual_functions: tuple[str, ...] = ()
    record: Record | None = None
    xl_name: str = ""
    owner_domid: int | None = None
    #: Name of the domain that has it.
    owner: str = ""
    #: Number of a domain that is gone and that xl believes to have the device, which hides it from xl.
    stale_domid: str = ""
    kernel_modules: tuple[str, ...] = ()

    @property
    def pciback(self) -> bool:
        """Whether pciback holds the device for a guest."""
        return self.driver == PCIBACK

    @property
    def mac(self) -> str:
        """MAC address of its first interface, recorded if there is no interface now."""
        if self.interfaces:
            return self.interfaces[0].mac
        return self.record.mac if self.record else ""

    @property
    def ifname(self) -> str:
        """Name of its first interface, recorded if there is no interface now."""
        if self.interfaces:
            return self.interfaces[0].name
        return self.record.ifname if self.record else ""

    @property
    def is_network(self) -> bool:
        """Whether its class is a network controller's."""
        return self.class_code.startswith("02")

    def as_record(self, name: str) -> Record:
        """Return what is to be remembered of the device under `name`."""
        own = "" if self.pciback else self.driver
        driver = own or (self.record.driver if self.record else "")
        boot = self.record.boot if self.record else ""
        return Record(name, str(self.bdf), self.vendor_device, self.slot, self.mac, self.ifname, driver, boot)

    def as_dict(self, name: str = "") -> dict[str, t.Any]:
        """Return the device as the modules return it."""
        return {
            "name": name,
            "bdf": str(self.bdf),
            "slot": self.slot,
            "vendor_device": self.vendor_device,
            "subsystem": self.subsystem,
            "class": self.class_code,
            "driver": self.driver,
            "kernel_modules": list(self.kernel_modules),
            "interfaces": [asdict(interface) for interface in self.interfaces],
            "mac": self.mac,
            "pciback": self.pciback,
            "in_pciback_slots": self.in_pciback_slots,
            "xl_name": self.xl_name,
            "owner_domid": self.owner_domid,
            "owner": self.owner,
            "permissive": self.permissive,
            "physical_function": self.physical_function,
            "virtual_functions": list(self.virtual_functions),
            "iommu_group": self.iommu_group,
            "reset_methods": list(self.reset_methods),
            "boot_vga": self.boot_vga,
            "bridge": self.bridge,
        }

    def __str__(self) -> str:
        """Return one line that tells the device from others."""
        driver = f"driver {self.driver}" if self.driver else "no driver"
        return " ".join(word for word in (str(self.bdf), self.vendor_device, driver, self.ifname, self.mac) if word)


class Records:
    """What is remembered of the devices that were taken, one file each."""

    def __init__(self, directory: str = RECORDS) -> None:
        self.directory = directory

    def path(self, bdf: str) -> str:
        """Return the file of the device at `bdf`."""
        return os.path.join(self.directory, f"{bdf}.json")

    def load(self) -> list[Record]:
        """Return all records.

        :raises DriverDomainsError: a file does not hold a record.
        """
        records = []
        for filename in list_directory(self.directory):
            if filename.startswith(".") or not filename.endswith(".json"):
                continue
            path = os.path.join(self.directory, filename)
            try:
                records.append(Record(**json.loads(read_text(path) or "")))
            except (ValueError, TypeError) as exc:
                raise DriverDomainsError(
                    f"{path} does not hold the record of a PCI device: {exc}",
                    remedy="Remove the file; the device can then be matched by bdf, slot, vendor_device or class",
                ) from exc
        return records

    def save(self, record: Record) -> None:
        """Write a record; one that the same device left under another BDF is dropped."""
        for other in self.load():
            if other.bdf != record.bdf and _same_device(other, record):
                self.forget(other)
        write_text(self.path(record.bdf), record.text, mode=0o600)

    def forget(self, record: Record) -> None:
        """Remove a record."""
        remove(self.path(record.bdf))


class PciHost:
    """Reads the PCI devices of a host, and writes the few files of sysfs that give a device back to its driver."""

    def __init__(
        self,
        sysfs: str = "/sys",
        records: Records | None = None,
        store: Store | None = None,
        permanent_mac: t.Callable[[str], str] | None = None,
        procfs: str = "/proc",
    ) -> None:
        self.sysfs = os.path.realpath(sysfs)
        self._procfs = procfs
        self.records = records or Records()
        self._store = store
        self._permanent_mac = permanent_mac or read_permanent_mac

    @property
    def pciback_loaded(self) -> bool:
        """Whether the driver pciback is there."""
        return os.path.isdir(f"{self.sysfs}/bus/pci/drivers/{PCIBACK}")

    @property
    def boot_id(self) -> str:
        """What tells this boot of the host from all others."""
        return (read_text(f"{self._procfs}/sys/kernel/random/boot_id") or "").strip()

    def in_slots(self, bdf: Bdf) -> bool:
        """Tell whether pciback has a device in its list, and so takes it whenever drivers are looked for."""
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
            devices.append(replace(device, record=next((record for record in records if _same_device(record, device)), None)))
        return self._as_xl_knows_them(devices)

    def driver(self, bdf: Bdf) -> str:
        """Return the name of the driver that holds a device now, or an empty string."""
        return self._link(f"{self._directory(bdf)}/driver")

    def interface_names(self, bdf: Bdf) -> list[str]:
        """Return the network interfaces that a device has now."""
        return [interface.name for interface in self._interfaces().get(str(bdf), ())]

    def probe(self, bdf: Bdf) -> None:
        """Let the kernel look for the driver of a device that has none."""
        self._write(f"{self.sysfs}/bus/pci/drivers_probe", str(bdf))

    def release(self, bdf: Bdf) -> None:
        """Take a device from pciback without xl, for one that Xen did not put into quarantine."""
        self._write(f"{self.sysfs}/bus/pci/drivers/{PCIBACK}/unbind", str(bdf))

    def clear_claims(self, bdf: Bdf) -> None:
        """Remove what makes pciback take a device again: its entry in pciback's list, and pciback as its only driver."""
        if self.in_slots(bdf):
            self._write(f"{self.sysfs}/bus/pci/drivers/{PCIBACK}/remove_slot", str(bdf))
        override = f"{self._directory(bdf)}/driver_override"
        if (read_text(override) or "").strip() == PCIBACK:
            self._write(override, "\n")

    def clear_xl_memory(self, bdf: Bdf, key: str = "") -> None:
        """Remove what xl remembers of a device (libxl_pci.c, PCI_INFO_PATH), or one key of it.

        xl finds a device by the first name that fits, whether the device is assignable or not.
        """
        if self._store:
            self._store.rm(f"/libxl/pci/{bdf.xenstore_name}" + (f"/{key}" if key else ""))

    def _device(self, bdf: Bdf, interfaces: tuple[Interface, ...], in_pciback_slots: bool) -> PciDevice:
        directory = self._directory(bdf)
        config = _read_config(f"{directory}/config")
        class_code = self._hex(f"{directory}/class").zfill(6)
        slot = _SLOT.match(os.path.realpath(directory))
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
            iommu_group=int(iommu_group) if iommu_group.isdigit() else None,
            reset_methods=tuple((read_text(f"{directory}/reset_method") or "").split()),
            boot_vga=(read_text(f"{directory}/boot_vga") or "").strip() == "1",
            # Byte 0x0e is the header type, whose top bit only says that there are more functions; 1 and 2 are bridges.
            bridge=class_code.startswith("06") or (len(config) > 0x0E and config[0x0E] & 0x7F in (1, 2)),
            # A virtual function's ids always read as ones (SR-IOV specification): only when all bytes do, nothing answers.
            responds=not config or config.strip(b"\xff") != b"",
            # The kernel shows link files for PCI Express alone (pci-sysfs.c).
            express=os.path.exists(f"{directory}/max_link_speed"),
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
        """Return the network interfaces by BDF; also those that hang on a device further down (virtio, USB)."""
        found: dict[str, tuple[Interface, ...]] = {}
        for name in list_directory(f"{self.sysfs}/class/net"):
            path = f"{self.sysfs}/class/net/{name}"
            functions = functions_in_path(os.path.realpath(path))
            if functions:
                mac = self._permanent_mac(name) or (read_text(f"{path}/address") or "").strip()
                found[functions[-1]] = (*found.get(functions[-1], ()), Interface(name, mac.lower()))
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
    """Fill in which kernel modules serve the devices; loads nothing.

    One call for all: modprobe prints the names without saying which alias they belong to, so the name of pciback's own module,
    which serves no device by itself, is put between them. Where there is no such module or no modprobe, nothing is filled in.
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

    The address in sysfs is not it for the ports of a bond, which all show the bond's.
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


def _same_device(one: Record | PciDevice, other: Record | PciDevice) -> bool:
    return (one.vendor_device, one.slot) == (other.vendor_device, other.slot)


def _read_config(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as handle:
            return handle.read(64)
    except OSError:
        return b""
