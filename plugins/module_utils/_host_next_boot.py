# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the next boot of this host needs, as its files say: fstab, crypttab, the initramfs, and the configuration of the network."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import typing as t

from ._files import drop_ins, find, list_directory, read_text, resolve, unescape
from ._host_chains import DISK, INTERFACE, UNKNOWN, Thing
from ._host_disks import HARMLESS, REMOTE, HostDisks, MountedFileSystem, further_devices, remote
from ._host_network import HostNetwork, is_address, usual_form

#: Tags of fstab(5) and the directories of links to the devices that have them.
_TAGS = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel", "ID": "by-id"}
#: Keys of those who may unlock the disk over SSH, and what else unlocks it over the network.
_SSH_KEYS = (
    *("etc/dropbear/initramfs/authorized_keys", "etc/dropbear-initramfs/authorized_keys"),
    "etc/tinyssh/root_authorized_keys",
)
_UNLOCKERS = ("usr/share/initramfs-tools/hooks/clevis", "usr/share/initramfs-tools/hooks/mandos")
_NETWORKD = ("etc/systemd/network", "run/systemd/network", "usr/local/lib/systemd/network", "usr/lib/systemd/network")
_NETWORK_MANAGER = ("etc/NetworkManager/system-connections", "run/NetworkManager/system-connections")
#: Options that name what an interface of ifupdown stands on.
_LOWER = ("bridge_ports", "bond_slaves", "slaves", "vlan_raw_device", "ovs_ports", "ovs_bonds")
#: Methods of ifupdown that may get the default route, and those of interfaces that need another one, which is named elsewhere.
_ROUTED, _TUNNELS = ("dhcp", "auto", "ppp", "wvdial"), ("ppp", "wvdial", "tunnel", "v4tunnel", "6to4")
#: How the reason begins of what is needed before the root file system is there, and so before any domain.
NEEDED_EARLY = "is needed at the next boot, which "


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
        boot = [*self._ifupdown(), *self._networkd(), *self._network_manager()]
        tunnels = {name for setup in boot if setup.tunnel for name in setup.names}
        for name in _needed(boot, addresses):
            if name in self._network.interfaces or name in tunnels:
                yield BootNeed(
                    "default_route", "is set up at the next boot with the default route or a management address: ", Thing(INTERFACE, name)
                )

    # -- disks ----------------------------------------------------------------------------------------------------------

    def _fstab(self) -> t.Iterator[BootNeed]:
        mounted = {mount.point for mount in self._disks.mounts}
        for line in self._lines("etc/fstab"):
            source, point, kind, options = (*map(unescape, line.split()), "", "", "")[:4]
            words = options.split(",")
            if {"noauto", "nofail", "x-systemd.automount"} & set(words) or (kind in HARMLESS and not {"bind", "rbind"} & set(words)):
                continue
            guard = "root_disk" if kind == "swap" or point in self._system_mounts else "mounted_disk"
            things = self._of_entry(source, kind, options)
            # What is mounted has been followed already, even if its source has another name there.
            if point not in mounted or all(thing.kind == DISK or is_address(thing.name) for thing in things):
                for thing in things:
                    yield BootNeed(guard, f"is needed at the next boot for {point if point != 'none' else kind} (fstab): ", thing)

    def _of_entry(self, source: str, kind: str, options: str) -> list[Thing]:
        if kind in REMOTE:
            return remote(source, options)
        if {"bind", "rbind"} & set(options.split(",")):
            return self._disks.of_file(source)
        if kind == "zfs":
            return self._disks.of_mount(MountedFileSystem("", "", kind, source, options))
        return [self._block(source), *map(self._block, further_devices(options))]

    def _block(self, text: str) -> Thing:
        """Return the block device of a tag such as UUID=, a path of /dev, or a file (a volume or swap space in a file)."""
        tag, equals, value = text.partition("=")
        if equals and tag in _TAGS:
            text = f"/dev/disk/{_TAGS[tag]}/" + value.strip("\"'")
        if text.startswith("/dev/"):
            name = os.path.basename(resolve(self._root + text))
            return Thing(DISK, name) if os.path.exists(f"{self._sysfs}/class/block/{name}") else Thing(UNKNOWN, text)
        things = self._disks.of_file(text) if text.startswith("/") else []
        return things[0] if things else Thing(UNKNOWN, text)

    def _crypttab(self) -> t.Iterator[BootNeed]:
        for line in self._lines("etc/crypttab"):
            name, source, key, options = (*line.split(), "", "", "")[:4]
            words = options.split(",")
            if {"noauto", "nofail"} & set(words):
                continue
            reason = f"is needed at the next boot for the encrypted volume {name} (crypttab): "
            yield BootNeed("root_disk", reason, self._block(source))
            for what, path in [("its key", key), *(("its header", word[len("header=") :]) for word in words if word.startswith("header="))]:
                for thing in self._of_key(path):
                    yield BootNeed("root_disk", f"{reason}{what}: ", thing)

    def _of_key(self, key: str) -> list[Thing]:
        """Return what a key is on: a file, a device, or a file on a device (PATH:DEVICE)."""
        path, _colon, device = key.partition(":")
        if device:
            return [self._block(device)]
        if path.startswith("/dev/"):
            # Others, such as /dev/urandom, are no block devices.
            return [thing for thing in [self._block(path)] if thing.kind == DISK]
        return self._disks.of_file(path) if path.startswith("/") else []

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
        over_ssh = any(self._lines(name) for name in _SSH_KEYS)
        unlocked = any(os.path.exists(f"{self._root}/{name}") for name in _UNLOCKERS) and any(self._lines("etc/crypttab"))
        what = "unlocks the disk over SSH" if over_ssh else "gets its network in the initramfs"
        reason = f"{NEEDED_EARLY}{what}: "
        if not (asked or over_ssh or unlocked):
            return
        named = list(filter(None, map(_device_of_ip, asked))) or devices
        for name in named:
            yield BootNeed("management_route", reason, Thing(INTERFACE, name))
        if not named:
            yield BootNeed("management_route", reason, Thing(INTERFACE, "any interface"))

    # -- the network ----------------------------------------------------------------------------------------------------

    def _ifupdown(self) -> t.Iterator[_Setup]:
        automatic: dict[str, list[str]] = {}
        setups: list[_Setup] = []
        for line in self._lines_of_interfaces():
            key, *words = line.split()
            key = key.replace("-", "_")
            if key in ("auto", "allow_hotplug", "allow_auto"):
                # What comes up, by the name that it has here: eth0, eth0=here, /eth*, /eth*=here.
                for word in words:
                    pattern, _equals, name = word.partition("=")
                    automatic.setdefault(name or pattern.split(":")[0], []).append(pattern.lstrip("/").split("/")[0].split(":")[0])
            elif key == "iface" and words:
                method = (*words[2:3], "")[0]
                # An alias such as eth0:1 is an address of the interface itself.
                setups.append(_Setup([words[0].split(":")[0]], method in _ROUTED, set(), set(), method in _TUNNELS))
            elif setups and words:
                setup = setups[-1]
                if key == "gateway" or (key in ("up", "post_up") and "default" in words):
                    setups[-1] = setup._replace(routed=True)
                elif key == "address":
                    setup.addresses.add(usual_form(words[0]))
                elif key in _LOWER:
                    setup.lower.update(self._ports(words))
        for setup in setups:
            name = setup.names[0]
            if name in automatic:
                matched = [other for other in self._network.interfaces if any(fnmatch.fnmatch(other, p) for p in automatic[name])]
                # A pattern for many is no need of each of them.
                yield setup._replace(names=matched if len(matched) == 1 else [name])
            elif any(fnmatch.fnmatch(name, pattern) for patterns in automatic.values() for pattern in patterns):
                yield setup

    def _lines_of_interfaces(self) -> t.Iterator[str]:
        """The lines of the files of ifupdown, interfaces(5): each file at most once, for they may name each other."""
        waiting, seen = ["etc/network/interfaces"], set()
        while waiting:
            name = waiting.pop(0)
            if name in seen:
                continue
            seen.add(name)
            for line in self._lines(name):
                key, *words = line.split()
                if key in ("source", "source-directory"):
                    for word in words:
                        pattern = f"{glob.escape(self._root)}/" + os.path.join("etc/network", word).lstrip("/")
                        found = find(pattern + ("/*" if key == "source-directory" else ""))
                        waiting += [path[len(self._root) + 1 :] for path in found]
                else:
                    yield line
        # Debian's own file names this directory; others have forgotten to.
        for name in list_directory(f"{self._root}/etc/network/interfaces.d"):
            if f"etc/network/interfaces.d/{name}" not in seen:
                yield from self._lines(f"etc/network/interfaces.d/{name}")

    def _ports(self, words: t.Sequence[str]) -> set[str]:
        """Return what `bridge_ports` and the like name; words behind `regex` are patterns (bridge-utils-interfaces(5))."""
        hardware = [name for name in self._network.interfaces if self._network.footing(name).ways]
        ports: set[str] = set()
        regex = False
        for word in words:
            if word in ("regex", "noregex"):
                regex = word == "regex"
            elif word == "all":
                ports.update(hardware)
            elif regex:
                # What is no pattern for us matches anything.
                ports.update(name for name in hardware if _matches(word, name))
            else:
                ports.add(word)
        return ports

    def _networkd(self) -> t.Iterator[_Setup]:
        for path in drop_ins(self._root, _NETWORKD, ".network"):
            parts = drop_ins(self._root, [f"{directory}/{os.path.basename(path)}.d" for directory in _NETWORKD], ".conf")
            yield from self._network_file([line for part in [path, *parts] for line in self._lines(part)])

    def _network_file(self, lines: list[str]) -> t.Iterator[_Setup]:
        """Read a file of systemd.network(5). The file of a lower interface names the upper ones, which become setups of their own."""
        values: dict[str, list[str]] = {}
        for line in lines:
            key, equals, value = line.partition("=")
            if equals:
                values.setdefault(key.strip(), []).extend(value.split())
        macs = {mac.lower() for key in ("MACAddress", "PermanentMACAddress") for mac in values.get(key, ())}
        patterns, places, drivers = (values.get(key, []) for key in ("Name", "Path", "Driver"))
        names = [
            name
            for name in self._network.interfaces
            if (not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns))
            and (not macs or self._mac(name) in macs)
            and (not places or any(fnmatch.fnmatch(self._place(name), place) for place in places))
            and (not drivers or any(fnmatch.fnmatch(self._driver(name), driver) for driver in drivers))
        ]
        if not (patterns or macs or places or drivers):
            return
        # A pattern for many is no need of each of them; the names themselves count also for interfaces that are made later.
        exact = [pattern for pattern in patterns if not re.search(r"[*?\[!]", pattern)]
        names = names if len(names) == 1 or macs else [name for name in names if name in exact] or exact
        dhcp = [value.lower() for value in values.get("DHCP", ())]
        routed = bool(values.get("Gateway")) or bool({"yes", "true", "ipv4", "ipv6", "1", "both", "on"} & set(dhcp))
        routed = routed or bool({"0.0.0.0/0", "::/0"} & set(values.get("Destination", ())))
        yield _Setup(names, routed, set(map(usual_form, values.get("Address", ()))), set())
        for kind in ("Bridge", "Bond", "VLAN", "MACVLAN", "IPVLAN", "VRF"):
            yield from (_Setup([upper], False, set(), set(names)) for upper in values.get(kind, ()))

    def _place(self, name: str) -> str:
        """Return the path of an interface's card as udev calls it (ID_PATH), as far as that is the card itself."""
        way = [device for ways in self._network.footing(name).ways for device in ways]
        return f"pci-{way[-1]}" if way else ""

    def _driver(self, name: str) -> str:
        link = f"{self._sysfs}/class/net/{name}/device/driver"
        return os.path.basename(resolve(link)) if os.path.exists(link) else ""

    def _network_manager(self) -> t.Iterator[_Setup]:
        """Read the profiles of NetworkManager, nm-settings-keyfile(5). A port names its controller, a VLAN its parent."""
        for path in (f"{directory}/{name}" for directory in _NETWORK_MANAGER for name in list_directory(f"{self._root}/{directory}")):
            values = _settings(self._lines(path))
            if values.get("connection.autoconnect") == "false":
                continue
            mac = values.get("ethernet.mac-address", values.get("802-3-ethernet.mac-address", "")).lower()
            name = values.get("connection.interface-name", "")
            names = [name] if name else [other for other in self._network.interfaces if mac and self._mac(other) == mac]
            routed, addresses = False, set()
            for family in ("ipv4", "ipv6"):
                given = [value.split(",") for key, value in values.items() if re.fullmatch(rf"{family}\.address(es)?\d*", key)]
                addresses |= {usual_form(part.strip()) for parts in given for part in parts}
                gateway = values.get(f"{family}.gateway") or any(len(parts) > 1 for parts in given)
                if values.get(f"{family}.never-default") != "true":
                    routed = routed or bool(gateway) or values.get(f"{family}.method") in ("auto", "dhcp")
            lower = {values["vlan.parent"]} if "vlan.parent" in values else set()
            yield _Setup(names, routed, addresses, lower, values.get("connection.type") in ("vpn", "wireguard", "ppp", "pppoe", "gsm"))
            upper = values.get("connection.controller", values.get("connection.master", ""))
            yield from [_Setup([upper], False, set(), set(names))] if upper else []

    def _mac(self, name: str) -> str:
        return (read_text(f"{self._sysfs}/class/net/{name}/address") or "").strip().lower()

    def _lines(self, name: str) -> list[str]:
        """Return the lines of a file that are no comments; a line may go on after a backslash."""
        text = (read_text(f"{self._root}/{name}") or "").replace("\\\n", " ")
        return [line for line in (line.strip() for line in text.split("\n")) if line and not line.startswith(("#", ";"))]


class _Setup(t.NamedTuple):
    """How interfaces are set up at boot."""

    names: t.Sequence[str]
    #: Whether they may get the default route.
    routed: bool
    addresses: set[str]
    lower: set[str]
    #: Whether it needs another interface, which is named elsewhere.
    tunnel: bool = False


def _needed(setups: t.Sequence[_Setup], addresses: t.Collection[str]) -> list[str]:
    """Return the interfaces that are set up with the default route or with one of the addresses, and all below them."""
    needed = {name: None for setup in setups if setup.routed or setup.addresses & {*addresses} - {""} for name in setup.names}
    waiting = list(needed)
    while waiting:
        name = waiting.pop()
        below = [lower for setup in setups if name in setup.names for lower in setup.lower if lower not in needed]
        # A VLAN may be made without being mentioned.
        below += [vlan.group(1) for vlan in [re.fullmatch(r"(.+)\.\d+", name)] if vlan and vlan.group(1) not in needed]
        needed.update(dict.fromkeys(below))
        waiting += below
    return list(needed)


def _settings(lines: t.Iterable[str]) -> dict[str, str]:
    """Return the settings of an .ini file as SECTION.KEY."""
    values: dict[str, str] = {}
    section = ""
    for line in lines:
        key, equals, value = (part.strip() for part in line.partition("="))
        if line.startswith("["):
            section = line.strip("[]")
        elif equals:
            values[f"{section}.{key}"] = value
    return values


def _matches(pattern: str, name: str) -> bool:
    """Whether a regular expression of ours matches a whole name; what is none for us may match anything."""
    try:
        return bool(re.fullmatch(pattern, name))
    except re.error:
        return True


def _device_of_ip(value: str) -> str:
    """Return the interface of the kernel's option ip= (Linux, nfsroot.rst: CLIENT:SERVER:GATEWAY:MASK:HOST:DEVICE:...) or dracut's."""
    fields = re.sub(r"\[[^\]]*\]", "", value).split(":")
    if len(fields) > 5:
        return fields[5]
    return fields[0] if len(fields) > 1 and fields[0] and not fields[0][0].isdigit() else ""
