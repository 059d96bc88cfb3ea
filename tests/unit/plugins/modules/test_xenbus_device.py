# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import threading
import time
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore import wire, xenbus
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore
from ansible_collections.xen.driver_domains.plugins.modules import xenbus_device
from ansible_collections.xen.driver_domains.tests.unit.fakes.xenstored import FakeXenstored

TREE = {
    "/local/domain/0/name": "Domain-0",
    "/local/domain/0/backend": "",
    "/local/domain/6/name": "net-dd",
    "/local/domain/6/backend": "",
    "/local/domain/7/name": "web1",
    "/local/domain/7/device": "",
}
FRONT, BACK = "/local/domain/7/device/mydev/0", "/local/domain/6/backend/mydev/7/0"
DEVICE: dict[str, t.Any] = {"type": "mydev", "frontend": "web1", "backend": "net-dd", "backend_keys": {"a/b": 1}}
ABSENT = {"type": "mydev", "frontend": "web1", "backend": "net-dd", "state": "absent"}
Run = t.Callable[..., dict[str, t.Any]]


class Drivers:
    """Plays the drivers of both sides: (state of the frontend, of the backend) -> the states that follow."""

    CONNECT = {("1", "1"): ("1", "2"), ("1", "2"): ("3", "2"), ("3", "2"): ("3", "4"), ("3", "4"): ("4", "4")}
    CLOSE = {(front, "5"): ("6", "5") for front in "1234"} | {("6", back): ("6", "6") for back in "2345"}

    def __init__(self, fake: FakeXenstored, *behaviours: dict[tuple[str, str], tuple[str, str]]) -> None:
        self._fake = fake
        self._moves = {before: after for behaviour in behaviours for before, after in behaviour.items()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> Drivers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _play(self) -> None:
        while not self._stop.wait(0.005):
            tree = self._fake.tree
            for path in [path for path in tree if path.endswith("/backend") and "/device/" in path]:
                front, back = path.rpartition("/")[0], tree[path]
                states = (tree.get(f"{front}/state", ""), tree.get(f"{back}/state", ""))
                for side, old, new in zip((front, back), states, self._moves.get(states, states)):
                    if old != new:
                        self._fake.set(f"{side}/state", new)


@pytest.fixture
def fake() -> t.Iterator[FakeXenstored]:
    with FakeXenstored(TREE) as fake:
        yield fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fake: FakeXenstored) -> Run:
    monkeypatch.setattr(wire, "DEFAULT_PATHS", (fake.path,))
    monkeypatch.setattr(xenbus, "REMOVAL_DELAY", 0.01)

    def run(*devices: dict[str, t.Any], **arguments: object) -> dict[str, t.Any]:
        with patch_module_args({"devices": list(devices), "wait_timeout": 5, **arguments}), pytest.raises(SystemExit):
            xenbus_device.main()
        return json.loads(capsys.readouterr().out)

    return run


def states(result: dict[str, t.Any]) -> list[tuple[str, str]]:
    return [(device["frontend_state"], device["backend_state"]) for device in result["devices"]]


def test_connect_and_leave_alone(run: Run, fake: FakeXenstored) -> None:
    checked = run(DEVICE, _ansible_check_mode=True)
    assert (checked["changed"], states(checked), fake.writes) == (True, [("missing", "missing")], [])
    with Drivers(fake, Drivers.CONNECT):
        done = run(DEVICE)
    assert states(done) == [("connected", "connected")]
    assert done["actions"] == ["create mydev 0 of web1 at net-dd"]
    assert {path: value for path, value in fake.tree.items() if path.startswith((FRONT, BACK))} == {
        FRONT: "",
        f"{FRONT}/backend": BACK,
        f"{FRONT}/backend-id": "6",
        f"{FRONT}/state": "4",
        BACK: "",
        f"{BACK}/a": "",
        f"{BACK}/a/b": "1",
        f"{BACK}/frontend": FRONT,
        f"{BACK}/frontend-id": "7",
        f"{BACK}/online": "1",
        f"{BACK}/state": "4",
    }
    assert {perms for path, perms in fake.perms.items() if path.startswith(FRONT)} == {("n7", "r6")}
    assert {perms for path, perms in fake.perms.items() if path.startswith(BACK)} == {("n6", "r7")}
    # The states come last, and everything is one transaction.
    assert fake.requests.count(("transaction_start", "")) == 1
    fake.writes.clear()
    again = run(DEVICE)
    assert (again["changed"], states(again), fake.writes) == (False, states(done), [])


def test_a_device_in_use_is_not_disturbed(run: Run, fake: FakeXenstored) -> None:
    with Drivers(fake, Drivers.CONNECT):
        run(DEVICE)
    fake.writes.clear()
    result = run({**DEVICE, "backend_keys": {"a/b": 2}})
    assert f"would have to change: {BACK}/a/b" in result["msg"]
    assert (result["changed"], fake.writes) == (False, [])
    assert [(refusal["guard"], refusal["subject"]) for refusal in result["refusals"]] == [("", "mydev 0 of web1 at net-dd")]
    # In check mode an earlier task that removes it has done nothing.
    checked = run({**DEVICE, "backend_keys": {"a/b": 2}}, _ansible_check_mode=True)
    assert (checked["changed"], checked["actions"]) == (False, [])


def test_drivers_that_come_in_between(run: Run, fake: FakeXenstored, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is unused when it is planned, and connected when it is to be changed."""
    run({**DEVICE, "wait_for": "none"})
    fake.writes.clear()
    transaction = XenStore.transaction

    def connect_first(store: XenStore, body: t.Callable[[XenStore], object]) -> object:
        for side in (FRONT, BACK):
            fake.set(f"{side}/state", "4")
        return transaction(store, body)

    monkeypatch.setattr(XenStore, "transaction", connect_first)
    result = run({**DEVICE, "backend_keys": {"a/b": 2}})
    assert f"would have to change: {BACK}/a/b" in result["msg"]
    assert (result["changed"], fake.writes) == (False, [])


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_device_with_another_backend_is_not_disturbed(run: Run, fake: FakeXenstored, state: str) -> None:
    with Drivers(fake, Drivers.CONNECT):
        run(DEVICE)
    fake.writes.clear()
    result = run({**DEVICE, "backend": "0", "state": state})
    assert f"has its backend in domain 6: {BACK}" in result["msg"]
    assert 'backend: "6", state: absent' in result["msg"]
    assert (result["changed"], fake.writes) == (False, [])


@pytest.mark.parametrize("named", ["/local/domain/6/backend/mydev/7/0", "/local/domain/3/backend/mydev/7/0", "../x", "", "/" * 3000])
def test_a_guest_that_lies_about_its_backend(run: Run, fake: FakeXenstored, named: str) -> None:
    run({**DEVICE, "backend": "0", "wait_for": "none"})
    fake.set(f"{FRONT}/backend", named)
    result = run({**ABSENT, "backend": "0"})
    assert result["actions"] == ["remove mydev 0 of web1 at 0"]
    assert FRONT not in fake.tree


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("kind", ["vif", "vbd", "vtpm"])
def test_a_device_of_the_toolstack(run: Run, fake: FakeXenstored, kind: str, state: str) -> None:
    """A vif that is removed behind the back of libxl stays in its books."""
    front, back = f"/local/domain/7/device/{kind}/0", f"/local/domain/6/backend/{kind}/7/0"
    for path, value in {f"{front}/backend": back, f"{front}/state": "4", f"{back}/frontend": front, f"{back}/state": "4"}.items():
        fake.set(path, value)
    fake.set(f"/libxl/7/device/{kind}/0/backend", back)
    before = dict(fake.tree)
    result = run({"type": kind, "frontend": "web1", "backend": "net-dd", "state": state})
    assert f"{kind} 0 of web1 at net-dd: it belongs to the toolstack: /libxl/7/device/{kind}/0" in result["msg"]
    assert (dict(fake.tree), fake.writes) == (before, [])


@pytest.mark.parametrize("state", ["present", "absent"])
def test_what_drivers_report_is_one_line(run: Run, fake: FakeXenstored, state: str) -> None:
    run({**DEVICE, "wait_for": "none"})
    fake.set("/local/domain/7/error/device/mydev/0/error", "x\nok: [host]\x1b[2J\udcff")
    fake.set(f"{FRONT}/state", "5")
    result = run({**DEVICE, "wait_for": "connected"}, wait_timeout=0.3) if state == "present" else run({**ABSENT}, wait_timeout=0.1)
    assert "\n" not in result["msg"]
    assert "x\\nok: [host]\\x1b[2J\\xff" in result["msg"]


def test_keys_of_an_unused_device_change(run: Run, fake: FakeXenstored) -> None:
    run({**DEVICE, "wait_for": "none"})
    fake.writes.clear()
    run({**DEVICE, "wait_for": "none", "backend_keys": {"a/b": 2}})
    assert fake.writes == [("write", f"{BACK}/a/b", "2")]


def test_absent_closes_first_and_leaves_nothing(run: Run, fake: FakeXenstored) -> None:
    with Drivers(fake, Drivers.CONNECT, Drivers.CLOSE):
        run(DEVICE)
        fake.writes.clear()
        done = run(ABSENT)
        assert done["changed"] is True
        assert states(done) == [("missing", "missing")]
        assert fake.writes == [
            ("write", f"{BACK}/online", "0"),
            ("write", f"{BACK}/state", "5"),
            ("rm", FRONT),
            ("rm", "/local/domain/7/device/mydev"),
            ("rm", BACK),
            ("rm", "/local/domain/6/backend/mydev/7"),
            ("rm", "/local/domain/6/backend/mydev"),
        ]
        assert fake.tree == TREE | {path: "" for path in fake.tree if path not in TREE}
        fake.writes.clear()
        again = run(ABSENT)
        assert (again["changed"], fake.writes) == (False, [])
        assert states(run(DEVICE)) == [("connected", "connected")]


def test_drivers_that_do_not_close(run: Run, fake: FakeXenstored) -> None:
    with Drivers(fake, Drivers.CONNECT):
        run(DEVICE)
    result = run(ABSENT, wait_timeout=0.1)
    assert "the frontend in web1 is connected, the backend in net-dd is closing" in result["msg"]
    assert "force: [not_closed]" in result["msg"]
    assert (result["refusals"][0]["guard"], result["device"]["frontend_state"]) == ("not_closed", "connected")
    assert fake.tree[f"{FRONT}/state"] == "4"
    run(ABSENT, wait_timeout=0.1, force=["not_closed"])
    assert FRONT not in fake.tree
    assert BACK not in fake.tree


@pytest.mark.parametrize(
    "damage",
    [
        {f"{FRONT}/state": "6", f"{BACK}/state": "6"},
        {f"{FRONT}/state": "6"},
        {f"{BACK}/online": "0"},
        {f"{FRONT}/backend": "/local/domain/3/backend/mydev/7/0", f"{FRONT}/backend-id": "3"},
        {f"{BACK}": None},
        {f"{FRONT}": None},
    ],
)
def test_what_cannot_work_any_more_is_replaced(run: Run, fake: FakeXenstored, damage: dict[str, str | None]) -> None:
    with Drivers(fake, Drivers.CONNECT):
        run(DEVICE)
    for path, value in damage.items():
        fake.remove(path) if value is None else fake.set(path, value)
    with Drivers(fake, Drivers.CONNECT, Drivers.CLOSE):
        result = run(DEVICE)
    assert result["actions"] == ["replace mydev 0 of web1 at net-dd", "create mydev 0 of web1 at net-dd"]
    assert states(result) == [("connected", "connected")]


def test_no_driver(run: Run) -> None:
    result = run(DEVICE, wait_timeout=0.1)
    assert "the frontend in web1 is initialising, the backend in net-dd is initialising" in result["msg"]
    assert result["devices"][0]["backend_state"] == "initialising"


def test_a_driver_that_gives_up_says_why(run: Run, fake: FakeXenstored) -> None:
    fake.set("/local/domain/6/error/backend/mydev/7/0/error", "-22 no ring")
    start = time.monotonic()
    with Drivers(fake, {("1", "1"): ("1", "5")}):
        result = run(DEVICE, wait_timeout=30)
    assert "A driver gave up" in result["msg"]
    assert "-22 no ring" in result["msg"]
    assert time.monotonic() - start < 20


def test_many_in_one_transaction(run: Run, fake: FakeXenstored) -> None:
    with Drivers(fake, Drivers.CONNECT):
        result = run(*({**DEVICE, "devid": devid} for devid in range(5)), {**DEVICE, "backend": "0", "devid": 5})
    assert states(result) == [("connected", "connected")] * 6
    assert fake.requests.count(("transaction_start", "")) == 1


def test_leftovers_of_domains_that_are_gone(run: Run, fake: FakeXenstored) -> None:
    fake.set("/local/domain/6/backend/mydev/5/0/state", "4")
    fake.set("/local/domain/6/backend/other/5/0/state", "4")
    result = run({"type": "mydev", "frontend": "web0", "backend": "net-dd", "state": "absent"})
    assert result["actions"] == ["remove /local/domain/6/backend/mydev/5, whose domain is gone"]
    assert fake.writes == [("rm", "/local/domain/6/backend/mydev/5")]


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ({**DEVICE, "frontend": "nobody"}, "no running domain 'nobody'"),
        ({**DEVICE, "backend": "99"}, "no running domain '99'"),
        ({**DEVICE, "type": "my/dev"}, "not a type of device"),
        ({**DEVICE, "devid": -1}, "not the number of a device"),
        ({**DEVICE, "backend_keys": {"state": "4"}}, "'state' of mydev 0 of web1 at net-dd cannot be set"),
        ({**DEVICE, "frontend_keys": {"a": True}}, "Put it in quotes"),
        ({**DEVICE, "frontend_keys": {"a b": "1"}}, "is not a XenStore path"),
        ({**DEVICE, "devid": 9}, "listed twice"),
        ({**DEVICE, "frontend": "65536"}, "65536 is not a domain number"),
        ({**DEVICE, "frontend": "9" * 5000}, "is not a domain number"),
    ],
)
def test_bad_input_changes_nothing(run: Run, fake: FakeXenstored, device: dict[str, t.Any], message: str) -> None:
    result = run({**DEVICE, "devid": 9}, device)
    assert message in result["msg"]
    assert fake.writes == []


@pytest.mark.parametrize("option", ["timeout", "wait_timeout"])
@pytest.mark.parametrize("value", ["nan", "inf", -1])
def test_times_that_are_none(run: Run, fake: FakeXenstored, option: str, value: object) -> None:
    result = run(DEVICE, **{option: value})
    assert "is not a usable timeout" in result["msg"]
    assert (result["changed"], fake.writes) == (False, [])


def test_the_end_of_xenstored(run: Run, fake: FakeXenstored) -> None:
    with contextlib.suppress(AssertionError):
        threading.Timer(0.2, fake.drop_clients).start()
    result = run(DEVICE, wait_timeout=30)
    assert "No connection to xenstored" in result["msg"]
