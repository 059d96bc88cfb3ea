# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the next boot of this host needs, as its files say: fstab, crypttab, the initramfs, and the configuration of the network."""

from __future__ import annotations

import fnmatch
import os
import re
import typing as t

from ._files import list_directory, read_text
from ._host_chains import DISK, INTERFACE, UNKNOWN, Thing
from ._host_disks import HARMLESS, REMOTE, HostDisks, MountedFileSystem, remote
from ._host_network import HostNetwork

#: Tags of fstab(5) and the directories of links to the devices that have them.
_TAGS = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel", "ID": "by-id"}
_DROPBEAR = ("etc/dropbear/initramfs/authorized_keys", "etc/dropbear-initramfs/authorized_keys")
_NETWORKD = ("etc/systemd/network", "run/systemd/network")
#: Options that name what an interface of ifupdown stands on.
_LOWER = ("bridge_ports", "bond_slaves", "slaves", "vlan_raw_device", "ovs_ports", "ovs_bonds")


class BootNeed(t.NamedTuple):
    """Something that the next boot needs."""

    guard: str
    reason: str
    thing: Thing


class NextBoot:
    """Reads the files that the next boot reads; `root` is the directory that stands for /."""

    def __init__(
        self, root: str, sysfs: str, procfs: str, network: HostNetwork, disks: HostDisks, system_mounts: t.Collection[str]
    ) -> None:
        self._root = root
        self._sysfs = sysfs
        self._procfs = procfs
        self._network = network
        self._disks = disks
        self._system_mounts = system_mounts

    def needs(self, addresses: t.Collection[str]) -> t.Iterator[BootNeed]:
        """Return what the next boot needs.

        :param addresses: those of this host that it is managed by now.
        """
        yield from self._fstab()
        yield from self._crypttab()
        yield from self._initramfs()
        boot = [*self._ifupdown(), *self._networkd()]
        for name in _needed(boot, addresses):
            if name in self._network.interfaces:
                yield BootNeed(
                    "default_route", "is set up at the next boot with the default route or a management address: ", Thing(INTERFACE, name)
                )

    # -- disks ----------------------------------------------------------------------------------------------------------

    def _fstab(self) -> t.Iterator[BootNeed]:
        mounted = {mount.point for mount in self._disks.mounts}
        for line in self._lines("etc/fstab"):
            source, point, kind, options = (*line.split(), "", "", "")[:4]
            words = options.split(",")
            if {"noauto", "nofail", "x-systemd.automount"} & set(words) or (kind in HARMLESS and not {"bind", "rbind"} & set(words)):
                continue
            guard = "root_disk" if kind == "swap" or point in self._system_mounts else "mounted_disk"
            things = self._of_entry(source, kind, options)
            # What is mounted has been followed already, even if its source has another name there.
            if point not in mounted or not any(thing.kind == UNKNOWN for thing in things):
                for thing in things:
                    yield BootNeed(guard, f"is needed at the next boot for {point if point != 'none' else kind} (fstab): ", thing)

    def _of_entry(self, source: str, kind: str, options: str) -> list[Thing]:
        if kind in REMOTE:
            return remote(source, options)
        if {"bind", "rbind"} & set(options.split(",")):
            return self._disks.of_file(source)
        if kind == "zfs":
            return self._disks.of_mount(MountedFileSystem("", "", kind, source, options))
        return [self._block(source)]

    def _block(self, text: str) -> Thing:
        """Return the block device of a tag such as UUID=, a path of /dev, or a file (a volume or swap space in a file)."""
        tag, equals, value = text.partition("=")
        if equals and tag in _TAGS:
            text = f"/dev/disk/{_TAGS[tag]}/" + value.strip("\"'")
        if text.startswith("/dev/"):
            name = os.path.basename(os.path.realpath(self._root + text))
            return Thing(DISK, name) if os.path.exists(f"{self._sysfs}/class/block/{name}") else Thing(UNKNOWN, text)
        things = self._disks.of_file(text) if text.startswith("/") else []
        return things[0] if things else Thing(UNKNOWN, text)

    def _crypttab(self) -> t.Iterator[BootNeed]:
        for line in self._lines("etc/crypttab"):
            name, source, key, options = (*line.split(), "", "", "")[:4]
            if {"noauto", "nofail"} & set(options.split(",")):
                continue
            reason = f"is needed at the next boot for the encrypted volume {name} (crypttab): "
            yield BootNeed("root_disk", reason, self._block(source))
            path, _colon, device = key.partition(":")
            if device:
                yield BootNeed("root_disk", f"{reason}its key: ", self._block(device))
            elif path.startswith("/") and not path.startswith("/dev/"):
                yield from (BootNeed("root_disk", f"{reason}its key: ", thing) for thing in self._disks.of_file(path))

    # -- the initramfs --------------------------------------------------------------------------------------------------

    def _initramfs(self) -> t.Iterator[BootNeed]:
        """The network of the initramfs: for a root file system of a server, or for somebody who unlocks the disk over SSH."""
        words = (read_text(f"{self._procfs}/cmdline") or "").split()
        for name in ("etc/default/grub", *(f"etc/default/grub.d/{name}" for name in list_directory(f"{self._root}/etc/default/grub.d"))):
            words += re.findall(r"(?<![\w.])ip=[^\s\"']+", "\n".join(self._lines(name)))
        asked = [word[len("ip=") :] for word in words if word.startswith("ip=")]
        devices = []
        for name in ("initramfs.conf", *(f"conf.d/{name}" for name in list_directory(f"{self._root}/etc/initramfs-tools/conf.d"))):
            for line in self._lines(f"etc/initramfs-tools/{name}"):
                key, _equals, value = (part.strip().strip("\"'") for part in line.partition("="))
                devices += [value] if key == "DEVICE" and value else []
                asked += [value] if key == "IP" and value else []
        asked = [value for value in asked if value not in ("off", "none", "")]
        dropbear = any(self._lines(name) for name in _DROPBEAR)
        what = "unlocks the disk over SSH" if dropbear else "gets its network in the initramfs"
        reason = f"is needed at the next boot, which {what}: "
        if not (asked or dropbear):
            return
        named = list(filter(None, map(_device_of_ip, asked))) or devices
        for name in named:
            yield BootNeed("management_route", reason, Thing(INTERFACE, name))
        if not named:
            yield BootNeed("management_route", reason, Thing(INTERFACE, "any interface"))

    # -- the network ----------------------------------------------------------------------------------------------------

    def _ifupdown(self) -> t.Iterator[_Setup]:
        names = [
            "etc/network/interfaces",
            *(f"etc/network/interfaces.d/{n}" for n in list_directory(f"{self._root}/etc/network/interfaces.d")),
        ]
        automatic: set[str] = set()
        setups: list[_Setup] = []
        for line in [line for name in names for line in self._lines(name)]:
            key, *words = line.split()
            key = key.replace("-", "_")
            if key in ("auto", "allow_hotplug", "allow_auto"):
                automatic.update(words)
            elif key == "iface" and words:
                routed = words[2:3] in (["dhcp"], ["ppp"], ["auto"])
                vlan = re.fullmatch(r"(.+)\.\d+", words[0])
                setups.append(_Setup([words[0]], routed, set(), {vlan.group(1)} if vlan else set()))
            elif setups and words:
                setup = setups[-1]
                if key == "gateway" or (key in ("up", "post_up") and "default" in words):
                    setups[-1] = setup._replace(routed=True)
                elif key == "address":
                    setup.addresses.add(words[0].split("/")[0])
                elif key in _LOWER:
                    setup.lower.update(words)
        yield from (setup for setup in setups if automatic & set(setup.names))

    def _networkd(self) -> t.Iterator[_Setup]:
        for directory in _NETWORKD:
            for name in list_directory(f"{self._root}/{directory}"):
                if name.endswith(".network"):
                    yield from self._network_file([line.strip() for line in self._lines(f"{directory}/{name}")])

    def _network_file(self, lines: list[str]) -> t.Iterator[_Setup]:
        """Read a file of systemd.network(5). The file of a lower interface names the upper ones, which become setups of their own."""
        values: dict[str, list[str]] = {}
        for line in lines:
            key, equals, value = line.partition("=")
            if equals:
                values.setdefault(key.strip(), []).extend(value.split())
        macs = {mac.lower() for key in ("MACAddress", "PermanentMACAddress") for mac in values.get(key, ())}
        patterns = values.get("Name", [])
        names = [
            name
            for name in self._network.interfaces
            if (not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns))
            and (not macs or (read_text(f"{self._sysfs}/class/net/{name}/address") or "").strip().lower() in macs)
        ]
        if not (patterns or macs):
            return
        # A pattern for many is no need of each of them; the names themselves count also for interfaces that are made later.
        exact = [pattern for pattern in patterns if not re.search(r"[*?\[!]", pattern)]
        names = names if len(names) == 1 or macs else [name for name in names if name in exact] or exact
        dhcp = [value.lower() for value in values.get("DHCP", ())]
        routed = bool(values.get("Gateway")) or bool({"yes", "true", "ipv4", "ipv6", "1", "both", "on"} & set(dhcp))
        yield _Setup(names, routed, {value.split("/")[0] for value in values.get("Address", ())}, set())
        for kind in ("Bridge", "Bond", "VLAN", "MACVLAN", "IPVLAN", "VRF"):
            yield from (_Setup([upper], False, set(), set(names)) for upper in values.get(kind, ()))

    def _lines(self, name: str) -> list[str]:
        """Return the lines of a file that are no comments; a line may go on after a backslash."""
        text = (read_text(f"{self._root}/{name}") or "").replace("\\\n", " ")
        return [line for line in (line.strip() for line in text.splitlines()) if line and not line.startswith(("#", ";"))]


class _Setup(t.NamedTuple):
    """How interfaces are set up at boot."""

    names: t.Sequence[str]
    #: Whether they may get the default route.
    routed: bool
    addresses: set[str]
    lower: set[str]


def _needed(setups: t.Sequence[_Setup], addresses: t.Collection[str]) -> list[str]:
    """Return the interfaces that are set up with the default route or with one of the addresses, and all below them."""
    needed = {name: None for setup in setups if setup.routed or setup.addresses & set(addresses) for name in setup.names}
    waiting = list(needed)
    while waiting:
        name = waiting.pop()
        below = [lower for setup in setups if name in setup.names for lower in setup.lower if lower not in needed]
        needed.update(dict.fromkeys(below))
        waiting += below
    return list(needed)


def _device_of_ip(value: str) -> str:
    """Return the interface of the kernel's option ip= (Linux, nfsroot.rst: CLIENT:SERVER:GATEWAY:MASK:HOST:DEVICE:...) or dracut's."""
    fields = re.sub(r"\[[^\]]*\]", "", value).split(":")
    if len(fields) > 5:
        return fields[5]
    return fields[0] if len(fields) > 1 and fields[0] and not fields[0][0].isdigit() else ""
