# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What a device needs from others: clocks, resets, power domains, PHYs, pins and so on, and whether a guest can reach them."""

from __future__ import annotations

import functools
import re
import typing as t
from dataclasses import dataclass

from .tree import DeviceTree, Node, once_per_node


@dataclass(frozen=True)
class _Rule:
    """How to read the properties whose whole name `pattern` matches."""

    pattern: str
    kind: str
    #: The provider's property with the number of cells that follow a phandle; empty if none do.
    cells: str = ""
    #: The consumer's property that names each entry.
    names: str = ""
    #: Only the first cell is a phandle; only the driver knows what follows.
    first: bool = False
    #: Entries of four cells (identifier on the bus, phandle, identifier at the provider, length), for devices on the bus.
    mapping: bool = False


_RULES = (
    _Rule(r"clocks", "clock", "#clock-cells", "clock-names"),
    _Rule(r"assigned-clocks|assigned-clock-parents", "clock setting", "#clock-cells"),
    _Rule(r"resets", "reset", "#reset-cells", "reset-names"),
    _Rule(r"power-domains", "power domain", "#power-domain-cells", "power-domain-names"),
    _Rule(r"phys", "phy", "#phy-cells", "phy-names"),
    _Rule(r"dmas", "dma", "#dma-cells", "dma-names"),
    _Rule(r"mboxes", "mailbox", "#mbox-cells", "mbox-names"),
    _Rule(r"pwms", "pwm", "#pwm-cells", "pwm-names"),
    _Rule(r"io-channels", "adc", "#io-channel-cells", "io-channel-names"),
    _Rule(r"interconnects", "interconnect", "#interconnect-cells", "interconnect-names"),
    _Rule(r"hwlocks", "hwlock", "#hwlock-cells"),
    _Rule(r"iommus", "iommu", "#iommu-cells"),
    _Rule(r"iommu-map", "iommu", mapping=True),
    _Rule(r"sound-dai", "sound", "#sound-dai-cells"),
    _Rule(r"thermal-sensors", "thermal sensor", "#thermal-sensor-cells"),
    _Rule(r"msi-map", "msi", mapping=True),
    _Rule(r"msi-parent", "msi", "#msi-cells"),
    _Rule(r"nvmem-cells", "nvmem", "#nvmem-cell-cells", "nvmem-cell-names"),
    _Rule(r"(?!.*\bnr-gpios|.*\bngpios)(?:.*-)?gpios?", "gpio", "#gpio-cells"),
    _Rule(r"mux-controls", "multiplexer", "#mux-control-cells", "mux-control-names"),
    _Rule(r"cooling-device", "cooling", "#cooling-cells"),
    _Rule(r"fsl,usbmisc", "other device", "#index-cells"),
    _Rule(r".+-supply", "regulator"),
    _Rule(r"pinctrl-\d+", "pins"),
    _Rule(r"phy-handle|phy-device|phy|usb-phy|fsl,usbphy", "phy"),
    _Rule(r"pcs-handle|pcsphy-handle|sfp|mdio-parent-bus", "mdio"),
    _Rule(r"memory-region", "memory region"),
    _Rule(r"mmc-pwrseq", "power sequence"),
    _Rule(r"operating-points-v2", "operating points"),
    _Rule(r"extcon|ddc-i2c-bus|backlight|i2c-parent", "other device"),
    _Rule(r"(?:.*[,-])?syscon(?:-.*)?|amlogic,.*sysctrl|amlogic,canvas|rockchip,.*grf", "system controller", first=True),
    _Rule(
        r"fsl,(?:stop-mode|mipi-phy-gpr|blk-ctrl)|intf_mode|qcom,(?:halt-regs|spare-regs|tcsr-reg|dload-mode)|rockchip,pmu|regmap"
        r"|mediatek,(?:infracfg|topckgen|vdecsys)|marvell,(?:system-controller|usb-misc-reg)|amlogic,ao-secure|ti,mii-(?:g-)?rt|ti,iep",
        "system controller",
        first=True,
    ),
    _Rule(r"gpio-ranges", "pins", first=True),
    _Rule(
        r"mediatek,(?:gce-client-reg|smi|scp|cci|auxadc)|qcom,(?:qmp|gmu|ice|saw|acc)|renesas,fcp|hdmi-phandle|ptp-timer|allwinner,sram|sram"
        r"|shmem|i2c-bus|monitored-battery|wakeup-parent|audio-c(?:odec|pu)|snps,(?:axi|mtl-rx|mtl-tx)-config",
        "other device",
        first=True,
    ),
)
#: All patterns in one, since it is asked about every property of a tree.
_ANY_RULE = re.compile("|".join(f"(?P<r{index}>{rule.pattern})" for index, rule in enumerate(_RULES)))
#: Mere descriptions: a copy in the guest's tree works as well.
_VIRTUAL = ("fixed-clock", "fixed-factor-clock", "regulator-fixed", "usb-nop-xceiv", "operating-points-v2")

#: How a guest reaches a provider: it has it, it has a copy of a mere description, or it does not.
GIVEN, COPIED, MISSING = "given", "copied", "missing"


@dataclass(frozen=True)
class Need:
    """One reference from a device, or from a node below it, to a provider."""

    kind: str
    property: str
    index: int
    name: str
    #: The node that has the property.
    consumer: Node
    #: None without a problem if the place of an optional entry is left empty.
    provider: Node | None
    args: tuple[int, ...] = ()
    problem: str = ""


@functools.lru_cache(maxsize=4096)
def _rule_for(name: str) -> _Rule | None:
    match = _ANY_RULE.fullmatch(name)
    return _RULES[int(match.lastgroup[1:])] if match and match.lastgroup else None


@once_per_node
def references(tree: DeviceTree, node: Node) -> list[Need]:
    """Return what the properties of a node refer to."""
    found: list[Need] = []
    for name in node.properties:
        rule = _rule_for(name)
        # In a GPIO hog, `gpios` is the lines of the controller around it, not a reference.
        if rule is not None and not (name == "gpios" and "gpio-hog" in node.properties):
            found += _read(tree, node, name, rule)
    return found


def _read(tree: DeviceTree, node: Node, name: str, rule: _Rule) -> t.Iterator[Need]:
    cells, at, index = node.cells(name), 0, 0
    labels = node.strings(rule.names) if rule.names else []
    if rule.mapping:
        for index, phandle in enumerate(cells[1::4]):
            provider = tree.by_phandle.get(phandle)
            yield Need(rule.kind, name, index, "", node, provider, problem="" if provider else _nobody(name, phandle))
        return
    while at < len(cells):
        phandle, at = cells[at], at + 1
        label = labels[index] if index < len(labels) else ""
        if not phandle:
            yield Need(rule.kind, name, index, label, node, None)
        else:
            provider = tree.by_phandle.get(phandle)
            if provider is None:
                yield Need(rule.kind, name, index, label, node, None, problem=_nobody(name, phandle))
                return
            count = provider.number(rule.cells) if rule.cells else 0
            args = tuple(cells[at:] if rule.first else cells[at : at + count])
            short = f"{name} has {len(args)} cells for {provider.path}, which takes {count}" if len(args) < count else ""
            yield Need(rule.kind, name, index, label, node, provider, args, problem=short)
            at += count
        if rule.first:
            return
        index += 1


def _nobody(name: str, phandle: int) -> str:
    return f"{name} refers to phandle {phandle:#x}, which no node has"


def needs(tree: DeviceTree, device: Node) -> list[Need]:
    """Return what a device and the nodes below it refer to outside of the device, and references that lead nowhere."""
    inside = {id(node) for node in device.subtree()}
    return [
        need
        for node in device.subtree()
        for need in references(tree, node)
        if id(need.provider) not in inside and (need.provider or need.problem)
    ]


def reach(need: Need, given: t.Iterable[Node]) -> str:
    """Return how a guest that has the `given` devices reaches a provider: `GIVEN`, `COPIED` (a mere description) or `MISSING`."""
    if need.provider is None:
        return MISSING
    owners = {id(node) for node in given}
    if id(need.provider) in owners or any(id(node) in owners for node in need.provider.ancestors()):
        return GIVEN
    return COPIED if is_virtual(need.provider) else MISSING


def is_virtual(provider: Node) -> bool:
    """Whether a provider is a mere description, without hardware that the guest would have to reach."""
    return any(name in _VIRTUAL for name in provider.compatible) and not any(
        name.endswith(("gpio", "gpios")) for name in provider.properties
    )


def closure(tree: DeviceTree, device: Node) -> list[str]:
    """Return the paths of all nodes that a device needs, directly or through others."""
    seen: dict[int, Node] = {}
    waiting = [need.provider for need in needs(tree, device) if need.provider is not None]
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            waiting += [need.provider for need in references(tree, node) if need.provider is not None]
    inside = {id(node) for node in device.subtree()}
    return sorted(node.path for key, node in seen.items() if key not in inside)


def clock_rate(tree: DeviceTree, provider: Node, hops: int = 8) -> int:
    """Return the frequency of a clock in Hz, or 0 if the tree does not say it."""
    if "fixed-clock" in provider.compatible:
        return provider.number("clock-frequency")
    if "fixed-factor-clock" in provider.compatible and hops:
        source = next((need.provider for need in references(tree, provider) if need.property == "clocks"), None)
        rate = clock_rate(tree, source, hops - 1) if source else 0
        return rate * provider.number("clock-mult", 1) // max(provider.number("clock-div", 1), 1)
    return 0
