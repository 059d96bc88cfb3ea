# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the wanted domains and a host to actions; every mutating call of the host is counted."""

from __future__ import annotations

import fcntl
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import MARKER
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import (
    DriverDomainsError,
    InvalidInput,
    Refused,
    TimedOut,
)
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost

READY = {"key": "data/driver-domain/status", "value": "ready", "error_key": "data/driver-domain/error"}
UPLINK = {"uplink0": "0000:03:00.0"}
DRIVER = {"name": "net-dd", "driver_domain": True, "autostart": True, "pci": [{"device": "uplink0"}], "ready": READY}
GUEST = {"name": "web1", "vifs": [{"backend": "net-dd", "bridge": "xenbr0"}]}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.hold("0000:03:00.0")
    return host


def files(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_first_run_second_run_and_undoing(host: FakeHost) -> None:
    first = host.run_plan([DRIVER, GUEST], UPLINK)
    assert host.calls == [("create", "net-dd"), ("create", "web1")]
    assert [(d["name"], d["state"]) for d in first.results["domains"]] == [("net-dd", "running"), ("web1", "running")]
    assert first.results["domains"][1]["vifs"][0]["connected"]
    assert os.readlink(host.paths.links("net-dd")[0]) == host.paths.definition("net-dd")
    host.calls.clear()
    before = files(host.root)

    second = host.run_plan([DRIVER, GUEST], UPLINK)
    assert (second.actions, host.calls, files(host.root)) == ([], [], before)

    host.run_plan([{"name": name, "state": "absent"} for name in ("net-dd", "web1")])
    assert host.calls == [("shutdown", "web1"), ("shutdown", "net-dd")]
    assert os.listdir(host.paths.autostart) == []
    assert list(Path(host.paths.definitions).glob("*.cfg")) == []


def test_check_mode_writes_nothing_and_warns_of_what_is_not_there_yet(host: FakeHost) -> None:
    before = files(host.root)
    plan = host.run_plan([{**GUEST, "kernel": "/not/there"}], check_mode=True)
    assert (host.calls, files(host.root)) == ([], before)
    assert [action.description.split("/")[0] for action in plan.actions] == ["write ", "start domain web1"]
    assert len(plan.warnings) == 2
    assert "/not/there does not exist" in plan.warnings[0] + plan.warnings[1]


#: state wanted, how the domain is (None: not there), the calls that follow
TRANSITIONS: list[tuple[str, str | None, list[tuple[str, ...]]]] = [
    ("running", None, [("create", "web1")]),
    ("running", "b", []),
    ("running", "c", [("destroy", "web1"), ("create", "web1")]),
    ("running", "s", [("destroy", "web1"), ("create", "web1")]),
    ("present", None, []),
    ("present", "b", []),
    ("stopped", None, []),
    ("stopped", "b", [("shutdown", "web1")]),
    ("stopped", "c", [("destroy", "web1")]),
    ("stopped", "p", [("destroy", "web1")]),
    ("absent", None, []),
    ("absent", "b", [("shutdown", "web1")]),
    ("absent", "s", [("destroy", "web1")]),
]


@pytest.mark.parametrize(("state", "flags", "calls"), TRANSITIONS)
def test_transitions(state: str, flags: str | None, calls: list[tuple[str, ...]], host: FakeHost) -> None:
    if flags:
        host.add("web1", flags)
    host.run_plan([{"name": "web1", "state": state}])
    assert host.calls == calls
    host.calls.clear()
    assert host.run_plan([{"name": "web1", "state": state}]).actions == []
    assert host.calls == []


@pytest.mark.parametrize(
    ("wanted", "calls"),
    [
        ({"state": "running"}, [("unpause", "web1")]),
        ({"state": "stopped"}, [("unpause", "web1"), ("shutdown", "web1")]),
        ({"state": "running", "memory": 64}, [("unpause", "web1"), ("shutdown", "web1"), ("create", "web1")]),
    ],
    ids=["runs on", "is stopped", "is restarted"],
)
def test_a_domain_that_somebody_paused(wanted: dict[str, t.Any], calls: list[tuple[str, ...]], host: FakeHost) -> None:
    host.run_plan([{"name": "web1"}])
    host.flag("web1", "p")
    host.calls.clear()
    host.run_plan([{"name": "web1", **wanted}], restart_changed=True)
    assert host.calls == calls
    assert host.run_plan([{"name": "web1", **wanted}]).actions == []


def test_a_domain_whose_creation_has_not_ended_is_left_alone(host: FakeHost) -> None:
    host.add("web1", "p")
    with pytest.raises(DriverDomainsError, match=r"Domain web1: it is not complete.*still running, or was cut off.*xl destroy web1"):
        host.run_plan([{"name": "web1"}])
    assert host.calls == []


def test_what_a_creation_without_end_has_made_is_removed(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(path: str, timeout: float) -> None:
        host.add("web1", "p")
        raise TimedOut(f"'xl create' did not end within {timeout:g} s")

    monkeypatch.setattr(host, "create", hang)
    with pytest.raises(TimedOut, match="'xl create' did not end within 180 s"):
        host.run_plan([{"name": "web1"}])
    assert host.calls == [("destroy", "web1")]
    assert "web1" not in host.domains


def test_a_domain_that_stays_when_it_has_shut_down(host: FakeHost) -> None:
    host.add("web1")
    host.preserved.add("web1")
    host.run_plan([{"name": "web1", "state": "absent"}])
    assert host.calls == [("shutdown", "web1"), ("destroy", "web1")]


def test_backends_start_before_their_frontends_whatever_the_order(host: FakeHost) -> None:
    host.run_plan([GUEST, DRIVER], UPLINK)
    assert host.calls == [("create", "net-dd"), ("create", "web1")]
    host.calls.clear()
    host.run_plan([{**GUEST, "memory": 64}, {**DRIVER, "memory": 64}], UPLINK, restart_changed=True)
    assert host.calls == [("shutdown", "web1"), ("shutdown", "net-dd"), ("create", "net-dd"), ("create", "web1")]


def test_domains_that_wait_for_each_other(host: FakeHost) -> None:
    with pytest.raises(InvalidInput, match="web1, net-dd can never start: each waits"):
        host.run_plan([GUEST, {**DRIVER, "vifs": [{"backend": "web1"}]}], UPLINK)
    assert host.calls == []


def test_a_backend_that_is_stopped_in_the_same_run_does_not_count(host: FakeHost) -> None:
    host.add("net-dd")
    with pytest.raises(Refused, match="'net-dd' does not run"):
        host.run_plan([{"name": "net-dd", "state": "stopped"}, GUEST])
    assert host.calls == []


def test_the_memory_of_a_domain_that_is_stopped_in_the_same_run_is_free(host: FakeHost) -> None:
    host.add("old")
    host.free_memory = 100
    host.run_plan([{"name": "old", "state": "absent"}, {"name": "web1", "memory": 200}])
    assert host.calls == [("shutdown", "old"), ("create", "web1")]


def test_an_undoing_where_xen_does_not_run_leaves_no_files(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host that was set up, but booted without Xen."""
    host.run_plan([DRIVER, GUEST], UPLINK)
    host.calls.clear()
    monkeypatch.setattr(host, "list", None)
    monkeypatch.setattr(host, "store", None)
    plan = host.run_plan([{"name": name, "state": "absent"} for name in ("net-dd", "web1")], under_xen=False)
    assert [domain["state"] for domain in plan.results["domains"]] == ["absent", "absent"]
    assert (os.listdir(host.paths.autostart), list(Path(host.paths.definitions).glob("*.cfg")), host.calls) == ([], [], [])


def test_a_changed_definition_is_reported_and_the_domain_left_alone(host: FakeHost) -> None:
    host.run_plan([{"name": "web1"}])
    host.calls.clear()
    plan = host.run_plan([{"name": "web1", "memory": 256}])
    assert host.calls == []
    assert plan.results["pending_restart"] == ["web1"]
    assert "restart_changed" in plan.warnings[0]
    assert "memory = 256" in Path(host.paths.definition("web1")).read_text()
    again = host.run_plan([{"name": "web1", "memory": 256}])
    assert (again.actions, again.results["pending_restart"]) == ([], ["web1"])


def test_a_changed_definition_restarts_where_the_user_allows_it(host: FakeHost) -> None:
    host.run_plan([{"name": "web1"}])
    host.calls.clear()
    plan = host.run_plan([{"name": "web1", "memory": 256}], restart_changed=True)
    assert host.calls == [("shutdown", "web1"), ("create", "web1")]
    assert plan.results["pending_restart"] == []


def test_a_removed_device_is_a_changed_definition(host: FakeHost) -> None:
    host.run_plan([DRIVER, GUEST], UPLINK)
    plan = host.run_plan([{"name": "web1"}])
    assert plan.results["pending_restart"] == ["web1"]


def test_a_file_that_is_older_than_the_domain_is_not_parsed_again(host: FakeHost) -> None:
    host.run_plan([{"name": "web1"}])
    host.store.values["/local/domain/1/vm"] = "/vm/1"
    host.store.values["/vm/1/start_time"] = "99999999999.5"
    host.rejected = "web1"
    assert host.run_plan([{"name": "web1"}]).actions == []


def test_a_vif_whose_backend_is_gone_needs_a_restart(host: FakeHost) -> None:
    host.run_plan([DRIVER, GUEST], UPLINK)
    host.remove("net-dd")
    host.calls.clear()
    plan = host.run_plan([DRIVER, GUEST], UPLINK, restart_changed=True)
    assert host.calls == [("shutdown", "web1"), ("create", "net-dd"), ("create", "web1")]
    assert plan.results["domains"][1]["vifs"][0]["connected"]


def test_a_driver_domain_that_serves_is_not_stopped(host: FakeHost) -> None:
    host.run_plan([DRIVER, GUEST], UPLINK)
    host.calls.clear()
    with pytest.raises(Refused, match=r"net-dd: it serves the vif of the running domain web1.*force: \[serves_clients\]"):
        host.run_plan([{"name": "net-dd", "state": "absent"}])
    assert host.calls == []
    # In check mode an earlier task has not really stopped the guest.
    foretold = host.run_plan([{"name": "net-dd", "state": "absent"}], check_mode=True)
    assert "unless an earlier task resolves it: Domain net-dd: it serves the vif" in foretold.warnings[0]
    host.run_plan([{"name": "net-dd", "state": "absent"}], force=("serves_clients",))
    assert host.calls == [("shutdown", "net-dd")]


def test_a_domain_that_does_not_shut_down(host: FakeHost) -> None:
    host.add("web1")
    host.deaf.add("web1")
    with pytest.raises(Refused, match=r"Domain web1: it did not shut down within 0.3 s.*force: \[destroy\]"):
        host.run_plan([{"name": "web1", "state": "stopped"}])
    host.run_plan([{"name": "web1", "state": "stopped"}], force=("destroy",))
    assert ("destroy", "web1") in host.calls


def test_disk_is_copied_once_and_never_removed(host: FakeHost) -> None:
    image, disk = host.root / "image", host.root / "disks/web1.img"
    image.write_text("image")
    guest = {"name": "web1", "disks": [{"vdev": "xvda", "target": str(disk), "source": str(image), "format": "raw", "access": "rw"}]}
    host.run_plan([guest])
    assert disk.read_text() == "image"
    disk.write_text("precious")
    image.write_text("new image")
    assert host.run_plan([guest]).actions == []
    image.unlink()
    assert host.run_plan([guest]).actions == []
    host.run_plan([{"name": "web1", "state": "absent"}])
    assert disk.read_text() == "precious"


class TestDisk:
    """A disk while it is copied."""

    @pytest.fixture
    def disk(self, host: FakeHost) -> Path:
        (host.root / "image").write_text("image")
        (host.root / "disks").mkdir()
        return host.root / "disks/web1.img"

    @staticmethod
    def guest(host: FakeHost, disk: Path) -> dict[str, t.Any]:
        return {"name": "web1", "disks": [{"vdev": "xvda", "target": str(disk), "source": str(host.root / "image")}]}

    def test_what_a_killed_run_left_is_made_anew(self, host: FakeHost, disk: Path) -> None:
        Path(f"{disk}.new").write_text("the beginning, and more of it than there should be")
        host.run_plan([self.guest(host, disk)])
        assert (disk.read_text(), os.listdir(disk.parent)) == ("image", ["web1.img"])

    def test_two_runs_do_not_make_it_at_once(self, host: FakeHost, disk: Path) -> None:
        with open(f"{disk}.new", "w", encoding="utf-8") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(DriverDomainsError, match=r"Another run is making the disk .*web1\.img"):
                host.run_plan([self.guest(host, disk)])
        assert not disk.exists()

    def test_one_that_another_run_made_meanwhile_is_in_use(self, host: FakeHost, disk: Path) -> None:
        plan = host.plan([self.guest(host, disk)])
        disk.write_text("precious")
        plan.apply()
        assert (disk.read_text(), os.listdir(disk.parent)) == ("precious", ["web1.img"])

    def test_it_is_on_the_disk_before_it_has_its_name(self, host: FakeHost, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        synced: list[tuple[str, bool]] = []
        monkeypatch.setattr(os, "fsync", lambda fd: synced.append((os.path.basename(os.readlink(f"/proc/self/fd/{fd}")), disk.exists())))
        host.run_plan([self.guest(host, disk)])
        assert ("web1.img.new", False) in synced

    def test_nobody_else_reads_it(self, host: FakeHost, disk: Path) -> None:
        host.run_plan([self.guest(host, disk)])
        assert disk.stat().st_mode & 0o777 == 0o600


def test_driver_domains_start_before_their_guests(host: FakeHost) -> None:
    host.run_plan([DRIVER, {**GUEST, "name": "a-guest", "autostart": True}], UPLINK)
    assert sorted(os.listdir(host.paths.autostart)) == ["00-net-dd.cfg", "a-guest.cfg"]
    host.run_plan([{**DRIVER, "autostart": False}], UPLINK)
    assert os.listdir(host.paths.autostart) == ["a-guest.cfg"]


def test_what_others_wrote_is_not_overwritten_or_removed(host: FakeHost) -> None:
    path = Path(host.paths.definition("web1"))
    path.parent.mkdir()
    path.write_text("name = 'web1'\n")
    with pytest.raises(Refused, match="was not written by this collection"):
        host.run_plan([{"name": "web1"}])
    host.add("web1")
    with pytest.raises(Refused, match="and their domains, are left alone"):
        host.run_plan([{"name": "web1", "state": "absent"}])
    assert (path.read_text(), host.calls) == ("name = 'web1'\n", [])
    host.run_plan([{"name": "web1"}], force=("foreign_definition",))
    assert path.read_text().startswith(MARKER)
    path.write_text("name = 'web1'\n")
    host.run_plan([{"name": "web1", "state": "absent"}], force=("foreign_definition",))
    assert (path.exists(), host.calls) == (False, [("shutdown", "web1")])


def test_autostart_links(host: FakeHost) -> None:
    auto = Path(host.paths.autostart)
    auto.mkdir(parents=True)
    (auto / "web1.cfg").symlink_to("../web1.cfg")
    (auto / "web2.cfg").symlink_to("../old/web2.cfg")
    (auto / "00-web1.cfg").write_text("of another domain, called 00-web1\n")
    guests = [{"name": "web1", "autostart": True}, {"name": "web2", "autostart": True}]
    host.run_plan(guests)
    assert os.readlink(auto / "web2.cfg") == host.paths.definition("web2")
    assert host.run_plan(guests).actions == []
    host.run_plan([{"name": name, "state": "absent"} for name in ("web1", "web2")])
    assert os.listdir(auto) == ["00-web1.cfg"]
    with pytest.raises(Refused, match="auto/00-web1.cfg: the file exists and was not written by this collection"):
        host.run_plan([{"name": "web1", "autostart": True, "driver_domain": True}])


def no_iommu(host: FakeHost) -> None:
    host.virt_caps = "pv"


def little_memory(host: FakeHost) -> None:
    host.free_memory = 100


def rejecting_xl(host: FakeHost) -> None:
    host.rejected = "nonsense"


def running_backend(host: FakeHost) -> None:
    host.add("net-dd")
    host.store.values["/local/domain/1/data/driver-domain/bridges"] = "xenbr0 xenbr1"


#: What is wrong with the host or the parameters, the parameters, the error.
BAD: dict[str, tuple[t.Callable[[FakeHost], None] | None, dict[str, t.Any], type[DriverDomainsError], str]] = {
    "no IOMMU": (no_iommu, DRIVER, Refused, "no IOMMU"),
    "device not assignable": (None, {**DRIVER, "pci": [{"device": "uplink1"}]}, Refused, "0000:04:00.0 is not assignable"),
    "too little memory": (
        little_memory,
        {"name": "web1", "memory": 128},
        Refused,
        r"This host: the domains to start \(web1\) need 128 MiB of memory, and 100 MiB are free",
    ),
    "no such backend": (None, GUEST, Refused, "'net-dd' does not run"),
    "no such bridge": (
        running_backend,
        {"name": "a", "vifs": [{"backend": "net-dd", "bridge": "br9"}]},
        Refused,
        "'br9' in net-dd",
    ),
    "no such bridge in dom0": (None, {"name": "a", "vifs": [{"bridge": "br9"}]}, Refused, "no bridge 'br9' in dom0"),
    "no such file": (None, {"name": "web1", "ramdisk": "/not/there"}, Refused, "/not/there does not exist"),
    "xl refuses": (rejecting_xl, {"name": "web1", "options": {"nonsense": 1}}, Refused, "xl does not accept"),
}


@pytest.mark.parametrize(("spoil", "domain", "kind", "problem"), BAD.values(), ids=BAD.keys())
def test_what_cannot_work_is_refused_before_any_change(
    spoil: t.Callable[[FakeHost], None] | None, domain: dict[str, t.Any], kind: type[DriverDomainsError], problem: str, host: FakeHost
) -> None:
    if spoil:
        spoil(host)
    before = files(host.root)
    with pytest.raises(kind, match=problem):
        host.run_plan([domain], {**UPLINK, "uplink1": "0000:04:00.0"})
    assert (host.calls, files(host.root)) == ([], before)


def test_a_device_moves_only_when_its_owner_goes(host: FakeHost) -> None:
    old = {**DRIVER, "name": "old-dd"}
    host.run_plan([old], UPLINK)
    host.hold("0000:03:00.0", owner="old-dd")
    host.calls.clear()
    without = {**old, "pci": None}
    with pytest.raises(Refused, match="Domain net-dd: the running domain old-dd has the device 0000:03:00.0"):
        host.run_plan([without, DRIVER], UPLINK)
    assert host.calls == []
    host.run_plan([without, DRIVER], UPLINK, restart_changed=True)
    assert host.calls == [("shutdown", "old-dd"), ("create", "old-dd"), ("create", "net-dd")]
    host.hold("0000:03:00.0")
    host.remove("old-dd")
    host.remove("net-dd")
    host.run_plan([DRIVER], UPLINK)
    assert host.calls[-1] == ("create", "net-dd")


def test_all_problems_are_reported_at_once(host: FakeHost) -> None:
    host.run_plan([{"name": "web2"}])
    host.free_memory = 10
    host.rejected = "nonsense"
    with pytest.raises(Refused) as caught:
        host.run_plan([GUEST, {"name": "web2", "options": {"nonsense": 1}}])
    refusals = [(refusal["subject"], refusal["reason"]) for refusal in caught.value.details["refusals"]]
    assert refusals == [
        ("Domain web2", "xl does not accept the definition: no"),
        ("Domain web1", "its backend domain 'net-dd' does not run"),
        ("This host", "the domains to start (web1) need 128 MiB of memory, and 10 MiB are free"),
    ]


def test_xl_parses_a_definition_once(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run_plan([{"name": "web1"}])
    parsed: list[str] = []
    parse = host.parse_definition
    monkeypatch.setattr(host, "parse_definition", lambda text: parsed.append(text) or parse(text))
    host.plan([{"name": "web1", "memory": 256}])
    assert len(parsed) == 1


def test_a_foreign_file_is_named_with_its_guard(host: FakeHost) -> None:
    path = Path(host.paths.definition("web1"))
    path.parent.mkdir()
    path.write_text("name = 'web1'\n")
    (refusal,) = host.plan([{"name": "web1"}]).refusals
    assert (refusal.subject, refusal.guard) == (str(path), "foreign_definition")


def test_a_hotplug_error_is_reported_with_its_text(host: FakeHost) -> None:
    host.add("net-dd")
    host.hotplug = {"hotplug-status": "error", "hotplug-error": "Could not find bridge device xenbr0"}
    with pytest.raises(DriverDomainsError, match=r"vif 0 of domain web1.*net-dd: Could not find bridge device xenbr0"):
        host.run_plan([GUEST])


def test_a_domain_that_reports_an_error_is_not_waited_for(host: FakeHost) -> None:
    domid = host.add("net-dd")
    home = f"/local/domain/{domid}/data/driver-domain"
    host.store.values.update({f"{home}/status": "error", f"{home}/error": "no network interface with MAC 1"})
    with pytest.raises(DriverDomainsError, match="Domain net-dd reports: no network interface with MAC 1"):
        host.run_plan([DRIVER], UPLINK)


def test_a_vif_that_does_not_connect_ends_in_a_timeout_that_tells_the_states(host: FakeHost) -> None:
    host.add("net-dd")
    host.vif_state = "2"
    problem = r"web1 \(domid 2\) was not ready within 1 s: vif 0 at net-dd: frontend state 2, backend state 2.*xen-hotplug.log in their"
    with pytest.raises(TimedOut, match=problem):
        host.run_plan([GUEST])
