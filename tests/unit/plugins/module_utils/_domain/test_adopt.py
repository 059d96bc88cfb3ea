# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Definitions as people write them, as variables of the roles, and back: xl must read both in the same way."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.xen.driver_domains.plugins.filter.domain_definitions import FilterModule
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt import (
    Address,
    Adopted,
    Devices,
    adopt,
    definition,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt_kept import FILLED, settings_of
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import definitions
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.equality import differences, same
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg_reader import read
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import BLANK
from ansible_collections.xen.driver_domains.tests.unit.xl_parser import xl_program

SHAPES = sorted(Path(__file__).with_name("definitions").glob("*.cfg"))

#: What cannot be expressed, by definition; where nothing is named, everything can.
LOST = {
    "random_macs": [
        "vcpus is 'two', which is no number, and which xl ignores",
        "root is a list, which xl ignores",
        "vif 0 has no MAC address, so xl chooses another one at each start; it gets one that stays",
        "vif 1 has no MAC address, so xl chooses another one at each start; it gets one that stays",
        "the vif 'mac=00:16:3e:91:00:02,br1' has 'br1'",
    ],
}


def adopted(path: Path) -> tuple[Adopted, Devices]:
    devices = Devices("/nonexistent")
    return adopt(read(path.read_text(encoding="utf-8")), devices), devices


def test_there_are_twenty_shapes() -> None:
    assert len(SHAPES) >= 20


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_xl_reads_the_same(path: Path) -> None:
    """From the definition to the inventory as YAML, by the filter of the roles to the parameters of xl_domain, and to its definition."""
    text, program = path.read_text(encoding="utf-8"), xl_program()
    found, devices = adopted(path)
    assert found.lost == LOST.get(path.stem, [])
    (declared,) = yaml.safe_load(yaml.safe_dump([found.domain], allow_unicode=True))
    (by_role,) = FilterModule().filters()["domain_definitions"](
        [declared], found.role, devices=[{"name": n} for n in devices.names.values()]
    )
    known: t.Any = {name: Address(bdf) for bdf, name in devices.names.items()}
    ours = definitions([{**BLANK, **by_role}], known)[0].text
    assert ours == definition(found, devices).text
    theirs_parsed, ours_parsed = program.parse(text), program.parse(ours)
    assert theirs_parsed is not None, program.errors
    assert ours_parsed is not None, program.errors
    assert same(theirs_parsed, ours_parsed, text) == []


@pytest.mark.parametrize("path", [path for path in SHAPES if path.stem not in LOST], ids=lambda path: path.stem)
def test_what_the_toolstack_keeps_is_enough_for_most(path: Path) -> None:
    """What xl makes of a definition is what libxl keeps, apart from what it fills in. What is not covered is named."""
    parsed = xl_program().parse(path.read_text(encoding="utf-8"))
    assert parsed is not None
    values, left = settings_of(parsed)
    devices = Devices("/nonexistent")
    ours = xl_program().parse(definition(adopt(values, devices), devices).text)
    assert ours is not None
    places = [text.partition(" is ")[0].partition("[")[0] for text in differences(parsed, ours)]
    names = {re.sub(r"^[bc]_info\.((?:type\.)?\w+).*", r"\1", place) for place in places}
    assert names <= {*left, *FILLED}
