# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What is remembered of dom0's network card when a driver domain has it, and dom0 an interface (vif) that the driver domain serves.

It outlives reboots: each boot, and each run, finds out here how dom0 is to be reached.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import asdict, dataclass, fields

from ._errors import DriverDomainsError
from ._files import read_text, write_text

UPLINK_RECORD = "/var/lib/xen-driver-domains/uplink.json"
#: The unit that connects dom0 at each boot, or returns the card; and by what it starts with the host.
BOOT_UNIT_FILE = "/etc/systemd/system/xen-driver-domains-uplink.service"
BOOT_LINK = "/etc/systemd/system/multi-user.target.wants/xen-driver-domains-uplink.service"
#: The unit with which the recovery service returns the card when it gives the driver domain up.
GIVE_UP_UNIT = "xen-driver-domains-uplink-give-up.service"

#: What the texts may be: they become arguments of commands, and words of unit files and rules of udev.
_FORMS: dict[str, str] = {
    "backend": r"[A-Za-z0-9][A-Za-z0-9_.+-]*",
    "bridge": r"[A-Za-z0-9_][A-Za-z0-9_.:-]*",
    "mac": r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}",
    "ifname": r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}",
    "bdf": r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]",
    "name": r"[!-~]+",
}


@dataclass(frozen=True)
class UplinkRecord:
    """Which card dom0 had, and what takes its place."""

    #: The name of the card in `dom0_pci_assignable`.
    name: str
    bdf: str
    #: What its interface was called. The vif gets that name, so that the configuration of the host's network applies to both.
    ifname: str
    backend: str
    bridge: str
    #: The MAC address of the vif.
    mac: str
    #: Seconds that the vif may take.
    limit: int
    #: Whether a connection over the vif has shown that the host can be reached.
    confirmed: bool = False

    @property
    def text(self) -> str:
        """The content of its file."""
        return json.dumps(asdict(self), indent=2) + "\n"


def problem_of(record: UplinkRecord) -> str:
    """Return what is wrong with the values of a record, or ""."""
    for name, form in _FORMS.items():
        value = getattr(record, name)
        if not isinstance(value, str) or not re.fullmatch(form, value):
            return f"{name} is {value!r}"
    if isinstance(record.limit, bool) or not isinstance(record.limit, int) or record.limit < 1:
        return f"limit is {record.limit!r}"
    return "" if isinstance(record.confirmed, bool) else f"confirmed is {record.confirmed!r}"


def read_uplink(path: str = UPLINK_RECORD) -> UplinkRecord | None:
    """Return the record, or None when dom0 has no such card.

    :raises DriverDomainsError: the file does not hold a record.
    """
    text = read_text(path)
    if text is None:
        return None
    try:
        found: t.Any = json.loads(text)
        record = UplinkRecord(**{field.name: found[field.name] for field in fields(UplinkRecord)})
        problem = problem_of(record)
    except (ValueError, TypeError, KeyError) as exc:
        record, problem = None, str(exc) or type(exc).__name__
    if record is None or problem:
        raise DriverDomainsError(
            f"{path} does not hold the record of dom0's network card: {problem}",
            rule="it says by which interface dom0 is reached, and what takes its place when that does not work",
            remedy="Reboot the host, which then returns the card to dom0 and removes the file, and run the playbook again",
        )
    return record


def save_uplink(record: UplinkRecord, path: str = UPLINK_RECORD) -> None:
    """Write the record.

    :raises DriverDomainsError: it cannot be written.
    """
    write_text(path, record.text, mode=0o600)
