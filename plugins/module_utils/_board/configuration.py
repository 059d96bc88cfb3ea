# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What an Arm board boots: Xen, dom0 and the domains that Xen itself starts (dom0less), as the user describes it.

The same description becomes an ImageBuilder configuration (_imagebuilder) or a boot script (_uboot_script). What is checked
here needs no file; _board_rules looks into the files.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from .._errors import InvalidInput
from .._spans import MIB, PAGE, Span

#: ImageBuilder gives every file a multiple of this, and so do we: an arm64 Image must start at one.
ALIGNMENT = 2 * MIB
#: The load commands behind the short names (uboot-script-gen, -t).
LOAD_COMMANDS = {"tftp": "tftpb", "sd": "load mmc 0:1", "scsi": "load scsi 0:1", "usb": "fatload usb 0:1"}

#: U-Boot's shell and ImageBuilder's bash both interpret the others, even within quotes.
_COMMAND_LINE = re.compile(r"[ !#%&()*+,./0-9:;<=>?@A-Z\[\]^_a-z{|}~-]*")
_FILE_NAME = re.compile(r"(?!-)[A-Za-z0-9._+@,=/-]+")
_NODE_PATH = re.compile(r"(/[A-Za-z0-9,._+@-]+)+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_COLORS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")

#: What a domain may be allowed to do, and the bits for it (xen/include/public/bootfdt.h).
CAPABILITIES = {"control": 1, "hardware": 2, "xenstore": 4}

_DOM0_OPTIONS: dict[str, t.Any] = {
    "kernel": {"type": "str", "required": True},
    "ramdisk": {"type": "str"},
    "cmdline": {"type": "str", "default": "console=hvc0 earlycon=xenboot"},
    "memory": {"type": "int", "default": 1024},
    "vcpus": {"type": "int", "default": 1},
    "colors": {"type": "str"},
    "rootfs": {"type": "str"},
    "load_command": {"type": "str"},
}
_DOMU_OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "kernel": {"type": "str"},
    "ramdisk": {"type": "str"},
    "cmdline": {"type": "str", "default": "console=ttyAMA0"},
    "memory": {"type": "int"},
    "vcpus": {"type": "int", "default": 1},
    # Nothing here is a secret, whatever the names look like.
    "passthrough_dtb": {"type": "str", "no_log": False},
    "passthrough_paths": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "boot": {"type": "bool", "default": True},
    "enhanced": {"type": "str", "choices": ["enabled", "no-xenstore", "disabled"]},
    "static_memory": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"start": {"type": "str", "required": True}, "size": {"type": "str", "required": True}},
    },
    "direct_map": {"type": "bool"},
    "cpupool": {"type": "int"},
    "colors": {"type": "str"},
    "vpl011": {"type": "bool", "default": True},
    "nr_spis": {"type": "int"},
    "grant_version": {"type": "int", "choices": [1, 2]},
    "grant_frames": {"type": "int"},
    "maptrack_frames": {"type": "int"},
    "capabilities": {"type": "list", "elements": "str", "choices": list(CAPABILITIES), "default": []},
    "vcpu_affinity": {"type": "dict", "default": {}},
    "trap_unmapped": {"type": "bool"},
    "shared_memory": {
        "type": "dict",
        "options": {
            "id": {"type": "str", "required": True},
            "host_address": {"type": "str"},
            "guest_address": {"type": "str", "required": True},
            "size": {"type": "str", "required": True},
        },
    },
    "static_event_channels": {"type": "str"},
    "rootfs": {"type": "str"},
    "driver_domain": {"type": "bool", "default": False},
    "load_command": {"type": "str"},
}
#: The options that describe a board, common to all modules that take one.
ARGUMENT_SPEC: dict[str, t.Any] = {
    "directory": {"type": "path", "required": True},
    "memory_start": {"type": "str", "required": True},
    "memory_end": {"type": "str", "required": True},
    "ram": {"type": "int"},
    "device_tree": {"type": "str", "required": True},
    "xen": {"type": "str", "required": True},
    "xen_cmdline": {"type": "str", "default": "console=dtuart bootscrub=0"},
    "xen_colors": {"type": "str"},
    "xen_load_command": {"type": "str"},
    "xen_policy": {"type": "str"},
    "static_heap": _DOMU_OPTIONS["static_memory"],
    "dom0": {"type": "dict", "options": _DOM0_OPTIONS},
    "domus": {"type": "list", "elements": "dict", "default": [], "options": _DOMU_OPTIONS},
    "overlays": {"type": "list", "elements": "str", "default": []},
    "cpupools": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"cpus": {"type": "list", "elements": "str", "required": True}, "scheduler": {"type": "str"}},
    },
    "bitstream": {"type": "str"},
    "extra_commands_file": {"type": "str"},
    "load_command": {"type": "str", "default": "tftp"},
    "boot_command": {"type": "str", "choices": ["booti", "bootm", "bootefi", "none"], "default": "booti"},
    "force": {"type": "list", "elements": "str", "choices": ["dma_without_iommu"], "default": []},
}


@dataclass(frozen=True)
class Dom0:
    """The control domain."""

    kernel: str
    ramdisk: str
    cmdline: str
    memory: int
    vcpus: int
    colors: str
    rootfs: str
    load_command: str


@dataclass(frozen=True)
class DomU:
    """A domain that Xen starts itself; memory in MiB."""

    name: str
    kernel: str
    ramdisk: str
    cmdline: str
    memory: int
    vcpus: int
    passthrough_dtb: str
    passthrough_paths: tuple[str, ...]
    boot: bool
    enhanced: str
    static_memory: tuple[Span, ...]
    direct_map: bool
    cpupool: int | None
    colors: str
    vpl011: bool
    nr_spis: int | None
    grant_version: int | None
    grant_frames: int | None
    maptrack_frames: int | None
    capabilities: tuple[str, ...]
    vcpu_affinity: tuple[tuple[int, str], ...]
    trap_unmapped: bool | None
    shared_memory: str
    static_event_channels: str
    rootfs: str
    driver_domain: bool
    load_command: str


@dataclass(frozen=True)
class Cpupool:
    """CPUs, by the names of their nodes below /cpus, and the scheduler that runs on them."""

    cpus: tuple[str, ...]
    scheduler: str


@dataclass(frozen=True)
class Board:
    """All of it. File names are relative to `directory`."""

    directory: str
    memory: Span
    ram: int
    device_tree: str
    xen: str
    xen_cmdline: str
    xen_colors: str
    xen_load_command: str
    xen_policy: str
    static_heap: tuple[Span, ...]
    dom0: Dom0 | None
    domus: tuple[DomU, ...]
    overlays: tuple[str, ...]
    cpupools: tuple[Cpupool, ...]
    bitstream: str
    extra_commands_file: str
    load_command: str
    boot_command: str

    @property
    def booted(self) -> list[DomU]:
        """The domains that Xen starts, in the order listed."""
        return [domu for domu in self.domus if domu.boot]

    @property
    def domids(self) -> dict[str, int]:
        """The number that Xen gives to each domain."""
        return {**({"dom0": 0} if self.dom0 else {}), **{domu.name: number for number, domu in enumerate(self.booted, 1)}}

    def path(self, name: str) -> str:
        """Return where a file is on the machine that serves it."""
        return os.path.join(self.directory, name)

    @classmethod
    def from_parameters(cls, parameters: t.Mapping[str, t.Any]) -> Board:
        """Check and normalise the options of `ARGUMENT_SPEC`.

        :raises InvalidInput: a value cannot be used, or contradicts another one.
        """
        p = parameters
        reader = _Reader(os.path.abspath(p["directory"]))
        start, end = _address(p["memory_start"], "memory_start"), _address(p["memory_end"], "memory_end")
        if end <= start:
            raise InvalidInput(f"memory_end {end:#x} is not behind memory_start {start:#x}", remedy="Give the window of RAM to load into")
        for name, value in (("memory_start", start), ("memory_end", end)):
            if value % ALIGNMENT:
                raise InvalidInput(
                    f"{name} {value:#x} is not a multiple of 2 MiB (0x200000)", rule="kernels must be loaded at such addresses"
                )
        dom0 = reader.dom0(p["dom0"]) if p["dom0"] else None
        domus = tuple(reader.domu(item, dom0 is not None) for item in p["domus"])
        board = cls(
            directory=reader.directory,
            memory=Span(start, end),
            ram=(p["ram"] or 0) * MIB,
            device_tree=reader.file(p["device_tree"], "device_tree"),
            xen=reader.file(p["xen"], "xen"),
            xen_cmdline=_xen_cmdline(p["xen_cmdline"], dom0, p["xen_colors"] or ""),
            xen_colors=_colors(p["xen_colors"], "xen_colors"),
            xen_load_command=_load_command(p["xen_load_command"], "xen_load_command"),
            xen_policy=reader.file(p["xen_policy"], "xen_policy"),
            static_heap=_regions(p["static_heap"], "static_heap"),
            dom0=dom0,
            domus=domus,
            overlays=tuple(reader.file(name, "overlays") for name in p["overlays"]),
            cpupools=tuple(_cpupool(item) for item in p["cpupools"]),
            bitstream=reader.file(p["bitstream"], "bitstream"),
            extra_commands_file=reader.file(p["extra_commands_file"], "extra_commands_file"),
            load_command=_load_command(p["load_command"], "load_command"),
            boot_command=p["boot_command"],
        )
        _check_together(board)
        return board


class _Reader:
    """Reads what holds file names."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def file(self, name: str | None, option: str) -> str:
        """Return a file name relative to the directory; "" when none is given."""
        if not name:
            return ""
        relative = os.path.relpath(os.path.join(self.directory, name), self.directory)
        if relative.startswith(".."):
            raise InvalidInput(
                f"{option}: {name} is outside of {self.directory}",
                rule="the board loads files below that directory only; a TFTP server refuses all others",
                remedy=f"Copy it below {self.directory}",
            )
        if not _FILE_NAME.fullmatch(relative):
            raise InvalidInput(
                f"{option}: the file name {relative!r} has a character that U-Boot's shell would interpret", remedy="Rename it"
            )
        return relative

    def dom0(self, item: t.Mapping[str, t.Any]) -> Dom0:
        _at_least(item["memory"], 64, "dom0.memory", "MiB")
        _at_least(item["vcpus"], 1, "dom0.vcpus")
        return Dom0(
            kernel=self.file(item["kernel"], "dom0.kernel"),
            ramdisk=self.file(item["ramdisk"], "dom0.ramdisk"),
            cmdline=_cmdline(item["cmdline"], "dom0.cmdline"),
            memory=item["memory"],
            vcpus=item["vcpus"],
            colors=_colors(item["colors"], "dom0.colors"),
            rootfs=self.file(item["rootfs"], "dom0.rootfs"),
            load_command=_load_command(item["load_command"], "dom0.load_command"),
        )

    def domu(self, item: t.Mapping[str, t.Any], with_dom0: bool) -> DomU:
        name = item["name"]
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is not a name for a domain", rule="letters, digits, '_', '.' and '-'")
        if item["boot"] and not item["kernel"]:
            raise InvalidInput(f"{name}: a domain that Xen starts needs a kernel", remedy="Set its kernel, or boot: false")
        if not item["boot"] and not with_dom0:
            raise InvalidInput(f"{name}: boot is false and there is no dom0 that could start it", remedy="Remove it, or set dom0")
        static = _regions(item["static_memory"], f"{name}: static_memory")
        if item["direct_map"] and not static:
            raise InvalidInput(
                f"{name}: direct_map needs static_memory",
                rule="memory that is mapped 1:1 must be reserved at a fixed place",
                remedy="Set static_memory to a region of RAM that nothing else uses",
            )
        total = sum(region.size for region in static) // MIB
        if static and item["memory"] and item["memory"] != total:
            raise InvalidInput(f"{name}: memory is {item['memory']} MiB but static_memory has {total} MiB", remedy="Leave out memory")
        memory = total if static else 512 if item["memory"] is None else item["memory"]
        _at_least(memory, 1, f"{name}: memory", "MiB")
        _at_least(item["vcpus"], 1, f"{name}: vcpus")
        enhanced = item["enhanced"] or ("enabled" if with_dom0 else "disabled")
        if enhanced == "enabled" and not with_dom0:
            raise InvalidInput(
                f"{name}: enhanced is 'enabled' but there is no dom0 that runs XenStore", remedy="Use 'no-xenstore' or 'disabled'"
            )
        return DomU(
            name=name,
            kernel=self.file(item["kernel"], f"{name}: kernel"),
            ramdisk=self.file(item["ramdisk"], f"{name}: ramdisk"),
            cmdline=_cmdline(item["cmdline"], f"{name}: cmdline"),
            memory=memory,
            vcpus=item["vcpus"],
            passthrough_dtb=self.file(item["passthrough_dtb"], f"{name}: passthrough_dtb"),
            passthrough_paths=tuple(_node_path(path, name) for path in item["passthrough_paths"]),
            boot=item["boot"],
            enhanced=enhanced,
            static_memory=static,
            direct_map=bool(static) if item["direct_map"] is None else item["direct_map"],
            cpupool=item["cpupool"],
            colors=_colors(item["colors"], f"{name}: colors"),
            vpl011=item["vpl011"],
            nr_spis=item["nr_spis"],
            grant_version=item["grant_version"],
            grant_frames=item["grant_frames"],
            maptrack_frames=item["maptrack_frames"],
            capabilities=tuple(item["capabilities"]),
            vcpu_affinity=_affinity(item["vcpu_affinity"], item["vcpus"], name),
            trap_unmapped=item["trap_unmapped"],
            shared_memory=_shared_memory(item["shared_memory"], name),
            static_event_channels=_cmdline(item["static_event_channels"] or "", f"{name}: static_event_channels"),
            rootfs=self.file(item["rootfs"], f"{name}: rootfs"),
            driver_domain=item["driver_domain"],
            load_command=_load_command(item["load_command"], f"{name}: load_command"),
        )


def _check_together(board: Board) -> None:
    if not board.dom0 and not board.booted:
        raise InvalidInput("There is neither a dom0 nor a domain to start", remedy="Set dom0, domus or both")
    names: set[str] = {"dom0", "Domain-0"}
    owners: dict[str, str] = {}
    for domu in board.domus:
        if domu.name in names:
            raise InvalidInput(f"Two domains have the name {domu.name!r}", remedy="Rename one")
        names.add(domu.name)
        for path in domu.passthrough_paths:
            if path in owners:
                raise InvalidInput(f"{domu.name}: {path} already goes to {owners[path]}", rule="a device has one owner")
            owners[path] = domu.name
        if domu.cpupool is not None and not 0 <= domu.cpupool < len(board.cpupools):
            raise InvalidInput(
                f"{domu.name}: there is no cpupool {domu.cpupool}", rule=f"cpupools has {len(board.cpupools)} items, the first is 0"
            )
    cpus = [cpu for pool in board.cpupools for cpu in pool.cpus]
    for cpu in cpus:
        if cpus.count(cpu) > 1:
            raise InvalidInput(f"{cpu} is in two cpupools", rule="a CPU is in one")
    taken: list[tuple[str, Span]] = [("static_heap", region) for region in board.static_heap]
    for domu in board.booted:
        for region in domu.static_memory:
            for owner, other in taken:
                if region.overlaps(other):
                    raise InvalidInput(f"{domu.name}: static_memory {region} overlaps {other} of {owner}", remedy="Move one of them")
            taken.append((domu.name, region))


def _xen_cmdline(text: str, dom0: Dom0 | None, xen_colors: str) -> str:
    """Return Xen's whole command line: what the user gave, and what follows from the other options."""
    words = _cmdline(text, "xen_cmdline").split()
    for word in words:
        key = word.split("=", 1)[0]
        if dom0 is None and key.startswith("dom0"):
            raise InvalidInput(
                f"xen_cmdline has {word!r} but there is no dom0", rule="true dom0less has no options of dom0", remedy="Remove it"
            )
        if key in ("dom0_mem", "dom0_max_vcpus", "dom0-llc-colors", "xen-llc-colors"):
            raise InvalidInput(
                f"xen_cmdline has {word!r}, which has an option of its own", remedy="Use dom0.memory, dom0.vcpus, dom0.colors or xen_colors"
            )
    if dom0:
        words += [f"dom0_mem={dom0.memory}M", f"dom0_max_vcpus={dom0.vcpus}"]
        words += [f"dom0-llc-colors={dom0.colors}"] if dom0.colors else []
    words += [f"xen-llc-colors={xen_colors}"] if xen_colors else []
    return " ".join(words)


def _cmdline(text: str, option: str) -> str:
    match = _COMMAND_LINE.match(text)
    if not match or match.end() != len(text):
        bad = text[match.end() if match else 0]
        raise InvalidInput(
            f"{option} has the character {bad!r}",
            rule="quotes, $, backquotes, backslashes and control characters mean something to U-Boot's shell and to bash, even in quotes",
            remedy="Write it without that character",
        )
    if text[:1] in ("<", "["):
        raise InvalidInput(f"{option} begins with {text[0]!r}", rule="U-Boot takes that for numbers", remedy="Begin with something else")
    return text


def _load_command(text: str | None, option: str) -> str:
    text = _cmdline(text or "", option).strip()
    if re.search(r"[;&|<>#]", text):
        raise InvalidInput(f"{option} {text!r} is not one command", remedy="Use tftp, sd, scsi, usb, or one like 'load mmc 1:2'")
    return LOAD_COMMANDS.get(text, text)


def _colors(text: str | None, option: str) -> str:
    if text and not _COLORS.fullmatch(text):
        raise InvalidInput(
            f"{option}: {text!r} are not cache colours", rule="numbers and ranges, such as 0-3 or 0-3,6", remedy="Put them in quotes"
        )
    return text or ""


def _cpupool(item: t.Mapping[str, t.Any]) -> Cpupool:
    for name in (*item["cpus"], *([item["scheduler"]] if item["scheduler"] else [])):
        if not re.fullmatch(r"[A-Za-z0-9@_-]+", name):
            raise InvalidInput(f"cpupools: {name!r} is not the name of a CPU's node (such as cpu@1) or of a scheduler")
    return Cpupool(tuple(item["cpus"]), item["scheduler"] or "")


def _affinity(item: t.Mapping[t.Any, t.Any], vcpus: int, name: str) -> tuple[tuple[int, str], ...]:
    for vcpu, cpus in item.items():
        if not str(vcpu).isdigit() or int(vcpu) >= vcpus or not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", str(cpus)):
            raise InvalidInput(f"{name}: vcpu_affinity {vcpu}: {cpus!r}", rule=f"a virtual CPU, 0 to {vcpus - 1}, and CPUs such as '0-1,3'")
    return tuple(sorted((int(vcpu), str(cpus)) for vcpu, cpus in item.items()))


def _shared_memory(item: t.Mapping[str, str] | None, name: str) -> str:
    """Return it as ImageBuilder wants it: "ID [HOST_ADDRESS] GUEST_ADDRESS SIZE"."""
    if not item:
        return ""
    if not _NAME.fullmatch(item["id"]):
        raise InvalidInput(f"{name}: shared_memory.id {item['id']!r} is not usable", rule="letters, digits, '_', '.' and '-'")
    numbers = [_address(item[key], f"{name}: shared_memory.{key}") for key in ("host_address", "guest_address", "size") if item[key]]
    if any(value % PAGE for value in numbers):
        raise InvalidInput(
            f"{name}: shared_memory is not made of whole pages", rule="its addresses and size are multiples of 4 KiB (0x1000)"
        )
    return " ".join([item["id"], *map(hex, numbers)])


def _node_path(path: str, name: str) -> str:
    if not _NODE_PATH.fullmatch(path):
        raise InvalidInput(f"{name}: {path!r} is not the path of a device tree node", rule="a full path, such as /soc/serial@7e201000")
    return path


def _regions(items: t.Sequence[t.Mapping[str, str]] | None, option: str) -> tuple[Span, ...]:
    regions = []
    for item in items or []:
        region = Span.sized(_address(item["start"], option), _address(item["size"], option))
        if not region.size or region.start % PAGE or region.size % PAGE:
            raise InvalidInput(
                f"{option}: {region} is not made of whole pages", rule="start and size are multiples of 4 KiB (0x1000), not 0"
            )
        regions.append(region)
    return tuple(regions)


def _address(text: str, option: str) -> int:
    """Read 0x40000000, or 1073741824, which is what YAML makes of the former."""
    try:
        value = int(text, 0)
        if not 0 <= value < 1 << 64:
            raise ValueError
    except ValueError as exc:
        raise InvalidInput(f"{option}: {text!r} is not an address or size", remedy="Write it like 0x40000000") from exc
    return value


def _at_least(value: int, minimum: int, option: str, unit: str = "") -> None:
    if value < minimum:
        raise InvalidInput(f"{option} is {value} {unit}".rstrip(), rule=f"at least {minimum}")
