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


@dataclass(frozen=True)
class Expected:
    """What a domain must do and have to count as ready."""

    ready: Ready | None = None
    #: So many vifs it has at least; all that it has must be connected, but for the emulated ones.
    vifs: int = 0
    #: The MAC addresses of vifs beside which the guest has an emulated card: it may have no driver for them.
    emulated: t.Collection[str] = ()
    #: The numbers of the disks that must be connected, too.
    disks: t.Collection[int] = ()
    #: The command that shows its console, if its type is known.
    console: str = ""


class WentAway(DriverDomainsError):
    """A domain is gone before it was ready."""


def wait_until_ready(store: XenStore, name: str, domid: int, expected: Expected, timeout: float) -> None:
    """Wait until a domain's readiness key has its value, and all of its vifs are connected that are not emulated as well.

    :raises WentAway: the domain ended.
    :raises DriverDomainsError: the domain reports an error, or a hotplug script failed.
    :raises TimedOut: none of this happened within `timeout` seconds.
    """
    home = f"/local/domain/{domid}"
    # What all types have (xl(1), console).
    console = expected.console or f"xl console -t pv {name}"
    missing = "it does not answer"

    def served(_values: dict[str, str | None]) -> bool:
        nonlocal missing
        if store.read_text(f"{home}/name") is None:
            raise WentAway(f"Domain {name} (domid {domid}) went away before it was ready")
        devices = read_devices(store, [domid], settings=("dev", "mac"))[domid]
        vifs = [device for device in devices if device.kind == VIF and device.mac not in expected.emulated]
        disks = [device for device in devices if device.kind == VBD and device.devid in expected.disks]
        missing = not_connected(name, vifs, expected.vifs) or not_connected(name, disks, len(disks))
        missing = missing or _not_ready(store, name, home, expected.ready, console)
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
