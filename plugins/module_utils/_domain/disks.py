# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Disks in dom0: which paths are one and the same disk, and who uses it already."""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
import typing as t

from .._files import list_directory, read_text, resolve, unescape
from .._volumes import volume_of
from .devices import VBD, read_devices
from .disk import Disk

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore


class OpenDisk(t.NamedTuple):
    """A disk of a running domain; `identity` is one of those that `Disks.related` or `volume_identity` returns."""

    client: str
    identity: str
    writable: bool


class Disks:
    """Reads what this host knows of its files and block devices."""

    def __init__(self, sysfs: str = "/sys", procfs: str = "/proc") -> None:
        self._sysfs = sysfs
        self._procfs = procfs

    def related(self, path: str) -> frozenset[str]:
        """Return the identities of a file or block device, and of all that holds the same data; none when it does not exist.

        That is what it is made of (the disk of a partition, the physical volumes of a logical one, the file of a loop device), and
        what is made of it.
        """
        own = identity(path)
        return frozenset({own, *self._walk(own, self._below), *self._walk(own, self._above)}) if own else frozenset()

    def host_use(self, disk: Disk) -> str:
        """Return how this host itself uses a disk, or "". A disk that is only read may be mounted, but only for reading."""
        try:
            status = os.stat(disk.target)
        except (OSError, ValueError):
            return ""
        device = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        if not disk.writable:
            # Also to its partitions and volumes, or to a loop device of the file.
            own = identity(disk.target)
            devices = [other[1:] for other in (own, *self._walk(own, self._below)) if other.startswith("b")]
            places = [place for other in devices for place in self._mounts(other, writable=True)]
            return f"this host writes to it, at {places[0]}" if places else ""
        if stat.S_ISBLK(status.st_mode):
            return self._claim(disk.target, device)
        if resolve(disk.target) in map(unescape, (read_text(f"{self._procfs}/swaps") or "").split()):
            return "this host swaps to it"
        loops = [loop for loop in self._loops(disk.target) if _is_claimed(f"/dev/{loop}")]
        return f"this host uses it as /dev/{loops[0]}" if loops else ""

    def _claim(self, target: str, device: str) -> str:
        """File systems, swap, LVM, RAID, ZFS and others claim a device for themselves, and open(2) with O_EXCL asks for that."""
        if not _is_claimed(target):
            return ""
        places = [place for other in [f"b{device}", *self._walk(f"b{device}", self._below)] for place in self._mounts(other[1:])]
        holders = list_directory(f"{self._sysfs}/dev/block/{device}/holders")
        how = f"it is mounted at {places[0]}" if places else f"{holders[0]} is made of it" if holders else "open(2) says that it is busy"
        return f"this host uses it: {how}"

    def _mounts(self, device: str, writable: bool = False) -> list[str]:
        """The places at which a device is mounted, from proc_pid_mountinfo(5)."""
        lines = [line.split(" ") for line in (read_text(f"{self._procfs}/self/mountinfo") or "").split("\n")]
        return [unescape(words[4]) for words in lines if words[2:3] == [device] and not (writable and "ro" in words[5].split(","))]

    def _loops(self, path: str) -> list[str]:
        files = glob.glob(f"{self._sysfs}/block/loop*/loop/backing_file")
        return [file.split("/")[-3] for file in files if (read_text(file) or "").rstrip("\n") == resolve(path)]

    def _walk(self, start: str, step: t.Callable[[str], set[str]]) -> set[str]:
        found: set[str] = set()
        unseen = [start]
        while unseen:
            new = step(unseen.pop()) - found
            found |= new
            unseen += new
        return found

    def _below(self, own: str) -> set[str]:
        """What is made of a file or block device: loop devices, partitions, volumes."""
        if own.startswith("f"):
            files = glob.glob(f"{self._sysfs}/block/loop*/loop/backing_file")
            nodes = [file[: -len("/loop/backing_file")] for file in files if identity((read_text(file) or "").rstrip("\n")) == own]
        else:
            node = f"{self._sysfs}/dev/block/{own[1:]}"
            partitions = [os.path.dirname(file) for file in glob.glob(f"{node}/*/partition")]
            nodes = [*partitions, *(f"{node}/holders/{name}" for name in list_directory(f"{node}/holders"))]
        return _devices(nodes)

    def _above(self, own: str) -> set[str]:
        """What a block device is made of: the disk of a partition, physical volumes, the file of a loop device."""
        if own.startswith("f"):
            return set()
        node = resolve(f"{self._sysfs}/dev/block/{own[1:]}")
        nodes = [f"{node}/slaves/{name}" for name in list_directory(f"{node}/slaves")]
        if os.path.exists(f"{node}/partition"):
            nodes.append(os.path.dirname(node))
        backing = identity((read_text(f"{node}/loop/backing_file") or "").rstrip("\n"))
        return _devices(nodes) | ({backing} if backing else set())


def _devices(nodes: t.Iterable[str]) -> set[str]:
    numbers = [(read_text(f"{node}/dev") or "").strip() for node in nodes]
    return {f"b{number}" for number in numbers if number}


def identity(path: str) -> str:
    """Return what is the same for all paths of a file or block device; "" when there is no such."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    if stat.S_ISBLK(status.st_mode):
        return f"b{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return f"f{status.st_dev}:{status.st_ino}" if stat.S_ISREG(status.st_mode) else ""


def _is_claimed(device: str) -> bool:
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as exc:
        return exc.errno == errno.EBUSY
    return False


def volume_identity(backend: str, target: str) -> str:
    """Return what is the same for all paths of a volume in another domain; "" for what is none, or is in dom0."""
    volume = volume_of(target) if backend else None
    return f"v{backend}:{volume[0]}/{volume[1]}" if volume else ""


def open_disks(store: XenStore, names: t.Mapping[int, str]) -> list[OpenDisk]:
    """Return the disks that dom0 serves to running domains, by their names, and the volumes that other domains serve to them.

    A disk that is no file, block device or volume is left out.

    The keys below dom0's own `backend` belong to dom0. `params` holds a path, or one after a prefix such as `aio:` (libxl_disk.c).
    """
    tops = [(f"/local/domain/0/backend/{kind}/{domid}", domid) for kind in ("vbd", "vbd3", "qdisk") for domid in names]
    devids = store.directories([top for top, _domid in tops])
    nodes = {f"{top}/{devid}": names[domid] for top, domid in tops for devid in devids[top]}
    values = store.read_texts(f"{node}/{key}" for node in nodes for key in ("params", "mode"))
    found = []
    for node, name in nodes.items():
        path = re.sub(r"^(?:[a-z0-9]+:)+(?=/)", "", values[f"{node}/params"] or "")
        own = identity(path)
        if own:
            found.append(OpenDisk(name, own, values[f"{node}/mode"] != "r"))
    for domid, devices in read_devices(store, names, [VBD], ("params", "mode"), names).items():
        for device in devices:
            own = volume_identity(device.backend if device.backend_id else "", device.made["params"])
            if own:
                found.append(OpenDisk(names[domid], own, device.made["mode"] != "r"))
    return found
