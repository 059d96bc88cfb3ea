#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check the variables of the roles before anything is changed
version_added: 0.1.0
description:
  - Checks all variables of the roles that C(site.yml) applies, on the controller, and reports everything that is wrong with them at once.
  - The values are compared with the argument specs of the roles, and with each other. This finds devices, ports, bridges and backends that
    are not there, names and addresses that are there twice, gateways outside of their network, domains that serve each other in a circle
    or start before what serves them, and all that M(xen.driver_domains.xl_domain) would refuse without looking at the host.
  - A variable whose name is close to that of an option, such as C(dom0_pci_asignable), is an error. Any other variable of your own may
    begin with the prefix of a role.
  - The host is asked only if a backend is no domain of its variables, or with O(read_host=true).
  - This is an action plugin. It changes nothing, and also works for a host that does not run Xen yet.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  roles:
    description: The roles whose variables are checked.
    type: list
    elements: str
    choices: [dom0, driver_domain, domu, guest_image]
    default: [dom0, driver_domain, domu, guest_image]
  read_host:
    description:
      - Whether to compare the variables with the host as well, which are its memory, its domains, and the guard rails of the devices in
        O(xen.driver_domains.dom0#role:main:dom0_pci_assignable).
      - Also prints which devices can go to driver domains, see RV(proposal).
    type: bool
    default: false
seealso:
  - module: xen.driver_domains.xl_pci_info
"""

EXAMPLES = r"""
- name: Check the variables
  xen.driver_domains.preflight:

- name: Check the variables and the host, and show which of its devices can go
  xen.driver_domains.preflight:
    read_host: true
"""

RETURN = r"""
errors:
  description: What is wrong, each with the variable, the value, the rule and the remedy. The task fails if there are any.
  returned: always
  type: list
  elements: str
  sample:
    - "domu_domains[0] (web1).vifs[0]: there is no bridge 'xenbr1' in net-dd, which has: xenbr0. Rule: the bridge of a vif is one of its
      backend domain. Did you mean xenbr0?"
no_options:
  description: Variables whose names begin with the prefix of a role, and that are left alone because they are close to no option.
  returned: always
  type: list
  elements: str
  sample: [dom0_ip]
not_known:
  description: What variables cannot say, and what check mode cannot find out before the host runs Xen.
  returned: always
  type: list
  elements: str
  sample: ["Whether there are these bridges in dom0: br0"]
proposal:
  description:
    - Which devices can go to driver domains, as YAML for C(host_vars), and why others cannot, as comments.
    - Empty without O(read_host=true).
  returned: always
  type: str
  sample: |
    # Which devices can go to a driver domain.
    dom0_pci_assignable:
      - {name: nic0, match: {mac: "52:54:00:aa:00:02"}}    # 0000:04:00.0 8086:10d3 driver e1000e eth1 52:54:00:aa:00:02
xen:
  description: Whether the host runs under Xen.
  returned: with O(read_host=true), if the host could be read
  type: bool
  sample: true
"""
