# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn the model that users write in their inventory into the parameters of the modules."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from types import MappingProxyType

from ansible.errors import AnsibleFilterError

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._networks import (
    address_words,
    bridge_words,
    check_bridges,
    network_features,
    source_addresses,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import configuration_of, configuration_text, digest
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.program import pack
from ansible_collections.xen.driver_domains.plugins.module_utils._volumes import check_groups, group_words
from ansible_collections.xen.driver_domains.plugins.module_utils._words import check_address, check_line, check_word

#: Key that a domain of our profiles sets below its XenStore home when it serves, and where it says why it cannot.
READY = {"key": "data/driver-domain/status", "value": "ready", "error_key": "data/driver-domain/error"}

#: Seconds after which Xen restarts a driver domain of our profiles that stands still. A busy host must not look like one.
WATCHDOG = 60

#: What a domain has when the inventory says nothing: argument_specs document these defaults, but do not set them inside lists.
DEFAULTS: dict[str, dict[str, t.Any]] = {
    "driver_domain": {
        "memory": 256,
        "type": "pv",
        "image": "minimal",
        "autostart": True,
        "driver_domain": True,
        # By default xl lets a domain that crashed be gone.
        "on_crash": "restart",
        "on_watchdog": "restart",
    },
    "domu": {"memory": 256, "type": "auto", "image": "debian", "autostart": True},
}

#: The values of `image` for domains that boot files of the user's own. What the playbook import wrote is FOREIGN: it stays what it was.
OWN = "none"
FOREIGN = "foreign"

#: Options of the model that become parts of the kernel command line or the image instead of the definition.
_OWN_KEYS = frozenset({"image", "bridges", "bonds", "packages", "authorized_keys", "disk_size", "volume_groups"})
_OWN_VIF_KEYS = frozenset({"address", "gateway"})

#: Names that an interface cannot have, or that something else has: those of vifs, and files in /sys/class/net and /proc/sys/net.
_TAKEN_NAMES = re.compile(r"eth[0-9]+|lo|all|default|bonding_masters")
#: Addresses to which a bond can send ARP requests: BOND_MAX_ARP_TARGETS in include/net/bonding.h of Linux.
_MOST_TARGETS = 16

#: COMMAND_LINE_SIZE of Linux on x86 and arm64, which counts the final 0. A PV domain gets less, see `definition.PV_CMDLINE_LIMIT`.
_CMDLINE_LIMIT = 2047
#: What an HVM domain has that boots an image: these use the console hvc0, and each emulated device is something to attack.
_HVM_OPTIONS = {"vga": "none", "nographic": True, "vnc": False}


def domain_images(
    domains: t.Sequence[dict[str, t.Any]], role: str, *, devices: t.Sequence[dict[str, t.Any]] = ()
) -> list[dict[str, t.Any]]:
    """Return the images (of the role guest_image) that the domains boot, one for each different need."""
    images: dict[str, dict[str, t.Any]] = {}
    modules_of = {device["name"]: device["kernel_modules"] for device in devices}
    for domain in _with_defaults(domains, role):
        if _uses_image(domain) and domain.get("state") != "absent":
            name = image_name(domain)
            images[name] = {
                "name": name,
                "profile": domain["image"],
                "backends": _backends(domain),
                "modules": sorted({module for device in _pci(domain) for module in modules_of.get(device["device"], [])}),
                **{key: domain[key] for key in ("packages", "authorized_keys") if domain.get(key)},
                **({"size": domain["disk_size"]} if domain.get("disk_size") else {}),
                **({"bzimage": True} if domain["type"] == "hvm" else {}),
                **({"networks": networks} if (networks := network_features(domain.get("bridges") or [])) else {}),
            }
    return list(images.values())


def domain_definitions(
    domains: t.Sequence[dict[str, t.Any]],
    role: str,
    *,
    images: t.Mapping[str, dict[str, str]] = MappingProxyType({}),
    devices: t.Sequence[dict[str, t.Any]] = (),
    state: str = "running",
    disk_dir: str = "/var/lib/xen-driver-domains/disks",
    define_only: bool = False,
) -> list[dict[str, t.Any]]:
    """Return the parameter `domains` of the module xl_domain for domains of the inventory's model.

    :param images: key and paths of each image by its name.
    :param define_only: domains are to be defined, but neither started nor stopped; those to be removed are left out.
    :raises AnsibleFilterError: a bridge port names a device that is not there or has no MAC address, the name of a bridge or an
        address is malformed, or a bond cannot work.
    """
    by_name = {device["name"]: device for device in devices}
    definitions: list[dict[str, t.Any]] = []
    for domain in _with_defaults(domains, role):
        wanted = domain.get("state", state)
        if wanted != "absent":
            try:
                definition = _definition(domain, images, by_name, disk_dir)
            except InvalidInput as exc:
                raise AnsibleFilterError(f"Domain {domain['name']}, {exc}") from exc
            definitions.append({**definition, "state": "present" if define_only else wanted})
        elif not define_only:
            definitions.append({"name": domain["name"], "state": "absent"})
    return definitions


def domain_types(domains: t.Sequence[dict[str, t.Any]], role: str) -> list[list[str]]:
    """Return name and type of each domain whose type asks for more of the host than PV: PVH and HVM, unless they do without hap.

    :raises AnsibleFilterError: a PVH domain is to own a PCI device.
    """
    found = []
    for domain in _with_defaults(domains, role):
        kind = domain["type"]
        if kind not in ("pvh", "hvm") or domain.get("state") == "absent":
            continue
        if kind == "pvh" and domain.get("pci"):
            raise AnsibleFilterError(
                f"Domain {domain['name']}: type is pvh, and it is to own PCI devices. "
                "x86 PVH domains cannot own PCI devices up to Xen 4.22 (libxl_x86.c). Use type: pv or type: hvm."
            )
        if (domain.get("options") or {}).get("hap", True):
            found.append([domain["name"], kind])
    return found


def recovered_domains(domains: t.Sequence[dict[str, t.Any]], state: str = "running") -> list[dict[str, t.Any]]:
    """Return the parameter `domains` of the module domain_recovery for driver domains of the inventory's model: those that should run."""
    return [
        {"name": domain["name"], **({"ready": ready} if ready else {}), **{key: domain[key] for key in ("wait_timeout",) if key in domain}}
        for domain in _with_defaults(domains, "driver_domain")
        for ready in [domain.get("ready") or (READY if _uses_image(domain) else None)]
        if domain.get("state", state) == "running"
    ]


def chosen_domains(domains: t.Sequence[dict[str, t.Any]], choice: str | t.Sequence[str]) -> list[dict[str, t.Any]]:
    """Return those of the domains that the user chose, by their names, which `-e` gives as a text with commas between them."""
    names = choice.split(",") if isinstance(choice, str) else choice
    chosen = {name.strip() for name in names}
    return [domain for domain in domains if domain["name"] in chosen]


def defined_domains(domains: t.Sequence[dict[str, t.Any]], verb: str, state: str = "running") -> list[dict[str, t.Any]]:
    """Return the parameter `domains` of the module xl_domain for driver domains that it uses as they are defined on the host.

    :param verb: restarted or previous.
    :param state: state of the domains that set none. Those that should not run are left out.
    """
    return [{**domain, "state": verb} for domain in recovered_domains(domains, state)]


def recovery_digest(domains: t.Sequence[dict[str, t.Any]]) -> str:
    """Return what the module xl_domain reports about a host that has the recovery service of this collection, for these domains."""
    return digest(pack(), configuration_text(configuration_of(domains)))


def domain_backends(domains: t.Sequence[dict[str, t.Any]]) -> list[list[str]]:
    """Return name and backend of each virtual network interface, for domains as declared or as xl_domain_info found them."""
    return [[domain["name"], vif.get("backend") or "Domain-0"] for domain in domains for vif in domain.get("vifs") or []]


def image_name(domain: t.Mapping[str, t.Any]) -> str:
    """Return the name of the image that a domain boots: driver domains have one each, plain guests share those of a profile.

    HVM guests have images of their own: they boot another form of the kernel.
    """
    special = any(domain.get(key) for key in ("driver_domain", "pci", "packages", "authorized_keys", "disk_size"))
    # The prefix keeps the name of a domain's own image distinct from those of shared images, whatever the domain is called.
    return f"domain-{domain['name']}" if special else f"guest-{domain['image']}" + ("-hvm" if domain.get("type") == "hvm" else "")


def _backends(domain: t.Mapping[str, t.Any]) -> list[str]:
    """Return the kinds of backends that a domain needs in its image. One that has disks of its own may serve them."""
    if not domain.get("driver_domain"):
        return []
    groups = domain.get("volume_groups")
    return ["vif", *(["vbd"] if domain.get("disks") or groups else []), *(["volumes"] if groups else [])]


def _with_defaults(domains: t.Sequence[dict[str, t.Any]], role: str) -> list[dict[str, t.Any]]:
    if role not in DEFAULTS:
        raise AnsibleFilterError(f"{role!r} is not a role whose domains have a definition: use one of {', '.join(sorted(DEFAULTS))}.")
    return [_settle_type({**DEFAULTS[role], **domain}) for domain in domains]


def _settle_type(domain: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the domain with a type, which only a guest that boots an image of the collection leaves to the host (`auto`).

    What a kernel of the user's own can boot as is not known, and x86 PVH domains cannot own PCI devices: both are PV. That is settled here,
    because the command line depends on it.
    """
    kind = domain["type"] or "pv"
    return {**domain, "type": "pv" if kind == "auto" and (domain.get("pci") or not _uses_image(domain)) else kind}


def _uses_image(domain: t.Mapping[str, t.Any]) -> bool:
    return not domain.get("kernel") and domain["image"] not in (OWN, FOREIGN)


def _pci(domain: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """A device may be written as its name alone."""
    return [{"device": device} if isinstance(device, str) else device for device in domain.get("pci") or []]


def _definition(
    domain: t.Mapping[str, t.Any], images: t.Mapping[str, dict[str, str]], devices: t.Mapping[str, dict[str, t.Any]], disk_dir: str
) -> dict[str, t.Any]:
    definition = {key: value for key, value in domain.items() if key not in _OWN_KEYS}
    vifs = domain.get("vifs") or []
    definition["disks"] = list(domain.get("disks") or [])
    definition["pci"] = _pci(domain)
    definition["vifs"] = [{key: value for key, value in vif.items() if key not in _OWN_VIF_KEYS} for vif in vifs]
    check_word("domain name", domain["name"], "name")
    foreign = domain["image"] == FOREIGN
    words = [] if foreign else ["console=hvc0", "net.ifnames=0"]
    if _uses_image(domain):
        image = images[image_name(domain)]
        definition.update(kernel=image["kernel"], ramdisk=image["ramdisk"] or None)
        definition.setdefault("ready", READY)
        if image["disk"]:
            target = f"{disk_dir}/{domain['name']}.img"
            definition["disks"].insert(0, {"vdev": "xvda", "target": target, "source": image["disk"]})
            words.append("root=/dev/xvda rw")
        else:
            words.append("boot=xendd")
        if domain["type"] == "hvm":
            definition["options"] = {**_HVM_OPTIONS, **(domain.get("options") or {})}
            definition["vifs"] = [vif if vif.get("model") else {"type": "vif", **vif} for vif in definition["vifs"]]
    if definition["pci"] and domain["type"] == "pv" and not foreign:
        # A PV guest with a PCI device needs the software IOTLB.
        words.append("iommu=soft")
    if not foreign:
        words.append(f"xendd.hostname={domain['name']}")
    if domain.get("driver_domain") and not foreign:
        words.append("xendd.backend=1")
        if _uses_image(domain):
            # xenwatchdogd makes a hypercall. By default, Linux lets no process of a guest do that since the fix of XSA-482; Xen goes on
            # refusing what concerns other domains, and root in this one is its kernel anyway.
            words += [f"xendd.watchdog={WATCHDOG}", "xen_privcmd.unrestricted=1"]
    bridges = domain.get("bridges") or []
    check_bridges(bridges, domain["image"] if _uses_image(domain) else None, vifs, [device["device"] for device in definition["pci"]])
    groups = domain.get("volume_groups") or []
    check_groups(groups, domain["image"] if _uses_image(domain) else None)
    words += group_words(groups)
    words += bridge_words(bridges, lambda bridge, port: _mac_of(domain["name"], bridge["name"], port, devices))
    words += _bonds(domain, vifs)
    for index, vif in enumerate(vifs):
        words += address_words(f"eth{index}", vif)
    if not foreign:
        for number, vif in enumerate(definition["vifs"]):
            vif["ip"] = source_addresses(vifs[number], number, domain.get("bonds") or [])
            if not vif["ip"]:
                del vif["ip"]
    definition["cmdline"] = " ".join(filter(None, [*words, check_line(domain.get("cmdline") or "", "cmdline")])) or None
    if not foreign and len((definition["cmdline"] or "").encode()) > _CMDLINE_LIMIT:
        raise InvalidInput(
            f"the kernel command line has {len(definition['cmdline'].encode())} bytes",
            rule=f"Linux reads only the first {_CMDLINE_LIMIT}: a volume group would be made on fewer disks than it has",
            remedy="Shorten it, e.g. with fewer bridges, static addresses or disks of volume groups in one domain",
        )
    return definition


def _bonds(domain: t.Mapping[str, t.Any], vifs: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Return the parameters of xendd for the bonds of a domain.

    :raises InvalidInput: a bond is not one that can survive the end of a driver domain, or has no address that answers.
    """
    words: list[str] = []
    owners: dict[int, str] = {}
    names: list[str] = []
    for bond in domain.get("bonds") or []:
        name = check_word("bond", bond["name"], "bonds")
        if not _uses_image(domain):
            raise InvalidInput(
                f"bonds: {name} is for an image of the collection, and this domain has none",
                rule="an image reads its bonds from the kernel command line",
                remedy="Make the bond in the guest, see docs/recovery.md, and leave out bonds",
            )
        if name in names or _TAKEN_NAMES.fullmatch(name):
            raise InvalidInput(f"bonds: the name {name!r} is taken", rule="a bond has a name of its own; the vifs are eth0, eth1, ...")
        names.append(name)
        ports = _bond_ports(bond, vifs, owners)
        targets = _bond_targets(bond)
        words.append("xendd.bond=" + ",".join([name, "/".join(targets), *(f"eth{port}" for port in ports)]))
        words += address_words(name, bond)
    return words


def _bond_ports(bond: t.Mapping[str, t.Any], vifs: t.Sequence[t.Mapping[str, t.Any]], owners: dict[int, str]) -> list[int]:
    """Return the numbers of the vifs of a bond, and write down that they are its own."""
    name = bond["name"]
    given = bond.get("vifs")
    ports = [_number(name, port) for port in given] if given is not None else list(range(len(vifs)))
    for port in ports:
        if not 0 <= port < len(vifs):
            raise InvalidInput(
                f"{name}: there is no vif {port}", rule=f"vifs are numbered from 0, and this domain has {len(vifs)}", remedy="Correct vifs"
            )
        if port in owners:
            raise InvalidInput(f"{name}: vif {port} is in {owners[port]} already", rule="a vif is in one bond, once")
        owners[port] = name
        if vifs[port].get("address") or vifs[port].get("gateway"):
            raise InvalidInput(
                f"{name}: vif {port} has an address or a gateway of its own",
                rule="the address of a bond is that of all its vifs",
                remedy=f"Move it to {name}",
            )
    backends = {vifs[port].get("backend") or "Domain-0" for port in ports}
    if len(ports) < 2 or len(backends) < 2:
        what = f"{len(ports)} vif{'' if len(ports) == 1 else 's'}"
        raise InvalidInput(
            f"{name}: it has {what}" + (f", all of them served by {', '.join(backends)}" if len(ports) > 1 else ""),
            rule="a bond has two or more vifs that different domains serve, so that it works on when one of those ends",
            remedy="Let another driver domain serve one of them, or leave out the bond",
        )
    return ports


def _bond_targets(bond: t.Mapping[str, t.Any]) -> list[str]:
    """Return the addresses that a bond asks for an answer, to know which of its vifs work."""
    name, address = bond["name"], bond.get("address")
    static = {"rule": "ARP requests need an address to be sent from", "remedy": "Set address, with prefix length, to a static IPv4 address"}
    if not address or address == "dhcp":
        raise InvalidInput(f"{name}: it has no static address", **static)
    own = ipaddress.ip_interface(check_address(address, name))
    if own.version != 4:
        raise InvalidInput(f"{name}: {address} is not an IPv4 address", **static)
    given = bond.get("arp_targets")
    targets = given or [target for target in [bond.get("gateway")] if target]
    if not targets:
        raise InvalidInput(
            f"{name}: it has neither a gateway nor arp_targets",
            rule="a vif whose driver domain is gone keeps its carrier, so that only an answer from the network shows that it works",
            remedy="Set arp_targets to one or more addresses in the same network that are always there",
        )
    if len(targets) > _MOST_TARGETS:
        raise InvalidInput(f"{name}: it has {len(targets)} arp_targets", rule=f"Linux takes {_MOST_TARGETS} at most")
    for number, target in enumerate(targets):
        found = ipaddress.ip_address(check_address(target, name, prefix=False))
        if found not in own.network or found == own.ip:
            raise InvalidInput(
                f"{name}: {target} cannot be asked by ARP",
                rule=f"an ARP target, by default the gateway, is another address in {own.network}",
                remedy="Set arp_targets to one or more addresses in that network that are always there",
            )
        if target in targets[:number]:
            raise InvalidInput(f"{name}: the ARP target {target} is listed twice", rule="each of arp_targets is another address")
    return list(targets)


def _number(name: str, value: t.Any) -> int:
    """Return the number of a vif. A role's argument_specs check it, but convert nothing in a list."""
    if isinstance(value, bool) or not re.fullmatch("[0-9]+", str(value)):
        raise InvalidInput(f"{name}: {value!r} is not the number of a vif", rule="vifs are numbered from 0, in the order of vifs")
    return int(value)


def _mac_of(domain: str, bridge: str, port: str, devices: t.Mapping[str, dict[str, t.Any]]) -> str:
    mac = str(devices.get(port, {}).get("mac") or "")
    if not mac:
        raise AnsibleFilterError(
            f"Domain {domain}, bridge {bridge}: the port {port!r} "
            + ("is a device without a known MAC address." if port in devices else f"is not one of the devices {sorted(devices)}.")
            + " A port is the name of a network card in dom0_pci_assignable."
        )
    return check_word("MAC address", mac, f"bridge {bridge}, port {port}")


class FilterModule:
    """The filters of the collection."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {
            "chosen_domains": chosen_domains,
            "defined_domains": defined_domains,
            "domain_backends": domain_backends,
            "domain_definitions": domain_definitions,
            "domain_images": domain_images,
            "domain_types": domain_types,
            "recovered_domains": recovered_domains,
            "recovery_digest": recovery_digest,
        }
