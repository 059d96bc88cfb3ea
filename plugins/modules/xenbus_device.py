#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xenbus_device
short_description: Create and remove split devices between two domains
version_added: 0.1.0
description:
  - Creates the XenStore directories of a frontend and its backend, which makes the drivers on both sides probe the device.
  - The backend may be in dom0 or in a driver domain. All directories of a task appear in one transaction.
  - Each directory belongs to its domain, the other domain may read it, and no other domain has access, as with the devices of C(xl).
  - A device that drivers use is never disturbed. A device that is closed, or has only one side, is replaced.
  - A device that has its backend in another domain is refused. Remove it there first.
  - Backend directories of the same type whose frontend's domain is gone are removed.
  - This module is for types that C(xl) does not know. Use M(xen.driver_domains.xl_domain) for network interfaces and disks. A device
    that C(xl) made is refused.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.xenstore
options:
  devices:
    description: The devices.
    type: list
    elements: dict
    required: true
    suboptions:
      type:
        description: The type, as in the C(xenbus_device_id) of the drivers.
        type: str
        required: true
      devid:
        description: Number of the device among the devices of this type in the frontend's domain.
        type: int
        default: 0
      frontend:
        description: Name or domid of the domain with the frontend.
        type: str
        required: true
      backend:
        description: Name or domid of the domain with the backend.
        type: str
        default: "0"
      frontend_keys:
        description: Additional keys in the frontend's directory, with their values. Names may contain slashes.
        type: dict
      backend_keys:
        description: Additional keys in the backend's directory, with their values.
        type: dict
      wait_for:
        description:
          - State that both drivers must reach before the task ends, V(connected) or an earlier one.
          - V(none) does not wait, for drivers that do not publish their state.
        type: str
        choices: [none, init_wait, initialised, connected]
        default: connected
      state:
        description:
          - V(absent) takes the device offline, waits until both drivers have closed it, and removes both directories.
        type: str
        choices: [present, absent]
        default: present
  wait_timeout:
    description: Seconds that the drivers may take to reach a state.
    type: float
    default: 30
  force:
    description:
      - Guard rails to override, by name.
      - V(not_closed) - remove a device even if its drivers do not close it within O(wait_timeout).
    type: list
    elements: str
    choices: [not_closed]
    default: []
notes:
  - Runs on dom0. C(docs/split_driver.md) of the collection explains what the drivers have to do.
  - A domain gets a new domid when it restarts, and loses its devices. Run the task again after a restart.
seealso:
  - module: xen.driver_domains.xenstore_key
"""

EXAMPLES = r"""
- name: Connect the guest's frontend with the backend in dom0
  xen.driver_domains.xenbus_device:
    devices:
      - {type: vsensor, frontend: web1}

- name: Connect it with a backend in a driver domain, and give keys to the driver
  xen.driver_domains.xenbus_device:
    devices:
      - type: vsensor
        frontend: web1
        backend: sensor-dd
        backend_keys: {max-queues: 4, serial: "000117"}

- name: Remove a device
  xen.driver_domains.xenbus_device:
    devices:
      - {type: vsensor, frontend: web1, backend: sensor-dd, state: absent}
"""

RETURN = r"""
devices:
  description: The devices after the task, or in check mode before it, in the order of O(devices).
  returned: success
  type: list
  elements: dict
  contains:
    type:
      description: The type.
      type: str
    devid:
      description: The number of the device.
      type: int
    frontend_id:
      description: Domid of the frontend's domain, V(null) if it does not run.
      type: int
    backend_id:
      description: Domid of the backend's domain, V(null) if it does not run.
      type: int
    frontend_path:
      description: Directory of the frontend.
      type: str
    backend_path:
      description: Directory of the backend.
      type: str
    frontend_state:
      description:
        - V(initialising), V(init_wait), V(initialised), V(connected), V(closing), V(closed), V(reconfiguring), V(reconfigured),
          or V(missing).
      type: str
    backend_state:
      description: As RV(devices[].frontend_state).
      type: str
  sample:
    - type: vsensor
      devid: 0
      frontend_id: 3
      backend_id: 2
      frontend_path: /local/domain/3/device/vsensor/0
      backend_path: /local/domain/2/backend/vsensor/3/0
      frontend_state: connected
      backend_state: connected
actions:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: [create vsensor 0 of web1 at sensor-dd]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.xenbus import XenbusPlanner
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.xenbus_device import devices_from

ARGUMENTS = {
    "devices": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "type": {"type": "str", "required": True},
            "devid": {"type": "int", "default": 0},
            "frontend": {"type": "str", "required": True},
            "backend": {"type": "str", "default": "0"},
            "frontend_keys": {"type": "dict", "no_log": False},
            "backend_keys": {"type": "dict", "no_log": False},
            "wait_for": {"type": "str", "choices": ["none", "init_wait", "initialised", "connected"], "default": "connected"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
    },
    "wait_timeout": {"type": "float", "default": 30},
    "force": {"type": "list", "elements": "str", "choices": ["not_closed"], "default": []},
    "timeout": {"type": "float", "default": 10},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read XenStore and plan."""
    store = XenStore(timeout=parameters["timeout"])
    return XenbusPlanner(store, parameters["wait_timeout"]).plan(devices_from(store, parameters["devices"]))


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
