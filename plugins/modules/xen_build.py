#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xen_build
short_description: Build Xen for an Arm board from Debian's source package
version_added: 0.1.0
description:
  - Builds the hypervisor for arm64 from the source package of a Debian suite, with options of its configuration that differ from Debian's,
    and keeps it in a cache. Debian's own Xen lacks, for example, static memory, without which a device without an IOMMU cannot do DMA in
    a guest.
  - C(mmdebstrap) makes a temporary system of that suite, and the compiler runs there. The machine on which the module runs therefore needs
    no compiler. On x86-64 it is a cross compiler.
  - apt checks the source package, as every package, by the archive's signed indexes. No source comes from anywhere else.
  - While a build runs, C(build.log) in O(cache_dir) shows how far it is.
  - The build has a key, a hash of everything that goes into it. A build in the cache is not made again.
  - Works as root and as an ordinary user. An ordinary user needs user namespaces and subordinate user ids (C(uidmap)).
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  suite:
    description: The Debian suite that the source package and the compiler are from, for example V(trixie).
    type: str
    required: true
  version:
    description:
      - The version of the source package C(xen). If the archive does not have it, the error lists the versions that it has, and the return
        value RV(source_missing) is true.
    type: str
    required: true
  config:
    description:
      - Options of Xen's configuration (Kconfig) by name, with or without C(CONFIG_), and their values. V(true) and V(false) switch an
        option on and off; others are numbers or texts.
      - An option that Xen's configuration does not take as requested, because it does not exist or depends on another, is an error.
    type: dict
    default: {}
  mirror:
    description:
      - Lines for C(sources.list), which begin with C(deb) or C(deb-src); both are needed.
      - By default those of Debian's archive for the suite, with its security updates.
    type: list
    elements: str
    default: []
  revision:
    description: Any text. Change it to build again, with the compiler that the archive has at that time.
    type: str
  cache_dir:
    description: Directory of the builds. Each is a subdirectory named by its key.
    type: path
    default: ~/.cache/xen-driver-domains/xen
  state:
    description:
      - V(present) builds Xen if the cache lacks it. A build counts as present if its files have the checksums in its manifest.
      - V(absent) removes it from the cache.
    type: str
    choices: [present, absent]
    default: present
  timeout:
    description: Time limit in seconds for the build, and for the wait for another build to end.
    type: int
    default: 1800
seealso:
  - module: xen.driver_domains.uboot_script
"""

EXAMPLES = r"""
- name: Build a Xen with static memory and without the SILO mode
  xen.driver_domains.xen_build:
    suite: bookworm
    version: 4.17.5+72-g01140da4e8-1
    config:
      EXPERT: true
      UNSUPPORTED: true
      STATIC_MEMORY: true
      XSM: false
  delegate_to: localhost
  register: built

- name: Show where it is
  ansible.builtin.debug:
    var: built.xen
"""

RETURN = r"""
key:
  description: Hash of everything that goes into the build.
  returned: success
  type: str
  sample: 3f0c5b2c96294aa1
xen:
  description: Path of the hypervisor, an uncompressed arm64 Image.
  returned: success
  type: str
  sample: /root/.cache/xen-driver-domains/xen/3f0c5b2c96294aa1/xen
config:
  description: Path of its complete configuration.
  returned: success
  type: str
  sample: /root/.cache/xen-driver-domains/xen/3f0c5b2c96294aa1/config
xen_version:
  description: The version that Xen's tools must match.
  returned: success
  type: str
  sample: "4.17"
present:
  description: Whether the build is in the cache after the task.
  returned: success
  type: bool
  sample: true
seconds:
  description: How long the build took, with the download of compiler and source, or 0 if it is not in the cache.
  returned: success
  type: int
  sample: 85
files:
  description: Size and SHA-256 of each file, by its name (C(xen) or C(config)).
  returned: success
  type: dict
  sample:
    xen: {size: 917512, sha256: "0123456789abcdef"}
    config: {size: 3200, sha256: "0123456789abcdef"}
source_missing:
  description: Whether the build failed because the archive does not have the source package.
  returned: failure, if so
  type: bool
  sample: true
options:
  description: The options that Xen's configuration did not take as requested.
  returned: failure, if there are some
  type: list
  elements: str
  sample: [CONFIG_STATIC_MEMORY]
log:
  description: The end of the log of a build that failed.
  returned: failure
  type: list
  elements: str
  sample: ["make: *** [Makefile:1: build] Error 2"]
actions:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: ["Build Xen 4.17.5+72-g01140da4e8-1 (3f0c5b2c96294aa1)"]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.build import Bootstrap
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import ImageCache
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._xen_build.build import XenBuilder, machine_architecture, plan_build
from ansible_collections.xen.driver_domains.plugins.module_utils._xen_build.specification import PARTS, XenSource


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the cache and plan the build or its removal."""
    cache = ImageCache(parameters["cache_dir"], PARTS)
    source = XenSource.from_parameters(parameters, machine_architecture())
    return plan_build(source, parameters["state"], cache, XenBuilder(cache, Bootstrap(Runner(), parameters["timeout"])))


def main() -> None:
    """Run the module."""
    run_module(
        {
            "suite": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "config": {"type": "dict", "default": {}},
            "mirror": {"type": "list", "elements": "str", "default": []},
            "revision": {"type": "str"},
            "cache_dir": {"type": "path", "default": "~/.cache/xen-driver-domains/xen"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "timeout": {"type": "int", "default": 1800},
        },
        prepare,
    )


if __name__ == "__main__":
    main()
