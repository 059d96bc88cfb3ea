# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Volume groups of driver domains, and the disks of domains that are volumes in them."""

from __future__ import annotations

import typing as t

from .._domain.disk import vdev_number
from .._errors import InvalidInput
from .._volumes import Volume, declared_volumes, volume_of
from .finding import InputFinding, found, meant
from .model import DeclaredDomain, DeclaredHost, backend_of


def check_volumes(host: DeclaredHost) -> t.Iterator[InputFinding]:
    """Yield what is wrong with volume groups, and with disks that are volumes."""
    volumes: dict[str, list[Volume]] = {}
    for domain in host.domains:
        groups = [group for _where, group in domain.items("volume_groups")]
        if not domain.claims or not groups:
            continue
        try:
            volumes[domain.name] = declared_volumes(groups)
        except InvalidInput as exc:
            yield found(f"{domain.where}.volume_groups", exc)
            continue
        yield from _given_disks(domain)
    owners: dict[tuple[str, tuple[str, str]], list[tuple[str, bool]]] = {}
    for domain in host.domains:
        if domain.claims:
            for where, disk in domain.items("disks"):
                backend = host.named(backend_of(disk))
                if backend is not None and backend.name in volumes:
                    yield from _served_disk(where, disk.get("target"), backend, volumes[backend.name])
                volume = volume_of(disk.get("target"))
                if volume is not None and backend is not None:
                    others = owners.setdefault((backend.name, volume), [])
                    yield from _shared_disk(where, domain.name, disk, others)
                    others.append((domain.name, _is_written(disk)))


def _given_disks(domain: DeclaredDomain) -> t.Iterator[InputFinding]:
    """A group is made of disks that the domain has: those on its own controllers are not known here."""
    given = {vdev_number(str(disk.get("vdev"))): disk for _where, disk in domain.items("disks")}
    for where, group in domain.items("volume_groups"):
        for name in group["disks"]:
            disk = given.get(vdev_number(name))
            if name.startswith("serial:"):
                continue
            if disk is None:
                yield InputFinding(
                    where,
                    f"{domain.name} has no disk {name}",
                    "a disk of a group is one that dom0 gives to the domain, by its vdev, or one on its controllers, as serial:NUMBER",
                    f"Add {name} to disks of {domain.name}, with its path in dom0 as target",
                )
            elif disk.get("access") == "ro" or disk.get("devtype") == "cdrom":
                yield InputFinding(
                    where, f"the disk {name} is only read", "a volume group needs disks that it can write", "Leave access out"
                )


def _is_written(disk: t.Mapping[str, t.Any]) -> bool:
    return disk.get("access") != "ro" and disk.get("devtype") != "cdrom"


def _shared_disk(where: str, name: str, disk: t.Mapping[str, t.Any], owners: t.Sequence[tuple[str, bool]]) -> t.Iterator[InputFinding]:
    """Each domain is checked by itself, and the domains of several roles never together. Within a domain, its definition is refused.

    :param owners: the domains that have the volume already, and whether they write to it.
    """
    others = [owner for owner, written in owners if owner != name and (written or _is_written(disk))]
    if others:
        yield InputFinding(
            where,
            f"its target {disk['target']} is a disk of {others[0]} as well",
            "a disk that one domain writes to belongs to it alone",
            "Change one of them, or set access: ro for both",
        )


def _served_disk(where: str, target: t.Any, backend: DeclaredDomain, volumes: t.Sequence[Volume]) -> t.Iterator[InputFinding]:
    """A volume of a group that is declared is declared as well. Others were made by hand."""
    wanted = volume_of(target)
    groups = [group.get("name") for _where, group in backend.items("volume_groups")]
    if wanted is None or wanted[0] not in groups:
        return
    volume = next((volume for volume in volumes if (volume.group, volume.name) == wanted), None)
    if volume is None:
        names = [other.name for other in volumes if other.group == wanted[0] and other.present]
        yield InputFinding(
            where,
            f"there is no volume {wanted[1]!r} in {wanted[0]} of {backend.name}, which has: {', '.join(names) or 'none'}",
            "a disk is a volume of its backend domain",
            meant(wanted[1], names) if names else f"Add it to the volumes of {wanted[0]}",
        )
    elif not volume.present:
        yield InputFinding(
            where,
            f"its volume {volume} of {backend.name} is to be absent",
            "a volume that is a disk of a domain stays",
            "Remove the disk from the domain first, in a run of its own",
        )
    elif target != volume.path:
        yield InputFinding(
            where,
            f"its target is {target}",
            "a volume has one path, so that it is noticed when two domains have it",
            f"Use {volume.path}",
        )
