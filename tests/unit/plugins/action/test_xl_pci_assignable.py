# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of xl_pci_assignable: when it confirms, and what it says when it cannot."""

from __future__ import annotations

import signal
import time
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.xen.driver_domains.plugins.action import xl_pci_assignable

TAKEN = {"changed": True, "unconfirmed": ["0000:00:04.0"], "devices": [{"pciback": True, "stage": "taken"}]}
CONFIRMED = {"changed": True, "devices": [{"pciback": True, "stage": "confirmed"}]}
HANGS = {"unconfirmed": "nobody knows"}
LOST = AnsibleConnectionFailure("the connection is dead")


class FakeTask:
    """What the plugin asks of its task."""

    def __init__(self, arguments: dict[str, t.Any], check_mode: bool) -> None:
        self.args = {"devices": [], **arguments}
        self.check_mode = check_mode


class FakeConnection:
    """Counts how often it was made again."""

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1


class Plugin(xl_pci_assignable.ActionModule):
    """The plugin without all that it inherits; each run of the module answers with the next of `answers`."""

    def __init__(self, arguments: dict[str, t.Any], answers: t.Sequence[t.Any], check_mode: bool = False) -> None:
        self._task = FakeTask(arguments, check_mode)
        self._connection = FakeConnection()
        self.answers = list(answers)
        self.states: list[str] = []

    def _execute_module(self, **options: t.Any) -> dict[str, t.Any]:
        self.states.append((options.get("module_args") or self._task.args).get("state", "present"))
        answer = self.answers.pop(0)
        if answer is HANGS:
            time.sleep(60)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xl_pci_assignable.ActionBase, "run", lambda self, tmp, task_vars: {})
    monkeypatch.setattr(xl_pci_assignable, "_PAUSE", 0)


@pytest.mark.parametrize(
    ("arguments", "answer", "check_mode"),
    [
        ({}, CONFIRMED, False),
        ({"confirm_timeout": 0}, CONFIRMED, False),
        ({"confirm_timeout": "many"}, {"failed": True, "msg": "not a number"}, False),
        ({"confirm_timeout": 60}, TAKEN, True),
        ({"confirm_timeout": 60}, {"changed": False, "devices": []}, False),
        ({"confirm_timeout": 60}, {"failed": True, "msg": "refused"}, False),
    ],
    ids=["not asked for", "switched off", "bad value", "check mode", "nothing was taken", "failed"],
)
def test_nothing_to_confirm(arguments: dict[str, t.Any], answer: dict[str, t.Any], check_mode: bool) -> None:
    plugin = Plugin(arguments, [answer], check_mode)
    assert plugin.run() == answer
    assert plugin._connection.resets == 0


def test_a_confirmation_over_a_fresh_connection() -> None:
    plugin = Plugin({"confirm_timeout": 60}, [TAKEN, CONFIRMED])
    assert plugin.run() == {**TAKEN, "devices": CONFIRMED["devices"]}
    assert (plugin.states, plugin._connection.resets) == (["present", "confirmed"], 1)


@pytest.mark.parametrize("given", [60, "60", 60.0, "60.0", " 60 ", True, "6e1"])
def test_numbers_are_read_as_the_module_reads_them(given: t.Any) -> None:
    plugin = Plugin({"confirm_timeout": given}, [LOST, CONFIRMED])
    assert plugin.run()["devices"] == CONFIRMED["devices"]


@pytest.mark.parametrize("given", [None, 0, "0", "", "many", 60.5, "-"])
def test_what_is_no_time_limit(given: t.Any) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        Plugin({"confirm_timeout": given}, [LOST]).run()


def test_it_tries_until_the_host_is_reached() -> None:
    plugin = Plugin({"confirm_timeout": 60}, [TAKEN, LOST, LOST, CONFIRMED])
    assert plugin.run()["devices"] == CONFIRMED["devices"]
    assert plugin._connection.resets == 3


def test_devices_that_were_given_back() -> None:
    plugin = Plugin({"confirm_timeout": "60"}, [TAKEN, {"failed": True, "msg": "Not held by pciback."}])
    result = plugin.run()
    assert (result["failed"], result["changed"]) == (True, True)
    assert "a fresh connection could not confirm in time" in result["msg"]
    assert result["msg"].endswith("Not held by pciback.")
    assert "devices" not in result


@pytest.mark.parametrize("answer", [CONFIRMED, {"failed": True, "msg": "Not held by pciback."}], ids=["still there", "returned"])
def test_the_connection_is_lost_while_devices_are_taken(answer: dict[str, t.Any]) -> None:
    plugin = Plugin({"confirm_timeout": 60}, [LOST, answer])
    result = plugin.run()
    assert result["changed"]
    assert result.get("failed", False) is answer.get("failed", False)


@pytest.mark.parametrize("answers", [[HANGS, CONFIRMED], [TAKEN, HANGS, CONFIRMED]], ids=["taken", "confirmed"])
def test_a_connection_that_is_dead_and_does_not_end(answers: list[t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xl_pci_assignable, "_GRACE", -59.5)
    monkeypatch.setattr(xl_pci_assignable, "_LEAST", 0.2)
    began = time.monotonic()
    plugin = Plugin({"confirm_timeout": 60}, answers)
    result = plugin.run()
    assert time.monotonic() - began < 30
    # The time may be over before a third attempt.
    assert result.get("devices") == CONFIRMED["devices"] or "cannot be reached any more" in result["msg"]
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_host_that_is_never_reached_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xl_pci_assignable, "_GRACE", -60)
    plugin = Plugin({"confirm_timeout": 60}, [TAKEN, LOST])
    assert plugin.run()["msg"].endswith("The host cannot be reached any more")


def test_without_a_time_limit_a_lost_connection_is_ansible_s_own_matter() -> None:
    with pytest.raises(AnsibleConnectionFailure):
        Plugin({}, [LOST]).run()
