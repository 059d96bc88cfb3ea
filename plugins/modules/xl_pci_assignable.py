#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xl_pci_assignable
short_description: Make PCI devices of a Xen host assignable to guests, or return them to dom0
version_added: 0.1.0
description:
  - Takes PCI devices from dom0's drivers and hands them to C(xen-pciback) with C(xl pci-assignable-add), under names that C(pci=) of
    a domain definition can use, and returns them.
  - Devices are selected by stable identifiers such as a MAC address. Those identifiers are recorded on the host before a device is
    taken, because a device that C(xen-pciback) holds has no network interface.
  - Nothing is changed when a guard rail blocks one of the devices, when the host is not the control domain of Xen, or when the
    machine has no IOMMU.
  - In check mode, a host that does not run under Xen yet gets a plan and a warning.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.pci_devices
  - xen.driver_domains.pci_devices.guards
options:
  devices:
    required: true
  state:
    description:
      - V(present) makes sure that C(xen-pciback) holds the devices, that Xen has them in quarantine and that xl knows their names. xl
        forgets names and quarantine when the host reboots; they are then set again.
      - V(recorded) finds the devices, makes all checks of V(present) and records the identifiers, but takes nothing. RV(pending) lists
        what V(present) would still do. Use it before devices are hidden from dom0 at the next boot. It works on a host that does not run
        under Xen yet.
      - V(absent) returns the devices to the drivers that they had, waits for their network interfaces and removes the records. It refuses
        a device that a running domain uses. If no device of the host matches an entry, the device is assumed to have been removed
        from the host, with a warning, unless C(xen-pciback) holds a device without a record, which could be the one.
      - V(confirmed) keeps devices that have not been confirmed yet (O(confirm_timeout)). The task that took them does that by itself.
        Use it to check more than whether the host can be reached, or when the module runs without its action plugin. It refuses the
        connection that the devices were taken over.
    type: str
    choices: [present, recorded, confirmed, absent]
    default: present
  confirm_timeout:
    description:
      - Number of seconds within which a new connection has to confirm the devices that O(state=present) takes. The task opens that
        connection and confirms by itself. If it cannot, because the host cannot be reached any more, the host returns the devices
        to their drivers when the time is up, and the task fails.
      - The host needs systemd. A reboot stops the timer.
      - A run that did not come over SSH gets a warning, because a new connection of it does not show that the host can be reached.
      - V(0) takes devices permanently, and confirms those that have not been confirmed yet.
    type: int
    default: 0
  uplinks:
    description:
      - Names of O(devices) that dom0 is reached by, and that M(xen.driver_domains.dom0_uplink) hands to a driver domain.
      - With O(state=recorded), the guard rails V(management_route) and V(default_route) do not hold for them, and RV(pending) leaves them
        out. It is refused when dom0 is reached through a driver domain in the place of a device that is not named here.
    type: list
    elements: str
    default: []
  timeout:
    description: Maximum time in seconds for each command.
    type: int
    default: 60
seealso:
  - module: xen.driver_domains.xl_pci_info
  - module: xen.driver_domains.dom0_boot
  - module: xen.driver_domains.xl_domain
"""

EXAMPLES = r"""
- name: Make two network cards assignable
  xen.driver_domains.xl_pci_assignable:
    devices:
      - name: uplink0
        match:
          mac: "52:54:00:aa:00:02"
      - name: uplink1
        match:
          slot: "0000:00/1c.0/00.0"
          vendor_device: "8086:10d3"

- name: Make all functions of a USB controller assignable, as usb.0 and usb.1
  xen.driver_domains.xl_pci_assignable:
    devices:
      - name: usb
        match:
          bdf: "0000:00:1d.*"
        match_all: true

- name: Take the card of the SSH connection, and return it unless the host can be reached without it
  xen.driver_domains.xl_pci_assignable:
    devices:
      - name: uplink0
        match:
          ifname: eth0
    force:
      - management_route
      - default_route
    confirm_timeout: 60

- name: Record a card that is hidden from dom0 at the next boot
  xen.driver_domains.xl_pci_assignable:
    state: recorded
    devices:
      - name: uplink0
        match:
          mac: "52:54:00:aa:00:02"

- name: Return a card to dom0
  xen.driver_domains.xl_pci_assignable:
    state: absent
    devices:
      - name: uplink0
        match:
          mac: "52:54:00:aa:00:02"
"""

RETURN = r"""
actions:
  description: What was done, in order; in check mode, what would be done.
  returned: always
  type: list
  elements: str
  sample: ["modprobe xen-pciback", "make 0000:03:00.0 assignable as uplink0"]
devices:
  description:
    - The devices, in the order of O(devices), as they are now; in check mode, as they would be.
    - The entries are those of RV(xen.driver_domains.xl_pci_info#module:devices), without C(guards).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name from O(devices).
      type: str
      returned: always
    bdf:
      description: PCI address.
      type: str
      returned: always
    slot:
      description: Path to the device from the root bus.
      type: str
      returned: always
    driver:
      description: The driver that holds it, or an empty string.
      type: str
      returned: always
    mac:
      description: MAC address of its first network interface, or the recorded one.
      type: str
      returned: always
    pciback:
      description: Whether C(xen-pciback) holds it.
      type: bool
      returned: always
    owner:
      description: Name of the running domain that has it, or an empty string.
      type: str
      returned: always
  sample:
    - name: uplink0
      bdf: "0000:03:00.0"
      slot: 0000:00/1c.0/00.0
      vendor_device: "8086:10d3"
      subsystem: "8086:a01f"
      class: "020000"
      driver: pciback
      kernel_modules: [e1000e]
      interfaces: []
      mac: "52:54:00:aa:00:02"
      pciback: true
      in_pciback_slots: true
      xl_name: uplink0
      owner_domid: null
      owner: ""
      permissive: false
      physical_function: ""
      virtual_functions: []
      iommu_group: null
      reset_methods: [flr, bus]
      boot_vga: false
      bridge: false
pending:
  description: What O(state=present) would still do. Empty when all devices are assignable under their names.
  returned: when O(state=recorded)
  type: list
  elements: str
  sample: ["make 0000:03:00.0 assignable as uplink0"]
xen:
  description: Whether the host runs under Xen.
  returned: success
  type: bool
  sample: true
unconfirmed:
  description: BDFs of the devices that a new connection has to confirm.
  returned: when O(confirm_timeout) is set and devices are not confirmed yet
  type: list
  elements: str
  sample: ["0000:03:00.0"]
refusals:
  description: The guard rails that blocked the task.
  returned: when a guard rail refused the task
  type: list
  elements: dict
  contains:
    guard:
      description: Name of the guard rail, as O(force) takes it.
      type: str
      returned: always
    subject:
      description: The device that it protects.
      type: str
      returned: always
    reason:
      description: Why.
      type: str
      returned: always
  sample:
    - guard: management_route
      subject: uplink0 (0000:03:00.0)
      reason: "carries the management connection from 198.51.100.7: 192.0.2.5 on br0 -> bond0 -> eth1 -> 0000:03:00.0"
candidates:
  description: The devices that an entry could mean.
  returned: when an entry of O(devices) does not match exactly one device
  type: list
  elements: dict
  contains:
    bdf:
      description: PCI address.
      type: str
      returned: always
    slot:
      description: Path to the device from the root bus.
      type: str
      returned: always
    vendor_device:
      description: Vendor and device ID.
      type: str
      returned: always
    driver:
      description: The driver that holds it, or an empty string.
      type: str
      returned: always
  sample: []
undo:
  description: Why a device that could not be taken could not be returned either. If it is missing, the device is as it was before.
  returned: when a device could neither be taken nor returned
  type: str
  sample: "0000:03:00.0 could not be returned to e1000e: 0000:03:00.0 has no driver after its return; it had e1000e before (waited 15 s)."
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.assignable import AssignablePool
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.confirm_timer import ConfirmTimer
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.guards import PCI_GUARDS, Guards
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.host import PciHost
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.match import DEVICES_OPTION, parse_requests
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_dom0, require_root, xen_version
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import NAMES_SINCE, Xl
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore

ARGUMENTS = {
    "devices": dict(DEVICES_OPTION, required=True),
    "state": {"type": "str", "choices": ["present", "recorded", "confirmed", "absent"], "default": "present"},
    "confirm_timeout": {"type": "int", "default": 0},
    "force": {"type": "list", "elements": "str", "choices": list(PCI_GUARDS), "default": []},
    "uplinks": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "int", "default": 60},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the host and plan."""
    requests = parse_requests(parameters["devices"])
    if parameters["confirm_timeout"] < 0:
        raise InvalidInput(f"confirm_timeout is {parameters['confirm_timeout']}", "it is a number of seconds, or 0")
    require_root()
    version = xen_version()
    if version:
        version = require_dom0()
    runner = Runner(timeout=parameters["timeout"])
    pool = AssignablePool(
        PciHost(store=XenStore() if version else None),
        Xl(runner),
        runner,
        lambda devices: Guards(devices, runner),
        ConfirmTimer(runner),
        under_xen=version is not None,
        names=version is None or version >= NAMES_SINCE,
        uplinks=parameters["uplinks"],
    )
    plan = pool.plan(parameters["state"], requests, parameters["confirm_timeout"])
    plan.results["xen"] = version is not None
    if version is None and parameters["state"] == "present":
        remedy = "Apply the role xen.driver_domains.dom0 first, and reboot"
        plan.refuse("", "this host", "does not run under Xen", passing=True, remedy=remedy)
    return plan


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
