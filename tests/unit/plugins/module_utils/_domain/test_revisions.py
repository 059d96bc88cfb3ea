# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Domains that are restarted while others use them, get a new definition, and go back to the one before."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain import attacher, exchange
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.disk_units import keep_units
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import unit_name
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vif_options import default_mac
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput, Refused, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost

READY = {"key": "data/driver-domain/status", "value": "ready", "error_key": "data/driver-domain/error"}
DRIVER = {"name": "net-dd", "driver_domain": True, "autostart": True, "ready": READY}
NEW = {**DRIVER, "cmdline": "new"}
GUEST = {"name": "web1", "vifs": [{"backend": "net-dd"}]}
GUEST_UNIT = {**GUEST, "autostart": True, "ready": READY}
RESTART = {"name": "net-dd", "state": "restarted", "ready": READY}
BACK = {"name": "net-dd", "state": "previous", "ready": READY}
FORCE = ["serves_clients"]
ATTACHED = [("detach", "vif", "web1", "0"), ("attach", "vif", "web1", f"mac={default_mac('web1', 0, 'net-dd')},backend=net-dd,devid=0")]
RESTARTED = [("shutdown", "net-dd"), ("create", "net-dd"), *ATTACHED]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A driver domain that serves a guest."""
    monkeypatch.setattr(attacher, "REMOVAL_DELAY", 0.0)
    host = FakeHost(tmp_path)
    host.run_plan([DRIVER, GUEST])
    host.calls.clear()
    return host


def text(host: FakeHost, suffix: str = "") -> str | None:
    path = Path(host.paths.definition("net-dd") + suffix)
    return path.read_text() if path.exists() else None


def is_new(host: FakeHost, suffix: str = "") -> bool | None:
    found = text(host, suffix)
    return None if found is None else "new" in found


def files(host: FakeHost) -> tuple[bool | None, ...]:
    """Whether the definition, the previous one and the withdrawn one are the new one; None for those that do not exist."""
    return is_new(host), is_new(host, ".previous"), is_new(host, ".withdrawn")


def update(host: FakeHost, **options: t.Any) -> Plan:
    return host.run_plan([NEW], restart_changed=True, force=FORCE, **options)


def connected(host: FakeHost) -> bool:
    domids = host.store.domains()
    backend = host.store.read_text(f"/libxl/{host.store.domid_of('web1')}/device/vif/0/backend") or ""
    return domids.get(int(backend.split("/")[3])) == "net-dd"


class TestRestart:
    """The state `restarted`."""

    def test_a_restart_is_one_each_time(self, host: FakeHost) -> None:
        before = text(host)
        for _time in range(2):
            plan = host.run_plan([RESTART], force=FORCE)
            assert host.calls == RESTARTED
            assert connected(host)
            assert plan.results["domains"][0]["state"] == "running"
            host.calls.clear()
        assert text(host) == before
        assert Path(host.paths.wants(unit_name("net-dd"))).is_symlink()
        host.parsed.clear()
        assert host.run_plan([DRIVER, GUEST]).actions == []
        assert host.parsed == [], "it is on record what it was started from"

    def test_its_unit_stays_active_or_becomes_so_with_all_others_in_one_call(self, host: FakeHost) -> None:
        host.systemctl.clear()
        host.run_plan([RESTART], force=FORCE)
        assert host.systemctl == [], "the domain runs again, and so its unit is active"
        host.run(["systemctl", "stop", unit_name("net-dd")])
        host.systemctl.clear()
        unit = Path(host.paths.unit("net-dd")).read_text()
        host.run_plan([RESTART, {**GUEST, "autostart": True}], force=FORCE)
        assert host.systemctl[-1] == ("start", "--no-block", unit_name("net-dd"), unit_name("web1"))
        assert Path(host.paths.unit("net-dd")).read_text() == unit
        assert unit_name("net-dd") in Path(host.paths.unit("web1")).read_text().split("\n[Service]")[0]

    def test_one_without_a_unit_gets_none(self, host: FakeHost) -> None:
        host.systemctl.clear()
        host.run_plan([{"name": "web1", "state": "restarted"}])
        assert (host.calls, host.systemctl) == ([("shutdown", "web1"), ("create", "web1")], [])
        assert not Path(host.paths.unit("web1")).exists()

    def test_clients_are_named_before_anything_happens(self, host: FakeHost) -> None:
        with pytest.raises(Refused, match=r"Domain net-dd: it serves the vif of the running domain web1.*force: \[serves_clients\]"):
            host.run_plan([RESTART])
        assert host.calls == []
        plan = host.run_plan([RESTART], check_mode=True, force=FORCE)
        assert plan.results["cut_off"] == [{"domain": "web1", "backend": "net-dd", "kinds": ["vif"], "other_backends": []}]
        assert [action.description for action in plan.actions] == [
            "stop domain net-dd to restart it: this was requested",
            "start domain net-dd",
            "detach vif 0 of domain web1 (its backend was restarted)",
            "attach vif 0 of domain web1 to net-dd",
        ]
        assert host.calls == []

    def test_a_client_that_others_serve_as_well(self, host: FakeHost) -> None:
        host.add("dmz-dd")
        host.serve("vif", "web1", "dmz-dd", 1)
        plan = host.run_plan([RESTART], force=FORCE)
        assert plan.results["cut_off"][0]["other_backends"] == ["dmz-dd"]
        assert host.calls == RESTARTED

    def test_clients_in_the_list_are_stopped_before_and_started_after(self, host: FakeHost) -> None:
        plan = host.run_plan([RESTART, {"name": "web1", "state": "restarted"}])
        assert host.calls == [("shutdown", "web1"), ("shutdown", "net-dd"), ("create", "net-dd"), ("create", "web1")]
        assert plan.results["cut_off"] == []
        assert connected(host)

    def test_dom0_is_a_client_like_others(self, host: FakeHost) -> None:
        host.connect("Domain-0", 0, "net-dd")
        host.store.values["/libxl/0/device/vif/0/mac"] = "00:16:3e:00:00:01"
        plan = host.run_plan([RESTART], force=FORCE)
        assert [client["domain"] for client in plan.results["cut_off"]] == ["Domain-0", "web1"]
        assert ("attach", "vif", "Domain-0", "mac=00:16:3e:00:00:01,backend=net-dd,untrusted,devid=0") in host.calls

    def test_a_domain_that_is_gone_is_started_and_its_clients_are_connected_again(self, host: FakeHost) -> None:
        host.remove("net-dd")
        host.run_plan([RESTART])
        assert host.calls == [("create", "net-dd"), *ATTACHED]
        assert connected(host)

    def test_its_definition_is_used_as_it_is(self, host: FakeHost) -> None:
        """One that was changed since takes effect."""
        host.run_plan([NEW])
        plan = host.run_plan([RESTART], force=FORCE)
        assert "it was started with another definition" in plan.actions[0].description
        assert host.run_plan([NEW]).actions == []

    @pytest.mark.parametrize("state", ["restarted", "previous"])
    def test_what_is_not_defined(self, state: str, host: FakeHost) -> None:
        with pytest.raises(InvalidInput, match=r"Domain other: .*/other.cfg.* does not exist"):
            host.run_plan([{"name": "other", "state": state}])

    def test_a_definition_that_would_not_start_is_not_stopped(self, host: FakeHost) -> None:
        host.rejected = "net-dd"
        with pytest.raises(InvalidInput, match="Domain net-dd: xl does not accept the definition"):
            host.run_plan([RESTART], force=FORCE)
        host.rejected = ""
        (host.root / "kernel").unlink()
        with pytest.raises(Refused, match="kernel does not exist on this host"):
            host.run_plan([RESTART], force=FORCE)
        assert host.calls == []

    def test_a_paused_client_is_left_to_the_service(self, host: FakeHost) -> None:
        host.flag("web1", "p")
        plan = host.run_plan([RESTART], force=FORCE)
        assert host.calls == RESTARTED[:2]
        assert any("Domain web1 is paused" in warning for warning in plan.warnings)

    def test_devices_that_cannot_be_attached_again_are_named(self, host: FakeHost) -> None:
        host.serve("vtpm", "web1", "net-dd")
        plan = host.run_plan([RESTART], force=FORCE)
        assert any("Domain web1 gets its vtpm of net-dd again only when it is restarted" in warning for warning in plan.warnings)

    def test_a_client_that_does_not_connect_again_is_named(self, host: FakeHost) -> None:
        host.hotplug = {}
        with pytest.raises(
            TimedOut, match=r"These were attached again, but are not connected after .*: vif 0 of web1: .* hotplug not done"
        ):
            host.run_plan([RESTART], force=FORCE)

    def test_a_client_that_did_not_use_its_device_is_not_waited_for(self, host: FakeHost) -> None:
        host.store.values["/local/domain/2/device/vif/0/state"] = "1"
        host.hotplug = {}
        host.run_plan([RESTART], force=FORCE)
        assert host.calls == RESTARTED

    def test_one_that_does_not_come_back_is_named(self, host: FakeHost) -> None:
        """Its definition is the one with which it ran, so there is nothing to go back to."""
        host.failing = "net-dd"
        with pytest.raises(DriverDomainsError, match="Domain net-dd reports: it gave no reason"):
            host.run_plan([RESTART], force=FORCE)
        assert host.calls == RESTARTED[:2]


class TestUpdate:
    """A new definition, with `restart_changed`."""

    def test_the_old_definition_is_kept_and_nothing_is_left_to_do(self, host: FakeHost) -> None:
        update(host)
        assert host.calls == RESTARTED
        assert files(host) == (True, False, None)
        assert (update(host).actions, files(host)) == ([], (True, False, None))

    def test_what_runs_is_kept_whatever_was_written_since(self, host: FakeHost) -> None:
        host.run_plan([{**DRIVER, "cmdline": "between"}])
        update(host)
        assert files(host) == (True, False, None)
        assert "between" not in (text(host, ".previous") or "")

    @pytest.mark.parametrize("how", ["reports an error", "cannot be created", "ends", "hangs"])
    def test_one_that_does_not_become_ready_is_taken_back(self, how: str, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
        create = host.create

        def fail(path: str, timeout: float, uuid: str = "") -> None:
            if "new" not in Path(path).read_text():
                create(path, timeout, uuid)
            elif how == "cannot be created":
                raise DriverDomainsError("xl create failed")
            else:
                create(path, timeout, uuid)
                if how == "ends":
                    host.remove("net-dd")
                elif how == "hangs":
                    host.store.values[f"/local/domain/{host.store.domid_of('net-dd')}/data/driver-domain/status"] = "starting"

        monkeypatch.setattr(host, "create", fail)
        host.failing = "new" if how == "reports an error" else ""
        with pytest.raises(DriverDomainsError, match="Domain net-dd did not become ready with its new definition, and runs") as error:
            update(host)
        assert error.value.details["rolled_back"] == ["net-dd"]
        assert ".cfg.withdrawn" in error.value.remedy
        assert files(host) == (False, None, True)
        assert connected(host)
        assert host.calls[-2:] == ATTACHED
        assert host.run_plan([DRIVER, GUEST]).actions == []

    def test_one_that_was_taken_back_is_not_used_again_by_itself(self, host: FakeHost) -> None:
        host.failing = "new"
        with pytest.raises(DriverDomainsError):
            update(host)
        host.calls.clear()
        for options in ({}, {"restart_changed": True}):
            plan = host.run_plan([NEW], force=FORCE, **options)
            assert (plan.actions, plan.results["pending_restart"]) == ([], [])
            assert "Domain net-dd keeps the definition" in plan.warnings[0] and "force: [withdrawn_definition]" in plan.warnings[0]
        assert files(host) == (False, None, True)
        host.failing = ""
        update(host, again=True)
        assert host.calls == RESTARTED
        assert files(host) == (True, False, None)

    @pytest.mark.parametrize("how", ["by itself", "by hand"])
    def test_with_a_withdrawn_definition_go_its_devices_files_and_backends(self, how: str, host: FakeHost) -> None:
        """They may never have been there, and its unit does not wait for them."""
        host.add("new-dd")
        (host.root / "extra").write_text("")
        disk = {"target": str(host.root / "extra"), "vdev": "xvdb", "format": "raw", "access": "ro"}
        host.run_plan([GUEST_UNIT])
        changed = {**GUEST_UNIT, "cmdline": "new", "vifs": [{"backend": "new-dd"}], "disks": [disk]}
        before = Path(host.paths.unit("web1")).read_text()
        host.failing = "new" if how == "by itself" else ""
        with pytest.raises(DriverDomainsError) if how == "by itself" else contextlib.nullcontext():
            host.run_plan([changed], restart_changed=True)
        if how == "by hand":
            host.run_plan([{"name": "web1", "state": "previous"}])
        host.failing = ""
        host.remove("new-dd")
        (host.root / "extra").unlink()
        if how == "by itself":
            assert Path(host.paths.unit("web1")).read_text() == before
            assert host.systemctl[-1] == ("daemon-reload",)
            assert host.run_plan([changed]).actions == []
        host.remove("web1")
        host.run_plan([changed])
        assert Path(host.paths.unit("web1")).read_text() == before
        assert "web1" in host.domains
        assert host.run_plan([changed]).actions == []

    def test_a_third_definition_is_no_withdrawn_one(self, host: FakeHost) -> None:
        host.failing = "new"
        with pytest.raises(DriverDomainsError):
            update(host)
        host.run_plan([{**DRIVER, "cmdline": "third"}], restart_changed=True, force=FORCE)
        assert "third" in (text(host) or "")
        assert files(host) == (False, False, None)

    def test_without_rollback_it_stays_as_it_is(self, host: FakeHost) -> None:
        host.failing = "new"
        with pytest.raises(DriverDomainsError, match="Domain net-dd reports"):
            update(host, rollback=False)
        assert files(host) == (True, False, None)

    @pytest.mark.parametrize("before", [DRIVER, {**DRIVER, "driver_domain": False}])
    def test_what_cannot_be_written_is_done_without(
        self, before: dict[str, t.Any], host: FakeHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.run_plan([before], restart_changed=True, force=FORCE)
        write = exchange.write_text

        def fail(path: str, text: str, mode: int = 0o644) -> None:
            if "new" in text:
                raise DriverDomainsError(f"Cannot write {path}: No space left on device", remedy="Make room")
            write(path, text, mode)

        monkeypatch.setattr(exchange, "write_text", fail)
        with pytest.raises(DriverDomainsError, match="runs with the previous one again: Cannot write .*No space left") as error:
            host.run_plan([{**before, "cmdline": "new"}], restart_changed=True, force=FORCE)
        assert "withdrawn" not in error.value.remedy and "Make room" in error.value.remedy
        assert is_new(host) is False and is_new(host, ".withdrawn") is None
        assert connected(host)
        assert host.run_plan([before]).actions == []

    def test_one_that_does_not_shut_down_keeps_its_definitions(self, host: FakeHost) -> None:
        update(host)
        host.deaf = {"net-dd"}
        with pytest.raises(Refused, match="it did not shut down"):
            host.run_plan([{**DRIVER, "cmdline": "third"}], restart_changed=True, force=FORCE)
        assert files(host) == (True, False, None), "there is still a way back from it"

    def test_neither_comes_up(self, host: FakeHost) -> None:
        host.failing = "net-dd"
        with pytest.raises(DriverDomainsError, match=r"did not become ready with its new definition \(.*\), nor with the previous one"):
            update(host)
        assert files(host) == (False, None, True)

    def test_absent_leaves_nothing(self, host: FakeHost) -> None:
        host.failing = "new"
        with pytest.raises(DriverDomainsError):
            update(host)
        host.run_plan([{"name": "net-dd", "state": "absent"}, {"name": "web1", "state": "absent"}])
        assert list(Path(host.paths.definitions).glob("*.cfg*")) == []


class TestGuests:
    """Their power is not cut for being slow."""

    SLOW = {"name": "db1", "ready": READY}

    @pytest.fixture(params=["a vif", "a readiness key"])
    def slow(self, request: pytest.FixtureRequest, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
        """One that is not ready in time once its definition is new."""
        own = self.SLOW if request.param == "a readiness key" else {"name": "db1", "vifs": [{"backend": "net-dd"}]}
        host.run_plan([own])
        host.calls.clear()
        create = host.create

        def start(path: str, timeout: float, uuid: str = "") -> None:
            if "new" in Path(path).read_text():
                host.hotplug, host.vif_state = {}, "1"
            create(path, timeout, uuid)
            host.store.values[f"/local/domain/{host.store.domid_of('db1')}/data/driver-domain/status"] = "starting"

        monkeypatch.setattr(host, "create", start)
        return {**own, "cmdline": "new"}

    def test_a_slow_guest_runs_on(self, slow: dict[str, t.Any], host: FakeHost) -> None:
        with pytest.raises(
            TimedOut, match=r"Domain db1 .*was not ready within .*It runs on with its new definition.*state previous"
        ) as error:
            host.run_plan([slow], restart_changed=True)
        assert "rolled_back" not in error.value.details
        assert host.calls == [("shutdown", "db1"), ("create", "db1")]
        path = Path(host.paths.definition("db1"))
        assert "new" in path.read_text() and "new" not in Path(f"{path}.previous").read_text()
        assert not Path(f"{path}.withdrawn").exists()

    def test_its_way_back_is_the_same(self, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was wrong may have been the definition, so it is there to be requested."""
        host.run_plan([self.SLOW])
        host.run_plan([{**self.SLOW, "cmdline": "new"}], restart_changed=True)
        host.calls.clear()
        create = host.create

        def start(path: str, timeout: float, uuid: str = "") -> None:
            create(path, timeout, uuid)
            host.store.values[f"/local/domain/{host.store.domid_of('db1')}/data/driver-domain/status"] = "starting"

        monkeypatch.setattr(host, "create", start)
        with pytest.raises(TimedOut, match="It runs on with its new definition"):
            host.run_plan([{**self.SLOW, "state": "previous"}])
        assert host.calls == [("shutdown", "db1"), ("create", "db1")]

    @pytest.mark.parametrize("force", [[], ["destroy"]])
    @pytest.mark.parametrize("deaf", [False, True])
    def test_one_that_reports_an_error_is_shut_down(
        self, deaf: bool, force: list[str], host: FakeHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.run_plan([self.SLOW])
        host.calls.clear()
        host.failing = "new"
        create = host.create

        def start(path: str, timeout: float, uuid: str = "") -> None:
            create(path, timeout, uuid)
            host.deaf = {"db1"} if deaf else set()

        monkeypatch.setattr(host, "create", start)
        back = not deaf or bool(force)
        with pytest.raises(
            DriverDomainsError, match="runs with the previous one again" if back else "db1 reports: .* not taken back: .* did not shut down"
        ):
            host.run_plan([{**self.SLOW, "cmdline": "new"}], restart_changed=True, force=force)
        ended = [("shutdown", "db1")] + ([("destroy", "4")] if deaf and force else [])
        assert host.calls == [("shutdown", "db1"), ("create", "db1"), *ended, *([("create", "db1")] if back else [])]
        assert ("new" in Path(host.paths.definition("db1")).read_text()) is not back

    @pytest.mark.parametrize("how", ["ends", "cannot be created"])
    def test_one_that_does_not_run_is_taken_back(self, how: str, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
        host.run_plan([self.SLOW])
        create = host.create

        def start(path: str, timeout: float, uuid: str = "") -> None:
            new = "new" in Path(path).read_text()
            if new and how == "cannot be created":
                raise TimedOut("xl create took too long")
            create(path, timeout, uuid)
            if new:
                host.remove("db1")

        monkeypatch.setattr(host, "create", start)
        with pytest.raises(DriverDomainsError, match="runs with the previous one again"):
            host.run_plan([{**self.SLOW, "cmdline": "new"}], restart_changed=True)
        assert "db1" in host.domains and "new" not in Path(host.paths.definition("db1")).read_text()


class TestPrevious:
    """The state `previous`."""

    def test_back_and_no_further(self, host: FakeHost) -> None:
        update(host)
        host.calls.clear()
        host.run_plan([BACK], force=FORCE)
        assert host.calls == RESTARTED
        assert files(host) == (False, None, True)
        assert host.run_plan([BACK], force=FORCE).actions == []
        assert host.run_plan([NEW, GUEST]).actions == []
        host.calls.clear()
        update(host, again=True)
        assert host.calls == RESTARTED
        assert files(host) == (True, False, None)

    def test_clients_are_named_there_too(self, host: FakeHost) -> None:
        update(host)
        with pytest.raises(Refused, match="it serves the vif of the running domain web1"):
            host.run_plan([BACK])
        assert files(host) == (True, False, None)

    def test_a_driver_domain_that_is_slow_with_it_is_taken_back(self, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it is follows from its definition, since only its name is given."""
        update(host)
        create = host.create

        def start(path: str, timeout: float, uuid: str = "") -> None:
            create(path, timeout, uuid)
            if "new" not in Path(path).read_text():
                host.store.values[f"/local/domain/{host.store.domid_of('net-dd')}/data/driver-domain/status"] = "starting"

        monkeypatch.setattr(host, "create", start)
        with pytest.raises(DriverDomainsError, match="runs with the previous one again: .*was not ready within"):
            host.run_plan([BACK], force=FORCE)
        assert files(host) == (True, None, False)
        assert connected(host)

    def test_there_is_none(self, host: FakeHost) -> None:
        with pytest.raises(InvalidInput, match=r"net-dd.cfg.previous does not exist"):
            host.run_plan([BACK], force=FORCE)


class TestDisks:
    """Kernel and disk of an image go back together."""

    OLD, NEWER = "0" * 16, "1" * 16

    @pytest.fixture
    def domain(self, host: FakeHost) -> t.Callable[[str], dict[str, t.Any]]:
        for key in (self.OLD, self.NEWER):
            (host.root / "images" / key).mkdir(parents=True)
            for part in ("kernel", "disk"):
                (host.root / "images" / key / part).write_text(f"{part} of {key}")

        def make(key: str) -> dict[str, t.Any]:
            image = host.root / "images" / key
            disk = {"target": str(host.root / "d.img"), "source": str(image / "disk"), "vdev": "xvda", "access": "rw"}
            return {"name": "disk-dd", "state": "running", "ready": READY, "kernel": str(image / "kernel"), "disks": [disk]}

        host.run_plan(keep_units([make(self.OLD)], rebuild=False).domains)
        return make

    def test_the_plan_says_what_happens_while_it_is_down(self, host: FakeHost, domain: t.Callable[[str], dict[str, t.Any]]) -> None:
        before = {path: path.read_bytes() for path in host.root.rglob("*") if path.is_file()}
        host.calls.clear()
        plan = host.run_plan(keep_units([domain(self.NEWER)], rebuild=True).domains, restart_changed=True, check_mode=True)
        path, disk = host.paths.definition("disk-dd"), host.root / "d.img"
        assert [action.description for action in plan.actions] == [
            f"copy {host.root}/images/{self.NEWER}/disk to {disk}.next",
            "stop domain disk-dd to restart it: it was started with another definition",
            f"write {path}.previous",
            f"write {path}",
            f"use {disk}.next as disk {disk}, and keep the old one as {disk}.{self.OLD}",
            "start domain disk-dd",
        ]
        assert host.calls == []
        assert {path: path.read_bytes() for path in host.root.rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize("how", ["by itself", "by hand"])
    def test_together(self, how: str, host: FakeHost, domain: t.Callable[[str], dict[str, t.Any]]) -> None:
        (host.root / "d.img").write_text("precious")
        wanted = keep_units([domain(self.NEWER)], rebuild=True).domains
        if how == "by itself":
            host.failing = self.NEWER
            with pytest.raises(DriverDomainsError, match="runs with the previous one again"):
                host.run_plan(wanted, restart_changed=True)
        else:
            host.run_plan(wanted, restart_changed=True)
            assert (host.root / "d.img").read_text() == f"disk of {self.NEWER}"
            host.run_plan([{"name": "disk-dd", "state": "previous", "ready": READY}])
        assert (host.root / "d.img").read_text() == "precious"
        assert (host.root / f"d.img.{self.NEWER}").read_text() == f"disk of {self.NEWER}"
        assert self.OLD in Path(host.paths.definition("disk-dd")).read_text()
        assert not (host.root / f"d.img.{self.OLD}").exists()
        assert host.run_plan(keep_units([domain(self.NEWER)], rebuild=False).domains).actions == []

    @pytest.mark.parametrize("how", ["by itself", "by hand"])
    def test_what_was_withdrawn_with_its_image_stays_so(
        self, how: str, host: FakeHost, domain: t.Callable[[str], dict[str, t.Any]]
    ) -> None:
        """Where disks are not rebuilt, the new definition is asked for with the older image: that is not a third one."""
        requested = {**domain(self.NEWER), "cmdline": "bad"}
        host.failing = self.NEWER if how == "by itself" else ""
        with pytest.raises(DriverDomainsError) if how == "by itself" else contextlib.nullcontext():
            host.run_plan(keep_units([requested], rebuild=True).domains, restart_changed=True)
        if how == "by hand":
            host.run_plan([{"name": "disk-dd", "state": "previous", "ready": READY}])
        host.failing = ""
        for restart in (False, True):
            units = keep_units([requested], rebuild=False)
            plan = host.run_plan(units.domains, restart_changed=restart, requested=units.requested)
            assert (plan.actions, len(plan.warnings)) == ([], 1)
        definition = Path(host.paths.definition("disk-dd"))
        assert "bad" not in definition.read_text() and "bad" in Path(f"{definition}.withdrawn").read_text()
        # Another one is not withdrawn.
        units = keep_units([{**requested, "cmdline": "better"}], rebuild=False)
        host.run_plan(units.domains, restart_changed=True, requested=units.requested)
        assert "better" in definition.read_text() and self.OLD in definition.read_text()

    def test_a_disk_that_is_gone(self, host: FakeHost, domain: t.Callable[[str], dict[str, t.Any]]) -> None:
        host.run_plan(keep_units([domain(self.NEWER)], rebuild=True).domains, restart_changed=True)
        (host.root / f"d.img.{self.OLD}").unlink()
        host.calls.clear()
        with pytest.raises(DriverDomainsError, match=f"no disk of the image {self.OLD} was kept"):
            host.run_plan([{"name": "disk-dd", "state": "previous", "ready": READY}])
        assert host.calls == []
