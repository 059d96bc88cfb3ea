# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Compare a system description of seL4/Microkit with the device tree of its board."""

from __future__ import annotations

import typing as t

from .._device_tree.analysis import Analysis
from .._device_tree.findings import ERROR, NOTE, WARNING, Finding
from .._device_tree.interrupts import gic_v2_interfaces, gic_v3_interfaces
from .._device_tree.registers import registers
from .._device_tree.tree import Node
from .._spans import Span, pages
from .check import check_system
from .parser import Element, read_system, regions

_SGIS, _PPIS = 16, 32


def lint_system(text: str, source: str, version: str, analysis: Analysis) -> list[Finding]:
    """Return the problems of a system description, in the order of its lines: what breaks the schema, and what does not fit the board.

    :raises InvalidInput: it is not XML.
    """
    root, findings = read_system(text, source)
    findings += check_system(root, source, version)
    findings += _Comparison(root, source, analysis).findings()
    return sorted(findings, key=lambda finding: int(finding.place.rpartition(":")[2]))


class _Comparison:
    """Compares interrupts and maps of a description with the devices of a board."""

    def __init__(self, root: Element, source: str, analysis: Analysis) -> None:
        self.root, self.source, self.analysis = root, source, analysis
        self.regions = regions(root)
        self.lines: dict[int, list[tuple[Node, str]]] = {}
        for node in analysis.tree.nodes:
            for line in analysis.lines(node):
                if line.number is not None:
                    self.lines.setdefault(line.number, []).append((node, line.trigger))

    def findings(self) -> list[Finding]:
        """Return what does not fit, in all protection domains with a virtual machine or interrupts."""
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
        return [*found, *self._split_devices(owners)]

    def _say(self, element: Element, rule: str, problem: str, fix: str, severity: str = "error") -> Finding:
        return Finding(f"{self.source}:{element.line}", rule, problem, fix, severity)

    def _interrupt(self, irq: Element, number: int) -> t.Iterator[Finding]:
        raising = self.lines.get(number, [])
        if not raising:
            if number < _SGIS:
                problem, fix = (
                    f"irq {number} is one that processors send to each other; no device raises it",
                    "Remove it: the VMM emulates it",
                )
            elif number < _PPIS:
                problem, fix = f"irq {number} is private to a processor; no device raises it", "Remove it"
            else:
                near = [f"{number + 32} ({node.path})" for node, _unused in self.lines.get(number + 32, [])]
                problem = f"no device of the board raises irq {number}"
                fix = f"Remove it, or is it {near[0]}, which is 32 less in a device tree?" if near else "Remove it"
            yield self._say(irq, "unknown-interrupt", problem, fix, WARNING)
            return
        given = irq.attributes.get("trigger", "level")
        wanted = {trigger for _unused, trigger in raising if trigger}
        if wanted and given not in wanted and "trigger" not in irq.macros:
            names = ", ".join(node.path for node, _unused in raising)
            default = "" if "trigger" in irq.attributes else ", which is the default,"
            trigger = sorted(wanted)[0]
            problem = f"irq {number} is {given}{default} but {names} raises it by {trigger}"
            # Systems run with it: the GIC's line is configured otherwise, and may still raise the interrupt.
            yield self._say(irq, "wrong-trigger", problem, f'trigger="{trigger}"', WARNING)

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
        mapped = self._mapped(domain)
        elsewhere = [span for other in self.root.all("protection_domain") if other is not domain for span in self._mapped(other)]
        reported: set[str] = set()
        for irq in domain.own("irq"):
            nodes = [node for node, _unused in self.lines.get(irq.number("irq") or -1, [])]
            holes = {node.path: [hole for span in self._device_pages(node) for hole in span.without(mapped)] for node in nodes}
            if not nodes or not all(holes.values()):
                continue
            # What another domain has is split on purpose, of which _split_devices speaks.
            holes = {path: [part for hole in spans for part in hole.without(elsewhere)] for path, spans in holes.items()}
            if not all(holes.values()):
                continue
            # Any of the devices on a shared line could be meant; the first enabled one is the most likely.
            node = next((node for node in nodes if node.available), nodes[0])
            if node.path not in reported:
                reported.add(node.path)
                where = ", ".join(map(str, holes[node.path]))
                first = holes[node.path][0]
                fix = f'<memory_region ... size="{first.size:#x}" phys_addr="{first.start:#x}" /> and a map of it; or remove the irq'
                problem = f"irq {irq.number('irq')} of {node.path} is passed through without its registers ({where})"
                # The system runs: nobody handles the device.
                yield self._say(irq, "missing-map", problem, fix, WARNING)

    def _mapped(self, domain: Element) -> list[Span]:
        """Return the physical addresses that a domain or its virtual machine has."""
        return [span for space in (domain, *domain.own("virtual_machine")) for _unused, _unused, span in self._spans(space)]

    def _machine(self, machine: Element) -> t.Iterator[Finding]:
        gic = self.analysis.gic
        interface = gic_v2_interfaces(gic)
        # A GICv3 can have it for older software. The guest of libvmm uses system registers there, and the map does no harm.
        older = gic_v3_interfaces(gic)
        has_interface = False
        for part, region, span in self._spans(machine):
            name, address = region.attributes.get("name", ""), part.number("vaddr")
            if interface and span.overlaps(interface[1]):
                has_interface = True
                wanted = interface[0].start + span.start - interface[1].start
                if address is not None and address != wanted:
                    problem = f"{name!r} is the GIC's virtual interface; the guest expects it at {wanted:#x}, not {address:#x}"
                    yield self._say(part, "gic-interface", problem, f'vaddr="{wanted:#x}"')
            elif older and older[1].contains(span):
                if address is not None and address - span.start != older[0].start - older[1].start:
                    wanted = older[0].start + span.start - older[1].start
                    problem = f"{name!r} is the GIC's virtual interface; the guest's tree has it at {wanted:#x}, not {address:#x}"
                    yield self._say(part, "gic-interface", problem, f'vaddr="{wanted:#x}", or remove it', NOTE)
            elif gic is not None and any(entry.span and span.overlaps(entry.span) for entry in registers(gic)):
                yield self._say(part, "gic", f"{name!r} ({span}) passes the GIC itself through", "Leave its pages out: the VMM emulates it")
            elif address is not None and address != span.start and self._is_device(span):
                problem = f"{name!r} is at {span.start:#x}, as the guest's device tree says, but the guest gets it at {address:#x}"
                yield self._say(part, "not-one-to-one", problem, f'vaddr="{span.start:#x}"', WARNING)
            if self._is_device(span) and part.attributes.get("cached", "true") != "false":
                yield self._say(part, "cached-device", f"{name!r} contains registers, but is mapped as cached memory", 'cached="false"')
        if interface and not has_interface:
            real, virtual = interface
            fix = f'<memory_region ... phys_addr="{virtual.start:#x}" /> mapped at vaddr="{real.start:#x}"'
            problem = "the GIC's virtual interface is not mapped: the guest cannot handle interrupts"
            yield self._say(machine, "gic-interface", problem, fix, NOTE if self._unread(machine) else ERROR)

    def _unread(self, space: Element) -> bool:
        """Whether there may be maps that the text does not show: from an included file, or of an address that is a macro."""
        own = [self.regions.get(part.attributes.get("mr", "")) for part in space.own("map")]
        return self.root.incomplete or any(region is None or "phys_addr" in region.macros for region in own)

    def _is_device(self, span: Span) -> bool:
        return bool(self.analysis.register_map.nodes_in([span])) or any(window.overlaps(span) for window in self.analysis.windows)

    def _split_devices(self, owners: t.Mapping[int, Element]) -> t.Iterator[Finding]:
        """Find pages with registers of a device whose interrupt goes to another protection domain, which may be so on purpose."""
        for domain in self.root.all("protection_domain"):
            for space in (domain, *domain.own("virtual_machine")):
                for part, region, span in self._spans(space):
                    found: dict[str, list[str]] = {}
                    for node in self.analysis.register_map.nodes_in([span]):
                        for line in self.analysis.interrupts(node):
                            owner = owners.get(-1 if line.number is None else line.number)
                            if owner is not None and owner is not domain:
                                found.setdefault(owner.attributes.get("name", ""), []).append(node.path)
                    for owner_name, paths in sorted(found.items()):
                        name = region.attributes.get("name")
                        where = ", ".join(dict.fromkeys(paths))
                        problem = f"{name!r} contains registers of {where}, whose interrupt goes to {owner_name!r}"
                        fix = "Give both to the same domain, or make the region smaller, unless the two work together"
                        yield self._say(part, "shared-page", problem, fix, WARNING)
