# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""How the toolstack made a vif that exists, and how that differs from the settings that are wanted.

Sources: libxl__set_xenstore_nic in tools/libs/light/libxl_nic.c and xlu_vif_parse_rate in tools/libs/util/libxlu_vif.c of Xen.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidInput

if t.TYPE_CHECKING:
    from .devices import PvDevice

#: What libxl writes below `/libxl/DOMID/device/vif/DEVID` about the settings of a vif.
_WRITTEN = ("script", "ip", "vifname", "rate", "mtu", "type")
#: What it writes only where the guest could change it, and beside that into its own file about the domain.
_KEPT = ("trusted", "model", "gatewaydev", "vlan")
_DEFAULT_MTU = "1500"
_TYPES = {"vif": "vif", "ioemu": "vif_ioemu"}
_RATE = re.compile(r"([0-9]+)([GMK]?)([Bb])/s(?:@([0-9]+)([mu]?)s?)?")
#: The values that a setting can have that takes none from xl.conf(5): there, leaving it out means this.
_WHEN_LEFT_OUT: dict[str, str] = {"ip": "", "vifname": "", "rate": "", "mtu": _DEFAULT_MTU}


def made_settings(device: PvDevice, kept: t.Mapping[str, t.Any] | None) -> dict[str, str]:
    """Return the settings with which a vif was made; one that is not known is missing.

    :param kept: what libxl keeps of it, see `devices.kept_device`.
    """
    made = {key: device.made.get(key) or _WHEN_LEFT_OUT.get(key, "") for key in _WRITTEN}
    # Defaults are not written down.
    made.update({key: str(kept.get(key) or "") for key in _KEPT} if kept is not None else {})
    return made


def attach_settings(device: PvDevice, kept: t.Mapping[str, t.Any] | None, backend: str) -> dict[str, t.Any]:
    """Return the settings that make the same vif again, of xl-network-configuration(5), with the same number.

    :param backend: name of the domain that is to serve it.
    """
    made = made_settings(device, kept)
    kinds = {libxl: name for name, libxl in _TYPES.items()}
    return {
        "mac": device.mac or None,
        "bridge": device.made.get("bridge") or None,
        "backend": backend or None,
        "type": kinds.get(made["type"]),
        "model": made.get("model") if made["type"] == _TYPES["ioemu"] else None,
        "script": made["script"] or None,
        "ip": made["ip"] or None,
        "vifname": made["vifname"] or None,
        "rate": rate_text(made["rate"]) or None,
        "mtu": made["mtu"] if made["mtu"] != _DEFAULT_MTU else None,
        "gatewaydev": made.get("gatewaydev") or None,
        "vlan": made.get("vlan") or None,
        # Where nobody knows, the client is the one to protect.
        "trusted": made["trusted"] != "False" if "trusted" in made else not backend,
        "devid": device.devid,
    }


def differences(wanted: t.Mapping[str, t.Any], made: t.Mapping[str, str]) -> list[str]:
    """Return in words what makes a vif another one than is wanted.

    :param wanted: settings of xl-network-configuration(5). A bridge, script, type or model that is left out may have any value.
    :raises InvalidInput: the rate is not one.
    """
    found = []
    for key, value in {**_WHEN_LEFT_OUT, **wanted}.items():
        if key in made and not _agrees(key, value, made[key]):
            found.append(f"its {key} is {_shown(key, made[key])}, not {_shown(key, str(value))}")
    return found


def rate_of(text: str) -> str:
    """Return a rate as libxl writes it: bytes in each interval, and the interval in microseconds.

    :raises InvalidInput: it is not a rate.
    """
    match = _RATE.fullmatch(text)
    if not match:
        raise InvalidInput(
            f"{text!r} is not the rate of a vif",
            rule="a number with B/s, KB/s, MB/s, GB/s for bytes or b/s, Kb/s, Mb/s, Gb/s for bits, then perhaps @ and an interval",
            remedy="Use e.g. 10MB/s or 1MB/s@20ms",
        )
    number, factor, unit, interval, prefix = match.groups()
    bytes_per_second = _c_number(number) * 1000 ** " KMG".index(factor or " ") // (8 if unit == "b" else 1)
    microseconds = 50000 if interval is None else _c_number(interval) * {"": 1000000, "m": 1000, "u": 1}[prefix or ""]
    return f"{bytes_per_second * microseconds // 1000000},{microseconds}"


def rate_text(written: str) -> str:
    """Return a rate that libxl has written as the user can give it; "" when there is none."""
    match = re.fullmatch(r"([0-9]+),([1-9][0-9]*)", written)
    if not match:
        return ""
    size, interval = int(match.group(1)), int(match.group(2))
    # libxlu rounds down what it computes from this.
    return f"{-(-size * 1000000 // interval)}B/s@{interval}us"


def _agrees(key: str, wanted: t.Any, made: str) -> bool:
    if key == "trusted":
        return bool(wanted) == (made != "False")
    text = str(wanted)
    if key == "rate":
        return made == (rate_of(text) if text else "")
    if key == "script":
        # libxl looks for a name without a directory in that of the scripts.
        return made == text if text.startswith("/") else made.endswith(f"/{text}")
    if key == "type":
        return made == _TYPES.get(text, text)
    return made == text


def _shown(key: str, value: str) -> str:
    if key == "trusted":
        return "no" if value == "False" else "yes"
    return value or "none"


def _c_number(digits: str) -> int:
    """Return a number as strtoull reads it with the base 0."""
    return int(digits, 8) if digits.startswith("0") and re.fullmatch("[0-7]+", digits) else int(digits)
