#!/usr/bin/python
# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: microkit_system
short_description: The system description of a Linux driver VM on seL4/Microkit
version_added: 0.1.0
description:
  - Writes a system description (C(.system)) in which one virtual machine owns devices of an Arm board, made from the board's device tree -
    memory regions for the devices' pages, mapped at the same address, the virtual interface of a GICv2, the guest's memory, and the
    interrupts with their triggers and channels. On request also the table of interrupts for the C source of the VMM.
  - What is written is checked against the rules of the schema version in O(version).
author:
  - The xen.driver_domains authors (@xen-driver-domains)
extends_documentation_fragment:
  - xen.driver_domains.attributes
  - xen.driver_domains.device_tree
  - xen.driver_domains.device_tree.guards
options:
  devices:
    description: The devices of the virtual machine, each by path, alias, label or compatible.
    type: list
    elements: str
    required: true
  dest:
    description: File for the system description.
    type: path
    required: true
  interrupt_table:
    description: File for the table of channels and interrupts, C source to include in the VMM.
    type: path
  version:
    description:
      - Version of Microkit whose schema is meant. For one in between, the next lower one.
    type: str
    choices: ["1.3.0", "1.4.1", "2.0.0", "2.1.0", "2.2.0", "2.3.0"]
    default: "2.0.0"
  vmm_name:
    description: Name of the protection domain that monitors the virtual machine.
    type: str
    default: VMM
  vmm_image:
    description: Its program.
    type: str
    default: vmm.elf
  vm_name:
    description: Name of the virtual machine.
    type: str
    default: linux
  priority:
    description: Priority of the VMM, from 0 to 254.
    type: int
    default: 100
  vm_priority:
    description: Priority of the virtual machine, from 0 to 254.
    type: int
    default: 1
  memory_address:
    description: Where the guest's memory begins (V(0x20000000)).
    type: str
    default: "0x20000000"
  memory_size:
    description: Bytes of memory for the guest (V(0x10000000)).
    type: str
    default: "0x10000000"
  one_to_one:
    description: Whether O(memory_address) is the machine's address, too. A device without IOMMU needs it for DMA.
    type: bool
    default: true
  large_pages:
    description: Pages of 2 MiB where a region has room for one.
    type: bool
    default: true
  regions:
    description:
      - Address ranges that go to the virtual machine as a whole, such as all of a bus. Devices in them get no region of their own.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the region.
        type: str
        required: true
      address:
        description: Where it begins.
        type: str
        required: true
      size:
        description: Bytes in it.
        type: str
        required: true
  interrupts:
    description: Interrupts that no device in the tree raises, such as those that Linux sends to itself.
    type: list
    elements: dict
    default: []
    suboptions:
      number:
        description: Number in the GIC.
        type: int
        required: true
      trigger:
        description: How it is raised.
        type: str
        choices: [level, edge]
        default: level
      name:
        description: For the comment.
        type: str
        default: ""
  reserved_channels:
    description: Channels of the VMM that are used for something else.
    type: list
    elements: int
    default: []
  force:
    choices: [shared_page, shared_interrupt, console, management_route, default_route, root_disk, mounted_disk]
seealso:
  - module: xen.driver_domains.device_tree_info
  - module: xen.driver_domains.device_tree_lint
"""

EXAMPLES = r"""
- name: A driver VM with the network card and the SD card of an Odroid C4
  xen.driver_domains.microkit_system:
    device_tree: /srv/boards/meson-sm1-odroid-c4.dtb
    devices: [ethernet0, mmc0]
    regions:
      - name: bus1
        address: "0xff600000"
        size: "0x200000"
    force: [shared_page]
    version: "2.1.0"
    dest: /srv/odroid/vmm.system
    interrupt_table: /srv/odroid/passthrough_irqs.h
  delegate_to: localhost
"""

RETURN = r"""
dest:
  description: The file that was written.
  returned: success
  type: str
  sample: /srv/odroid/vmm.system
description:
  description: The system description.
  returned: success
  type: str
  sample: "<system> ... </system>"
interrupt_table:
  description: The table of interrupts as C source.
  returned: success
  type: str
  sample: "static const struct { ... } passthrough_irqs[] = { ... };"
regions:
  description: The memory regions, with name, physical address, size, size of pages and address in the virtual machine.
  returned: success
  type: list
  elements: dict
  sample:
    - name: ethernet_ff3f0000
      phys_addr: 4282318848
      size: 65536
      page_size: 4096
      address: 4282318848
interrupts:
  description: The interrupts, with number in the GIC, trigger and channel.
  returned: success
  type: list
  elements: dict
  sample:
    - number: 40
      trigger: level
      channel: 0
missing:
  description:
    - What the devices refer to in nodes that the virtual machine does not have, neither as devices nor within O(regions), as consumer,
      kind, property and provider.
  returned: success
  type: list
  elements: dict
  sample:
    - consumer: /soc/ethernet@ff3f0000
      kind: power domain
      property: power-domains
      provider: /soc/bus@ff600000/power-controller
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [write /srv/odroid/vmm.system]
"""

import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.analysis import Analysis, Device
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import (
    DEVICE_TREE_OPTION,
    check_outputs,
    read_device_tree,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.guards import (
    DEVICE_TREE_GUARDS,
    all_that_goes,
    check_devices,
    refuse_sharing,
    refuse_what_the_host_needs,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.interrupts import INTERRUPTS
from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.needs import MISSING, reach
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._files import read_text, write_text
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.schema import MAX_ID, VERSIONS, parse_number
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.system import Choices, System, build_system, reached
from ansible_collections.xen.driver_domains.plugins.module_utils._module import run_module
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.plugins.module_utils._spans import Span

ARGUMENTS: dict[str, t.Any] = {
    "device_tree": DEVICE_TREE_OPTION,
    "devices": {"type": "list", "elements": "str", "required": True},
    "dest": {"type": "path", "required": True},
    "interrupt_table": {"type": "path"},
    "version": {"type": "str", "choices": VERSIONS, "default": "2.0.0"},
    "vmm_name": {"type": "str", "default": "VMM"},
    "vmm_image": {"type": "str", "default": "vmm.elf"},
    "vm_name": {"type": "str", "default": "linux"},
    "priority": {"type": "int", "default": 100},
    "vm_priority": {"type": "int", "default": 1},
    "memory_address": {"type": "str", "default": "0x20000000"},
    "memory_size": {"type": "str", "default": "0x10000000"},
    "one_to_one": {"type": "bool", "default": True},
    "large_pages": {"type": "bool", "default": True},
    "regions": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "size": {"type": "str", "required": True},
        },
    },
    "interrupts": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "number": {"type": "int", "required": True},
            "trigger": {"type": "str", "choices": ["level", "edge"], "default": "level"},
            "name": {"type": "str", "default": ""},
        },
    },
    "reserved_channels": {"type": "list", "elements": "int", "default": []},
    "force": {"type": "list", "elements": "str", "choices": list(DEVICE_TREE_GUARDS), "default": []},
}


def prepare(parameters: dict[str, t.Any]) -> Plan:
    """Work out the description and compare it with the file."""
    board = Analysis(read_device_tree(parameters["device_tree"]))
    devices = [board.device(board.tree.find(name)) for name in parameters["devices"]]
    check_devices(board, devices)
    choices = _choices(parameters)
    outputs = [path for path in (parameters["dest"], parameters["interrupt_table"]) if path]
    check_outputs(outputs, parameters["device_tree"])
    system = build_system(board, devices, choices)
    plan = Plan()
    # Who is in a region that goes over as a whole is meant to go along.
    windows = [span for _unused, span in choices.windows]
    inside = {node.path for node in board.register_map.nodes_in(windows)} if windows else set()
    companions = refuse_sharing(plan, board, devices)
    refuse_what_the_host_needs(plan, parameters["device_tree"], all_that_goes(devices, companions), Runner(timeout=30))
    plan.refusals = [refusal for refusal in plan.refusals if refusal.guard != "shared_page" or refusal.subject not in inside]
    plan.results = _results(parameters["dest"], system, devices, choices)
    for path, text in ((parameters["dest"], system.description), (parameters["interrupt_table"], system.table)):
        if path:
            _add_write(plan, path, text)
    return plan


def _add_write(plan: Plan, path: str, text: str) -> None:
    current = read_text(path)
    if current != text:
        plan.add(f"write {path}", lambda: write_text(path, text), subject=path, before=current or "", after=text)


def _choices(parameters: dict[str, t.Any]) -> Choices:
    start, size = _number(parameters["memory_address"], "memory_address"), _number(parameters["memory_size"], "memory_size")
    wrong = [channel for channel in parameters["reserved_channels"] if not 0 <= channel <= MAX_ID]
    if wrong:
        raise InvalidInput(f"There is no channel {wrong[0]}", rule=f"channels are numbered from 0 to {MAX_ID}")
    none = [entry["number"] for entry in parameters["interrupts"] if not 0 <= entry["number"] < INTERRUPTS]
    if none:
        raise InvalidInput(f"There is no interrupt {none[0]}", rule=f"a GIC numbers them from 0 to {INTERRUPTS - 1}")
    windows = [
        (entry["name"], Span(_number(entry["address"], "address"), _number(entry["address"], "address") + _number(entry["size"], "size")))
        for entry in parameters["regions"]
    ]
    return Choices(
        version=parameters["version"],
        vmm_name=parameters["vmm_name"],
        vmm_image=parameters["vmm_image"],
        vm_name=parameters["vm_name"],
        priority=parameters["priority"],
        vm_priority=parameters["vm_priority"],
        ram=Span(start, start + size),
        one_to_one=parameters["one_to_one"],
        large_pages=parameters["large_pages"],
        windows=tuple(windows),
        extra_lines=tuple((entry["number"], entry["trigger"], entry["name"]) for entry in parameters["interrupts"]),
        reserved=tuple(parameters["reserved_channels"]),
    )


def _number(text: str, name: str) -> int:
    number = parse_number(text)
    if number is None:
        raise InvalidInput(
            f"{text!r} is not a number for {name}", rule="decimal digits, or hexadecimal ones after 0x; underscores are allowed"
        )
    return number


def _results(dest: str, system: System, devices: list[Device], choices: Choices) -> dict[str, t.Any]:
    given = [device.node for device in devices]
    return {
        "dest": dest,
        "description": system.description,
        "interrupt_table": system.table,
        "regions": [
            {
                "name": region.name,
                "phys_addr": region.span.start,
                "size": region.span.size,
                "page_size": region.page,
                "address": region.address,
            }
            for region in system.regions
        ],
        "interrupts": [{"number": line.number, "trigger": line.trigger, "channel": line.channel} for line in system.lines],
        "missing": [
            {"consumer": need.consumer.path, "kind": need.kind, "property": need.property, "provider": need.provider.path}
            for device in devices
            for need in device.needs
            if need.provider is not None and reach(need, given) == MISSING and not reached(need.provider, choices)
        ],
    }


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, prepare)


if __name__ == "__main__":
    main()
