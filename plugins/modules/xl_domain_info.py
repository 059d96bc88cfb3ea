#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xl_domain_info
short_description: List the running domains of a Xen host with their devices
version_added: 0.1.0
description:
  - Returns the running domains with their memory and state, what XenStore says about their network interfaces and disks, the PCI devices
    that they own, and what the recovery service (M(xen.driver_domains.domain_recovery)) says about itself.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes.info_module
options:
  names:
    description: Return only these domains. Names of domains that do not run are ignored.
    type: list
    elements: str
seealso:
  - module: xen.driver_domains.xl_domain
"""

EXAMPLES = r"""
- name: Gather the state of two guests
  xen.driver_domains.xl_domain_info:
    names: [web1, web2]
  register: guests

- name: Check that all interfaces are connected
  ansible.builtin.assert:
    that: guests.domains | map(attribute='vifs') | flatten | rejectattr('connected') | length == 0
"""

RETURN = r"""
domains:
  description: The domains, in the order of their domids.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the domain.
      type: str
      returned: always
    domid:
      description: Its number.
      type: int
      returned: always
    memory:
      description: Memory in MiB.
      type: int
      returned: always
    vcpus:
      description: Number of virtual CPUs.
      type: int
      returned: always
    alive:
      description: Whether it runs its kernel, and has neither shut down nor crashed.
      type: bool
      returned: always
    flags:
      description: The letters that C(xl list) shows as its state.
      type: str
      returned: always
    status:
      description: What a driver domain with an image of this collection reports, V(ready) when it serves; empty if it reports nothing.
      type: str
      returned: always
    reason:
      description: Why it does not serve, or an empty string.
      type: str
      returned: always
    pci:
      description: Addresses of the PCI devices that dom0 passes through to it.
      type: list
      elements: str
      returned: always
    vifs:
      description: Its virtual network interfaces.
      type: list
      elements: dict
      returned: always
      contains:
        devid:
          description: Number of the device in its domain.
          type: int
          returned: always
        mac:
          description: MAC address.
          type: str
          returned: always
        backend:
          description: Name of the domain that serves it; empty if that has ended.
          type: str
          returned: always
        backend_id:
          description: Domid of that domain.
          type: int
          returned: always
        bridge:
          description: Bridge there.
          type: str
          returned: always
        frontend_state:
          description: State of the frontend as in XenStore; 4 is connected.
          type: str
          returned: always
        backend_state:
          description: State of the backend.
          type: str
          returned: always
        hotplug_status:
          description: What the hotplug script reported.
          type: str
          returned: always
        hotplug_error:
          description: Its error, or an empty string.
          type: str
          returned: always
        backend_path:
          description: XenStore path of the backend.
          type: str
          returned: always
        connected:
          description: Whether both ends are connected and the hotplug script has succeeded.
          type: bool
          returned: always
    vbds:
      description: Its virtual disks.
      type: list
      elements: dict
      returned: always
      contains:
        devid:
          description: Number of the device in its domain.
          type: int
          returned: always
        vdev:
          description: Name of the disk in the domain.
          type: str
          returned: always
        backend:
          description: Name of the domain that serves it; empty if that has ended.
          type: str
          returned: always
        backend_id:
          description: Domid of that domain.
          type: int
          returned: always
        frontend_state:
          description: State of the frontend as in XenStore; 4 is connected.
          type: str
          returned: always
        backend_state:
          description: State of the backend.
          type: str
          returned: always
        hotplug_status:
          description: What the hotplug script reported.
          type: str
          returned: always
        hotplug_error:
          description: Its error, or an empty string.
          type: str
          returned: always
        backend_path:
          description: XenStore path of the backend.
          type: str
          returned: always
        connected:
          description: Whether both ends are connected.
          type: bool
          returned: always
  sample:
    - name: web1
      domid: 7
      memory: 512
      vcpus: 1
      alive: true
      flags: b
      status: ""
      reason: ""
      pci: []
      vifs:
        - devid: 0
          mac: "00:16:3e:00:00:11"
          backend: net-dd
          backend_id: 6
          bridge: xenbr0
          frontend_state: "4"
          backend_state: "4"
          hotplug_status: connected
          hotplug_error: ""
          backend_path: /local/domain/6/backend/vif/7/0
          connected: true
      vbds:
        - devid: 51712
          vdev: xvda
          backend: Domain-0
          backend_id: 0
          frontend_state: "4"
          backend_state: "4"
          hotplug_status: connected
          hotplug_error: ""
          backend_path: /local/domain/0/backend/vbd/7/51712
          connected: true
recovery:
  description:
    - What the recovery service sees and has done lately. Null if it does not run.
    - C(waiting) has the devices that are detached and wait for their backend, C(given_up) what it no longer tries,
      C(aside) the domains that it leaves alone, as an operator has paused them, or as M(xen.driver_domains.xl_domain)
      has stopped them.
  returned: success
  type: dict
  contains:
    backends:
      description: Domains that serve others, and whether they are ready.
      type: list
      elements: dict
      returned: always
      contains:
        name:
          description: Name of the domain.
          type: str
          returned: always
        domid:
          description: Its number.
          type: int
          returned: always
        ready:
          description: Whether it reports that it serves.
          type: bool
          returned: always
    clients:
      description: Devices of their clients, and whether they are connected.
      type: list
      elements: dict
      returned: always
      contains:
        name:
          description: Name of the domain.
          type: str
          returned: always
        kind:
          description: Kind of the device, such as V(vif).
          type: str
          returned: always
        devid:
          description: Number of the device in its domain.
          type: int
          returned: always
        backend:
          description: Name of the domain that serves it.
          type: str
          returned: always
        connected:
          description: Whether it works.
          type: bool
          returned: always
    waiting:
      description: Devices that wait for their backend.
      type: list
      elements: str
      returned: always
    gone:
      description: Driver domains that have ended.
      type: list
      elements: str
      returned: always
    aside:
      description: Domains that it leaves alone.
      type: list
      elements: str
      returned: always
    given_up:
      description: What it no longer tries.
      type: list
      elements: str
      returned: always
    standing_aside_for_a_playbook:
      description: Whether a playbook is at work.
      type: bool
      returned: always
    recoveries:
      description: What it has done lately.
      type: list
      elements: str
      returned: always
  sample:
    backends: [{name: net-dd, domid: 6, ready: true}]
    clients: [{name: web1, kind: vif, devid: 0, backend: net-dd, connected: true}]
    waiting: []
    gone: []
    aside: []
    given_up: []
    standing_aside_for_a_playbook: false
    recoveries: ["2026-11-26T01:30:00Z web1: vif 0 works again at net-dd (domain 6), after 2.4 s"]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.running import describe
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import read_status
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_dom0
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Xl
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the host."""
    require_dom0()
    store = XenStore()
    wanted = parameters["names"]
    return Plan(
        results={
            "domains": describe(store, [domain for domain in Xl().list() if wanted is None or domain.name in wanted]),
            "recovery": read_status(),
        }
    )


def main() -> None:
    """Run the module."""
    run_module({"names": {"type": "list", "elements": "str"}}, prepare)


if __name__ == "__main__":
    main()
