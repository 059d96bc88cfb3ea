# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module dom0_boot returns beside the changes to the boot files."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._dom0_boot import BootOptions
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.modules import dom0_boot
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen


@pytest.fixture
def xen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    """A host that was booted with a list of hidden devices, and whose boot files need no change."""
    xen: t.Any = FakeXen(plain_server(tmp_path))
    (tmp_path / "cmdline").write_text("quiet xen-pciback.hide=(0000:00:1d.0)\n")
    monkeypatch.setattr(dom0_boot, "require_root", lambda: None)
    monkeypatch.setattr(dom0_boot, "xen_version", lambda: None)
    monkeypatch.setattr(dom0_boot, "PciHost", xen.host)
    monkeypatch.setattr(dom0_boot, "Guards", lambda devices, runner: xen.guards(devices))
    monkeypatch.setattr(dom0_boot, "hidden_by_others", lambda: ((), []))
    monkeypatch.setattr(dom0_boot, "plan_boot", lambda options, runner, **seen: Plan(results=seen))
    monkeypatch.setattr(dom0_boot.ConfirmTimer, "session", lambda self: "4711/1")
    monkeypatch.setattr(dom0_boot, "read_text", lambda path: (tmp_path / "cmdline").read_text())
    return xen


NONE: t.Any = {"hypervisor_options": [], "kernel_options": [], "load_after_pciback": [], "assignable": [], "state": "present"}


def test_the_devices_that_are_not_hidden_and_those_that_are_by_mistake(xen: t.Any) -> None:
    """Hardware was added: the card of the list came to another address, and another device to its old one."""
    xen.machine.hold("0000:00:1d.0")
    results = dom0_boot.prepare({**NONE, "hide": ["0000:03:00.0"]}).results
    assert results["not_hidden"] == ["0000:03:00.0 8086:10d3 driver e1000e eth2 52:54:00:aa:00:03"]
    assert results["outdated_hides"] == [{"name": "stray0", "match": {"bdf": "0000:00:1d.0"}}]
    assert not results["hidden_at_boot"]


@pytest.mark.parametrize(
    ("held", "assignable", "reasons", "proved"),
    [
        (True, [], [], True),
        (False, [], [], False),
        (False, ["0000:03:00.0"], [], True),
        (True, [], ["Xen runs without dom0_mem=1G"], False),
    ],
    ids=["pciback has it", "pciback has it not", "an earlier task takes it", "an option is not in effect"],
)
def test_what_needs_no_trial(
    xen: t.Any, monkeypatch: pytest.MonkeyPatch, held: bool, assignable: list[str], reasons: list[str], proved: bool
) -> None:
    monkeypatch.setattr(dom0_boot, "reboot_reasons", lambda options, hypervisor, kernel: reasons)
    if held:
        xen.machine.hold("0000:03:00.0")
    assert dom0_boot.prepare({**NONE, "hide": ["0000:03:00.0"], "assignable": assignable}).results["proved"] is proved


@pytest.mark.parametrize("session", ["", "4711/1"], ids=["local", "over SSH"])
def test_a_run_that_did_not_come_over_ssh(xen: t.Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: str) -> None:
    monkeypatch.setattr(dom0_boot.ConfirmTimer, "session", lambda self: session)
    trial = BootOptions(kernel=("nosmt",)).trial(t.cast(t.Any, None))
    (tmp_path / "cmdline").write_text(f"quiet nosmt {trial.kernel_options[1]}\n")
    plan = dom0_boot.prepare({**NONE, "kernel_options": ["nosmt"], "hide": []})
    assert [refusal.guard for refusal in plan.refusals] == ([] if session else ["local_trial"])
    assert plan.results["proved"]


def test_before_xen_is_installed(xen: t.Any) -> None:
    assert dom0_boot.prepare({**NONE, "hide": [], "state": "prepared"}).results["prepare"]
    assert not dom0_boot.prepare({**NONE, "hide": []}).results["prepare"]
