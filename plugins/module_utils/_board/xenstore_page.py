# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The page of XenStore of a domain that Xen starts and that is mapped 1:1.

Before Xen 4.21, init-dom0less asks for that page at a guest address which never differs: GUEST_MAGIC_BASE, 0x39000000, plus one page
(tools/helpers/init-dom0less.c, alloc_xs_page). Of a domain that is mapped 1:1, Xen wants that it owns the page of the machine at the same
address already (xen/common/memory.c, populate_physmap). So the page becomes a part of the domain's static memory, and Linux is kept from
using it by `mem=`. Since 4.21, Xen itself sets the page aside (alloc_xenstore_page).
"""

from __future__ import annotations

import dataclasses

from .._device_tree.registers import memory_banks, reserved_memory
from .._errors import InvalidInput
from .._spans import MIB, Span
from .boot_files import Files, xen_release
from .configuration import Board, DomU
from .consistency import check_consistency

#: What is reserved for it: the smallest piece that Xen maps with a single entry of its page tables.
XENSTORE_MEMORY = Span.sized(0x39000000, 2 * MIB)
#: The first release that does not need it.
_RELEASE = (4, 21)


def with_xenstore_page(board: Board, files: Files) -> Board:
    """Return the board with the memory for XenStore of a domain that is mapped 1:1, if its Xen needs that.

    :raises InvalidInput: it needs that, and it is not possible on this board.
    """
    domus = [domu for domu in board.booted if domu.direct_map and domu.enhanced == "enabled"]
    release = xen_release(files.read(board.xen, "xen"))
    if not domus or (release is not None and release >= _RELEASE):
        return board
    version = f"Xen {release[0]}.{release[1]}" if release else "Xen before 4.21 (this one does not contain its version)"
    if len(domus) > 1:
        raise _impossible(domus[1], version, f"{domus[0].name} needs the same memory")
    (domu,) = domus
    _check(board, domu, files, version)
    size = sum(region.size for region in domu.static_memory)
    words = domu.cmdline.split()
    limited = domu.cmdline if any(word.startswith("mem=") for word in words) else f"{domu.cmdline} mem={size >> 10}K".strip()
    changed = dataclasses.replace(
        domu,
        static_memory=(*domu.static_memory, XENSTORE_MEMORY),
        memory=domu.memory + XENSTORE_MEMORY.size // MIB,
        cmdline=limited,
    )
    changed_board = dataclasses.replace(board, domus=tuple(changed if other is domu else other for other in board.domus))
    check_consistency(changed_board)
    return changed_board


def _check(board: Board, domu: DomU, files: Files, version: str) -> None:
    host = files.host_tree(board.device_tree, board.overlays)
    banks = memory_banks(host)
    if banks and not any(bank.contains(XENSTORE_MEMORY) for bank in banks):
        raise _impossible(domu, version, f"the board has no RAM there: {board.device_tree} has {', '.join(map(str, banks))}")
    owned = [(path, span) for path, span in reserved_memory(host) if "reusable" not in host.by_path[path].properties]
    owned += [("static_heap", region) for region in board.static_heap]
    owned += [(other.name, region) for other in board.booted if other is not domu for region in other.static_memory]
    owned += [("the window that files are loaded into", board.memory)]
    for owner, span in owned:
        if span.overlaps(XENSTORE_MEMORY):
            raise _impossible(domu, version, f"it belongs to {owner} ({span})")
    for region in domu.static_memory:
        if region.end > XENSTORE_MEMORY.start:
            raise InvalidInput(
                f"{domu.name}: static_memory {region} does not end before {XENSTORE_MEMORY.start:#x}",
                rule=f"{version} puts the page of XenStore at {XENSTORE_MEMORY}, and mem= keeps Linux only from memory above its own",
                remedy=f"Choose memory below {XENSTORE_MEMORY.start:#x}",
            )


def _impossible(domu: DomU, version: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{domu.name}: a domain that is mapped 1:1 cannot have XenStore here: {why}",
        rule=f"{version} wants its page of XenStore in the RAM at {XENSTORE_MEMORY}",
        remedy="Use Xen 4.21 or later; or do without XenStore, and so without all virtual devices, in this domain: enhanced no-xenstore",
    )
