# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PCI addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.bdf import ALL_FUNCTIONS, Bdf

BDFS = st.builds(Bdf, st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0000:03:00.0", "0000:03:00.0"),
        ("03:00.0", "0000:03:00.0"),
        ("FFFF:FF:1F.7", "ffff:ff:1f.7"),
        ("abcd:Ef:0a.1", "abcd:ef:0a.1"),
    ],
)
def test_parse(text: str, canonical: str) -> None:
    assert str(Bdf.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "180.0",
        "3:00.0",
        "0:03:00.0",
        "00000:03:00.0",
        "10000:e1:00.0",
        "03:20.0",
        "03:ff.0",
        "03:00.8",
        "03:00.a",
        "03:00",
        "03:00.",
        "03:00.00",
        "0b::00.1",
        "0000:03:00.0xyz",
        "0000:03:00.0\n",
        " 03:00.0",
        "03-00-0",
        "(03:00.0)",
        "03:00.**",
        "0g:00.0",
        "٠٣:00.0",
    ],
)
def test_malformed_is_refused_with_value_rule_and_remedy(text: str) -> None:
    for parse in (Bdf.parse, Bdf.parse_pattern):
        with pytest.raises(InvalidInput) as caught:
            parse(text)
        assert repr(text) in caught.value.problem
        assert "[DDDD:]BB:SS.F" in caught.value.rule
        assert "lspci" in caught.value.remedy


def test_all_functions_is_a_pattern_but_not_an_address() -> None:
    pattern = Bdf.parse_pattern("03:00.*")
    assert pattern.function == ALL_FUNCTIONS
    assert str(pattern) == "0000:03:00.*"
    with pytest.raises(InvalidInput, match="every function"):
        Bdf.parse("03:00.*")


@pytest.mark.parametrize(
    ("pattern", "bdf", "covered"),
    [
        ("03:00.*", "03:00.0", True),
        ("03:00.*", "03:00.7", True),
        ("03:00.0", "03:00.0", True),
        ("03:00.0", "03:00.1", False),
        ("03:00.*", "03:01.0", False),
        ("03:00.*", "04:00.0", False),
        ("0001:03:00.*", "0000:03:00.0", False),
    ],
)
def test_covers(pattern: str, bdf: str, covered: bool) -> None:
    assert Bdf.parse_pattern(pattern).covers(Bdf.parse(bdf)) is covered


def test_name_in_xenstore() -> None:
    assert Bdf.parse("0000:0a:1f.3").xenstore_name == "0000-0a-1f-3"


@given(BDFS)
def test_rendering_and_parsing_are_inverse(bdf: Bdf) -> None:
    assert Bdf.parse(str(bdf)) == bdf
    assert Bdf.parse(str(bdf).upper()) == bdf
    assert (Bdf.parse(str(bdf)[5:]) == bdf) is (bdf.domain == 0)


@given(BDFS, BDFS)
def test_order_is_that_of_the_canonical_texts(one: Bdf, other: Bdf) -> None:
    assert (one < other) is (str(one) < str(other))


@given(st.text(alphabet="0123456789abcdefgABCDEF:.* \n-", max_size=14))
def test_what_parses_is_already_nearly_canonical(text: str) -> None:
    try:
        rendered = str(Bdf.parse_pattern(text))
    except InvalidInput:
        return
    assert rendered.endswith(text.lower())
    assert rendered in (text.lower(), f"0000:{text.lower()}")
