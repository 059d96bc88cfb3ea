# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What is wrong with the domains: whether they run, serve and are served, and whether they come back when something ends."""

from __future__ import annotations

import typing as t

from .._domain.devices import VIF, PvDevice, broken, lost_backend
from .._printable import printable_line
from .._recovery.files import INCOMPLETE
from .._recovery.model import ALL
from .facts import DomainFacts, HostFacts
from .finding import HostFinding

#: The part of its quota that a domain may use.
_FULL = 0.8
#: Xen's script for bridges; others take what they like for a bridge.
_BRIDGE_SCRIPT = "vif-bridge"


def check_domains(facts: HostFacts) -> t.Iterator[HostFinding]:
    """Return what is wrong with the domains, and with what recovers them."""
    domains = facts.domains or {}
    names = facts.names
    for domid, own in domains.items():
        yield from _state(domid, own)
        if own.domain.alive:
            yield from _reports(domid, own)
            yield from _devices(own, domains, names)
            yield from (HostFinding("left-behind", own.domain.name, path) for path in own.left_behind)
        if own.nodes > facts.quota * _FULL:
            yield HostFinding("xenstore-quota", own.domain.name, f"it owns {own.nodes} of {facts.quota} nodes")
    present = {own.domain.name for own in domains.values()}
    for name, definition in facts.definitions.items():
        if facts.domains is not None and definition.active and name not in present:
            yield HostFinding("domain-ended", name, "its unit is active, and 'xl list' does not have it")
        if definition.missing:
            yield HostFinding("definition-file", name, f"there is no {', '.join(definition.missing)}")
    yield from _recovery(facts)


def _state(domid: int, own: DomainFacts) -> t.Iterator[HostFinding]:
    domain = own.domain
    if "d" in domain.flags or domain.name == "(null)":
        yield HostFinding("zombie-domain", f"{domain.name} ({domid})", f"its state is {domain.flags}, and it has {domain.memory} MiB")
    elif domain.suspended:
        # It may go on, so it must not look like one that can be destroyed.
        yield HostFinding("domain-suspended", domain.name, f"domain {domid} is suspended")
    elif not domain.alive:
        state = "has crashed" if "c" in domain.flags else "has shut down"
        yield HostFinding("domain-kept", domain.name, f"domain {domid} {state} and is still there")
    elif domain.paused and own.kept is None:
        yield HostFinding("domain-unfinished", domain.name, f"domain {domid} is paused, and libxl has no configuration of it")
    elif domain.paused:
        yield HostFinding("domain-paused", domain.name, f"domain {domid} is paused")
    if domain.alive and domid and own.kept and not own.watched and not _without_xl(own):
        yield HostFinding("domain-unwatched", domain.name, f"no xl has xl-{domain.name}.log open")


def _without_xl(own: DomainFacts) -> bool:
    """Whether no xl ever watches the domain: a stub domain, and one that Xen started (dom0less), of which libxl keeps next to nothing."""
    return own.domain.name.endswith("-dm") or not (own.kept or {}).get("b_info")


def _reports(domid: int, own: DomainFacts) -> t.Iterator[HostFinding]:
    name = own.domain.name
    if domid == 0 or own.domain.paused:
        return
    if own.status == "error":
        yield HostFinding("domain-error", name, printable_line(own.error or "it gave no reason"))
    elif own.status is not None and own.status != own.expected:
        yield HostFinding("domain-not-ready", name, f"it reports {printable_line(own.status)!r}, not {own.expected!r}")
    elif own.status is None and own.clients:
        yield HostFinding("readiness-unknown", name, f"it serves {', '.join(sorted(own.clients))}")
    if own.clients and own.kept is not None:
        # libxl leaves out what is the default.
        action = str(own.kept.get("on_crash", "destroy")).replace("-", "_")
        if action == "preserve":
            yield HostFinding("keeps-after-crash", name, f"its on_crash is {action}")


def _devices(own: DomainFacts, domains: t.Mapping[int, DomainFacts], names: t.Mapping[int, str]) -> t.Iterator[HostFinding]:
    client = own.domain.name
    for device in own.devices:
        what = f"{client}: {device}"
        lost = lost_backend(device, names)
        failed = broken(device)
        if lost:
            yield HostFinding(f"stale-{device.kind}-backend", what, lost)
        elif failed:
            where = device.backend or str(device.backend_id)
            yield HostFinding("hotplug-failed", what, f"{failed}{own.logs.get(device.home, '')}; its backend is {where}")
        elif not device.connected and not own.domain.paused:
            yield HostFinding("not-connected", what, f"{device.states}; its backend is {device.backend or device.backend_id}")
        if not lost:
            yield from _bridge(what, device, domains)
    for other in own.others:
        if other.backend not in names:
            yield HostFinding("stale-backend", f"{client}: {other.kind} {other.devid}", f"its backend, domain {other.backend}, is gone")


def _bridge(what: str, device: PvDevice, domains: t.Mapping[int, DomainFacts]) -> t.Iterator[HostFinding]:
    bridges = domains[device.backend_id].bridges if device.backend_id in domains else None
    script = device.made.get("script", "").rpartition("/")[2]
    if device.kind == VIF and device.bridge and bridges is not None and script == _BRIDGE_SCRIPT and device.bridge not in bridges:
        has = printable_line(" ".join(bridges)) or "none"
        yield HostFinding("bridge-missing", what, f"it is to be on {device.bridge}, and {device.backend} has: {has}")


def _recovery(facts: HostFacts) -> t.Iterator[HostFinding]:
    recovery = facts.recovery
    serving = {own.domain.name: own.clients for domid, own in (facts.domains or {}).items() if domid and own.clients}
    stale = any(device.backend_id for own in (facts.domains or {}).values() for device in own.devices)
    if not recovery.installed and (serving or stale):
        yield HostFinding("no-recovery", "dom0", "there are clients of driver domains, and xen-domain-recovery.service is not installed")
    elif recovery.installed == INCOMPLETE:
        yield HostFinding("recovery-stopped", "xen-domain-recovery.service", "it is not whole, not enabled, or does not run")
    elif recovery.installed:
        for name in sorted(set(serving) - recovery.declared):
            yield HostFinding(
                "not-recovered", name, f"it serves {', '.join(sorted(serving[name]))}, and the service has no definition of it"
            )
    # Without the service, its orders are still in XenStore.
    for name in sorted(recovery.paused if recovery.installed else ()):
        yield HostFinding("recovery-paused", "all domains" if name == ALL else name, "it is paused by an operator")
    for text in recovery.given_up:
        yield HostFinding("recovery-given-up", text, "it has failed too often within an hour")
    for device_name, backend in recovery.waiting:
        yield HostFinding("recovery-waiting", device_name, f"it waits for {backend}")
