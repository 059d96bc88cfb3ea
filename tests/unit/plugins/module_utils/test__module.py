# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running a module: whatever happens, it reports what it has done so far."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils import _module
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan


class End(Exception):
    """Raised where a real module exits."""


class FakeModule:
    """The parts of AnsibleModule that are used. Warnings go into the result."""

    check_mode = False
    _diff = False

    def __init__(self, **_options: t.Any) -> None:
        self.params: dict[str, t.Any] = {"force": ["guard"]}
        self.warnings: list[str] = []

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        raise End({"failed": True, "warnings": self.warnings, **result})

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        raise End({"warnings": self.warnings, **result})

    def warn(self, warning: str) -> None:
        self.warnings.append(warning)


def run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    monkeypatch.setattr(_module, "AnsibleModule", FakeModule)
    with pytest.raises(End) as caught:
        run_module({}, lambda parameters: plan)
    result: dict[str, t.Any] = caught.value.args[0]
    return result


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device", "/disks/a"), InvalidInput("No space left on device: '/disks/a'")],
    ids=["system", "own"],
)
def test_an_error_in_the_middle_tells_what_was_done_and_forced(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    plan = Plan()
    plan.refuse("guard", "a", "is in use")
    plan.add("one", lambda: None)
    plan.add("two", fail)
    result = run(plan, monkeypatch)
    assert (result["failed"], result["changed"], result["actions"]) == (True, True, ["one"])
    assert "No space left on device: '/disks/a'" in result["msg"]
    assert result["warnings"] == ["Forced: a: is in use [guard]"]


def test_an_error_while_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(_parameters: dict[str, t.Any]) -> Plan:
        raise OSError(5, "Input/output error", "/sys/bus/pci/devices")

    monkeypatch.setattr(_module, "AnsibleModule", FakeModule)
    with pytest.raises(End) as caught:
        run_module({}, prepare)
    assert caught.value.args[0] == {
        "failed": True,
        "changed": False,
        "actions": [],
        "warnings": [],
        "msg": "The host refused: [Errno 5] Input/output error: '/sys/bus/pci/devices'.",
    }


def test_a_plan_that_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(results={"a": 1, "b": 1}, conclude=lambda: {"b": 2})
    plan.add("one", lambda: None)
    assert run(plan, monkeypatch) == {"a": 1, "b": 2, "changed": True, "actions": ["one"], "warnings": []}
