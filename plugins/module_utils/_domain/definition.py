# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What a domain shall be: checks the parameters of one domain and renders them as a definition file, xl.cfg(5)."""

from __future__ import annotations

import hashlib
import re
import typing as t
from dataclasses import dataclass, field

from .._errors import InvalidInput
from .._xen.xlcfg import render, specification

#: The first line of every definition that the collection wrote.
MARKER = "# Managed by Ansible (xen.driver_domains.xl_domain): changes made here are lost.\n"

#: A longer command line is cut off silently for PV guests (xen/include/public/xen.h, MAX_GUEST_CMDLINE, with its final 0).
PV_CMDLINE_LIMIT = 1023

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_PCI_OPTIONS = ("permissive", "msitranslate", "power_mgmt", "rdm_policy")
#: The options of a vif, common to all modules that take one, in the order in which they are written.
VIF_OPTIONS: dict[str, t.Any] = {
    **{name: {"type": "str"} for name in ("mac", "bridge", "backend")},
    "type": {"type": "str", "choices": ["vif", "ioemu"]},
    **{name: {"type": "str"} for name in ("model", "script", "ip", "vifname", "rate")},
    "mtu": {"type": "int"},
    "trusted": {"type": "bool"},
}
_DISK_ORDER = ("format", "vdev", "access", "backend", "backendtype", "script")
#: Settings that have a parameter of their own, so that `options` may not set them a second time.
_TYPED = frozenset({"name", "type", "memory", "maxmem", "vcpus", "kernel", "ramdisk", "cmdline", "root", "extra", "driver_domain"}) | {
    *("pci", "vif", "disk", "on_poweroff", "on_reboot", "on_crash"),
}


@dataclass(frozen=True)
class Ready:
    """How a domain tells that it serves: a XenStore key below its home, and where it says what went wrong."""

    key: str
    value: str
    error_key: str


@dataclass(frozen=True)
class Definition:
    """One domain as the user wants it."""

    name: str
    state: str
    autostart: bool
    text: str
    memory: int
    driver_domain: bool = False
    #: Files in dom0 that must be there.
    files: tuple[str, ...] = ()
    #: (target, source) of each disk that is made as a copy of an image when it is not there yet.
    copies: tuple[tuple[str, str], ...] = ()
    pci: tuple[str, ...] = ()
    vif_count: int = 0
    #: (backend, bridge) of each vif; the backend is "" for dom0.
    attachments: tuple[tuple[str, str], ...] = ()
    backends: frozenset[str] = frozenset()
    ready: Ready | None = None
    wait_timeout: float = 300.0
    parameters: t.Mapping[str, t.Any] = field(default_factory=dict, compare=False, repr=False)


def definitions(domains: t.Sequence[t.Mapping[str, t.Any]], bdf_of: t.Mapping[str, str]) -> list[Definition]:
    """Check the parameters of all domains against each other and return their definitions.

    :param domains: the module's parameter of that name.
    :param bdf_of: the BDF of each device that `pci` may call by name.
    :raises InvalidInput: a value is wrong, or two domains claim the same name, MAC address or device.
    """
    wanted = [_definition(parameters, bdf_of) for parameters in domains]
    _refuse_doubles("name", [(d.name, d.name) for d in wanted])
    alive = [d for d in wanted if d.state in ("running", "present")]
    _refuse_doubles("MAC address", [(vif["mac"], d.name) for d in alive for vif in _vifs(d.parameters)])
    _refuse_doubles("PCI device", [(bdf, d.name) for d in alive for bdf in d.pci])
    return wanted


def default_mac(domain: str, index: int) -> str:
    """Return the MAC address of a vif that the user gave none: the same at every run, in Xen's own range (OUI 00:16:3e)."""
    digest = hashlib.sha256(f"{domain}/{index}".encode()).digest()
    return f"00:16:3e:{digest[0] & 0x7F:02x}:{digest[1]:02x}:{digest[2]:02x}"


def _definition(parameters: t.Mapping[str, t.Any], bdf_of: t.Mapping[str, str]) -> Definition:
    name = parameters["name"]
    if not _NAME.fullmatch(name) or name.isdecimal() or name == "Domain-0":
        raise InvalidInput(
            f"{name!r} is not a usable domain name",
            rule="1 to 64 letters, digits and '_.+-', first a letter or digit, not Domain-0, nor a number: xl would take it for a domid",
            remedy="Choose another name",
        )
    try:
        if parameters["state"] == "absent":
            return Definition(name, "absent", False, "", 0, parameters=parameters)
        return _present(name, parameters, bdf_of)
    except InvalidInput as exc:
        raise InvalidInput(f"Domain {name}: {exc.problem}", exc.rule, exc.remedy, **exc.details) from exc


def _present(name: str, parameters: t.Mapping[str, t.Any], bdf_of: t.Mapping[str, str]) -> Definition:
    kind = parameters["type"]
    memory = parameters["memory"]
    if memory is None or memory < 16:
        raise InvalidInput(
            f"memory is {memory}", rule="a domain needs its memory in MiB, at least 16", remedy="Set memory, for example 256"
        )
    if parameters["vcpus"] < 1:
        raise InvalidInput(f"vcpus is {parameters['vcpus']}", rule="a domain has at least one")
    cmdline = parameters["cmdline"]
    if kind == "pv" and len((cmdline or "").encode()) > PV_CMDLINE_LIMIT:
        raise InvalidInput(
            f"the kernel command line has {len(cmdline.encode())} bytes",
            rule=f"a PV guest gets the first {PV_CMDLINE_LIMIT}",
            remedy="Shorten it, for example with fewer bridges or static addresses in one domain",
        )
    options = parameters["options"] or {}
    doubled = sorted(_TYPED & set(options))
    if doubled:
        raise InvalidInput(
            f"options sets {', '.join(doubled)}", rule="these settings have a parameter of their own", remedy="Use that parameter"
        )
    if kind != "hvm" and not parameters["kernel"] and not {"bootloader", "firmware"} & set(options):
        raise InvalidInput(
            "there is nothing to boot",
            rule=f"a {kind} domain needs a kernel",
            remedy="Set kernel (and ramdisk or a disk), or options: {bootloader: pygrub} with a disk that holds one",
        )
    pci = [_pci(device, bdf_of) for device in parameters["pci"] or []]
    if pci and kind == "pvh":
        raise InvalidInput(
            "type is pvh and pci is set",
            rule="x86 PVH domains cannot own PCI devices (libxl_x86.c)",
            remedy="Use type: pv or type: hvm",
        )
    vifs = _vifs(parameters)
    disks = [_disk(disk) for disk in parameters["disks"] or []]
    settings: dict[str, t.Any] = {
        "name": name,
        "type": kind,
        "memory": memory,
        "maxmem": parameters["maxmem"],
        "vcpus": parameters["vcpus"],
        "kernel": parameters["kernel"],
        "ramdisk": parameters["ramdisk"],
        "cmdline": cmdline,
        "driver_domain": True if parameters["driver_domain"] else None,
        "pci": [text for _bdf, text in pci] or None,
        "vif": [specification("vif", vif) for vif in vifs] or None,
        "disk": disks or None,
        "on_poweroff": parameters["on_poweroff"],
        "on_reboot": parameters["on_reboot"],
        "on_crash": parameters["on_crash"],
        **dict(sorted(options.items())),
    }
    local_disks = [disk for disk in parameters["disks"] or [] if not disk.get("backend")]
    files = [parameters["kernel"], parameters["ramdisk"], *(disk["target"] for disk in local_disks if not disk.get("source"))]
    ready = parameters["ready"]
    return Definition(
        name=name,
        state=parameters["state"],
        autostart=parameters["autostart"],
        text=MARKER + render(settings),
        memory=memory,
        driver_domain=parameters["driver_domain"],
        files=tuple(path for path in files if path),
        copies=tuple((disk["target"], disk["source"]) for disk in local_disks if disk.get("source")),
        pci=tuple(bdf for bdf, _text in pci),
        vif_count=len(vifs),
        attachments=tuple((vif.get("backend") or "", vif.get("bridge") or "") for vif in vifs),
        backends=frozenset(
            device["backend"] for device in [*vifs, *(parameters["disks"] or [])] if device.get("backend") not in (None, "0", "Domain-0")
        ),
        ready=Ready(ready["key"], ready["value"], ready["error_key"] or "") if ready else None,
        wait_timeout=parameters["wait_timeout"],
        parameters=parameters,
    )


def _pci(device: t.Mapping[str, t.Any], bdf_of: t.Mapping[str, str]) -> tuple[str, str]:
    name = device["device"]
    if name not in bdf_of:
        raise InvalidInput(
            f"pci names the device {name!r}",
            rule="a name must be in pci_devices" + (f", which has: {', '.join(sorted(bdf_of))}" if bdf_of else ", which is empty"),
            remedy="Correct the name, or describe the device in pci_devices (in the roles: dom0_pci_assignable)",
        )
    bdf = bdf_of[name]
    options = specification("pci", {key: device.get(key) for key in _PCI_OPTIONS})
    return bdf, ",".join(part for part in (bdf, options) if part)


def vif_settings(domain: str, vifs: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Return the vifs of a domain with their MAC addresses, keys in the order they are written in.

    :raises InvalidInput: a MAC address is not usable.
    """
    settings = []
    for index, vif in enumerate(vifs):
        mac = (vif.get("mac") or default_mac(domain, index)).lower()
        if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
            raise InvalidInput(
                f"vif {index} has the MAC address {vif['mac']!r}",
                rule="six pairs of hexadecimal digits with colons, a unicast address (first pair even)",
                remedy="For example 00:16:3e:00:00:11; without one a stable address is derived from the domain's name",
            )
        full = {**vif, "mac": mac}
        settings.append({key: full[key] for key in VIF_OPTIONS if full.get(key) is not None})
    return settings


def _vifs(parameters: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    return vif_settings(parameters["name"], parameters.get("vifs") or [])


def _disk(disk: t.Mapping[str, t.Any]) -> str:
    if disk.get("source") and disk.get("backend"):
        raise InvalidInput(
            f"the disk {disk['vdev']} has a source and a backend",
            rule="only a disk in dom0 can be made from an image",
            remedy="Make the disk inside the backend domain",
        )
    return specification("disk", {**{key: disk.get(key) for key in _DISK_ORDER}, "target": disk["target"]}, last="target")


def _refuse_doubles(what: str, claims: t.Iterable[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for value, domain in claims:
        if value in seen:
            raise InvalidInput(
                f"The {what} {value} is given twice: to {seen[value]} and to {domain}",
                rule="each belongs to one domain",
                remedy="Change one of them",
            )
        seen[value] = domain
