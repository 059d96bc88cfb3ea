# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever happens to a host, in whatever order: in the end every device works, and there is one of each."""

from __future__ import annotations

import tempfile
import typing as t
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.tests.unit.fakes.recovery import FakeSite

#: Seconds in which everything that is due is done: dying domains and delays after failures are waited for.
LONG = 120.0
CLIENTS = ("web1", "web2")
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("destroy", "destroy", "boot", "ready", "ready", "not ready"),
                *("reboot web1", "destroy web2", "start web2", "pause web1", "unpause web1"),
                *("attach fails", "detach fails", "all works", "restart service", "hotplug fails", "hotplug works", "dying", "dead"),
            ]
        ),
        st.sampled_from([0.0, 0.5, 2.0, 7.0, 60.0]),
    ),
    max_size=14,
)


class World:
    """A host, the service on it, and events."""

    def __init__(self, site: FakeSite) -> None:
        self.site = site
        site.add("net-dd", ready="ready")
        for name in CLIENTS:
            self.start(name)
        self.service = site.service()
        site.settle(self.service)

    def start(self, name: str) -> None:
        """Start a guest from its definition, which names a backend that runs; else xl does not start it."""
        if "net-dd" in self.site.names.values():
            client = self.site.add(name)
            mac = f"00:16:3e:00:00:0{CLIENTS.index(name)}"
            self.site.plug(client, "vif", f"mac={mac},bridge=xenbr0,backend=net-dd,devid=0")
            self.site.plug(client, "vbd", "format=raw,vdev=xvda,access=rw,backend=net-dd,target=/dev/d")

    def domid(self, name: str) -> int | None:
        return self.site.domid(name) if name in self.site.names.values() else None

    def happen(self, event: str) -> None:
        site, driver = self.site, self.domid("net-dd")
        word, _space, name = event.partition(" ")
        client = self.domid(name) if name in CLIENTS else None
        if event == "destroy" and driver is not None:
            site.destroy(driver)
        elif event == "boot" and driver is None:
            site.add("net-dd", ready="starting")
        elif event in ("ready", "not ready") and driver is not None:
            site.report(driver, "ready" if event == "ready" else "error")
        elif word in ("reboot", "destroy", "pause", "unpause") and client is not None:
            if word in ("reboot", "destroy"):
                site.destroy(client)
                site.flags.pop(client, None)
            elif word == "pause":
                site.flags[client] = "p"
            else:
                site.flags.pop(client, None)
            if word == "reboot":
                # libxl makes it again from what it kept, and that without what is detached.
                site.add(name)
        elif word == "start" and client is None:
            self.start(name)
        elif word in ("attach", "detach"):
            site.failing[f"network-{word}"] = "no"
        elif event == "all works":
            site.failing.clear()
        elif event == "restart service":
            turn = self.service._turn
            self.service = site.service()
            self.service._turn = turn
        elif word == "hotplug":
            site.hotplug = "connected" if name == "works" else "error"
        elif event == "dying":
            site.flags[site._last_domid if driver is None else driver] = "d"
        elif event == "dead":
            site.flags = {domid: letters for domid, letters in site.flags.items() if letters != "d"}

    def heal(self) -> None:
        """Let all that is outside of the service work, and give it time; an operator says to go on."""
        site = self.site
        site.failing.clear()
        site.flags.clear()
        site.hotplug = "connected"
        site.store.set("/tool/xen-driver-domains/recovery/resumed", f"{site.now}")
        for _minute in range(12):
            site.settle(self.service, LONG)
            driver = self.domid("net-dd")
            if driver is not None:
                site.report(driver, "ready")
        # What a guest had that rebooted while its device was there is not the service's: it was made without it.
        site.settle(self.service)


@given(EVENTS)
@settings(max_examples=30, deadline=None)
def test_in_the_end_everything_works(events: t.Sequence[tuple[str, float]]) -> None:
    with tempfile.TemporaryDirectory() as directory, FakeSite(Path(directory)) as site:
        world = World(site)
        for event, seconds in events:
            world.happen(event)
            site.settle(world.service, seconds)
        world.heal()
        driver = world.domid("net-dd")
        assert driver is not None, "the driver domain was not brought back"
        for path, value in site.store.tree.items():
            if path.startswith("/libxl/") and path.endswith("/backend"):
                assert value.startswith(f"/local/domain/{driver}/"), f"{path} is at {value}"
        assert site.status["waiting"] == [] and site.status["given_up"] == [] and site.status["gone"] == []
        assert all(client["connected"] for client in site.status["clients"])
        # Nothing more to do, and nothing left behind.
        site.verbs()
        assert site.settle(world.service, LONG) is None
        assert site.calls == []
        known = {value for path, value in site.store.tree.items() if path.startswith("/libxl/") and path.endswith("/backend")}
        states = {
            path.rpartition("/")[0]
            for path in site.store.tree
            if path.startswith(f"/local/domain/{driver}/backend/") and path.endswith("/state")
        }
        assert states == known
