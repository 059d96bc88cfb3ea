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
  - Writes a configuration for ImageBuilder's C(uboot-script-gen), with every value quoted such that bash reads back just that.
  - Everything is checked before it is written - what the files are, whether they fit into memory, what this Xen can do, whether the
    devices given away are there and safe to give. C(uboot-script-gen) finds some of this too late, and some not at all.
  - Command lines are always written out, also where ImageBuilder has defaults, and domains are numbered backwards, because
    C(uboot-script-gen) makes Xen start the last one first. So the result means the same as that of M(xen.driver_domains.uboot_script).
  - In diff mode it shows the file, with the load map at its head.
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
      - A checkout of ImageBuilder. When given, variables that its C(uboot-script-gen) would silently ignore are refused; otherwise there is
        a warning about those that release 2023.2 does not have.
    type: path
  uboot_source:
    description: The script's text that C(uboot-script-gen) writes, relative to O(directory).
    type: str
    default: boot.source
  uboot_script:
    description: The script that C(uboot-script-gen) writes, relative to O(directory).
    type: str
    default: boot.scr
  passthrough_dts_repo:
    description: Git repository, and directory in it, with sources of partial device trees. Excludes O(domus[].passthrough_dtb).
    type: str
  lopper_path:
    description: Path of C(lopper.py), which makes partial device trees. Excludes O(domus[].passthrough_dtb).
    type: str
  lopper_options:
    description: Options for Lopper.
    type: str
  fdtedit:
    description: File for a copy of the changed device tree.
    type: str
  fit:
    description: File for a FIT image that holds everything.
    type: str
  fit_enc_key_dir:
    description: Directory and name of the key that signs the FIT image, V(DIRECTORY/NAME).
    type: str
  fit_enc_ub_dtb:
    description: U-Boot's own device tree blob, which the public key is added to.
    type: str
  boot_aux_files:
    description: More files for the first partition that C(disk_image) makes.
    type: list
    elements: str
    default: []
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
  description: The variables that were written, as bash reads them.
  returned: success
  type: dict
  sample: {MEMORY_START: "0x0", NUM_DOMUS: "1"}
domids:
  description: The number that Xen gives to each domain.
  returned: success
  type: dict
  sample: {dom0: 0, net-dd: 1}
load_map:
  description: What is loaded where, as RV(xen.driver_domains.uboot_script#module:load_map).
  returned: success
  type: list
  elements: dict
  sample: [{what: Xen, file: xen, address: "0x42e00000", size: 1015816, end: "0x43000000"}]
memory_left:
  description: Bytes between the last file and O(memory_end).
  returned: success
  type: int
  sample: 2055208960
script_address:
  description: Where to load the boot script itself, as RV(xen.driver_domains.uboot_script#module:script_address).
  returned: success
  type: str
  sample: "0x40200000"
actions:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
"""

import os
import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._board import checks as _board_rules
from ansible_collections.xen.driver_domains.plugins.module_utils._board import imagebuilder as _imagebuilder
from ansible_collections.xen.driver_domains.plugins.module_utils._board.boot_files import Files
from ansible_collections.xen.driver_domains.plugins.module_utils._board.configuration import ARGUMENT_SPEC, Board
from ansible_collections.xen.driver_domains.plugins.module_utils._board.load_map import lay_out
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._files import read_text, write_text
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan

OPTIONS: dict[str, t.Any] = {
    "path": {"type": "path", "required": True},
    "checkout": {"type": "path"},
    "uboot_source": {"type": "str", "default": "boot.source"},
    "uboot_script": {"type": "str", "default": "boot.scr"},
    "passthrough_dts_repo": {"type": "str", "no_log": False},
    "lopper_path": {"type": "str"},
    "lopper_options": {"type": "str"},
    "fdtedit": {"type": "str"},
    "fit": {"type": "str"},
    "fit_enc_key_dir": {"type": "str", "no_log": False},
    "fit_enc_ub_dtb": {"type": "str"},
    "boot_aux_files": {"type": "list", "elements": "str", "default": []},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the board's files and plan the configuration."""
    board = Board.from_parameters(parameters)
    generated = bool(parameters["passthrough_dts_repo"] or parameters["lopper_path"])
    _imagebuilder.check_extra(board, parameters)
    files, plan = Files(board.directory), Plan()
    _board_rules.check_files(board, files, plan, packed_ramdisks=False, generated_trees=generated)
    load_map = lay_out(board, files, domus=board.booted[::-1])
    _board_rules.check_memory(board, files, load_map, plan)
    values = _imagebuilder.variables(board, parameters)
    _check_variables(values, parameters["checkout"], plan)
    text = _imagebuilder.render(values, board, load_map)
    plan.results = {"variables": values, "domids": board.domids, **load_map.results()}
    path = parameters["path"]
    before = read_text(path) or ""
    if before != text:
        plan.add(f"write {path}", lambda: write_text(path, text), subject=path, before=before, after=text)
    return plan


def _check_variables(values: dict[str, str], checkout: str | None, plan: Plan) -> None:
    script = None
    if checkout:
        script_path = os.path.join(checkout, "scripts", "uboot-script-gen")
        script = read_text(script_path)
        if script is None:
            raise InvalidInput(f"There is no {script_path}", remedy="Let checkout name a clone of gitlab.com/xen-project/imagebuilder")
    missing = _imagebuilder.missing_variables(values, script)
    if missing and checkout:
        raise InvalidInput(
            f"The ImageBuilder in {checkout} does not know {', '.join(missing)}",
            rule="it ignores variables that it does not know",
            remedy="Use a newer one, or the module uboot_script",
        )
    if missing:
        plan.warnings.append(f"ImageBuilder 2023.2 ignores {', '.join(missing)}: use a newer one, and name its checkout")


def main() -> None:
    """Run the module."""
    run_module({**ARGUMENT_SPEC, **OPTIONS}, prepare)


if __name__ == "__main__":
    main()
