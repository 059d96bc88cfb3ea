# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The options of a virtual disk, for every module that takes one."""

from __future__ import annotations

import typing as t

from .vif_options import DOM0

#: Options of xl-disk-configuration(5), as an argument spec, in the order in which a definition lists them.
VBD_OPTIONS: dict[str, t.Any] = {
    "format": {"type": "str", "choices": ["raw", "qcow2", "qcow", "vhd", "qed"], "default": "raw"},
    "vdev": {"type": "str", "required": True},
    "access": {"type": "str", "choices": ["rw", "ro"], "default": "rw"},
    "devtype": {"type": "str", "choices": ["disk", "cdrom"], "default": "disk"},
    "backend": {"type": "str"},
    "backendtype": {"type": "str", "choices": ["phy", "qdisk"]},
    "script": {"type": "str"},
    "direct_io_safe": {"type": "bool"},
    "discard": {"type": "bool"},
    "trusted": {"type": "bool"},
    "target": {"type": "str"},
}
#: Settings that only the definition of a domain can have, since such a disk cannot be attached to one that runs.
_ONLY_DEFINED = ("specification", "grant_usage")


def disk_settings(disk: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the settings of a disk in the order in which they are written, without those that are the default of xl.

    A frontend trusts a backend in dom0, which can do everything anyway, but no other one.
    """
    full = {**disk, "devtype": "cdrom" if disk.get("devtype") == "cdrom" else None}
    if full.get("trusted") is None and full.get("backend") not in DOM0:
        # As for vifs: who attacks a driver domain must not get its clients as well (XSA-403).
        full["trusted"] = False
    # Nothing is in an empty drive.
    return {key: full.get(key) for key in (*_ONLY_DEFINED, *VBD_OPTIONS) if key != "target" or full.get(key)}


def can_distrust(version: tuple[int, int] | None) -> bool:
    """Whether xl knows the word for a disk whose frontend does not trust its backend; yes where the version is not known.

    Before, the lexer that comes with Xen was older than its source (libxlu_disk_l.c and libxlu_disk_l.l in tools/libs/util).
    """
    return version is None or version >= (4, 19)


def trusting(
    disks: t.Sequence[dict[str, t.Any]], version: tuple[int, int] | None, domain: str = ""
) -> tuple[list[dict[str, t.Any]], list[str]]:
    """Return disks as this Xen can have them, and a warning about those that trust a backend which by default they would not.

    :param version: that of the running Xen.
    :param domain: the name of the domain that has them, for the warning.
    """
    loose = [] if can_distrust(version) else [disk for disk in disks if disk.get("trusted") is None and disk.get("backend") not in DOM0]
    if not loose:
        return [*disks], []
    whose = f"Domain {domain}: the" if domain else "The"
    warning = (
        f"{whose} frontends of the disks {', '.join(str(disk['vdev']) for disk in loose)} trust the domains that serve them: xl knows the "
        f"word untrusted for disks since Xen 4.19, and this is {'.'.join(map(str, version or ()))}. Set trusted: true if that is intended"
    )
    return [{**disk, "trusted": True} if disk in loose else disk for disk in disks], [warning]
