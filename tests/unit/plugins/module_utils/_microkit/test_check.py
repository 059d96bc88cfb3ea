# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Microkit's schema: a description that is right, and for each rule one that is not."""

from __future__ import annotations

import inspect
import re
import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.findings import ERROR
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit import check as _check
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.check import check_system, region_page_size
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.parser import read_system, regions
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.schema import VERSIONS

REGION = '<memory_region name="ram" size="0x400000" page_size="0x200000" phys_addr="0x20000000" />'
DEVICE = '<memory_region name="dev" size="0x1_000" phys_addr="0xfe201000" />'
IMAGE = '<program_image path="vmm.elf" />'
MACHINE = '<virtual_machine name="linux" priority="1"><vcpu id="0" /><map mr="ram" vaddr="0x20000000" perms="rwx" /></virtual_machine>'
IRQ = '<irq irq="153" id="1" trigger="edge" />'


def system(
    *parts: str, regions: str = REGION + DEVICE, inside: str = "", image: str = IMAGE, machine: str = MACHINE, **attributes: str
) -> str:
    extra = "".join(f' {name}="{value}"' for name, value in attributes.items())
    maps = '<map mr="ram" vaddr="0x20000000" setvar_vaddr="ram_vaddr" /><map mr="dev" vaddr="0xfe201000" cached="false" />'
    domain = f'<protection_domain name="VMM"{extra}>{image}{maps}{machine}{inside}</protection_domain>'
    return f"<system>{regions}{domain}{''.join(parts)}</system>"


def machine(content: str = '<vcpu id="0" />', attributes: str = "") -> str:
    return f'<virtual_machine name="linux"{attributes}>{content}</virtual_machine>'


def region(attributes: str) -> str:
    return f'{REGION}{DEVICE}<memory_region name="more" {attributes} />'


def child(number: str, name: str = "kid", inside: str = "") -> str:
    return f'<protection_domain name="{name}" id="{number}">{IMAGE}{inside}</protection_domain>'


PEER = f'<protection_domain name="peer" priority="0">{IMAGE}</protection_domain>'


def channel(*ends: str) -> str:
    return PEER + "<channel>" + "".join(f"<end {end} />" for end in ends) + "</channel>"


# rule: descriptions that break it
BROKEN: list[tuple[str, str]] = [
    ("root", "<domain />"),
    ("root", REGION + DEVICE),
    ("text", system("words")),
    ("element", system("<gpu />")),
    ("element", system(inside="<vcpu />")),
    ("element", system("<virtual_machine name='x' />")),
    ("element", system(machine=machine('<vcpu id="0" /><irq irq="1" id="1" />'))),
    ("x86-only", system(inside='<ioport id="1" addr="1" size="1" />')),
    ("x86-only", system("<io_address_space />")),
    ("no-domain", f"<system>{REGION}</system>"),
    ("too-many-domains", system(*(f'<protection_domain name="p{number}">{IMAGE}</protection_domain>' for number in range(63)))),
    ("required", system(regions=REGION + DEVICE + '<memory_region size="0x1000" />')),
    ("required", system(regions=region(""))),
    ("required", system(inside='<irq irq="5" />')),
    ("required", system(inside='<irq id="5" />')),
    ("required", system(inside='<map mr="ram" />')),
    ("required", system(inside='<setvar symbol="x" />')),
    ("required", system(inside=f'<protection_domain name="kid">{IMAGE}</protection_domain>')),
    ("required", system(machine=machine("<vcpu />"))),
    ("required", system(channel('pd="VMM" id="1"', 'pd="peer"'))),
    ("attribute", system(colour="red")),
    ("attribute", system(machine=machine(attributes=' id="0"'))),
    ("attribute", system(machine=machine('<vcpu id="0" /><map mr="ram" vaddr="0x20000000" setvar_vaddr="x" />'))),
    ("attribute", system("<channel name='x'></channel>")),
    ("number", system(regions=region('size="4K"'))),
    ("boolean", system(passive="yes")),
    ("boolean", system(inside='<map mr="dev" vaddr="0x1000" cached="0" />')),
    ("boolean", system(channel('pd="VMM" id="1" notify="no"', 'pd="peer" id="1"'))),
    ("size-alignment", system(regions=region('size="0x1001"'))),
    ("size-alignment", system(regions=region('size="0x1000" page_size="0x200000"'))),
    ("address-alignment", system(regions=region('size="0x1000" phys_addr="0x40000010"'))),
    ("address-alignment", system(regions=region('size="0x200000" page_size="0x200000" phys_addr="0x40001000"'))),
    ("page-size", system(regions=region('size="0x4000" page_size="0x4000"'))),
    ("region-overlap", system(regions=region('size="0x2000" phys_addr="0xfe200000"'))),
    ("duplicate-name", system(regions=region('size="0x1000"') + '<memory_region name="more" size="0x1000" />')),
    ("duplicate-name", system(PEER, PEER)),
    ("duplicate-name", system(PEER.replace("peer", "VMM"))),
    ("duplicate-name", system(f'<protection_domain name="B">{IMAGE}{machine()}</protection_domain>')),
    ("reserved-name", system(PEER.replace("peer", "monitor"))),
    ("priority-range", system(priority="255")),
    ("priority-range", system(machine=machine(attributes=' priority="255"'))),
    ("budget", system(budget="2000", period="1000")),
    ("budget", system(period="999")),
    ("budget", system(machine=machine(attributes=' budget="5" period="4"'))),
    ("stack-size", system(stack_size="0x800")),
    ("stack-size", system(stack_size="0x1001000")),
    ("stack-size", system(stack_size="0x1800")),
    ("program-image", system(image="")),
    ("program-image", system(image=IMAGE * 2)),
    ("region", system(inside='<map mr="none" vaddr="0x1000" />')),
    ("region", system(inside='<setvar symbol="x" region_paddr="none" />')),
    ("perms", system(inside='<map mr="dev" vaddr="0x1000" perms="w" />')),
    ("perms", system(inside='<map mr="dev" vaddr="0x1000" perms="rwz" />')),
    ("perms", system(inside='<map mr="dev" vaddr="0x1000" perms="" />')),
    ("map-alignment", system(inside='<map mr="dev" vaddr="0x1001" />')),
    ("map-overlap", system(inside='<map mr="dev" vaddr="0x20001000" />')),
    ("map-range", system(inside='<map mr="dev" vaddr="0x10000000000" />')),
    ("decimal", system(inside='<irq irq="0x99" id="1" />')),
    ("decimal", system(inside='<irq irq="9" id="0x1" />')),
    ("decimal", system(machine=machine('<vcpu id="0x0" />'))),
    ("decimal", system(channel('pd="VMM" id="-1"', 'pd="peer" id="1"'))),
    ("trigger", system(inside='<irq irq="9" id="1" trigger="high" />')),
    ("id-range", system(inside='<irq irq="9" id="62" />')),
    ("id-range", system(machine=machine('<vcpu id="62" />'))),
    ("id-range", system(inside=child("62"))),
    ("id-range", system(channel('pd="VMM" id="62"', 'pd="peer" id="1"'))),
    ("duplicate-irq", system(inside=IRQ + IRQ.replace('id="1"', 'id="2"'))),
    ("duplicate-irq", system(PEER.replace(IMAGE, IMAGE + IRQ), inside=IRQ)),
    ("duplicate-id", system(inside=IRQ + IRQ.replace("153", "154"))),
    ("duplicate-id", system(channel('pd="VMM" id="1"', 'pd="peer" id="1"'), inside=IRQ)),
    ("duplicate-id", system(inside=child("3") + child("3", "kid2"))),
    ("duplicate-id", system(machine=machine('<vcpu id="1" /><vcpu id="1" />'))),
    ("id", system(inside=child("0"))),
    ("duplicate-symbol", system(inside='<map mr="dev" vaddr="0x1000" setvar_vaddr="ram_vaddr" />')),
    ("vcpu", system(machine=machine(""))),
    ("one-vm", system(machine=machine() + machine().replace("linux", "second"))),
    ("channel-ends", system(channel('pd="VMM" id="1"'))),
    ("channel-ends", system(channel('pd="VMM" id="1"', 'pd="peer" id="1"', 'pd="peer" id="2"'))),
    ("channel-pp", system(channel('pd="VMM" id="1" pp="true"', 'pd="peer" id="1" pp="true"'))),
    ("channel-priority", system(channel('pd="VMM" id="1" pp="true"', 'pd="peer" id="1"'))),
    ("domain", system(channel('pd="VMM" id="1"', 'pd="nobody" id="1"'))),
    ("prefill", system(regions=region('prefill_path="x" prefill_bootinfo="fdt"'))),
    ("prefill", system(regions=region('prefill_bootinfo="acpi"'))),
    ("page-size", system(regions=region('size="0x1000" page_size="0"'))),
    ("number", system(regions=region('size=""'))),
    ("number", system(regions=region('size="0x1000" phys_addr="0x10000000000000000"'))),
    ("number", system(inside=child("first"))),
    ("decimal", system(inside='<irq irq="99999999999999999999999" id="1" />')),
    ("duplicate-irq", system(inside=IRQ + '<irq irq="0153" id="2" />')),
    ("duplicate-id", system(inside=child("3") + child("0x3", "kid2"))),
    ("duplicate-symbol", system(channel('pd="VMM" id="1" setvar_id="ram_vaddr"', 'pd="peer" id="1"'))),
    ("duplicate-symbol", system(inside=child("3").replace('id="3"', 'id="3" setvar_id="ram_vaddr"'))),
    ("domains", system(domain="x")),
    ("domains", system('<domains><domain name="x" /></domains>')),
    ("domains", system('<domains><domain name="x" /></domains>', domain="y")),
    ("domains", system('<domains><domain name="x" /></domains>' * 2, domain="x")),
]

#: What is just within the rules.
RIGHT = [
    system(inside='<irq irq="0" id="61" />'),
    system(machine=machine('<vcpu id="61" />')),
    system(inside=child("61")),
    system(inside=child("0x3") + child("4", "kid2")),
    system(priority="254", budget="1000", period="1000", stack_size="0x1000"),
    system(stack_size="0x1000000", passive="false"),
    system(*(f'<protection_domain name="p{number}">{IMAGE}</protection_domain>' for number in range(62))),
    system(regions=region('size="0x1000" phys_addr="0xfe202000"'), inside='<map mr="more" vaddr="0xfe202000" perms="x" />'),
    system(regions=region('size="0x1000"'), inside='<map mr="more" vaddr="0xfffffff000" perms="r" />'),
    system(regions=region('size="0x20_0000" page_size="2097152"'), inside='<map mr="more" vaddr="0x0" cached="true" />'),
    system(regions=region('prefill_bootinfo="fdt"'), inside='<map mr="more" vaddr="0x1000" />'),
    system(inside='<irq irq="9" id="1" trigger="level" />' + IRQ.replace('id="1"', 'id="2"')),
    # Ids and symbols are those of one domain.
    system(channel('pd="VMM" id="1" setvar_id="x"', 'pd="peer" id="1" setvar_id="x" notify="true"')),
    system(channel('pd="VMM" id="1" pp="false"', 'pd="peer" id="1" pp="true"'), priority="1"),
    system(inside='<setvar symbol="dev_paddr" region_paddr="dev" />'),
    # A macro can be anything, and is not told from the same word in quotes.
    system(regions=region("size=RAM_SIZE phys_addr=RAM"), inside='<map mr="more" vaddr=RAM perms="r" /><irq irq=UART id=ram />'),
]


def check(text: str, version: str = "2.3.0") -> list[t.Any]:
    root, findings = read_system(text, "vmm.system")
    return findings + check_system(root, "vmm.system", version)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_right_in_every_version(version: str) -> None:
    assert check(system(inside=IRQ + child("5")), version) == []


@pytest.mark.parametrize("text", RIGHT, ids=[str(index) for index in range(len(RIGHT))])
def test_what_is_just_right(text: str) -> None:
    assert [finding for finding in check(text) if finding.severity == ERROR] == []


def test_no_rule_is_without_an_example() -> None:
    source = inspect.getsource(_check)
    rules = set(re.findall(r'self\.say\(\s*[\w\[\]]+,\s*"([\w-]+)"', source)) | {"text"}
    rules |= {f"duplicate-{kind}" for kind in re.findall(r'self\._unique\((?:[^()]|\([^()]*\))*?,\s*"(\w+)",', source)}
    assert len(rules) > 30
    assert rules - {rule for rule, _unused in BROKEN} == {"unused"}, "a warning, see below"


def test_what_is_right_in_the_newest() -> None:
    full = system(
        channel('pd="VMM" id="2" notify="false" setvar_id="peer_id"', 'pd="peer" id="61" pp="true"').replace(
            'priority="0"', 'priority="0" domain="x"'
        ),
        "<domains><domain name='x' /></domains>",
        domain="x",
        regions=region('prefill_path="file"'),
        inside='<irq irq="9" id="0" setvar_id="nine" /><map mr="more" vaddr="0x1000" perms="r" setvar_prefill_size="n" />'
        '<setvar symbol="p" region_paddr="dev" />',
        machine=machine('<vcpu id="0" cpu="1" /><vcpu id="1" setvar_id="second" />'),
        priority="254",
        fpu="true",
        smc="false",
    )
    assert [finding for finding in check(full) if finding.severity == ERROR] == []


@pytest.mark.parametrize(("rule", "text"), BROKEN, ids=[f"{index}-{rule}" for index, (rule, _unused) in enumerate(BROKEN)])
def test_each_rule(rule: str, text: str) -> None:
    findings = [finding for finding in check(text) if finding.severity == ERROR]
    assert rule in [finding.rule for finding in findings]
    for finding in findings:
        assert finding.fix and finding.place.startswith("vmm.system:")


@pytest.mark.parametrize(
    ("text", "since", "rule"),
    [
        (system(cpu="0"), "2.1.0", "attribute"),
        (system(inside='<irq irq="9" id="1" setvar_id="x" />'), "2.1.0", "attribute"),
        (system(image='<program_image path="a" path_for_symbols="b" />'), "2.2.0", "attribute"),
        (system(regions=region('prefill_path="x"')), "2.2.0", "attribute"),
        (system(fpu="true"), "2.3.0", "attribute"),
        (system("<domains />"), "2.3.0", "element"),
    ],
)
def test_what_came_later(text: str, since: str, rule: str) -> None:
    for version in VERSIONS:
        rules = {finding.rule for finding in check(text, version) if finding.severity == ERROR}
        assert (rule in rules) is (VERSIONS.index(version) < VERSIONS.index(since))


def test_the_fix_for_an_attribute_of_microkit_1() -> None:
    (finding,) = check(system(pp="true"))
    assert finding.rule == "attribute" and 'pp="true" at the end of the channel' in finding.fix


def test_pages_by_default() -> None:
    """Two mebibytes aligned to two mebibytes have a large page, if their maps are aligned too."""
    text = system(
        regions=REGION + DEVICE + '<memory_region name="big" size="0x200000" phys_addr="0xff600000" />',
        inside='<map mr="big" vaddr="0xff600000" /><setvar symbol="x" region_paddr="big" />',
    )

    def page(text: str) -> int:
        root, _unused = read_system(text, "x")
        return region_page_size(regions(root)["big"], root.all("map"))

    assert page(text) == 0x200000
    elsewhere = text.replace('vaddr="0xff600000"', 'vaddr="0xff601000"')
    assert page(elsewhere) == 0x1000
    assert check(elsewhere) == []


def test_unused_regions_and_macros_are_warnings() -> None:
    findings = check(system(regions=region('size="0x1000"')).replace('vaddr="0xfe201000"', "vaddr=UARTADDR"))
    assert {(finding.rule, finding.severity) for finding in findings} == {("unused", "warning"), ("unquoted-value", "note")}
