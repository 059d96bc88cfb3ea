# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The address of a PCI function: domain, bus, device, function."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .._errors import InvalidInput

#: Stands for every function of a device, written `*`.
ALL_FUNCTIONS = -1

_SYNTAX = re.compile(r"(?:([0-9a-fA-F]{4}):)?([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-7*])")
_RULE = "it is [DDDD:]BB:SS.F in hexadecimal, with bus 00 to ff, device 00 to 1f and function 0 to 7, such as 0000:03:00.0"
_REMEDY = "Take it from 'lspci -D', and write it in quotes: YAML reads a bare 03:00.0 as a number"


@dataclass(frozen=True, order=True)
class Bdf:
    """The address of one PCI function, or of all functions of a device (a pattern)."""

    domain: int
    bus: int
    device: int
    function: int

    @classmethod
    def parse(cls, text: str) -> Bdf:
        """Read the address of one function.

        The grammar is that of xl-pci-configuration(5). xl itself takes short numbers and ignores what follows the address
        (libxlu_pci.c); this does not.

        :raises InvalidInput: `text` is not such an address.
        """
        bdf = cls.parse_pattern(text)
        if bdf.function == ALL_FUNCTIONS:
            raise InvalidInput(f"The PCI address {text!r} names every function of a device", "One function is needed here", _REMEDY)
        return bdf

    @classmethod
    def parse_pattern(cls, text: str) -> Bdf:
        """Read the address of one function, or of all functions (`03:00.*`).

        :raises InvalidInput: `text` is neither.
        """
        found = _SYNTAX.fullmatch(text)
        if not found or int(found.group(3), 16) > 0x1F:
            raise InvalidInput(f"{text!r} is not a PCI address", _RULE, _REMEDY)
        domain, bus, device, function = found.groups()
        return cls(int(domain or "0", 16), int(bus, 16), int(device, 16), ALL_FUNCTIONS if function == "*" else int(function))

    def covers(self, other: Bdf) -> bool:
        """Return whether this address or pattern stands for `other`."""
        return (self.domain, self.bus, self.device) == (other.domain, other.bus, other.device) and self.function in (
            ALL_FUNCTIONS,
            other.function,
        )

    @property
    def xenstore_name(self) -> str:
        """The directory of this function below /libxl/pci (PCI_BDF_XSPATH of libxl_internal.h)."""
        return str(self).replace(":", "-").replace(".", "-")

    def __str__(self) -> str:
        function = "*" if self.function == ALL_FUNCTIONS else str(self.function)
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{function}"
