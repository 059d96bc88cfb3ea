# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""How the toolstack made a disk that exists, and how that differs from the settings that are wanted.

Sources: device_disk_add in tools/libs/light/libxl_disk.c of Xen, and libxl_device_disk in libxl_types.idl.
"""

from __future__ import annotations

import typing as t

from .._xen.host import xen_version
from .disk import vdev_number
from .vbd_options import can_distrust, disk_settings

if t.TYPE_CHECKING:
    from .devices import PvDevice

#: Settings whose default differs by host, guest or backend: left out, any value will do.
_DEFAULT_VARIES = ("backendtype", "script", "discard")


def made_settings(device: PvDevice, kept: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """Return the settings with which a disk was made, by the names of `vbd_options.VBD_OPTIONS`; one that is not known is missing.

    :param kept: what libxl keeps of it, see `devices.kept_device`.
    """
    written = device.made
    backendtype = written.get("type", "")
    # Only QEMU gets the format, in front of the target.
    head, colon, tail = written.get("params", "").partition(":")
    made: dict[str, t.Any] = {
        "vdev": written.get("dev", ""),
        "access": "rw" if written.get("mode") == "w" else "ro",
        "devtype": "cdrom" if written.get("device-type") == "cdrom" else "disk",
        "backendtype": backendtype,
        "script": written.get("script", ""),
        "direct_io_safe": written.get("direct-io-safe") == "1",
        "discard": written.get("discard-enable") == "1",
        "target": tail if backendtype == "qdisk" and colon else written.get("params", ""),
    }
    if backendtype == "qdisk" and colon:
        # libxl_device.c, libxl__device_disk_string_of_format
        made["format"] = "raw" if head == "aio" else head
    elif backendtype == "phy":
        made["format"] = "raw"
    if kept is not None:
        # Defaults are not written down.
        made["trusted"] = kept.get("trusted") not in (False, "False")
    return made


def attach_settings(device: PvDevice, kept: t.Mapping[str, t.Any] | None, backend: str) -> dict[str, t.Any]:
    """Return the settings that make the same disk again, of xl-disk-configuration(5).

    :param backend: name of the domain that is to serve it.
    """
    made = made_settings(device, kept)
    if "trusted" not in made:
        # Where nobody knows, the client is the one to protect, if xl has a word for it.
        made["trusted"] = not backend or not can_distrust(xen_version())
    if kept is not None:
        # What the user gave. All else xl finds out again.
        discard = {"True": True, "False": False}.get(str(kept.get("discard_enable")))
        own = {"format": kept.get("format"), "backendtype": kept.get("backend"), "script": kept.get("script"), "discard": discard}
    else:
        own = {key: made.get(key) or None for key in ("format", "backendtype", "script")}
        own["discard"] = made["discard"]
    known = {key: value for key, value in own.items() if value not in ("", "unknown")}
    return disk_settings({**made, **dict.fromkeys(own), **known, "backend": backend or None})


def differences(wanted: t.Mapping[str, t.Any], made: t.Mapping[str, t.Any]) -> list[str]:
    """Return in words what makes a disk another one than is wanted.

    :param wanted: settings by the names of `vbd_options.VBD_OPTIONS`. Those whose default varies may have any value when they are left out.
    """
    # What `disk_settings` leaves out because it is the default of xl.
    full = {"direct_io_safe": False, "devtype": "disk", **{key: value for key, value in wanted.items() if value is not None}}
    found = []
    for key, value in full.items():
        # xl makes each drive for CDs read-only (xlu_disk_parse).
        if key == "access" and made["devtype"] == "cdrom":
            continue
        if key in made and key != "vdev" and not _agrees(key, value, made[key]):
            found.append(f"its {key} is {_shown(made[key])}, not {_shown(value)}")
    return found


def same_vdev(one: str, other: str) -> bool:
    """Whether two names stand for the same device in the guest."""
    return vdev_number(one) == vdev_number(other)


def _agrees(key: str, wanted: t.Any, made: t.Any) -> bool:
    if key == "script" and not str(wanted).startswith("/"):
        # libxl looks for a name without a directory in that of the scripts.
        return str(made).endswith(f"/{wanted}")
    return bool(wanted == made)


def _shown(value: t.Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value) or "none"
