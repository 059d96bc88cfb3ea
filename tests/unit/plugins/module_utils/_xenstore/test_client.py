# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading
import time
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput, NotOnThisHost, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import Permission, XenStore
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.nodes import Nodes, apply, compare
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.wire import WatchEvent, XenStoreError
from ansible_collections.xen.driver_domains.tests.unit.fakes.xenstored import ERROR, HEADER, FakeXenstored

TREE = {
    "/local/domain/0/name": "Domain-0",
    "/local/domain/3/name": "net-dd",
    "/local/domain/3/data/driver-domain/status": "starting",
    "/local/domain/12/name": "web1",
    "/local/domain/13/vm": "/vm/no-name-yet",
    "/tool": "",
}
STATUS = "/local/domain/3/data/driver-domain/status"


@pytest.fixture
def fake() -> t.Iterator[FakeXenstored]:
    with FakeXenstored(TREE) as fake:
        yield fake


@pytest.fixture
def store(fake: FakeXenstored) -> t.Iterator[XenStore]:
    with XenStore(fake.path, timeout=5) as store:
        yield store


def after(seconds: float, action: t.Callable[[], object]) -> None:
    threading.Timer(seconds, action).start()


class TestNodes:
    def test_read(self, store: XenStore) -> None:
        assert store.read(STATUS) == b"starting"
        assert store.read_text(STATUS) == "starting"
        assert store.read_text("/tool") == ""
        assert store.read_text("/none") is None
        assert store.read_texts([STATUS, "/none", STATUS]) == {STATUS: "starting", "/none": None}
        with pytest.raises(XenStoreError) as caught:
            store.read("/none")
        assert (caught.value.path, caught.value.errno_name) == ("/none", "ENOENT")
        assert caught.value.details == {"xenstore_path": "/none", "errno": "ENOENT"}

    @pytest.mark.parametrize("value", [b"", b"1", b"\xff\x00\xfe", bytes(range(256)), b"\x00", "Grüße".encode()])
    def test_any_bytes_survive(self, store: XenStore, value: bytes) -> None:
        store.write("/tool/x", value)
        assert store.read("/tool/x") == value
        text = store.read_text("/tool/x")
        assert text is not None
        store.write("/tool/y", text)
        assert store.read("/tool/y") == value

    def test_changes(self, fake: FakeXenstored, store: XenStore) -> None:
        store.write("/tool/a/b", "1")
        store.mkdir("/tool/c")
        store.mkdir("/tool/a/b")
        store.write_many({"/tool/d": "2", "/tool/e": b"3"})
        store.rm("/tool/a")
        store.rm("/tool/a")
        store.rm("/no/parent/here")
        assert {path: value for path, value in fake.tree.items() if path.startswith("/tool/")} == {
            "/tool/c": "",
            "/tool/d": "2",
            "/tool/e": "3",
        }
        assert fake.writes == [
            ("write", "/tool/a/b", "1"),
            ("mkdir", "/tool/c"),
            ("write", "/tool/d", "2"),
            ("write", "/tool/e", "3"),
            ("rm", "/tool/a"),
        ]

    def test_directory(self, store: XenStore) -> None:
        assert store.directory("/local/domain") == ["0", "12", "13", "3"]
        assert store.directory("/") == ["local", "tool"]
        assert store.directory("/tool") == []
        assert store.directory("/none") == []

    def test_tree(self, fake: FakeXenstored, store: XenStore) -> None:
        assert store.tree("/") == {"/": "", **fake.tree}
        assert store.tree("/local/domain/3") == {p: v for p, v in fake.tree.items() if p.startswith("/local/domain/3")}
        assert store.tree("/none") == {}

    def test_tree_leaves_out_what_cannot_be_read(self) -> None:
        with FakeXenstored(TREE, denied=["/local/domain/12"]) as fake, XenStore(fake.path) as store:
            assert [path for path in store.tree("/local/domain") if "12" in path] == []
            with pytest.raises(XenStoreError, match=r"EACCES.*no such right"):
                store.tree("/local/domain/12")

    def test_tree_costs_one_round_trip_a_level(self, fake: FakeXenstored, store: XenStore) -> None:
        store.write_many({f"/tool/many/{number}": "x" for number in range(300)})
        assert len(store.tree("/tool")) == 302
        # Each request may come alone only if the client waits for each reply.
        assert fake.most_at_once > 1

    @pytest.mark.parametrize("oxenstored", [False, True])
    @pytest.mark.parametrize("count", [0, 1, 409, 410, 411, 1500])
    def test_long_listing(self, count: int, oxenstored: bool) -> None:
        # 10 bytes each with its zero byte: 409 fit into one message.
        names = [f"name-{number:04d}" for number in range(count)]
        with FakeXenstored({"/d": "", **{f"/d/{n}": "" for n in names}}, oxenstored=oxenstored) as fake, XenStore(fake.path) as store:
            assert store.directory("/d") == names
            assert len(store.tree("/d")) == count + 1
            assert ("directory_part" in dict(fake.requests)) == (count > 409 and not oxenstored)

    def test_listing_that_changes_meanwhile_starts_again(self) -> None:
        def meddle(kind: int, _req_id: int, payload: bytes) -> None:
            if kind == 22 and payload.split(b"\0")[1] != b"0" and "/d/z" not in fake.tree:
                fake.set("/d/z", "")

        names = [f"name-{number:04d}" for number in range(1000)]
        with FakeXenstored({f"/d/{n}": "" for n in names}, answer=meddle) as fake, XenStore(fake.path) as store:
            assert store.directory("/d") == [*names, "z"]

    def test_listing_that_never_stops_changing(self) -> None:
        counter = iter(range(1_000_000))

        def meddle(kind: int, _req_id: int, _payload: bytes) -> None:
            if kind == 22:
                fake.set(f"/d/z{next(counter)}", "")

        names = [f"name-{number:04d}" for number in range(1000)]
        with FakeXenstored({f"/d/{n}": "" for n in names}, answer=meddle) as fake, XenStore(fake.path, timeout=1) as store:
            with pytest.raises(XenStoreError) as caught:
                store.directory("/d")
            assert caught.value.errno_name == "EAGAIN"

    def test_listing_too_long_for_this_server(self) -> None:
        def too_long(kind: int, req_id: int, _payload: bytes) -> bytes | None:
            error = {1: b"E2BIG\0", 22: b"ENOSYS\0"}.get(kind)
            return error and HEADER.pack(ERROR, req_id, 0, len(error)) + error

        with FakeXenstored(answer=too_long) as fake, XenStore(fake.path) as store:
            with pytest.raises(XenStoreError, match=r"did not list /d: ENOSYS.*run|on dom0"):
                store.directory("/d")
            assert store.read("/") == b""

    def test_permissions(self, fake: FakeXenstored, store: XenStore) -> None:
        assert store.get_perms_many(["/tool"]) == {"/tool": [Permission("n", 0)]}
        store.set_perms("/tool", [Permission("n", 3), Permission("r", 12)])
        assert fake.perms["/tool"] == ("n3", "r12")
        assert store.get_perms_many(["/tool", "/none"]) == {"/tool": [Permission("n", 3), Permission("r", 12)], "/none": None}
        assert fake.writes == [("set_perms", "/tool", "n3", "r12")]
        with pytest.raises(InvalidInput):
            store.set_perms("/tool", [])

    @pytest.mark.parametrize("text", ["n0", "r5", "w65535", "b12"])
    def test_permission_text(self, text: str) -> None:
        assert str(Permission.parse(text)) == text

    @pytest.mark.parametrize("text", ["", "r", "5", "x5", "r-1", "r5 ", "r65536", "rw5", "r\uff15"])
    def test_bad_permission_text(self, text: str) -> None:
        with pytest.raises(InvalidInput, match="not a XenStore permission"):
            Permission.parse(text)


class TestDomains:
    def test_names(self, store: XenStore) -> None:
        assert store.domains() == {0: "Domain-0", 3: "net-dd", 12: "web1"}

    @pytest.mark.parametrize(
        ("domain", "domid"), [("web1", 12), ("net-dd", 3), ("12", 12), ("99", 99), ("web", None), ("", None), ("\uff11\uff12", None)]
    )
    def test_domid_of(self, store: XenStore, domain: str, domid: int | None) -> None:
        assert store.domid_of(domain) == domid

    def test_lowest_number_wins(self, fake: FakeXenstored, store: XenStore) -> None:
        fake.set("/local/domain/20/name", "web1")
        assert store.domid_of("web1") == 12

    def test_nothing_there(self) -> None:
        with FakeXenstored() as fake, XenStore(fake.path) as store:
            assert store.domains() == {}

    def test_domain_requests(self, fake: FakeXenstored, store: XenStore) -> None:
        assert store.get_domain_path(3) == "/local/domain/3"
        with pytest.raises(InvalidInput, match="not a domain number"):
            store.get_domain_path(65536)


class TestBadInput:
    @pytest.mark.parametrize(
        "path",
        ["", "//", "/a/", "/a//b", "/a b", "/ä", "/a\n", "/a.b", "/a\0b", "@releaseDomain", "/" + "a" * 3072, "relative/path", "a" * 2049],
    )
    def test_paths(self, fake: FakeXenstored, store: XenStore, path: str) -> None:
        for call in (store.read, store.rm, store.mkdir, store.directory, store.tree):
            with pytest.raises(InvalidInput):
                call(path)
        with pytest.raises(InvalidInput):
            store.get_perms_many([path])
        with pytest.raises(InvalidInput):
            store.write_many({"/tool/first": "1", path: "2"})
        assert fake.requests == []

    def test_value_length(self, fake: FakeXenstored, store: XenStore) -> None:
        room = 4096 - len("/tool/x") - 1
        store.write("/tool/x", b"x" * room)
        with pytest.raises(InvalidInput, match="4096 bytes"):
            store.write("/tool/x", b"x" * (room + 1))
        assert len(fake.writes) == 1

    @pytest.mark.parametrize("token", ["", "a\0b", "ä", "a\n"])
    def test_tokens(self, store: XenStore, token: str) -> None:
        with pytest.raises(InvalidInput, match="watch token"):
            store.watch("/tool", token)

    def test_wait_in_transaction(self, store: XenStore) -> None:
        with pytest.raises(InvalidInput, match="transaction"):
            store.transaction(lambda s: s.wait_for(["/tool"], bool, 1))


class TestRefusals:
    def test_quota_is_named(self) -> None:
        with FakeXenstored(TREE, quota=len(TREE)) as fake, XenStore(fake.path) as store:
            with pytest.raises(XenStoreError, match=r"did not write /tool/x: ENOSPC.*quota.*1000 nodes.*Remove"):
                store.write("/tool/x", "1")
            assert fake.writes == []

    def test_permission_quota(self, store: XenStore) -> None:
        with pytest.raises(XenStoreError, match=r"set the permissions of /tool: ENOSPC.*5 permissions a node"):
            store.set_perms("/tool", [Permission("r", domid) for domid in range(6)])

    @pytest.mark.parametrize("name", ["EACCES", "EINVAL", "EQUOTA", "EPERM", "EROFS", "ESOMETHINGNEW"])
    def test_error_names(self, name: str) -> None:
        reply = f"{name}\0".encode()
        with FakeXenstored(answer=lambda _k, req_id, _p: HEADER.pack(ERROR, req_id, 0, len(reply)) + reply) as fake:
            with XenStore(fake.path) as store, pytest.raises(XenStoreError, match=f"did not read /tool: {name}") as caught:
                store.read("/tool")
            assert caught.value.errno_name == name

    def test_connection_is_good_after_a_refusal(self) -> None:
        with FakeXenstored(TREE, denied=["/tool"]) as fake, XenStore(fake.path) as store:
            with pytest.raises(XenStoreError):
                store.write_many({"/a": "1", "/tool": "2", "/c": "3"})
            assert store.read_texts(["/a", "/c"]) == {"/a": "1", "/c": "3"}


class TestTransactions:
    def test_commit(self, fake: FakeXenstored, store: XenStore) -> None:
        def body(store: XenStore) -> str | None:
            store.write_many({"/tool/a": "1", "/tool/b": "2"})
            assert "/tool/a" not in fake.tree
            return store.read_text("/tool/a")

        assert store.transaction(body) == "1"
        assert fake.writes == [("write", "/tool/a", "1"), ("write", "/tool/b", "2")]

    def test_undone_by_an_exception(self, fake: FakeXenstored, store: XenStore) -> None:
        def body(store: XenStore) -> None:
            store.write("/tool/a", "1")
            raise KeyError("x")

        with pytest.raises(KeyError):
            store.transaction(body)
        assert fake.writes == []
        assert fake.requests[-1] == ("transaction_end", "F")
        store.write("/tool/b", "outside")
        assert fake.writes == [("write", "/tool/b", "outside")]

    def test_undone_by_a_refusal(self) -> None:
        with FakeXenstored(TREE, denied=["/tool"]) as fake, XenStore(fake.path) as store:
            with pytest.raises(XenStoreError, match="EACCES"):
                store.transaction(lambda s: s.write_many({"/a": "1", "/tool": "2"}))
            assert fake.writes == []

    def test_runs_again_after_a_real_conflict(self, fake: FakeXenstored, store: XenStore) -> None:
        fake.set("/tool/n", "1")
        others = iter(["10", "20"])

        def increment(store: XenStore) -> int:
            value = int(store.read_text("/tool/n") or 0)
            for other in others:
                fake.set("/tool/n", other)
                break
            store.write("/tool/n", str(value + 1))
            return value + 1

        assert store.transaction(increment) == 21
        assert fake.writes == [("write", "/tool/n", "21")]
        assert [name for name, _argument in fake.requests].count("transaction_start") == 3

    def test_conflict_elsewhere_does_not_matter(self, fake: FakeXenstored, store: XenStore) -> None:
        def body(store: XenStore) -> None:
            fake.set("/local/domain/3/other", "x")
            store.write("/tool/n", "1")

        store.transaction(body)
        assert [name for name, _argument in fake.requests].count("transaction_start") == 1

    def test_gives_up_in_time(self) -> None:
        with FakeXenstored(TREE, conflicts=10**6) as fake, XenStore(fake.path, timeout=0.3) as store:
            start = time.monotonic()
            with pytest.raises(XenStoreError, match=r"EAGAIN.*Another client") as caught:
                store.transaction(lambda s: s.write("/tool/n", "1"))
            assert caught.value.errno_name == "EAGAIN"
            assert 0.3 <= time.monotonic() - start < 20
            # It backs off instead of hammering.
            assert [name for name, _argument in fake.requests].count("transaction_start") < 20
            assert fake.writes == []

    def test_a_conflict_inside_ends_it_too(self, fake: FakeXenstored, store: XenStore) -> None:
        """Such as a listing that changes while it is fetched: the transaction is still open then."""
        conflicts = iter([XenStoreError("changed", errno_name="EAGAIN")])

        def body(store: XenStore) -> None:
            store.write("/tool/n", "1")
            for conflict in conflicts:
                raise conflict

        store.transaction(body)
        assert [argument for name, argument in fake.requests if name == "transaction_end"] == ["F", "T"]
        assert fake.writes == [("write", "/tool/n", "1")]

    def test_no_nesting(self, fake: FakeXenstored, store: XenStore) -> None:
        with pytest.raises(XenStoreError, match="EBUSY"):
            store.transaction(lambda s: s.transaction(lambda s: s.write("/tool/n", "1")))
        assert fake.writes == []

    @pytest.mark.parametrize("transid", [b"", b"0\0", b"x\0", b"-1\0", b"4294967296\0", b"\xff\0", "٣".encode()])
    def test_bad_number(self, transid: bytes) -> None:
        with FakeXenstored(answer=lambda kind, req_id, _p: HEADER.pack(kind, req_id, 0, len(transid)) + transid) as fake:
            with XenStore(fake.path, timeout=1) as store, pytest.raises(XenStoreError) as caught:
                store.transaction(lambda s: s.read("/"))
            assert caught.value.errno_name == "EPROTO"


class TestWatches:
    def test_events(self, fake: FakeXenstored, store: XenStore) -> None:
        store.watch("/tool", "one")
        assert store.next_event(1) == WatchEvent("/tool", "one")
        assert store.next_event(0) is None
        fake.set("/tool/a/b", "1")
        fake.set("/elsewhere", "1")
        assert store.next_event(1) == WatchEvent("/tool/a/b", "one")
        assert store.next_event(0.05) is None

    def test_special_and_by_token(self, fake: FakeXenstored, store: XenStore) -> None:
        store.watch("@releaseDomain", "gone")
        store.watch("/tool", "tool")
        assert store.next_event(1, "tool") == WatchEvent("/tool", "tool")
        assert store.next_event(0.05, "tool") is None
        assert store.next_event(1) == WatchEvent("@releaseDomain", "gone")

    def test_events_between_replies_are_kept(self, fake: FakeXenstored, store: XenStore) -> None:
        store.watch("/tool", "one")
        store.write("/tool/a", "1")
        assert store.read_text("/tool/a") == "1"
        assert [store.next_event(1), store.next_event(1), store.next_event(0.05)] == [
            WatchEvent("/tool", "one"),
            WatchEvent("/tool/a", "one"),
            None,
        ]

    def test_wait_for_what_is_already_there(self, fake: FakeXenstored, store: XenStore) -> None:
        assert store.wait_for([STATUS, "/none"], lambda values: values[STATUS] == "starting", 5) == {STATUS: "starting", "/none": None}
        assert fake.watches == []
        assert fake.writes == []

    def test_wait_for_a_change(self, fake: FakeXenstored, store: XenStore) -> None:
        after(0.1, lambda: fake.set(STATUS, "ready"))
        start = time.monotonic()
        assert store.wait_for([STATUS], lambda values: values[STATUS] == "ready", 30) == {STATUS: "ready"}
        assert time.monotonic() - start < 20
        # No polling: read once before the change, once after it (and perhaps once for the watch itself).
        assert [name for name, _argument in fake.requests].count("read") <= 3
        assert fake.watches == []

    def test_wait_for_a_domain_that_comes(self, fake: FakeXenstored, store: XenStore) -> None:
        fake.set("/local/domain/9/name", "web")

        assert store.wait_for(["@introduceDomain", STATUS], lambda _values: "web" in store.domains().values(), 30) == {STATUS: "starting"}

    def test_wait_for_removal_from_above(self, fake: FakeXenstored, store: XenStore) -> None:
        after(0.1, lambda: fake.remove("/local/domain/3"))
        assert store.wait_for([STATUS], lambda values: values[STATUS] is None, 30) == {STATUS: None}

    def test_wait_for_something_below_with_a_reading_predicate(self, fake: FakeXenstored, store: XenStore) -> None:
        after(0.1, lambda: fake.set(STATUS, "ready"))
        store.wait_for(["/local/domain/3"], lambda _values: store.read_text(STATUS) == "ready", 30)
        assert fake.tree[STATUS] == "ready"

    def test_wait_runs_out(self, fake: FakeXenstored, store: XenStore) -> None:
        start = time.monotonic()
        with pytest.raises(TimedOut, match=r"within 0.2 s: .*status = 'starting'") as caught:
            store.wait_for([STATUS, STATUS], lambda values: values[STATUS] == "ready", 0.2)
        assert 0.2 <= time.monotonic() - start < 20
        assert caught.value.details["values"] == {STATUS: "starting"}
        assert fake.watches == []
        # The connection and the events of others are as before.
        assert store.read_text(STATUS) == "starting"

    def test_wait_keeps_the_events_of_other_watches(self, fake: FakeXenstored, store: XenStore) -> None:
        store.watch("/tool", "mine")
        store.wait_for([STATUS], lambda values: True, 1)
        assert store.next_event(1) == WatchEvent("/tool", "mine")
        assert store.next_event(0.05) is None

    def test_predicate_that_raises(self, fake: FakeXenstored, store: XenStore) -> None:
        with pytest.raises(ZeroDivisionError):
            store.wait_for([STATUS], lambda values: 1 / 0, 1)
        assert fake.watches == []

    def test_xenstored_dies_while_waiting(self, fake: FakeXenstored, store: XenStore) -> None:
        after(0.1, fake.drop_clients)
        with pytest.raises(XenStoreError, match=r"closed the connection.*reboot") as caught:
            store.wait_for([STATUS], lambda values: False, 30)
        assert caught.value.errno_name == "ECONNRESET"


class TestTrouble:
    def test_no_answer(self, fake: FakeXenstored, store: XenStore) -> None:
        store.timeout = 0.2
        fake.silent = True
        start = time.monotonic()
        with pytest.raises(XenStoreError, match=r"did not answer within 0.2 s.*systemctl status") as caught:
            store.read("/tool")
        assert 0.2 <= time.monotonic() - start < 20
        assert caught.value.errno_name == "ETIMEDOUT"
        fake.silent = False
        # A late answer must not be taken for that of another request.
        with pytest.raises(XenStoreError, match="connection to XenStore is closed"):
            store.read("/tool")

    @pytest.mark.parametrize(
        "call",
        [
            lambda store: store.directory("/tool"),
            lambda store: store.tree("/tool"),
            lambda store: store.domains(),
            lambda store: store.watch("/tool", "x"),
            lambda store: store.wait_for(["/tool"], lambda values: True, 30),
            lambda store: store.transaction(lambda s: s.read("/tool")),
            lambda store: store.write_many({f"/tool/{number}": b"x" * 4000 for number in range(200)}),
        ],
    )
    def test_no_answer_to_anything(self, fake: FakeXenstored, call: t.Callable[[XenStore], object]) -> None:
        fake.silent = True
        with XenStore(fake.path, timeout=0.2) as store, pytest.raises(XenStoreError) as caught:
            call(store)
        assert caught.value.errno_name == "ETIMEDOUT"

    def test_no_answer_at_the_end_of_a_transaction(self, fake: FakeXenstored) -> None:
        def body(_store: XenStore) -> None:
            fake.silent = True

        with XenStore(fake.path, timeout=0.2) as store, pytest.raises(XenStoreError, match="did not answer"):
            store.transaction(body)

    def test_nobody_reads(self, tmp_path: t.Any) -> None:
        """A server that never accepts, as a stopped xenstored does: connecting works until its queue is full."""
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(0)
            with XenStore(path, timeout=0.2) as store, pytest.raises(XenStoreError, match="did not answer"):
                store.read("/")
            # That connection fills the queue; with no room in it, connect() fails at once.
            with pytest.raises(XenStoreError, match="did not answer") as caught:
                XenStore(path, timeout=0.2)
            assert caught.value.errno_name == "ETIMEDOUT"

    def test_dead_socket(self, tmp_path: t.Any) -> None:
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
        with pytest.raises(XenStoreError, match=r"refused.*reboot the host") as caught:
            XenStore(path)
        assert caught.value.errno_name == "ECONNREFUSED"

    def test_no_xenstore(self, tmp_path: t.Any) -> None:
        with pytest.raises(NotOnThisHost, match="no XenStore at"):
            XenStore(str(tmp_path / "none"))

    def test_default_path(self, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any, fake: FakeXenstored) -> None:
        module = "ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.wire.DEFAULT_PATHS"
        monkeypatch.setattr(module, (str(tmp_path / "none"), fake.path))
        with XenStore() as store:
            assert store.path == fake.path
        monkeypatch.setattr(module, (str(tmp_path / "none"),))
        with pytest.raises(NotOnThisHost, match="Boot it under Xen"):
            XenStore()

    def test_close_is_final_and_repeatable(self, fake: FakeXenstored) -> None:
        store = XenStore(fake.path)
        store.close()
        store.close()
        with pytest.raises(XenStoreError, match="closed"):
            store.read("/tool")

    def test_not_a_xenstore_device(self, tmp_path: t.Any) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"")
        with XenStore(str(path), timeout=1) as store, pytest.raises(DriverDomainsError):
            store.read("/tool")

    def test_flood_of_events_instead_of_an_answer(self) -> None:
        stop = threading.Event()
        event = HEADER.pack(15, 0, 0, 4) + b"/\0t\0"

        def flood(_kind: int, _req_id: int, _payload: bytes) -> bytes:
            client = next(iter(fake._clients.values())).connection

            def send() -> None:
                while not stop.is_set():
                    try:
                        client.sendall(event * 100)
                    except OSError:
                        return
                    time.sleep(0.005)

            threading.Thread(target=send, daemon=True).start()
            return b""

        with FakeXenstored(answer=flood) as fake, XenStore(fake.path, timeout=0.3) as store:
            with pytest.raises(XenStoreError, match="did not answer"):
                store.read("/")
            stop.set()


def test_device_protocol(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the device a request is one write() of at most 4096 bytes, and a sign of life comes before a watch."""
    fifo = str(tmp_path / "xenbus")
    os.mkfifo(fifo)
    written: list[bytes] = []
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: written.append(bytes(data)) or real_write(fd, data))
    # A FIFO returns what it gets: a reply of the right type and number.
    with XenStore(fifo, timeout=1) as store:
        with pytest.raises(InvalidInput, match="at most 4080 bytes"):
            store.write("data/x", b"x" * (4080 - len("data/x")))
        assert store.read("data/x") == b"data/x\0"
        store.watch("data/x", "token")
        with pytest.raises(InvalidInput, match="2048 bytes"):
            store.read("a" * 2049)
    assert written == [
        HEADER.pack(2, 1, 0, 7) + b"data/x\0",
        HEADER.pack(10, 2, 0, 2) + b"0\0",
        HEADER.pack(4, 3, 0, 13) + b"data/x\0token\0",
    ]


def test_device_gets_one_request_at_a_time(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux would mix up the requests: it holds only one for each open device."""
    fifo = str(tmp_path / "xenbus")
    os.mkfifo(fifo)
    steps: list[str] = []
    real_write, real_read = os.write, os.read
    monkeypatch.setattr(os, "write", lambda fd, data: steps.append("write") or real_write(fd, data))
    monkeypatch.setattr(os, "read", lambda fd, size: steps.append("read") or real_read(fd, size))
    with XenStore(fifo, timeout=1) as store:
        assert store.read_texts(["a", "b", "c"]) == {"a": "a\0", "b": "b\0", "c": "c\0"}
    assert steps == ["write", "read"] * 3


def test_device_refuses_in_write(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux reports some refusals (a watch over the quota) as the error of write()."""
    fifo = str(tmp_path / "xenbus")
    os.mkfifo(fifo)

    def refuse(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with XenStore(fifo, timeout=1) as store:
        monkeypatch.setattr(os, "write", refuse)
        with pytest.raises(XenStoreError, match=r"did not write data/x: ENOSPC.*quota"):
            store.write("data/x", "1")


class ScriptedServer:
    """Sends fixed bytes, and perhaps hangs up; whatever the client sends is read and dropped."""

    def __init__(self, script: bytes, hang_up: bool) -> None:
        self._client, server = socket.socketpair()
        server.sendall(script)
        if hang_up:
            server.shutdown(socket.SHUT_WR)
        self._server = server

    def store(self, timeout: float) -> XenStore:
        store = XenStore(os.devnull, timeout)
        store.close()
        store._descriptor = self._client.detach()
        store._is_device = False
        os.set_blocking(store._descriptor, False)
        return store

    def close(self) -> None:
        self._server.close()


CALLS: dict[str, t.Callable[[XenStore], object]] = {
    "read": lambda s: s.read("/a"),
    "read_texts": lambda s: s.read_texts(["/a", "/b"]),
    "directory": lambda s: s.directory("/a"),
    "tree": lambda s: s.tree("/a"),
    "write": lambda s: s.write("/a", "1"),
    "rm": lambda s: s.rm("/a"),
    "get_perms_many": lambda s: s.get_perms_many(["/a"]),
    "directories": lambda s: s.directories(["/a", "/b"]),
    "set_perms_many": lambda s: s.set_perms_many({"/a": [Permission("n", 0)], "/b": [Permission("r", 1)]}),
    "domids_of": lambda s: s.domids_of(["web1", "2"]),
    "compare": lambda s: compare(s, [Nodes("/a", {"/a": b"1", "/a/b": None}, (Permission("n", 0),), prune=True)]),
    "apply": lambda s: apply(s, [Nodes("/a", {"/a": b"2", "/a/b": b"3"}, (Permission("n", 0),), prune=True), Nodes("/c", {})]),
    "domains": lambda s: s.domains(),
    "get_domain_path": lambda s: s.get_domain_path(1),
    "transaction": lambda s: s.transaction(lambda inner: inner.read_text("/a")),
    "watch": lambda s: s.watch("/a", "t"),
    "next_event": lambda s: s.next_event(0.02),
    "wait_for": lambda s: s.wait_for(["/a"], lambda values: values["/a"] == "x", 0.02),
}

payloads = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"\0", b"OK\0", b"ENOENT\0", b"E2BIG\0", b"EAGAIN\0", b"1\0", b"1\0a\0\0", b"1\0a\0", b"a\0b\0", b"n0\0r1\0", b"/a\0t\0"]
    ),
)
messages = st.builds(
    lambda kind, req_id, tx_id, payload, lie: HEADER.pack(kind, req_id, tx_id, max(0, len(payload) + lie)) + payload,
    st.one_of(st.integers(0, 27), st.integers(0, 2**32 - 1)),
    st.one_of(st.integers(0, 6), st.integers(0, 2**32 - 1)),
    st.integers(0, 2),
    payloads,
    st.sampled_from([0, 0, 0, 0, 0, 1, -1, 5000, 2**31]),
)
scripts = st.one_of(st.binary(max_size=100), st.lists(messages, max_size=8).map(b"".join))


@settings(max_examples=400, deadline=None)
@given(name=st.sampled_from(sorted(CALLS)), script=scripts, hang_up=st.booleans())
def test_nonsense_from_the_server(name: str, script: bytes, hang_up: bool) -> None:
    """Whatever comes back: an answer or an error of ours, in time."""
    server = ScriptedServer(script, hang_up)
    start = time.monotonic()
    try:
        with server.store(timeout=0.02) as store, contextlib.suppress(DriverDomainsError):
            CALLS[name](store)
    finally:
        server.close()
    assert time.monotonic() - start < 20


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(sorted(CALLS)), script=st.lists(st.tuples(st.booleans(), payloads), max_size=12))
def test_nonsense_in_well_formed_replies(name: str, script: list[tuple[bool, bytes]]) -> None:
    """As above, with the right type and request number, so that the payloads are parsed; proper replies follow."""
    replies = iter(script)

    def answer(kind: int, req_id: int, _payload: bytes) -> bytes | None:
        is_error, payload = next(replies, (False, None))
        return None if payload is None else HEADER.pack(ERROR if is_error else kind, req_id, 0, len(payload)) + payload

    with FakeXenstored({"/a": "1"}, answer=answer) as fake, XenStore(fake.path, timeout=0.5) as store:
        start = time.monotonic()
        with contextlib.suppress(DriverDomainsError):
            CALLS[name](store)
        assert time.monotonic() - start < 20


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_reply_that_never_ends(name: str) -> None:
    """One byte now and then is no sign of life: each answer has its time."""
    server = ScriptedServer(HEADER.pack(2, 1, 0, 3000), hang_up=False)
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.005):
            server._server.send(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    start = time.monotonic()
    try:
        with server.store(timeout=0.1) as store, contextlib.suppress(DriverDomainsError):
            CALLS[name](store)
    finally:
        stop.set()
        thread.join()
        server.close()
    assert time.monotonic() - start < 20


def test_replies_out_of_order() -> None:
    """The protocol allows any order; the request numbers say which reply is whose."""
    held: list[bytes] = []

    def answer(kind: int, req_id: int, payload: bytes) -> bytes:
        held.append(HEADER.pack(kind, req_id, 0, len(payload)) + payload)
        if len(held) < 4:
            return b""
        return b"".join(reversed(held))

    with FakeXenstored(answer=answer) as fake, XenStore(fake.path, timeout=5) as store:
        assert store.read_texts(["/a", "/b", "/c", "/d"]) == {path: f"{path}\0" for path in ("/a", "/b", "/c", "/d")}


def test_window_is_bounded() -> None:
    """xenstored throttles a domain that has 20 unanswered requests."""
    unanswered: list[int] = []

    def count(_kind: int, req_id: int, _payload: bytes) -> bytes:
        unanswered.append(req_id)
        return b""

    with FakeXenstored(answer=count) as fake, XenStore(fake.path, timeout=0.2) as store:
        with pytest.raises(XenStoreError):
            store.read_texts([f"/{number}" for number in range(100)])
        assert 1 < len(unanswered) < 20


def test_header_is_that_of_xen() -> None:
    seen: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        path = f"\0xendd-test-{os.getpid()}"
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(5)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            connection, _address = listener.accept()
            store = XenStore(os.devnull, 0.05)
            store.close()
            store._descriptor = os.dup(client.fileno())
            with pytest.raises(XenStoreError):
                store.write("/a", b"1")
            seen.append(connection.recv(100))
            connection.close()
    # WRITE is 11; native byte order; the value has no zero byte at its end.
    assert seen == [struct.pack("=4I", 11, 1, 0, 4) + b"/a\x001"]
