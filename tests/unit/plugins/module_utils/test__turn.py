# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may change the domains of a host."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.plugins.module_utils._turn import Turn, take_turn


def test_one_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "run" / "lock")
    first, second = Turn(path), Turn(path)
    assert first.take() and first.take() and first.taken
    assert not second.take() and not second.taken
    with pytest.raises(DriverDomainsError, match=f"Another process has been changing.*fuser -v {path}"):
        take_turn(second, patience=0.1)
    first.pass_on()
    take_turn(second, patience=0.1)
    assert second.taken and not first.take()


def test_a_process_that_dies_passes_it_on(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    script = f"import fcntl,time; f=open({path!r},'w'); fcntl.flock(f, fcntl.LOCK_EX); print('has it', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "has it\n"
        turn = Turn(path)
        assert not turn.take()
        start = time.monotonic()
        process.kill()
        take_turn(turn, patience=20)
        assert turn.taken and time.monotonic() - start < 20


def test_commands_do_not_inherit_it(tmp_path: Path) -> None:
    """A daemon that xl leaves behind would keep it."""
    turn = Turn(str(tmp_path / "lock"))
    assert turn.take()
    with subprocess.Popen(["sleep", "60"], close_fds=False) as process:
        turn.pass_on()
        assert Turn(turn.path).take()
        process.kill()


def test_without_root_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the module then does says that it needs root."""

    def refuse(*_args: object, **_options: object) -> int:
        raise PermissionError(13, "Permission denied")

    turn = Turn(str(tmp_path / "lock"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        take_turn(turn, patience=0.1)
    assert not turn.taken
