# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Whether the devices of a running domain are connected, and what the logs of the host say when they are not."""

from __future__ import annotations

import os
import typing as t

from .._errors import DriverDomainsError
from .._printable import printable_line
from .devices import VIF, PvDevice, read_devices

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: Logs of the toolstack. A hotplug script writes to the log in the domain that it runs in.
LOGS = "/var/log/xen"
#: The log of hotplug scripts. In a driver domain it is the only place that says what went wrong: xl devd writes nothing to XenStore.
HOTPLUG_LOG = f"{LOGS}/xen-hotplug.log"
#: Bytes at the end of a log in which its last line is looked for.
_TAIL = 4096


#: How the images of the collection report that they serve, below the home of their domain; others may report nothing there.
STATUS, READY, REASON = "data/driver-domain/status", "ready", "data/driver-domain/error"


def not_ready(store: XenStore, name: str, home: str, key: str, value: str, error_key: str = "", console: str = "") -> str:
    """Say what the readiness key of a domain lacks, or "" when it has its value.

    :param console: the command that shows its console, if its type is known.
    :raises DriverDomainsError: the domain reports an error.
    """
    status = store.read_text(f"{home}/{key}") or ""
    if status == value:
        return ""
    if status == "error":
        reason = (error_key and store.read_text(f"{home}/{error_key}")) or "it gave no reason"
        raise DriverDomainsError(f"Domain {name} reports: {reason}", remedy=f"Check its console: {console or f'xl console -t pv {name}'}")
    return f"its key {key} is {status!r}, not {value!r}"


def vif_status(store: XenStore, domid: int) -> list[PvDevice]:
    """Return the vifs of a domain in the order of their device numbers."""
    return read_devices(store, [domid], [VIF], ("mac", "bridge"))[domid]


def not_connected(name: str, devices: t.Sequence[PvDevice], expected: int, logs: str = LOGS) -> str:
    """Say what these devices of a domain lack until `expected` of them are connected, or "".

    :raises DriverDomainsError: a hotplug script reported an error.
    """
    for device in devices:
        if device.hotplug_status == "error" or device.hotplug_error:
            where = device.backend or str(device.backend_id)
            raise DriverDomainsError(
                f"The hotplug script of {device} of domain {name} failed in its backend domain {where}: "
                f"{device.hotplug_error or 'it gave no reason'}{log_line(device.backend_id, where, logs)}",
                rule="the script runs in the backend domain and needs the bridge or disk there",
                remedy=f"See {HOTPLUG_LOG} in {where}; correct it there or here, then run this again",
                **{device.kind: device.as_dict()},
            )
    kinds = "/".join(sorted({"vif" if device.kind == VIF else "disk" for device in devices})) or "device"
    if len(devices) < expected:
        return f"{len(devices)} of its {expected} {kinds}s exist"
    return "; ".join(f"{device} at {device.backend or device.backend_id}: {device.states}" for device in devices if not device.connected)


def log_line(backend_id: int, backend: str, logs: str = LOGS) -> str:
    """Return the last line of the log that may say why a device does not work, as the end of a sentence, or "".

    Scripts for dom0's backends log in dom0. Of a driver domain, dom0 has only what its toolstack says about that domain as a whole.
    """
    name = "xen-hotplug.log" if backend_id == 0 else f"xl-{backend}.log"
    path = os.path.join(logs, name)
    try:
        with open(path, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL))
            lines = log.read().decode("utf-8", "replace").split("\n")
    except (OSError, ValueError):
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({path} ends with: {printable_line(last)})" if last else ""
