#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xl_pci_assignable
short_description: Which PCI devices of a Xen host guests can have
version_added: 0.1.0
description:
  - Takes PCI devices from dom0's drivers and gives them to C(xen-pciback) with C(xl pci-assignable-add), under names that C(pci=) of
    a domain definition can use, and gives them back.
  - Devices are chosen by what does not move, such as a MAC address. What a device is known by is recorded on the host when it is taken,
    because a device that C(xen-pciback) holds has no network interface.
  - Nothing is changed when a guard rail speaks against one of the devices, when the host is not the control domain of Xen, or when the
    machine has no IOMMU.
  - In check mode, a host that does not run under Xen yet gets a plan and a warning.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.pci_devices
  - xen.driver_domains.pci_devices.guards
options:
  devices:
    required: true
  state:
    description:
      - V(present) has the devices held by C(xen-pciback), quarantined by Xen, and known to xl by their names. xl forgets names and
        quarantine when the host reboots; they are then set again.
      - V(recorded) only writes down what the devices are known by, for devices that are hidden from dom0 at its next boot. It works
        on a host that does not run under Xen yet, and minds the guard rails.
      - V(absent) gives the devices back to the driver they had, waits until their network interfaces are there, and drops what was
        recorded. It refuses a device that a running domain has. An entry that no device of the host fits is taken for one that was
        pulled out, with a warning, unless C(xen-pciback) holds a device that nothing is recorded of, which could be it.
      - V(confirmed) keeps devices that are on probation (O(confirm_timeout)). The task that took them does that by itself; it is
        for those who want to look at more than whether the host is reached, or who run the module without its action plugin. It
        refuses the connection that the devices were taken over.
    type: str
    choices: [present, recorded, confirmed, absent]
    default: present
  confirm_timeout:
    description:
      - With a number of seconds, devices that are taken with O(state=present) are taken on probation. Afterwards the task connects
        anew and confirms. If that does not come within this time, because the host cannot be reached any more, the host gives the
        devices back to their drivers by itself, and the task fails.
      - The host needs systemd. A reboot ends the probation.
      - V(0) takes devices for good, and confirms those that are on probation.
    type: int
    default: 0
  timeout:
    description: Seconds that each command may take.
    type: int
    default: 60
seealso:
  - module: xen.driver_domains.xl_pci_info
  - module: xen.driver_domains.dom0_boot
  - module: xen.driver_domains.xl_domain
"""

EXAMPLES = r"""
- name: Two network cards are for driver domains
  xen.driver_domains.xl_pci_assignable:
    devices:
      - name: uplink0
        match:
          mac: "52:54:00:aa:00:02"
      - name: uplink1
        match:
          slot: "0000:00/1c.0/00.0"
          vendor_device: "8086:10d3"

- name: Both functions of a USB controller, called usb.0 and usb.1
  xen.driver_domains.xl_pci_assignable:
    devices:
      - name: usb
        match:
          bdf: "0000:00:1d.*"
        match_all: true

- name: The card that I am connected through, to be given back unless the host is reached without it
  xen.driver_domains.xl_pci_assignable:
    devices:
      - name: uplink0
        match:
          ifname: eth0
    force:
      - management_route
      - default_route
    confirm_timeout: 60

- name: Remember a card that is hidden from dom0 at its next boot
  xen.driver_domains.xl_pci_assignable:
    state: recorded
    devices:
      - name: uplink0
        match:
          mac: "52:54:00:aa:00:02"

- name: A card goes back to dom0
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
  sample: ["modprobe xen-pciback", "give 0000:03:00.0 to pciback as uplink0"]
devices:
  description:
    - The devices, in the order of O(devices), as they are now; in check mode, as they would be.
    - The entries are those of RV(xen.driver_domains.xl_pci_info#module:devices), without C(guards).
  returned: success
  type: list
  elements: dict
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
unconfirmed:
  description: BDFs of the devices that were taken on probation.
  returned: when O(confirm_timeout) is set and devices are on probation
  type: list
  elements: str
  sample: ["0000:03:00.0"]
refusals:
  description: The guard rails that spoke against the task.
  returned: when a guard rail refused the task
  type: list
  elements: dict
  sample:
    - guard: management_route
      subject: uplink0 (0000:03:00.0)
      reason: "carries the management connection from 198.51.100.7: 192.0.2.5 on br0 -> bond0 -> eth1 -> 0000:03:00.0"
candidates:
  description: The devices that could be meant, when not exactly one fits.
  returned: when an entry of O(devices) does not fit exactly one device
  type: list
  elements: dict
  sample: []
undo:
  description: Why a device whose taking failed could not be given back. Without it, the device is as it was.
  returned: when a device could neither be taken nor be given back
  type: str
  sample: "0000:03:00.0 could not be given back to e1000e: 0000:03:00.0 got no driver back; it had e1000e (waited 15 s)."
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
