#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: microkit_system
short_description: Write the system description of a Linux driver VM on seL4/Microkit
version_added: 0.1.0
description:
  - Writes a system description (C(.system)) that passes devices of an Arm board through to one virtual machine. It is made from the
    board's device tree - memory regions for the devices' pages, mapped at the same address, the virtual interface of a GICv2, the
    guest's memory, and the interrupts with their triggers and channels.
  - On request, it also writes C source for the VMM, with the table of interrupts and two functions that register and handle them with
    libvmm.
  - Interrupts that cannot be passed through are warned about.
  - The result is checked against the schema of Microkit O(version).
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.device_tree
  - xen.driver_domains.device_tree.guards
options:
  devices:
    description: The devices to pass through to the virtual machine, each by path, alias, label or compatible.
    type: list
    elements: str
    required: true
  dest:
    description: File for the system description.
    type: path
    required: true
  interrupt_table:
    description:
      - File for the table of channels and interrupts, as C source to include in the VMM. C(passthrough_irqs_register) is for its C(init),
        C(passthrough_irqs_handle) for its C(notified).
    type: path
  version:
    description: Version of Microkit to write for. For a version between two of them, choose the lower one.
    type: str
    choices: ["2.0.0", "2.1.0", "2.2.0", "2.3.0"]
    default: "2.0.0"
  vmm_name:
    description: Name of the protection domain that monitors the virtual machine.
    type: str
    default: VMM
  vmm_image:
    description: Program of this protection domain.
    type: str
    default: vmm.elf
  vm_name:
    description: Name of the virtual machine.
    type: str
    default: linux
  priority:
    description: Priority of the VMM, from 0 to 254.
    type: int
    default: 100
  vm_priority:
    description: Priority of the virtual machine, from 0 to 254.
    type: int
    default: 1
  memory_address:
    description: Address of the guest's memory, such as V(0x20000000).
    type: str
    default: "0x20000000"
  memory_size:
    description: Size of the guest's memory in bytes, such as V(0x10000000).
    type: str
    default: "0x10000000"
  one_to_one:
    description: Whether O(memory_address) is also the physical address. A device without IOMMU needs this for DMA.
    type: bool
    default: true
  large_pages:
    description: Whether to use pages of 2 MiB where a region has room for them.
    type: bool
    default: true
  regions:
    description:
      - Address ranges to pass through whole, such as a bus, with all devices in them. Devices in them get no region of their own.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the region.
        type: str
        required: true
      address:
        description: Address of its first byte.
        type: str
        required: true
      size:
        description: Size in bytes.
        type: str
        required: true
  interrupts:
    description: Further interrupts to pass through that no device in the tree raises, such as those that Linux sends to itself.
    type: list
    elements: dict
    default: []
    suboptions:
      number:
        description: Number in the GIC.
        type: int
        required: true
      trigger:
        description: How the interrupt is triggered.
        type: str
        choices: [level, edge]
        default: level
      name:
        description: Name for the comment.
        type: str
        default: ""
  reserved_channels:
    description: Channels of the VMM that something else uses.
    type: list
    elements: int
    default: []
  force:
    choices:
      - shared_page
      - shared_interrupt
      - management_route
      - default_route
      - root_disk
      - mounted_disk
      - guest_network
      - guest_disk
      - console
      - keyboard
seealso:
  - module: xen.driver_domains.device_tree_info
  - module: xen.driver_domains.device_tree_lint
"""

EXAMPLES = r"""
- name: Write a driver VM with the network interface and the SD card of an Odroid C4
  xen.driver_domains.microkit_system:
    device_tree: /srv/boards/meson-sm1-odroid-c4.dtb
    devices: [ethernet0, mmc0]
    regions:
      - name: bus1
        address: "0xff600000"
        size: "0x200000"
    force: [shared_page]
    version: "2.1.0"
    dest: /srv/odroid/vmm.system
    interrupt_table: /srv/odroid/passthrough_irqs.h
  delegate_to: localhost
"""

RETURN = r"""
dest:
  description: The file that was written.
  returned: success
  type: str
  sample: /srv/odroid/vmm.system
description:
  description: The system description.
  returned: success
  type: str
  sample: "<system> ... </system>"
interrupt_table:
  description: The table of interrupts as C source.
  returned: success
  type: str
  sample: "static const struct { ... } passthrough_irqs[] = { ... };"
regions:
  description: The memory regions, with name, physical address, size, size of pages and address in the virtual machine.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the region.
      type: str
      returned: always
    phys_addr:
      description: Physical address.
      type: int
      returned: always
    size:
      description: Size in bytes.
      type: int
      returned: always
    page_size:
      description: Size of its pages in bytes.
      type: int
      returned: always
    address:
      description: Address in the virtual machine.
      type: int
      returned: always
  sample:
    - name: ethernet_ff3f0000
      phys_addr: 4282318848
      size: 65536
      page_size: 4096
      address: 4282318848
interrupts:
  description: The interrupts, with number in the GIC, trigger and channel.
  returned: success
  type: list
  elements: dict
  contains:
    number:
      description: Number in the GIC.
      type: int
      returned: always
    trigger:
      description: C(edge) or C(level).
      type: str
      returned: always
    channel:
      description: Channel of the protection domain.
      type: int
      returned: always
  sample:
    - number: 40
      trigger: level
      channel: 0
missing:
  description:
    - References of the devices to nodes that the virtual machine does not have, neither as devices nor within O(regions), with
      consumer, kind, property and provider.
  returned: success
  type: list
  elements: dict
  contains:
    consumer:
      description: Path of the node that refers to another one.
      type: str
      returned: always
    kind:
      description: Kind of what it needs, such as C(clock).
      type: str
      returned: always
    property:
      description: The property that refers to it.
      type: str
      returned: always
    provider:
      description: Path of the node that it refers to.
      type: str
      returned: always
  sample:
    - consumer: /soc/ethernet@ff3f0000
      kind: power domain
      property: power-domains
      provider: /soc/bus@ff600000/power-controller
host_bridges:
  description:
    - PCI host bridges that are passed through, each as a whole. A device behind one that is asked for gives the bridge, with all that is
      behind it.
  returned: success
  type: list
  elements: dict
  contains:
    node:
      description: Path of the bridge.
      type: str
      returned: always
    requested:
      description: The names in O(devices) that stand for it or for something behind it.
      type: list
      elements: str
      returned: always
    behind:
      description: Paths of the enabled devices behind it that the device tree names. Cards that it does not name go with it as well.
      type: list
      elements: str
      returned: always
  sample:
    - node: /axi/pcie@1000120000
      requested: [ethernet0]
      behind: [/axi/pcie@1000120000/rp1, /axi/pcie@1000120000/rp1/ethernet@100000]
actions:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: [write /srv/odroid/vmm.system]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import DEVICE_TREE_OPTION
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.guards import DEVICE_TREE_GUARDS
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.plan import plan_system
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.schema import VERSIONS
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner

ARGUMENTS: dict[str, t.Any] = {
    "device_tree": DEVICE_TREE_OPTION,
    "devices": {"type": "list", "elements": "str", "required": True},
    "dest": {"type": "path", "required": True},
    "interrupt_table": {"type": "path"},
    "version": {"type": "str", "choices": VERSIONS, "default": "2.0.0"},
    "vmm_name": {"type": "str", "default": "VMM"},
    "vmm_image": {"type": "str", "default": "vmm.elf"},
    "vm_name": {"type": "str", "default": "linux"},
    "priority": {"type": "int", "default": 100},
    "vm_priority": {"type": "int", "default": 1},
    "memory_address": {"type": "str", "default": "0x20000000"},
    "memory_size": {"type": "str", "default": "0x10000000"},
    "one_to_one": {"type": "bool", "default": True},
    "large_pages": {"type": "bool", "default": True},
    "regions": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "size": {"type": "str", "required": True},
        },
    },
    "interrupts": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "number": {"type": "int", "required": True},
            "trigger": {"type": "str", "choices": ["level", "edge"], "default": "level"},
            "name": {"type": "str", "default": ""},
        },
    },
    "reserved_channels": {"type": "list", "elements": "int", "default": []},
    "force": {"type": "list", "elements": "str", "choices": list(DEVICE_TREE_GUARDS), "default": []},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Work out the files and compare them with those on the disk."""
    return plan_system(parameters, Runner(timeout=30))


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
