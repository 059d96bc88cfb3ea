# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils import _plan
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput, Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.modules import boot_set, boot_set_files


def plan_store(directory: Path, generated: t.Sequence[Path] = (), **files: Path) -> Plan:
    texts = {key: str(path) for key, path in files.items()}
    return boot_set_files.prepare({"directory": str(directory), "files": texts, "generated": [str(path) for path in generated]})


def store(directory: Path, check_mode: bool = False, **files: Path) -> dict[str, t.Any]:
    return plan_store(directory, **files).apply(check_mode=check_mode)


def switch(directory: Path, state: str, check_mode: bool = False) -> dict[str, t.Any]:
    return boot_set.prepare({"directory": str(directory), "state": state}).apply(check_mode=check_mode)


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "files").glob("*")}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "Image of a kernel"
    path.write_bytes(b"one")
    return path


def test_copy_repeat_and_replace(tmp_path: Path, source: Path) -> None:
    board = tmp_path / "board"
    predicted = store(board, check_mode=True, kernel=source)
    assert predicted["changed"] and not board.exists()
    assert predicted["pending"] == {predicted["files"]["kernel"]: str(source)}

    first = store(board, kernel=source, again=source)
    name = first["files"]["kernel"]
    assert name.startswith("files/") and name.endswith("-Image_of_a_kernel")
    assert first["files"]["again"] == name
    assert content(board) == {name[6:]: b"one"}
    again = store(board, kernel=source)
    assert (again["changed"], again["pending"]) == (False, {})

    # A script uses the old one, so it stays until that is gone.
    (board / "boot.scr").write_bytes(b"\0\xff" + f"tftpb 0x0 {name}; then".encode())
    source.write_bytes(b"two")
    second = store(board, kernel=source)
    assert sorted(content(board).values()) == [b"one", b"two"]
    (board / "boot.scr").write_bytes(f"tftpb 0x0 {second['files']['kernel']}".encode())
    third = store(board, kernel=source)
    assert third["actions"] == [f"remove {board}/{name}"]
    assert list(content(board).values()) == [b"two"]


def test_a_copy_that_was_cut_off_is_made_again(tmp_path: Path, source: Path) -> None:
    name = store(tmp_path / "board", kernel=source)["files"]["kernel"]
    (tmp_path / "board" / name).write_bytes(b"o")
    assert store(tmp_path / "board", kernel=source)["changed"] is True
    assert list(content(tmp_path / "board").values()) == [b"one"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_file_that_does_not_exist(tmp_path: Path, source: Path, check_mode: bool) -> None:
    board = tmp_path / "board"
    with pytest.raises(Refused, match=f"{tmp_path}/none: cannot be read: No such file.*Build it"):
        store(board, check_mode, kernel=source, ramdisk=tmp_path / "none")
    assert not board.exists()


def test_a_file_that_does_not_exist_yet(tmp_path: Path, source: Path) -> None:
    """Check mode has not run the task that makes it; otherwise the task should have made it."""
    files = {"kernel": source, "ramdisk": tmp_path / "none"}
    plan = plan_store(tmp_path / "board", [tmp_path / "none"], **files)
    predicted = plan.apply(check_mode=True)
    assert predicted["missing"] == [str(tmp_path / "none")] and list(predicted["files"]) == ["kernel"]
    assert "Would be refused unless an earlier task resolves it" in plan.warnings[0]
    with pytest.raises(Refused):
        plan_store(tmp_path / "board", [tmp_path / "none"], **files).apply()


def test_a_directory_that_cannot_be_written(tmp_path: Path, source: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    with pytest.raises(DriverDomainsError, match=f"Cannot copy {source} to {tmp_path}/files/"):
        store(tmp_path, kernel=source)


def test_a_switch_that_was_cut_off_between_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The board boots the old script until the last step, and the next run completes it without losing the previous set."""
    for name, content in (("boot.scr", b"\x27old"), ("boot-previous.scr", b"\x27older"), ("boot-new.scr", b"\x27new")):
        (tmp_path / name).write_bytes(content)
    write, written = _plan.write_bytes, []

    def cut_off(path: str, content: bytes, mode: int) -> None:
        if written:
            raise DriverDomainsError("the connection is gone")
        written.append(path)
        write(path, content, mode)

    with monkeypatch.context() as patched:
        patched.setattr(_plan, "write_bytes", cut_off)
        with pytest.raises(DriverDomainsError, match="the connection is gone"):
            switch(tmp_path, "new")
    assert (tmp_path / "boot.scr").read_bytes() == b"\x27old"
    assert switch(tmp_path, "new")["changed"]
    assert [(tmp_path / f"boot{name}.scr").read_bytes() for name in ("", "-previous")] == [b"\x27new", b"\x27old"]


def test_switch_and_way_back(tmp_path: Path) -> None:
    new, active, previous = (tmp_path / f"boot{name}.scr" for name in ("-new", "", "-previous"))
    with pytest.raises(InvalidInput, match="There is no"):
        switch(tmp_path, "new")
    new.write_bytes(b"\x27one")
    assert switch(tmp_path, "new", check_mode=True)["changed"] and not active.exists()
    assert switch(tmp_path, "new")["changed"]
    assert (active.read_bytes(), previous.exists()) == (b"\x27one", False)
    with pytest.raises(InvalidInput, match="There is no"):
        switch(tmp_path, "previous")
    assert not switch(tmp_path, "new")["changed"]

    new.write_bytes(b"\x27two")
    switch(tmp_path, "new")
    assert (active.read_bytes(), previous.read_bytes()) == (b"\x27two", b"\x27one")
    assert switch(tmp_path, "previous")["changed"]
    assert active.read_bytes() == b"\x27one"
    assert not switch(tmp_path, "previous")["changed"]
    # And to the new one again.
    assert switch(tmp_path, "new")["changed"]
    assert active.read_bytes() == b"\x27two"


def test_what_is_not_stored_is_not_removed(tmp_path: Path, source: Path) -> None:
    """A directory that others use as well, with a directory of the same name as the store."""
    others = tmp_path / "files"
    (others / "directory").mkdir(parents=True)
    for name in ("thesis.pdf", "0123456789ab", "0123456789abc-file"):
        (others / name).write_text("mine")
    (others / "0123456789ab-old").write_text("not used any more")
    (others / ".0123456789ab-old.x_y1").write_text("cut off by a loss of power")
    actions = store(tmp_path, kernel=source)["actions"]
    assert sorted(actions[1:]) == [f"remove {others}/{name}" for name in (".0123456789ab-old.x_y1", "0123456789ab-old")]
    assert {path.name for path in others.iterdir()} > {"thesis.pdf", "directory", "0123456789ab", "0123456789abc-file"}


def test_all_boot_sets_are_removed(tmp_path: Path, source: Path) -> None:
    board = tmp_path / "board"
    store(board, kernel=source)
    for name in ("boot.scr", "boot-new.scr", "boot-previous.scr", "boot-new.source", "imagebuilder.config"):
        (board / name).write_text("a script")
    assert switch(board, "absent", check_mode=True)["changed"] and (board / "boot.scr").exists()
    plan = boot_set.prepare({"directory": str(board), "state": "absent"})
    assert len(plan.apply()["actions"]) == 8 and not plan.warnings
    assert not board.exists()
    assert not switch(board, "absent")["changed"]


def test_what_others_have_there_stays(tmp_path: Path, source: Path) -> None:
    store(tmp_path, kernel=source)
    (tmp_path / "boot.scr").write_text("a script")
    (tmp_path / "other-board").mkdir()
    (tmp_path / "files/thesis.pdf").write_text("mine")
    plan = boot_set.prepare({"directory": str(tmp_path), "state": "absent"})
    plan.apply()
    assert plan.warnings == [
        f"{tmp_path} stays, because it has files that belong to no boot set: files/thesis.pdf, Image of a kernel, other-board"
    ]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["Image of a kernel", "files", "other-board", "thesis.pdf"]
    again = boot_set.prepare({"directory": str(tmp_path), "state": "absent"})
    assert (again.actions, again.warnings) == ([], [])
