# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""A XenStore client that speaks the wire protocol itself: no Xen library, no process for each key, no call without a time limit.

Sources: docs/misc/xenstore.txt of Xen.
"""

from __future__ import annotations

import collections
import contextlib
import random
import re
import time
import typing as t

from .._errors import DriverDomainsError, InvalidInput, TimedOut
from .wire import (
    DIRECTORY,
    DIRECTORY_PART,
    DOMID_MAX,
    GET_DOMAIN_PATH,
    GET_PERMS,
    MKDIR,
    READ,
    REPLY_MAX,
    RM,
    SET_PERMS,
    TRANSACTION_END,
    TRANSACTION_START,
    UNWATCH,
    WATCH,
    WRITE,
    Connection,
    Exchange,
    XenStoreError,
    ascii_text,
    check_seconds,
    garbled,
    raw,
    refusal,
    text,
)

T = t.TypeVar("T")

#: Seconds after which a waiter reads again even without an event, to notice a xenstored that hangs.
_RECHECK = 10.0
#: Seconds that a kernel gets to notice that a device is gone before another one takes its place. It reads the directory only when
#: the event reaches it, and would then take the new device for the old one.
REMOVAL_DELAY = 1.0
_NAME = re.compile(rb"[A-Za-z0-9_@-]+")
_PERMISSION = re.compile(r"([nrwb])([0-9]{1,5})")


class Permission(t.NamedTuple):
    """What a domain may do with a node: `n`one, `r`ead, `w`rite or `b`oth.

    The first permission of a node names its owner; its access holds for all domains that no other permission names.
    """

    access: str
    domid: int

    @classmethod
    def parse(cls, text: str) -> Permission:
        """Parse a permission such as `r5`.

        :raises InvalidInput: it is not one.
        """
        match = _PERMISSION.fullmatch(text)
        if not match or int(match.group(2)) > DOMID_MAX:
            raise InvalidInput(f"{text!r} is not a XenStore permission", "It is n, r, w or b followed by a domid, e.g. r5")
        return cls(match.group(1), int(match.group(2)))

    def __str__(self) -> str:
        return f"{self.access}{self.domid}"


class XenStore(Connection):
    """One connection to xenstored; a context manager. Not for use by several threads at once.

    :param path: socket or device; by default the first of `wire.DEFAULT_PATHS` that exists.
    :param timeout: seconds that one answer may take.

    Paths are absolute; over the device they may be relative to `/local/domain/<domid>` of this domain. Every method raises
    `XenStoreError` when XenStore refuses, does not answer or answers nonsense, and `InvalidInput`, before anything is sent,
    for a path or value that the protocol forbids.

    :raises NotOnThisHost: there is no XenStore here.
    """

    # Nodes

    def read(self, path: str) -> bytes:
        """Return the value of a node; a missing node is an error with `ENOENT`."""
        return self._one(self._request(READ, path))

    def read_text(self, path: str) -> str | None:
        """Return the value of a node as text, or None when there is no such node."""
        return self.read_texts([path])[path]

    def read_many(self, paths: t.Iterable[str]) -> dict[str, bytes | None]:
        """Return the values of many nodes; missing nodes are None."""
        return self._each(READ, paths)

    def read_texts(self, paths: t.Iterable[str]) -> dict[str, str | None]:
        """Return the values of many nodes as text; missing nodes are None."""
        return {path: None if value is None else text(value) for path, value in self._each(READ, paths).items()}

    def write(self, path: str, value: bytes | str) -> None:
        """Set the value of a node. The node and those above it are created."""
        self.write_many({path: value})

    def write_many(self, values: t.Mapping[str, bytes | str]) -> None:
        """Set the values of many nodes, in order. All are tried before the first refusal is raised, so use a transaction."""
        self._all([self._request(WRITE, path, raw(value)) for path, value in values.items()])

    def mkdir(self, path: str) -> None:
        """Create a node with an empty value, and the nodes above it. An existing node keeps its value."""
        self.mkdir_many([path])

    def mkdir_many(self, paths: t.Iterable[str]) -> None:
        """Create many nodes, in order, as `mkdir` and `write_many` do."""
        self._all([self._request(MKDIR, path) for path in paths])

    def rm(self, path: str) -> None:
        """Remove a node and all nodes below it; a missing one is no error."""
        try:
            self._one(self._request(RM, path))
        except XenStoreError as exc:
            # C xenstored answers ENOENT when even the parent is missing, oxenstored does not.
            if exc.errno_name != "ENOENT":
                raise

    def directory(self, path: str) -> list[str]:
        """Return the sorted names of the nodes right below one; a missing node has none."""
        return self.directories([path])[path]

    def directories(self, paths: t.Iterable[str]) -> dict[str, list[str]]:
        """Return the sorted names right below each of many nodes; missing nodes have none."""
        unique = list(dict.fromkeys(paths))
        found = {}
        for path, reply in zip(unique, self._exchange([self._request(DIRECTORY, path) for path in unique])):
            try:
                found[path] = self._names(path, reply)
            except XenStoreError as exc:
                if exc.errno_name != "ENOENT":
                    raise
                found[path] = []
        return found

    def tree(self, path: str) -> dict[str, str]:
        """Return the values of a node and of all below it by path, sorted; empty when there is no such node.

        Nodes that vanish while they are read, or that this domain may not read, are left out.
        """
        found: dict[str, str] = {}
        level = [path]
        while level:
            replies = self._exchange([self._request(kind, node) for node in level for kind in (READ, DIRECTORY)])
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
                found[node] = text(value)
                below += [f"{node.rstrip('/')}/{name}" for name in names]
            level = below
        return dict(sorted(found.items()))

    def get_perms_many(self, paths: t.Iterable[str]) -> dict[str, list[Permission] | None]:
        """Return the permissions of many nodes; the first of each names its owner. Missing nodes are None."""
        return {path: None if reply is None else _permissions(path, reply) for path, reply in self._each(GET_PERMS, paths).items()}

    def set_perms(self, path: str, permissions: t.Sequence[Permission]) -> None:
        """Replace the permissions of a node (not of those below it); the first names its owner."""
        self.set_perms_many({path: permissions})

    def set_perms_many(self, permissions: t.Mapping[str, t.Sequence[Permission]]) -> None:
        """Replace the permissions of many nodes, in order, as `set_perms` and `write_many` do."""
        for path, wanted in permissions.items():
            if not wanted:
                raise InvalidInput(f"No permissions given for {path}", "A XenStore node has at least one, which names its owner")
        self._all([self._request(SET_PERMS, path, b"".join(b"%s\0" % str(p).encode() for p in of)) for path, of in permissions.items()])

    def check(self, path: str, value: bytes = b"") -> None:
        """Check that this connection can carry a node with that path and value. Nothing is sent.

        :raises InvalidInput: it cannot.
        """
        self._request(WRITE, path, value)

    # Domains

    def get_domain_path(self, domid: int) -> str:
        """Return the base path of a domain, `/local/domain/<domid>`."""
        return ascii_text(str(domid), self._one(self._domain_request(GET_DOMAIN_PATH, domid)))

    def domains(self) -> dict[int, str]:
        """Return the names of the running domains by domid; a domain that has no name yet is left out."""
        paths = {int(domid): f"/local/domain/{domid}/name" for domid in self.directory("/local/domain") if domid.isdecimal()}
        names = self.read_texts(paths.values())
        return {domid: name for domid, path in sorted(paths.items()) for name in [names[path]] if name is not None}

    def domid_of(self, domain: str) -> int | None:
        """Return the domid of a running domain, or None. A number stands for itself and the lowest domid wins, as in libxl.

        Source: libxl_domain_qualifier_to_domid in tools/libs/light/libxl_utils.c.
        """
        return self.domids_of([domain])[domain]

    def domids_of(self, domains: t.Iterable[str]) -> dict[str, int | None]:
        """Return the domids of many domains as `domid_of` does. All names are resolved at once, and nothing is read without names.

        :raises InvalidInput: a number is not one that a domain can have.
        """
        found = {domain: _domain_number(domain) for domain in domains}
        if None in found.values():
            # The lowest domid comes last and wins.
            numbers = {name: domid for domid, name in reversed(list(self.domains().items()))}
            found = {domain: numbers.get(domain) if domid is None else domid for domain, domid in found.items()}
        return found

    # Transactions

    def transaction(self, body: t.Callable[[XenStore], T]) -> T:
        """Call `body` with this connection, make all its reads and writes one atomic change, and return what it returns.

        `body` runs again when another client changed the same nodes; an exception that it raises undoes its changes.

        :raises XenStoreError: `EAGAIN`, the conflicts did not end within `timeout`.
        """
        deadline = time.monotonic() + self.timeout
        pause = 0.005
        while True:
            try:
                return self._attempt(body)
            except XenStoreError as exc:
                if exc.errno_name != "EAGAIN" or time.monotonic() >= deadline:
                    raise
            # Two clients that collided must not retry at the same moment.
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, 0.5)

    def _attempt(self, body: t.Callable[[XenStore], T]) -> T:
        transid = ascii_text("", self._one(Exchange(TRANSACTION_START, "", b"\0")))
        if not transid.isdecimal() or not 0 < int(transid) <= 0xFFFFFFFF:
            self.close()
            raise garbled(f"the transaction number {transid!r}")
        self._transaction = int(transid)
        try:
            result = self._body_or_abort(body)
            # Even if it is refused, the transaction is over.
            self._one(Exchange(TRANSACTION_END, "", b"T\0"))
            return result
        finally:
            self._transaction = 0

    def _body_or_abort(self, body: t.Callable[[XenStore], T]) -> T:
        try:
            return body(self)
        except BaseException:
            if self._descriptor >= 0:
                with contextlib.suppress(DriverDomainsError):
                    self._one(Exchange(TRANSACTION_END, "", b"F\0"))
            raise

    # Watches

    def watch(self, path: str, token: str) -> None:
        """Ask for an event whenever a node or one below it changes; the first one comes at once.

        `@introduceDomain` and `@releaseDomain` are paths too. A watch is never part of a transaction.
        """
        self._watching(WATCH, [path], token)

    def unwatch(self, path: str, token: str) -> None:
        """End a watch that `watch` has set."""
        self._watching(UNWATCH, [path], token)

    def wait_for(
        self, paths: t.Sequence[str], predicate: t.Callable[[dict[str, str | None]], object], timeout: float
    ) -> dict[str, str | None]:
        """Wait until `predicate`, called with the values of `paths` (None: no such node), is true; return the values.

        It waits for events: nothing is polled while nothing changes. `@introduceDomain` and `@releaseDomain` have events, but no value.

        :param timeout: seconds.
        :raises TimedOut: it did not become true in time; `details["values"]` are the last values.
        """
        check_seconds(timeout)
        if self._transaction:
            raise InvalidInput("wait_for cannot be used in a transaction", "A transaction never sees the changes of others")
        deadline = time.monotonic() + timeout
        token = f"wait-{time.monotonic_ns()}"
        unique = list(dict.fromkeys(paths))
        self._watching(WATCH, unique, token)
        try:
            while True:
                # One read answers all the events that have arrived by now.
                while self.next_event(0, token) and time.monotonic() < deadline:
                    pass
                values = self.read_texts(path for path in unique if not path.startswith("@"))
                if predicate(values):
                    return values
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    shown = ", ".join(f"{path} = {value!r}" for path, value in values.items())
                    raise TimedOut(f"XenStore did not reach the requested state within {timeout:g} s: {shown}", values=values)
                event = self.next_event(min(remaining, _RECHECK), token)
                if event:
                    self._events.appendleft(event)
        finally:
            if self._descriptor >= 0:
                self._watching(UNWATCH, unique, token)
                self._events = collections.deque(event for event in self._events if event.token != token)

    def _watching(self, kind: int, paths: t.Sequence[str], token: str) -> None:
        if not token or not token.isprintable() or not token.isascii():
            raise InvalidInput(f"{token!r} is not a watch token", "It is printable ASCII text")
        requests = [self._request(kind, path, token.encode() + b"\0", special=True) for path in paths]
        if self._is_device:
            # Linux waits for xenstored inside this write(), beyond the reach of our time limit: check first that it is alive.
            self.get_domain_path(0)
        self._all(requests)

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
            raise garbled("a listing", path)
        return sorted(name.decode() for name in names)

    def _long_listing(self, path: str) -> bytes:
        """Fetch a listing piece by piece, from the start again when the node changed between two pieces."""
        deadline = time.monotonic() + self.timeout
        first_generation = b""
        listing = b""
        while True:
            reply = self._one(self._request(DIRECTORY_PART, path, b"%d\0" % len(listing)))
            generation, separator, piece = reply.partition(b"\0")
            if not separator or not piece or len(listing) > REPLY_MAX:
                raise garbled("a part of a listing", path)
            if listing and generation != first_generation:
                if time.monotonic() >= deadline:
                    raise refusal(Exchange(DIRECTORY_PART, path, b""), "EAGAIN")
                listing = b""
                continue
            first_generation = generation
            listing += piece
            # The last piece has one zero byte more than its names need.
            if listing == b"\0" or listing.endswith(b"\0\0"):
                return listing[:-1]


def _domain_number(domain: str) -> int | None:
    """Return the domid if `domain` is a number, or None for a name."""
    if not (domain.isascii() and domain.isdecimal()):
        return None
    if len(domain) > 5 or int(domain) > DOMID_MAX:
        raise InvalidInput(f"{domain} is not a domain number", f"It is from 0 to {DOMID_MAX}")
    return int(domain)


def _permissions(path: str, reply: bytes) -> list[Permission]:
    try:
        return [Permission.parse(text) for text in ascii_text(path, reply).split("\0")]
    except InvalidInput as exc:
        raise garbled("permissions", path) from exc
