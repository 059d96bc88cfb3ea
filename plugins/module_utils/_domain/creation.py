# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Start a domain from its definition."""

from __future__ import annotations

import contextlib
import re
import typing as t
from uuid import uuid4

from .._errors import DriverDomainsError, TimedOut
from .exchange import finish
from .kept import make_known
from .userdata import read_uuids

if t.TYPE_CHECKING:
    from .._xen.xl import Xl
    from .._xenstore.client import XenStore
    from .paths import Paths


def create_domain(xl: Xl, store: XenStore, paths: Paths, name: str, text: str, timeout: float) -> None:
    """Create a domain from its definition file, whose text is `text`, and put on record that it was.

    :raises DriverDomainsError: xl failed, or one of its disks could not take its place (`exchange`).
    :raises TimedOut: it took longer than `timeout` seconds; nothing is left of the domain.
    """
    finish(paths.definition(name))
    # A definition that sets its own does not say which of several `xl create` made a domain.
    uuid = "" if re.search(r"^uuid\s*=", text, re.MULTILINE) else str(uuid4())
    try:
        xl.create(paths.definition(name), timeout=timeout, uuid=uuid)
    except TimedOut:
        # xl was stopped half-way: what it has made of the domain would stay forever.
        with contextlib.suppress(DriverDomainsError):
            _destroy_unfinished(xl, store, paths, uuid)
        raise
    domid = store.domid_of(name)
    kept = None if domid is None else paths.kept(domid, read_uuids(store, [domid])[domid])
    if kept is not None:
        make_known(paths.record(name), text, kept)


def _destroy_unfinished(xl: Xl, store: XenStore, paths: Paths, uuid: str) -> None:
    """Destroy the domain that has this UUID, unless it is complete.

    Its name proves nothing: while our xl waited for the lock of another one, somebody else may have started a domain of that name.
    """
    for domid, own in read_uuids(store, [int(name) for name in store.directory("/local/domain") if name.isdecimal()]).items():
        if uuid and own == uuid and paths.kept(domid, uuid) is None:
            xl.destroy(str(domid))
