# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The devices of a board, analysed: what a guest needs with each, and which other devices are affected."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass

from .._spans import Span, pages
from .dma import enabled_iommu
from .interrupts import Interrupt, find_gic, interrupts, map_lines, specifiers
from .needs import Need, is_virtual, needs, references
from .registers import Register, RegisterMap, is_pci, memory_banks, registers, reserved_memory, windows
from .tree import DeviceTree, Node, is_enabled


@dataclass(frozen=True)
class Device:
    """A node and what is known about it. `registers` and `interrupts` are its own; the rest includes its subtree."""

    node: Node
    registers: list[Register]
    #: Whole pages of the device and of what is below it, with the windows of PCI host bridges; adjacent ones are joined.
    pages: list[Span]
    interrupts: list[Interrupt]
    #: (node, interrupt) of the device and of what is below it, with those of the `interrupt-map` of PCI bridges.
    lines: list[tuple[Node, Interrupt]]
    needs: list[Need]
    #: The IOMMU that its DMA goes through, or the DMA of what is below it.
    iommu: Node | None
    macs: list[str]
    windows: list[Span]

    @property
    def path(self) -> str:
        """The path of its node."""
        return self.node.path

    @property
    def problems(self) -> list[str]:
        """What could not be resolved."""
        found = [f"register {register.index}: {register.problem}" for register in self.registers if register.problem]
        found += [f"interrupt {index}: {line.problem}" for index, line in enumerate(self.interrupts) if line.problem]
        found += [f"{need.consumer.path}: {need.problem}" for need in self.needs if need.problem]
        return found


class Analysis:
    """The devices of one device tree. What concerns all of them is computed once, when it is first needed."""

    def __init__(self, tree: DeviceTree) -> None:
        self.tree = tree
        self.gic = find_gic(tree)
        self._register_map: RegisterMap | None = None
        self._raising: dict[int, list[Node]] | None = None
        self._users: dict[int, list[tuple[Node, str]]] | None = None
        self._lines: dict[int, list[Interrupt]] = {}
        self._registers: dict[int, list[Register]] = {}
        self._devices: dict[int, Device] = {}

    @functools.cached_property
    def banks(self) -> list[Span]:
        """The machine's RAM. Some trees have one bank that begins below all devices and ends above them, which says nothing."""
        return [bank for bank in memory_banks(self.tree) if not any(bank.overlaps(span) for span in self.gic_spans)]

    @functools.cached_property
    def memory(self) -> list[Span]:
        """The machine's memory, without what is set aside for the firmware or for devices."""
        carved = [span for _unused, span in reserved_memory(self.tree)]
        return [part for bank in self.banks for part in bank.without(carved)]

    @functools.cached_property
    def reserved(self) -> list[Span]:
        """What is in /reserved-memory, enabled or not."""
        return [span for _unused, span in reserved_memory(self.tree, with_disabled=True)]

    @functools.cached_property
    def gic_spans(self) -> list[Span]:
        """The registers of the interrupt controller and of what is below it."""
        return [entry.span for part in (self.gic.subtree() if self.gic else ()) for entry in registers(part) if entry.span]

    @functools.cached_property
    def windows(self) -> list[Span]:
        """The addresses that PCI bridges forward to what is behind them."""
        return [span for node in self.tree.nodes for span in windows(node)]

    @property
    def register_map(self) -> RegisterMap:
        """The index of register ranges."""
        if self._register_map is None:
            self._register_map = RegisterMap(self.tree)
        return self._register_map

    def registers(self, node: Node) -> list[Register]:
        """Return the registers of one node."""
        if id(node) not in self._registers:
            self._registers[id(node)] = registers(node)
        return self._registers[id(node)]

    def spans(self, node: Node) -> list[Span]:
        """Return the addresses of one node's registers, and of its windows if it is a PCI bridge."""
        return [*(entry.span for entry in self.registers(node) if entry.span), *windows(node)]

    def interrupts(self, node: Node) -> list[Interrupt]:
        """Return the interrupts of one node, without those of the nodes below it."""
        return interrupts(self.tree, node)

    def lines(self, node: Node) -> list[Interrupt]:
        """Return the interrupts of one node, and those that it raises as a PCI bridge for what is behind it."""
        if id(node) not in self._lines:
            self._lines[id(node)] = [*self.interrupts(node), *(map_lines(self.tree, node) if is_pci(node) else ())]
        return self._lines[id(node)]

    def device(self, node: Node) -> Device:
        """Analyse one node, once."""
        if id(node) not in self._devices:
            self._devices[id(node)] = self._analyse(node)
        return self._devices[id(node)]

    def _analyse(self, node: Node) -> Device:
        own = self.registers(node)
        wanted = needs(self.tree, node)
        return Device(
            node=node,
            registers=own,
            pages=pages(span for part in node.subtree() for span in self.spans(part)),
            interrupts=self.interrupts(node),
            lines=[(part, line) for part in node.subtree() for line in self.lines(part)],
            needs=wanted,
            iommu=enabled_iommu(wanted),
            macs=_macs(node),
            windows=windows(node),
        )

    def devices(self) -> list[Device]:
        """Analyse every node that has addresses or interrupts of its own."""
        return [
            device
            for device in map(self.device, self.tree.nodes)
            if device.interrupts or any(register.span or register.problem for register in device.registers)
        ]

    def page_sharers(self, devices: t.Sequence[Device]) -> list[Node]:
        """Return the other nodes with registers in the pages of these devices, enabled or not: the hardware is there either way."""
        mine = {id(node) for device in devices for node in device.node.subtree()}
        return [node for node in self.register_map.nodes_in(span for device in devices for span in device.pages) if id(node) not in mine]

    def line_sharers(self, devices: t.Sequence[Device]) -> dict[int, list[Node]]:
        """Return the other nodes that raise the same interrupts of the GIC as these devices or what is below them, by number."""
        if self._raising is None:
            self._raising = {}
            for node in self.tree.nodes:
                for line in self.lines(node):
                    if line.number is not None and node not in self._raising.setdefault(line.number, []):
                        self._raising[line.number].append(node)
        mine = {id(node) for device in devices for node in device.node.subtree()}
        numbers = sorted({line.number for device in devices for _part, line in device.lines if line.number is not None})
        others = {number: [node for node in self._raising.get(number, []) if id(node) not in mine] for number in numbers}
        return {number: nodes for number, nodes in others.items() if nodes}

    def users(self, provider: Node) -> list[tuple[Node, str]]:
        """Return the enabled nodes that need this one as a clock, a GPIO, an interrupt controller and so on, each with its property."""
        if self._users is None:
            self._users = {}
            for node in filter(is_enabled, self.tree.nodes):
                found = [(need.provider, need.property) for need in references(self.tree, node) if need.provider]
                extended = "interrupts-extended" if "interrupts-extended" in node.properties else "interrupts"
                found += [(controller, extended) for controller, _cells, _problem in specifiers(self.tree, node) if controller]
                # A mere description is of use to others wherever it is.
                for target, name in dict.fromkeys(found):
                    if not is_virtual(target):
                        self._users.setdefault(id(target), []).append((node, name))
        return self._users.get(id(provider), [])


def _macs(node: Node) -> list[str]:
    """Return the MAC addresses that the boot loader or the tree gives a network device."""
    found = [part.properties.get(name, b"") for part in node.subtree() for name in ("local-mac-address", "mac-address")]
    return sorted({data.hex(":") for data in found if len(data) == 6 and any(data)})
