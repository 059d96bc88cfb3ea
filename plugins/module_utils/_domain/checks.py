# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Find everything that is known to make starting or stopping domains fail, before the first change."""

from __future__ import annotations

import os
import typing as t

from .._files import resolve
from .._plan import Refusal
from .._xen.xl import domain_types, has_iommu
from .definition import Definition
from .disks import volume_identity
from .facts import DomainHost

Refusals = t.Iterator[Refusal]

#: In MiB, for the QEMU of one HVM domain without graphics: an estimate, with a reserve.
DEVICE_MODEL_MEMORY = 64


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
        yield from _foreign_domain(host, domain)
        yield from _unfinished(host, domain)
        yield from _suspended(host, domain)
        yield from _objection(host, domain)
        yield from _missing_files(host, domain)
        yield from _kernel_of_another_type(host, domain)
        yield from _copies_to_devices(host, domain)
        yield from _missing_systemd(host, domain)
        if domain.state != "absent" and (domain in starts or host.current[domain.name].changed):
            yield from _missing_hap(host, domain)
    yield from _device_models(host, starts)
    for domain in starts:
        yield from _missing_backends(host, domain, starts, stops)
        yield from _missing_bridges(host, domain)
    yield from _too_little_memory(host, starts, stops)
    yield from _disks(host, wanted, starts, stops)
    yield from _pci_devices(host, starts, stops)
    going = [*stops, *restarts]
    for domain in reversed(going):
        yield from _returns(host, domain)
        yield from _clients(host, domain, {other.name for other in going})


def _refusal(subject: str, reason: str, rule: str = "", remedy: str = "", guard: str = "", passing: bool = True) -> Refusal:
    """Most reasons are passing: an earlier task of the same play may have planned to bring files, bridges, devices and backends."""
    return Refusal(guard, subject, reason, passing, rule, remedy)


def _foreign_files(host: DomainHost, domain: Definition) -> Refusals:
    for path in host.current[domain.name].foreign_files:
        yield _refusal(
            path,
            "the file exists and was not written by this collection",
            "files that this collection did not write, and their domains, are left alone",
            "Rename the domain, or move the file away",
            "foreign_definition",
            passing=False,
        )


def _foreign_domain(host: DomainHost, domain: Definition) -> Refusals:
    current = host.current[domain.name]
    if current.foreign:
        yield _refusal(
            f"Domain {domain.name}",
            f"it runs, but was not started from {current.path}",
            "files that this collection did not write, and their domains, are left alone",
            "Rename the domain, or stop the one that runs",
            "foreign_definition",
            passing=False,
        )


def _returns(host: DomainHost, domain: Definition) -> Refusals:
    action = host.current[domain.name].returns
    if action:
        yield _refusal(
            f"Domain {domain.name}",
            f"xl would start it again when it has shut down (on_poweroff: {action})",
            "xl carries out on_poweroff after each shutdown, with the value with which the domain was started",
            "Remove on_poweroff, or stop the domain with force, which destroys it when it comes back",
            "destroy",
            passing=False,
        )


def _unfinished(host: DomainHost, domain: Definition) -> Refusals:
    current = host.current[domain.name]
    if domain.state == "running" and current.alive and current.unfinished:
        yield _refusal(
            f"Domain {domain.name}",
            "it is not complete: an 'xl create' is still running, or was cut off",
            "only a complete domain can be compared with its definition",
            f"Run this again in a while; if the domain is still incomplete then, remove it: xl destroy {domain.name}",
            passing=False,
        )


def _suspended(host: DomainHost, domain: Definition) -> Refusals:
    current = host.current[domain.name].domain
    if domain.state != "present" and current and current.suspended:
        yield _refusal(
            f"Domain {domain.name}",
            "it is suspended: 'xl save' or a migration is at work, or was cut off",
            "a suspended domain may go on, so it is neither started again nor removed",
            f"Run this again when that has ended; if it was cut off, use xl resume, or remove the domain: xl destroy {domain.name}",
            passing=False,
        )


def _objection(host: DomainHost, domain: Definition) -> Refusals:
    objection = host.current[domain.name].objection
    if objection:
        # Of all that a definition names, xl looks up only the CPU pool while it parses: an earlier task may make one.
        passing = "pool" in objection
        yield _refusal(f"Domain {domain.name}", objection, remedy="Correct the parameters, in particular options", passing=passing)


def _missing_hap(host: DomainHost, domain: Definition) -> Refusals:
    if domain.kind != "pv" and domain.kind not in domain_types(host.info, domain.without_hap):
        yield _refusal(
            f"Domain {domain.name}",
            f"its type is {domain.kind}, and this host has no {'shadow paging' if domain.without_hap else 'hap'} for it",
            "pvh and hvm need hardware virtualisation and hardware assisted paging: hvm and hap in virt_caps of xl info",
            "Use type: pv, or turn virtualisation on in the firmware; with shadow in virt_caps, options: {hap: false} does without hap",
            # An earlier task may change the options with which Xen boots, not the machine.
            passing="hap=" in host.info.get("xen_commandline", ""),
        )


def _missing_files(host: DomainHost, domain: Definition) -> Refusals:
    for path in host.current[domain.name].missing_files:
        yield _refusal(
            f"Domain {domain.name}",
            f"{path} does not exist on this host",
            "kernel, ramdisk and the targets of disks without a backend are paths in dom0",
            "Put the file there or correct the path",
        )


def _kernel_of_another_type(host: DomainHost, domain: Definition) -> Refusals:
    if host.current[domain.name].elf_kernel:
        yield _refusal(
            f"Domain {domain.name}",
            f"its type is hvm, and {domain.kernel} is an ELF file",
            "in an HVM domain QEMU boots the kernel, and takes a bzImage; PV and PVH domains boot either",
            "Use the kernel as its package has it, or an image with bzimage: true (module xen.driver_domains.guest_image)",
            passing=False,
        )


def _device_models(host: DomainHost, starts: t.Sequence[Definition]) -> Refusals:
    modelled = [domain for domain in starts if domain.kind == "hvm"]
    lacking = [domain.name for domain in modelled if not (domain.device_model or host.device_model)]
    if lacking:
        yield _refusal(
            f"Domain {', '.join(lacking)}",
            "its type is hvm, and this host has no device model",
            "for each HVM domain, libxl starts QEMU in dom0",
            "apt-get install qemu-system-xen, or use type: pv",
        )
    new = [domain for domain in modelled if domain.name not in host.domains]
    needed = DEVICE_MODEL_MEMORY * len(new)
    if host.dom0_available is not None and needed > host.dom0_available:
        yield _refusal(
            "This host",
            f"the device models of {', '.join(d.name for d in new)} need {needed} MiB in dom0, and {host.dom0_available} MiB are available",
            f"QEMU takes up to {DEVICE_MODEL_MEMORY} MiB of dom0 for each HVM domain, beside the domain's own memory",
            "Raise dom0_memory, or use type: pv or pvh",
        )


def _copies_to_devices(host: DomainHost, domain: Definition) -> Refusals:
    for target, source in host.current[domain.name].missing_disks:
        if resolve(target).startswith("/dev/"):
            yield _refusal(
                f"Domain {domain.name}",
                f"{target} does not exist, so {source} would be copied into memory: /dev is not on a disk",
                "source makes image files; a block device must exist",
                "Create the volume first, and copy the image to it, or make the target a file",
            )


def _missing_systemd(host: DomainHost, domain: Definition) -> Refusals:
    # What is stopped now, and only started with the host, has a unit as well.
    if domain.autostart and domain.state != "absent" and not host.systemd:
        yield _refusal(
            f"Domain {domain.name}",
            "it cannot start with the host, which systemd does not run",
            "autostart makes a unit of systemd",
            "Set autostart: false, and let the init system of the host run 'xl create' for it",
            passing=False,
        )


def _disks(host: DomainHost, wanted: t.Sequence[Definition], starts: t.Sequence[Definition], stops: t.Sequence[Definition]) -> Refusals:
    going = {domain.name for domain in [*starts, *stops]}
    served = [(other.client, other.identity, other.writable) for other in host.open_disks if other.client not in going]
    served += [
        (other.name, host.current[other.name].identities[disk.target], disk.writable)
        for other in wanted
        if other.state in ("running", "present")
        for disk in other.local_disks
    ]
    for domain in starts:
        current = host.current[domain.name]
        for disk in domain.disks:
            use = current.used_disks.get(disk.target) if disk.local else ""
            own = current.related.get(disk.target, ()) if disk.local else (volume_identity(disk.backend, disk.target),)
            if use:
                yield _refusal(
                    f"Domain {domain.name}",
                    f"its disk {disk.target} is in use: {use}",
                    "a disk has one writer, and nobody reads what another writes",
                    "Unmount it, and take it out of swap, LVM, RAID and the like; or correct target",
                )
            owners = {
                name for name, identity, writable in served if name != domain.name and (writable or disk.writable) and identity in own
            }
            if owners:
                yield _refusal(
                    f"Domain {domain.name}",
                    f"its disk {disk.target} is, or holds, or is a part of a disk of {', '.join(sorted(owners))}",
                    "a disk that one domain writes to belongs to it alone",
                    "Correct target, stop the other domain, or set access: ro for both",
                )


def _missing_backends(host: DomainHost, domain: Definition, starts: t.Sequence[Definition], stops: t.Sequence[Definition]) -> Refusals:
    coming = {other.name for other in host.domains.values() if other.alive} - {d.name for d in stops} | {d.name for d in starts}
    running = ", ".join(sorted(coming - {domain.name}))
    stopped = {d.name for d in stops}
    # xl takes a number for a domid (libxl_domain_qualifier_to_domid).
    coming |= {str(host.domains[name].domid) for name in coming - {d.name for d in starts} if name in host.domains}
    for backend in sorted(domain.backends - coming):
        yield _refusal(
            f"Domain {domain.name}",
            f"its backend domain {backend!r} does not run",
            f"a backend must run before its frontends start; running: {running or 'none'}",
            "Correct backend, or start that domain first (role xen.driver_domains.driver_domain)",
            passing=backend not in stopped,
        )


def _missing_bridges(host: DomainHost, domain: Definition) -> Refusals:
    for vif in domain.vifs:
        bridges = host.bridges[vif.backend]
        if os.path.basename(vif.script or host.vif_script) != "vif-bridge":
            # Only Xen's default script needs a bridge of the kernel; Open vSwitch has bridges of its own.
            continue
        if vif.bridge and bridges is not None and vif.bridge not in bridges:
            yield _refusal(
                f"Domain {domain.name}",
                f"there is no bridge {vif.bridge!r} in {vif.backend or 'dom0'}",
                f"the bridge of a vif is one of its backend domain, which has: {', '.join(bridges) or 'none'}",
                "Correct bridge, or add it to the bridges of the driver domain; for Open vSwitch set script: vif-openvswitch",
            )


def _too_little_memory(host: DomainHost, starts: t.Sequence[Definition], stops: t.Sequence[Definition]) -> Refusals:
    free = int(host.info.get("free_memory", "0"))
    free += sum(host.domains[d.name].memory for d in [*starts, *stops] if d.name in host.domains)
    needed = sum(d.memory_needed for d in starts)
    # Without dom0_mem xl takes memory from dom0 as it needs it (xl.conf(5), autoballoon="auto").
    if needed > free and "dom0_mem=" in host.info.get("xen_commandline", ""):
        yield _refusal(
            "This host",
            f"the domains to start ({', '.join(d.name for d in starts)}) need {needed} MiB of memory, and {free} MiB are free",
            "the memory of the domains and of dom0 (dom0_mem) must fit into the host",
            "Give the domains less memory, stop others, or lower dom0_memory",
            # No earlier task adds memory to the machine.
            passing=needed <= int(host.info.get("total_memory", needed)),
        )


def _pci_devices(host: DomainHost, starts: t.Sequence[Definition], stops: t.Sequence[Definition]) -> Refusals:
    devices = [(domain, device) for domain in starts for device in domain.pci]
    if devices and not has_iommu(host.info):
        yield _refusal(
            "This host",
            "Xen found no IOMMU",
            "without one no device can be passed through",
            "Enable VT-d or AMD-Vi in the firmware and do not boot Xen with iommu=off; 'xl dmesg' says what Xen found",
            # An earlier task may change the options with which Xen boots, not the machine.
            passing="iommu=" in host.info.get("xen_commandline", ""),
        )
        return
    going = {domain.name for domain in [*starts, *stops]}
    for domain in starts:
        if domain.pci and domain.kind == "hvm" and "hvm_directio" not in host.info.get("virt_caps", "").split():
            yield _refusal(
                f"Domain {domain.name}",
                "Xen cannot pass devices through to a domain of type hvm here",
                "xl info has hvm_directio in virt_caps where it can",
                "Use type: pv",
                passing=False,
            )
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


def _clients(host: DomainHost, domain: Definition, going: t.Collection[str]) -> Refusals:
    for backend, client, kind in host.services:
        if backend == domain.name and client not in going:
            yield _refusal(
                f"Domain {domain.name}",
                f"it serves the {kind} of the running domain {client}",
                "a backend that stops cuts its clients off",
                f"Stop {client} first",
                "serves_clients",
            )
