# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Who uses an image: domains that run, and domains that are defined."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from .._errors import DriverDomainsError
from .._files import list_directory, read_bytes


@dataclass(frozen=True)
class UsePlaces:
    """Where a host says which files its domains use; tests put it elsewhere."""

    definitions: str = "/etc/xen"
    #: libxl keeps the configuration of each running domain here, whichever file it came from (libxl_dom.c, userdata_path).
    userdata: str = "/var/lib/xen"


def image_users(keys: t.Iterable[str], places: UsePlaces) -> dict[str, list[str]]:
    """Return who names each of the images, in words; images that nobody names are left out.

    A key anywhere in a definition counts, even in a comment: an image that is kept needlessly does no harm.

    :raises DriverDomainsError: a definition is there but cannot be read, so that this is not known.
    """
    wanted = list(keys)
    users: dict[str, list[str]] = {}
    for who, path in _texts(places) if wanted else ():
        content = read_bytes(path) or b""
        for key in wanted:
            if key.encode() in content:
                users.setdefault(key, []).append(who)
    return users


def _texts(places: UsePlaces) -> t.Iterator[tuple[str, str]]:
    for directory, _directories, names in os.walk(places.definitions, onerror=_raise):
        for name in sorted(names):
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                yield path, path
    for name in list_directory(places.userdata):
        running = re.match(r"userdata-[a-z]\.(\d+)\.", name)
        if running:
            yield f"running domain {running[1]}", os.path.join(places.userdata, name)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise DriverDomainsError(f"Cannot read {error.filename}: {error.strerror}", remedy="Run the task as root (become: true)") from error
