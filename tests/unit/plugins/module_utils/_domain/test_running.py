# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The running domains of a host as return values."""

from __future__ import annotations

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.running import describe
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Domain
from ansible_collections.xen.driver_domains.tests.unit.fakes.running import RunningDomains


def test_what_domains_are_own_use_and_report() -> None:
    with RunningDomains() as site:
        driver = site.add("net-dd")
        guest = site.add("web1", "net-dd")
        site.serve(guest, 0, "vbd", 51712)
        site.server.set(f"/libxl/{guest}/device/vbd/51712/dev", "xvda")
        pci = f"/local/domain/0/backend/pci/{driver}/0"
        for key, value in {"num_devs": "2", "dev-1": "0000:03:00.1", "dev-0": "0000:03:00.0", "state-0": "4", "dev-x": "no"}.items():
            site.server.set(f"{pci}/{key}", value)
        home = f"/local/domain/{driver}/data/driver-domain"
        site.server.set(f"{home}/status", "error")
        site.server.set(f"{home}/error", "no\nfirmware")
        domains = [Domain("net-dd", driver, 256, 1, "b"), Domain("web1", guest, 512, 2, "c")]
        one, other = describe(site.store, domains)
        assert (one["pci"], one["status"], one["reason"]) == (["0000:03:00.0", "0000:03:00.1"], "error", "no\\nfirmware")
        assert (one["vifs"], one["vbds"]) == ([], [])
        assert (other["name"], other["domid"], other["memory"], other["vcpus"], other["alive"]) == ("web1", guest, 512, 2, False)
        assert (other["pci"], other["status"], other["reason"]) == ([], "", "")
        assert [(vif["devid"], vif["backend"]) for vif in other["vifs"]] == [(0, "net-dd")]
        assert [(disk["vdev"], disk["backend"], disk["connected"]) for disk in other["vbds"]] == [("xvda", "Domain-0", True)]


def test_no_domains() -> None:
    with RunningDomains() as site:
        assert describe(site.store, []) == []
