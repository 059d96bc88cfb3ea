#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xl_info
short_description: Gather facts about a Xen host
version_added: 0.1.0
description:
  - Reports whether the host runs under Xen and which version, whether it has an IOMMU, and how much memory is free.
  - Also works on hosts that do not run Xen, and needs no root there.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes.info_module
options: {}
seealso:
  - module: xen.driver_domains.xl_domain_info
"""

EXAMPLES = r"""
- name: Gather facts about the host
  xen.driver_domains.xl_info:
  register: host

- name: Check that devices can be passed through
  ansible.builtin.assert:
    that: host.iommu
"""

RETURN = r"""
xen:
  description: Whether the host runs under Xen.
  returned: success
  type: bool
  sample: true
dom0:
  description: Whether this is the control domain.
  returned: success
  type: bool
  sample: true
version:
  description: Version of the running hypervisor, or an empty string.
  returned: success
  type: str
  sample: "4.20"
iommu:
  description: Whether devices can be passed through.
  returned: success
  type: bool
  sample: true
domain_types:
  description: Types of domains that the host can run. V(pvh) and V(hvm) need C(hvm) and C(hap) in C(virt_caps) of C(xl info).
  returned: success
  type: list
  elements: str
  sample: [pv, pvh, hvm]
device_model:
  description: Whether the host has the QEMU that each HVM domain needs, in Debian the package C(qemu-system-xen).
  returned: success
  type: bool
  sample: true
free_memory:
  description: Memory in MiB that no domain uses; 0 on a host without Xen.
  returned: success
  type: int
  sample: 2048
total_memory:
  description: Memory of the host in MiB; on a host without Xen, what Linux has of it.
  returned: success
  type: int
  sample: 16279
info:
  description: What C(xl info) prints, by key.
  returned: success
  type: dict
  sample: {"xen_commandline": "placeholder dom0_mem=1024M,max:1024M", "virt_caps": "pv hvm pv_directio hvm_directio"}
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._files import read_text
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import has_device_model, require_root, xen_version
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Xl, domain_types, has_iommu


def linux_memory(procfs: str = "/proc") -> int:
    """Return the memory in MiB that Linux has (proc_meminfo(5))."""
    words = (read_text(f"{procfs}/meminfo") or "").partition("MemTotal:")[2].split()
    return int(words[0]) // 1024 if words and words[0].isdigit() else 0


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the host."""
    version = xen_version()
    dom0 = version is not None and "control_d" in (read_text("/proc/xen/capabilities") or "control_d")
    info = {}
    if dom0:
        require_root()
        info = Xl().info()
    return Plan(
        results={
            "xen": version is not None,
            "dom0": dom0,
            "version": ".".join(map(str, version)) if version else "",
            "iommu": has_iommu(info),
            "domain_types": list(domain_types(info)),
            "device_model": has_device_model(),
            "free_memory": int(info.get("free_memory", 0)),
            "total_memory": int(info.get("total_memory", 0)) or linux_memory(),
            "info": info,
        }
    )


def main() -> None:
    """Run the module."""
    run_module({}, prepare)


if __name__ == "__main__":
    main()
