# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small xenstored for tests, over a real unix socket, in a thread.

    with FakeXenstored({"/local/domain/1/name": "web1"}) as fake, XenStore(fake.path) as store:
        store.write("/local/domain/1/x", "1")
    assert fake.tree["/local/domain/1/x"] == "1"
    assert fake.writes == [("write", "/local/domain/1/x", "1")]

It behaves as xenstored does towards dom0. A test changes the tree with `FakeXenstored.set` and `FakeXenstored.remove`, which fire
watches.
"""

from __future__ import annotations

import collections
import os
import selectors
import shutil
import socket
import struct
import tempfile
import threading
import typing as t
from dataclasses import dataclass, field

HEADER = struct.Struct("=4I")
KINDS = {
    1: "directory",
    2: "read",
    3: "get_perms",
    4: "watch",
    5: "unwatch",
    6: "transaction_start",
    7: "transaction_end",
    10: "get_domain_path",
    11: "write",
    12: "mkdir",
    13: "rm",
    14: "set_perms",
    22: "directory_part",
}
WATCH_EVENT, ERROR = 15, 16
PAYLOAD_MAX = 4096


class RequestError(Exception):
    """Becomes an error reply; the text is the name of an errno."""


@dataclass
class _Nodes:
    """Values, permissions and generations by path; a removed node keeps the generation of its removal."""

    values: dict[str, str]
    perms: dict[str, tuple[str, ...]]
    generations: collections.Counter[str]

    def copy(self) -> _Nodes:
        return _Nodes(dict(self.values), dict(self.perms), collections.Counter(self.generations))


@dataclass
class _Transaction:
    nodes: _Nodes
    start: collections.Counter[str]
    seen: set[str] = field(default_factory=set)
    log: list[tuple[str, ...]] = field(default_factory=list)


@dataclass
class _Client:
    connection: socket.socket
    buffer: bytes = b""
    watches: list[tuple[str, str]] = field(default_factory=list)
    transactions: dict[int, _Transaction] = field(default_factory=dict)


class FakeXenstored:
    """A context manager; `path` is the socket.

    :param tree: path -> value; the nodes above each are made.
    :param quota: how many nodes there may be; more are refused with ENOSPC.
    :param denied: paths that are refused with EACCES.
    :param conflicts: so many of the next commits are refused with EAGAIN.
    :param oxenstored: like oxenstored, send listings of any length and know no DIRECTORY_PART.
    :param answer: gets type, req_id and payload of each request and returns the raw bytes to send, or None for the proper reply.
    """

    def __init__(
        self,
        tree: dict[str, str] | None = None,
        *,
        quota: int | None = None,
        denied: t.Iterable[str] = (),
        conflicts: int = 0,
        oxenstored: bool = False,
        answer: t.Callable[[int, int, bytes], bytes | None] | None = None,
    ) -> None:
        self._nodes = _Nodes({"/": ""}, {"/": ("n0",)}, collections.Counter())
        self.quota: int | None = None
        #: Every committed change: ("write", path, value), ("mkdir", path), ("rm", path), ("set_perms", path, "n0", "r1", ...).
        self.writes: list[tuple[str, ...]] = []
        #: Every request: its name and its path (or other first argument).
        self.requests: list[tuple[str, str]] = []
        #: The most requests that were there at once.
        self.most_at_once = 0
        self.denied = set(denied)
        self.conflicts = conflicts
        #: Set it, and requests get no answer any more.
        self.silent = False
        self.answer = answer
        self._oxenstored = oxenstored
        self._clients: dict[int, _Client] = {}
        self._last_transaction = 0
        self._lock = threading.RLock()
        for path, value in (tree or {}).items():
            self._write(self._nodes, path, value)
        self.quota = quota
        self.path = ""

    def __enter__(self) -> FakeXenstored:
        # Not pytest's tmp_path: a socket's path has at most 107 bytes.
        self._directory = tempfile.mkdtemp(prefix="fake-xenstored-")
        self.path = os.path.join(self._directory, "socket")
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(5)
        self._wake, self._stop = socket.socketpair()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.close()
        self._thread.join(10)
        for client in self._clients.values():
            client.connection.close()
        self._listener.close()
        self._wake.close()
        self._selector.close()
        shutil.rmtree(self._directory)

    # For tests

    @property
    def tree(self) -> dict[str, str]:
        """A copy of all nodes but the root by path."""
        with self._lock:
            return {path: value for path, value in sorted(self._nodes.values.items()) if path != "/"}

    @property
    def perms(self) -> dict[str, tuple[str, ...]]:
        """A copy of the permissions of all nodes by path."""
        with self._lock:
            return dict(self._nodes.perms)

    @property
    def watches(self) -> list[tuple[str, str]]:
        """The watches of all clients: path and token."""
        with self._lock:
            return [watch for client in self._clients.values() for watch in client.watches]

    def set(self, path: str, value: str) -> None:
        """Write a node as another client would; not recorded in `writes`."""
        with self._lock:
            self._write(self._nodes, path, value)
            self._fire(path)

    def remove(self, path: str) -> None:
        """Remove a node as another client would; not recorded in `writes`."""
        with self._lock:
            self._rm(self._nodes, path)
            self._fire(path, removed=True)

    def set_perms(self, path: str, *perms: str) -> None:
        """Set permissions as another client would; not recorded in `writes`."""
        with self._lock:
            self._nodes.perms[path] = perms
            self._fire(path)

    def fire(self, path: str) -> None:
        """Send an event of a path that is no node, such as `@releaseDomain`."""
        with self._lock:
            self._fire(path)

    def drop_clients(self) -> None:
        """Close every connection, as a xenstored that dies does."""
        with self._lock:
            for client in self._clients.values():
                client.connection.shutdown(socket.SHUT_RDWR)

    # The server

    def _serve(self) -> None:
        while True:
            for key, _events in self._selector.select():
                if key.fileobj is self._wake:
                    return
                with self._lock:
                    if key.fileobj is self._listener:
                        connection, _address = self._listener.accept()
                        self._clients[connection.fileno()] = _Client(connection)
                        self._selector.register(connection, selectors.EVENT_READ)
                    else:
                        self._read_from(self._clients[key.fd])

    def _read_from(self, client: _Client) -> None:
        try:
            chunk = client.connection.recv(1 << 20)
        except OSError:
            chunk = b""
        client.buffer += chunk
        at_once = 0
        while len(client.buffer) >= HEADER.size:
            kind, req_id, tx_id, length = HEADER.unpack_from(client.buffer)
            if length > PAYLOAD_MAX:
                # As xenstored does.
                chunk = b""
                break
            if len(client.buffer) < HEADER.size + length:
                break
            payload = client.buffer[HEADER.size : HEADER.size + length]
            client.buffer = client.buffer[HEADER.size + length :]
            at_once += 1
            if not self.silent:
                self._answer(client, kind, req_id, tx_id, payload)
        self.most_at_once = max(self.most_at_once, at_once)
        if not chunk:
            self._selector.unregister(client.connection)
            del self._clients[client.connection.fileno()]
            client.connection.close()

    def _answer(self, client: _Client, kind: int, req_id: int, tx_id: int, payload: bytes) -> None:
        name = KINDS.get(kind, "unknown")
        arguments = payload.decode("utf-8", "surrogateescape").split("\0")
        self.requests.append((name, arguments[0]))
        raw = self.answer(kind, req_id, payload) if self.answer else None
        if raw is not None:
            self._send(client, raw)
            return
        try:
            reply = self._perform(client, name, tx_id, arguments)
            if len(reply) > PAYLOAD_MAX and not self._oxenstored:
                raise RequestError("E2BIG")
        except RequestError as exc:
            kind, reply = ERROR, f"{exc}\0".encode()
        self._send(client, HEADER.pack(kind, req_id, tx_id, len(reply)) + reply)
        if name == "watch" and kind != ERROR:
            self._send_event(client, arguments[0], arguments[1])

    def _perform(self, client: _Client, name: str, tx_id: int, arguments: list[str]) -> bytes:
        path = arguments[0]
        if path in self.denied:
            raise RequestError("EACCES")
        if tx_id and name not in ("watch", "unwatch"):
            if tx_id not in client.transactions:
                raise RequestError("ENOENT")
            if name == "transaction_end":
                self._commit(client.transactions.pop(tx_id), path == "T")
                return b"OK\0"
            if name == "transaction_start":
                raise RequestError("EBUSY")
            transaction = client.transactions[tx_id]
            transaction.seen.add(path)
            return self._node_request(transaction.nodes, transaction.log, name, arguments)
        if name == "transaction_start":
            self._last_transaction += 1
            nodes = self._nodes.copy()
            client.transactions[self._last_transaction] = _Transaction(nodes, collections.Counter(nodes.generations))
            return f"{self._last_transaction}\0".encode()
        if name == "watch":
            if (path, arguments[1]) in client.watches:
                raise RequestError("EEXIST")
            client.watches.append((path, arguments[1]))
            return b"OK\0"
        if name == "unwatch":
            if (path, arguments[1]) not in client.watches:
                raise RequestError("ENOENT")
            client.watches.remove((path, arguments[1]))
            return b"OK\0"
        if name == "get_domain_path":
            return f"/local/domain/{int(path)}\0".encode()
        log: list[tuple[str, ...]] = []
        reply = self._node_request(self._nodes, log, name, arguments)
        self._record(log)
        return reply

    def _node_request(self, nodes: _Nodes, log: list[tuple[str, ...]], name: str, arguments: list[str]) -> bytes:
        path = arguments[0]
        if name == "write":
            value = "\0".join(arguments[1:])
            self._write(nodes, path, value)
            log.append(("write", path, value))
            return b"OK\0"
        if name == "mkdir":
            if path not in nodes.values:
                self._write(nodes, path, "")
                log.append(("mkdir", path))
            return b"OK\0"
        if name == "rm":
            if path in nodes.values:
                self._rm(nodes, path)
                log.append(("rm", path))
            elif _parent(path) not in nodes.values and not self._oxenstored:
                raise RequestError("ENOENT")
            return b"OK\0"
        if name == "directory_part" and self._oxenstored:
            raise RequestError("ENOSYS")
        if name not in KINDS.values():
            raise RequestError("ENOSYS")
        if path not in nodes.values:
            raise RequestError("ENOENT")
        if name == "read":
            return nodes.values[path].encode("utf-8", "surrogateescape")
        if name == "get_perms":
            return "".join(f"{perm}\0" for perm in nodes.perms[path]).encode()
        if name == "set_perms":
            perms = tuple(arguments[1:-1])
            if len(perms) > 5:
                raise RequestError("ENOSPC")
            nodes.perms[path] = perms
            nodes.generations[path] += 1
            log.append(("set_perms", path, *perms))
            return b"OK\0"
        listing = "".join(f"{child}\0" for child in _children(nodes, path)).encode()
        if name == "directory":
            return listing
        # The generation of a node changes with its children.
        generation = f"{nodes.generations[path]}\0".encode()
        offset = int(arguments[1])
        piece = listing[offset : offset + PAYLOAD_MAX - len(generation) - 1]
        piece = piece[: piece.rfind(b"\0") + 1]
        last = b"\0" if offset + len(piece) >= len(listing) else b""
        return generation + piece + last

    def _commit(self, transaction: _Transaction, wanted: bool) -> None:
        if not wanted:
            return
        if self.conflicts:
            self.conflicts -= 1
            raise RequestError("EAGAIN")
        if any(self._nodes.generations[path] != transaction.start[path] for path in transaction.seen):
            raise RequestError("EAGAIN")
        for name, path, *rest in transaction.log:
            if name in ("write", "mkdir"):
                self._write(self._nodes, path, rest[0] if rest else "")
            elif name == "rm":
                self._rm(self._nodes, path)
            else:
                self._nodes.perms[path] = tuple(rest)
        self._record(transaction.log)

    def _record(self, log: list[tuple[str, ...]]) -> None:
        self.writes += log
        for change in log:
            self._fire(change[1], removed=change[0] == "rm")

    def _write(self, nodes: _Nodes, path: str, value: str) -> None:
        if path not in nodes.values:
            if self.quota is not None and len(nodes.values) > self.quota:
                raise RequestError("ENOSPC")
            parent = _parent(path)
            if parent not in nodes.values:
                self._write(nodes, parent, "")
            nodes.perms[path] = nodes.perms[parent]
            nodes.generations[parent] += 1
        nodes.values[path] = value
        nodes.generations[path] += 1

    @staticmethod
    def _rm(nodes: _Nodes, path: str) -> None:
        if path == "/":
            raise RequestError("EINVAL")
        for node in [node for node in nodes.values if _is_below(node, path)]:
            del nodes.values[node], nodes.perms[node]
            nodes.generations[node] += 1
        nodes.generations[_parent(path)] += 1

    def _fire(self, path: str, removed: bool = False) -> None:
        for client in list(self._clients.values()):
            for watched, token in client.watches:
                if _is_below(path, watched):
                    self._send_event(client, path, token)
                elif removed and _is_below(watched, path):
                    self._send_event(client, watched, token)

    def _send_event(self, client: _Client, path: str, token: str) -> None:
        payload = f"{path}\0{token}\0".encode()
        self._send(client, HEADER.pack(WATCH_EVENT, 0, 0, len(payload)) + payload)

    @staticmethod
    def _send(client: _Client, data: bytes) -> None:
        try:
            client.connection.sendall(data)
        except OSError:
            # The client went away without waiting for its answer.
            return


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")


def _children(nodes: _Nodes, path: str) -> list[str]:
    return [node.rpartition("/")[2] for node in nodes.values if node != "/" and _parent(node) == path]
