# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recovery service against a fake xenstored, with a clock that tests move."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain import exchange
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.aside import (
    ORDERS,
    PAUSED,
    UNWANTED,
    give_up_waiting,
    set_stopped,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery import main as command_line
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery import observe
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery import service as service_module
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.act import OF_A_BACKEND, SLOW_OF_A_BACKEND
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.commands import Commands
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.decide import OFTEN, TOGETHER
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import forget_old, waiting_devices
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.model import Sweep
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.service import RecoveryService
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.status import notifier
from ansible_collections.xen.driver_domains.plugins.module_utils._turn import Turn
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.wire import WatchEvent
from ansible_collections.xen.driver_domains.tests.unit.fakes.recovery import STATUS, FakeSite

MAC = "00:16:3e:00:00:11"
VIF = f"mac={MAC},bridge=xenbr0,backend=net-dd,devid=0"
DISK = "format=raw,vdev=xvda,access=rw,backend=net-dd,target=/dev/d"
#: A key that the service gets events of, and that does not matter.
NOISE = "/libxl/2/dm-version"


@pytest.fixture
def site(tmp_path: Path) -> t.Iterator[FakeSite]:
    """net-dd (domain 1) serves a vif of web1 (domain 2)."""
    with FakeSite(tmp_path) as site:
        site.add("net-dd", ready="ready")
        site.add("web1")
        site.plug(2, "vif", VIF)
        yield site


def test_nothing_is_done_while_nothing_is_wrong(site: FakeSite) -> None:
    service = site.service()
    assert site.settle(service) is None
    assert site.settle(service) is None
    # Once, at the start.
    assert (site.calls, site.lists, site.said) == ([], 1, [])
    assert site.notified == ["STATUS=1 of 1 devices of 1 clients work; backends: net-dd"]


def test_xl_may_start_a_domain_again_while_it_is_there(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    service = site.service()
    site.settle(service)
    monkeypatch.setattr(observe, "is_watched", lambda name: name == "net-dd")
    site.destroy(1)
    site.settle(service)
    site.settle(service, 3)
    assert site.verbs() == ["network-detach 2 0"]
    site.settle(service, 20)
    assert site.verbs() == []
    site.settle(service, 10)
    assert site.verbs() == [f"create --quiet {site.root}/net-dd.cfg"]


def test_a_driver_domain_that_was_destroyed(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    deadline = site.settle(service)
    # The vif goes at once, so that its guest notices while the backend starts. xl itself gets time to start the domain again.
    assert site.verbs() == ["network-detach 2 0"]
    assert (deadline, site.lists) == (site.now + 1, 1)
    assert site.settle(service, 1) == site.now + 1
    assert site.lists == 2
    site.settle(service, 5.1)
    assert site.verbs() == [f"create --quiet {site.root}/net-dd.cfg"]
    # It hangs if it says nothing for 300 s.
    assert site.settle(service, 5) == site.now + 295
    assert site.verbs() == []
    site.report(site.domid("net-dd"), "ready")
    assert site.settle(service) is None
    assert site.verbs() == [f"network-attach 2 mac={MAC} bridge=xenbr0 backend=net-dd type=vif devid=0"]
    assert site.attached(2) == ["/local/domain/3/backend/vif/2/0"]
    assert site.said == [
        "net-dd (domain 1) is gone; it served web1",
        "Starting net-dd",
        "net-dd runs again",
        "net-dd (domain 3) serves, 5.0 s after it was started",
        "web1: vif 0 works again at net-dd (domain 3), after 0.0 s",
    ]
    assert site.status["recoveries"][-1].endswith("web1: vif 0 works again at net-dd (domain 3), after 0.0 s")
    assert (site.status["waiting"], site.status["given_up"]) == ([], [])


def test_one_that_xl_restarts_is_left_to_it(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service, 2)
    site.add("net-dd", ready="starting")
    assert site.settle(service, 10) == site.now + 300
    assert site.verbs("create") == []
    site.report(3, "ready")
    site.settle(service)
    assert site.verbs()[-1].startswith("network-attach 2 ")


def test_a_disk_stays_until_there_is_a_backend_for_it(site: FakeSite) -> None:
    """Its guest waits for what it has not written, and loses it when the disk goes."""
    site.plug(2, "vbd", DISK)
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    site.settle(service, 10)
    assert site.verbs("block-detach", "network-detach") == ["network-detach 2 0"]
    site.report(3, "ready")
    site.settle(service)
    site.settle(service, 1.1)
    assert site.verbs() == [
        f"network-attach 2 mac={MAC} bridge=xenbr0 backend=net-dd type=vif devid=0",
        "block-detach --force 2 51712",
        "block-attach 2 format=raw,vdev=xvda,access=rw,backend=net-dd,target=/dev/d",
    ]
    assert len(site.attached(2)) == 2


def test_one_of_two_interfaces(site: FakeSite) -> None:
    """Each keeps its number, and the other one is not touched."""
    other = site.add("dmz-dd", ready="ready")
    site.plug(2, "vif", "mac=00:16:3e:00:00:12,bridge=xenbr1,backend=dmz-dd,devid=1")
    service = site.service()
    site.settle(service)
    for victim, number in ((1, 0), (other, 1)):
        name = site.names[victim]
        site.destroy(victim)
        site.settle(service)
        site.add(name, ready="ready")
        site.settle(service, 1.1)
        verbs = site.verbs("network-detach", "network-attach")
        assert [verb.split()[:2] for verb in verbs] == [["network-detach", "2"], ["network-attach", "2"]]
        assert verbs[0] == f"network-detach 2 {number}" and verbs[1].endswith(f"devid={number}")
    assert len(site.attached(2)) == 2


def test_a_guest_that_reboots_meanwhile_gets_its_vif_back(site: FakeSite) -> None:
    """libxl makes it again from what it kept, in which the vif is missing."""
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    site.destroy(2)
    site.settle(service, 1)
    again = site.add("web1")
    site.settle(service, 6)
    site.report(site.domid("net-dd"), "ready")
    site.settle(service, 2)
    assert site.attached(again) == [f"/local/domain/{site.domid('net-dd')}/backend/vif/{again}/0"]


def test_a_service_that_was_killed_between_the_halves(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    again = site.service()
    site.settle(again, 7)
    site.report(site.domid("net-dd"), "ready")
    site.settle(again)
    assert len(site.attached(2)) == 1


def test_a_service_that_was_killed_while_xl_detached(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.prompt = False
    service.step()
    site.prompt = True
    site._pending.clear()
    again = site.service()
    again._turn = service._turn
    site.settle(again, 7)
    site.report(site.domid("net-dd"), "ready")
    site.settle(again, 2)
    assert site.attached(2) == [f"/local/domain/{site.domid('net-dd')}/backend/vif/2/0"]


def test_a_service_that_starts_after_the_damage(site: FakeSite) -> None:
    """The name of a backend that is gone is only in libxl's own file."""
    site.destroy(1)
    new = site.add("net-dd", ready="ready")
    service = site.service()
    site.settle(service)
    site.settle(service, 1.1)
    assert site.attached(2) == [f"/local/domain/{new}/backend/vif/2/0"]


def test_what_an_earlier_domain_left_does_not_name_the_backend(site: FakeSite) -> None:
    """It had the number of the client, and its file is the newer one."""
    left = site.kept_file(2).with_name("userdata-d.2.of-an-earlier-one.libxl-json")
    left.write_text(site.kept_file(2).read_text().replace("net-dd", "other-dd"))
    os.utime(left, (1 << 32, 1 << 32))
    site.destroy(1)
    new = site.add("net-dd", ready="ready")
    service = site.service()
    site.settle(service)
    site.settle(service, 1.1)
    assert site.attached(2) == [f"/local/domain/{new}/backend/vif/2/0"]


def test_a_backend_whose_name_nobody_knows(site: FakeSite) -> None:
    site.destroy(1)
    (kept,) = (site.root / "lib").glob("userdata-d.2.*")
    kept.write_text("{}")
    service = site.service()
    site.settle(service)
    assert site.calls == []
    assert site.said == [
        "Giving up: web1: vif 0 cannot be attached again: nobody knows the name of its backend. 'recovery.pyz resume' tries again"
    ]
    site.settle(service, 100)
    assert len(site.said) == 1


def test_a_disk_whose_backend_nobody_knows_is_not_detached(site: FakeSite) -> None:
    site.unplug(2, "vif", 0)
    site.plug(2, "vbd", DISK)
    site.destroy(1)
    (kept,) = (site.root / "lib").glob("userdata-d.2.*")
    kept.write_text("{}")
    site.add("net-dd", ready="ready")
    service = site.service()
    site.settle(service, 100)
    assert site.calls == []
    assert len(site.said) == 1 and site.said[0].startswith("Giving up: web1: disk 51712 cannot be attached again: nobody knows")


def test_a_disk_of_a_backend_that_ended_before_the_service_started(site: FakeSite) -> None:
    """Its name is in libxl's own file. It stays until there is a successor, and while an operator keeps the service away."""
    site.unplug(2, "vif", 0)
    site.plug(2, "vbd", DISK)
    site.destroy(1)
    service = site.service()
    site.settle(service)
    assert site.calls == []
    with XenStore(site.store.path) as store:
        command_line.order(store, "pause", ["net-dd"])
    site.add("net-dd", ready="ready")
    site.settle(service, 10)
    assert site.calls == []
    with XenStore(site.store.path) as store:
        command_line.order(store, "resume", ["net-dd"])
    site.settle(service)
    site.settle(service, 1.1)
    assert [verb.split()[0] for verb in site.verbs()] == ["block-detach", "block-attach"]


def test_a_disk_of_a_backend_that_was_renamed(site: FakeSite) -> None:
    """libxl keeps the name that it had. A domain of that name is the successor, and none of the new name."""
    site.unplug(2, "vif", 0)
    site.plug(2, "vbd", DISK)
    site.configuration = type(site.configuration)()
    service = site.service()
    site.settle(service)
    site.store.set("/local/domain/1/name", "other")
    site.settle(service)
    site.destroy(1)
    site.add("other", ready="ready")
    site.settle(service, 10)
    assert site.calls == []
    site.add("net-dd", ready="ready")
    site.settle(service)
    site.settle(service, 1.1)
    assert [verb.split()[0] for verb in site.verbs()] == ["block-detach", "block-attach"]
    assert len(site.attached(2)) == 1


def test_a_declared_domain_that_never_ran_is_not_started(site: FakeSite) -> None:
    """It may be starting with the host, or be stopped on purpose."""
    site.destroy(1)
    service = site.service()
    site.settle(service, 100)
    assert site.settle(service, 100) is None
    assert site.verbs("create") == []


# Domains that have ended, and are still there


@pytest.mark.parametrize("letters", ["sc", "s", "d"])
def test_a_driver_domain_that_crashed_and_is_kept_does_not_serve(site: FakeSite, letters: str) -> None:
    """With `on_crash: preserve`, or when the process of xl that would restart it is gone."""
    service = site.service()
    site.settle(service)
    site.end(service, 1, letters)
    site.settle(service)
    assert site.verbs() == ["network-detach 2 0"]
    assert site.said == ["net-dd (domain 1) is gone; it served web1"]
    # Its name is taken, so that it cannot be started.
    deadline = site.settle(service, 30)
    assert deadline is not None
    site.settle(service, deadline - site.now + 0.1)
    assert site.settle(service, 1000) is None
    assert site.verbs() == []
    assert site.said[1:] == [
        "Giving up: net-dd is not started again: domain 1 of that name has ended, but is still there ('xl destroy' removes it). "
        "'recovery.pyz resume' tries again"
    ]
    assert site.status["given_up"] == ["ended/net-dd"]
    del site.flags[1]
    site.destroy(1)
    # Whoever has removed it may start it again.
    assert site.settle(service) == site.now + 2
    assert site.status["given_up"] == []
    site.settle(service, 6.1)
    site.report(2 + 1, "ready")
    site.settle(service)
    assert [verb.split()[0] for verb in site.verbs()] == ["create", "network-attach"]


def test_a_crashed_domain_that_xl_has_renamed(site: FakeSite) -> None:
    """`on_crash: rename-restart`: its successor gets the clients."""
    service = site.service()
    site.settle(service)
    site.store.set("/local/domain/1/name", "net-dd-1")
    site.names[1] = "net-dd-1"
    new = site.add("net-dd", uuid="other", ready="ready")
    site.end(service, 1, "sc")
    site.settle(service)
    site.settle(service, 1.1)
    assert site.attached(2) == [f"/local/domain/{new}/backend/vif/2/0"]
    assert not [line for line in site.said if line.startswith("Giving up")]


def refuse_to_list() -> t.NoReturn:
    raise DriverDomainsError("xl: no answer")


def test_an_end_is_not_missed_when_xl_does_not_answer(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    service = site.service()
    site.settle(service)
    with monkeypatch.context() as patched:
        patched.setattr(site, "list", refuse_to_list)
        site.end(service, 1, "sc")
        site.settle(service)
    assert site.verbs() == []
    # The next look finds out, whatever causes it.
    site.add("other")
    site.settle(service)
    assert site.verbs() == ["network-detach 2 0"]


def test_one_that_was_kept_before_the_service_started(site: FakeSite) -> None:
    site.flags[1] = "sc"
    service = site.service()
    site.settle(service)
    assert site.verbs() == ["network-detach 2 0"]


def test_a_guest_that_is_suspended_for_a_while(site: FakeSite) -> None:
    """As by `xl save -c`. Nothing of it is removed, and it is taken care of again without an event of its own."""
    service = site.service()
    site.settle(service)
    site.end(service, 2, "ss")
    for _minute in range(3):
        site.settle(service, 60)
    assert (site.attached(2), site.calls) == (["/local/domain/1/backend/vif/2/0"], [])
    assert "/local/domain/1/backend/vif/2/0/state" in site.store.tree
    del site.flags[2]
    site.destroy(1)
    site.settle(service)
    assert site.verbs() == ["network-detach 2 0"]
    # It is not asked about any more.
    lists = site.lists
    site.settle(service)
    assert site.lists == lists


# Limits


def test_a_domain_that_cannot_be_started(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.failing["create"] = "xl: no memory"
    site.settle(service)
    site.verbs()
    times = []
    deadline: float | None = site.now
    while deadline is not None:
        deadline = site.settle(service, deadline - site.now + 0.001)
        times += [site.now] * len(site.verbs("create"))
    assert [round(later - earlier) for earlier, later in zip(times, times[1:])] == [5, 10, 20, 40]
    assert site.said.count("net-dd was not started: xl: no memory") == 5
    assert [line for line in site.said if line.startswith("Giving up")] == [
        "Giving up: net-dd is not started again: that was tried 5 times within an hour. 'recovery.pyz resume' tries again"
    ]
    assert site.status["given_up"] == ["create/net-dd"]
    assert site.settle(service, 10_000) is None
    assert site.verbs() == []
    site.failing.clear()
    with XenStore(site.store.path) as store:
        command_line.order(store, "resume", [])
    site.settle(service)
    assert site.verbs("create") == [f"create --quiet {site.root}/net-dd.cfg"]


@pytest.mark.parametrize(("serves", "starts"), [(400.0, 8), (60.0, 5)], ids=["for some minutes", "for a minute"])
def test_starts_that_helped_do_not_count(site: FakeSite, serves: float, starts: int) -> None:
    """An operator may end a driver domain as often as he likes; one that fails again and again is given up."""
    service = site.service()
    site.settle(service)
    for _time in range(8):
        if "net-dd" in site.names.values():
            site.report(site.domid("net-dd"), "ready")
            site.settle(service)
            # Nothing wakes the service meanwhile.
            site.now += serves
            site.destroy(site.domid("net-dd"))
        site.settle(service)
        site.settle(service, 100)
    assert len(site.verbs("create")) == starts
    assert site.status["given_up"] == ([] if starts == 8 else ["create/net-dd"])


def test_an_exchange_of_disks_that_was_cut_off_is_finished_first(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, key = site.root / "d.img", "1" * 16
    for path, content in ((disk, "old"), (Path(f"{disk}.next"), "new")):
        path.write_text(content)
        exchange.note_source(str(path), f"/images/{key if content == 'new' else '0' * 16}/disk")
    service = site.service()
    site.settle(service)
    site.destroy(1)
    link, made = os.link, []

    def fail_once(*paths: str) -> None:
        if not made:
            made.append(paths)
            raise OSError(errno.EIO, "Input/output error")
        link(*paths)

    definition = site.root / "net-dd.cfg"
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", fail_once)
        with pytest.raises(DriverDomainsError, match="Input/output error"):
            exchange.exchange(str(definition), "new", [(str(disk), f"{disk}.next")])
        made.clear()
        assert (definition.read_text(), disk.read_text()) == ("new", "old")
        site.settle(service)
        site.settle(service, 7)
    assert site.verbs("create") == []
    problem = f"The disk {disk}.next could not take the place of {disk}: Input/output error."
    assert f"net-dd was not started: {problem}" in site.said
    site.settle(service, 7)
    assert site.verbs("create") == [f"create --quiet {definition}"]
    assert disk.read_text() == "new"


def test_a_domain_that_hangs_in_its_boot(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    site.settle(service, 3)
    assert site.verbs("create", "destroy") == [f"create --quiet {site.root}/net-dd.cfg"]
    # What it was declared to report first does not count; its clients are not connected to it.
    site.settle(service, 299)
    assert site.verbs("create", "destroy") == []
    site.settle(service, 2)
    assert site.verbs("create", "destroy") == ["destroy 3"]
    assert "net-dd (domain 3) has neither served nor said why for 300 s: destroying it" in site.said
    site.settle(service, 15)
    assert site.verbs("create", "destroy") == [f"create --quiet {site.root}/net-dd.cfg"]
    site.report(4, "ready")
    site.settle(service, 30)
    assert site.attached(2) == ["/local/domain/4/backend/vif/2/0"]


@pytest.mark.parametrize("status", ["error", "anything else"])
def test_a_domain_that_says_what_is_wrong_is_left_alone(site: FakeSite, status: str) -> None:
    service = site.service()
    site.settle(service)
    site.report(1, status)
    for _hour in range(3):
        site.settle(service, 3600)
    assert site.verbs("create", "destroy") == []


def test_a_domain_that_hangs_each_time_is_left_alone_in_the_end(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    for _minute in range(60):
        site.settle(service, 60)
    calls = site.verbs("create", "destroy")
    assert len([call for call in calls if call.startswith("create")]) == 5
    assert site.status["given_up"] == [f"silent/net-dd@{site.domid('net-dd')}"]
    assert [line for line in site.said if line.startswith("Giving up: net-dd")] == [
        "Giving up: net-dd (domain 7) neither serves nor says why, and was started 5 times within an hour. "
        "'recovery.pyz resume' tries again"
    ]


def test_a_definition_that_is_not_there(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    (site.root / "net-dd.cfg").unlink()
    site.destroy(1)
    deadline = site.settle(service)
    while deadline is not None:
        deadline = site.settle(service, deadline - site.now + 0.001)
    assert site.verbs("create") == []
    assert site.said.count(f"net-dd cannot be started: there is no {site.root}/net-dd.cfg") == 5
    assert site.said[-1].startswith("Giving up: net-dd is not started again")


def test_an_interface_that_cannot_be_attached(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    site.failing["network-attach"] = "libxl: error"
    site.add("net-dd", ready="ready")
    deadline: float | None = site.now + 1.1
    while deadline is not None:
        deadline = site.settle(service, deadline - site.now + 0.001)
    assert len(site.verbs("network-attach")) == 5
    assert any(line.startswith("Giving up: web1: vif 0: that was tried 5 times") for line in site.said)
    # Another start of the backend is another matter.
    site.failing.clear()
    site.destroy(site.domid("net-dd"))
    site.add("net-dd", ready="ready")
    site.settle(service)
    assert len(site.attached(2)) == 1


def test_an_interface_that_cannot_be_detached_is_removed(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.failing["network-detach"] = "it hangs"
    site.destroy(1)
    site.settle(service)
    assert site.attached(2)
    site.settle(service, 5.1)
    assert site.attached(2) == []
    assert "web1: vif 0 was not detached: it hangs" in site.said
    site.settle(service, 2)
    site.report(site.domid("net-dd"), "ready")
    site.settle(service, 2)
    assert len(site.attached(2)) == 1


# Backends that run and do not serve


@pytest.mark.parametrize(
    ("hotplug", "states", "wait"),
    [("error", ("1", "2"), 0.0), ("", ("3", "2"), 45.1), ("", ("1", "2"), 45.1), ("connected", ("3", "2"), 45.1)],
    ids=["script failed", "hotplug-status never comes", "the guest waits as well", "backend does not answer"],
)
def test_a_backend_that_does_not_serve(site: FakeSite, hotplug: str, states: tuple[str, str], wait: float) -> None:
    site.unplug(2, "vif", 0)
    site.hotplug, site.states = hotplug, states
    site.plug(2, "vif", VIF)
    service = site.service()
    site.settle(service)
    if wait:
        assert site.verbs() == []
    site.hotplug, site.states = "connected", ("4", "4")
    site.settle(service, wait)
    site.settle(service, 1.1)
    assert [verb.split()[0] for verb in site.verbs()] == ["network-detach", "network-attach"]
    assert site.settle(service) is None


def test_a_disk_in_state_2_forever(site: FakeSite) -> None:
    site.states = ("3", "2")
    site.plug(2, "vbd", DISK)
    service = site.service()
    deadline: float | None = site.settle(service)
    while deadline is not None:
        deadline = site.settle(service, deadline - site.now + 0.001)
    assert len(site.verbs("block-attach")) == 5
    assert any(line.startswith("Giving up: web1: disk 51712 does not work, as its backend does not answer") for line in site.said)
    assert site.settle(service, 10_000) is None


def test_a_backend_that_is_no_linux_may_have_no_hotplug_status(site: FakeSite) -> None:
    site.unplug(2, "vif", 0)
    site.hotplug = ""
    site.plug(2, "vif", VIF)
    service = site.service()
    assert site.settle(service) is None
    assert (site.settle(service, 1000), site.calls) == (None, [])


@pytest.mark.parametrize("state", ["1", "5", "6", "", "\x1b[2J"])
def test_a_guest_that_has_no_driver_or_closes_is_left_alone(site: FakeSite, state: str) -> None:
    site.unplug(2, "vif", 0)
    site.states = (state, "2")
    site.plug(2, "vif", VIF)
    service = site.service()
    assert site.settle(service) is None
    assert site.settle(service, 1000) is None
    assert site.calls == []


def test_dom0s_own_interface_may_be_slow(site: FakeSite) -> None:
    site.kept[0] = {"nics": [], "disks": []}
    site.states = ("3", "2")
    site.plug(0, "vif", VIF.replace(MAC, "00:16:3e:00:00:99"))
    service = site.service()
    site.settle(service, 100)
    assert site.calls == []
    site.states = ("4", "4")
    site.destroy(1)
    site.settle(service)
    site.settle(service, 7)
    site.report(site.domid("net-dd"), "ready")
    site.settle(service)
    assert len(site.attached(0)) == 1


def crash(site: FakeSite) -> None:
    """Let xl start the driver domain again, which does not get as far as serving."""
    site.destroy(site.domid("net-dd"))
    site.add("net-dd", ready="")


def fail(site: FakeSite) -> None:
    """Nothing is attached to the new driver domain."""
    if site.domid("net-dd") == 1:
        crash(site)
        site.report(site.domid("net-dd"), "ready")
        site.failing["network-attach"] = "no"


def wait(_site: FakeSite) -> None:
    """Its interface does not connect."""


@pytest.mark.parametrize("what", [crash, fail, wait])
def test_dom0_gets_its_card_back_when_its_vif_does_not(site: FakeSite, what: t.Callable[[FakeSite], None]) -> None:
    site.kept[0] = {"nics": [], "disks": []}
    if what is wait:
        site.states = ("3", "2")
    site.plug(0, "vif", VIF.replace(MAC, "00:16:3e:00:00:99"))
    service = site.service()
    site.settle(service)
    for _round in range(59):
        what(site)
        site.settle(service, 10)
    assert site.gave_up == []
    for _round in range(3):
        what(site)
        site.settle(service, 10)
    assert site.gave_up == ["net-dd"]
    assert "Giving up: Domain-0: its vif at net-dd has not worked for" in "".join(site.said)


def test_dom0_keeps_a_vif_that_an_operator_works_at(site: FakeSite) -> None:
    site.kept[0] = {"nics": [], "disks": []}
    site.states = ("3", "2")
    site.plug(0, "vif", VIF.replace(MAC, "00:16:3e:00:00:99"))
    site.store.set(PAUSED, "net-dd")
    service = site.service()
    site.settle(service)
    site.settle(service, 5000)
    assert site.gave_up == []
    # The time begins now.
    site.store.set(PAUSED, "")
    site.settle(service, 1)
    site.settle(service, 599)
    assert site.gave_up == []
    site.settle(service, 2)
    assert site.gave_up == ["net-dd"]


def test_what_a_device_left_behind_is_removed(site: FakeSite) -> None:
    left = "/local/domain/1/backend/vif/9/0"
    site.store.set(f"{left}/state", "6")
    other = "/local/domain/1/backend/vif/2/7"
    site.store.set(f"{other}/state", "4")
    service = site.service()
    site.settle(service)
    assert f"{left}/state" in site.store.tree
    site.settle(service, 45.1)
    assert f"{left}/state" not in site.store.tree
    assert f"{other}/state" in site.store.tree


def test_cycles_leave_nothing_behind(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    before = len(site.store.tree), len(site.store.watches)
    for _cycle in range(20):
        site.destroy(site.domid("net-dd"))
        site.settle(service)
        site.add("net-dd", ready="ready")
        site.settle(service, 2)
        site.now += 1000
    assert site.settle(service) is None
    assert len(site.store.watches) == before[1]
    assert len(site.store.tree) == before[0]
    memory = (site.root / "run" / "memory.json").stat().st_size
    assert memory < 1000
    assert len(site.status["recoveries"]) <= 20


# Who else is at work


def test_a_paused_client(site: FakeSite) -> None:
    """It does not notice that its vif is gone before it is unpaused: only then it can get another one of the same number."""
    service = site.service()
    site.settle(service)
    site.flags[2] = "p"
    site.destroy(1)
    site.settle(service)
    assert site.verbs() == ["network-detach 2 0"]
    site.add("net-dd", ready="ready")
    for _minute in range(5):
        deadline = site.settle(service, 60)
        assert deadline == site.now + 5
    assert site.verbs() == []
    del site.flags[2]
    site.settle(service, 5.1)
    site.settle(service, 1.1)
    assert [verb.split()[0] for verb in site.verbs()] == ["network-attach"]


def test_an_operator_who_pauses_and_resumes(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    with XenStore(site.store.path) as store:
        command_line.order(store, "pause", ["net-dd"])
    site.destroy(1)
    assert site.settle(service, 100) is None
    assert site.calls == []
    assert site.status["aside"] == ["net-dd"]
    assert "left alone: net-dd" in site.notified[-1]
    with XenStore(site.store.path) as store:
        command_line.order(store, "resume", ["net-dd"])
    site.settle(service, 7)
    assert [verb.split()[0] for verb in site.verbs()] == ["create", "network-detach"]
    # Orders leave no key behind that others could take for something else.
    assert site.store.tree[PAUSED] == ""


def test_pausing_all_and_one(site: FakeSite) -> None:
    """Each ends only what was given the same names."""
    with XenStore(site.store.path) as store:
        command_line.order(store, "pause", [])
        command_line.order(store, "pause", ["web9"])
        assert command_line.left_alone(store) == "Left alone: all (paused), web9 (paused)\n"
        with pytest.raises(InvalidInput, match="All domains are paused"):
            command_line.order(store, "resume", ["web9"])
        assert store.read_text(PAUSED) == "* web9"
        command_line.order(store, "resume", [])
        assert store.read_text(PAUSED) == "web9"
        command_line.order(store, "resume", ["web9"])
        assert command_line.left_alone(store) == ""


def test_going_on_starts_nothing_that_others_stopped_or_paused(site: FakeSite) -> None:
    """Somebody wants to try again what was given up, and does not know of them."""
    service = site.service()
    site.settle(service)
    with XenStore(site.store.path) as store:
        store.mkdir(ORDERS)
        set_stopped(store, add=["net-dd"])
        command_line.order(store, "pause", ["web1"])
        command_line.order(store, "resume", [])
        assert command_line.left_alone(store) == "Left alone: web1 (paused), net-dd (stopped by xl_domain)\n"
        # A playbook does not end what an operator has begun.
        set_stopped(store, remove=["net-dd", "web1"])
        assert command_line.left_alone(store) == "Left alone: web1 (paused)\n"
        set_stopped(store, add=["net-dd"])
        site.destroy(1)
        assert site.settle(service, 100) is None
        assert (site.calls, site.status["aside"]) == ([], ["net-dd", "web1"])
        # Who names a domain wants it.
        command_line.order(store, "resume", ["net-dd"])
    site.settle(service, 7)
    assert site.verbs("create") == [f"create --quiet {site.root}/net-dd.cfg"]


def test_a_playbook_that_is_at_work(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    playbook = Turn(str(site.root / "lock"))
    assert playbook.take()
    site.destroy(1)
    assert site.settle(service, 100) is None
    assert [call[0] for call in site.calls] == ["flock"]
    assert site.status["standing_aside_for_a_playbook"]
    # It starts the domain again itself, and then ends: so does the command that waits for that.
    new = site.add("net-dd", ready="ready")
    site.settle(service)
    playbook.pass_on()
    site.finish("turn")
    site.settle(service)
    site.settle(service, 1.1)
    assert site.attached(2) == [f"/local/domain/{new}/backend/vif/2/0"]
    assert site.verbs("create") == []
    assert playbook.take()


def test_what_a_playbook_has_repaired_is_not_repaired_again(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    playbook = Turn(str(site.root / "lock"))
    assert playbook.take()
    site.add("net-dd", ready="ready")
    site.settle(service, 2)
    site.plug(2, "vif", VIF)
    playbook.pass_on()
    site.finish("turn")
    site.verbs()
    assert site.settle(service) is None
    assert (site.calls, site.status["waiting"]) == ([], [])


@pytest.mark.parametrize(
    ("devid", "backend", "mac"),
    [(2, "dmz-dd", MAC), (2, "Domain-0", MAC.upper()), (0, "Domain-0", "00:16:3e:00:00:99")],
    ids=["another backend", "dom0", "its number is taken"],
)
def test_what_somebody_attached_as_another_device_is_not_attached_twice(site: FakeSite, devid: int, backend: str, mac: str) -> None:
    """`xl network-attach` without a devid takes the next one."""
    site.add("dmz-dd", ready="ready")
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    assert len(site.status["waiting"]) == 1
    site.plug(2, "vif", f"mac={mac},bridge=xenbr0,backend={backend},devid={devid}")
    site.settle(service)
    assert site.status["waiting"] == []
    site.add("net-dd", ready="ready")
    site.settle(service, 2)
    assert site.verbs("network-attach") == []


def test_what_a_playbook_no_longer_wants_is_not_attached_again(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    assert [str(device) for device in waiting_devices(str(site.root / "run"))] == [f"web1/vif/{MAC}"]
    with XenStore(site.store.path) as store:
        give_up_waiting(store, waiting_devices(str(site.root / "run")))
    site.settle(service, 1)
    assert site.status["waiting"] == []
    # The order has been followed.
    assert site.store.tree[UNWANTED] == ""
    site.add("net-dd", ready="ready")
    assert site.settle(service, 2) is None
    assert site.attached(2) == []


def stop(site: FakeSite, seconds: float) -> str:
    """Do what a service does that is stopped, and let some time pass; return the directory."""
    directory = site.root / "run"
    (directory / "status.json").unlink()
    then = time.time() - seconds
    os.utime(directory / "memory.json", (then, then))
    return str(directory)


def test_what_a_stopped_service_has_detached_is_known(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    devices = waiting_devices(stop(site, 10))
    assert [(str(device), device.devid) for device in devices] == [(f"web1/vif/{MAC}", 0)]
    with XenStore(site.store.path) as store:
        give_up_waiting(store, devices)
    site.add("net-dd", ready="ready")
    site.settle(site.service(), 2)
    assert (site.attached(2), waiting_devices(str(site.root / "run"))) == ([], [])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"released": []}', '{"released": {"x": {}}}', '{"released": {"x": 1}}'])
def test_a_memory_that_is_damaged_has_no_devices(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory.json").write_text(text)
    assert waiting_devices(str(tmp_path)) == []


@pytest.mark.parametrize(("seconds", "killed", "goes_on"), [(10, False, True), (400, False, False), (400, True, True)])
def test_a_service_that_was_stopped_for_long_begins_anew(site: FakeSite, seconds: float, killed: bool, goes_on: bool) -> None:
    """Others may have done what it was about to do, or want it no more. When it was updated or killed, it goes on."""
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    site.verbs()
    stop(site, seconds)
    if killed:
        (site.root / "run" / "status.json").write_text("{}")
    told = forget_old(str(site.root / "run"))
    assert told == ("" if goes_on else "It was stopped for long, and no longer attaches vif 0 of web1")
    again = site.service()
    site.settle(again, 10)
    assert bool(site.verbs("create")) is goes_on
    if not goes_on:
        site.add("net-dd", ready="starting")
    site.report(site.domid("net-dd"), "ready")
    site.settle(again, 2)
    assert bool(site.attached(2)) is goes_on
    assert forget_old(str(site.root / "run")) == ""


def test_a_module_waits_until_the_service_has_finished(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.prompt = False
    site.destroy(1)
    service.step()
    assert not Turn(str(site.root / "lock")).take()
    site.finish("uuid-web1/vif/0")
    service.step()
    assert Turn(str(site.root / "lock")).take()


def test_a_module_gets_its_turn_while_there_is_always_something_to_do(site: FakeSite) -> None:
    """Clients that fail one after the other: something runs at each moment, and yet a module need not wait until all are done."""
    clients = late_disks(site, 40)
    service, module = site.service(), Turn(str(site.root / "lock"))
    site.settle(service)
    site.now += 45.1
    site.prompt = False
    site.failing["block-detach"] = "no"
    service.step()
    started = site.now
    while not module.take():
        assert site.now - started < 300
        # Each takes 20 s, and they end one by one.
        site.now += 5
        if site.keys:
            site.finish(sorted(site.keys)[0])
        service.step(due=False)
    assert site.keys == frozenset()
    # The service asks to go on when the module has ended.
    begun = len(site.verbs("block-detach"))
    assert 0 < begun < len(clients)
    deadline = service.step(due=False)
    assert deadline is not None and deadline - site.now <= 2
    site.now = deadline
    service.step()
    assert site.keys == {"turn"}
    module.pass_on()
    site.finish("turn")
    service.step(due=False)
    assert len(site.verbs("block-detach")) == SLOW_OF_A_BACKEND


def test_others_have_time_to_notice_that_it_is_their_turn(site: FakeSite) -> None:
    late_disks(site, 8)
    service = site.service()
    site.settle(service)
    site.now += 45.1
    site.prompt = False
    service.step()
    site.now += 121
    while site.keys:
        site.finish(sorted(site.keys)[0])
        deadline = service.step()
    assert deadline == site.now + 2
    site.now += 1
    service.step()
    assert site.keys == frozenset()
    assert Turn(str(site.root / "lock")).take()
    site.now += 1
    service.step()
    assert len(site.keys) > 0


def test_a_domain_that_is_still_dying(site: FakeSite) -> None:
    """Its devices are not free yet: `(null)` in xl list."""
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.flags[1] = "d"
    site.settle(service)
    site.settle(service, 6.1)
    assert site.verbs("create") == []
    del site.flags[1]
    site.settle(service, 5.1)
    assert len(site.verbs("create")) == 1


def test_another_domain_that_is_dying_delays_nothing(site: FakeSite) -> None:
    site.flags[9] = "d"
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    site.settle(service, 6.1)
    assert len(site.verbs("create")) == 1


def test_a_domain_that_dies_forever(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.flags[1] = "d"
    site.settle(service, 60.1)
    site.settle(service, 6)
    site.settle(service, 60)
    assert len(site.verbs("create")) == 1


def test_two_domains_of_one_name(site: FakeSite) -> None:
    """xl would take the older one."""
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    site.add("net-dd", ready="ready")
    last = site.add("net-dd", ready="ready")
    site.settle(service, 2)
    assert site.verbs("network-attach") == []
    site.destroy(last - 1)
    site.settle(service)
    assert len(site.verbs("network-attach")) == 1


# What is queued while other commands run


def late_disks(site: FakeSite, number: int) -> list[int]:
    """Return guests whose disks do not connect."""
    site.states = ("3", "2")
    clients = [site.add(f"guest{count}") for count in range(number)]
    for client in clients:
        site.plug(client, "vbd", DISK)
    site.states = ("4", "4")
    return clients


def test_a_disk_that_connects_while_its_detach_is_queued_is_left_alone(site: FakeSite) -> None:
    clients = late_disks(site, 4)
    service = site.service()
    site.settle(service)
    site.now += 45.1
    site.prompt = False
    service.step()
    assert len(site.verbs("block-detach")) == SLOW_OF_A_BACKEND == 2
    back = f"/local/domain/1/backend/vbd/{clients[3]}/51712"
    for end in (f"/local/domain/{clients[3]}/device/vbd/51712", back):
        site.store.set(f"{end}/state", "4")
    site.finish(sorted(site.keys)[0])
    service.step(due=False)
    site.finish(sorted(site.keys)[0])
    service.step(due=False)
    assert site.verbs("block-detach") == [f"block-detach --force {clients[2]} 51712"]
    assert site.attached(clients[3]) == [back]


def test_a_pause_stops_what_is_queued(site: FakeSite) -> None:
    late_disks(site, 6)
    service = site.service()
    site.settle(service)
    site.now += 45.1
    site.prompt = False
    service.step()
    assert len(site.verbs("block-detach")) == SLOW_OF_A_BACKEND
    with XenStore(site.store.path) as store:
        command_line.order(store, "pause", [])
    service.step()
    while site.keys:
        site.finish(sorted(site.keys)[0])
        service.step(due=False)
    assert site.verbs() == []


def test_what_a_device_left_behind_stays_while_the_device_is_attached(site: FakeSite) -> None:
    """`xl devd` was away when the device was detached, and left the directory that the same device has again."""
    service = site.service()
    site.settle(service)
    left = "/local/domain/1/backend/vif/2/0"
    site.destroy(1)
    site.settle(service)
    # As if it were the same domain.
    site._last_domid = 0
    site.add("net-dd", ready="starting")
    site.store.set(f"{left}/state", "6")
    site.settle(service)
    site.now += 45.1
    site.report(1, "ready")
    site.prompt = False
    service.step()
    assert [verb.split()[0] for verb in site.verbs("network-attach")] == ["network-attach"]
    assert f"{left}/state" in site.store.tree
    site.finish("uuid-web1/vif/0")
    service.step(due=False)
    assert site.store.tree[f"{left}/state"] == "4"
    # Nor is it removed when somebody else attaches the device after the look.
    service._actor.begin(Sweep(left), service._memory, site.now, ())
    assert site.store.tree[f"{left}/state"] == "4"


# The loop, with commands and events that are real


class Loop:
    """The service in a thread, woken as it is by signals. With `frozen`, its clock moves only when a test says so."""

    def __init__(self, site: FakeSite, program: Path, frozen: bool = False) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        fake: t.Any = site
        self.looks = self.rounds = 0
        self.site = site
        store = XenStore(site.store.path)
        self.service = RecoveryService(
            site.configuration,
            store,
            fake,
            Commands(),
            directory=str(site.root / "run"),
            userdata=str(site.root / "lib"),
            lock=str(site.root / "lock"),
            program=str(program),
            say=site.said.append,
            notify=site.notified.append,
            **({"clock": lambda: site.now} if frozen else {}),
        )
        step, next_event = self.service.step, store.next_event

        def counted(due: bool = True) -> float | None:
            self.looks += 1
            return step(due)

        def until_there_is_none(timeout: float) -> WatchEvent | None:
            event = next_event(timeout)
            self.rounds += event is None
            return event

        self.service.step = counted  # type: ignore[method-assign]  # counts the looks
        store.next_event = until_there_is_none  # type: ignore[method-assign]  # counts how often all events were taken
        self.thread = threading.Thread(target=self.service.run, args=(self.reading,))

    def take_all(self) -> None:
        """Return when the service has taken all that has happened, and has looked if that is due by its clock."""
        # The round after the first noise may have begun before it.
        for number in range(3):
            rounds = self.rounds
            self.site.store.set(NOISE, f"{rounds} {number}")
            until(lambda: self.rounds > rounds)  # noqa: B023  # called at once

    def __enter__(self) -> Loop:
        self.thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.service.stopping = True
        os.write(self.writing, b"x")
        self.thread.join(20)
        assert not self.thread.is_alive()


def until(condition: t.Callable[[], object], seconds: float = 20.0) -> None:
    pause = threading.Event()
    for _round in range(int(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it did not happen")


def test_it_sleeps_while_nothing_happens_and_wakes_for_what_matters(site: FakeSite) -> None:
    program = site.root / "xl"
    program.write_text(f'#!/bin/sh\necho "$@" >>{site.root}/calls\n')
    program.chmod(0o755)
    with Loop(site, program, frozen=True) as loop:
        until(lambda: "READY=1" in site.notified)
        # What the watches themselves cause.
        site.now += 10
        loop.take_all()
        looks = loop.looks
        # What guests and tools write all the time.
        for number in range(50):
            site.store.set(NOISE, f"{number}")
            site.store.set("/local/domain/2/data/report", f"{number}")
            site.store.set("/local/domain/1/backend/vif/2/0/statistics", f"{number}")
        loop.take_all()
        site.now += 10
        loop.take_all()
        assert loop.looks == looks
        site.store.remove("/local/domain/1")
        loop.take_all()
        site.now += 1
        until(lambda: (site.root / "calls").exists() and "network-detach 2 0" in (site.root / "calls").read_text())
    assert site.notified[-1] == "STOPPING=1"
    assert not (site.root / "run" / "status.json").exists()
    assert (site.root / "run" / "memory.json").exists()
    assert Turn(str(site.root / "lock")).take()


def test_what_has_begun_is_finished_before_it_ends(site: FakeSite) -> None:
    program = site.root / "xl"
    program.write_text(f"#!/bin/sh\ntouch {site.root}/begun\nsleep 1\ntouch {site.root}/finished\n")
    program.chmod(0o755)
    with Loop(site, program):
        until(lambda: "READY=1" in site.notified)
        site.store.remove("/local/domain/1")
        until((site.root / "begun").exists)
        assert not Turn(str(site.root / "lock")).take()
    assert (site.root / "finished").exists()
    assert Turn(str(site.root / "lock")).take()


@pytest.mark.parametrize("cost", [0.0, 0.04, 5.0])
@pytest.mark.parametrize(
    ("path", "values", "pace"),
    [
        ("/local/domain/1/backend/vif/2/0/state", ["5", "4"], service_module.PACE_OF_DEVICES),
        (f"/local/domain/1/{STATUS}", ["starting", "ready"], service_module.PACE_OF_DOMAINS),
    ],
)
def test_a_flood_of_events_does_not_keep_it_busy(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch, path: str, values: list[str], pace: int, cost: float
) -> None:
    """A driver domain writes to its own keys as often as it likes: there is one look, after a pause that depends on what a look costs."""

    def slow(*arguments: t.Any) -> t.Any:
        site.now += cost
        return observe.observe(*arguments)

    monkeypatch.setattr(service_module, "observe", slow)
    wanted = min(max(service_module.PACE, pace * cost), service_module.LONGEST_PACE)
    with Loop(site, site.root / "none", frozen=True) as loop:
        until(lambda: "READY=1" in site.notified)
        loop.take_all()
        site.now += 10
        loop.take_all()
        for _flood in range(3):
            looks = loop.looks
            for number in range(50):
                site.store.set(path, values[number % 2])
            loop.take_all()
            site.now += wanted - 0.01
            loop.take_all()
            assert loop.looks == looks
            site.now += 0.02
            loop.take_all()
            assert loop.looks == looks + 1


def test_a_look_reads_nothing_twice(site: FakeSite) -> None:
    """XenStore takes its time for each request."""
    clients = {site.add(f"web{number}"): number for number in range(2, 12)}
    for client, number in clients.items():
        site.plug(client, "vif", VIF.replace(MAC, f"00:16:3e:00:01:{number:02x}"))
    recovery = site.service()

    def requests() -> list[tuple[str, str]]:
        before = len(site.store.requests)
        recovery.step()
        return site.store.requests[before:]

    site.settle(recovery)
    found = requests()
    assert len(found) == len(set(found)) <= 12 * len(site.names)
    site.prompt = False
    site.destroy(1)
    site.settle(recovery)
    assert len(site.keys) == OF_A_BACKEND
    found = requests()
    assert len(found) == len(set(found)) <= 12 * len(site.names)


def test_a_domain_that_changes_its_mind_too_often_does_not_serve_for_a_minute(site: FakeSite) -> None:
    """Nor does it fill the journal."""
    service = site.service()
    site.settle(service)
    begun = site.now
    for number in range(200):
        site.report(1, "ready" if number % 2 else "error")
        deadline = site.settle(service, 0.25)
    assert site.now - begun < 60
    assert len(site.said) == 10
    assert site.said[-2] == "net-dd (domain 1) no longer reports that it serves"
    assert site.said[-1] == "net-dd (domain 1) changes its mind too often: for a minute it does not count as serving"
    # It says that it serves, and gets nothing to do.
    assert site.status["backends"] == [{"name": "net-dd", "domid": 1, "ready": False}]
    assert deadline is not None and site.now < deadline <= begun + 63
    new = site.add("web2")
    site.hotplug = "error"
    site.plug(new, "vif", VIF.replace(MAC, "00:16:3e:00:00:12"))
    assert (site.settle(service), site.calls) == (deadline, [])
    site.hotplug = "connected"
    site.settle(service, deadline - site.now)
    assert site.said[-1].startswith("net-dd (domain 1) serves")
    assert site.verbs() == [f"network-detach {new} 0"]
    # It starts from nothing.
    site.report(1, "error")
    site.settle(service)
    assert site.said[-1] == "net-dd (domain 1) no longer reports that it serves"


def test_commands_end_and_time_out(tmp_path: Path) -> None:
    commands = Commands()
    assert commands.start("missing", ["/no/such"], 0.0, 5.0) == "/no/such: No such file or directory"
    assert commands.start("bad", ["sh", "-c", "echo one; echo two >&2; exit 3"], 0.0, 500.0) == ""
    assert commands.start("good", ["true"], 0.0, 500.0) == ""
    assert commands.start("slow", ["sleep", "60"], 0.0, 5.0) == ""
    assert (commands.keys, commands.deadline) == ({"bad", "good", "slow"}, 5.0)
    found: dict[str, str] = {}

    def reap() -> bool:
        found.update((ended.key, ended.problem) for ended in commands.ended(1.0))
        return len(found) == 2

    until(reap)
    assert found == {"bad": "one; two", "good": ""}
    assert commands.ended(6.0) == [("slow", "it did not end within 5 s", True)]
    assert commands.keys == frozenset()


def test_many_clients_are_attached_with_few_looks(tmp_path: Path) -> None:
    """Some commands at a time, and a look at the host before the next ones."""
    with FakeSite(tmp_path) as site:
        site.add("net-dd", ready="ready")
        for number in range(20):
            site.plug(site.add(f"web{number}"), "vif", f"mac=00:16:3e:00:00:{number:02x},bridge=xenbr0,backend=net-dd,devid=0")
        service = site.service()
        site.settle(service)
        site.destroy(1)
        site.settle(service)
        driver = site.add("net-dd", ready="ready")
        site.now += 1.1
        site.prompt = False
        service.step()
        lists, most = len([request for request in site.store.requests if request == ("directory", "/local/domain")]), 0
        while site.keys:
            most = max(most, len(site.keys))
            site.finish(sorted(site.keys)[0])
            service.step(due=False)
        assert most == 4
        assert len([request for request in site.store.requests if request == ("directory", "/local/domain")]) - lists <= 20 // most + 1
        assert [site.attached(domid) for domid in sorted(site.names)[1:-1]] == [
            [f"/local/domain/{driver}/backend/vif/{domid}/0"] for domid in range(2, 22)
        ]
        assert site.settle(service) is None
        assert len([line for line in site.said if "works again" in line]) == 20


def test_what_systemd_is_given(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        notifier(address)("READY=1")
        assert receiver.recv(100) == b"READY=1"
    notifier(None)("READY=1")
    notifier(address)("READY=1")


def test_a_key_of_its_own_reports_readiness(tmp_path: Path) -> None:
    with FakeSite(tmp_path) as site:
        (declared,) = site.configuration.domains
        own = type(declared)("net-dd", declared.definition, "data/own", "up")
        site.configuration = type(site.configuration)((own,))
        site.add("net-dd")
        site.add("web1")
        site.plug(2, "vif", VIF)
        service = site.service()
        site.settle(service)
        site.destroy(1)
        site.settle(service)
        new = site.add("net-dd", ready="ready")
        site.settle(service, 2)
        assert site.verbs("network-attach") == []
        assert ("/local/domain/3/data/own", "/local/domain/3/data/own") in site.store.watches
        site.store.set(f"/local/domain/{new}/data/own", "up")
        site.settle(service)
        assert len(site.verbs("network-attach")) == 1


@pytest.mark.parametrize("key", ["data/own", "control/up"])
def test_a_key_of_its_own_wakes_the_service(tmp_path: Path, key: str) -> None:
    with FakeSite(tmp_path) as site:
        (declared,) = site.configuration.domains
        site.configuration = type(site.configuration)((type(declared)("net-dd", declared.definition, key, "up"),))
        site.add("net-dd")
        service = site.service()
        site.settle(service)
        while service._take_events():
            pass
        site.store.set(f"/local/domain/1/{key}", "up")
        until(service._take_events, 2)


def test_undeclared_backends_serve_as_well(tmp_path: Path) -> None:
    """Their clients are attached again; they themselves are not started."""
    with FakeSite(tmp_path) as site:
        site.add("other")
        site.add("web1")
        site.plug(2, "vif", VIF.replace("net-dd", "other"))
        service = site.service()
        site.settle(service)
        site.destroy(1)
        site.settle(service, 100)
        assert site.settle(service, 100) is None
        assert site.verbs() == ["network-detach 2 0"]
        site.add("other")
        site.settle(service, 1.1)
        assert len(site.verbs("network-attach")) == 1


def test_what_libxl_leaves_of_pci_devices_is_removed(site: FakeSite) -> None:
    """That of declared domains, when they are gone for good."""
    service = site.service()
    top = "/local/domain/0/backend/pci"
    for domid, name in ((1, "net-dd"), (7, "web9")):
        site.store.set(f"{top}/{domid}/0/domain", name)
    site.settle(service, 100)
    site.destroy(1)
    new = site.add("net-dd", ready="ready")
    site.store.set(f"{top}/{new}/0/domain", "net-dd")
    site.settle(service)
    site.settle(service, 40)
    assert f"{top}/1/0/domain" in site.store.tree
    site.settle(service, 6)
    assert [path for path in site.store.tree if path.endswith("/0/domain")] == [f"{top}/{new}/0/domain", f"{top}/7/0/domain"]
    assert site.said[-1] == f"Removing what a device left behind: {top}/1"


# A backend that can be attached to before it is ready


def starting_again(site: FakeSite) -> RecoveryService:
    """Let net-dd be gone, and the service start it again."""
    service = site.service()
    site.settle(service)
    site.destroy(1)
    for seconds in (0.0, 1.1, 5.0):
        site.settle(service, seconds)
    return service


def test_a_vif_is_attached_when_the_backend_drivers_are_there(site: FakeSite) -> None:
    service = starting_again(site)
    new = site.domid("net-dd")
    site.verbs()
    site.hotplug, site.states = "", ("3", "2")
    site.report(new, "attachable")
    site.settle(service)
    assert [verb.split()[0] for verb in site.verbs()] == ["network-attach"]
    # devd may take longer than a device may; the time of the device begins when its backend is ready.
    site.settle(service, 60)
    site.report(new, "ready")
    site.settle(service)
    site.settle(service, 40)
    assert site.calls == []
    backend = site.attached(2)[0]
    for path in (f"{backend}/state", "/local/domain/2/device/vif/0/state"):
        site.store.set(path, "4")
    site.store.set(f"{backend}/hotplug-status", "connected")
    site.settle(service)
    assert site.said[-1] == f"web1: vif 0 works again at net-dd (domain {new}), after 40.0 s"


def test_an_early_attempt_that_fails_is_not_repeated_before_the_backend_is_ready(site: FakeSite) -> None:
    service = starting_again(site)
    new = site.domid("net-dd")
    site.verbs()
    site.failing = {"network-attach": "no"}
    site.report(new, "attachable")
    site.settle(service)
    site.settle(service, 20)
    assert [verb.split()[0] for verb in site.verbs()] == ["network-attach"]
    site.failing = {}
    site.report(new, "ready")
    site.settle(service)
    assert len(site.attached(2)) == 1


def test_a_backend_connects_few_devices_at_a_time(site: FakeSite) -> None:
    """What waits there for more than 10 s is given up by libxl."""
    clients = {2: MAC}
    for number in range(2, 12):
        client = site.add(f"web{number}")
        clients[client] = f"00:16:3e:00:01:{number:02x}"
        site.plug(client, "vif", VIF.replace(MAC, clients[client]))
    service = starting_again(site)
    new = site.domid("net-dd")
    site.hotplug, site.states = "", ("3", "2")
    site.verbs()

    def waiting() -> list[int]:
        return [client for client in clients if site.attached(client) and site.store.tree[f"{site.attached(client)[0]}/state"] == "2"]

    def connect(client: int) -> None:
        backend = site.attached(client)[0]
        for path in (f"{backend}/state", f"/local/domain/{client}/device/vif/0/state"):
            site.store.set(path, "4")
        site.store.set(f"{backend}/hotplug-status", "connected")

    site.report(new, "attachable")
    site.settle(service)
    assert len(waiting()) == TOGETHER
    site.report(new, "ready")
    site.settle(service, 3)
    assert len(waiting()) == TOGETHER
    # One works, and another one takes its place.
    first = waiting()[0]
    connect(first)
    site.settle(service, 1)
    assert len(waiting()) == TOGETHER and first not in waiting()
    # Those that never do so do not hold up the others.
    deadline = site.settle(service, 1)
    assert deadline is not None and deadline < site.now + 20
    site.settle(service, deadline - site.now)
    assert len(waiting()) == len(clients) - 1
    while waiting():
        connect(waiting()[0])
        site.settle(service, 1)
    assert all(len(site.attached(client)) == 1 for client in clients)
    assert len(site.verbs("network-attach")) == len(clients)


def test_a_disk_is_not_attached_early(site: FakeSite) -> None:
    site.plug(2, "vbd", DISK)
    service = starting_again(site)
    site.report(site.domid("net-dd"), "attachable")
    site.settle(service, 20)
    assert site.verbs("block-detach", "block-attach") == []


@pytest.mark.parametrize("what", ["suspended", "paused", "dying"])
def test_asking_xl_is_no_reason_to_ask_again(site: FakeSite, what: str) -> None:
    """The end of `xl list` wakes the service, as that of each command does."""
    listed = site.list
    with Loop(site, site.root / "none", frozen=True) as loop:

        def wakes() -> list[t.Any]:
            os.write(loop.writing, b"x")
            return listed()

        site.list = wakes  # type: ignore[method-assign]  # as a child that ends
        until(lambda: "READY=1" in site.notified)
        loop.take_all()
        site.now += 10
        loop.take_all()
        before = site.lists
        if what == "suspended":
            site.flags[2] = "---ss-"
        elif what == "paused":
            site.flags[2] = "--p---"
            site.store.set("/local/domain/1/backend/vif/2/0/hotplug-status", "error")
        else:
            site.flags[1] = "---s-d"
            site.destroy(1)
        site.store.fire("@releaseDomain")
        for _second in range(20):
            site.now += 1
            loop.take_all()
        # Each 5 s at most, and before each attempt to start the other domain.
        assert 0 < site.lists - before <= 10


def test_a_suspended_domain_goes_on(site: FakeSite) -> None:
    """As after `xl save -c`: nothing says so."""
    service = site.service()
    site.settle(service)
    site.end(service, 2, "---ss-")
    deadline = site.settle(service)
    # Its backend is restarted meanwhile.
    site.destroy(1)
    site.add("net-dd", ready="ready")
    site.settle(service, 3)
    assert site.verbs() == []
    assert deadline is not None
    del site.flags[2]
    assert site.settle(service, 5) is not None
    site.settle(service, 1.1)
    assert [verb.split()[0] for verb in site.verbs()] == ["network-detach", "network-attach"]
    site.end(service, 2, "---ss-")
    # The longer it stays so, the less often xl is asked.
    pauses = []
    for _round in range(10):
        deadline = site.settle(service)
        assert deadline is not None
        pauses.append(round(deadline - site.now))
        site.now = deadline
    assert pauses[0] == 5 and pauses[-1] == 60 and pauses == sorted(pauses)


def test_a_backend_that_crashes_again_and_again_does_not_wear_out_its_clients(site: FakeSite) -> None:
    """Each time it is another domain, which xl has started; and each time it says that it serves."""
    service = site.service()
    site.settle(service)

    def crash() -> int:
        site.destroy(site.domid("net-dd"))
        site.settle(service, 1)
        site.add("net-dd", ready="ready")
        site.settle(service, 1.1)
        site.settle(service, 8)
        return len(site.verbs("network-attach"))

    assert [crash() for _time in range(OFTEN + 5)] == [1] * OFTEN + [0] * 5
    (line,) = [line for line in site.said if "within an hour" in line]
    assert line.startswith(f"web1: vif 0 was attached {OFTEN} times within an hour: from now on only when net-dd has served for 60 s")
    # It serves on, and so the client is attached.
    site.settle(service, 61)
    assert len(site.verbs("network-attach")) == 1
    assert site.status["given_up"] == []
    # The next time it takes twice as long, unless an operator says to go on.
    site.destroy(site.domid("net-dd"))
    site.settle(service, 1)
    site.add("net-dd", ready="ready")
    site.settle(service, 61)
    assert site.verbs("network-attach") == []
    with XenStore(site.store.path) as store:
        command_line.order(store, "resume", [])
    site.settle(service, 1)
    assert len(site.verbs("network-attach")) == 1


@pytest.mark.parametrize("unpaused", [False, True])
def test_what_is_left_of_a_start_that_was_killed(site: FakeSite, unpaused: bool) -> None:
    """xl has made the domain, and did not come to start it: it is paused forever."""
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service)
    site.settle(service, 1.1)
    site.prompt = False
    site.settle(service, 6)
    assert site.verbs()[-1].startswith("create ")
    site.finish("create/net-dd", killed=True)
    left = site.domid("net-dd")
    if unpaused:
        del site.flags[left]
    site.prompt = True
    site.settle(service)
    if unpaused:
        # Somebody goes on with it.
        assert site.verbs() == []
        return
    assert site.verbs() == [f"destroy {left}"]
    assert f"net-dd (domain {left}) is what is left of a start that was killed: destroying it" in site.said
    site.settle(service, 11)
    assert [verb.split()[0] for verb in site.verbs()] == ["create"]


def test_an_xl_that_outlives_the_service_detaches_the_device(site: FakeSite) -> None:
    """The new service sees the device while the xl of the old one is at it, and a module has the turn: the device is not forgotten."""
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.prompt = False
    service.step()
    (key,) = site.keys
    module = Turn(str(site.root / "lock"))
    service._turn.pass_on()
    assert module.take()
    left, site._pending = dict(site._pending), {}
    again = site.service()
    again.step()
    site._pending = {**left, **site._pending}
    site.finish(key)
    site._ended.clear()
    site.prompt = True
    again.step()
    module.pass_on()
    site.finish("turn")
    site.settle(again)
    site.settle(again, 7)
    site.report(site.domid("net-dd"), "ready")
    site.settle(again, 2)
    assert site.attached(2) == [f"/local/domain/{site.domid('net-dd')}/backend/vif/2/0"]


def test_a_backend_that_does_not_answer_holds_up_nobody_else(site: FakeSite) -> None:
    bad = site.add("bad-dd", ready="ready")
    for number in range(30):
        client = site.add(f"guest{number}")
        site.hotplug = "error"
        site.plug(client, "vif", f"mac=00:16:3e:00:02:{number:02x},bridge=xenbr0,backend=bad-dd,devid=0")
    site.hotplug = "connected"
    service = site.service()
    site.prompt = False
    service.step()
    assert len(site.keys) == SLOW_OF_A_BACKEND
    # The other backend is gone while those are still at it.
    site.destroy(1)
    service.step()
    assert "network-detach 2 0" in site.verbs()
    site.now += 2.1
    service.step()
    assert [verb.split()[0] for verb in site.verbs()] == ["create"]
    assert bad in site.names


def test_a_start_that_hangs_holds_up_nobody_else(site: FakeSite) -> None:
    other = site.add("other-dd", ready="ready")
    site.plug(site.add("web2"), "vif", "mac=00:16:3e:00:00:22,bridge=xenbr0,backend=other-dd,devid=0")
    service = site.service()
    site.settle(service)
    site.destroy(1)
    site.settle(service, 1)
    site.prompt = False
    site.settle(service, 5)
    assert site.keys == {"create/net-dd"}
    site.verbs()
    site.now += 150
    site.prompt = True
    site.destroy(other)
    site.settle(service)
    site.add("other-dd", ready="ready")
    site.settle(service, 2)
    assert [verb.split()[0] for verb in site.verbs()] == ["network-detach", "network-attach"]


def test_readiness_is_awaited_for_disks_as_well(site: FakeSite) -> None:
    """A disk stays while its backend is gone; nobody has declared that one."""
    store = site.add("store-dd", ready="ready")
    guest = site.add("guest")
    site.plug(guest, "vbd", DISK.replace("net-dd", "store-dd"))
    service = site.service()
    site.settle(service)
    site.destroy(store)
    site.settle(service)
    new = site.add("store-dd", ready="starting")
    site.settle(service)
    assert f"/local/domain/{new}/{STATUS}" in service._watches


def test_an_xl_that_does_nothing_is_not_asked_for_ever(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    perform = site._perform
    site._perform = lambda verb, words: None if verb == "network-detach" else perform(verb, words)  # type: ignore[method-assign]  # no effect
    site.destroy(1)
    site.settle(service)
    assert site.verbs("network-detach") == ["network-detach 2 0"]
    assert "web1: vif 0 was not detached: xl says that it was, but it is still there" in site.said
    # The next time without xl.
    site.settle(service, 5.1)
    assert site.attached(2) == []


def test_what_libxl_has_left_of_a_client_that_is_gone(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    path = "/local/domain/1/backend/vif/2/0"
    site.store.remove("/local/domain/2")
    del site.names[2]
    site.settle(service)
    site.settle(service, 46)
    assert not any(name.startswith(path) for name in site.store.tree)
    assert site.settle(service, 100) is None


def test_a_domain_that_may_take_for_ever_to_start(tmp_path: Path) -> None:
    """poll(2) knows no such time."""
    with FakeSite(tmp_path) as site:
        site.configuration = replace(site.configuration, domains=(replace(site.configuration.domains[0], wait_timeout=float("inf")),))
        site.add("net-dd", ready="starting")
        with Loop(site, site.root / "none") as loop:
            until(lambda: "READY=1" in site.notified)
            loop.take_all()


def test_when_the_end_of_a_playbook_cannot_be_awaited(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    playbook = Turn(str(site.root / "lock"))
    assert playbook.take()
    start = site.start
    site.start = lambda *arguments: "flock: Resource temporarily unavailable"  # type: ignore[method-assign]  # as without memory
    site.destroy(1)
    assert service.step() == site.now + service_module.NO_START
    site.start = start  # type: ignore[method-assign]  # as it was
    playbook.pass_on()
    site.settle(service, 5)
    assert [verb.split()[0] for verb in site.verbs()] == ["create", "network-detach"]


def test_a_device_that_somebody_detaches_stays_away(site: FakeSite) -> None:
    """xl closes the backend first, and removes the device when that has closed."""
    service = site.service()
    site.settle(service)
    back = "/local/domain/1/backend/vif/2/0"
    for state in ("5", "6"):
        site.store.set(f"{back}/state", state)
        site.settle(service, 1)
    site.unplug(2, "vif", 0)
    site.settle(service, 1)
    site.settle(service, 100)
    assert (site.verbs(), site.attached(2)) == ([], [])


def test_a_backend_that_has_closed_for_good(site: FakeSite) -> None:
    service = site.service()
    site.settle(service)
    site.store.set("/local/domain/1/backend/vif/2/0/state", "6")
    site.settle(service)
    assert site.verbs() == []
    site.settle(service, 46)
    site.settle(service, 1.1)
    assert [verb.split()[0] for verb in site.verbs()] == ["network-detach", "network-attach"]
