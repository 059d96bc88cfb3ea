# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Check that the options of a board do not contradict each other. No file is read for this."""

from __future__ import annotations

from .._errors import InvalidInput
from .._spans import Span
from .configuration import Board

#: Characters of a text that the command `fdt set` takes: its buffer of 1024 bytes, and the 0 at the end.
_TEXT_MAX = 1023


def check_consistency(board: Board) -> None:
    """Check that the domains have names and devices of their own, and memory that does not overlap.

    :raises InvalidInput: they do not.
    """
    if not board.dom0 and not board.booted:
        raise InvalidInput("There is neither a dom0 nor a domain to start", remedy="Set dom0, domus or both")
    names: set[str] = {"dom0", "Domain-0"}
    owners: dict[str, str] = {}
    for domu in board.domus:
        if domu.name in names:
            raise InvalidInput(f"Two domains have the name {domu.name!r}", remedy="Rename one")
        names.add(domu.name)
        for path in domu.passthrough_paths:
            for other, owner in owners.items():
                if path == other:
                    raise InvalidInput(f"{domu.name}: {path} is already passed through to {owner}", rule="a device has one owner")
                if owner != domu.name and (path.startswith(f"{other}/") or other.startswith(f"{path}/")):
                    raise InvalidInput(
                        f"{domu.name}: of {path} and {other}, which is passed through to {owner}, one is below the other",
                        rule="a node goes with all nodes below it, and a device has one owner",
                        remedy="Give both to the same domain, or name the devices in place of their bus",
                    )
            owners[path] = domu.name
    _check_static_memory(board)
    for where, text in command_lines(board).items():
        check_length(where, text)


def command_lines(board: Board) -> dict[str, str]:
    """Return the command lines, each with the name of its option."""
    found = {"xen_cmdline, with what follows from other options": board.xen_cmdline}
    if board.dom0:
        found["dom0.cmdline"] = board.dom0.cmdline
    return {**found, **{f"{domu.name}: cmdline": domu.cmdline for domu in board.booted}}


def check_length(where: str, text: str) -> None:
    """Check that U-Boot can put a text into the device tree.

    :raises InvalidInput: it is longer than the buffer of `fdt set` (SCRATCHPAD in cmd/fdt.c), beyond which U-Boot writes all the same.
    """
    if len(text) > _TEXT_MAX:
        raise InvalidInput(
            f"{where} has {len(text)} characters",
            rule=f"U-Boot crashes at a text of more than {_TEXT_MAX} characters in the command fdt set",
            remedy="Shorten it, or put the rest into the configuration of the kernel or of the ramdisk",
        )


def _check_static_memory(board: Board) -> None:
    wanted = [("static_heap", "static_heap", region) for region in board.static_heap]
    wanted += [(domu.name, f"{domu.name}: static_memory", region) for domu in board.booted for region in domu.static_memory]
    taken: list[tuple[str, Span]] = []
    for owner, what, region in wanted:
        for other_owner, other in taken:
            if region.overlaps(other):
                raise InvalidInput(f"{what} {region} overlaps {other} of {other_owner}", remedy="Move one of them")
        taken.append((owner, region))
