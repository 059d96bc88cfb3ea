# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""From definitions that others wrote to the variables of the roles: what each setting is called there, and what has no name there.

Source of what xl makes of a setting: parse_config_data in tools/xl/xl_parse.c.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from .._errors import InvalidInput
from .._files import resolve
from .._xen.xlcfg_reader import Value, number
from .._xen.xlspec_reader import Read, read_disk, read_pci, read_vif
from .definition import Definition, definitions
from .kept import backend_of
from .vif_options import DOM0

if t.TYPE_CHECKING:
    from .._pci.device import PciDevice

#: Roles by what a domain is.
DRIVER_DOMAIN, GUEST = "driver_domain", "domu"
_ACTIONS = ("on_poweroff", "on_reboot", "on_crash", "on_watchdog")
#: What xl does where a definition says nothing, xl.cfg(5); the role has other defaults.
_XL_ACTION = {"on_crash": "destroy", "on_watchdog": "destroy"}
#: What the module xl_domain fills in.
_BLANK: dict[str, t.Any] = {
    **dict.fromkeys(("maxmem", "kernel", "ramdisk", "cmdline", "pci", "vifs", "disks", "options", "ready", *_ACTIONS)),
    "state": "present",
    "autostart": False,
    "type": "pv",
    "vcpus": 1,
    "driver_domain": False,
    "wait_timeout": 300.0,
}


#: The vifs of a running domain as libxl keeps them.
Nics = t.Sequence[t.Mapping[str, t.Any]]
#: What a definition calls a setting of a vif, and what libxl calls it.
_NIC = {"bridge": "bridge", "ip": "ip", "gatewaydev": "gatewaydev", "vlan": "vlan", "vifname": "ifname"}


class Address(t.NamedTuple):
    """Stands for a device of which only the address matters."""

    bdf: str


@dataclass
class Adopted:
    """A domain as the roles declare it."""

    role: str
    #: An item of `driver_domain_domains` or `domu_domains`.
    domain: dict[str, t.Any]
    #: What the definition says that the item does not. Sentences without a full stop.
    lost: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the domain."""
        return str(self.domain["name"])


class Devices:
    """Names for PCI devices, as in `dom0_pci_assignable`: the same one for each domain that has the device."""

    def __init__(self, sysfs: str = "/sys") -> None:
        self._sysfs = sysfs
        self.names: dict[str, str] = {}

    def name(self, bdf: str, domain: str) -> str:
        """Return the name of a device; `domain` is one that has it."""
        taken = set(self.names.values())
        free = (f"{domain}.{count}" for count in range(len(taken) + 1))
        return self.names.setdefault(bdf, next(name for name in free if name not in taken))

    @property
    def variable(self) -> list[dict[str, t.Any]]:
        """The items of `dom0_pci_assignable`. A device that is there is matched by its slot, which stays when others are added."""
        return [{"name": name, "match": self._match(bdf)} for bdf, name in sorted(self.names.items())]

    def _match(self, bdf: str) -> dict[str, str]:
        place = resolve(f"{self._sysfs}/bus/pci/devices/{bdf}")
        found = re.search(r"/pci([0-9a-f]{4}:[0-9a-f]{2})((?:/[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])+)$", place)
        return {"slot": found[1] + "".join(f"/{step[8:]}" for step in found[2].split("/")[1:])} if found else {"bdf": bdf}


def adopt(settings: t.Mapping[str, Value], devices: Devices, machine: str = "x86_64", nics: Nics | None = None) -> Adopted:
    """Return a domain as the roles declare it.

    :param settings: a definition, from `xlcfg_reader.read`.
    :param machine: kind of the host's processor, from uname(2).
    :param nics: if it runs, its vifs as libxl keeps them, in any order.
    :raises InvalidInput: xl would not start it, or the collection cannot.
    """
    reader = _Reader(settings, devices, nics)
    domain = reader.domain(machine)
    serves = bool(domain.pop("driver_domain"))
    if serves:
        domain.update({key: domain[key] or action for key, action in _XL_ACTION.items()})
    found = Adopted(
        DRIVER_DOMAIN if serves else GUEST, {key: value for key, value in domain.items() if value not in (None, "", [], {})}, reader.lost
    )
    declared([found], devices)
    return found


def parameters(adopted: Adopted) -> dict[str, t.Any]:
    """Return the item of the parameter `domains` of xl_domain that the role makes of a domain, see the filter `domain_definitions`."""
    domain = {**_BLANK, **adopted.domain, "driver_domain": adopted.role == DRIVER_DOMAIN}
    del domain["image"]
    domain["pci"] = [{"device": device} if isinstance(device, str) else device for device in domain["pci"] or []]
    return domain


def declared(domains: t.Iterable[Adopted], devices: Devices) -> list[Definition]:
    """Return the definitions that xl_domain would write, if these are all domains of a role.

    :raises InvalidInput: a domain cannot be expressed, or two of them claim the same disk, device or MAC address.
    """
    known = t.cast("dict[str, PciDevice]", {name: Address(bdf) for bdf, name in devices.names.items()})
    return definitions([parameters(adopted) for adopted in domains], known)


class _Reader:
    def __init__(self, settings: t.Mapping[str, Value], devices: Devices, nics: Nics | None) -> None:
        self._nics = nics
        self._left = dict(settings)
        self._devices = devices
        self.lost: list[str] = []

    def domain(self, machine: str) -> dict[str, t.Any]:
        name = self._text("name")
        if not name:
            raise InvalidInput("The definition has no name")
        kind = self._kind(machine)
        domain: dict[str, t.Any] = {
            "name": name,
            "image": "foreign",
            "type": kind,
            **{key: self._number(key) for key in ("memory", "maxmem", "vcpus")},
            **{key: self._text(key) for key in ("kernel", "ramdisk")},
            "cmdline": self._cmdline(),
            "driver_domain": self._number("driver_domain"),
        }
        if domain["memory"] is None:
            raise InvalidInput("The definition has no memory", remedy="Add it, e.g. memory = 512")
        if kind == "hvm" and os.path.basename(domain["kernel"] or "") == "hvmloader":
            # xl ignores it as well.
            domain["kernel"] = None
        domain["pci"] = [self._pci(item, name) for item in self._list("pci")]
        vifs = [read_vif(item) for item in self._list("vif")]
        macs = _addresses([vif.settings for vif in vifs], self._nics or ())
        domain["vifs"] = [self._vif(vif, kind, place, macs.get(place, "")) for place, vif in enumerate(vifs)]
        domain["disks"] = [self._disk(read_disk(item)) for item in self._list("disk")]
        domain.update({key: self._text(key) for key in _ACTIONS})
        domain["options"] = dict(self._left)
        return domain

    def _kind(self, machine: str) -> str:
        """The beginning of a word is enough for xl."""
        kind, builder = self._text("type"), self._text("builder")
        chosen = None if kind is None else next((one for one in ("hvm", "pv", "pvh") if one.startswith(kind)), "")
        built = None if builder is None else next((to for one, to in (("hvm", "hvm"), ("generic", "pv")) if one.startswith(builder)), "")
        if "" in (chosen, built) or (chosen and built and chosen != built):
            raise InvalidInput(f"type is {kind!r} and builder is {builder!r}", rule="xl accepts pv, pvh and hvm, or builder hvm or generic")
        return chosen or built or ("pvh" if machine.startswith(("aarch64", "arm")) else "pv")

    def _cmdline(self) -> str | None:
        cmdline, root, extra = (self._text(key) for key in ("cmdline", "root", "extra"))
        if cmdline is not None:
            return cmdline
        return extra if root is None else f"root={root}" + ("" if extra is None else f" {extra}")

    def _vif(self, found: Read, kind: str, place: int, mac: str) -> dict[str, t.Any]:
        """Return the settings of a vif; `mac` is the address that it has now, or "" if that is not known."""
        vif = found.settings
        self.lost += found.lost
        if "mac" not in vif:
            chosen = "it gets one that stays"
            if mac:
                vif["mac"] = mac
                chosen = "it keeps the one that it has now"
            elif self._nics is not None:
                chosen = "which one it has now cannot be said, so it gets another one, which stays"
            self.lost.append(f"vif {place} has no MAC address, so xl chooses another one at each start; {chosen}")
        if vif.get("backend") in DOM0:
            vif.pop("backend", None)
        else:
            vif.setdefault("trusted", True)
            if kind == "hvm" and "type" not in vif:
                self.lost.append(f"vif {place} is an emulated card as well, which {vif['backend']} cannot serve; it gets type: vif")
        return vif

    def _disk(self, found: Read) -> dict[str, t.Any]:
        disk = found.settings
        if "vdev" not in disk:
            raise InvalidInput(found.lost[0])
        self.lost += found.lost
        if disk.get("backend") in DOM0:
            disk.pop("backend", None)
        else:
            disk.setdefault("trusted", True)
        defaults = {"access": "rw", "devtype": "disk"}
        return {key: value for key, value in disk.items() if value != defaults.get(key) and (key, value) != ("target", "")}

    def _pci(self, text: str, domain: str) -> t.Any:
        found = read_pci(text)
        settings = found.settings
        if found.lost:
            raise InvalidInput(found.lost[0])
        if "bdf" not in settings:
            raise InvalidInput(
                f"The PCI device {text!r} has a name, not an address", remedy="Write its address, from 'xl pci-assignable-list -n'"
            )
        name = self._devices.name(settings.pop("bdf"), domain)
        return {"device": name, **settings} if settings else name

    def _text(self, key: str) -> str | None:
        value = self._left.pop(key, None)
        if isinstance(value, list):
            self.lost.append(f"{key} is a list, which xl ignores")
            return None
        return None if value is None else str(value)

    def _number(self, key: str) -> int | None:
        value = self._left.pop(key, None)
        found = None if value is None else number(value)
        if found is None and value is not None:
            self.lost.append(f"{key} is {value!r}, which is no number, and which xl ignores")
        return found

    def _list(self, key: str) -> list[str]:
        value = self._left.pop(key, [])
        if not isinstance(value, list):
            self.lost.append(f"{key} is a text and no list, which xl ignores")
            return []
        texts: list[str] = []
        for item in value:
            if isinstance(item, list):
                # xl stops here (xlu_cfg_get_listitem).
                self.lost.append(f"{key} holds a list, which xl ignores with all that follows it")
                break
            texts.append(str(item))
        return texts


def _addresses(vifs: t.Sequence[t.Mapping[str, t.Any]], nics: Nics) -> dict[int, str]:
    """Return the MAC addresses that the vifs without one have now, by their places, as far as there is only one way to assign them.

    libxl keeps a vif that was attached again after all others, so places say nothing.
    """
    taken = {str(vif["mac"]).lower() for vif in vifs if "mac" in vif}
    free = [nic for nic in nics if nic.get("mac") and str(nic["mac"]).lower() not in taken]
    waiting = {place: vif for place, vif in enumerate(vifs) if "mac" not in vif}
    found: dict[int, str] = {}
    while True:
        fits = {place: [number for number, nic in enumerate(free) if _may_be(vif, nic)] for place, vif in waiting.items()}
        only = {place: numbers[0] for place, numbers in fits.items() if len(numbers) == 1}
        certain = {place: number for place, number in only.items() if list(only.values()).count(number) == 1}
        if not certain:
            return found
        for place, which in certain.items():
            found[place] = str(free[which]["mac"])
            del waiting[place]
        free = [nic for number, nic in enumerate(free) if number not in certain.values()]


def _may_be(vif: t.Mapping[str, t.Any], nic: t.Mapping[str, t.Any]) -> bool:
    """Whether a vif of a definition can be one that runs: libxl fills in what the definition leaves open, and the path of the script."""
    backend = vif.get("backend")
    if ("" if backend in DOM0 else str(backend)) != backend_of(nic):
        return False
    if "script" in vif and os.path.basename(str(vif["script"])) != os.path.basename(str(nic.get("script") or "")):
        return False
    return all(str(vif[ours]) == str(nic.get(libxl) or "") for ours, libxl in _NIC.items() if ours in vif)
