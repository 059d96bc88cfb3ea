# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What a host does at each boot, before domains start: it compares the devices at recorded addresses with the records.

The list of hidden devices and the definitions of domains hold addresses, which move when hardware is added. A device that came to the
address of another one gets its own driver, and the domains that would get it are not started at this boot. `check_unit` installs this.
"""

from __future__ import annotations

import os
import re
import sys
import typing as t

from .._errors import DriverDomainsError
from .._files import list_directory, read_text, remove, rename
from .._held_back import HELD_BACK, hold_back
from .device import PciDevice
from .host import PciHost
from .records import Record

#: What xendomains starts, and what units of `_domain` start.
AUTOSTART, DEFINITIONS, UNITS = "/etc/xen/auto", "/etc/xen", "/etc/systemd/system"
#: xendomains leaves out names that begin with a dot.
_HELD_BACK = re.compile(r"\.(.+)\.held-back")
#: As xl reads it: short numbers too, and `*` for all functions of a device (libxlu_pci.c).
_ADDRESS = re.compile(r"(?<![\w:.])(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7*])(?!\w)", re.IGNORECASE)


class Domains(t.NamedTuple):
    """Where domains are that start with the host; tests put them elsewhere."""

    autostart: str = AUTOSTART
    definitions: str = DEFINITIONS
    units: str = UNITS
    held_back: str = HELD_BACK

    @property
    def with_unit(self) -> list[str]:
        """The domains that have a unit. A plus sign in a name is not one in that of its unit."""
        names = [name[: -len(".cfg")] for name in list_directory(self.definitions) if name.endswith(".cfg")]
        units = set(list_directory(self.units))
        return [name for name in names if f"xen-domain@{name}.service".replace("+", "\\x2b") in units]


def check_devices(host: PciHost, domains: Domains | None = None) -> t.Iterator[str]:
    """Return devices that came to recorded addresses to their drivers, hold the domains back that have these, and say so, a line each.

    If the devices cannot be compared, all domains that get one are held back.

    :raises DriverDomainsError: a record is damaged, or the kernel refused.
    """
    domains = domains or Domains()
    _restore(domains.autostart)
    try:
        devices = {str(device.bdf): device for device in host.devices()}
        records = host.records.load()
    except (DriverDomainsError, OSError):
        yield from _hold_back(domains, _ADDRESS, "a PCI device, and the devices could not be compared with their records")
        raise
    moved: list[tuple[Record, PciDevice, str]] = []
    for record in records:
        device = devices.get(record.bdf)
        difference = device.unlike(record) if device else ""
        if device and difference:
            moved.append((record, device, difference))
    # First, because the kernel may refuse to return a device.
    for record, _device, _difference in moved:
        yield from _hold_back(domains, _address(record.bdf), f"{record.bdf}, which is not {record.name} any more")
    for record, device, difference in moved:
        returned = ""
        if device.pciback:
            # Xen has nothing in quarantine yet.
            host.release(device.bdf)
            host.clear_claims(device.bdf)
            host.probe(device.bdf)
            returned = "; it was returned to dom0"
        yield f"{record.bdf} is not {record.name} any more: {difference}{returned}"
    # These hold nothing back: no domain can get them. Virtual functions (SR-IOV) appear only later, when something has created them.
    for record in records:
        if record.bdf not in devices:
            yield f"{record.bdf}, which is {record.name}, is not there at this time"


def _hold_back(domains: Domains, address: re.Pattern[str], what: str) -> t.Iterator[str]:
    """Have systemd and xendomains leave out the domains whose definitions have an address."""
    reason = f"it would get {what}"
    for name in domains.with_unit:
        if address.search(read_text(f"{domains.definitions}/{name}.cfg") or ""):
            hold_back(name, reason, domains.held_back)
            yield f"{name} is not started at this boot, because {reason}"
    for name in list_directory(domains.autostart):
        if not name.startswith(".") and address.search(read_text(f"{domains.autostart}/{name}") or ""):
            rename(f"{domains.autostart}/{name}", f"{domains.autostart}/.{name}.held-back")
            yield f"{name} is not started at this boot, because {reason}"


def _restore(autostart: str) -> None:
    """Let xendomains start again what the last boot held back, unless somebody has replaced it since."""
    for name in list_directory(autostart):
        held_back = _HELD_BACK.fullmatch(name)
        if held_back and os.path.lexists(f"{autostart}/{held_back.group(1)}"):
            remove(f"{autostart}/{name}")
        elif held_back:
            rename(f"{autostart}/{name}", f"{autostart}/{held_back.group(1)}")


def _address(bdf: str) -> re.Pattern[str]:
    """Return a pattern for `bdf` in all the ways that xl reads (`_ADDRESS`)."""
    domain, bus, device, function = (part.lstrip("0") or "0" for part in re.split("[:.]", bdf))
    start = f"(?:0*{domain}:)?" if domain == "0" else f"0*{domain}:"
    return re.compile(rf"(?<![\w:.]){start}0*{bus}:0*{device}\.[{function}*](?!\w)", re.IGNORECASE)


def main() -> int:
    """Check this host; return the exit code."""
    try:
        for line in check_devices(PciHost()):
            sys.stdout.write(f"{line}\n")
    except (DriverDomainsError, OSError) as exc:
        sys.stderr.write(f"The devices could not be compared with their records: {exc}\n")
        return 1
    return 0
