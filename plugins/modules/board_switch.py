#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: board_switch
version_added: 0.1.0
short_description: Switch a board to its new boot script, or back to the one before
description:
  - Makes C(boot-new.scr) the script that the board runs, C(boot.scr), and keeps what that was as C(boot-previous.scr). Or goes back to
    that one.
  - Each file is replaced in one step, so a board that boots meanwhile gets the old set or the new one.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  directory:
    description: The board's directory.
    type: path
    required: true
  state:
    description: Which script it shall run.
    type: str
    choices: [new, previous]
    default: new
"""

EXAMPLES = r"""
- name: Go back to what booted before
  xen.driver_domains.board_switch:
    directory: /srv/tftp/pi4
    state: previous
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: [switch /srv/tftp/pi4/boot.scr to /srv/tftp/pi4/boot-previous.scr]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._board.boot_set import plan_switch
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Compare the scripts."""
    return plan_switch(parameters["directory"], parameters["state"])


def main() -> None:
    """Run the module."""
    run_module(
        {
            "directory": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["new", "previous"], "default": "new"},
        },
        prepare,
    )


if __name__ == "__main__":
    main()
