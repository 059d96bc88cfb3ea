# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of the modules that read a device tree."""

    DOCUMENTATION = r"""
options:
  device_tree:
    description:
      - The board's device tree on the machine where the task runs, as a dtb file or as the directory C(/proc/device-tree) of a board that
        runs Linux.
      - The tree of a running board has what its boot loader filled in, such as MAC addresses. The kernel packages of distributions have dtb
        files for many boards.
    type: path
    default: /proc/device-tree
notes:
  - Usually runs on the controller (C(delegate_to) localhost), where the board's dtb is available.
"""

    GUARDS = r"""
options:
  force:
    description:
      - Guards to override, by the names that error messages show in brackets.
      - V(shared_page), V(shared_interrupt) - other devices are passed through with the requested ones.
      - V(console) - the firmware, the hypervisor or the host writes to the device.
      - V(management_route), V(default_route), V(root_disk), V(mounted_disk), V(guest_network), V(guest_disk), V(keyboard) - the host that
        runs the task needs the device, or could need it. Checked only if O(device_tree) is the host's own, C(/proc/device-tree).
    type: list
    elements: str
    default: []
"""
