#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xl_config_info
short_description: Read the domain definitions of a Xen host as variables of the roles
version_added: 0.1.0
description:
  - Reads the definitions (C(xl.cfg)) that others wrote, and the running domains, and returns them as
    O(xen.driver_domains.dom0#role:main:dom0_pci_assignable),
    O(xen.driver_domains.driver_domain#role:main:driver_domain_domains) and O(xen.driver_domains.domu#role:main:domu_domains).
  - Definitions are read as C(xl) reads them. Both the definition that was found and the one that the roles would write are then parsed
    by C(xl) itself, and compared. RV(domains[].differences) and RV(domains[].not_expressed) have what is not the same.
  - C(site.yml) takes over a definition that is the same, and its running domain without restarting it. The playbook
    C(xen.driver_domains.import) writes the variables to a file of the inventory.
  - A PCI device is matched by its slot path, which stays when other hardware is added, or by its address if it is not there.
  - A running domain whose definition is not found is returned as Xen's toolstack keeps it, without the vifs and disks that were detached.
    What cannot be expressed of that is among RV(domains[].differences).
  - Of several definitions of a domain, the one in C(/etc/xen/NAME.cfg) counts. Of several domains of a role that have the same disk, PCI
    device or MAC address, the one that runs is returned, or else the one that starts with the host; the others are in RV(left_out).
  - The variables hold passwords such as C(vncpasswd) as the definitions do. Use C(no_log).
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes.info_module
options:
  paths:
    description:
      - Patterns for the paths of definitions, as in glob(7). Domains whose definitions this collection wrote are left out.
    type: list
    elements: str
    default: [/etc/xen/*.cfg, /etc/xen/auto/*]
seealso:
  - module: xen.driver_domains.xl_domain
  - module: xen.driver_domains.xl_domain_info
"""

EXAMPLES = r"""
- name: Read the definitions of a host
  xen.driver_domains.xl_config_info:
  register: found
  no_log: true

- name: Read those in a directory of one's own
  xen.driver_domains.xl_config_info:
    paths: [/srv/xen/*.cfg, /srv/xen/*.xl]
  register: found
  no_log: true

- name: Report what cannot be expressed
  ansible.builtin.debug:
    msg: "{{ found.domains | rejectattr('equal') }}"
"""

RETURN = r"""
variables:
  description: The variables of the roles; those that would be empty are left out.
  returned: success
  type: dict
  contains:
    dom0_pci_assignable:
      description: The devices of the domains, as O(xen.driver_domains.dom0#role:main:dom0_pci_assignable) takes them.
      type: list
      elements: dict
      returned: always
    driver_domain_domains:
      description: Domains that serve others, as O(xen.driver_domains.driver_domain#role:main:driver_domain_domains) takes them.
      type: list
      elements: dict
      returned: always
    domu_domains:
      description: The others, as O(xen.driver_domains.domu#role:main:domu_domains) takes them.
      type: list
      elements: dict
      returned: always
  sample:
    dom0_pci_assignable:
      - {name: net-dd.0, match: {slot: "0000:00/1c.0/00.0"}}
    driver_domain_domains:
      - {name: net-dd, image: foreign, memory: 512, kernel: /boot/vmlinuz-dd, pci: [net-dd.0], on_crash: restart, on_watchdog: destroy}
    domu_domains:
      - name: web1
        state: present
        image: foreign
        type: pvh
        memory: 512
        kernel: /boot/vmlinuz
        vifs: [{mac: "00:16:3e:00:00:11", backend: net-dd, bridge: xenbr0, trusted: true}]
domains:
  description: The domains that are in RV(variables).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the domain.
      type: str
      returned: success
    variable:
      description: The variable that has it.
      type: str
      returned: success
    path:
      description: Its definition; empty if none was found.
      type: str
      returned: success
    running:
      description: Whether it runs.
      type: bool
      returned: success
    autostart:
      description: Whether C(xendomains) starts it with the host.
      type: bool
      returned: success
    equal:
      description: Whether there are no RV(domains[].differences).
      type: bool
      returned: success
    differences:
      description:
        - What C(xl) makes of the definition that the roles would write, where that is not what it makes of the one that was found, or not
          what the toolstack keeps of a running domain without one; and files that M(xen.driver_domains.xl_domain) would refuse to replace.
        - Vifs and disks that its definition has, and that were detached while it ran. The recovery service detaches some for a while; these
          count as attached.
      type: list
      elements: str
      returned: success
    not_expressed:
      description:
        - What the definition says and the variables do not, what C(xl) ignores, and what it leaves to chance.
        - Vifs and disks that were detached from a running domain without a definition. They are not in the variables.
      type: list
      elements: str
      returned: success
  sample:
    - name: web1
      variable: domu_domains
      path: /etc/xen/web1.cfg
      running: false
      autostart: true
      equal: true
      differences: []
      not_expressed: ["vif 0 has no MAC address, so xl chooses another one at each start; it gets one that stays"]
left_out:
  description: Files that are no definitions, or cannot be expressed, and why; and such running domains, with an empty C(path).
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      returned: always
    reason:
      description: Why it was left out.
      type: str
      returned: always
  sample: [{path: /etc/xen/old.cfg, reason: "Line 3: '-' has no meaning here. ..."}]
managed:
  description: Definitions that this collection wrote.
  returned: success
  type: list
  elements: str
  sample: [/etc/xen/net-dd.cfg]
"""

import os
import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt_host import PATTERNS, import_domains
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import Paths
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import waiting_devices
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_dom0
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Xl
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore

ARGUMENTS = {"paths": {"type": "list", "elements": "str", "default": list(PATTERNS)}}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the host."""
    require_dom0()
    return Plan(results=import_domains(Xl(), XenStore(), parameters["paths"], Paths(), os.uname().machine, waiting_devices()))


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
