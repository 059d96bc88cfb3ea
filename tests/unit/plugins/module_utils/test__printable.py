# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text of guests: whatever it is, it can be printed; text that is harmless stays as it is."""

from __future__ import annotations

import base64
import json
import typing as t
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._printable import (
    exact_value,
    printable,
    printable_line,
    printable_message,
    printable_value,
)

#: As the XenStore client and the runner decode them.
FOREIGN = st.binary().map(lambda value: value.decode("utf-8", "surrogateescape")) | st.text(st.characters())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\udcff\udc80", "\\xff\\x80"),
        ("\ud800", "\\ud800"),
        ("\x1b[31m\x9b1m\x7f", "\\x1b[31m\\u009b1m\\x7f"),
        ("a\0b\r", "a\\x00b\\x0d"),
        ("\u202a\u202e\u2066\u2069\u200e\u200f\u061c", "\\u202a\\u202e\\u2066\\u2069\\u200e\\u200f\\u061c"),
        ("\u200b\ufeff\u2028\u2029\u00ad", "\\u200b\\ufeff\\u2028\\u2029\\u00ad"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["", "xenbr0", "two\nlines\tand a tab", "C:\\x1b", "Grüße, 你好, שלום", "10\u00a0% 🙂"])
def test_what_stays(text: str) -> None:
    assert printable(text) == text
    assert exact_value(text) == {"value": text}


@given(FOREIGN)
def test_everything_can_be_printed(text: str) -> None:
    for shown in (printable(text), printable_line(text), printable_message(text)):
        shown.encode("utf-8")
        assert not {unicodedata.category(character) for character in shown if character not in "\n\t"} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(printable_line(text).splitlines()) <= 1
    assert all(line.startswith("    ") for line in printable_message(text).split("\n")[1:])
    assert printable(printable(text)) == printable(text)


@given(FOREIGN)
def test_nothing_is_lost(text: str) -> None:
    """A value without Base64 is exact, and Base64 has the bytes of any other."""
    found = exact_value(text) if text.isascii() or not any("\ud800" <= c <= "\udc7f" or "\udd00" <= c <= "\udfff" for c in text) else None
    if found and "base64" in found:
        assert base64.b64decode(found["base64"]).decode("utf-8", "surrogateescape") == text
    elif found:
        assert found["value"] == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.binary() | FOREIGN,
        lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(FOREIGN, inner),
    )
)
def test_results_are_json(value: t.Any) -> None:
    shown = printable_value(value)
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode("utf-8")) == shown


PLAIN = st.none() | st.integers() | st.text("ab \n\t\\ü")


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner)))
def test_ours_is_unchanged(value: t.Any) -> None:
    assert printable_value(value) == value
