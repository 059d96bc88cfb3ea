# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""System descriptions of seL4/Microkit: reading one, and the rules of its schema for AArch64, by version.

Source: Microkit's manual (System Description File) and tool/microkit/src/sdf.rs, tags 1.4.1 to 2.3.0.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from xml.parsers import expat

from .._device_tree.findings import WARNING, Finding
from .._errors import InvalidInput
from .._spans import Span

#: Versions whose schema is known; one between two of them has the older one's.
VERSIONS = ["1.3.0", "1.4.1", "2.0.0", "2.1.0", "2.2.0", "2.3.0"]
SMALL_PAGE, LARGE_PAGE = 0x1000, 0x200000
MAX_ID, MAX_PRIORITY, MAX_DOMAINS = 61, 254, 63
_DEFAULT_BUDGET = 1000
#: Addresses of a domain or a virtual machine have 40 bits.
_HIGHEST = 1 << 40
_STACK = Span(SMALL_PAGE, 16 << 20)
_MONITOR = "monitor"

# element: {attribute: version that brought it}; what went again is in _REMOVED.
_ATTRIBUTES: dict[str, dict[str, str]] = {
    "system": {},
    "memory_region": {"name": "", "size": "", "page_size": "", "phys_addr": "", "prefill_path": "2.2.0", "prefill_bootinfo": "2.3.0"},
    "protection_domain": {
        "name": "",
        "priority": "",
        "budget": "",
        "period": "",
        "passive": "",
        "stack_size": "",
        "pp": "",
        "smc": "2.0.0",
        "cpu": "2.1.0",
        "fpu": "2.3.0",
        "domain": "2.3.0",
    },
    "program_image": {"path": "", "path_for_symbols": "2.2.0"},
    "map": {"mr": "", "vaddr": "", "perms": "", "cached": "", "setvar_vaddr": "", "setvar_size": "2.0.0", "setvar_prefill_size": "2.2.0"},
    "irq": {"irq": "", "id": "", "trigger": "", "setvar_id": "2.1.0"},
    "setvar": {"symbol": "", "region_paddr": ""},
    "virtual_machine": {"name": "", "priority": "", "budget": "", "period": ""},
    "vcpu": {"id": "", "cpu": "2.1.0", "setvar_id": "2.1.0"},
    "channel": {},
    "end": {"pd": "", "id": "", "pp": "2.0.0", "notify": "2.0.0", "setvar_id": "2.1.0"},
}
_REMOVED = {("protection_domain", "pp"): "2.0.0"}
_REQUIRED = {
    "memory_region": ("name",),
    "protection_domain": ("name",),
    "program_image": ("path",),
    "map": ("mr", "vaddr"),
    "irq": ("irq", "id"),
    "setvar": ("symbol", "region_paddr"),
    "virtual_machine": ("name",),
    "vcpu": ("id",),
    "end": ("pd", "id"),
}
_CHILDREN: dict[str, dict[str, str]] = {
    "system": {"memory_region": "", "protection_domain": "", "channel": "", "domains": "2.3.0"},
    "protection_domain": {
        "program_image": "",
        "map": "",
        "irq": "",
        "setvar": "",
        "protection_domain": "",
        "virtual_machine": "",
        "cspace": "2.3.0",
    },
    "virtual_machine": {"vcpu": "", "map": ""},
    "channel": {"end": ""},
}
_ONLY_X86 = {"ioport", "io_address_space"}
#: Elements of the newest versions that a driver VM has no use for: not looked into.
_UNCHECKED = {"domains", "cspace"}
_NUMBERS = {"size", "page_size", "phys_addr", "vaddr", "priority", "budget", "period", "stack_size", "cpu"}
#: Read by the tool without its own number format: anything but decimal digits makes it panic.
_DECIMAL = {("irq", "irq"), ("irq", "id"), ("vcpu", "id"), ("end", "id")}
_BOOLEAN = {"passive", "cached", "pp", "notify", "smc", "fpu"}
#: Values that the tool knows (sdf.rs); only the last one exists on AArch64.
_BOOT_INFO = ("x86_vbe", "x86_mbmmap", "x86_acpi_rsdp", "x86_framebuffer", "x86_tsc_freq", "fdt")
_UNQUOTED = re.compile(r"(\s[A-Za-z_]+\s*=\s*)([A-Za-z_]\w*)(?=[\s/>])")
#: Put before a macro when it is quoted: a character that XML allows and that has no meaning (private use).
_MACRO = "\ue000"
#: Far more than a description has, and few enough to follow.
_MAX_DEPTH = 64


@dataclass
class Element:
    """An element of the file, and the line it begins in."""

    name: str
    attributes: dict[str, str]
    line: int
    parent: Element | None = None
    children: list[Element] = field(default_factory=list)
    #: Names of attributes whose value is a macro: there, but not known here.
    macros: set[str] = field(default_factory=set)

    def has(self, name: str) -> bool:
        """Whether the attribute is there, known or not."""
        return name in self.attributes or name in self.macros

    def all(self, name: str) -> t.Iterator[Element]:
        """Yield the elements of that name below this one, at any depth."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.all(name)

    def own(self, name: str) -> list[Element]:
        """Return the children of that name."""
        return [child for child in self.children if child.name == name]

    def number(self, name: str, default: int | None = None) -> int | None:
        """Return an attribute as a number, or the default if it is missing or none."""
        value = parse_number(self.attributes.get(name, ""))
        return default if value is None else value


def parse_number(text: str) -> int | None:
    """Read a number as the tool does: decimal or 0x, with underscores anywhere, of 64 bits."""
    digits = text.replace("_", "")
    if re.fullmatch(r"0x[0-9a-fA-F]{1,99}|[0-9]{1,99}", digits) is None:
        return None
    number = int(digits, 16) if digits.startswith("0x") else int(digits)
    return number if number < 1 << 64 else None


def read_system(text: str, source: str) -> tuple[Element, list[Finding]]:
    """Read a system description, also a fragment of one, or one that still goes through the C preprocessor.

    :raises InvalidInput: it is not XML even so.
    """
    findings: list[Finding] = []

    def quote(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.start(2)) + 1
        fix = f'{match[1].strip()}"0x..." with the number, or run the file through cpp first'
        findings.append(Finding(f"{source}:{line}", "unquoted-value", f"{match[2]} is a macro, not a value", fix, WARNING))
        return f'{match[1]}"{_MACRO}{match[2]}"'

    quoted = _UNQUOTED.sub(quote, text)
    try:
        root = _parse(quoted, source, findings)
    except UnicodeEncodeError as exc:
        raise InvalidInput(f"{source} is not a system description: it is not UTF-8", rule="it is XML with the root element system") from exc
    except expat.ExpatError as exc:
        if exc.code != expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]:
            raise InvalidInput(f"{source} is not a system description: {exc}", rule="it is XML with the root element system") from exc
        # Elements without a root around them: on one line with it, so that line numbers stay true.
        try:
            root = _parse(f"<system>{quoted}</system>", source, findings)
        except expat.ExpatError as second:
            raise InvalidInput(f"{source} is not a system description: {second}", rule="it is XML with the root element system") from second
        findings.append(Finding(f"{source}:1", "root", "there is no element system around it", "<system> ... </system>"))
    return root, findings


def _parse(text: str, source: str, findings: list[Finding]) -> Element:
    parser = expat.ParserCreate()
    root: list[Element] = []
    current: list[Element] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(current) == _MAX_DEPTH:
            raise InvalidInput(f"{source}:{parser.CurrentLineNumber}: {name} is below {_MAX_DEPTH} other elements")
        known = {key: value for key, value in attributes.items() if not value.startswith(_MACRO)}
        element = Element(name, known, parser.CurrentLineNumber, current[-1] if current else None, macros=set(attributes) - set(known))
        (current[-1].children if current else root).append(element)
        current.append(element)

    def data(content: str) -> None:
        if content.strip() and current[-1].name not in _UNCHECKED:
            place = f"{source}:{parser.CurrentLineNumber}"
            findings.append(Finding(place, "text", f"unexpected text {content.strip()[:40]!r} in {current[-1].name}", "Remove it"))

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: current.pop()
    parser.CharacterDataHandler = data
    parser.Parse(text, True)
    return root[0]


def check_system(root: Element, source: str, version: str) -> list[Finding]:
    """Return what breaks a rule of the schema of this version, on AArch64."""
    checker = _Checker(source, version)
    checker.maps = list(root.all("map"))
    checker.element(root)
    if root.name == "system":
        checker.whole(root)
    return sorted(checker.findings, key=lambda finding: int(finding.place.rpartition(":")[2]))


def regions(root: Element) -> dict[str, Element]:
    """Return the memory regions by name."""
    return {element.attributes.get("name", ""): element for element in root.all("memory_region")}


def region_page_size(region: Element, maps: t.Iterable[Element], version: str) -> int:
    """Return the page size of a region: its own, or the largest with which it and its maps are aligned, since 2.0.0."""
    own = region.number("page_size")
    if own is not None:
        return own
    places = [
        region.number("phys_addr", 0),
        *(part.number("vaddr") for part in maps if part.attributes.get("mr") == region.attributes.get("name")),
    ]
    parts = [region.number("size") or SMALL_PAGE, *(SMALL_PAGE if place is None else place for place in places)]
    large = _key(version) >= _key("2.0.0") and all(part % LARGE_PAGE == 0 for part in parts)
    return LARGE_PAGE if large else SMALL_PAGE


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")) if version else ()


class _Checker:
    """Collects what is wrong in one file."""

    def __init__(self, source: str, version: str) -> None:
        self.source, self.version = source, version
        self.findings: list[Finding] = []
        self.maps: list[Element] = []

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
        allowed = _CHILDREN.get(element.name, {})
        for child in element.children:
            if child.name in allowed and self.since(allowed[child.name]):
                if child.name not in _UNCHECKED:
                    self.element(child)
            elif child.name in _ONLY_X86:
                self.say(child, "x86-only", f"{child.name} exists on x86 alone", "Remove it")
            elif child.name == "virtual_machine":
                self.say(
                    child, "element", "a virtual_machine stands in the protection domain of its VMM", "Move it into that protection_domain"
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
        known = dict(_ATTRIBUTES.get(element.name, {}))
        if element.name == "protection_domain" and element.parent is not None and element.parent.name == "protection_domain":
            known.update(id="", setvar_id="2.1.0")
            if not element.has("id"):
                self.say(element, "required", "a protection_domain in another one needs an id", 'id="0"')
        if element.name == "map" and element.parent is not None and element.parent.name == "virtual_machine":
            known = {name: version for name, version in known.items() if not name.startswith("setvar")}
        for name, value in [*element.attributes.items(), *((name, None) for name in element.macros)]:
            removed = _REMOVED.get((element.name, name), "")
            if name not in known:
                self.say(element, "attribute", f"{element.name} has no attribute {name}", f"Remove {name}{_instead(element.name, name)}")
            elif removed and self.since(removed):
                self.say(
                    element,
                    "attribute",
                    f"{name} of {element.name} is obsolete since {removed}",
                    f"Remove {name}{_instead(element.name, name)}",
                )
            elif known[name] and not self.since(known[name]):
                self.say(
                    element,
                    "attribute",
                    f"{name} of {element.name} exists since {known[name]}",
                    f"Remove {name}, or use Microkit {known[name]}",
                )
            elif value is not None:
                self._value(element, name, value)
        for name in _REQUIRED.get(element.name, ()):
            if not element.has(name):
                self.say(element, "required", f"{element.name} has no {name}", f'{name}="..."')

    def _value(self, element: Element, name: str, value: str) -> None:
        if (element.name, name) in _DECIMAL:
            number = parse_number(value)
            if not re.fullmatch(r"[0-9]+", value) or number is None:
                fix = f'{name}="{number}"' if number is not None else f"{name} in decimal digits"
                self.say(element, "decimal", f'{name}="{value}" is not decimal, on which the tool panics', fix)
        elif (name in _NUMBERS or name == "id") and parse_number(value) is None:
            self.say(element, "number", f'{name}="{value}" is not a number', "Decimal digits or 0x..., underscores allowed, 64 bits")
        elif name in _BOOLEAN and value not in ("true", "false"):
            self.say(element, "boolean", f'{name}="{value}"', f'{name}="true" or {name}="false"')
        if name == "id" and (parse_number(value) or 0) > MAX_ID:
            self.say(element, "id-range", f"id {value} is above {MAX_ID}", f"An id from 0 to {MAX_ID}")

    def _schedule(self, element: Element) -> None:
        priority = element.number("priority", 0) or 0
        if priority > MAX_PRIORITY:
            self.say(element, "priority-range", f"priority {priority} is above {MAX_PRIORITY}", f"A priority from 0 to {MAX_PRIORITY}")
        budget = element.number("budget", _DEFAULT_BUDGET) or 0
        period = element.number("period", budget) or 0
        if budget > period:
            self.say(element, "budget", f"the budget ({budget}) is larger than the period ({period})", f'period="{budget}" or more')

    def _memory_region(self, element: Element) -> None:
        page = region_page_size(element, self.maps, self.version)
        if page not in (SMALL_PAGE, LARGE_PAGE):
            self.say(element, "page-size", f"there are no pages of {page:#x}", 'page_size="0x1000" or page_size="0x200000"')
            page = SMALL_PAGE
        prefilled = element.has("prefill_path") or element.has("prefill_bootinfo")
        if element.has("prefill_path") and element.has("prefill_bootinfo"):
            self.say(element, "prefill", "both prefill_path and prefill_bootinfo", "One of them")
        information = element.attributes.get("prefill_bootinfo", "fdt")
        if information not in _BOOT_INFO:
            self.say(element, "prefill", f'prefill_bootinfo="{information}"', f"One of {', '.join(_BOOT_INFO)}")
        if not element.has("size"):
            if not (prefilled and self.since("2.2.0")):
                self.say(element, "required", "memory_region has no size", 'size="0x1000"')
        else:
            size = element.number("size", page) or 0
            if size % page or not size:
                self.say(
                    element,
                    "size-alignment",
                    f"size {size:#x} is no multiple of its pages ({page:#x})",
                    f'size="{-(-max(size, 1) // page) * page:#x}"',
                )
        address = element.number("phys_addr", 0) or 0
        if address % page:
            fix = f'phys_addr="{address // page * page:#x}", and a size that reaches the same end'
            self.say(element, "address-alignment", f"phys_addr {address:#x} is no multiple of its pages ({page:#x})", fix)

    def _protection_domain(self, element: Element) -> None:
        self._schedule(element)
        if element.attributes.get("name") == _MONITOR:
            self.say(element, "reserved-name", f"the name {_MONITOR} is Microkit's own", "Another name")
        stack = element.number("stack_size", 0x2000) or 0
        if not _STACK.start <= stack <= _STACK.end or stack % SMALL_PAGE:
            self.say(element, "stack-size", f"a stack of {stack:#x} bytes", 'Whole pages from stack_size="0x1000" to "0x1000000"')
        images = element.own("program_image")
        if len(images) != 1:
            self.say(element, "program-image", f"{len(images)} elements program_image", 'One <program_image path="...elf" />')
        machines = element.own("virtual_machine")
        if len(machines) > 1:
            self.say(machines[1], "one-vm", "a protection_domain has one virtual_machine", "A VMM for each virtual machine")
        children = element.own("protection_domain")
        self._unique([(child, _plain(child, "id")) for child in children], "id", "id of a child", "An id for each child")
        vcpus = {_plain(vcpu, "id") for machine in machines for vcpu in machine.own("vcpu")}
        for child in children:
            if _plain(child, "id") and _plain(child, "id") in vcpus:
                self.say(child, "id", f"the id {_plain(child, 'id')} is that of a vcpu, too", "Another id")

    def _virtual_machine(self, element: Element) -> None:
        self._schedule(element)
        vcpus = element.own("vcpu")
        if not vcpus:
            self.say(element, "vcpu", "a virtual_machine without a vcpu", '<vcpu id="0" />')
        elif len(vcpus) > 1 and not self.since("2.0.0"):
            self.say(vcpus[1], "vcpu", "several vcpus exist since 2.0.0", "One vcpu, or use Microkit 2.0.0")
        self._unique([(vcpu, _plain(vcpu, "id")) for vcpu in vcpus], "id", "id of a vcpu", "An id for each vcpu")

    def _map(self, element: Element) -> None:
        perms = element.attributes.get("perms", "rw")
        if not perms or set(perms) - set("rwx"):
            self.say(element, "perms", f'perms="{perms}"', "Letters of r, w, x")
        elif set(perms) == {"w"}:
            self.say(element, "perms", "memory that can be written and not read does not exist", 'perms="rw"')

    def _irq(self, element: Element) -> None:
        trigger = element.attributes.get("trigger", "level")
        if trigger not in ("level", "edge"):
            self.say(element, "trigger", f'trigger="{trigger}"', 'trigger="level" or trigger="edge"')

    def _channel(self, element: Element) -> None:
        ends = element.own("end")
        if len(ends) != 2:
            self.say(element, "channel-ends", f"a channel with {len(ends)} ends", "Two elements end")
        elif all(end.attributes.get("pp") == "true" for end in ends):
            self.say(element, "channel-pp", "both ends call the other one", 'pp="true" at one end')

    # --- the whole file ---
    def whole(self, root: Element) -> None:
        domains = list(root.all("protection_domain"))
        if not domains:
            self.say(root, "no-domain", "there is no protection_domain", "One at least")
        if len(domains) > MAX_DOMAINS:
            self.say(domains[MAX_DOMAINS], "too-many-domains", f"{len(domains)} protection domains", f"{MAX_DOMAINS} at most")
        for name in ("protection_domain", "memory_region", "virtual_machine"):
            self._unique(
                [(part, part.attributes.get("name", "")) for part in root.all(name)], "name", f"name of a {name}", "A name for each"
            )
        irqs = [(part, _plain(part, "irq")) for part in root.all("irq")]
        self._unique(irqs, "irq", "irq", "A line goes to one protection domain, once")
        self._schedules(root, domains)
        self._channels(root, {part.attributes.get("name", ""): part for part in domains})
        found = regions(root)
        for space in (*domains, *root.all("virtual_machine")):
            self._maps(space, found)
        for setvar in root.all("setvar"):
            if not setvar.macros and setvar.attributes.get("region_paddr", "") not in found:
                self.say(
                    setvar, "region", f"there is no memory_region {setvar.attributes.get('region_paddr')!r}", "A name of a memory_region"
                )
        self._physical(found)
        used = {part.attributes.get("mr") for part in root.all("map")}
        for name, region in found.items():
            if name not in used:
                self.say(region, "unused", f"no map uses the memory_region {name!r}", "Map it, or remove it", WARNING)

    def _unique(self, values: t.Iterable[tuple[Element, str]], rule: str, what: str, fix: str) -> None:
        seen: dict[str, Element] = {}
        for element, value in values:
            if value and value in seen:
                self.say(element, f"duplicate-{rule}", f"{what} {value!r} is used in line {seen[value].line}, too", fix)
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
                self.say(end, "domain", f"there is no protection_domain {name!r}", "A name of a protection_domain")
        for values in ends.values():
            self._unique(values, "id", "channel id", "Channels and interrupts of a protection domain share the ids 0 to 61")
        for values in symbols.values():
            self._unique(values, "symbol", "setvar on symbol", "A symbol for each")
        for channel in root.all("channel"):
            pair = channel.own("end")
            for end, other in zip(pair, reversed(pair)):
                caller, callee = domains.get(end.attributes.get("pd", "")), domains.get(other.attributes.get("pd", ""))
                if end.attributes.get("pp") == "true" and caller and callee and _priority(caller) >= _priority(callee):
                    self.say(
                        end, "channel-priority", "a protected procedure must be one of a domain of higher priority", "Raise the other one"
                    )

    def _schedules(self, root: Element, domains: t.Sequence[Element]) -> None:
        schedules = root.own("domains")
        if len(schedules) > 1:
            self.say(schedules[1], "domains", "the element domains is there twice", "One element domains")
        declared = {part.attributes.get("name", "") for schedule in schedules for part in schedule.own("domain")}
        for part in domains if self.since("2.3.0") else ():
            name = part.attributes.get("domain")
            if schedules and name not in declared and "domain" not in part.macros:
                self.say(part, "domains", f"the domain {name!r} is not one of {sorted(declared)}", 'domain="..." with a name from domains')
            elif not schedules and part.has("domain"):
                self.say(part, "domains", "a domain without an element domains", "Remove domain, or declare the domains")

    def _maps(self, space: Element, found: t.Mapping[str, Element]) -> None:
        taken: list[tuple[Span, str]] = []
        for part in space.own("map"):
            name = part.attributes.get("mr", "")
            region = found.get(name)
            if region is None and "mr" in part.macros:
                continue
            if region is None:
                self.say(part, "region", f"there is no memory_region {name!r}", "A name of a memory_region")
                continue
            address, size, page = part.number("vaddr"), region.number("size", 0) or 0, region_page_size(region, self.maps, self.version)
            if address is None or page not in (SMALL_PAGE, LARGE_PAGE):
                continue
            if address % page:
                self.say(
                    part,
                    "map-alignment",
                    f"vaddr {address:#x} is no multiple of the pages of {name!r} ({page:#x})",
                    f"vaddr {address // page * page:#x}",
                )
            span = Span(address, address + size)
            if span.end > _HIGHEST:
                self.say(part, "map-range", f"{name!r} at {span} ends above {_HIGHEST:#x}", "A lower vaddr")
            for other, neighbour in taken:
                if span.overlaps(other):
                    self.say(
                        part, "map-overlap", f"{name!r} at {span} overlaps {neighbour!r} at {other}", "Another vaddr, or a region less"
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
                        "Split them, so that each page is in one",
                    )
            taken.append((span, name))


def _plain(element: Element, name: str) -> str:
    """Return a number as text that equals that of the same number, however it is written."""
    number = element.number(name)
    return element.attributes.get(name, "") if number is None else str(number)


def _symbols(domain: Element) -> list[tuple[Element, str]]:
    """Return the symbols of a domain's program that its elements set."""
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
    return {
        ("virtual_machine", "id"): '; write <vcpu id="0" /> into the virtual_machine',
        ("protection_domain", "pp"): '; write pp="true" at the end of the channel from which the call comes',
        ("map", "setvar_vaddr"): "; a virtual machine has no program whose symbols could be set",
    }.get((element, attribute), "")
