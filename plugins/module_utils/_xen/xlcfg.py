# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The syntax of domain definitions: xl.cfg(5) and the specification strings inside it, as it is written; `xlcfg_reader` reads it."""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidInput

#: The only escapes that libxlu's dequoting turns into the right byte: numeric ones lose their value
#: (tools/libs/util/libxlu_cfg.c, xlu__cfgl_dequote).
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
#: The lexer of libxlu knows no other names (libxlu_cfg_l.l).
_KEY = re.compile(r"[a-z][._0-9a-z]*")
#: Settings that are a word of their own: the words for true and for false, or "" for the one that is the default
#: (parse_nic_config in tools/xl/xl_parse.c, libxlu_disk_l.l).
_WORDS = {"trusted": ("", "untrusted"), "direct_io_safe": ("direct-io-safe", ""), "discard": ("discard", "no-discard")}


def quote(text: str) -> str:
    """Return `text` as a quoted string of xl.cfg. What has no escape stands for itself, such as letters that are not ASCII.

    :raises InvalidInput: it holds a 0 byte, where C ends a string.
    """
    if "\0" in text:
        raise InvalidInput(f"The text {text!r} holds a 0 byte", rule="xl.cfg(5) cannot express it", remedy="Remove it")
    return '"' + "".join(_ESCAPES.get(char, char) for char in text) + '"'


def render_value(value: t.Any) -> str:
    """Return a value in xl.cfg syntax: text, whole number, boolean (as 1 or 0), or a list of those."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int):
        # The lexer knows no sign. libxlu reads the numbers in texts as well (xlu_cfg_get_long).
        return str(value) if value >= 0 else quote(str(value))
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(render_value(item) for item in value) + "]"
    raise InvalidInput(
        f"The value {value!r} cannot be written into a domain definition",
        rule="xl.cfg(5) knows text, whole numbers, booleans and lists of them",
    )


def render(settings: t.Mapping[str, t.Any]) -> str:
    """Return a definition file, one setting a line in the order given; settings that are None are left out.

    :raises InvalidInput: a key or a value cannot be expressed.
    """
    lines = []
    for key, value in settings.items():
        if value is None:
            continue
        if not _KEY.fullmatch(key):
            raise InvalidInput(
                f"{key!r} is not the name of a setting", rule="xl.cfg(5): small letters, digits, '_' and '.', first a letter"
            )
        lines.append(f"{key} = {render_value(value)}\n")
    return "".join(lines)


def specification(kind: str, parts: t.Mapping[str, t.Any], last: str = "") -> str:
    """Return a comma separated `key=value` string, as vif, disk and pci lists hold them.

    Booleans become 1 and 0: xl reads them with atoi, which reads `true` as 0. Some are words of their own, such as `trusted` (since Xen
    4.17; before, every frontend trusts its backend, which is the default). The value of the key `last` goes to the end
    and may hold anything, as xl takes the whole rest of the string for it (libxlu_disk_l.l, target=).

    :raises InvalidInput: a value is empty, or holds a comma, a control character or white space at its ends, for which the syntax has
        no escape.
    """
    words: list[str] = []
    for key, value in parts.items():
        if value is None or key == last:
            continue
        if key in _WORDS:
            words += filter(None, [_WORDS[key][0 if value else 1]])
            continue
        text = str(int(value)) if isinstance(value, bool) else str(value)
        if "," in text or text != text.strip() or not text or not text.isprintable():
            raise InvalidInput(
                f"The value {text!r} of {key!r} in a {kind} cannot be expressed",
                rule="such a value is not empty, and has no comma, no control character and no space around it",
            )
        words.append(f"{key}={text}")
    if last and parts.get(last) is not None:
        text = str(parts[last])
        if not text.isprintable():
            raise InvalidInput(
                f"The value {text!r} of {last!r} in a {kind} cannot be expressed", rule="such a value has no control character"
            )
        words.append(f"{last}={text}")
    return ",".join(words)
