# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What depends on the host: whether its memory is enough, and what only the host knows."""

from __future__ import annotations

import typing as t

from .finding import InputFinding
from .model import ASSIGNABLE, DOMAINS, DeclaredHost, backend_of


def check_memory(host: DeclaredHost, dom0_memory: int, host_memory: int) -> t.Iterator[InputFinding]:
    """Yield an error if the domains that are to run need more memory than there is.

    :param dom0_memory: in MiB; 0 if it is left as it is.
    :param host_memory: in MiB; 0 if it is not known.
    """
    needed = {domain.name: int(domain.settings.get("memory") or 0) for domain in host.domains if domain.state == "running"}
    total = sum(needed.values()) + dom0_memory
    if host_memory and total > host_memory:
        parts = [f"{name} {memory}" for name, memory in [("dom0", dom0_memory), *needed.items()] if memory]
        yield InputFinding(
            " and ".join(DOMAINS.values()),
            f"the domains need {total} MiB of memory ({', '.join(parts)}), and the host has {host_memory} MiB",
            "the memory of the domains and of dom0 must fit into the host",
            "Give the domains less memory, set state: present for some, or lower dom0_memory",
        )


def only_the_host_knows(host: DeclaredHost, memory_known: bool) -> list[str]:
    """Return what cannot be known from variables, and not in check mode before the host runs Xen."""
    alive = [domain for domain in host.domains if domain.claims]
    paths = sorted(
        {
            str(path)
            for domain in alive
            for path in (
                *(domain.settings.get(key) for key in ("kernel", "ramdisk")),
                *(disk.get("target") for _where, disk in domain.items("disks") if not backend_of(disk)),
            )
            if path
        }
    )
    bridges = sorted(
        {str(vif.get("bridge")) for d in alive for _where, vif in d.items("vifs") if vif.get("bridge") and not backend_of(vif)}
    )
    others = sorted({backend_of(vif) for d in alive for _where, vif in d.items("vifs") if backend_of(vif)} - {d.name for d in alive})
    typed = sorted(domain.name for domain in alive if domain.settings.get("type") in ("pvh", "hvm", "auto"))
    images = sorted(domain.name for domain in alive if domain.own_image)
    options = sorted(domain.name for domain in alive if domain.settings.get("options"))
    devices = [str(entry.get("name")) for entry in host.devices.get(ASSIGNABLE, ())]
    sentences = {
        "Whether Xen takes these devices, has an IOMMU for them, and can reset them: {}": devices,
        "Whether the images of these domains can be built: {}": images,
        "Whether the host has hardware assisted paging for the types of these domains: {}": typed,
        "Whether there are these files and block devices in dom0: {}": paths,
        "Whether there are these bridges in dom0: {}": bridges,
        "Which bridges these domains have, which the run does not manage: {}": others,
        "Whether xl accepts the options of these domains: {}": options,
        "Whether the memory of the host is enough for these domains: {}": [] if memory_known else [d.name for d in alive],
        "Whether these domains get ready to serve: {}": [d.name for d in alive if d.role == "driver_domain"],
    }
    return [sentence.format(", ".join(names)) for sentence, names in sentences.items() if names]
