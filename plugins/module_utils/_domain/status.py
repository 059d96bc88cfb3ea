# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What XenStore says about a running domain: its vifs, and whether it serves."""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass

from .._errors import DriverDomainsError

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore
    from .definition import Definition

#: Where hotplug scripts say what went wrong. In a driver domain that is the only place: xl devd leaves nothing of it in XenStore.
HOTPLUG_LOG = "/var/log/xen/xen-hotplug.log"

#: xenbus_state of a device that works (xen/include/public/io/xenbus.h).
CONNECTED = "4"


@dataclass(frozen=True)
class Vif:
    """A virtual network interface as frontend and backend see it."""

    devid: int
    mac: str
    backend: str
    backend_id: int
    bridge: str
    frontend_state: str
    backend_state: str
    hotplug_status: str
    hotplug_error: str
    backend_path: str

    @property
    def connected(self) -> bool:
        """Whether packets can flow: both drivers connected and the hotplug script done."""
        return self.frontend_state == self.backend_state == CONNECTED and self.hotplug_status == "connected"

    def as_dict(self) -> dict[str, t.Any]:
        """Return value form."""
        return {**asdict(self), "connected": self.connected}


def vif_status(store: XenStore, domid: int) -> list[Vif]:
    """Return the vifs of a domain in the order of their device numbers."""
    home = f"/local/domain/{domid}/device/vif"
    devids = sorted((name for name in store.directory(home) if name.isdecimal()), key=int)
    if not devids:
        return []
    frontend_keys = ("backend", "mac", "state")
    fronts = store.read_texts(f"{home}/{devid}/{key}" for devid in devids for key in frontend_keys)
    # These keys are the domain's own, which may write anything there: only what is its backend is followed.
    paths = {
        devid: path
        for devid in devids
        for path in [fronts[f"{home}/{devid}/backend"] or ""]
        if re.fullmatch(rf"/local/domain/[0-9]+/backend/vif/{domid}/{devid}", path)
    }
    backend_keys = ("state", "hotplug-status", "hotplug-error", "bridge")
    backs = store.read_texts(f"{path}/{key}" for path in paths.values() for key in backend_keys)
    names = store.domains()

    def vif(devid: str) -> Vif:
        backend_path = paths.get(devid, "")
        backend_id = int(backend_path.split("/")[3]) if backend_path else 0

        def back(key: str) -> str:
            return backs.get(f"{backend_path}/{key}") or ""

        return Vif(
            devid=int(devid),
            mac=fronts[f"{home}/{devid}/mac"] or "",
            backend=names.get(backend_id, ""),
            backend_id=backend_id,
            bridge=back("bridge"),
            frontend_state=fronts[f"{home}/{devid}/state"] or "",
            backend_state=back("state"),
            hotplug_status=back("hotplug-status"),
            hotplug_error=back("hotplug-error"),
            backend_path=backend_path,
        )

    return [vif(devid) for devid in devids]


def vif_trouble(store: XenStore, name: str, domid: int, expected: int) -> str:
    """Tell what a domain's vifs still lack, or "" when all are connected.

    :raises DriverDomainsError: a hotplug script reported an error: waiting is of no use; its text is in the error.
    """
    return lacking(name, vif_status(store, domid), expected)


def lacking(name: str, vifs: t.Sequence[Vif], expected: int) -> str:
    """Tell what these vifs of a domain lack to be connected, or "".

    :raises DriverDomainsError: a hotplug script reported an error.
    """
    for vif in vifs:
        if vif.hotplug_status == "error" or vif.hotplug_error:
            raise DriverDomainsError(
                f"The hotplug script of vif {vif.devid} of domain {name} failed in its backend domain {vif.backend or vif.backend_id}: "
                f"{vif.hotplug_error or 'it gave no reason'}",
                rule="the script runs in the backend domain and needs the bridge there",
                remedy=f"See {HOTPLUG_LOG} in {vif.backend or vif.backend_id}; correct bridge, then restart {name}",
                vif=vif.as_dict(),
            )
    if len(vifs) < expected:
        return f"{len(vifs)} of its {expected} vifs are there"
    waiting = [vif for vif in vifs if not vif.connected]
    return "; ".join(
        f"vif {vif.devid} at {vif.backend or vif.backend_id}: frontend state {vif.frontend_state or 'none'}, "
        f"backend state {vif.backend_state or 'none'}, hotplug {vif.hotplug_status or 'not done'}"
        for vif in waiting
    )


def is_ready(store: XenStore, domain: Definition, home: str) -> str:
    """Tell what a domain's readiness key still lacks, or "" when it has its value (or the domain has no such key).

    :raises DriverDomainsError: the domain itself says that it failed.
    """
    if domain.ready is None:
        return ""
    status = store.read_text(f"{home}/{domain.ready.key}") or ""
    if status == domain.ready.value:
        return ""
    if status == "error":
        reason = (domain.ready.error_key and store.read_text(f"{home}/{domain.ready.error_key}")) or "it gave no reason"
        raise DriverDomainsError(f"Domain {domain.name} reports: {reason}", remedy=f"Look at its console: xl console {domain.name}")
    return f"its key {domain.ready.key} is {status!r}, not {domain.ready.value!r}"
