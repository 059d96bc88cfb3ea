# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The boot set of a board: files under names that contain the hash of their content, and the boot script that loads them.

A new boot set never overwrites a file of the one in use, and replacing the script switches to it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import typing as t

from .._errors import InvalidInput
from .._files import copy, list_directory, read_bytes, remove, remove_directory
from .._plan import Plan
from .script_image import text_of

ACTIVE, NEW, PREVIOUS = "boot.scr", "boot-new.scr", "boot-previous.scr"
#: Below the board's directory.
STORE = "files"
_STORED = re.compile(rf"{STORE}/[0-9a-f]{{12}}-[A-Za-z0-9._+@,=-]+")
#: What the role writes beside the store. The last three are for ImageBuilder, or by it.
_OWN = (ACTIVE, NEW, PREVIOUS, "boot-made.scr", "boot-new.source", "imagebuilder.config")
#: Before the name of a file that was not written to its end.
_UNFINISHED = "."


def plan_store(directory: str, sources: t.Mapping[str, str], generated: t.Collection[str] = ()) -> Plan:
    """Plan the copying of files into the store, and the removal of those that no boot script uses any more.

    :param sources: path of each file, by a key of the user's choice.
    :param generated: paths of files that earlier tasks make, which check mode does not run.
    """
    plan = Plan()
    names: dict[str, str] = {}
    pending: dict[str, str] = {}
    missing: list[str] = []
    for key, source in sorted(sources.items()):
        path = os.path.expanduser(source)
        try:
            names[key] = _stored_name(path)
        except OSError as exc:
            plan.refuse("", path, f"cannot be read: {exc.strerror}", passing=path in generated, remedy="Build it, or correct the path")
            missing.append(path)
            continue
        target = os.path.join(directory, names[key])
        if names[key] not in pending and _size(target) != os.path.getsize(path):
            pending[names[key]] = path
            plan.add(f"copy {path} to {target}", functools.partial(copy, path, target), subject=target, after=f"copy of {path}")
    if not missing:
        _plan_removals(plan, directory, set(names.values()))
    plan.results = {"files": names, "pending": pending, "missing": missing}
    return plan


def plan_switch(directory: str, state: str) -> Plan:
    """Plan to make a boot script the one that the board runs; each step is atomic.

    :param state: `new` for boot-new.scr, `previous` for boot-previous.scr.
    :raises InvalidInput: there is no such script.
    """
    plan = Plan()
    active, previous = os.path.join(directory, ACTIVE), os.path.join(directory, PREVIOUS)
    source = os.path.join(directory, NEW if state == "new" else PREVIOUS)
    wanted, before = read_bytes(source), read_bytes(active)
    if wanted is None:
        raise InvalidInput(f"There is no {source}", remedy="Make it first" if state == "new" else "No script has been replaced yet")
    if wanted != before:
        if state == "new" and before is not None:
            plan.write_file(previous, before, description=f"keep the old script as {previous}")
        plan.write_file(active, wanted, description=f"switch {active} to {source}", before=text_of(before or b""), after=text_of(wanted))
    return plan


def plan_removal(directory: str) -> Plan:
    """Plan to remove all boot sets of a board.

    What else is in the directory stays: other boards can have theirs below it, and a TFTP server serves more than boards.
    """
    plan = Plan()
    store = os.path.join(directory, STORE)
    names = list_directory(directory)
    own = [f"{STORE}/{name}" for name in _stored(directory)] + [name for name in _OWN if name in names]
    for name in own:
        path = os.path.join(directory, name)
        plan.add(f"remove {path}", functools.partial(remove, path), subject=path, before="part of a boot set")
    foreign = [f"{STORE}/{name}" for name in list_directory(store) if f"{STORE}/{name}" not in own]
    empty = [store] if os.path.isdir(store) and not foreign else []
    foreign += [name for name in names if name not in own and name != STORE]
    empty += [directory] if os.path.isdir(directory) and not foreign else []
    for path in empty:
        plan.add(f"remove {path}", functools.partial(remove_directory, path), subject=path, before="empty directory")
    if own and foreign:
        plan.warnings.append(f"{directory} stays, because it has files that belong to no boot set: {', '.join(foreign[:5])}")
    return plan


def _stored(directory: str) -> list[str]:
    """Return the names of the stored files, and of those that were not written to their end."""
    names = list_directory(os.path.join(directory, STORE))
    return [name for name in names if _STORED.fullmatch(f"{STORE}/{name[len(_UNFINISHED) :] if name.startswith(_UNFINISHED) else name}")]


def _plan_removals(plan: Plan, directory: str, used: set[str]) -> None:
    """Plan the removal of stored files that are neither in use nor named by one of the scripts."""
    for script in (ACTIVE, NEW, PREVIOUS):
        used |= set(_STORED.findall((read_bytes(os.path.join(directory, script)) or b"").decode("ascii", "replace")))
    for name in _stored(directory):
        if f"{STORE}/{name}" not in used:
            path = os.path.join(directory, STORE, name)
            plan.add(f"remove {path}", functools.partial(remove, path), subject=path, before="not used by any boot script")


def _stored_name(path: str) -> str:
    """Return the name of a file in the store.

    :raises OSError: the file cannot be read.
    """
    name = re.sub(r"[^A-Za-z0-9._+@,=-]", "_", os.path.basename(path))
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return f"{STORE}/{digest.hexdigest()[:12]}-{name}"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
