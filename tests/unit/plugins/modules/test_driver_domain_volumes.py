# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module driver_domain_volumes: what it documents is what it takes, and it waits for its turn."""

from __future__ import annotations

import typing as t

import pytest
import yaml

from ansible_collections.xen.driver_domains.plugins.modules import driver_domain_volumes as module


def taken(options: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        name: {
            **{key: option.get(key) for key in ("type", "elements", "choices", "default", "required")},
            "options": taken(option.get("suboptions") or option.get("options") or {}),
        }
        for name, option in options.items()
    }


def test_options_are_documented_as_they_are_taken() -> None:
    assert taken(yaml.safe_load(module.DOCUMENTATION)["options"]) == taken(module.ARGUMENTS)


def test_it_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, t.Any] = {}
    monkeypatch.setattr(module, "run_module", lambda spec, prepare, **more: given.update(spec=spec, prepare=prepare, **more))
    module.main()
    assert (given["first"], given["prepare"]) == (module.take_turn, module.prepare)
