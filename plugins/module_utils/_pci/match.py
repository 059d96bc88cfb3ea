# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Select PCI devices by stable identifiers: parse what the user asks for and find the devices that match."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._errors import InvalidInput
from .bdf import Bdf
from .device import PciDevice

#: Classes that can be asked for by name, with the digits that they stand for (PCI Code and ID Assignment Specification).
CLASSES = {
    "storage": "01",
    "nvme": "0108",
    "network": "02",
    "ethernet": "0200",
    "display": "03",
    "multimedia": "04",
    "audio": "0403",
    "bridge": "06",
    "serial": "0700",
    "usb": "0c03",
    "wireless": "0d",
}

#: The option `devices` of the modules.
DEVICES_OPTION = {
    "type": "list",
    "elements": "dict",
    "options": {
        "name": {"type": "str", "required": True},
        "match_all": {"type": "bool", "default": False},
        "match": {
            "type": "dict",
            "required": True,
            "options": {key: {"type": "str"} for key in ("bdf", "vendor_device", "mac", "ifname", "class", "slot")},
        },
    },
}

# xl takes 64 printable characters (libxl_pci.c), but looks for a name before it looks for a BDF, and splits xl.cfg's
# PCI_SPEC at commas and blanks.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def _bdf(text: str) -> str:
    return str(Bdf.parse_pattern(text))


def _vendor_device(text: str) -> str:
    return _lower(
        text,
        r"[0-9a-f]{4}:[0-9a-f]{4}(:[0-9a-f]{4}:[0-9a-f]{4})?",
        "a pair of PCI ids",
        "it is vendor:device or vendor:device:subvendor:subdevice, four hexadecimal digits each, such as 8086:10d3",
        "Take it from 'lspci -nn', and write it in quotes",
    )


def _mac(text: str) -> str:
    return _lower(
        text,
        r"[0-9a-f]{2}(:[0-9a-f]{2}){5}",
        "a MAC address",
        "it is six pairs of hexadecimal digits with colons between them, such as 52:54:00:12:34:56",
        "Take it from 'ip link', and write it in quotes: YAML reads some bare addresses as numbers",
    )


def _ifname(text: str) -> str:
    if not re.fullmatch(r"[^\s/:\0]{1,15}", text) or text in (".", ".."):
        raise InvalidInput(
            f"{text!r} is not the name of a network interface",
            "it has 1 to 15 characters other than blanks, '/' and ':'",
            "Take it from 'ip link'",
        )
    return text


def _class(text: str) -> str:
    if text.lower() in CLASSES:
        return CLASSES[text.lower()]
    return _lower(
        text,
        # Base classes that exist: the numbers as which YAML reads unquoted octal digits are not among them.
        r"(0[0-9a-f]|1[0-3]|40|ff)([0-9a-f]{2}|[0-9a-f]{4})",
        "a PCI class",
        f"it is 4 or 6 hexadecimal digits such as 0200, or one of {', '.join(sorted(CLASSES))}",
        "Take it from 'lspci -nn', and write it in quotes: YAML reads a bare 0200 as an octal number",
    )


def _slot(text: str) -> str:
    return _lower(
        text,
        r"[0-9a-f]{4}:[0-9a-f]{2}(/[01][0-9a-f]\.[0-7])+",
        "a slot path",
        "it is the root bus and then device.function of each bridge down to the device, such as 0000:00/1c.0/00.0",
        "Take it from what the module xl_pci_info returns as slot",
    )


def _lower(text: str, syntax: str, what: str, rule: str, remedy: str) -> str:
    if not re.fullmatch(syntax, text.lower()):
        raise InvalidInput(f"{text!r} is not {what}", rule, remedy)
    return text.lower()


class _Criterion(t.NamedTuple):
    """How a criterion is read, and how a device is compared with it."""

    normalise: t.Callable[[str], str]
    fits: t.Callable[[PciDevice, str], bool]


_CRITERIA = {
    "bdf": _Criterion(_bdf, lambda device, value: Bdf.parse_pattern(value).covers(device.bdf)),
    "vendor_device": _Criterion(
        _vendor_device, lambda device, value: value in (device.vendor_device, f"{device.vendor_device}:{device.subsystem}")
    ),
    "mac": _Criterion(_mac, lambda device, value: value in ([i.mac for i in device.interfaces] or [device.mac])),
    "ifname": _Criterion(_ifname, lambda device, value: value in ([i.name for i in device.interfaces] or [device.ifname])),
    "class": _Criterion(_class, lambda device, value: device.class_code.startswith(value)),
    "slot": _Criterion(_slot, lambda device, value: value == device.slot),
}


@dataclass(frozen=True)
class PciRequest:
    """What the user asks for: a name for a device, and the criteria that identify it."""

    name: str
    #: Criterion and value in its normal form; all of them must match.
    criteria: tuple[tuple[str, str], ...]
    #: Whether it stands for every device that matches, one or more; they are then called NAME.0, NAME.1 and so on, and keep these names.
    match_all: bool = False

    def fits(self, device: PciDevice) -> bool:
        """Return whether a device matches every criterion."""
        return all(_CRITERIA[key].fits(device, value) for key, value in self.criteria)

    def __str__(self) -> str:
        return f"{self.name!r} ({', '.join(f'{key} {value}' for key, value in self.criteria)})"


def parse_requests(devices: t.Sequence[t.Mapping[str, t.Any]]) -> list[PciRequest]:
    """Read the option `devices`.

    :raises InvalidInput: a name or criterion is malformed, unknown or missing, or two entries have the same name.
    """
    requests: list[PciRequest] = []
    indices: dict[str, int] = {}
    for index, entry in enumerate(devices):
        where = f"devices[{index}]"
        name, match_all = str(entry.get("name") or ""), bool(entry.get("match_all"))
        if not _NAME.fullmatch(name + ".000" * match_all):
            raise InvalidInput(
                f"{where}: {name!r} cannot be the name of a device",
                f"it has 1 to {60 if match_all else 64} letters, digits, '_', '.' and '-', the first a letter or digit",
            )
        if name in indices:
            raise InvalidInput(f"devices[{indices[name]}] and {where} have the same name {name!r}", "each device has a unique name")
        indices[name] = index
        match = {key: str(value) for key, value in (entry.get("match") or {}).items() if value is not None}
        unknown = sorted(set(match) - set(_CRITERIA))
        if unknown or not match:
            problem = f"unknown criteria {', '.join(unknown)}" if unknown else "match names no criterion"
            raise InvalidInput(f"{where} ({name}): {problem}", f"at least one of {', '.join(_CRITERIA)} is needed")
        try:
            criteria = tuple((key, _CRITERIA[key].normalise(value)) for key, value in match.items())
            requests.append(PciRequest(name, criteria, match_all))
        except InvalidInput as exc:
            raise InvalidInput(f"{where} ({name}): {exc.problem}", exc.rule, exc.remedy) from exc
    return requests


def choose(requests: t.Sequence[PciRequest], devices: t.Sequence[PciDevice]) -> list[tuple[str, PciDevice]]:
    """Return the requested devices with their names, in the order of the requests and of their addresses.

    :raises InvalidInput: no device matches a request, or several do and only one is meant, one device matches two requests, or
        two get the same name; the candidates are listed.
    """
    chosen: list[tuple[str, PciDevice]] = []
    indices: dict[Bdf, int] = {}
    names: dict[str, int] = {}
    for index, request in enumerate(requests):
        fitting = [device for device in devices if request.fits(device)]
        if not fitting or (len(fitting) > 1 and not request.match_all):
            raise _not_one(index, request, fitting, devices)
        numbers = _numbers(request.name, fitting) if request.match_all else {}
        for device in fitting:
            name = f"{request.name}.{numbers[device.bdf]}" if request.match_all else request.name
            if device.bdf in indices:
                other = indices[device.bdf]
                raise InvalidInput(
                    f"devices[{other}] {requests[other]} and devices[{index}] {request} are the same device: {device}",
                    "one device has one name",
                    "Remove one of the two",
                )
            if name in names:
                raise InvalidInput(
                    f"devices[{names[name]}] {requests[names[name]]} and devices[{index}] {request} both call a device {name!r}",
                    "with match_all, devices are called NAME.0, NAME.1 and so on",
                    "Choose another name for one of the two",
                )
            indices[device.bdf] = names[name] = index
            chosen.append((name, device))
    return chosen


def _numbers(name: str, devices: t.Sequence[PciDevice]) -> dict[Bdf, int]:
    """Number devices in the order of their addresses. Those that have a number keep it, whatever is plugged in before them later.

    The devices of running domains come first, and xl's names before records, because the name of such a device cannot be changed.
    """
    numbers: dict[Bdf, int] = {}
    known = [(device, device.xl_name) for device in sorted(devices, key=lambda device: device.owner_domid is None)]
    known += [(device, device.record.name) for device in devices if device.record]
    for device, old_name in known:
        found = re.fullmatch(re.escape(name) + r"\.(0|[1-9][0-9]{0,2})", old_name)
        if found and device.bdf not in numbers and int(found.group(1)) not in numbers.values():
            numbers[device.bdf] = int(found.group(1))
    left = [device for device in devices if device.bdf not in numbers]
    free = [number for number in range(len(devices)) if number not in numbers.values()]
    return {**numbers, **{device.bdf: number for device, number in zip(left, free)}}


def _not_one(index: int, request: PciRequest, fitting: t.Sequence[PciDevice], devices: t.Sequence[PciDevice]) -> InvalidInput:
    candidates = fitting or [device for device in devices if not device.bridge]
    shown = "; ".join(map(str, candidates))
    if fitting:
        problem = f"devices[{index}]: {len(fitting)} devices of this host match {request}: {shown}"
        remedy = "Add a criterion such as mac, slot or bdf, or set match_all: true if all of them are meant"
    else:
        problem = f"devices[{index}]: no device of this host matches {request}; there are: {shown}"
        remedy = "A device that pciback holds has no interface: it is known by mac or ifname only if that was recorded before it was taken"
    return InvalidInput(problem, "exactly one device must match", remedy, candidates=[device.as_dict() for device in candidates])
