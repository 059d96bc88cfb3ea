# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which type a domain gets that leaves it open."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.kinds import Typed, settle_types
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER, Paths
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import BLANK


@pytest.fixture(name="paths")
def make_paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path))


def settle(paths: Paths, caps: str = "pv hvm hap", **parameters: t.Any) -> Typed:
    return settle_types([{**BLANK, "name": "web1", "type": "auto", **parameters}], paths, lambda: {"virt_caps": caps})


@pytest.mark.parametrize(
    ("caps", "parameters", "kind"),
    [
        ("pv hvm hap", {}, "pvh"),
        ("hvm hap", {"state": "stopped"}, "pvh"),
        ("pv hvm hap", {"options": {"hap": False}}, "pv"),
        ("pv hvm", {}, "pv"),
        ("pv hap", {}, "pv"),
        ("pv hvm shadow", {}, "pv"),
        ("", {}, "pv"),
    ],
)
def test_a_new_domain_gets_the_best_that_the_host_can_run(paths: Paths, caps: str, parameters: dict[str, t.Any], kind: str) -> None:
    typed = settle(paths, caps, **parameters)
    assert typed.domains[0]["type"] == kind
    assert bool(typed.warnings) == (kind == "pv")


def test_why_it_is_not_pvh(paths: Paths) -> None:
    (warning,) = settle(paths, "pv pv_directio").warnings
    assert warning.startswith("web1: type pv, not pvh, because Xen has no hap here (virt_caps of xl info: pv pv_directio).")


def forbidden() -> dict[str, str]:
    raise AssertionError("xl info is not needed")


@pytest.mark.parametrize("kind", ["pv", "pvh", "hvm"])
def test_a_domain_that_is_defined_keeps_its_type(paths: Paths, tmp_path: Path, kind: str) -> None:
    (tmp_path / "web1.cfg").write_text(f'{MARKER}name = "web1"\ntype = "{kind}"\nmemory = 128\n')
    typed = settle_types([{**BLANK, "name": "web1", "type": "auto"}], paths, forbidden)
    assert (typed.domains[0]["type"], typed.warnings) == (kind, [])


def test_what_others_wrote_says_nothing(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "web1.cfg").write_text('name = "web1"\ntype = "pv"\n')
    assert settle(paths).domains[0]["type"] == "pvh"


@pytest.mark.parametrize(("parameters", "kind"), [({"type": "hvm"}, "hvm"), ({"type": "pv"}, "pv"), ({"type": "pvh"}, "pvh")])
def test_what_is_said_counts(paths: Paths, tmp_path: Path, parameters: dict[str, t.Any], kind: str) -> None:
    (tmp_path / "web1.cfg").write_text(f'{MARKER}type = "pv"\n')
    typed = settle_types([{**BLANK, "name": "web1", **parameters}], paths, forbidden)
    assert (typed.domains[0]["type"], typed.warnings) == (kind, [])


@pytest.mark.parametrize(("before", "kind"), [("hvm", "hvm"), ("pv", "pv"), ("pvh", "pv"), ("", "pv")])
def test_what_a_domain_with_pci_devices_becomes(paths: Paths, tmp_path: Path, before: str, kind: str) -> None:
    if before:
        (tmp_path / "web1.cfg").write_text(f'{MARKER}type = "{before}"\n')
    typed = settle_types([{**BLANK, "name": "web1", "type": "auto", "pci": [{"device": "uplink0"}]}], paths, forbidden)
    assert (typed.domains[0]["type"], typed.warnings) == (kind, [])


@pytest.mark.parametrize("parameters", [{"pci": [{"device": "uplink0"}]}, {"state": "absent"}])
def test_pv_where_nothing_else_will_do_or_matters(paths: Paths, tmp_path: Path, parameters: dict[str, t.Any]) -> None:
    (tmp_path / "web1.cfg").write_text(f'{MARKER}type = "pvh"\n')
    typed = settle_types([{**BLANK, "name": "web1", "type": "auto", **parameters}], paths, forbidden)
    assert (typed.domains[0]["type"], typed.warnings) == ("pv", [])


def test_one_look_at_the_host_and_one_warning_for_all(paths: Paths) -> None:
    looks: list[str] = []

    def info() -> dict[str, str]:
        looks.append("info")
        return {"virt_caps": "pv"}

    typed = settle_types([{**BLANK, "name": name, "type": "auto"} for name in ("a", "b")], paths, info)
    assert (looks, [warning.partition(":")[0] for warning in typed.warnings]) == (["info"], ["a, b"])
