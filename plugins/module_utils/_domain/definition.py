# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The domains that the user requests: check their parameters and render each as a definition file, xl.cfg(5)."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from .._errors import InvalidInput
from .._volumes import volume_of
from .._xen.xlcfg import render, specification
from .device_text import device_text
from .disk import Disk, check_vdev, vdev_number
from .paths import MARKER
from .ready import Ready
from .vbd_options import disk_settings
from .vif_options import DOM0, vif_settings

if t.TYPE_CHECKING:
    from .._pci.device import PciDevice

#: Bytes of the kernel command line that a PV guest gets; Xen cuts the rest off silently (xen/include/public/xen.h,
#: MAX_GUEST_CMDLINE, which counts the final 0).
PV_CMDLINE_LIMIT = 1023

#: States for which the definition that the host has is used, so that the name is enough.
RESTARTED, PREVIOUS = "restarted", "previous"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_PCI_OPTIONS = ("vslot", "permissive", "msitranslate", "seize", "power_mgmt", "rdm_policy")
#: The beginning of a target that is no path.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
#: Settings that have a parameter of their own: `options` must not set them a second time.
_TYPED = frozenset({"name", "type", "memory", "maxmem", "vcpus", "kernel", "ramdisk", "cmdline", "root", "extra", "driver_domain"}) | {
    *("pci", "vif", "disk", "on_poweroff", "on_reboot", "on_crash", "on_watchdog"),
}


class Attachment(t.NamedTuple):
    """Where a vif is attached; the backend is "" for dom0, and the script is "" for the default one."""

    mac: str
    backend: str
    bridge: str
    script: str = ""
    #: Whether the guest has an emulated card as well, which it may use instead.
    emulated: bool = False


@dataclass(frozen=True)
class Definition:
    """One domain as the user requests it."""

    name: str
    #: running, stopped, present or absent.
    state: str
    #: RESTARTED or PREVIOUS, when that was requested of a domain that is to run; else "".
    verb: str = ""
    autostart: bool = False
    #: Content of the definition file; "" when the domain is to be absent.
    text: str = ""
    #: pv, pvh or hvm.
    kind: str = "pv"
    #: Whether it does without hardware assisted paging (`hap`, xl.cfg(5)).
    without_hap: bool = False
    #: In MiB.
    memory: int = 0
    vcpus: int = 1
    #: The kernel's path in dom0, or "".
    kernel: str = ""
    #: The device model of its own that it names (`device_model_override`), or "".
    device_model: str = ""
    driver_domain: bool = False
    #: Files that must exist in dom0.
    files: tuple[str, ...] = ()
    #: (target, source) of each disk that is copied from an image unless it exists.
    copies: tuple[tuple[str, str], ...] = ()
    disks: tuple[Disk, ...] = ()
    #: The specifications of its vifs and disks for xl, in the order of the definition, by kind of device.
    specifications: t.Mapping[str, t.Sequence[str]] = field(default_factory=dict)
    pci: tuple[PciDevice, ...] = ()
    vifs: tuple[Attachment, ...] = ()
    #: Names of the domains other than dom0 that serve it: its vifs, disks, and all else that `options` attaches.
    backends: frozenset[str] = frozenset()
    ready: Ready | None = None
    #: In seconds.
    wait_timeout: float = 300.0

    @property
    def console(self) -> str:
        """The command that shows its console; by default xl would take the serial port of an HVM domain (xl(1), console)."""
        return f"xl console -t pv {self.name}" if self.kind == "hvm" else f"xl console {self.name}"

    @property
    def emulated(self) -> frozenset[str]:
        """The MAC addresses of its vifs beside which it has an emulated card."""
        return frozenset(vif.mac for vif in self.vifs if vif.emulated)

    @property
    def memory_needed(self) -> int:
        """The memory in MiB that Xen must have for it: of a PVH or HVM domain, also what maps it (libxl_get_required_shadow_memory)."""
        return self.memory if self.kind == "pv" else self.memory + self.vcpus - (-self.memory // 128)

    @property
    def local_disks(self) -> tuple[Disk, ...]:
        """The disks whose targets are files or block devices of dom0."""
        return tuple(disk for disk in self.disks if disk.local)


def definitions(domains: t.Sequence[t.Mapping[str, t.Any]], devices: t.Mapping[str, PciDevice]) -> list[Definition]:
    """Check the parameters of all domains against each other and return their definitions.

    :param domains: the parameter `domains` of the module xl_domain.
    :param devices: the PCI devices by the names that `pci` uses.
    :raises InvalidInput: a value is wrong, or two domains claim the same name, MAC address or device.
    """
    wanted = [_definition(parameters, devices) for parameters in domains]
    _refuse_doubles("name", [(d.name, d.name) for d in wanted])
    alive = [d for d in wanted if d.state in ("running", "present")]
    _refuse_doubles("MAC address", [(vif.mac, d.name) for d in alive for vif in d.vifs])
    refuse_shared_disks(alive)
    _refuse_doubles("PCI device", [(str(device.bdf), d.name) for d in alive for device in d.pci])
    return wanted


def _definition(parameters: t.Mapping[str, t.Any], devices: t.Mapping[str, PciDevice]) -> Definition:
    name = parameters["name"]
    if not _NAME.fullmatch(name) or name.isdecimal() or name == "Domain-0":
        raise InvalidInput(
            f"{name!r} is not a usable domain name",
            rule="a name has 1 to 64 letters, digits and '_.+-', starts with a letter or digit, and is neither Domain-0 nor a number, "
            "which xl would take for a domid",
            remedy="Choose another name",
        )
    try:
        if parameters["state"] == "absent":
            # Nothing of it is written, but who served it matters while it is stopped.
            return Definition(name, "absent", backends=_backends(parameters))
        if parameters["state"] in (RESTARTED, PREVIOUS):
            return Definition(
                name, "running", parameters["state"], ready=_ready(parameters["ready"]), wait_timeout=parameters["wait_timeout"]
            )
        return _present(name, parameters, devices)
    except InvalidInput as exc:
        raise InvalidInput(f"Domain {name}: {exc.problem}", exc.rule, exc.remedy, **exc.details) from exc


def _present(name: str, parameters: t.Mapping[str, t.Any], devices: t.Mapping[str, PciDevice]) -> Definition:
    options = parameters["options"] or {}
    _check_values(parameters, options)
    pci = [_pci(item, devices) for item in parameters["pci"] or []]
    vifs = [_for_kind(vif, parameters["type"]) for vif in vif_settings(name, parameters.get("vifs") or [])]
    disks = [{**disk, "target": disk.get("target") or ""} for disk in parameters["disks"] or []]
    texts = {"vif": [device_text("vif", vif) for vif in vifs], "vbd": [_disk(disk) for disk in disks]}
    settings: dict[str, t.Any] = {
        **{key: parameters[key] for key in ("name", "type", "memory", "maxmem", "vcpus", "kernel", "ramdisk", "cmdline")},
        "driver_domain": True if parameters["driver_domain"] else None,
        "pci": [text for _device, text in pci] or None,
        "vif": texts["vif"] or None,
        "disk": texts["vbd"] or None,
        **{key: parameters.get(key) for key in ("on_poweroff", "on_reboot", "on_crash", "on_watchdog")},
        **dict(sorted(options.items())),
    }
    _refuse_doubles("vdev", [(vdev_number(disk["vdev"]), f"disk {number}") for number, disk in enumerate(disks)])
    local_disks = [disk for disk in disks if _is_path(disk)]
    files = [parameters["kernel"], parameters["ramdisk"], *(disk["target"] for disk in local_disks if not disk.get("source"))]
    return Definition(
        name=name,
        state=parameters["state"],
        autostart=parameters["autostart"],
        text=MARKER + render(settings),
        kind=parameters["type"],
        without_hap=options.get("hap") in (False, 0, "0"),
        memory=parameters["memory"],
        vcpus=parameters["vcpus"],
        kernel=parameters["kernel"] or "",
        device_model=str(options.get("device_model_override") or ""),
        driver_domain=parameters["driver_domain"],
        files=tuple(path for path in files if path),
        copies=tuple((disk["target"], disk["source"]) for disk in local_disks if disk.get("source")),
        disks=tuple(Disk(disk["target"], _is_writable(disk), _backend(disk), _is_path(disk)) for disk in disks),
        pci=tuple(device for device, _text in pci),
        specifications=texts,
        vifs=tuple(
            Attachment(
                vif["mac"],
                _backend(vif),
                vif.get("bridge") or "",
                vif.get("script") or "",
                emulated=parameters["type"] == "hvm" and vif.get("type") != "vif",
            )
            for vif in vifs
        ),
        backends=_backends(parameters),
        ready=_ready(parameters["ready"]),
        wait_timeout=parameters["wait_timeout"],
    )


def _ready(parameters: t.Mapping[str, t.Any] | None) -> Ready | None:
    return Ready(parameters["key"], parameters["value"], parameters["error_key"] or "") if parameters else None


def _backends(parameters: t.Mapping[str, t.Any]) -> frozenset[str]:
    """The domains other than dom0 that serve a domain, from its vifs and disks, and `backend=` in any device that `options` has.

    xl takes `backend=` in p9, vtpm, usbctrl, vkb, vdispl, vsnd, pvcalls, virtio and others in the same way (xl_parse.c).
    """
    names = {device.get("backend") for device in [*(parameters.get("vifs") or []), *(parameters.get("disks") or [])]}
    for option, value in (parameters.get("options") or {}).items():
        # Arguments of programs have a syntax of their own.
        if "_args" not in option:
            names |= {
                word.strip()
                for text in _texts(value)
                for part in text.split(",")
                for key, _equals, word in [part.partition("=")]
                if key.strip() == "backend"
            }
    return frozenset(str(name) for name in names if name not in DOM0)


def _texts(value: t.Any) -> t.Iterator[str]:
    """The texts in the value of an option: lists may hold lists (`vsnd`)."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value)


def _check_values(parameters: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]) -> None:
    kind, memory, cmdline = parameters["type"], parameters["memory"], parameters["cmdline"] or ""
    if memory is None or memory < 16:
        raise InvalidInput(f"memory is {memory}", rule="a domain needs its memory in MiB, at least 16", remedy="Set memory, e.g. 256")
    maxmem = parameters["maxmem"]
    if maxmem is not None and (maxmem < memory or (maxmem > memory and parameters["pci"])):
        raise InvalidInput(
            f"maxmem is {maxmem} and memory is {memory}",
            rule="a domain with PCI devices cannot grow" if maxmem > memory else "a domain cannot grow to less than it has",
            remedy="Leave maxmem out",
        )
    if parameters["vcpus"] < 1:
        raise InvalidInput(f"vcpus is {parameters['vcpus']}", rule="a domain has at least one virtual CPU")
    if kind == "pv" and len(cmdline.encode()) > PV_CMDLINE_LIMIT:
        raise InvalidInput(
            f"the kernel command line has {len(cmdline.encode())} bytes",
            rule=f"a PV guest gets only the first {PV_CMDLINE_LIMIT}",
            remedy="Shorten it, e.g. with fewer bridges or static addresses in one domain",
        )
    doubled = sorted(_TYPED & set(options))
    if doubled:
        raise InvalidInput(
            f"options sets {', '.join(doubled)}", rule="these settings have a parameter of their own", remedy="Use that parameter"
        )
    if kind != "hvm" and not parameters["kernel"] and not {"bootloader", "firmware"} & set(options):
        raise InvalidInput(
            "there is nothing to boot",
            rule=f"a {kind} domain needs a kernel",
            remedy="Set kernel (and ramdisk or a disk), or options: {bootloader: pygrub} and a disk that holds one",
        )
    if parameters["pci"] and kind == "pvh":
        raise InvalidInput(
            "type is pvh and pci is set",
            rule="x86 PVH domains cannot own PCI devices up to Xen 4.22 (libxl_x86.c)",
            remedy="Use type: pv or type: hvm",
        )


def _pci(item: t.Mapping[str, t.Any], devices: t.Mapping[str, PciDevice]) -> tuple[PciDevice, str]:
    name = item["device"]
    if name not in devices:
        raise InvalidInput(
            f"pci names the device {name!r}",
            rule="a name must be in pci_devices" + (f", which has: {', '.join(sorted(devices))}" if devices else ", which is empty"),
            remedy="Correct the name, or describe the device in pci_devices (in the roles: dom0_pci_assignable)",
        )
    options = specification("pci", {key: item.get(key) for key in _PCI_OPTIONS})
    return devices[name], ",".join(part for part in (str(devices[name].bdf), options) if part)


def _for_kind(vif: dict[str, t.Any], kind: str) -> dict[str, t.Any]:
    """Return a vif as a guest of this kind can have it: QEMU in dom0 emulates cards, and reaches no bridge of a driver domain."""
    if kind != "hvm" or not _backend(vif):
        return vif
    if vif.get("type") == "ioemu" or vif.get("model"):
        raise InvalidInput(
            f"the vif {vif['mac']} is emulated, and {vif['backend']} serves it",
            rule="only dom0 can serve an emulated card (vif-common.sh)",
            remedy="Leave type and model out, or let dom0 serve it",
        )
    return {**vif, "type": "vif"}


def _disk(disk: t.Mapping[str, t.Any]) -> str:
    check_vdev(str(disk["vdev"]))
    if not disk["target"] and disk.get("devtype") != "cdrom":
        raise InvalidInput(
            f"the disk {disk['vdev']} has no target", rule="only a cdrom drive may be empty", remedy="Set target, or devtype: cdrom"
        )
    if disk.get("source") and not _is_path(disk):
        raise InvalidInput(
            f"the disk {disk['vdev']} has a source and a " + ("backend" if disk.get("backend") else "script, or a target that is no path"),
            rule="an image can only be copied to a path in dom0",
            remedy="Create the disk where it is served, e.g. inside the backend domain, and leave source out",
        )
    if _is_path(disk) and not os.path.isabs(disk["target"]):
        raise InvalidInput(
            f"the disk {disk['vdev']} has the target {disk['target']!r}",
            rule="a file or block device in dom0 has an absolute path; xl would look for this one where it happens to run",
            remedy="Begin target with /",
        )
    return device_text("vbd", disk_settings(disk))


def _backend(device: t.Mapping[str, t.Any]) -> str:
    """The domain other than dom0 that serves a vif or disk, or ""."""
    backend = device.get("backend")
    return "" if backend in DOM0 else str(backend)


def _is_path(disk: t.Mapping[str, t.Any]) -> bool:
    """Whether the target of a disk is a path in dom0: not one for a script, or for a driver of QEMU such as `nbd:` or `rbd:`."""
    return not _backend(disk) and not disk.get("script") and bool(disk["target"]) and not _SCHEME.match(disk["target"])


def _is_writable(disk: t.Mapping[str, t.Any]) -> bool:
    """Whether a guest may write to a disk. xl attaches cdrom drives for reading only (xlu_disk_parse): guests can share an image."""
    return disk.get("access") != "ro" and disk.get("devtype") != "cdrom"


def refuse_shared_disks(domains: t.Sequence[Definition]) -> None:
    claims = [((disk.backend, _plain_path(disk)), disk, d.name) for d in domains for disk in d.disks if disk.target]
    for number, (claim, disk, name) in enumerate(claims):
        for other_claim, other, other_name in claims[:number]:
            if claim == other_claim and (disk.writable or other.writable):
                raise InvalidInput(
                    f"The disk {claim[1]} is given twice: to {other_name} and to {name}",
                    rule="a disk that one domain writes to belongs to it alone",
                    remedy="Change one of them, or set access: ro for both",
                )


def _plain_path(disk: Disk) -> str:
    """Return the path of a disk without detours; normpath leaves two slashes at its beginning alone.

    Where its backend is another domain, nobody here can look which paths lead to one volume, but their names say so.
    """
    volume = volume_of(disk.target) if disk.backend else None
    return f"/dev/{volume[0]}/{volume[1]}" if volume else re.sub("^/+", "/", os.path.normpath(disk.target))


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
