# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Reads the texts inside the lists of a definition that describe disks, vifs and PCI devices, as xl does.

Each function returns the settings by the names that the collection's parameters have.
Sources: xl-disk-configuration(5), xl-network-configuration(5), xl-pci-configuration(5), libxlu_disk_l.l, libxlu_disk.c, libxlu_pci.c, and
parse_nic_config in tools/xl/xl_parse.c.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidInput

#: Settings that a text may hold and that the collection has no parameter for.
_STRANGE_DISK = ("colo", "no-colo", "colo-host", "colo-port", "colo-export", "active-disk", "hidden-disk")
_DISK_WORDS: dict[str, tuple[str, t.Any]] = {
    "cdrom": ("devtype", "cdrom"),
    "direct-io-safe": ("direct_io_safe", True),
    "discard": ("discard", True),
    "no-discard": ("discard", False),
    "trusted": ("trusted", True),
    "untrusted": ("trusted", False),
    "grant_usage=1": ("grant_usage", True),
    "grant_usage=0": ("grant_usage", False),
}
_DISK_KEYS = ("format", "devtype", "access", "backend", "backendtype", "specification", "vdev", "script")
_ACCESS = {"": "rw", "w": "rw", "rw": "rw", "r": "ro", "ro": "ro"}
_FORMATS = ("raw", "qcow", "qcow2", "vhd", "empty", "qed")
#: Old prefixes of a target: a format, the name of a script, or nothing that matters any more.
_PREFIX = re.compile(r"(?:(raw|qcow2?|vhd)|(iscsi|e?nbd|drbd)|(?:tapdisk|tap2?|aio|ioemu|file|phy)):(?!\n)")
_STRANGE_PREFIX = re.compile(r"[a-z][a-z0-9]*:(?=[^a-z0-9]|\Z)")
_VIF_KEYS = {
    **{key: key for key in ("type", "mac", "bridge", "gatewaydev", "ip", "script", "backend", "vifname", "model", "rate", "mtu", "vlan")},
    "netdev": "gatewaydev",
}
_ADDRESS = re.compile(r"(?:([0-9a-fA-F]+):)?([0-9a-fA-F]+):([0-9a-fA-F]+)\.([0-9a-fA-F]+|\*)(?:@([0-9a-fA-F]+))?(?:,|\Z)")
_PCI_BOOLEANS = ("permissive", "msitranslate", "seize", "power_mgmt")


class Read(t.NamedTuple):
    """What a text says, and what of it cannot be expressed with the collection's parameters."""

    settings: dict[str, t.Any]
    #: Sentences without a full stop.
    lost: list[str]


def read_disk(text: str) -> Read:
    """Read one disk.

    :raises InvalidInput: xl would not accept it.
    """
    disk = _Disk(text)
    disk.read()
    settings, fmt = disk.settings, disk.format or "raw"
    if settings.get("devtype") == "cdrom":
        # It is never written to, and may be empty (xlu_disk_parse).
        settings.pop("access", None)
        fmt = fmt if settings.get("target") else "empty"
    elif settings.get("target") is None:
        raise _not_a("disk", text, "it has no target")
    if settings.get("vdev") is None:
        raise _not_a("disk", text, "it has no vdev")
    if not settings["vdev"]:
        disk.lost.append(f"the disk {text!r} has an empty vdev")
    if settings.get("devtype") != "cdrom" and (fmt == "empty" or not settings["target"]):
        disk.lost.append(f"the disk {settings['vdev']} is empty, and no cdrom drive")
    elif fmt == "empty":
        if settings.get("target"):
            disk.lost.append(f"the drive {settings['vdev']} is empty, and has a target, which is left out")
        settings["target"] = ""
    elif fmt != "raw":
        settings["format"] = fmt
    if settings.get("backendtype") == "tap":
        del settings["backendtype"]
        disk.lost.append(f"the disk {settings['vdev']} has backendtype=tap, which Xen no longer has")
    return Read({key: value for key, value in settings.items() if value != "" or key == "target"}, disk.lost)


class _Disk:
    def __init__(self, text: str) -> None:
        self._text = text
        self.settings: dict[str, t.Any] = {}
        self.format = ""
        self.lost: list[str] = []
        self._old_prefix = False
        self._access_given = False

    def read(self) -> None:
        rest = self._text
        while rest:
            rest = rest.lstrip(" \t\n")
            prefix = _PREFIX.match(rest)
            if prefix:
                self._old_prefix = True
                self._set_format(prefix[1]) if prefix[1] else None
                self._set("script", f"block-{prefix[2]}") if prefix[2] else None
                rest = rest[prefix.end() :]
            elif rest.startswith("target="):
                # It takes all that follows, but for a comma at the end.
                target = rest[len("target=") :].partition("\n")[0]
                rest = rest[len("target=") + len(target) :]
                self._set("target", target[:-1] if target.endswith(",") else target)
            elif rest:
                part, _comma, rest = rest.partition(",")
                self._part(part, rest)

    def _part(self, part: str, rest: str) -> None:
        key, equals, value = part.partition("=")
        if part in _DISK_WORDS:
            name, setting = _DISK_WORDS[part]
            self.settings[name] = setting
        elif equals and key in _DISK_KEYS:
            self._key(key, value)
        elif key in _STRANGE_DISK:
            self.lost.append(f"a disk has {part}")
        elif equals:
            raise _not_a("disk", self._text, f"{part!r} is unknown")
        elif _STRANGE_PREFIX.match(part):
            raise _not_a("disk", self._text, f"{part!r} has an unknown prefix")
        else:
            self._positional(part)

    def _key(self, key: str, value: str) -> None:
        if key == "format":
            self._set_format(value)
        elif key == "access":
            self._set_access(value)
        elif key == "devtype":
            if value not in ("cdrom", "disk"):
                raise _not_a("disk", self._text, f"{value!r} is no devtype")
            self.settings["devtype"] = value
        elif key in ("backendtype", "specification") and value not in {
            "backendtype": ("phy", "tap", "qdisk", "standalone"),
            "specification": ("xen", "virtio"),
        }.get(key, ()):
            raise _not_a("disk", self._text, f"{value!r} is no {key}")
        else:
            self._set(key, value)

    def _positional(self, part: str) -> None:
        """Target, format, vdev and access, in this order; the format has been given when there was an old prefix."""
        if self.settings.get("target") is None:
            self._set("target", part)
        elif not self._old_prefix and not self.format:
            if not self.settings["target"] and self._vdev_and_devtype(part):
                self._set_format("empty")
            else:
                self._set_format(part)
        elif self.settings.get("vdev") is None:
            if not self._vdev_and_devtype(part):
                self._set("vdev", part)
        elif not self._access_given:
            self._access_given = True
            self._set_access(part)
        else:
            raise _not_a("disk", self._text, f"{part!r} is one part too many")

    def _vdev_and_devtype(self, part: str) -> bool:
        vdev, colon, kind = part.rpartition(":")
        if not colon:
            return False
        if kind not in ("cdrom", "disk"):
            raise _not_a("disk", self._text, f"{kind!r} is no devtype")
        self._set("vdev", vdev)
        self.settings["devtype"] = kind
        return True

    def _set(self, key: str, value: str) -> None:
        again = key in ("backendtype", "specification") and self.settings.get(key) == value
        if self.settings.get(key) and not again:
            raise _not_a("disk", self._text, f"{key} is given twice")
        self.settings[key] = value

    def _set_format(self, value: str) -> None:
        value = value or "raw"
        if value not in _FORMATS or self.format not in ("", value):
            raise _not_a("disk", self._text, f"{value!r} is no format, or the second one")
        self.format = value

    def _set_access(self, value: str) -> None:
        if value not in _ACCESS:
            raise _not_a("disk", self._text, f"{value!r} is no access")
        self.settings["access"] = _ACCESS[value]


def read_vif(text: str) -> Read:
    """Read one vif. xl ignores what it does not know, with a warning.

    :raises InvalidInput: a number is not one, which ends xl.
    """
    settings: dict[str, t.Any] = {}
    lost: list[str] = []
    for part in filter(None, text.split(",")):
        part = part.lstrip(" ")
        key, _equals, value = part.partition("=")
        if part in ("trusted", "untrusted"):
            settings["trusted"] = part == "trusted"
        elif key == "mac" and _equals:
            octets = re.match(r"\s*([0-9a-fA-F]{1,2})" + r".\s*([0-9a-fA-F]{1,2})" * 5, value)
            if octets:
                settings["mac"] = ":".join(f"{int(octet, 16):02x}" for octet in octets.groups())
            else:
                lost.append(f"the vif {text!r} has no MAC address that xl can read")
        elif key == "mtu" and _equals:
            if not re.match(r"\s*[0-9]+", value):
                raise _not_a("vif", text, f"{value!r} is no number")
            settings["mtu"] = int(re.match(r"\s*([0-9]+)", value)[1])  # type: ignore[index]
        elif key in _VIF_KEYS and _equals and not (key == "type" and value not in ("vif", "ioemu")):
            settings[_VIF_KEYS[key]] = value
        else:
            lost.append(f"the vif {text!r} has {part!r}")
    return Read({key: value for key, value in settings.items() if value != ""}, lost)


def read_pci(text: str) -> Read:
    """Read one PCI device; `bdf` is its address, or `name` the one that xl has for it.

    :raises InvalidInput: xl would not accept it.
    """
    settings: dict[str, t.Any] = {}
    lost: list[str] = []
    address = _ADDRESS.match(text)
    rest = text[address.end() :] if address else text
    if address:
        settings["bdf"] = _bdf(text, address)
        if address[5]:
            settings["vslot"] = _vslot(text, address[5])
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise _not_a("PCI device", text, f"{part!r} has no value")
        if key == "bdf":
            # What follows the address is not looked at.
            address = re.match(_ADDRESS.pattern.replace(r"(?:,|\Z)", ""), value)
            if not address:
                raise _not_a("PCI device", text, f"{value!r} is no address")
            settings["bdf"] = _bdf(text, address)
        elif key == "vslot":
            settings["vslot"] = _vslot(text, value)
        elif key in _PCI_BOOLEANS:
            settings[key] = bool(_atoi(value))
        elif key == "rdm_policy" and value in ("strict", "relaxed"):
            settings[key] = value
        elif key == "name":
            settings["name"] = value
        else:
            raise _not_a("PCI device", text, f"{part!r} is unknown")
    if ("bdf" in settings) == ("name" in settings):
        raise _not_a("PCI device", text, "it has neither an address nor a name, or both")
    if str(settings.get("bdf", "")).endswith("*"):
        lost.append(f"the PCI device {text!r} stands for all functions of a device: list each of them")
    return Read(settings, lost)


def _bdf(text: str, address: re.Match[str]) -> str:
    domain, bus, device = (int(part or "0", 16) for part in address.groups()[:3])
    function = address[4]
    if domain > 0xFFFF or bus > 0xFF or device > 0x1F or (function != "*" and int(function, 16) > 7):
        raise _not_a("PCI device", text, "its address is out of range")
    return f"{domain:04x}:{bus:02x}:{device:02x}.{function if function == '*' else int(function, 16)}"


def _vslot(text: str, value: str) -> str:
    found = re.match(r"\s*(?:0[xX])?([0-9a-fA-F]+)", value)
    if not found or int(found[1], 16) > 0x1F:
        raise _not_a("PCI device", text, f"{value!r} is no vslot")
    return f"{int(found[1], 16):x}"


def _atoi(text: str) -> int:
    found = re.match(r"\s*([+-]?[0-9]+)", text)
    return int(found[1]) if found else 0


def _not_a(what: str, text: str, why: str) -> InvalidInput:
    return InvalidInput(f"{text!r} is not a {what}: {why}", rule="xl does not accept it")
