# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Which parameters and texts are secret, and copies of them for journals, results and diffs."""

from __future__ import annotations

import re
import typing as t

#: What stands for a secret. Ansible writes the same.
HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
_NAME = r"[A-Za-z0-9_.-]{0,64}(?:passw(?:or)?d|passphrase|secret|token|psk|(?:api|auth|private)_?key)"
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
#: `vncpasswd = "..."` or `+=` as a setting, and `vncpasswd=...` inside of a specification string such as those of `vfb`.
_SETTING = re.compile(rf"(\s*{_NAME}\s*\+?=\s*).*", re.IGNORECASE | re.DOTALL)
_INSIDE = re.compile(
    rf"""\b({_NAME}\s*\+?=\s*)(?:"(?:\\.|[^"\\\n])+"|'(?:\\.|[^'\\\n])+'|["']?(?:\\.|[^,"'\\\s])(?:\\.|[^,"'\\\n])*)""", re.IGNORECASE
)
#: The password in an address (http://USER:PASSWORD@HOST), and the key in a disk of Ceph (rbd:POOL/IMAGE:key=KEY).
_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@\"']*:)[^\s/@\"']+(?=@)|(\brbd:[^\s\"',]*:key=)[^\s\"',:]+", re.IGNORECASE)


def hide_secrets(value: t.Any) -> t.Any:
    """Return a copy of parameters without passwords and without the contents of files."""
    if isinstance(value, dict):
        file = isinstance(value.get("path"), str) and "content" in value
        return {
            key: HIDDEN
            if item and ((file and key == "content") or _SECRET_NAME.fullmatch(str(key))) and not isinstance(item, bool)
            else hide_secrets(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [hide_secrets(item) for item in value]
    return _hide_inside(value) if isinstance(value, str) else value


def hide_secrets_in_text(text: str) -> str:
    """Return a domain definition, xl.cfg(5), without passwords."""
    return "\n".join(_hide_in_line(line) for line in text.split("\n"))


def _hide_in_line(line: str) -> str:
    setting = _SETTING.fullmatch(line)
    return f'{setting[1]}"{HIDDEN}"' if setting else _hide_inside(line)


def _hide_inside(text: str) -> str:
    return _ADDRESS.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}", _INSIDE.sub(rf"\g<1>{HIDDEN}", text))
