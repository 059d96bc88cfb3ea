# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""A system description of seL4/Microkit, held against the board's device tree: what the schema cannot know."""

from __future__ import annotations

import typing as t

from .._device_tree.analysis import Analysis
from .._device_tree.findings import WARNING, Finding
from .._device_tree.interrupts import interrupts
from .._device_tree.registers import registers
from .._device_tree.tree import Node
from .._spans import Span, pages
from .schema import Element, check_system, read_system, regions
from .system import interface_of

_SGIS, _PPIS = 16, 32


def lint_system(text: str, source: str, version: str, board: Analysis) -> list[Finding]:
    """Return what is wrong in a system description, by line.

    :raises InvalidInput: it is not XML.
    """
    root, findings = read_system(text, source)
    findings += check_system(root, source, version)
    findings += _Comparison(root, source, board).findings()
    return sorted(findings, key=lambda finding: int(finding.place.rpartition(":")[2]))


class _Comparison:
    """The interrupts and maps of a description beside the devices of a board."""

    def __init__(self, root: Element, source: str, board: Analysis) -> None:
        self.root, self.source, self.board = root, source, board
        self.regions = regions(root)
        self.lines: dict[int, list[tuple[Node, str]]] = {}
        for node in board.tree.nodes:
            for line in interrupts(board.tree, node):
                if line.number is not None:
                    self.lines.setdefault(line.number, []).append((node, line.trigger))

    def findings(self) -> list[Finding]:
        """Compare all protection domains that have a virtual machine or interrupts."""
        found: list[Finding] = []
        owners: dict[int, Element] = {}
        for domain in self.root.all("protection_domain"):
            for irq in domain.own("irq"):
                number = irq.number("irq")
                if number is not None:
                    owners[number] = domain
                    found += self._interrupt(irq, number)
            found += self._missing_maps(domain)
            for machine in domain.own("virtual_machine"):
                found += self._machine(machine)
        return [*found, *self._strangers(owners)]

    def _say(self, element: Element, rule: str, problem: str, fix: str, severity: str = "error") -> Finding:
        return Finding(f"{self.source}:{element.line}", rule, problem, fix, severity)

    def _interrupt(self, irq: Element, number: int) -> t.Iterator[Finding]:
        raising = self.lines.get(number, [])
        if not raising:
            if number < _SGIS:
                problem, fix = f"irq {number} is one that processors send to each other, no device raises it", "Remove it: the VMM has them"
            elif number < _PPIS:
                problem, fix = f"irq {number} is private to a processor, no device raises it", "Remove it"
            else:
                near = [f"{number + 32} ({node.path})" for node, _unused in self.lines.get(number + 32, [])]
                problem = f"no device of the board raises irq {number}"
                fix = f"Remove it, or is it {near[0]}, with the 32 that a device tree does not count?" if near else "Remove it"
            yield self._say(irq, "unknown-interrupt", problem, fix, WARNING)
            return
        given = irq.attributes.get("trigger", "level")
        wanted = {trigger for _unused, trigger in raising if trigger}
        if wanted and given not in wanted and "trigger" not in irq.macros:
            names = ", ".join(node.path for node, _unused in raising)
            default = "" if "trigger" in irq.attributes else ", which is the default,"
            trigger = sorted(wanted)[0]
            yield self._say(
                irq, "wrong-trigger", f"irq {number} is {given}{default} but {names} raises it by {trigger}", f'trigger="{trigger}"'
            )

    def _spans(self, space: Element) -> list[tuple[Element, Element, Span]]:
        """Return (map, region, physical addresses) of the maps in a domain or a virtual machine."""
        found = []
        for part in space.own("map"):
            region = self.regions.get(part.attributes.get("mr", ""))
            address = region.number("phys_addr") if region else None
            if region is not None and address is not None:
                found.append((part, region, Span(address, address + (region.number("size", 0) or 0))))
        return found

    def _device_pages(self, node: Node) -> list[Span]:
        return pages(entry.span for entry in registers(node) if entry.span)

    def _missing_maps(self, domain: Element) -> t.Iterator[Finding]:
        spaces = [domain, *domain.own("virtual_machine")]
        mapped = [span for space in spaces for _unused, _unused, span in self._spans(space)]
        told: set[str] = set()
        for irq in domain.own("irq"):
            nodes = [node for node, _unused in self.lines.get(irq.number("irq") or -1, [])]
            holes = {node.path: [hole for span in self._device_pages(node) for hole in span.without(mapped)] for node in nodes}
            if not nodes or not all(holes.values()):
                continue
            # Of several devices on a line, any could be the one; the first enabled one is likely.
            node = next((node for node in nodes if node.available), nodes[0])
            if node.path not in told:
                told.add(node.path)
                where = ", ".join(map(str, holes[node.path]))
                first = holes[node.path][0]
                fix = f'<memory_region ... size="{first.size:#x}" phys_addr="{first.start:#x}" /> and a map of it, or remove the irq'
                yield self._say(
                    irq, "missing-map", f"irq {irq.number('irq')} of {node.path} is given, but not its registers ({where})", fix
                )

    def _machine(self, machine: Element) -> t.Iterator[Finding]:
        gic = self.board.gic
        interface = interface_of(gic)
        has_interface = False
        for part, region, span in self._spans(machine):
            name, address = region.attributes.get("name", ""), part.number("vaddr")
            if interface and span.overlaps(interface[1]):
                has_interface = True
                wanted = interface[0].start + span.start - interface[1].start
                if address is not None and address != wanted:
                    problem = f"{name!r} is the GIC's virtual interface, and the guest looks for it at {wanted:#x}, not {address:#x}"
                    yield self._say(part, "gic-interface", problem, f'vaddr="{wanted:#x}"')
            elif gic is not None and any(entry.span and span.overlaps(entry.span) for entry in registers(gic)):
                yield self._say(part, "gic", f"{name!r} ({span}) gives the GIC itself away", "Leave its pages out: the VMM emulates it")
            elif address is not None and address != span.start and self._is_device(span):
                problem = f"{name!r} is at {span.start:#x}, and at {address:#x} for the guest, whose device tree says otherwise"
                yield self._say(part, "not-one-to-one", problem, f'vaddr="{span.start:#x}"', WARNING)
            if self._is_device(span) and part.attributes.get("cached", "true") != "false":
                yield self._say(part, "cached-device", f"{name!r} holds registers, and is mapped as cached memory", 'cached="false"')
        if interface and not has_interface:
            real, virtual = interface
            fix = f'<memory_region ... phys_addr="{virtual.start:#x}" /> mapped at vaddr="{real.start:#x}"'
            yield self._say(machine, "gic-interface", "the GIC's virtual interface is not mapped: the guest cannot take an interrupt", fix)

    def _is_device(self, span: Span) -> bool:
        return bool(self.board.register_map.nodes_in([span]))

    def _strangers(self, owners: t.Mapping[int, Element]) -> t.Iterator[Finding]:
        """Pages that hold registers of a device whose interrupt another protection domain has."""
        for domain in self.root.all("protection_domain"):
            for space in (domain, *domain.own("virtual_machine")):
                for part, region, span in self._spans(space):
                    for node in self.board.register_map.nodes_in([span]):
                        numbers = [line.number for line in interrupts(self.board.tree, node) if line.number in owners]
                        others = {owners[number].attributes.get("name") for number in numbers if number is not None} - {
                            domain.attributes.get("name")
                        }
                        if others:
                            owner = sorted(map(str, others))[0]
                            problem = f"{region.attributes.get('name')!r} holds the registers of {node.path}, whose interrupt {owner!r} has"
                            yield self._say(part, "shared-page", problem, "Give both to one domain, or make the region smaller")
