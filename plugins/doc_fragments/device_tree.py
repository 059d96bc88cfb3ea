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
      - The board's device tree, on the machine where the task runs; a dtb file, or the directory C(/proc/device-tree) of a board that runs
        Linux.
      - The tree of a running board holds what its boot loader filled in, such as MAC addresses. The kernel's packages hold dtb files
        for all boards.
    type: path
    default: /proc/device-tree
notes:
  - Usually runs on the controller (C(delegate_to) localhost), where the dtb of the board is at hand.
"""
