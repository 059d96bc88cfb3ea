#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xl_vbd
version_added: 0.1.0
short_description: Attach virtual disks to running domains, and detach them
description:
  - Attaches virtual disks (vbds) to running domains, detaches them, and waits until they are connected.
  - A disk is identified by its name in the guest. It is replaced, which means detached and attached again, if its backend was restarted, if
    it is closed, if its hotplug script failed, if its backend does not answer for 10 s, or if one of its settings differs. C(xl) can change
    no setting of a disk that is attached.
  - A disk that does not work is removed even if the guest does not let go of it. The guest gets input/output errors for what it had not
    written yet, and has to mount file systems on it again. What the backend had confirmed is on the disk.
  - A disk that works is replaced only with O(force=connected_disk). With O(vbds[].state=absent), C(xl) asks the guest, which does not let
    go of a disk that it uses; the task then fails.
  - A disk is replaced only when its backend reports that it serves (C(data/driver-domain/status) below its home), or reports nothing there;
    else it stays, and the task fails.
  - What counts is what the toolstack wrote below C(/libxl) and in its own files. Keys that the guest can write are not believed.
  - While the module changes something, the recovery service (M(xen.driver_domains.domain_recovery)) and other runs wait. A disk that the
    service would attach again, and that is not wanted any more, is forgotten.
  - It is meant for dom0, and for domains that Xen itself started (dom0less), which have no definition that M(xen.driver_domains.xl_domain)
    could change. Other domains lose a disk that was attached here when they are started again.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  vbds:
    description: The disks. Other disks are not touched, unless O(prune=true).
    type: list
    elements: dict
    required: true
    suboptions:
      domain:
        description: Name of the domain that has the disk. V(Domain-0) is dom0.
        type: str
        required: true
      state:
        description: Whether the domain has the disk.
        type: str
        choices: [present, absent]
        default: present
      vdev:
        description: Name in the guest, e.g. V(xvdb).
        type: str
        required: true
      target:
        description:
          - Block device or image file, a path in dom0 or in the backend domain; or what O(vbds[].script) or QEMU takes, such as
            V(rbd:pool/image).
          - Required, but for a cdrom drive and O(vbds[].state=absent).
        type: str
      format:
        description: Format of the target.
        type: str
        choices: [raw, qcow2, qcow, vhd, qed]
        default: raw
      access:
        description: Whether the guest may write.
        type: str
        choices: [rw, ro]
        default: rw
      devtype:
        description: What the disk looks like in an HVM guest.
        type: str
        choices: [disk, cdrom]
        default: disk
      backend:
        description: Name of the domain that serves the disk; dom0 by default.
        type: str
      backendtype:
        description: See the manual page C(xl-disk-configuration). If left out, it stays as it is.
        type: str
        choices: [phy, qdisk]
      script:
        description: Hotplug script of the disk; runs in the backend domain. If left out, it stays as it is.
        type: str
      direct_io_safe:
        description: See the manual page C(xl-disk-configuration).
        type: bool
      discard:
        description: Whether the guest may discard blocks. If left out, it stays as it is.
        type: bool
      trusted:
        description:
          - Whether the frontend trusts its backend. By default it trusts dom0, and no other domain.
          - A frontend that does not trust its backend (Linux since 5.19) shares only copies of its blocks with it, which costs time.
          - Before Xen 4.19, C(xl) does not accept V(false) for a disk. By default a frontend then trusts every backend, with a warning.
        type: bool
  prune:
    description: Whether to detach all other disks of the domains that O(vbds) names.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for each disk, until it is gone after it was detached, and until it is connected after it was attached.
    type: int
    default: 60
  force:
    description:
      - Guard rails to override, by name.
      - V(connected_disk) - a disk that is connected would be replaced, and a guest may be writing to it.
      - The others are about disks of dom0 that would be detached or replaced.
      - V(management_route) - the network that Ansible uses depends on the disk.
      - V(default_route) - a default route depends on the disk.
      - V(root_disk) - the disk holds a file system or swap space that the host cannot run without.
      - V(mounted_disk) - the disk holds another mounted file system.
      - V(guest_network) - a bridge of dom0 that serves running guests depends on the disk.
      - V(guest_disk) - dom0 serves the disk, or something on it, to a running guest.
      - V(console) - the console of the host depends on the disk.
      - V(keyboard) - the keyboard of the console depends on the disk.
    type: list
    elements: str
    choices: [connected_disk, management_route, default_route, root_disk, mounted_disk, guest_network, guest_disk, console, keyboard]
    default: []
seealso:
  - module: xen.driver_domains.xl_vif
  - module: xen.driver_domains.xl_domain
"""

EXAMPLES = r"""
- name: Attach a disk that a storage domain serves
  xen.driver_domains.xl_vbd:
    vbds:
      - {domain: web1, vdev: xvdb, backend: store-dd, target: /dev/vg0/web1, backendtype: phy}
"""

RETURN = r"""
vbds:
  description: The disks, in the order of O(vbds).
  returned: success, not in check mode
  type: list
  elements: dict
  contains:
    domain:
      description: Domain that has the disk.
      type: str
      returned: always
    vdev:
      description: Name of the device there.
      type: str
      returned: always
    present:
      description: Whether it is attached.
      type: bool
      returned: always
    connected:
      description: Whether both ends are connected.
      type: bool
      returned: always
    devid:
      description: Number of the device.
      type: int
      returned: always
    backend:
      description: Name of the domain that serves it.
      type: str
      returned: always
    backend_id:
      description: Domid of that domain.
      type: int
      returned: always
  sample:
    - {domain: web1, vdev: xvdb, present: true, connected: true, devid: 51728, backend: store-dd, backend_id: 4}
actions:
  description: What was done, or in check mode would be done, in order.
  returned: always
  type: list
  elements: str
  sample: ["attach disk xvdb of web1 to store-dd"]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.attacher import Attacher
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.attachments import CONNECTED_DISK, DevicePlanner, devices_in_path
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vbd_options import VBD_OPTIONS, trusting
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vbds import VBD_RULES, wanted_vbds
from ansible_collections.xen.driver_domains.plugins.module_utils._host_uses import HOST_GUARDS, HostUses
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import waiting_devices
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._turn import take_turn
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.host import require_dom0
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Xl
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Read XenStore and plan."""
    vbds, warnings = trusting(parameters["vbds"], require_dom0())
    wanted = wanted_vbds(vbds)
    store = XenStore()
    attacher = Attacher(Xl(), store, parameters["timeout"])
    uses = HostUses(Runner(), devices_in_path)
    waiting = waiting_devices()
    plan = DevicePlanner(VBD_RULES, store, attacher, lambda: uses.uses, waiting=waiting).plan(wanted, parameters["prune"])
    plan.warnings += warnings
    return plan


def main() -> None:
    """Run the module."""
    vbd: dict[str, t.Any] = {
        "domain": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        **VBD_OPTIONS,
    }
    run_module(
        {
            "vbds": {"type": "list", "elements": "dict", "required": True, "options": vbd},
            "prune": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
            "force": {"type": "list", "elements": "str", "choices": [CONNECTED_DISK, *HOST_GUARDS], "default": []},
        },
        prepare,
        first=take_turn,
    )


if __name__ == "__main__":
    main()
