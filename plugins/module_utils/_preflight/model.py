# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The devices and domains of one host, as its variables declare them."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._domain.vif_options import DOM0
from .options import Spec, Values, label

#: The variable that has the domains of a role.
DOMAINS = {"driver_domain": "driver_domain_domains", "domu": "domu_domains"}
#: The variables that have the devices of a host.
ASSIGNABLE = "dom0_pci_assignable"
#: What `image` is for domains that boot files of the user's own.
_OWN_FILES = ("none", "foreign")


@dataclass(frozen=True)
class DeclaredDomain:
    """One domain of the inventory."""

    name: str
    #: The role whose variable has it: driver_domain or domu.
    role: str
    #: Its place in the variables.
    where: str
    #: running, stopped, present or absent.
    state: str
    #: As it was given.
    given: Values
    #: With what its role takes by default.
    settings: Values
    #: Whether it boots an image of the collection, so that all of it is known.
    own_image: bool = False

    @property
    def claims(self) -> bool:
        """Whether it needs what is its own: names, addresses and devices."""
        return self.state in ("running", "present")

    def items(self, key: str) -> t.Iterator[tuple[str, Values]]:
        """Yield the items of one of its lists, each with its place."""
        for index, item in enumerate(self.settings.get(key) or []):
            if isinstance(item, t.Mapping):
                yield label(f"{self.where}.{key}", index, item), item

    def pci(self) -> t.Iterator[tuple[str, str]]:
        """Yield the names of its devices, each with its place."""
        for index, item in enumerate(self.settings.get("pci") or []):
            name = item.get("device") if isinstance(item, t.Mapping) else item
            if isinstance(name, str):
                yield f"{self.where}.pci[{index}]", name


@dataclass(frozen=True)
class DeclaredHost:
    """What is declared for one host."""

    domains: t.Sequence[DeclaredDomain] = ()
    #: The entries of each variable that has devices.
    devices: t.Mapping[str, t.Sequence[Values]] = field(default_factory=dict)
    #: The variable that has the devices of a role.
    devices_of: t.Mapping[str, str] = field(default_factory=dict)

    def named(self, name: t.Any) -> DeclaredDomain | None:
        """Return the domain of a name."""
        return next((domain for domain in self.domains if domain.name == name), None)

    def has_device(self, role: str, name: str) -> bool:
        """Return whether the devices of a role have this name, or may have it, for an entry that stands for several."""
        for entry in self.devices[self.devices_of[role]]:
            own = re.escape(str(entry.get("name")))
            if re.fullmatch(rf"{own}\.[0-9]+" if entry.get("match_all") else own, name):
                return True
        return False


def declared(variables: Values, options: t.Mapping[str, Spec]) -> DeclaredHost:
    """Return what the variables of a host declare.

    :param variables: after conversion, only those that are given.
    :param options: the options of each role.
    """
    devices_of = {role: own if (own := f"{role}_pci_devices") in variables else ASSIGNABLE for role in DOMAINS}
    return DeclaredHost(
        domains=[
            _domain(role, label(variable, index, item), item, variables.get(f"{role}_state", "running"), options[role][variable]["options"])
            for role, variable in DOMAINS.items()
            if role in options
            for index, item in enumerate(variables.get(variable, []))
            if item.get("name")
        ],
        devices={name: variables.get(name, []) for name in {ASSIGNABLE, *devices_of.values()}},
        devices_of=devices_of,
    )


def _domain(role: str, where: str, given: Values, state: str, spec: Spec) -> DeclaredDomain:
    settings = {**{key: option["default"] for key, option in spec.items() if "default" in option}, **given}
    own_image = not given.get("kernel") and settings.get("image") not in _OWN_FILES
    return DeclaredDomain(str(given["name"]), role, where, given.get("state", state), given, settings, own_image)


def backend_of(device: Values) -> str:
    """Return the name of the domain that serves a vif or disk, "" for dom0."""
    backend = device.get("backend")
    return "" if backend in DOM0 else str(backend)
