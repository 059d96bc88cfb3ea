#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dom0less_domain_info
version_added: 0.1.0
short_description: Report a board's dom0less domains and boot problems
description:
  - Reports which domains Xen started, and what is wrong - devices that could not be assigned, domains that are missing, in another order
    or without a name, a security mode in which domains cannot serve each other, console and memory settings.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes.info_module
options:
  names:
    description: The names of the domains 1, 2, and so on that Xen should have started.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Gather the boot problems of the board
  xen.driver_domains.dom0less_domain_info:
    names: [net-dd, web1]
  register: board

- name: Check that there are none
  ansible.builtin.assert:
    that: board.findings | length == 0
"""

RETURN = r"""
findings:
  description: The problems that were found.
  returned: success
  type: list
  elements: dict
  sample:
    - name: silo
      problem: "Xen runs in SILO mode: domains can reach dom0, but not each other, so a backend in a domU cannot serve any"
      remedy: Add xsm=dummy to Xen's command line
  contains:
    name:
      description:
        - Kind of finding.
        - One of V(device_not_assigned), V(domain_missing), V(not_initialised), V(wrong_order), V(not_named),
          V(silo), V(console), V(dom0_memory).
      type: str
    problem:
      description: What is wrong.
      type: str
    remedy:
      description: What to do about it.
      type: str
domains:
  description: All running domains, in the order of their domids; the name is empty when XenStore has none.
  returned: success
  type: list
  elements: dict
  contains:
    domid:
      description: Number of the domain.
      type: int
      returned: always
    name:
      description: Its name, or an empty string.
      type: str
      returned: always
    memory:
      description: Memory in MiB.
      type: int
      returned: always
    vcpus:
      description: Number of virtual CPUs.
      type: int
      returned: always
  sample: [{domid: 1, name: net-dd, memory: 256, vcpus: 1}]
"""

import typing as t
from dataclasses import asdict

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.boot_findings import findings
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_dom0
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Xl
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the state of Xen and XenStore."""
    require_dom0()
    xl = Xl()
    domains, known = xl.list(), XenStore().domains()
    found = findings(parameters["names"], domains, known, xl.dmesg(), xl.info().get("xen_commandline", ""))
    listed = [{"domid": d.domid, "name": known.get(d.domid, ""), "memory": d.memory, "vcpus": d.vcpus} for d in domains]
    return Plan(results={"findings": [asdict(finding) for finding in found], "domains": listed})


def main() -> None:
    """Run the module."""
    run_module({"names": {"type": "list", "elements": "str", "required": True}}, prepare)


if __name__ == "__main__":
    main()
