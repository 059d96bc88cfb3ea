# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot options as free text: what Xen and Linux document can be written, and nothing that leaves the line."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._boot_options import check_options
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput


@pytest.mark.parametrize(
    "option",
    ["ivrs_ioapic[4]=00:14.0", "ivrs_hpet[0]=00:14.0", "dom0_mem=max:25%", "dom0_mem=512M+10%", "com1=115200,8n1,0x3f8,4", "ucode=scan"],
)
def test_documented_options(option: str) -> None:
    check_options([option], [])
    check_options([], [option])


@pytest.mark.parametrize("option", ["", "a b", "a\tb", "crashkernel=128M<4G:256M", "a;b", "a$b", "a`b`", "é", "a\u2028b", "a\ud800", "a\0"])
def test_what_leaves_the_line(option: str) -> None:
    with pytest.raises(InvalidInput):
        check_options([option], [])
    with pytest.raises(InvalidInput):
        check_options([], [option])


@settings(max_examples=150)
@given(st.text("xen-_pciback.hide=(0:3)\"'\\ \t$;|<>{}[]%#\n") | st.text())
def test_any_text_is_refused_or_stays_one_word(option: str) -> None:
    try:
        check_options([], [option])
    except InvalidInput:
        return
    assert shlex.split(f'x="{option}"') == [f"x={option}"]
    assert not option.partition("=")[0].endswith(".hide")
