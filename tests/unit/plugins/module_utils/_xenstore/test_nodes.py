# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import Permission, XenStore
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.nodes import (
    Nodes,
    apply,
    below,
    compare,
    plan_nodes,
    same_permissions,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.wire import XenStoreError
from ansible_collections.xen.driver_domains.tests.unit.fakes.xenstored import FakeXenstored

START = {"/t/a": "1", "/t/b": "2", "/t/deep/x": "3", "/other": "o"}
N0, R5, N7 = Permission("n", 0), Permission("r", 5), Permission("n", 7)


@pytest.fixture
def fake() -> t.Iterator[FakeXenstored]:
    with FakeXenstored(START) as fake:
        yield fake


@pytest.fixture
def store(fake: FakeXenstored) -> t.Iterator[XenStore]:
    with XenStore(fake.path, timeout=5) as store:
        yield store


def tree(*permissions: Permission, prune: bool = False, **values: str | None) -> Nodes:
    return Nodes("/t", below("/t", {k.replace("__", "/"): v if v is None else v.encode() for k, v in values.items()}), permissions, prune)


#: name -> (what is wanted, the writes that this takes)
CASES: dict[str, tuple[list[Nodes], list[tuple[str, ...]]]] = {
    "nothing": ([], []),
    "as it is": ([tree(a="1", deep__x="3")], []),
    "any value": ([tree(a=None)], []),
    "one differs": ([tree(a="1", b="3")], [("write", "/t/b", "3")]),
    "new, with the nodes above it": ([tree(n__m__o="x")], [("write", "/t/n/m/o", "x")]),
    "new without a value": ([tree(n__m=None)], [("mkdir", "/t/n/m")]),
    "inner node with a value": ([tree(a="1", a__b="2")], [("write", "/t/a/b", "2")]),
    "prune": ([tree(a="1", prune=True)], [("rm", "/t/b"), ("rm", "/t/deep")]),
    "prune inside": ([tree(a="1", b="2", deep=None, prune=True)], [("rm", "/t/deep/x")]),
    "absent": ([Nodes("/t", {})], [("rm", "/t")]),
    "absent already": ([Nodes("/none/at/all", {})], []),
    "permissions of what is there": ([tree(N0, R5, a="1")], [("set_perms", "/t", "n0", "r5"), ("set_perms", "/t/a", "n0", "r5")]),
    "permissions of new nodes, by inheritance": (
        [Nodes("/new", below("/new", {"x": b"1", "y": b"2"}), (N7, R5))],
        [("mkdir", "/new"), ("set_perms", "/new", "n7", "r5"), ("write", "/new/x", "1"), ("write", "/new/y", "2")],
    ),
    "permissions of a new node below others": (
        [Nodes("/t", below("/t", {"new": b"1"}), (N7,))],
        [("write", "/t/new", "1"), ("set_perms", "/t", "n7"), ("set_perms", "/t/new", "n7")],
    ),
    "several at once": (
        [Nodes("/other", {"/other": b"p"}), Nodes("/t/a", {}), Nodes("/z", {"/z": b""})],
        [("rm", "/t/a"), ("write", "/other", "p"), ("write", "/z", "")],
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("oxenstored", [False, True])
def test_only_what_differs_is_written_and_only_once(case: str, oxenstored: bool) -> None:
    wanted, writes = CASES[case]
    with FakeXenstored(START, oxenstored=oxenstored) as fake, XenStore(fake.path, timeout=5) as store:
        plan = plan_nodes(store, wanted)
        assert fake.writes == []
        assert bool(plan.actions) == bool(writes)
        assert bool(plan.diffs) == bool(writes)
        plan.apply()
        assert fake.writes == writes
        assert fake.requests.count(("transaction_start", "")) == (1 if writes else 0)
        again = plan_nodes(store, wanted)
        assert (again.actions, fake.writes) == ([], writes)


def test_diff_shows_values_and_permissions(store: XenStore) -> None:
    plan = plan_nodes(store, [tree(N0, R5, a="x\ny", b="2", prune=True)])
    assert plan.diffs == [
        {
            "before_header": "/t",
            "after_header": "/t",
            "before": '/t = ""  (n0)\n/t/a = "1"  (n0)\n/t/b = "2"  (n0)\n/t/deep = ""\n/t/deep/x = "3"\n',
            "after": '/t = ""  (n0 r5)\n/t/a = "x\\ny"  (n0 r5)\n/t/b = "2"  (n0 r5)\n',
        }
    ]
    assert plan.actions[0].description == "write /t/a, set the permissions of 3 nodes, remove /t/deep at /t"


def test_all_or_nothing(store: XenStore, fake: FakeXenstored) -> None:
    fake.denied = {"/t/denied"}
    plan = plan_nodes(store, [Nodes("/t", below("/t", {"a": b"new"})), Nodes("/other", {"/other": b"new"})])
    fake.denied = {"/other"}
    with pytest.raises(XenStoreError, match="EACCES"):
        plan.actions[0].apply()
    assert fake.writes == []


def test_what_another_did_meanwhile_is_not_written_again(store: XenStore, fake: FakeXenstored) -> None:
    plan = plan_nodes(store, [tree(a="new")])
    fake.set("/t/a", "new")
    plan.actions[0].apply()
    assert fake.writes == []


def test_conflicts_are_tried_again(fake: FakeXenstored, store: XenStore) -> None:
    fake.conflicts = 3
    apply(store, [tree(a="new")])
    assert fake.writes == [("write", "/t/a", "new")]


def test_a_missing_tree_costs_one_request(fake: FakeXenstored, store: XenStore) -> None:
    compare(store, [Nodes("/none", below("/none", {f"{number}/x": b"" for number in range(100)}))])
    assert fake.requests == [("read", "/none")]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([Nodes("/t/a", {"/t/a": b"1"}), tree(a="2")], "/t/a is listed twice"),
        ([Nodes("/t", {}), Nodes("/t/a", {"/t/a": b"1"})], "below /t, of which nothing remains"),
        ([tree(b="1", prune=True), Nodes("/t/a/c", {})], "below /t, of which other nodes are pruned"),
        ([tree(b="x" * 5000)], "5000 bytes"),
        ([Nodes("/t", {"/t/a b": b""})], "'/t/a b' is not a XenStore path"),
    ],
)
def test_refused_before_anything_is_sent(fake: FakeXenstored, store: XenStore, wanted: list[Nodes], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        plan_nodes(store, wanted)
    assert fake.requests == []


def test_order_of_permissions() -> None:
    assert same_permissions([N0, R5, N7], [N0, N7, R5])
    assert not same_permissions([R5, N0], [N0, R5])
    assert not same_permissions(None, [N0])
