# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Check that devices reach the memory of their domain, which is at the same addresses for both (`direct_map`)."""

from __future__ import annotations

from .._device_tree.dma import can_dma, dma_windows
from .._device_tree.registers import bus_ranges, is_pci
from .._device_tree.tree import DeviceTree
from .._errors import InvalidInput
from .._spans import Span
from .configuration import Board, DomU
from .xenstore_page import XENSTORE_MEMORY


def check_dma_reach(board: Board, host: DeviceTree) -> None:
    """Check static memory against the windows that `dma-ranges` of the board's buses leave to devices.

    On a Raspberry Pi 4, for example, most devices see the first GiB only.

    :raises InvalidInput: a device that does DMA does not reach all memory of its domain.
    """
    for domu in board.booted:
        for path in domu.passthrough_paths if domu.direct_map else ():
            node = host.by_path.get(path)
            windows = dma_windows(host, node) if node is not None and can_dma(node) else None
            # A PCI host bridge has windows of its own for what is behind it.
            inbound = bus_ranges(node, "dma-ranges") if node is not None and is_pci(node) else []
            for entries in (windows, inbound):
                if entries:
                    _check_windows(domu, path, [Span.sized(memory, size) for _address, memory, size in entries])


def _check_windows(domu: DomU, path: str, seen: list[Span]) -> None:
    for region in domu.static_memory:
        if region != XENSTORE_MEMORY and not any(window.contains(region) for window in seen):
            raise InvalidInput(
                f"{domu.name}: {path} does not reach the memory {region} of its domain",
                rule=f"the device tree (dma-ranges) lets it access {', '.join(map(str, seen))}",
                remedy="Move static_memory there",
            )
