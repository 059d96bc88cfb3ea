# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Reads xl.cfg with the grammar that xl has for it (Xen: tools/libs/util/libxlu_cfg_l.l, libxlu_cfg_y.y and libxlu_cfg.c)."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

#: The rules of the lexer, of which the longest match counts. A comment ends with its line, and is a new line.
_TOKEN = re.compile(
    r"(?P<name>[a-z][._0-9a-z]*)|(?P<number>[0-9][0-9a-fx]*)|(?P<blank>[ \t]+)|(?P<add>\+=)|(?P<mark>[,\[\]=;])|(?P<line>\n|#[^\n]*\n)"
    r"|(?P<text>'(?:[^'\\\n]|\\[^\n])*'|\"(?:[^\"\\\n]|\\[^\n])*\")|(?P<wrong>.[^ \t\n]*)"
)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
#: Lists in lists: far more than any setting has.
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Atom:
    """A text or a number, which xl keeps as text as well."""

    text: str
    line: int
    #: Whether it was written without quotes.
    is_number: bool = False


#: A value: an atom, or a list of values.
Value = t.Union[Atom, "list[t.Any]"]


@dataclass
class Setting:
    """A setting, with all that `+=` added to it."""

    name: str
    value: Value
    line: int


@dataclass
class XlConfig:
    """What a file says: its settings by name, of which the last one counts, and (line, problem) of what xl does not accept."""

    settings: dict[str, Setting] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)


class _Token(t.NamedTuple):
    kind: str
    text: str
    line: int


class _Wrong(Exception):
    """A statement that xl does not accept."""

    def __init__(self, token: _Token, problem: str) -> None:
        self.token, self.problem = token, problem
        super().__init__(problem)


def read_xl_config(text: str) -> XlConfig:
    """Read a file. What xl does not accept is listed, and reading goes on at the next line, as xl does to find further mistakes."""
    return _XlReader(text).read()


class _XlReader:
    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.at = 0
        self.result = XlConfig()

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def read(self) -> XlConfig:
        while self.token.kind != "end":
            try:
                self._statement()
            except _Wrong as wrong:
                self.result.problems.append((wrong.token.line, wrong.problem))
                while self.token.kind not in ("line", "end"):
                    self.at += 1
        return self.result

    def _statement(self) -> None:
        if self.token.kind == "line" or self.token.text == ";":
            self.at += 1
            return
        name = self._take("name", "the name of a setting")
        operator = self.token
        if operator.text not in ("=", "+="):
            raise _Wrong(operator, f"{name.text} is followed by {_shown(operator)}, not by = or +=")
        self.at += 1
        value = self._value(0)
        if self.token.kind not in ("line", "end") and self.token.text != ";":
            raise _Wrong(self.token, f"the value of {name.text} is followed by {_shown(self.token)}")
        self._store(name, operator.text, value)

    def _store(self, name: _Token, operator: str, value: Value) -> None:
        before = self.result.settings.get(name.text)
        if operator == "+=" and before is not None:
            if isinstance(before.value, list) and isinstance(value, list):
                value = before.value + value
            elif isinstance(before.value, Atom) and isinstance(value, Atom):
                value = Atom(before.value.text + value.text, before.value.line)
            else:
                raise _Wrong(name, f"{name.text} += joins a list and a text")
        self.result.settings[name.text] = Setting(name.text, value, name.line if operator == "=" or before is None else before.line)

    def _value(self, depth: int) -> Value:
        token = self.token
        if token.kind in ("text", "number"):
            self.at += 1
            return Atom(_plain(token) if token.kind == "text" else token.text, token.line, token.kind == "number")
        if token.text != "[" or token.kind != "mark":
            raise _Wrong(token, f"a value cannot begin with {_shown(token)}: write a text in quotes, a number or a list")
        if depth == _MAX_DEPTH:
            raise _Wrong(token, f"there are more than {_MAX_DEPTH} lists in each other")
        self.at += 1
        self._lines()
        values: list[t.Any] = []
        while self.token.text != "]" or self.token.kind != "mark":
            values.append(self._value(depth + 1))
            self._lines()
            if self.token.text == "," and self.token.kind == "mark":
                self.at += 1
                self._lines()
            elif self.token.text != "]" or self.token.kind != "mark":
                raise _Wrong(self.token, f"a value in a list is followed by {_shown(self.token)}, not by a comma or ]")
        self.at += 1
        return values

    def _lines(self) -> None:
        while self.token.kind == "line":
            self.at += 1

    def _take(self, kind: str, what: str) -> _Token:
        token = self.token
        if token.kind != kind:
            raise _Wrong(token, f"there is {_shown(token)} instead of {what}")
        self.at += 1
        return token


def _tokens(text: str) -> t.Iterator[_Token]:
    line, at = 1, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        # Every character but a line's end is at least wrong, and that is a token of its own.
        if match is None or match.lastgroup is None:
            break
        kind = "wrong" if "\0" in match[0] else match.lastgroup
        if kind == "wrong" and len(text[at:].encode("utf-8", "surrogateescape")) == 1:
            # The lexer waits for what follows before it complains, and then the file ends.
            break
        if kind != "blank":
            yield _Token(kind, match[0], line)
        line += match[0].count("\n")
        at = match.end()
    yield _Token("end", "", line)


def _plain(token: _Token) -> str:
    """Return what is in the quotes.

    :raises _Wrong: there is an escape that xl does not know. Numeric ones lose their value in xl, and are wrong as well.
    """

    def escape(match: re.Match[str]) -> str:
        letter = match[1]
        if letter not in _ESCAPES and letter not in "\"'\\":
            raise _Wrong(token, f"a text has the escape \\{letter}, of which xl does not make a character")
        return _ESCAPES.get(letter, letter)

    return re.sub(r"\\(.)", escape, token.text[1:-1])


def _shown(token: _Token) -> str:
    return {"line": "the end of the line", "end": "the end of the file"}.get(token.kind, repr(token.text[:40]))
