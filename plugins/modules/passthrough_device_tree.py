#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: passthrough_device_tree
short_description: The partial device tree that gives devices of an Arm board to a guest of Xen
version_added: 0.1.0
description:
  - Writes the partial device tree that Xen wants beside a guest which owns devices of the board, made from the board's own device tree, and
    returns what else goes with it, the nodes of the host's tree to mark, options of ImageBuilder and the settings of an C(xl.cfg).
  - Registers are translated to the processor's addresses and mapped at the same address, in whole pages. Interrupts are those of the GIC.
    Clocks become clocks of fixed rate. What the guest cannot reach (resets, power domains, pins and so on) is left out, and said.
  - Refuses devices that cannot be given away alone, because others are in the same page or on the same interrupt line; the console; and
    devices without an IOMMU. O(force) names what to do nevertheless. Devices that are forced to go along are marked in the host's tree,
    too, so that dom0 does not touch them.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.device_tree
options:
  devices:
    description: The devices of one guest.
    type: list
    elements: dict
    required: true
    suboptions:
      node:
        description: The device, by path, alias, label or compatible.
        type: str
        required: true
      clock_rates:
        description:
          - Rates in Hz of clocks that only the board's clock controller knows, by the name in C(clock-names), or by place (V("0")) where
            they have no names.
        type: dict
        default: {}
      mac:
        description: MAC address for a network device, instead of the one that the tree has.
        type: str
        default: ""
      leave_out:
        description:
          - Nodes below the device that the guest shall not see, by their path from it, such as V(bluetooth) of a UART that is to be used as
            a serial port.
        type: list
        elements: str
        default: []
  dest:
    description: File for the partial device tree (dtb).
    type: path
    required: true
  flavour:
    description:
      - V(dom0less) for a guest that Xen starts at boot.
      - V(xl) for a guest that C(xl create) starts (C(device_tree=) in its C(xl.cfg)).
    type: str
    choices: [dom0less, xl]
    default: dom0less
  direct_map:
    description:
      - The guest's memory has the same addresses for the guest and the machine (C(direct-map) with C(xen,static-mem)). It is then laid
        out like the board, and a device without IOMMU can do DMA.
    type: bool
    default: false
  memory:
    description: Memory of the guest in MiB, to see whether a device's addresses collide with it; of no meaning with O(direct_map).
    type: int
    default: 512
  force:
    description:
      - Guards to override, by the name that the error message has in brackets.
      - V(shared_page), V(shared_interrupt) - other devices go along.
      - V(console) - Xen or the firmware writes to it.
      - V(management_route), V(default_route), V(root_disk), V(mounted_disk) - the host that the task runs on needs it. Seen only if
        O(device_tree) is that host's own, C(/proc/device-tree).
      - V(no_iommu) - a device that does DMA reads and writes all of the machine's memory. Of no harm if it does none (UART, GPIO, RTC).
      - V(guest_layout) - its addresses collide with something in the guest.
    type: list
    elements: str
    choices:
      - shared_page
      - shared_interrupt
      - console
      - management_route
      - default_route
      - root_disk
      - mounted_disk
      - no_iommu
      - guest_layout
    default: []
seealso:
  - module: xen.driver_domains.device_tree_info
  - module: xen.driver_domains.device_tree_lint
"""

EXAMPLES = r"""
- name: The network card of a Raspberry Pi 4 for a dom0less driver domain with static memory
  xen.driver_domains.passthrough_device_tree:
    device_tree: /srv/boards/bcm2711-rpi-4-b.dtb
    devices:
      - node: ethernet0
        mac: "dc:a6:32:00:00:01"
    direct_map: true
    force: [no_iommu]
    dest: /srv/tftp/net-dd.dtb
  delegate_to: localhost
  register: net_dd

- name: What ImageBuilder is told
  ansible.builtin.debug:
    var: net_dd.imagebuilder

- name: The UART of QEMU's virt board, whose clock the tree tells
  xen.driver_domains.passthrough_device_tree:
    device_tree: /srv/boards/virt.dtb
    devices:
      - node: arm,pl031
    force: [no_iommu]
    dest: /srv/tftp/rtc.dtb
  delegate_to: localhost
"""

RETURN = r"""
dest:
  description: The file that was written.
  returned: success
  type: str
  sample: /srv/tftp/net-dd.dtb
source:
  description: The partial device tree as source text.
  returned: success
  type: str
  sample: "/dts-v1/; ..."
passthrough_paths:
  description: Nodes of the host's device tree that must get the property C(xen,passthrough), so that dom0 does not have them.
  returned: success
  type: list
  elements: str
  sample: [/scb/ethernet@7d580000]
imagebuilder:
  description: Options of ImageBuilder for the guest, without their index.
  returned: success, of the flavour dom0less
  type: dict
  sample: {"DOMU_PASSTHROUGH_DTB": "net-dd.dtb", "DOMU_PASSTHROUGH_PATHS": "/scb/ethernet@7d580000", "DOMU_DIRECT_MAP": 1}
xl_config:
  description: Settings for an C(xl.cfg).
  returned: success, of the flavour xl
  type: dict
  sample: {"device_tree": "/etc/xen/net-dd.dtb", "dtdev": ["/soc/ethernet@10000"], "iomem": ["0x10,0x1"], "irqs": [112]}
missing:
  description: What the devices refer to and the guest cannot reach. It stays as the firmware or dom0 left it.
  returned: success
  type: list
  elements: dict
  contains:
    consumer:
      description: The node that refers to it.
      type: str
      returned: always
    kind:
      description: What it is.
      type: str
      returned: always
    property:
      description: Where it is referred to.
      type: str
      returned: always
    provider:
      description: The node that provides it.
      type: str
      returned: always
  sample:
    - consumer: /soc/serial@7e201000
      kind: pins
      property: pinctrl-0
      provider: /soc/gpio@7e200000/uart0-gpio14
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [write /srv/tftp/net-dd.dtb]
"""

import os
import re
import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis, Device
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import (
    DEVICE_TREE_OPTION,
    check_outputs,
    parse_dtb,
    read_device_tree,
    to_dtb,
    to_dts,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.guards import (
    DEVICE_TREE_GUARDS,
    all_that_goes,
    check_devices,
    refuse_sharing,
    refuse_what_the_host_needs,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.xen_partial import (
    DOM0LESS,
    XL,
    Partial,
    PassthroughRequest,
    build_partial,
    layout_conflicts,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._files import read_bytes, write_bytes
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner

FORCE = [*DEVICE_TREE_GUARDS, "no_iommu", "guest_layout"]
ARGUMENTS: dict[str, t.Any] = {
    "device_tree": DEVICE_TREE_OPTION,
    "devices": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "node": {"type": "str", "required": True},
            "clock_rates": {"type": "dict", "default": {}},
            "mac": {"type": "str", "default": ""},
            "leave_out": {"type": "list", "elements": "str", "default": []},
        },
    },
    "dest": {"type": "path", "required": True},
    "flavour": {"type": "str", "choices": [DOM0LESS, XL], "default": DOM0LESS},
    "direct_map": {"type": "bool", "default": False},
    "memory": {"type": "int", "default": 512},
    "force": {"type": "list", "elements": "str", "choices": FORCE, "default": []},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Work out the tree and compare it with the file."""
    board = Analysis(read_device_tree(parameters["device_tree"]))
    check_outputs([parameters["dest"]], parameters["device_tree"])
    requests = [_request(board, entry) for entry in parameters["devices"]]
    devices = [request.device for request in requests]
    check_devices(board, devices)
    plan = Plan()
    companions = refuse_sharing(plan, board, devices)
    refuse_what_the_host_needs(plan, parameters["device_tree"], all_that_goes(devices, companions), Runner(timeout=30))
    _guard(plan, devices, parameters)
    flavour = parameters["flavour"]
    partial = build_partial(board, requests, flavour)
    content, source = to_dtb(partial.root), to_dts(partial.root)
    plan.warnings = _warnings(partial)
    paths = list(dict.fromkeys([*(device.path for device in devices), *companions]))
    plan.results = {
        "dest": parameters["dest"],
        "source": source,
        "passthrough_paths": paths,
        "missing": [
            {
                "consumer": need.consumer.path,
                "kind": need.kind,
                "property": need.property,
                "provider": need.provider.path if need.provider else "",
            }
            for need in partial.missing
        ],
    }
    if flavour == DOM0LESS:
        plan.results["imagebuilder"] = {
            "DOMU_PASSTHROUGH_DTB": os.path.basename(parameters["dest"]),
            "DOMU_PASSTHROUGH_PATHS": " ".join(paths),
            **({"DOMU_DIRECT_MAP": 1} if parameters["direct_map"] else {}),
        }
    else:
        plan.results["xl_config"] = _xl_config(partial, parameters["dest"])
    current = read_bytes(parameters["dest"])
    if current != content:
        before = _source_of(current, parameters["dest"])
        plan.add(
            f"write {parameters['dest']}",
            lambda: write_bytes(parameters["dest"], content),
            subject=parameters["dest"],
            before=before,
            after=source if before != source else source + "// other bytes, the same meaning\n",
        )
    return plan


def _request(board: Analysis, entry: dict[str, t.Any]) -> PassthroughRequest:
    mac = entry["mac"].lower()
    parts = mac.split(":")
    if mac and not (len(parts) == 6 and all(len(part) == 2 and set(part) <= set("0123456789abcdef") for part in parts)):
        raise InvalidInput(f"{entry['mac']!r} is not a MAC address", rule="six hexadecimal bytes with colons between them")
    rates = {}
    for name, rate in entry["clock_rates"].items():
        if isinstance(rate, bool) or not re.fullmatch("[0-9]{1,10}", str(rate)) or not 0 < int(rate) < 1 << 32:
            raise InvalidInput(f"{rate!r} is not the rate of the clock {name!r}", rule="a whole number of Hz, below 4294967296")
        rates[str(name)] = int(rate)
    device = board.device(board.tree.find(entry["node"]))
    left_out = [board.tree.find(f"{device.path}/{name.strip('/')}") for name in entry["leave_out"]]
    return PassthroughRequest(device, rates, mac, left_out)


def _guard(plan: Plan, devices: list[Device], parameters: dict[str, t.Any]) -> None:
    """Add the refusals that only Xen has reason for."""
    for device in devices:
        if device.iommu is None:
            plan.refuse(
                "no_iommu",
                device.path,
                "has no IOMMU in front of it; if it does DMA, it can read and write all memory, and works only with direct_map",
            )
        if not parameters["direct_map"]:
            for conflict in layout_conflicts(device, parameters["memory"]):
                plan.refuse("guest_layout", device.path, conflict)


def _warnings(partial: Partial) -> list[str]:
    found = []
    consumers: dict[str, list[str]] = {}
    for need in partial.missing:
        provider = need.provider.path if need.provider else "a node that does not exist"
        consumers.setdefault(need.consumer.path, []).append(f"{need.kind} ({need.property}: {provider})")
    for consumer, needs in consumers.items():
        found.append(f"The guest cannot reach what {consumer} refers to, which stays as the firmware left it: {', '.join(needs)}")
    for node, line in partial.lost:
        reason = line.problem or "Xen hands on only shared peripheral interrupts that the host's tree lists as interrupts of the device"
        if line.through:
            reason = f"it goes through {line.through}, and Xen hands on only what goes to the GIC directly"
        found.append(f"The guest does not get an interrupt of {node.path}: {reason}")
    return found


def _xl_config(partial: Partial, dest: str) -> dict[str, t.Any]:
    config: dict[str, t.Any] = {"device_tree": dest}
    if partial.protected:
        config["dtdev"] = partial.protected
    config["iomem"] = [f"{span.start >> 12:#x},{span.size >> 12:#x}" for span in partial.mapped]
    config["irqs"] = partial.irqs
    return config


def _source_of(content: bytes | None, path: str) -> str:
    if content is None:
        return ""
    try:
        return to_dts(parse_dtb(content, path))
    except InvalidInput as exc:
        return f"// {exc.problem}\n"


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
