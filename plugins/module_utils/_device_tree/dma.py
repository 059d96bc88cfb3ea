# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""How a device reaches memory by itself (DMA): whether it does so, behind which IOMMU, and through which windows."""

from __future__ import annotations

import re
import typing as t

from .._spans import Span
from .needs import Need, references
from .registers import bus_ranges, host_bridge, is_pci, registers
from .tree import DeviceTree, Node, is_enabled, once_per_node

#: Devices that are known to do no DMA, by their whole `compatible`: with registers and interrupts only. Whatever is not here can do DMA.
#: A controller that moves their data for them is named in `dmas`, and is seen there.
_NO_DMA = re.compile(
    r"arm,(pl011|pl022|pl031|pl061|sp804|sp805|sbsa-uart|sbsa-gwdt|armv7-timer-mem|mhu)"
    r"|ns8250|ns16450|ns16550a?|snps,dw-(apb-uart|apb-gpio|apb-timer|wdt)"
    r"|cdns,(uart-r1p(8|12)|ttc|wdt-r1p2|i2c-r1p1[04])|xlnx,(xuartps|zynqmp-uart|zynqmp-gpio-1\.0|zynqmp-rtc|xps-(uartlite|gpio|timer)-1\.00\.a)"
    r"|brcm,(bcm2835|bcm2711)-(aux-uart|gpio|i2c|pwm|rng|rng200|system-timer|thermal|pm|pm-wdt)|brcm,bcm2711-(avs-monitor|thermal)"
    r"|amlogic,meson[a-z0-9-]*-(ao-uart|uart|gpio-intc|i2c|pwm|wdt|saradc|rng|thermal)"
    r"|fsl,imx[a-z0-9]+-(gpio|pwm|wdt|gpt|tmu|snvs|ocotp)|nxp,(pcf|imx)[a-z0-9-]*-(gpio|rtc)"
    r"|rockchip,rk[a-z0-9]+-(gpio-bank|gpio|pwm|saradc|tsadc|wdt|timer|efuse|otp)|rockchip,gpio-bank"
    r"|allwinner,sun[a-z0-9-]+-(pinctrl|r-pinctrl|pwm|wdt|rtc|timer|sid)"
    r"|nvidia,tegra[0-9]+-(gpio|rtc|pwm|timer|wdt)|renesas,(gpio|rcar-gen[234]-gpio|tmu|cmt|rwdt|rcar-gen[234]-wdt)[a-z0-9-]*"
)
#: The IOMMUs that Xen drives (xen/drivers/passthrough/arm).
_XEN_IOMMU = re.compile(r"arm,(smmu-v[123]|mmu-(400|401|500))|renesas,(ipmmu-.*|rcar-gen[34]-ipmmu.*)")
#: What a node says of itself when it reaches memory.
_DMA_PROPERTIES = {"dma-coherent", "dma-noncoherent", "dmas", "iommus", "iommu-map"}


def can_dma(node: Node) -> bool:
    """Whether a device may read and write memory by itself. What is not known to do no DMA, can.

    A node without registers of its own does none, nor does a mere bus around its devices: one with neither interrupts nor a
    property that speaks of DMA.
    """
    if _DMA_PROPERTIES & node.properties.keys() or is_pci(node):
        return True
    if not any(entry.span or entry.problem for entry in registers(node)):
        return False
    bus = "ranges" in node.properties and not {"interrupts", "interrupts-extended"} & node.properties.keys()
    if bus and any(entry.span for child in node.children for entry in registers(child)):
        return False
    return not any(_NO_DMA.fullmatch(name) for name in node.compatible)


def is_xen_iommu(node: Node) -> bool:
    """Whether Xen drives this IOMMU; without it, the DMA of all devices behind it is unprotected."""
    return is_enabled(node) and any(_XEN_IOMMU.fullmatch(name) for name in node.compatible)


def unprotected(tree: DeviceTree, nodes: t.Iterable[Node]) -> list[Node]:
    """Return which of these nodes may do DMA without an IOMMU between them and memory; what is behind a PCI host bridge does its DMA."""
    return [node for node in nodes if can_dma(node) and iommu_of(tree, host_bridge(node) or node) is None]


@once_per_node
def iommu_of(tree: DeviceTree, node: Node) -> Node | None:
    """Return the IOMMU that the DMA of a node itself goes through, whatever is below it; None if there is none.

    Xen does not protect a PCI host bridge by its `iommu-map`, which has identities for the devices behind it: it reads that for PCI
    devices alone (iommu_add_dt_pci_sideband_ids), and for a node only `iommus` (iommu_add_dt_device).
    """
    if "iommu-map" in node.properties:
        return None
    return enabled_iommu(need for need in references(tree, node) if need.property == "iommus")


def enabled_iommu(needs: t.Iterable[Need]) -> Node | None:
    """Return the first IOMMU among the providers that is enabled.

    Source: xen/drivers/passthrough/device_tree.c (iommu_dt_xlate): behind one with another `status`, Xen does not protect a device.
    """
    providers = (need.provider for need in needs if need.kind == "iommu")
    return next((provider for provider in providers if provider and provider.available), None)


@once_per_node
def dma_windows(tree: DeviceTree, node: Node) -> list[tuple[int, int, int]] | None:
    """Return how a device sees memory, as (its address, the processor's address, size); None if the tree does not say.

    Empty if it sees all memory at the same addresses as the processor. A window at the same address is returned as well: it can
    be smaller than the memory.
    """
    found: list[tuple[int, int, int]] = []
    for bus in _dma_buses(tree, node):
        if bus.properties.get("dma-ranges"):
            entries = bus_ranges(bus, "dma-ranges") if not is_pci(bus) else []
            if not entries:
                return None
            if not found:
                found = entries
                continue
            found = [
                (address + first - middle, first - above + memory, last - first)
                for address, middle, size in found
                for above, memory, length in entries
                for first, last in [(max(middle, above), min(middle + size, above + length))]
                if first < last
            ]
            if not found:
                return None
    return found


def limits(tree: DeviceTree, device: Node) -> list[tuple[Node, list[Span]]]:
    """Return which memory a device, and each device below it, reaches by itself, for each limit that the tree has: by the buses above a
    device, and by a PCI host bridge for what is behind it."""
    found: list[tuple[Node, list[Span]]] = []
    for node in device.subtree():
        if can_dma(node) and host_bridge(node) in (None, node):
            for entries in (dma_windows(tree, node), bus_ranges(node, "dma-ranges") if is_pci(node) else None):
                found += [(node, [Span.sized(memory, size) for _address, memory, size in entries])] if entries else []
    return found


def _dma_buses(tree: DeviceTree, node: Node) -> t.Iterator[Node]:
    """Yield the buses between a device and memory: those above it, unless `interconnects` names another path (dma-mem)."""
    current: Node | None = node
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        ways = references(tree, current) if "interconnects" in current.properties else []
        named = (need.provider for need in ways if (need.property, need.name) == ("interconnects", "dma-mem"))
        current = next(named, None) or current.parent
        if current is not None:
            yield current
