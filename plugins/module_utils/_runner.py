# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Run external commands: never without a timeout, never with a shell, always in the C locale."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import typing as t
from dataclasses import dataclass

from ._errors import CommandFailed, InvalidInput, NotOnThisHost, TimedOut


@dataclass(frozen=True)
class Result:
    """What a finished command left behind."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str


class Runner:
    """Runs commands with a time limit in seconds; the seam that unit tests replace.

    A toolstack command whose xenstored has died hangs forever, so every call has a limit.
    """

    def __init__(self, timeout: float = 60.0, path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") -> None:
        self.timeout = timeout
        self.environment = {"PATH": path, "LC_ALL": "C", "LANGUAGE": "C", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}

    def run(
        self,
        argv: t.Sequence[str],
        *,
        timeout: float | None = None,
        check: bool = True,
        remedy: str = "",
        environment: t.Mapping[str, str] | None = None,
        log: str = "",
    ) -> Result:
        """Run `argv` and return its result.

        :param log: a file that gets what it writes to stderr, as it comes; only its owner can read it.
        :raises CommandFailed: the exit code is not 0 and `check` is set; details hold cmd, rc, stdout, stderr.
        :raises TimedOut: no end within `timeout` seconds; the command and its children are killed.
        :raises NotOnThisHost: the program is not installed.
        :raises InvalidInput: an argument holds a null character or half of a surrogate pair.
        :raises OSError: the log cannot be written.
        """
        with open(log, "w+b", opener=_private) if log else contextlib.nullcontext() as written:
            result = self._run(argv, self.timeout if timeout is None else timeout, remedy, environment, written)
        if check and result.rc != 0:
            text = result.stderr.strip() or result.stdout.strip() or "it printed nothing"
            raise CommandFailed(
                f"'{shlex.join(argv)}' failed with exit code {result.rc}: {text}",
                remedy=remedy,
                cmd=shlex.join(argv),
                rc=result.rc,
                stdout=result.stdout,
                stderr=result.stderr,
            )
        return result

    def _run(
        self, argv: t.Sequence[str], limit: float, remedy: str, environment: t.Mapping[str, str] | None, log: t.BinaryIO | None
    ) -> Result:
        command = shlex.join(argv)
        try:
            # AnsibleModule.run_command knows no time limit.
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log or subprocess.PIPE,
                env={**self.environment, **(environment or {})},
                start_new_session=True,
            )
        except FileNotFoundError as exc:
            raise NotOnThisHost(f"The program {argv[0]!r} is not installed on this host", remedy=remedy, cmd=command) from exc
        except ValueError as exc:
            raise InvalidInput(f"{command!r} holds a character that no argument can have: {exc}") from exc
        try:
            stdout, stderr = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired as exc:
            _kill_group(process)
            raise TimedOut(f"'{command}' did not end within {limit:g} s and was stopped", remedy=remedy, cmd=command) from exc
        except BaseException:
            _kill_group(process)
            raise
        if log:
            log.seek(0)
            stderr = log.read()
        return Result(tuple(argv), process.returncode, stdout.decode("utf-8", "surrogateescape"), stderr.decode("utf-8", "surrogateescape"))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # A process in uninterruptible sleep (a dead xenstored) cannot be reaped: do not wait for it forever.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=2)
