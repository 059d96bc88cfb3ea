#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_image_info
version_added: 0.1.0
short_description: Gather the images of a Xen host and what they depend on
description:
  - Returns the Debian suite, architecture and hypervisor version of a host, and the keys of the images in a directory.
  - Compares the checksums of images. If it may write to O(cache_dir), it notes in C(.verified.json) in the directory of an image which
    files it found right, so that it reads them again only if they change.
  - Also works on hosts that do not run Xen, where it does not need root.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes.info_module
options:
  cache_dir:
    description: Directory of the images, as in M(xen.driver_domains.guest_image).
    type: path
    default: /var/lib/xen-driver-domains/images
seealso:
  - module: xen.driver_domains.guest_image
"""

EXAMPLES = r"""
- name: Gather the images that dom0 has
  xen.driver_domains.guest_image_info:
  register: host
"""

RETURN = r"""
suite:
  description: Codename of the distribution, or an empty string.
  returned: success
  type: str
  sample: trixie
architecture:
  description: The machine's Debian architecture.
  returned: success
  type: str
  sample: amd64
xen_version:
  description: Version of the running hypervisor, or an empty string.
  returned: success
  type: str
  sample: "4.20"
image_keys:
  description: Keys of the complete images.
  returned: success
  type: list
  elements: str
  sample: [3f0c5b2c96294aa1]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import ImageCache
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.host import read_host
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import xen_version


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read the host."""
    return Plan(results=read_host(ImageCache(parameters["cache_dir"]), xen_version()))


def main() -> None:
    """Run the module."""
    run_module({"cache_dir": {"type": "path", "default": "/var/lib/xen-driver-domains/images"}}, prepare)


if __name__ == "__main__":
    main()
