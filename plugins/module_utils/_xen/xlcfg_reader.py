# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The settings of domain definitions, xl.cfg(5), as plain values."""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidInput
from .._xl_syntax import Atom, read_xl_config

#: A text, a whole number, or a list of values. libxlu has texts only; a number here is one that was written as such in decimal.
Value = t.Union[str, int, "list[Value]"]

#: What strtol(3) takes with the base 0.
_C_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
#: The name that a definition gives its domain.
_DOMAIN_NAME = re.compile(r"""(?:^|;)[ \t]*name[ \t]*=[ \t]*["']([A-Za-z0-9_.+-]+)["']""", re.MULTILINE)


def read(text: str) -> dict[str, Value]:
    """Return the settings of a definition by name: of those that are set twice the last one, with what `+=` adds.

    :raises InvalidInput: xl would not accept the text, or would lose a part of it.
    """
    found = read_xl_config(text)
    for line, problem in found.problems:
        raise InvalidInput(
            f"Line {line}: {problem}",
            rule="xl.cfg(5) has names of small letters, numbers without a sign, quoted texts and [lists]; a comment ends with its line",
        )
    return {name: _plain(setting.value) for name, setting in found.settings.items()}


def _plain(value: t.Any) -> Value:
    if isinstance(value, Atom):
        is_decimal = value.is_number and re.fullmatch("0|[1-9][0-9]*", value.text)
        return int(value.text) if is_decimal else value.text
    return [_plain(one) for one in value]


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
