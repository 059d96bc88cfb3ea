# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""xl.cfg, read with xl's own grammar: what xl takes, and what it refuses."""

from __future__ import annotations

import re
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg import render
from ansible_collections.xen.driver_domains.plugins.module_utils._xl_syntax import Atom, read_xl_config


def plain(value: t.Any) -> t.Any:
    return value.text if isinstance(value, Atom) else [plain(item) for item in value]


def read(text: str) -> dict[str, t.Any]:
    config = read_xl_config(text)
    assert config.problems == []
    return {name: plain(setting.value) for name, setting in config.settings.items()}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        ("# only a remark\n\n", {}),
        ("irqs = [ 54 ]", {"irqs": ["54"]}),
        ("a=1;b=2 ; c = 'x'\n", {"a": "1", "b": "2", "c": "x"}),
        ("irqs = [ # why\n  54, # the UART\n\n  # the card\n  95,\n]\n", {"irqs": ["54", "95"]}),
        ("irqs = [ ]\nirqs += [ 54 ]\nirqs += [ 95 ]\n", {"irqs": ["54", "95"]}),
        ("irqs += [ 54 ]\n", {"irqs": ["54"]}),
        ("cmd = 'a'\ncmd += 'b'\n", {"cmd": "ab"}),
        ("a = 1\na = 2\n", {"a": "2"}),
        ('extra = "root=/dev/xvda # not a remark; a=b"\n', {"extra": "root=/dev/xvda # not a remark; a=b"}),
        ("a = 'it\\'s' # remark\nb = \"\\t\\\\\"\n", {"a": "it's", "b": "\t\\"}),
        ("a = [ [ 1, 2 ], 'x' ]\n", {"a": [["1", "2"], "x"]}),
        ("device.model_2 = 0xff\n", {"device.model_2": "0xff"}),
    ],
)
def test_what_xl_takes(text: str, wanted: dict[str, t.Any]) -> None:
    assert read(text) == wanted


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a = 1\nirqs = [ 54\n", 3, "followed by the end of the file"),
        ("irqs = 54, 95\n", 1, "the value of irqs is followed by ','"),
        ("\nirqs = (54)\n", 2, "cannot begin with '\\(54\\)'"),
        ("irqs = [ 54 95 ]\n", 1, "followed by '95', not by a comma"),
        ("irqs =\n[ 54 ]\n", 1, "cannot begin with the end of the line"),
        ("irqs [ 54 ]\n", 1, "not by = or \\+="),
        ("Irqs = [ 54 ]\n", 1, "instead of the name"),
        ("a = True\n", 1, "cannot begin with 'True'"),
        ("a = 'b\n", 1, "cannot begin"),
        ("a = 'b\\q'\n", 1, "escape"),
        ("a = 'b'\na += [ 1 ]\n", 2, "joins a list and a text"),
        ("a = " + "[" * 5000 + "]" * 5000, 1, "more than 32 lists"),
        ("a = 1 # no end of line", 1, "followed by '#'"),
    ],
)
def test_what_xl_refuses(text: str, line: int, problem: str) -> None:
    ((found_line, found),) = read_xl_config(text).problems[:1]
    assert found_line == line
    assert re.search(problem, found), found


def test_reading_goes_on_at_the_next_line() -> None:
    config = read_xl_config("a = ?\nb = [ 2,\n 3 ]\n")
    assert [line for line, _problem in config.problems] == [1]
    assert plain(config.settings["b"].value) == ["2", "3"]
    assert [atom.line for atom in config.settings["b"].value] == [2, 3]  # type: ignore[union-attr]


_TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=12)


_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@given(st.dictionaries(_NAMES, _TEXTS | st.lists(_TEXTS | st.integers(0, 1 << 40), max_size=4)))
def test_what_our_writer_writes_is_read_back(settings: dict[str, t.Any]) -> None:
    wanted = {name: [str(item) for item in value] if isinstance(value, list) else value for name, value in settings.items()}
    assert read(render(settings)) == wanted


@given(st.text(max_size=80))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    assert read_xl_config(text).settings is not None
