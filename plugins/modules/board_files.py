#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: board_files
version_added: 0.1.0
short_description: Bring the files of a boot set to where a board loads them from
description:
  - Copies files into C(files) below a board's directory, under names that hold the hash of their content. So a new boot set never
    overwrites a file of the one in use, and the board goes over to it when its boot script is replaced, which is one atomic step.
  - Removes the files there that neither this set nor one of the boot scripts uses (C(boot.scr), C(boot-new.scr), C(boot-previous.scr)).
  - Source and directory are on the machine where the module runs.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  directory:
    description: The board's directory.
    type: path
    required: true
  files:
    description: Path of each file, by a name that RV(files) has it by.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Bring Xen and the kernel to the TFTP server's directory
  xen.driver_domains.board_files:
    directory: /srv/tftp/pi4
    files:
      xen: /opt/board/boot/xen-4.20-arm64
      kernel: /opt/board/boot/vmlinuz-6.12.0-arm64
"""

RETURN = r"""
files:
  description: Name of each file, relative to O(directory).
  returned: success
  type: dict
  sample: {xen: files/0123456789ab-xen-4.20-arm64}
actions:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._board.boot_set import plan_store
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Hash the files and plan the copies."""
    return plan_store(parameters["directory"], parameters["files"])


def main() -> None:
    """Run the module."""
    run_module(
        {
            "directory": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
        },
        prepare,
    )


if __name__ == "__main__":
    main()
