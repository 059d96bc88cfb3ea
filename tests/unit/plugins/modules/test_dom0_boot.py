# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dom0_boot: what it says about the devices that are to be hidden."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._dom0_boot import BootOptions
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.modules import dom0_boot
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen


@pytest.fixture
def xen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeXen:
    fake: t.Any = FakeXen(plain_server(tmp_path))
    monkeypatch.setattr(dom0_boot, "Guards", lambda devices, runner: fake.guards(devices))
    return t.cast(FakeXen, fake)


def check(xen: FakeXen, *hide: str) -> Plan:
    plan = Plan()
    dom0_boot.check_hidden(plan, BootOptions(hide=hide), xen.host().devices())
    return plan


def test_guard_rails_hold_at_boot_too(xen: FakeXen) -> None:
    assert [refusal.guard for refusal in check(xen, "0000:00:03.0").refusals] == ["management_route", "default_route"]
    assert check(xen, "0000:00:04.0", "0000:03:00.0").refusals == []


def test_what_is_held_already_is_not_refused(xen: FakeXen) -> None:
    xen.machine.hold("0000:00:1c.0")
    assert check(xen, "0000:00:1c.0").refusals == []


def test_an_address_where_nothing_is_would_hide_something_else_one_day(xen: FakeXen) -> None:
    with pytest.raises(InvalidInput, match="no PCI device at 0000:09:00.0"):
        check(xen, "0000:00:04.0", "0000:09:00.0")
