# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Things that are expensive to make, kept by the hash of what they are made of.

An entry is a directory `NAME-HASH`. It is made in a temporary directory beside it and
renamed when complete, under a lock, so that a half-made one is never seen.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .progress import say, step

UNUSED_DAYS = 14


def default_dir() -> Path:
    """Return where the cache is, unless the user says otherwise."""
    if own := os.environ.get("XEN_TESTBED_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "xen-driver-domains" / "testbed"


def digest(*parts: object) -> str:
    """Return a short hash of JSON-able values; files and directories count with their content."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(json.dumps(_content(part), sort_keys=True).encode() + b"\0")
    return sha.hexdigest()[:16]


def _content(part: object) -> object:
    if not isinstance(part, Path):
        return part
    files = [part] if part.is_file() else sorted(path for path in part.rglob("*") if path.is_file())
    return [[path.relative_to(part).as_posix(), os.access(path, os.X_OK), hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]


@contextmanager
def lock(path: Path, waiting: str) -> Iterator[IO[str]]:
    """Hold an exclusive lock on a file; say `waiting` if somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(waiting):
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


class Cache:
    """The entries below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str, key: str) -> Path:
        """Return where an entry is, or will be."""
        return self.root / f"{name}-{key}"

    def get(self, name: str, key: str, make: Callable[[Path], None]) -> Path:
        """Return the entry's directory, made by `make(temporary directory)` if it is not there."""
        entry = self.path(name, key)
        if not entry.is_dir():
            with lock(self.root / "locks" / entry.name, f"waiting: another process is making {entry.name}"):
                if not entry.is_dir():
                    self._make(entry, make)
            self._drop_unused(name, keep=entry)
        os.utime(entry)
        return entry

    @staticmethod
    def _make(entry: Path, make: Callable[[Path], None]) -> None:
        temporary = entry.with_name(entry.name + ".tmp")
        _remove(temporary)  # of a build that was killed: we hold its lock
        temporary.mkdir(parents=True)
        try:
            make(temporary)
            temporary.rename(entry)
        finally:
            _remove(temporary)

    def _drop_unused(self, name: str, keep: Path) -> None:
        """Remove entries of that name, and half-made ones, that nobody has used for long."""
        limit = time.time() - UNUSED_DAYS * 86400
        for entry in self.root.glob(f"{name}-*"):
            if entry != keep and entry.stat().st_mtime < limit:
                say(f"   removing {entry.name}, unused for {UNUSED_DAYS} days")
                _remove(entry)


def _remove(directory: Path) -> None:
    # Not below mount points: an image being built has the host's /dev in it.
    subprocess.run(["rm", "-rf", "--one-file-system", "--", directory], check=True)
