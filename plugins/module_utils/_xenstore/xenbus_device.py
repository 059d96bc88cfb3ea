# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Split devices as the user requests them, and the XenStore nodes that they consist of."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._errors import InvalidInput
from .client import Permission, XenStore
from .nodes import Nodes, below
from .paths import join

#: enum xenbus_state (xen/include/public/io/xenbus.h).
STATES = ("unknown", "initialising", "init_wait", "initialised", "connected", "closing", "closed", "reconfiguring", "reconfigured")
#: Keys that belong to the drivers and to this collection, not to the user.
OWN_KEYS = frozenset(("backend", "backend-id", "frontend", "frontend-id", "online", "state"))


@dataclass(frozen=True)
class XenbusDevice:
    """A split device as the user requests it. The id of a domain that does not run is None."""

    kind: str
    devid: int
    frontend: str
    backend: str
    frontend_id: int | None
    backend_id: int | None
    frontend_keys: t.Mapping[str, str] = field(default_factory=dict)
    backend_keys: t.Mapping[str, str] = field(default_factory=dict)
    #: One of STATES, or "none".
    wait_for: str = "connected"
    present: bool = True

    def __str__(self) -> str:
        return f"{self.kind} {self.devid} of {self.frontend} at {self.backend}"

    @property
    def front(self) -> str:
        """The directory of the frontend."""
        return f"/local/domain/{self.frontend_id}/device/{self.kind}/{self.devid}"

    @property
    def back(self) -> str:
        """The directory of the backend."""
        return f"/local/domain/{self.backend_id}/backend/{self.kind}/{self.frontend_id}/{self.devid}"

    @property
    def sides(self) -> list[str]:
        """The directories of the sides whose domains run."""
        return [path for path, known in ((self.front, self._frontend_runs), (self.back, self._backend_runs)) if known]

    @property
    def _frontend_runs(self) -> bool:
        return self.frontend_id is not None

    @property
    def _backend_runs(self) -> bool:
        return self.frontend_id is not None and self.backend_id is not None

    def nodes(self, state: str | None) -> tuple[Nodes, Nodes]:
        """Return both sides as nodes, in the xenbus state `state`, or with `state` None in any state.

        Each side belongs to its domain, the other domain may read it, and nobody else may do anything.
        """
        frontend_id, backend_id = self.frontend_id or 0, self.backend_id or 0
        front = {"backend": self.back, "backend-id": str(backend_id), **self.frontend_keys}
        back = {"frontend": self.front, "frontend-id": str(frontend_id), "online": "1", **self.backend_keys}

        def side(path: str, values: t.Mapping[str, str], owner: int, peer: int) -> Nodes:
            wanted = below(path, {key: value.encode() for key, value in values.items()})
            # Last, as the drivers act on it.
            wanted[join(path, "state")] = None if state is None else state.encode()
            return Nodes(path, wanted, (Permission("n", owner), Permission("r", peer)))

        return side(self.front, front, frontend_id, backend_id), side(self.back, back, backend_id, frontend_id)


def devices_from(store: XenStore, parameters: t.Sequence[dict[str, t.Any]]) -> list[XenbusDevice]:
    """Return the devices of the module's option `devices`, with the ids of their domains."""
    domids = store.domids_of({item[end] for item in parameters for end in ("frontend", "backend")})
    return [
        XenbusDevice(
            kind=item["type"],
            devid=item["devid"],
            frontend=item["frontend"],
            backend=item["backend"],
            frontend_id=domids[item["frontend"]],
            backend_id=domids[item["backend"]],
            frontend_keys=_keys(item["frontend_keys"]),
            backend_keys=_keys(item["backend_keys"]),
            wait_for=item["wait_for"],
            present=item["state"] == "present",
        )
        for item in parameters
    ]


def _keys(keys: t.Mapping[str, t.Any] | None) -> dict[str, str]:
    for key, value in (keys or {}).items():
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise InvalidInput(f"The value of the key {key} is {value!r}", "A value is text or a whole number", "Put it in quotes")
    return {str(key): str(value) for key, value in (keys or {}).items()}
