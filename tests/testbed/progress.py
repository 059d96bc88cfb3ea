"""Tell what a long step is doing: its name, the time it takes, the last line of its log."""

from __future__ import annotations

import re
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


def last_line(log: Path) -> str:
    """Return the last line with text in it, without terminal control sequences."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    lines = (_CONTROL.sub("", line).strip() for line in reversed(re.split(r"[\r\n]+", text)))
    return next((line for line in lines if line), "")


@contextmanager
def step(name: str, log: Path | None = None) -> Iterator[None]:
    """Announce a step, report on it every PERIOD seconds, and say how long it took."""
    started = time.monotonic()
    done = threading.Event()

    def report() -> None:
        while not done.wait(PERIOD):
            line = last_line(log)[:110] if log else ""
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


def run(
    argv: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None, stop_timeout: float = 30
) -> None:
    """Run a command with its output in a log file; when interrupted, do not leave it behind."""
    command = [str(part) for part in argv]
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env)
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(stop_timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise
    if status:
        tail = "\n".join("    " + line for line in log.read_text(errors="replace").splitlines()[-15:])
        raise TestbedError(f"{command[0]} failed with exit status {status}; the end of its output:\n{tail}")
