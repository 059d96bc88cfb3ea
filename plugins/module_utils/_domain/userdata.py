# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The files that libxl itself keeps about running domains, and the UUIDs that are in their names."""

from __future__ import annotations

import glob
import os
import re
import typing as t

from .._files import read_text

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: Where they are.
USERDATA = "/var/lib/xen"
#: What libxl writes (libxl__domain_make in libxl_create.c), and init-dom0less.c without the first slash. A dom0less domain owns the key,
#: and can write what it likes.
_VM = re.compile(r"/?vm/([0-9A-Za-z-]{1,64})")


def uuid_in(vm: str | None) -> str:
    """Return the UUID in the value of the key `vm` of a domain, or ""."""
    match = _VM.fullmatch(vm or "")
    return match.group(1) if match else ""


def read_uuids(store: XenStore, domids: t.Iterable[int]) -> dict[int, str]:
    """Return the UUIDs of domains by domid, all read at once; "" where there is none, as for dom0."""
    keys = {f"/local/domain/{domid}/vm": domid for domid in domids}
    return {keys[key]: uuid_in(vm) for key, vm in store.read_texts(keys).items()}


def kept_configuration(userdata: str, domid: int, uuid: str) -> str | None:
    """Return the configuration of a running domain as JSON, which libxl writes down when the domain is complete (libxl_create.c).

    Dom0 and dom0less domains have one, too (init-dom-json.c). After a power cut, that of a domain is left that had the number before, and a
    clock that was wrong makes it the newer one. So the UUID in the name of the file says whose it is (libxl__userdata_path in libxl_dom.c,
    LIBXL_USERDATA_DOMAIN_CONFIG in libxl_internal.h).

    :param userdata: the directory.
    :param uuid: that of the domain, from `read_uuids`; if it is "", nothing is known to be kept. That of dom0 does not matter.
    """
    if domid:
        return read_text(f"{userdata}/userdata-d.{domid}.{uuid}.libxl-json") if uuid else None
    # XenStore has no UUID of dom0. But no other domain ever had its number, and its file is written when the host boots (xen-init-dom0.c).
    kept = glob.glob(f"{userdata}/userdata-d.0.*.libxl-json")
    return read_text(max(kept, key=_written)) if kept else None


def _written(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        # It has gone meanwhile.
        return 0.0
