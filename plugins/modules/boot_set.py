#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_set
version_added: 0.1.0
short_description: Switch a board to its new boot set, or back to the previous one
description:
  - Replaces C(boot.scr), the script that the board runs, by C(boot-new.scr), and keeps the old script as C(boot-previous.scr). Or replaces
    it by C(boot-previous.scr). Or removes all boot sets.
  - Each file is replaced in one step, so a board that boots at that moment gets either the old set or the new one.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
seealso:
  - module: xen.driver_domains.boot_set_files
  - module: xen.driver_domains.uboot_script
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  directory:
    description: The board's directory.
    type: path
    required: true
  state:
    description:
      - Boot set that the board boots from then on.
      - V(new) is the one that C(boot-new.scr) loads. V(previous) is the one that the board booted before the last switch.
      - V(absent) removes all boot sets, and the directory if nothing else is in it.
    type: str
    choices: [new, previous, absent]
    default: new
"""

EXAMPLES = r"""
- name: Switch back to the previous boot set
  xen.driver_domains.boot_set:
    directory: /srv/tftp/pi4
    state: previous

- name: Remove all boot sets of a board
  xen.driver_domains.boot_set:
    directory: /srv/tftp/pi4
    state: absent
"""

RETURN = r"""
actions:
  description: Changes that were made, or in check mode would be made.
  returned: always
  type: list
  elements: str
  sample: [switch /srv/tftp/pi4/boot.scr to /srv/tftp/pi4/boot-previous.scr]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._board.boot_set import plan_removal, plan_switch
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Compare the scripts, or find what there is to remove."""
    if parameters["state"] == "absent":
        return plan_removal(parameters["directory"])
    return plan_switch(parameters["directory"], parameters["state"])


def main() -> None:
    """Run the module."""
    run_module(
        {
            "directory": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["new", "previous", "absent"], "default": "new"},
        },
        prepare,
    )


if __name__ == "__main__":
    main()
