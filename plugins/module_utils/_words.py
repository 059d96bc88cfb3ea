# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Text that becomes one word of a kernel command line or of a build command: the only place that decides what such a word may hold."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ._errors import InvalidInput

#: What no shell, boot loader, kernel or package manager takes for anything but a part of a word. No kind of word may hold more.
PLAIN = re.compile(r"[A-Za-z0-9_.+:=~/@-]*")


class WordKind(t.NamedTuple):
    """One kind of word: its pattern, and the same in words."""

    pattern: str
    rule: str


KINDS = {
    # xl would take a number for a domid. The kernel cuts a host name after 64 bytes (__NEW_UTS_LEN).
    "domain name": WordKind(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", "1 to 64 letters, digits and '_.+-', the first a letter or digit"),
    # IFNAMSIZ, which counts the final 0.
    "bridge": WordKind(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", "1 to 15 letters, digits and '_.-', the first a letter or digit"),
    "bond": WordKind(r"[A-Za-z][A-Za-z0-9_.-]{0,14}", "1 to 15 letters, digits and '_.-', the first a letter"),
    "MAC address": WordKind(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", "six pairs of hexadecimal digits with colons between them"),
    "image name": WordKind(r"[A-Za-z0-9][A-Za-z0-9._+-]*", "letters, digits and '._+-', the first a letter or digit"),
    "suite": WordKind(r"[a-z][a-z0-9.-]*", "small letters, digits and '.-', the first a letter"),
    "architecture": WordKind(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "small letters and digits, such as amd64"),
    # To apt, a name that ends in '-' is a package to remove; '=' and '/' select a version or a suite (apt-get(8)).
    "package": WordKind(
        r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z][a-z0-9-]*[a-z0-9])?([=/][A-Za-z0-9][A-Za-z0-9+.:~-]*)?",
        "the name of a Debian package, optionally with :ARCHITECTURE, and with =VERSION or /SUITE",
    ),
    # A line of /etc/initramfs-tools/modules, and a word for modprobe.
    "module": WordKind(r"[A-Za-z0-9][A-Za-z0-9_-]*", "letters, digits and '_-', the first a letter or digit"),
}


def check_word(kind: str, text: t.Any, where: str = "") -> str:
    """Return `text` if it is a word of a kind.

    :param kind: one of `KINDS`.
    :param where: what the word belongs to, for the message.
    :raises InvalidInput: it is something else.
    """
    found = KINDS[kind]
    if not isinstance(text, str) or not PLAIN.fullmatch(text) or not re.fullmatch(found.pattern, text):
        raise InvalidInput(f"{_prefix(where)}{text!r} is not a valid {kind}", rule=f"a {kind} is {found.rule}")
    return text


def check_address(text: t.Any, where: str = "", *, prefix: bool = True) -> str:
    """Return an IP address if it is one, with a prefix length or without.

    A zone (fe80::1%eth0) is refused: Python accepts anything behind the '%'.

    :raises InvalidInput: it is something else.
    """
    try:
        if not isinstance(text, str) or not PLAIN.fullmatch(text):
            raise ValueError(f"{text!r} is not an address")
        if prefix and "/" not in text:
            raise ValueError(f"{text!r} has no prefix length")
        (ipaddress.ip_interface if prefix else ipaddress.ip_address)(text)
    except ValueError as exc:
        raise InvalidInput(
            f"{_prefix(where)}{exc}", rule="an address is one with prefix length such as 192.0.2.5/24, a gateway one without"
        ) from exc
    return text


def check_line(text: str, where: str = "") -> str:
    """Return text that ends up in one line, without white space around it; line breaks inside it become blanks.

    :raises InvalidInput: it holds another control character, which a line cannot carry.
    """
    line = re.sub(r"\s*[\r\n]+\s*", " ", text.strip())
    bad = next((char for char in line if char != "\t" and not char.isprintable()), None)
    if bad is not None:
        raise InvalidInput(f"{_prefix(where)}{text!r} holds the character {bad!r}", rule="it becomes a line of plain text")
    return line


def check_mirror(text: str, where: str = "") -> str:
    """Return a line for `sources.list`, or the address of a mirror (mmdebstrap(1), MIRROR).

    :raises InvalidInput: it is something else, such as an option of mmdebstrap.
    """
    if not text.isprintable() or not re.fullmatch(r"(deb|deb-src) +\S.*|[a-z][a-z0-9+.-]*:/*[^\s/-]\S*|(http|file|copy)s?:/\S*", text):
        raise InvalidInput(
            f"{_prefix(where)}the mirror {text!r} is not valid",
            rule="a mirror is a line of sources.list that begins with deb or deb-src, or an address such as http://mirror.example.org/debian",
        )
    return text


def _prefix(where: str) -> str:
    return f"{where}: " if where else ""
