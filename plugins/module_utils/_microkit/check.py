# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Check a system description of seL4/Microkit against the schema."""

from __future__ import annotations

import re
import typing as t

from .._device_tree.findings import ERROR, WARNING, Finding
from .._spans import Span
from .parser import Element, parse_number, regions
from .schema import (
    ADDRESS_LIMIT,
    ATTRIBUTES,
    BOOLEAN,
    BOOT_INFO,
    CHILDREN,
    DECIMAL,
    DEFAULT_BUDGET,
    DEFAULT_STACK,
    LARGE_PAGE,
    MAX_DOMAINS,
    MAX_ID,
    MAX_PRIORITY,
    MAX_STACK,
    MIN_STACK,
    MONITOR,
    NUMBERS,
    ONLY_X86,
    REPLACEMENTS,
    REQUIRED,
    SMALL_PAGE,
    UNCHECKED,
)


def check_system(root: Element, source: str, version: str) -> list[Finding]:
    """Return where a description breaks the schema of this version, in the order of its lines."""
    checker = _Checker(source, version)
    checker.maps = list(root.all("map"))
    checker.unknown = WARNING if root.incomplete else ERROR
    checker.element(root)
    if root.name == "system":
        checker.whole(root)
    return sorted(checker.findings, key=lambda finding: int(finding.place.rpartition(":")[2]))


def region_page_size(region: Element, maps: t.Iterable[Element]) -> int:
    """Return the page size of a region in bytes: its own, or else the largest to which it and its maps are aligned."""
    own = region.number("page_size")
    if own is not None:
        return own
    places = [
        region.number("phys_addr", 0),
        *(part.number("vaddr") for part in maps if part.attributes.get("mr") == region.attributes.get("name")),
    ]
    parts = [region.number("size") or SMALL_PAGE, *(SMALL_PAGE if place is None else place for place in places)]
    return LARGE_PAGE if all(part % LARGE_PAGE == 0 for part in parts) else SMALL_PAGE


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")) if version else ()


class _Checker:
    """Collects the findings in one file."""

    def __init__(self, source: str, version: str) -> None:
        self.source, self.version = source, version
        self.findings: list[Finding] = []
        self.maps: list[Element] = []
        #: Of a reference to something that the text does not have: an included file may have it.
        self.unknown = ERROR

    def say(self, element: Element, rule: str, problem: str, fix: str, severity: str = "error") -> None:
        self.findings.append(Finding(f"{self.source}:{element.line}", rule, problem, fix, severity))

    def since(self, version: str) -> bool:
        return _key(self.version) >= _key(version)

    # --- one element ---
    def element(self, element: Element) -> None:
        if element.parent is None and element.name != "system":
            self.say(element, "root", f"the root element is {element.name}", "<system>")
            return
        self._attributes(element)
        check = getattr(self, f"_{element.name}", None)
        if check:
            check(element)
        allowed = CHILDREN.get(element.name, {})
        for child in element.children:
            if child.name in allowed and self.since(allowed[child.name]):
                if child.name not in UNCHECKED:
                    self.element(child)
            elif child.name in ONLY_X86:
                self.say(child, "x86-only", f"{child.name} exists only on x86", "Remove it")
            elif child.name == "virtual_machine":
                self.say(
                    child, "element", "a virtual_machine belongs in the protection_domain of its VMM", "Move it into that protection_domain"
                )
            elif child.name in allowed:
                self.say(
                    child,
                    "element",
                    f"{child.name} exists since {allowed[child.name]}",
                    f"Remove it, or use Microkit {allowed[child.name]}",
                )
            else:
                self.say(child, "element", f"{child.name} is not allowed in {element.name}", "Remove it")

    def _attributes(self, element: Element) -> None:
        known = dict(ATTRIBUTES.get(element.name, {}))
        if element.name == "protection_domain" and element.parent is not None and element.parent.name == "protection_domain":
            known.update(id="", setvar_id="2.1.0")
            if not element.has("id"):
                self.say(element, "required", "a protection_domain inside another one needs an id", 'id="0"')
        if element.name == "map" and element.parent is not None and element.parent.name == "virtual_machine":
            known = {name: version for name, version in known.items() if not name.startswith("setvar")}
        for name, value in [*element.attributes.items(), *((name, None) for name in element.macros)]:
            if name not in known:
                self.say(element, "attribute", f"{element.name} has no attribute {name}", f"Remove {name}{_instead(element.name, name)}")
            elif known[name] and not self.since(known[name]):
                self.say(
                    element,
                    "attribute",
                    f"{name} of {element.name} exists since {known[name]}",
                    f"Remove {name}, or use Microkit {known[name]}",
                )
            elif value is not None:
                self._value(element, name, value)
        for name in REQUIRED.get(element.name, ()):
            if not element.has(name):
                self.say(element, "required", f"{element.name} has no {name}", f'{name}="..."')

    def _value(self, element: Element, name: str, value: str) -> None:
        if (element.name, name) in DECIMAL:
            number = parse_number(value)
            if not re.fullmatch(r"[0-9]+", value) or number is None:
                fix = f'{name}="{number}"' if number is not None else f"{name} in decimal digits"
                self.say(element, "decimal", f'{name}="{value}" is not decimal; the tool panics', fix)
        elif (name in NUMBERS or name == "id") and parse_number(value) is None:
            self.say(
                element,
                "number",
                f'{name}="{value}" is not a number',
                "Decimal digits or 0x..., with or without underscores, 64 bits",
            )
        elif name in BOOLEAN and value not in ("true", "false"):
            self.say(element, "boolean", f'{name}="{value}" is not a boolean', f'{name}="true" or {name}="false"')
        if name == "id" and (parse_number(value) or 0) > MAX_ID:
            self.say(element, "id-range", f"id {value} is above {MAX_ID}", f"An id from 0 to {MAX_ID}")

    def _schedule(self, element: Element) -> None:
        priority = element.number("priority", 0) or 0
        if priority > MAX_PRIORITY:
            self.say(element, "priority-range", f"priority {priority} is above {MAX_PRIORITY}", f"A priority from 0 to {MAX_PRIORITY}")
        budget = element.number("budget", DEFAULT_BUDGET) or 0
        period = element.number("period", budget) or 0
        if budget > period:
            self.say(element, "budget", f"the budget ({budget}) is larger than the period ({period})", f'period="{budget}" or more')

    def _memory_region(self, element: Element) -> None:
        page = region_page_size(element, self.maps)
        if page not in (SMALL_PAGE, LARGE_PAGE):
            self.say(element, "page-size", f"there are no pages of {page:#x} bytes", 'page_size="0x1000" or page_size="0x200000"')
            page = SMALL_PAGE
        prefilled = element.has("prefill_path") or element.has("prefill_bootinfo")
        if element.has("prefill_path") and element.has("prefill_bootinfo"):
            self.say(element, "prefill", "it has both prefill_path and prefill_bootinfo", "Keep one of them")
        information = element.attributes.get("prefill_bootinfo", "fdt")
        if information not in BOOT_INFO:
            self.say(element, "prefill", f'prefill_bootinfo="{information}" does not exist', f"One of {', '.join(BOOT_INFO)}")
        if not element.has("size"):
            if not (prefilled and self.since("2.2.0")):
                self.say(element, "required", "memory_region has no size", 'size="0x1000"')
        else:
            size = element.number("size", page) or 0
            if size % page or not size:
                self.say(
                    element,
                    "size-alignment",
                    f"size {size:#x} is not a multiple of its page size ({page:#x})",
                    f'size="{-(-max(size, 1) // page) * page:#x}"',
                )
        address = element.number("phys_addr", 0) or 0
        if address % page:
            fix = f'phys_addr="{address // page * page:#x}", and a size that reaches the same end'
            self.say(element, "address-alignment", f"phys_addr {address:#x} is not a multiple of its page size ({page:#x})", fix)

    def _protection_domain(self, element: Element) -> None:
        self._schedule(element)
        if element.attributes.get("name") == MONITOR:
            self.say(element, "reserved-name", f"the name {MONITOR} is Microkit's own", "Another name")
        stack = element.number("stack_size", DEFAULT_STACK) or 0
        if not MIN_STACK <= stack <= MAX_STACK or stack % SMALL_PAGE:
            self.say(element, "stack-size", f"a stack cannot have {stack:#x} bytes", 'Whole pages from stack_size="0x1000" to "0x1000000"')
        images = element.own("program_image")
        if len(images) != 1:
            problem = f"it has {len(images)} elements program_image"
            self.say(element, "program-image", problem, 'One <program_image path="...elf" />', ERROR if images else self.unknown)
        machines = element.own("virtual_machine")
        if len(machines) > 1:
            self.say(machines[1], "one-vm", "a protection_domain can have only one virtual_machine", "Add a VMM for the other one")
        children = element.own("protection_domain")
        self._unique([(child, _plain(child, "id")) for child in children], "id", "id of a child", "A different id for each child")
        vcpus = {_plain(vcpu, "id") for machine in machines for vcpu in machine.own("vcpu")}
        for child in children:
            if _plain(child, "id") and _plain(child, "id") in vcpus:
                self.say(child, "id", f"a vcpu has the id {_plain(child, 'id')} too", "Another id")

    def _virtual_machine(self, element: Element) -> None:
        self._schedule(element)
        vcpus = element.own("vcpu")
        if not vcpus:
            self.say(element, "vcpu", "the virtual_machine has no vcpu", '<vcpu id="0" />', self.unknown)
        self._unique([(vcpu, _plain(vcpu, "id")) for vcpu in vcpus], "id", "id of a vcpu", "A different id for each vcpu")

    def _map(self, element: Element) -> None:
        perms = element.attributes.get("perms", "rw")
        if not perms or set(perms) - set("rwx"):
            self.say(element, "perms", f'perms="{perms}" is not valid', "The letters r, w and x")
        elif set(perms) == {"w"}:
            self.say(element, "perms", "memory cannot be writable without being readable", 'perms="rw"')

    def _irq(self, element: Element) -> None:
        trigger = element.attributes.get("trigger", "level")
        if trigger not in ("level", "edge"):
            self.say(element, "trigger", f'trigger="{trigger}" does not exist', 'trigger="level" or trigger="edge"')

    def _channel(self, element: Element) -> None:
        ends = element.own("end")
        if len(ends) != 2:
            self.say(element, "channel-ends", f"the channel has {len(ends)} ends instead of two", "Two elements end")
        elif all(end.attributes.get("pp") == "true" for end in ends):
            self.say(element, "channel-pp", "each end calls the other", 'pp="true" at one end')

    # --- the whole file ---
    def whole(self, root: Element) -> None:
        domains = list(root.all("protection_domain"))
        if not domains:
            self.say(root, "no-domain", "there is no protection_domain", "Add at least one", self.unknown)
        if len(domains) > MAX_DOMAINS:
            self.say(domains[MAX_DOMAINS], "too-many-domains", f"there are {len(domains)} protection domains", f"At most {MAX_DOMAINS}")
        for name in ("protection_domain", "memory_region", "virtual_machine"):
            self._unique(
                [(part, part.attributes.get("name", "")) for part in root.all(name)],
                "name",
                f"name of a {name}",
                "A different name for each",
            )
        irqs = [(part, _plain(part, "irq")) for part in root.all("irq")]
        self._unique(irqs, "irq", "irq", "Each interrupt goes to one protection domain, once")
        self._schedules(root, domains)
        self._channels(root, {part.attributes.get("name", ""): part for part in domains})
        found = regions(root)
        for space in (*domains, *root.all("virtual_machine")):
            self._maps(space, found)
        for setvar in root.all("setvar"):
            if not setvar.macros and setvar.attributes.get("region_paddr", "") not in found:
                wanted = setvar.attributes.get("region_paddr")
                self.say(setvar, "region", f"there is no memory_region {wanted!r}", "A name of a memory_region", self.unknown)
        self._physical(found)
        used = {part.attributes.get("mr") for part in root.all("map")}
        for name, region in found.items():
            if name not in used:
                self.say(region, "unused", f"no map uses the memory_region {name!r}", "Map it or remove it", WARNING)

    def _unique(self, values: t.Iterable[tuple[Element, str]], rule: str, what: str, fix: str) -> None:
        seen: dict[str, Element] = {}
        for element, value in values:
            if value and value in seen:
                self.say(element, f"duplicate-{rule}", f"{what} {value!r} is already used on line {seen[value].line}", fix)
            seen.setdefault(value, element)

    def _channels(self, root: Element, domains: t.Mapping[str, Element]) -> None:
        ends: dict[str, list[tuple[Element, str]]] = {
            name: [(irq, _plain(irq, "id")) for irq in domain.own("irq")] for name, domain in domains.items()
        }
        symbols = {name: _symbols(domain) for name, domain in domains.items()}
        for end in root.all("end"):
            name = end.attributes.get("pd", "")
            if name in ends:
                ends[name].append((end, _plain(end, "id")))
                symbols[name].append((end, end.attributes.get("setvar_id", "")))
            elif "pd" not in end.macros:
                self.say(end, "domain", f"there is no protection_domain {name!r}", "A name of a protection_domain", self.unknown)
        for values in ends.values():
            self._unique(values, "id", "channel id", "Channels and interrupts of a protection domain share the ids 0 to 61")
        for values in symbols.values():
            self._unique(values, "symbol", "setvar on symbol", "A different symbol for each")
        for channel in root.all("channel"):
            pair = channel.own("end")
            for end, other in zip(pair, reversed(pair)):
                caller, callee = domains.get(end.attributes.get("pd", "")), domains.get(other.attributes.get("pd", ""))
                if end.attributes.get("pp") == "true" and caller and callee and _priority(caller) >= _priority(callee):
                    self.say(
                        end,
                        "channel-priority",
                        "a protected procedure must belong to a domain of higher priority",
                        "Raise the priority of the other domain",
                    )

    def _schedules(self, root: Element, domains: t.Sequence[Element]) -> None:
        schedules = root.own("domains")
        if len(schedules) > 1:
            self.say(schedules[1], "domains", "there are two elements domains", "Keep one of them")
        declared = {part.attributes.get("name", "") for schedule in schedules for part in schedule.own("domain")}
        for part in domains if self.since("2.3.0") else ():
            name = part.attributes.get("domain")
            if schedules and name not in declared and "domain" not in part.macros:
                self.say(part, "domains", f"the domain {name!r} is not one of {sorted(declared)}", 'domain="..." with a name from domains')
            elif not schedules and part.has("domain"):
                self.say(part, "domains", "it has a domain, but there is no element domains", "Remove domain, or declare the domains")

    def _maps(self, space: Element, found: t.Mapping[str, Element]) -> None:
        taken: list[tuple[Span, str]] = []
        for part in space.own("map"):
            name = part.attributes.get("mr", "")
            region = found.get(name)
            if region is None and "mr" in part.macros:
                continue
            if region is None:
                self.say(part, "region", f"there is no memory_region {name!r}", "A name of a memory_region", self.unknown)
                continue
            address, size, page = part.number("vaddr"), region.number("size", 0) or 0, region_page_size(region, self.maps)
            if address is None or page not in (SMALL_PAGE, LARGE_PAGE):
                continue
            if address % page:
                self.say(
                    part,
                    "map-alignment",
                    f"vaddr {address:#x} is not a multiple of the page size of {name!r} ({page:#x})",
                    f"vaddr {address // page * page:#x}",
                )
            span = Span(address, address + size)
            if span.end > ADDRESS_LIMIT:
                self.say(part, "map-range", f"{name!r} at {span} ends above {ADDRESS_LIMIT:#x}", "A lower vaddr")
            for other, neighbour in taken:
                if span.overlaps(other):
                    self.say(
                        part,
                        "map-overlap",
                        f"{name!r} at {span} overlaps {neighbour!r} at {other}",
                        "Change vaddr or the regions",
                    )
            taken.append((span, name))

    def _physical(self, found: t.Mapping[str, Element]) -> None:
        taken: list[tuple[Span, str]] = []
        for name, region in found.items():
            address = region.number("phys_addr")
            if address is None:
                continue
            span = Span(address, address + (region.number("size", 0) or 0))
            for other, neighbour in taken:
                if span.overlaps(other):
                    self.say(
                        region,
                        "region-overlap",
                        f"{name!r} ({span}) overlaps {neighbour!r} ({other})",
                        "Split them so that each page is in only one",
                    )
            taken.append((span, name))


def _plain(element: Element, name: str) -> str:
    """Return a number in one form, however it is written, for comparing."""
    number = element.number(name)
    return element.attributes.get(name, "") if number is None else str(number)


def _symbols(domain: Element) -> list[tuple[Element, str]]:
    """Return the symbols in a domain's program that its elements set."""
    parts = [part for child in domain.children for part in (child, *(child.children if child.name == "virtual_machine" else ()))]
    return [
        (part, value)
        for part in parts
        for name, value in part.attributes.items()
        if name.startswith("setvar_") or (part.name == "setvar" and name == "symbol")
    ]


def _priority(domain: Element) -> int:
    return domain.number("priority", 0) or 0


def _instead(element: str, attribute: str) -> str:
    replacement = REPLACEMENTS.get((element, attribute))
    return f"; {replacement}" if replacement else ""
