# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Reasons not to pass a device through, or not alone; the same for every hypervisor."""

from __future__ import annotations

import os
import typing as t

from .._errors import InvalidInput
from .._files import resolve
from .._host_uses import HOST_GUARDS, HostUses
from .._plan import Plan
from .._runner import Runner
from .._spans import pages
from .analysis import Analysis, Device
from .interrupts import Interrupt, is_gic
from .pci_bridge import check_bridge, lost_windows
from .registers import host_bridge, is_pci, registers
from .tree import Node

#: What `force` can name. Those of the host apply only if the tree is that of the machine itself.
DEVICE_TREE_GUARDS = ("shared_page", "shared_interrupt", *HOST_GUARDS)


def _any_shared(_node: Node, line: Interrupt) -> bool:
    return line.number is not None and line.kind == "spi"


def check_devices(analysis: Analysis, devices: t.Sequence[Device], usable: t.Callable[[Node, Interrupt], bool] = _any_shared) -> None:
    """Check that a guest can have these devices.

    :param usable: whether the hypervisor passes an interrupt of a node on; by default each shared interrupt of the GIC.
    :raises InvalidInput: the list is empty or has a node twice, or an entry is an interrupt controller, memory or the firmware's, contains
        a PCI host bridge or is behind one, or is a node of which nothing can be passed through, neither registers nor interrupts.
    """
    if not devices:
        raise InvalidInput("devices is empty", rule="at least one device is passed through")
    if analysis.gic is None:
        raise InvalidInput(
            f"The board of {analysis.tree.source} has no GIC", rule="Xen and Microkit pass on interrupts of a GICv2 or GICv3"
        )
    for index, device in enumerate(devices):
        node = device.node
        if any(is_gic(part) for part in (*node.subtree(), *node.ancestors())):
            problem = f"{device.path} is, contains or is part of the interrupt controller of the board"
            raise InvalidInput(problem, rule="the hypervisor drives the GIC")
        controller = pages(analysis.gic_spans)
        if any(span.overlaps(taken) for span in device.pages for taken in controller):
            problem = f"{device.path} has registers in the pages of the interrupt controller ({', '.join(map(str, controller))})"
            raise InvalidInput(problem, rule="the hypervisor drives the GIC")
        _check_memory(analysis, device)
        reserved = next((part for part in (node, *node.ancestors()) if part.text("status") == "reserved"), None)
        if reserved is not None:
            raise InvalidInput(
                f'{device.path} belongs to the firmware: status = "reserved" in {reserved.path}',
                rule="what the firmware uses itself is not passed through (Devicetree Specification, status)",
                remedy="If the firmware of this board leaves it alone, change its status by an overlay, and use that tree",
            )
        check_bridge(analysis, node)
        if not device.pages and not any(usable(part, line) for part, line in device.lines):
            reason = "; ".join(device.problems) or "it is on another kind of bus: pass the controller of that bus through"
            raise InvalidInput(f"{device.path} has no registers or interrupts that can be passed through: {reason}")
        for other in (earlier.node for earlier in devices[:index]):
            if other is node or other in node.ancestors() or node in other.ancestors():
                raise InvalidInput(
                    f"{device.path} is passed through twice: {other.path} is in the list as well",
                    rule="a node is passed through with all nodes below it",
                )


def _check_memory(analysis: Analysis, device: Device) -> None:
    for node in device.node.subtree():
        if node.text("device_type") == "memory" or any(part.path == "/reserved-memory" for part in (node, *node.ancestors())):
            raise InvalidInput(
                f"{node.path} is memory of the machine, not a device",
                rule="memory belongs to the hypervisor, the firmware and the domains that have it",
                remedy="Leave it out; memory that a driver needs goes to the guest in another way",
            )
        for span in pages(analysis.spans(node)):
            bank = next((bank for bank in analysis.memory if bank.overlaps(span)), None)
            # What is said of the windows of PCI bridges says more.
            if bank is not None and not is_pci(node):
                raise InvalidInput(
                    f"{node.path} has registers at {span}, which is memory of the machine ({bank})",
                    rule="a guest must not get the memory of others",
                    remedy="Leave it out, or set that memory aside in /reserved-memory of the board's tree",
                )


def refuse_sharing(plan: Plan, analysis: Analysis, devices: t.Sequence[Device]) -> list[str]:
    """Refuse what affects other devices or the console; return the paths of the devices that go with the requested ones if forced."""
    companions: list[str] = []
    for node in analysis.page_sharers(devices):
        companions.append(node.path)
        where = [str(span) for device in devices if node in analysis.page_sharers([device]) for span in device.pages]
        plan.refuse("shared_page", node.path, f"has registers in the pages that would be passed through ({', '.join(where)})")
    for number, nodes in analysis.line_sharers(devices).items():
        for node in nodes:
            companions.append(node.path)
            plan.refuse("shared_interrupt", node.path, f"raises interrupt {number}, which would be passed through")
    console = analysis.tree.console
    if console is not None and console.path in all_that_goes(devices, companions):
        plan.refuse("console", console.path, "is the console of the firmware and, unless configured otherwise, of the hypervisor")
    return list(dict.fromkeys(companions))


def left_behind(devices: t.Sequence[Device]) -> list[str]:
    """Return what a guest cannot have of these devices, as warnings."""
    found = []
    for device in devices:
        off = next((part for part in (device.node, *device.node.ancestors()) if not part.available), None)
        if off is not None:
            why = f'status = "{off.text("status")}" in {off.path}'
            found.append(f"{device.path} is not in use in the board's tree ({why}): see to it that its pins, clocks and power are set up")
        for node in device.node.subtree():
            # What is behind a bridge keeps its addresses on the bus, which the guest translates itself.
            if host_bridge(node) in (None, node):
                for entry in registers(node):
                    if entry.problem:
                        found.append(f"The guest does not get register {entry.index} of {node.path}: {entry.problem}")
        if is_pci(device.node):
            found += lost_windows(device.node)
    return found


def all_that_goes(devices: t.Sequence[Device], companions: t.Sequence[str]) -> set[str]:
    """Return the paths of the devices, of all nodes below them, and of those that go with them."""
    return {part.path for device in devices for part in device.node.subtree()} | set(companions)


def refuse_what_the_host_needs(
    plan: Plan, source: str, paths: t.Collection[str], runner: Runner, sysfs: str = "/sys", procfs: str = "/proc"
) -> None:
    """Refuse devices that carry the disks or the network of this host, if the tree in `source` is its own.

    :param paths: those of the nodes that would be passed through, with all below them.
    """
    base = resolve(f"{sysfs}/firmware/devicetree/base")
    if resolve(source) != base:
        return

    def nodes_in_path(path: str) -> list[str]:
        """Return the paths of the nodes of the devices in a path of sysfs, from the top down."""
        parts = path.split("/")
        links = [os.path.join("/".join(parts[:end]), "of_node") for end in range(2, len(parts) + 1)]
        return ["/" + os.path.relpath(resolve(link), base) for link in links if os.path.islink(link)]

    refused = set()
    for use in HostUses(runner, nodes_in_path, sysfs, procfs).uses:
        for path in use.devices:
            if path in paths and (use.guard, path) not in refused:
                refused.add((use.guard, path))
                plan.refuse(use.guard, path, use.reason)
