# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Commands that run beside each other, and wake the service when they end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import typing as t
from dataclasses import dataclass

from .._printable import printable_line

#: What `xl` needs of its environment.
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
#: Bytes of a command's messages that are kept.
_MESSAGES = 2000


class Ended(t.NamedTuple):
    """A command that has ended; `problem` is "" if it succeeded. One that was killed has not tidied up."""

    key: str
    problem: str
    killed: bool = False


@dataclass
class _Command:
    process: subprocess.Popen[bytes]
    messages: int
    deadline: float
    limit: float


class Commands:
    """The commands that run, by key."""

    def __init__(self, environment: t.Mapping[str, str] | None = None) -> None:
        self._environment = {**_ENVIRONMENT, **(environment or {})}
        self._running: dict[str, _Command] = {}

    @property
    def keys(self) -> frozenset[str]:
        """Keys of those that run."""
        return frozenset(self._running)

    @property
    def deadline(self) -> float | None:
        """When the next one has run for too long, on the monotonic clock."""
        return min((command.deadline for command in self._running.values()), default=None)

    def start(self, key: str, argv: t.Sequence[str], now: float, limit: float) -> str:
        """Start a command that may take `limit` seconds; return what prevents that, or ""."""
        # A file, not a pipe: a daemon that xl leaves behind keeps it, and nobody reads it then.
        messages = -1
        try:
            messages = os.memfd_create("messages")
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as exc:
            if messages >= 0:
                os.close(messages)
            return f"{argv[0]}: {exc.strerror}"
        self._running[key] = _Command(process, messages, now + limit, limit)
        return ""

    def ended(self, now: float) -> list[Ended]:
        """Return the commands that have ended since the last call; those that take too long are ended."""
        found = []
        for key, command in list(self._running.items()):
            code = command.process.poll()
            if code is None and now < command.deadline:
                continue
            if code is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(command.process.pid, signal.SIGKILL)
                # One that sleeps without interruption, as with a dead xenstored, is not waited for.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    command.process.wait(1)
            problem = f"it did not end within {command.limit:g} s" if code is None else self._problem(command) if code else ""
            os.close(command.messages)
            del self._running[key]
            found.append(Ended(key, problem, code is None or code < 0))
        return found

    @staticmethod
    def _problem(command: _Command) -> str:
        size = os.fstat(command.messages).st_size
        text = os.pread(command.messages, _MESSAGES, max(0, size - _MESSAGES)).decode("utf-8", "replace").strip()
        return printable_line(text.replace("\n", "; ")) or f"it ended with {command.process.returncode}"
