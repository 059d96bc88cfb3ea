# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Find everything that is known to make starting or stopping domains fail, before the first change."""

from __future__ import annotations

import typing as t

from .._plan import Refusal
from .._xen.xl import has_iommu
from .definition import Definition
from .host import DomainHost

Refusals = t.Iterator[Refusal]


def check(
    host: DomainHost,
    wanted: t.Sequence[Definition],
    starts: t.Sequence[Definition],
    stops: t.Sequence[Definition],
    restarts: t.Sequence[Definition],
) -> Refusals:
    """Yield all reasons against a change of the host.

    :param starts: the domains that will be started, `restarts` among them.
    :param stops: the domains that will be stopped for good.
    """
    for domain in wanted:
        yield from _foreign_files(host, domain)
        yield from _unfinished(host, domain)
        yield from _objection(host, domain)
        yield from _missing_files(host, domain)
    for domain in starts:
        yield from _missing_backends(host, domain, starts, stops)
        yield from _missing_bridges(host, domain)
    yield from _too_little_memory(host, starts, stops)
    yield from _pci_devices(host, starts, stops)
    going = [*stops, *restarts]
    for domain in reversed(going):
        yield from _clients(host, domain, going)


def _refusal(subject: str, reason: str, rule: str = "", remedy: str = "", guard: str = "") -> Refusal:
    # Files, bridges, devices, backends: an earlier task of the same play may have planned to bring each of them.
    return Refusal(guard, subject, reason, True, rule, remedy)


def _foreign_files(host: DomainHost, domain: Definition) -> Refusals:
    for path in host.current[domain.name].foreign_files:
        yield _refusal(
            path,
            "the file exists and was not written by this collection",
            "files that this collection did not write, and their domains, are left alone",
            "Rename the domain, or move the file away",
            "foreign_definition",
        )


def _unfinished(host: DomainHost, domain: Definition) -> Refusals:
    current = host.current[domain.name]
    if domain.state == "running" and current.alive and current.unfinished:
        yield _refusal(
            f"Domain {domain.name}",
            "it is not complete: an 'xl create' is still running, or was cut off",
            "only a complete domain can be compared with its definition",
            f"Run this again in a while; if the domain is still incomplete then, remove it: xl destroy {domain.name}",
        )


def _objection(host: DomainHost, domain: Definition) -> Refusals:
    objection = host.current[domain.name].objection
    if objection:
        yield _refusal(f"Domain {domain.name}", objection, remedy="Correct the parameters, in particular options")


def _missing_files(host: DomainHost, domain: Definition) -> Refusals:
    for path in host.current[domain.name].missing_files:
        yield _refusal(
            f"Domain {domain.name}",
            f"{path} does not exist on this host",
            "kernel, ramdisk and the targets of disks without a backend are paths in dom0",
            "Put the file there or correct the path",
        )


def _missing_backends(host: DomainHost, domain: Definition, starts: t.Sequence[Definition], stops: t.Sequence[Definition]) -> Refusals:
    coming = {other.name for other in host.domains.values() if other.alive} - {d.name for d in stops} | {d.name for d in starts}
    for backend in sorted(domain.backends - coming):
        yield _refusal(
            f"Domain {domain.name}",
            f"its backend domain {backend!r} does not run",
            f"a backend must run before its frontends start; running: {', '.join(sorted(coming - {domain.name})) or 'none'}",
            "Correct backend, or start that domain first (role xen.driver_domains.driver_domain)",
        )


def _missing_bridges(host: DomainHost, domain: Definition) -> Refusals:
    for vif in domain.vifs:
        bridges = host.bridges[vif.backend]
        if vif.bridge and bridges is not None and vif.bridge not in bridges:
            yield _refusal(
                f"Domain {domain.name}",
                f"there is no bridge {vif.bridge!r} in {vif.backend or 'dom0'}",
                f"the bridge of a vif is one of its backend domain, which has: {', '.join(bridges) or 'none'}",
                "Correct bridge, or add it to the bridges of the driver domain",
            )


def _too_little_memory(host: DomainHost, starts: t.Sequence[Definition], stops: t.Sequence[Definition]) -> Refusals:
    free = int(host.info.get("free_memory", "0"))
    free += sum(host.domains[d.name].memory for d in [*starts, *stops] if d.name in host.domains)
    needed = sum(d.memory for d in starts)
    # Without dom0_mem xl takes memory from dom0 as it needs it (xl.conf(5), autoballoon="auto").
    if needed > free and "dom0_mem=" in host.info.get("xen_commandline", ""):
        yield _refusal(
            "This host",
            f"the domains to start ({', '.join(d.name for d in starts)}) need {needed} MiB of memory, and {free} MiB are free",
            "the memory of the domains and of dom0 (dom0_mem) must fit into the host",
            "Give the domains less memory, stop others, or lower dom0_memory",
        )


def _pci_devices(host: DomainHost, starts: t.Sequence[Definition], stops: t.Sequence[Definition]) -> Refusals:
    devices = [(domain, device) for domain in starts for device in domain.pci]
    if devices and not has_iommu(host.info):
        yield _refusal(
            "This host",
            "Xen found no IOMMU",
            "without one no device can be passed through",
            "Enable VT-d or AMD-Vi in the firmware and do not boot Xen with iommu=off; 'xl dmesg' says what Xen found",
        )
        return
    going = {domain.name for domain in [*starts, *stops]}
    for domain, device in devices:
        if not device.pciback:
            yield _refusal(
                f"Domain {domain.name}",
                f"the device {device.bdf} is not assignable",
                "a device must be bound to pciback before a domain gets it",
                "Add it to dom0_pci_assignable (role xen.driver_domains.dom0, module xen.driver_domains.xl_pci_assignable)",
            )
        if device.owner and device.owner not in going:
            yield _refusal(
                f"Domain {domain.name}",
                f"the running domain {device.owner} has the device {device.bdf}",
                "each device belongs to one domain",
                f"Stop {device.owner} first, or let it be restarted without the device (restart_changed: true)",
            )


def _clients(host: DomainHost, domain: Definition, going: t.Sequence[Definition]) -> Refusals:
    names = {other.name for other in going}
    for client, kind in host.current[domain.name].clients:
        if client not in names:
            yield _refusal(
                f"Domain {domain.name}",
                f"it serves the {kind} of the running domain {client}",
                "a backend that stops cuts its clients off",
                f"Stop {client} first",
                "serves_clients",
            )
