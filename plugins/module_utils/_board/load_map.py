# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The load map of a board: which file is loaded at which address."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._errors import InvalidInput
from .._spans import MIB, Span
from .boot_files import Files
from .configuration import ALIGNMENT, Board, DomU

#: The lowest address that uboot-script-gen uses.
LOWEST = 12 * MIB
#: Bytes that the form in which bootm wants Xen has before it (uboot-script-gen makes it with mkimage).
UIMAGE_HEADER = 64
SCRIPT = "boot script"
XEN = "Xen"
DEVICE_TREE = "device tree"


@dataclass(frozen=True)
class Slot:
    """A file in memory; `room` is what it takes up there, in bytes."""

    what: str
    file: str
    address: int
    size: int
    room: int

    @property
    def span(self) -> Span:
        """The memory that it takes up."""
        return Span.sized(self.address, self.room)


@dataclass(frozen=True)
class LoadMap:
    """All files in memory, in the order in which they are loaded."""

    window: Span
    slots: tuple[Slot, ...]

    @property
    def left(self) -> int:
        """Bytes of the window that are free."""
        return self.window.end - max(slot.span.end for slot in self.slots)

    def __getitem__(self, what: str) -> Slot:
        return next(slot for slot in self.slots if slot.what == what)

    def find(self, what: str) -> Slot | None:
        """Return a slot, or None when the board has no such file."""
        return next((slot for slot in self.slots if slot.what == what), None)

    @property
    def loads(self) -> list[Slot]:
        """The slots whose files are loaded: those that are the first at their address."""
        first: dict[int, Slot] = {}
        for slot in self.slots:
            if slot.file:
                first.setdefault(slot.address, slot)
        return list(first.values())

    def text(self) -> str:
        """The load map as a table."""
        lines = [f"RAM window {self.window}, {self.window.size // MIB} MiB, {self.left // MIB} MiB left"]
        for slot in self.slots:
            lines.append(f"{slot.address:#012x} {slot.room / MIB:6.0f} MiB  {slot.what}{': ' if slot.file else ''}{slot.file}")
        return "\n".join(lines) + "\n"

    def results(self) -> dict[str, t.Any]:
        """The load map as a module's return values."""
        return {
            "load_map": [
                {"what": slot.what, "file": slot.file, "address": f"{slot.address:#x}", "size": slot.size, "end": f"{slot.span.end:#x}"}
                for slot in self.slots
            ],
            "memory_left": self.left,
            "script_address": f"{self[SCRIPT].address:#x}",
        }


def lay_out(board: Board, files: Files, *, domus: t.Sequence[DomU], growth: int = 0, native: bool = False) -> LoadMap:
    """Lay the files out as uboot-script-gen does: each after the one before, beginning 2 MiB after the window's start.

    :param domus: the domains in the order in which their files are loaded.
    :param growth: bytes by which the device tree will grow.
    :param native: for the script of our own, which loads a file that several domains use only once, and leaves the room behind Xen's file
        that Xen clears when it starts.
    :raises InvalidInput: the files do not fit into the window.
    """
    slots = [Slot(SCRIPT, "", max(board.memory.start + ALIGNMENT, LOWEST), 0, ALIGNMENT)]
    shared: list[Slot] = []
    loaded: dict[str, Slot] = {}

    def add(what: str, name: str, extra: int = 0) -> None:
        if not name:
            return
        size = files.size(name, what)
        if native and not extra and name in loaded:
            shared.append(Slot(what, name, loaded[name].address, size, loaded[name].room))
            return
        room = -(-(size + extra) // ALIGNMENT) * ALIGNMENT
        loaded[name] = Slot(what, name, slots[-1].span.end, size, room)
        slots.append(loaded[name])

    if board.dom0:
        add("dom0 kernel", board.dom0.kernel)
        add("dom0 ramdisk", board.dom0.ramdisk)
    for domu in domus:
        for part, name in (("kernel", domu.kernel), ("ramdisk", domu.ramdisk), ("partial device tree", domu.passthrough_dtb)):
            add(f"{domu.name} {part}", name)
    cleared = max(files.kernel(board.xen, "xen", packed=False).image_size - files.size(board.xen, "xen"), 0)
    add(XEN, board.xen, cleared if native else UIMAGE_HEADER if board.boot_command == "bootm" else 0)
    for number, name in enumerate(board.overlays):
        add(f"overlay {number}", name)
    add(DEVICE_TREE, board.device_tree, growth)
    end = slots[-1].span.end
    # uboot-script-gen keeps 2 MiB free.
    if end + ALIGNMENT > board.memory.end:
        largest = sorted(slots[1:], key=lambda slot: -slot.room)[:3]
        raise InvalidInput(
            f"The files need RAM up to {end + ALIGNMENT:#x}, and memory_end is {board.memory.end:#x}: "
            f"{(end + ALIGNMENT - board.memory.end) / MIB:.0f} MiB are missing",
            rule="everything is loaded into memory_start..memory_end, each file to a multiple of 2 MiB",
            remedy="Raise memory_end if the board has more RAM there, or make files smaller; the largest: "
            + ", ".join(f"{slot.file} ({slot.size / MIB:.1f} MiB)" for slot in largest),
        )
    return LoadMap(board.memory, (*slots, *shared))
