#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dom0_uplink
version_added: 0.1.0
short_description: Move dom0 from its network card to a driver domain that gets the card
description:
  - For a host with one network card. The driver domain gets the card, and dom0 a vif at a bridge of the driver domain.
  - The vif has the MAC address of the card, and its interface in dom0 the name of that of the card. So the configuration of the network,
    of ifupdown, systemd-networkd or NetworkManager, applies to either, and is left as it is. TCP connections survive the change.
  - A program on the host does it, because the connection of Ansible is cut for the time in which the driver domain starts. A
    commit-confirm timer is armed first. Unless a new connection shows within O(limit) and another 2 minutes that the host can be reached,
    the driver domain is destroyed and the card returned. This is also done at once when a step fails. An action plugin makes the new
    connection.
  - At each boot, a unit connects dom0 when the driver domain reports that it serves. When it does not do so within O(limit) seconds, the
    unit destroys the driver domain and returns the card to dom0, and says so in the journal. So does the recovery service (see
    M(xen.driver_domains.domain_recovery)) when it gives up starting the driver domain again, or when the vif has not worked for twice the
    C(wait_timeout) of the driver domain. The next run moves dom0 again. A change that nobody has confirmed does not outlive a reboot.
  - The definition and the unit of the driver domain must be there, see M(xen.driver_domains.xl_domain), and it must report
    C(data/driver-domain/status) as the images of the collection do. The boot options are left alone. Hide the card at boot after dom0 has
    moved (M(xen.driver_domains.dom0_boot)), and no longer hide it before you use O(state=absent). Until it is hidden, each boot leaves it
    with dom0. The roles do it in this order.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
  - systemd
  - In dom0's kernel, the driver C(xen-netfront).
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.pci_devices
  - xen.driver_domains.pci_devices.guards
options:
  state:
    description:
      - V(present) moves dom0 to the vif. If it is there, only what is recorded on the host is brought up to date.
      - V(confirmed) stops the timer. The action plugin uses it.
      - V(absent) shuts the driver domain down and returns the card to dom0.
    type: str
    choices: [present, confirmed, absent]
    default: present
  devices:
    default: []
  device:
    description: The network card that dom0 is reached by, by its name in O(devices). Required unless O(state=absent).
    type: str
  backend:
    description: The driver domain that gets the card and serves dom0. Required unless O(state=absent).
    type: str
  bridge:
    description: The bridge of the driver domain to which the vif is attached. Required unless O(state=absent).
    type: str
  mac:
    description: MAC address of the vif. By default that of the card.
    type: str
  limit:
    description: Seconds that the driver domain may take until it serves dom0, now and at each boot.
    type: int
    default: 90
notes:
  - C(journalctl -t xen-driver-domains) on the host says what the program has done.
  - The guard rails V(management_route) and V(default_route) do not hold here, because a vif takes the place of the
    card. A card that the initramfs needs is refused.
  - While a boot would hide the card, the unit that returns it stays, also after O(state=absent), which then warns.
  - Rules of nftables that know the interface by its number (C(iif), C(oif)), and chains and flowtables of the card, are refused. They would
    apply neither to the vif nor to the card when it has come back.
  - A changed O(device), O(backend), O(bridge) or O(mac) is refused. Return the card first.
seealso:
  - module: xen.driver_domains.xl_pci_assignable
  - module: xen.driver_domains.dom0_boot
"""

EXAMPLES = r"""
- name: Reach dom0 through net-dd, which gets the only network card
  xen.driver_domains.dom0_uplink:
    devices: [{name: uplink0, match: {mac: "52:54:00:aa:00:01"}}]
    device: uplink0
    backend: net-dd
    bridge: xenbr0

- name: Return the card to dom0
  xen.driver_domains.dom0_uplink:
    state: absent
"""

RETURN = r"""
interface:
  description: The interface of dom0 that the vif has, or had.
  returned: success
  type: str
  sample: enp3s0
pending:
  description: Whether the host is still moving, or waits for the confirmation. Not after the action plugin has ended.
  returned: success
  type: bool
  sample: false
actions:
  description: What was done, or in check mode would be done, in order.
  returned: always
  type: list
  elements: str
  sample: ["give 0000:03:00.0 to net-dd, and dom0 a vif at its bridge xenbr0"]
refusals:
  description: The reasons against the task.
  returned: when something refused the task
  type: list
  elements: dict
  contains:
    guard:
      description: Name of the guard rail, as O(force) takes it. Empty for what nothing overrides.
      type: str
      returned: always
    subject:
      description: What it is about.
      type: str
      returned: always
    reason:
      description: Why.
      type: str
      returned: always
  sample:
    - guard: ""
      subject: net-dd
      reason: runs already, without uplink0
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.guards import PCI_GUARDS, Guards
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.host import PciHost
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.match import DEVICES_OPTION, parse_requests
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink.network import UplinkNetwork
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink.plan import UplinkPool, Wanted
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_dom0
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "confirmed", "absent"], "default": "present"},
    "devices": dict(DEVICES_OPTION, default=[]),
    "device": {"type": "str"},
    "backend": {"type": "str"},
    "bridge": {"type": "str"},
    "mac": {"type": "str"},
    "limit": {"type": "int", "default": 90},
    "force": {"type": "list", "elements": "str", "choices": list(PCI_GUARDS), "default": []},
}


def wanted_from(parameters: dict[str, t.Any]) -> Wanted | None:
    """Return what the parameters request, or None when dom0 is to have its card.

    :raises InvalidInput: there is no such device.
    """
    if parameters["state"] == "absent":
        return None
    requests = [request for request in parse_requests(parameters["devices"]) if request.name == parameters["device"]]
    if len(requests) != 1 or requests[0].match_all:
        raise InvalidInput(
            f"{parameters['device']!r} is no single device",
            rule="it is the name of an item of devices (in the roles: of dom0_pci_assignable), without match_all",
            remedy="Correct device",
        )
    return Wanted(requests[0], parameters["backend"], parameters["bridge"], parameters["mac"] or "", parameters["limit"])


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the host and plan."""
    wanted = wanted_from(parameters)
    require_dom0()
    runner, store = Runner(), XenStore()
    pool = UplinkPool(PciHost(store=store), store, runner, UplinkNetwork(runner), lambda devices: Guards(devices, runner))
    return pool.plan(parameters["state"], wanted)


def main() -> None:
    """Run the module."""
    needed = ["device", "backend", "bridge"]
    run_module(ARGUMENTS, prepare, required_if=[("state", "present", needed), ("state", "confirmed", needed)])


if __name__ == "__main__":
    main()
