# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore import wire as _xenstore_wire
from ansible_collections.xen.driver_domains.plugins.modules import xenstore_info
from ansible_collections.xen.driver_domains.tests.unit.fakes.xenstored import FakeXenstored

TREE = {
    "/local/domain/6/name": "net-dd",
    "/local/domain/6/data/driver-domain/status": "ready",
    "/local/domain/6/backend/vif/7/0/bridge": "xenbr0",
    "/tool/odd": "\udcff\0x",
}


def node(path: str, value: str | None, permissions: list[str] | None = None, children: dict | None = None) -> dict:
    return {"path": path, "exists": value is not None, "value": value, "permissions": permissions, "children": children or {}}


def child(value: str, *permissions: str) -> dict:
    return {"value": value, "permissions": list(permissions) or None}


ODD = {"value": "\\xff\\x00x", "base64": "/wB4", "permissions": None}
CASES: dict[str, tuple[dict[str, t.Any], dict[str, t.Any]]] = {
    "absolute": ({"path": "/local/domain/6/name"}, node("/local/domain/6/name", "net-dd")),
    "by name": (
        {"path": "data/driver-domain/status", "domain": "net-dd"},
        node("/local/domain/6/data/driver-domain/status", "ready"),
    ),
    "by number": ({"path": "name", "domain": "6"}, node("/local/domain/6/name", "net-dd")),
    "home": ({"path": "", "domain": "net-dd"}, node("/local/domain/6", "")),
    "missing": ({"path": "/none", "recursive": True, "permissions": True}, node("/none", None)),
    "missing, alone": ({"path": "/none", "permissions": True}, node("/none", None)),
    "no such domain": ({"path": "name", "domain": "web9", "recursive": True}, node("name", None)),
    "permissions": ({"path": "/local/domain/6/name", "permissions": True}, node("/local/domain/6/name", "net-dd", ["n0"])),
    "recursive": (
        {"path": "backend/vif", "domain": "net-dd", "recursive": True},
        node("/local/domain/6/backend/vif", "", None, {"7": child(""), "7/0": child(""), "7/0/bridge": child("xenbr0")}),
    ),
    "recursive with permissions": (
        {"path": "/local/domain/6/backend/vif/7/0", "recursive": True, "permissions": True},
        node("/local/domain/6/backend/vif/7/0", "", ["n6", "r7"], {"bridge": child("xenbr0", "n0")}),
    ),
    "not text": ({"path": "/tool", "recursive": True}, node("/tool", "", None, {"odd": ODD})),
    "root": (
        {"path": "/", "recursive": True},
        node("/", "", None, {path[1:]: ODD if path == "/tool/odd" else child(value) for path, value in FakeXenstored(TREE).tree.items()}),
    ),
}


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], paths: tuple[str, ...], arguments: dict[str, t.Any]
) -> dict[str, t.Any]:
    monkeypatch.setattr(_xenstore_wire, "DEFAULT_PATHS", paths)
    with patch_module_args(arguments), pytest.raises(SystemExit):
        xenstore_info.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("check_mode", [False, True])
def test_everything_in_one_call_in_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], check_mode: bool) -> None:
    with FakeXenstored(TREE) as fake:
        fake.set_perms("/local/domain/6/backend/vif/7/0", "n6", "r7")
        items = [item for item, _node in CASES.values()]
        result = run(monkeypatch, capsys, (fake.path,), {"paths": items, "_ansible_check_mode": check_mode})
        assert dict(zip(CASES, result["nodes"])) == {name: expected for name, (_item, expected) in CASES.items()}
        assert result["changed"] is False
        assert fake.writes == []


def test_domains_are_looked_up_only_when_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeXenstored(TREE) as fake:
        run(monkeypatch, capsys, (fake.path,), {"paths": [{"path": "name", "domain": "6"}, {"path": "/tool/odd"}]})
        assert fake.requests == [("read", "/local/domain/6/name"), ("read", "/tool/odd")]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"path": "/a b"}, "'/a b' is not a XenStore path"),
        ({"path": "name"}, "'name' is relative"),
        ({"path": "/tool", "domain": "6"}, "is absolute, and the domain 6 is given"),
        ({"path": "/denied"}, "did not read /denied: EACCES"),
    ],
)
def test_failures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], item: dict[str, str], message: str) -> None:
    with FakeXenstored(TREE, denied=["/denied"]) as fake:
        result = run(monkeypatch, capsys, (fake.path,), {"paths": [item]})
    assert result["failed"] is True
    assert message in result["msg"]


def test_no_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeXenstored(TREE) as fake:
        fake.silent = True
        result = run(monkeypatch, capsys, (fake.path,), {"paths": [{"path": "/tool"}], "timeout": 0.1})
    assert "did not answer within 0.1 s" in result["msg"]
    assert result["errno"] == "ETIMEDOUT"


def test_no_xen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "This machine has no XenStore" in run(monkeypatch, capsys, (), {"paths": [{"path": "/tool"}]})["msg"]
