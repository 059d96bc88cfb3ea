# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Ranges of addresses, in bytes, and the pages that they are made of."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

#: The page size in bytes that Xen uses on x86 and Arm, and Microkit's smaller one.
PAGE = 0x1000
MIB = 1 << 20


@dataclass(frozen=True, order=True)
class Span:
    """The addresses from `start` up to, but not including, `end`."""

    start: int
    end: int

    @classmethod
    def sized(cls, start: int, size: int) -> Span:
        """Return the span of `size` bytes from `start` on."""
        return cls(start, start + size)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.end - self.start

    def overlaps(self, other: Span) -> bool:
        """Whether they have an address in common."""
        return self.start < other.end and other.start < self.end

    def contains(self, other: Span) -> bool:
        """Whether all of the other one lies in this one."""
        return self.start <= other.start and other.end <= self.end

    def without(self, holes: t.Iterable[Span]) -> list[Span]:
        """Return what is left when others are cut out."""
        left = [self]
        for hole in holes:
            left = [
                part
                for piece in left
                for part in (Span(piece.start, min(piece.end, hole.start)), Span(max(piece.start, hole.end), piece.end))
                if part.start < part.end
            ]
        return left

    def __str__(self) -> str:
        """First and last address, as in `/proc/iomem`."""
        return f"{self.start:#x}-{self.end - 1:#x}"


def pages(spans: t.Iterable[Span]) -> list[Span]:
    """Return the pages that hold these addresses, in ascending order; adjacent ones are joined.

    Start and end are rounded separately: 0x80 bytes from 0xfc0 on touch two pages.
    """
    rounded = sorted(Span(span.start // PAGE * PAGE, -(-span.end // PAGE) * PAGE) for span in spans if span.size)
    joined: list[Span] = []
    for span in rounded:
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined
