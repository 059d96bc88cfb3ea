# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running a module: whatever happens, it reports what it has done so far."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.common.parameters import PASS_VARS
from ansible.module_utils.testing import patch_module_args

from ansible_collections.xen.driver_domains.plugins.module_utils import _module
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Action, Plan


class End(Exception):
    """Raised where a real module exits."""


class FakeModule:
    """The parts of AnsibleModule that are used. Warnings go into the result, the parameters of the call do not."""

    check_mode = False
    _diff = False

    def __init__(self, **_options: t.Any) -> None:
        self.params: dict[str, t.Any] = {"force": ["guard"]}
        self.warnings: list[str] = []

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        result.pop("invocation")
        raise End({"failed": True, "warnings": self.warnings, **result})

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        result.pop("invocation")
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


#: What a guest can write: bytes that are not UTF-8, a terminal's escape sequence in both forms, bidirectional controls.
EVIL = "a\udcff\x1b]0;x\x07\x9b2J\u202e\u2066\rb"
HARMLESS = "a\\xff\\x1b]0;x\\x07\\u009b2J\\u202e\\u2066\\x0db"


def test_what_a_guest_says_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results with their diff, warnings, messages and the details of errors: ansible-core refuses a result that is not UTF-8."""
    monkeypatch.setattr(FakeModule, "_diff", True)
    plan = Plan(results={EVIL: [{"error": EVIL, "n": 1, "none": None}], "pair": (EVIL, True)}, warnings=[EVIL])
    plan.add(EVIL, lambda: None, subject="s", before=EVIL, after="ok\n\tok\n")
    diff = {"before_header": "s", "after_header": "s", "before": HARMLESS.replace("\\xff", "\ufffd") + "\n", "after": "ok\n\tok\n"}
    assert run(plan, monkeypatch) == {
        HARMLESS: [{"error": HARMLESS, "n": 1, "none": None}],
        "pair": [HARMLESS, True],
        "changed": True,
        "actions": [HARMLESS],
        "diff": [diff],
        "warnings": [HARMLESS],
    }

    def fail() -> None:
        raise DriverDomainsError(f"It says: {EVIL}", vif={"hotplug_error": EVIL})

    failing = Plan(actions=[Action("do", fail)])
    result = run(failing, monkeypatch)
    assert (result["msg"], result["vif"]) == (f"It says: {HARMLESS}.", {"hotplug_error": HARMLESS})


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1, 1e7])
@pytest.mark.parametrize("inside", [False, True])
def test_times_that_are_none(value: float, inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"domains": [{"name": "a", "wait_timeout": value}]} if inside else {"create_timeout": value}
    monkeypatch.setattr(FakeModule, "__init__", lambda self, **_options: vars(self).update(params=params, warnings=[]))
    monkeypatch.setattr(_module, "AnsibleModule", FakeModule)
    with pytest.raises(End) as caught:
        run_module({}, lambda parameters: pytest.fail("planned"))
    assert f"{value:g} is not a usable timeout" in caught.value.args[0]["msg"]
    assert "_timeout). Rule: it is a number of seconds from 0 to 604800, a week" in caught.value.args[0]["msg"]


@pytest.mark.parametrize("value", ["a\ud800", ["a", ["\udfff"]], {"\ud800": 1}, {"a": ({"b": "x\udc00"},)}])
def test_parameters_that_are_no_text(value: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeModule, "__init__", lambda self, **_options: vars(self).update(params={"x": value}, warnings=[]))
    monkeypatch.setattr(_module, "AnsibleModule", FakeModule)
    with pytest.raises(End) as caught:
        run_module({}, lambda parameters: pytest.fail("planned"))
    assert "which is no character" in caught.value.args[0]["msg"]


def test_passwords_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "'mmdebstrap http://user:geheim@deb/' failed, vncpasswd=geheim"

    def fail() -> dict[str, t.Any]:
        raise DriverDomainsError(said, cmd=said)

    result = run(Plan(warnings=[said], conclude=fail), monkeypatch)
    assert "failed" in result["msg"] and "failed" in result["cmd"]
    assert "geheim" not in str(result)


def test_what_a_guest_says_does_not_look_like_a_line_of_ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "It says: x\nok: [host]"

    def fail() -> dict[str, t.Any]:
        raise DriverDomainsError(said)

    result = run(Plan(warnings=[said], conclude=fail), monkeypatch)
    assert (result["warnings"], result["msg"]) == (["It says: x\n    ok: [host]"], "It says: x\n    ok: [host].")


def test_a_plan_that_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(results={"a": 1, "b": 1}, conclude=lambda: {"b": 2})
    plan.add("one", lambda: None)
    assert run(plan, monkeypatch) == {"a": 1, "b": 2, "changed": True, "actions": ["one"], "warnings": []}


SECRETS = {
    "images": [{"name": "a", "files": [{"path": "/root/key", "content": "s3cret", "mode": "0600"}]}],
    "domains": [
        {"name": "a", "options": {"vncpasswd": "s3cret", "spicepasswd": "s3cret", "vfb": ["type=vnc,vncpasswd=s3cret,vnclisten=::"]}},
        {"name": "b", "options": {"device_model_args": ["-object", "secret,id=a,data=1,password=s3cret"], "vnc": True}},
    ],
}


@pytest.mark.parametrize("fails", [False, True])
def test_secrets_reach_neither_the_journal_nor_the_result(
    fails: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(_module.AnsibleModule, "log", lambda self, msg, log_args=None: logged.append(f"{msg} {log_args}"))
    seen: list[dict[str, t.Any]] = []

    def prepare(parameters: dict[str, t.Any]) -> Plan:
        seen.append(parameters)
        if fails:
            raise InvalidInput("no")
        plan = Plan(results={"directory": "/root"})
        plan.add(
            "attach rbd:pool/web:id=admin:key=s3cret", lambda: None, subject="disk", before="rbd:a:key=s3cret", after="rbd:b:key=s3cret"
        )
        return plan

    spec = {name: {"type": "list", "elements": "dict"} for name in SECRETS}
    # Without being asked, ansible-core 2.21 leaves the parameters out of the result; older versions do not know the question.
    asked = {"_ansible_inject_invocation": True} if "inject_invocation" in PASS_VARS else {}
    with patch_module_args({**SECRETS, "_ansible_no_log": False, "_ansible_diff": True, **asked}), pytest.raises(SystemExit):
        run_module(spec, prepare)
    assert seen == [SECRETS]
    output = capsys.readouterr().out
    assert "Invoked with" in logged[0] and "/root/key" in logged[0] and "/root/key" in output
    assert "s3cret" not in logged[0] + output
    assert fails or ('"directory": "/root"' in output and "attach rbd:pool/web:id=admin:key=" in output and '"diff"' in output)


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_module_waits_for_its_turn_before_it_reads_anything(check_mode: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it changes nothing."""
    order: list[str] = []

    def prepare(_parameters: dict[str, t.Any]) -> Plan:
        order.append("read")
        return Plan()

    monkeypatch.setattr(_module, "AnsibleModule", FakeModule)
    monkeypatch.setattr(FakeModule, "check_mode", check_mode)
    with pytest.raises(End):
        run_module({}, prepare, first=lambda: order.append("turn"))
    assert order == (["read"] if check_mode else ["turn", "read"])


def test_a_module_that_waits_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    def first() -> None:
        raise DriverDomainsError("Another process")

    monkeypatch.setattr(_module, "AnsibleModule", FakeModule)
    with pytest.raises(End) as caught:
        run_module({}, lambda parameters: Plan(), first=first)
    assert caught.value.args[0] == {"failed": True, "msg": "Another process.", "changed": False, "actions": [], "warnings": []}
