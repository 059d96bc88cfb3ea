# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of dom0_uplink: it asks over new connections until the host has moved, or went back."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.xen.driver_domains.plugins.action import dom0_uplink

BEGUN = {"changed": True, "pending": True, "actions": ["give"], "interface": "eth0"}
WAITING = {"changed": False, "pending": True, "actions": [], "interface": "eth0"}
CONFIRMED = {"changed": True, "pending": False, "actions": ["confirm"], "interface": "eth0"}
DONE = {"changed": False, "pending": False, "actions": [], "interface": "eth0"}
BACK = {"failed": True, "changed": False, "msg": "dom0 has its network card"}
LOST = AnsibleConnectionFailure("the connection is dead")


class FakeTask:
    """What the plugin asks of its task."""

    def __init__(self, arguments: dict[str, t.Any], check_mode: bool) -> None:
        self.args = arguments
        self.check_mode = check_mode


class FakeConnection:
    """Counts how often it was made again."""

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1


class Plugin(dom0_uplink.ActionModule):
    """The plugin without all that it inherits; each run of the module answers with the next of `answers`."""

    def __init__(self, arguments: dict[str, t.Any], answers: t.Sequence[t.Any], check_mode: bool = False) -> None:
        self._task = FakeTask(arguments, check_mode)
        self._connection = FakeConnection()
        self.answers = list(answers)
        self.states: list[str] = []

    def _execute_module(self, **options: t.Any) -> dict[str, t.Any]:
        self.states.append((options.get("module_args") or self._task.args).get("state", "present"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dom0_uplink.ActionBase, "run", lambda self, tmp, task_vars: {})
    monkeypatch.setattr(dom0_uplink, "_PAUSE", 0)


@pytest.mark.parametrize(("answer", "check_mode"), [(DONE, False), (BACK, False), (BEGUN, True)], ids=["nothing", "refused", "check"])
def test_nothing_to_wait_for(answer: dict[str, t.Any], check_mode: bool) -> None:
    plugin = Plugin({}, [answer], check_mode)
    assert plugin.run() == answer
    assert plugin._connection.resets == 0


def test_it_asks_until_the_host_has_moved() -> None:
    plugin = Plugin({"limit": "90"}, [BEGUN, LOST, LOST, WAITING, CONFIRMED])
    assert plugin.run() == {**CONFIRMED, "actions": ["give", "confirm"]}
    assert plugin.states == ["present", *["confirmed"] * 4]
    assert plugin._connection.resets == 4


def test_a_connection_that_is_lost_at_once() -> None:
    plugin = Plugin({}, [LOST, CONFIRMED])
    assert plugin.run()["changed"]


def test_the_host_went_back() -> None:
    result = Plugin({}, [BEGUN, LOST, BACK]).run()
    assert (result["failed"], result["changed"], result["msg"]) == (True, True, BACK["msg"])


def test_the_card_returns() -> None:
    plugin = Plugin({"state": "absent"}, [BEGUN, LOST, WAITING, DONE])
    assert plugin.run()["changed"]
    assert plugin.states == ["absent"] * 4


@pytest.mark.parametrize(("answer", "problem"), [(LOST, "cannot be reached"), (WAITING, "has not ended what it began")])
def test_it_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch, answer: t.Any, problem: str) -> None:
    monkeypatch.setattr(dom0_uplink, "_GRACE", -0.5)
    result = Plugin({"limit": 1}, [BEGUN, answer]).run()
    assert result["failed"] and problem in result["msg"]
