# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The consoles of this host, and the keyboards that somebody needs in front of it."""

from __future__ import annotations

import re
import struct
import typing as t

from ._files import list_directory, read_text, resolve

#: Keys that a keyboard has and a power button, a remote control or a mouse has not: Q, ENTER, A, Z, SPACE (linux/input-event-codes.h).
_KEYS = (16, 28, 30, 44, 57)
#: Input devices that somebody made in software (uinput).
_VIRTUAL = "/devices/virtual/"


class HostConsole:
    """Reads consoles and keyboards; the parameters are those of `HostUses`, `root` is the directory that stands for /."""

    def __init__(self, devices_in_path: t.Callable[[str], list[str]], sysfs: str, root: str) -> None:
        self._devices_in_path = devices_in_path
        self._sysfs = sysfs
        self._root = root

    def consoles(self) -> list[tuple[str, list[str]]]:
        """Return the consoles of the running kernel that are on devices of the caller's kind, each with the way to its device."""
        active = (read_text(f"{self._sysfs}/class/tty/console/active") or "").split()
        ways = ((name, self._devices_in_path(resolve(f"{self._sysfs}/class/tty/{name}"))) for name in active)
        return [(name, way) for name, way in ways if way]

    def keyboards(self) -> list[tuple[str, list[str]]]:
        """Return the keyboards, each with the way to its device; the way is empty if that is of another kind than the caller's."""
        found = []
        for entry in list_directory(f"{self._sysfs}/class/input"):
            path = resolve(f"{self._sysfs}/class/input/{entry}")
            if re.fullmatch(r"input\d+", entry) and _VIRTUAL not in path and _has_letters(read_text(f"{path}/capabilities/key") or ""):
                found.append(((read_text(f"{path}/name") or entry).strip(), self._devices_in_path(path)))
        return found

    def asks_for_a_passphrase(self) -> bool:
        """Return whether somebody may have to type a passphrase at the next boot: for a volume that is open, or one in crypttab."""
        for line in (read_text(f"{self._root}/etc/crypttab") or "").splitlines():
            fields = line.split()
            if fields and not fields[0].startswith("#") and (len(fields) < 3 or fields[2] in ("none", "-")):
                return True
        blocks = list_directory(f"{self._sysfs}/class/block")
        identifiers = [read_text(f"{self._sysfs}/class/block/{name}/dm/uuid") or "" for name in blocks if name.startswith("dm-")]
        return any(identifier.startswith("CRYPT-") for identifier in identifiers)


def _has_letters(bitmap: str) -> bool:
    """Return whether a bitmap of sysfs has the keys of a keyboard; its words are in hexadecimal, the most significant one first."""
    bits = 0
    # A word has as many bits as a long of this process: the kernel knows when it answers a 32-bit one (input.c, input_bits_to_string).
    width = struct.calcsize("l") * 8
    for word in bitmap.split():
        bits = (bits << width) | int(word, 16)
    return all(bits >> key & 1 for key in _KEYS)
