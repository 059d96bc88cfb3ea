# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the file systems and the swap space of this host stand on."""

from __future__ import annotations

import os
import re
import typing as t
from functools import cached_property

from ._errors import DriverDomainsError
from ._files import list_directory, read_text, resolve, unescape
from ._host_chains import DISK, SERVER, UNKNOWN, Footing, Thing
from ._host_network import is_address
from ._processes import open_files_of
from ._runner import Runner

#: Seconds for zpool, which hangs with a pool whose disks do not answer.
_ZPOOL_TIMEOUT = 20.0
#: File systems in RAM, and those that are only a view of the kernel or of other file systems that are mounted, too.
HARMLESS = frozenset(
    [
        *("anon_inodefs", "apparmorfs", "autofs", "bdev", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs"),
        *("cpuset", "debugfs", "devfs", "devpts", "devtmpfs", "drm", "efivarfs", "functionfs", "fuse.gvfsd-fuse", "fuse.lxcfs"),
        *("fuse.portal", "fusectl", "gadgetfs", "guestmemfd", "hugetlbfs", "mqueue", "nfsd", "nsfs", "nullfs", "openpromfs"),
        *("pidfs", "pipefs", "proc", "pstore", "ramfs", "resctrl", "rootfs", "rpc_pipefs", "secretmem", "securityfs"),
        *("selinuxfs", "smackfs", "sockfs", "sysfs", "tmpfs", "tracefs", "usbfs", "xenfs"),
    ]
)
#: File systems of other hosts. Their options or sources name the server.
REMOTE = frozenset(["afs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"])
_NVME_SUBSYSTEM = re.compile(r".*/nvme-subsys\d+(?=/)")
_NVME_FABRIC = re.compile(r".*/nvme-fabrics/ctl/nvme\d+(?=/|$)")
_ISCSI_SESSION = re.compile(r"/session(\d+)/")
#: Directories of /sys/devices for block devices that are no hardware: network block devices, targets in software, USB over IP.
_NO_HARDWARE = re.compile(r"/devices/(?:virtual|rbd|tcm_loop\w*|pseudo\w*|nbd\w*)/|/vhci_hcd")
#: How the names of programs begin that serve disks to guests (libxl_disk.c: qdisk, tap).
_PROGRAMS = ("qemu", "tapdisk")
_RAM_DISK = re.compile(r"ram\d+")


class MountedFileSystem(t.NamedTuple):
    """A line of mountinfo (proc(5))."""

    point: str
    number: str
    kind: str
    source: str
    options: str


class HostDisks:
    """Reads mounts, swap space and block devices; the parameters are those of `HostUses`."""

    def __init__(self, runner: Runner, devices_in_path: t.Callable[[str], list[str]], sysfs: str, procfs: str) -> None:
        self._runner = runner
        self._devices_in_path = devices_in_path
        self._sysfs = sysfs
        self._procfs = procfs

    # -- mounts and swap ------------------------------------------------------------------------------------------------

    @cached_property
    def mounts(self) -> list[MountedFileSystem]:
        """The mounted file systems; also those that others are mounted over, which are still in use.

        :raises DriverDomainsError: they could not be read.
        """
        path = f"{self._procfs}/self/mountinfo"
        text = read_text(path)
        if text is None:
            raise DriverDomainsError(f"There is no {path}", rule="without it, what this host stands on is not known")
        mounts = []
        # Whoever mounts something chooses its name, which may hold every line break but this one.
        for line in filter(None, text.split("\n")):
            fields = line.split(" ")
            # Type, source and options follow a variable number of fields that ends with "-".
            kind, source, *options = fields[fields.index("-", 6) + 1 :]
            mounts.append(MountedFileSystem(unescape(fields[4]), fields[2], kind, unescape(source), " ".join(options)))
        return mounts

    def swaps(self) -> list[Thing]:
        """Return what the swap space is in."""
        things: list[Thing] = []
        for line in filter(None, (read_text(f"{self._procfs}/swaps") or "").split("\n")[1:]):
            path, kind = re.split(r"[ \t]+", line)[:2]
            things += [self.disk(unescape(path))] if kind == "partition" else self.of_file(unescape(path))
        return things

    def disk(self, path: str) -> Thing:
        """Return the block device that a path of /dev leads to."""
        return Thing(DISK, os.path.basename(resolve(path)))

    def of_mount(self, mount: MountedFileSystem) -> list[Thing]:
        """Return what a file system is on; nothing if it needs no device."""
        kind, source = mount.kind, mount.source
        if kind == "zfs":
            return self._of_pool(source.split("/")[0])
        path = f"{self._sysfs}/dev/block/{mount.number}"
        if os.path.exists(path):
            return [Thing(DISK, os.path.basename(resolve(path))), *map(self.disk, further_devices(mount.options))]
        if kind in HARMLESS:
            return []
        if kind in REMOTE:
            return remote(source, mount.options)
        if kind == "overlay":
            return self._of_overlay(mount)
        if source.startswith("/dev/"):
            # File systems that can have several devices have no device number.
            return self._of_btrfs(source) if kind == "btrfs" else [self.disk(member) for member in source.split(":")]
        return [Thing(UNKNOWN, f"{kind} {source}")]

    def of_file(self, path: str) -> list[Thing]:
        """Return what the file system of a file is on."""
        holders = [mount for mount in self.mounts if path == mount.point or path.startswith(mount.point.rstrip("/") + "/")]
        if not holders:
            return [Thing(UNKNOWN, path)]
        point = max((mount.point for mount in holders), key=len)
        return [thing for mount in holders if mount.point == point for thing in self.of_mount(mount)]

    def _of_overlay(self, mount: MountedFileSystem) -> list[Thing]:
        layers = [
            path
            for word in mount.options.split(",")
            if re.match(r"(lowerdir|upperdir)\+?=", word)
            for path in unescape(word.split("=", 1)[1]).split(":")
        ]
        things: list[Thing] = []
        for path in filter(None, layers):
            holders = [m for m in self.mounts if path.startswith(m.point.rstrip("/") + "/") or path == m.point]
            inner = max(holders, key=lambda m: len(m.point), default=None)
            # A layer below the overlay itself, or one of another mount namespace, cannot be followed.
            things += [Thing(UNKNOWN, f"overlay {path}")] if inner is None or inner.kind == "overlay" else self.of_mount(inner)
        return things or [Thing(UNKNOWN, f"overlay {mount.point}")]

    def _of_btrfs(self, source: str) -> list[Thing]:
        name = os.path.basename(resolve(source))
        for file_system in list_directory(f"{self._sysfs}/fs/btrfs"):
            members = list_directory(f"{self._sysfs}/fs/btrfs/{file_system}/devices")
            if name in members:
                return [Thing(DISK, member) for member in members]
        # The members of a file system that the kernel does not list are not known, apart from the one that was named.
        listed = any(os.path.isdir(f"{self._sysfs}/fs/btrfs/{entry}/devices") for entry in list_directory(f"{self._sysfs}/fs/btrfs"))
        return [Thing(DISK, name), *([Thing(UNKNOWN, f"btrfs {source}")] if listed else [])]

    def _of_pool(self, pool: str) -> list[Thing]:
        try:
            printed = self._runner.run(["zpool", "list", "-v", "-H", "-P", "-L", pool], check=False, timeout=_ZPOOL_TIMEOUT)
        except DriverDomainsError:
            return [Thing(UNKNOWN, f"zfs {pool}")]
        paths = [line.split()[0] for line in printed.stdout.splitlines() if line.strip().startswith("/")]
        if printed.rc != 0 or not paths:
            return [Thing(UNKNOWN, f"zfs {pool}")]
        return [thing for path in paths for thing in ([self.disk(path)] if path.startswith("/dev/") else self.of_file(path))]

    # -- block devices --------------------------------------------------------------------------------------------------

    def footing(self, name: str) -> Footing:
        """Return what a block device stands on: slaves of LVM, RAID, multipath and encryption, a partition's disk, a server."""
        path = resolve(f"{self._sysfs}/class/block/{name}")
        if not name or not os.path.isdir(path):
            return Footing()
        way = self._devices_in_path(path)
        if way:
            return Footing(ways=[way])
        subsystem = _NVME_SUBSYSTEM.match(path)
        if subsystem:
            return self._controllers(subsystem.group())
        fabric = _NVME_FABRIC.match(path)
        if fabric:
            return Footing(below=[_fabric_server(fabric.group())])
        session = _ISCSI_SESSION.search(path)
        if session:
            return Footing(below=self._iscsi_servers(session.group(1)))
        return self._below(name, path)

    def ways(self) -> t.Iterator[list[str]]:
        """Return the ways to the hardware of all block devices."""
        for name in list_directory(f"{self._sysfs}/class/block"):
            yield from (list(way) for way in self.footing(name).ways)

    def of_backend(self, number: str) -> Thing:
        """Return the block device with a number as blkback has it, in hexadecimal (`physical_device`)."""
        major, _colon, minor = number.strip().partition(":")
        path = f"{self._sysfs}/dev/block/{int(major, 16)}:{int(minor, 16)}"
        return Thing(DISK, os.path.basename(resolve(path)) if os.path.exists(path) else number.strip())

    def served_by_programs(self) -> list[tuple[str, Thing]]:
        """Return the block devices that programs have open for guests, each with the program: blkback knows nothing of these."""
        opened = [
            (name, self.disk(file)) for name, files in open_files_of(self._procfs, _PROGRAMS) for file in files if file.startswith("/dev/")
        ]
        return [(name, disk) for name, disk in dict.fromkeys(opened) if os.path.exists(f"{self._sysfs}/class/block/{disk.name}")]

    def _below(self, name: str, path: str) -> Footing:
        if os.path.isdir(f"{path}/loop"):
            backing = (read_text(f"{path}/loop/backing_file") or "").strip()
            things = (
                self.of_file(unescape(re.sub(r" \(deleted\)$", "", backing))) if backing else [Thing(UNKNOWN, f"{name} without a file")]
            )
            return Footing(below=things, end=not things)
        if os.path.exists(f"{path}/partition"):
            return Footing(below=[Thing(DISK, os.path.basename(os.path.dirname(path)))])
        if name.startswith("zram"):
            backing = (read_text(f"{path}/backing_dev") or "none").strip()
            return Footing(end=True) if backing == "none" else Footing(below=[self.disk(backing)])
        slaves = [*list_directory(f"{path}/slaves"), *self._caches(path)]
        return Footing(
            below=[Thing(DISK, slave) for slave in dict.fromkeys(slaves)],
            end=not slaves and (bool(_RAM_DISK.fullmatch(name)) or not _NO_HARDWARE.search(path)),
        )

    @staticmethod
    def _caches(path: str) -> list[str]:
        """Return the cache devices of a bcache device, which have data that its backing device has not."""
        links = [f"{path}/bcache/cache/{entry}" for entry in list_directory(f"{path}/bcache/cache") if re.fullmatch(r"cache\d+", entry)]
        return [os.path.basename(os.path.dirname(resolve(link))) for link in links]

    def _controllers(self, subsystem: str) -> Footing:
        """NVMe with multipath: the disk is virtual, its subsystem links to the controllers."""
        ways, below, ends = [], [], []
        for controller in list_directory(subsystem):
            if not re.fullmatch(r"nvme\d+", controller):
                continue
            path = resolve(f"{subsystem}/{controller}")
            way = self._devices_in_path(path)
            fabric = _NVME_FABRIC.match(path)
            if way:
                ways.append(way)
            elif fabric:
                below.append(_fabric_server(path))
            else:
                ends.append(not _NO_HARDWARE.search(path))
        return Footing(ways=ways, below=below, end=bool(ends) and all(ends))

    def _iscsi_servers(self, session: str) -> list[Thing]:
        directory = f"{self._sysfs}/class/iscsi_connection"
        names = [name for name in list_directory(directory) if name.startswith(f"connection{session}:")]
        addresses = [(read_text(f"{directory}/{name}/address") or "").strip() for name in names]
        return [Thing(SERVER, address) for address in addresses if address] or [Thing(SERVER, f"iSCSI session {session}")]


def further_devices(options: str) -> list[str]:
    """Return the further devices of a file system: a log, a journal or a real-time part (`logdev=/dev/sdb1`)."""
    return re.findall(r"(?:^|[, ])\w+=(/dev/[^, ]+)", options)


def remote(source: str, options: str = "") -> list[Thing]:
    """Return the servers of a remote file system, by the options or the source of its mount; a name stays a name, nobody is asked."""
    named = [word.split("=", 1)[1] for word in options.split(",") if re.match(r"(addr|mon_addr)=", word)]
    texts = [part for text in named for part in re.split(r"[/ ]", text)] or re.split(r",", source)
    addresses = []
    for text in texts:
        bare = re.sub(r"^/+|:?/.*$", "", text)
        found = re.match(r"\[([^\]]+)\]", bare)
        bare = found.group(1) if found else bare
        without_port = re.sub(r":\d+$", "", bare)
        addresses += [candidate for candidate in (bare, without_port) if is_address(candidate)][:1]
    return [Thing(SERVER, address) for address in dict.fromkeys(addresses)] or [Thing(SERVER, source)]


def _fabric_server(controller: str) -> Thing:
    """Return the server of an NVMe controller that is reached over a network (`transport` and `address` of its directory)."""
    transport = (read_text(f"{controller}/transport") or "").strip()
    found = re.search(r"(?:^|,)traddr=([^,\s]+)", read_text(f"{controller}/address") or "")
    if transport in ("tcp", "rdma") and found:
        return Thing(SERVER, found.group(1).split("%")[0])
    return Thing(UNKNOWN, f"{os.path.basename(controller)} over {transport or 'an unknown transport'}")
