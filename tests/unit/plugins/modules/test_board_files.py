# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.xen.driver_domains.plugins.module_utils._board import boot_set as _board_store
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.plugins.modules import board_files, board_switch


def run(capsys: pytest.CaptureFixture[str], directory: Path, check: bool = False, **files: Path) -> dict[str, t.Any]:
    arguments = {"directory": str(directory), "files": {key: str(path) for key, path in files.items()}, "_ansible_check_mode": check}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        board_files.main()
    return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "files").glob("*")}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "Image of a kernel"
    path.write_bytes(b"one")
    return path


def test_copy_repeat_and_replace(capsys: pytest.CaptureFixture[str], tmp_path: Path, source: Path) -> None:
    board = tmp_path / "board"
    predicted = run(capsys, board, check=True, kernel=source)
    assert predicted["changed"] and not board.exists()

    first = run(capsys, board, kernel=source, again=source)
    name = first["files"]["kernel"]
    assert name.startswith("files/") and name.endswith("-Image_of_a_kernel")
    assert first["files"]["again"] == name
    assert content(board) == {name[6:]: b"one"}
    assert run(capsys, board, kernel=source)["changed"] is False

    # A script uses the old one, so it stays until that is gone.
    (board / "boot.scr").write_bytes(b"\0\xff" + f"tftpb 0x0 {name}; then".encode())
    source.write_bytes(b"two")
    second = run(capsys, board, kernel=source)
    assert sorted(content(board).values()) == [b"one", b"two"]
    (board / "boot.scr").write_bytes(f"tftpb 0x0 {second['files']['kernel']}".encode())
    third = run(capsys, board, kernel=source)
    assert third["actions"] == [f"remove {board}/{name}"]
    assert list(content(board).values()) == [b"two"]


def test_a_copy_that_was_cut_off_is_made_again(capsys: pytest.CaptureFixture[str], tmp_path: Path, source: Path) -> None:
    name = run(capsys, tmp_path / "board", kernel=source)["files"]["kernel"]
    (tmp_path / "board" / name).write_bytes(b"o")
    assert run(capsys, tmp_path / "board", kernel=source)["changed"] is True
    assert list(content(tmp_path / "board").values()) == [b"one"]


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = run(capsys, tmp_path / "board", kernel=tmp_path / "none")
    assert f"Cannot read {tmp_path}/none" in result["msg"]
    assert not (tmp_path / "board").exists()


def test_a_directory_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path, source: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    assert f"Cannot copy {source} to {tmp_path}/files/" in run(capsys, tmp_path, kernel=source)["msg"]


def test_a_switch_that_was_cut_off_between_its_steps(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board boots the old script until the last step, and the next run finishes it without losing the way back."""
    for name, content in (("boot.scr", b"\x27old"), ("boot-previous.scr", b"\x27older"), ("boot-new.scr", b"\x27new")):
        (tmp_path / name).write_bytes(content)
    write, written = _board_store.write_bytes, []

    def cut_off(path: str, content: bytes) -> None:
        if written:
            raise DriverDomainsError("the connection is gone")
        written.append(path)
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(_board_store, "write_bytes", cut_off)
        assert "the connection is gone" in switch(capsys, tmp_path, "new")["msg"]
    assert (tmp_path / "boot.scr").read_bytes() == b"\x27old"
    assert switch(capsys, tmp_path, "new")["changed"]
    assert [(tmp_path / f"boot{name}.scr").read_bytes() for name in ("", "-previous")] == [b"\x27new", b"\x27old"]


def switch(capsys: pytest.CaptureFixture[str], directory: Path, state: str, check: bool = False) -> dict[str, t.Any]:
    with patch_module_args({"directory": str(directory), "state": state, "_ansible_check_mode": check}), pytest.raises(SystemExit):
        board_switch.main()
    return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))


def test_switch_and_way_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    new, active, previous = (tmp_path / f"boot{name}.scr" for name in ("-new", "", "-previous"))
    assert "There is no" in switch(capsys, tmp_path, "new")["msg"]
    new.write_bytes(b"\x27one")
    assert switch(capsys, tmp_path, "new", check=True)["changed"] and not active.exists()
    assert switch(capsys, tmp_path, "new")["changed"]
    assert (active.read_bytes(), previous.exists()) == (b"\x27one", False)
    assert "There is no" in switch(capsys, tmp_path, "previous")["msg"]
    assert not switch(capsys, tmp_path, "new")["changed"]

    new.write_bytes(b"\x27two")
    switch(capsys, tmp_path, "new")
    assert (active.read_bytes(), previous.read_bytes()) == (b"\x27two", b"\x27one")
    assert switch(capsys, tmp_path, "previous")["changed"]
    assert active.read_bytes() == b"\x27one"
    assert not switch(capsys, tmp_path, "previous")["changed"]
    # And forth again.
    assert switch(capsys, tmp_path, "new")["changed"]
    assert active.read_bytes() == b"\x27two"
