# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/troubleshooting.md explains each guard, and has no other ones. (Its findings: tests of the package _doctor.)"""

from __future__ import annotations

import re

import yaml

from .test_collection_meta import ROOT

GUIDE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")


def documented_guards() -> set[str]:
    """Return what the options `force` of all modules can name."""
    guards: set[str] = set()
    for path in [*(ROOT / "plugins/modules").glob("*.py"), *(ROOT / "plugins/doc_fragments").glob("*.py")]:
        for text in re.findall(r'(?:DOCUMENTATION|[A-Z_]+) = r"""\n(.*?)"""', path.read_text(encoding="utf-8"), re.DOTALL):
            content = next(yaml.safe_load_all(text), None)
            options = content.get("options", {}) if isinstance(content, dict) else {}
            guards |= set(options.get("force", {}).get("choices", []))
    return guards


def test_each_guard_is_explained() -> None:
    guards = documented_guards()
    assert {"management_route", "serves_clients", "dma_without_iommu", "toolstack_nodes"} <= guards
    table = GUIDE.partition("\n### Guards\n")[2]
    explained = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert explained == guards


def test_each_beginning_of_a_message_is_one() -> None:
    """The words of a message that the table quotes are in the code, unless they are Ansible's own."""
    rows = re.findall(r"^\| (`.*?`) \|", GUIDE.partition("\n## A run that stops\n")[2].partition("\n### Guards\n")[0], re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`(.*?)`", row)]
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "plugins").rglob("*.py"))
    parts = [part.strip() for text in quoted for part in re.split(r"'.*?'|\.\.\.", text) if part.strip()]
    assert len(parts) > 12
    assert [part for part in parts if part not in code] == []
