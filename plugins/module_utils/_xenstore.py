# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""A XenStore client that speaks the wire protocol itself: no Xen library, no process for each key, no call without a time limit.

Sources: xen/include/public/io/xs_wire.h and docs/misc/xenstore.txt of Xen; drivers/xen/xenbus/xenbus_dev_frontend.c of Linux.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import random
import re
import select
import socket
import stat
import struct
import time
import typing as t

from ._errors import DriverDomainsError, InvalidInput, NotOnThisHost, TimedOut

T = t.TypeVar("T")

#: Where xenstored listens on the host that runs it, then how every other domain reaches it.
DEFAULT_PATHS = ("/run/xenstored/socket", "/var/run/xenstored/socket", "/dev/xen/xenbus", "/proc/xen/xenbus")

_DIRECTORY, _READ, _GET_PERMS, _WATCH, _UNWATCH, _TRANSACTION_START, _TRANSACTION_END = 1, 2, 3, 4, 5, 6, 7
_GET_DOMAIN_PATH, _WRITE, _MKDIR, _RM, _SET_PERMS, _WATCH_EVENT, _ERROR = 10, 11, 12, 13, 14, 15, 16
_IS_DOMAIN_INTRODUCED, _DIRECTORY_PART = 17, 22
_VERBS = {
    _DIRECTORY: "list",
    _READ: "read",
    _GET_PERMS: "read the permissions of",
    _WATCH: "watch",
    _UNWATCH: "stop watching",
    _TRANSACTION_START: "start a transaction",
    _TRANSACTION_END: "end a transaction",
    _GET_DOMAIN_PATH: "tell the path of domain",
    _WRITE: "write",
    _MKDIR: "make",
    _RM: "remove",
    _SET_PERMS: "set the permissions of",
    _IS_DOMAIN_INTRODUCED: "tell whether it knows domain",
    _DIRECTORY_PART: "list",
}

_HEADER = struct.Struct("=4I")  # type, req_id, tx_id, length of the payload
_PAYLOAD_MAX = 4096
#: The Linux device takes header and payload together in a buffer of that size.
_DEVICE_PAYLOAD_MAX = _PAYLOAD_MAX - _HEADER.size
#: oxenstored sends listings of any length over its socket; this only bounds what a broken server can make us wait for.
_REPLY_MAX = 1 << 20
#: xenstored stops serving an unprivileged domain with 20 unanswered requests. So few also always fit into the socket's buffer.
_WINDOW = 16
#: A waiter looks again after so many seconds even without an event: a xenstored that hangs is noticed.
_RECHECK = 10.0

_PATH = re.compile(r"/|/?[A-Za-z0-9_@-]+(?:/[A-Za-z0-9_@-]+)*")
_NAME = re.compile(rb"[A-Za-z0-9_@-]+")
_PERMISSION = re.compile(r"([nrwb])([0-9]{1,5})")

_DEAD = "Look at 'systemctl status xen xenstored' and /var/log/xen. A xenstored that died can not be restarted: reboot the host"
_QUOTAS = {_WATCH: "128 watches", _TRANSACTION_START: "10 transactions at a time", _SET_PERMS: "5 permissions a node"}
_NODE_QUOTA = "1000 nodes, 2048 bytes a node, 1024 nodes a transaction"
#: errno name -> (rule, remedy); {quota} is the quota that the kind of request can hit.
_CAUSES = {
    "ENOENT": ("There is no such node", "The nodes of a domain vanish with it, and after a restart it has a new number: check the path"),
    "EACCES": ("This domain has no such right on the node", "Run the task on dom0, or let the owner of the node grant it"),
    "EINVAL": ("xenstored takes the path, the domain number or the permissions as invalid", ""),
    "EAGAIN": ("Another client kept changing the same nodes", "Run the task again when domains are not starting or stopping"),
    "ENOSPC": (
        "The domain that owns the node is at its quota (by default {quota})",
        "Remove what the domain no longer needs, or raise the quota with xenstored's options",
    ),
    "E2BIG": ("It is longer than xenstored allows (by default 2048 bytes a value)", ""),
    "ENOSYS": (
        "This xenstored lacks that request",
        "With oxenstored, a listing of more than 4096 bytes is only to be had on dom0, over /run/xenstored/socket",
    ),
}


class XenStoreError(DriverDomainsError):
    """XenStore did not do what was asked; I(path) is the node (or "") and I(errno_name) says why, for example C(ENOENT).

    C(ETIMEDOUT), C(ECONNREFUSED), C(ECONNRESET) and C(EPROTO) mean that xenstored itself is in trouble: the connection is closed.
    """

    def __init__(self, problem: str, rule: str = "", remedy: str = "", *, path: str = "", errno_name: str = "") -> None:
        super().__init__(problem, rule, remedy, xenstore_path=path, errno=errno_name)
        self.path = path
        self.errno_name = errno_name


class Permission(t.NamedTuple):
    """What a domain may do with a node: C(n)one, C(r)ead, C(w)rite or C(b)oth.

    The first permission of a node names its owner, and says what the domains may do that no other one names.
    """

    access: str
    domid: int

    @classmethod
    def parse(cls, text: str) -> Permission:
        """Read the form C(r5).

        :raises InvalidInput: it has another form.
        """
        match = _PERMISSION.fullmatch(text)
        if not match or int(match.group(2)) > 0xFFFF:
            raise InvalidInput(f"{text!r} is not a XenStore permission", "It is n, r, w or b followed by a domain number, for example r5")
        return cls(match.group(1), int(match.group(2)))

    def __str__(self) -> str:
        return f"{self.access}{self.domid}"


class WatchEvent(t.NamedTuple):
    """The node I(path) (or one above it) may have changed; I(token) is what the watch was set with."""

    path: str
    token: str


class _Request(t.NamedTuple):
    kind: int
    path: str
    payload: bytes


class XenStore:
    """One connection to xenstored; a context manager. Not for use by several threads at once.

    :param path: socket or device; by default the first that exists of L(DEFAULT_PATHS).
    :param timeout: seconds that one answer may take.

    Paths are absolute, or over the device relative to the own domain's C(/local/domain/<domid>). Every method raises
    L(XenStoreError) when XenStore refuses, does not answer or answers nonsense, and L(InvalidInput), before anything is sent,
    for a path or value that the protocol forbids.

    :raises NotOnThisHost: there is no XenStore here.
    """

    def __init__(self, path: str = "", timeout: float = 10.0) -> None:
        self.path = path or next((p for p in DEFAULT_PATHS if os.path.exists(p)), "")
        self.timeout = timeout
        self._events: collections.deque[WatchEvent] = collections.deque()
        self._buffer = bytearray()
        self._last_id = 0
        self._last_token = 0
        self._transaction = 0
        self._is_device = False
        self._descriptor = -1
        self._connect()

    def __enter__(self) -> XenStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; xenstored forgets its watches and transactions."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # Nodes

    def read(self, path: str) -> bytes:
        """Return the value of a node; a missing node is an error with C(ENOENT)."""
        return self._one(self._request(_READ, path))

    def read_text(self, path: str) -> str | None:
        """Return the value of a node as text, or None when there is no such node."""
        return self.read_texts([path])[path]

    def read_texts(self, paths: t.Iterable[str]) -> dict[str, str | None]:
        """Return the values of many nodes as text; missing nodes are None."""
        return {path: None if value is None else _text(value) for path, value in self._each(_READ, paths).items()}

    def write(self, path: str, value: bytes | str) -> None:
        """Set the value of a node, making it and the nodes above it."""
        self.write_many({path: value})

    def write_many(self, values: t.Mapping[str, bytes | str]) -> None:
        """Set the values of many nodes, in order; the first refusal is raised after all were tried, so use a transaction."""
        self._all([self._request(_WRITE, path, _bytes(value)) for path, value in values.items()])

    def mkdir(self, path: str) -> None:
        """Make a node with an empty value, and the nodes above it; an existing one keeps its value."""
        self._one(self._request(_MKDIR, path))

    def rm(self, path: str) -> None:
        """Remove a node with all below it; one that is not there is fine."""
        try:
            self._one(self._request(_RM, path))
        except XenStoreError as exc:
            # C xenstored answers ENOENT when even the parent is missing, oxenstored does not.
            if exc.errno_name != "ENOENT":
                raise

    def directory(self, path: str) -> list[str]:
        """Return the sorted names of the nodes right below one; a missing node has none."""
        try:
            return self._names(path, self._exchange([self._request(_DIRECTORY, path)])[0])
        except XenStoreError as exc:
            if exc.errno_name == "ENOENT":
                return []
            raise

    def tree(self, path: str) -> dict[str, str]:
        """Return the values of a node and of all below it by path, sorted; empty when there is no such node.

        Nodes that vanish meanwhile, or that this domain may not read, are left out.
        """
        found: dict[str, str] = {}
        level = [path]
        while level:
            replies = self._exchange([self._request(kind, node) for node in level for kind in (_READ, _DIRECTORY)])
            below: list[str] = []
            for node, value, listing in zip(level, replies[::2], replies[1::2]):
                try:
                    names = self._names(node, listing)
                    if isinstance(value, XenStoreError):
                        raise value
                except XenStoreError as exc:
                    if exc.errno_name == "ENOENT" or (exc.errno_name == "EACCES" and node != path):
                        continue
                    raise
                found[node] = _text(value)
                below += [f"{node.rstrip('/')}/{name}" for name in names]
            level = below
        return dict(sorted(found.items()))

    def get_perms(self, path: str) -> list[Permission]:
        """Return the permissions of a node; the first names its owner. A missing node is an error with C(ENOENT)."""
        return _permissions(path, self._one(self._request(_GET_PERMS, path)))

    def get_perms_many(self, paths: t.Iterable[str]) -> dict[str, list[Permission] | None]:
        """Return the permissions of many nodes; missing nodes are None."""
        return {path: None if reply is None else _permissions(path, reply) for path, reply in self._each(_GET_PERMS, paths).items()}

    def set_perms(self, path: str, permissions: t.Sequence[Permission]) -> None:
        """Replace the permissions of a node (not of those below it); the first names its owner."""
        if not permissions:
            raise InvalidInput(f"No permissions given for {path}", "A XenStore node has at least one, which names its owner")
        self._one(self._request(_SET_PERMS, path, b"".join(b"%s\0" % str(p).encode() for p in permissions)))

    # Domains

    def get_domain_path(self, domid: int) -> str:
        """Return the base path of a domain, C(/local/domain/<domid>)."""
        return _string(str(domid), self._one(self._domain_request(_GET_DOMAIN_PATH, domid)))

    def is_domain_introduced(self, domid: int) -> bool:
        """Tell whether xenstored serves that domain; only dom0 may ask."""
        return _string(str(domid), self._one(self._domain_request(_IS_DOMAIN_INTRODUCED, domid))) == "T"

    def domains(self) -> dict[int, str]:
        """Return the names of the running domains by their number; a domain that has no name yet is left out."""
        paths = {int(domid): f"/local/domain/{domid}/name" for domid in self.directory("/local/domain") if domid.isdecimal()}
        names = self.read_texts(paths.values())
        return {domid: name for domid, path in sorted(paths.items()) for name in [names[path]] if name is not None}

    def domid_of(self, domain: str) -> int | None:
        """Return the number of a running domain, or None. A number stands for itself and the lowest number wins, as in libxl.

        Source: libxl_domain_qualifier_to_domid in tools/libs/light/libxl_utils.c.
        """
        if domain.isascii() and domain.isdecimal():
            return int(domain)
        return next((domid for domid, name in self.domains().items() if name == domain), None)

    # Transactions

    def transaction(self, body: t.Callable[[XenStore], T]) -> T:
        """Call I(body) with this connection, all its reads and writes being one atomic change, and return what it returns.

        I(body) runs again when another client changed the same nodes meanwhile; an exception that it raises undoes its changes.

        :raises XenStoreError: C(EAGAIN), there were conflicts for as long as an answer may take.
        """
        deadline = time.monotonic() + self.timeout
        pause = 0.005
        while True:
            try:
                return self._attempt(body)
            except XenStoreError as exc:
                if exc.errno_name != "EAGAIN" or time.monotonic() >= deadline:
                    raise
            # Two clients that collided must not come back at the same moment.
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, 0.5)

    def _attempt(self, body: t.Callable[[XenStore], T]) -> T:
        transid = _string("", self._one(_Request(_TRANSACTION_START, "", b"\0")))
        if not transid.isdecimal() or not 0 < int(transid) <= 0xFFFFFFFF:
            self.close()
            raise _garbled(f"the transaction number {transid!r}")
        self._transaction = int(transid)
        try:
            result = body(self)
            self._one(_Request(_TRANSACTION_END, "", b"T\0"))
            return result
        except BaseException as exc:
            # A refused commit has ended the transaction; so has a closed connection.
            if self._descriptor >= 0 and not (isinstance(exc, XenStoreError) and exc.errno_name == "EAGAIN"):
                with contextlib.suppress(DriverDomainsError):
                    self._one(_Request(_TRANSACTION_END, "", b"F\0"))
            raise
        finally:
            self._transaction = 0

    # Watches

    def watch(self, path: str, token: str) -> None:
        """Ask for an event whenever a node or one below it changes; the first one comes at once.

        C(@introduceDomain) and C(@releaseDomain) are paths too. No part of a transaction.
        """
        self._watching(_WATCH, [path], token)

    def unwatch(self, path: str, token: str) -> None:
        """Undo L(watch); events that already came stay queued."""
        self._watching(_UNWATCH, [path], token)

    def next_event(self, timeout: float, token: str | None = None) -> WatchEvent | None:
        """Return the next event, of the watch with that token if given, or None after I(timeout) seconds."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self._events:
                if token in (None, event.token):
                    self._events.remove(event)
                    return event
            with self._closing_on_error():
                message = self._receive(deadline)
                if message and message[0] != _WATCH_EVENT:
                    raise _garbled("a reply that nobody asked for")
            if not message:
                return None

    def wait_for(
        self, paths: t.Sequence[str], predicate: t.Callable[[dict[str, str | None]], object], timeout: float
    ) -> dict[str, str | None]:
        """Wait until I(predicate), called with the values of I(paths) (None: no such node), is true; return the values.

        It costs nothing while nothing changes.

        :param timeout: seconds.
        :raises TimedOut: it did not become true in time; C(details["values"]) are the last values.
        """
        if self._transaction:
            raise InvalidInput("wait_for can not be used in a transaction", "A transaction never sees the changes of others")
        deadline = time.monotonic() + timeout
        self._last_token += 1
        token = f"wait-{self._last_token}"
        unique = list(dict.fromkeys(paths))
        self._watching(_WATCH, unique, token)
        try:
            while True:
                # One look answers all the events that are here by now.
                while self.next_event(0, token) and time.monotonic() < deadline:
                    pass
                values = self.read_texts(unique)
                if predicate(values):
                    return values
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    shown = ", ".join(f"{path} = {value!r}" for path, value in values.items())
                    raise TimedOut(f"XenStore did not reach the wanted state within {timeout:g} s: {shown}", values=values)
                event = self.next_event(min(remaining, _RECHECK), token)
                if event:
                    self._events.appendleft(event)
        finally:
            if self._descriptor >= 0:
                self._watching(_UNWATCH, unique, token)
                self._events = collections.deque(event for event in self._events if event.token != token)

    def _watching(self, kind: int, paths: t.Sequence[str], token: str) -> None:
        if not token or not token.isprintable() or not token.isascii():
            raise InvalidInput(f"{token!r} is not a watch token", "It is printable ASCII text")
        requests = [self._request(kind, path, token.encode() + b"\0", special=True) for path in paths]
        if self._is_device:
            # Linux waits for xenstored inside this write(), beyond the reach of our time limit: see first that it is alive.
            self.get_domain_path(0)
        self._all(requests)

    # Requests and replies

    def _request(self, kind: int, path: str, tail: bytes = b"", special: bool = False) -> _Request:
        limit = 3072 if path.startswith("/") else 2048
        if not _PATH.fullmatch(path) or len(path) > limit or (path.startswith("@") and not special):
            raise InvalidInput(
                f"{path!r} is not a XenStore path",
                f"It has names of the characters A-Z a-z 0-9 - _ @, separated by single slashes, and at most {limit} bytes",
            )
        if path[0] not in "/@" and not self._is_device:
            raise InvalidInput(f"The XenStore path {path!r} is relative", "On the host that runs xenstored it starts with a slash")
        payload = path.encode() + b"\0" + tail
        limit = _DEVICE_PAYLOAD_MAX if self._is_device else _PAYLOAD_MAX
        if len(payload) > limit:
            raise InvalidInput(
                f"What is to be stored at {path} has {len(tail)} bytes", f"Path and value together have at most {limit} bytes in XenStore"
            )
        return _Request(kind, path, payload)

    @staticmethod
    def _domain_request(kind: int, domid: int) -> _Request:
        if not 0 <= domid <= 0xFFFF:
            raise InvalidInput(f"{domid} is not a domain number", "It is from 0 to 65535")
        return _Request(kind, str(domid), b"%d\0" % domid)

    def _one(self, request: _Request) -> bytes:
        return self._all([request])[0]

    def _all(self, requests: t.Sequence[_Request]) -> list[bytes]:
        payloads = []
        for reply in self._exchange(requests):
            if isinstance(reply, XenStoreError):
                raise reply
            payloads.append(reply)
        return payloads

    def _each(self, kind: int, paths: t.Iterable[str]) -> dict[str, bytes | None]:
        """Return the reply for each path; None where there is no such node."""
        unique = list(dict.fromkeys(paths))
        found: dict[str, bytes | None] = {}
        for path, reply in zip(unique, self._exchange([self._request(kind, path) for path in unique])):
            if not isinstance(reply, XenStoreError):
                found[path] = reply
            elif reply.errno_name == "ENOENT":
                found[path] = None
            else:
                raise reply
        return found

    def _names(self, path: str, reply: bytes | XenStoreError) -> list[str]:
        """Return the names in the reply to a listing, which may say that it is too long for one message."""
        if isinstance(reply, XenStoreError):
            if reply.errno_name != "E2BIG":
                raise reply
            reply = self._long_listing(path)
        names = reply.split(b"\0")
        if names.pop() or not all(map(_NAME.fullmatch, names)):
            raise _garbled("a listing", path)
        return sorted(name.decode() for name in names)

    def _long_listing(self, path: str) -> bytes:
        """Fetch a listing piece by piece, from the start again when the node changed in between."""
        deadline = time.monotonic() + self.timeout
        first_generation = b""
        listing = b""
        while True:
            reply = self._one(self._request(_DIRECTORY_PART, path, b"%d\0" % len(listing)))
            generation, separator, piece = reply.partition(b"\0")
            if not separator or not piece or len(listing) > _REPLY_MAX:
                raise _garbled("a part of a listing", path)
            if listing and generation != first_generation:
                if time.monotonic() >= deadline:
                    raise _refusal(_Request(_DIRECTORY_PART, path, b""), "EAGAIN")
                listing = b""
                continue
            first_generation = generation
            listing += piece
            # The last piece has one zero byte more than its names need.
            if listing == b"\0" or listing.endswith(b"\0\0"):
                return listing[:-1]

    def _exchange(self, requests: t.Sequence[_Request]) -> list[bytes | XenStoreError]:
        """Send the requests, over a socket without waiting for each reply; return the replies in their order, refusals as exceptions."""
        if self._descriptor < 0:
            raise XenStoreError("The connection to XenStore is closed, as after any missing or wrong answer", errno_name="ENOTCONN")
        replies: list[bytes | XenStoreError] = [b""] * len(requests)
        pending: dict[int, int] = {}
        sent = 0
        # Linux keeps one request for each open device, and a second write() overwrites the first before it went out.
        window = 1 if self._is_device else _WINDOW
        with self._closing_on_error():
            deadline = time.monotonic() + self.timeout
            while sent < len(requests) or pending:
                while sent < len(requests) and len(pending) < window:
                    self._last_id = self._last_id % 0xFFFFFFFF + 1
                    self._send(requests[sent], deadline)
                    pending[self._last_id] = sent
                    sent += 1
                message = self._receive(deadline)
                # A flood of events must not hide that no answer comes.
                if not message or time.monotonic() > deadline:
                    raise self._silent()
                kind, req_id, payload = message
                if kind == _WATCH_EVENT:
                    continue
                if req_id not in pending:
                    raise _garbled("a reply that nobody asked for")
                index = pending.pop(req_id)
                request = requests[index]
                if kind == _ERROR:
                    replies[index] = _refusal(request, _string(request.path, payload))
                elif kind == request.kind:
                    replies[index] = payload
                else:
                    raise _garbled(f"a reply of type {kind} instead of {request.kind}", request.path)
                deadline = time.monotonic() + self.timeout
        return replies

    # Bytes

    @contextlib.contextmanager
    def _closing_on_error(self) -> t.Iterator[None]:
        """After a lost or nonsensical message nobody knows which reply comes next."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        if not self.path:
            raise NotOnThisHost(
                "This machine has no XenStore", f"One of {', '.join(DEFAULT_PATHS)} must exist", "Boot it under Xen; in a guest load xenfs"
            )
        deadline = time.monotonic() + self.timeout
        try:
            if not stat.S_ISSOCK(os.stat(self.path).st_mode):
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                self._is_device = True
                return
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.setblocking(False)
                while True:
                    try:
                        connection.connect(self.path)
                        break
                    except BlockingIOError:
                        # xenstored's very short queue of new clients is full.
                        if time.monotonic() >= deadline:
                            raise self._silent() from None
                        time.sleep(0.01)
                self._descriptor = connection.detach()
        except FileNotFoundError as exc:
            raise NotOnThisHost(f"There is no XenStore at {self.path}", remedy="Boot this machine under Xen, and start xenstored") from exc
        except OSError as exc:
            remedy = "Run the task as root (become: true)" if isinstance(exc, PermissionError) else _DEAD
            raise self._lost(exc, remedy) from exc

    def _send(self, request: _Request, deadline: float) -> None:
        in_transaction = request.kind not in (_WATCH, _UNWATCH)
        header = _HEADER.pack(request.kind, self._last_id, self._transaction if in_transaction else 0, len(request.payload))
        # The device takes a whole message in one write.
        rest = memoryview(header + request.payload)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                if not self._poll(select.POLLOUT, deadline):
                    raise self._silent() from None
            except OSError as exc:
                if self._is_device:
                    raise _refusal(request, errno.errorcode.get(exc.errno or 0, "EIO")) from exc
                raise self._lost(exc) from exc

    def _receive(self, deadline: float) -> tuple[int, int, bytes] | None:
        """Return type, req_id and payload of the next message, or None when none is complete in time. An event is also queued."""
        while True:
            if len(self._buffer) >= _HEADER.size:
                kind, req_id, _tx_id, length = _HEADER.unpack_from(self._buffer)
                if length > _REPLY_MAX:
                    raise _garbled(f"a message of {length} bytes")
                end = _HEADER.size + length
                if len(self._buffer) >= end:
                    payload = bytes(self._buffer[_HEADER.size : end])
                    del self._buffer[:end]
                    if kind == _WATCH_EVENT:
                        self._queue_event(payload)
                    return kind, req_id, payload
            if not self._poll(select.POLLIN, deadline):
                return None
            try:
                chunk = os.read(self._descriptor, 65536)
            except OSError as exc:
                raise self._lost(exc) from exc
            if not chunk:
                raise self._lost(ConnectionResetError(errno.ECONNRESET, "it closed the connection"))
            self._buffer += chunk

    def _queue_event(self, payload: bytes) -> None:
        parts = payload.split(b"\0")
        if len(parts) < 3 or parts[-1]:
            raise _garbled("a watch event")
        self._events.append(WatchEvent(_text(parts[0]), _text(parts[1])))

    def _poll(self, event: int, deadline: float) -> bool:
        poller = select.poll()
        poller.register(self._descriptor, event)
        return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def _silent(self) -> XenStoreError:
        return XenStoreError(f"xenstored did not answer within {self.timeout:g} s over {self.path}", "", _DEAD, errno_name="ETIMEDOUT")

    def _lost(self, exc: OSError, remedy: str = _DEAD) -> XenStoreError:
        name = errno.errorcode.get(exc.errno or 0, "EIO")
        return XenStoreError(f"No connection to xenstored over {self.path}: {exc.strerror}", "", remedy, errno_name=name)


def _refusal(request: _Request, name: str) -> XenStoreError:
    if not re.fullmatch(r"E[A-Z0-9]+", name):
        raise _garbled(f"the error {name!r}", request.path)
    # EQUOTA is oxenstored's own word.
    rule, remedy = _CAUSES.get("ENOSPC" if name == "EQUOTA" else name, ("", ""))
    what = f"{_VERBS[request.kind]} {request.path}".rstrip()
    return XenStoreError(
        f"XenStore did not {what}: {name}",
        rule.format(quota=_QUOTAS.get(request.kind, _NODE_QUOTA)),
        remedy,
        path=request.path,
        errno_name=name,
    )


def _garbled(what: str, path: str = "") -> XenStoreError:
    about = f" about {path}" if path else ""
    return XenStoreError(f"xenstored sent {what}{about} that makes no sense", "", _DEAD, path=path, errno_name="EPROTO")


def _permissions(path: str, reply: bytes) -> list[Permission]:
    try:
        return [Permission.parse(text) for text in _string(path, reply).split("\0")]
    except InvalidInput as exc:
        raise _garbled("permissions", path) from exc


def _string(path: str, reply: bytes) -> str:
    """Return an ASCII reply without its last zero byte."""
    try:
        return (reply[:-1] if reply.endswith(b"\0") else reply).decode("ascii")
    except UnicodeDecodeError as exc:
        raise _garbled("a text", path) from exc


def _text(value: bytes) -> str:
    """Decode so that _bytes gives back the same, whatever the bytes are."""
    return value.decode("utf-8", "surrogateescape")


def _bytes(value: bytes | str) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
