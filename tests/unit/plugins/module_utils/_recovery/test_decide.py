# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the recovery service decides, for each situation and for whatever else may be."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.devices import VBD, VIF, PvDevice, script_failed
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.decide import (
    GRACE,
    LEFT_ALONE,
    PAUSED,
    XL_RESTART,
    decide,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import memory_file, memory_text, read_memory
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.model import (
    Attach,
    Configuration,
    Create,
    Decision,
    Declared,
    Destroy,
    Memory,
    Release,
    Released,
    Running,
    Snapshot,
    Sweep,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.remember import RESTLESS, remember
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import REMOVAL_DELAY

NOW = 5000.0
CONFIGURATION = Configuration((Declared("net-dd", "/etc/xen/net-dd.cfg", "data/status", "ready"),))
DOM0 = Running(0, "Domain-0", "dom0")
DRIVER = Running(7, "net-dd", "u-dd", ready=True)
BOOTING = replace(DRIVER, ready=False)
SILENT = replace(BOOTING, silent=True)
#: SILENT has been that for so long that it hangs.
HANGS = Memory(waiting={"silent/net-dd@7": NOW - 300}, names={7: "net-dd"})
WEB = Running(2, "web1", "u-web")
KEY = "u-web/vif/0"
#: What a vif of WEB left behind.
LEFT = "/local/domain/7/backend/vif/2/0"
RELEASED = Released("web1", "u-web", VIF, 0, "00:16", "net-dd", "mac=x", NOW - 100, noticed=True)


def device(kind: str = VIF, backend: int = 7, client: int = 2, **states: str) -> PvDevice:
    full = {"frontend_state": "4", "backend_state": "4", "hotplug_status": "connected", **states}
    return PvDevice(kind, client, 0, "net-dd", backend, f"/local/domain/{backend}/backend/{kind}/{client}/0", **full)


def snapshot(*running: Running, devices: t.Sequence[PvDevice] = (), flags: t.Mapping[int, str] | None = None, **more: t.Any) -> Snapshot:
    full = {} if flags is None else {**dict.fromkeys((r.domid for r in running), "b"), **flags}
    return Snapshot({r.domid: r for r in (DOM0, *running)}, tuple(devices), flags=full if flags is not None else None, **more)


def words(decision: Decision) -> list[str]:
    """Return a decision in short words."""
    names = {Release: "release", Attach: "attach", Create: "create", Destroy: "destroy", Sweep: "sweep"}
    return [
        *(names[type(action)] + (" by force" if isinstance(action, Release) and action.force else "") for action in decision.actions),
        *(["look"] if decision.look else []),
        *("give up" for _key in decision.hopeless),
        *([] if decision.deadline is None else [f"in {decision.deadline - NOW:g} s"]),
    ]


OLD = Memory(names={1: "net-dd", 2: "web1"})
GONE = device(backend=1)
HELD = Memory(released={KEY: RELEASED})
JUST = Memory(released={KEY: replace(RELEASED, at=NOW - 0.25, noticed=False)})
BROKEN = {"hotplug_status": "error"}
STUCK = {"frontend_state": "3", "backend_state": "2"}

#: situation: snapshot, memory, busy keys, what is decided.
TABLE: dict[str, tuple[Snapshot, Memory, tuple[str, ...], list[str]]] = {
    "nothing is wrong": (snapshot(DRIVER, WEB, devices=[device()]), OLD, (), []),
    "nothing runs": (snapshot(), Memory(), (), []),
    # The backend is gone.
    "vif, no successor yet": (snapshot(WEB, devices=[GONE]), OLD, (), ["release"]),
    "vif, the successor boots": (snapshot(BOOTING, WEB, devices=[GONE]), OLD, (), ["release"]),
    "vif, the successor is ready": (snapshot(DRIVER, WEB, devices=[GONE]), OLD, (), ["release"]),
    "disk, no successor yet": (snapshot(WEB, devices=[device(VBD, 1)]), OLD, (), []),
    "disk, the successor boots": (snapshot(BOOTING, WEB, devices=[device(VBD, 1)]), OLD, (), []),
    "disk, the successor is ready": (snapshot(DRIVER, WEB, devices=[device(VBD, 1)]), OLD, (), ["release"]),
    "vif, nobody knows its backend": (snapshot(DRIVER, WEB, devices=[GONE]), Memory(), (), ["give up"]),
    "disk, nobody knows its backend": (snapshot(DRIVER, WEB, devices=[device(VBD, 1)]), Memory(), (), ["give up"]),
    "disk, its backend had another name": (
        snapshot(DRIVER, WEB, devices=[device(VBD, 1)]),
        replace(OLD, lost={device(VBD, 1).backend_path: "old-dd"}),
        (),
        [],
    ),
    "vif of dom0": (snapshot(devices=[device(backend=1, client=0)]), OLD, (), ["release"]),
    "its domain is gone as well": (snapshot(devices=[GONE]), OLD, (), []),
    "it is being detached": (snapshot(WEB, devices=[GONE]), OLD, (KEY,), []),
    "an operator keeps the client": (snapshot(WEB, devices=[GONE], aside=frozenset({"web1"})), OLD, (), []),
    "an operator keeps the backend": (snapshot(WEB, devices=[GONE], aside=frozenset({"net-dd"})), OLD, (), []),
    "an operator keeps all": (snapshot(WEB, devices=[GONE], aside=frozenset({"*"})), OLD, (), []),
    "an operator keeps another": (snapshot(WEB, devices=[GONE], aside=frozenset({"web2"})), OLD, (), ["release"]),
    "xl could not detach it": (
        snapshot(WEB, devices=[GONE]),
        replace(OLD, attempts={f"{KEY}@1": [NOW - 6], f"detach/{KEY}": [NOW - 6]}),
        (),
        ["release by force"],
    ),
    "xl could not detach it just now": (snapshot(WEB, devices=[GONE]), replace(OLD, attempts={f"{KEY}@1": [NOW - 1]}), (), ["in 4 s"]),
    "xl could never detach it": (snapshot(WEB, devices=[GONE]), replace(OLD, attempts={f"{KEY}@1": [NOW - 6] * 5}), (), ["give up"]),
    "it was given up": (snapshot(WEB, devices=[GONE]), replace(OLD, hopeless=frozenset({f"{KEY}@1"})), (), []),
    # The backend runs.
    "a script failed": (snapshot(DRIVER, WEB, devices=[device(**BROKEN)]), OLD, (), ["look"]),
    "a script failed, flags known": (snapshot(DRIVER, WEB, devices=[device(**BROKEN)], flags={}), OLD, (), ["release"]),
    "a script failed, backend not ready": (snapshot(BOOTING, WEB, devices=[device(**BROKEN)], flags={}), OLD, (), []),
    "a script failed, client paused": (snapshot(DRIVER, WEB, devices=[device(**BROKEN)], flags={2: "p"}), OLD, (), [f"in {PAUSED:g} s"]),
    "a script failed for dom0": (snapshot(DRIVER, devices=[device(client=0, **BROKEN)], flags={}), OLD, (), ["release"]),
    "dom0 is cut off": (
        snapshot(DRIVER, devices=[device(client=0, **STUCK)], flags={}),
        replace(OLD, waiting={"cut-off/net-dd": NOW - 100}),
        (),
        ["in 500 s"],
    ),
    "dom0 has been cut off for long": (
        snapshot(DRIVER, devices=[device(client=0, **STUCK)], flags={}),
        replace(OLD, waiting={"cut-off/net-dd": NOW - 600}),
        (),
        ["give up"],
    ),
    "it may still connect": (
        snapshot(DRIVER, WEB, devices=[device(**STUCK)], flags={}),
        replace(OLD, waiting={KEY: NOW - 1}),
        (),
        [f"in {GRACE - 1:g} s"],
    ),
    "it will not connect": (
        snapshot(DRIVER, WEB, devices=[device(**STUCK)], flags={}),
        replace(OLD, waiting={KEY: NOW - GRACE}),
        (),
        ["release"],
    ),
    "the guest has no driver": (snapshot(DRIVER, WEB, devices=[device(frontend_state="1", backend_state="2")]), OLD, (), []),
    "the guest has closed it": (snapshot(DRIVER, WEB, devices=[device(frontend_state="6")]), OLD, (), []),
    "its directory went": (
        snapshot(DRIVER, WEB, devices=[device(backend_state="", hotplug_status="")], flags={}),
        replace(OLD, waiting={KEY: NOW - GRACE}),
        (),
        ["release"],
    ),
    "libxl has not written it yet": (snapshot(DRIVER, WEB, devices=[replace(device(backend_state=""), backend_path="")]), OLD, (), []),
    # It is to be attached.
    "to attach, no backend": (snapshot(WEB), HELD, (), []),
    "to attach, the backend boots": (snapshot(BOOTING, WEB), HELD, (), []),
    "to attach, the backend is ready": (snapshot(DRIVER, WEB), HELD, (), ["attach"]),
    "to attach, the client is paused since": (snapshot(DRIVER, WEB, flags={2: "p"}), HELD, (), ["attach"]),
    "to attach, no client": (snapshot(DRIVER, flags={}), HELD, (), []),
    "to attach, the client has rebooted": (snapshot(DRIVER, replace(WEB, domid=9), flags={}), HELD, (), ["attach"]),
    "to attach, it is being attached": (snapshot(DRIVER, WEB, flags={}), HELD, (KEY,), []),
    "detached, just now": (snapshot(DRIVER, WEB), JUST, (), [f"in {REMOVAL_DELAY - 0.25:g} s"]),
    "detached, the client may be paused": (snapshot(WEB), replace(JUST, released={KEY: replace(RELEASED, noticed=False)}), (), ["look"]),
    "detached, the client is paused": (snapshot(DRIVER, WEB, flags={2: "p"}), JUST, (), [f"in {PAUSED:g} s"]),
    "to attach, failed once": (snapshot(DRIVER, WEB, flags={}), replace(HELD, attempts={f"{KEY}@7": [NOW - 1]}), (), ["in 4 s"]),
    "to attach, failed twice": (snapshot(DRIVER, WEB, flags={}), replace(HELD, attempts={f"{KEY}@7": [0, NOW - 1]}), (), ["in 9 s"]),
    "to attach, failed at another": (snapshot(DRIVER, WEB, flags={}), replace(HELD, attempts={f"{KEY}@1": [NOW] * 9}), (), ["attach"]),
    "to attach, failed too often": (snapshot(DRIVER, WEB, flags={}), replace(HELD, attempts={f"{KEY}@7": [NOW] * 5}), (), ["give up"]),
    "to attach, kept by an operator": (snapshot(DRIVER, WEB, flags={}, aside=frozenset({"web1"})), HELD, (), []),
    "to attach, two backends of that name": (snapshot(DRIVER, replace(DRIVER, domid=8), WEB, flags={}), HELD, (), []),
    "to attach, the backend is restless": (
        snapshot(DRIVER, WEB),
        replace(HELD, changes={7: [NOW - 5] * 10}),
        (),
        [f"in {RESTLESS - 5:g} s"],
    ),
    "disk, the successor is restless": (
        snapshot(DRIVER, WEB, devices=[device(VBD, 1)]),
        replace(OLD, changes={7: [NOW - 5] * 10}),
        (),
        [f"in {RESTLESS - 5:g} s"],
    ),
    "a script failed at a restless backend": (
        snapshot(DRIVER, WEB, devices=[device(**BROKEN)], flags={}),
        replace(OLD, changes={7: [NOW - 5] * 10}),
        (),
        [f"in {RESTLESS - 5:g} s"],
    ),
    # A declared domain.
    "gone, just now": (snapshot(), Memory(gone={"net-dd": NOW}), (), [f"in {LEFT_ALONE:g} s"]),
    "gone": (snapshot(), Memory(gone={"net-dd": NOW - LEFT_ALONE}), (), ["look"]),
    "gone, xl is still there": (
        snapshot(watched=frozenset({"net-dd"})),
        Memory(gone={"net-dd": NOW - LEFT_ALONE}),
        (),
        [f"in {LEFT_ALONE:g} s"],
    ),
    "gone, xl will leave": (
        snapshot(watched=frozenset({"net-dd"})),
        Memory(gone={"net-dd": NOW - XL_RESTART + 1}),
        (),
        ["in 1 s"],
    ),
    "gone, xl has not started it": (snapshot(watched=frozenset({"net-dd"})), Memory(gone={"net-dd": NOW - XL_RESTART}), (), ["look"]),
    "gone, flags known": (snapshot(flags={}), Memory(gone={"net-dd": NOW - XL_RESTART}), (), ["create"]),
    "gone, dying": (
        snapshot(flags={1: "d"}),
        Memory(gone={"net-dd": NOW - XL_RESTART}, last={"net-dd": 1}),
        (),
        [f"in {PAUSED:g} s"],
    ),
    "gone, another one is dying": (snapshot(flags={3: "d"}), Memory(gone={"net-dd": NOW - XL_RESTART}, last={"net-dd": 1}), (), ["create"]),
    "gone, dying forever": (snapshot(flags={1: "d"}), Memory(gone={"net-dd": NOW - 1000}, last={"net-dd": 1}), (), ["create"]),
    "gone, being created": (snapshot(flags={}), Memory(gone={"net-dd": NOW - 1000}), ("create/net-dd",), []),
    "gone, kept by an operator": (snapshot(aside=frozenset({"net-dd"})), Memory(gone={"net-dd": NOW - 1000}), (), []),
    "gone, given up": (snapshot(), Memory(gone={"net-dd": 0.0}, hopeless=frozenset({"create/net-dd"})), (), []),
    # It hangs in its boot.
    "silent, not for long": (snapshot(SILENT), replace(HANGS, waiting={"silent/net-dd@7": NOW - 299}), (), ["in 1 s"]),
    "silent": (snapshot(SILENT), HANGS, (), ["look"]),
    "silent, flags known": (snapshot(SILENT, flags={}), HANGS, (), ["destroy"]),
    "silent, paused": (snapshot(SILENT, flags={7: "p"}), HANGS, (), [f"in {PAUSED:g} s"]),
    "silent, but it serves somebody": (snapshot(SILENT, WEB, devices=[device()], flags={}), HANGS, (), []),
    "silent, and its client is not connected": (snapshot(SILENT, WEB, devices=[device(**STUCK)], flags={}), HANGS, (), ["destroy"]),
    "silent, being destroyed": (snapshot(SILENT, flags={}), HANGS, ("silent/net-dd@7",), []),
    "silent, kept by an operator": (snapshot(SILENT, flags={}, aside=frozenset({"net-dd"})), HANGS, (), []),
    "silent, could not be destroyed": (snapshot(SILENT, flags={}), replace(HANGS, attempts={"silent/net-dd@7": [NOW - 1]}), (), ["in 4 s"]),
    "silent, started too often": (
        snapshot(SILENT, flags={}),
        replace(HANGS, attempts={"create/net-dd": [NOW - 1000] * 5}),
        (),
        ["give up"],
    ),
    "silent, given up": (snapshot(SILENT, flags={}), replace(HANGS, hopeless=frozenset({"silent/net-dd@7"})), (), []),
    "another one of that name was silent": (snapshot(replace(SILENT, domid=8), flags={}), HANGS, (), []),
    # Leftovers.
    "an orphan": (snapshot(orphans=(LEFT,)), Memory(waiting={LEFT: NOW - 1}), (), [f"in {GRACE - 1:g} s"]),
    "an old orphan": (snapshot(orphans=(LEFT,)), Memory(waiting={LEFT: NOW - GRACE}), (), ["sweep"]),
    "an old orphan, its device is to be attached": (
        snapshot(DRIVER, WEB, orphans=(LEFT,)),
        replace(HELD, waiting={LEFT: NOW - GRACE}),
        (),
        ["attach"],
    ),
    "an old orphan, its device is being attached": (snapshot(DRIVER, WEB, orphans=(LEFT,)), Memory(waiting={LEFT: 0.0}), (KEY,), []),
}


@pytest.mark.parametrize("situation", TABLE)
def test_each_situation(situation: str) -> None:
    seen, memory, busy, expected = TABLE[situation]
    assert words(decide(CONFIGURATION, seen, memory, NOW, busy)) == expected


def test_interfaces_come_before_disks() -> None:
    """The thread of a guest's kernel that handles both can be held up by a disk."""
    disk = device(VBD, 1)
    assert words(decide(CONFIGURATION, snapshot(DRIVER, WEB, devices=[disk, GONE]), OLD, NOW)) == ["release"]
    assert words(decide(CONFIGURATION, snapshot(DRIVER, WEB, devices=[disk, GONE]), OLD, NOW, [KEY])) == []
    held = replace(HELD, names=OLD.names)
    assert words(decide(CONFIGURATION, snapshot(DRIVER, WEB, devices=[disk], flags={}), held, NOW)) == ["attach"]
    connecting = replace(OLD, attached={KEY: NOW - 1})
    assert words(decide(CONFIGURATION, snapshot(DRIVER, WEB, devices=[disk, device(**STUCK)], flags={}), connecting, NOW)) == ["in 9 s"]
    assert words(decide(CONFIGURATION, snapshot(DRIVER, WEB, devices=[disk, device()]), OLD, NOW)) == ["release"]


# What is remembered


@pytest.mark.parametrize(
    ("seen", "memory", "happened"),
    [
        (snapshot(DRIVER, WEB, devices=[device()]), Memory(), []),
        (snapshot(WEB, devices=[GONE]), replace(OLD, ready={1: 0.0}), ["net-dd (domain 1) is gone; it served web1"]),
        (snapshot(WEB), replace(OLD, seen=frozenset({"net-dd"})), ["net-dd is gone"]),
        (snapshot(BOOTING), Memory(gone={"net-dd": 1.0}, seen=frozenset({"net-dd"})), ["net-dd runs again"]),
        (
            snapshot(DRIVER, WEB, devices=[device()]),
            Memory(attached={KEY: NOW - 2}, ready={7: NOW - 9}),
            ["web1: vif 0 works again at net-dd (domain 7), after 2.0 s"],
        ),
        (
            # Attached before the backend was ready.
            snapshot(DRIVER, WEB, devices=[device()]),
            Memory(attached={KEY: NOW - 2}, ready={7: NOW - 1}, appeared={7: NOW - 9}),
            ["web1: vif 0 works again at net-dd (domain 7), after 1.0 s"],
        ),
        (snapshot(DRIVER), Memory(appeared={7: NOW - 9}), ["net-dd (domain 7) serves, 9.0 s after it was started"]),
        (snapshot(BOOTING), Memory(ready={7: NOW - 9}, appeared={7: NOW - 9}), ["net-dd (domain 7) no longer reports that it serves"]),
        (snapshot(resumed="1"), Memory(), ["an operator says to go on"]),
    ],
)
def test_what_happened_is_said_once(seen: Snapshot, memory: Memory, happened: list[str]) -> None:
    first, said = remember(CONFIGURATION, seen, memory, NOW)
    assert said == happened
    assert remember(CONFIGURATION, seen, first, NOW + 1) == (first, [])


def test_a_device_that_works_may_be_detached_by_xl_again() -> None:
    """Nodes of a backend that runs are removed only while xl fails to."""
    tried = {f"{KEY}@4": [NOW - 6], f"detach/{KEY}": [NOW - 6]}
    memory = replace(OLD, attempts=tried)
    assert remember(CONFIGURATION, snapshot(DRIVER, WEB, devices=[device(**BROKEN)]), memory, NOW)[0].attempts == tried
    working = device(backend=DRIVER.domid)
    assert remember(CONFIGURATION, snapshot(DRIVER, WEB, devices=[working]), memory, NOW)[0].attempts == {f"{KEY}@4": [NOW - 6]}


def test_the_devices_of_a_domain_that_never_comes_back_are_forgotten() -> None:
    memory, _said = remember(CONFIGURATION, snapshot(DRIVER), HELD, NOW)
    assert memory.released
    memory, _said = remember(CONFIGURATION, snapshot(DRIVER), memory, NOW + 601)
    assert not memory.released
    assert not remember(CONFIGURATION, snapshot(DRIVER), memory, NOW + 602)[0].waiting


@pytest.mark.parametrize(
    ("taken", "kept"),
    [("u-web/vif/0", False), ("u-web/vif/00:16", False), ("u-web/vif/00:17", True), ("u-other/vif/00:16", True), ("u-web/vbd/00:16", True)],
)
def test_what_is_there_again_is_forgotten(taken: str, kept: bool) -> None:
    seen = snapshot(WEB, taken=frozenset({taken}))
    assert bool(remember(CONFIGURATION, seen, HELD, NOW)[0].released) is kept
    # It is what is being attached.
    assert remember(CONFIGURATION, seen, HELD, NOW, [KEY])[0].released


@pytest.mark.parametrize(
    ("flags", "since", "noticed"), [(None, 5.0, False), ({2: "p"}, 5.0, False), ({}, 5.0, True), ({}, 0.5, False), ({9: "p"}, 1.0, True)]
)
def test_a_guest_notices_what_is_gone_unless_it_is_paused(flags: dict[int, str] | None, since: float, noticed: bool) -> None:
    memory = Memory(released={KEY: replace(RELEASED, at=NOW - since, noticed=False)})
    (released,) = remember(CONFIGURATION, snapshot(WEB, flags=flags), memory, NOW)[0].released.values()
    assert released.noticed is noticed
    assert released.at == (NOW if flags == {2: "p"} else NOW - since)


def test_a_backend_that_works_and_fails_in_turns_does_not_keep_dom0_busy() -> None:
    good, bad = device(), device(hotplug_status="error")
    memory, now, released = Memory(), NOW, 0
    for _turn in range(20):
        for seen in (bad, good):
            now += 100
            memory, _said = remember(CONFIGURATION, snapshot(DRIVER, WEB, devices=[seen], flags={}), memory, now)
            decision = decide(CONFIGURATION, snapshot(DRIVER, WEB, devices=[seen], flags={}), memory, now)
            memory = replace(memory, hopeless=memory.hopeless | set(decision.hopeless))
            for action in decision.actions:
                assert isinstance(action, Release)
                released += 1
                # As the service counts it when it attaches the device again.
                attempts = (*memory.attempts.get(f"{KEY}@7", ()), now)
                memory = replace(memory, attempts={**memory.attempts, f"{KEY}@7": attempts})
    assert released == CONFIGURATION.attempts and memory.hopeless == {f"{KEY}@7"}


def test_resuming_forgets_what_was_given_up() -> None:
    memory = replace(HELD, hopeless=frozenset({f"{KEY}@7"}), attempts={f"{KEY}@7": [NOW] * 5})
    kept, _said = remember(CONFIGURATION, snapshot(DRIVER, WEB), memory, NOW)
    assert kept.hopeless and kept.attempts
    memory, _said = remember(CONFIGURATION, snapshot(DRIVER, WEB, resumed="x"), kept, NOW)
    assert not memory.hopeless and not memory.attempts


def test_a_domain_that_is_not_declared_any_more_is_not_missed() -> None:
    memory, _said = remember(CONFIGURATION, snapshot(DRIVER), Memory(), NOW)
    assert memory.seen == {"net-dd"}
    memory, said = remember(Configuration(), snapshot(), memory, NOW)
    assert (memory.seen, memory.gone, said) == (frozenset(), {}, [])


# Whatever else may be

NAMES = st.sampled_from(["net-dd", "web1", "web2", "Domain-0", "x-dd"])
DOMIDS = st.integers(0, 5)
STATES = st.sampled_from(["", "1", "2", "3", "4", "5", "6", "?"])
RUNNING = st.dictionaries(DOMIDS, st.tuples(NAMES, st.booleans()), max_size=6).map(
    lambda found: {domid: Running(domid, name, f"u{domid}", ready) for domid, (name, ready) in found.items()}
)
DEVICES = st.lists(
    st.builds(
        lambda kind, client, backend, states, status: PvDevice(
            kind, client, 0, "", backend, f"/local/domain/{backend}/backend/{kind}/{client}/0", *states, status
        ),
        st.sampled_from([VIF, VBD]),
        DOMIDS,
        st.integers(1, 7),
        st.tuples(STATES, STATES),
        st.sampled_from(["", "connected", "error"]),
    ),
    max_size=6,
    unique_by=lambda found: (found.kind, found.domid),
).map(tuple)
KEYS = st.builds(lambda domid, kind: f"u{domid}/{kind}/0", DOMIDS, st.sampled_from([VIF, VBD]))
TIMES = st.floats(0, NOW)
MEMORIES = st.builds(
    Memory,
    names=st.dictionaries(st.integers(0, 7), NAMES),
    seen=st.frozensets(NAMES),
    gone=st.dictionaries(NAMES, TIMES),
    waiting=st.dictionaries(KEYS, TIMES),
    released=st.lists(
        st.builds(
            lambda domid, kind, backend, at, noticed: Released("web1", f"u{domid}", kind, 0, "id", backend, "t", at, noticed),
            DOMIDS,
            st.sampled_from([VIF, VBD]),
            NAMES,
            TIMES,
            st.booleans(),
        )
    ).map(lambda found: {f"{each.uuid}/{each.kind}/0": each for each in found}),
    attached=st.dictionaries(KEYS, TIMES),
    attempts=st.dictionaries(
        st.one_of(KEYS.map(lambda key: f"{key}@1"), st.just("create/net-dd")), st.lists(TIMES, max_size=6).map(sorted)
    ),
    hopeless=st.frozensets(st.one_of(KEYS.map(lambda key: f"{key}@1"), st.just("create/net-dd"))),
    ready=st.dictionaries(DOMIDS, TIMES),
)
FLAGS = st.one_of(st.none(), st.dictionaries(DOMIDS, st.sampled_from(["b", "r", "p", "d", "c"])))
SNAPSHOTS = st.builds(
    Snapshot,
    running=RUNNING,
    devices=DEVICES,
    orphans=st.sampled_from([(), (LEFT,)]),
    aside=st.frozensets(st.one_of(NAMES, st.just("*")), max_size=2),
    flags=FLAGS,
)


@given(SNAPSHOTS, MEMORIES, st.frozensets(KEYS, max_size=2))
@settings(max_examples=400, deadline=None)
def test_it_never_does_harm(seen: Snapshot, before: Memory, busy: frozenset[str]) -> None:
    memory, _said = remember(CONFIGURATION, seen, before, NOW, busy)
    decision = decide(CONFIGURATION, seen, memory, NOW, busy)
    keys = [action.key for action in decision.actions]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & busy
    assert decision.deadline is None or decision.deadline > NOW
    assert not (decision.look and (decision.actions or seen.flags is not None))
    for action in decision.actions:
        if isinstance(action, Release):
            assert action.client.name not in seen.aside and "*" not in seen.aside
            assert not (action.device.connected and action.device.backend_id in seen.running)
            gone = action.device.backend_id not in seen.running
            # The interface of dom0 may work as long as its backend runs and has not failed. A paused guest has noticed nothing yet.
            assert gone or (action.client.domid != 0 or script_failed(action.device))
            assert gone or not seen.is_paused(action.client.domid)
            if action.device.kind == VBD and gone:
                assert any(r.ready and r.name == memory.names[action.device.backend_id] for r in seen.running.values())
        elif isinstance(action, Attach):
            assert action.backend.ready and action.backend.name == action.released.backend
            assert action.released.noticed
            assert not {action.client.name, action.backend.name, "*"} & seen.aside
            assert action.key not in {f"{seen.running[d.domid].uuid}/{d.kind}/{d.devid}" for d in seen.devices if d.domid in seen.running}
        elif isinstance(action, Create):
            assert all(running.name != action.domain.name for running in seen.running.values())
            assert action.key not in memory.hopeless
            assert not {action.domain.name, "*"} & seen.aside


@given(SNAPSHOTS, MEMORIES)
@settings(max_examples=200, deadline=None)
def test_looking_twice_says_nothing_new(seen: Snapshot, before: Memory) -> None:
    memory, _said = remember(CONFIGURATION, seen, before, NOW)
    assert remember(CONFIGURATION, seen, memory, NOW) == (memory, [])


@given(MEMORIES)
@settings(max_examples=50, deadline=None)
def test_what_is_remembered_survives_a_file(tmp_path_factory: pytest.TempPathFactory, memory: Memory) -> None:
    path = memory_file(str(tmp_path_factory.mktemp("memory")))
    with open(path, "w", encoding="utf-8") as file:
        file.write(memory_text(memory))
    assert read_memory(path) == replace(memory, released=dict(memory.released))


KEPT = Memory(
    names={1: "net-dd"},
    seen=frozenset({"net-dd"}),
    waiting={"u/vif/1": 1.0},
    released={KEY: RELEASED},
    attempts={"x": [1.0]},
    ready={1: 2.0},
)


def test_another_version_of_the_program_forgets_nothing(tmp_path: t.Any) -> None:
    """Fields come and go."""
    found = json.loads(memory_text(KEPT))
    del found["lost"], found["hopeless"]
    found["of_a_later_version"] = 1
    found["released"][KEY]["of_a_later_version"] = 1
    del found["released"][KEY]["noticed"]
    path, said = tmp_path / "memory.json", []
    path.write_text(json.dumps(found))
    assert read_memory(str(path), said.append) == replace(KEPT, released={KEY: replace(RELEASED, noticed=False)})
    assert said == []


def test_only_what_is_damaged_is_forgotten(tmp_path: t.Any) -> None:
    found = json.loads(memory_text(KEPT))
    found["released"].update({"bad": {"client": "x"}, "worse": 1})
    found["names"]["x"] = "y"
    found["attempts"]["z"] = 7
    found.update(seen=1, gone=[], resumed={})
    path, said = tmp_path / "memory.json", []
    path.write_text(json.dumps(found))
    assert read_memory(str(path), said.append) == replace(KEPT, seen=frozenset())
    assert sorted(said) == [
        f"{path} is damaged; what is forgotten: names: x, seen, gone, released: bad, released: worse, attempts: z, resumed"
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"names": {"x": 1}}', '{"names": [], "seen": 1}'])
def test_a_damaged_file_is_no_memory(tmp_path: t.Any, text: str) -> None:
    path = tmp_path / "memory.json"
    path.write_text(text)
    said: list[str] = []
    assert read_memory(str(path), said.append) == Memory()
    assert len(said) == (0 if text == "{}" else 1)


def test_no_file_is_no_memory(tmp_path: t.Any) -> None:
    said: list[str] = []
    assert read_memory(str(tmp_path / "none"), said.append) == Memory()
    assert said == []
