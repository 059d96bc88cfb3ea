# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Checks the settings of an xl.cfg that pass devices of an Arm board through against the board's device tree."""

from __future__ import annotations

import re
import typing as t

from .._spans import PAGE, Span, pages
from .._xl_syntax import Atom, Value, read_xl_config
from .analysis import Analysis
from .dma import iommu_of
from .findings import ERROR, WARNING, Finding
from .interrupts import interrupts
from .lint_xen_partial import PartialUse, lint_partial
from .registers import registers
from .tree import DeviceTree, Node
from .xen_partial import visible
from .xen_rules import USUAL_MEMORY, XL, handed_on, layout_conflicts

_LISTS = ("dtdev", "iomem", "irqs")
#: As sscanf reads it (xl_parse.c): white space before a number is skipped, after it nothing is.
_PAGE = r"\s*(?:0[xX])?([0-9a-fA-F]{1,16})"
_RANGE = re.compile(f"{_PAGE},{_PAGE}(?:@{_PAGE})?")
_DECIMAL = re.compile(r"[0-9]{1,10}")
_FIRST_SPI = 32


class _Mapping(t.NamedTuple):
    """An entry of iomem."""

    entry: Atom
    span: Span
    guest: int


def lint_xl_config(text: str, source: str, analysis: Analysis, partial: DeviceTree | None = None) -> list[Finding]:
    """Return the mistakes in `device_tree`, `dtdev`, `iomem` and `irqs`; the rest of the file is only read.

    :param partial: the tree that `device_tree` names, if it is at hand.
    """
    found = list(_Config(text, source, analysis, partial).findings())
    if partial is not None:
        found += lint_partial(partial, partial.source, analysis, PartialUse(dom0less=False))
    return found


def device_tree_setting(text: str) -> str:
    """Return the path that the setting `device_tree` names; "" if there is none."""
    setting = read_xl_config(text).settings.get("device_tree")
    return setting.value.text if setting is not None and isinstance(setting.value, Atom) else ""


class _Config:
    def __init__(self, text: str, source: str, analysis: Analysis, partial: DeviceTree | None) -> None:
        self.source, self.analysis, self.partial = source, analysis, partial
        self.config = read_xl_config(text)
        self.irqs: dict[int, Atom] = {}
        #: Devices of which it is not known whether they are meant, or others in their pages.
        self.unsure: set[int] = set()
        self._pages: dict[int, list[Span]] = {}
        self._lines: dict[int, list[int]] = {}

    def _say(self, key: str | Atom, rule: str, problem: str, fix: str, severity: str = ERROR) -> Finding:
        setting = None if isinstance(key, Atom) else self.config.settings.get(key)
        line = key.line if isinstance(key, Atom) else setting.line if setting is not None else 1
        return Finding(f"{self.source}:{line}", rule, problem, fix, severity)

    def _list(self, key: str) -> list[t.Any]:
        value: Value | None = self.config.settings[key].value if key in self.config.settings else None
        return value if isinstance(value, list) else []

    def findings(self) -> t.Iterator[Finding]:
        """Check each setting, then what belongs together."""
        for line, problem in self.config.problems:
            yield Finding(f"{self.source}:{line}", "syntax", f"xl cannot read it: {problem}", "Correct the line; xl.cfg(5) has the syntax")
        for key in _LISTS:
            if key in self.config.settings and not isinstance(self.config.settings[key].value, list):
                yield self._say(key, "syntax", f"{key} is not a list: xl passes nothing of it through", f"{key} = [ ... ]")
        if not any(key in self.config.settings for key in _LISTS):
            return
        if "device_tree" not in self.config.settings:
            fix = 'device_tree = "/path/of/partial.dtb"'
            yield self._say(_LISTS[0], "no-device-tree", "device_tree is missing: the guest does not know of its devices", fix)
        devices: list[Node] = []
        yield from self._devices(devices)
        mappings: list[_Mapping] = []
        yield from self._mappings(mappings)
        yield from self._numbers()
        spans = [mapping.span for mapping in mappings]
        owners = [*devices, *self._owners(devices, spans)]
        yield from self._layout(mappings)
        yield from self._console(mappings)
        yield from self._missing(owners, spans)
        yield from self._sharers(owners, mappings)
        if self.partial is not None:
            yield from self._described(self.partial, mappings)

    def _devices(self, found: list[Node]) -> t.Iterator[Finding]:
        for entry in self._list("dtdev"):
            node = self.analysis.tree.by_path.get(entry.text) if isinstance(entry, Atom) else None
            if node is None:
                fix = "The path of the device in the board's tree"
                yield self._say("dtdev", "unknown-path", f"the board has no node {_text(entry)!r}", fix)
                continue
            found.append(node)
            if iommu_of(self.analysis.tree, node) is None:
                fix = f"Remove {node.path!r} from dtdev; without an IOMMU, xl can pass through only devices that do no DMA"
                yield self._say(entry, "no-iommu", f"{node.path} has no IOMMU: xl refuses the guest", fix)

    def _mappings(self, found: list[_Mapping]) -> t.Iterator[Finding]:
        for entry in self._list("iomem"):
            match = _RANGE.fullmatch(_text(entry))
            if match is None:
                fix = '"START,NUMBER[@GUEST]", page numbers in hexadecimal'
                yield self._say(entry if isinstance(entry, Atom) else "iomem", "syntax", f"{_text(entry)!r} is not a range", fix)
                continue
            first, number = int(match[1], 16), int(match[2], 16)
            mapping = _Mapping(entry, Span(first * PAGE, (first + number) * PAGE), int(match[3] or match[1], 16) * PAGE)
            yield from self._range(mapping, found)
            found.append(mapping)

    def _range(self, mapping: _Mapping, others: list[_Mapping]) -> t.Iterator[Finding]:
        entry, span = mapping.entry, mapping.span
        if not span.size:
            yield self._say(entry, "empty", f"{entry.text!r} has no pages", "The number of pages after the comma")
        for other in others:
            if other.span.overlaps(span):
                yield self._say(entry, "overlap", f"{entry.text!r} overlaps {other.span}", "Each page once")
        if any(register.overlaps(span) for register in self.analysis.gic_spans):
            problem = f"{entry.text!r} contains registers of the interrupt controller"
            yield self._say(entry, "forbidden-map", problem, "Leave it out: Xen drives the GIC")
        reserved = any(kept.overlaps(span) for kept in self.analysis.reserved)
        window = any(forwarded.overlaps(span) for forwarded in self.analysis.windows)
        if not reserved and not window and not self.analysis.register_map.nodes_in([span]):
            shifted = Span(span.start // PAGE, span.start // PAGE + 1)
            hint = (
                f'"{span.start // PAGE // PAGE:#x},..."'
                if self.analysis.register_map.nodes_in([shifted])
                else "The page number: the address without its last three digits"
            )
            yield self._say(entry, "unknown-range", f"no device of the board has registers at {entry.text!r} ({span})", hint)

    def _layout(self, mappings: list[_Mapping]) -> t.Iterator[Finding]:
        """Find what the guest already has at an address at which registers are mapped."""
        setting = self.config.settings.get("memory")
        text = setting.value.text if setting is not None and isinstance(setting.value, Atom) else ""
        memory = int(text) if _DECIMAL.fullmatch(text) else USUAL_MEMORY
        for mapping in mappings:
            moved = mapping.guest != mapping.span.start
            for conflict in layout_conflicts([Span.sized(mapping.guest, mapping.span.size)], memory):
                fix = '"START,NUMBER@GUEST" with another GUEST, the same in the partial tree'
                yield self._say(mapping.entry, "guest-layout", f"in the guest, {conflict}", fix, ERROR if moved else WARNING)

    def _console(self, mappings: list[_Mapping]) -> t.Iterator[Finding]:
        console = self.analysis.tree.console
        taken = [entry.span for entry in self.analysis.registers(console) if entry.span] if console is not None else []
        for mapping in mappings:
            if console is not None and _overlap(taken, [mapping.span]):
                problem = f"{mapping.entry.text!r} contains {console.path}, the console of the firmware and, by default, of Xen"
                fix = "Leave it out, or give Xen another console (dtuart= in its command line)"
                yield self._say(mapping.entry, "console", problem, fix, WARNING)

    def _numbers(self) -> t.Iterator[Finding]:
        for entry in self._list("irqs"):
            if isinstance(entry, Atom) and _DECIMAL.fullmatch(entry.text):
                self.irqs.setdefault(int(entry.text), entry)
            else:
                place = entry if isinstance(entry, Atom) else "irqs"
                yield self._say(place, "syntax", f"{_text(entry)!r} is not a number", "Decimal numbers of the GIC")

    def _pages_of(self, node: Node) -> list[Span]:
        """Return the pages of a device and of what is enabled below it."""
        if id(node) not in self._pages:
            self._pages[id(node)] = pages(span for part in visible(node, ()) for span in self.analysis.spans(part))
        return self._pages[id(node)]

    def _lines_of(self, node: Node) -> list[int]:
        """Return the numbers that belong into irqs for a device and what is enabled below it."""
        if id(node) not in self._lines:
            lines = ((part, line) for part in visible(node, ()) for line in self.analysis.lines(part))
            self._lines[id(node)] = sorted({line.number for part, line in lines if line.number is not None and handed_on(part, line, XL)})
        return self._lines[id(node)]

    def _owners(self, devices: list[Node], spans: list[Span]) -> list[Node]:
        """Return the devices that iomem passes through whole, besides those of dtdev.

        Where several are in the same pages, those that `irqs` speaks of are meant; the others are only shared with.
        """
        taken = {id(part) for node in devices for part in node.subtree()}
        pages_of = {id(node): self._pages_of(node) for node in self.analysis.register_map.nodes_in(spans)}
        whole = [
            node
            for node in self.analysis.register_map.nodes_in(spans)
            if id(node) not in taken and not any(hole for span in pages_of[id(node)] for hole in span.without(spans))
        ]
        named = [span for node in devices for span in self._pages_of(node)]
        groups: list[list[Node]] = []
        for node in whole:
            own = pages_of[id(node)]
            if _overlap(own, named):
                continue
            near = [group for group in groups if any(_overlap(own, pages_of[id(mate)]) for mate in group)]
            groups = [group for group in groups if group not in near] + [[node, *(mate for group in near for mate in group)]]
        meant = [node for group in groups for node in self._meant(sorted(group, key=lambda node: node.path))]
        chosen = set(map(id, meant))
        # What is below a device goes with it.
        return [node for node in meant if not any(id(above) in chosen for above in node.ancestors())]

    def _meant(self, group: list[Node]) -> list[Node]:
        """Return which of the devices in the same pages are meant: those with all, or else some, of their interrupts in irqs."""
        lines = {id(node): self._lines_of(node) for node in group}
        for less in (0, _FIRST_SPI):
            raising = [node for node in group if any(number - less in self.irqs for number in lines[id(node)])]
            complete = [node for node in raising if all(number - less in self.irqs for number in lines[id(node)])]
            if raising:
                return complete or raising
        # It can also be one without interrupts. What is not enabled is meant only if irqs says so.
        enabled = [node for node in group if node.available][:1]
        self.unsure.update(id(node) for node in enabled if len(group) > 1)
        return enabled

    def _missing(self, owners: list[Node], spans: list[Span]) -> t.Iterator[Finding]:
        raised: dict[int, str] = {}
        explained: set[int] = set()
        for node in owners:
            holes = [hole for span in self._pages_of(node) for hole in span.without(spans)]
            if holes:
                ranges = ", ".join(f'"{hole.start // PAGE:#x},{hole.size // PAGE:#x}"' for hole in holes)
                yield self._say("iomem", "missing-map", f"registers of {node.path} are not in iomem: {', '.join(map(str, holes))}", ranges)
            for number in self._lines_of(node):
                if number not in self.irqs and number not in raised:
                    less = number - _FIRST_SPI
                    hint = f", and {less} is in it: the 32 of the GIC are missing" if less in self.irqs else ""
                    problem = f"interrupt {number} of {node.path} is not in irqs{hint}"
                    severity = WARNING if id(node) in self.unsure else ERROR
                    yield self._say(self.irqs.get(less, "irqs"), "missing-interrupt", problem, f"irqs = [ {number}, ... ]", severity)
                    explained.add(less)
                raised[number] = node.path
        # Those of devices whose pages are shared may be meant as well.
        also = {number for node in self.analysis.register_map.nodes_in(spans) for number in self._lines_of(node)}
        for number, entry in self.irqs.items():
            if number not in raised and number not in also and number not in explained:
                problem = f"none of the passed-through devices raises {number}"
                yield self._say(entry, "unknown-interrupt", problem, "Remove it", WARNING)
            if number == _FIRST_SPI:
                yield self._say(
                    entry, "vuart-interrupt", "32 is the interrupt of the guest's virtual UART", 'Not with vuart = "sbsa_uart"', WARNING
                )

    def _sharers(self, owners: list[Node], mappings: list[_Mapping]) -> t.Iterator[Finding]:
        inside = {id(part) for node in owners for part in node.subtree()} | {id(above) for node in owners for above in node.ancestors()}
        for node in self.analysis.register_map.nodes_in([mapping.span for mapping in mappings]):
            if id(node) not in inside and node is not self.analysis.gic:
                fix = f"xen,passthrough on {node.path} in the host's tree as well, or a device that is alone in its pages"
                entries = [one.entry for one in mappings if node in self.analysis.register_map.nodes_in([one.span])]
                yield self._say(entries[0], "shared-page", f"{node.path} is in the pages that are passed through", fix, WARNING)
        devices = [self.analysis.device(node) for node in owners]
        for number, nodes in self.analysis.line_sharers(devices).items():
            for node in nodes:
                fix = f"xen,passthrough on {node.path} in the host's tree as well"
                yield self._say(
                    self.irqs.get(number, "irqs"), "shared-interrupt", f"{node.path} raises interrupt {number} as well", fix, WARNING
                )

    def _described(self, partial: DeviceTree, mappings: list[_Mapping]) -> t.Iterator[Finding]:
        """Check that what the partial tree says to the guest is what xl passes through."""
        passthrough = partial.root.child("passthrough")
        guest = [Span.sized(mapping.guest, mapping.span.size) for mapping in mappings]
        for node in passthrough.subtree() if passthrough is not None else ():
            holes = [hole for entry in registers(node) if entry.span for hole in entry.span.without(guest)]
            if holes:
                problem = f"{partial.source} has {node.path} at {', '.join(map(str, holes))}, which iomem does not map into the guest"
                first, number = holes[0].start // PAGE, -(-holes[0].end // PAGE) - holes[0].start // PAGE
                yield self._say("iomem", "missing-map", problem, f'"{first:#x},{number:#x}"')
            for line in interrupts(partial, node):
                if line.number is not None and line.number >= _FIRST_SPI and line.number not in self.irqs:
                    problem = f"{partial.source} has interrupt {line.number} for {node.path}, which is not in irqs"
                    yield self._say("irqs", "missing-interrupt", problem, f"irqs = [ {line.number}, ... ]")


def _overlap(spans: t.Iterable[Span], others: t.Sequence[Span]) -> bool:
    return any(span.overlaps(other) for span in spans for other in others)


def _text(entry: t.Any) -> str:
    return entry.text if isinstance(entry, Atom) else "[ ... ]"
