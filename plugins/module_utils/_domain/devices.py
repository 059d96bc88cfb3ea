# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The vifs and disks of running domains as XenStore shows them, and what keeps one from working.

Which devices a domain has, and all of their settings, are what the toolstack wrote below `/libxl`, where only dom0 writes; libxl believes
nothing else, either (libxl__nic_from_xenstore in tools/libs/light/libxl_nic.c). What a guest or a driver domain can write is data about
itself: its own state and its own errors, shown on one line.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._printable import printable_line
from .kept import entries
from .kept import settings as kept_settings

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: Kinds of devices, as their frontends are called.
VIF, VBD = "vif", "vbd"
KINDS = (VIF, VBD)
#: What libxl writes below `/libxl/DOMID/device/KIND/DEVID` about a device (libxl__set_xenstore_nic in libxl_nic.c, device_disk_add in
#: libxl_disk.c).
_WRITTEN = {
    VIF: ("mac", "bridge", "script", "ip", "vifname", "rate", "mtu", "type"),
    VBD: ("dev", "params", "type", "mode", "device-type", "script", "direct-io-safe", "discard-enable"),
}
_REPORTED = ("state", "hotplug-status", "hotplug-error")
#: The backend of a vbd can be of another kind.
_BACKEND = {
    kind: re.compile(rf"/local/domain/[0-9]+/backend/(?:{kinds})/([0-9]+)/([0-9]+)") for kind, kinds in ((VIF, "vif"), (VBD, "vbd3?|qdisk"))
}

#: States of xenbus (xen/include/public/io/xenbus.h).
WAITING, CONNECTED = "3", "4"
#: A frontend or backend that is closing or closed does not come back by itself.
CLOSED = ("5", "6")


@dataclass(frozen=True)
class PvDevice:
    """A vif or vbd of a running domain: as the toolstack made it, with the states that its frontend and backend report."""

    kind: str
    domid: int
    devid: int
    #: Name of the running domain that serves it, or "".
    backend: str
    backend_id: int
    #: "" when libxl wrote down none that can be right.
    backend_path: str
    frontend_state: str = ""
    backend_state: str = ""
    hotplug_status: str = ""
    hotplug_error: str = ""
    #: Its settings, by the names that libxl has for them in XenStore.
    made: t.Mapping[str, str] = field(default_factory=dict)

    @property
    def mac(self) -> str:
        """The MAC address of a vif."""
        return self.made.get("mac", "").lower()

    @property
    def bridge(self) -> str:
        """The bridge of a vif, or ""."""
        return self.made.get("bridge", "")

    @property
    def home(self) -> str:
        """Where the toolstack keeps it."""
        return f"/libxl/{self.domid}/device/{self.kind}/{self.devid}"

    @property
    def frontend_path(self) -> str:
        """Where the guest has it."""
        return f"/local/domain/{self.domid}/device/{self.kind}/{self.devid}"

    @property
    def paths(self) -> tuple[str, ...]:
        """All of its directories in XenStore; it is gone when none of them exists."""
        return tuple(path for path in (self.home, self.frontend_path, self.backend_path) if path)

    @property
    def connected(self) -> bool:
        """Whether data can flow: both drivers connected, and for a vif the hotplug script done. A disk is connected only after that."""
        done = self.hotplug_status == "connected" if self.kind == VIF else self.hotplug_status != "error"
        return self.frontend_state == self.backend_state == CONNECTED and done

    @property
    def states(self) -> str:
        """The states of both ends, in words."""
        return (
            f"frontend state {self.frontend_state or 'none'}, backend state {self.backend_state or 'none'}, "
            f"hotplug {self.hotplug_status or 'not done'}"
        )

    def as_dict(self) -> dict[str, t.Any]:
        """The device as a return value."""
        own = {"mac": self.mac, "bridge": self.bridge} if self.kind == VIF else {"vdev": self.made.get("dev", "")}
        shown = ("devid", "backend", "backend_id", "frontend_state", "backend_state", "hotplug_status", "hotplug_error", "backend_path")
        return {**own, **{key: getattr(self, key) for key in shown}, "connected": self.connected}

    def __str__(self) -> str:
        return f"vif {self.devid}" if self.kind == VIF else f"disk {self.made.get('dev') or self.devid}"


def read_devices(
    store: XenStore,
    domids: t.Iterable[int],
    kinds: t.Sequence[str] = KINDS,
    settings: t.Sequence[str] | None = None,
    names: t.Mapping[int, str] | None = None,
) -> dict[int, list[PvDevice]]:
    """Return the devices of running domains by domid, in the order of their kinds and numbers.

    :param settings: what to read of `PvDevice.made`; all of it by default. Each key of each device costs time.
    :param names: the names of the running domains, if they have been read already.
    """
    found: dict[int, list[PvDevice]] = {domid: [] for domid in domids}
    written = {kind: tuple(key for key in _WRITTEN[kind] if settings is None or key in settings) for kind in kinds}
    tops = {f"/libxl/{domid}/device/{kind}": (domid, kind) for domid in found for kind in kinds}
    homes = [
        (*tops[top], devid, f"{top}/{devid}")
        for top, names in store.directories(tops).items()
        for devid in sorted(int(name) for name in names if name.isdecimal())
    ]
    if not homes:
        return found
    own = store.read_texts(f"{home}/{key}" for _domid, kind, _devid, home in homes for key in ("backend", *written[kind]))
    paths = {home: _backend_path(own[f"{home}/backend"] or "", kind, domid, devid) for domid, kind, devid, home in homes}
    fronts = {home: f"/local/domain/{domid}/device/{kind}/{devid}/state" for domid, kind, devid, home in homes}
    reported = store.read_texts([*fronts.values(), *(f"{path}/{key}" for path in paths.values() if path for key in _REPORTED)])
    names = store.domains() if names is None else names
    for domid, kind, devid, home in homes:
        path = paths[home]
        backend_id = int(path.split("/")[3]) if path else 0
        state, status, error = (printable_line(reported.get(f"{path}/{key}") or "") for key in _REPORTED)
        found[domid].append(
            PvDevice(
                kind=kind,
                domid=domid,
                devid=devid,
                backend=names.get(backend_id, "") if path else "",
                backend_id=backend_id,
                backend_path=path,
                frontend_state=printable_line(reported[fronts[home]] or ""),
                backend_state=state,
                hotplug_status=status,
                hotplug_error=error,
                made={key: own[f"{home}/{key}"] or "" for key in written[kind]},
            )
        )
    return found


def _backend_path(text: str, kind: str, domid: int, devid: int) -> str:
    match = _BACKEND[kind].fullmatch(text)
    return text if match and match.groups() == (str(domid), str(devid)) else ""


def lost_backend(device: PvDevice, running: t.Collection[int]) -> str:
    """Say that the backend of a device is gone for good, or ""."""
    if not device.backend_path:
        return "its backend is not known"
    if device.backend_id not in running:
        return f"its backend, domain {device.backend_id}, is gone"
    return "" if device.backend_state else f"its backend is not there any more ({device.states})"


def script_failed(device: PvDevice) -> bool:
    """Whether the hotplug script of its backend reports that it failed."""
    return device.hotplug_status == "error" or bool(device.hotplug_error)


def broken(device: PvDevice) -> str:
    """Say what its backend reports as broken, or ""."""
    if script_failed(device):
        return f"its hotplug script failed: {device.hotplug_error or 'it gave no reason'}"
    return f"its backend is closed ({device.states})" if device.backend_state in CLOSED else ""


def late(device: PvDevice) -> str:
    """Say what its backend owes a device that is not connected, or "". It may be about to come.

    A frontend without a driver waits for the guest, not for the backend: that is the guest's own affair. Where both are connected data
    flows, even if a backend that is no Linux never writes its hotplug-status.
    """
    if device.frontend_state == device.backend_state == CONNECTED or {*CLOSED} & {device.backend_state, device.frontend_state}:
        return ""
    if device.kind == VIF and device.hotplug_status != "connected":
        return "its hotplug script does not end"
    return "its backend does not answer" if device.frontend_state == WAITING else ""


def kept_device(kept: str | None, device: PvDevice) -> dict[str, t.Any] | None:
    """Return what libxl keeps of a device in the configuration of its domain; None when that is not known.

    :param kept: the configuration.
    """
    configuration = kept_settings(kept or "")
    if device.kind == VIF:
        return next((vif for vif in entries(configuration, "nics") if str(vif.get("mac")).lower() == device.mac), None)
    return next((disk for disk in entries(configuration, "disks") if disk.get("vdev") == device.made.get("dev")), None)
