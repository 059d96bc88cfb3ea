# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interfaces that come back: ifupdown configures them, and they get their bridge or bond."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import NotOnThisHost
from ansible_collections.xen.driver_domains.plugins.module_utils._host_interfaces import has_ifupdown, put_back
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen


class Bare:
    """A host without the programs."""

    def run(self, argv: t.Sequence[str], **_options: t.Any) -> Result:
        raise NotOnThisHost(f"The program {argv[0]!r} is not installed on this host")


@pytest.mark.parametrize("addressed", [True, False])
def test_ifupdown_configures_what_has_no_address(tmp_path: Path, addressed: bool) -> None:
    xen: t.Any = FakeXen(plain_server(tmp_path))
    xen.machine.ifupdown["eth1"] = ["192.0.2.9"]
    if addressed:
        xen.machine.addresses["eth1"] = ["192.0.2.8"]
    put_back(xen, str(xen.machine.sys), "eth1", "")
    assert xen.machine.addresses["eth1"] == ["192.0.2.8" if addressed else "192.0.2.9"]
    assert [call[0] for call in xen.calls] == ([] if addressed else ["ifdown", "ifup"])


@pytest.mark.parametrize(("master", "calls"), [("br0", 3), ("gone", 0), ("", 0)])
def test_a_port_of_a_bridge(tmp_path: Path, master: str, calls: int) -> None:
    xen: t.Any = FakeXen(plain_server(tmp_path))
    xen.machine.virtual("br0")
    for _again in range(2):
        put_back(xen, str(xen.machine.sys), "eth1", master)
    assert [call[0] for call in xen.calls] == ["ip"] * calls


def test_a_host_without_the_programs(tmp_path: Path) -> None:
    bare: t.Any = Bare()
    xen = FakeXen(plain_server(tmp_path))
    xen.machine.virtual("br0")
    put_back(bare, str(xen.machine.sys), "eth1", "br0")
    assert not has_ifupdown(bare, "eth1")
