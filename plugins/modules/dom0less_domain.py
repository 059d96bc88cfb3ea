#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dom0less_domain
version_added: 0.1.0
short_description: Name the domains that Xen started at boot
description:
  - Domains that Xen itself starts (dom0less) have a domid, but neither a name nor nodes in XenStore. This module runs C(init-dom0less)
    if nodes are missing, and sets the names, so that M(xen.driver_domains.xl_vif) and C(xl) can use them.
  - The names are lost when the board reboots.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  names:
    description: The names of the domains 1, 2, and so on, in the order of O(xen.driver_domains.uboot_script#module:domus).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Name the domains that Xen started
  xen.driver_domains.dom0less_domain:
    names: [net-dd, web1]
"""

RETURN = r"""
domains:
  description: The domains.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the domain.
      type: str
      returned: always
    domid:
      description: Number of the domain.
      type: int
      returned: always
  sample: [{name: net-dd, domid: 1}, {name: web1, domid: 2}]
actions:
  description: What was done, or in check mode would be done, in order.
  returned: always
  type: list
  elements: str
  sample: [init-dom0less, name domain 1 net-dd]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.dom0less import Dom0less
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_dom0
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Xl
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read which domains run and plan their names."""
    version = require_dom0()
    runner = Runner()
    return Dom0less(Xl(runner), XenStore(), runner, version).plan(parameters["names"])


def main() -> None:
    """Run the module."""
    run_module({"names": {"type": "list", "elements": "str", "required": True}}, prepare)


if __name__ == "__main__":
    main()
