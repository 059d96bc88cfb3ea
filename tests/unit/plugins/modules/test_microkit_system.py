# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""microkit_system: regions, interrupts and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._device_tree.dtb import to_dtb
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput, Refused
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.check import check_system
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.parser import read_system
from ansible_collections.xen.driver_domains.plugins.module_utils._microkit.schema import VERSIONS
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.modules import microkit_system
from ansible_collections.xen.driver_domains.tests.unit.fakes.device_tree import board, build, pi5, virt

ALL = tuple(microkit_system.DEVICE_TREE_GUARDS)


class Host:
    def __init__(self, path: Path) -> None:
        big = {"reg": [0x7E3FF000, 0x402000], "interrupts": [0, 10, 4]}
        many = {"reg": [0x7E900000, 4], "interrupts": [cell for line in range(200, 270) for cell in (0, line, 4)]}
        self.path = path
        firmware = {"reg": [0, 0x10000000, 0x1000], "no-map": True}
        pool = {"reg": [0, 0x20000000, 0x1000], "reusable": True}
        wrapper = {"reg": [0x7EA00000, 0x1000], "#address-cells": 1, "#size-cells": 1, "ranges": True, "interrupts": [1, 7, 4]}
        core = {"reg": [0x7EA01000, 0x1000], "interrupts": [0, 65, 4, 0, 65, 4, 0, 69, 1], "interrupt-names": ["host", "peripheral", "otg"]}
        key = {"reg": [0x7EB00000, 0x1000], "interrupt-parent": 90, "interrupts": [3]}
        gpio = {"reg": [0x7EC00000, 0x1000], "interrupt-controller": True, "#interrupt-cells": 1, "phandle": 90}
        chip = {"#address-cells": 1, "#size-cells": 0, "chip@1": {"reg": 1, "interrupt-parent": 90, "interrupts": [1]}}
        more = {"wrapper": {**wrapper, "core@7ea01000": core}, "key": key, "gpio": gpio, "i2c": chip}
        reserved = {"#address-cells": 2, "#size-cells": 1, "ranges": True, "firmware": firmware, "pool": pool}
        (path / "board.dtb").write_bytes(to_dtb(build({**board(big=big, many=many, **more), "reserved-memory": reserved})))

    def plan(self, *devices: str, force: t.Sequence[str] = ALL, **options: t.Any) -> Plan:
        parameters = {name: argument.get("default") for name, argument in microkit_system.ARGUMENTS.items()}
        parameters.update(
            device_tree=str(self.path / "board.dtb"), devices=list(devices), dest=str(self.path / "vmm.system"), force=list(force)
        )
        plan = microkit_system.prepare({**parameters, **options})
        plan.apply(force, check_mode=True)
        return plan


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def regions(plan: Plan) -> list[tuple[str, int, int, int, int]]:
    return [tuple(entry.values()) for entry in plan.results["regions"]]  # type: ignore[misc]  # the results are untyped


INTERFACE = ("gic_vcpu", 0xFF846000, 0x2000, 0x1000, 0xFF842000)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_driver_vm(host: Host, version: str) -> None:
    table = host.path / "irqs.h"
    plan = host.plan("serial0", "test,rtc", version=version, interrupt_table=str(table))
    assert regions(plan) == [
        INTERFACE,
        ("serial_fe201000", 0xFE201000, 0x1000, 0x1000, 0xFE201000),
        ("rtc_fe300000", 0xFE300000, 0x2000, 0x1000, 0xFE300000),
    ]
    assert plan.results["interrupts"] == [
        {"number": 153, "trigger": "level", "channel": 0},
        {"number": 34, "trigger": "edge", "channel": 1},
    ]
    plan.apply(ALL)
    text = (host.path / "vmm.system").read_text()
    root, findings = read_system(text, "x")
    assert findings + check_system(root, "x", version) == []
    assert '<vcpu id="0" />' in text
    assert '<map mr="guest_ram" vaddr="0x20000000" perms="rw" setvar_vaddr="guest_ram_vaddr" />' in text
    assert '<memory_region name="guest_ram" size="0x10000000" page_size="0x200000" phys_addr="0x20000000" />' in text
    assert "{ .channel = 1, .irq = 34 }, /* edge: /soc/rtc@7e300000 */" in table.read_text()
    assert not host.plan("serial0", "test,rtc", version=version, interrupt_table=str(table)).actions


def test_large_pages_where_there_is_room(host: Host) -> None:
    assert regions(host.plan("/soc/big"))[1:] == [
        ("big_fe3ff000_head", 0xFE3FF000, 0x1000, 0x1000, 0xFE3FF000),
        ("big_fe3ff000", 0xFE400000, 0x400000, 0x200000, 0xFE400000),
        ("big_fe3ff000_tail", 0xFE800000, 0x1000, 0x1000, 0xFE800000),
    ]
    assert regions(host.plan("/soc/big", large_pages=False))[1:] == [("big_fe3ff000", 0xFE3FF000, 0x402000, 0x1000, 0xFE3FF000)]


def test_a_page_is_in_one_region(host: Host) -> None:
    window = {"name": "bus", "address": "0xfe300000", "size": "0x1000"}
    plan = host.plan("serial0", "/soc/serial@7e201400", "test,rtc", regions=[window], force=[])
    assert [entry[0] for entry in regions(plan)] == ["bus", "gic_vcpu", "serial_fe201000", "rtc_fe301000"]


def test_channels_and_other_interrupts(host: Host) -> None:
    extra = [{"number": 5, "trigger": "level", "name": "IRQ work"}, {"number": 34, "trigger": "level", "name": "twice"}]
    plan = host.plan("test,rtc", interrupts=extra, reserved_channels=[0, 2])
    assert [tuple(entry.values()) for entry in plan.results["interrupts"]] == [(34, "edge", 1), (5, "level", 3)]


def test_memory_that_is_not_one_to_one(host: Host) -> None:
    plan = host.plan("test,rtc", one_to_one=False, memory_address="0x80000000", memory_size="0x1000")
    assert '<memory_region name="guest_ram" size="0x1000" page_size="0x1000" />' in plan.results["description"]


def test_any_name_of_an_interrupt_stays_in_its_comment(host: Host) -> None:
    plan = host.plan("test,rtc", interrupts=[{"number": 5, "trigger": "level", "name": "a---b */ int x; /* --"}])
    assert "<!-- a- - -b * / int x; /* - - -->" in plan.results["description"]
    lines = plan.results["interrupt_table"].splitlines()
    (line,) = (line for line in lines if ".irq = 5 " in line)
    assert line.count("*/") == 1 and line.endswith("*/")


def test_every_output_has_a_place_of_its_own(host: Host) -> None:
    for options in ({"dest": str(host.path / "board.dtb")}, {"interrupt_table": str(host.path / "vmm.system")}):
        with pytest.raises(InvalidInput, match="would be written over"):
            host.plan("test,rtc", **options)


def test_the_diff_of_a_file_that_is_no_text(host: Host) -> None:
    (host.path / "vmm.system").write_bytes(b"gr\xfcn")
    (diff,) = host.plan("test,rtc").diffs
    assert diff["before"].encode("utf-8") == "gr\ufffdn\n".encode()


def test_what_is_in_a_region_is_not_missing(host: Host) -> None:
    clocks = {"name": "clocks", "address": "0xfe101000", "size": "0x2000"}
    assert host.plan("serial0", regions=[clocks]).results["missing"] == []
    assert len(host.plan("serial0", regions=[{**clocks, "size": "0x1000"}]).results["missing"]) == 1


def test_what_is_missing(host: Host) -> None:
    assert [entry["provider"] for entry in host.plan("serial0").results["missing"]] == ["/soc/cprman@7e101000"]


@pytest.mark.parametrize(
    ("devices", "options", "message"),
    [
        ([], {}, "devices is empty"),
        (["arm,gic-400"], {}, "the interrupt controller of the board"),
        (["test,rtc"], {"memory_address": "0x3f000000", "memory_size": "0x2000000"}, "is not memory of the board"),
        (["test,rtc"], {"memory_address": "0x0f000000", "memory_size": "0x2000000"}, "overlaps /reserved-memory/firmware"),
        (["test,rtc"], {"memory_address": "0xfe000000", "memory_size": "0x400000", "one_to_one": False}, "overlaps 'rtc_fe300000'"),
        (["test,rtc"], {"memory_address": "0x20000010"}, "does not consist of whole pages"),
        (["test,rtc"], {"memory_size": "256M"}, "'256M' is not a number for memory_size"),
        (["test,rtc"], {"regions": [{"name": "bus", "address": "0x1", "size": "0x1000"}]}, "'bus'.*does not consist of whole pages"),
        (["test,rtc"], {"regions": [{"name": name, "address": "0x0", "size": "0x1000"} for name in "ab"]}, "'b'.*overlaps 'a'"),
        (["/soc/many"], {}, "70 interrupts do not fit in the 62 free channels"),
        (["test,rtc"], {"regions": [{"name": "all", "address": "0xff800000", "size": "0x200000"}]}, "'all'.*contains the GIC's registers"),
        (["test,rtc"], {"reserved_channels": [62]}, "no channel 62"),
        (["test,rtc"], {"interrupts": [{"number": 1020, "trigger": "edge", "name": ""}]}, "no interrupt 1020"),
        (["test,rtc"], {"interrupts": [{"number": -1, "trigger": "edge", "name": ""}]}, "no interrupt -1"),
        (["test,rtc"], {"priority": 300}, "priority 300 is above 254"),
        (["test,rtc"], {"vmm_name": "monitor"}, "Microkit's own"),
    ],
)
def test_bad_input(host: Host, devices: list[str], options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        host.plan(*devices, **options)


@pytest.mark.parametrize(("device", "guard"), [("serial0", "shared_page"), ("serial0", "shared_interrupt"), ("console", "console")])
def test_guards(host: Host, device: str, guard: str) -> None:
    with pytest.raises(Refused) as caught:
        host.plan(device, force=[name for name in ALL if name != guard])
    assert {refusal["guard"] for refusal in caught.value.details["refusals"]} == {guard}


def test_interrupts_below_a_device(host: Host) -> None:
    plan = host.plan("/soc/wrapper")
    assert [tuple(entry.values()) for entry in plan.results["interrupts"]] == [(97, "level", 0), (101, "edge", 1)]
    assert "/* level: /soc/wrapper/core@7ea01000 host */" in plan.results["interrupt_table"]
    assert plan.warnings == ["Interrupt 23 of /soc/wrapper is not passed through: it is private to a processor"]


def test_what_is_dropped_is_said(host: Host) -> None:
    assert host.plan("/soc/key").warnings == [
        "An interrupt of /soc/key is not passed through: it goes to /soc/gpio (?), not to the GIC",
    ]
    with pytest.raises(InvalidInput, match="no registers or interrupts that can be passed through.*it goes to /soc/gpio"):
        host.plan("/soc/i2c/chip@1")


#: As much of libvmm and Microkit as the source uses, before and after libvmm had routes of interrupts.
LIBVMM = """
#pragma once
#include <stdbool.h>
#include <stdint.h>
typedef unsigned int microkit_channel;
#define GUEST_BOOT_VCPU_ID 0
{}
bool virq_handle_passthrough(microkit_channel irq_ch);
"""
WITH_ROUTES = """
typedef struct irq_routing_info { int type; union { struct arm_gic { int vcpu_id; uint32_t intid; } arm_gic; } hw; } irq_routing_info_t;
#define ARM_GIC_IRQ_ROUTE(_vcpu_id, _intid) (irq_routing_info_t) { .type = 1, .hw.arm_gic = { .vcpu_id = (_vcpu_id), .intid = (_intid) } }
bool virq_register_passthrough(irq_routing_info_t irq_routing_info, microkit_channel irq_ch);
"""
WITH_NUMBERS = "bool virq_register_passthrough(unsigned long vcpu_id, unsigned long irq, microkit_channel irq_ch);"
VMM = """
#include "passthrough_irqs.h"
void init(void);
void notified(microkit_channel channel);
void init(void) { if (!passthrough_irqs_register()) __builtin_trap(); }
void notified(microkit_channel channel) { (void)passthrough_irqs_handle(channel); }
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler here")
@pytest.mark.parametrize("libvmm", [WITH_ROUTES, WITH_NUMBERS], ids=["routes", "numbers"])
@pytest.mark.parametrize("devices", [["/soc/wrapper", "test,rtc"], ["/soc/gpio"]], ids=["two", "none"])
def test_the_table_compiles(host: Host, libvmm: str, devices: list[str]) -> None:
    plan = host.plan(*devices)
    (host.path / "libvmm").mkdir()
    (host.path / "libvmm/libvmm.h").write_text(LIBVMM.replace("{}", libvmm))
    (host.path / "passthrough_irqs.h").write_text(plan.results["interrupt_table"])
    (host.path / "vmm.c").write_text(VMM)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", str(host.path)]
    command = ["cc", *flags, "-c", "-o", str(host.path / "vmm.o"), str(host.path / "vmm.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


# --- PCI host bridges ----------------------------------------------------------------------------------------------------------
def test_a_device_behind_a_pci_host_bridge(host: Host) -> None:
    content = pi5()
    content["axi"]["pcie@1000120000"]["ranges"][6:7] = [0x40000000]
    del content["axi"]["pcie@1000120000"]["ranges"][7:]
    (host.path / "board.dtb").write_bytes(to_dtb(build(content)))
    plan = host.plan("raspberrypi,rp1-gem", "cdns,rp1-usb", version="2.1.0", one_to_one=False)
    assert regions(plan) == [
        INTERFACE,
        ("pcie_1000120000", 0x1000120000, 0xA000, 0x1000, 0x1000120000),
        ("pcie_1f00000000", 0x1F00000000, 0x40000000, 0x200000, 0x1F00000000),
    ]
    # Its own, which come first, and INTA to INTD.
    assert [entry["number"] for entry in plan.results["interrupts"]] == [255, 256, 261, 262, 263, 264]
    [entry] = plan.results["host_bridges"]
    assert entry["requested"] == ["raspberrypi,rp1-gem", "cdns,rp1-usb"]
    assert any("(MSI) behind" in warning for warning in plan.warnings)


def test_a_window_that_is_too_large(host: Host) -> None:
    (host.path / "board.dtb").write_bytes(to_dtb(build(virt())))
    with pytest.raises(InvalidInput, match=r"'pcie_8000000000' \(0x8000000000-0xffffffffff\) alone 262144.*fewer than 131072 pages"):
        host.plan("/pcie@10000000", version="2.1.0", memory_address="0x50000000")


class Small(Host):
    """A board with one device, on a bus from which it reaches the first 256 MiB, and memory that is set aside."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        content = board(sd__7e500000={"compatible": "test,sd", "reg": [0x7E500000, 0x1000], "interrupts": [0, 9, 4]})
        content["soc"]["dma-ranges"] = [0xC0000000, 0, 0, 0x10000000]
        content["reserved-memory"] = {"#address-cells": 2, "#size-cells": 1, "ranges": True, "screen": {"reg": [0, 0x8000000, 0x1000]}}
        blob = to_dtb(build(content))
        # One entry in the list of memory that is set aside, which to_dtb leaves empty.
        start = int.from_bytes(blob[16:20], "big")
        entry = (0x4000000).to_bytes(8, "big") + (0x1000).to_bytes(8, "big")
        numbers = [int.from_bytes(blob[at : at + 4], "big") for at in range(4, 16, 4)]
        header = b"".join((number + 16).to_bytes(4, "big") for number in numbers)
        (path / "board.dtb").write_bytes(blob[:4] + header + blob[16:start] + entry + blob[start:])


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ("0x10000000", r"/soc/sd@7e500000 does not reach the guest's memory .* lets it access 0x0-0xfffffff"),
        ("0x8000000", "overlaps /reserved-memory/screen"),
        ("0x4000000", "overlaps /memreserve/"),
    ],
)
def test_memory_that_is_not_for_the_guest(tmp_path: Path, memory: str, message: str) -> None:
    host = Small(tmp_path)
    with pytest.raises(InvalidInput, match=message):
        host.plan("test,sd", memory_address=memory, memory_size="0x1000000")
    assert host.plan("test,sd", memory_address="0x1000000", memory_size="0x1000000").warnings == []


def test_dma_into_other_memory(tmp_path: Path) -> None:
    (warning,) = Small(tmp_path).plan("test,sd", memory_address="0x10000000", one_to_one=False).warnings
    assert warning == "/soc/sd@7e500000 may do DMA: without one_to_one, it reads and writes memory that is not the guest's"


@pytest.mark.parametrize("option", ["vmm_name", "vmm_image", "vm_name"])
def test_names_that_are_empty(host: Host, option: str) -> None:
    with pytest.raises(InvalidInput, match=f"{option} is empty"):
        host.plan("test,rtc", **{option: " "})
