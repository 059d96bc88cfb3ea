#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xl_vif
version_added: 0.1.0
short_description: Attach virtual network interfaces to running domains, and detach them
description:
  - Attaches virtual network interfaces (vifs) to running domains, detaches them, and waits until they are connected.
  - A vif is identified by its MAC address. It is replaced, which means detached and attached again, if its backend was restarted, if it is
    closed, if its hotplug script failed or does not end, if its backend does not answer for 10 s, or if one of its settings differs.
    C(xl) can change no setting of a vif that is attached.
  - What does not work is removed even if the guest does not let go of it.
  - While the module changes something, the recovery service (M(xen.driver_domains.domain_recovery)) and other runs wait. A vif that the
    service would attach again, and that is not wanted any more, is forgotten. One that is wanted gets the number that it had.
  - A setting that you leave out goes back to its default. O(vifs[].bridge), O(vifs[].script), O(vifs[].type) and O(vifs[].model) are
    exceptions, as dom0 decides about their defaults. If you leave them out, they stay as they are.
  - A vif is replaced only when its backend reports that it serves (C(data/driver-domain/status) below its home), or reports nothing there;
    else it stays, and the task fails.
  - What counts is what the toolstack wrote below C(/libxl) and in its own files. Keys that the guest can write are not believed.
  - A vif of dom0 that dom0 is reached through is not detached, unless O(force) says so.
  - It is meant for dom0, and for domains that Xen itself started (dom0less), which have no definition that M(xen.driver_domains.xl_domain)
    could change. Other domains lose a vif that was attached here when they are started again.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - Xen 4.17 or newer and its tools on the host, in Debian the package C(xen-utils).
extends_documentation_fragment:
  - xen.driver_domains.attributes
options:
  vifs:
    description: The vifs. Other vifs are not touched, unless O(prune=true).
    type: list
    elements: dict
    required: true
    suboptions:
      domain:
        description: Name of the domain that has the vif. V(Domain-0) is dom0.
        type: str
        required: true
      state:
        description: Whether the domain has the vif.
        type: str
        choices: [present, absent]
        default: present
      mac:
        description: MAC address. By default it is derived from the domain's name, the backend and the bridge, and stays the same.
        type: str
      backend:
        description: Name of the domain that serves the vif; dom0 by default.
        type: str
      bridge:
        description: Bridge in the backend domain of which the vif becomes a port.
        type: str
      type:
        description: See the manual page C(xl-network-configuration).
        type: str
        choices: [vif, ioemu]
      model:
        description: See the manual page C(xl-network-configuration).
        type: str
      script:
        description: Hotplug script; runs in the backend domain.
        type: str
      ip:
        description: IP address that is passed to the hotplug script.
        type: str
      vifname:
        description: Name of the interface in the backend domain.
        type: str
      rate:
        description: Limit of the outgoing rate, e.g. V(10MB/s).
        type: str
      mtu:
        description: MTU of the interface.
        type: int
      gatewaydev:
        description: Interface in the backend domain towards the gateway, for the script C(vif-route).
        type: str
      vlan:
        description: VLANs of the port, for a script that knows them; since Xen 4.19. See the manual page C(xl-network-configuration).
        type: str
      trusted:
        description:
          - Whether the frontend trusts its backend. By default it trusts dom0, and no other domain.
          - A frontend that does not trust its backend (Linux since 5.19) shares only copies of its packets with it, which costs time.
          - Before Xen 4.17, C(xl) does not accept V(false), so set V(true) there.
        type: bool
  prune:
    description: Whether to detach all other vifs of the domains that O(vifs) names.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for each vif, until it is gone after it was detached, and until it is connected after it was attached.
    type: int
    default: 60
  force:
    description:
      - Guard rails to override, by name. They are about vifs of dom0 that would be detached or replaced.
      - V(management_route) - the vif carries a management connection.
      - V(default_route) - the vif carries a default route.
      - V(root_disk) - the host needs the vif for a file system or swap space that it cannot run without.
      - V(mounted_disk) - the host needs the vif for a mounted file system.
      - V(guest_network) - the vif is a port of a bridge in dom0 that serves running guests.
      - V(guest_disk) - dom0 needs the vif for a disk that it serves to a running guest.
      - V(console) - the vif leads to a console of the host.
      - V(keyboard) - the vif leads to a keyboard of the host.
    type: list
    elements: str
    choices: [management_route, default_route, root_disk, mounted_disk, guest_network, guest_disk, console, keyboard]
    default: []
"""

EXAMPLES = r"""
- name: Attach vifs to two domains that Xen started at boot
  xen.driver_domains.xl_vif:
    vifs:
      - {domain: web1, backend: net-dd, bridge: xenbr0}
      - {domain: web2, backend: net-dd, bridge: xenbr0, mac: "00:16:3e:00:00:12"}
"""

RETURN = r"""
vifs:
  description: The vifs, in the order of O(vifs).
  returned: success, not in check mode
  type: list
  elements: dict
  contains:
    domain:
      description: Domain that has the vif.
      type: str
      returned: always
    mac:
      description: MAC address.
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
    bridge:
      description: Bridge there.
      type: str
      returned: always
  sample:
    - {domain: web1, mac: "00:16:3e:5b:0c:01", present: true, connected: true, devid: 0, backend: net-dd, backend_id: 1, bridge: xenbr0}
actions:
  description: What was done, or in check mode would be done, in order.
  returned: always
  type: list
  elements: str
  sample: ["attach vif 00:16:3e:5b:0c:01 of web1 to net-dd"]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.attacher import Attacher
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.attachments import DevicePlanner, devices_in_path
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vif_options import VIF_OPTIONS
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vifs import VIF_RULES, wanted_vifs
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
    wanted = wanted_vifs(parameters["vifs"])
    require_dom0()
    store = XenStore()
    attacher = Attacher(Xl(), store, parameters["timeout"])
    uses = HostUses(Runner(), devices_in_path)
    waiting = waiting_devices()
    return DevicePlanner(VIF_RULES, store, attacher, lambda: uses.uses, waiting=waiting).plan(wanted, parameters["prune"])


def main() -> None:
    """Run the module."""
    vif: dict[str, t.Any] = {
        "domain": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        **VIF_OPTIONS,
    }
    run_module(
        {
            "vifs": {"type": "list", "elements": "dict", "required": True, "options": vif},
            "prune": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
            "force": {"type": "list", "elements": "str", "choices": list(HOST_GUARDS), "default": []},
        },
        prepare,
        first=take_turn,
    )


if __name__ == "__main__":
    main()
