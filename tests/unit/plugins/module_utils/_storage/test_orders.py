# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A driver domain that carries out orders, or does not."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._storage.orders import Order, carry_out
from ansible_collections.xen.driver_domains.plugins.module_utils._volumes import Volume
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore

from ....fakes.xenstored import FakeXenstored

HOME = "/local/domain/3"
REPORT = f"{HOME}/data/driver-domain/orders"
ORDERS = [
    Order("remove", Volume("vg0", "old", 0, False), 4096, 0),
    Order("make", Volume("vg0", "root", 4096), 0, 4096),
    Order("grow", Volume("vg1", "root", 8192), 4096, 8192),
]


@contextlib.contextmanager
def domain(act: t.Callable[[FakeXenstored, str, list[str]], None]) -> t.Iterator[FakeXenstored]:
    """A domain that calls `act` with the id and the texts of the first orders that it sees."""
    with FakeXenstored({f"{HOME}/name": "storage-dd", f"{HOME}/data": ""}) as fake:
        fake.set_perms(HOME, "n0", "r3")
        fake.set_perms(f"{HOME}/data", "n3")

        def run() -> None:
            end = time.monotonic() + 20
            while time.monotonic() < end:
                tree = fake.tree
                if f"{HOME}/volumes/id" in tree:
                    texts = [tree[f"{HOME}/volumes/{number}"] for number in range(len(tree)) if f"{HOME}/volumes/{number}" in tree]
                    act(fake, tree[f"{HOME}/volumes/id"], texts)
                    return
                time.sleep(0.01)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield fake
        finally:
            thread.join()


def answer(fake: FakeXenstored, identity: str, answers: t.Sequence[str], finished: bool = True) -> None:
    for number, text in enumerate(answers):
        fake.set(f"{REPORT}/{number}", f"{identity} {text}")
    if finished:
        fake.set(REPORT, identity)


def gone(fake: FakeXenstored) -> bool:
    return not [path for path in fake.tree if path.startswith(f"{HOME}/volumes")]


def test_orders_and_answers() -> None:
    seen: list[str] = []
    permissions: list[t.Any] = []

    def act(fake: FakeXenstored, identity: str, texts: list[str]) -> None:
        seen.extend(texts)
        permissions.append(fake.perms[f"{HOME}/volumes/0"])
        answer(fake, identity, ["done", "refused no \x1bspace", "done"])

    with domain(act) as fake, XenStore(fake.path) as store:
        assert carry_out(store, "storage-dd", 3, ORDERS, 10) == ["", "no \\x1bspace", ""]
        assert gone(fake)
    assert seen == ["remove vg0 old", "make vg0 root 4096", "grow vg1 root 8192"]
    # Only dom0 writes them.
    assert permissions == [("n0", "r3")]


def test_an_answer_to_other_orders_is_none() -> None:
    def act(fake: FakeXenstored, identity: str, _texts: list[str]) -> None:
        answer(fake, "another", ["done"] * 3)
        fake.set(REPORT, identity)

    with domain(act) as fake, XenStore(fake.path) as store:
        assert carry_out(store, "storage-dd", 3, ORDERS, 10) == ["it gave no reason"] * 3


def test_what_was_not_begun_is_withdrawn() -> None:
    def act(fake: FakeXenstored, identity: str, _texts: list[str]) -> None:
        answer(fake, identity, ["done", "refused no space"], finished=False)

    with domain(act) as fake, XenStore(fake.path) as store:
        with pytest.raises(TimedOut, match="carried out 1 of 3 orders within 1 s; it refused vg0/root: no space.*withdrawn") as caught:
            carry_out(store, "storage-dd", 3, ORDERS, 1)
        assert caught.value.details["carried_out"] == [0]
        assert gone(fake)


def test_the_orders_of_another_run_are_left_alone() -> None:
    def act(fake: FakeXenstored, identity: str, _texts: list[str]) -> None:
        fake.set(f"{HOME}/volumes/id", "theirs")
        answer(fake, identity, ["done"] * 3)

    with domain(act) as fake, XenStore(fake.path) as store:
        carry_out(store, "storage-dd", 3, ORDERS, 10)
        assert fake.tree[f"{HOME}/volumes/id"] == "theirs"


def test_a_domain_that_ends_meanwhile() -> None:
    with domain(lambda fake, _identity, _texts: fake.remove(f"{HOME}/name")) as fake, XenStore(fake.path) as store:
        with pytest.raises(DriverDomainsError, match="went away while it carried out its orders"):
            carry_out(store, "storage-dd", 3, ORDERS, 10)
        assert gone(fake)


def test_a_domain_that_has_ended_gets_no_orders() -> None:
    with FakeXenstored({"/local/domain/4/name": "storage-dd"}) as fake, XenStore(fake.path) as store:
        with pytest.raises(DriverDomainsError, match="went away before it got its orders"):
            carry_out(store, "storage-dd", 3, ORDERS, 10)
        assert fake.writes == []
