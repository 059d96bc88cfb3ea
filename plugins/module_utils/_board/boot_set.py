# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""A board's files under names that hold their content's hash: a new boot set never overwrites a file of the one in use, and
replacing one script switches to it."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import typing as t

from .._errors import DriverDomainsError, InvalidInput
from .._files import list_directory, read_bytes, remove, write_bytes
from .._plan import Plan
from .uboot_script import text_of

ACTIVE, NEW, PREVIOUS = "boot.scr", "boot-new.scr", "boot-previous.scr"
#: Below the board's directory.
STORE = "files"
_STORED = re.compile(rf"{STORE}/[0-9a-f]{{12}}-[A-Za-z0-9._+@,=-]+")


def plan_store(directory: str, sources: t.Mapping[str, str]) -> Plan:
    """Plan what brings files into the store, and removes those that no boot script uses any more.

    :param sources: path of each file, by a name of the user's choice.
    :raises InvalidInput: a source cannot be read.
    """
    plan = Plan()
    sources = {key: os.path.expanduser(path) for key, path in sources.items()}
    names = {key: _stored_name(path) for key, path in sources.items()}
    for path, name in sorted({path: names[key] for key, path in sources.items()}.items(), key=lambda item: item[1]):
        target = os.path.join(directory, name)
        if _size(target) != _size(path):
            plan.add(f"copy {path} to {target}", _copier(path, target), subject=target, after=f"copy of {path}")
    used = set(names.values())
    for script in (ACTIVE, NEW, PREVIOUS):
        used |= set(_STORED.findall((read_bytes(os.path.join(directory, script)) or b"").decode("ascii", "replace")))
    for name in list_directory(os.path.join(directory, STORE)):
        if f"{STORE}/{name}" not in used:
            path = os.path.join(directory, STORE, name)
            plan.add(f"remove {path}", functools.partial(remove, path), subject=path, before="not used by any boot script")
    plan.results = {"files": names}
    return plan


def plan_switch(directory: str, state: str) -> Plan:
    """Plan what makes a boot script the one that the board runs; each step is atomic.

    :param state: `new` for boot-new.scr, `previous` for boot-previous.scr.
    :raises InvalidInput: there is no such script.
    """
    plan = Plan()
    active, previous = os.path.join(directory, ACTIVE), os.path.join(directory, PREVIOUS)
    source = os.path.join(directory, NEW if state == "new" else PREVIOUS)
    wanted, before = read_bytes(source), read_bytes(active)
    if wanted is None:
        raise InvalidInput(f"There is no {source}", remedy="Make it first" if state == "new" else "Only what was replaced can come back")
    if wanted != before:
        if state == "new" and before is not None:
            plan.add(f"keep the old script as {previous}", functools.partial(write_bytes, previous, before))
        texts = {"before": text_of(before or b""), "after": text_of(wanted)}
        plan.add(f"switch {active} to {source}", functools.partial(write_bytes, active, wanted), subject=active, **texts)
    return plan


def _stored_name(path: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._+@,=-]", "_", os.path.basename(path))
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
    except OSError as exc:
        raise InvalidInput(f"Cannot read {path}: {exc.strerror}", remedy="Build it, or correct the path") from exc
    return f"{STORE}/{digest.hexdigest()[:12]}-{name}"


def _copier(source: str, target: str) -> t.Callable[[], None]:
    def copy() -> None:
        temporary = f"{target}.new"
        try:
            os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
            shutil.copyfile(source, temporary)
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
        except OSError as exc:
            raise DriverDomainsError(f"Cannot copy {source} to {target}: {exc.strerror}", remedy="Is there room for it?") from exc

    return copy


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
