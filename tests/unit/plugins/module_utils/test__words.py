# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may become a word of a command line."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._words import KINDS, check_address, check_line, check_mirror, check_word


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("character", [*" \t\n\r\v\f\0\x1b\x7f,;&|<>()$`\\\"'*?[]{}!#^%", "\u00a0", "\u2028", "\u00e4", "\udcff"])
@pytest.mark.parametrize("form", ["{}a", "a{}b", "a{}", "52:54:00:aa:00:02{}"])
def test_no_kind_of_word_holds_what_a_program_takes_for_something_else(kind: str, character: str, form: str) -> None:
    with pytest.raises(InvalidInput, match=f"is not a valid {kind}"):
        check_word(kind, form.format(character))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["", "-a", "--a", "~a", "/a", "=a", "@a", None, 5, ["a"]])
def test_no_word_is_an_option_or_a_path_or_anything_but_text(kind: str, text: object) -> None:
    with pytest.raises(InvalidInput):
        check_word(kind, text)


@given(st.sampled_from(sorted(KINDS)), st.text())
def test_what_passes_is_one_word_to_a_shell(kind: str, text: str) -> None:
    try:
        word = check_word(kind, text)
    except InvalidInput:
        return
    assert shlex.split(word) == [word] == word.split() and not word.startswith("-")


@given(st.text(), st.booleans())
def test_an_address_is_one_word(text: str, prefix: bool) -> None:
    try:
        word = check_address(text, prefix=prefix)
    except InvalidInput:
        return
    assert shlex.split(word) == [word]


@pytest.mark.parametrize("text", ["fe80::1%eth0/64", "fe80::1%a b/64", "1.2.3.4", "1.2.3.4/33", "1.2.3.4/24 ", "", None, 5])
def test_what_is_no_address(text: object) -> None:
    with pytest.raises(InvalidInput):
        check_address(text, "eth0")


@given(st.text(alphabet=st.sampled_from("ab \n\r\t\0\x1b\u2028")))
def test_a_line_is_one_line(text: str) -> None:
    try:
        line = check_line(text)
    except InvalidInput:
        return
    assert len(line.splitlines()) <= 1 and line.split() == text.split()


@given(st.text())
def test_no_mirror_is_an_option(text: str) -> None:
    try:
        check_mirror(text)
    except InvalidInput:
        return
    assert not text.startswith("-") and len(text.splitlines()) == 1
