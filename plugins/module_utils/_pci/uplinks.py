# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Cards of dom0 that go to a driver domain while dom0 is reached by them: `_uplink` moves dom0 to a vif, and nothing else takes them."""

from __future__ import annotations

import os
import typing as t
from functools import partial

from .._files import read_text, remove
from .._host_next_boot import NEEDED_EARLY
from .._uplink_record import BOOT_LINK, BOOT_UNIT_FILE, UPLINK_RECORD, read_uplink

if t.TYPE_CHECKING:
    from .._plan import Plan
    from .device import PciDevice

#: The guard rails that do not hold for such a card.
_REPLACED = ("management_route", "default_route")


def is_replaced(guard: str, reason: str) -> bool:
    """Return whether a vif takes the place of what a guard rail protects. It comes too late for the initramfs."""
    return guard in _REPLACED and not reason.startswith(NEEDED_EARLY)


def refuse_forgotten(plan: Plan, uplinks: t.Collection[str], devices: t.Sequence[PciDevice], root: str = "") -> None:
    """Refuse to go on when dom0 is reached through a driver domain, and the variables do not say so.

    :param uplinks: the names of the cards that the variables name.
    :param root: directory that stands for / (tests).
    :raises DriverDomainsError: the record is damaged.
    """
    record = read_uplink(root + UPLINK_RECORD)
    if record is None or record.name in uplinks:
        return
    if any(device.pciback and str(device.bdf) == record.bdf for device in devices):
        plan.refuse(
            "",
            "this host",
            f"is reached by a vif of {record.backend} in the place of its network card {record.name} ({record.bdf}), which dom0_vifs does "
            "not name",
            rule="the host would be cut off by whatever is done to that driver domain",
            remedy=f"Put the entry back into dom0_vifs: {{device: {record.name}, backend: {record.backend}, bridge: {record.bridge}}}. "
            "With state: absent in it, the card returns to dom0; so does teardown.yml",
        )


def plan_keeping(plan: Plan, devices: t.Sequence[PciDevice], root: str = "") -> None:
    """Plan that boots do not return devices to dom0. They do that with a card that dom0 had a vif for, while it is hidden (`_uplink`).

    :param devices: those that driver domains get.
    :param root: directory that stands for / (tests).
    """
    text = read_text(root + BOOT_UNIT_FILE) or ""
    returned = [device for device in devices if str(device.bdf) in text.split()]
    if returned and os.path.islink(root + BOOT_LINK) and read_text(root + UPLINK_RECORD) is None:
        plan.add(f"no longer return {returned[0].bdf} to dom0 at each boot", partial(remove, root + BOOT_LINK))
