# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running domains for tests of what waits for them: a real XenStore protocol, and an `xl` whose domains end as a test says."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Domain
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore
from ansible_collections.xen.driver_domains.tests.unit.fakes.xenstored import FakeXenstored


class RunningDomains:
    """A context manager. `calls` are the commands of xl, with the names of domains; it also stands for xl."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.said: list[str] = []
        self.flags: dict[int, str] = {}
        self.names: dict[int, str] = {}
        #: What domains of these names do when they are asked to shut down; by default they are gone.
        self.reactions: dict[str, t.Callable[[int], None]] = {}
        #: What `xl create` does.
        self.creation: t.Callable[[str], None] = lambda name: None
        self.indestructible: set[str] = set()
        self._last_domid = 0

    def __enter__(self) -> RunningDomains:
        self.server = FakeXenstored({"/local/domain/0/name": "Domain-0", "/libxl": "", "/tool": ""}).__enter__()
        self.names[0] = "Domain-0"
        self.store = XenStore(self.server.path)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.store.close()
        self.server.__exit__(*exc_info)

    def add(self, name: str, *backends: str, flags: str = "b", kind: str = "vif") -> int:
        """Let a domain run, with a device from each of the backends."""
        self._last_domid += 1
        domid = self._last_domid
        self.names[domid], self.flags[domid] = name, flags
        self.server.set(f"/local/domain/{domid}/name", name)
        for devid, backend in enumerate(backends):
            self.serve(domid, self.domid(backend), kind, devid)
        self.server.fire("@introduceDomain")
        return domid

    def serve(self, client: int, backend: int, kind: str = "vif", devid: int = 0) -> None:
        """Let a domain have a connected device."""
        back, front = f"/local/domain/{backend}/backend/{kind}/{client}/{devid}", f"/local/domain/{client}/device/{kind}/{devid}"
        self.server.set(f"/libxl/{client}/device/{kind}/{devid}/backend", back)
        for path in (back, front):
            self.server.set(f"{path}/state", "4")
        self.server.set(f"{back}/hotplug-status", "connected")

    def domid(self, name: str) -> int:
        """Return the newest domain of a name."""
        return max(domid for domid, other in self.names.items() if other == name)

    def end(self, *domids: int) -> None:
        """Let domains be gone. Their backends are rid of their devices."""
        for domid in domids:
            del self.names[domid], self.flags[domid]
            gone = [path for path in self.server.tree if re.search(rf"/backend/[a-z0-9]+/{domid}(/|$)", path)]
            for path in [*sorted(gone, reverse=True), f"/libxl/{domid}", f"/local/domain/{domid}"]:
                if path in self.server.tree:
                    self.server.remove(path)
            self.server.fire("@releaseDomain")

    def leave(self, domid: int) -> None:
        """Let a domain shut down, and stay."""
        self.flags[domid] = "s"
        self.server.fire("@releaseDomain")

    # What is called as xl

    def list(self) -> list[Domain]:
        return [Domain(name, domid, 1, 1, self.flags.get(domid, "r")) for domid, name in self.names.items()]

    def create(self, definition: str, timeout: float, uuid: str = "") -> None:
        name = Path(definition).stem
        self.calls.append(f"create {name}")
        self.creation(name)

    def shutdown(self, domain: str) -> None:
        domid = int(domain)
        name = self.names[domid]
        self.calls.append(f"shutdown {name}")
        self.reactions.get(name, self.end)(domid)

    def unpause(self, domain: str) -> None:
        self.calls.append(f"unpause {self.names[int(domain)]}")

    def destroy(self, domain: str) -> None:
        name = self.names[int(domain)]
        self.calls.append(f"destroy {name}")
        if name in self.indestructible:
            raise CommandFailed(f"{name} stays")
        self.end(int(domain))


def times_out(_name: str) -> None:
    """An `xl create` that does not end."""
    raise TimedOut("'xl create' did not end")
