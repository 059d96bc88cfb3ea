# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Small files, written so that a power cut leaves the old one or the new one."""

from __future__ import annotations

import os
import re
import tempfile
import typing as t

from ._errors import DriverDomainsError


def read_bytes(path: str) -> bytes | None:
    """Return the content of a file, or None when there is none.

    :raises DriverDomainsError: the file is there but cannot be read.
    """
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise DriverDomainsError(f"Cannot read {path}: {exc.strerror}", remedy="Run the task as root (become: true)") from exc


def read_text(path: str) -> str | None:
    """Return the text of a file, or None when there is none.

    :raises DriverDomainsError: the file is there but cannot be read.
    """
    content = read_bytes(path)
    return None if content is None else content.decode("utf-8", "surrogateescape")


def write_bytes(path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file atomically (temporary file next to it, fsync, rename), creating its directories.

    :raises DriverDomainsError: it cannot be written.
    """
    directory = os.path.dirname(path) or "."
    temporary = ""
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=directory)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fchmod(handle.fileno(), mode)
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as exc:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise DriverDomainsError(f"Cannot write {path}: {exc.strerror}", remedy="Run the task as root (become: true)") from exc


def write_text(path: str, text: str, mode: int = 0o644) -> None:
    """Write a text atomically, as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"), mode)


def remove(path: str) -> None:
    """Remove a file; one that is not there is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise DriverDomainsError(f"Cannot remove {path}: {exc.strerror}", remedy="Run the task as root (become: true)") from exc


def list_directory(path: str) -> list[str]:
    """Return the sorted names in a directory; one that is not there has none."""
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def unescape(text: str) -> str:
    """Undo the octal escapes of proc(5) and fstab(5)."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def drop_ins(root: str, directories: t.Sequence[str], suffix: str) -> list[str]:
    """Return the files of drop-in directories in the order of their names, relative to `root`.

    A file shadows those of the same name in later directories (modprobe.d(5), systemd.network(5)).
    """
    files: dict[str, str] = {}
    for directory in directories:
        for name in list_directory(f"{root}/{directory}"):
            if name.endswith(suffix):
                files.setdefault(name, f"{directory}/{name}")
    return [files[name] for name in sorted(files)]
