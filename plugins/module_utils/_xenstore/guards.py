# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The guard rails of XenStore: what the toolstack and the drivers own, and nodes of domains that do not run.

Sources: docs/misc/xenstore-paths.pandoc of Xen, and the nodes that domcreate makes in tools/libs/light/libxl_create.c.
"""

from __future__ import annotations

import re
import typing as t

from .._plan import Plan
from .client import XenStore
from .nodes import Change
from .wire import XenStoreError

#: The guard rails, as `force` names them.
XENSTORE_GUARDS = ("toolstack_nodes", "not_running")

#: Below these, everything belongs to the toolstack.
_TOOLSTACK_ROOTS = frozenset(("libxl", "vm"))
#: In a domain's home, everything below these belongs to devices.
_DEVICES = frozenset(("backend", "device"))
#: So does everything below these nodes of a domain's home.
_TOOLSTACK = frozenset(
    ("bios-strings", "console", "cpu", "device-model", "domid", "hvmloader", "image", "libxl", "name", "platform", "serial", "store", "vm")
)
#: And these, but writing values below them is how dom0 asks a guest for something.
_REQUESTS = frozenset(("control", "memory"))
#: What is below these belongs to the guest, or to whoever made it; the nodes themselves let the guest write there.
_SHARED = frozenset(("attr", "data", "drivers", "error", "feature"))
_DOMID = re.compile(r"/(?:local/domain|libxl)/([0-9]+)(?:/|$)")


def guard_changes(store: XenStore, plan: Plan, changes: t.Sequence[Change]) -> None:
    """Refuse changes of nodes that the toolstack and the drivers own, and new nodes and permissions of domains that do not run."""
    for change in changes:
        _guard_toolstack(plan, change)
    made = {domid: path for change in changes for path in change.made for domid in _DOMID.findall(path)}
    granted = [change for change in changes if change.made or change.regrants]
    made.update({str(right.domid): change.wanted.path for change in granted for right in change.wanted.permissions})
    running = _running(store, made)
    for domid, path in made.items():
        if domid not in running:
            plan.refuse(
                "not_running",
                path,
                f"the domain {domid} does not run",
                # An earlier task may start it.
                passing=True,
                rule="nodes and permissions of a domain that does not run stay, and the next domain with that number gets them",
                remedy="Name the domain instead of its number: it has another one after each start",
            )


def owned_by_toolstack(path: str, value: bool = False) -> str:
    """Return what a node is that the toolstack or the drivers own, or "".

    :param path: a path without a leading slash is in the home of the domain that this runs in.
    :param value: whether only the value of the node is to change.
    """
    if path == "/":
        return "the root of XenStore"
    parts = path.strip("/").split("/") if path.startswith("/") else ["local", "domain", "self", *path.split("/")]
    if len(parts) == 1 or parts == ["local", "domain"]:
        return "a directory that the toolstack needs"
    if parts[0] in _TOOLSTACK_ROOTS or parts[:2] == ["tool", "xenstored"]:
        return "a node of the toolstack"
    if parts[:2] != ["local", "domain"]:
        return ""
    if len(parts) == 3:
        return "the home of a domain"
    name = parts[3]
    if name in _DEVICES:
        return "a device, or a directory of devices"
    # Dom0 asks no one: a wrong memory/target of its own leaves it without memory.
    asks = value and parts[2] != "0"
    if name in _TOOLSTACK or (name in _REQUESTS and not asks) or (name in _SHARED and len(parts) == 4):
        return "a node of the toolstack"
    return ""


def _guard_toolstack(plan: Plan, change: Change) -> None:
    # Only what exists can be lost.
    written = [path for path, value in change.writes.items() if path in change.values and value is not None]
    pruned = [change.wanted.path] if change.removals and change.wanted.values else []
    for verb, paths, value in (
        ("would be removed", change.removals, False),
        ("would lose all other nodes below it", pruned, False),
        ("would get other permissions", change.regrants, False),
        ("would get another value", written, True),
    ):
        owned = [(path, what) for path in paths for what in [owned_by_toolstack(path, value)] if what]
        if owned:
            path, what = owned[0]
            others = f", and so would {len(owned) - 1} more" if len(owned) > 1 else ""
            plan.refuse(
                "toolstack_nodes",
                path,
                f"is {what}, and {verb}{others}",
                rule="domains stop working when what the toolstack and the drivers wrote changes",
                remedy="Check that the path is complete, and use xl_domain, xl_vif or xenbus_device to change domains and their devices",
            )


def _running(store: XenStore, domids: t.Collection[str]) -> t.Collection[str]:
    paths = {domid: f"/local/domain/{domid}/name" for domid in domids}
    try:
        names = store.read_texts(paths.values())
    except XenStoreError as exc:
        if exc.errno_name != "EACCES":
            raise
        # A guest knows only itself, and can write only where it may.
        return domids
    return {domid for domid, path in paths.items() if domid == "0" or names[path] is not None}
