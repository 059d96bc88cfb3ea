# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Reads system descriptions as the C preprocessor does, through which build systems pass them: directives, comments and macros.

Lines keep their numbers. Of the branches of a condition that cannot be decided here, the first one is taken.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from .._files import read_text

#: What a comment can hide in, what it is, and XML's own comments, in which the preprocessor's ones mean nothing to us.
_PIECES = re.compile(
    r"""'[^'\n]*'|"[^"\n]*"|<!--.*?-->|(?P<comment>/\*.*?\*/)|(?P<line>(?:^|(?<=[\s>]))//[^\n]*)""", re.DOTALL | re.MULTILINE
)
_DIRECTIVE = re.compile(r"[ \t]*#[ \t]*([a-z]+)?[ \t]*(.*)")
_DEFINE = re.compile(r"([A-Za-z_]\w*)(?:[ \t]+(\S.*))?")
_DEFINE_FUNCTION = re.compile(r"([A-Za-z_]\w*)\([^()]*\)[ \t]*(.*)")
_CALL = re.compile(r"([A-Za-z_]\w*)[ \t]*\([ \t]*([^()]*?)[ \t]*\)")
_NUMBER = re.compile(r"0x[0-9a-fA-F_]+|[0-9][0-9_]*")
#: Macros that stand for each other end somewhere.
_MAX_STEPS = 16
#: A file that includes itself ends somewhere.
_MAX_INCLUDES = 8


@dataclass
class Preprocessed:
    """The text without directives and comments, and the macros that are known."""

    text: str = ""
    macros: dict[str, str] = field(default_factory=dict)
    #: Names of macros with arguments. One whose value is used as an attribute makes a text of its argument, as `#x` does.
    functions: set[str] = field(default_factory=set)
    #: Whether a file is included of which the content is not known.
    incomplete: bool = False

    def value(self, name: str, depth: int = 0) -> str | None:
        """Return what a macro, or a call of one, becomes: a number, in quotes or not; None if that is not known."""
        for _unused in range(_MAX_STEPS):
            if name in self.macros:
                name = self.macros[name]
            call = _CALL.fullmatch(name)
            if call and call[1] in self.functions:
                inner = (self.value(call[2], depth + 1) if depth < _MAX_STEPS else None) or call[2]
                return f'"{inner.strip(chr(34))}"' if _NUMBER.fullmatch(inner.strip(chr(34))) else None
            if _NUMBER.fullmatch(name) or re.fullmatch('"[^"]*"', name):
                return name
            if name not in self.macros:
                return None
        return None


def preprocess(text: str, source: str, depth: int = 0) -> Preprocessed:
    """Return what is left of a text; files that it includes are looked for beside `source`."""
    found = Preprocessed()
    text = _PIECES.sub(_blank, text)
    lines = text.split("\n")
    commented = _commented(text)
    #: For each open condition: whether its lines count, and whether one of its branches was taken.
    open_conditions: list[list[bool]] = []
    kept = []
    at = 0
    while at < len(lines):
        # In XML, a line that begins with # is nothing else, but in a comment.
        match = None if at in commented else _DIRECTIVE.fullmatch(lines[at])
        if match is None:
            kept.append(lines[at] if all(counts for counts, _taken in open_conditions) else "")
            at += 1
            continue
        rest = match[2]
        kept.append("")
        at += 1
        while rest.endswith("\\") and at < len(lines):
            rest = rest[:-1] + " " + lines[at]
            kept.append("")
            at += 1
        _directive(match[1] or "", rest.strip(), found, open_conditions, source, depth)
    found.text = "\n".join(kept)
    return found


def _commented(text: str) -> set[int]:
    """Return the lines, from 0, that begin within one of XML's comments."""
    found: set[int] = set()
    for match in re.finditer("<!--.*?-->", text, re.DOTALL):
        first = text.count("\n", 0, match.start())
        found.update(range(first + 1, first + 1 + match[0].count("\n")))
    return found


def _directive(name: str, rest: str, found: Preprocessed, conditions: list[list[bool]], source: str, depth: int) -> None:
    if name in ("if", "ifdef", "ifndef"):
        counts = _holds(name, rest, found.macros)
        conditions.append([counts, counts])
    elif name in ("elif", "elifdef", "elifndef", "else") and conditions:
        _counts, taken = conditions[-1]
        counts = not taken and (name == "else" or _holds(name[2:], rest, found.macros))
        conditions[-1] = [counts, taken or counts]
    elif name == "endif" and conditions:
        conditions.pop()
    elif not all(counts for counts, _taken in conditions):
        return
    elif name == "define":
        function, match = _DEFINE_FUNCTION.fullmatch(rest), _DEFINE.fullmatch(rest)
        if function:
            found.functions.add(function[1])
        elif match:
            found.macros[match[1]] = (match[2] or "").strip()
    elif name == "undef":
        found.macros.pop(rest, None)
    elif name == "include":
        _include(rest, found, source, depth)


def _holds(name: str, rest: str, macros: t.Mapping[str, str]) -> bool:
    """Whether the lines of a condition count; one that is not known holds, as the build may define the macro."""
    return rest not in macros if name == "ifndef" else rest.split() != ["0"]


def _include(rest: str, found: Preprocessed, source: str, depth: int) -> None:
    name = rest[1:-1] if len(rest) > 2 and rest[0] + rest[-1] in ('""', "<>") else ""
    path = os.path.join(os.path.dirname(source), name)
    content = read_text(path) if name and depth < _MAX_INCLUDES and os.path.isfile(path) else None
    if content is None:
        # A C header has macros, but no elements: a compiler reads it as well.
        found.incomplete = found.incomplete or not name.endswith(".h")
        return
    inner = preprocess(content, path, depth + 1)
    found.macros.update(inner.macros)
    found.functions |= inner.functions
    # Elements of an included file have no place in this one.
    found.incomplete = found.incomplete or inner.incomplete or bool(inner.text.strip())


def _blank(match: re.Match[str]) -> str:
    if match["comment"] is None and match["line"] is None:
        return match[0]
    return re.sub(r"[^\n]", " ", match[0])
