# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What is remembered of PCI devices that were taken: one JSON file each. It outlives reboots and the collection's runs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields

from .._errors import DriverDomainsError
from .._files import list_directory, read_text, remove, write_text

RECORDS = "/var/lib/xen-driver-domains/pci"


@dataclass(frozen=True)
class Record:
    """What was known about a device while its own driver had it."""

    name: str
    bdf: str
    vendor_device: str
    slot: str
    mac: str
    ifname: str
    driver: str
    #: The boot of the host (its boot ID) in which the device was taken completely: bound, named and in Xen's quarantine.
    #: Neither quarantine nor names outlive the boot, and nothing else shows what is in quarantine.
    boot: str = ""
    #: Its serial number, or "" if it has none.
    serial: str = ""
    #: The bridge or bond that its interface was a port of. `RETURN_SCRIPT` reads this and `ifname`, line by line.
    master: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """The IDs and the slot of the device, which stay the same when its BDF changes."""
        return self.vendor_device, self.slot

    @property
    def text(self) -> str:
        """The content of its file."""
        return json.dumps(asdict(self), indent=2) + "\n"


class Records:
    """The records of the devices that were taken, one file each.

    :param strict: whether a file that does not hold a record is an error; otherwise it is left out.
    """

    def __init__(self, directory: str = RECORDS, *, strict: bool = True) -> None:
        self.directory = directory
        self._strict = strict

    def path(self, bdf: str) -> str:
        """Return the file of the device at `bdf`."""
        return os.path.join(self.directory, f"{bdf}.json")

    def load(self) -> list[Record]:
        """Return all records.

        :raises DriverDomainsError: a file does not hold a record, and that is an error.
        """
        records = []
        for filename in list_directory(self.directory):
            if filename.startswith(".") or not filename.endswith(".json"):
                continue
            path = os.path.join(self.directory, filename)
            try:
                found = json.loads(read_text(path) or "")
                # Another version of the collection may have written more.
                records.append(Record(**{field.name: found[field.name] for field in fields(Record) if field.name in found}))
            except (ValueError, TypeError) as exc:
                if not self._strict:
                    continue
                raise DriverDomainsError(
                    f"{path} does not hold the record of a PCI device: {exc}",
                    remedy="Remove the file; the device can then be matched by bdf, slot, vendor_device or class",
                ) from exc
        return records

    def save(self, record: Record) -> None:
        """Write a record; one that the same device has under another BDF is removed."""
        for other in self.load():
            if other.bdf != record.bdf and other.identity == record.identity:
                self.forget(other)
        write_text(self.path(record.bdf), record.text, mode=0o600)

    def forget(self, record: Record) -> None:
        """Remove a record."""
        remove(self.path(record.bdf))
