# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What is wrong with the host itself: Xen, its tools, isolation, memory and units."""

from __future__ import annotations

import re
import typing as t

from .._boot_options import mebibytes
from .._domain.boot_findings import is_silo
from .._xen.xl import has_interrupt_remapping, has_iommu
from .facts import HostFacts
from .finding import HostFinding

#: MiB with which the programs of dom0 get along.
LOW_MEMORY = 64
#: What dom0 may have less than it was booted with: the kernel keeps some for itself.
_TOLERATED = 0.95
#: What Xen says when the IOMMU has stopped an access: for Intel (xen/drivers/passthrough/vtd/iommu.c) and AMD (amd/iommu_init.c).
_FAULT = re.compile(r"(?:DMAR:\[|IO_PAGE_FAULT).*?\b([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\b")


def check_host(facts: HostFacts) -> t.Iterator[HostFinding]:
    """Return what is wrong with the host itself."""
    yield from (HostFinding("not-readable", what, why) for what, why in facts.unread.items())
    if facts.xen is None:
        yield HostFinding("no-xen", "host", "the kernel does not report any hypervisor called xen")
        return
    if not facts.control:
        yield HostFinding("not-dom0", "host", "/proc/xen/capabilities does not have control_d")
        return
    running = ".".join(map(str, facts.xen))
    if facts.silent:
        yield HostFinding("xenstore-silent", "XenStore", facts.silent)
    if facts.other_tools:
        yield HostFinding("tools-missing", "Xen", f"Xen {running} runs, and there are tools for {', '.join(facts.other_tools)}")
    if facts.newer:
        yield HostFinding("other-xen-next-boot", "Xen", f"Xen {running} runs, and /boot has {', '.join(facts.newer)}")
    yield from (HostFinding("unit-failed", unit, "systemd reports that it has failed") for unit in facts.failed_units)
    yield from (HostFinding("held-back", name, why) for name, why in facts.held_back.items())
    if facts.info is not None:
        yield from _isolation(facts, facts.info)
        yield from _memory(facts, facts.info)


def _isolation(facts: HostFacts, info: t.Mapping[str, str]) -> t.Iterator[HostFinding]:
    dmesg = facts.dmesg or ""
    iommu = has_iommu(info)
    if not iommu:
        yield HostFinding("no-iommu", "Xen", f"virt_caps of 'xl info' is {info.get('virt_caps') or 'empty'}, without pv_directio")
    # Arm has no such thing: its interrupt controller knows who sends.
    if iommu and info.get("machine", "").startswith("x86") and facts.dmesg is not None:
        remapped = has_interrupt_remapping(dmesg)
        if remapped is False:
            yield HostFinding("no-interrupt-remapping", "Xen", "Xen said at boot: Interrupt remapping disabled")
        elif remapped is None:
            yield HostFinding("interrupt-remapping-unknown", "Xen", "'xl dmesg' has no line about it")
    if is_silo(dmesg, info.get("xen_commandline", "")):
        yield HostFinding("xsm-silo", "Xen", "its command line or its log says SILO")
    faults = _FAULT.findall(dmesg)
    for bdf in sorted(set(faults)):
        yield HostFinding("dma-fault", bdf, f"'xl dmesg' has {faults.count(bdf)} faults of it")


def _memory(facts: HostFacts, info: t.Mapping[str, str]) -> t.Iterator[HostFinding]:
    settings = re.findall(r"(?:^|\s)dom0_mem=(\S+)", info.get("xen_commandline", ""))
    if not settings:
        yield HostFinding("dom0-memory-not-fixed", "dom0", "Xen's command line has no dom0_mem")
    elif facts.autoballoon in ("on", "1"):
        yield HostFinding("dom0-memory-not-fixed", "dom0", f"xl.conf has autoballoon={facts.autoballoon}")
    dom0 = (facts.domains or {}).get(0)
    # What follows "min:" or "max:" is no size of its own, and "-" is what dom0 leaves to others.
    plain = [part for part in settings[-1].split(",") if part[:1].isdecimal()] if settings else []
    booted = mebibytes(plain[0], "k") if plain else None
    if dom0 and booted and dom0.domain.memory < booted * _TOLERATED:
        yield HostFinding("dom0-ballooned", "dom0", f"it was booted with {booted:g} MiB and has {dom0.domain.memory} MiB")
    if facts.available is not None and facts.available < LOW_MEMORY:
        yield HostFinding("dom0-memory-low", "dom0", f"{facts.available} MiB are available (/proc/meminfo)")
    free = info.get("free_memory", "")
    if facts.domains is not None and free.isdecimal():
        present = {own.domain.name for own in facts.domains.values()}
        missing = {name: own.memory for name, own in facts.definitions.items() if own.unit and name not in present | facts.stopped}
        if sum(missing.values()) > int(free):
            needed = ", ".join(f"{name} {size}" for name, size in missing.items())
            yield HostFinding("not-enough-memory", "Xen", f"{free} MiB are free, and these domains do not run (MiB): {needed}")
