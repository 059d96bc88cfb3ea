# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running external commands, with real processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed, InvalidInput, NotOnThisHost, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner


def test_output_and_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    result = Runner().run(["sh", "-c", "echo $LC_ALL; echo no >&2"])
    assert (result.rc, result.stdout, result.stderr) == (0, "C\n", "no\n")


def test_failure_has_the_command_its_exit_code_and_its_words() -> None:
    with pytest.raises(CommandFailed, match=r"exit code 3: no such thing.*Do that") as caught:
        Runner().run(["sh", "-c", "echo no such thing >&2; exit 3"], remedy="Do that")
    assert caught.value.details["rc"] == 3
    assert caught.value.details["cmd"] == "sh -c 'echo no such thing >&2; exit 3'"


def test_failure_may_be_wanted() -> None:
    assert Runner().run(["false"], check=False).rc == 1


def test_missing_program() -> None:
    with pytest.raises(NotOnThisHost, match="'no-such-program' is not installed"):
        Runner().run(["no-such-program"])


def test_a_log_shows_how_far_a_command_is(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text("of the last one, which said more\n")
    # The command itself reads what it has written so far.
    result = Runner().run(["sh", "-c", f"echo first >&2; cat {log}; echo second >&2"], log=str(log))
    assert (result.stdout, result.stderr, log.read_text()) == ("first\n", "first\nsecond\n", "first\nsecond\n")


def test_a_log_is_private_and_no_link_is_followed(tmp_path: Path) -> None:
    Runner().run(["true"], log=str(tmp_path / "new"))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="link"):
        Runner().run(["true"], log=str(tmp_path / "link"))
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("argument", ["a\0b", "\ud800"])
def test_an_argument_that_cannot_be_one(argument: str) -> None:
    with pytest.raises(InvalidInput, match="no argument can have"):
        Runner().run(["true", argument])


def test_a_command_that_hangs_is_stopped_with_its_children() -> None:
    started = time.monotonic()
    with pytest.raises(TimedOut, match="did not end within 0.3 s"):
        Runner().run(["sh", "-c", "sleep 60 & sleep 60"], timeout=0.3)
    assert time.monotonic() - started < 20
