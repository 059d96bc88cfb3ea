#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: driver_domain_doctor
short_description: Find what is wrong with the driver domains of a host
version_added: 0.1.0
description:
  - Reads a Xen host and returns everything that is wrong, or will be when something happens - isolation (IOMMU, interrupt remapping, XSM),
    tools, hidden and recorded PCI devices, what these share, memory, domains that do not run, serve or come back, devices whose backend
    is gone or that do not work, XenStore, units of systemd, and the recovery service.
  - Each finding has a stable id. C(docs/troubleshooting.md) has a section for each.
  - Changes nothing, and also works on a host that does not run Xen. What cannot be read is a finding, too.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  ignore:
    description: Ids of findings to leave out, because they are known and accepted.
    type: list
    elements: str
    default: []
  fail_on:
    description: Fail if there is a finding of this severity or above.
    type: str
    choices: [error, warning, never]
    default: never
notes:
  - Runs C(xl info), C(xl list), C(xl dmesg) and C(systemctl list-units) once, each with a time limit. All else is read from sysfs, from
    XenStore and from files.
  - Needs root. Without it, this is the only finding.
seealso:
  - module: xen.driver_domains.xl_domain_info
  - module: xen.driver_domains.xl_pci_info
  - module: xen.driver_domains.preflight
"""

EXAMPLES = r"""
- name: Find out what is wrong
  xen.driver_domains.driver_domain_doctor:
  register: doctor

- name: Fail if something does not work, apart from what this hardware cannot do
  xen.driver_domains.driver_domain_doctor:
    ignore: [no-interrupt-remapping]
    fail_on: error
"""

RETURN = r"""
findings:
  description: What is wrong, errors first.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: The kind of finding. It never changes its meaning.
      type: str
      returned: always
    severity:
      description:
        - V(error) for what does not work or does not protect, V(warning) for what will not work when something happens, or may pass by
          itself, V(note) for what is only not known. A note never makes the task fail.
      type: str
      returned: always
    object:
      description: What it concerns, such as a domain, a device of a domain, a PCI device, or a unit.
      type: str
      returned: always
    problem:
      description: What was seen there.
      type: str
      returned: always
    meaning:
      description: What that means; the same for all findings with this id.
      type: str
      returned: always
    remedy:
      description: What to do about it; the same for all findings with this id.
      type: str
      returned: always
  sample:
    - id: stale-vif-backend
      severity: error
      object: "web1: vif 0"
      problem: its backend, domain 6, is gone
      meaning: The driver domain of this vif has ended. The guest's driver goes on saying that it is connected, but nothing arrives.
      remedy: "The recovery service attaches it again when the driver domain is back. Without the service: site.yml, or xl_vif."
"""

import difflib
import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._doctor.examine import examine
from ansible_collections.xen.driver_domains.plugins.module_utils._doctor.finding import ERROR, TROUBLES, WARNING
from ansible_collections.xen.driver_domains.plugins.module_utils._doctor.read import DoctorPlaces, read_facts
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError, InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore

_FATAL = {"never": (), ERROR: (ERROR,), WARNING: (ERROR, WARNING)}
ARGUMENTS: dict[str, t.Any] = {
    "ignore": {"type": "list", "elements": "str", "default": []},
    "fail_on": {"type": "str", "choices": ["error", "warning", "never"], "default": "never"},
}
#: Seconds that one command, or one answer of XenStore, may take.
TIMEOUT = 20.0


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the host and check it."""
    for name in parameters["ignore"]:
        if name not in TROUBLES:
            near = difflib.get_close_matches(name, TROUBLES, 1)
            raise InvalidInput(
                f"There is no finding {name!r}",
                rule="ignore has ids of docs/troubleshooting.md",
                remedy=f"Did you mean {near[0]}?" if near else "",
            )
    facts = read_facts(DoctorPlaces(), Runner(timeout=TIMEOUT), lambda: XenStore(timeout=TIMEOUT))
    findings = [finding for finding in examine(facts) if finding.id not in parameters["ignore"]]
    found = [finding.as_dict() for finding in findings]
    fatal = [finding for finding in findings if finding.severity in _FATAL[parameters["fail_on"]]]
    if fatal:
        listed = "; ".join(f"{finding.id}: {finding.object}: {finding.problem}" for finding in fatal)
        raise DriverDomainsError(f"{len(fatal)} of {len(findings)} findings are not acceptable: {listed}", findings=found)
    return Plan(results={"findings": found})


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
