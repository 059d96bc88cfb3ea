# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""A disk of a domain, and the names of disks in guests."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .._errors import InvalidInput


@dataclass(frozen=True)
class Disk:
    """A disk of a domain."""

    target: str
    writable: bool = True
    #: The domain that serves it; "" for dom0.
    backend: str = ""
    #: Whether dom0 serves it, and its target is a path, neither for a script nor for a driver of QEMU.
    local: bool = True


#: xvda or d0; hda; sda (libxl_device.c, libxl__device_disk_dev_number).
_VDEV = re.compile(r"(?:(xvd|hd|sd)([a-z]{1,4})([1-9][0-9]{0,2})?)|(?:d([0-9]+)(?:p([0-9]+))?)")


def check_vdev(vdev: str, domain: str = "") -> None:
    """Check the name of a disk in the guest before anything is changed: xl looks at it only when it attaches the disk.

    :raises InvalidInput: libxl does not know such a name.
    """
    if not vdev_number(vdev).isdecimal():
        raise InvalidInput(
            f"{f'{domain}: ' if domain else ''}the vdev {vdev!r} is not the name of a disk",
            rule="a disk is called like xvda, hda or sda, perhaps with a partition, or d0p0 (xen-vbd-interface(7))",
            remedy="Set vdev, e.g. xvdb",
        )


def vdev_number(vdev: str) -> str:
    """Return the device number that a name in the guest stands for, since several names stand for the same; else the name itself."""
    name = vdev.rsplit("/", 1)[-1]
    match = _VDEV.fullmatch(name)
    if not match:
        return str(int(name, 0)) if re.fullmatch(r"0x[0-9a-f]+|[1-9][0-9]*", name) else name
    kind, letters, digits, number, part = match.groups()
    partition = int(digits or part or 0)
    disk = int(number) if number is not None else 0
    for letter in letters or "":
        disk = disk * 26 + ord(letter) - ord("a") + 1
    disk -= 1 if letters else 0
    if kind == "hd":
        return str(((3 if disk < 2 else 22) << 8) | ((disk & 1) << 6) | partition)
    if kind == "sd":
        return str((8 << 8) | (disk << 4) | partition)
    if disk <= 15 and partition <= 15:
        return str((202 << 8) | (disk << 4) | partition)
    return str((1 << 28) | (disk << 8) | partition)
