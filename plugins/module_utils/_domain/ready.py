# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Wait until a domain that was started serves, and is served."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._errors import DriverDomainsError, TimedOut
from .devices import VBD, VIF, read_devices
from .status import HOTPLUG_LOG, not_connected, not_ready

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore


@dataclass(frozen=True)
class Ready:
    """How a domain reports that it serves: a XenStore key below its home, its value then, and the key that says what went wrong."""

    key: str
    value: str
    error_key: str = ""


class WentAway(DriverDomainsError):
    """A domain is gone before it was ready."""


def wait_until_ready(
    store: XenStore,
    name: str,
    domid: int,
    ready: Ready | None,
    timeout: float,
    vifs: int = 0,
    disks: t.Collection[int] = (),
    console: str = "",
) -> None:
    """Wait until a domain's readiness key has its value and all of its vifs are connected.

    :param vifs: so many vifs it has at least.
    :param disks: the numbers of the disks that must be connected, too.
    :param console: the command that shows its console, if its type is known.
    :raises WentAway: the domain ended.
    :raises DriverDomainsError: the domain reports an error, or a hotplug script failed.
    :raises TimedOut: none of this happened within `timeout` seconds.
    """
    home = f"/local/domain/{domid}"
    # What all types have (xl(1), console).
    console = console or f"xl console -t pv {name}"
    missing = "it does not answer"

    def served(_values: dict[str, str | None]) -> bool:
        nonlocal missing
        if store.read_text(f"{home}/name") is None:
            raise WentAway(f"Domain {name} (domid {domid}) went away before it was ready")
        devices = read_devices(store, [domid], settings=("dev",))[domid]
        own = [device for device in devices if device.kind == VIF]
        again = [device for device in devices if device.kind == VBD and device.devid in disks]
        missing = not_connected(name, own, vifs) or not_connected(name, again, len(again)) or _not_ready(store, name, home, ready, console)
        return not missing

    # Changes below a watched node wake the wait, and so does the removal of the domain's home when it goes away.
    watched = [f"{home}/name", f"{home}/device", f"{home}/data"]
    watched += [device.backend_path for device in read_devices(store, [domid], settings=("dev",))[domid] if device.backend_path]
    try:
        store.wait_for(watched, served, timeout)
    except TimedOut as exc:
        raise TimedOut(
            f"Domain {name} (domid {domid}) was not ready within {timeout:g} s: {missing}",
            remedy=f"Check its console ({console})"
            + (f" and, for its vifs, {HOTPLUG_LOG} in their backend domain" if "vif" in missing else "")
            + ", or raise wait_timeout",
        ) from exc


def _not_ready(store: XenStore, name: str, home: str, ready: Ready | None, console: str) -> str:
    return not_ready(store, name, home, ready.key, ready.value, ready.error_key, console) if ready else ""
