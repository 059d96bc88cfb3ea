# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Exchange the definition of a domain that does not run, and the disks that go with it, so that they agree whenever it is started.

The definition is written at once, each disk is renamed at once, but a power cut may come between. So what is to be done about the disks is
written to `NAME.cfg.disks` before, and whatever starts the domain finishes it: an exchange whose definition was written is carried on, any
other one is forgotten.

Beside each disk that was copied from an image, `DISK.image` says from which one. A disk that another one has taken the place of is kept as
`DISK.KEY`, with the key of its image.
"""

from __future__ import annotations

import hashlib
import json
import os
import typing as t

from .._errors import DriverDomainsError
from .._files import hard_link, read_text, remove, rename, write_text
from .kept import settings


def disks_of(path: str) -> str:
    """The file that says which disks go with a definition that may just have been written, for the file with the definition."""
    return f"{path}.disks"


def next_of(target: str) -> str:
    """Where a disk is made that is to take the place of another one."""
    return f"{target}.next"


def exchange(path: str, text: str, disks: t.Sequence[tuple[str, str]]) -> None:
    """Write a definition, and let other disks take the places of those that its domain has.

    :param disks: the path of each disk, and where the one is that takes its place. If there are any, the domain does not run.
    :raises DriverDomainsError: something cannot be written. The next call of `finish` does what is left to do.
    """
    if disks:
        finish(path)
        write_text(disks_of(path), json.dumps({"definition": _digest(text), "disks": disks}), mode=0o600)
    else:
        remove(disks_of(path))
    if read_text(path) != text:
        write_text(path, text, mode=0o600)
    if disks:
        finish(path)


def finish(path: str) -> None:
    """Finish an exchange that was cut off, before a domain is started from the definition at `path`.

    :raises DriverDomainsError: a disk cannot be renamed.
    """
    found = read_text(disks_of(path))
    if found is None:
        return
    planned = settings(found)
    if planned.get("definition") == _digest(read_text(path) or ""):
        for target, new in planned["disks"]:
            try:
                _put(new, target)
            except OSError as exc:
                raise DriverDomainsError(f"The disk {new} could not take the place of {target}: {exc.strerror}") from exc
    remove(disks_of(path))


def _put(new: str, target: str) -> None:
    """Put a disk in the place of another one, and keep that. May be called again after it was cut off at any point."""
    if os.path.exists(new):
        old = source_of(target)
        kept = kept_as(target, old)
        if os.path.exists(target) and not os.path.exists(kept):
            note_source(kept, old)
            hard_link(target, kept)
        write_text(_note(target), "\n".join([old, new, source_of(new), ""]), 0o600)
        rename(new, target)
    note_source(target, source_of(target))
    remove(_note(new))


def note_source(target: str, source: str) -> None:
    """Note from which image a disk is copied."""
    write_text(_note(target), f"{source}\n", 0o600)


def source_of(target: str) -> str:
    """Return from which image a disk was copied, or "" if it does not exist or nobody noted it."""
    lines = (read_text(_note(target)) or "").splitlines() if os.path.exists(target) else []
    # While another one takes its place: what it was, where that one is, and what it will be when that one is no longer there.
    if len(lines) == 3 and not os.path.exists(lines[1]):
        return lines[2]
    return lines[0].strip() if lines else ""


def forget(disk: str) -> None:
    """Remove a disk that nothing uses, with its note."""
    remove(disk)
    remove(_note(disk))


def kept_as(target: str, source: str) -> str:
    """Return where a disk is kept when another one takes its place, or is kept already: then both names are those of one file."""
    return next(name for name in _names(target, source) if not os.path.lexists(name) or _same(name, target))


def kept_of(target: str, source: str) -> str:
    """Return the disk of another image that was kept beside a disk, the last of several.

    :raises DriverDomainsError: there is none.
    """
    kept = [name for name in _names(target, source) if os.path.exists(name)]
    if not kept:
        raise DriverDomainsError(
            f"The disk {target} is a copy of {source_of(target)}, and no disk of the image {image_key(source)} was kept beside it",
            rule="a kernel finds its modules on the disk of the same image",
        )
    return kept[-1]


def image_key(path: str) -> str:
    """Return the key of the image that a kernel or disk belongs to, by its path."""
    return os.path.basename(os.path.dirname(path))


def _names(target: str, source: str) -> list[str]:
    """The names under which disks of one image are kept, in the order of their use."""
    base = f"{target}.{image_key(source)}"
    return [base, *(f"{base}.{number}" for number in range(2, 1000))]


def _same(path: str, other: str) -> bool:
    return os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)


def _note(target: str) -> str:
    return f"{target}.image"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
