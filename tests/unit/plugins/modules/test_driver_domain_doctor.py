# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""driver_domain_doctor: what it returns, ignores and fails on. What it finds is tested with the package."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput
from ansible_collections.xen.driver_domains.plugins.modules import driver_domain_doctor
from ansible_collections.xen.driver_domains.tests.unit.fakes.whole_host import WholeHost


@pytest.fixture(name="host")
def make_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[WholeHost]:
    with WholeHost(tmp_path) as host:
        monkeypatch.setattr(driver_domain_doctor, "read_facts", lambda *_arguments: host.read())
        yield host


def run(**parameters: t.Any) -> list[dict[str, str]]:
    plan = driver_domain_doctor.prepare({"ignore": [], "fail_on": "never", **parameters})
    assert not plan.actions
    return t.cast("list[dict[str, str]]", plan.apply()["findings"])


def test_findings_are_returned_and_ignored(host: WholeHost) -> None:
    assert run(fail_on="warning") == []
    host.info["virt_caps"] = "pv"
    assert [(finding["id"], finding["severity"], bool(finding["remedy"])) for finding in run()] == [("no-iommu", "error", True)]
    assert run(ignore=["no-iommu"], fail_on="warning") == []


def test_it_fails_on_what_it_is_asked_to(host: WholeHost) -> None:
    host.domains[9] = ("(null)", 3, "--p--d")
    assert len(run(fail_on="error")) == 1
    with pytest.raises(DriverDomainsError, match=r"1 of 1 findings are not acceptable: zombie-domain: \(null\) \(9\): ") as raised:
        run(fail_on="warning")
    assert raised.value.details["findings"] == run()
    # A note is never one.
    host.domains.pop(9)
    host.dmesg = ""
    assert [finding["severity"] for finding in run(fail_on="warning")] == ["note"]


def test_an_id_that_does_not_exist(host: WholeHost) -> None:
    with pytest.raises(InvalidInput, match="There is no finding 'no-imu'.*Did you mean no-iommu"):
        run(ignore=["no-imu"])
