# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the network of this host stands on: interfaces, routes, and the SSH connections into it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import struct
import typing as t
from functools import cached_property

from ._errors import DriverDomainsError
from ._files import list_directory, read_text, resolve
from ._host_chains import INTERFACE, Footing, Thing
from ._processes import open_files, open_files_of, with_ancestors
from ._runner import Runner

#: The names of the processes that serve SSH connections begin with one of these.
SSH_SERVERS = ("sshd", "dropbear")
#: States of /proc/net/tcp (Linux, tcp_states.h).
_ESTABLISHED, _LISTEN = "01", "0A"
#: ARPHRD_LOOPBACK of linux/if_arp.h.
_LOOPBACK_TYPE = "772"
#: The interface that stands for the kernel's part of Open vSwitch; cards that are ports of its bridges have it as their master.
_OPENVSWITCH = "ovs-system"
#: The device of a backend of a guest's network card (backend_bus_id in xenbus_probe_backend.c): `vifname` gives it any other name.
_VIF = re.compile(r"/devices/vif-[1-9]\d*-\d+/net/[^/]+$")
#: The emulated card that an HVM guest has beside it (libxl_nic.c).
_EMULATED = re.compile(r"(?:vif([1-9]\d*\.\d+)-emu|tap([1-9]\d*\.\d+))")
#: Hardware that is none: USB over IP.
_NO_HARDWARE = "/vhci_hcd"


class _Socket(t.NamedTuple):
    """One line of /proc/net/tcp or tcp6."""

    local: str
    local_port: int
    peer: str
    peer_port: int
    state: str
    inode: str


class HostNetwork:
    """Reads interfaces, routes and connections, each once, when first asked; the parameters are those of `HostUses`."""

    def __init__(
        self,
        runner: Runner,
        devices_in_path: t.Callable[[str], list[str]],
        sysfs: str,
        procfs: str,
        environment: t.Mapping[str, str],
    ) -> None:
        self._runner = runner
        self._devices_in_path = devices_in_path
        self._sysfs = sysfs
        self._procfs = procfs
        self._environment = environment

    # -- interfaces -----------------------------------------------------------------------------------------------------

    @property
    def interfaces(self) -> list[str]:
        """The names of all interfaces."""
        return [name for name in list_directory(f"{self._sysfs}/class/net") if os.path.isdir(f"{self._sysfs}/class/net/{name}")]

    def footing(self, name: str) -> Footing:
        """Return what an interface stands on."""
        path = resolve(f"{self._sysfs}/class/net/{name}")
        way = self._devices_in_path(path)
        if way:
            return Footing(ways=[way])
        return Footing(below=[Thing(INTERFACE, other) for other in self._below(name)], end=self._is_end(name, path))

    def ways(self) -> t.Iterator[list[str]]:
        """Return the ways to the hardware of all interfaces."""
        for name in self.interfaces:
            yield self._devices_in_path(resolve(f"{self._sysfs}/class/net/{name}"))

    def is_passive(self, name: str) -> bool:
        """Return whether an interface only holds addresses: loopback and dummies carry nothing to other hosts."""
        return self._is_loopback(name) or self._kind(name) == "dummy"

    def serving(self) -> list[tuple[str, str]]:
        """Return the backends of running guests' network cards, each with the bridge (or Open vSwitch) that it is a port of."""
        ports = []
        for name in self.interfaces:
            path = resolve(f"{self._sysfs}/class/net/{name}")
            master = f"{path}/master"
            if _VIF.search(path) and os.path.islink(master):
                ports.append((name, os.path.basename(resolve(master))))
        return ports

    def _is_loopback(self, name: str) -> bool:
        return name == "lo" or (read_text(f"{self._sysfs}/class/net/{name}/type") or "").strip() == _LOOPBACK_TYPE

    def _is_end(self, name: str, path: str) -> bool:
        """Return whether an interface is hardware of another kind than the caller's, a Xen vif, or loopback."""
        emulated = _EMULATED.fullmatch(name)
        if emulated and os.path.isdir(f"{self._sysfs}/class/net/vif{emulated.group(1) or emulated.group(2)}"):
            return True
        physical = os.path.exists(f"{path}/device") and not path.startswith(f"{self._sysfs}/devices/virtual/") and _NO_HARDWARE not in path
        return physical or self._is_loopback(name)

    def _below(self, name: str) -> list[str]:
        """Return the interfaces below one: the ports of a bridge, bond, team or Open vSwitch, a VLAN's device, a veth's other end."""
        directory = f"{self._sysfs}/class/net/{name}"
        entries = list_directory(directory)
        below = [entry[len("lower_") :] for entry in entries if entry.startswith("lower_")] + list_directory(f"{directory}/brif")
        if below:
            return list(dict.fromkeys(below))
        if self._kind(name) == "openvswitch":
            # Only Open vSwitch knows which of its bridges has which ports: all of them count.
            return [_OPENVSWITCH] if name != _OPENVSWITCH else []
        own, peer = (read_text(f"{directory}/{file}") for file in ("ifindex", "iflink"))
        # With a namespace the number is one of that namespace: an interface that has it here is another one.
        if not peer or peer == own or any(link["ifname"] == name and "link_netnsid" in link for link in self._links):
            return []
        others = [other for other in self.interfaces if other != name]
        ends = [other for other in others if read_text(f"{self._sysfs}/class/net/{other}/ifindex") == peer]
        masters = [os.path.basename(resolve(f"{self._sysfs}/class/net/{end}/master")) for end in ends]
        return [master for master in masters if master in others] or ends

    def _kind(self, name: str) -> str:
        return next((str(link.get("linkinfo", {}).get("info_kind", "")) for link in self._links if link["ifname"] == name), "")

    # -- what ip reports ------------------------------------------------------------------------------------------------

    def owners(self, address: str) -> list[str]:
        """Return the interfaces that have an address."""
        return [link["ifname"] for link in self._links if any(a.get("local") == address for a in link.get("addr_info", ()))]

    def way_to(self, peer: str, local: str = "") -> list[str] | None:
        """Return the interfaces that packets to a peer leave by; only the kernel knows, because rules may send them anywhere.

        None if that cannot be read; an empty list if the kernel has no route.
        """
        argv = ["ip", "-json", "route", "get", peer, *(("from", local) if local else ())]
        try:
            result = self._runner.run(argv, check=False)
            # The kernel's own refusals are answers.
            if result.rc != 0:
                return [] if "RTNETLINK" in result.stderr else None
            return [route["dev"] for route in json.loads(result.stdout.strip() or "[]") if route.get("dev")]
        except (DriverDomainsError, ValueError):
            return None

    def default_routes(self) -> list[list[str]]:
        """Return the interfaces of each default route of all routing tables.

        :raises DriverDomainsError: they could not be read.
        """
        question = ("route", "show", "table", "all", "default")
        # A kernel without IPv6 cannot answer this.
        has_ipv6 = read_text(f"{self._procfs}/net/if_inet6") is not None
        routes = self._ip("-4", *question, required=True) + self._ip("-6", *question, required=has_ipv6)
        forwarding = [route for route in routes if route.get("type", "unicast") == "unicast"]
        return [[hop["dev"] for hop in (route, *route.get("nexthops", ())) if "dev" in hop] for route in forwarding]

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

    # -- connections ----------------------------------------------------------------------------------------------------

    def ssh_connections(self) -> list[tuple[str, str]]:
        """Return the local and the peer's address of the SSH connections into this host, and of the one that this process serves.

        sudo drops the variables that sshd sets, hence the other ways: the sockets that SSH servers have open, which root sees, and those
        of the processes above this one, whatever their names.
        """
        sockets = self._sockets()
        served = {connection.local_port for connection in sockets if connection.state == _LISTEN}
        held = {inode for _name, files in open_files_of(self._procfs, SSH_SERVERS) for inode in _inodes(files)}
        above = self._sockets_above()
        open_ones = [s for s in sockets if s.state == _ESTABLISHED]
        connections = {(s.local, s.peer) for s in open_ones if (s.local_port in served and s.inode in held) or s.inode in above}
        client = self._environment.get("SSH_CLIENT", "").split()
        connection = self._environment.get("SSH_CONNECTION", "").split()
        if len(connection) == 4:
            connections.add((connection[2].split("%")[0], connection[0].split("%")[0]))
        elif len(client) == 3 and client[1].isdecimal() and client[2].isdecimal():
            ends = (client[0].split("%")[0], int(client[1]), int(client[2]))
            connections.update((s.local, s.peer) for s in sockets if (s.peer, s.peer_port, s.local_port) == ends)
        return sorted(connections)

    def _sockets_above(self) -> set[str]:
        inodes: set[str] = set()
        with contextlib.suppress(OSError, DriverDomainsError):
            for process in with_ancestors(self._procfs):
                inodes |= _inodes(open_files(self._procfs, process.pid))
        return inodes

    def _sockets(self) -> list[_Socket]:
        sockets = []
        for name in ("tcp", "tcp6"):
            for line in (read_text(f"{self._procfs}/net/{name}") or "").splitlines()[1:]:
                fields = line.split()
                (local, local_port), (peer, peer_port) = fields[1].split(":"), fields[2].split(":")
                sockets.append(_Socket(_address(local), int(local_port, 16), _address(peer), int(peer_port, 16), fields[3], fields[9]))
        return sockets


def _inodes(files: t.Iterable[str]) -> set[str]:
    return {file[len("socket:[") : -1] for file in files if file.startswith("socket:[")}


def is_address(text: str) -> bool:
    """Return whether a text is an IPv4 or IPv6 address."""
    return "/" not in text and bool(usual_form(text))


def usual_form(text: str) -> str:
    """Return an IPv4 or IPv6 address as `ip` prints it, without a prefix length; "" for anything else."""
    bare = text.split("/")[0]
    for family in (socket.AF_INET, socket.AF_INET6):
        # ValueError: a null character, or one that is not Unicode.
        with contextlib.suppress(OSError, ValueError):
            return socket.inet_ntop(family, socket.inet_pton(family, bare))
    return ""


def _address(digits: str) -> str:
    """Return an address of /proc/net/tcp in its usual form; there it is printed as numbers in the processor's byte order."""
    packed = b"".join(struct.pack("=I", int(digits[i : i + 8], 16)) for i in range(0, len(digits), 8))
    if packed[:-4] == b"\0" * 10 + b"\xff\xff":
        packed = packed[-4:]
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
