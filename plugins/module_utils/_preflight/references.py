# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What refers to something else: devices, bridges and backends that are not there, and names that are there twice."""

from __future__ import annotations

import os
import re
import typing as t
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter

from .._domain.vif_options import vif_settings
from .._errors import InvalidInput
from .._pci.match import parse_requests
from .finding import InputFinding, found, meant
from .model import DeclaredDomain, DeclaredHost, backend_of
from .options import Values, label

Findings = t.Iterator[InputFinding]


def undeclared_backends(host: DeclaredHost) -> set[str]:
    """Return the backends that are no domains of this host's variables: only the host knows whether it has them."""
    served = (backend_of(device) for domain in host.domains if domain.claims for _where, device in _served(domain))
    return {name for name in served if name and not host.named(name)}


def check_references(host: DeclaredHost, existing: t.Collection[str] = (), unread: str = "") -> Findings:
    """Yield what is wrong with the devices and domains of a host.

    :param existing: the names and domids of the domains that the host has.
    :param unread: why these are not known, or "".
    """
    for variable, entries in host.devices.items():
        yield from _entries(variable, entries)
    yield from _doubles("name", [(domain.name, domain.where) for domain in host.domains], "each domain of a host has a unique name")
    alive = [domain for domain in host.domains if domain.claims]
    for domain in alive:
        yield from _backends(host, domain, existing, unread)
        yield from _own_bridges(host, domain)
        yield from _pci(host, domain)
    yield from _addresses_of_cards(alive)
    devices = [((host.devices_of[domain.role], name), where) for domain in alive for where, name in domain.pci()]
    yield from _doubles("device", devices, "each device belongs to one domain", show=lambda key: key[1])
    yield from _cycles(host, alive)


def _entries(variable: str, entries: t.Sequence[Values]) -> Findings:
    """Each entry by itself, so that all errors are known at once."""
    same: dict[t.Any, str] = {}
    for index, entry in enumerate(entries):
        where = label(variable, index, entry)
        try:
            (request,) = parse_requests([entry])
        except InvalidInput as exc:
            problem = re.sub(r"^devices\[0\](?: \([^)]*\))?: ", "", exc.problem)
            yield InputFinding(where, problem, exc.rule, exc.remedy or "Correct the entry")
            continue
        if not request.match_all and request.criteria in same:
            yield InputFinding(
                where,
                f"it is the same device as {same[request.criteria]}",
                "one device has one name",
                "Remove one of the two, or correct match",
            )
        same[request.criteria] = where
    names = [(entry.get("name"), label(variable, index, entry)) for index, entry in enumerate(entries)]
    yield from _doubles("name", names, "each device has a unique name")


def _doubles(what: str, claims: t.Iterable[tuple[t.Any, str]], rule: str, show: t.Callable[[t.Any], str] = str) -> Findings:
    owners: dict[t.Any, list[str]] = defaultdict(list)
    for key, where in claims:
        if key:
            owners[key].append(where)
    for key, places in owners.items():
        if len(places) > 1:
            yield InputFinding(places[0], f"the {what} {show(key)!r} is also that of {', '.join(places[1:])}", rule, "Change one of them")


def _served(domain: DeclaredDomain) -> t.Iterator[tuple[str, Values]]:
    """The vifs and disks of a domain, each with its place."""
    yield from domain.items("vifs")
    yield from domain.items("disks")


def _backends(host: DeclaredHost, domain: DeclaredDomain, existing: t.Collection[str], unread: str) -> Findings:
    for where, device in _served(domain):
        name = backend_of(device)
        if not name:
            continue
        backend = host.named(name)
        if backend is None:
            if name not in existing:
                yield _unknown_backend(host, where, name, existing, unread)
        elif domain.state == "running" and backend.state in ("stopped", "absent"):
            yield InputFinding(
                where,
                f"its backend {name} is to be {backend.state}, and {domain.name} is to run",
                "a backend must run before its frontends start",
                f"Change the state of one of them, or let another domain serve {domain.name}",
            )
        elif backend is not domain:
            yield from _order(domain, backend, where)
            yield from _bridge(backend, device, where)


def _unknown_backend(host: DeclaredHost, where: str, name: str, existing: t.Collection[str], unread: str) -> InputFinding:
    known = {"Domain-0", *(domain.name for domain in host.domains if domain.role == "driver_domain")}
    others = sorted(name for name in set(existing) - known if not name.isdecimal())
    return InputFinding(
        where,
        f"its backend {name!r} is not known. Driver domains: {', '.join(sorted(known - {'Domain-0'})) or 'none'}. Other domains that the "
        f"host has: {unread or ', '.join(others) or 'none'}",
        "a backend is Domain-0, an item of driver_domain_domains, or a domain that the host has already",
        meant(name, known),
    )


def _order(domain: DeclaredDomain, backend: DeclaredDomain, where: str) -> Findings:
    if domain.role == "driver_domain" and backend.role == "domu" and domain.state == "running":
        yield InputFinding(
            where,
            f"its backend {backend.name} is an item of domu_domains, which start after all driver domains",
            "a backend must run before its frontends start",
            f"Move {backend.name} to driver_domain_domains",
        )
    if domain.settings.get("autostart") and not backend.settings.get("autostart"):
        yield InputFinding(
            where,
            f"{domain.name} starts with the host, and its backend {backend.name} does not",
            "a backend must run before its frontends start",
            "Set autostart for both or for none, unless something else starts the backend",
            warning=True,
        )


def _bridge(backend: DeclaredDomain, vif: Values, where: str) -> Findings:
    bridge = vif.get("bridge")
    # Only Xen's default script needs a bridge of the kernel, and an image of the user's own may make bridges itself.
    if not bridge or os.path.basename(vif.get("script") or "vif-bridge") != "vif-bridge":
        return
    if backend.role == "driver_domain" and backend.own_image:
        bridges = [str(item.get("name")) for _where, item in backend.items("bridges")]
        switches = [str(item.get("name")) for _where, item in backend.items("bridges") if item.get("switch") == "openvswitch"]
        # One of Open vSwitch is named with the VLANs of the port.
        if bridge not in bridges and re.split("[.:]", bridge)[0] not in switches:
            yield InputFinding(
                where,
                f"there is no bridge {bridge!r} in {backend.name}, which has: {', '.join(bridges) or 'none'}",
                "the bridge of a vif is one of its backend domain",
                meant(bridge, bridges) if bridges else f"Add it to the bridges of {backend.name}",
            )


def _own_bridges(host: DeclaredHost, domain: DeclaredDomain) -> Findings:
    names = [(bridge.get("name"), where) for where, bridge in domain.items("bridges")]
    yield from _doubles("bridge", names, "each bridge of a domain has a unique name")
    owned = [name for _where, name in domain.pci()]
    ports: list[tuple[t.Any, str]] = []
    for where, bridge in domain.items("bridges"):
        for index, port in enumerate(bridge.get("ports") or []):
            place = f"{where}.ports[{index}]"
            ports.append(((port, str(bridge.get("vlan") or "")), place))
            if not host.has_device(domain.role, port):
                yield _unknown_device(host, domain, place, port)
            elif port not in owned:
                yield InputFinding(
                    place,
                    f"the port {port!r} is no device of {domain.name}, which owns: {', '.join(owned) or 'none'}",
                    "the cards of a bridge are in the domain that has the bridge",
                    f"Add {port} to pci of {domain.name}",
                )
    yield from _doubles("port", ports, "a card is in one bridge, or in one for each VLAN", show=lambda key: key[0])


def _pci(host: DeclaredHost, domain: DeclaredDomain) -> Findings:
    for where, name in domain.pci():
        if not host.has_device(domain.role, name):
            yield _unknown_device(host, domain, where, name)


def _unknown_device(host: DeclaredHost, domain: DeclaredDomain, where: str, name: str) -> InputFinding:
    variable = host.devices_of[domain.role]
    names = [f"{entry.get('name')}.0" if entry.get("match_all") else str(entry.get("name")) for entry in host.devices[variable]]
    return InputFinding(
        where,
        f"there is no device {name!r} in {variable}, which has: {', '.join(names) or 'none'}",
        "a device has the name of its entry, and NAME.0, NAME.1 and so on where an entry has match_all",
        meant(name, names) if names else f"Add it to {variable}",
    )


def _addresses_of_cards(domains: t.Sequence[DeclaredDomain]) -> Findings:
    claims: list[tuple[str, str]] = []
    for domain in domains:
        places, vifs = [where for where, _vif in domain.items("vifs")], [dict(vif) for _where, vif in domain.items("vifs")]
        wrong = False
        for where, vif in zip(places, vifs):
            try:
                vif_settings(domain.name, [vif])
            except InvalidInput as exc:
                wrong = True
                yield found(where, InvalidInput(f"the MAC address is {vif.get('mac')!r}", exc.rule, exc.remedy))
        if not wrong:
            claims += zip([vif["mac"] for vif in vif_settings(domain.name, vifs)], places)
    yield from _doubles("MAC address", claims, "each vif has an address of its own")


def _cycles(host: DeclaredHost, domains: t.Sequence[DeclaredDomain]) -> Findings:
    serves = {domain.name: {backend_of(device) for _where, device in _served(domain)} for domain in domains}
    serves = {name: backends & set(serves) for name, backends in serves.items()}
    while True:
        try:
            TopologicalSorter(serves).prepare()
        except CycleError as exc:
            # Each name serves the next one.
            cycle: list[str] = exc.args[1]
            domain = host.named(cycle[-1])
            yield InputFinding(
                domain.where if domain else "domains",
                f"{' serves '.join(cycle)}: none of them can start",
                "a backend must run before its frontends start",
                "Let another domain serve one of them",
            )
            serves[cycle[-1]] = serves[cycle[-1]] - {cycle[-2]}
            continue
        return
