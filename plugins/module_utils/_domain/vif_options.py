# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The options of a virtual network interface (vif), for every module that takes one."""

from __future__ import annotations

import hashlib
import re
import typing as t

from .._errors import InvalidInput

#: How users name dom0 where they name a backend.
DOM0 = (None, "", "0", "Domain-0")

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
#: As an argument spec, in the order in which a definition lists them.
VIF_OPTIONS: dict[str, t.Any] = {
    **{name: {"type": "str"} for name in ("mac", "bridge", "backend")},
    "type": {"type": "str", "choices": ["vif", "ioemu"]},
    **{name: {"type": "str"} for name in ("model", "script", "ip", "vifname", "rate")},
    "mtu": {"type": "int"},
    "gatewaydev": {"type": "str"},
    "vlan": {"type": "str"},
    "trusted": {"type": "bool"},
}


def default_mac(domain: str, index: int, place: str = "") -> str:
    """Return the MAC address of a vif for which the user gave none: the same at every run, in Xen's own range (OUI 00:16:3e).

    :param index: the vif's number among those of the domain that have the same place and no address, so that no other vif matters.
    :param place: where it is attached.
    """
    digest = hashlib.sha256(f"{domain}/{index}{place and '/'}{place}".encode()).digest()
    return f"00:16:3e:{digest[0] & 0x7F:02x}:{digest[1]:02x}:{digest[2]:02x}"


def vif_settings(domain: str, vifs: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Return the vifs of a domain with their MAC addresses, keys in the order in which they are written.

    A frontend trusts a backend in dom0, which can do everything anyway, but no other one.

    :raises InvalidInput: a MAC address is not usable.
    """
    settings = []
    seen: dict[str, int] = {}
    for index, vif in enumerate(vifs):
        mac = (vif.get("mac") or "").lower()
        if not mac:
            place = "/".join(filter(None, [vif.get("backend"), vif.get("bridge")]))
            seen[place] = seen.get(place, -1) + 1
            mac = default_mac(domain, seen[place], place)
        if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
            raise InvalidInput(
                f"vif {index} has the MAC address {vif['mac']!r}",
                rule="six pairs of hexadecimal digits with colons, a unicast address (first pair even)",
                remedy="Use e.g. 00:16:3e:00:00:11, or leave it out: the address is then derived from the domain's name",
            )
        full = {**vif, "mac": mac}
        if full.get("trusted") is None and full.get("backend") not in DOM0:
            # A driver domain is there to be attacked instead of dom0: its clients must not be next (XSA-403).
            full["trusted"] = False
        settings.append({key: full[key] for key in VIF_OPTIONS if full.get(key) is not None})
    return settings
