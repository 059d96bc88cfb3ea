# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: xl
short_description: Guests and driver domains of Xen hosts as inventory hosts
version_added: 0.1.0
description:
  - Asks Xen hosts that are in the inventory already for the domains that run there, and adds each as a host, except dom0. Each host is
    asked once, C(xl list -l) and its neighbour table by one SSH connection, all hosts at the same time.
  - The file must be called C(xl.yml), or its name must end in C(.xl.yml) or C(.xl.yaml). It must come after the source that has the Xen
    hosts - later on the command line, or later in the alphabet in a directory.
  - Groups that are always made are C(driver_domains), C(guests) (the others), C(domains_of_HOST) for each Xen host, and
    C(served_by_BACKEND) for each domain that serves others, with V(Domain-0) as C(served_by_Domain_0). More can be made with O(groups) and
    O(keyed_groups).
  - Addresses are those that the variables of the Xen host declare (C(driver_domain_domains), C(domu_domains)), and then those in dom0's
    neighbour table. The latter are what guests say of themselves. So those that are declared for another domain, or are that of a Xen host,
    are left out, and the SSH host key is looked up under the name C(NAME.HOST) instead of the address. Do not switch its check off.
  - A domain with an address is reached by SSH through dom0, as C(ProxyJump) does it, with the key and the options of the Xen host. One
    without an address, or with the image profile C(minimal), which has no SSH server, is reached by
    P(xen.driver_domains.xl_console#connection).
  - Images of the profile C(minimal) have no Python. Use M(ansible.builtin.raw) there, and in those of the profile C(debian), unless
    C(python3) is in their C(packages). With it, M(ansible.builtin.ping) and all other modules work.
  - Each domain has the variables C(xl_name), C(xl_host) (the inventory name of its Xen host), C(xl_domid), C(xl_uuid), C(xl_type),
    C(xl_memory) (MiB), C(xl_vcpus), C(xl_role) (V(driver_domain) or V(guest)), C(xl_image) (profile of its image, empty if it is not
    declared), C(xl_backends), C(xl_vifs) (each with C(mac), C(bridge) and C(backend)), C(xl_pci), C(xl_addresses) and C(xl_jump) (the
    command that reaches dom0).
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - On the controller C(ssh), and on the Xen hosts Xen. Nothing can ask for a password, so that SSH needs a key, and a user other than root
    needs C(sudo) without a password.
notes:
  - Whatever uses the inventory asks the hosts again, unless O(cache) is true. With hosts that are not reached at once, use it.
  - A domain that does not run is not in the inventory.
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [xen.driver_domains.xl]
  hosts:
    description:
      - The Xen hosts, as names of groups or hosts. Their connection variables are used; connections other than SSH and V(local) are not.
    type: list
    elements: str
    default: [xen_hosts]
  reach:
    description:
      - How domains with addresses are reached.
      - V(jump) - by SSH through dom0.
      - V(direct) - by SSH from the controller, if the network of the guests can be reached from there, and not from dom0.
      - V(console) - by their consoles.
    type: str
    choices: [jump, direct, console]
    default: jump
  hostname:
    description:
      - A Jinja2 expression for the name of a domain in the inventory.
      - Domains for which it is not unique, because several Xen hosts have one of that name, or because a Xen host, a group or the
        controller (C(localhost)) is called so, are named C(NAME.HOST) instead. To have names that do not depend on other hosts, set
        V(xl_name ~ '.' ~ xl_host).
      - Any other host of that name that is in the inventory already is taken for the domain, and gets its variables.
    type: str
    default: xl_name
  timeout:
    description: Seconds that a Xen host has to answer.
    type: int
    default: 30
  strict:
    description:
      - Whether it is an error if a Xen host cannot be asked, or an expression cannot be evaluated. Otherwise there is a warning and the
        inventory lacks what it would have had.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
"""

EXAMPLES = r"""
# guests.xl.yml, for: ansible-inventory -i inventory.yml -i guests.xl.yml --graph
plugin: xen.driver_domains.xl
# The rest is optional. Otherwise, every command asks the hosts; with a cache, one asks at most every five minutes.
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/xl-inventory
cache_timeout: 300
# For a fleet whose hosts all have a net-dd.
hostname: xl_name ~ '.' ~ xl_host
# Groups by what a guest is called, and by its type.
groups:
  web: xl_name is match('web')
keyed_groups:
  - prefix: type
    key: xl_type
compose:
  ansible_user: "'admin' if xl_image == '' else 'root'"
"""

import shlex
import typing as t
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible.constants import LOCALHOST
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.inventory.helpers import get_group_vars
from ansible.inventory.host import Host
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.plugins.loader import connection_loader
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources

from ansible_collections.xen.driver_domains.plugins.module_utils._printable import printable_line
from ansible_collections.xen.driver_domains.plugins.plugin_utils._guests import (
    DECLARATIONS,
    DRIVER_DOMAIN,
    connection_variables,
    declared_guests,
    guest_variables,
    running_guests,
    seen_addresses,
)
from ansible_collections.xen.driver_domains.plugins.plugin_utils._hypervisor import (
    HypervisorError,
    proxy_arguments,
    read_host,
    ssh_words,
)

#: So many hosts are asked at the same time.
FORKS = 50
#: The groups of driver domains and of guests.
_GROUPS = ("driver_domains", "guests")
_SSH = ("ssh", "ansible.builtin.ssh", "smart")
_LOCAL = ("local", "ansible.builtin.local")
#: Variables of a Xen host that are used beside those that begin with `ansible_`.
_USED = frozenset(DECLARATIONS)


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The domains that run on the Xen hosts of the inventory."""

    NAME = "xen.driver_domains.xl"

    def verify_file(self, path: str) -> bool:
        """Whether the file is one for this plugin, by its name."""
        name = Path(path).name
        return bool(super().verify_file(path)) and (name in ("xl.yml", "xl.yaml") or name.endswith((".xl.yml", ".xl.yaml")))

    def parse(self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:
        """Add the domains."""
        super().parse(inventory, loader, path, cache)
        self._found = inventory
        self._read_config_data(path)
        hypervisors = {host.name: self._variables(host, loader) for host in self._hypervisors(path)}
        jumps: dict[str, list[str]] = {}
        for name, variables in hypervisors.items():
            try:
                jumps[name] = self._jump(variables)
            except AnsibleError as exc:
                self._complain(f"Cannot reach the Xen host {name}: {exc}")
        self._add(self._read(jumps, path, cache), hypervisors, jumps)

    def _hypervisors(self, path: str) -> list[Host]:
        hosts: dict[str, Host] = {}
        for name in self.get_option("hosts"):
            if name in self._found.groups:
                hosts.update({host.name: host for host in self._found.groups[name].get_hosts()})
            elif name in self._found.hosts:
                hosts[name] = self._found.hosts[name]
        if not hosts:
            raise AnsibleParserError(
                f"{path}: no Xen host was found by {', '.join(self.get_option('hosts'))}. The inventory that has them must come before "
                "this file: earlier on the command line, or earlier in the alphabet in a directory"
            )
        return list(hosts.values())

    def _variables(self, host: Host, loader: DataLoader) -> dict[str, t.Any]:
        """Return those variables of a Xen host that are used here, with their templates evaluated."""
        sources = self._found.processed_sources
        found = get_group_vars(host.get_groups())
        found = combine_vars(found, get_vars_from_inventory_sources(loader, sources, host.get_groups(), "all"))
        found = combine_vars(found, host.get_vars())
        found = combine_vars(found, get_vars_from_inventory_sources(loader, sources, [host], "all"))
        found = combine_vars({"inventory_hostname": host.name}, found)
        used = {}
        for name in sorted(found):
            if name in _USED or name.startswith("ansible_") or name == "inventory_hostname":
                try:
                    self.templar.available_variables = found
                    used[name] = self.templar.template(found[name])
                except AnsibleError as exc:
                    self._complain(f"The variable {name} of {host.name} cannot be evaluated: {exc}")
        return used

    def _jump(self, variables: dict[str, t.Any]) -> list[str]:
        """Return the command that reaches a Xen host; an empty one if it is this machine."""
        kind = variables.get("ansible_connection", "ssh")
        if kind in _LOCAL:
            return []
        if kind not in _SSH:
            raise AnsibleError(f"its connection is {kind}, and only ssh and local can be used")
        ssh = connection_loader.get("ansible.builtin.ssh", PlayContext())
        ssh.set_options(var_options=variables)
        return ssh_words(ssh.get_option)

    def _read(self, jumps: dict[str, list[str]], path: str, cache: bool) -> dict[str, dict[str, t.Any]]:
        """Return what each Xen host says, from the cache where it is there."""
        known: dict[str, dict[str, t.Any]] = {}
        key = self.get_cache_key(path)
        use_cache = self.get_option("cache")
        if use_cache and cache:
            known = {name: reading for name, reading in self._cache.get(key, {}).items() if name in jumps}
        missing = [name for name in jumps if name not in known]
        if missing:
            timeout = self.get_option("timeout")

            def read(name: str) -> dict[str, t.Any] | HypervisorError:
                try:
                    return read_host(jumps[name], timeout)
                except HypervisorError as exc:
                    return exc

            with ThreadPoolExecutor(min(FORKS, len(missing))) as pool:
                for name, reading in zip(missing, pool.map(read, missing)):
                    if isinstance(reading, HypervisorError):
                        self._complain(f"The Xen host {name} was not asked for its domains: {reading}")
                    else:
                        known[name] = reading
            if use_cache:
                self._cache[key] = known
        return known

    def _add(self, readings: dict[str, dict[str, t.Any]], hypervisors: dict[str, dict[str, t.Any]], jumps: dict[str, list[str]]) -> None:
        strict = self.get_option("strict")
        of_hosts = {str(variables.get("ansible_host", host)) for host, variables in hypervisors.items()}
        added: list[tuple[str, dict[str, t.Any]]] = []
        for host, reading in readings.items():
            declared, running = declared_guests(hypervisors[host]), running_guests(reading)
            known = of_hosts.union(*(guest.addresses for guest in declared.values()))
            seen = seen_addresses(reading, known)
            serving = {backend for guest in running for backend in guest.backends}
            jump, proxy = shlex.join(jumps[host]), proxy_arguments(jumps[host])
            for guest in running:
                described = guest_variables(guest, declared.get(guest.name), seen, guest.name in serving) | {"xl_host": host}
                described |= connection_variables(described, self.get_option("reach"), jump, proxy, known)
                try:
                    name = str(self._compose(self.get_option("hostname"), described))
                except AnsibleError as exc:
                    if strict:
                        raise AnsibleParserError(f"The hostname of {guest.name} on {host} cannot be evaluated: {exc}") from exc
                    name = guest.name
                added.append((printable_line(name), described))
        for name, described in zip(self._names(added, hypervisors), [described for _name, described in added]):
            self._add_guest(name, described, strict)

    def _names(self, added: t.Sequence[tuple[str, dict[str, t.Any]]], hypervisors: t.Collection[str]) -> list[str]:
        """Return a name in the inventory for each domain: those that were asked for, unless they stand for something else as well."""
        count = Counter(name for name, _described in added)
        taken = {*hypervisors, *self._found.groups, *_GROUPS, *LOCALHOST}
        names = {place: name for place, (name, _described) in enumerate(added) if count[name] == 1 and name not in taken}
        taken |= set(names.values())
        for place, (_name, described) in enumerate(added):
            if place not in names:
                full = printable_line(f"{described['xl_name']}.{described['xl_host']}")
                # A domain may be called like that.
                names[place] = full if full not in taken else f"{full}.{described['xl_domid']}"
                taken.add(names[place])
        return [names[place] for place in range(len(added))]

    def _add_guest(self, name: str, described: dict[str, t.Any], strict: bool) -> None:
        groups = [
            _GROUPS[0] if described["xl_role"] == DRIVER_DOMAIN else _GROUPS[1],
            f"domains_of_{described['xl_host']}",
            *(f"served_by_{backend}" for backend in described["xl_backends"]),
        ]
        self._found.add_host(name)
        for group in groups:
            self._found.add_child(self._found.add_group(self._sanitize_group_name(group)), name)
        for key, value in described.items():
            self._found.set_variable(name, key, value)
        self._set_composite_vars(self.get_option("compose"), described, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), described, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), described, name, strict=strict)

    def _complain(self, problem: str) -> None:
        if self.get_option("strict"):
            raise AnsibleParserError(problem)
        self.display.warning(problem)
