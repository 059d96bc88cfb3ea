#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: passthrough_device_tree
short_description: Write the partial device tree that passes devices of an Arm board through to a Xen guest
version_added: 0.1.0
description:
  - Writes the partial device tree that Xen needs for a guest with devices of the board, made from the board's own device tree. Also
    returns the nodes to mark in the host's tree, and options of ImageBuilder or settings for the C(xl.cfg).
  - Registers are translated to the processor's addresses and mapped at the same address, in whole pages. Interrupts are those of the GIC.
    Clocks become fixed-rate clocks. What the guest cannot reach (resets, power domains, pins and so on) is left out and reported.
  - Refuses devices that cannot be passed through alone, because others are in the same page or on the same interrupt line, as well as the
    console, devices that the host needs and devices without an IOMMU. O(force) overrides this by name. Devices that are forced to go
    with others are marked in the host's tree as well, so that dom0 does not use them.
  - O(force) has four guards that only Xen needs. V(shared_provider) - others that are not passed through need the device, or a node below
    it, such as a clock controller, a GPIO controller or an MDIO bus that two network cards share. V(no_iommu) - the device, or one below
    it, may do DMA and could read and write all of the machine's memory. All devices may, except for some that are known to do none (UARTs,
    GPIOs, clocks, timers). V(guest_layout) - the device's addresses collide with something in the guest. V(no_interrupts) - no device
    behind a PCI host bridge could raise an interrupt in the guest.
  - Refuses a device of which nothing can be passed through, neither registers nor interrupts, memory, what belongs to the firmware
    (C(status) is C(reserved)), and the IOMMUs that Xen drives.
  - A PCI host bridge is passed through as a whole, with its registers, its windows and all that is behind it. A device behind one gives the
    bridge, as a device tree cannot pass it through alone. Message-signalled interrupts (MSI) that go to a controller outside of the bridge
    are left out, and its C(interrupt-map) leads to the guest's interrupt controller.
  - For O(flavour=dom0less), Xen passes on only those interrupts of the C(interrupt-map) that the bridge's node, or one below it, lists as
    its own C(interrupts). Add the others to the node by an overlay, and use the tree with the overlay applied.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.device_tree
  - xen.driver_domains.device_tree.guards
options:
  devices:
    description: The devices of one guest.
    type: list
    elements: dict
    required: true
    suboptions:
      node:
        description: The device, by path, alias, label or compatible. What is behind a PCI host bridge gives the bridge.
        type: str
        required: true
      clock_rates:
        description:
          - Rates in Hz of clocks that only the board's clock controller knows, by the name in C(clock-names), or by position (V("0")) if
            they have no names.
        type: dict
        default: {}
      mac:
        description: MAC address for a network device, instead of the one in the tree.
        type: str
        default: ""
      leave_out:
        description:
          - Nodes below the device to hide from the guest, by their path from it, such as V(bluetooth) of a UART that the guest uses as a
            serial port.
        type: list
        elements: str
        default: []
  dest:
    description: File to write the partial device tree (dtb) to.
    type: path
    required: true
  flavour:
    description:
      - V(dom0less) for a guest that Xen starts at boot.
      - V(xl) for a guest that C(xl create) starts (C(device_tree=) in its C(xl.cfg)).
    type: str
    choices: [dom0less, xl]
    default: dom0less
  direct_map:
    description:
      - Whether the guest's memory has the same addresses for the guest and the machine (C(direct-map) with C(xen,static-mem)). Then it is
        laid out like the board, and a device without an IOMMU can do DMA.
    type: bool
    default: false
  memory:
    description: Memory of the guest in MiB, to check that no address of a device collides with it. Ignored with O(direct_map).
    type: int
    default: 512
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
      - shared_provider
      - no_iommu
      - guest_layout
      - no_interrupts
seealso:
  - module: xen.driver_domains.device_tree_info
  - module: xen.driver_domains.device_tree_lint
"""

EXAMPLES = r"""
- name: Pass the network card of a Raspberry Pi 4 to a driver domain with static memory
  xen.driver_domains.passthrough_device_tree:
    device_tree: /srv/boards/bcm2711-rpi-4-b.dtb
    devices:
      - node: ethernet0
        mac: "dc:a6:32:00:00:01"
    direct_map: true
    force: [no_iommu]
    dest: /srv/tftp/net-dd.dtb
  delegate_to: localhost
  register: net_dd

- name: Show the options for ImageBuilder
  ansible.builtin.debug:
    var: net_dd.imagebuilder

- name: Pass the real-time clock of QEMU's virt board to a guest
  xen.driver_domains.passthrough_device_tree:
    device_tree: /srv/boards/virt.dtb
    devices:
      - node: arm,pl031
    force: [no_iommu]
    dest: /srv/tftp/rtc.dtb
  delegate_to: localhost
"""

RETURN = r"""
dest:
  description: The file with the partial device tree.
  returned: success
  type: str
  sample: /srv/tftp/net-dd.dtb
source:
  description: The partial device tree as source text.
  returned: success
  type: str
  sample: "/dts-v1/; ..."
passthrough_paths:
  description: Nodes of the host's device tree that need the property C(xen,passthrough), so that dom0 does not use them.
  returned: success
  type: list
  elements: str
  sample: [/scb/ethernet@7d580000]
imagebuilder:
  description: Options of ImageBuilder for the guest, without their index.
  returned: success, if O(flavour=dom0less)
  type: dict
  contains:
    DOMU_PASSTHROUGH_DTB:
      description: Name of the file.
      type: str
      returned: always
    DOMU_PASSTHROUGH_PATHS:
      description: Paths of the devices.
      type: str
      returned: always
    DOMU_DIRECT_MAP:
      description: Whether memory is mapped one to one.
      type: int
      returned: always
  sample: {"DOMU_PASSTHROUGH_DTB": "net-dd.dtb", "DOMU_PASSTHROUGH_PATHS": "/scb/ethernet@7d580000", "DOMU_DIRECT_MAP": 1}
xl_config:
  description: Settings for an C(xl.cfg).
  returned: success, if O(flavour=xl)
  type: dict
  contains:
    device_tree:
      description: Path of the file.
      type: str
      returned: always
    dtdev:
      description: Devices that are behind an IOMMU.
      type: list
      elements: str
      returned: always
    iomem:
      description: Pages.
      type: list
      elements: str
      returned: always
    irqs:
      description: Interrupts.
      type: list
      elements: int
      returned: always
  sample: {"device_tree": "/etc/xen/net-dd.dtb", "dtdev": ["/soc/ethernet@10000"], "iomem": ["0x10,0x1"], "irqs": [112]}
missing:
  description: What the devices refer to and the guest cannot reach. It stays as the firmware or dom0 left it.
  returned: success
  type: list
  elements: dict
  contains:
    consumer:
      description: The node that refers to it.
      type: str
      returned: always
    kind:
      description: What it is.
      type: str
      returned: always
    property:
      description: The property that refers to it.
      type: str
      returned: always
    provider:
      description: The node that provides it.
      type: str
      returned: always
  sample:
    - consumer: /soc/serial@7e201000
      kind: pins
      property: pinctrl-0
      provider: /soc/gpio@7e200000/uart0-gpio14
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
  sample: [write /srv/tftp/net-dd.dtb]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import DEVICE_TREE_OPTION, read_device_tree
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.plan import XEN_GUARDS, Guest, plan_partial
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.xen_rules import DOM0LESS, XL
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner

ARGUMENTS: dict[str, t.Any] = {
    "device_tree": DEVICE_TREE_OPTION,
    "devices": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "node": {"type": "str", "required": True},
            "clock_rates": {"type": "dict", "default": {}},
            "mac": {"type": "str", "default": ""},
            "leave_out": {"type": "list", "elements": "str", "default": []},
        },
    },
    "dest": {"type": "path", "required": True},
    "flavour": {"type": "str", "choices": [DOM0LESS, XL], "default": DOM0LESS},
    "direct_map": {"type": "bool", "default": False},
    "memory": {"type": "int", "default": 512},
    "force": {"type": "list", "elements": "str", "choices": list(XEN_GUARDS), "default": []},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Plan the partial tree."""
    tree = read_device_tree(parameters["device_tree"])
    guest = Guest(parameters["flavour"], parameters["direct_map"], parameters["memory"])
    return plan_partial(tree, parameters["devices"], guest, parameters["dest"], Runner(timeout=30))


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
