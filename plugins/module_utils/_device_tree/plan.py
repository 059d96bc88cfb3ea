# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Plans the partial device tree that passes devices of an Arm board through to a Xen guest."""

from __future__ import annotations

import os
import re
import typing as t

from .._errors import InvalidInput
from .._files import read_bytes
from .._plan import Plan
from .._runner import Runner
from .analysis import Analysis, Device
from .dma import is_xen_iommu, unprotected
from .dtb import check_outputs, parse_dtb, to_dtb
from .guards import DEVICE_TREE_GUARDS, all_that_goes, check_devices, left_behind, refuse_sharing, refuse_what_the_host_needs
from .interrupts import Interrupt
from .needs import Need
from .pci_bridge import blocked_by, bridge_notes, device_or_bridge, host_bridges, host_interrupts
from .registers import is_pci
from .source import to_dts
from .tree import DeviceTree, Node
from .xen_partial import Partial, PassthroughRequest, build_partial, visible
from .xen_rules import DOM0LESS, XL, grant_table_conflicts, handed_on, layout_conflicts, possible_conflicts

#: What `force` can name: the guards of every hypervisor, and those that only Xen needs.
XEN_GUARDS = (*DEVICE_TREE_GUARDS, "shared_provider", "no_iommu", "guest_layout", "no_interrupts")
_MAC = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_RATE = re.compile("[0-9]{1,10}")
#: How many of those that need a device a refusal names.
_NAMED = 5


class Guest(t.NamedTuple):
    """The guest that gets the devices."""

    #: `DOM0LESS` or `XL`.
    flavour: str = DOM0LESS
    #: Whether its memory has the same addresses for the guest and the machine.
    direct_map: bool = False
    #: In MiB; does not matter with `direct_map`.
    memory: int = 512


def plan_partial(tree: DeviceTree, devices: t.Iterable[t.Mapping[str, t.Any]], guest: Guest, dest: str, runner: Runner) -> Plan:
    """Return the plan that writes the partial tree to `dest`.

    :param tree: the board's; `tree.source` is the path it was read from.
    :param devices: as in the option `devices` of passthrough_device_tree.
    :raises InvalidInput: a device is unknown or cannot be passed through, or the rate of a clock is not known or given for
        one that it has not.
    """
    check_outputs([dest], tree.source)
    analysis = Analysis(tree)
    entries = [(entry, tree.find(entry["node"])) for entry in devices]
    bridges = host_bridges((entry["node"], node) for entry, node in entries)
    requests = _joined([_request(analysis, entry, node) for entry, node in entries])
    chosen = [request.device for request in requests]
    _check_guest(guest)
    check_devices(analysis, chosen, lambda node, line: handed_on(node, line, guest.flavour))
    _check_iommus(chosen)
    plan = Plan()
    companions = refuse_sharing(plan, analysis, chosen)
    _refuse_needed(plan, analysis, chosen, companions)
    refuse_what_the_host_needs(plan, tree.source, all_that_goes(chosen, companions), runner)
    _refuse_for_xen(plan, tree, requests, guest)
    partial = build_partial(tree, requests, guest.flavour)
    _check_rates(requests, partial)
    if not partial.mapped and not partial.irqs:
        names = ", ".join(device.path for device in chosen)
        raise InvalidInput(
            f"Nothing of {names} can be passed through: what has registers or interrupts is disabled or left out",
            remedy="Name the nodes that are meant",
        )
    _refuse_without_interrupts(plan, analysis, chosen, partial, guest)
    plan.warnings = [*bridge_notes(analysis, bridges), *_blocked(analysis, chosen), *_warnings(partial), *left_behind(chosen)]
    source = to_dts(partial.root)
    paths = list(dict.fromkeys([*(device.path for device in chosen), *_also_marked(analysis, chosen, partial), *companions]))
    plan.results = {"dest": dest, "source": source, "passthrough_paths": paths, "missing": [_missing(need) for need in partial.missing]}
    plan.results["host_bridges"] = bridges
    if guest.flavour == DOM0LESS:
        plan.results["imagebuilder"] = {
            "DOMU_PASSTHROUGH_DTB": os.path.basename(dest),
            "DOMU_PASSTHROUGH_PATHS": " ".join(paths),
            **({"DOMU_DIRECT_MAP": 1} if guest.direct_map else {}),
        }
    else:
        plan.results["xl_config"] = _xl_config(partial, dest)
    before = _source_of(read_bytes(dest), dest)
    after = source if before != source else source + "// other bytes, the same meaning\n"
    plan.write_file(dest, to_dtb(partial.root), before=before, after=after)
    return plan


def _request(analysis: Analysis, entry: t.Mapping[str, t.Any], node: Node) -> PassthroughRequest:
    mac = entry["mac"].lower()
    if mac and not _MAC.fullmatch(mac):
        raise InvalidInput(f"{entry['mac']!r} is not a MAC address", rule="six hexadecimal bytes with colons between them")
    if mac and (int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00"):
        raise InvalidInput(
            f"{mac} is not the MAC address of one card", rule="its first byte is even, and it is not zero: Linux uses a random one instead"
        )
    rates = {}
    for name, rate in entry["clock_rates"].items():
        if isinstance(rate, bool) or not _RATE.fullmatch(str(rate)) or not 0 < int(rate) < 1 << 32:
            raise InvalidInput(f"{rate!r} is not the rate of the clock {name!r}", rule="a whole number of Hz, below 4294967296")
        rates[str(name)] = int(rate)
    left_out = [analysis.tree.find(f"{node.path}/{name.strip('/')}") for name in entry["leave_out"]]
    return PassthroughRequest(device_or_bridge(analysis, node), rates, {node.path: mac} if mac else {}, left_out)


def _joined(requests: t.Iterable[PassthroughRequest]) -> list[PassthroughRequest]:
    """Make one request of those for several devices behind the same PCI host bridge."""
    found: list[PassthroughRequest] = []
    for request in requests:
        same = next((at for at, other in enumerate(found) if other.device is request.device and is_pci(request.device.node)), None)
        if same is None:
            found.append(request)
            continue
        other = found[same]
        rates = {**other.clock_rates, **request.clock_rates}
        found[same] = PassthroughRequest(other.device, rates, {**other.macs, **request.macs}, [*other.leave_out, *request.leave_out])
    return found


def _check_guest(guest: Guest) -> None:
    if guest.direct_map and guest.flavour == XL:
        raise InvalidInput(
            "direct_map is set for a guest that xl starts",
            rule="only Xen itself maps memory 1:1, for guests that it starts at boot",
            remedy="Leave out direct_map, or use the flavour dom0less",
        )
    if guest.memory < 1:
        raise InvalidInput(f"memory is {guest.memory} MiB", rule="a guest has at least 1")


def _check_rates(requests: t.Iterable[PassthroughRequest], partial: Partial) -> None:
    for request in requests:
        for name in sorted(request.clock_rates.keys() - partial.clocks):
            raise InvalidInput(
                f"{request.device.path} has no clock {name!r}",
                rule="clock_rates has the names in clock-names of the device or a node below it, or positions, of which 0 is the first",
                remedy=f"The clocks are {', '.join(sorted(partial.clocks))}" if partial.clocks else "Leave out clock_rates",
            )


def _check_iommus(devices: t.Iterable[Device]) -> None:
    found = next((node for device in devices for node in device.node.subtree() if is_xen_iommu(node)), None)
    if found is not None:
        raise InvalidInput(
            f"{found.path} is an IOMMU ({found.compatible[0]})",
            rule="Xen drives it, to keep the DMA of devices within the memory of their domains",
            remedy="Leave it out; the devices behind it can be passed through without it",
        )


def _refuse_needed(plan: Plan, analysis: Analysis, devices: t.Sequence[Device], companions: t.Sequence[str]) -> None:
    """Refuse devices without which others do not work: whoever has those can no longer switch their clock, read their GPIO and so on."""
    gone = all_that_goes(devices, companions)
    going = {device.path: list(device.node.subtree()) for device in devices}
    going.update((path, [analysis.tree.by_path[path]]) for path in companions)
    for path, parts in going.items():
        users = dict.fromkeys((user.path, name) for part in parts for user, name in analysis.users(part) if user.path not in gone)
        if users:
            named = ", ".join(f"{user} ({name})" for user, name in list(users)[:_NAMED])
            more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
            plan.refuse("shared_provider", path, f"others that are not passed through need it or a node below it: {named}{more}")


def _refuse_for_xen(plan: Plan, tree: DeviceTree, requests: t.Iterable[PassthroughRequest], guest: Guest) -> None:
    for request in requests:
        device = request.device
        open_nodes = unprotected(tree, visible(device.node, request.leave_out))
        if open_nodes:
            # The bridge does the DMA of all that is behind it.
            below = [node.path for node in open_nodes if node is not device.node and not is_pci(device.node)]
            where = f" ({', '.join(below)})" if below else ""
            plan.refuse(
                "no_iommu",
                device.path,
                f"has no IOMMU in front of it{where}; if it does DMA, it can read and write all memory, and works only with direct_map",
            )
        if guest.direct_map:
            for conflict in grant_table_conflicts(device.pages):
                plan.refuse("guest_layout", device.path, conflict)
        else:
            for conflict in [*layout_conflicts(device.pages, guest.memory), *possible_conflicts(device.pages)]:
                plan.refuse("guest_layout", device.path, conflict)


def _refuse_without_interrupts(plan: Plan, analysis: Analysis, devices: t.Iterable[Device], partial: Partial, guest: Guest) -> None:
    """Refuse a PCI host bridge behind which no device can raise an interrupt in the guest."""
    for device in devices:
        lines = [line for node, line in partial.lost if node is device.node and line.through == node.path]
        given = [line for _node, line in device.lines if line.number in partial.irqs]
        if is_pci(device.node) and not given:
            why = "the tree has none that leads to the GIC"
            if guest.flavour == DOM0LESS and any(line.number is not None for line in lines):
                why = _unrouted(lines)
            plan.refuse("no_interrupts", device.path, f"no device behind this PCI host bridge can raise an interrupt in the guest: {why}")


def _unrouted(lines: t.Sequence[Interrupt]) -> str:
    numbers = ", ".join(str(line.number) for line in lines if line.number is not None)
    return (
        f"interrupts {numbers} are only in its interrupt-map, and Xen passes on to a domain that it starts only what a node lists as "
        f"its own interrupts. Add {host_interrupts(lines)} to the node in the board's device tree, for example by an overlay, and use "
        "that tree"
    )


def _blocked(analysis: Analysis, devices: t.Iterable[Device]) -> list[str]:
    """Return the PCI host bridges whose DMA an IOMMU may block, as warnings."""
    found = []
    for device in devices:
        iommu = blocked_by(analysis, device.node) if is_pci(device.node) else None
        if iommu is not None:
            found.append(
                f"The iommu-map of {device.path} leads to {iommu.path}, which Xen does not set up for a bridge in a device tree: if Xen "
                "drives this IOMMU, it blocks all DMA from behind the bridge (iommu=no on Xen's command line leaves it off)"
            )
    return found


def _also_marked(analysis: Analysis, devices: t.Iterable[Device], partial: Partial) -> list[str]:
    """Return the nodes below the devices that need the mark of their own.

    Xen looks for `xen,passthrough` node by node (dt_device_for_passthrough), and routes the interrupts of any other to dom0 first, enabled
    or not; then no other domain can have them.
    """
    below = [node for device in devices for node in device.node.subtree() if node is not device.node]
    return [node.path for node in below if node.path in partial.assigned or any(line.number for line in analysis.interrupts(node))]


def _missing(need: Need) -> dict[str, str]:
    provider = need.provider.path if need.provider else ""
    return {"consumer": need.consumer.path, "kind": need.kind, "property": need.property, "provider": provider}


def _warnings(partial: Partial) -> list[str]:
    found = []
    consumers: dict[str, list[str]] = {}
    for need in partial.missing:
        # What is said of PCI host bridges says more.
        if need.kind == "msi" and is_pci(need.consumer):
            continue
        provider = need.provider.path if need.provider else "a node that does not exist"
        consumers.setdefault(need.consumer.path, []).append(f"{need.kind} ({need.property}: {provider})")
    for consumer, needs in consumers.items():
        found.append(f"The guest cannot reach what {consumer} refers to, which stays as the firmware left it: {', '.join(needs)}")
    for node in {id(node): node for node, line in partial.lost if line.through == node.path and line.number is not None}.values():
        lines = [line for other, line in partial.lost if other is node and line.number is not None and line.through == node.path]
        found.append(f"Devices behind {node.path} cannot raise all of their interrupts INTA to INTD in the guest: {_unrouted(lines)}")
    for node, line in partial.lost:
        if line.through == node.path and line.number is not None:
            continue
        reason = line.problem or "Xen passes on only shared peripheral interrupts that the host's tree lists as interrupts of the device"
        if line.through and not line.problem:
            reason = f"it goes through {line.through}, and Xen passes on only what goes to the GIC directly"
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
