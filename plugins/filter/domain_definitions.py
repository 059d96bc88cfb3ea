# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn the model that users write in their inventory into the parameters of the modules."""

from __future__ import annotations

import typing as t
from types import MappingProxyType

from ansible.errors import AnsibleFilterError

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import configuration_of, configuration_text, digest
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.program import pack
from ansible_collections.xen.driver_domains.plugins.module_utils._words import check_address, check_line, check_word

#: Key that a domain of our profiles sets below its XenStore home when it serves, and where it says why it cannot.
READY = {"key": "data/driver-domain/status", "value": "ready", "error_key": "data/driver-domain/error"}

#: Seconds after which Xen restarts a driver domain of our profiles that stands still. A busy host must not look like one.
WATCHDOG = 60

#: What a domain has when the inventory says nothing: argument_specs document these defaults, but do not set them inside lists.
DEFAULTS: dict[str, dict[str, t.Any]] = {
    "driver_domain": {
        "memory": 256,
        "image": "minimal",
        "autostart": True,
        "driver_domain": True,
        # By default xl lets a domain that crashed be gone.
        "on_crash": "restart",
        "on_watchdog": "restart",
    },
    "domu": {"memory": 256, "image": "debian", "autostart": True},
}

#: Options of the model that become parts of the kernel command line or the image instead of the definition.
_OWN_KEYS = frozenset({"image", "bridges", "packages", "authorized_keys", "disk_size"})
_OWN_VIF_KEYS = frozenset({"address", "gateway"})


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
                # One that has disks of its own may serve them.
                "backends": ["vif", *(["vbd"] if domain.get("disks") else [])] if domain.get("driver_domain") else [],
                "modules": sorted({module for device in _pci(domain) for module in modules_of.get(device["device"], [])}),
                **{key: domain[key] for key in ("packages", "authorized_keys") if domain.get(key)},
                **({"size": domain["disk_size"]} if domain.get("disk_size") else {}),
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
    :raises AnsibleFilterError: a bridge port names a device that is not there or has no MAC address, or the name of a bridge or an
        address is malformed.
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


def recovered_domains(domains: t.Sequence[dict[str, t.Any]], state: str = "running") -> list[dict[str, t.Any]]:
    """Return the parameter `domains` of the module domain_recovery for driver domains of the inventory's model: those that should run."""
    return [
        {"name": domain["name"], **({"ready": ready} if ready else {})}
        for domain in _with_defaults(domains, "driver_domain")
        for ready in [domain.get("ready") or (READY if _uses_image(domain) else None)]
        if domain.get("state", state) == "running"
    ]


def recovery_digest(domains: t.Sequence[dict[str, t.Any]]) -> str:
    """Return what the module xl_domain reports about a host that has the recovery service of this collection, for these domains."""
    return digest(pack(), configuration_text(configuration_of(domains)))


def domain_backends(domains: t.Sequence[dict[str, t.Any]]) -> list[list[str]]:
    """Return name and backend of each virtual network interface, for domains as declared or as xl_domain_info found them."""
    return [[domain["name"], vif.get("backend") or "Domain-0"] for domain in domains for vif in domain.get("vifs") or []]


def image_name(domain: t.Mapping[str, t.Any]) -> str:
    """Return the name of the image that a domain boots: driver domains have one each, plain guests share those of a profile."""
    special = any(domain.get(key) for key in ("driver_domain", "pci", "packages", "authorized_keys", "disk_size"))
    # The prefix keeps the name of a domain's own image distinct from those of shared images, whatever the domain is called.
    return f"domain-{domain['name']}" if special else f"guest-{domain['image']}"


def _with_defaults(domains: t.Sequence[dict[str, t.Any]], role: str) -> list[dict[str, t.Any]]:
    if role not in DEFAULTS:
        raise AnsibleFilterError(f"{role!r} is not a role whose domains have a definition: use one of {', '.join(sorted(DEFAULTS))}.")
    return [{**DEFAULTS[role], **domain} for domain in domains]


def _uses_image(domain: t.Mapping[str, t.Any]) -> bool:
    return not domain.get("kernel") and domain["image"] != "none"


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
    # The files of the user's own are booted just as the user says.
    own = domain["image"] == "none"
    words = [] if own else ["console=hvc0", "net.ifnames=0"]
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
    if definition["pci"] and domain.get("type", "pv") == "pv" and not own:
        # A PV guest with a PCI device needs the software IOTLB.
        words.append("iommu=soft")
    if not own:
        words.append(f"xendd.hostname={domain['name']}")
    if domain.get("driver_domain") and not own:
        words.append("xendd.backend=1")
        if _uses_image(domain):
            # xenwatchdogd makes a hypercall. By default, Linux lets no process of a guest do that since the fix of XSA-482; Xen goes on
            # refusing what concerns other domains, and root in this one is its kernel anyway.
            words += [f"xendd.watchdog={WATCHDOG}", "xen_privcmd.unrestricted=1"]
    for bridge in domain.get("bridges") or []:
        ports = [_mac_of(domain["name"], bridge["name"], port, devices) for port in bridge.get("ports") or []]
        words.append("xendd.bridge=" + ",".join([check_word("bridge", bridge["name"], "bridges"), *ports]))
        words += _address(bridge["name"], bridge)
    for index, vif in enumerate(vifs):
        words += _address(f"eth{index}", vif)
    definition["cmdline"] = " ".join(filter(None, [*words, check_line(domain.get("cmdline") or "", "cmdline")])) or None
    return definition


def _address(interface: str, settings: t.Mapping[str, t.Any]) -> list[str]:
    address, gateway = settings.get("address"), settings.get("gateway")
    if not address:
        return []
    if address != "dhcp":
        check_address(address, interface)
    if gateway:
        check_address(gateway, interface, prefix=False)
        if address == "dhcp":
            raise InvalidInput(f"{interface}: there is a gateway {gateway!r} beside dhcp", rule="DHCP brings the gateway with it")
    return ["xendd.address=" + ",".join(filter(None, [interface, address, gateway]))]


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
            "domain_backends": domain_backends,
            "domain_definitions": domain_definitions,
            "domain_images": domain_images,
            "recovered_domains": recovered_domains,
            "recovery_digest": recovery_digest,
        }
