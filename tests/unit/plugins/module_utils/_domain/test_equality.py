# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What xl chooses again each time that it parses a definition is no difference."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.equality import same
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.kept import agrees
from ansible_collections.xen.driver_domains.tests.unit.xl_parser import xl_program

HVM = 'name = "web1"\ntype = "hvm"\nmemory = 128\n'
UUID = 'uuid = "11111111-1111-1111-1111-111111111111"'


def parsed(text: str) -> dict[str, t.Any]:
    found = xl_program().parse(text)
    assert found is not None, xl_program().errors
    return found


def test_a_generated_identifier_is_there_or_not() -> None:
    """Windows sees by ms_vm_genid whether its machine was copied."""
    one, other = (parsed(HVM + 'ms_vm_genid = "generate"\n') for _parse in range(2))
    without = parsed(HVM)
    assert one != other
    assert same(one, other, HVM) == []
    assert same(one, without, HVM) and same(without, one, HVM)
    assert agrees(one, other)
    assert not agrees(one, without)


@pytest.mark.parametrize("text", [HVM + UUID, f'name = "web1"; {UUID}\n{HVM}', HVM + UUID.replace(" ", ""), f"{HVM}\t{UUID} # mine\n"])
def test_a_uuid_that_is_set_counts(text: str) -> None:
    assert same(parsed(text), parsed(HVM), text)[0].startswith("c_info.uuid is ")
    assert same(parsed(text), parsed(text), text) == []


@pytest.mark.parametrize("text", [HVM, f"{HVM}# {UUID}\n", f"{HVM}title = 'uuid = 1'\n", f"{HVM}my_uuid = 1\n"])
def test_a_uuid_that_is_left_to_chance_does_not(text: str) -> None:
    assert same(parsed(text), parsed(HVM + UUID), text) == []


def test_a_text_that_cannot_be_read_may_set_it() -> None:
    theirs, ours = ({"c_info": {"uuid": uuid}} for uuid in ("a", "b"))
    assert same(theirs, ours, "import os\n")
