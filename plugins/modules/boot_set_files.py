#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_set_files
version_added: 0.1.0
short_description: Copy the files of a boot set to the directory that a board loads them from
description:
  - Copies files into C(files) below a board's directory, under names that contain the hash of their content. A new boot set therefore
    never overwrites a file of the one in use, and M(xen.driver_domains.boot_set) switches to it in one atomic step.
  - Removes files there that neither this set nor one of the boot scripts (C(boot.scr), C(boot-new.scr), C(boot-previous.scr)) uses.
  - The files and the directory are on the machine where the module runs.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
seealso:
  - module: xen.driver_domains.boot_set
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  directory:
    description: The board's directory.
    type: path
    required: true
  files:
    description: Path of each file, by a key of your choice.
    type: dict
    required: true
  generated:
    description:
      - Paths in O(files) of files that earlier tasks make. Check mode does not run those tasks, so it only warns if such a file is missing.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Copy Xen and the kernel to the directory of the TFTP server
  xen.driver_domains.boot_set_files:
    directory: /srv/tftp/pi4
    files:
      xen: /opt/board/boot/xen-4.20-arm64
      kernel: /opt/board/boot/vmlinuz-6.12.0-arm64
"""

RETURN = r"""
files:
  description: Name of each file relative to O(directory), by the key that it has in O(files).
  returned: success
  type: dict
  sample: {xen: files/0123456789ab-xen-4.20-arm64}
pending:
  description: Path of each file that is to be copied, by its name relative to O(directory). It is empty if nothing is to be copied.
  returned: success
  type: dict
  sample: {files/0123456789ab-xen-4.20-arm64: /opt/board/boot/xen-4.20-arm64}
missing:
  description: Paths in O(generated) that cannot be read. It is empty except in check mode.
  returned: success
  type: list
  elements: str
  sample: []
actions:
  description: Changes that were made, or in check mode would be made.
  returned: always
  type: list
  elements: str
  sample: ["write /srv/tftp/boot.scr"]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._board.boot_set import plan_store
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Hash the files and plan the copies."""
    return plan_store(parameters["directory"], parameters["files"], parameters["generated"])


def main() -> None:
    """Run the module."""
    run_module(
        {
            "directory": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
            "generated": {"type": "list", "elements": "path", "default": []},
        },
        prepare,
    )


if __name__ == "__main__":
    main()
