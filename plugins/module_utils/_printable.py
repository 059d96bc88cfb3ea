# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Makes text of unknown origin, such as a guest's, fit for results and terminals."""

from __future__ import annotations

import base64
import re
import typing as t
import unicodedata

#: Everything that is not plain ASCII text, a newline or a tab; most of it is harmless.
_SUSPECT = re.compile(r"[^\n\t\x20-\x7e]")
#: Control characters (terminal escapes are among them), format characters (bidirectional controls are among them), lone surrogates,
#: and separators of lines and paragraphs (Unicode Standard, section 4.5, General Category).
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def printable(text: str) -> str:
    r"""Return a text with every unsafe character as an escape sequence, e.g. `\x1b`; newlines and tabs stay, as all other text does.

    A byte that is not UTF-8, which is a lone surrogate in Python (PEP 383), becomes `\xNN`.
    """
    return _SUSPECT.sub(_escape, text)


def printable_line(text: str) -> str:
    """Return a text as `printable` does, on one line: what a guest says must not look like a line of ours."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def printable_message(text: str) -> str:
    """Return a message as `printable` does; further lines, as tools print them, are indented and cannot look like lines of Ansible."""
    return printable(text).replace("\n", "\n    ")


def printable_value(value: t.Any) -> t.Any:
    """Return a value that Ansible can print, with every text in it, keys included, as `printable` returns it."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "surrogateescape"))
    if isinstance(value, t.Mapping):
        return {printable_value(key): printable_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [printable_value(item) for item in value]
    return value


def exact_value(value: str) -> dict[str, str]:
    """Return a text as return values: `value` is what `printable` returns and, where that is not exact, `base64` has the bytes."""
    shown = printable(value)
    if shown == value:
        return {"value": value}
    return {"value": shown, "base64": base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()}


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if unicodedata.category(character) not in _UNSAFE:
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    # Two digits stand for bytes: a character beyond ASCII has four or eight.
    return f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
