# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What keeps a device from being given away alone; the same for every hypervisor."""

from __future__ import annotations

import os
import typing as t

from .._errors import InvalidInput
from .._host_uses import HOST_GUARDS, HostUses
from .._plan import Plan
from .._runner import Runner
from .analysis import Board, Device
from .interrupts import is_gic
from .registers import windows

#: What `force` can name; those of the host only where the tree is that of the machine itself.
GUARDS = ("shared_page", "shared_interrupt", "console", *HOST_GUARDS)


def check_devices(board: Board, devices: t.Sequence[Device]) -> None:
    """Refuse what cannot be a device for a guest.

    :raises InvalidInput: none, an interrupt controller, a PCI bridge, a node without anything to give, one twice.
    """
    if not devices:
        raise InvalidInput("devices is empty", rule="at least one device is given away")
    if board.gic is None:
        raise InvalidInput(f"The board of {board.tree.source} has no GIC", rule="Xen and Microkit hand on interrupts of a GICv2 or GICv3")
    for index, device in enumerate(devices):
        node = device.node
        if any(is_gic(part) for part in (*node.subtree(), *node.ancestors())):
            problem = f"{device.path} is, holds or is a part of the interrupt controller of the board"
            raise InvalidInput(problem, rule="the hypervisor drives the GIC")
        if any(windows(part) for part in node.subtree()):
            raise InvalidInput(
                f"{device.path} is or holds a PCI host bridge",
                rule="a device tree gives away platform devices; what is on PCI is given away by its PCI address",
            )
        if not device.pages and not device.interrupts:
            reason = "; ".join(device.problems) or "it is on a bus of its own kind: give away the controller of that bus"
            raise InvalidInput(f"{device.path} has no registers and no interrupts that could be given away: {reason}")
        for other in (earlier.node for earlier in devices[:index]):
            if other is node or other in node.ancestors() or node in other.ancestors():
                raise InvalidInput(
                    f"{device.path} is given away twice: {other.path} is in the list, too", rule="a node goes with all below it"
                )


def refuse_sharing(plan: Plan, board: Board, devices: t.Sequence[Device]) -> list[str]:
    """Add the refusals to the plan; return the paths of the devices that go along when they are forced."""
    companions: list[str] = []
    for node in board.page_sharers(devices):
        companions.append(node.path)
        pages = [str(span) for device in devices if node in board.page_sharers([device]) for span in device.pages]
        plan.refuse("shared_page", node.path, f"is in the pages that would be given away ({', '.join(pages)})")
    for number, nodes in board.line_sharers(devices).items():
        for node in nodes:
            companions.append(node.path)
            plan.refuse("shared_interrupt", node.path, f"raises interrupt {number}, which would be given away")
    console = board.tree.console
    if console is not None and console.path in all_that_goes(devices, companions):
        plan.refuse("console", console.path, "is the console of the firmware and, unless it is told another one, of the hypervisor")
    return list(dict.fromkeys(companions))


def all_that_goes(devices: t.Sequence[Device], companions: t.Sequence[str]) -> set[str]:
    """Return the paths of the devices with all below them, and of those that go along."""
    return {part.path for device in devices for part in device.node.subtree()} | set(companions)


def refuse_what_the_host_needs(
    plan: Plan, source: str, paths: t.Collection[str], runner: Runner, sysfs: str = "/sys", procfs: str = "/proc"
) -> None:
    """Add refusals for the disks and the network of this host, if the tree in `source` is its own.

    :param paths: of the nodes that would go, with all that is below them.
    """
    base = os.path.realpath(f"{sysfs}/firmware/devicetree/base")
    if os.path.realpath(source) != base:
        return

    def nodes_in_path(path: str) -> list[str]:
        """Return the paths of the nodes that the devices in a path of sysfs were made from, from the top down."""
        parts = path.split("/")
        links = [os.path.join("/".join(parts[:end]), "of_node") for end in range(2, len(parts) + 1)]
        return ["/" + os.path.relpath(os.path.realpath(link), base) for link in links if os.path.islink(link)]

    told = set()
    for use in HostUses(runner, nodes_in_path, sysfs, procfs).uses:
        for path in use.devices:
            if path in paths and (use.guard, path) not in told:
                told.add((use.guard, path))
                plan.refuse(use.guard, path, use.reason)
