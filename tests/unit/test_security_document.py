# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The security guide names a test for each threat that something protects from, and these tests exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "security.md"
#: The threats from which the guide says that nothing here protects.
UNPROTECTED = {
    "The device remembers",
    "Somebody reaches a console",
}


def threats() -> dict[str, str]:
    """The text about each threat by its heading."""
    text = GUIDE.read_text(encoding="utf-8").split("\n## Threats\n")[1].split("\n## ")[0]
    return {section.split("\n")[0]: section for section in text.split("\n### ")[1:]}


@pytest.mark.parametrize("threat", threats())
def test_each_threat_names_its_tests(threat: str) -> None:
    tests = re.findall(r"\((\.\./(?:tests|extensions)/[^)]+)\)", threats()[threat])
    assert bool(tests) is (threat not in UNPROTECTED)
    assert not [test for test in tests if not (GUIDE.parent / test).is_file()]


@pytest.mark.parametrize("threat", threats())
def test_each_test_that_a_threat_names_is_in_a_file_that_it_names(threat: str) -> None:
    files = re.findall(r"\((\.\./tests/[^)]+\.py)\)", threats()[threat])
    defined = {name for file in files for name in re.findall(r"def (test_\w+)", (GUIDE.parent / file).read_text(encoding="utf-8"))}
    named = set(re.findall(r"`(test_\w+)`", threats()[threat]))
    assert named <= defined, named - defined


def test_all_links_lead_somewhere() -> None:
    links = re.findall(r"\[[^]]+\]\(([^)#]+)[^)]*\)", GUIDE.read_text(encoding="utf-8"))
    assert links and not [link for link in links if not (GUIDE.parent / link).exists()]


def test_the_readme_links_to_it() -> None:
    assert "(docs/security.md)" in (GUIDE.parents[1] / "README.md").read_text(encoding="utf-8")
