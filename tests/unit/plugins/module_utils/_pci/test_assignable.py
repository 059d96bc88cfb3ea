# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Making devices assignable and returning them, on a machine that answers as xl and the kernel do."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import (
    CommandFailed,
    DriverDomainsError,
    InvalidInput,
    NotOnThisHost,
    Refused,
    TimedOut,
)
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine, plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

CARD = "0000:00:04.0"
FAR_CARD = "0000:03:00.0"
UPLINK0 = {"name": "uplink0", "match": {"mac": "52:54:00:aa:00:02"}}
UPLINK1 = {"name": "uplink1", "match": {"slot": "0000:00/1c.0/00.0"}}
MANAGEMENT = {"name": "mgmt", "match": {"ifname": "eth0"}}


@pytest.fixture
def xen(tmp_path: Path) -> FakeXen:
    return FakeXen(plain_server(tmp_path))


@pytest.mark.parametrize(
    ("dmesg", "outcome"),
    [
        ("(XEN) I/O virtualisation enabled\n(XEN)  - Dom0 mode: Relaxed\n(XEN) Interrupt remapping enabled\n", "done"),
        ("(XEN) [00000012c4f0e4ae] Interrupt remapping enabled\n", "done"),
        ("(XEN) [    1.042310] Interrupt remapping disabled\n", "refused"),
        ("(XEN) Interrupt remapping disabled\n(XEN) d1v0 x\n(XEN) Interrupt remapping enabled\n", "refused"),
        ("", "warned"),
        ("(XEN) Intel VT-d Interrupt Remapping not enabled.\n(d1) (XEN) Interrupt remapping enabled\n", "warned"),
        ("(d1) \n(d1) Interrupt remapping disabled\n", "warned"),
    ],
)
def test_interrupt_remapping(xen: FakeXen, dmesg: str, outcome: str) -> None:
    """The line is of Xen itself, from its boot; a log that has lost it proves nothing."""
    xen.dmesg_text = dmesg
    plan = xen.plan("present", [UPLINK0])
    assert any("remaps interrupts is not known" in warning for warning in plan.warnings) is (outcome == "warned")
    if outcome == "refused":
        with pytest.raises(Refused, match=r"Xen does not remap interrupts \[interrupt_remapping\]"):
            plan.apply()
        xen.apply("present", [UPLINK0], force=["interrupt_remapping"])
    else:
        plan.apply()
    assert xen.machine.driver(CARD) == "pciback"


def test_a_log_of_xen_that_cannot_be_read_and_other_machines(xen: FakeXen, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise CommandFailed("'xl dmesg' failed")

    monkeypatch.setattr(xen, "dmesg", fails)
    assert any("remaps interrupts" in warning for warning in xen.plan("present", [UPLINK0]).warnings)
    monkeypatch.setattr(xen, "info", lambda: {"virt_caps": "pv_directio", "machine": "aarch64"})
    assert not any("remaps interrupts" in warning for warning in xen.plan("present", [UPLINK0]).warnings)


def test_what_is_taken_already_needs_no_log(xen: FakeXen) -> None:
    taken(xen, UPLINK0)
    assert ("xl", "dmesg") not in questions_of(xen, lambda: xen.apply("present", [UPLINK0]))


def taken(xen: FakeXen, *devices: dict[str, t.Any]) -> FakeXen:
    """Take devices in an earlier run, and forget what it did."""
    xen.apply("present", devices)
    return forget_calls(xen)


def questions_of(xen: FakeXen, act: t.Callable[[], object]) -> list[tuple[str, ...]]:
    """Return the questions that `act` asked the machine."""
    xen.questions.clear()
    act()
    return xen.questions


def forget_calls(xen: FakeXen) -> FakeXen:
    xen.calls.clear()
    xen.questions.clear()
    return xen


def reboot(xen: FakeXen, *hidden: str) -> FakeXen:
    xen.reboot(*hidden)
    return forget_calls(xen)


class TestPresent:
    def test_two_devices(self, xen: FakeXen) -> None:
        plan = xen.apply("present", [UPLINK0, UPLINK1])
        assert [action.description for action in plan.actions] == [
            "modprobe xen-pciback",
            f"make {CARD} assignable as uplink0",
            f"make {FAR_CARD} assignable as uplink1",
        ]
        assert xen.calls == [
            ("modprobe", "xen-pciback"),
            ("pci-assignable-add", CARD, "uplink0"),
            ("pci-assignable-add", FAR_CARD, "uplink1"),
        ]
        assert plan.diffs[0] == {
            "before_header": CARD,
            "after_header": CARD,
            "before": "driver: e1000e\nname: (none)\n",
            "after": "driver: pciback\nname: uplink0\n",
        }
        first, second = plan.results["devices"]
        assert (first["name"], first["bdf"], first["driver"], first["pciback"], first["xl_name"]) == (
            "uplink0",
            CARD,
            "pciback",
            True,
            "uplink0",
        )
        assert (first["mac"], first["interfaces"], first["kernel_modules"]) == ("52:54:00:aa:00:02", [], ["e1000e"])
        assert (second["name"], second["mac"]) == ("uplink1", "52:54:00:aa:00:03")
        assert vars(xen.machine.records.load()[0]) == {
            "name": "uplink0",
            "bdf": CARD,
            "vendor_device": "8086:10d3",
            "slot": "0000:00/04.0",
            "mac": "52:54:00:aa:00:02",
            "ifname": "eth1",
            "driver": "e1000e",
            "boot": "boot-1",
            "serial": "",
            "master": "",
        }

    def test_the_second_run_changes_nothing_and_asks_xl_nothing(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0, UPLINK1)
        before = xen.host().devices()
        plan = xen.apply("present", [UPLINK0, UPLINK1])
        assert (plan.actions, xen.calls) == ([], [])
        assert ("xl", "info") not in xen.questions
        assert xen.host().devices() == before
        assert [device["pciback"] for device in plan.results["devices"]] == [True, True]

    def test_check_mode_predicts_and_changes_nothing(self, xen: FakeXen) -> None:
        predicted = xen.plan("present", [UPLINK0])
        assert xen.calls == []
        assert xen.machine.records.load() == []
        assert len(predicted.actions) == 2
        done = xen.apply("present", [UPLINK0])
        (predicted_device,), (found,) = predicted.results["devices"], done.results["devices"]
        assert {**predicted_device, "in_pciback_slots": True} == found

    @pytest.mark.parametrize("device", [UPLINK0, MANAGEMENT])
    def test_a_refusal_stops_everything(self, xen: FakeXen, device: dict[str, t.Any]) -> None:
        with pytest.raises(Refused, match=r"mgmt \(0000:00:03\.0\): carries the management connection.*force: \[default_route, management"):
            xen.apply("present", [UPLINK0, MANAGEMENT] if device is UPLINK0 else [MANAGEMENT])
        assert xen.calls == []

    def test_a_refusal_can_be_overridden_by_name(self, xen: FakeXen) -> None:
        with pytest.raises(Refused, match=r"\[default_route\]\. If"):
            xen.apply("present", [MANAGEMENT], force=["management_route"])
        plan = xen.apply("present", [MANAGEMENT], force=["management_route", "default_route"])
        assert len(plan.warnings) == 2
        assert plan.results["devices"][0]["pciback"]

    def test_a_device_that_is_held_already_is_not_refused(self, xen: FakeXen) -> None:
        xen.apply("present", [MANAGEMENT], force=["management_route", "default_route"])
        assert xen.apply("present", [{"name": "mgmt", "match": {"bdf": "00:03.0"}}]).actions == []

    @pytest.mark.parametrize("virt_caps", ["", "pv", "pv hvm hap"])
    def test_no_iommu(self, xen: FakeXen, virt_caps: str) -> None:
        xen.virt_caps = virt_caps
        with pytest.raises(NotOnThisHost, match=r"no IOMMU.*virt_caps.*VT-d.*firmware"):
            xen.plan("present", [UPLINK0])
        assert xen.calls == []

    @pytest.mark.parametrize("virt_caps", ["pv pv_directio", "hvm hvm_directio"])
    def test_an_iommu(self, xen: FakeXen, virt_caps: str) -> None:
        xen.virt_caps = virt_caps
        assert len(xen.plan("present", [UPLINK0]).actions) == 2

    def test_check_mode_before_the_first_boot_under_xen(self, xen: FakeXen) -> None:
        xen.under_xen = False
        plan = xen.plan("present", [UPLINK0])
        assert [action.description for action in plan.actions] == ["modprobe xen-pciback", f"make {CARD} assignable as uplink0"]
        assert "does not run under Xen yet" in plan.warnings[0]
        assert ("xl", "info") not in xen.questions

    @pytest.mark.parametrize("hidden", [(), (CARD,)], ids=["taken at run time", "hidden at boot"])
    def test_after_a_reboot(self, xen: FakeXen, hidden: tuple[str, ...]) -> None:
        reboot(taken(xen, UPLINK0), *hidden)
        plan = xen.apply("present", [UPLINK0])
        assert xen.calls == [("pci-assignable-add", CARD, "uplink0")]
        assert plan.actions[-1].description == (f"name {CARD} uplink0" if hidden else f"make {CARD} assignable as uplink0")
        assert xen.quarantine == {CARD}
        assert plan.results["devices"][0]["xl_name"] == "uplink0"
        assert xen.machine.records.load()[0].driver == "e1000e"

    def test_another_name(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0)
        plan = xen.apply("present", [{**UPLINK0, "name": "wan"}])
        assert plan.diffs[0]["before"] == "driver: pciback\nname: uplink0\n"
        assert plan.diffs[0]["after"] == "driver: pciback\nname: wan\n"
        record = xen.machine.records.load()[0]
        assert (record.name, record.mac, record.driver) == ("wan", "52:54:00:aa:00:02", "e1000e")

    def test_two_devices_swap_their_names(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0, UPLINK1)
        plan = xen.apply("present", [{**UPLINK0, "name": "uplink1"}, {**UPLINK1, "name": "uplink0"}])
        assert [device["xl_name"] for device in plan.results["devices"]] == ["uplink1", "uplink0"]

    def test_the_name_of_a_device_in_use_is_not_given_to_another_one(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0, UPLINK1)
        xen.assign(CARD, 7)
        xen.store.running[7] = "net-dd"
        with pytest.raises(InvalidInput, match=f"{FAR_CARD} cannot be called 'uplink0': the running domain 7 has {CARD}.*Stop domain 7"):
            xen.apply("present", [{**UPLINK0, "name": "uplink1"}, {**UPLINK1, "name": "uplink0"}])
        assert xen.calls == []

    def test_a_name_that_another_device_has(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0)
        with pytest.raises(InvalidInput, match=f"{FAR_CARD} cannot be called 'uplink0': xl knows {CARD} by that name"):
            xen.apply("present", [{**UPLINK1, "name": "uplink0"}])
        assert xen.calls == []

    @pytest.mark.parametrize(
        ("recorded", "xl_name", "warned"),
        [("uplink0", "", False), ("old", "", True), ("uplink0", "other", True), ("", "", True)],
        ids=["forgotten at the reboot", "recorded by another name", "named by somebody else", "never recorded"],
    )
    def test_a_device_in_use_is_left_alone(self, xen: FakeXen, recorded: str, xl_name: str, warned: bool) -> None:
        """A name that xl forgot when the host rebooted is nothing that a run has to speak about."""
        reboot(taken(xen, {**UPLINK0, "name": recorded or "uplink0"}), CARD)
        xen.assign(CARD, 7)
        xen.store.running[7] = "net-dd"
        wanted = UPLINK0
        if xl_name:
            xen.store.values["/libxl/pci/0000-00-04-0/name"] = xl_name
        if not recorded:
            xen.machine.records.forget(xen.machine.records.load()[0])
            wanted = {"name": "uplink0", "match": {"bdf": CARD}}
        plan = xen.apply("present", [wanted])
        assert (plan.actions, xen.calls) == ([], [])
        assert [warning for warning in plan.warnings if "while domain 7 has it" not in warning] == []
        assert bool(plan.warnings) is warned
        assert plan.results["devices"][0]["owner_domid"] == 7

    def test_an_xl_that_knows_no_names(self, xen: FakeXen) -> None:
        xen.apply("present", [UPLINK0], names=False)
        assert xen.calls[-1] == ("pci-assignable-add", CARD, "")
        assert forget_calls(xen).apply("present", [UPLINK0], names=False).actions == []

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ("quarantine_fails", f"failed to quarantine {CARD}"),
            ("bind_fails", "Couldn't bind device to pciback!"),
            ("forgets_to_bind", f"xl reported no error, yet {CARD} is bound to e1000e instead of pciback"),
        ],
    )
    def test_a_failure_leaves_the_host_as_it_was(self, xen: FakeXen, fault: str, message: str) -> None:
        before = xen.host().devices()
        setattr(xen, fault, True)
        with pytest.raises(DriverDomainsError, match=message) as caught:
            xen.apply("present", [UPLINK0])
        assert "undo" not in caught.value.details
        assert xen.host().devices() == before
        assert xen.machine.records.load() == []

    def test_a_failure_keeps_an_older_record(self, xen: FakeXen) -> None:
        xen.apply("recorded", [UPLINK0])
        records = xen.machine.records.load()
        xen.quarantine_fails = True
        with pytest.raises(CommandFailed):
            xen.apply("present", [{**UPLINK0, "name": "wan"}])
        assert xen.machine.records.load() == records

    def test_a_failure_that_cannot_be_undone_says_so(self, xen: FakeXen, monkeypatch: pytest.MonkeyPatch) -> None:
        xen.quarantine_fails = True
        monkeypatch.setattr(xen.machine, "probe", lambda bdf: None)
        with pytest.raises(CommandFailed, match="failed to quarantine") as caught:
            xen.apply("present", [UPLINK0])
        assert "could not be returned to e1000e" in caught.value.details["undo"]
        assert xen.machine.records.load()[0].mac == "52:54:00:aa:00:02"

    def test_a_failure_leaves_nothing_for_xl_to_remember(self, xen: FakeXen) -> None:
        """A name that stays behind would be found before the device that has it later."""
        xen.quarantine_fails = True
        with pytest.raises(CommandFailed):
            xen.apply("present", [UPLINK0])
        assert (xen.store.values, xen.machine.slots) == ({}, [])

    def test_a_name_that_a_device_had_once_is_dropped(self, xen: FakeXen) -> None:
        xen.store.values["/libxl/pci/0000-00-1d-0/name"] = "uplink0"
        plan = xen.apply("present", [UPLINK0])
        assert "forget that 0000:00:1d.0 was uplink0" in [action.description for action in plan.actions]
        assert list(xen.store.values.values()).count("uplink0") == 1

    @pytest.mark.parametrize("state", ["held", "free"])
    def test_the_number_of_a_domain_that_is_gone_is_dropped(self, xen: FakeXen, state: str) -> None:
        if state == "held":
            taken(xen, UPLINK0)
        xen.assign(CARD, 7)
        plan = xen.apply("present", [UPLINK0])
        assert f"forget that domain 7, which is gone, has {CARD}" in [action.description for action in plan.actions]
        assert "/libxl/pci/0000-00-04-0/domid" not in xen.store.values
        assert xen.store.values["/libxl/pci/0000-00-04-0/name"] == "uplink0"
        assert xen.apply("present", [UPLINK0]).actions == []

    def test_a_device_that_somebody_bound_to_pciback_is_put_into_quarantine_once(self, xen: FakeXen) -> None:
        xen.machine.hold(CARD)
        xen.store.values["/libxl/pci/0000-00-04-0/name"] = "uplink0"
        by_address = {"name": "uplink0", "match": {"bdf": CARD}}
        xen.apply("present", [by_address])
        assert xen.quarantine == {CARD}
        assert xen.apply("present", [by_address]).actions == []

    def test_a_device_that_cannot_be_reset_is_warned_about(self, xen: FakeXen) -> None:
        (xen.machine.device(CARD) / "reset_method").unlink()
        assert f"cannot reset uplink0 ({CARD})" in xen.apply("present", [UPLINK0]).warnings[0]
        assert xen.apply("present", [UPLINK0]).warnings == []

    def test_all_functions_of_a_slot(self, xen: FakeXen) -> None:
        xen.machine.pci("0000:00:1d.1", "8086:2935", "0c0300", driver="uhci_hcd")
        usb = {"name": "usb", "match": {"bdf": "00:1d.*"}, "match_all": True}
        plan = xen.apply("present", [usb])
        assert [(device["name"], device["bdf"]) for device in plan.results["devices"]] == [
            ("usb.0", "0000:00:1d.0"),
            ("usb.1", "0000:00:1d.1"),
        ]
        assert xen.apply("present", [usb]).actions == []
        assert [device["driver"] for device in xen.apply("absent", [usb]).results["devices"]] == ["uhci_hcd"] * 2

    def test_64_devices_are_one_reading_and_a_second_run_writes_nothing(self, tmp_path: Path) -> None:
        machine = FakeMachine(tmp_path)
        many = []
        for number in range(64):
            bdf = f"0000:00:{number // 4 + 4:02x}.{number % 4}"
            machine.pci(bdf, "8086:10d3", "020000", driver="e1000e")
            machine.nic(f"eth{number}", bdf, f"52:54:00:00:00:{number:02x}")
            many.append({"name": f"card{number}", "match": {"mac": f"52:54:00:00:00:{number:02x}"}})
        xen = FakeXen(machine)
        predicted = xen.plan("present", many)
        assert (len(predicted.actions), xen.calls, xen.store.writes, machine.records.load()) == (65, [], 0, [])
        few = len(questions_of(xen, lambda: xen.plan("present", many[:1])))
        assert len(questions_of(xen, lambda: xen.apply("present", many))) == few
        assert len(xen.calls) == 65
        forget_calls(xen)
        writes: list[str] = []
        machine.step = writes.append
        assert len(questions_of(xen, lambda: xen.apply("present", many))) <= few
        xen.plan("absent", many)
        assert (xen.calls, writes) == ([], [])

    def test_no_devices_nothing_to_do(self, xen: FakeXen) -> None:
        plan = xen.apply("present", [])
        assert (plan.actions, plan.results["devices"], xen.calls, xen.questions) == ([], [], [], [])

    def test_a_device_of_a_running_domain_is_refused_whatever_driver_has_it(self, xen: FakeXen) -> None:
        """Somebody unbound it from pciback, and the domain still uses it."""
        xen.assign(CARD, 7)
        xen.store.running[7] = "net-dd"
        with pytest.raises(Refused, match=r"is in use by the running domain 7 \[in_use\]"):
            xen.apply("present", [UPLINK0])
        with pytest.raises(Refused, match=r"is in use by the running domain 7 \[in_use\]"):
            xen.apply("absent", [UPLINK0])
        assert (xen.calls, xen.store.writes) == ([], 0)


class TestRecorded:
    def test_only_the_record_is_written(self, xen: FakeXen) -> None:
        xen.under_xen = False
        plan = xen.apply("recorded", [UPLINK0])
        assert [action.description for action in plan.actions] == [f"record {CARD} as uplink0"]
        assert xen.calls == []
        assert not plan.results["devices"][0]["pciback"]
        assert plan.diffs[0]["after"] == xen.machine.records.load()[0].text
        assert xen.apply("recorded", [UPLINK0]).actions == []

    def test_a_device_hidden_at_boot_is_then_known_by_its_address(self, xen: FakeXen) -> None:
        xen.apply("recorded", [UPLINK0])
        reboot(xen, CARD)
        assert xen.apply("recorded", [UPLINK0]).actions == []
        plan = xen.apply("present", [UPLINK0])
        assert plan.results["devices"][0]["bdf"] == CARD
        xen.apply("absent", [UPLINK0])
        assert xen.host().interface_names(xen.host().devices()[4].bdf) == ["eth1"]

    def test_guard_rails_hold_without_xen_too(self, xen: FakeXen) -> None:
        xen.under_xen = False
        with pytest.raises(Refused, match="management"):
            xen.apply("recorded", [MANAGEMENT])
        assert xen.machine.records.load() == []

    def test_what_is_pending_is_what_present_does(self, xen: FakeXen) -> None:
        for boot in ("first", "hidden"):
            pending = xen.apply("recorded", [UPLINK0, UPLINK1]).results["pending"]
            assert pending, boot
            assert [action.description for action in xen.apply("present", [UPLINK0, UPLINK1]).actions] == pending
            plan = xen.apply("recorded", [UPLINK0, UPLINK1])
            assert (plan.results["pending"], plan.actions) == ([], [])
            # pciback has the devices then, but xl has forgotten their names.
            reboot(xen, CARD, FAR_CARD)

    def test_a_confirmation_is_pending(self, xen: FakeXen) -> None:
        xen.apply("present", [UPLINK0], confirm_timeout=60)
        assert xen.apply("recorded", [UPLINK0]).results["pending"] == [f"confirm {CARD}"]

    def test_nothing_is_recorded_of_what_could_not_be_taken(self, xen: FakeXen) -> None:
        xen.virt_caps = "pv"
        with pytest.raises(NotOnThisHost, match="no IOMMU"):
            xen.apply("recorded", [UPLINK0])
        assert xen.machine.records.load() == []

    def test_a_host_without_devices(self, xen: FakeXen) -> None:
        plan = xen.apply("recorded", [])
        assert (plan.actions, plan.results["pending"], plan.results["devices"]) == ([], [], [])


class TestAbsent:
    def test_the_driver_and_the_interface_come_back(self, xen: FakeXen) -> None:
        before = xen.host().devices()
        taken(xen, UPLINK0)
        plan = xen.apply("absent", [UPLINK0])
        assert [action.description for action in plan.actions] == [f"return {CARD} to its driver"]
        assert xen.calls == [("pci-assignable-remove", CARD)]
        assert plan.diffs[0]["after"] == "driver: e1000e\nname: (none)\n"
        device = plan.results["devices"][0]
        assert (device["driver"], device["interfaces"]) == ("e1000e", [{"name": "eth1", "mac": "52:54:00:aa:00:02"}])
        assert xen.machine.records.load() == []
        assert xen.host().devices() == before

    def test_the_second_run_changes_nothing(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0)
        xen.apply("absent", [UPLINK0])
        forget_calls(xen)
        plan = xen.apply("absent", [UPLINK0])
        assert (plan.actions, xen.calls) == ([], [])

    def test_check_mode_changes_nothing(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0)
        plan = xen.plan("absent", [UPLINK0])
        assert len(plan.actions) == 1
        assert plan.results["devices"][0]["driver"] == "e1000e"
        assert xen.calls == []

    def test_a_device_that_was_pulled_out_is_gone(self, xen: FakeXen) -> None:
        taken(xen, UPLINK1)
        plan = xen.apply("absent", [{"name": "old", "match": {"mac": "52:54:00:00:00:99"}}, UPLINK1])
        assert [device["driver"] for device in plan.results["devices"]] == ["e1000e"]
        assert "No device of this host matches 'old' (mac 52:54:00:00:00:99)" in plan.warnings[0]

    def test_a_device_that_could_be_the_one_is_not_taken_for_gone(self, xen: FakeXen) -> None:
        """What pciback holds has no MAC address, unless it was recorded."""
        xen.machine.hold(CARD)
        with pytest.raises(InvalidInput, match="no device of this host matches 'uplink0'"):
            xen.apply("absent", [UPLINK0])
        assert xen.calls == []

    def test_check_mode_after_a_task_that_only_pretended_to_stop_the_domain(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0)
        xen.assign(CARD, 7)
        xen.store.running[7] = "net-dd"
        plan = xen.plan("absent", [UPLINK0])
        plan.apply(check_mode=True)
        assert "Would be refused unless an earlier task resolves it: uplink0" in plan.warnings[0]

    def test_a_device_in_use_is_refused(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0)
        xen.assign(CARD, 7)
        xen.store.running[7] = "net-dd"
        with pytest.raises(Refused, match=r"uplink0 \(0000:00:04\.0\): is in use by the running domain 7.*force: \[in_use\]"):
            xen.apply("absent", [UPLINK0])
        assert xen.calls == []
        assert xen.apply("absent", [UPLINK0], force=["in_use"]).results["devices"][0]["driver"] == "e1000e"

    def test_a_device_that_was_hidden_at_boot_and_never_named(self, xen: FakeXen) -> None:
        xen.machine.hold(CARD)
        plan = xen.apply("absent", [{"name": "uplink0", "match": {"bdf": CARD}}])
        assert xen.calls[:2] == [("pci-assignable-add", CARD, ""), ("pci-assignable-remove", CARD)]
        assert xen.calls[-1] == ("write", "bus/pci/drivers_probe", CARD)
        assert plan.results["devices"][0]["driver"] == "e1000e"
        assert xen.quarantine == set()

    @pytest.mark.parametrize("driver", ["", "e1000e"], ids=["nobody has it", "its driver has it"])
    def test_a_device_that_somebody_unbound_from_pciback_is_still_in_quarantine(self, xen: FakeXen, driver: str) -> None:
        taken(xen, UPLINK0)
        xen.machine.bind(CARD, driver)
        plan = xen.apply("absent", [UPLINK0])
        assert [action.description for action in plan.actions] == [f"bind {CARD} to its driver again"]
        assert (xen.quarantine, xen.machine.slots, xen.machine.records.load()) == (set(), [], [])
        assert plan.results["devices"][0]["driver"] == "e1000e"
        assert xen.apply("absent", [UPLINK0]).actions == []

    def test_a_device_that_was_given_back_with_xl_alone(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0)
        xen.pci_assignable_remove(CARD)
        assert xen.apply("absent", [UPLINK0]).results["devices"][0]["driver"] == "e1000e"
        assert xen.machine.records.load() == []

    def test_an_override_that_pciback_left_is_cleared(self, xen: FakeXen) -> None:
        xen.leaves_override = True
        taken(xen, UPLINK0)
        plan = xen.apply("absent", [UPLINK0])
        assert ("write", f"bus/pci/devices/{CARD}/driver_override", "\n") in xen.calls
        assert plan.results["devices"][0]["driver"] == "e1000e"

    @pytest.mark.parametrize("boot", ["same", "next"])
    @pytest.mark.parametrize("master", ["", "br0"])
    def test_the_interface_is_configured_again(self, xen: FakeXen, master: str, boot: str) -> None:
        machine = xen.machine
        if master:
            machine.virtual("br0", ports=["eth1"])
            machine.enslave("eth1", "br0")
        else:
            machine.ifupdown["eth1"] = ["192.0.2.9"]
        xen.apply("present", [UPLINK0])
        if boot == "next":
            reboot(xen, CARD)
        xen.apply("absent", [UPLINK0])
        (card,) = [device for device in xen.host().devices() if str(device.bdf) == CARD]
        assert (card.master, machine.addresses.get("eth1", [])) == (master, [] if master else ["192.0.2.9"])

    def test_an_interface_that_is_in_use_is_left_alone(self, xen: FakeXen) -> None:
        """Somebody has bound the device to its driver already."""
        taken(xen, UPLINK0)
        xen.machine.bind(CARD, "e1000e")
        xen.machine.ifupdown["eth1"] = xen.machine.addresses["eth1"] = ["192.0.2.9"]
        xen.apply("absent", [UPLINK0])
        assert not [call for call in xen.calls if call[0] in ("ifdown", "ifup")]

    @pytest.mark.parametrize("begin", ["present", "recorded"])
    def test_a_device_that_cannot_be_put_into_quarantine_comes_back_without_xl(self, xen: FakeXen, begin: str) -> None:
        """Hidden at boot, and the IOMMU is off now: Xen has nothing in quarantine."""
        xen.apply(begin, [UPLINK0])
        reboot(xen, CARD)
        xen.quarantine_fails = True
        plan = xen.apply("absent", [UPLINK0])
        assert plan.results["devices"][0]["interfaces"] == [{"name": "eth1", "mac": "52:54:00:aa:00:02"}]
        assert (xen.machine.slots, xen.machine.records.load(), xen.store.values) == ([], [], {})

    def test_xl_fails_and_pciback_still_has_the_device(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0)
        xen.remove_fails = True
        with pytest.raises(CommandFailed, match="failed to de-quarantine"):
            xen.apply("absent", [UPLINK0])
        assert xen.machine.records.load()[0].name == "uplink0"

    def test_no_driver_takes_the_device_back(self, xen: FakeXen, monkeypatch: pytest.MonkeyPatch) -> None:
        taken(xen, UPLINK0)
        xen.remembered_driver(CARD, "")
        monkeypatch.setattr(xen.machine, "probe", lambda bdf: None)
        with pytest.raises(TimedOut, match=f"{CARD} has no driver after its return; it had e1000e before"):
            xen.apply("absent", [UPLINK0])

    def test_the_interface_has_its_name_when_udev_is_slow(self, xen: FakeXen) -> None:
        taken(xen, UPLINK0)
        xen.machine.slow_udev = True
        device = xen.apply("absent", [UPLINK0]).results["devices"][0]
        assert device["interfaces"] == [{"name": "eth1", "mac": "52:54:00:aa:00:02"}]

    def test_another_driver_takes_the_device(self, xen: FakeXen, monkeypatch: pytest.MonkeyPatch) -> None:
        taken(xen, UPLINK0)
        xen.remembered_driver(CARD, "vfio-pci")
        with pytest.raises(DriverDomainsError, match="is bound to vfio-pci instead of e1000e"):
            xen.apply("absent", [UPLINK0])

    def test_the_interface_does_not_come_back(self, xen: FakeXen, monkeypatch: pytest.MonkeyPatch) -> None:
        taken(xen, UPLINK0)
        monkeypatch.setattr(xen.machine, "_netdevs", {})
        with pytest.raises(TimedOut, match="is bound to e1000e again but its network interface does not appear"):
            xen.apply("absent", [UPLINK0])

    def test_a_device_that_never_had_a_driver(self, tmp_path: Path) -> None:
        machine = FakeMachine(tmp_path)
        machine.pci(CARD, "1af4:9999", "ff0000")
        xen = FakeXen(machine)
        odd = {"name": "odd", "match": {"bdf": CARD}}
        xen.apply("present", [odd])
        assert xen.apply("absent", [odd]).results["devices"][0]["driver"] == ""

    def test_a_record_of_a_device_that_was_not_taken_is_dropped(self, xen: FakeXen) -> None:
        xen.apply("recorded", [UPLINK0])
        plan = xen.apply("absent", [UPLINK0])
        assert [action.description for action in plan.actions] == [f"forget {CARD}"]
        assert xen.calls == []
        assert xen.machine.records.load() == []

    def test_a_host_without_xen_has_nothing_to_give_back(self, xen: FakeXen) -> None:
        xen.under_xen = False
        assert xen.apply("absent", [UPLINK0]).actions == []
