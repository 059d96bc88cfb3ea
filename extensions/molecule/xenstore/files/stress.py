# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tries the XenStore client against the real xenstored of the machine where this runs: stress.py dom0|guest|floor.

Beside it, in `client`, are the files of plugins/module_utils. Prints a line for each test with what it measured, and fails at the
first that does not hold. In dom0 it stops xenstored for some seconds, several times. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
import typing as t

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from client._errors import TimedOut  # type: ignore[import-not-found]
from client._xenstore.client import Permission, XenStore  # type: ignore[import-not-found]
from client._xenstore.nodes import Nodes, apply, compare  # type: ignore[import-not-found]
from client._xenstore.wire import XenStoreError  # type: ignore[import-not-found]

SOCKET, DEVICE = "/run/xenstored/socket", "/dev/xen/xenbus"
TOP = "/tool/xendd-stress"
WRITERS, ROUNDS = 8, 25
EVENTS = 250


def say(text: str) -> None:
    """Tell at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def server() -> tuple[int, str]:
    """Return number and name of the process that is xenstored."""
    for number in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{number}/comm") as handle:
            name = handle.read().strip()
            if name in ("xenstored", "oxenstored"):
                return int(number), name
    raise SystemExit("no xenstored runs here")


@contextlib.contextmanager
def stopped() -> t.Iterator[None]:
    """Have xenstored neither read nor answer for a while."""
    number, _name = server()
    os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(number, signal.SIGCONT)


def start_processes(count: int, work: t.Callable[[int], None]) -> t.Callable[[], None]:
    """Run `work` in so many processes at once; call what is returned to wait for them, each must end well."""
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(number)
                code = 0
            finally:
                os._exit(code)
        children.append(child)

    def join() -> None:
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * count

    return join


def refused(errno_name: str, call: t.Callable[[], object], *said: str) -> XenStoreError:
    """Check that the call is refused in that way, and that the error says what it should."""
    error: XenStoreError | None = None
    try:
        call()
    except XenStoreError as exc:
        error = exc
    assert error is not None, f"no {errno_name}"
    assert error.errno_name in errno_name.split("|"), error
    assert all(word in str(error) for word in said), error
    return error


def trees(store: XenStore, count: int = 1000) -> str:
    values: dict[str, bytes | None] = {TOP: None}
    for number in range(count):
        values.setdefault(f"{TOP}/{number % 25}", None)
        values[f"{TOP}/{number % 25}/key-{number}"] = b"value %d" % number
    wanted = [Nodes(TOP, values, (Permission("n", 0), Permission("r", 1)), prune=True)]
    begun = time.monotonic()
    apply(store, wanted)
    written = time.monotonic()
    assert not any(compare(store, wanted))
    read = time.monotonic()
    found = store.tree(TOP)
    assert {path: (value or b"").decode() for path, value in values.items()} == found
    assert set(map(tuple, store.get_perms_many(values).values())) == {(Permission("n", 0), Permission("r", 1))}
    store.write(f"{TOP}/3/stranger/deep", "1")
    store.set_perms(f"{TOP}/7", [Permission("b", 0)])
    change = compare(store, wanted)[0]
    assert (change.removals, change.regrants, change.writes) == ([f"{TOP}/3/stranger"], [f"{TOP}/7"], {})
    apply(store, wanted)
    assert store.tree(TOP) == found
    return f"{count} keys with permissions written in {written - begun:.2f} s, compared in {read - written:.2f} s"


def listings(store: XenStore) -> str:
    names = sorted(f"a-rather-long-name-{number:04d}" for number in range(1000))
    store.write_many({f"{TOP}/{name}": "" for name in names})
    assert store.directory(TOP) == names
    with XenStore(DEVICE) as device:
        if server()[1] == "oxenstored":
            exc = refused("ENOSYS", lambda: device.directory(TOP), "4096 bytes", "over /run/xenstored/socket")
            over_device = f"refused over the device ({exc.errno_name})"
        else:
            assert device.directory(TOP) == names
            over_device = "and over the device"
    return f"{sum(len(name) + 1 for name in names)} bytes over the socket, {over_device}"


def values(store: XenStore) -> str:
    chance = random.Random(4)
    samples = [b"", b"\0", b"\n", b"\0\n\0", b"a\0b\nc", bytes(range(256))]
    samples += [chance.randbytes(size) for size in (1, 2, 255, 256, 1000, 2000, 2047, 2048, 3999, 4000)]
    told = ""
    if server()[1] == "oxenstored":
        # Whoever asks; see quota-maxsize.
        with open("/etc/xen/oxenstored.conf") as handle:
            limit = next((int(line.split("=")[1]) for line in handle if line.startswith("quota-maxsize")), 2048)
        for sample in samples:
            if len(sample) > limit:
                refused("E2BIG", lambda sample=sample: store.write(f"{TOP}/large", sample), "2048 bytes a value", "quota-maxsize")
                told = f", longer ones than {limit} refused (E2BIG)"
        samples = [sample for sample in samples if len(sample) <= limit]
    with XenStore(DEVICE) as device:
        for index, sample in enumerate(samples):
            store.write(f"{TOP}/{index}", sample)
            assert store.read(f"{TOP}/{index}") == device.read(f"{TOP}/{index}") == sample
            device.write(f"{TOP}/device-{index}", sample)
            assert store.read(f"{TOP}/device-{index}") == sample
    assert list(store.read_many(f"{TOP}/{index}" for index in range(len(samples))).values()) == samples
    return f"{len(samples)} values of 0 to {max(map(len, samples))} bytes, both ways{told}"


def permissions(store: XenStore) -> str:
    store.write(f"{TOP}/x", "1")
    owners = [0, 1, 7]
    try:
        store.set_perms(f"{TOP}/x", [Permission("n", 7)])
    except XenStoreError as exc:
        # To C xenstored, the owner must be a domain that is there.
        if exc.errno_name != "ENOENT":
            raise
        owners = [0]
    sets = [
        [Permission(access, owner), *(Permission(right, domid) for domid, right in enumerate(others, 5))]
        for owner in owners
        for access in "nrwb"
        for others in ("", "r", "rwbn", "rrrrrrrr")
    ]
    for wanted in sets:
        store.set_perms(f"{TOP}/x", wanted)
        assert store.get_perms_many([f"{TOP}/x"])[f"{TOP}/x"] == wanted
    store.write(f"{TOP}/x/below", "1")
    assert store.get_perms_many([f"{TOP}/x/below"])[f"{TOP}/x/below"] == sets[-1]
    return f"{len(sets)} sets"


def writers(store: XenStore) -> str:
    """Each takes part in one counter, in transactions: none may be lost."""
    store.write_many({f"{TOP}/counter": "0", f"{TOP}/tries": "0"})

    def work(number: int) -> None:
        tries: list[int] = []
        with XenStore(timeout=60) as own:
            for step in range(ROUNDS):
                tries.clear()

                def add(inside: XenStore, step: int = step) -> None:
                    tries.append(1)
                    inside.write(f"{TOP}/{number}/{step}", "done")
                    inside.write(f"{TOP}/counter", str(int(inside.read(f"{TOP}/counter")) + 1))

                own.transaction(add)
                own.write(f"{TOP}/tries-{number}-{step}", str(len(tries)))

    begun = time.monotonic()
    start_processes(WRITERS, work)()
    spent = time.monotonic() - begun
    assert store.read(f"{TOP}/counter") == b"%d" % (WRITERS * ROUNDS)
    assert all(store.directory(f"{TOP}/{number}") == sorted(map(str, range(ROUNDS))) for number in range(WRITERS))
    tries = store.read_texts(f"{TOP}/tries-{number}-{step}" for number in range(WRITERS) for step in range(ROUNDS))
    total = sum(int(text or 0) for text in tries.values())
    assert total > WRITERS * ROUNDS, "no conflict: nothing was tried"
    return f"{WRITERS} writers, {WRITERS * ROUNDS} transactions in {total} tries, none lost, {spent:.1f} s"


def storm(store: XenStore) -> str:
    """Many watches, many writers, and requests in between; every node's last event must come."""
    nodes = [f"{TOP}/node-{number}" for number in range(WRITERS)]
    store.write_many(dict.fromkeys(nodes, "0"))
    tokens = 20
    for token in range(tokens):
        for node in nodes:
            store.watch(node, f"token-{token}")
    while store.next_event(0.5):
        pass

    def work(number: int) -> None:
        with XenStore(timeout=60) as own:
            for step in range(1, EVENTS + 1):
                own.write(nodes[number], str(step))

    begun = time.monotonic()
    join = start_processes(WRITERS, work)
    with XenStore(timeout=60) as other:
        reached = other.wait_for(nodes, lambda found: all(value == str(EVENTS) for value in found.values()), 300)
    join()
    assert set(reached.values()) == {str(EVENTS)}
    assert store.read_text(nodes[0]) == str(EVENTS)
    counts: dict[tuple[str, str], int] = {}
    while (event := store.next_event(2)) is not None:
        counts[event.path, event.token] = counts.get((event.path, event.token), 0) + 1
    total, possible = sum(counts.values()), WRITERS * EVENTS * tokens
    # oxenstored drops what a client does not fetch beyond quota-maxwatchevents: who waits has to fetch, and to look again by itself.
    assert len(counts) == WRITERS * tokens or total >= 1000, f"{total} events of {len(counts)} watches"
    store.write(nodes[0], "over")
    late = sum(1 for _event in iter(lambda: store.next_event(2), None))
    assert late >= tokens, f"{late} events of {tokens} after that"
    return f"{total} events of {possible} kept for one who did not fetch them, {time.monotonic() - begun:.1f} s"


def write_on(store: XenStore) -> None:
    """Write forever."""
    while True:
        store.write_many({f"{TOP}/{index}": "1" for index in range(50)})


def no_answer(outside: XenStore) -> str:
    """xenstored stops at all kinds of moments; each time an error in time, and all is well when it goes on."""
    limit, longest, count = 1.0, 0.0, 0
    outside.write(f"{TOP}/x", "1")
    calls: list[t.Callable[[XenStore], object]] = [
        lambda s: s.read(f"{TOP}/x"),
        lambda s: s.tree("/tool"),
        lambda s: s.write_many({f"{TOP}/{number}": b"x" * 3000 for number in range(300)}),
        lambda s: s.transaction(lambda inside: inside.write(f"{TOP}/y", "2")),
        lambda s: s.watch(f"{TOP}/x", "token"),
        lambda s: s.wait_for([f"{TOP}/x"], lambda found: False, 0.5),
    ]
    for path in (SOCKET, DEVICE):
        for call in calls:
            with XenStore(path, timeout=limit) as store:
                assert store.read(f"{TOP}/x") == b"1"
                with stopped():
                    begun = time.monotonic()
                    refused("ETIMEDOUT", lambda call=call, store=store: call(store), "did not answer within 1 s")
                    longest, count = max(longest, time.monotonic() - begun), count + 1
    with stopped():
        begun = time.monotonic()
        with contextlib.suppress(XenStoreError), XenStore(SOCKET, timeout=limit) as store:
            store.read("/")
            raise AssertionError("a stopped xenstored answered")
        longest, count = max(longest, time.monotonic() - begun), count + 1
    # In the middle of a stream of requests.
    number, _name = server()
    for path in (SOCKET, DEVICE):
        with XenStore(path, timeout=limit) as store:
            timer = threading.Timer(0.3, os.kill, (number, signal.SIGSTOP))
            timer.start()
            begun = time.monotonic()
            try:
                refused("ETIMEDOUT", lambda store=store: write_on(store), "did not answer")
                longest, count = max(longest, time.monotonic() - begun - 0.3), count + 1
            finally:
                timer.join()
                os.kill(number, signal.SIGCONT)
    assert longest < limit + 2, f"an error came after {longest:.1f} s"
    for path in (SOCKET, DEVICE):
        with XenStore(path) as store:
            assert store.read(f"{TOP}/x") == b"1"
    return f"{count} errors, the latest after {longest:.2f} s with a limit of {limit:g} s"


def quotas(store: XenStore) -> str:
    """What xenstored allows a guest, from inside one; the error names the quota."""
    top = "data/xendd-stress"
    store.write(top, "")
    count = 0

    def fill() -> None:
        nonlocal count
        while True:
            # C xenstored counts the names below a node as its size: no more than a hundred in one.
            store.write(f"{top}/{count % 10}/{count}", "x")
            count += 1

    told = [refused("ENOSPC|EQUOTA|EINVAL", fill, "quota", "1000 nodes")]
    assert 900 < count <= 1000, count
    # The connection is as good as before, and so is a transaction that is over the quota.
    assert store.read(f"{top}/0/0") == b"x"
    told.append(
        refused("ENOSPC|EQUOTA|EINVAL", lambda: store.transaction(lambda s: s.write_many({f"{top}/t{n}": "x" for n in range(9)})), "quota")
    )
    assert store.read_text(f"{top}/t0") is None
    store.rm(top)
    store.write(top, "")
    told.append(refused("E2BIG|ENOSPC|EQUOTA|EINVAL", lambda: store.write(f"{top}/large", b"x" * 3500)))
    told.append(refused("EACCES", lambda: store.write("/tool/not-mine", "x"), "right"))
    watched = 0

    def watch() -> None:
        nonlocal watched
        while watched < 1000:
            store.watch(f"{top}/{watched}", "token")
            watched += 1

    # Linux does not know oxenstored's EQUOTA and says EINVAL.
    told.append(refused("ENOSPC|EQUOTA|E2BIG|EINVAL", watch, "quota"))
    store.close()
    with XenStore(timeout=30) as again:
        again.rm(top)
    return f"{count} nodes, {watched} watches; {', '.join(exc.errno_name for exc in told)}"


def waiting(store: XenStore) -> str:
    """A wait that runs out, over both ways."""
    for path in (SOCKET, DEVICE):
        with XenStore(path) as own:
            begun = time.monotonic()
            try:
                own.wait_for([f"{TOP}/never"], lambda found: found[f"{TOP}/never"], 1.0)
            except TimedOut:
                assert 1.0 <= time.monotonic() - begun < 2.5
            else:
                raise AssertionError("it did not run out")
    for path in (SOCKET, DEVICE):
        with XenStore(path) as own:
            threading.Timer(0.5, store.write, (f"{TOP}/later{path}".replace("//", "/"), "1")).start()
            own.wait_for([f"{TOP}/later{path}"], lambda found: any(found.values()), 20)
    return "ends in time, and as soon as the value is there"


def main() -> None:
    """Run the tests of the place where this is."""
    place = sys.argv[1]
    if place == "guest":
        with XenStore(timeout=30) as store:
            say(f"quotas: {quotas(store)}")
        return
    say(f"server: {os.readlink(f'/proc/{server()[0]}/exe')}")
    for test in (trees, listings, values, permissions, waiting, writers, storm, no_answer):
        with XenStore(timeout=60) as store:
            store.rm(TOP)
            say(f"{test.__name__}: {test(store)}")
    with XenStore(timeout=60) as store:
        store.rm(TOP)


if __name__ == "__main__":
    main()
