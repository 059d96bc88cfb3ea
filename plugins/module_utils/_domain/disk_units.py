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

from .._plan import Refusal
from .exchange import image_key, kept_of, source_of

#: The name by which `force` allows it.
GUARD = "rebuild_disk"


@dataclass
class Units:
    """The parameters of domains, with units kept together, and what is to be said about them."""

    domains: list[dict[str, t.Any]] = field(default_factory=list)
    #: Those of the domains that keep an older image, as they were requested.
    requested: list[dict[str, t.Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


def keep_units(domains: t.Sequence[dict[str, t.Any]], rebuild: bool) -> Units:
    """Return the parameters `domains` of the module xl_domain. Where a disk is of another image than the one requested, so is the rest.

    :param rebuild: whether disks may be rebuilt, and their domains restarted.
    """
    units = Units()
    for domain in domains:
        requested, allowed = domain, rebuild and domain["state"] == "running"
        for number, disk in enumerate(domain.get("disks") or []) if domain["state"] != "absent" and not allowed else ():
            old = _other_source(disk)
            if old:
                domain = _with_unit_of(domain, number, old, units)
        if domain is not requested:
            units.requested.append(requested)
        units.domains.append(domain)
    return units


def disks_to_rebuild(copies: t.Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return those of the disks that are of another image than the one from which they are to be copied, each with that.

    :param copies: target and source of each disk.
    """
    return [(target, source) for target, source in copies if _differ(source_of(target), source)]


def disks_to_put_back(kernel: str, targets: t.Iterable[str]) -> list[tuple[str, str]]:
    """Return the disks that are of another image than a kernel, each with the one of that image that was kept beside it.

    :raises DriverDomainsError: there is none.
    """
    return [(target, kept_of(target, kernel)) for target in targets if _differ(source_of(target), kernel)]


def _other_source(disk: t.Mapping[str, t.Any]) -> str:
    old = source_of(disk["target"]) if disk.get("source") and not disk.get("backend") else ""
    return old if _differ(old, disk.get("source") or "") else ""


def _differ(old: str, new: str) -> bool:
    """Whether both are disks of images of this collection, and not of the same. Of other files it is not known what belongs together."""
    keys = [image_key(path) for path in (old, new)]
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
