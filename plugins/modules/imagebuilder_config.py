#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: imagebuilder_config
version_added: 0.1.0
short_description: Write the configuration of ImageBuilder for an Arm board
description:
  - ImageBuilder (U(https://gitlab.com/xen-project/imagebuilder)) generates boot scripts for boards with Xen.
  - Writes a configuration for its C(uboot-script-gen), with every value quoted so that bash reads back exactly that value.
  - Everything is checked before it is written, including the type of each file, whether all files fit into memory, whether this Xen
    supports what is used, and whether the devices exist and are safe to pass through. C(uboot-script-gen) checks some of this too late, and
    some not at all.
  - Command lines are always written, even where ImageBuilder has defaults. Domains are numbered backwards, because C(uboot-script-gen)
    makes Xen start the last one first. The result therefore boots the same domains with the same domids as
    M(xen.driver_domains.uboot_script).
  - Diff mode shows the file, which begins with the load map.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
seealso:
  - module: xen.driver_domains.uboot_script
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.board
options:
  path:
    description: The configuration file.
    type: path
    required: true
  checkout:
    description:
      - A checkout of ImageBuilder. Variables that its C(uboot-script-gen) would silently ignore are refused, and so is what it would make
        into something else, such as V(no-xenstore) of O(domus[].enhanced), O(domus[].colors), or V(bootefi) of O(boot_command).
      - Without it, there is a warning about what release 2023.2 does not do.
    type: path
  uboot_source:
    description: File for the plain text of the script that C(uboot-script-gen) writes. Relative to O(directory).
    type: str
    default: boot.source
  uboot_script:
    description: File for the script that C(uboot-script-gen) writes. Relative to O(directory).
    type: str
    default: boot.scr
  fit:
    description: File for a FIT image that contains everything. The files then take up twice the memory.
    type: str
"""

EXAMPLES = r"""
- name: Configure ImageBuilder for a Raspberry Pi 4 with a domain that owns the UART
  xen.driver_domains.imagebuilder_config:
    path: /srv/tftp/pi4/config
    checkout: /opt/imagebuilder
    directory: /srv/tftp/pi4
    memory_start: "0x0"
    memory_end: "0x20000000"
    ram: 4096
    device_tree: bcm2711-rpi-4-b.dtb
    xen: xen-4.20-arm64
    xen_cmdline: console=dtuart dtuart=/soc/serial@7e215040 bootscrub=0 xsm=dummy
    dom0: {kernel: vmlinuz, ramdisk: dom0.cpio.gz, memory: 1024, vcpus: 2}
    domus:
      - name: uart-dd
        kernel: vmlinuz
        ramdisk: domu.cpio.gz
        passthrough_dtb: uart0.dtb
        passthrough_paths: [/soc/serial@7e201000]
"""

RETURN = r"""
variables:
  description: The variables that were written, by name, as bash reads them.
  returned: success
  type: dict
  sample: {MEMORY_START: "0x0", NUM_DOMUS: "1"}
domids:
  description: The number that Xen gives to each domain, by its name.
  returned: success
  type: dict
  sample: {dom0: 0, net-dd: 1}
load_map:
  description: The address of each file in memory, as RV(xen.driver_domains.uboot_script#module:load_map).
  returned: success
  type: list
  elements: dict
  contains:
    what:
      description: Purpose of the file.
      type: str
      returned: always
    file:
      description: The file.
      type: str
      returned: always
    address:
      description: Address that it is loaded to.
      type: str
      returned: always
    size:
      description: Size of the file in bytes.
      type: int
      returned: always
    end:
      description: End of the memory that it takes up.
      type: str
      returned: always
  sample: [{what: Xen, file: xen, address: "0x42e00000", size: 1015816, end: "0x43000000"}]
memory_left:
  description: Bytes between the last file and O(memory_end).
  returned: success
  type: int
  sample: 2055208960
script_address:
  description: Address to load the boot script itself to, as RV(xen.driver_domains.uboot_script#module:script_address).
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

from ansible_collections.xen.driver_domains.plugins.module_utils._board.imagebuilder import OPTIONS, plan_configuration
from ansible_collections.xen.driver_domains.plugins.module_utils._board.options import ARGUMENT_SPEC
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module


def main() -> None:
    """Run the module."""
    run_module({**ARGUMENT_SPEC, **OPTIONS}, plan_configuration)


if __name__ == "__main__":
    main()
