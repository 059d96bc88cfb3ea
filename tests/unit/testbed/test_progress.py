# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is shown of a log, and what happens to commands that fail."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from testbed import progress
from testbed.errors import TestbedError


def test_tail_is_text(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\r\n\x1b[0;32mtwo\x1b[0m\x07\r\n\xff three\r\n  \r\n\x1b[H")
    assert progress.tail(log, 2) == "    two\n    \ufffd three"
    assert progress.tail(log, 1).strip() == "\ufffd three"


def test_tail_of_nothing(tmp_path: Path) -> None:
    assert progress.tail(tmp_path / "log") == ""


def test_a_step_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PERIOD", 0.05)
    log = tmp_path / "log"
    log.write_text("unpacking\n")
    with progress.step("installing", log):
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "-> installing"
    assert lines[1].endswith("s  unpacking")
    assert lines[-1].endswith("s  done")


def test_a_step_that_fails_is_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TestbedError), progress.step("installing"):
        raise TestbedError
    assert "done" not in capsys.readouterr().err


def test_a_command_that_fails_shows_the_end_of_its_output(tmp_path: Path) -> None:
    with pytest.raises(TestbedError, match=r"(?s)^sh failed with exit status 3; .*\n    bad luck$"):
        progress.run(["sh", "-c", "echo bad luck >&2; exit 3"], log=tmp_path / "log")
