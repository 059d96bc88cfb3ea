# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Reads domain definitions, xl.cfg(5), as the library of xl does (tools/libs/util/libxlu_cfg_l.l, libxlu_cfg_y.y and libxlu_cfg.c)."""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidInput

#: A text, a whole number, or a list of values. libxlu has texts only; a number here is one that was written as such in decimal.
Value = t.Union[str, int, "list[Value]"]

_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+)
    |(?P<newline>\n|\#.*\n)
    |(?P<name>[a-z][._0-9a-z]*)
    |(?P<number>[0-9][0-9a-fx]*)
    |(?P<mark>\+=|[,\[\]=;])
    |(?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")""",
    re.VERBOSE,
)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "'": "'", "\\": "\\"}
#: What strtol(3) takes with the base 0.
_C_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
#: The name that a definition gives its domain.
_DOMAIN_NAME = re.compile(r"""(?:^|;)[ \t]*name[ \t]*=[ \t]*["']([A-Za-z0-9_.+-]+)["']""", re.MULTILINE)


class _Token(t.NamedTuple):
    kind: str
    text: str
    line: int


def read(text: str) -> dict[str, Value]:
    """Return the settings of a definition by name: of those that are set twice the last one, with what `+=` adds.

    :raises InvalidInput: xl would not accept the text, or would lose a part of it.
    """
    parser = _Parser(text)
    settings: dict[str, Value] = {}
    while not parser.at("end"):
        if parser.take("newline", ";"):
            continue
        name = parser.expect("name").text
        add = parser.expect("=", "+=").text == "+="
        line = parser.line
        value = parser.value()
        if not parser.at("end"):
            parser.expect("newline", ";")
        settings[name] = _sum(settings[name], value, line) if add and name in settings else value
    return settings


def names_in(text: str) -> list[str]:
    """Return the names that a definition gives its domain, the last of which counts; also from a text that xl would not accept."""
    return _DOMAIN_NAME.findall(text)


def number(value: Value) -> int | None:
    """Return the number that xl reads from a value (xlu_cfg_get_long); None where it ignores the setting, with a warning."""
    if isinstance(value, int):
        return value
    found = _C_NUMBER.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return None
    digits = found[2]
    size = int(digits, 8) if re.fullmatch("0[0-7]+", digits) else int(digits, 0)
    return -size if found[1] == "-" else size


def _sum(old: Value, new: Value, line: int) -> Value:
    if isinstance(old, list) and isinstance(new, list):
        return [*old, *new]
    if isinstance(old, list) or isinstance(new, list):
        raise InvalidInput(f"Line {line}: += adds a list to a text, or a text to a list", rule="xl.cfg(5) adds like to like")
    return f"{old}{new}"


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0

    @property
    def line(self) -> int:
        return self._tokens[self._next].line

    def at(self, *kinds: str) -> bool:
        return self._tokens[self._next].kind in kinds

    def take(self, *kinds: str) -> _Token | None:
        token = self._tokens[self._next]
        if token.kind not in kinds:
            return None
        self._next += 1
        return token

    def expect(self, *kinds: str) -> _Token:
        token = self._tokens[self._next]
        if token.kind not in kinds:
            found = {"newline": "the end of the line", "end": "the end of the file"}.get(token.kind, repr(token.text))
            raise InvalidInput(f"Line {token.line}: there is {found}, not {' or '.join(kinds)}", rule="it is not the syntax of xl.cfg(5)")
        self._next += 1
        return token

    def value(self) -> Value:
        if self.take("["):
            return self._list()
        token = self.expect("string", "number", "[")
        if token.kind == "number":
            return int(token.text) if token.text == "0" or re.fullmatch("[1-9][0-9]*", token.text) else token.text
        return _dequote(token)

    def _list(self) -> list[Value]:
        values: list[Value] = []
        while True:
            self._newlines()
            if self.take("]"):
                return values
            values.append(self.value())
            self._newlines()
            if not self.take(","):
                self.expect("]")
                return values

    def _newlines(self) -> None:
        while self.take("newline"):
            pass


def _tokens(text: str) -> t.Iterator[_Token]:
    line, place = 1, 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if not found and len(text[place:].encode("utf-8", "surrogateescape")) == 1:
            # The lexer waits for what follows before it complains, and then the file ends.
            break
        if not found or "\0" in found.group():
            word = re.split(r"\s", text[place:], maxsplit=1)[0][:40] or text[place]
            raise InvalidInput(
                f"Line {line}: {word!r} has no meaning here",
                rule="xl.cfg(5) has names of small letters, numbers without a sign, quoted texts and [lists]; a comment ends with its line",
            )
        kind, word = str(found.lastgroup), found.group()
        if kind != "blank":
            yield _Token(word if kind == "mark" else kind, word, line)
        line += word.count("\n")
        place = found.end()
    yield _Token("end", "", line)


def _dequote(token: _Token) -> str:
    def character(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPED:
            raise InvalidInput(
                f"Line {token.line}: {found.group()!r} in {token.text} is no character",
                rule="xl refuses a backslash before most letters, and loses characters that are given by their number",
                remedy="Write the character itself",
            )
        return _ESCAPED[found[1]]

    return re.sub(r"\\(.)", character, token.text[1:-1])
