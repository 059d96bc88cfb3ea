#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_tree_lint
short_description: Check hand-written files that pass devices of an Arm board through to guests
version_added: 0.1.0
description:
  - Checks a system description of seL4/Microkit, a partial device tree for Xen, or the device settings of an C(xl.cfg) against the
    board's device tree. Returns each mistake with its place and a fix - missing maps, wrong triggers, shared pages and interrupts,
    overlaps, missing clocks, and violations of Microkit's schema.
  - A partial device tree is held to the rules of one that M(xen.driver_domains.passthrough_device_tree) makes. It must not map the
    interrupt controller, Xen's console, memory, or registers that dom0 uses.
  - Changes nothing.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.device_tree
options:
  system:
    description:
      - A system description of Microkit 2, or a part of one. It may be text for the C preprocessor, with C(#include), comments and macros.
        Headers beside it are read for their macros.
    type: path
  version:
    description: Version of Microkit that O(system) was written for.
    type: str
    choices: ["2.0.0", "2.1.0", "2.2.0", "2.3.0"]
    default: "2.0.0"
  partial:
    description:
      - A partial device tree, as dtb or as source (C(.dts), for which C(dtc) must be installed).
      - Without any property that begins with C(xen,), it is taken for one of a guest that C(xl) starts if it refers to the interrupt
        controller that C(xl) adds (C(interrupt-parent = <65000>)) or if O(xl_config) is given, else for one that Xen starts.
    type: path
  xl_config:
    description:
      - A configuration file of C(xl), read with the grammar of C(xl). Only C(device_tree), C(dtdev), C(iomem) and C(irqs) are checked.
      - If the file that C(device_tree) names is there, it is checked as well, and compared with what is passed through.
    type: path
  fail_on:
    description: Fail if there is a finding of this severity or above.
    type: str
    choices: [error, warning, never]
    default: never
seealso:
  - module: xen.driver_domains.passthrough_device_tree
  - module: xen.driver_domains.microkit_system
"""

EXAMPLES = r"""
- name: Check a system description
  xen.driver_domains.device_tree_lint:
    device_tree: /srv/boards/meson-sm1-odroid-c4.dtb
    system: /srv/odroid/vmm.system
    version: "2.1.0"
  delegate_to: localhost
  register: lint

- name: Show the problems
  ansible.builtin.debug:
    msg: "{{ lint.findings | map(attribute='problem') }}"

- name: Fail if a partial device tree has an error
  xen.driver_domains.device_tree_lint:
    device_tree: /srv/boards/bcm2711-rpi-4-b.dtb
    partial: /srv/tftp/net-dd.dts
    fail_on: error
  delegate_to: localhost
"""

RETURN = r"""
findings:
  description: The findings, file by file, from top to bottom.
  returned: always
  type: list
  elements: dict
  contains:
    place:
      description: File and line, or file and node.
      type: str
      returned: always
    rule:
      description: Short name of the rule.
      type: str
      returned: always
    severity:
      description:
        - V(error) for what cannot work or passes through more than the device, V(warning) for what may be intended, V(note) for what only
          could not be checked. A note never makes the task fail.
      type: str
      returned: always
    problem:
      description: What is wrong.
      type: str
      returned: always
    fix:
      description: What to write instead.
      type: str
      returned: always
  sample:
    - place: vmm.system:31
      rule: wrong-trigger
      severity: warning
      problem: irq 53 is level, which is the default, but /soc/bus@ffd00000/i2c@1d000 raises it by edge
      fix: trigger="edge"
"""

import os
import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import DEVICE_TREE_OPTION, read_device_tree
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.findings import ERROR, WARNING, Finding
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.lint_xen_partial import PartialUse, lint_partial
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.lint_xl_config import (
    device_tree_setting,
    lint_xl_config,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.source import read_source
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.tree import DeviceTree
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._files import read_text
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.lint import lint_system
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.schema import VERSIONS
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner

_FATAL = {"never": (), ERROR: (ERROR,), WARNING: (ERROR, WARNING)}
ARGUMENTS: dict[str, t.Any] = {
    "device_tree": DEVICE_TREE_OPTION,
    "system": {"type": "path"},
    "version": {"type": "str", "choices": VERSIONS, "default": "2.0.0"},
    "partial": {"type": "path"},
    "xl_config": {"type": "path"},
    "fail_on": {"type": "str", "choices": list(_FATAL), "default": "never"},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the files and check them."""
    analysis = Analysis(read_device_tree(parameters["device_tree"]))
    findings: list[Finding] = []
    if parameters["system"]:
        findings += lint_system(_text(parameters["system"]), parameters["system"], parameters["version"], analysis)
    if parameters["partial"]:
        use = PartialUse(dom0less=False if parameters["xl_config"] else None)
        findings += lint_partial(_partial(parameters["partial"]), parameters["partial"], analysis, use)
    if parameters["xl_config"]:
        text = _text(parameters["xl_config"])
        findings += lint_xl_config(text, parameters["xl_config"], analysis, _named_by(parameters["xl_config"], device_tree_setting(text)))
    found = [finding.as_dict() for finding in findings]
    fatal = [finding for finding in findings if finding.severity in _FATAL[parameters["fail_on"]]]
    if fatal:
        listed = "; ".join(f"{finding.place}: {finding.problem} (fix: {finding.fix})" for finding in fatal)
        raise DriverDomainsError(f"{len(fatal)} of {len(findings)} findings are not acceptable: {listed}", findings=found)
    return Plan(results={"findings": found})


def _text(path: str) -> str:
    text = read_text(path)
    if text is None:
        raise InvalidInput(f"There is no file {path}")
    return text


def _named_by(config: str, name: str) -> DeviceTree | None:
    """Read the partial tree that an xl.cfg names, beside it or where it is on the host; None if there is none here."""
    path = os.path.join(os.path.dirname(config), name)
    return _partial(path) if name and os.path.isfile(path) else None


def _partial(path: str) -> DeviceTree:
    if not path.endswith(".dts"):
        return read_device_tree(path)
    _text(path)
    return read_source(path, Runner(timeout=30))


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare, required_one_of=[("system", "partial", "xl_config")])


if __name__ == "__main__":
    main()
