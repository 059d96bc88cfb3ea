# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore import wire as _xenstore_wire
from ansible_collections.xen.driver_domains.plugins.modules import xenstore_key
from ansible_collections.xen.driver_domains.tests.unit.fakes.xenstored import FakeXenstored

TREE = {"/local/domain/0/name": "Domain-0", "/local/domain/6/name": "net-dd", "/local/domain/7/name": "web1", "/tool/old": "1"}


@pytest.fixture
def fake() -> t.Iterator[FakeXenstored]:
    with FakeXenstored(TREE) as fake:
        yield fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fake: FakeXenstored) -> t.Callable[..., dict[str, t.Any]]:
    monkeypatch.setattr(_xenstore_wire, "DEFAULT_PATHS", (fake.path,))

    def run(**arguments: object) -> dict[str, t.Any]:
        with patch_module_args(arguments), pytest.raises(SystemExit):
            xenstore_key.main()
        return json.loads(capsys.readouterr().out)

    return run


Run = t.Callable[..., dict[str, t.Any]]

KEYS: list[dict[str, t.Any]] = [
    {
        "path": "config",
        "domain": "web1",
        "tree": {"color": "blue", "limits": {".": "some", "n": 100, "hex": "0x10"}, "a/b": "\0\n", "any": None},
        "permissions": {"owner": "0", "others": "n", "domains": {"web1": "r", "net-dd": "b"}},
        "prune": True,
    },
    {"path": "/tool/bytes", "value": "/wA=", "encoding": "base64"},
    {"path": "/tool/old", "state": "absent"},
    {"path": "x", "domain": "gone", "state": "absent"},
]
HOME = "/local/domain/7/config"


def test_a_list_in_one_transaction(run: Run, fake: FakeXenstored) -> None:
    checked = run(keys=KEYS, _ansible_check_mode=True, _ansible_diff=True)
    assert fake.writes == []
    done = run(keys=KEYS, _ansible_diff=True)
    assert {key: checked[key] for key in ("changed", "actions", "diff", "nodes")} == {
        key: done[key] for key in ("changed", "actions", "diff", "nodes")
    }
    assert done["actions"] == [f"write 8 nodes at {HOME}", "write /tool/bytes", "remove /tool/old"]
    assert done["nodes"] == [{"path": path, "changed": True} for path in (HOME, "/tool/bytes", "/tool/old")]
    assert {path: value for path, value in fake.tree.items() if path.startswith((HOME, "/tool/"))} == {
        HOME: "",
        f"{HOME}/color": "blue",
        f"{HOME}/limits": "some",
        f"{HOME}/limits/n": "100",
        f"{HOME}/limits/hex": "0x10",
        f"{HOME}/a": "",
        f"{HOME}/a/b": "\0\n",
        f"{HOME}/any": "",
        "/tool/bytes": "\udcff\0",
    }
    assert {perms for path, perms in fake.perms.items() if path.startswith(HOME)} == {("n0", "r7", "b6")}
    assert fake.requests.count(("transaction_start", "")) == 1
    fake.writes.clear()
    again = run(keys=KEYS)
    assert (again["changed"], again["actions"], fake.writes) == (False, [], [])


def test_waits_for_all(run: Run, fake: FakeXenstored) -> None:
    threading.Timer(0.1, fake.set, ("/local/domain/6/data/status", "starting")).start()
    threading.Timer(0.2, fake.set, ("/local/domain/6/data/status", "ready")).start()
    threading.Timer(0.3, fake.remove, ("/tool/old",)).start()
    result = run(
        wait_for=[
            {"path": "data/status", "domain": "net-dd", "value": "ready"},
            {"path": "/tool/old", "state": "absent"},
            {"path": "/local/domain/7/name"},
        ]
    )
    assert result["changed"] is False
    assert result["waited"] == [
        {"path": "/local/domain/6/data/status", "value": "ready"},
        {"path": "/tool/old", "value": None},
        {"path": "/local/domain/7/name", "value": "web1"},
    ]
    # Watched, not polled.
    assert sum(request == ("read", "/local/domain/6/data/status") for request in fake.requests) < 8


def test_waits_for_every_item_even_of_one_node(run: Run) -> None:
    wait = {"path": "/tool/old", "value": "2"}
    result = run(wait_for=[wait, {"path": "/tool/old"}], wait_timeout=0.1)
    assert "/tool/old = '1'" in result["msg"]


def test_the_nodes_of_a_domain_are_gone_when_it_is(run: Run) -> None:
    gone = {"path": "data/status", "domain": "gone", "state": "absent"}
    result = run(wait_for=[gone, {"path": "/tool/old"}])
    assert result["waited"] == [{"path": "/tool/old", "value": "1"}]
    assert run(wait_for=[gone])["waited"] == []
    assert "no running domain 'gone'" in run(wait_for=[{**gone, "state": "present"}])["msg"]
    # A wrong path is one in any case.
    assert "is not a XenStore path" in run(wait_for=[{**gone, "path": "data//status"}])["msg"]
    assert "is not a XenStore path" in run(keys=[{**gone, "path": "da ta"}])["msg"]


@pytest.mark.parametrize("option", ["timeout", "wait_timeout"])
def test_a_wait_without_end(run: Run, fake: FakeXenstored, option: str) -> None:
    result = run(keys=[{"path": "/tool/new", "value": 1}], wait_for=[{"path": "/none"}], **{option: "nan"})
    assert "nan is not a usable timeout" in result["msg"]
    assert fake.writes == []


def test_a_wait_that_runs_out(run: Run, fake: FakeXenstored) -> None:
    result = run(keys=[{"path": "/tool/new", "value": 1}], wait_for=[{"path": "/none"}], wait_timeout=0.1)
    assert result["failed"]
    assert "/none = None" in result["msg"]
    assert result["changed"] is True


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"path": "/a", "value": True}, "of type bool"),
        ({"path": "/a", "value": 1.5}, "of type float"),
        ({"path": "/a", "value": ["x"]}, "of type list"),
        ({"path": "/a", "value": "%", "encoding": "base64"}, "not Base64"),
        ({"path": "/a", "tree": {"b c": 1}}, "not the name of a XenStore node"),
        ({"path": "/a", "tree": {"b": {"c": {"": 1}}}}, "not the name of a XenStore node"),
        ({"path": "/a", "value": "1", "tree": {".": "2"}}, "given twice"),
        ({"path": "/a", "domain": "web1"}, "is absolute"),
        ({"path": "a", "domain": "nobody"}, "no running domain 'nobody'"),
        ({"path": "/a", "permissions": {"owner": "nobody"}}, "no running domain 'nobody'"),
        ({"path": "/a", "permissions": {"owner": "0", "domains": {"web1": "x"}}}, "'x' for domain web1"),
        ({"path": "/a", "permissions": {"owner": "0", "domains": {"web1": "r", "7": "b"}}}, "domain 7 is given access rights at /a twice"),
        ({"path": "/a", "permissions": {"owner": "99999"}}, "99999 is not a domain number"),
        ({"path": "a"}, "is relative"),
        ({"path": "/a", "value": "x" * 4096}, "4096 bytes"),
    ],
)
def test_bad_input_changes_nothing(run: Run, fake: FakeXenstored, item: dict[str, t.Any], message: str) -> None:
    result = run(keys=[{"path": "/tool/good", "value": "1"}, item])
    assert message in result["msg"]
    assert result["changed"] is False
    assert fake.writes == []


def test_the_quota_is_named(run: Run, fake: FakeXenstored) -> None:
    fake.quota = len(fake.tree)
    result = run(keys=[{"path": "/tool/one/more", "value": "1"}])
    assert "1000 nodes" in result["msg"]
    assert result["errno"] == "ENOSPC"
    assert (result["changed"], fake.writes) == (False, [])


#: What `xl create` makes for a guest with a disk and a vif, and what the guest and others add.
GUEST = {
    "/local/domain/7/vm": "/vm/1",
    "/local/domain/7/memory/target": "131072",
    "/local/domain/7/control/shutdown": "",
    "/local/domain/7/console/ring-ref": "5",
    "/local/domain/7/device/vif/0/mac": "00:16:3e:00:00:11",
    "/local/domain/7/device/vif/0/backend": "/local/domain/6/backend/vif/7/0",
    "/local/domain/7/data/answer": "42",
    "/local/domain/7/config/color": "red",
    "/local/domain/6/backend/vif/7/0/state": "4",
    "/libxl/7/device/vif/0/backend": "/local/domain/6/backend/vif/7/0",
    "/libxl/pci/0000-00-04-0/domid": "6",
    "/vm/1/uuid": "1",
    "/tool/xenstored/quota": "1",
    "/local/domain/0/memory/target": "786432",
    "/local/domain/0/control/sysrq": "",
}
ABSENT = {"state": "absent"}
OTHERS = {"owner": "7", "others": "n"}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"path": "", "domain": "web1", **ABSENT}, "/local/domain/7: is the home of a domain, and would be removed"),
        ({"path": "", "domain": "7", "prune": True}, "/local/domain/7: is the home of a domain, and would lose all other nodes"),
        ({"path": "", "domain": "web1", "tree": {"config": {"a": "1"}}, "prune": True}, "would lose all other nodes below it"),
        ({"path": "", "domain": "web1", "permissions": OTHERS}, "the home of a domain, and would get other permissions"),
        ({"path": "", "domain": "web1", "value": "x"}, "the home of a domain, and would get another value"),
        (
            {"path": "", "domain": "web1", "tree": {"name": "web2"}},
            "/name: is a node of the toolstack, and would get another",
        ),
        ({"path": "/", **ABSENT}, "/: is the root of XenStore, and would be removed"),
        ({"path": "/", "prune": True}, "and would lose all other nodes below it"),
        ({"path": "/local", **ABSENT}, "/local: is a directory that the toolstack needs"),
        ({"path": "/local/domain", **ABSENT}, "/local/domain: is a directory that the toolstack needs"),
        ({"path": "/local/domain", "prune": True}, "/local/domain/0: is the home of a domain, and would be removed, and so would 2 more"),
        ({"path": "/local/domain/6", **ABSENT}, "the home of a domain"),
        ({"path": "/libxl", **ABSENT}, "a directory that the toolstack needs"),
        ({"path": "/libxl/7/device/vif/0", **ABSENT}, "a node of the toolstack"),
        ({"path": "/libxl/7/device/vif/0/backend", "value": "x"}, "would get another value"),
        ({"path": "/libxl/pci", "prune": True}, "/libxl/pci/0000-00-04-0: is a node of the toolstack"),
        ({"path": "/vm/1", **ABSENT}, "a node of the toolstack"),
        ({"path": "/tool", "prune": True}, "/tool/xenstored: is a node of the toolstack, and would be removed"),
        ({"path": "device", "domain": "web1", **ABSENT}, "/local/domain/7/device: is a device, or a directory of devices"),
        ({"path": "device", "domain": "web1", "prune": True}, "/local/domain/7/device/vif: is a device, or a directory"),
        ({"path": "device/vif/0", "domain": "web1", **ABSENT}, "a device, or a directory of devices"),
        ({"path": "device/vif/0/mac", "domain": "web1", "value": "x"}, "would get another value"),
        ({"path": "device/vif/0", "domain": "web1", "permissions": OTHERS}, "would get other permissions"),
        ({"path": "backend/vif/7/0", "domain": "net-dd", **ABSENT}, "a device, or a directory of devices"),
        ({"path": "backend", "domain": "net-dd", "tree": {"vif": None}, "prune": True}, "/local/domain/6/backend/vif/7: is a device"),
        ({"path": "backend/vif", "domain": "net-dd", "prune": True}, "/local/domain/6/backend/vif/7: is a device"),
        ({"path": "console", "domain": "web1", **ABSENT}, "a node of the toolstack"),
        ({"path": "memory", "domain": "web1", **ABSENT}, "a node of the toolstack"),
        ({"path": "data", "domain": "web1", **ABSENT}, "a node of the toolstack"),
        ({"path": "memory/target", "domain": "web1", "value": "1"}, "OK"),
        ({"path": "memory/target", "domain": "Domain-0", "value": "4096"}, "/local/domain/0/memory/target: is a node of the toolstack"),
        ({"path": "/local/domain/0/control/sysrq", "value": "o"}, "a node of the toolstack, and would get another value"),
        ({"path": "control/shutdown", "domain": "web1", "value": "poweroff"}, "OK"),
        ({"path": "data/answer", "domain": "web1", **ABSENT}, "OK"),
        ({"path": "data", "domain": "web1", "tree": {"x": "1"}}, "OK"),
        ({"path": "config", "domain": "web1", "prune": True}, "OK"),
        ({"path": "config", "domain": "web1", **ABSENT}, "OK"),
        ({"path": "", "domain": "web1", "tree": {"config": {"a": "1"}}}, "OK"),
        ({"path": "/tool/old", **ABSENT}, "OK"),
        ({"path": "/mine", "tree": {"a": "1"}}, "OK"),
        ({"path": "device/vsensor/0/state", "domain": "web1", "value": "1"}, "OK"),
        ({"path": "/none", **ABSENT}, "OK"),
    ],
    ids=str,
)
def test_what_the_toolstack_owns_is_guarded(run: Run, fake: FakeXenstored, item: dict[str, t.Any], message: str) -> None:
    for path, value in GUEST.items():
        fake.set(path, value)
    result = run(keys=[item], _ansible_check_mode=True)
    if message == "OK":
        assert not result.get("failed"), result
        assert not run(keys=[item]).get("failed")
        return
    assert message in result["msg"]
    assert "[toolstack_nodes]" in result["msg"]
    before = dict(fake.tree)
    assert run(keys=[item])["failed"]
    assert (dict(fake.tree), fake.writes) == (before, [])
    forced = run(keys=[item], force=["toolstack_nodes"])
    # The root is the one node that xenstored itself refuses to remove.
    assert forced["changed"] is (item != {"path": "/", **ABSENT})


@pytest.mark.parametrize(
    "item",
    [
        {"path": "x", "domain": "99"},
        {"path": "/local/domain/99/a/b"},
        {"path": "/libxl/99/x"},
        {"path": "/tool/x", "permissions": {"owner": "99"}},
        {"path": "/tool/x", "permissions": {"owner": "0", "domains": {"99": "r"}}},
    ],
    ids=str,
)
def test_nodes_of_a_domain_that_does_not_run(run: Run, fake: FakeXenstored, item: dict[str, t.Any]) -> None:
    item = {**item, "value": "1"}
    assert "the domain 99 does not run [not_running]" in run(keys=[item])["msg"]
    # An earlier task may start it.
    assert run(keys=[item], _ansible_check_mode=True)["changed"] is True
    assert fake.writes == []
    assert run(keys=[item], force=["not_running"])["changed"] is True
    # What is left of it makes it no domain.
    assert "does not run" in run(keys=[{**item, "path": item["path"] + "2"}])["msg"]
