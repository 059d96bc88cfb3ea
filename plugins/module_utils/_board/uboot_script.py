# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""A boot script for U-Boot that loads all files of a board, describes them in the device tree for Xen, and boots.

It reports what fails and stops there, where the script of ImageBuilder continues. The device tree bindings are those of Xen's
docs/misc/arm/device-tree/booting.txt, the commands those of U-Boot's shell (doc/usage/cmd).
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .._device_tree.dtb import check_outputs
from .._device_tree.tree import DeviceTree
from .._errors import InvalidInput
from .._files import read_bytes
from .._plan import Plan
from .boot_files import Files
from .checks import check_files, check_memory
from .configuration import Board, DomU
from .load_map import DEVICE_TREE, SCRIPT, XEN, LoadMap, Slot, lay_out
from .options import BOARD_OPTIONS, CAPABILITIES, DOMU_OPTIONS, SPANS, Option
from .reader import read_board
from .script_image import image, text_of
from .xenstore_page import with_xenstore_page

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
        """The node or property, for messages."""
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
        """The node or property, for messages."""
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


def plan_script(parameters: t.Mapping[str, t.Any]) -> Plan:
    """Check the board and its files, and plan the writing of the boot script.

    :param parameters: those of `ARGUMENT_SPEC`, and `path` and `source`, relative to the board's directory.
    :raises InvalidInput: an option or a file is wrong.
    """
    board = read_board(parameters)
    check_supported(board)
    outputs = [os.path.join(board.directory, name) for name in (parameters["path"], parameters["source"]) if name]
    check_outputs(outputs, *(os.path.join(board.directory, name) for name in board.files))
    files, plan = Files(board.directory, board.pending), Plan()
    board = with_xenstore_page(board, files)
    check_files(board, files, plan, packed_ramdisks=True)
    load_map = plan_memory(board, files)
    check_memory(board, files, load_map, plan)
    text = source(board, files, load_map)
    path = os.path.join(board.directory, parameters["path"])
    plan.results = {"path": path, "domids": board.domids, **load_map.results()}
    plan.write_file(path, image(text, load_map[SCRIPT].address), before=text_of(read_bytes(path) or b""), after=text)
    if parameters["source"]:
        plan.write_file(os.path.join(board.directory, parameters["source"]), text)
    return plan


def check_supported(board: Board) -> None:
    """Refuse what only ImageBuilder can do.

    :raises InvalidInput: the board uses it.
    """
    if board.boot_command == "bootm":
        raise InvalidInput("boot_command bootm is not supported here", remedy="Use booti, or ImageBuilder")
    for domu in board.booted:
        if domu.shared_memory:
            raise InvalidInput(f"{domu.name}: shared_memory is not supported here", remedy="Use ImageBuilder for it")


def plan_memory(board: Board, files: Files) -> LoadMap:
    """Return the load map, with room in which the device tree can grow by what the script adds to it.

    :raises InvalidInput: the files do not fit.
    """
    # The size of what is added does not depend on the addresses, so any load map will do to compute it.
    anywhere = lay_out(board, files, domus=board.booted, native=True)
    return lay_out(board, files, domus=board.booted, growth=growth(board, files, anywhere), native=True)


def growth(board: Board, files: Files, load_map: LoadMap) -> int:
    """Return a generous upper limit for the growth of the device tree, in bytes."""
    host = files.host_tree(board.device_tree, board.overlays)
    overlays = sum(files.size(name, "overlay") for name in board.overlays)
    return _padded(sum(edit.size for edit in edits(board, host, load_map)) + 2 * overlays + 4096)


def source(board: Board, files: Files, load_map: LoadMap) -> str:
    """Return the script's text."""
    host = files.host_tree(board.device_tree, board.overlays)
    lines = ["# Managed by Ansible (xen.driver_domains.uboot_script): changes made here are lost.", "#"]
    lines += [f"# {line}" for line in load_map.text().splitlines()]
    lines += ["#", *(f"# domain {domid}: {name}" for name, domid in board.domids.items()), ""]
    # U-Boot before 2023.04 ignores `exit` in a script: what must not follow a failed step is behind a variable.
    lines += ["setenv xen_stop", "setenv xen_failed"]
    lines += [_load(board.load_command, slot) for slot in load_map.loads]
    tree = load_map[DEVICE_TREE].address
    lines.append(_or_stop(f"fdt addr {tree:#x}", f"{board.device_tree} is no device tree"))
    lines.append(_or_stop(f"fdt resize {growth(board, files, load_map):x}", "no room for the device tree to grow"))
    for number in range(len(board.overlays)):
        slot = load_map[f"overlay {number}"]
        lines.append(_or_stop(f"fdt apply {slot.address:#x}", f"the overlay {slot.file} does not apply"))
    lines += [f'{edit.command} || setenv xen_failed "{edit.subject}"' for edit in edits(board, host, load_map)]
    changed = 'echo "boot script: the device tree could not be changed: ${xen_failed}"'
    lines.append(f'if test -n "${{xen_failed}}"; then setenv xen_stop 1; {changed}; exit 1; fi')
    # The device tree stays where it is.
    lines.append("setenv fdt_high 0xffffffffffffffff")
    if board.extra_commands_file:
        # An empty list of commands would be a syntax error.
        commands = files.text(board.extra_commands_file, "extra_commands_file").splitlines()
        lines += ['if test -z "${xen_stop}"; then', "true", *commands, "fi"]
    lines += ['if test -n "${xen_stop}"; then', 'echo "boot script: Xen is not started, because of the failure above"', "else"]
    xen = load_map[XEN].address
    if board.boot_command == "none":
        lines += [f"setenv host_kernel_addr {xen:#x}", f"setenv host_fdt_addr {tree:#x}", "fi"]
        return "\n".join(lines) + "\n"
    lines.append(f"bootefi {xen:#x} {tree:#x}" if board.boot_command == "bootefi" else f"{board.boot_command} {xen:#x} - {tree:#x}")
    lines += [f'echo "boot script: {board.boot_command} could not start Xen"', "fi", "exit 1"]
    return "\n".join(lines) + "\n"


def edits(board: Board, host: DeviceTree, load_map: LoadMap) -> list[Edit]:
    """Return the changes to the device tree.

    :param host: the tree with the overlays, which are applied first.
    """
    found: list[Edit] = [
        Property("/chosen", "#address-cells", [2]),
        Property("/chosen", "#size-cells", [2]),
        Property("/chosen", "xen,xen-bootargs", board.xen_cmdline),
    ]
    if "/chosen" not in host.by_path:
        found.insert(0, NewNode("/", "chosen"))
    if board.static_heap:
        (option,) = (option for option in BOARD_OPTIONS if option.name == "static_heap")
        found.append(Property("/chosen", option.property, _encode(option, board.static_heap)))
    # U-Boot puts each new node before the existing ones, and Xen numbers the domains from the front, so the last one is written first.
    for domu in reversed(board.booted):
        found += _domu(domu, load_map)
    if board.dom0:
        found.append(Property("/chosen", "xen,dom0-bootargs", board.dom0.cmdline))
        found += _module(
            "/chosen", "dom0-ramdisk", load_map.find("dom0 ramdisk"), ("xen,linux-initrd", "xen,multiboot-module", "multiboot,module")
        )
        found += _module("/chosen", "dom0", load_map["dom0 kernel"], ("xen,linux-zimage", "xen,multiboot-module", "multiboot,module"))
    for domu in board.domus:
        found += [Property(path, "xen,passthrough") for path in domu.passthrough_paths]
    for edit in found:
        if isinstance(edit, Property) and isinstance(edit.value, list) and len(edit.value) > _CELLS_MAX:
            raise InvalidInput(
                f"{edit.subject} would have {len(edit.value)} numbers",
                rule=f"U-Boot's shell takes {_CELLS_MAX} of them in one command; a region of memory has 4",
                remedy="List fewer regions",
            )
    return found


def _domu(domu: DomU, load_map: LoadMap) -> list[Edit]:
    node = f"domU-{domu.name}"
    path = f"/chosen/{node}"
    found: list[Edit] = [
        NewNode("/chosen", node),
        Property(path, "compatible", "xen,domain"),
        Property(path, "#address-cells", [2]),
        Property(path, "#size-cells", [2]),
    ]
    for option in DOMU_OPTIONS:
        if option.property and not _left_out(getattr(domu, option.name)):
            value = getattr(domu, option.name)
            if option.name == "memory":
                # In KiB, and exactly the size of the static memory: Xen stops at any other number.
                value = sum(region.size for region in domu.static_memory) >> 10 or value << 10
            found.append(Property(path, option.property, _encode(option, value)))
    found += _module(path, "kernel", load_map[f"{domu.name} kernel"], ("multiboot,kernel", "multiboot,module"))
    if domu.cmdline:
        found.append(Property(f"{path}/kernel", "bootargs", domu.cmdline))
    found += _module(path, "ramdisk", load_map.find(f"{domu.name} ramdisk"), ("multiboot,ramdisk", "multiboot,module"))
    found += _module(path, "dtb", load_map.find(f"{domu.name} partial device tree"), ("multiboot,device-tree", "multiboot,module"))
    return found


def _left_out(value: t.Any) -> bool:
    """Whether the option is not given, or Xen takes the lack of the property for this value."""
    return value is None or value is False or value in ("", (), "disabled")


def _encode(option: Option, value: t.Any) -> Value:
    """Return an option's value as the device tree has it."""
    if option.name == "memory":
        return _cells(value)
    if option.name == "capabilities":
        return [sum(CAPABILITIES[name] for name in value)]
    if option.kind == SPANS:
        return [cell for region in value for cell in _cells(region.start) + _cells(region.size)]
    if isinstance(value, bool):
        return None
    return [value] if isinstance(value, int) else str(value)


def _module(parent: str, name: str, slot: Slot | None, compatible: tuple[str, ...]) -> list[Edit]:
    if slot is None:
        return []
    path = f"{parent}/{name}"
    return [
        NewNode(parent, name),
        Property(path, "compatible", compatible),
        Property(path, "reg", _cells(slot.address) + _cells(slot.size)),
    ]


def _load(command: str, slot: Slot) -> str:
    """Load a file, and check that it has the size that goes into the device tree."""
    return "\n".join(
        [
            _or_stop(f"{command} {slot.address:#x} {slot.file}", f"{slot.file} could not be loaded"),
            _or_stop(
                f'test "${{filesize}}" = "{slot.size:x}"', f"{slot.file} has another size than when this script was made (0x{slot.size:x})"
            ),
        ]
    )


def _or_stop(command: str, problem: str) -> str:
    return f'if {command}; then true; else setenv xen_stop 1; echo "boot script: {problem}"; exit 1; fi'


def _cells(number: int) -> list[int]:
    return [number >> 32, number & 0xFFFFFFFF]


def _padded(length: int) -> int:
    return (length + 3) & ~3
