#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: driver_domain_volumes
version_added: 0.1.0
short_description: Make, grow and remove logical volumes in driver domains
description:
  - Lets driver domains that boot an image of the collection make, grow and remove logical volumes, which they serve to guests as disks.
  - A driver domain makes its volume groups itself when it starts, see the role P(xen.driver_domains.driver_domain#role). It reports its
    groups and volumes to XenStore. This module compares them with those that are declared, and gives it orders, in a place that it can only
    read. The orders are gone when the module ends; those that the domain had not begun with are not carried out later.
  - Volumes that are not declared stay. No volume is made smaller, and none is removed that a running domain has as a disk.
  - The disk of a guest that runs grows at once. The file system on it stays as it is.
  - What was in a removed volume is overwritten before its space is used again. The domain goes on with that after the task has ended.
  - Check mode compares with what a domain reported last. Of a domain that does not run, the volumes are not known, which is a warning.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  domains:
    description: The driver domains.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the domain.
        type: str
        required: true
      volume_groups:
        description: Its volume groups.
        type: list
        elements: dict
        required: true
        suboptions:
          name:
            description: Name of the group.
            type: str
            required: true
          disks:
            description: The disks that it is made of. The role P(xen.driver_domains.driver_domain#role) says how they are named.
            type: list
            elements: str
            required: true
          volumes:
            description: The volumes. Others stay as they are.
            type: list
            elements: dict
            default: []
            suboptions:
              name:
                description: Name of the volume. A volume of that name in another group is another volume.
                type: str
                required: true
              size:
                description:
                  - Size with MiB, GiB or TiB, such as V(2GiB), rounded up to extents of the group. Required, but for
                    O(domains[].volume_groups[].volumes[].state=absent).
                type: str
              state:
                description: Whether the volume is there.
                type: str
                choices: [present, absent]
                default: present
  timeout:
    description: Seconds that each domain may take for all of its orders.
    type: float
    default: 120
seealso:
  - module: xen.driver_domains.xl_vbd
  - module: xen.driver_domains.xl_domain
"""

EXAMPLES = r"""
- name: Make a volume, and remove another one
  xen.driver_domains.driver_domain_volumes:
    domains:
      - name: storage-dd
        volume_groups:
          - name: vg0
            disks: [xvdb]
            volumes:
              - {name: web1-root, size: 2GiB}
              - {name: web0-root, state: absent}
"""

RETURN = r"""
volumes:
  description: The volumes that are declared, but for those of domains that do not report any.
  returned: when nothing was refused before anything was changed
  type: list
  elements: dict
  contains:
    domain:
      description: Name of the driver domain.
      type: str
      returned: always
    group:
      description: Name of the volume group.
      type: str
      returned: always
    name:
      description: Name of the volume.
      type: str
      returned: always
    size:
      description: Its size in bytes; V(null) for one that is absent.
      type: int
      returned: always
    result:
      description: V(created), V(grown), V(removed), V(unchanged), or V(refused) by the driver domain, in which case the task fails.
      type: str
      returned: always
    reason:
      description: Why it was refused, as the driver domain says, or empty.
      type: str
      returned: always
  sample:
    - {domain: storage-dd, group: vg0, name: web1-root, size: 2147483648, result: created, reason: ""}
actions:
  description: What was done, or in check mode would be done, in order.
  returned: always
  type: list
  elements: str
  sample: ["volume vg0/web1-root of storage-dd: make it, with 2147483648 bytes"]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import waiting_devices
from ansible_collections.xen.driver_domains.plugins.module_utils._storage.plan import plan_volumes
from ansible_collections.xen.driver_domains.plugins.module_utils._turn import take_turn
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_dom0
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore

_VOLUME: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "size": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
_GROUP: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "disks": {"type": "list", "elements": "str", "required": True},
    "volumes": {"type": "list", "elements": "dict", "default": [], "options": _VOLUME},
}
_DOMAIN: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "volume_groups": {"type": "list", "elements": "dict", "required": True, "options": _GROUP},
}
ARGUMENTS: dict[str, t.Any] = {
    "domains": {"type": "list", "elements": "dict", "required": True, "options": _DOMAIN},
    "timeout": {"type": "float", "default": 120},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read XenStore and plan."""
    require_dom0()
    return plan_volumes(XenStore(), parameters["domains"], parameters["timeout"], waiting_devices())


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare, first=take_turn)


if __name__ == "__main__":
    main()
