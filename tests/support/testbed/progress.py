# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report what a long step is doing: its name, the time it takes, the last line of its log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import TestbedError

PERIOD = 10.0
_TAIL_BYTES = 4096
_CONTROL = re.compile(r"\x1b(?:\[[0-9;?=]*[A-Za-z]|.)|[\x00-\x08\x0b-\x1f\x7f]")


def say(text: str) -> None:
    """Print a line for the user; stdout stays free for results."""
    print(text, file=sys.stderr, flush=True)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines with text in them, indented, without terminal control sequences."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    clean = (_CONTROL.sub("", line).strip() for line in re.split(r"[\r\n]+", text))
    return "\n".join(f"    {line}" for line in [line for line in clean if line][-lines:])


@contextmanager
def step(name: str, log: Path | None = None) -> Iterator[None]:
    """Announce a step, report on it every PERIOD seconds, and say how long it took."""
    started = time.monotonic()
    done = threading.Event()

    def report() -> None:
        while not done.wait(PERIOD):
            line = tail(log, 1).strip()[:110] if log else ""
            say(f"   {time.monotonic() - started:4.0f} s  {line}".rstrip())

    say(f"-> {name}")
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
    say(f"   {time.monotonic() - started:4.1f} s  done")


def run(argv: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None, stop_timeout: float = 60) -> None:
    """Run a command with its output in a log file; when interrupted, leave none of its processes behind."""
    command = [str(part) for part in argv]
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        # In a session of its own, so that all its processes can be ended together.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True)
        try:
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(stop_timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            raise
    if status:
        raise TestbedError(f"{command[0]} failed with exit status {status}; the end of its output:\n{tail(log)}")
