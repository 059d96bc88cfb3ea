#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: uboot_script
version_added: 0.1.0
short_description: Write the boot script of an Arm board with Xen and dom0less domains
description:
  - Writes a script for U-Boot that loads Xen, dom0 and the domains that Xen itself starts, describes them in the device tree and boots.
  - Replaces ImageBuilder's C(uboot-script-gen), with the same options as M(xen.driver_domains.imagebuilder_config). In contrast to it, the
    domains are numbered in the order listed, the device tree has room for any number of them, a file that several domains use is
    loaded once, and the script says which command fails and does not boot then, not even where U-Boot ignores C(exit) (before 2023.04).
  - Everything is checked before a file is written, including the type of each file, whether all files fit into memory, whether this Xen
    supports what is used, and whether the devices exist and are safe to pass through.
  - Needs none of U-Boot's tools. Diff mode shows the script, which begins with the load map.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
seealso:
  - module: xen.driver_domains.imagebuilder_config
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.board
options:
  path:
    description: File for the script, in the form that U-Boot's command C(source) expects. Relative to O(directory).
    type: str
    default: boot.scr
  source:
    description: File for the plain text of the script. Relative to O(directory). By default it is not written.
    type: str
"""

EXAMPLES = r"""
- name: Boot dom0 and a driver domain that owns the real-time clock of QEMU's virt machine
  xen.driver_domains.uboot_script:
    directory: /srv/tftp/virt
    memory_start: "0x40000000"
    memory_end: "0xC0000000"
    device_tree: virt.dtb
    xen: xen-4.20-arm64
    xen_cmdline: console=dtuart bootscrub=0 xsm=dummy
    dom0: {kernel: vmlinuz, ramdisk: dom0.cpio.gz, memory: 512}
    domus:
      - name: rtc-dd
        kernel: vmlinuz
        ramdisk: domu.cpio.gz
        memory: 256
        passthrough_dtb: pl031.dtb
        passthrough_paths: [/pl031@9010000]
"""

RETURN = r"""
path:
  description: Path of the script.
  returned: success
  type: str
  sample: /srv/tftp/virt/boot.scr
domids:
  description: The number that Xen gives to each domain, by its name.
  returned: success
  type: dict
  sample: {dom0: 0, net-dd: 1}
load_map:
  description: The address of each file in memory.
  returned: success
  type: list
  elements: dict
  sample: [{what: Xen, file: xen, address: "0x42e00000", size: 1015816, end: "0x43000000"}]
  contains:
    what:
      description: Purpose of the file.
      type: str
    file:
      description: The file, relative to O(directory).
      type: str
    address:
      description: Address that it is loaded to.
      type: str
    size:
      description: Size of the file in bytes.
      type: int
    end:
      description: End of the memory that it takes up.
      type: str
memory_left:
  description: Bytes between the last file and O(memory_end).
  returned: success
  type: int
  sample: 2055208960
script_address:
  description: Address to load the boot script itself to. C(source) with that address runs it.
  returned: success
  type: str
  sample: "0x40200000"
actions:
  description: Changes that were made, or in check mode would be made.
  returned: always
  type: list
  elements: str
  sample: ["write /srv/tftp/boot.scr"]
"""

from ansible_collections.xen.driver_domains.plugins.module_utils._board.options import ARGUMENT_SPEC
from ansible_collections.xen.driver_domains.plugins.module_utils._board.uboot_script import plan_script
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module


def main() -> None:
    """Run the module."""
    run_module({**ARGUMENT_SPEC, "path": {"type": "str", "default": "boot.scr"}, "source": {"type": "str"}}, plan_script)


if __name__ == "__main__":
    main()
