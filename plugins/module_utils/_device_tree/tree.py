# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""A device tree in memory: its nodes, their properties, and ways to find a node."""

from __future__ import annotations

import difflib
import functools
import struct
import typing as t

from .._errors import InvalidInput
from .._spans import Span

#: What a node without such a property has according to the Devicetree Specification (2.3.5); they are not inherited.
_DEFAULT_CELLS = {"#address-cells": 2, "#size-cells": 1}

_Found = t.TypeVar("_Found")


class Node:
    """A node: its name, its properties as bytes, and its children in the order of the file."""

    def __init__(self, name: str, parent: Node | None = None) -> None:
        self.name = name
        self.parent = parent
        self.properties: dict[str, bytes] = {}
        self.children: list[Node] = []
        if parent is not None:
            parent.children.append(self)

    def __repr__(self) -> str:
        return f"<Node {self.path}>"

    @property
    def path(self) -> str:
        """The full path; / for the root."""
        names: list[str] = []
        node: Node = self
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        return "/" + "/".join(reversed(names))

    def child(self, name: str) -> Node | None:
        """Return the child with this name, or None."""
        return next((child for child in self.children if child.name == name), None)

    def ancestors(self) -> t.Iterator[Node]:
        """Yield the parent, its parent, and so on to the root."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def subtree(self) -> t.Iterator[Node]:
        """Yield this node and all below it, in the order of the file."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children)

    def cells(self, name: str) -> list[int]:
        """Return a property as 32-bit numbers; an incomplete one at its end is left out."""
        data = self.properties.get(name, b"")
        return list(struct.unpack_from(f">{len(data) // 4}I", data))

    def number(self, name: str, default: int = 0) -> int:
        """Return a property that is one number, of one or two cells; `default` if it is anything else."""
        data = self.properties.get(name)
        return int.from_bytes(data, "big") if data and len(data) in (4, 8) else default

    def strings(self, name: str) -> list[str]:
        """Return a property that is a list of strings."""
        data = self.properties.get(name, b"")
        return [part.decode("utf-8", "replace") for part in data.rstrip(b"\0").split(b"\0")] if data.rstrip(b"\0") else []

    def text(self, name: str) -> str:
        """Return a property that is one string; "" if there is none."""
        return self.properties[name].partition(b"\0")[0].decode("utf-8", "replace") if name in self.properties else ""

    @property
    def compatible(self) -> list[str]:
        """What the device is, the most specific name first."""
        return self.strings("compatible")

    @property
    def phandle(self) -> int:
        """The number by which others refer to it, or 0."""
        return self.number("phandle") or self.number("linux,phandle")

    @property
    def address_cells(self) -> int:
        """Cells of an address in the `reg` of its children."""
        return self.number("#address-cells", _DEFAULT_CELLS["#address-cells"])

    @property
    def size_cells(self) -> int:
        """Cells of a size in the `reg` of its children."""
        return self.number("#size-cells", _DEFAULT_CELLS["#size-cells"])

    @property
    def available(self) -> bool:
        """Whether its own `status` is okay or missing."""
        return self.text("status") in ("", "okay", "ok")

    def set_cells(self, name: str, *cells: int) -> None:
        """Set a property of 32-bit numbers."""
        self.properties[name] = b"".join(cell.to_bytes(4, "big") for cell in cells)

    def set_wide(self, name: str, *numbers: int) -> None:
        """Set a property of 64-bit numbers, two cells each."""
        self.properties[name] = b"".join(number.to_bytes(8, "big") for number in numbers)

    def set_strings(self, name: str, *strings: str) -> None:
        """Set a property that is a list of strings."""
        self.properties[name] = b"".join(text.encode() + b"\0" for text in strings)


def is_enabled(node: Node) -> bool:
    """Whether a node and all above it are okay, so that an operating system uses the device."""
    return node.available and all(above.available for above in node.ancestors())


class DeviceTree:
    """A whole tree with its indices. The nodes must not change after it was made."""

    def __init__(self, root: Node, source: str = "the device tree") -> None:
        self.root = root
        self.source = source
        self.nodes = list(root.subtree())
        # Of two nodes with the same path or phandle, Xen and libfdt find the first one.
        self.by_path: dict[str, Node] = {}
        self.by_phandle: dict[int, Node] = {}
        for node in self.nodes:
            self.by_path.setdefault(node.path, node)
            if node.phandle:
                self.by_phandle.setdefault(node.phandle, node)
        #: Memory that a blob sets aside in a list of its own, apart from the nodes.
        self.set_aside: list[Span] = []
        self.aliases = self._names("aliases")
        self.labels = self._names("__symbols__")
        #: What `once_per_node` remembers, with the node, so that no other one can be at its address.
        self.remembered: dict[tuple[t.Any, int], tuple[Node, t.Any]] = {}

    def _names(self, container: str) -> dict[str, Node]:
        holder = self.root.child(container)
        if holder is None:
            return {}
        targets = {name: self.by_path.get(holder.text(name)) for name in holder.properties}
        return {name: node for name, node in targets.items() if node is not None}

    def names_of(self, node: Node, names: t.Mapping[str, Node]) -> list[str]:
        """Return the aliases, or the labels, of a node."""
        return sorted(name for name, target in names.items() if target is node)

    @property
    def console(self) -> Node | None:
        """The device that `/chosen` names for the firmware's and Xen's console."""
        chosen = self.root.child("chosen")
        target = chosen.text("stdout-path").split(":")[0] if chosen else ""
        name, slash, below = target.partition("/")
        start = self.aliases.get(name)
        return self.by_path.get(start.path + slash + below if start else target)

    def find(self, name: str) -> Node:
        """Return the node with this path, alias, label (optionally after `&`) or compatible, tried in this order.

        :raises InvalidInput: there is none, or several nodes have this compatible.
        """
        if name.startswith("/"):
            found = [self.by_path[name]] if name in self.by_path else []
        else:
            label = name.lstrip("&")
            single = (None if name.startswith("&") else self.aliases.get(name)) or self.labels.get(label)
            found = [single] if single else [node for node in self.nodes if name in node.compatible]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidInput(
                f"{len(found)} nodes of {self.source} are compatible with {name!r}: {', '.join(node.path for node in found)}",
                rule="a name must identify one node",
                remedy="Name the node by its path",
            )
        everything = [*self.by_path, *self.aliases, *self.labels]
        close = difflib.get_close_matches(name.lstrip("&"), everything, n=3, cutoff=0.5)
        unlabelled = "" if self.labels or name.startswith("/") else "; it has no labels (it was compiled without dtc's option -@)"
        raise InvalidInput(
            f"{self.source} has no node {name!r}{unlabelled}",
            rule="a node is named by its path, or by an alias, label or compatible that is unique to it",
            remedy=f"Did you mean {' or '.join(map(repr, close))}?" if close else "",
        )


def join_cells(cells: t.Iterable[int]) -> int:
    """Return the number that 32-bit cells form, the most significant one first."""
    number = 0
    for cell in cells:
        number = number << 32 | cell
    return number


def once_per_node(function: t.Callable[[DeviceTree, Node], _Found]) -> t.Callable[[DeviceTree, Node], _Found]:
    """Remember what a function finds out about a node, since a tree does not change. Its callers must not change the result."""

    @functools.wraps(function)
    def found(tree: DeviceTree, node: Node) -> _Found:
        key = (function, id(node))
        if key not in tree.remembered:
            tree.remembered[key] = (node, function(tree, node))
        result: _Found = tree.remembered[key][1]
        return result

    return found
