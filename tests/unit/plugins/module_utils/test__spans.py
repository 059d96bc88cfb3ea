# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._spans import Span, pages


def test_a_span() -> None:
    span = Span.sized(0x1000, 0x1000)
    assert (span, span.size, str(span)) == (Span(0x1000, 0x2000), 0x1000, "0x1000-0x1fff")
    assert span.overlaps(Span(0x1FFF, 0x3000))
    assert not span.overlaps(Span(0x2000, 0x3000))
    assert Span(0, 0x2000).contains(span)
    assert not span.contains(Span(0, 0x2000))


@pytest.mark.parametrize(
    ("spans", "result"),
    [
        ([(0x1FC0, 0x2040)], [(0x1000, 0x3000)]),
        ([(0x1000, 0x2000)], [(0x1000, 0x2000)]),
        ([(0x1000, 0x1000)], []),
        ([(0x5004, 0x5008), (0x1000, 0x1001), (0x2000, 0x2001), (0x5FFF, 0x6000)], [(0x1000, 0x3000), (0x5000, 0x6000)]),
        ([((1 << 64) - 1, 1 << 64)], [((1 << 64) - 0x1000, 1 << 64)]),
    ],
)
def test_pages(spans: list[tuple[int, int]], result: list[tuple[int, int]]) -> None:
    assert pages(Span(*span) for span in spans) == [Span(*span) for span in result]


def test_holes() -> None:
    whole = Span(0, 100)
    assert whole.without([Span(10, 20), Span(90, 120), Span(15, 30)]) == [Span(0, 10), Span(30, 90)]
    assert whole.without([Span(0, 100)]) == []
