#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xenstore_key
short_description: Write, remove and wait for XenStore nodes
version_added: 0.1.0
description:
  - Creates, changes and removes any number of XenStore nodes, alone or as trees, in one transaction. Other clients see either all of the
    changes or none.
  - A node that has the requested value is not written, since each write fires the watches on it.
  - What the toolstack and the drivers own is not removed or changed unless O(force) says so. New nodes can be added anywhere.
  - Works on dom0, and inside a guest for the nodes that the guest may write. It needs root, but no Xen tools.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.xenstore
options:
  keys:
    description: The nodes.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - Path of the node. It starts with a slash, unless O(keys[].domain) is set; then, an empty path is the home of the domain.
          - Inside a guest, a path without a leading slash and without O(keys[].domain) is in the guest's own home.
        type: str
        required: true
      domain: &domain
        description: Name or domid of a running domain in whose home the node is.
        type: str
      value:
        description:
          - The exact value, text or a whole number. Without it, an existing node keeps its value and a new one gets an empty one.
          - Put numbers like C(0x10) and words like C(yes) in quotes, or YAML converts them.
        type: raw
      tree:
        description:
          - Nodes below O(keys[].path), as a dictionary of values and dictionaries. V(null) stands for a node with any value.
          - The name V(.) stands for the value of an inner node itself.
        type: dict
      encoding:
        description: Whether the values are text, which is written as UTF-8, or Base64, which can express any bytes.
        type: str
        choices: [text, base64]
        default: text
      permissions:
        description:
          - The permissions of O(keys[].path) and of each node of O(keys[].tree).
          - By default existing nodes keep theirs, and a new node inherits those of the node above it.
        type: dict
        suboptions:
          owner:
            description: Name or domid of the domain that owns the nodes. It may do everything, and the nodes count against its quota.
            type: str
            required: true
          others:
            description: What all other domains may do - nothing (V(n)), read (V(r)), write (V(w)) or both (V(b)).
            type: str
            choices: [n, r, w, b]
            default: n
          domains:
            description: What individual domains may do (V(n), V(r), V(w), V(b)), by name or domid.
            type: dict
      prune:
        description: Remove nodes below O(keys[].path) that are not in O(keys[].tree).
        type: bool
        default: false
      state:
        description: V(absent) removes the node and all nodes below it.
        type: str
        choices: [present, absent]
        default: present
  wait_for:
    description: Nodes to wait for after the change, except in check mode. Nothing is polled; XenStore reports changes.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path of the node, as in O(keys[].path).
        type: str
        required: true
      domain: *domain
      value:
        description: The value to wait for. By default any value ends the wait.
        type: str
      state:
        description: Whether to wait until the node exists or until it is gone, as all of them are when their domain is.
        type: str
        choices: [present, absent]
        default: present
  wait_timeout:
    description: Seconds to wait for O(wait_for).
    type: float
    default: 60
  force:
    description:
      - Guard rails to override, by name.
      - V(toolstack_nodes) - remove, prune or change existing nodes that the toolstack and the drivers own. These are the root and the
        directories right below it, everything below C(/libxl), C(/vm) and C(/tool/xenstored), the homes of domains, and in each home
        the devices, backends and what C(xl) writes there, such as C(name) and C(console). Values below C(control) and C(memory) can be
        written without it.
      - V(not_running) - create nodes for a domid that does not run, or give it permissions. The next domain with that number would get
        them.
    type: list
    elements: str
    choices: [toolstack_nodes, not_running]
    default: []
seealso:
  - module: xen.driver_domains.xenstore_info
  - module: xen.driver_domains.xenbus_device
"""

EXAMPLES = r"""
- name: Publish settings that only one guest can read
  xen.driver_domains.xenstore_key:
    keys:
      - path: config
        domain: web1
        tree:
          color: blue
          limits: {connections: 100, burst: "0x10"}
        permissions: {owner: "0", domains: {web1: r}}
        prune: true

- name: Wait until the driver domain is ready
  xen.driver_domains.xenstore_key:
    wait_for:
      - {path: data/driver-domain/status, domain: net-dd, value: ready}

- name: Remove a node and set another one in one transaction
  xen.driver_domains.xenstore_key:
    keys:
      - {path: /tool/old, state: absent}
      - {path: /tool/new, value: "1"}
"""

RETURN = r"""
nodes:
  description: The items of O(keys) in their order, with absolute paths. Absent nodes of domains that do not run are left out.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: Absolute path.
      type: str
      returned: always
    changed:
      description: Whether the node was changed.
      type: bool
      returned: always
  sample:
    - {path: /local/domain/3/config, changed: true}
waited:
  description:
    - The nodes of O(wait_for) with their values, but those of domains that did not run.
    - A value that cannot be printed as it is contains escape sequences, and C(base64) has its exact bytes.
  returned: with O(wait_for), not in check mode
  type: list
  elements: dict
  contains:
    path:
      description: Absolute path.
      type: str
      returned: always
    value:
      description: Its value.
      type: str
      returned: always
    base64:
      description: Its exact bytes, if C(value) is not exact.
      type: str
      returned: always
  sample:
    - {path: /local/domain/2/data/driver-domain/status, value: ready}
actions:
  description: What was done, or in check mode would be done, with one entry for each item of O(keys) that changes.
  returned: always
  type: list
  elements: str
  sample: ["write 4 nodes at /local/domain/3/config"]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.guards import XENSTORE_GUARDS
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.keys import plan_keys

_NODE = {"path": {"type": "str", "required": True}, "domain": {"type": "str"}}
_STATE = {"type": "str", "choices": ["present", "absent"], "default": "present"}
_PERMISSIONS = {
    "owner": {"type": "str", "required": True},
    "others": {"type": "str", "choices": ["n", "r", "w", "b"], "default": "n"},
    "domains": {"type": "dict"},
}
ARGUMENTS = {
    "keys": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "no_log": False,
        "options": {
            **_NODE,
            "value": {"type": "raw"},
            "tree": {"type": "dict"},
            "encoding": {"type": "str", "choices": ["text", "base64"], "default": "text"},
            "permissions": {"type": "dict", "options": _PERMISSIONS},
            "prune": {"type": "bool", "default": False},
            "state": _STATE,
        },
    },
    "wait_for": {"type": "list", "elements": "dict", "default": [], "options": {**_NODE, "value": {"type": "str"}, "state": _STATE}},
    "wait_timeout": {"type": "float", "default": 60},
    "force": {"type": "list", "elements": "str", "choices": list(XENSTORE_GUARDS), "default": []},
    "timeout": {"type": "float", "default": 10},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read XenStore and plan."""
    store = XenStore(timeout=parameters["timeout"])
    return plan_keys(store, parameters["keys"], parameters["wait_for"], parameters["wait_timeout"])


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
