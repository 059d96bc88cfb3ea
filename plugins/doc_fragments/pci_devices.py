# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options with which users select PCI devices and override guard rails."""

    DOCUMENTATION = r"""
options:
  devices:
    description:
      - The devices, each with a unique name and the criteria that identify it.
      - Exactly one device of the host must match each entry, unless it has O(devices[].match_all=true); otherwise the task fails and
        lists the candidates.
      - Two entries cannot match the same device.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the device, 1 to 64 letters, digits, V(_), V(.) and V(-).
        type: str
        required: true
      match_all:
        description:
          - Whether the entry stands for every device that matches, one or more.
          - They are called V(NAME.0), V(NAME.1) and so on in the order of their addresses, where NAME is O(devices[].name). A device that
            was recorded keeps its number when hardware is added or removed. A new one gets the first number that is free.
        type: bool
        default: false
      match:
        description:
          - The criteria that identify the device. At least one is needed, and all of them must match.
          - Write the values in quotes. YAML reads some unquoted addresses as numbers.
        type: dict
        required: true
        suboptions:
          bdf:
            description:
              - PCI address as V([DDDD:]BB:SS.F). The function V(*) stands for any function; with O(devices[].match_all=true), for all.
              - Addresses can change when hardware is added. Prefer O(devices[].match.mac) or O(devices[].match.slot).
            type: str
          vendor_device:
            description: PCI IDs as V(vendor:device) or V(vendor:device:subvendor:subdevice), four hexadecimal digits each.
            type: str
          mac:
            description:
              - MAC address of its network interface. It is the address burnt into the card if the driver reports that.
              - A device that C(xen-pciback) holds has no interface. It matches by the address that was recorded before it was taken.
            type: str
          ifname:
            description: Name of its network interface, or the name that was recorded before C(xen-pciback) took the device.
            type: str
          class:
            description:
              - PCI class as 4 or 6 hexadecimal digits, or one of V(storage), V(nvme), V(network), V(ethernet), V(display), V(multimedia),
                V(audio), V(bridge), V(serial), V(usb), V(wireless).
            type: str
          slot:
            description:
              - Where the device is plugged in, as the root bus and the device.function of each bridge on the path and of the device,
                such as V(0000:00/1c.0/00.0). It does not change when other hardware is added.
              - RV(xen.driver_domains.xl_pci_info#module:devices) contains it.
            type: str
"""

    GUARDS = r"""
options:
  force:
    description:
      - Guard rails to override, by name. Each one becomes a warning.
      - What the host needs is followed down to a PCI device, or to a known end such as RAM, loopback, a Xen vif, or a device of another
        bus. If it leads elsewhere (a tunnel, a reverse SSH tunnel, a network block device), every device that could be at its end is
        refused.
      - V(management_route) the device carries an SSH connection into this host.
      - V(default_route) the device carries a default route, of any routing table.
      - V(root_disk) the device holds a file system that the host needs, or swap space.
      - V(mounted_disk) the device holds another file system that is mounted.
      - V(guest_network) the device is a port of a bridge in dom0 that serves running guests.
      - V(guest_disk) the device holds a disk that dom0 serves to a running guest.
      - V(console) the device is a console of this host, such as a serial card.
      - V(keyboard) the device has the only keyboard of this host, or one that may be needed to unlock a disk.
      - V(boot_vga) the device is the graphics card of the firmware and the console.
      - V(bridge) the device is a bridge, and everything below it is taken with it.
      - V(siblings) the device is a conventional PCI device, and the IOMMU cannot tell it apart from others behind the same bridge that
        this host uses.
      - V(shared_page) the device has memory in the same page as another one that is not taken with it.
      - V(shared_interrupt) the device is on the same interrupt line as another one that this host uses and that does not signal by
        messages.
      - V(interrupt_remapping) Xen does not remap interrupts on this host. Devices that are hidden at boot are not checked for it.
      - V(virtual_functions) the device has SR-IOV virtual functions, which would disappear.
      - V(in_use) a running domain uses the device, or a virtual function of it.
      - V(unreadable) the device does not respond.
      - V(failed_trial) the boot options were tried once, and the host was not reached then (M(xen.driver_domains.dom0_boot) alone).
      - V(local_trial) boot options are being tried, and the run did not come over SSH (M(xen.driver_domains.dom0_boot) alone).
    type: list
    elements: str
    choices:
      - management_route
      - default_route
      - root_disk
      - mounted_disk
      - guest_network
      - guest_disk
      - console
      - keyboard
      - boot_vga
      - bridge
      - siblings
      - shared_page
      - shared_interrupt
      - interrupt_remapping
      - virtual_functions
      - in_use
      - unreadable
      - failed_trial
      - local_trial
    default: []
"""
