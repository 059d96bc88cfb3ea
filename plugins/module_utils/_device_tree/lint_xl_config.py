# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Checks the settings of an xl.cfg that pass devices of an Arm board through against the board's device tree."""

from __future__ import annotations

import ast
import re
import typing as t

from .._spans import PAGE, Span
from .analysis import Analysis
from .dma import iommu_of
from .findings import ERROR, WARNING, Finding
from .tree import Node

_KEYS = ("device_tree", "dtdev", "iomem", "irqs")
_ASSIGNMENT = re.compile(r"^[ \t]*([A-Za-z_]\w*)[ \t]*=[ \t]*", re.MULTILINE)
_RANGE = re.compile(r"(?:0[xX])?([0-9a-fA-F]+),(?:0[xX])?([0-9a-fA-F]+)(?:@(?:0[xX])?([0-9a-fA-F]+))?")
_DECIMAL = re.compile(r"[0-9]{1,10}")
_FIRST_SPI = 32


def lint_xl_config(text: str, source: str, analysis: Analysis) -> list[Finding]:
    """Return the mistakes in `device_tree`, `dtdev`, `iomem` and `irqs`; the rest of the file is ignored."""
    return list(_Config(text, source, analysis).findings())


class _Config:
    def __init__(self, text: str, source: str, analysis: Analysis) -> None:
        self.source, self.analysis = source, analysis
        self.values: dict[str, t.Any] = {}
        self.lines: dict[str, int] = {}
        self.unread: list[tuple[int, str]] = []
        for match in _ASSIGNMENT.finditer(text):
            name, line = match[1], text.count("\n", 0, match.start()) + 1
            if name in _KEYS:
                self.lines[name] = line
                try:
                    self.values[name] = _read(text[match.end() :])
                # All that ast.literal_eval is documented to raise.
                except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                    self.unread.append((line, name))

    def _say(self, key: str, rule: str, problem: str, fix: str, severity: str = ERROR) -> Finding:
        return Finding(f"{self.source}:{self.lines.get(key, 1)}", rule, problem, fix, severity)

    def _list(self, key: str) -> list[t.Any]:
        value = self.values.get(key, [])
        return value if isinstance(value, list) else [value]

    def findings(self) -> t.Iterator[Finding]:
        """Check each setting, then what belongs together."""
        for line, name in self.unread:
            yield Finding(f"{self.source}:{line}", "syntax", f"{name} cannot be read", f"{name} = [ ... ]")
        if not any(key in self.values for key in ("dtdev", "iomem", "irqs")):
            return
        if "device_tree" not in self.values:
            fix = 'device_tree = "/path/of/partial.dtb"'
            yield self._say("device_tree", "no-device-tree", "device_tree is missing: the guest does not know of its devices", fix)
        devices: list[Node] = []
        spans: list[Span] = []
        for path in self._list("dtdev"):
            node = self.analysis.tree.by_path.get(str(path))
            if node is None:
                yield self._say("dtdev", "unknown-path", f"the board has no node {path!r}", "The path of the device in the board's tree")
            else:
                devices.append(node)
                if iommu_of(self.analysis.tree, node) is None:
                    fix = f"Remove {path!r} from dtdev; without an IOMMU, xl can pass through only devices that do no DMA"
                    yield self._say("dtdev", "no-iommu", f"{path} has no IOMMU: xl refuses the guest", fix)
        for entry in self._list("iomem"):
            match = _RANGE.fullmatch(str(entry).strip())
            if match is None:
                yield self._say("iomem", "syntax", f"{entry!r} is not a range", '"START,NUMBER[@GUEST]", page numbers in hexadecimal')
                continue
            span = Span(int(match[1], 16) * PAGE, (int(match[1], 16) + int(match[2], 16)) * PAGE)
            yield from self._range(entry, span, spans)
            spans.append(span)
        owners = devices or [node for node in self.analysis.register_map.nodes_in(spans) if self._wholly(node, spans)]
        yield from self._missing(owners, spans)
        yield from self._sharers(owners, spans)

    def _wholly(self, node: Node, spans: list[Span]) -> bool:
        return node.available and not any(hole for span in self.analysis.device(node).pages for hole in span.without(spans))

    def _range(self, entry: t.Any, span: Span, others: list[Span]) -> t.Iterator[Finding]:
        if not span.size:
            yield self._say("iomem", "empty", f"{entry!r} has no pages", "The number of pages after the comma")
        for other in others:
            if other.overlaps(span):
                yield self._say("iomem", "overlap", f"{entry!r} overlaps {other}", "Each page once")
        if not self.analysis.register_map.nodes_in([span]):
            shifted = Span(span.start // PAGE, span.start // PAGE + 1)
            hint = (
                f'"{span.start // PAGE // PAGE:#x},..."'
                if self.analysis.register_map.nodes_in([shifted])
                else "The page number: the address without its last three digits"
            )
            yield self._say("iomem", "unknown-range", f"no device of the board has registers at {entry!r} ({span})", hint)

    def _missing(self, owners: list[Node], spans: list[Span]) -> t.Iterator[Finding]:
        irqs = [int(entry) for entry in self._list("irqs") if _DECIMAL.fullmatch(str(entry))]
        for entry in self._list("irqs"):
            if not _DECIMAL.fullmatch(str(entry)):
                yield self._say("irqs", "syntax", f"{entry!r} is not a number", "Decimal numbers of the GIC")
        raised: dict[int, str] = {}
        for node in owners:
            device = self.analysis.device(node)
            holes = [hole for span in device.pages for hole in span.without(spans)]
            if holes:
                ranges = ", ".join(f'"{hole.start // PAGE:#x},{hole.size // PAGE:#x}"' for hole in holes)
                yield self._say("iomem", "missing-map", f"registers of {node.path} are not in iomem: {', '.join(map(str, holes))}", ranges)
            for line in device.interrupts:
                if line.number is not None and line.number >= _FIRST_SPI:
                    raised[line.number] = node.path
                    if line.number not in irqs:
                        less = line.number - _FIRST_SPI
                        hint = f", and {less} is in it: the 32 of the GIC are missing" if less in irqs else ""
                        problem = f"interrupt {line.number} of {node.path} is not in irqs{hint}"
                        yield self._say("irqs", "missing-interrupt", problem, f"irqs = [ {line.number}, ... ]")
        for number in irqs:
            if number not in raised:
                yield self._say("irqs", "unknown-interrupt", f"none of the passed-through devices raises {number}", "Remove it", WARNING)
            if number == _FIRST_SPI:
                yield self._say(
                    "irqs", "vuart-interrupt", "32 is the interrupt of the guest's virtual UART", 'Not with vuart = "sbsa_uart"', WARNING
                )

    def _sharers(self, owners: list[Node], spans: list[Span]) -> t.Iterator[Finding]:
        inside = {id(part) for node in owners for part in node.subtree()}
        for node in self.analysis.register_map.nodes_in(spans):
            if id(node) not in inside:
                fix = f"xen,passthrough on {node.path} in the host's tree as well, or a device that is alone in its pages"
                yield self._say("iomem", "shared-page", f"{node.path} is in the pages that are passed through", fix, WARNING)
        devices = [self.analysis.device(node) for node in owners]
        for number, nodes in self.analysis.line_sharers(devices).items():
            for node in nodes:
                fix = f"xen,passthrough on {node.path} in the host's tree as well"
                yield self._say("irqs", "shared-interrupt", f"{node.path} raises interrupt {number} as well", fix, WARNING)


def _read(text: str) -> t.Any:
    """Read the value at the beginning of a text: a string, a number or a list of them, in Python's syntax."""
    if text.startswith("["):
        end, quote = 0, ""
        for at, letter in enumerate(text):
            if quote:
                quote = "" if letter == quote else quote
            elif letter in "\"'":
                quote = letter
            elif letter == "#":
                raise ValueError("comments inside lists are not supported")
            elif letter == "]":
                end = at + 1
                break
        return ast.literal_eval(text[:end])
    return ast.literal_eval(text.split("\n")[0].split("#")[0].strip())
