# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The volume groups of a driver domain that serves disks: from the model of the inventory to words of a kernel command line, which xendd
reads in the domain's image, and to the volumes that are to be there."""

from __future__ import annotations

import posixpath
import re
import typing as t
from dataclasses import dataclass

from ._errors import InvalidInput
from ._words import PLAIN

Settings = t.Mapping[str, t.Any]
#: How xendd renames a volume that it is going to overwrite.
REMOVED = "removed."
#: What LVM keeps for itself, at the beginning of the name of a volume and anywhere in it (lvm(8), VALID NAMES).
_OWN_BEGINNINGS = ("snapshot", "pvmove", REMOVED)
_OWN_PARTS = re.compile("_(cdata|cmeta|corig|cpool|cvol|wcorig|mimage|mlog|pmspare|rimage|rmeta|tdata|tmeta|vdata|imeta|iorig|vorigin)")
_NAME = re.compile(r"[A-Za-z0-9+_.][A-Za-z0-9+_.-]{0,126}")
#: The device mapper's own limit for the two names, DM_NAME_LEN less the final 0, in which each '-' counts twice, and one is between them.
_MOST_CHARACTERS = 127 - len(REMOVED)
#: A disk that dom0 gives to the domain, or the serial number of one.
_DISK = re.compile(r"xvd[a-z]{1,2}([1-9][0-9]{0,2})?|serial:[A-Za-z0-9_.+:=~/@-]{1,64}")
_SIZE = re.compile(r"([1-9][0-9]{0,6})([MGT])(?:iB)?")
_UNITS = {"M": 20, "G": 30, "T": 40}


@dataclass(frozen=True)
class Volume:
    """A logical volume as it is declared. Its name means something only together with that of its group."""

    group: str
    name: str
    #: In bytes; 0 for one that is to be absent.
    size: int
    present: bool = True

    @property
    def path(self) -> str:
        """Its path in the domain that has it."""
        return f"/dev/{self.group}/{self.name}"

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"


def declared_volumes(groups: t.Sequence[Settings]) -> list[Volume]:
    """Check the volume groups of a domain against the rules of LVM and each other, and return their volumes.

    :param groups: with `name`, `disks` and `volumes`.
    :raises InvalidInput: a group, disk or volume cannot be made, or two are the same.
    """
    volumes: list[Volume] = []
    names: set[str] = set()
    owners: dict[str, str] = {}
    for group in groups:
        name = _check_name("volume group", group.get("name"))
        if name in names:
            raise InvalidInput(f"volume_groups: {name} is listed twice", rule="each volume group of a domain has a name of its own")
        names.add(name)
        if not group.get("disks"):
            raise InvalidInput(f"{name}: it has no disks", rule="a volume group is made of one disk or more", remedy="Set disks")
        for disk in group["disks"]:
            _check_disk(name, disk)
            if disk in owners:
                raise InvalidInput(
                    f"{name}: the disk {disk} is listed twice, for {owners[disk]} before", rule="a disk belongs to one volume group, once"
                )
            owners[disk] = name
        for item in group.get("volumes") or []:
            volume = _volume(name, item)
            if any((other.group, other.name) == (volume.group, volume.name) for other in volumes):
                raise InvalidInput(f"{name}: the volume {volume.name} is listed twice", rule="each volume of a group has a name of its own")
            volumes.append(volume)
    return volumes


def check_groups(groups: t.Sequence[Settings], image: str | None) -> None:
    """Check the volume groups of a driver domain.

    :param image: minimal or debian; None for an image that is not of the collection.
    :raises InvalidInput: they cannot be made, or not by this image.
    """
    if groups and image is None:
        raise InvalidInput(
            "volume_groups is for an image of the collection, and this domain has none",
            rule="an image reads its volume groups from the kernel command line",
            remedy="Make the volumes in the domain's own system, and leave out volume_groups",
        )
    declared_volumes(groups)


def group_words(groups: t.Sequence[Settings]) -> list[str]:
    """Return the parameters of xendd for volume groups that were checked."""
    return ["xendd.volumes=" + ",".join([group["name"], *group["disks"]]) for group in groups]


def volume_of(target: t.Any) -> tuple[str, str] | None:
    """Return group and name of the volume that a path in a domain stands for, /dev/GROUP/NAME or that of the device mapper, or None.

    The path may come after the format for QEMU, such as `aio:` (libxl_disk.c).
    """
    path = re.sub("^/+", "/", posixpath.normpath(re.sub(r"^(?:[a-z0-9]+:)+(?=/)", "", str(target or ""))))
    mapped = re.fullmatch(r"/dev/mapper/((?:[^/-]|--)+)-((?:[^/-]|--)+)", path)
    if mapped:
        group, name = mapped[1].replace("--", "-"), mapped[2].replace("--", "-")
        return group, name
    plain = re.fullmatch(r"/dev/([^/]+)/([^/]+)", path)
    return (plain[1], plain[2]) if plain else None


def parse_size(where: str, text: t.Any) -> int:
    """Return a size in bytes from text like 500MiB, 2GiB or 1T, which all count in powers of 1024.

    :raises InvalidInput: it is something else.
    """
    match = _SIZE.fullmatch(str(text))
    if not match:
        raise InvalidInput(
            f"{where}: size is {text!r}",
            rule="a size is a whole number with MiB, GiB or TiB, or M, G or T for the same",
            remedy="Write it like 2GiB",
        )
    return int(match[1]) << _UNITS[match[2]]


def _volume(group: str, item: Settings) -> Volume:
    name = _check_name("volume", item.get("name"), group)
    if name.startswith(_OWN_BEGINNINGS) or _OWN_PARTS.search(name):
        raise InvalidInput(
            f"{group}: the volume {name!r} has a name that LVM or xendd keeps for itself",
            rule=f"no name begins with {', '.join(_OWN_BEGINNINGS)}, or holds {_OWN_PARTS.pattern}",
            remedy="Choose another name",
        )
    length = len(group) + len(name) + group.count("-") + name.count("-") + 1
    if length > _MOST_CHARACTERS:
        raise InvalidInput(
            f"{group}: the volume {name!r} has {length} characters with the name of its group",
            rule=f"there are at most {_MOST_CHARACTERS}, in which each '-' counts twice",
            remedy="Choose a shorter name",
        )
    state = item.get("state") or "present"
    if state not in ("present", "absent"):
        raise InvalidInput(f"{group}: the state of the volume {name} is {state!r}", rule="it is present or absent")
    size = item.get("size")
    if state == "present" and not size:
        raise InvalidInput(f"{group}: the volume {name} has no size", rule="a volume that is to be there has a size", remedy="Set size")
    return Volume(group, name, parse_size(f"{group}/{name}", size) if state == "present" else 0, state == "present")


def _check_name(what: str, name: t.Any, group: str = "") -> str:
    where = f"{group}: " if group else "volume_groups: "
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not PLAIN.fullmatch(name) or name in (".", ".."):
        raise InvalidInput(
            f"{where}{name!r} is not the name of a {what}",
            rule="a name has 1 to 127 letters, digits and '+_.-', and does not begin with '-' (lvm(8))",
            remedy="Choose another name",
        )
    return name


def _check_disk(group: str, disk: t.Any) -> None:
    if not isinstance(disk, str) or not _DISK.fullmatch(disk):
        raise InvalidInput(
            f"{group}: {disk!r} does not say for good which disk it is",
            rule="a disk is one that dom0 gives to the domain, by its vdev such as xvdb, or serial:NUMBER, with '_' for blanks in it;"
            " names such as sda and nvme0n1 move",
            remedy="Use serial: and what lsblk --output NAME,SERIAL shows, or the vdev in disks",
        )
