# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a driver domain says about its volumes is data."""

from __future__ import annotations

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._storage.report import Report, read_report
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore

from ....fakes.xenstored import FakeXenstored

TOP = "/local/domain/3/data/driver-domain"


def read(tree: dict[str, str]) -> Report | None:
    with FakeXenstored({f"{TOP}/{path}": value for path, value in tree.items()}) as fake, XenStore(fake.path) as store:
        found = read_report(store, 3)
        assert fake.writes == []
        return found


def test_groups_and_volumes() -> None:
    tree = {
        "groups": "2",
        "groups/0": "vg0 4194304",
        "groups/1": "vg1 65536",
        "volumes": "2",
        "volumes/0": "vg0 root 8388608",
        "volumes/1": "vg1 root 131072",
        # Of an earlier, longer report.
        "volumes/2": "vg1 gone 131072",
    }
    assert read(tree) == Report({"vg0": 4194304, "vg1": 65536}, {("vg0", "root"): 8388608, ("vg1", "root"): 131072})


@pytest.mark.parametrize("tree", [{}, {"status": "ready"}, {"groups": "1"}])
def test_a_domain_that_reports_none(tree: dict[str, str]) -> None:
    assert read(tree) is None


@pytest.mark.parametrize(
    "line", ["vg0", "vg0 a", "vg0 a 0", "vg0 a -1", "vg0 a 1 2", "other a 4096", "vg0 \x1b[31m 4096", "vg0 a/b 4096", "vg0 a ٣", ""]
)
def test_nonsense_is_left_out(line: str) -> None:
    tree = {"groups": "1", "groups/0": "vg0 4096", "volumes": "1", "volumes/0": line}
    assert read(tree) == Report({"vg0": 4096}, {})


@pytest.mark.parametrize("count", ["", "many", "-1", "99999999999"])
def test_a_count_that_is_none(count: str) -> None:
    assert read({"groups": count, "groups/0": "vg0 4096", "volumes": "0"}) == Report({}, {})
