# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the inventory knows of the domains of a host: what the toolstack says, with what the variables of the host declare."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.xen.driver_domains.plugins.filter.domain_definitions import DEFAULTS

DOM0 = "Domain-0"
DRIVER_DOMAIN, GUEST = "driver_domain", "guest"
#: The variables of a host that declare domains, and the role whose defaults they have.
DECLARATIONS = {"driver_domain_domains": "driver_domain", "domu_domains": "domu"}
CONSOLE = "xen.driver_domains.xl_console"


@dataclass(frozen=True)
class DeclaredGuest:
    """What the variables of a host say of a domain."""

    role: str
    #: The profile of its image; "none" for files of the user's own.
    image: str
    #: Addresses without prefix length, the first one first.
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunningGuest:
    """A domain as `xl list -l` shows it."""

    name: str
    domid: int
    type: str = ""
    uuid: str = ""
    #: MiB.
    memory: int = 0
    vcpus: int = 0
    driver_domain: bool = False
    vifs: tuple[dict[str, t.Any], ...] = ()
    disk_backends: tuple[str, ...] = ()
    pci: tuple[str, ...] = ()
    backends: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        found = [*(vif["backend"] for vif in self.vifs), *self.disk_backends]
        object.__setattr__(self, "backends", tuple(dict.fromkeys(found)))


def declared_guests(variables: t.Mapping[str, t.Any]) -> dict[str, DeclaredGuest]:
    """Return what is declared, by name. What is not as the roles want it is left out: `site.yml` is where that is reported."""
    guests = {}
    for variable, role in DECLARATIONS.items():
        for domain in _dicts(variables.get(variable)):
            if domain.get("name"):
                image = "none" if domain.get("kernel") else str(domain.get("image") or DEFAULTS[role]["image"])
                with_address = [item for key in ("vifs", "bonds", "bridges") for item in _dicts(domain.get(key))]
                addresses = [address for item in with_address if (address := _address(item.get("address")))]
                kind = DRIVER_DOMAIN if role == "driver_domain" else GUEST
                guests[str(domain["name"])] = DeclaredGuest(kind, image, tuple(dict.fromkeys(addresses)))
    return guests


def running_guests(reading: t.Mapping[str, t.Any]) -> list[RunningGuest]:
    """Return the domains of a host, without dom0.

    :param reading: what `read_host` returned.
    """
    entries = [entry for entry in _dicts(reading.get("domains")) if isinstance(entry.get("domid"), int)]
    names = {entry["domid"]: str(_part(entry, "config", "c_info").get("name") or "") for entry in entries}
    names[0] = DOM0
    guests = []
    for entry in entries:
        # One that is being made or destroyed has no name.
        if entry["domid"] == 0 or not names[entry["domid"]]:
            continue
        config, c_info, b_info = (_part(entry, *path) for path in (("config",), ("config", "c_info"), ("config", "b_info")))
        vifs = [
            {"mac": str(nic.get("mac") or "").lower(), "bridge": str(nic.get("bridge") or ""), "backend": _backend(nic, names)}
            for nic in _dicts(config.get("nics"))
        ]
        guests.append(
            RunningGuest(
                name=names[entry["domid"]],
                domid=entry["domid"],
                type=str(c_info.get("type") or ""),
                uuid=str(c_info.get("uuid") or ""),
                memory=(_number(b_info.get("target_memkb")) or _number(b_info.get("max_memkb"))) // 1024,
                vcpus=_number(b_info.get("max_vcpus")) or 1,
                driver_domain=str(c_info.get("driver_domain")) == "True",
                vifs=tuple(vifs),
                disk_backends=tuple(_backend(disk, names) for disk in _dicts(config.get("disks"))),
                pci=tuple(_bdf(device) for device in _dicts(config.get("pcidevs"))),
            )
        )
    return guests


def seen_addresses(reading: t.Mapping[str, t.Any], known: t.Collection[str] = ()) -> dict[str, list[str]]:
    """Return the addresses in dom0's neighbour table by MAC address, IPv4 first. Guests write there: they are hints.

    Link-local addresses are left out, since they work on one interface only, and entries that got no answer.

    :param known: addresses of which it is known whose they are. They are left out: a guest that claims one would get the tasks of its
        owner, or lend it its own.
    """
    found: dict[str, list[str]] = {}
    for entry in _dicts(reading.get("neighbours")):
        address = _address(entry.get("dst"))
        silent = {"FAILED", "INCOMPLETE"} & set(map(str, entry.get("state") or ()))
        if address and address not in known and entry.get("lladdr") and not silent:
            found.setdefault(str(entry["lladdr"]).lower(), []).append(address)
    return {mac: sorted(addresses, key=lambda address: ":" in address) for mac, addresses in found.items()}


def guest_variables(
    guest: RunningGuest, declared: DeclaredGuest | None, seen: t.Mapping[str, t.Sequence[str]], serves: bool = False
) -> dict[str, t.Any]:
    """Return the variables that describe a domain.

    :param seen: addresses by MAC address.
    :param serves: whether another domain has devices from it.
    """
    addresses = [*(declared.addresses if declared else ()), *(address for vif in guest.vifs for address in seen.get(vif["mac"], ()))]
    is_backend = guest.driver_domain or serves or (declared is not None and declared.role == DRIVER_DOMAIN)
    return {
        "xl_name": guest.name,
        "xl_domid": guest.domid,
        "xl_uuid": guest.uuid,
        "xl_type": guest.type,
        "xl_memory": guest.memory,
        "xl_vcpus": guest.vcpus,
        "xl_role": DRIVER_DOMAIN if is_backend else GUEST,
        "xl_image": declared.image if declared else "",
        "xl_backends": list(guest.backends),
        "xl_vifs": [dict(vif) for vif in guest.vifs],
        "xl_pci": list(guest.pci),
        "xl_addresses": list(dict.fromkeys(addresses)),
    }


def connection_variables(
    described: t.Mapping[str, t.Any], reach: str, jump: str, proxy: str, known: t.Collection[str] = ()
) -> dict[str, t.Any]:
    """Return the variables by which Ansible reaches a domain: SSH where it has an address and may have a server, otherwise its console.

    :param described: its `guest_variables`.
    :param reach: `jump`, `direct` or `console`.
    :param jump: the command that reaches dom0, as one text.
    :param proxy: arguments of ssh that lead through dom0.
    :param known: addresses that the domain does not only claim.
    """
    addresses = described["xl_addresses"]
    # The profile minimal has no SSH server.
    if reach == "console" or not addresses or described["xl_image"] == "minimal":
        return {"ansible_connection": CONSOLE, "xl_jump": jump}
    arguments = [proxy] if reach == "jump" and proxy else []
    if addresses[0] not in known:
        # The key of whoever else has this address would be a known one, too.
        arguments.append(f"-o HostKeyAlias={_key_name(described)}")
    return {
        "ansible_connection": "ansible.builtin.ssh",
        "ansible_host": addresses[0],
        "xl_jump": jump,
        **({"ansible_ssh_common_args": " ".join(arguments)} if arguments else {}),
        # The keys of this profile are those of root.
        **({"ansible_user": "root"} if described["xl_image"] == "debian" else {}),
    }


def _dicts(value: t.Any) -> list[dict[str, t.Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, (list, tuple)) else []


def _part(value: t.Mapping[str, t.Any], *path: str) -> dict[str, t.Any]:
    for key in path:
        found = value.get(key)
        value = found if isinstance(found, dict) else {}
    return dict(value)


def _key_name(described: t.Mapping[str, t.Any]) -> str:
    """Return the name under which ssh knows the host key of a domain, as one word."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", f"{described['xl_name']}.{described['xl_host']}")


def _number(value: t.Any) -> int:
    """Return a number, also one that is text; 0 for anything else, since one odd domain must not hide all others."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,15}", value):
        return int(value)
    return value if isinstance(value, int) else 0


def _address(value: t.Any) -> str:
    """Return an address that can be used everywhere, without a prefix length; "" for anything else."""
    try:
        address = ipaddress.ip_interface(str(value or "")).ip
    except ValueError:
        return ""
    return "" if address.is_link_local or address.is_unspecified else str(address)


def _backend(device: t.Mapping[str, t.Any], names: t.Mapping[int, str]) -> str:
    """Return the name of the domain that serves a device. libxl has it by name, by number or, for dom0, not at all."""
    name = str(device.get("backend_domname") or "")
    if name and not _number(name) and name != "0":
        return name
    domid = _number(name or device.get("backend_domid"))
    return names.get(domid) or str(domid)


def _bdf(device: t.Mapping[str, t.Any]) -> str:
    domain, bus, dev, function = (_number(device.get(key)) for key in ("domain", "bus", "dev", "func"))
    return f"{domain:04x}:{bus:02x}:{dev:02x}.{function:x}"
