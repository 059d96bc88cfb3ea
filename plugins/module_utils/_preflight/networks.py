# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Addresses and gateways of the interfaces that the domains of a host have."""

from __future__ import annotations

import ipaddress
import typing as t
from collections import defaultdict

from .._errors import InvalidInput
from .._networks import AUTO, DHCP, as_list
from .._words import check_address
from .finding import InputFinding, found
from .model import DeclaredDomain, backend_of
from .options import Values

#: A network that a host has: the domain that has the bridge, the bridge, and the VLANs.
Network = tuple[str, str, str]


class _Claim(t.NamedTuple):
    """An address that an interface has."""

    where: str
    interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    networks: frozenset[Network]


def check_networks(domains: t.Sequence[DeclaredDomain]) -> t.Iterator[InputFinding]:
    """Yield what is wrong with addresses and gateways."""
    claims: dict[t.Any, list[_Claim]] = defaultdict(list)
    for domain in domains:
        if domain.claims:
            for where, settings, networks in _interfaces(domain):
                try:
                    gateways = [
                        ipaddress.ip_address(check_address(text, "gateway", prefix=False)) for text in as_list(settings.get("gateway"))
                    ]
                    addresses = [
                        ipaddress.ip_interface(check_address(text, "address"))
                        for text in as_list(settings.get("address"))
                        if text not in (DHCP, AUTO)
                    ]
                except InvalidInput as exc:
                    yield found(where, InvalidInput(exc.problem, exc.rule, exc.remedy or "Correct it"))
                    continue
                for interface in addresses:
                    claims[interface.ip].append(_Claim(where, interface, networks))
                    yield from _one(where, interface)
                for gateway in gateways:
                    yield from _gateway(where, gateway, [address for address in addresses if address.version == gateway.version])
    for same in claims.values():
        yield from _doubles(same)


def _interfaces(domain: DeclaredDomain) -> t.Iterator[tuple[str, Values, frozenset[Network]]]:
    """The interfaces of a domain: place, settings, and the networks that they are in."""
    for where, bridge in domain.items("bridges"):
        yield where, bridge, frozenset({(domain.name, str(bridge.get("name")), "")})
    vifs = [(where, vif, _network(vif)) for where, vif in domain.items("vifs")]
    for where, vif, network in vifs:
        yield where, vif, frozenset({network})
    for where, bond in domain.items("bonds"):
        ports = bond.get("vifs")
        yield where, bond, frozenset(network for index, (_where, _vif, network) in enumerate(vifs) if ports is None or index in ports)


def _network(vif: Values) -> Network:
    return backend_of(vif), str(vif.get("bridge") or ""), str(vif.get("vlan") or "")


def _one(where: str, interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> t.Iterator[InputFinding]:
    network = interface.network
    if network.version == 4 and network.prefixlen < 31 and interface.ip in (network.network_address, network.broadcast_address):
        yield InputFinding(
            where,
            f"{interface} is the address of the network {network} itself, or its broadcast address",
            "an interface has one of the addresses between them",
            f"Use one from {network.network_address + 1} to {network.broadcast_address - 1}",
        )


def _gateway(
    where: str,
    gateway: ipaddress.IPv4Address | ipaddress.IPv6Address,
    addresses: t.Sequence[ipaddress.IPv4Interface | ipaddress.IPv6Interface],
) -> t.Iterator[InputFinding]:
    if not addresses:
        yield InputFinding(
            where,
            f"there is a gateway {gateway} and no static address",
            "a gateway goes with a static address; DHCP brings one with it",
            "Set address, with prefix length, or leave the gateway out",
        )
        return
    itself = any(gateway == address.ip for address in addresses)
    # Routers of IPv6 are reached by addresses that are in no prefix.
    if itself or not (gateway.is_link_local or any(gateway in address.network for address in addresses)):
        first = addresses[0]
        yield InputFinding(
            where,
            f"the gateway {gateway} is " + ("the interface itself" if itself else f"not in the network {first.network} of {first}"),
            "a gateway is another address in the network of the interface",
            "Correct the gateway, or the prefix length of the address",
        )


def _doubles(claims: t.Sequence[_Claim]) -> t.Iterator[InputFinding]:
    """The same address in one network is an error; in another one of the same host it may be meant, because networks can be separate."""
    for number, claim in enumerate(claims):
        for other in claims[:number]:
            if not claim.interface.network.overlaps(other.interface.network):
                continue
            shared = bool(claim.networks & other.networks)
            yield InputFinding(
                claim.where,
                f"the address {claim.interface.ip} is also that of {other.where}" + ("" if shared else ", on another bridge"),
                "each interface in a network has an address of its own",
                "Change one of them" + ("" if shared else ", unless the two bridges are separate networks"),
                warning=not shared,
            )
