# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Plan the files of a driver VM on seL4/Microkit."""

from __future__ import annotations

import typing as t

from .._device_tree.analysis import Analysis, Device
from .._device_tree.dtb import check_outputs, read_device_tree
from .._device_tree.guards import all_that_goes, check_devices, left_behind, refuse_sharing, refuse_what_the_host_needs
from .._device_tree.interrupts import INTERRUPTS
from .._device_tree.needs import MISSING, reach
from .._device_tree.pci_bridge import bridge_notes, host_bridges, requested
from .._errors import InvalidInput
from .._plan import Plan
from .._runner import Runner
from .._spans import Span
from .parser import parse_number
from .schema import MAX_ID
from .system import DriverVm, SystemDescription, build_system, left_out, reached, unsafe_dma


def plan_system(parameters: t.Mapping[str, t.Any], runner: Runner) -> Plan:
    """Plan to write the system description and the interrupt table.

    :param parameters: those of the module microkit_system.
    :raises InvalidInput: a value, or the device tree, cannot be used.
    """
    source, dest, table = parameters["device_tree"], parameters["dest"], parameters["interrupt_table"]
    analysis = Analysis(read_device_tree(source))
    named = [(name, analysis.tree.find(name)) for name in parameters["devices"]]
    devices = requested(analysis, (node for _name, node in named))
    check_devices(analysis, devices)
    vm = read_driver_vm(parameters)
    check_outputs([path for path in (dest, table) if path], source)
    system = build_system(analysis, devices, vm)
    plan = Plan()
    companions = refuse_sharing(plan, analysis, devices)
    refuse_what_the_host_needs(plan, source, all_that_goes(devices, companions), runner)
    _allow_whole_ranges(plan, analysis, vm)
    bridges = host_bridges(named)
    plan.warnings = [*bridge_notes(analysis, bridges), *left_out(devices), *left_behind(devices), *unsafe_dma(devices, vm)]
    plan.results = {**_results(dest, system, devices, vm), "host_bridges": bridges}
    plan.write_file(dest, system.description)
    if table:
        plan.write_file(table, system.table)
    return plan


def _allow_whole_ranges(plan: Plan, analysis: Analysis, vm: DriverVm) -> None:
    """Drop the refusals for devices inside ranges that are passed through whole: the user passes them through with the range."""
    ranges = [span for _unused, span in vm.windows]
    inside = {node.path for node in analysis.register_map.nodes_in(ranges)} if ranges else set()
    plan.refusals = [refusal for refusal in plan.refusals if refusal.guard != "shared_page" or refusal.subject not in inside]


def read_driver_vm(parameters: t.Mapping[str, t.Any]) -> DriverVm:
    """Check the parameters that describe the driver VM.

    :raises InvalidInput: a value cannot be used.
    """
    wrong = [channel for channel in parameters["reserved_channels"] if not 0 <= channel <= MAX_ID]
    if wrong:
        raise InvalidInput(f"There is no channel {wrong[0]}", rule=f"channels are numbered from 0 to {MAX_ID}")
    none = [entry["number"] for entry in parameters["interrupts"] if not 0 <= entry["number"] < INTERRUPTS]
    if none:
        raise InvalidInput(f"There is no interrupt {none[0]}", rule=f"a GIC numbers them from 0 to {INTERRUPTS - 1}")
    for option in ("vmm_name", "vmm_image", "vm_name"):
        if not parameters[option].strip():
            raise InvalidInput(f"{option} is empty", rule="the system description names the VMM, its program and the virtual machine")
    return DriverVm(
        version=parameters["version"],
        vmm_name=parameters["vmm_name"],
        vmm_image=parameters["vmm_image"],
        vm_name=parameters["vm_name"],
        priority=parameters["priority"],
        vm_priority=parameters["vm_priority"],
        ram=Span.sized(_number(parameters["memory_address"], "memory_address"), _number(parameters["memory_size"], "memory_size")),
        one_to_one=parameters["one_to_one"],
        large_pages=parameters["large_pages"],
        windows=tuple(
            (entry["name"], Span.sized(_number(entry["address"], "address"), _number(entry["size"], "size")))
            for entry in parameters["regions"]
        ),
        extra_lines=tuple((entry["number"], entry["trigger"], entry["name"]) for entry in parameters["interrupts"]),
        reserved=tuple(parameters["reserved_channels"]),
    )


def _number(text: str, name: str) -> int:
    number = parse_number(text)
    if number is None:
        raise InvalidInput(
            f"{text!r} is not a number for {name}", rule="decimal digits, or hexadecimal digits after 0x; underscores are allowed"
        )
    return number


def _results(dest: str, system: SystemDescription, devices: t.Sequence[Device], vm: DriverVm) -> dict[str, t.Any]:
    nodes = [device.node for device in devices]
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
            if need.provider is not None and reach(need, nodes) == MISSING and not reached(need.provider, vm)
        ],
    }
