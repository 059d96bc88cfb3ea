# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""xl_pci_assignable and xl_pci_info: what they check before they read the host, and what they return."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.xen.driver_domains.plugins.doc_fragments.pci_devices import ModuleDocFragment
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput, NotOnThisHost, Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.guards import PCI_GUARDS
from ansible_collections.xen.driver_domains.plugins.module_utils._xen import host as xen_host
from ansible_collections.xen.driver_domains.plugins.modules import xl_pci_assignable, xl_pci_info
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen

UPLINK0 = {"name": "uplink0", "match": {"mac": "52:54:00:aa:00:02"}}


@pytest.fixture
def xen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeXen:
    """A fake machine where the modules look for the real one."""
    fake: t.Any = FakeXen(plain_server(tmp_path))
    monkeypatch.setattr(xen_host, "require_root", lambda: None)
    for module in (xl_pci_assignable, xl_pci_info):
        monkeypatch.setattr(module, "Runner", lambda timeout: fake)
        monkeypatch.setattr(module, "XenStore", lambda: fake.store)
        monkeypatch.setattr(module, "PciHost", lambda store: fake.host())
        monkeypatch.setattr(module, "Guards", lambda devices, runner: fake.guards(devices))
        monkeypatch.setattr(module, "xen_version", lambda: (4, 17) if fake.under_xen else None)
        monkeypatch.setattr(module, "require_dom0", lambda: xen_host.require_dom0(str(fake.machine.sys), str(fake.machine.proc)))
        monkeypatch.setattr(module, "Xl", lambda runner: fake)
    monkeypatch.setattr(xl_pci_assignable, "require_root", lambda: None)
    monkeypatch.setattr(xl_pci_assignable, "ConfirmTimer", lambda runner: fake.confirm_timer())
    hypervisor = fake.machine.sys / "hypervisor/version"
    hypervisor.mkdir(parents=True)
    (hypervisor.parent / "type").write_text("xen\n")
    (hypervisor / "major").write_text("4\n")
    (hypervisor / "minor").write_text("17\n")
    return t.cast(FakeXen, fake)


def without_xen(xen: FakeXen) -> None:
    xen.under_xen = False
    (xen.machine.sys / "hypervisor/type").unlink()


def parameters(*devices: dict[str, t.Any], **others: t.Any) -> dict[str, t.Any]:
    return {"devices": list(devices), "state": "present", "force": [], "uplinks": [], "confirm_timeout": 0, "timeout": 60, **others}


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("state", ["present", "recorded", "absent"])
def test_assignable_needs_root(monkeypatch: pytest.MonkeyPatch, state: str, check_mode: bool) -> None:
    monkeypatch.setattr(xl_pci_assignable, "require_root", lambda: xen_host.require_root(lambda: 1000))
    with pytest.raises(NotOnThisHost, match=r"needs root but runs as uid 1000.*become"):
        xl_pci_assignable.prepare(parameters(UPLINK0, state=state))


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ([{"name": "uplink0", "match": {"bdf": "3:0.0"}}], "'3:0.0' is not a PCI address"),
        ([{"name": "up link", "match": {"bdf": "03:00.0"}}], "'up link' cannot be the name"),
        ([{"name": "a", "match": {"mac": "5254"}}], "'5254' is not a MAC address"),
        ([UPLINK0, UPLINK0], "have the same name"),
        ([{"name": "a", "match": {"bdf": "09:00.0"}}], "no device of this host matches"),
        ([{"name": "a", "match": {"vendor_device": "8086:10d3"}}], "2 devices of this host match"),
    ],
)
@pytest.mark.parametrize("module", [xl_pci_assignable, xl_pci_info])
def test_bad_input_changes_nothing(xen: FakeXen, module: t.Any, devices: list[dict[str, t.Any]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        module.prepare(parameters(*devices))
    assert xen.calls == []


@pytest.mark.parametrize(
    ("state", "check_mode", "refused"),
    [
        ("present", False, True),
        ("present", True, False),
        ("recorded", False, False),
        ("recorded", True, False),
        ("absent", False, False),
        ("absent", True, False),
    ],
)
def test_assignable_on_a_host_without_xen(xen: FakeXen, state: str, check_mode: bool, refused: bool) -> None:
    without_xen(xen)
    plan = xl_pci_assignable.prepare(parameters(UPLINK0, state=state))
    assert plan.results["xen"] is False
    assert bool(plan.actions) is (state != "absent")
    if refused:
        with pytest.raises(Refused, match="does not run under Xen"):
            plan.apply()
    elif check_mode:
        plan.apply(check_mode=True)
        assert bool(plan.warnings) is (state == "present")
    assert xen.calls == []


@pytest.mark.parametrize("module", [xl_pci_assignable, xl_pci_info])
def test_a_guest_of_xen_is_refused(xen: FakeXen, module: t.Any) -> None:
    (xen.machine.proc / "xen").mkdir()
    (xen.machine.proc / "xen/capabilities").write_text("\n")
    with pytest.raises(DriverDomainsError, match="a guest of Xen, not its control domain"):
        module.prepare(parameters(UPLINK0))


def test_assignable_plans(xen: FakeXen) -> None:
    plan = xl_pci_assignable.prepare(parameters(UPLINK0))
    assert plan.results["xen"] is True
    assert [action.description for action in plan.actions] == ["modprobe xen-pciback", "make 0000:00:04.0 assignable as uplink0"]


@pytest.mark.parametrize("under_xen", [True, False])
def test_info_of_all_devices(xen: FakeXen, under_xen: bool) -> None:
    if not under_xen:
        without_xen(xen)
    devices = xl_pci_info.prepare({"devices": None, "timeout": 60}).results["devices"]
    assert len(devices) == len(os.listdir(xen.machine.sys / "bus/pci/devices"))
    guards = {device["bdf"]: [guard["guard"] for guard in device["guards"]] for device in devices}
    assert guards["0000:00:03.0"] == ["management_route", "default_route"]
    assert guards["0000:00:04.0"] == []
    assert xen.calls == []


def test_info_names_devices_by_request_by_xl_and_by_record(xen: FakeXen) -> None:
    xen.apply("present", [UPLINK0])
    xen.apply("recorded", [{"name": "spare", "match": {"ifname": "eth2"}}])
    names = {device["bdf"]: device["name"] for device in xl_pci_info.prepare({"devices": None, "timeout": 60}).results["devices"]}
    assert (names["0000:00:04.0"], names["0000:03:00.0"], names["0000:00:03.0"]) == ("uplink0", "spare", "")
    (device,) = xl_pci_info.prepare({"devices": [{**UPLINK0, "name": "wan"}], "timeout": 60}).results["devices"]
    assert (device["name"], device["bdf"], device["pciback"], device["kernel_modules"]) == ("wan", "0000:00:04.0", True, ["e1000e"])


def test_info_of_no_devices(xen: FakeXen) -> None:
    assert xl_pci_info.prepare({"devices": [], "timeout": 60}).results["devices"] == []


@pytest.mark.parametrize(("virt_caps", "iommu"), [("pv pv_directio", True), ("pv", False)])
def test_info_reports_whether_xen_has_an_iommu(xen: FakeXen, virt_caps: str, iommu: bool) -> None:
    xen.virt_caps = virt_caps
    assert xl_pci_info.prepare({"devices": [], "timeout": 60}).results["iommu"] is iommu


@pytest.mark.parametrize("iommu", [True, False])
def test_info_reports_whether_linux_uses_an_iommu(xen: FakeXen, iommu: bool) -> None:
    without_xen(xen)
    if iommu:
        (xen.machine.sys / "class/iommu/dmar0").mkdir(parents=True)
    assert xl_pci_info.prepare({"devices": [], "timeout": 60}).results["iommu"] is iommu


def test_info_reports_owner_and_what_is_shared(xen: FakeXen) -> None:
    xen.apply("present", [UPLINK0])
    xen.assign("0000:00:04.0", 7)
    xen.store.running[7] = "net-dd"
    for bdf in ("0000:00:04.0", "0000:00:1d.0"):
        (xen.machine.device(bdf) / "irq").write_text("21\n")
    (device,) = xl_pci_info.prepare({"devices": [UPLINK0], "timeout": 60}).results["devices"]
    assert (device["owner_domid"], device["owner"]) == (7, "net-dd")
    assert (device["interrupt_shared_with"], device["page_shared_with"]) == (["0000:00:1d.0"], [])
    # What pciback holds is not taken any more: what it shares is reported, but no reason against taking it.
    assert [guard["guard"] for guard in device["guards"]] == ["in_use"]


def test_a_negative_time_limit_is_refused(xen: FakeXen) -> None:
    with pytest.raises(InvalidInput, match="confirm_timeout is -1"):
        xl_pci_assignable.prepare(parameters(UPLINK0, confirm_timeout=-1))


def test_the_guards_that_can_be_named_are_those_that_are_documented() -> None:
    options = yaml.safe_load(ModuleDocFragment.GUARDS)["options"]["force"]
    assert options["choices"] == list(PCI_GUARDS)
    assert all(f"V({guard})" in " ".join(options["description"]) for guard in PCI_GUARDS)
