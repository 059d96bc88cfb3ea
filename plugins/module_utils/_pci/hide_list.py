# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The list of devices that pciback takes at boot, in the kernel's own grammar (pci_stub.c, pcistub_init)."""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidInput

#: The kernel copies no longer parameter (params.c, param_set_charp).
MAX_LENGTH = 1024

# The kernel reads numbers of any length; the module's name may be written with either sign (params.c, parameq).
_ITEM = re.compile(r"\s*\((?:0*([0-9a-f]{1,4}):)?0*([0-9a-f]{1,2}):(?:0*([01]?[0-9a-f])\.(?:0*([0-7])|(\*))|(\*)\.\*)\)\s*", re.IGNORECASE)
_OPTION = re.compile(r"xen[-_]pciback\.hide=")


def render(items: t.Iterable[str]) -> str:
    """Return the list as the kernel reads it; `items` are what `parse` returns."""
    return "".join(f"({item})" for item in sorted(set(items)))


def parse(text: str) -> tuple[str, ...]:
    """Return the items of a list in their full form, such as `0000:03:00.0`, `0000:03:00.*` or `0000:03:*.*`.

    :raises InvalidInput: an item is malformed, which makes the kernel ignore the whole list.
    """
    items = []
    position = 0
    while position < len(text):
        found = _ITEM.match(text, position)
        if not found:
            raise InvalidInput(
                f"The list of hidden devices {text!r} cannot be read from {text[position:]!r} on",
                rule="it is (DDDD:BB:SS.F)(BB:SS.F)..., hexadecimal, * for any function or device; one bad item disables all",
            )
        domain, bus, device, function, _any, every = found.groups()
        place = "*.*" if every else f"{int(device, 16):02x}.{function or '*'}"
        items.append(f"{int(domain or '0', 16):04x}:{int(bus, 16):02x}:{place}")
        position = found.end()
    return tuple(items)


def covers(items: t.Iterable[str], bdf: str) -> bool:
    """Return whether one of the items of a list stands for a device; `items` are what `parse` returns, `bdf` is in its full form."""
    return any(re.fullmatch(re.escape(item).replace(r"\*", "[0-9a-f]+"), bdf) for item in items)


def lists_in(line: str) -> list[str]:
    """Return the lists that a kernel command line has; the last one is in effect."""
    # The kernel removes double quotes, around a value or around all of it (params.c, next_arg); GRUB removes single ones and backslashes.
    words = [re.sub(r"[\"'\\]", "", word) for word in re.findall(r"(?:\"[^\"]*\"|[^\s\"])+", line)]
    return [word.split("=", 1)[1] for word in words if _OPTION.match(word)]
