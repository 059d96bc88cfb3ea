# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The system description of a Linux driver VM on seL4/Microkit, and the table of interrupts for its monitor (VMM).

Sources: Microkit's manual, libvmm's manual (passthrough, interrupt passthrough on ARM).
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

from .._device_tree.analysis import Analysis, Device
from .._device_tree.findings import ERROR
from .._device_tree.interrupts import GIC_V2
from .._device_tree.registers import registers
from .._device_tree.tree import Node
from .._errors import InvalidInput
from .._spans import Span, pages
from .schema import LARGE_PAGE, MAX_ID, SMALL_PAGE, check_system, read_system

#: Places of the processor interface and of the virtual processor interface in the registers of a GICv2 (Arm IHI 0048).
_GICC, _GICV = 1, 3
_INTERFACE = "gic_vcpu"
_PER_LINE = 120


@dataclass(frozen=True)
class Region:
    """A memory region, and where it is in the virtual machine."""

    name: str
    span: Span
    page: int
    address: int
    comment: str = ""


@dataclass(frozen=True)
class Line:
    """An interrupt that is handed on, and its channel in the VMM."""

    number: int
    trigger: str
    channel: int
    comment: str


@dataclass(frozen=True)
class Choices:
    """What the user decides of a driver VM."""

    version: str
    vmm_name: str = "VMM"
    vmm_image: str = "vmm.elf"
    vm_name: str = "linux"
    priority: int = 100
    vm_priority: int = 1
    ram: Span = field(default_factory=lambda: Span(0x20000000, 0x30000000))
    #: Whether the guest's memory is where the guest sees it, which a device without IOMMU needs for DMA.
    one_to_one: bool = True
    large_pages: bool = True
    #: Addresses that are handed over as a whole, by name, such as a bus.
    windows: tuple[tuple[str, Span], ...] = ()
    #: Interrupts that no device of the list raises: (number, trigger, name).
    extra_lines: tuple[tuple[int, str, str], ...] = ()
    #: Channels that are taken by something else.
    reserved: tuple[int, ...] = ()


@dataclass(frozen=True)
class System:
    """A driver VM, worked out."""

    regions: list[Region]
    lines: list[Line]
    description: str
    table: str


def reached(provider: Node, choices: Choices) -> bool:
    """Whether a node is among what goes over as a whole: all registers of it, or of the first node above that has some."""
    spans = [span for _unused, span in choices.windows]
    for node in (provider, *provider.ancestors()):
        own = pages(entry.span for entry in registers(node) if entry.span)
        if own:
            return not any(hole for span in own for hole in span.without(spans))
    return False


def build_system(board: Analysis, devices: t.Sequence[Device], choices: Choices) -> System:
    """Work out regions and interrupts and write them down.

    :raises InvalidInput: guest memory where there is none, more interrupts than channels, or the result breaks a rule of the schema.
    """
    found = [*_windows(choices), *_interface(board)]
    for device in devices:
        found += _regions(device, [region.span for region in found], choices)
    _check_gic(board, found)
    _check_memory(board, choices, found)
    lines = _lines(devices, choices)
    description = _describe(found, lines, choices)
    root, findings = read_system(description, "the description")
    errors = [finding for finding in findings + check_system(root, "the description", choices.version) if finding.severity == ERROR]
    if errors:
        raise InvalidInput(
            f"This would not be a system description of Microkit {choices.version}: " + "; ".join(finding.problem for finding in errors),
            remedy="; ".join(dict.fromkeys(finding.fix for finding in errors)),
        )
    return System(found, lines, description, _table(lines))


def _windows(choices: Choices) -> list[Region]:
    found: list[Region] = []
    for name, span in choices.windows:
        if span.start % SMALL_PAGE or span.size % SMALL_PAGE or not span.size:
            raise InvalidInput(
                f"The region {name!r} ({span}) is not made of whole pages", rule=f"address and size are multiples of {SMALL_PAGE:#x}"
            )
        other = next((region for region in found if region.span.overlaps(span)), None)
        if other:
            raise InvalidInput(f"The region {name!r} ({span}) overlaps {other.name!r} ({other.span})", rule="each page is in one region")
        found += _split(name, span, choices, name)
    return found


def _regions(device: Device, taken: list[Span], choices: Choices) -> list[Region]:
    """Return regions for the pages of a device that no other one has."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", device.node.name.split("@")[0]).strip("_")
    return [
        region
        for span in device.pages
        for part in span.without(taken)
        for region in _split(f"{name}_{part.start:x}", part, choices, device.path)
    ]


def _split(name: str, span: Span, choices: Choices, comment: str) -> list[Region]:
    """Cut out what can have large pages: they take less memory for page tables, and less time in each access."""
    first, last = -(-span.start // LARGE_PAGE) * LARGE_PAGE, span.end // LARGE_PAGE * LARGE_PAGE
    if not choices.large_pages or first >= last:
        return [Region(name, span, SMALL_PAGE, span.start, comment)]
    parts = [
        (Span(span.start, first), SMALL_PAGE, "_head"),
        (Span(first, last), LARGE_PAGE, ""),
        (Span(last, span.end), SMALL_PAGE, "_tail"),
    ]
    return [Region(name + suffix, part, page, part.start, comment) for part, page, suffix in parts if part.size]


def _interface(board: Analysis) -> list[Region]:
    """Return the region by which a guest reaches the virtual processor interface of a GICv2.

    The guest finds it where its device tree has the real one. A GICv3 has system registers instead.
    """
    places = interface_of(board.gic)
    if places is None:
        return []
    real, virtual = places
    return [Region(_INTERFACE, virtual, SMALL_PAGE, real.start, "the GIC's virtual interface, where the guest expects the real one")]


def interface_of(gic: Node | None) -> tuple[Span, Span] | None:
    """Return the processor interface and the virtual one of a GICv2 with virtualisation, in pages; None for others."""
    if gic is None or not any(name in GIC_V2 for name in gic.compatible):
        return None
    found = [entry.span for entry in registers(gic)]
    if len(found) <= _GICV:
        return None
    real, virtual = found[_GICC], found[_GICV]
    return (pages([real])[0], pages([virtual])[0]) if real and virtual else None


def _check_gic(board: Analysis, found: t.Sequence[Region]) -> None:
    own = pages(entry.span for entry in registers(board.gic) if entry.span) if board.gic else []
    for region in found:
        if region.name != _INTERFACE and any(span.overlaps(region.span) for span in own):
            raise InvalidInput(
                f"The region {region.name!r} ({region.span}) holds the GIC's registers ({', '.join(map(str, own))})",
                rule="seL4 drives the GIC; the VMM emulates it for the guest",
                remedy="Leave it out: two regions, one before it and one behind it",
            )


def _check_memory(board: Analysis, choices: Choices, found: t.Sequence[Region]) -> None:
    ram = choices.ram
    if ram.start % SMALL_PAGE or ram.size % SMALL_PAGE or not ram.size:
        raise InvalidInput(
            f"The guest's memory ({ram}) is not made of whole pages", rule=f"address and size are multiples of {SMALL_PAGE:#x}"
        )
    for region in found:
        if ram.overlaps(Span(region.address, region.address + region.span.size)):
            raise InvalidInput(
                f"The guest's memory ({ram}) overlaps {region.name!r} ({region.span})", remedy="Choose another address or size"
            )
    if not choices.one_to_one:
        return
    banks = pages(
        entry.span for node in board.tree.nodes if node.text("device_type") == "memory" for entry in registers(node) if entry.span
    )
    # The boot loader fills in the memory of some boards: their dtb has none.
    if banks and not any(bank.contains(ram) for bank in banks):
        have = ", ".join(map(str, banks))
        raise InvalidInput(f"The guest's memory ({ram}) is not memory of the board", rule=f"the board has {have}")
    reserved = board.tree.root.child("reserved-memory")
    for node in (child for child in reserved.children if "no-map" in child.properties and child.available) if reserved else ():
        for entry in registers(node):
            if entry.span and entry.span.overlaps(ram):
                raise InvalidInput(
                    f"The guest's memory ({ram}) overlaps {node.path} ({entry.span})",
                    rule="what is reserved without being mapped (no-map) is the firmware's",
                    remedy="Choose another address or size",
                )


def _lines(devices: t.Sequence[Device], choices: Choices) -> list[Line]:
    wanted: dict[int, tuple[str, str]] = {}
    for device in devices:
        for interrupt in device.interrupts:
            if interrupt.number is not None and interrupt.kind == "spi":
                comment = f"{device.path}{' ' + interrupt.name if interrupt.name else ''}"
                wanted.setdefault(interrupt.number, (interrupt.trigger or "level", comment))
    for number, trigger, name in choices.extra_lines:
        wanted.setdefault(number, (trigger, name))
    free = [channel for channel in range(MAX_ID + 1) if channel not in choices.reserved]
    if len(wanted) > len(free):
        raise InvalidInput(
            f"{len(wanted)} interrupts do not fit in the {len(free)} channels that are free",
            rule=f"a protection domain has the ids 0 to {MAX_ID} for interrupts and channels",
            remedy="Give fewer devices to this driver VM, or split it into two",
        )
    return [Line(number, trigger, channel, comment) for channel, (number, (trigger, comment)) in zip(free, wanted.items())]


def _describe(found: t.Sequence[Region], lines: t.Sequence[Line], choices: Choices) -> str:
    ram = choices.ram
    ram_page = LARGE_PAGE if ram.start % LARGE_PAGE == ram.size % LARGE_PAGE == 0 else SMALL_PAGE
    place = {"phys_addr": f"{ram.start:#x}"} if choices.one_to_one else {}
    text = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<!-- A Linux driver VM, for Microkit {choices.version} and later of the same schema. Made by xen.driver_domains. -->",
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
        _open(1, "protection_domain", name=choices.vmm_name, priority=str(choices.priority)),
        _tag(2, "program_image", path=choices.vmm_image),
        _tag(2, "map", mr="guest_ram", vaddr=f"{ram.start:#x}", perms="rw", setvar_vaddr="guest_ram_vaddr"),
        _open(2, "virtual_machine", name=choices.vm_name, priority=str(choices.vm_priority)),
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
    return re.sub(r"-(?=-)|\*(?=/)", r"\g<0> ", text)[:_PER_LINE]


def _table(lines: t.Sequence[Line]) -> str:
    entries = [
        f"    {{ .channel = {line.channel}, .irq = {line.number} }}, /* {line.trigger}: {_comment(line.comment)} */" for line in lines
    ]
    return "\n".join(
        [
            "/* The interrupts that the VMM hands on to its guest, made with the system description beside it. */",
            f"#define PASSTHROUGH_IRQS {len(lines)}",
            "static const struct {",
            "    unsigned int channel;",
            "    unsigned int irq;",
            "} passthrough_irqs[PASSTHROUGH_IRQS] = {",
            *entries,
            "};",
            "",
        ]
    )
