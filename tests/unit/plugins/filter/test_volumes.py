# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volume groups of the inventory, for the module."""

from __future__ import annotations

from ansible_collections.xen.driver_domains.plugins.filter.volumes import FilterModule

domain_volumes = FilterModule().filters()["domain_volumes"]
GROUPS = [{"name": "vg0", "disks": ["xvdb"], "volumes": []}]


def test_domains_that_should_run_and_have_volume_groups() -> None:
    domains = [
        {"name": "storage-dd", "memory": 256, "volume_groups": GROUPS},
        {"name": "net-dd"},
        {"name": "off-dd", "state": "stopped", "volume_groups": GROUPS},
    ]
    assert domain_volumes(domains) == [{"name": "storage-dd", "volume_groups": GROUPS}]
    assert domain_volumes(domains, "absent") == []
