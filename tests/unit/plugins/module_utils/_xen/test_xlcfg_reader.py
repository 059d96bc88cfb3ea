# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Definitions as xl reads them, compared with the library of xl itself."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg import render
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg_reader import number, read
from ansible_collections.xen.driver_domains.tests.unit.xl_parser import libxlu

#: All that JSON from Ansible can bring: no half of a surrogate pair, no 0 byte.
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from("\\\"'\n\r\t#=,[]\x1b"))
NUMBERS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
VALUES = st.recursive(TEXTS | NUMBERS | st.booleans(), lambda values: st.lists(values, max_size=4), max_leaves=8)
NAMES = st.from_regex(r"[a-z][._0-9a-z]{0,8}", fullmatch=True)

#: Pieces of definitions, right and wrong, that are put together at random.
PIECES = st.sampled_from(
    [
        *("a", "b", "name", "a.b", "=", "+=", "[", "]", ",", ";", "\n", " ", "\t", "#", "# c\n", "'x'", '"y"', "1", "0x1f", "010", "12ab"),
        *(
            r'"\n\\\""',
            r"'\''",
            r'"\q"',
            r'"\012"',
            r'"\x41"',
            '"',
            "'",
            "-",
            "-1",
            "(",
            "A",
            "\r",
            "\r\n",
            '"é"',
            "'\x1b'",
            "''",
            "[]",
            "\f",
        ),
        *("a = 'x'\n", 'b = ["1", 2,\n"3",]\n', "a += 'z'\n", "b += ['4']\n", "name='n'; ", "a = [['x'], [1, ['y']]]\n"),
    ]
)


def flat(value: t.Any) -> t.Any:
    """Return a value as libxlu has it: all are texts, and a boolean is 1 or 0."""
    if isinstance(value, list):
        return [flat(item) for item in value]
    return str(int(value)) if isinstance(value, bool) else str(value)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_is_written_is_what_xl_reads(settings: dict[str, t.Any]) -> None:
    text = render(settings)
    expected = {name: flat(value) for name, value in settings.items()}
    assert libxlu().read(text, settings) == expected
    assert {name: flat(value) for name, value in read(text).items()} == expected


@given(NUMBERS)
def test_xl_reads_the_same_numbers(value: int) -> None:
    text = render({"n": value})
    assert libxlu().number(text, "n") == number(read(text)["n"]) == value


@given(st.text(alphabet="0123456789abcfxX+- ", max_size=6))
def test_xl_takes_the_same_texts_for_numbers(text: str) -> None:
    assert libxlu().number(render({"n": text}), "n") == number(text)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_the_reader_accepts_what_xl_accepts_and_reads_the_same(text: str) -> None:
    try:
        found = {name: flat(value) for name, value in read(text).items()}
    except InvalidInput:
        # xl loses the values of numeric escapes.
        assert libxlu().read(text, []) is None or r"\012" in text
    else:
        assert libxlu().read(text, [*found, "a", "b", "name", "a.b"]) == found


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a = 1\nb = 'x", 2, "a value cannot begin with"),
        ("a = 1\r\nb = 2\n", 1, "the value of a is followed by"),
        ("a = -1\n", 1, "'-1'"),
        ("Name = 'x'\n", 1, "'Name'"),
        ("a = 'x' 'y'\n", 1, "the value of a is followed by"),
        ("a\n= 1\n", 1, "a is followed by the end of the line"),
        ("\na = ['x'\nb = 1\n", 3, "followed by 'b', not by a comma"),
        ("a = '''x'''\n", 1, "the value of a is followed by"),
        (r"a = '\x41'", 1, "does not make a character"),
        ("a = 'x'\na += ['y']\n", 2, "joins a list and a text"),
        ("a = 1\0\n", 1, "the value of a is followed by"),
        ("a = 1\nb = 2 é", 2, "followed by 'é'"),
        ("a = 1 # no end", 1, "followed by '#"),
    ],
)
def test_what_xl_refuses_is_refused_with_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        read(text)
    assert f"Line {line}:" in caught.value.problem
    assert libxlu().read(text, []) is None
