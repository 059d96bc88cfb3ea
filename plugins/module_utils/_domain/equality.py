# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Whether two definitions are the same to xl, however they are written."""

from __future__ import annotations

import typing as t

from .._errors import InvalidInput
from .._secrets import hide_secrets
from .._xen.xlcfg_reader import read
from .kept import DEFAULTS, GENERATED


def differences(one: t.Any, other: t.Any, place: str = "") -> list[str]:
    """Return where two domain configurations of xl differ, in words. What is empty counts as not there.

    :param one: what xl makes of a definition (`xl create --dryrun`); `other` likewise.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for key in sorted({*one, *other}):
            found += differences(one.get(key), other.get(key), f"{place}.{key}" if place else key)
        return found
    if _plain(place, one) == _plain(place, other):
        return []
    if isinstance(one, list) and isinstance(other, list):
        length = max(len(one), len(other))
        pairs = zip([*one, *[None] * (length - len(one))], [*other, *[None] * (length - len(other))])
        return [text for number, pair in enumerate(pairs) for text in differences(*pair, f"{place}[{number}]")]
    name = place.rpartition(".")[2]
    shown = hide_secrets([{name: other}, {name: one}])
    return [f"{place} is {shown[0][name]!r}, not {shown[1][name]!r}"]


def _plain(place: str, value: t.Any) -> t.Any:
    """Return a value as it is compared: what libxl takes where nothing is said counts as nothing (libxl_create.c, libxl_nic.c)."""
    name = place.rpartition(".")[2]
    if DEFAULTS.get(name) == value:
        return None
    if name in GENERATED and value:
        return True
    if isinstance(value, (dict, list, str)) and not _has_content(value):
        return None
    return value


def _has_content(value: t.Any) -> bool:
    if isinstance(value, dict):
        return any(_has_content(item) for item in value.values())
    return any(_has_content(item) for item in value) if isinstance(value, list) else value not in ("", None)


def same(theirs: t.Mapping[str, t.Any], ours: t.Mapping[str, t.Any], text: str) -> list[str]:
    """Return where our definition of a domain differs from the one that others wrote, in words.

    What theirs leaves to chance, ours may set: the MAC addresses of vifs, and the UUID.

    :param theirs: what xl makes of theirs; it generates a UUID if there is none in it.
    :param text: their definition.
    """
    found = differences(theirs, ours)
    nics = theirs.get("nics")
    free = {f"nics[{place}].mac" for place, nic in enumerate(nics if isinstance(nics, list) else []) if not nic.get("mac")}
    if not _sets_uuid(text):
        free.add("c_info.uuid")
    return [difference for difference in found if difference.partition(" is ")[0] not in free]


def _sets_uuid(text: str) -> bool:
    try:
        return "uuid" in read(text)
    except InvalidInput:
        # xl would accept it all the same: what cannot be read may be there.
        return True
