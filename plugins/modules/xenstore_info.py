#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xenstore_info
short_description: Read XenStore nodes
version_added: 0.1.0
description:
  - Reads any number of XenStore nodes in one call, alone or with all nodes below them.
  - Works on dom0, and inside a guest for the nodes that the guest may read. It needs root, but no Xen tools.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes.info_module
  - xen.driver_domains.xenstore
options:
  paths:
    description: What to read.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - Path of the node. It starts with a slash, unless O(paths[].domain) is set.
          - Inside a guest, a path without a leading slash and without O(paths[].domain) is in the guest's own home.
        type: str
        required: true
      domain:
        description: Name or domid of a running domain in whose home the node is.
        type: str
      recursive:
        description: Whether to read all nodes below it as well.
        type: bool
        default: false
      permissions:
        description: Whether to read the permissions as well.
        type: bool
        default: false
seealso:
  - module: xen.driver_domains.xenstore_key
  - module: xen.driver_domains.xl_domain_info
"""

EXAMPLES = r"""
- name: Read whether a driver domain is ready
  xen.driver_domains.xenstore_info:
    paths:
      - {path: data/driver-domain/status, domain: net-dd}
      - {path: data/driver-domain/error, domain: net-dd}
  register: status

- name: Read all keys of a backend, with their permissions
  xen.driver_domains.xenstore_info:
    paths:
      - path: backend/vif
        domain: net-dd
        recursive: true
        permissions: true
  register: backends
"""

RETURN = r"""
nodes:
  description: The nodes, in the order of O(paths).
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: Absolute path of the node, or the path from O(paths) if its domain does not run.
      type: str
    exists:
      description: Whether the node exists. Also V(false) if the domain does not run.
      type: bool
    value:
      description:
        - The value, or V(null) for a missing node. It is exact if there is no RV(nodes[].base64).
        - Bytes that are not UTF-8, and characters that a terminal would obey or hide, appear as escape sequences such as C(\x1b).
      type: str
    base64:
      description: The exact bytes of the value.
      returned: if RV(nodes[].value) shows escape sequences instead of them
      type: str
    permissions:
      description:
        - The owner first, then what other domains may do. V(null) without O(paths[].permissions), and for a missing node.
        - The letter is V(n), V(r), V(w) or V(b) (none, read, write, both), the number is the domid.
        - The first letter applies to all domains that are not listed.
      type: list
      elements: str
    children:
      description:
        - With O(paths[].recursive), all nodes below this one, by their relative paths.
        - Each has C(value), C(permissions) and, if the value is not exact, C(base64).
        - Nodes that this domain may not read are left out.
      type: dict
  sample:
    - path: /local/domain/6/backend/vif/7
      exists: true
      value: ""
      permissions: [n6, r7]
      children:
        "0": {value: "", permissions: [n6, r7]}
        "0/bridge": {value: xenbr0, permissions: [n6, r7]}
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._printable import exact_value
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.paths import node_path

ARGUMENTS = {
    "paths": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "path": {"type": "str", "required": True},
            "domain": {"type": "str"},
            "recursive": {"type": "bool", "default": False},
            "permissions": {"type": "bool", "default": False},
        },
    },
    "timeout": {"type": "float", "default": 10},
}


def read_nodes(store: XenStore, items: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Return the nodes that the items of the parameter `paths` name."""
    domids = store.domids_of({item["domain"] for item in items} - {None})
    found = [item["domain"] is None or domids[item["domain"]] is not None for item in items]
    paths = [node_path(item, domids) if here else item["path"] for item, here in zip(items, found)]

    singles = store.read_texts(path for path, item, here in zip(paths, items, found) if here and not item["recursive"])
    trees: list[dict[str, str]] = []
    for path, item, here in zip(paths, items, found):
        if here and item["recursive"]:
            trees.append(store.tree(path))
        else:
            value = singles[path] if here else None
            trees.append({} if value is None else {path: value})
    wanted = [node for item, tree in zip(items, trees) if item["permissions"] for node in tree]
    permissions = {path: None if perms is None else [str(p) for p in perms] for path, perms in store.get_perms_many(wanted).items()}

    nodes = []
    for path, item, tree in zip(paths, items, trees):
        of = permissions if item["permissions"] else {}
        below = len(path.rstrip("/")) + 1
        nodes.append(
            {
                "path": path,
                "exists": path in tree,
                **(exact_value(tree[path]) if path in tree else {"value": None}),
                "permissions": of.get(path),
                "children": {
                    node[below:]: {**exact_value(value), "permissions": of.get(node)} for node, value in tree.items() if node != path
                },
            }
        )
    return nodes


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the nodes."""
    with XenStore(timeout=parameters["timeout"]) as store:
        return Plan(results={"nodes": read_nodes(store, parameters["paths"])})


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
