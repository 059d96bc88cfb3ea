# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Which of its vifs and disks a running domain still has.

libxl does not remove a device from what it keeps of a domain when it is detached (libxl_internal.h, "Device removal routines are not
touched"), so only XenStore shows it.
"""

from __future__ import annotations

import typing as t

from .._printable import printable_line
from .aside import WaitingDevice
from .devices import VBD, VIF, PvDevice
from .disk import vdev_number
from .kept import entries

#: What `read_devices` has to read of them.
IDENTITY = ("mac", "dev")


class Presence:
    """The vifs and disks that a running domain has, by what they are found by.

    :param devices: what XenStore shows, with the settings `IDENTITY`.
    :param waiting: what it is to have again as soon as the backend serves.
    """

    def __init__(self, devices: t.Iterable[PvDevice], waiting: t.Iterable[WaitingDevice] = ()) -> None:
        devices, waiting = [*devices], [*waiting]
        #: The numbers of the vifs.
        self.numbers = {device.devid for device in devices if device.kind == VIF}
        self.numbers |= {device.devid for device in waiting if device.kind == VIF and device.devid is not None}
        self._macs = {device.mac for device in devices if device.kind == VIF}
        self._macs |= {device.identity.lower() for device in waiting if device.kind == VIF}
        self._disks = {vdev_number(device.made.get("dev", "")) for device in devices if device.kind == VBD}
        self._disks |= {vdev_number(device.identity) for device in waiting if device.kind == VBD}

    def has_vif(self, mac: str, number: int | None) -> bool:
        """Whether it has a vif: one with this MAC address, or with this number if no address is known."""
        return mac.lower() in self._macs if mac else number in self.numbers

    def has_disk(self, vdev: str, specification: str = "") -> bool:
        """Whether it has a disk. Those that are virtio devices are elsewhere in XenStore (libxl__device_from_disk in libxl_disk.c), and are
        taken to be there."""
        return specification == "virtio" or vdev_number(vdev) in self._disks


def without_detached(configuration: t.Mapping[str, t.Any], there: Presence) -> tuple[dict[str, t.Any], list[str]]:
    """Return a configuration, as libxl has it, without the vifs and disks that the domain does not have, and what these are called.

    A device that has nothing that it could be found by is taken to be there.
    """
    vifs = [vif for vif in entries(configuration, "nics") if not _has_vif(vif, there)]
    disks = [disk for disk in entries(configuration, "disks") if not _has_disk(disk, there)]
    left = dict(configuration)
    for kind, gone in (("nics", vifs), ("disks", disks)):
        if gone:
            left[kind] = [device for device in entries(configuration, kind) if device not in gone]
    names = [*(f"vif {vif.get('mac') or vif['devid']}" for vif in vifs), *(f"disk {disk['vdev']}" for disk in disks)]
    return left, [*map(printable_line, names)]


def _has_vif(vif: t.Mapping[str, t.Any], there: Presence) -> bool:
    mac, number = str(vif.get("mac") or ""), vif.get("devid")
    return (not mac and number is None) or there.has_vif(mac, number)


def _has_disk(disk: t.Mapping[str, t.Any], there: Presence) -> bool:
    vdev = str(disk.get("vdev") or "")
    return not vdev or there.has_disk(vdev, str(disk.get("specification") or ""))
