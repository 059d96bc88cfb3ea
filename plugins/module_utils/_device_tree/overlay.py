# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Applies an overlay to a device tree, as U-Boot's `fdt apply` does, to know the nodes that only the overlay brings.

Source: libfdt's fdt_overlay.c, and Documentation/devicetree/overlay-notes.rst of Linux.
"""

from __future__ import annotations

from .._errors import InvalidInput
from .tree import Node

_PHANDLES = ("phandle", "linux,phandle")


def apply_overlay(base: Node, overlay: Node, name: str) -> None:
    """Change `base`; `overlay` is used up.

    :raises InvalidInput: it refers to a node that the tree does not have.
    """
    by_phandle = {node.phandle: node for node in base.subtree() if node.phandle}
    offset = max(by_phandle, default=0)
    for node in overlay.subtree():
        for key in _PHANDLES:
            if key in node.properties:
                node.set_cells(key, node.number(key) + offset & 0xFFFFFFFF)
    local = overlay.child("__local_fixups__")
    if local is not None:
        _shift(local, overlay, offset)
    _resolve(base, overlay, name)
    targets: dict[str, Node] = {}
    for fragment in overlay.children:
        content = fragment.child("__overlay__")
        if content is not None:
            path = fragment.text("target-path")
            target = _find(base, path) if path else by_phandle.get(fragment.number("target"))
            if target is None:
                raise InvalidInput(f"The overlay {name} does not apply: {fragment.path} has no target in the tree")
            targets[f"{fragment.path}/__overlay__"] = target
            _merge(content, target)
    _symbols(base, overlay, targets)


def _shift(fixups: Node, node: Node, offset: int) -> None:
    """Add to the overlay's references to itself what was added to its phandles."""
    for name in fixups.properties:
        for at in fixups.cells(name):
            _write(node, name, at, node.cells(name)[at // 4] + offset if at // 4 < len(node.cells(name)) else 0)
    for child in fixups.children:
        below = node.child(child.name)
        if below is not None:
            _shift(child, below, offset)


def _resolve(base: Node, overlay: Node, name: str) -> None:
    """Fill in the phandles of the tree's nodes, which the overlay names by their labels."""
    fixups, symbols = overlay.child("__fixups__"), base.child("__symbols__")
    for label in fixups.properties if fixups else ():
        target = _find(base, symbols.text(label)) if symbols and label in symbols.properties else None
        if target is None or not target.phandle:
            raise InvalidInput(
                f"The overlay {name} does not apply: the tree has no label {label!r}",
                rule="a tree to which overlays are applied has its labels in /__symbols__",
                remedy="Compile the tree with dtc's option -@",
            )
        for place in fixups.strings(label) if fixups else ():
            path, _colon, rest = place.partition(":")
            key, _colon, at = rest.partition(":")
            node = _find(overlay, path)
            if node is not None and at.isdigit():
                _write(node, key, int(at), target.phandle)


def _write(node: Node, name: str, at: int, number: int) -> None:
    data = node.properties.get(name, b"")
    if at + 4 <= len(data):
        node.properties[name] = data[:at] + (number & 0xFFFFFFFF).to_bytes(4, "big") + data[at + 4 :]


def _merge(content: Node, target: Node) -> None:
    target.properties.update(content.properties)
    for child in content.children:
        _merge(child, target.child(child.name) or Node(child.name, target))


def _symbols(base: Node, overlay: Node, targets: dict[str, Node]) -> None:
    """Let a later overlay name the nodes that this one brought."""
    added, symbols = overlay.child("__symbols__"), base.child("__symbols__")
    for label in added.properties if added and symbols else ():
        path = added.text(label) if added else ""
        for start, target in targets.items():
            if path.startswith(start) and symbols is not None:
                symbols.set_strings(label, (target.path.rstrip("/") + path[len(start) :]) or "/")


def _find(root: Node, path: str) -> Node | None:
    """Find a node as fdt_path_offset does: the path can begin with an alias, and names need no unit address."""
    alias, slash, below = path.partition("/")
    aliases = root.child("aliases")
    if alias and aliases is not None and alias in aliases.properties:
        path = aliases.text(alias) + slash + below
    elif alias:
        return None
    node: Node | None = root
    for name in filter(None, path.split("/")):
        if node is not None:
            short = (child for child in node.children if child.name.partition("@")[0] == name)
            node = node.child(name) or next(short, None)
    return node
