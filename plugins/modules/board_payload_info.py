#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: board_payload_info
short_description: Find the kernel, ramdisk and device tree that a running board was booted with
version_added: 0.1.0
description:
  - Finds the files of the kernel that runs on an Arm board and the device tree from its boot loader, and checks that they belong
    together. They can then be the payload of a driver domain or a driver VM. The role P(xen.driver_domains.board_payload#role) fetches
    them to the controller.
  - Under Xen the device tree is the one that Xen made for dom0, and there is a warning.
  - Needs root, because only root can read the device tree as one file.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes.info_module
options:
  timeout:
    description: Seconds that listing the ramdisk may take.
    type: int
    default: 120
seealso:
  - module: xen.driver_domains.device_tree_info
"""

EXAMPLES = r"""
- name: Find what the board was booted with
  xen.driver_domains.board_payload_info:
  become: true
  register: payload
"""

RETURN = r"""
kernel_release:
  description: Version of the running kernel.
  returned: success
  type: str
  sample: 6.12.107+deb13-arm64
model:
  description: Name of the board.
  returned: success
  type: str
  sample: Hardkernel ODROID-C4
compatible:
  description: The C(compatible) strings of the board.
  returned: success
  type: list
  elements: str
  sample: [hardkernel,odroid-c4, amlogic,sm1]
kernel:
  description: >-
    Path, size and C(sha256) of the kernel, and C(checked), which says whether its content was found to be of that version. A
    self-extracting kernel that is compressed with zstd cannot be checked.
  returned: success
  type: dict
  contains:
    path:
      description: Its path on the board.
      type: str
      returned: always
    size:
      description: Its size in bytes.
      type: int
      returned: always
    sha256:
      description: Its checksum.
      type: str
      returned: always
    checked:
      description: Whether its content was checked.
      type: bool
      returned: always
  sample: {"path": "/boot/vmlinuz-6.12.107+deb13-arm64", "size": 36700160, "sha256": "9f86d0...", "checked": true}
ramdisk:
  description: The same for the ramdisk, or null if there is none. It is checked with C(lsinitramfs) if that is installed.
  returned: success
  type: dict
  contains:
    path:
      description: Its path on the board.
      type: str
      returned: always
    size:
      description: Its size in bytes.
      type: int
      returned: always
    sha256:
      description: Its checksum.
      type: str
      returned: always
    checked:
      description: Whether its content was checked.
      type: bool
      returned: always
  sample: {"path": "/boot/initrd.img-6.12.107+deb13-arm64", "size": 41943040, "sha256": "2c26b4...", "checked": true}
device_tree:
  description: The same for the device tree.
  returned: success
  type: dict
  contains:
    path:
      description: Its path on the board.
      type: str
      returned: always
    size:
      description: Its size in bytes.
      type: int
      returned: always
    sha256:
      description: Its checksum.
      type: str
      returned: always
    checked:
      description: Whether its content was checked.
      type: bool
      returned: always
  sample: {"path": "/sys/firmware/fdt", "size": 52431, "sha256": "fcde2b...", "checked": true}
"""

import typing as t
from dataclasses import asdict

from ansible_collections.xen.driver_domains.plugins.module_utils._board.payload import UNDER_XEN, find_payload, under_xen
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Find the files."""
    found = asdict(find_payload(Runner(timeout=parameters["timeout"])))
    return Plan(results={"kernel_release": found.pop("release"), **found}, warnings=[UNDER_XEN] if under_xen() else [])


def main() -> None:
    """Run the module."""
    run_module({"timeout": {"type": "int", "default": 120}}, prepare)


if __name__ == "__main__":
    main()
