# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan: refused, forced, applied, or only looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Action, Plan


def test_what_only_shows_later_is_forced_by_the_same_name() -> None:
    plan = Plan()
    plan.add("stop", lambda: plan.refuse_now("destroy", "web1", "did not shut down", remedy="Check its console"))
    with pytest.raises(
        Refused, match=r"web1: did not shut down\. Check its console\. If you are sure.*force: \[destroy\]; in a role, ROLE_force"
    ):
        plan.apply(["serves_clients"])
    assert plan.done == []
    plan.apply(["destroy"])
    assert plan.done == ["stop"]
    assert plan.warnings == ["Forced: web1: did not shut down [destroy]. Check its console"]


def test_nobody_forces_what_has_no_name() -> None:
    plan = Plan()
    plan.refuse("", "web1", "has no kernel", rule="each PV guest has one", remedy="Give it one")
    with pytest.raises(Refused, match=r"web1: has no kernel \(rule: each PV guest has one\)\. Give it one\.$"):
        plan.apply(["", "destroy"])


@pytest.mark.parametrize("passing", [True, False])
def test_check_mode_lets_pass_what_an_earlier_task_may_resolve(passing: bool) -> None:
    plan = Plan(results={"a": 1})
    plan.refuse("", "web1", "has no kernel", passing=passing)
    plan.add("start web1", lambda: pytest.fail("check mode"))
    if passing:
        assert plan.apply(check_mode=True) == {"a": 1, "changed": True, "actions": ["start web1"]}
        assert plan.warnings == ["Would be refused unless an earlier task resolves it: web1: has no kernel"]
    else:
        with pytest.raises(Refused):
            plan.apply(check_mode=True)
    assert plan.done == []


def test_what_goes_together_is_done_once() -> None:
    calls: list[int] = []
    plan = Plan()
    plan.add_together(lambda: calls.append(1), [Action("a", print, after="a"), Action("b", print, after="b")])
    assert plan.apply()["actions"] == ["a", "b"]
    assert calls == [1]
    assert [diff["after"] for diff in plan.diffs] == ["a\n", "b\n"]


def test_files_that_agree_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    first = Plan()
    assert first.write_file(str(path), "new\n", mode=0o600)
    assert not path.exists()
    first.apply()
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new\n", 0o600)
    again = Plan()
    assert not again.write_file(str(path), "new\n")
    assert again.remove_file(str(path))
    assert again.diffs == [{"before_header": str(path), "after_header": str(path), "before": "new\n", "after": ""}]
    again.apply()
    assert not path.exists()
    assert not Plan().remove_file(str(path))


def test_a_binary_file_has_no_text(tmp_path: Path) -> None:
    plan = Plan()
    plan.write_file(str(tmp_path / "blob"), b"\xff\x00", after="2 bytes")
    assert [diff["after"] for diff in plan.diffs] == ["2 bytes\n"]
    plan.apply()
    assert (tmp_path / "blob").read_bytes() == b"\xff\x00"
