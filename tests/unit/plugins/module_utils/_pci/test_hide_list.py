# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of devices that are hidden at boot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.hide_list import lists_in, parse, render

NUMBERS = st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7))
ITEMS = st.one_of(
    NUMBERS.map(lambda n: f"{n[0]:04x}:{n[1]:02x}:{n[2]:02x}.{n[3]}"),
    NUMBERS.map(lambda n: f"{n[0]:04x}:{n[1]:02x}:{n[2]:02x}.*"),
    NUMBERS.map(lambda n: f"{n[0]:04x}:{n[1]:02x}:*.*"),
)


@given(st.sets(ITEMS, max_size=70))
def test_what_is_rendered_is_read_back(items: set[str]) -> None:
    assert parse(render(items)) == tuple(sorted(items))


@given(st.lists(ITEMS, min_size=1, max_size=5), st.integers(0, 200), st.sampled_from(["x", "(", ")", "g", "", "00:"]))
def test_what_is_damaged_is_refused_or_another_list(items: list[str], place: int, damage: str) -> None:
    """Never an item that is not in the text: the kernel would take another device."""
    text = render(items)
    place %= len(text)
    damaged = text[:place] + damage + text[place + 1 :]
    try:
        found = parse(damaged)
    except InvalidInput:
        return
    assert len(found) == damaged.count("(") == damaged.count(")")
    assert parse(render(found)) == tuple(sorted(set(found)))


@given(st.text(alphabet="0123456789abcdefx:.*() ", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        items = parse(text)
    except InvalidInput:
        return
    assert len(items) == text.count("(")


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", ()),
        ("(0000:03:00.0)", ("0000:03:00.0",)),
        ("(03:00.0)", ("0000:03:00.0",)),
        ("(3:0.0)", ("0000:03:00.0",)),
        ("(0000:03:1F.7)(04:00.*)", ("0000:03:1f.7", "0000:04:00.*")),
        (" (03:00.0) (04:00.0) ", ("0000:03:00.0", "0000:04:00.0")),
        ("(03:*.*)", ("0000:03:*.*",)),
        ("(0001:03:*.*)", ("0001:03:*.*",)),
    ],
)
def test_the_forms_that_the_kernel_reads(text: str, items: tuple[str, ...]) -> None:
    assert parse(text) == items


@pytest.mark.parametrize(
    "text",
    ["03:00.0", "(03:00.0", "(0b::00.1)", "(03:00.8)", "(03:20.0)", "(10000:03:00.0)", "(03:00.0)x", "(03:*.0)", "(03:00.0),(04:00.0)"],
)
def test_malformed_lists_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be read from"):
        parse(text)


@pytest.mark.parametrize(
    ("line", "lists"),
    [
        ("quiet", []),
        ("quiet xen-pciback.hide=(03:00.0) ro", ["(03:00.0)"]),
        ("xen_pciback.hide=(03:00.0) xen-pciback.hide=(04:00.0)", ["(03:00.0)", "(04:00.0)"]),
        ("xen-pciback.passthrough=1 not-xen-pciback.hide=(03:00.0)", []),
    ],
)
def test_lists_of_a_kernel_command_line(line: str, lists: list[str]) -> None:
    assert lists_in(line) == lists
