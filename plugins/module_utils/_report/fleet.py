# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the modules say about the hosts of a fleet, as the report shows it: who serves whom, and in which state. For the controller."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

#: How a host or a domain is, the worst first. The report has a word, a sign and a colour for each.
UNREACHED, PROBLEM, WARNING, GOOD = "unreached", "problem", "warning", "good"
STATES = (UNREACHED, PROBLEM, WARNING, GOOD)
#: What a domain is.
DOM0, DRIVER, GUEST = "dom0", "driver domain", "guest"
VIF, DISK = "vif", "disk"
#: What is said of a backend that devices still refer to.
GONE = "gone"

#: The severities of findings of the module driver_domain_doctor. A note says what is only not known.
_SEVERITIES = {"error": PROBLEM, "warning": WARNING, "note": GOOD}
#: States of xenbus (xen/include/public/io/xenbus.h).
_XENBUS = {
    "": "missing",
    "1": "initialising",
    "2": "waiting to be initialised",
    "3": "initialised",
    "4": "connected",
    "5": "closing",
    "6": "closed",
}
#: The letters of `xl list` that matter, the worst first.
_LETTERS = (("c", "crashed", PROBLEM), ("s", "shut down", PROBLEM), ("d", "dying", WARNING), ("p", "paused", WARNING))
#: So many of the last recoveries are shown.
_LAST = 5

Result = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Link:
    """A device of a domain that another one serves."""

    client: str
    kind: str
    #: What the kind and the number of a device are called together, such as `vif 0`.
    noun: str
    #: The name of the domain that serves it, or what is known of one that is gone.
    backend: str
    #: Where it is, and its address.
    detail: str
    #: Why it does not work, or "".
    trouble: str

    @property
    def works(self) -> bool:
        """Whether data can flow."""
        return not self.trouble


@dataclass(frozen=True)
class FleetDomain:
    """A domain that runs, that should, or that something still refers to."""

    name: str
    kind: str
    state: str
    #: The state in words.
    words: str
    #: -1 for one that does not run.
    domid: int = -1
    memory: int = 0
    vcpus: int = 0
    pci: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    #: The names of the domains that it serves, each with the number of devices.
    serves: tuple[tuple[str, int], ...] = ()

    @property
    def worst(self) -> str:
        """The state of the domain and of its devices together."""
        return _worst([self.state, *(GOOD if link.works else PROBLEM for link in self.links)])


@dataclass(frozen=True)
class FleetFinding:
    """Something that is wrong on a host."""

    #: The kind of finding, or "" for what only the states show.
    id: str
    #: As the module driver_domain_doctor calls it: error, warning, note.
    severity: str
    object: str
    problem: str

    @property
    def state(self) -> str:
        """How much of a problem that is."""
        return _SEVERITIES[self.severity]


@dataclass(frozen=True)
class Kind:
    """What all findings with one id mean."""

    id: str
    severity: str
    meaning: str
    remedy: str

    @property
    def state(self) -> str:
        """How much of a problem they are."""
        return _SEVERITIES[self.severity]


@dataclass(frozen=True)
class FleetHost:
    """A host with its domains."""

    name: str
    #: Why nothing is known about it, or "".
    failure: str = ""
    unreached: bool = False
    #: What is known about the host itself, in words.
    facts: tuple[str, ...] = ()
    domains: tuple[FleetDomain, ...] = ()
    findings: tuple[FleetFinding, ...] = ()
    #: The last lines of the recovery service.
    recoveries: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """The worst that is known about it."""
        if self.failure:
            return UNREACHED if self.unreached else PROBLEM
        return _worst([*(domain.worst for domain in self.domains), *(finding.state for finding in self.findings)])

    def of_kind(self, kind: str) -> list[FleetDomain]:
        """Return the domains that are drivers, guests or dom0."""
        return [domain for domain in self.domains if domain.kind == kind]

    @property
    def links(self) -> list[Link]:
        """All devices of its domains."""
        return [link for domain in self.domains for link in domain.links]


def read_fleet(hosts: t.Mapping[str, Result]) -> tuple[list[FleetHost], list[Kind]]:
    """Return the hosts, and the kinds of findings that they have, the worst first.

    :param hosts: by their names, the results `info` and `domains` of the modules xl_info and xl_domain_info, the result `doctor`
        of driver_domain_doctor if there is one, and the names of the `drivers` and `guests` that should run. A result may also be that of
        a task that failed, was skipped, or could not reach the host.
    """
    fleet: list[FleetHost] = []
    kinds: dict[str, Kind] = {}
    for name, raw in hosts.items():
        fleet.append(_host(str(name), raw))
        for finding in _found(raw):
            severity = _severity(_text(finding, "severity"))
            kind = Kind(_text(finding, "id"), severity, _text(finding, "meaning"), _text(finding, "remedy"))
            kinds.setdefault(kind.id, kind)
    order = list(_SEVERITIES)
    return fleet, sorted(kinds.values(), key=lambda kind: (order.index(kind.severity), kind.id))


def _host(name: str, raw: Result) -> FleetHost:
    info, listed = _result(raw, "info"), _result(raw, "domains")
    for result in (info, listed):
        if result.get("unreachable") or result.get("failed"):
            reason = " ".join(_text(result, "msg").split()) or "no reason was given"
            return FleetHost(name, failure=reason, unreached=bool(result.get("unreachable")))
    if "xen" not in info:
        return FleetHost(name, failure="The run ended before this host was asked", unreached=True)
    if "domains" not in listed:
        reason = "It does not run Xen" if not info["xen"] else "This is not the dom0 of its host"
        return FleetHost(name, failure=reason, findings=tuple(_findings(_found(raw), (), {})))
    recovery = listed.get("recovery") or {}
    domains = _domains(raw, listed["domains"], recovery)
    doctor = _result(raw, "doctor")
    facts = [f"Xen {_text(info, 'version')}", f"{info.get('free_memory', 0)} of {info.get('total_memory', 0)} MiB free"]
    facts.append("IOMMU" if info.get("iommu") else "no IOMMU")
    facts.append(f"recovery service {'runs' if recovery else 'does not run'}")
    if "findings" not in doctor:
        facts.append("not examined by the doctor" + (f": {_text(doctor, 'msg')}" if doctor.get("failed") else ""))
    return FleetHost(
        name,
        facts=tuple(facts),
        domains=tuple(domains),
        findings=tuple(_findings(_found(raw), domains, recovery)),
        recoveries=tuple(str(line) for line in recovery.get("recoveries", [])[-_LAST:]),
    )


def _domains(raw: Result, listed: t.Sequence[Result], recovery: Result) -> list[FleetDomain]:
    """Return dom0, the driver domains and the guests, each sorted by name."""
    running = {domain["domid"]: _text(domain, "name") for domain in listed}
    links = {domain["domid"]: _links(domain, running, recovery) for domain in listed}
    serves: dict[str, dict[str, int]] = {}
    for link in (link for found in links.values() for link in found):
        clients = serves.setdefault(link.backend, {})
        clients[link.client] = clients.get(link.client, 0) + 1
    ready = {_text(backend, "name"): bool(backend.get("ready")) for backend in recovery.get("backends", ())}
    drivers = {*map(str, raw.get("drivers") or ()), *serves} | {_text(domain, "name") for domain in listed if domain.get("status")}
    found = []
    for domain in listed:
        name = _text(domain, "name")
        kind = DOM0 if domain["domid"] == 0 else DRIVER if name in drivers else GUEST
        state, words = _state(domain, ready.get(name) if kind == DRIVER else None)
        found.append(
            FleetDomain(
                name,
                kind,
                state,
                words,
                domid=domain["domid"],
                memory=domain.get("memory", 0),
                vcpus=domain.get("vcpus", 0),
                pci=tuple(map(str, domain.get("pci", ()))),
                links=tuple(links[domain["domid"]]),
                serves=tuple(sorted(serves.get(name, {}).items())),
            )
        )
    aside = {str(name) for name in recovery.get("aside", ())}
    declared = {**dict.fromkeys(map(str, raw.get("guests") or ()), GUEST), **dict.fromkeys(map(str, raw.get("drivers") or ()), DRIVER)}
    for name, kind in {**dict.fromkeys(serves, DRIVER), **declared}.items():
        if name not in running.values():
            words = "not running" if name in declared else GONE
            words += ", left alone by the recovery service" if name in aside else ""
            state = WARNING if name in aside else PROBLEM
            found.append(FleetDomain(name, kind, state, words, serves=tuple(sorted(serves.get(name, {}).items()))))
    order = (DOM0, DRIVER, GUEST)
    return sorted(found, key=lambda domain: (order.index(domain.kind), natural(domain.name), domain.domid))


def _state(domain: Result, ready: bool | None) -> tuple[str, str]:
    """Return the state of a domain that is there, and that in words.

    :param ready: what the recovery service says about it, which knows the key by which it reports that.
    """
    flags, status = _text(domain, "flags"), _text(domain, "status")
    for letter, words, state in _LETTERS:
        if letter in flags:
            return state, words
    if status == "error":
        return PROBLEM, f"reports an error: {_text(domain, 'reason') or 'it gives no reason'}"
    if ready is False or (ready is None and status not in ("", "ready")):
        return PROBLEM, "running, not ready"
    return GOOD, "running, ready" if ready or status == "ready" else "running"


def _links(domain: Result, running: t.Mapping[int, str], recovery: Result) -> list[Link]:
    """Return the devices of a domain, with those that are detached and wait for their backend."""
    name = _text(domain, "name")
    last = {(_text(c, "name"), c.get("kind"), c.get("devid")): _text(c, "backend") for c in recovery.get("clients", ())}
    found = []
    for kind, own in ((VIF, "vifs"), (DISK, "vbds")):
        for device in domain.get(own, ()):
            number = device["devid"]
            backend = _text(device, "backend") or last.get((name, own[:-1], number), "") or f"domain {device['backend_id']}"
            noun = f"vif {number}" if kind == VIF else f"disk {_text(device, 'vdev') or number}"
            detail = ", ".join(filter(None, (_text(device, "bridge"), _text(device, "mac")))) if kind == VIF else ""
            found.append(Link(name, kind, noun, backend, detail, _trouble(device, running)))
    for device in recovery.get("waiting", ()):
        if _text(device, "name") == name:
            kind, identity = VIF if device.get("kind") == "vif" else DISK, _text(device, "identity")
            noun = f"vif {device.get('devid')}" if kind == VIF else f"disk {identity or device.get('devid')}"
            trouble = "detached, waits for its backend"
            found.append(Link(name, kind, noun, _text(device, "backend"), identity if kind == VIF else "", trouble))
    return found


def _trouble(device: Result, running: t.Collection[int]) -> str:
    """Say why a device does not work, or ""."""
    if device["backend_id"] not in running:
        return f"its backend, domain {device['backend_id']}, is gone"
    if device.get("connected"):
        return ""
    if device.get("hotplug_error") or device.get("hotplug_status") == "error":
        return f"hotplug script failed: {_text(device, 'hotplug_error') or 'it gave no reason'}"
    ends = {end: _text(device, f"{end}_state") for end in ("frontend", "backend")}
    words = ", ".join(f"{end} {_XENBUS.get(state, f'in state {state}')}" for end, state in ends.items())
    return f"not connected: {words}" if set(ends.values()) != {"4"} else "not connected: its hotplug script has not ended"


def _findings(found: t.Sequence[Result], domains: t.Sequence[FleetDomain], recovery: Result) -> list[FleetFinding]:
    """Return what the doctor found, and what the states show about other objects."""
    findings = [
        FleetFinding(_text(item, "id"), _severity(_text(item, "severity")), _text(item, "object"), _text(item, "problem")) for item in found
    ]
    own = []
    for domain in domains:
        # What lacks a backend that nobody has declared says so itself.
        if domain.state != GOOD and domain.words != GONE:
            own.append(FleetFinding("", "error" if domain.state == PROBLEM else "warning", domain.name, domain.words))
        own += [FleetFinding("", "error", f"{link.client}: {link.noun}", link.trouble) for link in domain.links if not link.works]
    given_up = len(recovery.get("given_up", ()))
    if given_up and not any(finding.id == "recovery-given-up" for finding in findings):
        problem = f"has given up on {given_up} {'case' if given_up == 1 else 'cases'}: see journalctl -u xen-domain-recovery there"
        own.append(FleetFinding("", "error", "recovery service", problem))
    order = list(_SEVERITIES)
    # The doctor may have said as much about it, or only something else.
    said = {(finding.object, severity) for finding in findings for severity in order[order.index(finding.severity) :]}
    findings += [finding for finding in own if (finding.object, finding.severity) not in said]
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _found(raw: Result) -> list[Result]:
    return list(_result(raw, "doctor").get("findings") or ())


def _result(raw: Result, key: str) -> Result:
    found = raw.get(key)
    return found if isinstance(found, t.Mapping) else {}


def _severity(text: str) -> str:
    """Return a severity; one that is not known is a warning."""
    return text if text in _SEVERITIES else "warning"


def _text(values: Result, key: str) -> str:
    """Return a value as text. What a guest wrote is neither a number nor a template."""
    value = values.get(key)
    return "" if value is None else str(value)


def _worst(states: t.Iterable[str]) -> str:
    return min(states, key=STATES.index, default=GOOD)


def natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts names as people do: `web2` before `web10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]
