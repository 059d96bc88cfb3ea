#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xl_pci_info
short_description: List the PCI devices of a host and the guard rails that protect them
version_added: 0.1.0
description:
  - Returns PCI devices with their drivers, network interfaces, slots and owners, and the guard rails that would refuse to make them
    assignable to guests.
  - Also works on hosts that do not run under Xen. Without root, the module does not see the SSH connections of other users.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes.info_module
  - xen.driver_domains.pci_devices
options:
  timeout:
    description: Maximum time in seconds for each command.
    type: int
    default: 60
notes:
  - Without O(devices), all PCI devices are returned.
seealso:
  - module: xen.driver_domains.xl_pci_assignable
"""

EXAMPLES = r"""
- name: List all PCI devices
  xen.driver_domains.xl_pci_info:
  register: pci

- name: Show network cards that can be made assignable
  ansible.builtin.debug:
    msg: "{{ pci.devices | selectattr('class', 'match', '02') | selectattr('guards', 'equalto', []) }}"

- name: Find the card with this address
  xen.driver_domains.xl_pci_info:
    devices:
      - name: uplink0
        match:
          mac: "52:54:00:aa:00:02"
"""

RETURN = r"""
iommu:
  description:
    - Whether there is an IOMMU, which passing devices through needs. Under Xen, this is what Xen reports; otherwise, whether Linux uses
      one, which may need a kernel option.
  returned: success
  type: bool
  sample: true
devices:
  description: The devices in the order of O(devices), or of their addresses.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name from O(devices), otherwise the one that xl or the record has for the device.
      type: str
      returned: always
    bdf:
      description: PCI address.
      type: str
      returned: always
    slot:
      description: Path to the device from the root bus. It does not change when other hardware is added.
      type: str
      returned: always
    vendor_device:
      description: Vendor and device ID.
      type: str
      returned: always
    subsystem:
      description: Vendor and device ID of the subsystem.
      type: str
      returned: always
    class:
      description: Class, subclass and programming interface.
      type: str
      returned: always
    driver:
      description: The driver that holds the device, or an empty string.
      type: str
      returned: always
    kernel_modules:
      description: Kernel modules of this host's kernel that can drive the device.
      type: list
      elements: str
      returned: always
    interfaces:
      description: Its network interfaces.
      type: list
      elements: dict
      returned: always
      contains:
        name:
          description: Name of the interface.
          type: str
          returned: always
        mac:
          description: Its MAC address.
          type: str
          returned: always
    mac:
      description: MAC address of its first network interface, or the recorded one if C(xen-pciback) holds the device.
      type: str
      returned: always
    pciback:
      description: Whether C(xen-pciback) holds the device.
      type: bool
      returned: always
    in_pciback_slots:
      description: Whether the device is in the list of C(xen-pciback).
      type: bool
      returned: always
    xl_name:
      description: The name that xl knows the device by.
      type: str
      returned: always
    owner_domid:
      description: Domid of the running domain that has the device.
      type: int
      returned: always
    owner:
      description: Name of that domain, or an empty string.
      type: str
      returned: always
    permissive:
      description: Whether C(xen-pciback) lets the domain write the whole configuration space of the device.
      type: bool
      returned: always
    physical_function:
      description: BDF of the SR-IOV physical function that the device is a virtual function of, or an empty string.
      type: str
      returned: always
    virtual_functions:
      description: BDFs of its SR-IOV virtual functions.
      type: list
      elements: str
      returned: always
    interrupt_shared_with:
      description: BDFs of the devices on the same interrupt line. Xen gives no security support for devices of different domains there.
      type: list
      elements: str
      returned: always
    page_shared_with:
      description: BDFs of the devices that have memory in the same page. Xen gives no security support for such devices either.
      type: list
      elements: str
      returned: always
    iommu_group:
      description: Its IOMMU group in Linux. Under Xen there usually is none, because Xen owns the IOMMU.
      type: int
      returned: always
    reset_methods:
      description: How the kernel can reset the device. If it cannot, each guest gets the device as the previous one left it.
      type: list
      elements: str
      returned: always
    boot_vga:
      description: Whether it is the graphics card of the firmware and the console.
      type: bool
      returned: always
    bridge:
      description: Whether it is a bridge.
      type: bool
      returned: always
    guards:
      description: The guard rails that would refuse to make it assignable, and why.
      type: list
      elements: dict
      returned: always
      contains:
        guard:
          description: Name of the guard rail.
          type: str
          returned: always
        reason:
          description: Why it would refuse.
          type: str
          returned: always
  sample:
    - name: uplink0
      bdf: "0000:03:00.0"
      slot: 0000:00/1c.0/00.0
      vendor_device: "8086:10d3"
      subsystem: "8086:a01f"
      class: "020000"
      driver: e1000e
      kernel_modules: [e1000e]
      interfaces:
        - name: eth1
          mac: "52:54:00:aa:00:02"
      mac: "52:54:00:aa:00:02"
      pciback: false
      in_pciback_slots: false
      xl_name: ""
      owner_domid: null
      owner: ""
      permissive: false
      physical_function: ""
      virtual_functions: []
      interrupt_shared_with: []
      page_shared_with: []
      iommu_group: null
      reset_methods: [flr, bus]
      boot_vga: false
      bridge: false
      guards:
        - guard: default_route
          reason: "carries the default route: br0 -> eth1 -> 0000:03:00.0"
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._files import list_directory
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.guards import Guards
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.host import PciHost, with_kernel_modules
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.match import DEVICES_OPTION, choose, parse_requests
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.sharing import shared_interrupts, shared_pages
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_dom0, xen_version
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Xl, has_iommu
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore

ARGUMENTS = {"devices": DEVICES_OPTION, "timeout": {"type": "int", "default": 60}}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the host."""
    requests = parse_requests(parameters["devices"] or ())
    runner = Runner(timeout=parameters["timeout"])
    under_xen = xen_version() is not None
    if under_xen:
        require_dom0()
    host = PciHost(store=XenStore() if under_xen else None)
    present = host.devices()
    if parameters["devices"] is not None:
        chosen = choose(requests, present)
    else:
        chosen = [(device.xl_name or (device.record.name if device.record else ""), device) for device in present]
    guards = Guards(present, runner)
    lines, pages = shared_interrupts(present, host), shared_pages(present, host)
    # Requested devices are meant to be taken together.
    together = [device for _name, device in chosen] if requests else []
    complete = with_kernel_modules([device for _name, device in chosen], runner)
    return Plan(
        results={
            "iommu": has_iommu(Xl(runner).info()) if under_xen else bool(list_directory(f"{host.sysfs}/class/iommu")),
            "devices": [
                {
                    **device.as_dict(name),
                    "interrupt_shared_with": lines[str(device.bdf)],
                    "page_shared_with": pages[str(device.bdf)],
                    "guards": [{"guard": refusal.guard, "reason": refusal.reason} for refusal in guards.check(device, taking=together)],
                }
                for (name, _device), device in zip(chosen, complete)
            ],
        }
    )


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
