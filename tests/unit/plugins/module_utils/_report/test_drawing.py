# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drawing of a host."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._report.drawing import HEIGHT, Drawing, draw
from ansible_collections.xen.driver_domains.plugins.module_utils._report.fleet import DISK, VIF, FleetHost, read_fleet
from ansible_collections.xen.driver_domains.tests.unit.fakes import fleet


def read(*domains: object) -> FleetHost:
    (host,), _kinds = read_fleet({"xen1": fleet.host(*domains)})
    return host


def sides(drawing: Drawing | None) -> tuple[list[str], list[str]]:
    assert drawing
    left, right = ([box.domain.name for box in drawing.boxes if box.left is side] for side in (True, False))
    return left, right


def test_what_serves_is_on_the_left() -> None:
    (host,), _kinds = read_fleet({"xen1": fleet.serving_host(guests=2)})
    drawing = draw(host)
    assert sides(drawing) == (["Domain-0", "net-dd", "store-dd"], ["web1", "web2"])
    assert drawing
    assert [(edge.kind, edge.inside) for edge in drawing.edges].count((DISK, True)) == 1
    assert drawing.has_arcs
    assert len(drawing.edges) == 5


def test_dom0_is_left_out_where_it_serves_nobody() -> None:
    vif = fleet.device("vif", 0, "net-dd", 1)
    assert sides(draw(read(fleet.domain("net-dd", 1), fleet.domain("web1", 2, vif)))) == (["net-dd"], ["web1"])


def test_dom0_can_be_a_client() -> None:
    vif = fleet.device("vif", 0, "net-dd", 1)
    (host,), _kinds = read_fleet({"xen1": {"info": fleet.INFO, "domains": {"domains": [fleet.domain("Domain-0", 0, vif)]}}})
    assert sides(draw(host)) == (["net-dd"], ["Domain-0"])


def test_nobody_serves_anybody() -> None:
    assert draw(read(fleet.domain("web1", 1))) is None


def test_devices_of_one_kind_are_one_line_that_is_broken_if_one_of_them_is() -> None:
    vifs = [fleet.device("vif", devid, "net-dd", 1, connected=devid != 1) for devid in range(3)]
    drawing = draw(read(fleet.domain("net-dd", 1), fleet.domain("web1", 2, *vifs, fleet.device("vbd", 1, "net-dd", 1))))
    assert drawing
    assert sorted((edge.kind, edge.works) for edge in drawing.edges) == [(DISK, True), (VIF, False)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["vif", "vbd"])), max_size=4), min_size=1, max_size=10))
def test_domains_do_not_overlap_and_lines_end_at_them(served: list[list[tuple[int, str]]]) -> None:
    """Whoever serves whom, also in a circle, also itself."""
    domains = [
        fleet.domain(
            f"d{number}", number + 1, *(fleet.device(kind, place, f"d{backend}", 1) for place, (backend, kind) in enumerate(links))
        )
        for number, links in enumerate(served)
    ]
    (host,), _kinds = read_fleet({"xen1": {"info": fleet.INFO, "domains": {"domains": [{**domains[0], "domid": 0}, *domains[1:]]}}})
    drawing = draw(host)
    assert (drawing is not None) == any(served)
    if drawing is None:
        return
    tops = {box.index: box.top for box in drawing.boxes}
    for one, other in itertools.combinations(drawing.boxes, 2):
        assert one.left != other.left or abs(one.top - other.top) > HEIGHT
    assert {box.top + HEIGHT <= drawing.height for box in drawing.boxes} == {True}
    left = {box.index for box in drawing.boxes if box.left}
    for edge in drawing.edges:
        assert edge.backend in left
        assert edge.inside == (edge.client in left)
        assert tops[edge.backend] <= edge.start <= tops[edge.backend] + HEIGHT
        assert tops[edge.client] <= edge.end <= tops[edge.client] + HEIGHT
