# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How modules let the user choose PCI devices."""

    DOCUMENTATION = r"""
options:
  devices:
    description:
      - The devices, each with a name of its own and what it is known by.
      - Exactly one device of the host must fit each entry; otherwise the task fails and lists the candidates.
      - Two entries can not be the same device.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the device, 1 to 64 letters, digits, V(_), V(.) and V(-).
        type: str
        required: true
      match:
        description:
          - What the device is known by. At least one criterion is needed, and all that are given must hold.
          - Write the values in quotes. YAML reads some bare addresses as numbers.
        type: dict
        required: true
        suboptions:
          bdf:
            description:
              - PCI address as V([DDDD:]BB:SS.F). V(*) as function stands for any.
              - Addresses can move when hardware is added. Prefer O(devices[].match.mac) or O(devices[].match.slot).
            type: str
          vendor_device:
            description: PCI ids as V(vendor:device) or V(vendor:device:subvendor:subdevice), four hexadecimal digits each.
            type: str
          mac:
            description:
              - MAC address of its network interface, the one burnt into the card where its driver tells it.
              - A device that C(xen-pciback) holds has no interface. It is known by the address that was recorded before it was taken.
            type: str
          ifname:
            description: Name of its network interface, or the one that was recorded before C(xen-pciback) took the device.
            type: str
          class:
            description:
              - PCI class as 4 or 6 hexadecimal digits, or one of V(storage), V(nvme), V(network), V(ethernet), V(display), V(multimedia),
                V(audio), V(bridge), V(serial), V(usb), V(wireless).
            type: str
          slot:
            description:
              - Where the device is plugged in, as the root bus and the device.function of each bridge on the way and of the device,
                such as V(0000:00/1c.0/00.0). Does not move when other hardware is added.
              - RV(xen.driver_domains.xl_pci_info#module:devices) tells it.
            type: str
"""
