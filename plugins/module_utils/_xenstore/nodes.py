# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""XenStore nodes as the user requests them, alone or as trees: compared with XenStore, and changed in one transaction."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from .._errors import InvalidInput
from .._plan import Action, Plan
from .client import Permission, XenStore
from .paths import join

Permissions = tuple[Permission, ...]


@dataclass(frozen=True)
class Nodes:
    """A node as the user requests it, perhaps with nodes below it.

    `values` are the values by path, each node after the one above it. None stands for any value; a new node then gets an empty one.
    Without any values, `path` and all nodes below it must be absent.
    `permissions`, unless empty, hold for each node of `values`. With `prune`, there must be no other nodes below them.
    """

    path: str
    values: t.Mapping[str, bytes | None]
    permissions: Permissions = ()
    prune: bool = False

    def check(self, store: XenStore) -> None:
        """Check that the nodes can be stored.

        :raises InvalidInput: a path or a value cannot.
        """
        store.check(self.path)
        for path, value in self.values.items():
            store.check(path, value or b"")

    def lines(self) -> list[str]:
        """Return the nodes as diff mode shows them."""
        return [_line(path, value or b"", self.permissions or None) for path, value in self.values.items()]


@dataclass
class Change:
    """How the existing nodes differ from the requested ones."""

    wanted: Nodes
    #: The values of those requested nodes that exist, and their permissions if they matter.
    values: dict[str, bytes]
    permissions: dict[str, Permissions]
    #: Nodes to write; None where it is enough to create the node.
    writes: dict[str, bytes | None] = field(default_factory=dict)
    #: Nodes that exist with other permissions.
    regrants: list[str] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.writes or self.regrants or self.removals)

    @property
    def made(self) -> list[str]:
        """Requested nodes that do not exist."""
        return [path for path in self.wanted.values if path not in self.values]

    def describe(self) -> str:
        """Return what will be done, in words."""
        steps = [("write", self.made + [path for path in self.writes if path in self.values])]
        steps += [("set the permissions of", self.regrants), ("remove", self.removals)]
        said = [f"{verb} {paths[0] if len(paths) == 1 else f'{len(paths)} nodes'}" for verb, paths in steps if paths]
        return ", ".join(said) + ("" if len(self.writes) + len(self.regrants) + len(self.removals) == 1 else f" at {self.wanted.path}")

    def diff(self, store: XenStore) -> tuple[str, str]:
        """Return the lines that change, before and after."""
        before = [
            _line(path, self.values[path], self.permissions.get(path))
            for path in self.wanted.values
            if path in self.values and (path in self.writes or path in self.regrants)
        ]
        after = []
        for path, value in self.wanted.values.items():
            if path in self.writes or path in self.regrants or path not in self.values:
                kept = self.values.get(path, b"")
                after.append(_line(path, kept if value is None else value, self.wanted.permissions or None))
        for removal in self.removals:
            before += [_line(path, value.encode("utf-8", "surrogateescape"), None) for path, value in store.tree(removal).items()]
        return "".join(before), "".join(after)


def compare(store: XenStore, wanted: t.Sequence[Nodes]) -> list[Change]:
    """Read the requested nodes in few round trips, and return how they differ: one change for each item of `wanted`."""
    values: dict[str, bytes | None] = {}
    grants: dict[str, Permissions] = {}
    names: dict[str, list[str]] = {}
    # A missing node has nothing below it, so one read for each level is enough.
    level = {item.path: item for item in wanted}
    children = _children(wanted)
    while level:
        values.update(store.read_many(level))
        level = {path: item for path, item in level.items() if values[path] is not None}
        found = store.get_perms_many(path for path, item in level.items() if item.permissions)
        grants.update((path, tuple(of)) for path, of in found.items() if of)
        names.update(store.directories(path for path, item in level.items() if item.prune))
        level = {child: item for path, item in level.items() for child in children.get(path, ())}
    return [_change(item, values, grants, names) for item in wanted]


def apply(store: XenStore, wanted: t.Sequence[Nodes]) -> None:
    """Bring the nodes into the requested state, in one transaction; nodes that are in it already are not written."""
    store.transaction(lambda inside: apply_inside(inside, wanted))


def apply_inside(store: XenStore, wanted: t.Sequence[Nodes]) -> None:
    """As `apply`, for use inside a transaction."""
    changes = compare(store, wanted)
    for change in changes:
        for path in change.removals:
            store.rm(path)
    # A new node inherits the permissions of the one above it: once the top has the right ones, most nodes need no further change.
    granting = [change for change in changes if change.wanted.permissions]
    tops = {change.wanted.path: change.wanted.permissions for change in granting if change.wanted.path in change.made}
    store.mkdir_many(tops)
    store.set_perms_many(tops)
    writes = {path: value for change in changes for path, value in change.writes.items()}
    store.mkdir_many(path for path, value in writes.items() if value is None)
    store.write_many({path: value for path, value in writes.items() if value is not None})
    inherited = store.get_perms_many(path for change in granting for path in change.made)
    for change in granting:
        made = [path for path in change.made if not same_permissions(inherited[path], change.wanted.permissions)]
        store.set_perms_many(dict.fromkeys([*change.regrants, *made], change.wanted.permissions))


def plan_nodes(
    store: XenStore, wanted: t.Sequence[Nodes], guard: t.Callable[[XenStore, Plan, t.Sequence[Change]], None] | None = None
) -> Plan:
    """Return the plan that brings the nodes into the requested state, in one transaction.

    :param guard: adds to the plan what blocks the changes.
    :raises InvalidInput: nodes cannot be stored, or contradict each other.
    """
    _refuse_overlaps(wanted)
    for item in wanted:
        item.check(store)

    def commit() -> None:
        apply(store, wanted)

    changes = compare(store, wanted)
    actions = []
    for change in filter(None, changes):
        before, after = change.diff(store)
        actions.append(Action(change.describe(), commit, change.wanted.path, before, after))
    plan = Plan()
    if guard:
        guard(store, plan, changes)
    plan.add_together(commit, actions)
    plan.results["nodes"] = [{"path": change.wanted.path, "changed": bool(change)} for change in changes]
    return plan


def same_permissions(first: t.Sequence[Permission] | None, second: t.Sequence[Permission]) -> bool:
    """Whether two lists mean the same: only the first one, the owner, has to stay in its place."""
    return first is not None and tuple(first[:1]) == tuple(second[:1]) and set(first[1:]) == set(second[1:])


def below(top: str, values: t.Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """Return `values`, whose paths are relative to `top`, as `Nodes` needs them: by absolute paths, with the nodes in between."""
    found: dict[str, bytes | None] = {top: None}
    for name, value in values.items():
        node = top
        for part in name.split("/"):
            node = join(node, part)
            found.setdefault(node, None)
        found[node] = value
    return found


def _change(
    item: Nodes, values: t.Mapping[str, bytes | None], grants: t.Mapping[str, Permissions], names: t.Mapping[str, list[str]]
) -> Change:
    there = {path: value for path in (item.values or [item.path]) for value in [values.get(path)] if value is not None}
    change = Change(item, there, {path: grants[path] for path in there if path in grants})
    if not item.values:
        change.removals = list(there)
        return change
    # Writing a node creates those above it.
    implied = {path.rpartition("/")[0] for path in item.values}
    for path, value in item.values.items():
        if path not in there:
            if value is not None or path not in implied:
                change.writes[path] = value
        elif value is not None and there[path] != value:
            change.writes[path] = value
    if item.permissions:
        change.regrants = [path for path in there if not same_permissions(grants.get(path), item.permissions)]
    if item.prune:
        change.removals = [join(path, name) for path in there for name in names[path] if join(path, name) not in item.values]
    return change


def _children(wanted: t.Sequence[Nodes]) -> dict[str, list[str]]:
    children: dict[str, list[str]] = {}
    for item in wanted:
        for path in item.values:
            if path != item.path:
                children.setdefault(path.rpartition("/")[0] or "/", []).append(path)
    return children


def _refuse_overlaps(wanted: t.Sequence[Nodes]) -> None:
    seen: set[str] = set()
    for item in wanted:
        for path in item.values or [item.path]:
            if path in seen:
                raise InvalidInput(f"The node {path} is listed twice", "a task names each node once", "Remove one of them")
            seen.add(path)
    for item in wanted:
        if item.prune or not item.values:
            inner = next(
                (path for path in sorted(seen) if path.startswith(join(item.path, "")) and path not in (item.path, *item.values)), None
            )
            if inner is not None:
                fate = "other nodes are pruned" if item.prune else "nothing remains"
                raise InvalidInput(
                    f"The node {inner} is below {item.path}, of which {fate}",
                    remedy=f"Put it into the tree of {item.path}, or into another task",
                )


def _line(path: str, value: bytes, permissions: Permissions | None) -> str:
    shown = json.dumps(value.decode("utf-8", "backslashreplace"), ensure_ascii=False)
    granted = f"  ({' '.join(map(str, permissions))})" if permissions else ""
    return f"{path} = {shown}{granted}\n"
