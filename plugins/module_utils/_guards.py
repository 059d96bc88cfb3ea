# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Guard rails: why a PCI device should not be taken from this host, with the chain of things that shows it."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import typing as t
from functools import cached_property

from ._errors import DriverDomainsError
from ._files import list_directory, read_text
from ._module import Refusal
from ._pci import PciDevice, functions_in_path
from ._runner import Runner

#: What C(force) can name.
GUARDS = ("management_route", "default_route", "root_disk", "boot_vga", "bridge", "in_use", "unreadable")

#: File systems that the host can not live without.
_SYSTEM_MOUNTS = ("/", "/boot", "/boot/efi", "/usr", "/var")

_SSH_SERVERS = ("sshd", "dropbear")
#: States of /proc/net/tcp and flags of /proc/net/route (Linux, tcp_states.h and route.h).
_ESTABLISHED, _LISTEN = "01", "0A"
_ROUTE_UP, _ROUTE_REJECT = 0x1, 0x200


class _Use(t.NamedTuple):
    """Something that the host needs, and the PCI functions on the way to it: the device and the bridges above it."""

    guard: str
    reason: str
    functions: tuple[str, ...]


class _Socket(t.NamedTuple):
    """One line of /proc/net/tcp or tcp6."""

    local: str
    local_port: int
    peer: str
    peer_port: int
    state: str
    inode: str


class Guards:
    """Holds devices against what this host needs to live and to be reached; reads the host once, when first asked."""

    def __init__(
        self,
        devices: t.Sequence[PciDevice],
        runner: Runner,
        sysfs: str = "/sys",
        procfs: str = "/proc",
        environment: t.Mapping[str, str] | None = None,
    ) -> None:
        self._devices = devices
        self._runner = runner
        self._sysfs = os.path.realpath(sysfs)
        self._procfs = procfs
        self._environment = os.environ if environment is None else environment

    def check(self, device: PciDevice, subject: str = "") -> list[Refusal]:
        """Return what speaks against taking I(device); I(subject) is what the refusals call it."""
        below = [str(other.bdf) for other in self._devices if device.slot and other.slot.startswith(f"{device.slot}/")]
        reasons = [(use.guard, use.reason) for use in self._uses if str(device.bdf) in use.functions]
        if device.boot_vga:
            reasons.append(("boot_vga", "is the graphics card that the firmware and the console use"))
        if device.bridge:
            reasons.append(("bridge", "is a bridge" + (f": taking it takes {', '.join(below)} below it" if below else "")))
        if device.owner_domid is not None:
            reasons.append(("in_use", f"is in use by the running domain {device.owner_domid}"))
        if not device.responds:
            reasons.append(("unreadable", "does not answer: its configuration space reads 0xffffffff"))
        return [Refusal(guard, subject or str(device.bdf), reason) for guard, reason in reasons]

    @cached_property
    def _uses(self) -> list[_Use]:
        return [*self._management(), *self._default_routes(), *self._disks()]

    def _management(self) -> t.Iterator[_Use]:
        """SSH connections into this host, by the interfaces that have their local addresses."""
        connections = self._ssh_connections()
        if not connections:
            return
        for link in json.loads(self._runner.run(["ip", "-json", "address", "show"]).stdout or "[]"):
            for local in sorted({address.get("local", "") for address in link.get("addr_info", ())} & set(connections)):
                reason = f"carries the management connection from {connections[local]}: {local} on "
                yield from self._network_uses("management_route", reason, link["ifname"])

    def _ssh_connections(self) -> dict[str, str]:
        """Return the peers of the SSH connections into this host by local address.

        sudo drops the variables that sshd sets, hence the second way: the sockets that SSH servers have open, which root sees.
        """
        sockets = self._sockets()
        served = {connection.local_port for connection in sockets if connection.state == _LISTEN}
        held = self._ssh_server_sockets()
        connections = {s.local: s.peer for s in sockets if s.state == _ESTABLISHED and s.local_port in served and s.inode in held}
        client = self._environment.get("SSH_CLIENT", "").split()
        connection = self._environment.get("SSH_CONNECTION", "").split()
        if len(connection) == 4:
            connections[connection[2].split("%")[0]] = connection[0]
        elif len(client) == 3:
            ends = (client[0].split("%")[0], int(client[1]), int(client[2]))
            connections.update({s.local: s.peer for s in sockets if (s.peer, s.peer_port, s.local_port) == ends})
        return connections

    def _ssh_server_sockets(self) -> set[str]:
        inodes: set[str] = set()
        for pid in filter(str.isdigit, list_directory(self._procfs)):
            directory = f"{self._procfs}/{pid}"
            try:
                if (read_text(f"{directory}/comm") or "").startswith(_SSH_SERVERS):
                    targets = [os.readlink(f"{directory}/fd/{descriptor}") for descriptor in os.listdir(f"{directory}/fd")]
                    inodes.update(target[len("socket:[") : -1] for target in targets if target.startswith("socket:["))
            except (OSError, DriverDomainsError):
                # The process has ended, or is not ours to look at.
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

    def _default_routes(self) -> t.Iterator[_Use]:
        for interface in self._default_route_interfaces():
            yield from self._network_uses("default_route", "carries the default route: ", interface)

    def _default_route_interfaces(self) -> list[str]:
        interfaces = []
        for line in (read_text(f"{self._procfs}/net/route") or "").splitlines()[1:]:
            fields = line.split()
            if fields[1] == fields[7] == "00000000" and int(fields[3], 16) & (_ROUTE_UP | _ROUTE_REJECT) == _ROUTE_UP:
                interfaces.append(fields[0])
        for line in (read_text(f"{self._procfs}/net/ipv6_route") or "").splitlines():
            fields = line.split()
            is_default = not fields[0].strip("0") and fields[1] == "00" and fields[9] != "lo"
            if is_default and int(fields[8], 16) & (_ROUTE_UP | _ROUTE_REJECT) == _ROUTE_UP:
                interfaces.append(fields[9])
        return list(dict.fromkeys(interfaces))

    def _network_uses(self, guard: str, reason: str, interface: str) -> t.Iterator[_Use]:
        def functions(name: str) -> list[list[str]]:
            return [functions_in_path(os.path.realpath(f"{self._sysfs}/class/net/{name}"))]

        return _uses(guard, reason, interface, functions, self._interfaces_below)

    def _interfaces_below(self, name: str) -> list[str]:
        """Return what an interface stands on: ports of a bridge, bond or team, the device of a VLAN, the other end of a veth."""
        directory = f"{self._sysfs}/class/net/{name}"
        entries = list_directory(directory)
        below = [entry[len("lower_") :] for entry in entries if entry.startswith("lower_")] + list_directory(f"{directory}/brif")
        if below or "device" in entries:
            return list(dict.fromkeys(below))
        own, peer = (read_text(f"{directory}/{file}") for file in ("ifindex", "iflink"))
        if not peer or peer == own:
            return []
        others = [other for other in list_directory(f"{self._sysfs}/class/net") if other != name]
        ends = [other for other in others if read_text(f"{self._sysfs}/class/net/{other}/ifindex") == peer]
        masters = [os.path.basename(os.path.realpath(f"{self._sysfs}/class/net/{end}/master")) for end in ends]
        return [master for master in masters if master in others]

    def _disks(self) -> t.Iterator[_Use]:
        """The disks of the system's file systems and of its swap space."""
        mounts: dict[str, str] = {}
        for line in (read_text(f"{self._procfs}/self/mountinfo") or "").splitlines():
            fields = line.split()
            # The source stands behind a variable number of fields that ends with "-"; btrfs and ZFS have no device number.
            source = fields[fields.index("-") + 2]
            mounts[fields[4]] = self._block_device(fields[2], source)
        needs = [(path, mounts[path]) for path in _SYSTEM_MOUNTS if path in mounts]
        for line in (read_text(f"{self._procfs}/swaps") or "").splitlines()[1:]:
            path, kind = line.split()[:2]
            if kind == "partition":
                needs.append(("swap", os.path.basename(os.path.realpath(path))))
            else:
                holders = [mount for mount in mounts if path.startswith(mount.rstrip("/") + "/")]
                needs += [("swap", mounts[mount]) for mount in sorted(holders, key=len)[-1:]]
        for what, device in needs:
            if device:
                yield from _uses("root_disk", f"holds {what}: ", device, self._functions_of_disk, self._disks_below)

    def _block_device(self, number: str, source: str) -> str:
        path = f"{self._sysfs}/dev/block/{number}"
        if os.path.exists(path):
            return os.path.basename(os.path.realpath(path))
        return os.path.basename(os.path.realpath(source)) if source.startswith("/dev/") else ""

    def _functions_of_disk(self, name: str) -> list[list[str]]:
        path = os.path.realpath(f"{self._sysfs}/class/block/{name}")
        functions = [functions_in_path(path)]
        # NVMe with multipath: the disk is virtual, its subsystem links to the controllers.
        subsystem = re.match(r".*/nvme-subsys\d+(?=/)", path)
        if subsystem:
            for controller in list_directory(subsystem.group()):
                if re.fullmatch(r"nvme\d+", controller):
                    functions.append(functions_in_path(os.path.realpath(f"{subsystem.group()}/{controller}")))
        return functions

    def _disks_below(self, name: str) -> list[str]:
        """Return the block devices that one is made of: slaves of LVM, RAID and encryption, the disk of a partition."""
        path = os.path.realpath(f"{self._sysfs}/class/block/{name}")
        if os.path.exists(f"{path}/partition"):
            return [os.path.basename(os.path.dirname(path))]
        return list_directory(f"{path}/slaves")


def _uses(
    guard: str,
    reason: str,
    top: str,
    functions: t.Callable[[str], list[list[str]]],
    below: t.Callable[[str], list[str]],
) -> t.Iterator[_Use]:
    """Walk from I(top) down to the PCI devices, and say the way."""
    waiting: list[tuple[str, ...]] = [(top,)]
    seen = {top}
    while waiting:
        chain = waiting.pop(0)
        ways = [way for way in functions(chain[-1]) if way]
        for way in ways:
            yield _Use(guard, reason + " -> ".join([*chain, way[-1]]), tuple(way))
        if not ways:
            lower = [name for name in below(chain[-1]) if name not in seen]
            seen.update(lower)
            waiting += [(*chain, name) for name in lower]


def _address(digits: str) -> str:
    """Return an address of /proc/net/tcp in its usual form; it is printed there as numbers of the processor's byte order."""
    packed = b"".join(struct.pack("=I", int(digits[i : i + 8], 16)) for i in range(0, len(digits), 8))
    if packed[:-4] == b"\0" * 10 + b"\xff\xff":
        packed = packed[-4:]
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
