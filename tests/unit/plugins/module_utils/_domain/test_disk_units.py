# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel, ramdisk and disk of one image stay together."""

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.disk_units import keep_units
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.exchange import note_source, source_of
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost

OLD, NEW = "0" * 16, "1" * 16


@pytest.fixture(name="host")
def make_host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    for key in (OLD, NEW):
        (tmp_path / "images" / key).mkdir(parents=True)
        for part in ("kernel", "ramdisk", "disk"):
            (tmp_path / "images" / key / part).write_text(f"{part} of {key}")
    return host


def guest(host: FakeHost, key: str, **settings: t.Any) -> dict[str, t.Any]:
    image = host.root / "images" / key
    disk = {"target": str(host.root / "web1.img"), "source": str(image / "disk"), "vdev": "xvda", "format": "raw", "access": "rw"}
    return {
        "name": "web1",
        "state": "running",
        "kernel": str(image / "kernel"),
        "ramdisk": str(image / "ramdisk"),
        "disks": [disk],
        **settings,
    }


def run(host: FakeHost, domain: dict[str, t.Any], rebuild: bool = False, **options: t.Any) -> Plan:
    """As the module does."""
    units = keep_units([domain], rebuild)
    plan = host.plan(units.domains, restart_changed=options.pop("restart_changed", rebuild))
    plan.warnings += units.warnings
    plan.refusals += units.refusals
    plan.apply(**options)
    return plan


def unit(host: FakeHost) -> set[str]:
    """The keys of the images of which definition and disk are."""
    text = Path(host.paths.definition("web1")).read_text()
    return {key for key in (OLD, NEW) if key in text or key in (host.root / "web1.img").read_text()}


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("state", ["running", "stopped", "present"])
@pytest.mark.parametrize("restart_changed", [True, False])
def test_a_new_image_changes_nothing_until_the_disk_may_be_rebuilt(host: FakeHost, alive: bool, state: str, restart_changed: bool) -> None:
    run(host, guest(host, OLD))
    if not alive:
        host.remove("web1")
    plan = run(host, guest(host, NEW, state=state), restart_changed=restart_changed)
    assert unit(host) == {OLD}
    assert not any("web1.cfg" in action.description or "disk" in action.description for action in plan.actions)
    (warning,) = plan.warnings
    assert f"Domain web1 keeps the older image {OLD}" in warning and "force: [rebuild_disk]" in warning


@pytest.mark.parametrize("alive", [True, False])
def test_a_disk_is_rebuilt_while_its_domain_does_not_run_and_the_old_one_is_kept(host: FakeHost, alive: bool) -> None:
    run(host, guest(host, OLD))
    if not alive:
        host.remove("web1")
    (host.root / "web1.img").write_text("precious")
    host.calls.clear()
    plan = run(host, guest(host, NEW), rebuild=True)
    assert unit(host) == {NEW}
    assert (host.root / f"web1.img.{OLD}").read_text() == "precious"
    assert [call[0] for call in host.calls] == ["cp", *(["shutdown"] if alive else []), "create"], "it serves while the disk is made"
    assert plan.warnings == []
    assert run(host, guest(host, NEW)).actions == []


def test_the_way_back(host: FakeHost) -> None:
    run(host, guest(host, OLD))
    run(host, guest(host, NEW), rebuild=True)
    run(host, guest(host, OLD), rebuild=True)
    run(host, guest(host, NEW), rebuild=True)
    kept = sorted(path.name for path in host.root.glob("web1.img.*") if not path.name.endswith(".image"))
    assert kept == [f"web1.img.{OLD}", f"web1.img.{OLD}.2", f"web1.img.{NEW}"]


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("problem", ["no room", "no image"])
def test_a_disk_that_cannot_be_made_changes_nothing(host: FakeHost, monkeypatch: pytest.MonkeyPatch, problem: str, alive: bool) -> None:
    run(host, guest(host, OLD))
    if not alive:
        host.remove("web1")
    host.calls.clear()

    def fail(argv: t.Sequence[str], **_options: t.Any) -> None:
        Path(argv[-1]).write_text("a part of it")
        raise DriverDomainsError("No space left on device")

    if problem == "no room":
        monkeypatch.setattr(host, "run", fail)
    else:
        (host.root / "images" / NEW / "disk").unlink()
    with pytest.raises(DriverDomainsError, match="No space|Deliver the image first"):
        run(host, guest(host, NEW), rebuild=True)
    target = host.root / "web1.img"
    assert (target.read_text(), source_of(str(target))) == (f"disk of {OLD}", str(host.root / "images" / OLD / "disk"))
    assert host.calls == [] and ("web1" in host.domains) is alive
    assert unit(host) == {OLD}
    assert sorted(path.name for path in host.root.glob("web1.img*")) == ["web1.img", "web1.img.image"]


@pytest.mark.parametrize("what", ["os.link", "os.replace"])
def test_a_disk_that_cannot_take_its_place_is_done_without(host: FakeHost, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The domain is down by then."""
    run(host, guest(host, OLD))
    original = getattr(os, what[3:])

    def fail(old: str, new: str) -> None:
        if ".img" in old and str(host.root / f"web1.img{'.next' if what == 'os.replace' else ''}") == old:
            raise OSError(errno.EPERM, "Operation not permitted")
        original(old, new)

    monkeypatch.setattr(what, fail)
    with pytest.raises(DriverDomainsError, match=r"runs with the previous one again: .*take the place of .*Operation not permitted"):
        run(host, guest(host, NEW), rebuild=True)
    assert "web1" in host.domains and unit(host) == {OLD}
    monkeypatch.setattr(what, original)
    host.calls.clear()
    run(host, guest(host, NEW), rebuild=True)
    assert [call[0] for call in host.calls] == ["shutdown", "create"], "the disk was made before"
    assert unit(host) == {NEW}
    assert (host.root / f"web1.img.{OLD}").read_text() == f"disk of {OLD}"
    assert not (host.root / f"web1.img.{OLD}.2").exists()


def test_a_disk_that_was_made_for_another_update_is_made_again(host: FakeHost) -> None:
    run(host, guest(host, OLD))
    (host.root / "web1.img.next").write_text("of another image")
    note_source(str(host.root / "web1.img.next"), str(host.root / "images" / ("2" * 16) / "disk"))
    run(host, guest(host, NEW), rebuild=True)
    assert unit(host) == {NEW} and not list(host.root.glob("web1.img.next*"))


def test_a_domain_that_does_not_shut_down_keeps_definition_and_disk(host: FakeHost) -> None:
    run(host, guest(host, OLD))
    host.deaf = {"web1"}
    with pytest.raises(Refused, match="it did not shut down"):
        run(host, guest(host, NEW), rebuild=True)
    assert unit(host) == {OLD} and not list(Path(host.paths.definitions).glob("web1.cfg.*"))


def test_the_older_image_is_gone(host: FakeHost) -> None:
    """The new kernel would not find its modules."""
    run(host, guest(host, OLD))
    (host.root / "images" / OLD / "kernel").unlink()
    with pytest.raises(Refused, match=r"images/0000000000000000/kernel, which belongs to it, is gone.*force: \[rebuild_disk\]"):
        run(host, guest(host, NEW))
    run(host, guest(host, NEW), rebuild=True)
    assert unit(host) == {NEW}


def test_disks_that_are_nobodys_copy_are_left_alone(host: FakeHost) -> None:
    (host.root / "web1.img").write_text("made by hand")
    run(host, guest(host, OLD))
    plan = run(host, guest(host, NEW), rebuild=True)
    assert (host.root / "web1.img").read_text() == "made by hand" and plan.warnings == []


@pytest.mark.parametrize("rebuild", [True, False])
@pytest.mark.parametrize("directory", [f"moved/{OLD}", "srv"])
def test_an_image_that_was_moved_or_files_of_the_users_own(host: FakeHost, directory: str, rebuild: bool) -> None:
    run(host, guest(host, OLD))
    (host.root / "images" / OLD).rename(host.root / "images" / "0")
    (host.root / "images" / Path(directory).parent).mkdir(exist_ok=True)
    (host.root / "images" / "0").rename(host.root / "images" / directory)
    plan = run(host, guest(host, directory), rebuild=rebuild)
    assert not [warning for warning in plan.warnings if "older image" in warning]
    assert (host.root / "web1.img").read_text() == f"disk of {OLD}" and not list(host.root.glob("web1.img.0*"))
    assert f"images/{directory}/kernel" in Path(host.paths.definition("web1")).read_text()


def test_a_kernel_of_the_users_own_stays(host: FakeHost) -> None:
    own = str(host.root / "kernel")
    run(host, guest(host, OLD, kernel=own))
    run(host, guest(host, NEW, kernel=own))
    assert own in Path(host.paths.definition("web1")).read_text() and unit(host) == {OLD}


def test_what_is_to_be_absent_has_no_image(host: FakeHost) -> None:
    assert keep_units([{"name": "web1", "state": "absent"}], rebuild=False).domains == [{"name": "web1", "state": "absent"}]
