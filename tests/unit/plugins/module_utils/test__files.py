# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a power cut leaves of files, directories of drop-in files, and the escapes of proc."""

from __future__ import annotations

import errno
import os
import re
import signal
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils import _files
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.plugins.module_utils._files import read_bytes
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan

UTILS = Path(_files.__file__).parent
#: Who changes names in directories without the functions of `_files`: besides `_files`, builds in a directory that is renamed in the end.
#: The recovery service and the lock have files below /run, which no power cut leaves.
OWN = {"_files.py", "_guest_image/build.py", "_recovery/files.py", "_recovery/service.py", "_turn.py"}
CHANGES = re.compile(r"\bos\.(?:rename|replace|link|symlink|unlink|remove|makedirs|mkdir)\(")


class Disk:
    """What a power cut leaves of a directory: the names at its last fsync, and those of files whose content is on the disk."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.top = top
        self.names: dict[Path, set[str]] = {top: set()}
        self.contents: set[int] = set()
        self.syncs = 0
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, descriptor: int) -> None:
        self.syncs += 1
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self.names[path] = set(os.listdir(path))
        else:
            self.contents.add(os.fstat(descriptor).st_ino)

    def left(self) -> set[str]:
        """The paths that a power cut would leave."""
        return set(self._below(self.top))

    def _below(self, directory: Path) -> t.Iterator[str]:
        for name in self.names.get(directory, ()):
            path = directory / name
            if path.is_dir() and not path.is_symlink():
                yield from self._below(path)
            elif path.is_symlink() or not path.exists() or path.stat().st_ino in self.contents:
                yield str(path.relative_to(self.top))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path, monkeypatch)


def test_what_was_written_copied_and_linked_is_there_after_a_power_cut(disk: Disk, tmp_path: Path) -> None:
    _files.write_text(f"{tmp_path}/etc/xen/net-dd.cfg", "name = 'net-dd'\n", 0o600)
    _files.copy(f"{tmp_path}/etc/xen/net-dd.cfg", f"{tmp_path}/boot/files/copy")
    _files.link(f"{tmp_path}/etc/xen/auto/net-dd.cfg", "../net-dd.cfg")
    _files.hard_link(f"{tmp_path}/boot/files/copy", f"{tmp_path}/boot/files/kept")

    assert disk.left() == {"etc/xen/net-dd.cfg", "boot/files/copy", "boot/files/kept", "etc/xen/auto/net-dd.cfg"}
    assert (tmp_path / "etc/xen/auto/net-dd.cfg").read_text(encoding="utf-8") == "name = 'net-dd'\n"
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("etc/xen/net-dd.cfg", "boot/files/copy")] == [0o600, 0o644]


def test_what_was_removed_and_renamed_does_not_return(disk: Disk, tmp_path: Path) -> None:
    for name in ("a/old", "a/kept", "b/gone"):
        _files.write_text(f"{tmp_path}/{name}", name)
    _files.rename(f"{tmp_path}/a/old", f"{tmp_path}/b/new")
    _files.remove(f"{tmp_path}/b/gone")

    assert disk.left() == {"a/kept", "b/new"}


def test_a_link_replaces_a_file_or_another_link(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.write_text("something of somebody", encoding="utf-8")
    for target in ("one", "other"):
        _files.link(str(path), target)

        assert os.readlink(path) == target
    assert os.listdir(tmp_path) == ["link"]
    assert disk.left() == {"link"}


@pytest.mark.parametrize("change", [lambda path: _files.link(path, "target"), lambda path: _files.write_bytes(path, b"text")])
def test_what_fails_leaves_nothing_behind(change: t.Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()

    with pytest.raises(DriverDomainsError, match=r"Cannot .*/directory: Is a directory"):
        change(f"{tmp_path}/directory")
    assert os.listdir(tmp_path) == ["directory"]


def test_a_plan_with_nothing_to_do_and_a_file_that_is_not_there_cost_no_sync(disk: Disk, tmp_path: Path) -> None:
    def apply() -> int:
        before, plan = disk.syncs, Plan()
        plan.write_file(f"{tmp_path}/file", "text")
        plan.remove_file(f"{tmp_path}/other")
        plan.apply()
        _files.remove(f"{tmp_path}/another")
        _files.make_directories(str(tmp_path))
        return disk.syncs - before

    # The content, and its name.
    assert apply() == 2
    assert apply() == 0


@pytest.mark.parametrize(("number", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_synchronise_directories(
    number: int, fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)

    if fails:
        with pytest.raises(DriverDomainsError, match="Cannot write .*: Input/output error"):
            _files.write_text(f"{tmp_path}/file", "text")
    else:
        _files.write_text(f"{tmp_path}/file", "text")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "text"


def test_nobody_else_changes_names_in_directories() -> None:
    users = {str(path.relative_to(UTILS)) for path in UTILS.rglob("*.py") if CHANGES.search(path.read_text(encoding="utf-8"))}

    assert users == OWN


@pytest.mark.parametrize("name", ["\0", "a\0b", "a/\0/*", "\ud800"])
def test_nothing_is_at_what_cannot_be_a_path(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    assert (_files.read_bytes(path), _files.read_text(path), _files.list_directory(path)) == (None, None, [])
    assert (_files.find(path), _files.find(f"{path}*"), _files.resolve(path)) == ([], [], path)


def test_a_link_and_a_pattern_lead_to_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    (tmp_path / "a").symlink_to("b")
    assert _files.resolve(f"{tmp_path}/a") == f"{tmp_path}/b"
    assert _files.find(f"{tmp_path}/*") == [f"{tmp_path}/a", f"{tmp_path}/b"]


def test_nobody_else_resolves_paths() -> None:
    """What `os.path.realpath` raises for a null character is no error of ours."""
    users = {str(path.relative_to(UTILS)) for path in UTILS.rglob("*.py") if "os.path.realpath(" in path.read_text(encoding="utf-8")}

    assert users == {"_files.py"}


def test_a_file_shadows_those_of_the_same_name(tmp_path: Path) -> None:
    for name in ("etc/b.conf", "etc/x", "lib/b.conf", "lib/a.conf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert _files.drop_ins(str(tmp_path), ["etc", "gone", "lib"], ".conf") == ["lib/a.conf", "etc/b.conf"]


@pytest.mark.parametrize(("text", "meant"), [(r"a\040b\011\134", "a b\t\\"), (r"a\04", r"a\04"), ("\udcff", "\udcff")])
def test_escapes(text: str, meant: str) -> None:
    assert _files.unescape(text) == meant


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "as root"),
        (errno.EPERM, "as root"),
        (errno.EISDIR, "It is a directory"),
        (errno.ENOENT, "Correct the path"),
        (errno.ENOTDIR, "is a file and not a directory"),
        (errno.ENOSPC, "Make room"),
        (errno.EROFS, "read-only"),
        (errno.EIO, ""),
    ],
)
def test_what_helps(number: int, remedy: str) -> None:
    """Root helps only where a permission is missing."""
    found = _files.file_remedy(OSError(number, os.strerror(number)))
    assert remedy in found and ("root" in found) == ("root" in remedy)


def test_a_directory_instead_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for action in (lambda: _files.read_bytes(str(tmp_path)), lambda: _files.write_bytes(str(tmp_path / "file/x"), b"")):
        with pytest.raises(DriverDomainsError) as caught:
            action()
        assert "root" not in caught.value.remedy and caught.value.remedy


def test_a_file_of_a_process_that_ends_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.fork()
    if child == 0:
        signal.pause()
    with open(f"/proc/{child}/comm", "rb") as handle:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        monkeypatch.setattr("builtins.open", lambda *_args: handle)
        assert read_bytes(f"/proc/{child}/comm") is None
