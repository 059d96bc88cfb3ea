# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""One PCI device, as the rest of the collection knows it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .bdf import Bdf
from .records import Record

#: Name of the driver that holds devices for guests (drivers/xen/xen-pciback of Linux); its module is called xen-pciback.
PCIBACK = "pciback"
PCIBACK_MODULE = "xen-pciback"


@dataclass(frozen=True)
class Interface:
    """A network interface; `mac` is the address burnt into the card if the driver reports it, else the one in use."""

    name: str
    mac: str
    #: The bridge or bond that it is a port of.
    master: str = ""


@dataclass(frozen=True)
class PciDevice:
    """One PCI function. Texts are empty where there is nothing; hexadecimal numbers have no `0x`."""

    bdf: Bdf
    #: The path from the root bus: bus, then device.function of each bridge and of the device. Bus numbers move, this does not.
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
    #: Whether it is PCI Express; other devices share their requester ID with everything behind the same bridge.
    express: bool = True
    #: The serial number of PCI Express, in the form of lspci, which most cards have.
    serial: str = ""
    #: The name of the only driver that may bind it, if somebody set one.
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
    def master(self) -> str:
        """The bridge or bond that its first interface is a port of, recorded if there is no interface now."""
        if self.interfaces:
            return self.interfaces[0].master
        return self.record.master if self.record else ""

    @property
    def identity(self) -> tuple[str, str]:
        """The IDs and the slot, which stay the same when its BDF changes."""
        return self.vendor_device, self.slot

    @property
    def is_network(self) -> bool:
        """Whether its class is a network controller's."""
        return self.class_code.startswith("02")

    def as_record(self, name: str) -> Record:
        """Return the record to keep of the device under `name`."""
        own = "" if self.pciback else self.driver
        driver = own or (self.record.driver if self.record else "")
        boot = self.record.boot if self.record else ""
        found = Record(name, str(self.bdf), self.vendor_device, self.slot, self.mac, self.ifname, driver, boot, self.serial)
        return replace(found, master=self.master)

    def is_of(self, record: Record) -> bool:
        """Return whether a record is of this device. A serial number that is not known says nothing."""
        return self.identity == record.identity and (not (self.serial and record.serial) or self.serial == record.serial)

    def unlike(self, record: Record) -> str:
        """Return in what this device differs from a recorded one, or "" if it is that device; its interfaces count as well."""
        if self.identity != record.identity:
            return f"{self.vendor_device} in slot {self.slot} instead of {record.vendor_device} in slot {record.slot}"
        if not self.is_of(record):
            return f"serial number {self.serial} instead of {record.serial}"
        macs = [interface.mac for interface in self.interfaces]
        return f"MAC address {macs[0]} instead of {record.mac}" if macs and record.mac and record.mac not in macs else ""

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
            "interfaces": [{"name": interface.name, "mac": interface.mac} for interface in self.interfaces],
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
        """Return one line that a user can recognise the device by."""
        driver = f"driver {self.driver}" if self.driver else "no driver"
        return " ".join(word for word in (str(self.bdf), self.vendor_device, driver, self.ifname, self.mac) if word)
