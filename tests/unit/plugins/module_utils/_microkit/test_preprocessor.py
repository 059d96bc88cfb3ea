# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""System descriptions as the C preprocessor reads them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.check import check_system
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.parser import read_system
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.preprocessor import preprocess

PD = '<protection_domain name="p"><program_image path="p.elf" />{}</protection_domain>'


def rules(text: str, source: str = "x.system") -> list[tuple[str, str, str]]:
    root, findings = read_system(text, source)
    found = [*findings, *check_system(root, source, "2.1.0")]
    return [(finding.severity, finding.rule, finding.place.rpartition(":")[2]) for finding in found]


def test_lines_keep_their_numbers() -> None:
    text = '#include "a.h"\n/* one\n two */\n#define A \\\n 1\nlast'
    found = preprocess(text, "x")
    assert found.text.split("\n") == ["", " " * 6, " " * 7, "", "", "last"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('#define SIZE "0x1000"\n<a size=SIZE />', '<a size="0x1000"'),
        ('#define SIZE OTHER\n#define OTHER "0x2000"\n<a size=SIZE />', '<a size="0x2000"'),
    ],
)
def test_macros_of_the_text(text: str, wanted: str) -> None:
    found = preprocess(text, "x")
    assert found.value("SIZE") == wanted.split("=")[1]


def test_a_macro_that_makes_a_text_of_a_number() -> None:
    text = "#define RAM 0x1000\n#define str(x) #x\n#define quoted(x) str(x)\n#define SIZE quoted(RAM)\n"
    assert preprocess(text, "x").value("SIZE") == '"0x1000"'
    assert preprocess(text, "x").value("quoted(RAM)") == '"0x1000"'
    assert preprocess(text, "x").value("unknown(RAM)") is None


def test_circles_end() -> None:
    assert preprocess("#define A B\n#define B A\n", "x").value("A") is None
    assert preprocess("#define text(x) #x\n#define A text(A)\n", "x").value("A") is None


_WORDS = [*'# \n\\A()x<>"', "define", "include", "if", "else", "endif", "/*", "*/", "//", "<!--", "-->", "0x10"]


@given(st.lists(st.sampled_from(_WORDS), max_size=40).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    before = preprocess(text, "x")
    assert before.text.count("\n") == text.count("\n")
    assert all(before.value(name) is None or before.value(name) for name in before.macros)
    with contextlib.suppress(InvalidInput):
        read_system(f"<system>{text}</system>", "x")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("#if 0\na\n#else\nb\n#endif\nc", "b|c"),
        ("#ifdef BOARD_A\na\n#elif defined(B)\nb\n#else\nc\n#endif", "a"),
        ("#define G\n#ifndef G\na\n#else\nb\n#endif", "b"),
        ("#if 0\n#if 1\na\n#endif\n#endif\nb", "b"),
        ("<!--\n# a list\n-->", "<!--|# a list|-->"),
        ("// remark\nhttp://x", "http://x"),
        ("<a> // remark\n<b/>// one more", "<a>|<b/>"),
        ("<a b=\"// c\"/>\n<a b='/* c */'/>", "<a b=\"// c\"/>|<a b='/* c */'/>"),
        ('"/* kept */" /* gone */', '"/* kept */"'),
    ],
)
def test_what_is_left(text: str, left: str) -> None:
    assert [line.strip() for line in preprocess(text, "x").text.split("\n") if line.strip()] == left.split("|")


def test_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ram.h").write_text('/* for both */\n#pragma once\n#define RAM "0x2000"\n')
    (tmp_path / "loop.h").write_text('#include "loop.h"\n')
    text = '#include "ram.h"\n#include "loop.h"\n<system><memory_region name="r" size=RAM />' + PD.format('<map mr="r" vaddr="0x1000" />')
    assert rules(text + "</system>", str(tmp_path / "x.system")) == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # A macro is said, and does not make a task fail.
        (
            "<system>\n<memory_region name='r' size=RAM />" + PD.format('<map mr="r" vaddr=AT(3) />') + "</system>",
            {("note", "unquoted-value")},
        ),
        # Nothing makes XML of a number without quotes.
        (
            "#define RAM 0x1000\n<system><memory_region name='r' size=RAM />" + PD.format('<map mr="r" vaddr="0x1000"/>') + "</system>",
            {("warning", "unquoted-value")},
        ),
        (
            "<system><memory_region name='r' size=0x1000 />" + PD.format('<map mr="r" vaddr="0x1000"/>') + "</system>",
            {("error", "unquoted-value")},
        ),
        # What an included file may have is no mistake; a header has no elements.
        ('#include "regions.inc"\n<system>' + PD.format('<map mr="far" vaddr="0x1000"/>') + "</system>", {("warning", "region")}),
        ("<system>COMMON_REGIONS(1)\n" + PD.format('<map mr="far" vaddr="0x1000"/>') + "</system>", {("warning", "region")}),
        ('#include "ram.h"\n<system>' + PD.format('<map mr="far" vaddr="0x1000"/>') + "</system>", {("error", "region")}),
        ("<system>left over" + PD.format("") + "</system>", {("error", "text")}),
        ("<system><!-- size=RAM -->" + PD.format("") + "</system>", set()),
    ],
)
def test_findings(text: str, wanted: set[tuple[str, str]]) -> None:
    assert {(severity, rule) for severity, rule, _line in rules(text)} == wanted
