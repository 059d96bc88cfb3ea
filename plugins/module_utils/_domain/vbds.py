# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The parameters of the module xl_vbd."""

from __future__ import annotations

import typing as t

from .._errors import InvalidInput
from .attachments import Rules, WantedDevice
from .devices import VBD
from .disk import check_vdev
from .vbd_made import differences, made_settings, same_vdev
from .vbd_options import disk_settings

#: How disks are found and compared.
VBD_RULES = Rules(
    VBD,
    "disk",
    is_wanted=lambda wanted, device: same_vdev(device.made.get("dev", ""), wanted.identity),
    made=made_settings,
    differences=differences,
    identity=lambda device: device.made.get("dev", "") or str(device.devid),
)


def wanted_vbds(items: t.Sequence[t.Mapping[str, t.Any]]) -> list[WantedDevice]:
    """Check the parameter `vbds` of the module xl_vbd.

    :raises InvalidInput: a disk has no target, is listed twice, or has a name that no disk can have.
    """
    wanted = [WantedDevice(item["domain"], item["vdev"], item["state"] == "present", disk_settings(item)) for item in items]
    for number, disk in enumerate(wanted):
        check_vdev(disk.identity, disk.domain)
        if disk.present and not disk.settings.get("target") and disk.settings.get("devtype") != "cdrom":
            raise InvalidInput(
                f"{disk.domain}: the disk {disk.identity} has no target", rule="only a cdrom drive can be empty", remedy="Set target"
            )
        if any(disk.domain == other.domain and same_vdev(disk.identity, other.identity) for other in wanted[:number]):
            raise InvalidInput(
                f"{disk.domain}: the disk {disk.identity} is listed twice",
                rule="several names can stand for one device: xvda, sda and hda differ, xvda and d0 do not",
                remedy="Change or remove one of them",
            )
    return wanted
