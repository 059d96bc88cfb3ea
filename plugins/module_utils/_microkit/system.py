# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Write the system description of a Linux driver VM on seL4/Microkit, and the table of interrupts for its monitor (VMM).

Sources: Microkit's manual, libvmm's manual (passthrough, interrupt passthrough on ARM).
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

from .._device_tree.analysis import Analysis, Device
from .._device_tree.dma import can_dma, limits
from .._device_tree.findings import ERROR
from .._device_tree.interrupts import gic_v2_interfaces
from .._device_tree.registers import memory_banks, registers, reserved_memory
from .._device_tree.tree import Node
from .._errors import InvalidInput
from .._spans import Span, pages
from .check import check_system
from .parser import read_system
from .schema import LARGE_PAGE, MAX_ID, MAX_PAGES, SMALL_PAGE

_INTERFACE = "gic_vcpu"
_COMMENT_LENGTH = 120


@dataclass(frozen=True)
class MemoryRegion:
    """A memory region, and its address in the virtual machine."""

    name: str
    span: Span
    page: int
    address: int
    comment: str = ""


@dataclass(frozen=True)
class InterruptLine:
    """An interrupt that is passed through, and its channel in the VMM."""

    number: int
    trigger: str
    channel: int
    comment: str


@dataclass(frozen=True)
class DriverVm:
    """The driver VM that the user requests."""

    version: str
    vmm_name: str = "VMM"
    vmm_image: str = "vmm.elf"
    vm_name: str = "linux"
    priority: int = 100
    vm_priority: int = 1
    ram: Span = field(default_factory=lambda: Span(0x20000000, 0x30000000))
    #: Whether guest addresses of the memory are physical addresses, which a device without IOMMU needs for DMA.
    one_to_one: bool = True
    large_pages: bool = True
    #: (name, addresses) of ranges that are passed through whole, such as a bus.
    windows: tuple[tuple[str, Span], ...] = ()
    #: (number, trigger, name) of interrupts that none of the devices raises.
    extra_lines: tuple[tuple[int, str, str], ...] = ()
    #: Channels that something else uses.
    reserved: tuple[int, ...] = ()


@dataclass(frozen=True)
class SystemDescription:
    """Regions and interrupts of a driver VM, and the text of its files."""

    regions: list[MemoryRegion]
    lines: list[InterruptLine]
    description: str
    table: str


def reached(provider: Node, vm: DriverVm) -> bool:
    """Whether a node is inside the ranges passed through whole: all registers of it, or of its nearest ancestor that has any."""
    spans = [span for _unused, span in vm.windows]
    for node in (provider, *provider.ancestors()):
        own = pages(entry.span for entry in registers(node) if entry.span)
        if own:
            return not any(hole for span in own for hole in span.without(spans))
    return False


def build_system(analysis: Analysis, devices: t.Sequence[Device], vm: DriverVm) -> SystemDescription:
    """Work out regions, interrupts and the text of the files.

    :raises InvalidInput: the board has no memory at the guest's addresses, there are more interrupts than channels, or the
        result would break a rule of the schema.
    """
    found = [*_windows(vm), *_interface(analysis)]
    for device in devices:
        found += _regions(device, [region.span for region in found], vm)
    _check_gic(analysis, found)
    _check_memory(analysis, vm, found)
    _check_dma_reach(analysis, devices, vm)
    _check_pages(found)
    lines = _lines(devices, vm)
    description = _describe(found, lines, vm)
    root, findings = read_system(description, "the description")
    errors = [finding for finding in findings + check_system(root, "the description", vm.version) if finding.severity == ERROR]
    if errors:
        raise InvalidInput(
            f"The result would not be valid for Microkit {vm.version}: " + "; ".join(finding.problem for finding in errors),
            remedy="; ".join(dict.fromkeys(finding.fix for finding in errors)),
        )
    return SystemDescription(found, lines, description, _table(lines))


def _windows(vm: DriverVm) -> list[MemoryRegion]:
    found: list[MemoryRegion] = []
    for name, span in vm.windows:
        if span.start % SMALL_PAGE or span.size % SMALL_PAGE or not span.size:
            raise InvalidInput(
                f"The region {name!r} ({span}) does not consist of whole pages", rule=f"address and size are multiples of {SMALL_PAGE:#x}"
            )
        other = next((region for region in found if region.span.overlaps(span)), None)
        if other:
            raise InvalidInput(f"The region {name!r} ({span}) overlaps {other.name!r} ({other.span})", rule="a page is in one region only")
        found += _split(name, span, vm, name)
    return found


def _regions(device: Device, taken: list[Span], vm: DriverVm) -> list[MemoryRegion]:
    """Return regions for the pages of a device that no other region has."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", device.node.name.split("@")[0]).strip("_")
    return [
        region
        for span in device.pages
        for part in span.without(taken)
        for region in _split(f"{name}_{part.start:x}", part, vm, device.path)
    ]


def _split(name: str, span: Span, vm: DriverVm, comment: str) -> list[MemoryRegion]:
    """Cut out the part that can have large pages: they need less memory for page tables, and accesses are faster."""
    first, last = -(-span.start // LARGE_PAGE) * LARGE_PAGE, span.end // LARGE_PAGE * LARGE_PAGE
    if not vm.large_pages or first >= last:
        return [MemoryRegion(name, span, SMALL_PAGE, span.start, comment)]
    parts = [
        (Span(span.start, first), SMALL_PAGE, "_head"),
        (Span(first, last), LARGE_PAGE, ""),
        (Span(last, span.end), SMALL_PAGE, "_tail"),
    ]
    return [MemoryRegion(name + suffix, part, page, part.start, comment) for part, page, suffix in parts if part.size]


def _interface(analysis: Analysis) -> list[MemoryRegion]:
    """Return the region with the virtual processor interface of a GICv2.

    It is mapped where the guest's device tree has the real interface. A GICv3 has system registers instead.
    """
    interfaces = gic_v2_interfaces(analysis.gic)
    if interfaces is None:
        return []
    real, virtual = interfaces
    return [MemoryRegion(_INTERFACE, virtual, SMALL_PAGE, real.start, "the GIC's virtual interface, where the guest expects the real one")]


def _check_gic(analysis: Analysis, found: t.Sequence[MemoryRegion]) -> None:
    own = pages(entry.span for entry in registers(analysis.gic) if entry.span) if analysis.gic else []
    for region in found:
        if region.name != _INTERFACE and any(span.overlaps(region.span) for span in own):
            raise InvalidInput(
                f"The region {region.name!r} ({region.span}) contains the GIC's registers ({', '.join(map(str, own))})",
                rule="seL4 drives the GIC; the VMM emulates it for the guest",
                remedy="Leave them out with two regions, one below them and one above",
            )


def _check_memory(analysis: Analysis, vm: DriverVm, found: t.Sequence[MemoryRegion]) -> None:
    ram = vm.ram
    if ram.start % SMALL_PAGE or ram.size % SMALL_PAGE or not ram.size:
        raise InvalidInput(
            f"The guest's memory ({ram}) does not consist of whole pages", rule=f"address and size are multiples of {SMALL_PAGE:#x}"
        )
    for region in found:
        if ram.overlaps(Span(region.address, region.address + region.span.size)):
            raise InvalidInput(
                f"The guest's memory ({ram}) overlaps {region.name!r} ({region.span})", remedy="Choose another address or size"
            )
    if not vm.one_to_one:
        return
    banks = pages(memory_banks(analysis.tree))
    # Some boards' dtb has no memory, because the boot loader adds it.
    if banks and not any(bank.contains(ram) for bank in banks):
        have = ", ".join(map(str, banks))
        raise InvalidInput(f"The guest's memory ({ram}) is not memory of the board", rule=f"the board has {have}")
    tree = analysis.tree
    kept = [(path, span) for path, span in reserved_memory(tree) if "reusable" not in tree.by_path[path].properties]
    for path, span in [*kept, *(("/memreserve/", span) for span in tree.set_aside)]:
        if span.overlaps(ram):
            raise InvalidInput(
                f"The guest's memory ({ram}) overlaps {path} ({span})",
                rule="memory that the board's tree sets aside belongs to the firmware or to a device",
                remedy="Choose another address or size",
            )


def _check_dma_reach(analysis: Analysis, devices: t.Iterable[Device], vm: DriverVm) -> None:
    for node, seen in (entry for device in devices for entry in limits(analysis.tree, device.node)) if vm.one_to_one else ():
        if not any(window.contains(vm.ram) for window in seen):
            raise InvalidInput(
                f"{node.path} does not reach the guest's memory ({vm.ram})",
                rule=f"the device tree (dma-ranges) lets it access {', '.join(map(str, seen))}",
                remedy="Choose a memory_address there",
            )


def unsafe_dma(devices: t.Iterable[Device], vm: DriverVm) -> list[str]:
    """Return the devices whose DMA goes elsewhere than into the guest's memory, as warnings: Microkit sets up no IOMMU."""
    found = [node.path for device in devices for node in device.node.subtree() if can_dma(node)] if not vm.one_to_one else []
    return [f"{path} may do DMA: without one_to_one, it reads and writes memory that is not the guest's" for path in found]


def _check_pages(found: t.Sequence[MemoryRegion]) -> None:
    needed = sum(region.span.size // region.page for region in found)
    if needed >= MAX_PAGES:
        largest = max(found, key=lambda region: region.span.size // region.page)
        raise InvalidInput(
            f"The regions have {needed} pages, {largest.name!r} ({largest.span}) alone {largest.span.size // largest.page}",
            rule=f"Microkit has room for fewer than {MAX_PAGES} pages",
            remedy="Set large_pages, or shorten the window of a PCI host bridge in ranges of the board's device tree",
        )


def _lines(devices: t.Sequence[Device], vm: DriverVm) -> list[InterruptLine]:
    wanted: dict[int, tuple[str, str]] = {}
    for device in devices:
        for node, interrupt in device.lines:
            if interrupt.number is not None and interrupt.kind == "spi":
                comment = f"{node.path}{' ' + interrupt.name if interrupt.name else ''}"
                wanted.setdefault(interrupt.number, (interrupt.trigger or "level", comment))
    for number, trigger, name in vm.extra_lines:
        wanted.setdefault(number, (trigger, name))
    free = [channel for channel in range(MAX_ID + 1) if channel not in vm.reserved]
    if len(wanted) > len(free):
        raise InvalidInput(
            f"{len(wanted)} interrupts do not fit in the {len(free)} free channels",
            rule=f"a protection domain has the ids 0 to {MAX_ID} for interrupts and channels",
            remedy="Pass fewer devices to this driver VM, or split it into two",
        )
    return [InterruptLine(number, trigger, channel, comment) for channel, (number, (trigger, comment)) in zip(free, wanted.items())]


def _describe(found: t.Sequence[MemoryRegion], lines: t.Sequence[InterruptLine], vm: DriverVm) -> str:
    ram = vm.ram
    ram_page = LARGE_PAGE if ram.start % LARGE_PAGE == ram.size % LARGE_PAGE == 0 else SMALL_PAGE
    place = {"phys_addr": f"{ram.start:#x}"} if vm.one_to_one else {}
    text = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<!-- A Linux driver VM for Microkit {vm.version} and later versions with the same schema. Made by xen.driver_domains. -->",
        "<system>",
        _tag(1, "memory_region", name="guest_ram", size=f"{ram.size:#x}", page_size=f"{ram_page:#x}", **place),
    ]
    comment = ""
    for region in found:
        if region.comment != comment:
            comment = region.comment
            text.append(f"    <!-- {_comment(comment)} -->")
        place = {"phys_addr": f"{region.span.start:#x}"}
        text.append(_tag(1, "memory_region", name=region.name, size=f"{region.span.size:#x}", page_size=f"{region.page:#x}", **place))
    text += [
        "",
        _open(1, "protection_domain", name=vm.vmm_name, priority=str(vm.priority)),
        _tag(2, "program_image", path=vm.vmm_image),
        _tag(2, "map", mr="guest_ram", vaddr=f"{ram.start:#x}", perms="rw", setvar_vaddr="guest_ram_vaddr"),
        _open(2, "virtual_machine", name=vm.vm_name, priority=str(vm.vm_priority)),
        _tag(3, "vcpu", id="0"),
        _tag(3, "map", mr="guest_ram", vaddr=f"{ram.start:#x}", perms="rwx"),
        *(_tag(3, "map", mr=region.name, vaddr=f"{region.address:#x}", perms="rw", cached="false") for region in found),
        "        </virtual_machine>",
    ]
    for line in lines:
        text.append(f"        <!-- {_comment(line.comment)} -->")
        text.append(_tag(2, "irq", irq=str(line.number), id=str(line.channel), trigger=line.trigger))
    return "\n".join([*text, "    </protection_domain>", "</system>", ""])


def _tag(depth: int, element: str, /, **attributes: str) -> str:
    return "    " * depth + f"<{element} " + " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items()) + " />"


def _open(depth: int, element: str, /, **attributes: str) -> str:
    return _tag(depth, element, **attributes)[: -len(" />")] + ">"


def _comment(text: str) -> str:
    # Two hyphens end a comment in XML, a star and a slash in C.
    return re.sub(r"-(?=-)|\*(?=/)", r"\g<0> ", text)[:_COMMENT_LENGTH]


def left_out(devices: t.Sequence[Device]) -> list[str]:
    """Return the interrupts of the devices that are not passed through, with the reason, as warnings."""
    found = []
    for device in devices:
        inside = {node.path for node in device.node.subtree()}
        for node, line in device.lines:
            if line.number is not None and line.kind == "ppi":
                found.append(f"Interrupt {line.number} of {node.path} is not passed through: it is private to a processor")
            elif line.number is None and line.controller not in inside:
                found.append(f"An interrupt of {node.path} is not passed through: {line.problem}")
    return found


def _table(lines: t.Sequence[InterruptLine]) -> str:
    """Return C source for the VMM: the table, and two functions for its init() and notified().

    Source: include/libvmm/virq.h and examples/simple/vmm.c of libvmm. Before it had ARM_GIC_IRQ_ROUTE, it took the number itself.
    """
    cases = [f"    {{ .channel = {line.channel}, .irq = {line.number} }}, /* {line.trigger}: {_comment(line.comment)} */" for line in lines]
    return "\n".join(
        [
            "/* The interrupts that the VMM passes on to its guest; made together with the system description. */",
            "#pragma once",
            "",
            "#include <stdbool.h>",
            "#include <stddef.h>",
            "#include <libvmm/libvmm.h>",
            "",
            f"#define PASSTHROUGH_IRQS {len(lines)}",
            "",
            "struct passthrough_irq {",
            "    unsigned int channel;",
            "    unsigned int irq;",
            "};",
            "",
            "/* The last entry is not one of them: C has no empty arrays. */",
            "static const struct passthrough_irq passthrough_irqs[PASSTHROUGH_IRQS + 1] = {",
            *cases,
            "    { .channel = 0, .irq = 0 },",
            "};",
            "",
            "/* For init(), after guest_init(): false if one cannot be registered. */",
            "static inline bool passthrough_irqs_register(void)",
            "{",
            "    for (size_t i = 0; i + 1 < sizeof passthrough_irqs / sizeof passthrough_irqs[0]; i++) {",
            "#ifdef ARM_GIC_IRQ_ROUTE",
            "        if (!virq_register_passthrough(ARM_GIC_IRQ_ROUTE(GUEST_BOOT_VCPU_ID, passthrough_irqs[i].irq),",
            "                                       passthrough_irqs[i].channel)) {",
            "#else",
            "        if (!virq_register_passthrough(GUEST_BOOT_VCPU_ID, passthrough_irqs[i].irq, passthrough_irqs[i].channel)) {",
            "#endif",
            "            return false;",
            "        }",
            "    }",
            "    return true;",
            "}",
            "",
            "/* For notified(): whether the channel is that of one of these interrupts, and was handled. */",
            "static inline bool passthrough_irqs_handle(microkit_channel channel)",
            "{",
            "    for (size_t i = 0; i + 1 < sizeof passthrough_irqs / sizeof passthrough_irqs[0]; i++) {",
            "        if (passthrough_irqs[i].channel == channel) {",
            "            return virq_handle_passthrough(channel);",
            "        }",
            "    }",
            "    return false;",
            "}",
            "",
        ]
    )
