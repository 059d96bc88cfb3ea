# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What a driver domain reports about its volume groups and volumes. It is data about itself: nothing of it is believed beyond that."""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: Where xendd reports, below the domain's own directory. See roles/guest_image/files/volumes.
PLACE = "data/driver-domain"
_NAME = re.compile(r"[A-Za-z0-9+_.-]{1,127}")
_BYTES = re.compile(r"[1-9][0-9]{0,18}")


class Report(t.NamedTuple):
    """The volume groups of a driver domain."""

    #: The size of an extent of each group, in bytes: sizes of volumes are multiples of it.
    extents: dict[str, int]
    #: The size of each volume in bytes, by the names of group and volume.
    volumes: dict[tuple[str, str], int]


def read_report(store: XenStore, domid: int) -> Report | None:
    """Return what a domain reports; None when it reports no volume groups, because it has none, or is not so far yet."""
    top = f"/local/domain/{domid}/{PLACE}"
    tables = store.transaction(lambda inside: {kind: inside.tree(f"{top}/{kind}") for kind in ("groups", "volumes")})
    if not tables["groups"] or not tables["volumes"]:
        return None
    groups, volumes = (_lines(tables[kind], f"{top}/{kind}") for kind in ("groups", "volumes"))
    extents = {words[0]: int(words[1]) for words in groups if len(words) == 2 and _NAME.fullmatch(words[0]) and _BYTES.fullmatch(words[1])}
    return Report(
        extents,
        {
            (words[0], words[1]): int(words[2])
            for words in volumes
            if len(words) == 3 and words[0] in extents and _NAME.fullmatch(words[1]) and _BYTES.fullmatch(words[2])
        },
    )


def _lines(table: dict[str, str], top: str) -> list[list[str]]:
    """The value of the top says how many of the nodes below it count: those behind are of an earlier, longer report."""
    count = int(table[top]) if re.fullmatch("[0-9]{1,4}", table[top]) else 0
    return [table.get(f"{top}/{number}", "").split() for number in range(count)]
