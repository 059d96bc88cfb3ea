# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Where the domains of a host and the lines between them are in its drawing: what serves on the left, guests on the right.

Heights are pixels. Widths are for the page to decide: a line is drawn in a field that is 100 wide, whatever that is on the screen.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .fleet import DOM0, DRIVER, natural

if t.TYPE_CHECKING:
    from .fleet import FleetDomain, FleetHost

#: Pixels from one domain to the next, and of a domain itself.
STEP, HEIGHT = 42, 32
#: How far lines that end at one domain are apart, at most.
_APART = 8.0
#: The places of a backend and of its client, and the kind of device.
_Group = tuple[int, int, str]


@dataclass(frozen=True)
class Box:
    """A domain in the drawing."""

    #: Its place in `FleetHost.domains`.
    index: int
    domain: FleetDomain
    left: bool
    top: int


@dataclass(frozen=True)
class Edge:
    """All devices of one kind that one domain has from another one."""

    #: The places of both in `FleetHost.domains`.
    backend: int
    client: int
    kind: str
    works: bool
    #: Whether both are on the left.
    inside: bool
    #: Where it begins and ends.
    start: float
    end: float

    @property
    def path(self) -> str:
        """The line as SVG has it, from the left to the right, or as an arc that is open to the right."""
        (a, b), far = (f"{self.start:g}", f"{self.end:g}"), 100
        return f"M{far} {a}C0 {a} 0 {b} {far} {b}" if self.inside else f"M0 {a}C50 {a} 50 {b} {far} {b}"

    @property
    def middle(self) -> float:
        """How far down its middle is."""
        return (self.start + self.end) / 2


@dataclass(frozen=True)
class Drawing:
    """The drawing of a host."""

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    height: int

    @property
    def has_arcs(self) -> bool:
        """Whether it needs room for lines on the left."""
        return any(edge.inside for edge in self.edges)


def draw(host: FleetHost) -> Drawing | None:
    """Return the drawing of a host; None where nobody serves anybody."""
    places = {domain.name: index for index, domain in enumerate(host.domains)}
    groups: dict[tuple[int, int, str], bool] = {}
    for link in host.links:
        if link.backend in places:
            key = (places[link.backend], places[link.client], link.kind)
            groups[key] = groups.get(key, True) and link.works
    if not groups:
        return None
    servers, clients = ({key[place] for key in groups} for place in (0, 1))
    shown = [i for i, domain in enumerate(host.domains) if i in servers | clients or domain.kind != DOM0]
    left = [i for i in shown if i in servers or host.domains[i].kind == DRIVER]
    right = [i for i in shown if i not in left]
    tops = _tops(host, left, right, groups)
    starts, ends = _ends(groups, tops)
    return Drawing(
        boxes=tuple(Box(i, host.domains[i], i in left, tops[i]) for i in sorted(shown, key=lambda i: (i not in left, tops[i]))),
        edges=tuple(
            Edge(key[0], key[1], key[2], works, key[0] in left and key[1] in left, starts[key], ends[key]) for key, works in groups.items()
        ),
        height=max(tops.values()) + HEIGHT,
    )


def _tops(host: FleetHost, left: list[int], right: list[int], groups: t.Collection[tuple[int, int, str]]) -> dict[int, int]:
    """Return how far down each domain is: guests beside each other that have the same backends, backends in the middle of their clients."""
    rank = {index: number for number, index in enumerate(left)}
    backends = {i: [rank[backend] for backend, client, _kind in groups if client == i and backend in rank] for i in right}
    ordered = sorted(
        right, key=lambda i: (sum(backends[i]) / len(backends[i]) if backends[i] else len(left), natural(host.domains[i].name))
    )
    tops = {index: number * STEP for number, index in enumerate(ordered)}
    clients = {i: [tops[client] for backend, client, _kind in groups if backend == i and client in tops] for i in left}
    wanted = {i: sum(clients[i]) / len(clients[i]) if clients[i] else 0.0 for i in left}
    free = 0
    for index in sorted(left, key=lambda i: (wanted[i], rank[i])):
        tops[index] = max(free, round(wanted[index]))
        free = tops[index] + STEP
    return tops


def _ends(groups: t.Collection[_Group], tops: t.Mapping[int, int]) -> tuple[dict[_Group, float], dict[_Group, float]]:
    """Return where lines begin and end: those of one domain beside each other, in the order of their other ends."""
    starts: dict[_Group, float] = {}
    ends: dict[_Group, float] = {}
    for mine, other, result in ((0, 1, starts), (1, 0, ends)):
        pairs = {key: (key[0], key[1]) for key in groups}
        for index in {pair[mine] for pair in pairs.values()}:
            own = [key for key, pair in pairs.items() if pair[mine] == index]
            own.sort(key=lambda key: (tops[pairs[key][other]], key[2]))
            gap = min(_APART, (HEIGHT - 8) / len(own))
            for number, key in enumerate(own):
                result[key] = tops[index] + HEIGHT / 2 + gap * (number - (len(own) - 1) / 2)
    return starts, ends
