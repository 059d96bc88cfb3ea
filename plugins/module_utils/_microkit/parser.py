# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Read system descriptions of seL4/Microkit."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from xml.parsers import expat

from .._device_tree.findings import NOTE, WARNING, Finding
from .._errors import InvalidInput
from .preprocessor import preprocess
from .schema import NUMBERS, UNCHECKED

#: An attribute whose value is a macro, with or without arguments, or digits that somebody forgot to quote.
_UNQUOTED = re.compile(r"<!--.*?-->|(\s[A-Za-z_]+\s*=\s*)(\w+(?:\([^()<>\n]*\))?)(?=[\s/>])", re.DOTALL)
#: The arguments of a macro, and its name.
_ARGUMENTS, _NAME = re.compile(r"\([^()<>]*\)"), re.compile(r"[A-Za-z_]\w*")
#: Marks a macro when it is quoted: a character that XML allows and that has no meaning (private use).
_MACRO = "\ue000"
#: Far deeper than any description, and shallow enough for recursion.
_MAX_DEPTH = 64


@dataclass
class Element:
    """An element of the file, and the line on which it begins."""

    name: str
    attributes: dict[str, str]
    line: int
    parent: Element | None = None
    children: list[Element] = field(default_factory=list)
    #: The attributes whose value is a macro: present, but unknown.
    macros: set[str] = field(default_factory=set)
    #: Of the root: whether the preprocessor adds elements to it that are not in the text.
    incomplete: bool = False

    def has(self, name: str) -> bool:
        """Whether the attribute is present, with a known value or a macro."""
        return name in self.attributes or name in self.macros

    def all(self, name: str) -> t.Iterator[Element]:
        """Yield the elements of that name below this one, at any depth."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.all(name)

    def own(self, name: str) -> list[Element]:
        """Return the children of that name."""
        return [child for child in self.children if child.name == name]

    def number(self, name: str, default: int | None = None) -> int | None:
        """Return an attribute as a number, or the default if it is missing or not a number."""
        value = parse_number(self.attributes.get(name, ""))
        return default if value is None else value


def parse_number(text: str) -> int | None:
    """Parse a number as the tool does: decimal or 0x, with underscores anywhere, up to 64 bits. None if it is not a number."""
    digits = text.replace("_", "")
    if re.fullmatch(r"0x[0-9a-fA-F]{1,99}|[0-9]{1,99}", digits) is None:
        return None
    number = int(digits, 16) if digits.startswith("0x") else int(digits)
    return number if number < 1 << 64 else None


def read_system(text: str, source: str) -> tuple[Element, list[Finding]]:
    """Read a system description, a fragment of one, or the text of one for the C preprocessor.

    :returns: the root element, and what is wrong on the level of XML.
    Macros that the text or a file included beside it defines are replaced.

    :raises InvalidInput: even with macros quoted and a root added, it is not XML.
    """
    findings: list[Finding] = []
    before = preprocess(text, source)

    def quote(match: re.Match[str]) -> str:
        if match[2] is None:
            return match[0]
        place, value = f"{source}:{before.text.count(chr(10), 0, match.start(2)) + 1}", before.value(match[2])
        if match[2][0].isdigit() or match[2] in ("true", "false"):
            findings.append(Finding(place, "unquoted-value", f"{match[2]} is not in quotes", f'{match[1].strip()}"{match[2]}"'))
            return f'{match[1]}"{match[2]}"'
        if value is None:
            number = match[1].strip(" \t\n=") in NUMBERS
            fix = f'{match[1].strip()}"0x..." with the number, to have it checked as well' if number else "Nothing, if the build defines it"
            findings.append(Finding(place, "unquoted-value", f"{match[2]} is a macro, not a value", fix, NOTE))
            return f'{match[1]}"{_MACRO}{match[2]}"'
        if not value.startswith('"'):
            problem = f"{match[2]} becomes {value} without quotes, which is not XML"
            findings.append(Finding(place, "unquoted-value", problem, f'#define {match[2]} "{value}"', WARNING))
            value = f'"{value}"'
        return match[1] + value

    quoted = _UNQUOTED.sub(quote, before.text)
    try:
        root = _parse(quoted, source, findings)
    except UnicodeEncodeError as exc:
        raise InvalidInput(f"{source} is not a system description: it is not UTF-8", rule="it is XML with the root element system") from exc
    except expat.ExpatError as exc:
        if exc.code != expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]:
            raise InvalidInput(f"{source} is not a system description: {exc}", rule="it is XML with the root element system") from exc
        # Elements without a root. The added root is on the same line, so that line numbers stay correct.
        try:
            root = _parse(f"<system>{quoted}</system>", source, findings)
        except expat.ExpatError as second:
            raise InvalidInput(f"{source} is not a system description: {second}", rule="it is XML with the root element system") from second
        findings.append(Finding(f"{source}:1", "root", "the elements are not in an element system", "<system> ... </system>"))
    root.incomplete = root.incomplete or before.incomplete
    return root, findings


def _stands_for_elements(text: str) -> bool:
    """Whether a text consists of macros, which the preprocessor replaces: by convention in capitals, or with arguments."""
    words = _ARGUMENTS.sub(" ", text).replace(";", " ").split()
    macros = words and all(_NAME.fullmatch(word) for word in words)
    return bool(macros) and ("(" in text or any(letter.isupper() for letter in text))


def _parse(text: str, source: str, findings: list[Finding]) -> Element:
    parser = expat.ParserCreate()
    root: list[Element] = []
    current: list[Element] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(current) == _MAX_DEPTH:
            raise InvalidInput(f"{source}:{parser.CurrentLineNumber}: {name} is below {_MAX_DEPTH} other elements")
        known = {key: value for key, value in attributes.items() if not value.startswith(_MACRO)}
        element = Element(name, known, parser.CurrentLineNumber, current[-1] if current else None, macros=set(attributes) - set(known))
        (current[-1].children if current else root).append(element)
        current.append(element)

    def data(content: str) -> None:
        if not content.strip() or current[-1].name in UNCHECKED:
            return
        if _stands_for_elements(content):
            root[0].incomplete = True
        else:
            place = f"{source}:{parser.CurrentLineNumber}"
            findings.append(Finding(place, "text", f"unexpected text {content.strip()[:40]!r} in {current[-1].name}", "Remove it"))

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: current.pop()
    parser.CharacterDataHandler = data
    parser.Parse(text, True)
    return root[0]


def regions(root: Element) -> dict[str, Element]:
    """Return the memory regions by name."""
    return {element.attributes.get("name", ""): element for element in root.all("memory_region")}
