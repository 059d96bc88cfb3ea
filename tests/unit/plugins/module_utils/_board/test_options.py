# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of options against the two other places that name them: the documentation and the model."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
import yaml

from ansible_collections.xen.driver_domains.plugins.doc_fragments.board import ModuleDocFragment
from ansible_collections.xen.driver_domains.plugins.module_utils._board import options
from ansible_collections.xen.driver_domains.plugins.module_utils._board.configuration import Dom0, DomU
from ansible_collections.xen.driver_domains.plugins.module_utils._board.options import BOARD_OPTIONS, DOM0_OPTIONS, DOMU_OPTIONS, Option

DOCUMENTED = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
TABLES = {"board": BOARD_OPTIONS, "dom0": DOM0_OPTIONS, "domus": DOMU_OPTIONS}


def spec_of(documented: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The argument spec that documentation describes."""
    spec = {}
    for name, option in documented.items():
        spec[name] = {key: value for key, value in option.items() if key in ("type", "elements", "required", "default", "choices")}
        if "suboptions" in option:
            spec[name]["options"] = spec_of(option["suboptions"])
    return spec


def without_logging(spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """An argument spec without the keys that documentation does not have."""
    return {
        name: {key: without_logging(value) if key == "options" else value for key, value in option.items() if key != "no_log"}
        for name, option in spec.items()
    }


def test_the_documentation_has_the_options_of_the_table() -> None:
    assert spec_of(DOCUMENTED) == without_logging(options.ARGUMENT_SPEC)


@pytest.mark.parametrize(
    ("table", "option"),
    [(table, option) for table, rows in TABLES.items() for option in rows],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_documentation_marks_what_a_newer_imagebuilder_needs(table: str, option: Option) -> None:
    documented = DOCUMENTED if table == "board" else DOCUMENTED[table]["suboptions"]
    assert ("i(newer)" in str(documented[option.name]["description"]).lower()) == option.newer


@pytest.mark.parametrize(("rows", "model"), [(DOM0_OPTIONS, Dom0), (DOMU_OPTIONS, DomU)])
def test_the_model_has_the_options_of_the_table(rows: tuple[Option, ...], model: t.Any) -> None:
    assert [option.name for option in rows] == [field.name for field in dataclasses.fields(model)]


def test_newer_variables() -> None:
    assert set(options.newer_variables()) == {
        "XEN_STATIC_HEAP",
        "DOMU_VPL011",
        "DOMU_GRANT_VER",
        "DOMU_GRANT_FRAMES",
        "DOMU_MAPTRACK_FRAMES",
        "DOMU_CAPS",
        "DOMU_SHARED_MEM",
    }
