#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_tree_info
short_description: List the devices of a device tree and what passing each one through requires
version_added: 0.1.0
description:
  - Reads a device tree and returns for each device where its registers are in the processor's address space, which pages those are and
    which other devices are in them, which interrupts of the GIC it raises and which other devices raise them, which IOMMU is in front of
    it, and what it needs from other devices.
  - What cannot be resolved is listed in RV(devices[].problems).
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes.info_module
  - xen.driver_domains.device_tree
options:
  nodes:
    description:
      - The devices to return, each by path, alias, label or compatible, in this order.
      - If omitted, all nodes that have addresses in the processor's address space, or interrupts.
    type: list
    elements: str
seealso:
  - module: xen.driver_domains.passthrough_device_tree
  - module: xen.driver_domains.microkit_system
"""

EXAMPLES = r"""
- name: Read what passing the network card of a Raspberry Pi 4 through requires
  xen.driver_domains.device_tree_info:
    device_tree: /srv/boards/bcm2711-rpi-4-b.dtb
    nodes: [ethernet0]
  delegate_to: localhost
  register: board

- name: List the devices that have their pages to themselves
  ansible.builtin.debug:
    msg: "{{ board.devices | selectattr('page_sharers', 'equalto', []) | map(attribute='path') }}"

- name: Read the devices of the running board
  xen.driver_domains.device_tree_info:
    device_tree: /proc/device-tree
"""

RETURN = r"""
model:
  description: The name of the board.
  returned: success
  type: str
  sample: Raspberry Pi 4 Model B
compatible:
  description: The C(compatible) strings of the board, the most specific one first.
  returned: success
  type: list
  elements: str
  sample: [raspberrypi,4-model-b, brcm,bcm2711]
interrupt_controller:
  description: Path of the GIC, or null if there is none.
  returned: success
  type: str
  sample: /soc/interrupt-controller@40041000
nodes:
  description: Number of nodes in the tree.
  returned: success
  type: int
  sample: 267
devices:
  description: The devices in the order of O(nodes), or of the tree.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: Path of the node.
      type: str
      returned: always
    aliases:
      description: Its names in C(/aliases).
      type: list
      elements: str
      returned: always
    labels:
      description: Its labels, if the tree was compiled with them (C(dtc -@)).
      type: list
      elements: str
      returned: always
    compatible:
      description: Its C(compatible) strings, the most specific one first.
      type: list
      elements: str
      returned: always
    enabled:
      description: Whether its status, and that of everything above it, is okay.
      type: bool
      returned: always
    console:
      description: Whether C(/chosen) names it as the console, which Xen then uses as well.
      type: bool
      returned: always
    registers:
      description: Its registers with name, address on the bus, address for the processor (null if there is none) and size.
      type: list
      elements: dict
      returned: always
      contains:
        name:
          description: Name in C(reg-names), or an empty string.
          type: str
          returned: always
        bus_address:
          description: Address on its bus.
          type: int
          returned: always
        address:
          description: Address for the processor, or null.
          type: int
          returned: always
        size:
          description: Size in bytes.
          type: int
          returned: always
    pages:
      description:
        - The pages of 4 KiB with its registers and those of the nodes below it, and the windows of a PCI host bridge; adjacent ones are
          joined.
      type: list
      elements: dict
      returned: always
      contains:
        address:
          description: Address of the first page.
          type: int
          returned: always
        size:
          description: Size in bytes.
          type: int
          returned: always
    page_sharers:
      description: Other nodes with registers in these pages, enabled or not.
      type: list
      elements: str
      returned: always
    host_bridge:
      description: The PCI host bridge that it is or is behind, with which alone it can be passed through; null if there is none.
      type: str
      returned: always
    windows:
      description: Addresses that a PCI bridge forwards to what is behind it.
      type: list
      elements: dict
      returned: always
      contains:
        address:
          description: Address for the processor.
          type: int
          returned: always
        size:
          description: Size in bytes.
          type: int
          returned: always
    interrupts:
      description: Its interrupts with name, number and kind (C(spi), C(ppi)) in the GIC, trigger (C(edge), C(level)), controller, sharers.
      type: list
      elements: dict
      returned: always
      contains:
        name:
          description: Name in C(interrupt-names), or an empty string.
          type: str
          returned: always
        number:
          description: Number in the GIC, or null.
          type: int
          returned: always
        kind:
          description: C(spi) or C(ppi).
          type: str
          returned: always
        trigger:
          description: C(edge) or C(level).
          type: str
          returned: always
        controller:
          description: Path of its interrupt controller.
          type: str
          returned: always
        sharers:
          description: Paths of the other devices on the same line.
          type: list
          elements: str
          returned: always
    iommu:
      description: Path of the IOMMU that its DMA goes through, or null.
      type: str
      returned: always
    dma_windows:
      description:
        - The windows through which it sees memory. Empty if it sees all memory at the same addresses as the processor. Null if the tree
          does not define them.
      type: list
      elements: dict
      returned: always
      contains:
        bus_address:
          description: Address on its bus.
          type: int
          returned: always
        address:
          description: Address for the processor.
          type: int
          returned: always
        size:
          description: Size in bytes.
          type: int
          returned: always
    macs:
      description: MAC addresses that the boot loader or the tree gave it.
      type: list
      elements: str
      returned: always
    needs:
      description:
        - What it refers to, with kind, property, name, consumer, provider, arguments and, for clocks, the rate in Hz if the tree gives it.
        - C(reach) is V(missing) for what a guest with this device alone cannot reach, V(copied) for a mere description, such as a
          fixed-rate clock, and V(given) for a part of the device.
      type: list
      elements: dict
      returned: always
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
        name:
          description: Name that the device has for it.
          type: str
          returned: always
        args:
          description: Arguments of the reference.
          type: list
          elements: int
          returned: always
        rate:
          description: Rate of a clock in Hz, or null.
          type: int
          returned: always
        reach:
          description: V(missing), V(copied) or V(given).
          type: str
          returned: always
    closure:
      description: Paths of all nodes that it needs, directly or through others.
      type: list
      elements: str
      returned: always
    problems:
      description: What could not be resolved, and why.
      type: list
      elements: str
      returned: always
  sample:
    - path: /scb/ethernet@7d580000
      aliases: [ethernet0]
      labels: [genet]
      compatible: [brcm,bcm2711-genet-v5]
      enabled: true
      console: false
      registers:
        - name: ""
          bus_address: 2102919168
          address: 4250402816
          size: 65536
      pages:
        - address: 4250402816
          size: 65536
      page_sharers: []
      host_bridge: null
      windows: []
      interrupts:
        - name: ""
          number: 189
          kind: spi
          trigger: level
          controller: /soc/interrupt-controller@40041000
          sharers: []
      iommu: null
      dma_windows: []
      macs: ["dc:a6:32:00:00:01"]
      needs: []
      closure: []
      problems: []
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import DEVICE_TREE_OPTION, read_device_tree
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.report import report
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan

ARGUMENTS = {"device_tree": DEVICE_TREE_OPTION, "nodes": {"type": "list", "elements": "str"}}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the tree."""
    analysis = Analysis(read_device_tree(parameters["device_tree"]))
    return Plan(results=report(analysis, parameters["nodes"]))


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
