# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The parameters of the module xl_vif."""

from __future__ import annotations

import typing as t

from .._errors import InvalidInput
from .attachments import Rules, WantedDevice
from .devices import VIF
from .vif_made import differences, made_settings, rate_of
from .vif_options import vif_settings

#: How vifs are found and compared.
VIF_RULES = Rules(
    VIF,
    "vif",
    is_wanted=lambda wanted, device: device.mac == wanted.identity,
    made=made_settings,
    differences=differences,
    identity=lambda device: device.mac,
)


def wanted_vifs(items: t.Sequence[t.Mapping[str, t.Any]]) -> list[WantedDevice]:
    """Check the parameter `vifs` of the module xl_vif.

    :raises InvalidInput: a MAC address or a rate is not usable, or an address is listed twice.
    """
    by_domain: dict[str, list[t.Mapping[str, t.Any]]] = {}
    for item in items:
        by_domain.setdefault(item["domain"], []).append(item)
    settings = {id(item): full for domain, own in by_domain.items() for item, full in zip(own, vif_settings(domain, own))}
    wanted = [WantedDevice(item["domain"], settings[id(item)]["mac"], item["state"] == "present", settings[id(item)]) for item in items]
    for number, vif in enumerate(wanted):
        rate_of(vif.settings.get("rate", "1B/s"))
        if any(vif.identity == other.identity for other in wanted[:number]):
            raise InvalidInput(
                f"{vif.domain}: the MAC address {vif.identity} is listed twice",
                rule="each vif has its own",
                remedy="Change or remove one of them",
            )
    return wanted
