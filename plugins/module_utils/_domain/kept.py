# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The configuration that libxl keeps of a running domain, and whether it is the one that a definition describes.

libxl creates a domain from it again when the domain reboots, whatever the definition file says by then. A definition can only be compared
with it after xl has parsed it, which costs a process. So a file in /run says of which two texts it is known that they agree.
"""

from __future__ import annotations

import glob
import hashlib
import json
import typing as t

from .._files import read_text, write_text


def read_kept(userdata: str, domid: int) -> str | None:
    """Return the configuration of a running domain, or None: libxl writes it when the domain is complete (libxl_create.c).

    The name of the file is in libxl_internal.h (LIBXL_USERDATA_DOMAIN_CONFIG).
    """
    found = glob.glob(f"{userdata}/userdata-d.{domid}.*.libxl-json")
    return read_text(found[0]) if found else None


def settings(kept: str) -> t.Any:
    """Return the settings in a configuration that libxl keeps, which ends in a 0 byte. One that is damaged has none."""
    try:
        return json.loads(kept.rstrip("\0"))
    except ValueError:
        return {}


def agrees(wanted: t.Any, actual: t.Any, top: bool = True) -> bool:
    """Whether all that is wanted is there. What is not mentioned may have any value, but there must be no further devices."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        if top and any(actual.get(kind) and not wanted.get(kind) for kind in ("nics", "disks", "pcidevs")):
            return False
        return all(key == "uuid" or agrees(value, actual.get(key), False) for key, value in wanted.items() if value not in ({}, []))
    if isinstance(wanted, list) and isinstance(actual, list):
        return len(wanted) == len(actual) and all(agrees(one, other, False) for one, other in zip(wanted, actual))
    return bool(wanted == actual)


def is_known(record: str, definition: str, kept: str) -> bool:
    """Whether it is on record that the text of a definition and a kept configuration agree."""
    return read_text(record) == _digests(definition, kept)


def make_known(record: str, definition: str, kept: str) -> None:
    """Put on record that they agree."""
    write_text(record, _digests(definition, kept), mode=0o600)


def _digests(*texts: str) -> str:
    return "".join(hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() + "\n" for text in texts)
