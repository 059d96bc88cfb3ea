# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What this host depends on: the devices that carry its SSH connections, its routes, its file systems and its swap space.

It knows neither buses nor guests: the caller says which devices a path of sysfs leads through.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import typing as t
from functools import cached_property

from ._errors import DriverDomainsError, NotOnThisHost
from ._files import list_directory, read_text
from ._runner import Runner

#: The guard rails, as `force` names them, that stand for something the host uses.
HOST_GUARDS = ("management_route", "default_route", "root_disk", "mounted_disk")

#: File systems that the host cannot run without.
_SYSTEM_MOUNTS = ("/", "/boot", "/boot/efi", "/usr", "/var")

#: The names of the processes that serve SSH connections begin with one of these.
SSH_SERVERS = ("sshd", "dropbear")
#: States of /proc/net/tcp (Linux, tcp_states.h).
_ESTABLISHED, _LISTEN = "01", "0A"
#: The interface that stands for the kernel's part of Open vSwitch; cards that are ports of its bridges have it as their master.
_OPENVSWITCH = "ovs-system"


class Use(t.NamedTuple):
    """Something that the host needs."""

    guard: str
    #: With the chain of interfaces or block devices that shows it.
    reason: str
    #: The devices on the way to it, from the root of the bus down; the last one is the device itself.
    devices: tuple[str, ...]


class _Socket(t.NamedTuple):
    """One line of /proc/net/tcp or tcp6."""

    local: str
    local_port: int
    peer: str
    peer_port: int
    state: str
    inode: str


class HostUses:
    """Reads what this host needs to run and to be reached, once, when first asked."""

    def __init__(
        self,
        runner: Runner,
        devices_in_path: t.Callable[[str], list[str]],
        sysfs: str = "/sys",
        procfs: str = "/proc",
        environment: t.Mapping[str, str] | None = None,
    ) -> None:
        """Set where to read.

        :param devices_in_path: names the devices that a resolved path of sysfs leads through, from the top down; none if it leads
            through no device of the caller's kind.
        :param environment: the variables that sshd sets, for tests.
        """
        self._runner = runner
        self._devices_in_path = devices_in_path
        self._sysfs = os.path.realpath(sysfs)
        self._procfs = procfs
        self._environment = os.environ if environment is None else environment

    @cached_property
    def uses(self) -> list[Use]:
        """What this host needs to run and to be reached.

        :raises DriverDomainsError: it could not be read: without it a guard rail would protect nothing.
        """
        return [*self._management(), *self._default_routes(), *self._disks()]

    def _management(self) -> t.Iterator[Use]:
        """SSH connections into this host: the interfaces that have their local addresses, and those that their answers leave by."""
        for local, peer in self._ssh_connections():
            owners = [link["ifname"] for link in self._links if any(a.get("local") == local for a in link.get("addr_info", ()))]
            ways = dict.fromkeys(owners, f"{local} on ")
            # Rules may send the answers another way than the main table says: only the kernel knows.
            for route in self._ip("route", "get", peer, "from", local):
                ways.setdefault(route.get("dev", ""), f"the route from {local} to it: ")
            for interface, what in ways.items():
                yield from self._network_uses("management_route", f"carries the management connection from {peer}: {what}", interface)

    def _ssh_connections(self) -> list[tuple[str, str]]:
        """Return the local and the peer's address of the SSH connections into this host.

        sudo drops the variables that sshd sets, so the sockets that SSH servers have open, which root sees, are read as well.
        """
        sockets = self._sockets()
        served = {connection.local_port for connection in sockets if connection.state == _LISTEN}
        held = self._ssh_server_sockets()
        connections = {(s.local, s.peer) for s in sockets if s.state == _ESTABLISHED and s.local_port in served and s.inode in held}
        client = self._environment.get("SSH_CLIENT", "").split()
        connection = self._environment.get("SSH_CONNECTION", "").split()
        if len(connection) == 4:
            connections.add((connection[2].split("%")[0], connection[0].split("%")[0]))
        elif len(client) == 3:
            ends = (client[0].split("%")[0], int(client[1]), int(client[2]))
            connections.update((s.local, s.peer) for s in sockets if (s.peer, s.peer_port, s.local_port) == ends)
        return sorted(connections)

    @cached_property
    def _links(self) -> list[dict[str, t.Any]]:
        return self._ip("-details", "address", "show", required=True)

    def _ip(self, *arguments: str, required: bool = False) -> list[dict[str, t.Any]]:
        """Return what `ip` prints; nothing where it has no answer, unless that is `required`.

        :raises DriverDomainsError: what is required could not be read.
        """
        remedy = "Without it, how this host can be reached is not known. Find out why it fails; the Debian package is iproute2"
        printed = self._runner.run(["ip", "-json", *arguments], check=required, remedy=remedy).stdout.strip()
        try:
            return list(json.loads(printed or "[]"))
        except ValueError as exc:
            raise DriverDomainsError(f"'ip -json {' '.join(arguments)}' printed something other than JSON: {exc}", remedy=remedy) from exc

    def _ssh_server_sockets(self) -> set[str]:
        inodes: set[str] = set()
        for pid in filter(str.isdigit, list_directory(self._procfs)):
            directory = f"{self._procfs}/{pid}"
            try:
                if (read_text(f"{directory}/comm") or "").startswith(SSH_SERVERS):
                    targets = [os.readlink(f"{directory}/fd/{descriptor}") for descriptor in os.listdir(f"{directory}/fd")]
                    inodes.update(target[len("socket:[") : -1] for target in targets if target.startswith("socket:["))
            except (OSError, DriverDomainsError):
                # The process has ended, or we may not read it.
                continue
        return inodes

    def _sockets(self) -> list[_Socket]:
        sockets = []
        for name in ("tcp", "tcp6"):
            for line in (read_text(f"{self._procfs}/net/{name}") or "").splitlines()[1:]:
                fields = line.split()
                (local, local_port), (peer, peer_port) = fields[1].split(":"), fields[2].split(":")
                sockets.append(_Socket(_address(local), int(local_port, 16), _address(peer), int(peer_port, 16), fields[3], fields[9]))
        return sockets

    def _default_routes(self) -> t.Iterator[Use]:
        """Default routes of all routing tables."""
        # A kernel without IPv6 cannot answer this.
        question = ("route", "show", "table", "all", "default")
        routes = self._ip("-4", *question, required=True) + self._ip("-6", *question)
        hops = [hop for route in routes if route.get("type", "unicast") == "unicast" for hop in (route, *route.get("nexthops", ()))]
        for interface in dict.fromkeys(hop["dev"] for hop in hops if "dev" in hop):
            yield from self._network_uses("default_route", "carries the default route: ", interface)

    def _network_uses(self, guard: str, reason: str, interface: str) -> t.Iterator[Use]:
        def devices(name: str) -> list[list[str]]:
            return [self._devices_in_path(os.path.realpath(f"{self._sysfs}/class/net/{name}"))]

        return _walk(guard, reason, interface, devices, self._interfaces_below)

    def _interfaces_below(self, name: str) -> list[str]:
        """Return the interfaces below one: the ports of a bridge, bond, team or Open vSwitch, a VLAN's device, a veth's other end."""
        directory = f"{self._sysfs}/class/net/{name}"
        entries = list_directory(directory)
        below = [entry[len("lower_") :] for entry in entries if entry.startswith("lower_")] + list_directory(f"{directory}/brif")
        if below or "device" in entries:
            return list(dict.fromkeys(below))
        if any(link["ifname"] == name and link.get("linkinfo", {}).get("info_kind") == "openvswitch" for link in self._links):
            # Only Open vSwitch knows which of its bridges has which ports: all of them count.
            return [_OPENVSWITCH] if name != _OPENVSWITCH else []
        own, peer = (read_text(f"{directory}/{file}") for file in ("ifindex", "iflink"))
        if not peer or peer == own:
            return []
        others = [other for other in list_directory(f"{self._sysfs}/class/net") if other != name]
        ends = [other for other in others if read_text(f"{self._sysfs}/class/net/{other}/ifindex") == peer]
        masters = [os.path.basename(os.path.realpath(f"{self._sysfs}/class/net/{end}/master")) for end in ends]
        return [master for master in masters if master in others]

    def _disks(self) -> t.Iterator[Use]:
        """The disks of swap space and of mounted file systems; those of the system come first."""
        needs = [("root_disk", f"holds {path}: ", device) for path in _SYSTEM_MOUNTS for device in self._mounts.get(path, ())]
        for line in (read_text(f"{self._procfs}/swaps") or "").splitlines()[1:]:
            path, kind = line.split()[:2]
            devices = [os.path.basename(os.path.realpath(path))] if kind == "partition" else self._disks_of_file(path)
            needs += [("root_disk", "holds swap: ", device) for device in devices]
        known = {device for _guard, _what, device in needs}
        for path, devices in self._mounts.items():
            needs += [("mounted_disk", f"holds the mounted file system {path}: ", device) for device in devices if device not in known]
            known.update(devices)
        for guard, what, device in needs:
            yield from _walk(guard, what, device, self._devices_of_disk, self._disks_below)

    @cached_property
    def _mounts(self) -> dict[str, list[str]]:
        """The block devices of the mounted file systems, by mount point."""
        mounts: dict[str, list[str]] = {}
        for line in (read_text(f"{self._procfs}/self/mountinfo") or "").splitlines():
            fields = line.split()
            # Type and source follow a variable number of fields that ends with "-".
            kind, source = fields[fields.index("-") + 1 :][:2]
            # A file system that another one is mounted over is still in use.
            mounts.setdefault(fields[4], []).extend(self._disks_of_file_system(fields[2], kind, source))
        return mounts

    def _disks_of_file_system(self, number: str, kind: str, source: str) -> list[str]:
        """Return the block devices of a mounted file system; file systems that can have several have no device number."""
        if kind == "zfs":
            return self._disks_of_pool(source.split("/")[0])
        path = f"{self._sysfs}/dev/block/{number}"
        if os.path.exists(path):
            return [os.path.basename(os.path.realpath(path))]
        device = os.path.basename(os.path.realpath(source)) if source.startswith("/dev/") else ""
        for file_system in list_directory(f"{self._sysfs}/fs/btrfs") if kind == "btrfs" else ():
            members = list_directory(f"{self._sysfs}/fs/btrfs/{file_system}/devices")
            if device in members:
                return members
        return [device] if device else []

    def _disks_of_pool(self, pool: str) -> list[str]:
        try:
            listed = self._runner.run(["zpool", "list", "-v", "-H", "-P", "-L", pool], check=False).stdout
        except NotOnThisHost:
            return []
        return [os.path.basename(line.split()[0]) for line in listed.splitlines() if line.strip().startswith("/dev/")]

    def _disks_of_file(self, path: str) -> list[str]:
        holders = [mount for mount in self._mounts if path.startswith(mount.rstrip("/") + "/")]
        return self._mounts[max(holders, key=len)] if holders else []

    def _devices_of_disk(self, name: str) -> list[list[str]]:
        path = os.path.realpath(f"{self._sysfs}/class/block/{name}")
        devices = [self._devices_in_path(path)]
        # NVMe with multipath: the disk is virtual, its subsystem links to the controllers.
        subsystem = re.match(r".*/nvme-subsys\d+(?=/)", path)
        if subsystem:
            for controller in list_directory(subsystem.group()):
                if re.fullmatch(r"nvme\d+", controller):
                    devices.append(self._devices_in_path(os.path.realpath(f"{subsystem.group()}/{controller}")))
        return devices

    def _disks_below(self, name: str) -> list[str]:
        """Return the block devices below one: slaves of LVM, RAID, multipath and encryption, a partition's disk, a loop device's file."""
        path = os.path.realpath(f"{self._sysfs}/class/block/{name}")
        backing = (read_text(f"{path}/loop/backing_file") or "").strip()
        if backing:
            return self._disks_of_file(backing)
        if os.path.exists(f"{path}/partition"):
            return [os.path.basename(os.path.dirname(path))]
        return list_directory(f"{path}/slaves")


def _walk(
    guard: str,
    reason: str,
    top: str,
    devices: t.Callable[[str], list[list[str]]],
    below: t.Callable[[str], list[str]],
) -> t.Iterator[Use]:
    """Walk from `top` down to the hardware, and give the chain of names as a part of the reason."""
    waiting: list[tuple[str, ...]] = [(top,)]
    seen = {top}
    while waiting:
        chain = waiting.pop(0)
        ways = [way for way in devices(chain[-1]) if way]
        for way in ways:
            yield Use(guard, reason + " -> ".join([*chain, way[-1]]), tuple(way))
        if not ways:
            lower = [name for name in below(chain[-1]) if name not in seen]
            seen.update(lower)
            waiting += [(*chain, name) for name in lower]


def _address(digits: str) -> str:
    """Return an address of /proc/net/tcp in its usual form; there it is printed as numbers in the processor's byte order."""
    packed = b"".join(struct.pack("=I", int(digits[i : i + 8], 16)) for i in range(0, len(digits), 8))
    if packed[:-4] == b"\0" * 10 + b"\xff\xff":
        packed = packed[-4:]
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
