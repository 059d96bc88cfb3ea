# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The running domains of a host as return values: what they are, what they own, who serves them, and what they say about themselves."""

from __future__ import annotations

import typing as t

from .._printable import printable_line
from .devices import VIF, read_devices
from .status import REASON, STATUS

if t.TYPE_CHECKING:
    from .._xen.xl import Domain
    from .._xenstore.client import XenStore

#: Where dom0 keeps which PCI devices a domain has, as `dev-N` (libxl_create_pci_backend in tools/libs/light/libxl_pci.c); below it a domain
#: has one directory, with the number 0. Only dom0 writes there.
_PCI = "/local/domain/0/backend/pci/{}/0"


def describe(store: XenStore, domains: t.Iterable[Domain]) -> list[dict[str, t.Any]]:
    """Return domains as return values. XenStore is read for all of them at once.

    :raises XenStoreError: xenstored does not answer.
    """
    domains = list(domains)
    domids = [domain.domid for domain in domains]
    devices = read_devices(store, domids, settings=("mac", "bridge", "dev"))
    owned = _pci_devices(store, domids)
    reported = store.read_texts(f"/local/domain/{domid}/{key}" for domid in domids for key in (STATUS, REASON))

    def told(domain: Domain, key: str) -> str:
        return printable_line(reported[f"/local/domain/{domain.domid}/{key}"] or "")

    return [
        {
            "name": domain.name,
            "domid": domain.domid,
            "memory": domain.memory,
            "vcpus": domain.vcpus,
            "alive": domain.alive,
            "flags": domain.flags,
            "status": told(domain, STATUS),
            "reason": told(domain, REASON),
            "pci": owned[domain.domid],
            "vifs": [device.as_dict() for device in devices[domain.domid] if device.kind == VIF],
            "vbds": [device.as_dict() for device in devices[domain.domid] if device.kind != VIF],
        }
        for domain in domains
    ]


def _pci_devices(store: XenStore, domids: t.Iterable[int]) -> dict[int, list[str]]:
    """Return the PCI devices that dom0 passes through to each of these domains."""
    tops = {domid: _PCI.format(domid) for domid in domids}
    names = store.directories(tops.values())
    keys = {
        domid: [f"{top}/{name}" for name in names[top] if name.startswith("dev-") and name[4:].isdecimal()] for domid, top in tops.items()
    }
    texts = store.read_texts(key for found in keys.values() for key in found)
    return {domid: sorted(filter(None, (texts[key] for key in found))) for domid, found in keys.items()}
