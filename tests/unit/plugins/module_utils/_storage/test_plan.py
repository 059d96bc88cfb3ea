# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From volumes that are declared and reported to orders."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.aside import WaitingDevice
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput, Refused, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._storage import plan as planning
from ansible_collections.xen.driver_domains.plugins.module_utils._storage.orders import Order
from ansible_collections.xen.driver_domains.plugins.module_utils._storage.plan import plan_volumes
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore

from ....fakes.xenstored import FakeXenstored

MIB = 1 << 20
TREE = {
    "/local/domain/3/name": "storage-dd",
    "/local/domain/3/data/driver-domain/groups": "2",
    "/local/domain/3/data/driver-domain/groups/0": f"vg0 {4 * MIB}",
    "/local/domain/3/data/driver-domain/groups/1": f"vg1 {4 * MIB}",
    "/local/domain/3/data/driver-domain/volumes": "2",
    "/local/domain/3/data/driver-domain/volumes/0": f"vg0 root {64 * MIB}",
    "/local/domain/3/data/driver-domain/volumes/1": f"vg1 root {8 * MIB}",
    "/local/domain/7/name": "web1",
}
DISK = "/libxl/7/device/vbd/51728"
ATTACHED = {
    f"{DISK}/backend": "/local/domain/3/backend/vbd/7/51728",
    f"{DISK}/params": "/dev/vg0/root",
    f"{DISK}/dev": "xvdb",
    "/local/domain/3/backend/vbd/7/51728/state": "4",
}


def volumes(*items: dict[str, t.Any], group: str = "vg0") -> list[dict[str, t.Any]]:
    return [{"name": "storage-dd", "volume_groups": [{"name": group, "disks": [f"serial:{group}"], "volumes": list(items)}]}]


class Run:
    """What was planned and applied, with a driver domain that gives these answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tree: dict[str, str] | None = None) -> None:
        self.tree = TREE if tree is None else tree
        self.given: list[str] = []
        self.answers: list[str] = []
        self.errors: list[DriverDomainsError] = []
        monkeypatch.setattr(planning, "carry_out", self._carry_out)

    def _carry_out(self, _store: XenStore, name: str, domid: int, orders: t.Sequence[Order], _timeout: float) -> list[str]:
        assert (name, domid) == ("storage-dd", 3)
        self.given += [order.text for order in orders]
        for error in self.errors:
            raise error
        return self.answers or [""] * len(orders)

    def plan(self, domains: list[dict[str, t.Any]], waiting: t.Iterable[WaitingDevice] = ()) -> Plan:
        with FakeXenstored(self.tree) as fake, XenStore(fake.path) as store:
            plan = plan_volumes(store, domains, 10, waiting)
            assert fake.writes == []
        return plan


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(monkeypatch)


def test_volumes_that_are_there_are_left_alone(run: Run) -> None:
    """Also with a size that is no multiple of an extent, and beside volumes that nobody declared."""
    for size in ("64MiB", "61MiB"):
        plan = run.plan(volumes({"name": "root", "size": size}))
        results = plan.apply()
        assert (results["changed"], run.given) == (False, [])
        assert results["volumes"] == [
            {"domain": "storage-dd", "group": "vg0", "name": "root", "size": 64 * MIB, "result": "unchanged", "reason": ""}
        ]


def test_make_grow_and_remove(run: Run) -> None:
    domains = volumes({"name": "new", "size": "5MiB"}, {"name": "root", "size": "65MiB"})
    domains[0]["volume_groups"] += volumes({"name": "root", "state": "absent"}, {"name": "none", "state": "absent"}, group="vg1")[0][
        "volume_groups"
    ]
    plan = run.plan(domains)
    predicted = plan.apply(check_mode=True)
    assert run.given == []
    results = plan.apply()
    assert predicted == results
    # What leaves space comes first.
    assert run.given == ["remove vg1 root", f"make vg0 new {8 * MIB}", f"grow vg0 root {68 * MIB}"]
    assert [(item["group"], item["name"], item["size"], item["result"]) for item in results["volumes"]] == [
        ("vg0", "new", 8 * MIB, "created"),
        ("vg0", "root", 68 * MIB, "grown"),
        ("vg1", "root", None, "removed"),
        ("vg1", "none", None, "unchanged"),
    ]
    assert plan.diffs[1]["before"] == "" and plan.diffs[2]["after"] == f"{68 * MIB} bytes\n"
    assert "overwrite" in results["actions"][0]


def test_a_volume_does_not_shrink(run: Run) -> None:
    with pytest.raises(Refused, match=f"has {64 * MIB} bytes, and is to have {60 * MIB}.*never made smaller"):
        run.plan(volumes({"name": "new", "size": "1G"}, {"name": "root", "size": "60MiB"})).apply()
    assert run.given == []


@pytest.mark.parametrize(
    "change",
    [
        {},
        {f"{DISK}/params": "/dev/mapper/vg0-root"},
        # QEMU serves it.
        {f"{DISK}/params": "aio:/dev/vg0/root"},
        # Its backend was started again, and has another domid.
        {f"{DISK}/backend": "/local/domain/2/backend/vbd/7/51728"},
    ],
)
def test_a_volume_that_a_domain_has_is_not_removed(run: Run, change: dict[str, str]) -> None:
    run.tree = {**TREE, **ATTACHED, **change}
    with pytest.raises(Refused, match=r"web1 \(disk xvdb\) has it.*Remove the disk"):
        run.plan(volumes({"name": "root", "state": "absent"})).apply()
    # That of the same name in another group is another one.
    assert run.plan(volumes({"name": "root", "state": "absent"}, group="vg1")).apply()["changed"]


def test_nothing_is_removed_while_disks_wait_for_the_recovery_service(run: Run) -> None:
    waiting = [WaitingDevice("web1", "vbd", "xvdb"), WaitingDevice("web2", "vif", "00:16:3e:00:00:11")]
    with pytest.raises(Refused, match="attach disk xvdb of web1 again"):
        run.plan(volumes({"name": "root", "state": "absent"}), waiting).apply()
    assert run.plan(volumes({"name": "new", "size": "4MiB"}), waiting).apply()["changed"]


@pytest.mark.parametrize(
    ("tree", "group", "problem"),
    [
        ({"/local/domain/7/name": "web1"}, "vg0", "it does not run, so its volumes are not known"),
        ({"/local/domain/3/name": "storage-dd"}, "vg0", "it reports no volume groups"),
        (TREE, "vg2", "it does not have the volume group vg2, but: vg0, vg1"),
    ],
)
def test_what_is_not_known(run: Run, tree: dict[str, str], group: str, problem: str) -> None:
    """An earlier task starts the domain: check mode, in which it did not run, says what it does not know."""
    run.tree = tree
    wanted = volumes({"name": "root", "size": "64MiB"}, group=group)
    plan = run.plan(wanted)
    assert plan.apply(check_mode=True)["volumes"] == []
    assert problem in plan.warnings[0]
    with pytest.raises(Refused, match=problem):
        run.plan(wanted).apply()


def test_what_the_domain_refuses(run: Run) -> None:
    run.answers = ["", "insufficient free space"]
    plan = run.plan(volumes({"name": "new", "size": "4MiB"}, {"name": "root", "size": "1T"}))
    with pytest.raises(DriverDomainsError, match="storage-dd refused: vg0/root: insufficient free space") as caught:
        plan.apply()
    assert [(item["name"], item["result"], item["reason"]) for item in caught.value.details["volumes"]] == [
        ("new", "created", ""),
        ("root", "refused", "insufficient free space"),
    ]
    assert caught.value.details["volumes"][1]["size"] == 64 * MIB
    # The module reports `changed` from that.
    assert plan.done == [f"volume vg0/new of storage-dd: make it, with {4 * MIB} bytes"]


def test_what_was_done_before_time_ran_out(run: Run) -> None:
    run.errors = [TimedOut("late", carried_out=[0])]
    plan = run.plan(volumes({"name": "new", "size": "4MiB"}, {"name": "root", "size": "1T"}))
    with pytest.raises(TimedOut, match="late") as caught:
        plan.apply()
    assert (len(plan.done), caught.value.details) == (1, {})


def test_two_domains(run: Run) -> None:
    domains = [*volumes({"name": "root", "size": "64MiB"}), {"name": "other-dd", "volume_groups": []}]
    with pytest.raises(Refused, match="other-dd: it does not run"):
        run.plan(domains).apply()


def test_a_domain_twice(run: Run) -> None:
    """The volumes of its first entry would get lost."""
    domains = [*volumes({"name": "new", "size": "4MiB"}), *volumes({"name": "other", "size": "4MiB"}, group="vg1")]
    with pytest.raises(InvalidInput, match="The domain storage-dd is listed twice.*into one entry"):
        run.plan(domains)
