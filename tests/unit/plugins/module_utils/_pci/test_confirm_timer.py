# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Devices that have to be confirmed: the timer, its confirmation, and the shell script that returns devices."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._pci import confirm_timer
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.confirm_timer import UNIT, Unconfirmed
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.return_script import RETURN_SCRIPT
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Action
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

CARD = "0000:00:04.0"
FAR_CARD = "0000:03:00.0"
UPLINK0 = {"name": "uplink0", "match": {"mac": "52:54:00:aa:00:02"}}
UPLINK1 = {"name": "uplink1", "match": {"slot": "0000:00/1c.0/00.0"}}


@pytest.fixture
def xen(tmp_path: Path) -> FakeXen:
    return FakeXen(plain_server(tmp_path))


def process(xen: FakeXen, pid: int, name: str, parent: int, started: int = 1) -> None:
    directory = xen.machine.proc / str(pid)
    directory.mkdir(exist_ok=True)
    rest = " ".join(["0"] * 17)
    (directory / "stat").write_text(f"{pid} ({name}) S {parent} {rest} {started} 0 0\n")


def connect(xen: FakeXen, sshd: int, started: int = 1) -> None:
    """Let this process be started over the SSH connection that the process `sshd` serves."""
    process(xen, os.getpid(), "python3", 40)
    process(xen, 40, "sh (login) -c", 41)
    process(xen, 41, "sudo", sshd)
    process(xen, sshd, "sshd-session", 30, started)
    process(xen, 30, "sshd", 1)


def test_the_timer_is_armed_before_a_device_is_taken(xen: FakeXen) -> None:
    plan = xen.apply("present", [UPLINK0, UPLINK1], confirm_timeout=60)
    assert plan.results["unconfirmed"] == [CARD, FAR_CARD]
    assert [call[0] for call in xen.calls] == ["modprobe", "systemctl", "systemd-run", "pci-assignable-add", "pci-assignable-add"]
    armed = xen.calls[2]
    assert {f"--unit={UNIT}", "--on-active=60s"} <= set(armed)
    assert xen.timer == [CARD, FAR_CARD]


def test_a_confirmation_over_a_fresh_connection(xen: FakeXen) -> None:
    connect(xen, 31)
    xen.apply("present", [UPLINK0], confirm_timeout=60)
    with pytest.raises(Refused, match="over the connection that the devices were taken over.*reset_connection"):
        xen.apply("confirmed", [UPLINK0])
    connect(xen, 32)
    plan = xen.apply("confirmed", [UPLINK0])
    assert [action.description for action in plan.actions] == [f"confirm {CARD}"]
    assert (xen.timer, xen.confirm_timer().unconfirmed()) == ([], Unconfirmed())
    assert plan.results["devices"][0]["pciback"]
    assert xen.apply("confirmed", [UPLINK0]).actions == []


def test_a_process_that_took_over_the_number_of_another_is_a_fresh_connection(xen: FakeXen) -> None:
    connect(xen, 31)
    xen.apply("present", [UPLINK0], confirm_timeout=60)
    connect(xen, 31, started=2)
    assert len(xen.plan("confirmed", [UPLINK0]).actions) == 1


def test_without_ssh_every_confirmation_counts(xen: FakeXen) -> None:
    process(xen, os.getpid(), "python3", 1)
    xen.apply("present", [UPLINK0], confirm_timeout=60)
    assert len(xen.plan("confirmed", [UPLINK0]).actions) == 1


def test_a_confirmation_that_comes_too_late(xen: FakeXen) -> None:
    xen.apply("present", [UPLINK0], confirm_timeout=60)
    xen.fire()
    with pytest.raises(DriverDomainsError, match=rf"pciback does not hold uplink0 \({CARD}\).*returned to their drivers"):
        xen.plan("confirmed", [UPLINK0])


def test_a_confirmation_while_the_devices_are_given_back(xen: FakeXen) -> None:
    xen.apply("present", [UPLINK0], confirm_timeout=60)
    xen.firing = True
    with pytest.raises(DriverDomainsError, match="too late"):
        xen.apply("confirmed", [UPLINK0])


def test_nothing_to_take_nothing_to_confirm(xen: FakeXen) -> None:
    xen.apply("present", [UPLINK0])
    xen.calls.clear()
    plan = xen.apply("present", [UPLINK0], confirm_timeout=60)
    assert (plan.actions, xen.calls) == ([], [])
    assert "unconfirmed" not in plan.results


def test_a_second_run_arms_the_timer_for_all(xen: FakeXen) -> None:
    xen.apply("present", [UPLINK0], confirm_timeout=60)
    xen.apply("present", [UPLINK1], confirm_timeout=60)
    assert xen.timer == [CARD, FAR_CARD]


def test_a_run_without_a_time_limit_confirms(xen: FakeXen) -> None:
    xen.apply("present", [UPLINK0], confirm_timeout=60)
    xen.calls.clear()
    plan = xen.apply("present", [UPLINK0])
    assert [action.description for action in plan.actions] == [f"confirm {CARD}"]
    assert xen.timer == []


def test_check_mode_arms_nothing(xen: FakeXen) -> None:
    plan = xen.plan("present", [UPLINK0], confirm_timeout=60)
    assert f"return {CARD} in 60 s unless confirmed" in [action.description for action in plan.actions]
    assert (xen.calls, xen.confirm_timer().unconfirmed()) == ([], Unconfirmed())


@pytest.mark.parametrize("failure", ["stop_fails", "bus_fails"])
def test_nothing_is_confirmed_while_the_timer_may_still_run(xen: FakeXen, failure: str) -> None:
    xen.apply("present", [UPLINK0], confirm_timeout=60)
    setattr(xen, failure, True)
    with pytest.raises(DriverDomainsError, match="cannot be stopped" if failure == "stop_fails" else "too late"):
        xen.apply("confirmed", [UPLINK0])
    assert xen.confirm_timer().unconfirmed().bdfs == (CARD,)


def test_two_runs_confirm_each_their_own(xen: FakeXen) -> None:
    """The second run armed the timer after the first one had planned, and each confirms for itself."""
    connect(xen, 31)
    first = xen.plan("present", [UPLINK0], confirm_timeout=60)
    connect(xen, 32)
    xen.apply("present", [UPLINK1], confirm_timeout=60)
    connect(xen, 31)
    first.apply()
    assert xen.timer == [CARD, FAR_CARD]
    assert xen.confirm_timer().unconfirmed() == Unconfirmed({CARD: "31/1", FAR_CARD: "32/1"})
    # The connection of the second run is a fresh one for the device of the first.
    connect(xen, 32)
    xen.apply("confirmed", [UPLINK0])
    assert xen.confirm_timer().unconfirmed().bdfs == (FAR_CARD,)
    with pytest.raises(Refused, match="over the connection that the devices were taken over"):
        xen.apply("confirmed", [UPLINK1])
    xen.fire()
    drivers = {str(device.bdf): device.driver for device in xen.host().devices()}
    assert (drivers[CARD], drivers[FAR_CARD]) == ("pciback", "e1000e")
    assert xen.confirm_timer().unconfirmed() == Unconfirmed()


def test_a_device_that_no_longer_waits_is_not_confirmed(xen: FakeXen) -> None:
    xen.apply("present", [UPLINK0], confirm_timeout=60)
    plan = xen.plan("confirmed", [UPLINK0])
    xen.fire()
    with pytest.raises(DriverDomainsError, match="too late"):
        plan.apply()


def test_a_timer_that_fires_between_two_devices_ends_the_run(xen: FakeXen) -> None:
    """Nothing would return what is taken after it."""
    plan = xen.plan("present", [UPLINK0, UPLINK1], confirm_timeout=15)
    plan.actions.insert(-1, Action("the time is over", xen.fire))
    with pytest.raises(DriverDomainsError, match=f"{FAR_CARD} is not taken.*longer confirm_timeout"):
        plan.apply()
    assert [xen.machine.driver(bdf) for bdf in (CARD, FAR_CARD)] == ["e1000e", "e1000e"]
    assert (xen.confirm_timer().unconfirmed(), xen.machine.records.load()) == (Unconfirmed(), [])


def test_a_timer_that_fires_before_a_device_is_named_ends_the_run(xen: FakeXen) -> None:
    """xl would take a device that the script has returned, to name it."""
    xen.apply("present", [UPLINK0], confirm_timeout=60)
    renamed = {"name": "other", "match": {"bdf": CARD}}
    plan = xen.plan("present", [renamed], confirm_timeout=60)
    plan.actions.insert(-1, Action("the time is over", xen.fire))
    with pytest.raises(DriverDomainsError, match=f"{CARD} is not taken"):
        plan.apply()
    assert xen.machine.driver(CARD) == "e1000e"


@pytest.mark.parametrize("timeout", [60, 0])
def test_the_script_waits_while_a_device_is_taken(xen: FakeXen, monkeypatch: pytest.MonkeyPatch, timeout: int) -> None:
    monkeypatch.setattr(confirm_timer, "LOCK_TIMEOUT", 0.0)
    locked = []

    def step(what: str) -> None:
        if what.startswith("xl"):
            try:
                with xen.confirm_timer()._locked():
                    locked.append(False)
            except DriverDomainsError:
                locked.append(True)

    xen.machine.step = step
    xen.apply("present", [UPLINK0], confirm_timeout=timeout)
    assert set(locked) == {timeout > 0}


def test_a_confirmation_waits_for_the_lock(xen: FakeXen, monkeypatch: pytest.MonkeyPatch) -> None:
    xen.apply("present", [UPLINK0], confirm_timeout=60)
    monkeypatch.setattr(confirm_timer, "LOCK_TIMEOUT", 0.0)
    with xen.confirm_timer()._locked(), pytest.raises(DriverDomainsError, match="too late"):
        xen.apply("confirmed", [UPLINK0])
    xen.apply("confirmed", [UPLINK0])


def test_what_the_script_returns_is_configured_again(xen: FakeXen) -> None:
    machine = xen.machine
    machine.ifupdown["eth1"] = machine.addresses["eth1"] = ["192.0.2.9"]
    machine.virtual("br0", ports=["eth2"])
    machine.enslave("eth2", "br0")
    xen.apply("present", [UPLINK0, UPLINK1], confirm_timeout=60)
    assert "eth1" not in machine.addresses
    xen.calls.clear()
    xen.fire()
    assert [call for call in xen.calls if call[0].startswith(("if", "ip"))] == [
        ("ifdown", "--force", "eth1"),
        ("ifup", "--force", "eth1"),
        ("ip", "link", "set", "dev", "eth2", "down"),
        ("ip", "link", "set", "dev", "eth2", "master", "br0"),
        ("ip", "link", "set", "dev", "eth2", "up"),
    ]
    assert machine.addresses["eth1"] == ["192.0.2.9"]
    assert [device.master for device in xen.host().devices() if str(device.bdf) == FAR_CARD] == ["br0"]


def test_the_script_leaves_the_interface_of_what_was_not_taken(xen: FakeXen) -> None:
    xen.machine.ifupdown["eth1"] = ["192.0.2.9"]
    xen.apply("recorded", [UPLINK0])
    xen.confirm_timer().arm([CARD], 60)
    xen.calls.clear()
    xen.fire()
    assert xen.calls == []


@pytest.mark.parametrize("over_ssh", [True, False])
def test_a_run_that_did_not_come_over_ssh_is_warned(xen: FakeXen, over_ssh: bool) -> None:
    if over_ssh:
        connect(xen, 31)
    warnings = xen.plan("present", [UPLINK0], confirm_timeout=60).warnings
    assert any("protects nothing" in warning for warning in warnings) is not over_ssh
    assert not any("protects nothing" in warning for warning in xen.plan("present", [UPLINK0]).warnings)


@pytest.mark.parametrize("xl", ["exit 1", "exec sleep 60"], ids=["fails", "hangs"])
def test_the_script_without_xl(xen: FakeXen, tmp_path: Path, xl: str) -> None:
    """Outside of quarantine the device could do no DMA: it stays with pciback, nothing is forgotten, and systemd tries again."""
    machine = xen.machine
    machine.hold(CARD)
    programs, state, record = tmp_path / "bin", tmp_path / "state", tmp_path / "records" / f"{CARD}.json"
    programs.mkdir()
    for name, text in (("xl", f"#!/bin/sh\n{xl}\n"), ("timeout", '#!/bin/sh\nshift\nexec /usr/bin/timeout 0.2 "$@"\n')):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    record.parent.mkdir(exist_ok=True)
    record.touch()
    state.write_text(f'{{"devices": {{"{CARD}": ""}}}}\n')
    argv: list[t.Any] = ["/bin/sh", "-c", RETURN_SCRIPT, UNIT, machine.sys, state, record.parent, CARD]
    done = subprocess.run(argv, env={"PATH": f"{programs}:{os.environ['PATH']}"}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert (machine.driver(CARD), record.exists(), state.exists()) == ("pciback", True, True)
    assert not (machine.sys / "bus/pci/drivers/pciback/unbind").exists()


@pytest.mark.parametrize("state", ["", "another"])
def test_the_script_leaves_what_was_confirmed(xen: FakeXen, tmp_path: Path, state: str) -> None:
    xen.machine.hold(CARD)
    path = tmp_path / "state"
    if state:
        path.write_text(f'{{"devices": {{"{FAR_CARD}": ""}}}}\n')
    argv: list[t.Any] = ["/bin/sh", "-c", RETURN_SCRIPT, UNIT, xen.machine.sys, path, tmp_path / "records", CARD]
    subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert xen.machine.driver(CARD) == "pciback"


def test_a_damaged_state_is_named(xen: FakeXen) -> None:
    (xen.machine.root / "unconfirmed.json").write_text("[]")
    with pytest.raises(DriverDomainsError, match="unconfirmed.json is damaged"):
        xen.confirm_timer().unconfirmed()


XL = """\
#!/bin/sh
echo "$@" >> "$LOG"
[ "$1" != pci-assignable-remove ] || [ -e "$LOG.quarantine" ] || exit 1
case $1 in
  pci-assignable-add) touch "$LOG.quarantine" ;;
  pci-assignable-remove) rm drivers/pciback/$3 devices/$3/driver; [ -z "$REBIND" ] || ln -s "$PWD/drivers/e1000e" devices/$3/driver ;;
esac
"""


@pytest.mark.parametrize(
    ("quarantined", "held", "rebind", "calls", "probed"),
    [
        (True, True, "1", ["pci-assignable-remove -r"], False),
        (True, True, "", ["pci-assignable-remove -r"], True),
        (False, True, "1", ["pci-assignable-remove -r", "pci-assignable-add", "pci-assignable-remove -r"], False),
        (False, False, "", [], True),
    ],
    ids=["as it should be", "xl did not bind it", "not in quarantine", "without a driver"],
)
def test_the_script(xen: FakeXen, tmp_path: Path, quarantined: bool, held: bool, rebind: str, calls: list[str], probed: bool) -> None:
    machine = xen.machine
    machine.driver_directory("pciback")
    machine.bind(CARD, "pciback" if held else "")
    programs, log, state = tmp_path / "bin", tmp_path / "log", tmp_path / "state"
    programs.mkdir()
    (programs / "xl").write_text(XL)
    (programs / "xl").chmod(0o755)
    state.touch()
    log.touch()
    if quarantined:
        (tmp_path / "log.quarantine").touch()
    record = tmp_path / "records" / f"{CARD}.json"
    record.parent.mkdir(exist_ok=True)
    record.touch()
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "LOG": str(log), "REBIND": rebind}
    argv: list[t.Any] = ["/bin/sh", "-c", RETURN_SCRIPT, UNIT, machine.sys, state, record.parent, CARD]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert log.read_text().splitlines() == [f"{call} {CARD}" for call in calls]
    assert ((machine.sys / "bus/pci/drivers_probe").read_text() == f"{CARD}\n") is probed
    assert record.exists() is probed  # nobody has it yet: the kernel of this test does not answer
    assert not state.exists()
