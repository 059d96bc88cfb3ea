#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: uboot_script
version_added: 0.1.0
short_description: Make the boot script of an Arm board with Xen and dom0less domains
description:
  - Makes a script for U-Boot that loads Xen, dom0 and the domains that Xen itself starts, describes them in the device tree and boots.
  - Does the job of ImageBuilder's C(uboot-script-gen) without it, from the same options as M(xen.driver_domains.imagebuilder_config).
    Unlike that, it numbers the domains in the order listed, makes room in the device tree for any number of them, loads a file once that
    several domains use, and the script stops with a message at the first command that fails.
  - Everything is checked before a file is written - what the files are, whether they fit into memory, what this Xen can do, whether the
    devices given away are there and safe to give.
  - Needs no program of U-Boot. In diff mode it shows the script, with the load map at its head.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
seealso:
  - module: xen.driver_domains.imagebuilder_config
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.board
options:
  path:
    description: The script, ready for C(source). Relative to O(directory).
    type: str
    default: boot.scr
  source:
    description: The script's text, for reading. Not written unless given. Relative to O(directory).
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
  description: Where the script is.
  returned: success
  type: str
  sample: /srv/tftp/virt/boot.scr
domids:
  description: The number that Xen gives to each domain.
  returned: success
  type: dict
  sample: {dom0: 0, net-dd: 1}
load_map:
  description: What is loaded where.
  returned: success
  type: list
  elements: dict
  sample: [{what: Xen, file: xen, address: "0x42e00000", size: 1015816, end: "0x43000000"}]
  contains:
    what:
      description: What the file is for.
      type: str
    file:
      description: The file, relative to O(directory).
      type: str
    address:
      description: Where it is loaded.
      type: str
    size:
      description: Size of the file in bytes.
      type: int
    end:
      description: End of the memory that it takes.
      type: str
memory_left:
  description: Bytes between the last file and O(memory_end).
  returned: success
  type: int
  sample: 2055208960
script_address:
  description: Where to load the boot script itself; C(source) with that address runs it.
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
from ansible_collections.xen.driver_domains.plugins.module_utils._board import uboot_script as _uboot_script
from ansible_collections.xen.driver_domains.plugins.module_utils._board.boot_files import Files
from ansible_collections.xen.driver_domains.plugins.module_utils._board.configuration import ARGUMENT_SPEC, Board
from ansible_collections.xen.driver_domains.plugins.module_utils._files import read_bytes, write_bytes
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the board's files and plan the script."""
    board = Board.from_parameters(parameters)
    _uboot_script.check_supported(board)
    files, plan = Files(board.directory), Plan()
    _board_rules.check_files(board, files, plan, packed_ramdisks=True)
    load_map = _uboot_script.plan_memory(board, files)
    _board_rules.check_memory(board, files, load_map, plan)
    text = _uboot_script.source(board, files, load_map)
    path = os.path.join(board.directory, parameters["path"])
    plan.results = {"path": path, "domids": board.domids, **load_map.results()}
    wanted = {path: _uboot_script.image(text, load_map)}
    if parameters["source"]:
        wanted[os.path.join(board.directory, parameters["source"])] = text.encode()
    for name, content in wanted.items():
        before = read_bytes(name) or b""
        if before != content:
            plan.add(
                f"write {name}",
                _writer(name, content),
                subject=name,
                before=_uboot_script.text_of(before) if name == path else before.decode("utf-8", "replace"),
                after=text,
            )
    return plan


def _writer(path: str, content: bytes) -> t.Callable[[], None]:
    return lambda: write_bytes(path, content)


def main() -> None:
    """Run the module."""
    run_module({**ARGUMENT_SPEC, "path": {"type": "str", "default": "boot.scr"}, "source": {"type": "str"}}, prepare)


if __name__ == "__main__":
    main()
