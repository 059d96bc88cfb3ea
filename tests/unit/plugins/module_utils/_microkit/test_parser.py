# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is not a system description, and numbers."""

from __future__ import annotations

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.parser import parse_number, read_system


def test_what_is_no_xml() -> None:
    with pytest.raises(InvalidInput, match="is not a system description"):
        read_system("<system>", "vmm.system")
    with pytest.raises(InvalidInput, match="it is not UTF-8"):
        read_system(b"<system>\xe4</system>".decode("utf-8", "surrogateescape"), "vmm.system")
    with pytest.raises(InvalidInput, match="below 64 other elements"):
        read_system("<protection_domain>" * 3000, "vmm.system")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0x1_000", 4096),
        ("10", 10),
        ("1_0", 10),
        ("0X10", None),
        ("-1", None),
        ("", None),
        ("0x", None),
        ("ram", None),
        ("9" * 5000, None),
        (str(1 << 64), None),
    ],
)
def test_numbers(text: str, number: int | None) -> None:
    assert parse_number(text) == number
