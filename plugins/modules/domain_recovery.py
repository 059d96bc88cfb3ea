#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: domain_recovery
version_added: 0.1.0
short_description: Install the service that recovers driver domains and their clients
description:
  - Installs a small service in dom0, C(xen-domain-recovery.service). When a backend domain was restarted, it attaches the vifs and disks of
    its clients to the new one as soon as that reports that it serves. It starts declared domains again that have ended, except
    those that M(xen.driver_domains.xl_domain) stopped.
  - The service waits for events of XenStore, and does nothing while nothing happens. It looks every 5 s only while it waits for a paused or
    dying domain, and up to once a minute while a domain is suspended.
  - What fails is tried again, with growing delays, up to O(attempts) times in an hour. Then the service says so once in the journal,
    and leaves it alone until C(/usr/local/lib/xen-driver-domains/recovery.pyz resume).
  - C(recovery.pyz pause NAME) keeps it away from a domain until C(recovery.pyz resume NAME), C(recovery.pyz status) shows what it sees.
    M(xen.driver_domains.xl_domain_info) returns the same. The service waits while M(xen.driver_domains.xl_domain),
    M(xen.driver_domains.xl_vif) or M(xen.driver_domains.xl_vbd) change something, and they wait for it.
  - Only domains that it has seen running are started by it. What M(xen.driver_domains.xl_domain) or C(systemctl stop xen-domain@NAME)
    stops, it leaves alone until one of them should run it again, or C(recovery.pyz resume NAME). Before you stop a declared domain with
    C(xl), pause the service for it.
  - Its program is made of the code of this collection.
  - It writes metrics for Prometheus to C(/run/xen-driver-domains-metrics). If the host has C(/var/lib/prometheus/node-exporter), which the
    node_exporter of Debian reads, the module makes a link there.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  state:
    description: Whether the service is installed.
    type: str
    choices: [present, absent]
    default: present
  domains:
    description:
      - The domains that are brought back when they end. The vifs and disks of all domains are attached again, whatever serves them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the domain.
        type: str
        required: true
      definition:
        description: Its definition file. By default C(/etc/xen/NAME.cfg), which M(xen.driver_domains.xl_domain) writes.
        type: path
      ready:
        description:
          - How the domain reports that it serves, as in M(xen.driver_domains.xl_domain). Without it a domain counts as ready unless
            C(data/driver-domain/status) below its home says otherwise.
        type: dict
        suboptions:
          key:
            description: Path of the key, relative to C(/local/domain/DOMID).
            type: str
            required: true
          value:
            description: Value that means ready.
            type: str
            required: true
          error_key:
            description: Not used here.
            type: str
      wait_timeout:
        description:
          - Seconds in which a domain with O(domains[].ready) has to serve after it was started, or to report an error. One that does
            neither, and serves nobody, hangs in its boot. It is destroyed and started again.
        type: float
        default: 300
  attempts:
    description: How often the same thing is tried within an hour.
    type: int
    default: 5
seealso:
  - module: xen.driver_domains.xl_domain
  - module: xen.driver_domains.xl_domain_info
"""

EXAMPLES = r"""
- name: Let the host recover the driver domain net-dd and the clients of all driver domains
  xen.driver_domains.domain_recovery:
    domains:
      - name: net-dd
        ready: {key: data/driver-domain/status, value: ready}
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, in order.
  returned: always
  type: list
  elements: str
  sample: ["write /usr/local/lib/xen-driver-domains/recovery.pyz", "start xen-domain-recovery.service"]
"""

import sys
import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import configuration_of
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.main import main as service
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.program import Installer
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_dom0, require_root

#: The service itself. It is not called here, but goes with the module to the host, where it is installed.
SERVICE = service


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the host and plan."""
    installer = Installer(Runner(), sys.executable)
    if parameters["state"] == "absent":
        require_root()
        return installer.plan(None)
    require_dom0()
    return installer.plan(configuration_of(parameters["domains"], parameters["attempts"]))


def main() -> None:
    """Run the module."""
    ready = {
        "key": {"type": "str", "required": True, "no_log": False},
        "value": {"type": "str", "required": True},
        "error_key": {"type": "str", "no_log": False},
    }
    domain = {
        "name": {"type": "str", "required": True},
        "definition": {"type": "path"},
        "ready": {"type": "dict", "no_log": False, "options": ready},
        "wait_timeout": {"type": "float", "default": 300},
    }
    run_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "domains": {"type": "list", "elements": "dict", "default": [], "options": domain},
            "attempts": {"type": "int", "default": 5},
        },
        prepare,
    )


if __name__ == "__main__":
    main()
