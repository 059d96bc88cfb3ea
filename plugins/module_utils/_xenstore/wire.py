# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""XenStore's wire protocol: one connection to xenstored, requests and replies, events and errors; no call without a time limit.

Sources: xen/include/public/io/xs_wire.h and docs/misc/xenstore.txt of Xen; drivers/xen/xenbus/xenbus_dev_frontend.c of Linux.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import re
import select
import socket
import stat
import struct
import time
import typing as t

from .._errors import DriverDomainsError, InvalidInput, NotOnThisHost

C = t.TypeVar("C", bound="Connection")

#: Where xenstored listens on the host that runs it, then how every other domain reaches it.
DEFAULT_PATHS = ("/run/xenstored/socket", "/var/run/xenstored/socket", "/dev/xen/xenbus", "/proc/xen/xenbus")

DIRECTORY, READ, GET_PERMS, WATCH, UNWATCH, TRANSACTION_START, TRANSACTION_END = 1, 2, 3, 4, 5, 6, 7
GET_DOMAIN_PATH, WRITE, MKDIR, RM, SET_PERMS, WATCH_EVENT, ERROR = 10, 11, 12, 13, 14, 15, 16
DIRECTORY_PART = 22
_VERBS = {
    DIRECTORY: "list",
    READ: "read",
    GET_PERMS: "read the permissions of",
    WATCH: "watch",
    UNWATCH: "stop watching",
    TRANSACTION_START: "start a transaction",
    TRANSACTION_END: "end a transaction",
    GET_DOMAIN_PATH: "return the path of domain",
    WRITE: "write",
    MKDIR: "create",
    RM: "remove",
    SET_PERMS: "set the permissions of",
    DIRECTORY_PART: "list",
}

DOMID_MAX = 0xFFFF
_SECONDS_MAX = 1e6

_HEADER = struct.Struct("=4I")  # type, req_id, tx_id, length of the payload
_PAYLOAD_MAX = 4096
#: The Linux device takes header and payload together in a buffer of that size.
_DEVICE_PAYLOAD_MAX = _PAYLOAD_MAX - _HEADER.size
#: oxenstored sends listings of any length over its socket; this only limits what is accepted of a broken server.
REPLY_MAX = 1 << 20
#: xenstored stops serving an unprivileged domain with 20 unanswered requests. So few also always fit into the socket's buffer.
_WINDOW = 16

_PATH = re.compile(r"/|/?[A-Za-z0-9_@-]+(?:/[A-Za-z0-9_@-]+)*")
_DEAD = "Check 'systemctl status xen xenstored' and /var/log/xen. A xenstored that died cannot be restarted: reboot the host"
_QUOTAS = {WATCH: "128 watches", TRANSACTION_START: "10 transactions at a time", SET_PERMS: "5 permissions a node"}
_NODE_QUOTA = "1000 nodes, 2048 bytes a node, 1024 nodes a transaction"
#: errno name -> (rule, remedy); {quota} is the quota that the kind of request can hit.
_CAUSES = {
    "ENOENT": (
        "There is no such node, or (C xenstored) the new owner of a node is not an existing domain",
        "The nodes of a domain vanish with it, and after a restart it has a new domid: check the path",
    ),
    "EACCES": ("This domain has no such right on the node", "Run the task on dom0, or let the owner of the node grant it"),
    "EINVAL": (
        "xenstored takes the path, the domain number or the permissions as invalid; in a guest, "
        "Linux also reports an exceeded quota of oxenstored in this way (by default {quota})",
        "",
    ),
    "EAGAIN": ("Another client kept changing the same nodes", "Run the task again when domains are not starting or stopping"),
    "ENOSPC": (
        "The domain that owns the node is at its quota (by default {quota})",
        "Remove what the domain no longer needs, or raise the quota with xenstored's options",
    ),
    "E2BIG": (
        "It is longer than xenstored allows (by default 2048 bytes a value; with oxenstored this includes dom0)",
        "Store less in one node, or raise quota-maxsize in /etc/xen/oxenstored.conf and reboot",
    ),
    "ENOSYS": (
        "This xenstored lacks that request",
        "With oxenstored, a listing of more than 4096 bytes can be read only on dom0, over /run/xenstored/socket",
    ),
}


class XenStoreError(DriverDomainsError):
    """XenStore did not do what was asked; `path` is the node (or "") and `errno_name` says why, e.g. `ENOENT`.

    `ETIMEDOUT`, `ECONNREFUSED`, `ECONNRESET` and `EPROTO` mean that xenstored itself is in trouble: the connection is closed.
    """

    def __init__(self, problem: str, rule: str = "", remedy: str = "", *, path: str = "", errno_name: str = "") -> None:
        super().__init__(problem, rule, remedy, xenstore_path=path, errno=errno_name)
        self.path = path
        self.errno_name = errno_name


class WatchEvent(t.NamedTuple):
    """The node `path` (or one above it) may have changed; `token` is what the watch was set with."""

    path: str
    token: str


class Exchange(t.NamedTuple):
    """One request, with the kind that its reply must have, and the path or domain that it is about."""

    kind: int
    path: str
    payload: bytes


class Connection:
    """A connection to xenstored that carries requests; the subclass `XenStore` gives them meaning."""

    def __init__(self, path: str = "", timeout: float = 10.0) -> None:
        check_seconds(timeout)
        self.path = path or next((p for p in DEFAULT_PATHS if os.path.exists(p)), "")
        self.timeout = timeout
        self._events: collections.deque[WatchEvent] = collections.deque()
        self._buffer = bytearray()
        self._last_id = 0
        self._transaction = 0
        self._is_device = False
        self._descriptor = -1
        self._connect()

    def __enter__(self: C) -> C:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; xenstored forgets its watches and transactions."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def fileno(self) -> int:
        """The descriptor that can be read when an event has come, for poll(2). Ask `next_event` first: one may be here already."""
        return self._descriptor

    def next_event(self, timeout: float, token: str | None = None) -> WatchEvent | None:
        """Return the next event, of the watch with that token if given, or None after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self._events:
                if token in (None, event.token):
                    self._events.remove(event)
                    return event
            with self._closing_on_error():
                message = self._receive(deadline)
                if message and message[0] != WATCH_EVENT:
                    raise garbled("a reply without a request")
            if not message:
                return None

    # Requests and replies

    def _request(self, kind: int, path: str, tail: bytes = b"", special: bool = False) -> Exchange:
        limit = 3072 if path.startswith("/") else 2048
        if not _PATH.fullmatch(path) or len(path) > limit or (path.startswith("@") and not special):
            raise InvalidInput(
                f"{path!r} is not a XenStore path",
                f"It consists of names of the characters A-Z a-z 0-9 - _ @, separated by single slashes, of at most {limit} bytes in all",
            )
        if path[0] not in "/@" and not self._is_device:
            raise InvalidInput(f"The XenStore path {path!r} is relative", "On the host that runs xenstored a path starts with a slash")
        payload = path.encode() + b"\0" + tail
        limit = _DEVICE_PAYLOAD_MAX if self._is_device else _PAYLOAD_MAX
        if len(payload) > limit:
            raise InvalidInput(
                f"The value for {path} has {len(tail)} bytes", f"Path and value together have at most {limit} bytes in XenStore"
            )
        return Exchange(kind, path, payload)

    @staticmethod
    def _domain_request(kind: int, domid: int) -> Exchange:
        if not 0 <= domid <= DOMID_MAX:
            raise InvalidInput(f"{domid} is not a domain number", f"It is from 0 to {DOMID_MAX}")
        return Exchange(kind, str(domid), b"%d\0" % domid)

    def _one(self, request: Exchange) -> bytes:
        return self._all([request])[0]

    def _all(self, requests: t.Sequence[Exchange]) -> list[bytes]:
        payloads = []
        for reply in self._exchange(requests):
            if isinstance(reply, XenStoreError):
                raise reply
            payloads.append(reply)
        return payloads

    def _exchange(self, requests: t.Sequence[Exchange]) -> list[bytes | XenStoreError]:
        """Send the requests, over a socket without waiting for each reply; return the replies in their order, refusals as exceptions."""
        if self._descriptor < 0:
            raise XenStoreError("The connection to XenStore is closed, as after any missing or wrong answer", errno_name="ENOTCONN")
        replies: list[bytes | XenStoreError] = [b""] * len(requests)
        pending: dict[int, int] = {}
        sent = 0
        # Linux keeps one request for each open device: a second write() would overwrite the first before it is sent.
        window = 1 if self._is_device else _WINDOW
        with self._closing_on_error():
            deadline = time.monotonic() + self.timeout
            while sent < len(requests) or pending:
                if sent < len(requests) and len(pending) <= window // 2:
                    batch = requests[sent : sent + window - len(pending)]
                    pending.update(zip(self._send(batch, deadline), range(sent, sent + len(batch))))
                    sent += len(batch)
                message = self._receive(deadline)
                # A flood of events must not hide that the answer is missing.
                if not message or time.monotonic() > deadline:
                    raise self._silent()
                kind, req_id, payload = message
                if kind == WATCH_EVENT:
                    continue
                if req_id not in pending:
                    raise garbled("a reply without a request")
                index = pending.pop(req_id)
                request = requests[index]
                if kind == ERROR:
                    replies[index] = refusal(request, ascii_text(request.path, payload))
                elif kind == request.kind:
                    replies[index] = payload
                else:
                    raise garbled(f"a reply of type {kind} instead of {request.kind}", request.path)
                deadline = time.monotonic() + self.timeout
        return replies

    # Bytes

    @contextlib.contextmanager
    def _closing_on_error(self) -> t.Iterator[None]:
        """Close the connection on any error: after a lost or nonsensical message it is not known which reply comes next."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        if not self.path:
            raise NotOnThisHost(
                "This machine has no XenStore", f"One of {', '.join(DEFAULT_PATHS)} must exist", "Boot it under Xen; in a guest, load xenfs"
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

    def _send(self, requests: t.Sequence[Exchange], deadline: float) -> list[int]:
        """Send requests, over the device only one; return their numbers."""
        message, numbers = bytearray(), []
        for request in requests:
            self._last_id = self._last_id % 0xFFFFFFFF + 1
            numbers.append(self._last_id)
            transaction = 0 if request.kind in (WATCH, UNWATCH) else self._transaction
            message += _HEADER.pack(request.kind, self._last_id, transaction, len(request.payload))
            message += request.payload
        # The device takes a whole message in one write.
        rest = memoryview(bytes(message))
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                if not self._poll(select.POLLOUT, deadline):
                    raise self._silent() from None
            except OSError as exc:
                if self._is_device:
                    raise refusal(requests[0], errno.errorcode.get(exc.errno or 0, "EIO")) from exc
                raise self._lost(exc) from exc
        return numbers

    def _receive(self, deadline: float) -> tuple[int, int, bytes] | None:
        """Return type, req_id and payload of the next message, or None when none is complete in time. An event is also queued."""
        while True:
            if len(self._buffer) >= _HEADER.size:
                kind, req_id, _tx_id, length = _HEADER.unpack_from(self._buffer)
                if length > REPLY_MAX:
                    raise garbled(f"a message of {length} bytes")
                end = _HEADER.size + length
                if len(self._buffer) >= end:
                    payload = bytes(self._buffer[_HEADER.size : end])
                    del self._buffer[:end]
                    if kind == WATCH_EVENT:
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
            raise garbled("a watch event")
        self._events.append(WatchEvent(text(parts[0]), text(parts[1])))

    def _poll(self, event: int, deadline: float) -> bool:
        poller = select.poll()
        poller.register(self._descriptor, event)
        return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def _silent(self) -> XenStoreError:
        return XenStoreError(f"xenstored did not answer within {self.timeout:g} s over {self.path}", "", _DEAD, errno_name="ETIMEDOUT")

    def _lost(self, exc: OSError, remedy: str = _DEAD) -> XenStoreError:
        name = errno.errorcode.get(exc.errno or 0, "EIO")
        return XenStoreError(f"No connection to xenstored over {self.path}: {exc.strerror}", "", remedy, errno_name=name)


def refusal(request: Exchange, name: str) -> XenStoreError:
    if not re.fullmatch(r"E[A-Z0-9]+", name):
        raise garbled(f"the error {name!r}", request.path)
    # EQUOTA is oxenstored's own name for it.
    rule, remedy = _CAUSES.get("ENOSPC" if name == "EQUOTA" else name, ("", ""))
    what = f"{_VERBS[request.kind]} {request.path}".rstrip()
    return XenStoreError(
        f"XenStore did not {what}: {name}",
        rule.format(quota=_QUOTAS.get(request.kind, _NODE_QUOTA)),
        remedy,
        path=request.path,
        errno_name=name,
    )


def garbled(what: str, path: str = "") -> XenStoreError:
    about = f" about {path}" if path else ""
    return XenStoreError(f"xenstored sent {what}{about} that makes no sense", "", _DEAD, path=path, errno_name="EPROTO")


def ascii_text(path: str, reply: bytes) -> str:
    """Return an ASCII reply without its last zero byte."""
    try:
        return (reply[:-1] if reply.endswith(b"\0") else reply).decode("ascii")
    except UnicodeDecodeError as exc:
        raise garbled("a text", path) from exc


def check_seconds(value: float) -> None:
    """Check a time to wait, in seconds: poll() takes neither infinity nor NaN.

    :raises InvalidInput: it cannot be waited for so long.
    """
    if not 0 <= value <= _SECONDS_MAX:
        raise InvalidInput(f"{value} is not a usable timeout", f"It is from 0 to {_SECONDS_MAX:.0f} seconds")


def text(value: bytes) -> str:
    """Decode a value so that `raw` restores it, whatever its bytes are."""
    return value.decode("utf-8", "surrogateescape")


def raw(value: bytes | str) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
