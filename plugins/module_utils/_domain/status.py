# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The vifs of a running domain, as XenStore shows them.

Which vifs a domain has, their addresses, bridges and backends are what the toolstack wrote below `/libxl`, where only dom0 writes; libxl
believes nothing else, either (libxl__nic_from_xenstore in tools/libs/light/libxl_nic.c). What a guest or a driver domain can write is
data about itself: its own state and its own errors, shown on one line.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass

from .._errors import DriverDomainsError
from .._printable import printable_line

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: The log of hotplug scripts. In a driver domain it is the only place that says what went wrong: xl devd writes nothing to XenStore.
HOTPLUG_LOG = "/var/log/xen/xen-hotplug.log"

#: The xenbus state of a device that works (xen/include/public/io/xenbus.h).
CONNECTED = "4"


@dataclass(frozen=True)
class Vif:
    """A virtual network interface: as the toolstack made it, with the states that its frontend and backend report."""

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
        """The vif as a return value."""
        return {**asdict(self), "connected": self.connected}


def vif_status(store: XenStore, domid: int) -> list[Vif]:
    """Return the vifs of a domain in the order of their device numbers."""
    home = f"/libxl/{domid}/device/vif"
    devids = sorted((name for name in store.directory(home) if name.isdecimal()), key=int)
    if not devids:
        return []
    own = store.read_texts(f"{home}/{devid}/{key}" for devid in devids for key in ("backend", "mac", "bridge"))
    paths = {
        devid: path
        for devid in devids
        for path in [own[f"{home}/{devid}/backend"] or ""]
        if re.fullmatch(rf"/local/domain/[0-9]+/backend/vif/{domid}/{devid}", path)
    }
    fronts = {devid: f"/local/domain/{domid}/device/vif/{devid}/state" for devid in devids}
    backend_keys = ("state", "hotplug-status", "hotplug-error")
    reported = store.read_texts([*fronts.values(), *(f"{path}/{key}" for path in paths.values() for key in backend_keys)])
    names = store.domains()

    def vif(devid: str) -> Vif:
        backend_path = paths.get(devid, "")
        backend_id = int(backend_path.split("/")[3]) if backend_path else 0

        def says(path: str) -> str:
            return printable_line(reported.get(path) or "")

        return Vif(
            devid=int(devid),
            mac=(own[f"{home}/{devid}/mac"] or "").lower(),
            backend=names.get(backend_id, ""),
            backend_id=backend_id,
            bridge=own[f"{home}/{devid}/bridge"] or "",
            frontend_state=says(fronts[devid]),
            backend_state=says(f"{backend_path}/state"),
            hotplug_status=says(f"{backend_path}/hotplug-status"),
            hotplug_error=says(f"{backend_path}/hotplug-error"),
            backend_path=backend_path,
        )

    return [vif(devid) for devid in devids]


def not_connected(name: str, vifs: t.Sequence[Vif], expected: int) -> str:
    """Say what these vifs of a domain lack until `expected` of them are connected, or "".

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
        return f"{len(vifs)} of its {expected} vifs exist"
    waiting = [vif for vif in vifs if not vif.connected]
    return "; ".join(
        f"vif {vif.devid} at {vif.backend or vif.backend_id}: frontend state {vif.frontend_state or 'none'}, "
        f"backend state {vif.backend_state or 'none'}, hotplug {vif.hotplug_status or 'not done'}"
        for vif in waiting
    )
