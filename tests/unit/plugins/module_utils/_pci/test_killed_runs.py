# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that is killed between any two steps, and run again: the requested state is reached, and no device is left without a driver.

The steps are those of the code, and within each call of xl those of libxl. A kill is an exception that nothing catches.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

CARD = "0000:00:04.0"
FAR_CARD = "0000:03:00.0"
DEVICES = [
    {"name": "uplink0", "match": {"mac": "52:54:00:aa:00:02"}},
    {"name": "uplink1", "match": {"slot": "0000:00/1c.0/00.0"}},
]


def two_cards(root: Path) -> FakeMachine:
    """A small machine: there are hundreds of them."""
    machine = FakeMachine(root)
    machine.pci(CARD, "8086:10d3", "020000", driver="e1000e")
    machine.pci("0000:00:1c.0", "8086:3420", "060400", driver="pcieport", header_type=1)
    machine.pci(FAR_CARD, "8086:10d3", "020000", below="0000:00:1c.0", driver="e1000e")
    machine.nic("eth1", CARD, "52:54:00:aa:00:02")
    machine.nic("eth2", FAR_CARD, "52:54:00:aa:00:03")
    return machine


class Killed(BaseException):
    """The end of a run: no handler of errors sees it."""


@pytest.fixture(autouse=True)
def no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power cuts are played here, not suffered."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def kill_at(xen: FakeXen, number: int) -> list[str]:
    """Have the run killed before the step of that number; return where the steps are noted."""
    steps: list[str] = []

    def step(what: str) -> None:
        if len(steps) == number:
            raise Killed
        steps.append(what)

    xen.machine.step = step
    return steps


def live_on(xen: FakeXen) -> None:
    xen.machine.step = lambda what: None
    xen.calls.clear()


def untouched(xen: FakeXen) -> None:
    """Nothing was ever done."""


def taken(xen: FakeXen) -> None:
    xen.apply("present", DEVICES)


def hidden(xen: FakeXen) -> None:
    """Taken by pciback at the boot of the host, as the role has it."""
    xen.apply("recorded", DEVICES)
    xen.reboot(CARD, FAR_CARD)


def hidden_unknown(xen: FakeXen) -> None:
    """Taken at boot, and what was recorded is lost."""
    xen.reboot(CARD, FAR_CARD)


def not_confirmed(xen: FakeXen) -> None:
    """Taken, and not yet confirmed."""
    xen.apply("present", DEVICES, confirm_timeout=60)


def check_present(xen: FakeXen, devices: t.Sequence[dict[str, t.Any]]) -> None:
    for name, bdf in (("uplink0", CARD), ("uplink1", FAR_CARD)):
        assert xen.machine.driver(bdf) == "pciback"
        assert xen.store.values[f"/libxl/pci/{bdf.replace(':', '-').replace('.', '-')}/name"] == name
    assert xen.quarantine == {CARD, FAR_CARD}
    assert sorted(xen.machine.slots) == [CARD, FAR_CARD]
    assert xen.timer == []
    known = {record.bdf: (record.name, record.mac, record.driver) for record in xen.machine.records.load()}
    if devices is DEVICES:
        assert known == {CARD: ("uplink0", "52:54:00:aa:00:02", "e1000e"), FAR_CARD: ("uplink1", "52:54:00:aa:00:03", "e1000e")}


def check_absent(xen: FakeXen) -> None:
    for bdf, interface in ((CARD, "eth1"), (FAR_CARD, "eth2")):
        assert xen.machine.driver(bdf) == "e1000e"
        assert (xen.machine.sys / "class/net" / interface).exists()
    assert xen.quarantine == set()
    assert xen.machine.slots == []
    assert xen.store.values == {}
    assert xen.machine.records.load() == []


BY_ADDRESS = [{"name": "uplink0", "match": {"bdf": CARD}}, {"name": "uplink1", "match": {"bdf": FAR_CARD}}]
JOURNEYS = [
    (untouched, "present", DEVICES),
    (untouched, "absent", DEVICES),
    (taken, "absent", DEVICES),
    (hidden, "present", DEVICES),
    (hidden, "absent", DEVICES),
    (hidden_unknown, "present", BY_ADDRESS),
    (hidden_unknown, "absent", BY_ADDRESS),
    (not_confirmed, "present", DEVICES),
    (not_confirmed, "absent", DEVICES),
]


@pytest.mark.parametrize("again", ["present", "absent"])
@pytest.mark.parametrize("power", ["stays", "fails"])
@pytest.mark.parametrize(("before", "state", "devices"), JOURNEYS, ids=lambda value: getattr(value, "__name__", None) or "")
def test_every_kill(
    tmp_path: Path, before: t.Callable[[FakeXen], None], state: str, devices: t.Sequence[dict[str, t.Any]], power: str, again: str
) -> None:
    number, ended = 0, False
    while not ended:
        root = tmp_path / str(number)
        root.mkdir()
        xen = FakeXen(two_cards(root))
        before(xen)
        steps = kill_at(xen, number)
        try:
            xen.apply(state, devices)
            ended = True
        except Killed:
            pass
        live_on(xen)
        if power == "fails":
            xen.reboot()
        # What pytest shows when one of the following fails.
        last = steps[-1:]
        xen.apply(again, devices)
        check_present(xen, devices) if again == "present" else check_absent(xen)
        xen.calls.clear()
        assert (last, xen.apply(again, devices).actions, xen.calls) == (last, [], [])
        number += 1
    assert number > 1 or (before, state) == (untouched, "absent")


def test_the_steps_are_all_there(tmp_path: Path) -> None:
    """What the enumeration above rests on: one device, from its driver to pciback and back."""
    xen = FakeXen(two_cards(tmp_path))
    steps = kill_at(xen, -1)
    xen.apply("present", DEVICES[:1], confirm_timeout=60)
    assert steps == [
        "modprobe xen-pciback",
        "systemctl stop",
        "systemd-run --quiet",
        f"save the record of {CARD}",
        f"xl unbinds {CARD}",
        f"xl records the driver of {CARD}",
        f"xl adds the slot {CARD}",
        f"xl binds {CARD} to pciback",
        f"xl names {CARD}",
        f"xl puts {CARD} into quarantine",
        f"save the record of {CARD}",
    ]
    steps.clear()
    xen.apply("absent", DEVICES[:1])
    assert steps == [
        f"save the record of {CARD}",
        f"xl takes {CARD} out of quarantine",
        f"xl unbinds {CARD} from pciback",
        f"xl removes the slot {CARD}",
        f"xl binds {CARD} to e1000e",
        f"xl forgets the driver of {CARD}",
        f"xl forgets the name of {CARD}",
        "remove /libxl/pci/0000-00-04-0",
        f"remove the record of {CARD}",
    ]


@pytest.mark.parametrize("number", range(11))
def test_an_unconfirmed_device_comes_back_by_itself_wherever_the_run_ended(tmp_path: Path, number: int) -> None:
    """The script that returns devices copes with what a killed run left."""
    xen = FakeXen(two_cards(tmp_path))
    kill_at(xen, number)
    with pytest.raises(Killed):
        xen.apply("present", DEVICES[:1], confirm_timeout=60)
    live_on(xen)
    xen.fire()
    xen.apply("absent", DEVICES[:1])
    assert xen.machine.driver(CARD) == "e1000e"
    assert (xen.quarantine, xen.machine.slots, xen.machine.records.load()) == (set(), [], [])


@pytest.mark.parametrize("fault", ["quarantine_fails", "bind_fails", "forgets_to_bind"])
def test_a_kill_while_a_failure_is_undone(tmp_path: Path, fault: str) -> None:
    number, ended = 0, False
    while not ended:
        root = tmp_path / str(number)
        root.mkdir()
        xen = FakeXen(two_cards(root))
        setattr(xen, fault, True)
        kill_at(xen, number)
        try:
            xen.apply("present", DEVICES)
        except Killed:
            pass
        except DriverDomainsError:
            ended = True
        live_on(xen)
        setattr(xen, fault, False)
        xen.apply("absent", DEVICES)
        check_absent(xen)
        number += 1
    assert number > 5
