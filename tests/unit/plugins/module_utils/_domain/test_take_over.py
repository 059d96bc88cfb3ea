# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Definitions and domains of others that are what is requested are taken over, without a restart; all others are left alone."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER, unit_name
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import Refused
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost

WEB: dict[str, t.Any] = {"name": "web1", "autostart": True}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    fake = FakeHost(tmp_path)
    (tmp_path / "xen" / "auto").mkdir(parents=True)
    return fake


def theirs(host: FakeHost, extra: str = "", domain: dict[str, t.Any] | None = None) -> str:
    """Return the definition that others wrote for the same domain."""
    (ours,) = [action.after for action in host.plan([domain or WEB]).actions if action.subject == host.paths.definition("web1")]
    return "# My first guest\n" + ours[len(MARKER) :] + extra


def test_a_running_domain_and_its_definition(host: FakeHost) -> None:
    text = theirs(host)
    path = host.root / "xen" / "web1.cfg"
    path.write_text(text)
    (host.root / "xen" / "auto" / "web1").symlink_to(path)
    domid = host.add("web1", text=text)
    foreseen = host.run_plan([WEB], check_mode=True)
    assert f"take over {path}, which is the same" in [action.description for action in foreseen.actions]
    plan = host.run_plan([WEB])
    assert [action.description for action in plan.actions] == [action.description for action in foreseen.actions]
    assert plan.results["pending_restart"] == []
    assert not [call for call in host.calls if call[0] in ("create", "shutdown", "destroy")]
    assert host.domains["web1"].domid == domid
    assert path.read_text().startswith(MARKER)
    assert (host.root / "xen" / "web1.cfg.taken-over").read_text() == text
    assert not list((host.root / "xen" / "auto").iterdir()), "its unit starts it"
    assert Path(host.paths.wants(unit_name("web1"))).is_symlink()
    assert host.run_plan([WEB]).actions == []


@pytest.mark.parametrize("gone", [True, False])
def test_a_running_domain_of_which_a_device_was_detached(host: FakeHost, gone: bool) -> None:
    """It is as requested without that device, although libxl keeps it. Nobody attaches it again."""
    vifs = [{"mac": f"00:16:3e:00:00:0{number}", "bridge": "xenbr0"} for number in (1, 2)]
    text = theirs(host, domain={**WEB, "vifs": vifs})
    host.add("web1", text=text)
    host.plug("web1", text)
    web = {**WEB, "vifs": vifs[:1]}
    if not gone:
        with pytest.raises(Refused, match="was not started from"):
            host.run_plan([web])
        return
    host.detach_device("vif", "web1", 1)
    host.calls.clear()
    assert host.run_plan([web]).results["pending_restart"] == []
    assert host.run_plan([web]).actions == []
    assert host.calls == []


def test_a_definition_elsewhere_is_no_longer_started(host: FakeHost) -> None:
    """People keep definitions in directories of their own, with links, or in `auto` itself."""
    text = theirs(host)
    elsewhere = host.root / "guests.cfg"
    elsewhere.write_text(text)
    auto = host.root / "xen" / "auto"
    (auto / "10-web").symlink_to(elsewhere)
    (auto / "web-copy").write_text(text)
    (auto / "other").write_text(text.replace("web1", "web2"))
    host.add("web1", text=text)
    host.run_plan([WEB])
    assert [entry.name for entry in auto.iterdir()] == ["other"]
    assert elsewhere.read_text() == text
    assert (host.root / "xen" / "web1.cfg.taken-over").read_text() == text
    assert host.run_plan([WEB]).actions == []


def test_of_two_that_are_the_same_the_definition_itself_is_kept(host: FakeHost) -> None:
    text = theirs(host)
    (host.root / "xen" / "web1.cfg").write_text(text)
    (host.root / "xen" / "auto" / "copy").write_text(text.replace("first", "second"))
    host.run_plan([WEB])
    assert (host.root / "xen" / "web1.cfg.taken-over").read_text() == text
    assert not list((host.root / "xen" / "auto").iterdir())


def test_a_definition_that_is_not_the_same(host: FakeHost) -> None:
    path = host.root / "xen" / "web1.cfg"
    path.write_text(theirs(host, "vnc = 1\n"))
    with pytest.raises(Refused, match="was not written by this collection"):
        host.run_plan([WEB])
    assert "vnc" in path.read_text()


def test_another_one_that_xendomains_starts(host: FakeHost) -> None:
    other = host.root / "xen" / "auto" / "web"
    other.write_text(theirs(host, "vnc = 1\n"))
    with pytest.raises(Refused, match="auto/web: the file exists and was not written by this collection"):
        host.run_plan([WEB])
    host.run_plan([WEB], force=["foreign_definition"])
    assert other.exists()


def test_a_running_domain_that_is_not_the_same(host: FakeHost) -> None:
    host.add("web1", text=theirs(host).replace("memory = 128", "memory = 256"))
    with pytest.raises(Refused, match="was not started from"):
        host.run_plan([WEB])


def test_a_domain_that_runs_with_an_older_definition_is_restarted_only_when_allowed(host: FakeHost) -> None:
    """The file is the same, but the domain was started before somebody changed it."""
    text = theirs(host)
    (host.root / "xen" / "web1.cfg").write_text(text)
    host.add("web1", text=text + 'on_crash = "restart"\n')
    plan = host.run_plan([{**WEB, "on_crash": "restart"}], check_mode=True, force=["foreign_definition"])
    assert plan.results["pending_restart"] == []
    host.kept_file(1).unlink()
    host.remove("web1")
    host.add("web1", text=text.replace("vcpus = 1", 'vcpus = 1\non_crash = "preserve"'))
    plan = host.run_plan([{**WEB, "on_crash": "restart"}], check_mode=True, force=["foreign_definition"])
    assert plan.results["pending_restart"] == ["web1"]


@pytest.mark.parametrize("place", ["web1.cfg", "auto/web1.cfg", "auto/10-web"])
@pytest.mark.parametrize("edited", [("memory = 128", "memory = 256"), ("vcpus = 1", "vcpus = 2"), ("kernel", "old_kernel")])
def test_a_domain_that_was_started_before_somebody_edited_its_definition(host: FakeHost, place: str, edited: tuple[str, str]) -> None:
    """It is outdated, and nobody else's: it is left running until it may be restarted, also by later runs."""
    text = theirs(host)
    (host.root / "xen" / place).write_text(text)
    host.add("web1", text=text.replace(*edited))
    for _run in range(2):
        assert host.run_plan([WEB]).results["pending_restart"] == ["web1"]
        assert not [call for call in host.calls if call[0] in ("create", "shutdown", "destroy")]
    host.run_plan([WEB], restart_changed=True)
    assert ("create", "web1") in host.calls
    assert host.run_plan([WEB]).actions == []


def test_what_is_to_be_absent_is_never_taken_over(host: FakeHost) -> None:
    text = theirs(host)
    (host.root / "xen" / "web1.cfg").write_text(text)
    host.add("web1", text=text)
    with pytest.raises(Refused, match="was not written by this collection"):
        host.run_plan([{"name": "web1", "state": "absent"}])


def test_an_address_that_was_left_to_chance_may_be_set(host: FakeHost) -> None:
    vif = {"mac": "00:16:3e:00:00:21", "bridge": "br0"}
    text = theirs(host) + 'vif = ["bridge=br0"]\n'
    (host.root / "xen" / "web1.cfg").write_text(text)
    host.add("web1", text=text.replace("bridge=br0", "mac=00:16:3e:00:00:21,bridge=br0"))
    plan = host.run_plan([{**WEB, "vifs": [vif]}], check_mode=True)
    assert plan.results["pending_restart"] == []
    plan = host.run_plan([{**WEB, "vifs": [{**vif, "mac": "00:16:3e:00:00:22"}]}], check_mode=True)
    assert plan.results["pending_restart"] == ["web1"]


def test_a_definition_of_others_is_neither_restarted_nor_taken_over_by_its_name(host: FakeHost) -> None:
    text = theirs(host)
    path = host.root / "xen" / "web1.cfg"
    path.write_text(text)
    host.add("web1", text=text)
    with pytest.raises(Refused, match="was not written by this collection"):
        host.run_plan([{"name": "web1", "state": "restarted"}])
    assert path.read_text() == text
