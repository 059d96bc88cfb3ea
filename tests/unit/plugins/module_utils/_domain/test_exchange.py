# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel and disk of a domain agree, and no disk is lost, wherever an update or the way back is cut off."""

from __future__ import annotations

import contextlib
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain import units
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.creation import create_domain
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.disk_units import keep_units
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.exchange import exchange, finish, note_source, source_of
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost

OLD, NEW = "0" * 16, "1" * 16
READY = {"key": "data/driver-domain/status", "value": "ready", "error_key": "data/driver-domain/error"}
BACK = {"name": "disk-dd", "state": "previous", "ready": READY}


class PowerCut(BaseException):
    """Nothing catches it, and nothing is cleaned up after it."""


class Power:
    """Fails for good after so many changes of names of files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.left = 0

    @contextlib.contextmanager
    def cut_after(self, changes: int) -> t.Iterator[None]:
        self.left = changes
        with self._monkeypatch.context() as patch:
            for name in ("replace", "link", "unlink"):
                patch.setattr(os, name, self._limited(getattr(os, name)))
            with contextlib.suppress(PowerCut, DriverDomainsError):
                yield

    def _limited(self, change: t.Callable[..., None]) -> t.Callable[..., None]:
        def limited(*arguments: t.Any) -> None:
            self.left -= 1
            if self.left < 0:
                raise PowerCut
            change(*arguments)

        return limited


@pytest.fixture(name="power")
def make_power(monkeypatch: pytest.MonkeyPatch) -> Power:
    # They take longer than all the rest.
    monkeypatch.setattr(units, "pack", lambda _name: b"program")
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    return Power(monkeypatch)


class Machine(FakeHost):
    """A host with a driver domain on the disk of an image, and a newer image."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        super().__init__(root)
        for key in (OLD, NEW):
            (root / "images" / key).mkdir(parents=True)
            for part in ("kernel", "disk"):
                (root / "images" / key / part).write_text(f"{part} of {key}")
        self.target = root / "d.img"
        self.play(OLD)
        self.target.write_text("precious")

    def play(self, key: str, rebuild: bool = False, **settings: t.Any) -> None:
        """Request an image, as the module does."""
        image = self.root / "images" / key
        disk = {"target": str(self.target), "source": str(image / "disk"), "vdev": "xvda", "access": "rw"}
        domain = {"name": "disk-dd", "state": "running", "driver_domain": True, "ready": READY, "kernel": str(image / "kernel")}
        wanted = keep_units([{**domain, "disks": [disk], **settings}], rebuild)
        self.run_plan(wanted.domains, restart_changed=rebuild, again=rebuild, requested=wanted.requested)

    def boot(self) -> None:
        """Start the domain from its definition, as its unit does."""
        fake: t.Any = self
        text = Path(self.paths.definition("disk-dd")).read_text()
        create_domain(fake, fake.store, self.paths, "disk-dd", text, 1.0)

    def lose_power(self) -> None:
        for name in set(self.domains) - {"Domain-0"}:
            self.remove(name)

    @property
    def images(self) -> tuple[str, str, str]:
        """The images of the kernel, of the disk, and of the note about the disk."""
        text, content = Path(self.paths.definition("disk-dd")).read_text(), self.target.read_text()
        note = Path(source_of(str(self.target))).parent.name
        return (OLD if OLD in text else NEW, OLD if content == "precious" else NEW, note)

    @property
    def kept(self) -> set[str]:
        """The images of whose disks the content is right, at their place or beside it."""
        files = [file for file in self.root.glob("d.img*") if source_of(str(file))]
        return {key for file in files for key in (OLD, NEW) if key in source_of(str(file)) and file.read_text() == content_of(key)}

    def is_sound(self) -> bool:
        return len(set(self.images)) == 1 and OLD in self.kept


def content_of(key: str) -> str:
    return "precious" if key == OLD else f"disk of {key}"


def updates(machine: Machine) -> None:
    machine.play(NEW, rebuild=True)


def updates_in_vain(machine: Machine) -> None:
    machine.failing = NEW
    updates(machine)


def goes_back(machine: Machine) -> None:
    updates(machine)
    machine.run_plan([BACK])


def is_updated(machine: Machine) -> None:
    machine.play(NEW, rebuild=True)
    assert machine.images == (NEW, NEW, NEW)


def is_applied(machine: Machine) -> None:
    """As by site.yml, where disks are not rebuilt."""
    machine.play(NEW)


def is_applied_after_boot(machine: Machine) -> None:
    machine.boot()
    assert machine.is_sound(), "what was booted"
    machine.play(NEW)


def is_taken_back_after_boot(machine: Machine) -> None:
    machine.boot()
    path = machine.paths.definition("disk-dd")
    if os.path.exists(f"{path}.previous") or os.path.exists(f"{path}.withdrawn"):
        machine.run_plan([BACK])
        assert machine.images == (OLD, OLD, OLD)


@pytest.mark.parametrize("then", [is_updated, is_applied, is_applied_after_boot, is_taken_back_after_boot])
@pytest.mark.parametrize("what", [updates, updates_in_vain, goes_back])
def test_a_power_cut_at_any_point(
    what: t.Callable[[Machine], None], then: t.Callable[[Machine], None], power: Power, tmp_path: Path
) -> None:
    cuts = 0
    while True:
        machine = Machine(tmp_path / str(cuts))
        with power.cut_after(cuts):
            what(machine)
        if power.left >= 0:
            break
        machine.lose_power()
        machine.failing = ""
        then(machine)
        assert machine.is_sound(), f"cut off after {cuts} changes: {machine.images}, kept {machine.kept}"
        cuts += 1
    assert cuts > 10


@pytest.mark.parametrize("started", ["by hand", "not at all"])
def test_an_update_that_was_cut_off_before_its_disk_is_carried_on(started: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The definition alone does not show it, even if the domain runs."""
    machine = Machine(tmp_path / "host")
    updates(machine)
    (machine.root / "d.img").unlink()
    (machine.root / f"d.img.{OLD}").rename(machine.target)
    (machine.root / f"d.img.{OLD}.image").rename(f"{machine.target}.image")
    assert machine.images == (NEW, OLD, OLD)
    if started == "not at all":
        machine.lose_power()
    updates(machine)
    assert machine.images == (NEW, NEW, NEW)
    assert machine.kept == {OLD, NEW}


def test_the_way_back_that_was_cut_off_before_its_disk_is_carried_on(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "host")
    updates(machine)
    path = Path(machine.paths.definition("disk-dd"))
    Path(f"{path}.withdrawn").write_text(path.read_text())
    Path(f"{path}.previous").rename(path)
    machine.lose_power()
    machine.add("disk-dd", text=path.read_text())
    assert machine.images == (OLD, NEW, NEW)
    machine.calls.clear()
    machine.run_plan([BACK])
    assert machine.calls == [("shutdown", "disk-dd"), ("create", "disk-dd")]
    assert (machine.images, machine.kept) == ((OLD, OLD, OLD), {OLD, NEW})
    assert machine.plan([BACK]).actions == []


class TestFiles:
    """Definition and disks by themselves."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        for name, key in (("a", OLD), ("a.next", NEW), ("b", OLD), ("b.next", NEW)):
            (tmp_path / name).write_text(f"{name[0]} of {key}")
            note_source(str(tmp_path / name), f"/images/{key}/disk")
        (tmp_path / "x.cfg").write_text("old")
        return str(tmp_path / "x.cfg")

    def disks(self, path: str) -> list[tuple[str, str]]:
        return [(f"{path[:-5]}{name}", f"{path[:-5]}{name}.next") for name in "ab"]

    def test_several_disks(self, path: str, tmp_path: Path) -> None:
        exchange(path, "new", self.disks(path))
        assert Path(path).read_text() == "new"
        for name in "ab":
            assert (tmp_path / name).read_text() == f"{name} of {NEW}"
            assert (tmp_path / f"{name}.{OLD}").read_text() == f"{name} of {OLD}"
            assert NEW in source_of(str(tmp_path / name)) and OLD in source_of(str(tmp_path / f"{name}.{OLD}"))
        assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
            [*"ab", "x.cfg", *(f"{name}.image" for name in "ab"), *(f"{name}.{OLD}{end}" for name in "ab" for end in ("", ".image"))]
        )

    def test_an_exchange_whose_definition_was_not_written_is_forgotten(self, path: str, tmp_path: Path, power: Power) -> None:
        with power.cut_after(1):
            exchange(path, "new", self.disks(path))
        assert Path(f"{path}.disks").exists() and Path(path).read_text() == "old"
        finish(path)
        assert not Path(f"{path}.disks").exists()
        assert (tmp_path / "a").read_text() == f"a of {OLD}"

    def test_a_definition_without_disks_ends_the_exchange_of_another_one(self, path: str, tmp_path: Path, power: Power) -> None:
        with power.cut_after(2):
            exchange(path, "new", self.disks(path))
        assert Path(path).read_text() == "new"
        exchange(path, "old", ())
        exchange(path, "new", ())
        finish(path)
        assert (tmp_path / "a").read_text() == f"a of {OLD}"

    @pytest.mark.parametrize("damage", ["", "{}", "[1]", "\0\0"])
    def test_a_damaged_record_does_not_keep_a_domain_from_starting(self, damage: str, path: str) -> None:
        Path(f"{path}.disks").write_text(damage)
        finish(path)
        assert not Path(f"{path}.disks").exists()

    def test_a_disk_that_is_gone_is_replaced(self, path: str, tmp_path: Path) -> None:
        (tmp_path / "a").unlink()
        exchange(path, "new", self.disks(path)[:1])
        assert ((tmp_path / "a").read_text(), NEW in source_of(str(tmp_path / "a"))) == (f"a of {NEW}", True)
