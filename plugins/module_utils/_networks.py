# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The networks that a driver domain makes for its guests, and the addresses that interfaces have: from the model of the inventory to words
of a kernel command line, which xendd reads in the domain's image."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ._errors import InvalidInput
from ._words import check_address, check_word

Settings = t.Mapping[str, t.Any]
#: An interface takes its address from elsewhere: by DHCP, or by IPv6 router advertisements.
DHCP, AUTO = "dhcp", "auto"
#: What a bridge can be beside a plain one, and what an image needs for it: a key of `__guest_image_networks` of the role guest_image.
FEATURES = ("vlan", "vlan_aware", "bond", "forward", "dhcp", "openvswitch")
#: The modes of a bond whose ports may be those of a bridge, with the names of the kernel (bonding.rst).
BOND_MODES = ("active-backup", "802.3ad", "balance-xor")
SWITCHES = ("linux", "openvswitch")
#: With less, there is no IPv6 (RFC 8200); xen-netback takes no more (65535 less an Ethernet header with a tag).
MTU_RANGE = (1280, 65517)
#: Options of a bridge that only an image of the collection knows.
_EXTRA = ("mtu", "vlan", "vlan_aware", "bond", "forward", "dhcp", "dns", "switch")


def as_list(value: t.Any) -> list[t.Any]:
    """Return a value that may be one, several or none. A role's argument_specs converts nothing inside of a list."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def address_words(interface: str, settings: Settings) -> list[str]:
    """Return the parameters of xendd for the addresses of an interface.

    :param settings: with `address` and `gateway`, each of which may be a list.
    :raises InvalidInput: one of them is malformed, or a gateway goes with none of the addresses.
    """
    addresses = as_list(settings.get("address"))
    gateways: dict[int, str] = {}
    for gateway in as_list(settings.get("gateway")):
        version: int = ipaddress.ip_address(check_address(gateway, interface, prefix=False)).version
        if version in gateways:
            raise InvalidInput(f"{interface}: there are two gateways for IPv{version}", rule="an interface has one of each kind")
        gateways[version] = gateway
    words = []
    for address in addresses:
        parts = [interface, address]
        if address not in (DHCP, AUTO):
            version = ipaddress.ip_interface(check_address(address, interface)).version
            parts += filter(None, [gateways.pop(version, "")])
        words.append("xendd.address=" + ",".join(parts))
    # Without any address, preflight reports it; a domain is served all the same.
    if addresses and gateways:
        version, gateway = next(iter(gateways.items()))
        other = next((address for address in addresses if address in (DHCP, AUTO)), None)
        if other == DHCP and version == 4:
            raise InvalidInput(f"{interface}: there is a gateway {gateway!r} beside dhcp", rule="DHCP brings the gateway with it")
        raise InvalidInput(
            f"{interface}: there is a gateway {gateway!r} and no static address of IPv{version}",
            rule="a gateway goes with a static address",
        )
    return words


def source_addresses(vif: Settings, number: int, bonds: t.Sequence[Settings] = ()) -> str | None:
    """Return the `ip` of a vif: what its backend holds it to. None for a vif that may send from any address.

    By default these are the addresses that the inventory gives to the vif, or to the bond that it is in.

    :param number: that of the vif.
    :raises InvalidInput: `ip` holds something other than addresses and networks, or the frames of the vif have tags, which do not pass.
    """
    text = vif.get("ip")
    if text is None:
        if not vif.get("backend") or vif["backend"] in ("0", "Domain-0"):
            return None
        own = as_list(vif.get("address"))
        for bond in bonds:
            if bond.get("vifs") is None or str(number) in map(str, bond["vifs"]):
                own += as_list(bond.get("address"))
        text = " ".join(str(ipaddress.ip_interface(check_address(address)).ip) for address in own if address not in (DHCP, AUTO))
    if not text:
        return None
    where = f"vif {number}"
    if has_default_script(vif.get("script")):
        for word in text.split():
            try:
                ipaddress.ip_network(word)
            except ValueError as exc:
                host, _slash, _length = word.partition("/")
                raise InvalidInput(
                    f"{where}: {word!r} in ip is neither an address nor a network: {exc}",
                    rule="a vif may send from the addresses and networks in ip, and from no others",
                    remedy=f"Use {host} for that address alone, or write a network without the bits of a host",
                ) from exc
    tagged = [term for term in str(vif.get("vlan") or "").split("/") if term and term[-1] not in "pu"]
    if tagged or ":" in str(vif.get("bridge") or ""):
        raise InvalidInput(
            f"{where}: it has tagged VLANs ({vif.get('vlan') or vif.get('bridge')}) and addresses ({text})",
            rule="frames with a VLAN tag do not pass the rules that hold a vif to its addresses",
            remedy="Set ip to '' for a vif that may send from any address, or give the guest a vif for each VLAN",
        )
    return text


def has_default_script(script: str | None) -> bool:
    """Return whether a vif has Xen's default script, so that what the collection knows about it holds."""
    return not script or script.rsplit("/", 1)[-1] == "vif-bridge"


def network_features(bridges: t.Sequence[Settings]) -> list[str]:
    """Return which of `FEATURES` these bridges need of an image."""
    needs = {
        "vlan": any(bridge.get("vlan") for bridge in bridges),
        "vlan_aware": any(bridge.get("vlan_aware") for bridge in bridges),
        "bond": any(bridge.get("bond") for bridge in bridges),
        "forward": any(bridge.get("forward") for bridge in bridges),
        "dhcp": any(bridge.get("dhcp") for bridge in bridges),
        "openvswitch": any(bridge.get("switch") == "openvswitch" for bridge in bridges),
    }
    return [name for name in FEATURES if needs[name]]


def check_bridges(
    bridges: t.Sequence[Settings], image: str | None, vifs: t.Sequence[Settings] = (), devices: t.Collection[str] = ()
) -> None:
    """Check the bridges of a driver domain, apart from the devices that their ports name.

    :param image: minimal or debian; None for an image that is not of the collection.
    :param vifs: the domain's own vifs, over which it may reach the network.
    :param devices: names of the PCI devices that it owns.
    :raises InvalidInput: a bridge cannot be made, or not by this image.
    """
    # A Wi-Fi card or a modem is no port. Its network is set up inside of the domain, which needs a system that keeps files.
    ports = [port for bridge in bridges for port in bridge.get("ports") or []]
    other_way = image == "debian" and any(device not in ports for device in devices)
    for bridge in bridges:
        name = check_word("bridge", bridge["name"], "bridges")
        extra = [key for key in _EXTRA if bridge.get(key) not in (None, False, [], "", "linux")]
        if extra and image is None:
            raise InvalidInput(
                f"{name}: {extra[0]} is for an image of the collection, and this domain has none",
                rule="an image reads its networks from the kernel command line",
                remedy=f"Set up the network in the domain's own system, and leave out {', '.join(extra)}",
            )
        _check_kind(name, bridge, image)
        _check_forward(name, bridge, [*(other for other in bridges if other is not bridge), *vifs], other_way)
        if bridge.get("dhcp"):
            dhcp_range(name, bridge)
        elif bridge.get("dns"):
            raise InvalidInput(
                f"{name}: there is dns without dhcp", rule="dns are the servers that the DHCP and DNS server of a bridge asks"
            )
        for server in as_list(bridge.get("dns")):
            check_address(server, f"{name}, dns", prefix=False)
    _check_ports(bridges)


def _check_kind(name: str, bridge: Settings, image: str | None) -> None:
    mtu, vlan, mode, switch = (bridge.get(key) for key in ("mtu", "vlan", "bond", "switch"))
    if mtu is not None and not MTU_RANGE[0] <= _number(name, "mtu", mtu) <= MTU_RANGE[1]:
        raise InvalidInput(
            f"{name}: mtu is {mtu}",
            rule=f"the MTU of a bridge is {MTU_RANGE[0]} to {MTU_RANGE[1]}, and its cards must be able to do it",
            remedy="Use e.g. 9000 for jumbo frames, or leave it out",
        )
    if vlan is not None:
        if not 1 <= _number(name, "vlan", vlan) <= 4094:
            raise InvalidInput(f"{name}: vlan is {vlan}", rule="a VLAN has a number from 1 to 4094", remedy="Correct it, or leave it out")
        if not bridge.get("ports"):
            raise InvalidInput(
                f"{name}: it has the VLAN {vlan} and no ports", rule="the VLAN is that of the ports", remedy="Add ports, or leave out vlan"
            )
    if bridge.get("vlan_aware") and (vlan is not None or switch == "openvswitch"):
        raise InvalidInput(
            f"{name}: vlan_aware is set beside {'switch: openvswitch' if switch == 'openvswitch' else 'vlan'}",
            rule="a bridge that knows VLANs has all of its ports; Open vSwitch knows them anyway",
            remedy="Keep one of the two",
        )
    if mode is not None:
        if mode not in BOND_MODES:
            raise InvalidInput(f"{name}: bond is {mode!r}", rule=f"the mode of a bond is one of {', '.join(BOND_MODES)}")
        if len(bridge.get("ports") or []) < 2:
            raise InvalidInput(
                f"{name}: it has a bond of {len(bridge.get('ports') or [])} ports",
                rule="a bond has two or more",
                remedy="Add ports, or leave out bond",
            )
    if switch is not None and switch not in SWITCHES:
        raise InvalidInput(f"{name}: switch is {switch!r}", rule=f"it is one of {', '.join(SWITCHES)}")
    if switch == "openvswitch" and image != "debian":
        raise InvalidInput(
            f"{name}: switch is openvswitch, and the image is {image}",
            rule="Open vSwitch has services and a database, which only an image with systemd runs",
            remedy="Set image: debian for this driver domain, or leave out switch",
        )


def _check_forward(name: str, bridge: Settings, others: t.Sequence[Settings], other_way: bool) -> None:
    forward = bridge.get("forward")
    if forward is None:
        return
    if forward not in ("route", "nat"):
        raise InvalidInput(f"{name}: forward is {forward!r}", rule="it is route or nat, or left out")
    if not static_addresses(bridge):
        raise InvalidInput(
            f"{name}: forward is {forward}, and it has no static address",
            rule="the guests of a network that is routed have the driver domain as their gateway, by its address in it",
            remedy="Set address, with prefix length",
        )
    if not other_way and not any(as_list(other.get("address")) for other in others):
        raise InvalidInput(
            f"{name}: forward is {forward}, and there is nowhere to go",
            rule="packets are forwarded to other networks of the driver domain, in which it has an address",
            remedy="Give another of its bridges or vifs an address, or dhcp, and a gateway. With image: debian, a device that is no port "
            "(Wi-Fi, a modem) is a way that you set up in the domain",
        )


def static_addresses(settings: Settings) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    """Return the addresses of an interface that are known, with their networks.

    :raises InvalidInput: one is malformed.
    """
    found = [address for address in as_list(settings.get("address")) if address not in (DHCP, AUTO)]
    return [ipaddress.ip_interface(check_address(address)) for address in found]


def dhcp_range(name: str, bridge: Settings) -> tuple[str, str]:
    """Return the first and the last address that a bridge's DHCP server hands out: the upper half of its network.

    The lower half is left for guests whose `ip` says which address they get.

    :raises InvalidInput: there is no network to hand out addresses of, or one in which IPv6 guests give themselves none.
    """
    addresses = static_addresses(bridge)
    found = [address for address in addresses if address.version == 4]
    if len(found) != 1 or found[0].network.prefixlen > 29:
        raise InvalidInput(
            f"{name}: dhcp is set, and it has {'no' if not found else 'more than one' if len(found) > 1 else 'too small an'} IPv4 network",
            rule="DHCP hands out addresses of the one IPv4 network in which the bridge has a static address, /29 or larger",
            remedy="Set address to one such as 192.168.50.1/24",
        )
    for address in addresses:
        if address.version == 6 and address.network.prefixlen != 64:
            raise InvalidInput(
                f"{name}: dhcp is set, and {address} is not in a /64",
                rule="guests make their IPv6 addresses of what the router announces, which works in a /64 alone (RFC 4862)",
                remedy="Use a /64, or leave the IPv6 address out",
            )
    own, network = found[0].ip, found[0].network
    half = network.num_addresses // 2
    first, last = network.network_address + half, network.broadcast_address - 1
    if own >= first:
        # The longer one of the two parts beside it.
        first, last = (own + 1, last) if int(last) - int(own) >= int(own) - int(first) else (first, own - 1)
    return str(first), str(last)


def bridge_words(bridges: t.Sequence[Settings], macs: t.Callable[[Settings, str], str]) -> list[str]:
    """Return the parameters of xendd for bridges that were checked.

    :param macs: returns the MAC address of a port of a bridge.
    """
    words = []
    names: dict[tuple[str, ...], str] = {}
    for bridge in bridges:
        ports = list(bridge.get("ports") or [])
        parts = [bridge["name"], *(macs(bridge, port) for port in ports)]
        if bridge.get("mtu"):
            parts.append(f"mtu={bridge['mtu']}")
        if bridge.get("vlan"):
            parts.append(f"vlan={bridge['vlan']}")
        if bridge.get("vlan_aware"):
            parts.append("vlan=aware")
        if bridge.get("bond"):
            name = names.setdefault(tuple(sorted(ports)), f"bond{len(names)}")
            parts.append(f"bond={name}:{bridge['bond']}")
        if bridge.get("switch") == "openvswitch":
            parts.append("switch=openvswitch")
        if bridge.get("forward"):
            parts.append(f"forward={bridge['forward']}")
        if bridge.get("dhcp"):
            parts.append("dhcp=" + "-".join(dhcp_range(bridge["name"], bridge)))
        if bridge.get("dns"):
            parts.append("dns=" + "/".join(as_list(bridge["dns"])))
        words.append("xendd.bridge=" + ",".join(parts))
        words += address_words(bridge["name"], bridge)
    return words


def _check_ports(bridges: t.Sequence[Settings]) -> None:
    """Check that each port is in one bridge, or in one of each VLAN, and that bridges with a bond have the same one or different ports."""
    seen: dict[tuple[str, t.Any], str] = {}
    bonds: dict[str, tuple[t.Any, str]] = {}
    for bridge in bridges:
        name, mode = bridge["name"], bridge.get("bond")
        ports = [port for port in bridge.get("ports") or [] if isinstance(port, str)]
        for port in ports:
            vlan = bridge.get("vlan")
            other = seen.setdefault((port, str(vlan)), name)
            if other != name:
                raise InvalidInput(
                    f"{name}: {port} is a port of {other} already, " + (f"with the VLAN {vlan}" if vlan else "without a VLAN"),
                    rule="a card is in one bridge, or in one for each VLAN",
                    remedy="Set vlan of one of them, or keep one of them",
                )
            made = (mode, sorted(ports)) if mode else None
            known, owner = bonds.setdefault(port, (made, name))
            if known != made:
                raise InvalidInput(
                    f"{name}: {port} is in {'another' if made and known else 'a' if made else 'no'} bond here, and in {owner} it is not so",
                    rule="cards that are in a bond are in the same one for all bridges",
                    remedy="Give all of these bridges the same ports and the same bond",
                )


def _number(name: str, key: str, value: t.Any) -> int:
    """Return a number. A role's argument_specs checks it, but converts nothing in a list."""
    if isinstance(value, bool) or not re.fullmatch("[0-9]{1,9}", str(value)):
        raise InvalidInput(f"{name}: {key} is {value!r}", rule="it is a number")
    return int(value)
