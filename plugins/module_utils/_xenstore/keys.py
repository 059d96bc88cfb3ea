# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The parameters of the module xenstore_key, as nodes to change and as values to wait for."""

from __future__ import annotations

import base64
import binascii
import re
import typing as t

from .._errors import InvalidInput
from .._plan import Plan
from .._printable import exact_value
from .client import Permission, XenStore
from .guards import guard_changes
from .nodes import Nodes, below, plan_nodes
from .paths import domid_in, join, node_path
from .wire import check_seconds

#: The name, in a tree, of the value of the inner node itself. No node can have it.
OWN_VALUE = "."
_NAMES = re.compile(r"[A-Za-z0-9_@-]+(/[A-Za-z0-9_@-]+)*")


def plan_keys(store: XenStore, keys: t.Sequence[dict[str, t.Any]], waits: t.Sequence[dict[str, t.Any]], wait_timeout: float) -> Plan:
    """Return the plan for the parameters `keys` and `wait_for`.

    :raises InvalidInput: a path, value, permission or domain cannot be used.
    """
    domains = {name for item in [*keys, *waits] for name in _domains(item)}
    domids = store.domids_of(domains)
    wanted = [nodes for item in keys for nodes in _nodes(item, domids)]
    gone = [item for item in [*keys, *waits] if item["state"] == "absent" and item["domain"] is not None and domids[item["domain"]] is None]
    for item in gone:
        # Its nodes vanished with it, but the path is to be one in any case.
        store.check(node_path(item, {item["domain"]: 0}))
    expected = [(node_path(item, domids), item) for item in waits if item not in gone]
    plan = plan_nodes(store, wanted, guard_changes)
    if waits:
        for path, _item in expected:
            store.check(path)
        check_seconds(wait_timeout)
        plan.conclude = lambda: {"waited": _wait(store, expected, wait_timeout)}
    return plan


def _wait(store: XenStore, expected: t.Sequence[tuple[str, dict[str, t.Any]]], timeout: float) -> list[dict[str, t.Any]]:
    def reached(values: t.Mapping[str, str | None]) -> bool:
        return all(_as_expected(item, values[path]) for path, item in expected)

    values = store.wait_for([path for path, _item in expected], reached, timeout)
    found = [(path, values[path]) for path, _item in expected]
    return [{"path": path, **({"value": None} if value is None else exact_value(value))} for path, value in found]


def _as_expected(item: t.Mapping[str, t.Any], value: str | None) -> bool:
    if item["state"] == "absent":
        return value is None
    return value is not None and item["value"] in (None, value)


def _domains(item: t.Mapping[str, t.Any]) -> list[str]:
    permissions = item.get("permissions") or {}
    named = [item["domain"], permissions.get("owner"), *(permissions.get("domains") or {})]
    return [str(name) for name in named if name is not None]


def _nodes(item: dict[str, t.Any], domids: t.Mapping[str, int | None]) -> list[Nodes]:
    if item["state"] == "absent":
        if item["domain"] is not None and domids[item["domain"]] is None:
            # Its nodes vanished with it.
            return []
        return [Nodes(node_path(item, domids), {})]
    path = node_path(item, domids)
    names: dict[str, bytes | None] = {}
    own = item["value"]
    if item["tree"] is not None:
        _flatten(path, "", item["tree"], item["encoding"], names)
        if OWN_VALUE in names:
            if own is not None:
                raise InvalidInput(f"The value of {path} is given twice", remedy=f"Leave out value, or {OWN_VALUE!r} in the tree")
            own = item["tree"][OWN_VALUE]
            del names[OWN_VALUE]
    values = {**below(path, names), path: _value(path, own, item["encoding"])}
    return [Nodes(path, values, _permissions(path, item["permissions"], domids), item["prune"])]


def _flatten(path: str, above: str, tree: t.Mapping[t.Any, t.Any], encoding: str, names: dict[str, bytes | None]) -> None:
    for key, value in tree.items():
        if key == OWN_VALUE:
            names[above.rstrip("/") or OWN_VALUE] = _value(path, value, encoding)
            continue
        if isinstance(key, bool) or not _NAMES.fullmatch(str(key)):
            raise InvalidInput(f"{key!r} below {path} is not the name of a XenStore node", "It has the characters A-Z a-z 0-9 - _ @")
        name, node = f"{above}{key}", join(path, str(key))
        if isinstance(value, dict):
            names.setdefault(name, None)
            _flatten(node, f"{name}/", value, encoding, names)
        else:
            names[name] = _value(node, value, encoding)


def _value(path: str, value: object, encoding: str) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidInput(
            f"The value of {path} is {value!r}, of type {type(value).__name__}", "A value is text or a whole number", "Put it in quotes"
        )
    if encoding == "text":
        return value.encode("utf-8", "surrogateescape")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as exc:
        raise InvalidInput(f"The value of {path} is not Base64: {exc}", remedy="Use the filter b64encode, or encoding: text") from exc


def _permissions(path: str, wanted: t.Mapping[str, t.Any] | None, domids: t.Mapping[str, int | None]) -> tuple[Permission, ...]:
    if wanted is None:
        return ()
    owner = Permission(wanted["others"], domid_in(domids, wanted["owner"]))
    named: dict[int, Permission] = {}
    for domain, access in (wanted["domains"] or {}).items():
        if access not in ("n", "r", "w", "b"):
            raise InvalidInput(
                f"{access!r} for domain {domain} at {path} is not an access right", "It is n (none), r (read), w (write) or b (both)"
            )
        domid = domid_in(domids, domain)
        if domid in named:
            raise InvalidInput(f"The domain {domid} is given access rights at {path} twice, once as {domain!r}", remedy="Name it once")
        named[domid] = Permission(access, domid)
    return (owner, *named.values())
