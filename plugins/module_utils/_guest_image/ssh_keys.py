# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Public keys as `authorized_keys` holds them, sshd(8)."""

from __future__ import annotations

import base64
import binascii
import re
import struct
import typing as t

from .._errors import InvalidInput

_TYPES = (
    r"(?:ssh-(?:ed25519|ed448|rsa)|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r"|(?:sk-)?(?:ssh|ecdsa)-[a-z0-9-]+-cert-v01@openssh\.com"
)
_OPTION = r'[A-Za-z0-9@_-]+(?:="(?:[^"\\]|\\.)*")?'
_LINE = re.compile(rf"(?:{_OPTION}(?:,{_OPTION})* +)??({_TYPES}) +([A-Za-z0-9+/]+={{0,2}})(?: +.*)?")


def authorized_keys(items: t.Iterable[t.Any], where: str) -> str:
    """Return the content of an `authorized_keys` file.

    :param items: keys; one may be several lines, as a file with keys is. Empty lines and comments are left out.
    :param where: what the keys belong to, for messages.
    :raises InvalidInput: a line is no public key. The message does not repeat it: it may be a private one.
    """
    lines = []
    for number, item in enumerate(items, 1):
        texts = [line.strip() for line in re.split(r"\r?\n", item)] if isinstance(item, str) else [""]
        keys = [line for line in texts if line and not line.startswith("#")]
        if not keys or not all(_is_key(line) for line in keys):
            raise InvalidInput(
                f"{where}: item {number} of authorized_keys is not an SSH public key",
                rule="a line is a public key as ssh-keygen(1) writes it: type, base64 and comment, with options before it if need be",
                remedy="Give the content of a file such as ~/.ssh/id_ed25519.pub",
            )
        lines += keys
    return "".join(f"{line}\n" for line in lines)


def _is_key(line: str) -> bool:
    match = _LINE.fullmatch(line)
    if not match or not line.isprintable():
        return False
    try:
        blob = base64.b64decode(match[2], validate=True)
    except (binascii.Error, ValueError):
        return False
    # The key itself begins with its type, and holds more than that (RFC 4253, 6.6).
    kind = match[1].encode()
    start = struct.pack(">I", len(kind)) + kind
    return blob.startswith(start) and len(blob) >= len(start) + 32
