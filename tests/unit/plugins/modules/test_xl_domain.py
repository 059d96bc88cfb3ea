# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module xl_domain: where it may run, and what it reads of PCI devices."""

from __future__ import annotations

import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER, Paths
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, NotOnThisHost
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.modules import xl_domain
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import BLANK, FakeHost, pci_device

POLICY = {
    "pci_devices": [],
    "restart_changed": False,
    "rollback": True,
    "save_at_shutdown": None,
    "force": [],
    "create_timeout": 180,
    "shutdown_timeout": 90,
}


@pytest.fixture
def definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The definition of a domain, on a host that does not run Xen."""
    monkeypatch.setattr(xl_domain, "Paths", lambda: Paths(f"{tmp_path}", f"{tmp_path}/auto", f"{tmp_path}/lib", f"{tmp_path}/sys"))
    monkeypatch.setattr(xl_domain, "xen_version", lambda: None)
    monkeypatch.setattr(xl_domain, "require_root", lambda: None)
    path = tmp_path / "web1.cfg"
    path.write_text(MARKER)
    return path


def domains(*states: str) -> dict[str, t.Any]:
    return {**POLICY, "domains": [{**BLANK, "name": f"web{number}", "state": state} for number, state in enumerate(states, 1)]}


def test_without_xen_what_is_declared_can_still_be_undone(definition: Path) -> None:
    plan = xl_domain.prepare(domains("absent", "absent"))
    assert [domain["state"] for domain in plan.apply()["domains"]] == ["absent", "absent"]
    assert not definition.exists()


def test_without_xen_nothing_else_can_be_done(definition: Path) -> None:
    with pytest.raises(NotOnThisHost, match="does not run under Xen"):
        xl_domain.prepare(domains("absent", "stopped"))
    assert definition.exists()


def test_the_owner_of_a_device_is_read_with_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeHost(tmp_path)
    fake.add("old-dd")
    stores = []

    def pci_host(store: t.Any) -> t.Any:
        stores.append(store)
        return SimpleNamespace(devices=lambda: [pci_device("0000:03:00.0", "pciback", "old-dd")])

    replaced = {"Runner": lambda: fake, "Xl": lambda runner: fake, "XenStore": lambda: fake.store, "Paths": lambda: fake.paths}
    for name, value in {**replaced, "PciHost": pci_host, "xen_version": lambda: (4, 20), "require_dom0": lambda: None}.items():
        monkeypatch.setattr(xl_domain, name, value)
    domain = {**BLANK, "name": "net-dd", "memory": 128, "kernel": str(tmp_path / "kernel"), "pci": [{"device": "uplink0"}]}
    device = {"name": "uplink0", "match": {"bdf": "0000:03:00.0"}, "match_all": False}
    (refusal,) = xl_domain.prepare({**POLICY, "pci_devices": [device], "domains": [domain]}).refusals
    assert refusal.reason == "the running domain old-dd has the device 0000:03:00.0"
    assert stores == [fake.store]


def test_disks_trust_their_backends_where_xl_cannot_say_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeHost(tmp_path)
    fake.add("store")
    replaced = {"Runner": lambda: fake, "Xl": lambda runner: fake, "XenStore": lambda: fake.store, "Paths": lambda: fake.paths}
    for name, value in {**replaced, "require_dom0": lambda: None}.items():
        monkeypatch.setattr(xl_domain, name, value)
    disk = {"vdev": "xvda", "target": "/dev/tank/a", "backend": "store"}
    domain = {**BLANK, "name": "web1", "memory": 128, "kernel": str(tmp_path / "kernel"), "disks": [disk]}
    for version, old in (((4, 17), True), ((4, 20), False)):
        monkeypatch.setattr(xl_domain, "xen_version", lambda version=version: version)
        plan = xl_domain.prepare({**POLICY, "pci_devices": [], "domains": [domain]})
        assert any("untrusted" in action.after for action in plan.actions) is not old
        assert any("since Xen 4.19, and this is 4.17" in warning for warning in plan.warnings) is old


@pytest.mark.parametrize("changed", [True, False], ids=["better", "bad"])
def test_a_definition_that_was_withdrawn_with_its_image(changed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is of the older image again, so this one is requested with that kernel; it is withdrawn all the same."""
    fake = FakeHost(tmp_path)
    replaced = {"Runner": lambda: fake, "Xl": lambda runner: fake, "XenStore": lambda: fake.store, "Paths": lambda: fake.paths}
    for name, value in {**replaced, "require_dom0": lambda: None, "xen_version": lambda: (4, 20)}.items():
        monkeypatch.setattr(xl_domain, name, value)
    for key in "01":
        (tmp_path / "images" / (key * 16)).mkdir(parents=True)
        for part in ("kernel", "disk"):
            (tmp_path / "images" / (key * 16) / part).write_text(f"{part} of {key}")

    def request(key: str, cmdline: str, **policy: t.Any) -> Plan:
        image = tmp_path / "images" / (key * 16)
        disk = {"vdev": "xvda", "target": str(tmp_path / "d.img"), "source": str(image / "disk"), "format": "raw", "access": "rw"}
        domain = {**BLANK, "name": "web1", "memory": 128, "kernel": str(image / "kernel"), "cmdline": cmdline, "disks": [disk]}
        plan = xl_domain.prepare({**POLICY, **policy, "domains": [domain]})
        plan.apply()
        return plan

    request("0", "good")
    create = fake.create

    def fail(path: str, timeout: float, uuid: str = "") -> None:
        if "bad" in Path(path).read_text():
            raise DriverDomainsError("xl create failed")
        create(path, timeout, uuid)

    monkeypatch.setattr(fake, "create", fail)
    with pytest.raises(DriverDomainsError, match="runs with the previous one again"):
        request("1", "bad", restart_changed=True, force=["rebuild_disk"])
    plan = request("1", "better" if changed else "bad", restart_changed=True)
    text = Path(fake.paths.definition("web1")).read_text()
    assert ("0" * 16 in text, "better" in text, "bad" in text) == (True, changed, False)
    assert bool(plan.actions) is changed
    assert (tmp_path / "d.img").read_text() == "disk of 0"
