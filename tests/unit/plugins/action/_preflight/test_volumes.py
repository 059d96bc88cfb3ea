# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Volume groups of driver domains, and disks that are volumes in them."""

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.action import preflight
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import definitions
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.model import declared
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.volumes import check_volumes

from ....fakes.domains import BLANK

OPTIONS = preflight.role_options(preflight.SITE)
GIVEN = {"vdev": "xvdb", "target": "/dev/sdb"}
VOLUMES = [{"name": "root", "size": "1GiB"}, {"name": "old", "state": "absent"}]


def variables(
    *disks: dict[str, t.Any], given: t.Sequence[dict[str, t.Any]] = (GIVEN,), names: t.Sequence[str] = ("xvdb",), **more: t.Any
) -> dict[str, t.Any]:
    groups = [{"name": "vg0", "disks": list(names), "volumes": VOLUMES}]
    return {
        "driver_domain_domains": [{"name": "storage-dd", "disks": list(given), "volume_groups": groups, **more}],
        "domu_domains": [{"name": "web1", "disks": [{"vdev": "xvdb", "backend": "storage-dd", **disk} for disk in disks]}],
    }


def findings(values: dict[str, t.Any]) -> list[str]:
    return [str(finding) for finding in check_volumes(declared(values, OPTIONS))]


@pytest.mark.parametrize(
    "values",
    [
        variables({"target": "/dev/vg0/root"}),
        # A group that is not declared was made by hand, and so was what is no volume.
        variables({"target": "/dev/vg7/root"}, {"target": "/srv/root.img", "vdev": "xvdc"}),
        variables({"target": "/dev/vg0/gone", "backend": "other-dd"}),
        variables(given=[], names=["serial:DD1"]),
        variables(given=[], state="absent"),
        variables(given=[{**GIVEN, "vdev": "d1"}]),
    ],
)
def test_what_is_right(values: dict[str, t.Any]) -> None:
    assert findings(values) == []


def test_a_site_with_bridges_and_volumes_is_right() -> None:
    values = variables({"target": "/dev/vg0/root", "access": "ro"}, bridges=[{"name": "xenbr0"}], pci=["ahci0"])
    values["dom0_pci_assignable"] = [{"name": "ahci0", "match": {"class": "0106"}}]
    converted, problems = preflight.read_variables(values, OPTIONS)
    assert problems == []
    assert preflight.check_values(declared(converted, OPTIONS), converted, "xen1", preflight.HostFacts(unread="")) == []


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (variables({"target": "/dev/vg0/rot"}), "there is no volume 'rot' in vg0 of storage-dd, which has: root.*Did you mean root?"),
        (variables({"target": "/dev/vg0/old"}), "its volume vg0/old of storage-dd is to be absent.*Remove the disk"),
        (variables({"target": "/dev/mapper/vg0-root"}), "its target is /dev/mapper/vg0-root.*Use /dev/vg0/root"),
        (variables({"target": "/dev/vg0/../vg0/root"}), "Use /dev/vg0/root"),
        (variables(given=[]), "storage-dd has no disk xvdb.*Add xvdb to disks of storage-dd"),
        (variables(given=[{**GIVEN, "access": "ro"}]), "the disk xvdb is only read"),
        (variables(names=["sdb"]), "'sdb' does not say for good which disk it is"),
    ],
)
def test_what_is_wrong(values: dict[str, t.Any], problem: str) -> None:
    (finding,) = findings(values)
    assert re.search(problem, finding), finding


@pytest.mark.parametrize(
    ("first", "second", "wrong"),
    [({}, {}, True), ({"access": "ro"}, {}, True), ({}, {"access": "ro"}, True), ({"access": "ro"}, {"access": "ro"}, False)],
)
@pytest.mark.parametrize("group", ["vg0", "by-hand"])
@pytest.mark.parametrize("role", ["domu_domains", "driver_domain_domains"])
def test_a_volume_of_two_domains(first: dict[str, t.Any], second: dict[str, t.Any], wrong: bool, group: str, role: str) -> None:
    values = variables({"target": f"/dev/{group}/root", **first})
    values[role].append({"name": "other", "disks": [{"vdev": "xvdb", "backend": "storage-dd", "target": f"/dev/{group}/root", **second}]})
    found = findings(values)
    assert len(found) == wrong
    assert not found or re.search(f"/dev/{group}/root is a disk of (web1|other) as well.*set access: ro for both", found[0])


@pytest.mark.parametrize("target", ["/dev/sdb", "/dev//sdb"])
def test_a_disk_of_dom0_is_not_given_to_a_guest_as_well(target: str) -> None:
    domains = [("storage-dd", "/dev/sdb"), ("web1", target)]
    parameters = [
        {**BLANK, "name": name, "memory": 256, "kernel": "/kernel", "disks": [{"vdev": "xvdb", "target": path}]} for name, path in domains
    ]
    with pytest.raises(InvalidInput, match="The disk /dev/sdb is given twice: to storage-dd and to web1"):
        definitions(parameters, {})
