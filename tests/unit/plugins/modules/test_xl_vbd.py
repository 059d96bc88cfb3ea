# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module xl_vbd: what it documents is what it takes, and it waits for its turn."""

from __future__ import annotations

import typing as t

import pytest
import yaml

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vbd_options import VBD_OPTIONS
from ansible_collections.xen.driver_domains.plugins.modules import xl_domain, xl_vbd, xl_vif


def options(module: t.Any) -> dict[str, t.Any]:
    found: dict[str, t.Any] = yaml.safe_load(module.DOCUMENTATION)["options"]
    return found


def test_disks_are_documented_as_they_are_taken() -> None:
    documented = options(xl_vbd)["vbds"]["suboptions"]
    assert set(documented) == {"domain", "state", *VBD_OPTIONS}
    for name, option in VBD_OPTIONS.items():
        assert {key: documented[name].get(key) for key in ("type", "choices", "default", "required")} == {
            key: option.get(key) for key in ("type", "choices", "default", "required")
        }


def test_both_modules_take_the_same_disks() -> None:
    """Apart from the image that one of them copies, and from virtio disks, which cannot be attached to a domain that runs."""
    own = {"source", "specification", "grant_usage"}
    assert set(options(xl_domain)["domains"]["suboptions"]["disks"]["suboptions"]) == {*own, *VBD_OPTIONS}


@pytest.mark.parametrize("module", [xl_vif, xl_vbd])
def test_every_guard_is_documented(module: t.Any) -> None:
    option = options(module)["force"]
    assert all(f"V({guard}) - " in "".join(option["description"]) for guard in option["choices"])


@pytest.mark.parametrize("module", [xl_vif, xl_vbd, xl_domain])
def test_runs_take_turns(module: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, t.Any] = {}
    monkeypatch.setattr(module, "run_module", lambda spec, prepare, **more: given.update(spec=spec, prepare=prepare, **more))
    module.main()
    assert (given["first"], given["prepare"]) == (module.take_turn, module.prepare)
    assert given["spec"]["force"]["choices"] == options(module)["force"]["choices"]
