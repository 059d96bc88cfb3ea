# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table in CONTRIBUTING.md has the promises of the README, word for word, each with a test that exists."""

from __future__ import annotations

import ast
import re
import typing as t

import pytest

from .test_collection_meta import MODULES, ROOT, UTIL_FILES, name

TABLE = re.compile(r"<!-- promises -->\n(.*?)<!-- end of promises -->", re.DOTALL)
#: What promises nothing by itself: how to get and to write to the project, and what happens in a sentence before.
SECTIONS_WITHOUT = {"Install", "Contributing, versions, licence"}
#: The beginnings of other paragraphs without a promise: they explain, or lead to another document.
PARAGRAPHS_WITHOUT = (
    "An Ansible collection for Xen hosts",
    "`make` lists the other targets.",
    "For devices of Arm boards, see",
    "Put your Xen hosts into the group",
    "Two more are for a driver domain",
    "- If a hotplug script fails",
    "The guides",
)


def words(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def table() -> list[list[str]]:
    match = TABLE.search((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert match
    rows = [line.strip("|").split(" | ") for line in match[1].splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


PROMISES = table()
README = (ROOT / "README.md").read_text(encoding="utf-8")


def paragraphs() -> t.Iterator[str]:
    """Yield the paragraphs and items of lists of the README, without blocks of code and tables."""
    text = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        if section.partition("\n")[0] not in SECTIONS_WITHOUT:
            for paragraph in re.split(r"\n\s*\n|\n(?=- )", section.partition("\n")[2]):
                if paragraph.strip() and not paragraph.lstrip().startswith("|"):
                    yield words(paragraph)


def test_there_are_promises() -> None:
    assert len(PROMISES) > 30 and all(len(row) == 2 for row in PROMISES)
    assert len({promise for promise, _tests in PROMISES}) == len(PROMISES)


@pytest.mark.parametrize(("promise", "tests"), PROMISES)
def test_a_promise_is_in_the_readme_and_its_test_exists(promise: str, tests: str) -> None:
    assert promise in words(README)
    files = re.findall(r"\]\(([^)]+)\)", tests)
    assert not [file for file in files if not (ROOT / file).is_file()]
    assert files or tests.startswith("none") or "`make sanity`" in tests
    defined = {found for file in files for found in re.findall(r"def (test_\w+)", (ROOT / file).read_text(encoding="utf-8"))}
    named = set(re.findall(r"`(test_\w+)`", tests))
    assert named <= defined, named - defined
    assert all(file.startswith(("tests/", "extensions/molecule/", ".github/")) for file in files)


def test_no_paragraph_of_the_readme_is_without_a_promise_or_known_to_have_none() -> None:
    without = [
        text
        for text in paragraphs()
        if not text.startswith(PARAGRAPHS_WITHOUT) and not any(promise in text or text in promise for promise, _tests in PROMISES)
    ]
    assert without == []


def test_each_module_is_used() -> None:
    used = "".join(
        path.read_text(encoding="utf-8")
        for pattern in ("roles/*/tasks/*.yml", "playbooks/**/*.yml", "extensions/molecule/**/*.yml", "examples/*/*.yml")
        for path in ROOT.glob(pattern)
    )
    boards = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("[bd]*/*.py"))
    modules = [path.stem for path in MODULES]
    unused = {module for module in modules if f"xen.driver_domains.{module}:" not in used and f'"{module}"' not in boards}
    text = words((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    match = re.search(r"used by a role, a playbook or a scenario\. ([^.]*) are not: they have unit tests alone", text)
    assert unused == set(re.findall(r"`(\w+)`", match[1] if match else ""))


def test_one_place_each_for_xl_xenstore_and_sysfs() -> None:
    """Of what modules run. The script of the commit-confirm timer, which is text for a shell, is in _pci."""
    places: dict[str, set[str]] = {"xl": set(), "xenstore": set(), "sysfs": set()}
    for path in UTIL_FILES:
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            first = node.elts[0] if isinstance(node, ast.List) and node.elts else None
            program = isinstance(first, ast.Constant) and first.value == "xl"
            if program or (isinstance(first, ast.Attribute) and first.attr in ("executable", "_executable")):
                places["xl"].add(name(path))
        if "SOCK_STREAM" in text:
            places["xenstore"].add(name(path))
        if re.search(r"_write\(f?\"[^\"]*/bus/pci|echo [^\n]*> (drivers_probe|[^\n]*/unbind)", text):
            places["sysfs"].add(path.parent.name)
    utils = "plugins/module_utils"
    assert places == {"xl": {f"{utils}/_xen/xl.py"}, "xenstore": {f"{utils}/_xenstore/wire.py"}, "sysfs": {"_pci"}}
