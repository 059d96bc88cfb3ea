# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Kernel, ramdisk and disk of one image are one unit: a kernel finds its modules on the disk, and a disk holds the SSH keys of its image.

Beside each disk that was copied from an image, a file says from which one. A domain whose disk is of an older image keeps that image's
kernel and ramdisk until its disk may be rebuilt.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field
from functools import partial

from .._errors import DriverDomainsError
from .._files import read_text, rename, write_text
from .._plan import Plan, Refusal

#: The name by which `force` allows it.
GUARD = "rebuild_disk"


@dataclass
class Units:
    """The parameters of domains, with units kept together, and what is to be said about them."""

    domains: list[dict[str, t.Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


def keep_units(domains: t.Sequence[dict[str, t.Any]], rebuild: bool) -> Units:
    """Return the parameters `domains` of the module xl_domain. Where a disk is of another image than the one requested, so is the rest.

    :param rebuild: whether disks may be rebuilt, and their domains restarted.
    """
    units = Units()
    for domain in domains:
        allowed = rebuild and domain["state"] == "running"
        for number, disk in enumerate(domain.get("disks") or []) if domain["state"] != "absent" and not allowed else ():
            old = _other_source(disk)
            if old:
                domain = _with_unit_of(domain, number, old, units)
        units.domains.append(domain)
    return units


def plan_rebuilding(plan: Plan, copy: t.Callable[[str, str], None], copies: t.Sequence[tuple[str, str]]) -> None:
    """Plan to rebuild those disks of a domain that are of another image. The domain does not run at that time.

    :param copy: copies an image to a disk that does not exist.
    :param copies: target and source of each disk.
    """
    for target, source in copies:
        old = source_of(target)
        if _differ(old, source):
            plan.add(
                f"rebuild disk {target} and keep the old one as {_kept_as(target, old)}",
                partial(_rebuild, copy, source, target, _kept_as(target, old)),
                subject=target,
                before=f"copy of {old}",
                after=f"copy of {source}",
            )


def disks_to_put_back(kernel: str, targets: t.Iterable[str]) -> list[tuple[str, str]]:
    """Return the disks that are of another image than a kernel, each with the one of that image that was kept beside it.

    :raises DriverDomainsError: there is none.
    """
    found = []
    for target in targets:
        own = source_of(target)
        if _differ(own, kernel):
            key = os.path.basename(os.path.dirname(kernel))
            kept = [path for path in _names(f"{target}.{key}") if os.path.exists(path)]
            if not kept:
                raise DriverDomainsError(
                    f"The disk {target} is a copy of {own}, and no disk of the image {key} was kept beside it",
                    rule="a kernel finds its modules on the disk of the same image",
                )
            found.append((target, kept[-1]))
    return found


def put_back(target: str, kept: str) -> None:
    """Use a disk again that was kept, and keep the present one instead. The domain does not run at that time."""
    aside = _kept_as(target, source_of(target))
    for old, new in ((target, aside), (kept, target)):
        rename(old, new)
        rename(_note(old), _note(new))


def note_source(target: str, source: str) -> None:
    """Note from which image a disk is copied."""
    write_text(_note(target), f"{source}\n", 0o600)


def source_of(target: str) -> str:
    """Return from which image a disk was copied, or "" if it does not exist or nobody noted it."""
    return (read_text(_note(target)) or "").strip() if os.path.exists(target) else ""


def _note(target: str) -> str:
    return f"{target}.image"


def _other_source(disk: t.Mapping[str, t.Any]) -> str:
    old = source_of(disk["target"]) if disk.get("source") and not disk.get("backend") else ""
    return old if _differ(old, disk.get("source") or "") else ""


def _differ(old: str, new: str) -> bool:
    """Whether both are disks of images of this collection, and not of the same. Of other files it is not known what belongs together."""
    keys = [os.path.basename(os.path.dirname(path)) for path in (old, new)]
    return keys[0] != keys[1] and all(re.fullmatch("[0-9a-f]{16}", key) for key in keys)


def _with_unit_of(domain: dict[str, t.Any], number: int, old: str, units: Units) -> dict[str, t.Any]:
    disk = domain["disks"][number]
    new_image, old_image = os.path.dirname(disk["source"]), os.path.dirname(old)
    kept = {part: domain[part] for part in ("kernel", "ramdisk") if os.path.dirname(domain.get(part) or "") == new_image}
    kept = {part: os.path.join(old_image, os.path.basename(path)) for part, path in kept.items()}
    gone = [path for path in kept.values() if not os.path.exists(path)]
    what = f"its disk {disk['target']} is a copy of {old}, not of {disk['source']}"
    how = (
        f"To rebuild the disk and keep the old one, set restart_changed: true and force: [{GUARD}]; in a role, both begin with its name, "
        "such as domu_restart_changed and domu_force"
    )
    if gone:
        units.refusals.append(
            Refusal(
                GUARD,
                f"Domain {domain['name']}",
                f"{what}, and {gone[0]}, which belongs to it, is gone",
                rule="a kernel finds its modules on the disk of the same image",
                remedy=how,
            )
        )
        kept = {}
    else:
        units.warnings.append(
            f"Domain {domain['name']} keeps the older image {os.path.basename(old_image)}, with its packages and SSH keys: {what}. {how}"
        )
    disks = [{**other, "source": old} if index == number else other for index, other in enumerate(domain["disks"])]
    return {**domain, **kept, "disks": disks}


def _kept_as(target: str, old: str) -> str:
    return next(name for name in _names(f"{target}.{os.path.basename(os.path.dirname(old))}") if not os.path.lexists(name))


def _names(base: str) -> list[str]:
    """The names under which disks of one image are kept, in the order of their use."""
    return [base, *(f"{base}.{number}" for number in range(2, 1000))]


def _rebuild(copy: t.Callable[[str, str], None], source: str, target: str, kept: str) -> None:
    if not os.path.exists(source):
        raise DriverDomainsError(f"{source} does not exist, so the disk {target} was not rebuilt", remedy="Deliver the image first")
    rename(target, kept)
    rename(_note(target), _note(kept))
    try:
        copy(source, target)
    except BaseException:
        if not os.path.exists(target):
            rename(kept, target)
            rename(_note(kept), _note(target))
        raise
