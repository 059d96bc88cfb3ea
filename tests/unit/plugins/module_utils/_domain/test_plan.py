# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the wanted domains and a host to actions; every mutating call of the host is counted."""

from __future__ import annotations

import fcntl
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain import attacher
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.checks import DEVICE_MODEL_MEMORY
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.kept import agrees
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.units import SHUTDOWN_UNIT
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vif_options import default_mac
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import (
    DriverDomainsError,
    InvalidInput,
    Refused,
    TimedOut,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._held_back import HOLD_REASON, held_back, hold_back
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


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def left(host: FakeHost) -> set[str]:
    """The files of the host, apart from what a reboot removes, and what it had before."""
    return {path for path in files(host.root) if not path.startswith(("lib/", "run/", "proc/"))} - {"kernel", "qemu"}


def test_first_run_second_run_and_undoing(host: FakeHost) -> None:
    first = host.run_plan([DRIVER, GUEST], UPLINK)
    assert host.calls == [("create", "net-dd"), ("create", "web1")]
    assert [(d["name"], d["state"]) for d in first.results["domains"]] == [("net-dd", "running"), ("web1", "running")]
    assert first.results["domains"][1]["vifs"][0]["connected"]
    assert host.systemctl[-1] == ("start", "--no-block", "xen-domain@net-dd.service", "xen-driver-domains-shutdown.service")
    host.calls.clear()
    host.systemctl.clear()
    before = files(host.root)

    second = host.run_plan([DRIVER, GUEST], UPLINK)
    assert (second.actions, host.calls, host.systemctl, files(host.root)) == ([], [], [], before)

    host.run_plan([{"name": name, "state": "absent"} for name in ("net-dd", "web1")])
    assert host.calls == [("shutdown", "web1"), ("shutdown", "net-dd")]
    assert host.systemctl == [("stop", "xen-domain@net-dd.service"), ("stop", "xen-driver-domains-shutdown.service"), ("daemon-reload",)]
    assert left(host) == set()


@pytest.mark.parametrize("state", ["running", "stopped", "absent"])
def test_what_the_check_at_boot_holds_back_may_start_once_it_is_defined_again(host: FakeHost, state: str) -> None:
    host.run_plan([DRIVER], UPLINK)
    hold_back("net-dd", "it would get 0000:03:00.0, which is not uplink0 any more", host.paths.held_back)
    hold_back("other", "it would get 0000:03:00.0, which is not uplink0 any more", host.paths.held_back)
    plan = host.run_plan([{**DRIVER, "state": state}], UPLINK)
    assert f"remove {host.paths.held_back}/net-dd" in [action.description for action in plan.actions]
    assert [held_back(name, host.paths.held_back) != "" for name in ("net-dd", "other")] == [False, True]
    assert host.run_plan([{**DRIVER, "state": state}], UPLINK).actions == []


def test_a_driver_domain_without_its_card_stays_held_back(host: FakeHost) -> None:
    host.run_plan([DRIVER], UPLINK)
    hold_back("net-dd", HOLD_REASON, host.paths.held_back)
    assert host.run_plan([DRIVER], UPLINK).actions == []


def test_check_mode_writes_nothing_and_warns_of_what_is_not_there_yet(host: FakeHost) -> None:
    before = files(host.root)
    plan = host.run_plan([{**GUEST, "kernel": "/not/there"}], check_mode=True)
    assert (host.calls, files(host.root)) == ([], before)
    assert [action.description.split("/")[0] for action in plan.actions] == [
        *["write ", "write ", "write ", f"enable {SHUTDOWN_UNIT}", "write "],
        *["start domain web1", f"systemctl start {SHUTDOWN_UNIT}"],
    ]
    assert len(plan.warnings) == 2
    assert "/not/there does not exist" in plan.warnings[0] + plan.warnings[1]


#: state wanted, how the domain is (None: not there), the calls that follow
TRANSITIONS: list[tuple[str, str | None, list[tuple[str, ...]]]] = [
    ("running", None, [("create", "web1")]),
    ("running", "b", []),
    ("running", "c", [("destroy", "1"), ("create", "web1")]),
    ("running", "s", [("destroy", "1"), ("create", "web1")]),
    ("running", "sr", [("destroy", "1"), ("create", "web1")]),
    ("present", None, []),
    ("present", "b", []),
    ("stopped", None, []),
    ("stopped", "b", [("shutdown", "web1")]),
    ("stopped", "c", [("destroy", "1")]),
    ("stopped", "p", [("destroy", "1")]),
    ("absent", None, []),
    ("absent", "b", [("shutdown", "web1")]),
    ("absent", "s", [("destroy", "1")]),
]


@pytest.mark.parametrize(("state", "flags", "calls"), TRANSITIONS)
def test_transitions(state: str, flags: str | None, calls: list[tuple[str, ...]], host: FakeHost) -> None:
    if flags:
        host.adopt("web1", flags)
    host.run_plan([{"name": "web1", "state": state}])
    assert host.calls == calls
    host.calls.clear()
    assert host.run_plan([{"name": "web1", "state": state}]).actions == []
    assert host.calls == []


@pytest.mark.parametrize("state", ["running", "restarted", "stopped", "absent"])
def test_a_domain_that_is_being_saved_is_left_alone(state: str, host: FakeHost) -> None:
    host.run_plan([{"name": "web1"}])
    host.flag("web1", "ss")
    host.calls.clear()
    with pytest.raises(Refused, match="Domain web1: it is suspended: 'xl save' or a migration is at work"):
        host.run_plan([{"name": "web1", "state": state}], force=("destroy", "foreign_definition"))
    assert host.calls == []
    assert host.run_plan([{"name": "web1", "state": "present"}]).actions == []


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


class TestCreationWithoutEnd:
    """`xl create` does not end in time; what is there then may be its own, or somebody else's."""

    @staticmethod
    def hang(host: FakeHost, monkeypatch: pytest.MonkeyPatch, flags: str, ours: bool, text: str | None = None) -> None:
        def create(path: str, timeout: float, uuid: str = "") -> None:
            host.add("web1", flags, text=text, uuid=uuid if ours else "of-another-creation")
            raise TimedOut(f"'xl create' did not end within {timeout:g} s")

        monkeypatch.setattr(host, "create", create)

    def test_what_it_has_made_is_removed(self, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hang(host, monkeypatch, "p", ours=True)
        with pytest.raises(TimedOut, match="'xl create' did not end within 180 s"):
            host.run_plan([{"name": "web1"}])
        assert host.calls == [("destroy", "1")]
        assert "web1" not in host.domains

    @pytest.mark.parametrize(
        ("flags", "ours", "text", "options"),
        [
            ("b", False, "memory = 128\n", {}),
            ("p", False, None, {}),
            ("b", True, "memory = 128\n", {}),
            ("p", True, None, {"uuid": "5e3f1c1e-0000-4000-8000-000000000001"}),
        ],
        ids=["complete, of others", "unfinished, of others", "complete, our own", "a UUID that others may use as well"],
    )
    def test_what_others_made_or_what_is_complete_stays(
        self, flags: str, ours: bool, text: str | None, options: dict[str, t.Any], host: FakeHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.hang(host, monkeypatch, flags, ours, text)
        with pytest.raises(TimedOut):
            host.run_plan([{"name": "web1", "options": options}])
        assert host.calls == []
        assert "web1" in host.domains


def test_a_domain_that_xl_started_again_after_a_crash_is_not_destroyed(host: FakeHost) -> None:
    """It crashed when the plan was made, and has another domid by now."""
    domid = host.adopt("web1", "c")
    plan = host.plan([{"name": "web1", "state": "absent"}])
    host.remove("web1")
    host.add("web1")
    with pytest.raises(DriverDomainsError, match="Domain web1 was stopped, but runs again"):
        plan.apply()
    assert host.calls == [("destroy", str(domid))]
    assert "web1" in host.domains


def test_a_domain_that_stays_when_it_has_shut_down(host: FakeHost) -> None:
    host.adopt("web1")
    host.preserved.add("web1")
    host.run_plan([{"name": "web1", "state": "absent"}])
    assert host.calls == [("shutdown", "web1"), ("destroy", "1")]


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
    host.adopt("net-dd")
    with pytest.raises(Refused, match="'net-dd' does not run"):
        host.run_plan([{"name": "net-dd", "state": "stopped"}, GUEST])
    assert host.calls == []


def test_the_memory_of_a_domain_that_is_stopped_in_the_same_run_is_free(host: FakeHost) -> None:
    host.adopt("old")
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
    assert (left(host), host.calls) == (set(), [])


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


class TestPendingRestart:
    """A running domain is compared with what libxl keeps of it, not with files and their times."""

    def test_it_is_not_forgotten_when_the_domain_reboots_itself(self, host: FakeHost) -> None:
        host.run_plan([{"name": "web1"}])
        assert host.run_plan([{"name": "web1", "memory": 256}]).results["pending_restart"] == ["web1"]
        host.reboot("web1")
        again = host.run_plan([{"name": "web1", "memory": 256}])
        assert (again.actions, again.results["pending_restart"]) == ([], ["web1"])
        host.calls.clear()
        host.run_plan([{"name": "web1", "memory": 256}], restart_changed=True)
        assert host.calls == [("shutdown", "web1"), ("create", "web1")]
        assert host.run_plan([{"name": "web1", "memory": 256}]).results["pending_restart"] == []

    @pytest.mark.parametrize(
        "removed",
        [{"cmdline": "quiet"}, {"on_crash": "restart"}, {"options": {"iomem": ["fe000,1"]}}, {"vifs": [{"rate": "1MB/s"}]}],
        ids=["cmdline", "on_crash", "options", "vif"],
    )
    def test_a_setting_that_is_removed(self, removed: dict[str, t.Any], host: FakeHost) -> None:
        """Neither the new definition nor what libxl keeps says so."""
        before, after = {"name": "web1", **removed}, {"name": "web1", **({"vifs": [{}]} if "vifs" in removed else {})}
        host.run_plan([before])
        for _run in range(3):
            assert host.run_plan([after]).results["pending_restart"] == ["web1"]
        host.calls.clear()
        assert host.run_plan([after], restart_changed=True).results["pending_restart"] == []
        assert host.calls == [("shutdown", "web1"), ("create", "web1")]
        assert host.run_plan([after], restart_changed=True).actions == []

    @pytest.mark.parametrize("times", [(0, 0), (99999999999, 99999999999)], ids=["old", "new"])
    def test_file_times_do_not_matter(self, times: tuple[int, int], host: FakeHost) -> None:
        host.run_plan([{"name": "web1"}])
        host.run_plan([{"name": "web1", "memory": 256}])
        os.utime(host.paths.definition("web1"), times)
        assert host.run_plan([{"name": "web1", "memory": 256}]).results["pending_restart"] == ["web1"]

    def test_what_an_earlier_domain_left_says_nothing(self, host: FakeHost) -> None:
        """It had the same number; only the UUID in the name of its file shows that."""
        host.run_plan([{"name": "web1"}])
        host.leave_behind(1, {"b_info": {"memory": "256"}})
        plan = host.run_plan([{"name": "web1"}])
        assert (plan.actions, plan.results["pending_restart"]) == ([], [])

    @pytest.mark.parametrize("memory", [128, 256])
    def test_without_a_uuid_nothing_is_compared(self, host: FakeHost, memory: int) -> None:
        host.run_plan([{"name": "web1"}])
        del host.store.values["/local/domain/1/vm"]
        plan = host.run_plan([{"name": "web1", "memory": memory}], restart_changed=True)
        assert plan.results["pending_restart"] == []
        assert host.calls == [("create", "web1")]

    def test_going_back_to_the_old_definition_ends_it(self, host: FakeHost) -> None:
        host.run_plan([{"name": "web1"}])
        host.run_plan([{"name": "web1", "memory": 256}])
        assert host.run_plan([{"name": "web1"}]).results["pending_restart"] == []
        assert host.run_plan([{"name": "web1"}]).actions == []

    @staticmethod
    def plug(host: FakeHost, *nics: str) -> None:
        (kept,) = (host.root / "lib").glob("userdata-d.*")
        settings = json.loads(kept.read_text().rstrip("\0"))
        settings["nics"] = [*nics]
        kept.write_text(json.dumps(settings) + "\0")

    def test_a_device_that_somebody_attached_is_no_change_of_the_definition(self, host: FakeHost) -> None:
        """Otherwise a domain with a vif of xl_vif would be restarted by each run."""
        host.run_plan([{"name": "web1"}])
        self.plug(host, "vif")
        for _run in range(2):
            assert host.run_plan([{"name": "web1"}], restart_changed=True).actions == []
        assert len(host.parsed) == 2
        assert host.run_plan([{"name": "web1", "memory": 64}]).results["pending_restart"] == ["web1"]

    def test_a_device_that_somebody_detached(self, host: FakeHost) -> None:
        """It is attached again. libxl does not remove it from what it keeps of the domain."""
        guest = {
            "name": "web1",
            "vifs": [{"mac": "00:16:3e:00:00:01"}, {"mac": "00:16:3e:00:00:02"}],
            "disks": [{"vdev": vdev, "target": "/dev/zero", "format": "raw", "access": "ro"} for vdev in ("xvda", "xvdb")],
        }
        host.run_plan([guest])
        assert host.run_plan([guest]).actions == []
        for kind, devid in (("vif", 1), ("vbd", 51728)):
            host.detach_device(kind, "web1", devid)
        host.calls.clear()
        plan = host.run_plan([guest])
        assert [call[:2] for call in host.calls] == [("attach", "vif"), ("attach", "vbd")]
        assert host.calls[0][3].startswith("mac=00:16:3e:00:00:02") and host.calls[0][3].endswith(",devid=1")
        assert "vdev=xvdb" in host.calls[1][3]
        assert plan.results["pending_restart"] == []
        assert host.run_plan([guest]).actions == []

    def test_a_virtio_disk_is_elsewhere_in_xenstore(self, host: FakeHost) -> None:
        """It is not lost, and would be attached by each run."""
        disk = {"vdev": "xvda", "target": "/dev/zero", "access": "ro", "backendtype": "standalone", "specification": "virtio"}
        guest = {"name": "web1", "disks": [disk]}
        host.run_plan([guest])
        host.detach_device("vbd", "web1", 51712)
        host.calls.clear()
        assert (host.run_plan([guest]).actions, host.calls) == ([], [])

    def test_a_device_that_somebody_changed_is_there(self, host: FakeHost) -> None:
        """It is not attached a second time, whatever libxl keeps of it now."""
        guest = {"name": "web1", "vifs": [{"mac": "00:16:3e:00:00:01", "rate": "1MB/s"}]}
        host.run_plan([guest])
        (kept,) = (host.root / "lib").glob("userdata-d.1.*")
        configuration = json.loads(kept.read_text().rstrip("\0"))
        kept.write_text(json.dumps({**configuration, "nics": [{**configuration["nics"][0], "rate": "2MB/s"}]}) + "\0")
        plan = host.run_plan([guest])
        assert (plan.actions, plan.results["pending_restart"]) == ([], ["web1"])

    def test_the_order_of_devices_does_not_matter(self) -> None:
        """A vif that was attached again, because its backend was restarted, comes last."""
        one, two = {"mac": "1", "bridge": "a"}, {"mac": "2", "bridge": "a"}
        kept = {"nics": [{**two, "devid": 1}, {**one, "devid": 0}]}
        assert agrees({"nics": [one, two]}, kept)
        assert not agrees({"nics": [one, one]}, kept)
        assert not agrees({"nics": [one]}, kept)
        assert agrees({"nics": [one]}, kept, further=True)
        assert not agrees({"nics": [one, two, {"mac": "3"}]}, kept, further=True)

    @pytest.mark.parametrize("content", ["", "{", "[]", '"text"'])
    def test_what_cannot_be_read_does_not_agree(self, content: str, host: FakeHost) -> None:
        host.run_plan([{"name": "web1"}])
        (kept,) = (host.root / "lib").glob("userdata-d.1.*")
        kept.write_text(content)
        assert host.run_plan([{"name": "web1"}]).results["pending_restart"] == ["web1"]

    def test_what_is_known_to_agree_is_not_parsed_again(self, host: FakeHost) -> None:
        guests = [{"name": f"web{number}"} for number in range(8)]
        host.run_plan(guests)
        host.reboot("web3")
        host.parsed.clear()
        assert host.run_plan(guests).actions == []
        assert host.parsed == []

    def test_a_domain_that_xendomains_started_is_parsed_once(self, host: FakeHost) -> None:
        host.run_plan([{"name": "web1", "state": "present"}])
        host.add("web1", text=Path(host.paths.definition("web1")).read_text())
        host.parsed.clear()
        before = files(host.root)
        host.run_plan([{"name": "web1"}], check_mode=True)
        assert files(host.root) == before
        for _run in range(3):
            assert host.run_plan([{"name": "web1"}]).actions == []
        assert len(host.parsed) == 2


@pytest.mark.parametrize("kind", ["9pfs", "vtpm", "vusb", "vscsi", "vkbd"])
@pytest.mark.parametrize("how", ["restarted", "crashed"])
def test_a_device_whose_backend_was_restarted_needs_a_restart(kind: str, how: str, host: FakeHost) -> None:
    host.run_plan([{"name": "store-dd"}, {"name": "web1"}])
    host.serve(kind, "web1", "store-dd", 5)
    assert host.run_plan([{"name": "web1"}]).results["pending_restart"] == []
    if how == "restarted":
        host.remove("store-dd")
        host.add("store-dd")
    else:
        host.flag("store-dd", "c")
    plan = host.run_plan([{"name": "web1"}])
    assert plan.results["pending_restart"] == ["web1"]
    assert f"the backend of its {kind} 5, domain 1, is gone" in plan.warnings[0]
    host.calls.clear()
    host.run_plan([{"name": "web1"}], restart_changed=True)
    assert host.calls == [("shutdown", "web1"), ("create", "web1")]


STORED = {"name": "web1", "disks": [{"vdev": "xvda", "target": "/dev/d", "backend": "store-dd"}], "vifs": [{"backend": "store-dd"}]}


@pytest.fixture
def healed(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A guest that has a vif and a disk of a driver domain."""
    monkeypatch.setattr(attacher, "REMOVAL_DELAY", 0.0)
    host.run_plan([{"name": "store-dd"}, STORED])
    host.serve("vbd", "web1", "store-dd", 51712)
    host.store.values.update({"/libxl/2/device/vbd/51712": "", "/libxl/2/device/vbd/51712/dev": "xvda"})
    host.store.values.update({f"/libxl/2/device/vbd/51712/{key}": value for key, value in (("mode", "w"), ("params", "/dev/d"))})
    host.store.values["/local/domain/2/device/vbd/51712/state"] = "4"
    host.calls.clear()
    return host


def test_vifs_and_disks_whose_backend_was_restarted_are_attached_again(healed: FakeHost) -> None:
    """Without a restart of the guest, and with the settings that libxl keeps, under the name of the backend."""
    assert healed.run_plan([STORED]).actions == []
    healed.remove("store-dd")
    healed.add("store-dd")
    foretold = healed.run_plan([STORED], check_mode=True)
    assert [action.description for action in foretold.actions] == [
        "detach vif 0 of domain web1 (its backend, domain 1, is gone)",
        "attach vif 0 of domain web1 to store-dd",
        "detach disk xvda of domain web1 (its backend, domain 1, is gone)",
        "attach disk xvda of domain web1 to store-dd",
    ]
    assert healed.calls == []
    plan = healed.run_plan([STORED])
    mac = default_mac("web1", 0, "store-dd")
    assert healed.calls == [
        ("detach", "vif", "web1", "0"),
        ("attach", "vif", "web1", f"mac={mac},backend=store-dd,devid=0"),
        ("detach", "vbd", "web1", "51712"),
        ("attach", "vbd", "web1", "vdev=xvda,access=rw,backend=store-dd,target=/dev/d"),
    ]
    assert (plan.results["pending_restart"], plan.warnings) == ([], [])
    assert plan.results["domains"][0]["vifs"][0]["backend"] == "store-dd"


def test_they_wait_for_a_backend_that_the_same_run_starts(healed: FakeHost) -> None:
    healed.remove("store-dd")
    healed.run_plan([{"name": "store-dd"}, STORED])
    assert [call[0] for call in healed.calls] == ["create", "detach", "attach", "detach", "attach"]


@pytest.mark.parametrize("ready", [None, {"key": "data/up", "value": "yes", "error_key": None}], ids=["undeclared", "declared"])
def test_nothing_is_detached_before_its_backend_serves(
    healed: FakeHost, ready: dict[str, t.Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest waits for its disk, and would lose what it has not written."""
    healed.remove("store-dd")
    domid = healed.add("store-dd")
    status = f"/local/domain/{domid}/{ready['key'] if ready else READY['key']}"
    healed.store.values[status] = "starting"
    wanted = [STORED, *([{"name": "store-dd", "ready": ready, "state": "running"}] if ready else [])]
    with pytest.raises(TimedOut, match="Domain store-dd was not ready within 1 s: its key .* is 'starting', not"):
        healed.run_plan(wanted)
    assert healed.calls == []
    healed.store.values[status] = "error"
    with pytest.raises(DriverDomainsError, match="Domain store-dd reports: it gave no reason"):
        healed.run_plan(wanted)
    assert healed.calls == []
    healed.store.values[status] = "yes" if ready else "ready"
    healed.run_plan(wanted)
    assert [call[0] for call in healed.calls] == ["detach", "attach", "detach", "attach"]


def test_a_backend_that_gets_a_device_itself_is_not_waited_for(healed: FakeHost) -> None:
    """It may only be ready when it has that."""
    second = {"name": "web2", "vifs": [{"backend": "web1"}]}
    healed.run_plan([{"name": "store-dd"}, STORED, second])
    healed.remove("store-dd")
    healed.add("store-dd")
    web1 = healed.store.domid_of("web1")
    healed.store.values[f"/local/domain/{web1}/data/driver-domain/status"] = "starting"
    home = f"/local/domain/{web1}/backend/vif/{healed.store.domid_of('web2')}/0"
    healed.store.values[f"{home}/hotplug-status"] = "error"
    healed.calls.clear()
    healed.run_plan([{"name": "store-dd"}, STORED, second])
    assert [call[2] for call in healed.calls] == ["web1", "web2", "web1", "web2", "web1", "web1"]


@pytest.mark.parametrize("how", ["gone", "crashed"])
def test_a_backend_that_does_not_run(how: str, healed: FakeHost) -> None:
    if how == "gone":
        healed.remove("store-dd")
    else:
        healed.flag("store-dd", "c")
    plan = healed.run_plan([STORED])
    assert (plan.results["pending_restart"], plan.actions) == (["web1"], [])
    assert "vif 0: its backend, domain 1, is gone, and store-dd does not run" in plan.warnings[0]


def test_a_domain_that_only_has_to_be_defined_is_not_touched(healed: FakeHost) -> None:
    healed.remove("store-dd")
    healed.add("store-dd")
    plan = healed.run_plan([{**STORED, "state": "present"}])
    assert (plan.actions, plan.results["pending_restart"]) == ([], ["web1"])
    assert "domain 1, is gone" in plan.warnings[0]


def test_a_hotplug_script_that_failed_is_run_again(healed: FakeHost) -> None:
    healed.store.values["/local/domain/1/backend/vif/2/0/hotplug-status"] = "error"
    healed.store.values["/local/domain/1/backend/vif/2/0/hotplug-error"] = "no bridge"
    plan = healed.run_plan([STORED])
    assert plan.actions[0].description == "detach vif 0 of domain web1 (its hotplug script failed: no bridge)"
    assert [call[:2] for call in healed.calls] == [("detach", "vif"), ("attach", "vif")]


def test_a_disk_that_its_backend_does_not_serve(healed: FakeHost) -> None:
    """It stays in state 2, while the guest waits in state 3."""
    healed.store.values["/local/domain/1/backend/vbd/2/51712/state"] = "2"
    healed.store.values["/local/domain/2/device/vbd/51712/state"] = "3"
    healed.run_plan([STORED])
    assert [call[:2] for call in healed.calls] == [("detach", "vbd"), ("attach", "vbd")]


def test_a_disk_that_was_attached_again_is_waited_for(healed: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    healed.store.values["/local/domain/1/backend/vbd/2/51712/hotplug-status"] = "error"
    attach = healed.attach_device

    def closed(kind: str, domain: str, text: str) -> None:
        attach(kind, domain, text)
        healed.store.values["/local/domain/2/device/vbd/51712/state"] = "3"

    monkeypatch.setattr(healed, "attach_device", closed)
    with pytest.raises(TimedOut, match="Domain web1 .* was not ready within 1 s: disk xvda at store-dd: frontend state 3"):
        healed.run_plan([STORED])


def test_devices_that_got_lost_are_attached(healed: FakeHost) -> None:
    """A repair was cut off between its halves: libxl keeps neither any more."""
    (kept,) = (healed.root / "lib").glob("userdata-d.2.*")
    configuration = json.loads(kept.read_text().rstrip("\0"))
    kept.write_text(json.dumps({**configuration, "nics": [], "disks": []}) + "\0")
    for kind, devid in (("vif", 0), ("vbd", 51712)):
        healed.detach_device(kind, "web1", devid)
    healed.calls.clear()
    plan = healed.run_plan([STORED])
    assert [call[:2] for call in healed.calls] == [("attach", "vif"), ("attach", "vbd")]
    # The same number as before: the guest names the interface by it.
    assert healed.calls[0][3].endswith(",devid=0")
    assert plan.results["pending_restart"] == []


def test_devices_that_are_new_in_the_definition_need_a_restart(host: FakeHost) -> None:
    host.run_plan([{"name": "web1"}])
    assert host.run_plan([{"name": "web1", "vifs": [{}]}]).results["pending_restart"] == ["web1"]


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
    host.adopt("web1")
    host.deaf.add("web1")
    with pytest.raises(Refused, match=r"Domain web1: it did not shut down within 0.3 s.*force: \[destroy\]"):
        host.run_plan([{"name": "web1", "state": "stopped"}])
    host.run_plan([{"name": "web1", "state": "stopped"}], force=("destroy",))
    assert ("destroy", "1") in host.calls


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
        assert (disk.read_text(), sorted(os.listdir(disk.parent))) == ("image", ["web1.img", "web1.img.image"])

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


class TestForeignDomain:
    """A running domain that others started, from a file of their own."""

    STATES = ("running", "present", "stopped", "absent")

    @pytest.mark.parametrize("flags", ["b", "p", "c"])
    @pytest.mark.parametrize("state", STATES)
    def test_where_we_have_no_definition(self, state: str, flags: str, host: FakeHost) -> None:
        host.add("web1", flags, text="memory = 99\n")
        with pytest.raises(Refused, match=r"Domain web1: it runs, but was not started from .*web1.cfg \[foreign_definition\]"):
            host.run_plan([{"name": "web1", "state": state}], restart_changed=True)
        assert (host.calls, os.path.exists(host.paths.definition("web1"))) == ([], False)

    @pytest.mark.parametrize("state", STATES)
    def test_where_we_have_one_that_nobody_started(self, state: str, host: FakeHost) -> None:
        host.run_plan([{"name": "web1", "state": "stopped"}])
        host.add("web1", text="memory = 99\n")
        before = files(host.root)
        with pytest.raises(Refused, match="it runs, but was not started from"):
            host.run_plan([{"name": "web1", "state": state, "memory": 64}], restart_changed=True)
        assert (host.calls, files(host.root)) == ([], before)
        host.run_plan([{"name": "web1", "state": "stopped"}], force=("foreign_definition",))
        assert host.calls == [("shutdown", "web1")]

    def test_what_xendomains_started_is_ours(self, host: FakeHost) -> None:
        host.run_plan([{"name": "web1", "state": "present"}])
        host.add("web1", text=Path(host.paths.definition("web1")).read_text())
        host.run_plan([{"name": "web1", "memory": 256}], restart_changed=True)
        assert host.calls == [("shutdown", "web1"), ("create", "web1")]

    def test_it_stays_ours_when_a_run_is_cut_off(self, host: FakeHost) -> None:
        """After the new definition was written: the old one no longer shows that the domain was started from it."""
        host.run_plan([{"name": "web1", "state": "present"}])
        host.add("web1", text=Path(host.paths.definition("web1")).read_text())
        plan = host.plan([{"name": "web1", "memory": 256}], restart_changed=True)
        plan.actions[0].apply()
        host.run_plan([{"name": "web1", "memory": 256}], restart_changed=True)
        assert host.calls == [("shutdown", "web1"), ("create", "web1")]

    def test_it_stays_ours_whatever_is_attached_to_it(self, host: FakeHost) -> None:
        host.run_plan([{"name": "web1"}])
        host.run_plan([{"name": "web1", "memory": 256}])
        (kept,) = (host.root / "lib").glob("userdata-d.1.*")
        kept.write_text(kept.read_text().replace('"defaults"', '"nics": [{"devid": 0}], "defaults"'))
        host.calls.clear()
        host.run_plan([{"name": "web1", "state": "absent"}])
        assert host.calls == [("shutdown", "web1")]


class TestPoweroff:
    """xl starts a domain again that has shut down."""

    ACTIONS = ("restart", "rename-restart", "coredump-restart", "soft-reset")

    @pytest.mark.parametrize("wanted", [{"state": "stopped"}, {"state": "absent"}, {"memory": 64}], ids=str)
    @pytest.mark.parametrize("action", ACTIONS)
    def test_it_is_not_asked_to(self, action: str, wanted: dict[str, t.Any], host: FakeHost) -> None:
        host.run_plan([{"name": "web1", "on_poweroff": action}])
        host.calls.clear()
        with pytest.raises(Refused, match=rf"Domain web1: xl would start it again.*on_poweroff: {action}.*force: \[destroy\]"):
            host.run_plan([{"name": "web1", **wanted}], restart_changed=True)
        assert host.calls == []

    @pytest.mark.parametrize("state", ["stopped", "absent"])
    def test_with_force_it_is_destroyed_when_it_comes_back(self, state: str, host: FakeHost) -> None:
        host.run_plan([{"name": "web1", "on_poweroff": "restart"}])
        host.returning.add("web1")
        host.calls.clear()
        plan = host.run_plan([{"name": "web1", "state": state}], force=("destroy",))
        assert host.calls == [("shutdown", "web1"), ("destroy", "2")]
        assert plan.results["domains"][0]["state"] == state

    @pytest.mark.parametrize("action", [None, "destroy", "preserve"])
    def test_others_are_stopped(self, action: str | None, host: FakeHost) -> None:
        host.run_plan([{"name": "web1", "on_poweroff": action}])
        host.calls.clear()
        host.run_plan([{"name": "web1", "state": "stopped", "on_poweroff": "restart"}])
        assert host.calls == [("shutdown", "web1")]

    @pytest.mark.parametrize("state", ["stopped", "absent"])
    def test_what_comes_back_for_another_reason_is_not_called_stopped(self, state: str, host: FakeHost) -> None:
        host.run_plan([{"name": "web1"}])
        host.returning.add("web1")
        with pytest.raises(DriverDomainsError, match=r"Domain web1 was stopped, but runs again \(domid 2\)"):
            host.run_plan([{"name": "web1", "state": state}])


def no_iommu(host: FakeHost) -> None:
    host.virt_caps = "pv"


def little_memory(host: FakeHost) -> None:
    host.free_memory = 100


def rejecting_xl(host: FakeHost) -> None:
    host.rejected = "nonsense"


def running_backend(host: FakeHost) -> None:
    host.adopt("net-dd")
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


class TestOtherScripts:
    """Xen's own scripts need a bridge of the kernel, and a disk that is a path; other scripts need what they need."""

    @pytest.mark.parametrize(
        "vif",
        [
            {"script": "vif-openvswitch", "bridge": "ovs0"},
            {"script": "vif-openvswitch", "bridge": "ovs0.5:1"},
            {"script": "/etc/xen/scripts/vif-mine", "bridge": "br9"},
            {"script": "vif-route"},
            {"script": "vif-openvswitch", "bridge": "ovs0", "backend": "net-dd"},
        ],
        ids=str,
    )
    def test_of_a_vif(self, vif: dict[str, t.Any], host: FakeHost) -> None:
        running_backend(host)
        host.run_plan([{"name": "web1", "vifs": [vif]}])
        assert host.calls == [("create", "web1")]

    @pytest.mark.parametrize("script", ["vif-bridge", "/etc/xen/scripts/vif-bridge"])
    def test_the_default_by_its_name(self, script: str, host: FakeHost) -> None:
        with pytest.raises(Refused, match="there is no bridge 'br9' in dom0"):
            host.run_plan([{"name": "web1", "vifs": [{"script": script, "bridge": "br9"}]}])

    @pytest.mark.parametrize(
        ("line", "refused"),
        [
            ('vif.default.script="vif-openvswitch"', False),
            ("  vif.default.script = 'vif-route'", False),
            ('vif.default.script="vif-bridge"', True),
            ('#vif.default.script="vif-openvswitch"', True),
            ('vif.default.bridge="ovs0"', True),
        ],
    )
    def test_of_all_vifs_of_the_host(self, line: str, refused: bool, host: FakeHost) -> None:
        path = Path(host.paths.definitions)
        path.mkdir()
        (path / "xl.conf").write_text(f"autoballoon=0\n{line}\n")
        guest = {"name": "web1", "vifs": [{"bridge": "ovs0"}]}
        if refused:
            with pytest.raises(Refused, match="there is no bridge 'ovs0' in dom0"):
                host.run_plan([guest])
        else:
            host.run_plan([guest])

    @pytest.mark.parametrize(
        ("interfaces", "bridge", "refused"),
        [
            (["ovs-system", "ovs0"], "ovs0", False),
            (["ovs-system", "ovs0", "eth0/device"], "eth0", True),
            (["ovs-system"], "ovs0", True),
            (["dummy0"], "dummy0", True),
            (["eth0/bridge"], "eth0", False),
            (["eth0/bridge"], "xenbr0", False),
            (["eth0/device"], "xenbr0", True),
            (["eth0/bridge"], "xenbr1", True),
        ],
        ids=str,
    )
    def test_what_may_be_a_bridge_of_dom0(self, interfaces: list[str], bridge: str, refused: bool, host: FakeHost) -> None:
        """The port of an Open vSwitch bridge has its name, and nothing else shows it. For xenbrN vif-bridge takes ethN."""
        for interface in interfaces:
            (host.root / "sys/class/net" / interface).mkdir(parents=True)
        guest = {"name": "web1", "vifs": [{"bridge": bridge}]}
        if refused:
            with pytest.raises(Refused, match=f"there is no bridge '{bridge}' in dom0"):
                host.run_plan([guest])
        else:
            host.run_plan([guest])

    @pytest.mark.parametrize(
        "disk",
        [
            {"target": "iqn.2001-05.com.example:disk,portal=192.0.2.1:3260", "script": "block-iscsi"},
            {"target": "/dev/that/the/script/makes", "script": "block-mine"},
            {"target": "rbd:pool/image", "backendtype": "qdisk"},
            {"target": "nbd:unix:/run/nbd.sock"},
            {"target": "nbd://192.0.2.1/export"},
        ],
        ids=str,
    )
    def test_of_a_disk(self, disk: dict[str, t.Any], host: FakeHost) -> None:
        host.run_plan([{"name": "web1", "disks": [{"vdev": "xvda", **disk}]}])
        assert host.calls == [("create", "web1")]

    def test_a_source_needs_a_path(self, host: FakeHost) -> None:
        disk = {"vdev": "xvda", "target": "rbd:pool/image", "source": "/image"}
        with pytest.raises(InvalidInput, match="has a source and a script, or a target that is no path"):
            host.run_plan([{"name": "web1", "disks": [disk]}])


class TestPaging:
    """Guests other than PV need a processor that helps with their memory."""

    @pytest.mark.parametrize("state", ["running", "present", "stopped"])
    @pytest.mark.parametrize("kind", ["pvh", "hvm"])
    @pytest.mark.parametrize("caps", ["pv", "pv shadow", "pv hvm", "pv hvm shadow", ""])
    def test_a_host_without_it(self, caps: str, kind: str, state: str, host: FakeHost) -> None:
        host.virt_caps = caps
        before = files(host.root)
        guest = {"name": "web1", "type": kind, "state": state, "autostart": True}
        for check_mode in (False, True):
            with pytest.raises(Refused, match=rf"Domain web1: its type is {kind}, and this host has no hap"):
                host.run_plan([guest], check_mode=check_mode)
        assert (host.calls, files(host.root)) == ([], before)

    @pytest.mark.parametrize("kind", ["pvh", "hvm"])
    @pytest.mark.parametrize(
        ("caps", "options"), [("pv hvm hap", {}), ("pv hvm shadow", {"hap": False}), ("hvm hap shadow", {"hap": True})]
    )
    def test_a_host_with_it(self, caps: str, options: dict[str, t.Any], kind: str, host: FakeHost) -> None:
        host.virt_caps = caps
        host.run_plan([{"name": "web1", "type": kind, "options": options}])
        assert host.calls == [("create", "web1")]

    def test_a_boot_option_of_xen_may_still_be_changed(self, host: FakeHost) -> None:
        host.virt_caps, host.xen_options = "pv hvm", "hap=0"
        assert "no hap" in host.run_plan([{"name": "web1", "type": "pvh"}], check_mode=True).warnings[0]

    def test_a_domain_that_runs_is_not_asked(self, host: FakeHost) -> None:
        host.virt_caps = "hvm hap"
        host.run_plan([{"name": "web1", "type": "pvh"}])
        host.virt_caps = ""
        assert host.run_plan([{"name": "web1", "type": "pvh"}]).actions == []


class TestDeviceModel:
    """QEMU in dom0, which each HVM domain has."""

    CAPS = "pv hvm hap pv_directio hvm_directio"

    def test_a_host_without_it(self, host: FakeHost) -> None:
        host.virt_caps = self.CAPS
        (host.root / "qemu").unlink()
        before = files(host.root)
        with pytest.raises(Refused, match=r"Domain web1: its type is hvm, and this host has no device model .*qemu-system-xen"):
            host.run_plan([{"name": "web1", "type": "hvm"}, {"name": "web2", "type": "pvh"}])
        assert (host.calls, files(host.root)) == ([], before)
        # An earlier task may install it.
        assert "no device model" in host.run_plan([{"name": "web1", "type": "hvm"}], check_mode=True).warnings[0]

    def test_a_device_model_of_its_own(self, host: FakeHost) -> None:
        host.virt_caps = self.CAPS
        (host.root / "qemu").unlink()
        host.run_plan([{"name": "web1", "type": "hvm", "options": {"device_model_override": "/usr/bin/qemu-system-i386"}}])
        assert host.calls == [("create", "web1")]

    @pytest.mark.parametrize("kind", ["pv", "pvh"])
    def test_others_need_none(self, kind: str, host: FakeHost) -> None:
        host.virt_caps = self.CAPS
        (host.root / "qemu").unlink()
        host.dom0_memory(1)
        host.run_plan([{"name": "web1", "type": kind}])
        assert host.calls == [("create", "web1")]

    def test_memory_of_dom0(self, host: FakeHost) -> None:
        host.virt_caps = self.CAPS
        host.dom0_memory(2 * DEVICE_MODEL_MEMORY - 1)
        guests = [{"name": "a", "type": "hvm"}, {"name": "b", "type": "hvm"}]
        with pytest.raises(Refused, match=r"the device models of a, b need 128 MiB in dom0, and 127 MiB are available"):
            host.run_plan(guests)
        host.run_plan(guests[:1])
        # One that runs has its own already, even if it is restarted.
        host.dom0_memory(1)
        host.run_plan([{**guests[0], "vcpus": 2}], restart_changed=True)
        assert host.calls == [("create", "a"), ("shutdown", "a"), ("create", "a")]

    @pytest.mark.parametrize(("kind", "refused"), [("hvm", True), ("pvh", False), ("pv", False)])
    def test_qemu_boots_no_elf_file(self, kind: str, refused: bool, host: FakeHost) -> None:
        host.virt_caps = self.CAPS
        (host.root / "kernel").write_bytes(b"\x7fELF" + bytes(60))
        guest = [{"name": "web1", "type": kind}]
        if refused:
            for check_mode in (True, False):
                with pytest.raises(Refused, match=r"Domain web1: its type is hvm, and .*/kernel is an ELF file"):
                    host.run_plan(guest, check_mode=check_mode)
        else:
            host.run_plan(guest)
        assert host.calls == ([] if refused else [("create", "web1")])

    def test_the_memory_that_maps_the_memory_counts(self, host: FakeHost) -> None:
        host.virt_caps, host.free_memory = self.CAPS, 256
        host.run_plan([{"name": "a", "memory": 256}], check_mode=True)
        with pytest.raises(Refused, match=r"need 259 MiB of memory, and 256 MiB are free"):
            host.run_plan([{"name": "a", "memory": 256, "type": "pvh"}])


def test_devices_are_not_passed_to_hvm_on_a_host_that_can_only_pass_them_to_pv(host: FakeHost) -> None:
    host.virt_caps = "pv hvm hap pv_directio"
    with pytest.raises(Refused, match=r"Domain net-dd: Xen cannot pass devices through to a domain of type hvm here"):
        host.run_plan([{**DRIVER, "type": "hvm"}], UPLINK)
    host.virt_caps += " hvm_directio"
    host.run_plan([{**DRIVER, "type": "hvm"}], UPLINK)
    assert host.calls == [("create", "net-dd")]


def foreign_file(host: FakeHost) -> None:
    path = Path(host.paths.definition("web1"))
    path.parent.mkdir()
    path.write_text("name = 'web1'\n")


def no_iommu_by_option(host: FakeHost) -> None:
    host.virt_caps = "pv"
    host.xen_options += " iommu=off"


def incomplete(host: FakeHost) -> None:
    host.add("web1", "p")


def rejected_pool(host: FakeHost) -> None:
    host.rejected, host.objection = "pool", "Illegal pool specified"


#: What is wrong, the parameters, and whether an earlier task of the play may still provide it.
PASSING: dict[str, tuple[t.Callable[[FakeHost], None] | None, list[dict[str, t.Any]], bool]] = {
    "no such kernel": (None, [{"name": "web1", "kernel": "/not/there"}], True),
    "no such disk": (None, [{"name": "web1", "disks": [{"vdev": "xvda", "target": "/not/there"}]}], True),
    "no such backend": (None, [GUEST], True),
    "a backend that the same call stops": (running_backend, [{"name": "net-dd", "state": "stopped"}, GUEST], False),
    "no such bridge": (running_backend, [{"name": "a", "vifs": [{"backend": "net-dd", "bridge": "br9"}]}], True),
    "device not assignable": (None, [{**DRIVER, "pci": [{"device": "uplink1"}]}], True),
    "memory that others have": (little_memory, [{"name": "web1"}], True),
    "more memory than the machine has": (None, [{"name": "web1", "memory": 100000}], False),
    "foreign definition": (foreign_file, [{"name": "web1"}], False),
    "malformed option": (rejecting_xl, [{"name": "web1", "options": {"nonsense": 1}}], False),
    "a CPU pool that is not there": (rejected_pool, [{"name": "web1", "options": {"pool": "late"}}], True),
    "no IOMMU in the machine": (no_iommu, [DRIVER], False),
    "no IOMMU by an option of Xen": (no_iommu_by_option, [DRIVER], True),
    "a creation that has not ended": (incomplete, [{"name": "web1"}], False),
}


@pytest.mark.parametrize(("spoil", "domains", "passing"), PASSING.values(), ids=PASSING.keys())
def test_check_mode_refuses_what_no_earlier_task_can_resolve(
    spoil: t.Callable[[FakeHost], None] | None, domains: list[dict[str, t.Any]], passing: bool, host: FakeHost
) -> None:
    if spoil:
        spoil(host)
    before = files(host.root)
    devices = {**UPLINK, "uplink1": "0000:04:00.0"}
    if passing:
        assert "unless an earlier task resolves it" in host.run_plan(domains, devices, check_mode=True).warnings[0]
    else:
        with pytest.raises(Refused):
            host.run_plan(domains, devices, check_mode=True)
    with pytest.raises(Refused):
        host.run_plan(domains, devices)
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
    domid = host.adopt("net-dd")
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


def test_nobody_waits_for_a_vif_beside_which_the_guest_has_an_emulated_card(host: FakeHost) -> None:
    """It may have no driver for vifs."""
    host.virt_caps = "pv hvm hap"
    host.vif_state = "2"
    vif = {"mac": "00:16:3e:00:00:12"}
    host.run_plan([{"name": "win", "type": "hvm", "vifs": [vif]}])
    with pytest.raises(TimedOut, match="was not ready"):
        host.run_plan([{"name": "linux", "type": "hvm", "vifs": [{"mac": "00:16:3e:00:00:13", "type": "vif"}]}])


ORDERS = "/tool/xen-driver-domains/recovery"


def test_what_is_stopped_as_requested_is_left_alone_by_the_recovery_service(host: FakeHost) -> None:
    host.store.values[ORDERS] = ""
    host.run_plan([{"name": "web1"}, {"name": "web2"}])
    assert host.store.values.get(f"{ORDERS}/stopped") is None
    host.run_plan([{"name": "web1", "state": "stopped"}, {"name": "web2", "state": "absent"}])
    assert host.store.values[f"{ORDERS}/stopped"] == "web1 web2"
    host.run_plan([{"name": "web1"}])
    assert host.store.values[f"{ORDERS}/stopped"] == "web2"


def test_what_somebody_else_has_started_is_recovered_again(host: FakeHost) -> None:
    """It was stopped by a run, started with xl, and should run."""
    host.run_plan([{"name": "web1"}])
    host.store.values.update({ORDERS: "", f"{ORDERS}/stopped": "web1 web2", f"{ORDERS}/paused": "web1"})
    assert host.run_plan([{"name": "web1"}], check_mode=True).actions == []
    assert host.store.values[f"{ORDERS}/stopped"] == "web1 web2"
    assert host.run_plan([{"name": "web1"}]).actions == []
    assert host.store.values[f"{ORDERS}/stopped"] == "web2"
    # What an operator says is not a run's to end.
    assert host.store.values[f"{ORDERS}/paused"] == "web1"


def test_what_is_stopped_stays_so_if_the_run_fails_later(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("web1", "web2"):
        host.adopt(name)
    host.adopt("web3", "c")
    host.store.values[ORDERS] = ""
    host.deaf.add("web1")
    known = []
    shutdown = host.shutdown
    monkeypatch.setattr(host, "shutdown", lambda name: (known.append(host.store.values.get(f"{ORDERS}/stopped")), shutdown(name)))
    with pytest.raises(Refused):
        host.run_plan([{"name": name, "state": state} for name, state in (("web1", "stopped"), ("web2", "absent"), ("web3", "stopped"))])
    assert host.calls == [("destroy", "3"), ("shutdown", "web2"), ("shutdown", "web1")]
    # Before they end.
    assert known == ["web2 web3", "web1 web2 web3"]


def test_what_should_run_is_left_to_the_service_if_the_run_fails(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be it in the stop of a restart, or in a start."""
    host.run_plan([{"name": "web1"}])
    host.store.values.update({ORDERS: "", f"{ORDERS}/stopped": "web2"})
    host.deaf.add("web1")
    with pytest.raises(Refused):
        host.run_plan([{"name": "web1", "memory": 64}], restart_changed=True)
    assert host.store.values[f"{ORDERS}/stopped"] == "web2"

    def create(path: str, timeout: float, uuid: str = "") -> None:
        raise DriverDomainsError("no memory")

    monkeypatch.setattr(host, "create", create)
    with pytest.raises(DriverDomainsError, match="no memory"):
        host.run_plan([{"name": "web2"}])
    assert host.store.values[f"{ORDERS}/stopped"] == ""


def test_what_is_gone_and_should_stay_so_is_not_brought_back(host: FakeHost) -> None:
    host.run_plan([{"name": "web1"}])
    host.store.values[ORDERS] = ""
    host.remove("web1")
    assert host.run_plan([{"name": "web1", "state": "stopped"}]).actions == []
    assert host.store.values[f"{ORDERS}/stopped"] == "web1"


def test_without_the_service_nobody_is_given_orders(host: FakeHost) -> None:
    host.run_plan([{"name": "web1"}])
    host.run_plan([{"name": "web1", "state": "stopped"}])
    assert not [key for key in host.store.values if key.startswith("/tool")]
