# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""A boot script for U-Boot that loads all of a board's files, tells Xen about them in the device tree, and boots.

It says what fails and stops there, where the script of ImageBuilder goes on. The device tree bindings are those of Xen's
docs/misc/arm/device-tree/booting.txt, the commands those of U-Boot's shell (doc/usage/cmd).
"""

from __future__ import annotations

import struct
import typing as t
import zlib
from dataclasses import dataclass

from .._device_tree.tree import DeviceTree
from .._errors import InvalidInput
from .._file_types import UIMAGE
from .boot_files import Files
from .configuration import CAPABILITIES, Board, DomU
from .load_map import DEVICE_TREE, SCRIPT, XEN, LoadMap, Slot, lay_out

#: Text, texts, numbers, or nothing.
Value = t.Union[str, "tuple[str, ...]", "list[int]", None]
#: Cells that one command takes: U-Boot's shell has a limit on the words of a command (CONFIG_SYS_MAXARGS, 16 on some boards).
_CELLS_MAX = 10


@dataclass(frozen=True)
class NewNode:
    """Make a node."""

    parent: str
    name: str

    @property
    def subject(self) -> str:
        """What is changed."""
        return f"{self.parent} {self.name}"

    @property
    def command(self) -> str:
        """U-Boot's command for it."""
        return f"fdt mknod {self.parent} {self.name}"

    @property
    def size(self) -> int:
        """Bytes that the device tree grows by."""
        return 12 + _padded(len(self.name) + 1)


@dataclass(frozen=True)
class Property:
    """Set a property: text, texts, numbers, or none."""

    path: str
    name: str
    value: Value = None

    @property
    def subject(self) -> str:
        """What is changed."""
        return f"{self.path} {self.name}"

    @property
    def command(self) -> str:
        """U-Boot's command for it."""
        if self.value is None:
            value = ""
        elif isinstance(self.value, str):
            value = f' "{self.value}"'
        elif isinstance(self.value, tuple):
            value = "".join(f' "{text}"' for text in self.value)
        else:
            value = " <" + " ".join(hex(number) for number in self.value) + ">"
        # At the start of a word, # begins a comment.
        return f"fdt set {self.path} {self.name.replace('#', chr(92) + '#')}{value}"

    @property
    def size(self) -> int:
        """Bytes that the device tree grows by."""
        if isinstance(self.value, (str, tuple)):
            texts = (self.value,) if isinstance(self.value, str) else self.value
            length = sum(len(text) + 1 for text in texts)
        else:
            length = 4 * len(self.value or [])
        return 12 + _padded(length) + len(self.name) + 1


Edit = t.Union[NewNode, Property]


def check_supported(board: Board) -> None:
    """Refuse what only ImageBuilder can do.

    :raises InvalidInput: the board uses it.
    """
    if board.boot_command == "bootm":
        raise InvalidInput("boot_command bootm is not supported here", remedy="Use booti, or ImageBuilder")
    if board.dom0 and board.dom0.rootfs:
        raise InvalidInput(
            "dom0.rootfs is for ImageBuilder's disk_image only", remedy="Name the root file system in dom0.cmdline: root=/dev/..."
        )
    for domu in board.booted:
        for option in ("rootfs", "shared_memory", "static_event_channels"):
            if getattr(domu, option):
                raise InvalidInput(f"{domu.name}: {option} is not supported here", remedy="Use ImageBuilder for it")


def plan_memory(board: Board, files: Files) -> LoadMap:
    """Return the load map, with room for the device tree to grow by what the script adds to it.

    :raises InvalidInput: the files do not fit.
    """
    # Addresses do not change the size of what is added, so any will do to compute it.
    anywhere = lay_out(board, files, domus=board.booted, share=True)
    return lay_out(board, files, domus=board.booted, growth=growth(board, files, anywhere), share=True)


def growth(board: Board, files: Files, load_map: LoadMap) -> int:
    """Return the bytes that the device tree grows by, generously."""
    host = files.device_tree(board.device_tree, "device_tree")
    overlays = sum(files.size(name, "overlay") for name in board.overlays)
    return _padded(sum(edit.size for edit in edits(board, host, load_map)) + 2 * overlays + 4096)


def source(board: Board, files: Files, load_map: LoadMap) -> str:
    """Return the script's text."""
    host = files.device_tree(board.device_tree, "device_tree")
    lines = ["# Managed by Ansible (xen.driver_domains.uboot_script): changes made here are lost.", "#"]
    lines += [f"# {line}" for line in load_map.text().splitlines()]
    lines += ["#", *(f"# domain {domid}: {name}" for name, domid in board.domids.items()), ""]
    lines += [_load(slot) for slot in load_map.loads]
    if board.bitstream:
        slot = load_map["bitstream"]
        lines.append(_or_stop(f"fpga load 0 {slot.address:#x} {slot.size:#x}", "the bitstream could not be loaded"))
    tree = load_map[DEVICE_TREE].address
    lines.append(_or_stop(f"fdt addr {tree:#x}", f"{board.device_tree} is no device tree"))
    lines.append(_or_stop(f"fdt resize {growth(board, files, load_map):x}", "no room for the device tree to grow"))
    for number in range(len(board.overlays)):
        slot = load_map[f"overlay {number}"]
        lines.append(_or_stop(f"fdt apply {slot.address:#x}", f"the overlay {slot.file} does not apply"))
    lines.append("setenv xen_failed")
    lines += [f'{edit.command} || setenv xen_failed "{edit.subject}"' for edit in edits(board, host, load_map)]
    lines.append('if test -n "${xen_failed}"; then echo "boot script: the device tree could not be changed: ${xen_failed}"; exit 1; fi')
    # The device tree stays where it is.
    lines.append("setenv fdt_high 0xffffffffffffffff")
    if board.extra_commands_file:
        lines += files.text(board.extra_commands_file, "extra_commands_file").splitlines()
    xen = load_map[XEN].address
    if board.boot_command == "none":
        lines += [f"setenv host_kernel_addr {xen:#x}", f"setenv host_fdt_addr {tree:#x}"]
    elif board.boot_command == "bootefi":
        lines += [f"bootefi {xen:#x} {tree:#x}"]
    else:
        lines += [f"{board.boot_command} {xen:#x} - {tree:#x}"]
    if board.boot_command != "none":
        lines += [f'echo "boot script: {board.boot_command} could not start Xen"', "exit 1"]
    return "\n".join(lines) + "\n"


def edits(board: Board, host: DeviceTree, load_map: LoadMap) -> list[Edit]:
    """Return what is changed in the device tree."""
    found: list[Edit] = [
        Property("/chosen", "#address-cells", [2]),
        Property("/chosen", "#size-cells", [2]),
        Property("/chosen", "xen,xen-bootargs", board.xen_cmdline),
    ]
    if "/chosen" not in host.by_path:
        found.insert(0, NewNode("/", "chosen"))
    if board.static_heap:
        found.append(Property("/chosen", "xen,static-heap", [cell for r in board.static_heap for cell in _cells(r.start) + _cells(r.size)]))
    pools = _cpupools(board, host, found)
    # Each new node goes before those that are there, and Xen numbers the domains from the front: hence the last one first.
    for domu in reversed(board.booted):
        found += _domu(domu, load_map, pools)
    if board.dom0:
        found.append(Property("/chosen", "xen,dom0-bootargs", board.dom0.cmdline))
        found += _module(
            "/chosen", "dom0-ramdisk", load_map.find("dom0 ramdisk"), ("xen,linux-initrd", "xen,multiboot-module", "multiboot,module")
        )
        found += _module("/chosen", "dom0", load_map["dom0 kernel"], ("xen,linux-zimage", "xen,multiboot-module", "multiboot,module"))
    found += _module("/chosen", "xsm-policy", load_map.find("XSM policy"), ("xen,xsm-policy", "xen,multiboot-module", "multiboot,module"))
    for domu in board.domus:
        found += [Property(path, "xen,passthrough") for path in domu.passthrough_paths]
    for edit in found:
        if isinstance(edit, Property) and isinstance(edit.value, list) and len(edit.value) > _CELLS_MAX:
            raise InvalidInput(
                f"{edit.subject} would have {len(edit.value)} numbers",
                rule=f"U-Boot's shell takes {_CELLS_MAX} of them in one command; a region of memory has 4, a CPU 1",
                remedy="List fewer regions, or CPUs",
            )
    return found


def _domu(domu: DomU, load_map: LoadMap, pools: t.Sequence[int]) -> list[Edit]:
    node = f"domU-{domu.name}"
    path = f"/chosen/{node}"
    found: list[Edit] = [
        NewNode("/chosen", node),
        Property(path, "compatible", "xen,domain"),
        Property(path, "#address-cells", [2]),
        Property(path, "#size-cells", [2]),
        Property(path, "memory", _cells(domu.memory << 10)),
        Property(path, "cpus", [domu.vcpus]),
    ]
    if domu.vpl011:
        found.append(Property(path, "vpl011"))
    if domu.enhanced != "disabled":
        found.append(Property(path, "xen,enhanced", domu.enhanced))
    if domu.static_memory:
        cells = [cell for region in domu.static_memory for cell in _cells(region.start) + _cells(region.size)]
        found.append(Property(path, "xen,static-mem", cells))
        if domu.direct_map:
            found.append(Property(path, "direct-map"))
    if domu.cpupool is not None:
        found.append(Property(path, "domain-cpupool", [pools[domu.cpupool]]))
    if domu.colors:
        found.append(Property(path, "llc-colors", domu.colors))
    numbers = {
        "nr_spis": domu.nr_spis,
        "max_grant_version": domu.grant_version,
        "max_grant_frames": domu.grant_frames,
        "max_maptrack_frames": domu.maptrack_frames,
        "capabilities": sum(CAPABILITIES[name] for name in domu.capabilities) or None,
        "trap-unmapped-accesses": None if domu.trap_unmapped is None else int(domu.trap_unmapped),
    }
    found += [Property(path, name, [value]) for name, value in numbers.items() if value is not None]
    for vcpu, cpus in domu.vcpu_affinity:
        found += [
            NewNode(path, f"vcpu{vcpu}"),
            Property(f"{path}/vcpu{vcpu}", "compatible", "xen,vcpu"),
            Property(f"{path}/vcpu{vcpu}", "id", [vcpu]),
            Property(f"{path}/vcpu{vcpu}", "hard-affinity", cpus),
        ]
    found += _module(path, "kernel", load_map[f"{domu.name} kernel"], ("multiboot,kernel", "multiboot,module"))
    if domu.cmdline:
        found.append(Property(f"{path}/kernel", "bootargs", domu.cmdline))
    found += _module(path, "ramdisk", load_map.find(f"{domu.name} ramdisk"), ("multiboot,ramdisk", "multiboot,module"))
    found += _module(path, "dtb", load_map.find(f"{domu.name} partial device tree"), ("multiboot,device-tree", "multiboot,module"))
    return found


def _module(parent: str, name: str, slot: Slot | None, compatible: tuple[str, ...]) -> list[Edit]:
    if slot is None:
        return []
    path = f"{parent}/{name}"
    return [
        NewNode(parent, name),
        Property(path, "compatible", compatible),
        Property(path, "reg", _cells(slot.address) + _cells(slot.size)),
    ]


def _cpupools(board: Board, host: DeviceTree, found: list[Edit]) -> list[int]:
    """Add the pools' nodes and return the numbers by which domains refer to them."""
    if not board.cpupools:
        return []
    following = 1 + max(host.by_phandle, default=0)
    numbers = []
    for index, pool in enumerate(board.cpupools):
        cpus = []
        for cpu in pool.cpus:
            path = f"/cpus/{cpu}"
            known = host.by_path[path].cells("phandle")
            if not known:
                known, following = [following], following + 1
                found.append(Property(path, "phandle", known))
            cpus += known
        path = f"/chosen/cpupool_{index}"
        found += [
            NewNode("/chosen", f"cpupool_{index}"),
            Property(path, "phandle", [following]),
            Property(path, "compatible", "xen,cpupool"),
        ]
        found.append(Property(path, "cpupool-cpus", cpus))
        if pool.scheduler:
            found.append(Property(path, "cpupool-sched", pool.scheduler))
        numbers.append(following)
        following += 1
    return numbers


def _load(slot: Slot) -> str:
    """Load a file, and see that it is the one whose size goes into the device tree."""
    return "\n".join(
        [
            _or_stop(f"{slot.load_command} {slot.address:#x} {slot.file}", f"{slot.file} could not be loaded"),
            _or_stop(
                f'test "${{filesize}}" = "{slot.size:x}"', f"{slot.file} has another size than when this script was made (0x{slot.size:x})"
            ),
        ]
    )


def _or_stop(command: str, problem: str) -> str:
    return f'if {command}; then true; else echo "boot script: {problem}"; exit 1; fi'


def _cells(number: int) -> list[int]:
    return [number >> 32, number & 0xFFFFFFFF]


def _padded(length: int) -> int:
    return (length + 3) & ~3


def image(text: str, load_map: LoadMap) -> bytes:
    """Wrap a script as U-Boot's command `source` wants it: a legacy image, as `mkimage -A arm64 -T script -C none` makes it.

    The time in the header is fixed, so the same script is the same file.
    """
    script = text.encode("ascii")
    data = struct.pack(">2I", len(script), 0) + script
    address = load_map[SCRIPT].address & 0xFFFFFFFF
    # magic, CRC of the header, time, size, load address, entry, CRC of the data, Linux, arm64, script, not packed, name
    fields = (int.from_bytes(UIMAGE.magic, "big"), 0, 0, len(data), address, address, zlib.crc32(data), 5, 22, 6, 0, b"Xen boot script")
    header = struct.pack(">7I4B32s", *fields)
    return header[:4] + struct.pack(">I", zlib.crc32(header)) + header[8:] + data


def text_of(content: bytes) -> str:
    """Return the script inside an image; "" when it is none."""
    if len(content) < 72 or not UIMAGE.matches(content):
        return ""
    (length,) = struct.unpack_from(">I", content, 64)
    return content[72 : 72 + length].decode("ascii", "replace")
