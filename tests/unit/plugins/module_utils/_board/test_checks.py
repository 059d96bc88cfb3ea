# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks that read the board's files, with input that they refuse and input that they accept."""

from __future__ import annotations

import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._board import uboot_script
from ansible_collections.xen.driver_domains.plugins.module_utils._board.boot_files import Files, xen_configuration
from ansible_collections.xen.driver_domains.plugins.module_utils._board.checks import check_files, check_memory
from ansible_collections.xen.driver_domains.plugins.module_utils._board.load_map import lay_out
from ansible_collections.xen.driver_domains.plugins.module_utils._board.reader import read_board
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.tests.unit.fakes import board as fake_board
from ansible_collections.xen.driver_domains.tests.unit.fakes.board import MIB, cells, domu, dtb, kernel, partial

RTC = {"passthrough_dtb": "rtc.dtb", "passthrough_paths": ["/pl031@9010000"]}
STATIC = {"static_memory": [{"start": "0xb0000000", "size": "0x8000000"}], "memory": None}
SHARED = {"id": "shm", "guest_address": "0x6000000", "size": "0x1000"}
#: A Xen with all that Debian's lacks.
FULL_XEN = fake_board.xen(
    "CONFIG_ARM_64",
    *(f"CONFIG_{name}" for name in ("STATIC_MEMORY", "STATIC_SHM", "LLC_COLORING")),
)
NIC = "/virtio_mmio@a000000"
GIC = {"compatible": "arm,gic-400", "interrupt-controller": None, "#interrupt-cells": cells(3), "reg": cells(0, 0x8000000, 0, 0x20000)}


def board_console(size: int = 0x1000, chosen: str = "/serial@7e215040") -> dict[str, t.Any]:
    """The board with one more UART, like the Raspberry Pi 4's small one, and what Xen's console is."""
    uart = {"compatible": "brcm,bcm2835-aux-uart", "reg": cells(0, 0x7E215040, 0, size)}
    return {**fake_board.VIRT, "serial@7e215040": uart, "chosen": {"stdout-path": chosen} if chosen else {}}


def with_clock(tree: dict[str, t.Any]) -> dict[str, t.Any]:
    return {**tree, "passthrough": {**tree["passthrough"], "clock": {"compatible": "fixed-clock"}}}


def check(directory: Path, packed_ramdisks: bool = True, files: t.Mapping[str, bytes] | None = None, **changes: t.Any) -> Plan:
    fake_board.files(directory)
    for name, content in (files or {}).items():
        (directory / name).write_bytes(content)
    board = read_board(fake_board.parameters(directory, **changes))
    reader, plan = Files(board.directory), Plan()
    check_files(board, reader, plan, packed_ramdisks=packed_ramdisks)
    check_memory(board, reader, uboot_script.plan_memory(board, reader), plan)
    return plan


#: Wrong input and the message for it. "files" are written first.
WRONG: dict[str, tuple[dict[str, t.Any], str]] = {
    "missing": ({"domus": [domu("a", kernel="Image-domU")]}, "a: kernel: cannot read .*Image-domU: No such file.*Build it"),
    "other ending": ({"domus": [domu("a", ramdisk="rd.cpi.gz")]}, "The directory has rd.cpio.gz: did you mean that"),
    "no partial tree": ({"domus": [domu("a", **{**RTC, "passthrough_dtb": "part.x"})]}, "Make the partial device tree with"),
    "empty": ({"files": {"Image": b""}}, "Image is empty"),
    "uImage as Xen": ({"files": {"xen": b"\x27\x05\x19\x56" + bytes(100)}}, r"xen: .* is a U-Boot image \(uImage\), not an arm64 Image"),
    "packed Xen": ({"xen": "Image.gz"}, "xen: .* is compressed with gzip, not an arm64 Image"),
    "Xen for another machine": ({"files": {"xen": fake_board.xen("CONFIG_X86_64")}}, "is not built for 64-bit Arm"),
    "ELF": ({"files": {"Image": b"\x7fELF" + bytes(100)}}, "is an ELF file"),
    "zboot": ({"files": {"Image": b"MZ\0\0zimg" + bytes(100)}}, r"is a compressed EFI kernel \(zboot\)"),
    "kernel as ramdisk": ({"domus": [domu("a", ramdisk="Image")]}, r"a: ramdisk: .* is an arm64 kernel \(Image\), not a cpio archive"),
    "gzip of something": ({"domus": [domu("a", ramdisk="Image.gz")]}, "not a cpio archive"),
    "zstd for ImageBuilder": ({"packed_ramdisks": False, "domus": [domu("a", ramdisk="rd.zst")]}, "is compressed with zstd, not a cpio"),
    "source as device tree": ({"files": {"virt.dtb": b"/dts-v1/;"}}, "not a device tree blob.*dtc -I dts"),
    "damaged device tree": ({"files": {"virt.dtb": dtb(fake_board.VIRT)[:200]}}, "virt.dtb is damaged: its header does not fit"),
    "extra commands": ({"extra_commands_file": "rd.zst"}, "extra_commands_file: .* is not ASCII text"),
    "extra commands with a zero": (
        {"files": {"extra.txt": b"echo one\0\n"}, "extra_commands_file": "extra.txt"},
        r"has the character '.x00'",
    ),
    "extra commands of Windows": (
        {"files": {"extra.txt": b"echo one\r\n"}, "extra_commands_file": "extra.txt"},
        r"has the character '.r' at byte 8. .*line ends of Unix",
    ),
    "static memory": ({"domus": [domu("a", **STATIC)]}, "built without CONFIG_STATIC_MEMORY .for static_memory of a"),
    "null scheduler": ({"xen_cmdline": "sched=null"}, "CONFIG_SCHED_NULL .for sched=null in xen_cmdline"),
    "overlay": ({"overlays": ["extra.txt"]}, r"overlays\[0\]: .* is of an unknown kind, not a device tree blob"),
    "damaged gzip": ({"files": {"rd.cpio.gz": b"\x1f\x8bnonsense"}}, "dom0.ramdisk: .* not a cpio archive"),
    "heap": ({"static_heap": STATIC["static_memory"]}, "CONFIG_STATIC_MEMORY .for static_heap"),
    "shared memory": ({"domus": [domu("a", shared_memory=SHARED)]}, "CONFIG_STATIC_SHM .for shared_memory of a"),
    "colours of Xen": ({"xen_cmdline": "xen-llc-colors=0-3"}, "CONFIG_LLC_COLORING .for xen-llc-colors= in xen_cmdline"),
    "colours of dom0": ({"xen_cmdline": "dom0-llc-colors=0-3"}, "CONFIG_LLC_COLORING .for dom0-llc-colors= in xen_cmdline"),
    "colours": ({"domus": [domu("a", colors="0-3")]}, "CONFIG_LLC_COLORING .for colors of a"),
    "no such node": (
        {"domus": [domu("a", **{**RTC, "passthrough_paths": ["/soc/pl031@1"]})]},
        "no node /soc/pl031@1.*similar ones: /pl031@9010000",
    ),
    "tree without paths": (
        {"domus": [domu("a", passthrough_dtb="rtc.dtb")]},
        "passthrough_dtb without passthrough_paths.*passthrough_paths: /pl031@9010000",
    ),
    "paths without tree": ({"domus": [domu("a", passthrough_paths=["/pl031@9010000"])]}, "passthrough_paths without passthrough_dtb"),
    "whole tree": ({"domus": [domu("a", **{**RTC, "passthrough_dtb": "virt.dtb"})]}, "has no node /passthrough.*not a whole one"),
    "not in paths": (
        {"domus": [domu("a", **{**RTC, "passthrough_paths": ["/soc/i2c@1"]})]},
        "assigns /pl031@9010000, which is not in passthrough_paths",
    ),
    "registers not in pages": (
        {"files": {"rtc.dtb": dtb(partial(xen_reg=cells(0, 0x9010400, 0, 0x1000, 0, 0x9010400)))}, "domus": [domu("a", **RTC)]},
        "rtc.dtb:/passthrough/device@9010000: xen,reg .* is not made of whole pages",
    ),
    "registers cut off": (
        {"files": {"rtc.dtb": dtb(partial(xen_reg=cells(0, 0x9010000, 0)))}, "domus": [domu("a", **RTC)]},
        "rtc.dtb:/passthrough/device@9010000: xen,reg has 3 cells",
    ),
    "no force": (
        {"files": {"rtc.dtb": dtb(partial(**{"xen,force-assign-without-iommu": False}))}, "domus": [domu("a", **RTC)]},
        "has no IOMMU: Xen does not assign it.*xen,force-assign-without-iommu",
    ),
    "path of nothing": (
        {"files": {"rtc.dtb": dtb(partial("/none"))}, "domus": [domu("a", **RTC)]},
        "the board has no node /none",
    ),
    "no path": (
        {"files": {"rtc.dtb": dtb(partial(**{"xen,path": False, "xen,force-assign-without-iommu": False}))}, "domus": [domu("a", **RTC)]},
        "xen,reg without xen,path",
    ),
    "Xen's console": (
        {"domus": [domu("a", **{**RTC, "passthrough_paths": ["/pl011@9000000"]})]},
        "/pl011@9000000 is Xen's own console",
    ),
    "Xen's console by name": (
        {"xen_cmdline": "dtuart=serial0", "domus": [domu("a", **{**RTC, "passthrough_paths": ["/pl011@9000000"]})]},
        "is Xen's own console",
    ),
    "emulated UART in the place of a small one": (
        {"files": {"virt.dtb": dtb(board_console(size=0x40))}, "xen": "xen-static", "domus": [domu("a", **STATIC)]},
        "a: /serial@7e215040 has only 0x40 bytes of registers.*at least 4 KiB.*Set vpl011: false",
    ),
    "emulated UART in the place of a small one, by name": (
        {"files": {"virt.dtb": dtb(board_console(size=0x200, chosen="/pl011@9000000"))}, "xen": "xen-static"}
        | {"xen_cmdline": "console=dtuart dtuart=/serial@7e215040", "domus": [domu("a", **STATIC)]},
        "a: /serial@7e215040 has only 0x200 bytes",
    ),
    "emulated UART in the place of none": (
        {"files": {"virt.dtb": dtb(board_console(chosen=""))}, "xen": "xen-static", "domus": [domu("a", **STATIC)]},
        "a: Xen has no UART as its console, so the domain cannot have an emulated UART",
    ),
    "too little for itself": ({"domus": [domu("a", memory=9)]}, "a: 9 MiB of memory are not enough: .* need 11 MiB"),
    "too little RAM": (
        {"domus": [domu(f"d{number}", memory=64) for number in range(24)]},
        "The domains need 2076 MiB of RAM and the board has 2048 MiB.*dom0 512, d0 64",
    ),
    "too little RAM, given": ({"ram": 512}, "the board has 512 MiB"),
    "no RAM there": ({"memory_start": "0x0"}, "has no such RAM.*0x40000000-0xbfffffff"),
    "static memory where files are": (
        {"xen": "xen-static", "domus": [domu("a", memory=None, static_memory=[{"start": "0x40000000", "size": "0x8000000"}])]},
        "a: its memory 0x40000000-0x47ffffff overlaps .* where boot script is loaded",
    ),
    "too little for dom0": (
        {"dom0": {"kernel": "Image", "memory": 64}, "files": {"Image": kernel(image_size=63 * MIB)}},
        "dom0: 64 MiB of",
    ),
    "heap and domains": (
        {"static_heap": [{"start": "0xb0000000", "size": "0x10000000"}], "dom0": {"kernel": "Image", "memory": 1800}, "xen": "xen-static"},
        "The domains need .*dom0 1800, static_heap 256",
    ),
    "too many processors": ({"domus": [domu("a", vcpus=129)]}, "a: vcpus is 129. Rule: a domain on Xen has at most 128"),
    "too many processors for a GICv2": (
        {"files": {"virt.dtb": dtb({**fake_board.VIRT, "gic@8000000": GIC})}, "domus": [domu("a", vcpus=9)]},
        "a: vcpus is 9. Rule: a domain on a GICv2 has at most 8",
    ),
    "too many processors in dom0": (
        {"files": {"virt.dtb": dtb({**fake_board.VIRT, "gic@8000000": GIC})}, "dom0": {"kernel": "Image", "vcpus": 9}},
        "dom0: vcpus is 9",
    ),
    "domains in the tree": (
        {"files": {"virt.dtb": dtb({**fake_board.VIRT, "chosen": {"domU1": {"compatible": "xen,domain"}}})}},
        "virt.dtb has been prepared for Xen already: /chosen/domU1",
    ),
    "kernel of dom0 in the tree": (
        {"files": {"virt.dtb": dtb({**fake_board.VIRT, "chosen": {"module@0": {"compatible": "xen,linux-zimage\0multiboot,module"}}})}},
        "has been prepared for Xen already: /chosen/module@0",
    ),
    "an IOMMU": (
        {"domus": [domu("a", **{**RTC, "passthrough_paths": ["/pl031@9010000", "/smmu@9050000"]})]},
        r"a: /smmu@9050000 is an IOMMU \(arm,smmu-v3\).*Remove /smmu@9050000 from passthrough_paths",
    ),
    "a large device tree": (
        {"files": {"virt.dtb": dtb({**fake_board.VIRT, "blob": {"data": bytes(2 * MIB - 4096)}})}},
        "Xen takes a device tree of at most 2 MiB",
    ),
    "many files": (
        {"files": {f"k{number}": kernel(image_size=MIB) for number in range(29)}}
        | {"domus": [domu(f"d{number}", memory=16, kernel=f"k{number}") for number in range(29)]},
        "The domains have 31 different kernels, .* Xen takes 30 of them",
    ),
    "window too small": (
        {"memory_end": "0x40a00000"},
        "and memory_end is 0x40a00000: 6 MiB are missing.*the largest: Image .3.0 MiB",
    ),
}


def test_as_many_files_as_xen_takes(tmp_path: Path) -> None:
    """Domains share a kernel and a ramdisk; overlays, Xen and the device tree are none of them."""
    kernels = {f"k{number}": kernel(image_size=MIB) for number in range(28)}
    domus = [domu(f"d{number}", memory=16, kernel=f"k{number % 28}") for number in range(30)]
    assert check(tmp_path, files=kernels, overlays=["overlay.dtbo"], domus=domus, xen_cmdline="xsm=dummy").warnings == []


def test_the_room_that_xen_clears(tmp_path: Path) -> None:
    """A Xen for debugging takes up more than its file; ImageBuilder leaves no room for that."""
    fake_board.files(tmp_path)
    (tmp_path / "xen").write_bytes(kernel(8192, 3 * MIB))
    board = read_board(fake_board.parameters(tmp_path))
    files = Files(board.directory)
    check_memory(board, files, uboot_script.plan_memory(board, files), Plan())
    with pytest.raises(InvalidInput, match="xen takes up 0x40a00000-0x40cfffff in memory, and device tree is loaded to 0x40c00000"):
        check_memory(board, files, lay_out(board, files, domus=[]), Plan())


def test_a_console_that_the_tree_does_not_have(tmp_path: Path) -> None:
    (warning,) = check(tmp_path, xen_cmdline="dtuart=serial9").warnings
    assert "has dtuart=serial9, and virt.dtb has neither such a path nor such an alias" in warning


def test_what_dom0_loses(tmp_path: Path) -> None:
    clock = {"compatible": "arm,pl031", "reg": cells(0, 0x9010000, 0, 0x1000), "#clock-cells": cells(0), "phandle": cells(40)}
    user = {"compatible": "x", "clocks": cells(40)}
    files = {"virt.dtb": dtb({**fake_board.VIRT, "pl031@9010000": clock, "sd": user})}
    (warning,) = check(tmp_path, files=files, domus=[domu("a", **RTC)]).warnings
    assert warning == "dom0 loses /pl031@9010000, or a node below it, which others need: /sd (clocks)"
    both = {**RTC, "passthrough_paths": ["/pl031@9010000", "/sd"]}
    assert check(tmp_path, files=files, domus=[domu("a", **both)]).warnings == []
    assert check(tmp_path, files=files, dom0=None, domus=[domu("a", **RTC)]).warnings == []


CODEC = {"passthrough_dtb": "codec.dtb", "passthrough_paths": ["/codec@c000000"]}


@pytest.mark.parametrize(
    ("console", "domain"),
    [({}, {}), ({"size": 0x40}, {"vpl011": False}), ({"size": 0x40}, {"direct_map": False}), ({"chosen": ""}, {"vpl011": False})],
    ids=["4 KiB", "none wanted", "not mapped 1:1", "none on the board"],
)
def test_emulated_uart_with_a_place(tmp_path: Path, console: dict[str, t.Any], domain: dict[str, t.Any]) -> None:
    files = {"virt.dtb": dtb(board_console(**console))}
    assert check(tmp_path, files=files, xen="xen-static", domus=[domu("a", **{**STATIC, **domain})]).refusals == []


def xen_reg(*addresses: int, guest: int | None = None) -> bytes:
    return b"".join(cells(0, address, 0, 0x1000, 0, address if guest is None else guest) for address in addresses)


def with_nodes(**nodes: t.Any) -> dict[str, t.Any]:
    return {**fake_board.VIRT, **{name.replace("__", "@"): content for name, content in nodes.items()}}


#: A hand-written partial tree, and what it breaks.
HAND_WRITTEN: dict[str, tuple[dict[str, t.Any], str]] = {
    "the interrupt controller": (partial(**{"xen,reg": xen_reg(0x9010000, 0x8010000)}), "contains the interrupt controller"),
    "Xen's console": (partial(**{"xen,reg": xen_reg(0x9010000, 0x9000000)}), "contains Xen's console /pl011@9000000"),
    "what dom0 uses": (partial(**{"xen,reg": xen_reg(0x9010000, 0xB000000)}), "the registers of /ethernet@b000000"),
    "memory": (partial(**{"xen,reg": xen_reg(0x9010000, 0x60000000)}), "contains memory of the machine"),
    "another address than reg": (partial(**{"xen,reg": xen_reg(0x9010000, guest=0x9011000)}), "xen,reg maps nothing to 0x9010000"),
    "the guest's memory": (
        partial(**{"reg": cells(0, 0x41000000, 0, 0x1000), "xen,reg": xen_reg(0x9010000, guest=0x41000000)}),
        "0x41000000-0x41000fff is where the guest's memory is",
    ),
    "nothing at all": (
        partial(**{"xen,reg": False, "xen,path": False, "xen,force-assign-without-iommu": False}),
        "Xen passes nothing through",
    ),
    "no bus": ({"passthrough": {"device": {"xen,path": "/pl031@9010000"}}}, "is not a simple-bus"),
}


@pytest.mark.parametrize("name", HAND_WRITTEN)
@pytest.mark.parametrize("packed_ramdisks", [True, False], ids=["uboot_script", "imagebuilder_config"])
def test_hand_written_trees(tmp_path: Path, name: str, packed_ramdisks: bool) -> None:
    tree, message = HAND_WRITTEN[name]
    files = {"rtc.dtb": dtb(tree), "virt.dtb": dtb(with_nodes(gic__8000000=GIC))}
    with pytest.raises(InvalidInput, match=message):
        check(tmp_path, files=files, packed_ramdisks=packed_ramdisks, domus=[domu("a", **RTC)])


def test_memory_of_the_guest_depends_on_the_guest(tmp_path: Path) -> None:
    """An address above the memory of a small guest; with memory that is mapped 1:1, there is no other layout."""
    tree = partial(**{"reg": cells(0, 0x50000000, 0, 0x1000), "xen,reg": xen_reg(0x9010000, guest=0x50000000)})
    assert check(tmp_path, files={"rtc.dtb": dtb(tree)}, domus=[domu("a", memory=64, **RTC)]).warnings == []
    with pytest.raises(InvalidInput, match="is where the guest's memory is"):
        check(tmp_path, files={"rtc.dtb": dtb(tree)}, domus=[domu("a", memory=512, **RTC)])


def test_a_page_of_two_domains(tmp_path: Path) -> None:
    other = partial("/codec@c000000", **{"xen,reg": xen_reg(0xC000000, 0xC001000)})
    third = partial(**{"xen,reg": xen_reg(0x9010000, 0xC001000)})
    files = {"codec.dtb": dtb(other), "rtc.dtb": dtb(third)}
    with pytest.raises(InvalidInput, match="b: rtc.dtb maps 0xc001000-0xc001fff, which overlaps .* of a"):
        check(tmp_path, files=files, domus=[domu("a", **CODEC), domu("b", **RTC)])


@pytest.mark.parametrize("status", ["okay", "disabled"])
def test_what_shares_a_page_is_marked_or_disabled(tmp_path: Path, status: str) -> None:
    neighbour = {"compatible": "test,wdt", "reg": cells(0, 0x9010800, 0, 0x100), "status": status}
    files = {"virt.dtb": dtb(with_nodes(wdt__9010800=neighbour))}
    if status == "okay":
        with pytest.raises(InvalidInput, match="/wdt@9010800 is in the same page.*passthrough_paths"):
            check(tmp_path, files=files, domus=[domu("a", **RTC)])
    else:
        assert check(tmp_path, files=files, domus=[domu("a", **RTC)]).warnings == []
    both = {**RTC, "passthrough_paths": ["/pl031@9010000", "/wdt@9010800"]}
    assert check(tmp_path, files=files, domus=[domu("a", **both)]).warnings == []


@pytest.mark.parametrize(
    "node",
    [
        {"compatible": "vendor,video-codec"},
        {"compatible": "vendor,crypto", "interrupts": cells(0, 5, 4)},
        {},
        {"compatible": "arm,pl011", "dma-coherent": None},
    ],
)
def test_what_is_not_known_does_dma(tmp_path: Path, node: dict[str, t.Any]) -> None:
    codec = {**node, "reg": cells(0, 0xC000000, 0, 0x1000)}
    files = {"virt.dtb": dtb(with_nodes(codec__c000000=codec)), "codec.dtb": dtb(partial("/codec@c000000"))}
    (refusal,) = check(tmp_path, files=files, domus=[domu("a", **CODEC)]).refusals
    assert (refusal.guard, refusal.subject) == ("dma_without_iommu", "a: /codec@c000000")


def test_a_node_that_only_an_overlay_brings(tmp_path: Path) -> None:
    content = {"i3c@d000000": {"compatible": "arm,pl031", "reg": cells(0, 0xD000000, 0, 0x1000)}}
    files = {
        "overlay.dtbo": dtb({"fragment@0": {"target-path": "/", "__overlay__": content}}),
        "i3c.dtb": dtb(partial("/i3c@d000000")),
    }
    domain = domu("a", passthrough_dtb="i3c.dtb", passthrough_paths=["/i3c@d000000"])
    with pytest.raises(InvalidInput, match="no node /i3c@d000000"):
        check(tmp_path, files=files, domus=[domain])
    assert check(tmp_path, files=files, domus=[domain], overlays=["overlay.dtbo"]).warnings == []


def ram(*banks: int) -> bytes:
    return b"".join(cells(0, start, 0, 0x40000000) for start in banks)


def test_two_banks_that_are_one_range(tmp_path: Path) -> None:
    memory = {"device_type": "memory", "reg": ram(0x40000000, 0x80000000)}
    assert check(tmp_path, files={"virt.dtb": dtb(with_nodes(memory__40000000=memory))}).warnings == []
    apart = {"device_type": "memory", "reg": ram(0x40000000, 0x90000000)}
    with pytest.raises(InvalidInput, match="has no such RAM"):
        check(tmp_path, files={"virt.dtb": dtb(with_nodes(memory__40000000=apart))})


def reserved(start: int, **properties: t.Any) -> bytes:
    node = {"reg": cells(0, start, 0, 0x100000), "no-map": None, **properties}
    holder = {"#address-cells": cells(2), "#size-cells": cells(2), "ranges": None, "firmware@0": node}
    return dtb({**fake_board.VIRT, "reserved-memory": holder})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {"virt.dtb": reserved(0x40500000)}}, r"the load map \(dom0 kernel\).*/reserved-memory/firmware@0 .*memory_start"),
        ({"files": {"virt.dtb": reserved(0xB1000000)}, "domus": [domu("a", **STATIC)]}, "a: 0xb0000000.*/reserved-memory/firmware@0"),
        ({"domus": [domu("a", memory=None, static_memory=[{"start": "0x10000000", "size": "0x8000000"}])]}, "is not RAM of the board"),
        ({"static_heap": [{"start": "0xbff00000", "size": "0x200000"}]}, "static_heap: .* is not RAM of the board"),
    ],
)
def test_memory_that_is_not_free(tmp_path: Path, changes: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check(tmp_path, xen="xen-static", memory_end="0xB0000000", **changes)


def test_memory_that_linux_may_reuse_is_free(tmp_path: Path) -> None:
    assert check(tmp_path, files={"virt.dtb": reserved(0x40500000, reusable=None)}).warnings == []


def test_memory_that_the_blob_sets_aside(tmp_path: Path) -> None:
    blob = bytearray(dtb(fake_board.VIRT))
    # The list of the fake is empty: a list with one entry goes to the end.
    blob[16:20] = len(blob).to_bytes(4, "big")
    blob += struct.pack(">4Q", 0x40500000, 0x1000, 0, 0)
    blob[4:8] = len(blob).to_bytes(4, "big")
    with pytest.raises(InvalidInput, match="/memreserve/ of virt.dtb"):
        check(tmp_path, files={"virt.dtb": bytes(blob)})


@pytest.mark.parametrize("name", WRONG)
def test_wrong(tmp_path: Path, name: str) -> None:
    changes, message = WRONG[name]
    with pytest.raises(InvalidInput, match=message):
        check(tmp_path, **changes)


#: Correct input that looks much like wrong input.
RIGHT: dict[str, dict[str, t.Any]] = {
    "dom0 alone": {},
    "domain": {"domus": [domu("a")]},
    "packed kernel": {"domus": [domu("a", kernel="Image.gz")]},
    "ramdisk not packed": {"packed_ramdisks": False, "domus": [domu("a", ramdisk="rd.cpio")]},
    "zstd": {"domus": [domu("a", ramdisk="rd.zst")]},
    "no ramdisk": {"domus": [domu("a", ramdisk=None)]},
    "device": {"domus": [domu("a", **RTC)]},
    "device set aside for xl": {"domus": [domu("a", boot=False, passthrough_paths=[NIC])]},
    "device behind an IOMMU": {
        "files": {"nic.dtb": dtb(partial("/ethernet@b000000", **{"xen,force-assign-without-iommu": False}))},
        "domus": [domu("a", passthrough_dtb="nic.dtb", passthrough_paths=["/ethernet@b000000"])],
    },
    "another console": {
        "xen_cmdline": "dtuart=/soc/i2c@1",
        "files": {"uart.dtb": dtb(partial("/pl011@9000000"))},
        "domus": [domu("a", passthrough_dtb="uart.dtb", passthrough_paths=["/pl011@9000000"])],
    },
    "Xen that can": {
        "xen": "xen-static",
        "memory_end": "0xB0000000",
        "xen_cmdline": "sched=null",
        "domus": [domu("a", colors="1-2", **STATIC)],
    },
    "DMA with 1:1 memory": {
        "xen": "xen-static",
        "memory_end": "0xB0000000",
        "files": {"nic.dtb": dtb(partial(NIC))},
        "domus": [domu("a", passthrough_dtb="nic.dtb", passthrough_paths=[NIC], **STATIC)],
    },
    "Xen that can do the rest": {
        "files": {"xen": FULL_XEN},
        "memory_end": "0xB0000000",
        "static_heap": [{"start": "0xb8000000", "size": "0x1000"}],
        "xen_cmdline": "xen-llc-colors=0 dom0-llc-colors=1",
        "domus": [domu("a", shared_memory=SHARED)],
    },
    "overlay": {"overlays": ["overlay.dtbo"]},
    "nodes that are not assigned": {
        "files": {"rtc.dtb": dtb(partial(**{"xen,path": False}))},
        "domus": [domu("a", **RTC)],
    },
    "nodes without registers": {
        "files": {"rtc.dtb": dtb(with_clock(partial()))},
        "domus": [domu("a", **RTC)],
    },
    "just enough RAM": {"xen_cmdline": "xsm=dummy", "domus": [domu(f"d{number}", memory=62) for number in range(24)]},
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(tmp_path: Path, name: str) -> None:
    plan = check(tmp_path, **RIGHT[name])
    assert plan.refusals == []
    assert plan.warnings == []


@pytest.mark.parametrize("path", [NIC, "/soc/spi@2", "/soc"])
def test_dma_without_iommu_is_refused(tmp_path: Path, path: str) -> None:
    device = path if path != "/soc" else "/soc/spi@2"
    other = {"reg": cells(0, 0xD000000, 0, 0x1000), "xen,reg": cells(0, 0xD000000, 0, 0x1000, 0, 0xD000000)} if device != NIC else {}
    plan = check(
        tmp_path, files={"d.dtb": dtb(partial(device, **other))}, domus=[domu("a", passthrough_dtb="d.dtb", passthrough_paths=[path])]
    )
    (refusal,) = plan.refusals
    assert (refusal.guard, refusal.subject) == ("dma_without_iommu", f"a: {device}")
    plan.apply(["dma_without_iommu"], check_mode=True)


def test_a_disabled_iommu_protects_nothing(tmp_path: Path) -> None:
    smmu = {**fake_board.VIRT["smmu@9050000"], "status": "disabled"}
    files = {
        "virt.dtb": dtb({**fake_board.VIRT, "smmu@9050000": smmu}),
        "nic.dtb": dtb(partial("/ethernet@b000000")),
        "unforced.dtb": dtb(partial("/ethernet@b000000", **{"xen,force-assign-without-iommu": False})),
    }
    card = {"passthrough_dtb": "nic.dtb", "passthrough_paths": ["/ethernet@b000000"]}
    (refusal,) = check(tmp_path, files=files, domus=[domu("a", **card)]).refusals
    assert (refusal.guard, refusal.subject) == ("dma_without_iommu", "a: /ethernet@b000000")
    with pytest.raises(InvalidInput, match="has no IOMMU: Xen does not assign it.*xen,force-assign-without-iommu"):
        check(tmp_path, files=files, domus=[domu("a", **{**card, "passthrough_dtb": "unforced.dtb"})])


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"xen": "xen-silent", "xen_cmdline": "sched=null"}, "does not contain its build options; it must have CONFIG_SCHED_NULL"),
        ({"domus": [domu("a"), domu("b")]}, "xsm=silo"),
        (
            {"files": {"virt.dtb": dtb({**fake_board.VIRT, "memory@40000000": {"device_type": "memory", "reg": cells(0, 0, 0, 0)}})}},
            "Set ram",
        ),
    ],
)
def test_warnings(tmp_path: Path, changes: dict[str, t.Any], warning: str) -> None:
    (found,) = check(tmp_path, **changes).warnings
    assert warning in found


def test_domains_can_talk_with_dummy(tmp_path: Path) -> None:
    assert check(tmp_path, xen_cmdline="xsm=dummy", domus=[domu("a"), domu("b")]).warnings == []


def test_build_options() -> None:
    assert xen_configuration(fake_board.xen("CONFIG_ARM_64")) == {"CONFIG_ARM_64": "y"}
    assert xen_configuration(kernel()) is None
