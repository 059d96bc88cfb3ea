# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Check that devices reach the memory of their domain, which is at the same addresses for both (`direct_map`)."""

from __future__ import annotations

from .._device_tree.dma import limits
from .._device_tree.tree import DeviceTree
from .._errors import InvalidInput
from .configuration import Board
from .xenstore_page import XENSTORE_MEMORY


def check_dma_reach(board: Board, host: DeviceTree) -> None:
    """Check static memory against the windows that `dma-ranges` of the board's buses leave to devices.

    On a Raspberry Pi 4, for example, most devices see the first GiB only.

    :raises InvalidInput: a device that does DMA does not reach all memory of its domain.
    """
    for domu in board.booted:
        for path in domu.passthrough_paths if domu.direct_map else ():
            for node, seen in limits(host, host.by_path[path]) if path in host.by_path else ():
                for region in domu.static_memory:
                    if region != XENSTORE_MEMORY and not any(window.contains(region) for window in seen):
                        raise InvalidInput(
                            f"{domu.name}: {node.path} does not reach the memory {region} of its domain",
                            rule=f"the device tree (dma-ranges) lets it access {', '.join(map(str, seen))}",
                            remedy="Move static_memory there",
                        )
