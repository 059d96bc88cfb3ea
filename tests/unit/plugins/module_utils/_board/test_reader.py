# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._board.configuration import Board
from ansible_collections.xen.driver_domains.plugins.module_utils._board.reader import read_board
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.tests.unit.fakes import board as fake_board
from ansible_collections.xen.driver_domains.tests.unit.fakes.board import domu

HERE = Path("/srv/tftp")
STATIC = {"static_memory": [{"start": "0x50000000", "size": "0x8000000"}], "memory": None}
RTC = {"passthrough_dtb": "rtc.dtb", "passthrough_paths": ["/pl031@9010000"]}


def read(**changes: t.Any) -> Board:
    return read_board(fake_board.parameters(HERE, **changes))


#: Wrong input and the message for it.
WRONG: dict[str, tuple[dict[str, t.Any], str]] = {
    "not an address": ({"memory_start": "1G"}, "'1G' is not an address"),
    "negative": ({"memory_start": "-1"}, "'-1' is not an address"),
    "window of nothing": ({"memory_end": "0x40000000"}, "is not above memory_start"),
    "start not aligned": ({"memory_start": "0x40100000"}, "memory_start 0x40100000 is not a multiple of 2 MiB"),
    "end not aligned": ({"memory_end": "0xbfffffff"}, "memory_end 0xbfffffff is not a multiple of 4 KiB"),
    "outside": ({"xen": "/boot/xen"}, "is outside of /srv/tftp.*Copy it below"),
    "outside by dots": ({"device_tree": "../virt.dtb"}, "is outside of /srv/tftp"),
    "file name with a space": ({"xen": "my xen"}, "'my xen' has a character"),
    "file name as an option": ({"xen": "-c"}, "has a character"),
    "dollar": ({"xen_cmdline": "console=$x"}, r"xen_cmdline has the character '\$'"),
    "quote": ({"xen_cmdline": 'a"b'}, "xen_cmdline has the character"),
    "backquote": ({"dom0": {"kernel": "Image", "cmdline": "`reboot`"}}, "dom0.cmdline has the character '`'"),
    "newline": ({"domus": [domu("a", cmdline="a\nb")]}, "a: cmdline has the character"),
    "newline at the end": ({"domus": [domu("a", cmdline="a\n")]}, "a: cmdline has the character"),
    "backslash": ({"domus": [domu("a", cmdline="a\\b")]}, "a: cmdline has the character"),
    "numbers": ({"domus": [domu("a", cmdline="<1>")]}, "begins with '<'"),
    "two commands": ({"load_command": "usb start; load"}, "is not one command"),
    "dom0_mem": ({"xen_cmdline": "dom0_mem=1G"}, "'dom0_mem=1G', which has an option of its own"),
    "dom0_mem without dom0": ({"xen_cmdline": "dom0_mem=1G", "dom0": None, "domus": [domu("a")]}, "there is no dom0"),
    "dom0 memory": ({"dom0": {"kernel": "Image", "memory": 32}}, "dom0.memory is 32 MiB"),
    "nothing": ({"dom0": None}, "neither a dom0 nor a domain"),
    "no kernel": ({"domus": [domu("a", kernel=None)]}, "a: a domain that Xen starts needs a kernel"),
    "nobody starts it": ({"dom0": None, "domus": [domu("a"), domu("b", boot=False)]}, "b: boot is false and there is no dom0"),
    "no memory": ({"domus": [domu("a", memory=0)]}, "a: memory is 0 MiB"),
    "no CPU": ({"domus": [domu("a", vcpus=0)]}, "a: vcpus is 0"),
    "name": ({"domus": [domu("a b")]}, "'a b' is not a name"),
    "same name": ({"domus": [domu("a"), domu("a")]}, "Two domains have the name 'a'"),
    "dom0's name": ({"domus": [domu("dom0")]}, "Two domains have the name 'dom0'"),
    "direct map alone": ({"domus": [domu("a", direct_map=True)]}, "a: direct_map needs static_memory"),
    "static memory not in pages": (
        {"domus": [domu("a", memory=None, static_memory=[{"start": "0x50000800", "size": "0x1000"}])]},
        "is not made of whole pages",
    ),
    "other size": ({"domus": [domu("a", **{**STATIC, "memory": 64})]}, "a: memory is 64 MiB but static_memory has 128 MiB"),
    "overlap": ({"domus": [domu("a", **STATIC), domu("b", **STATIC)]}, "b: static_memory .* overlaps .* of a"),
    "overlap with the heap": ({"static_heap": STATIC["static_memory"], "domus": [domu("a", **STATIC)]}, "overlaps .* of static_heap"),
    "heap twice": ({"static_heap": STATIC["static_memory"] * 2}, "static_heap 0x.* overlaps .* of static_heap"),
    "grant frames": ({"domus": [domu("a", grant_frames=-1)]}, "a: grant_frames is -1. Rule: from 0 to 2147483647"),
    "maptrack frames": ({"domus": [domu("a", maptrack_frames=1 << 31)]}, "a: maptrack_frames is 2147483648"),
    "no RAM": ({"ram": -1}, "ram is -1 MiB. Rule: at least 0"),
    "a device on another's bus": (
        {"domus": [domu("a", passthrough_paths=["/soc"]), domu("b", passthrough_paths=["/soc/i2c@1"])]},
        "b: of /soc/i2c@1 and /soc, which is passed through to a, one is below the other",
    ),
    "the bus of another's device": (
        {"domus": [domu("a", passthrough_paths=["/soc/i2c@1"]), domu("b", passthrough_paths=["/soc"])]},
        "b: of /soc and /soc/i2c@1, which is passed through to a",
    ),
    "no XenStore": ({"dom0": None, "domus": [domu("a", enhanced="enabled")]}, "no dom0 that runs XenStore"),
    "two owners": ({"domus": [domu("a", **RTC), domu("b", **RTC)]}, "b: /pl031@9010000 is already passed through to a"),
    "not a path": ({"domus": [domu("a", passthrough_paths=["pl031"])]}, "'pl031' is not the path of a device tree node"),
    "colours": ({"domus": [domu("a", colors="red")]}, "a: colors: 'red' are not cache colours"),
    "shared memory's name": (
        {"domus": [domu("a", shared_memory={"id": "x y", "guest_address": "0x1000", "size": "0x1000"})]},
        "shared_memory.id 'x y' is not usable",
    ),
    "shared memory": ({"domus": [domu("a", shared_memory={"id": "x", "guest_address": "1", "size": "0x1000"})]}, "not made of whole pages"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name: str) -> None:
    changes, message = WRONG[name]
    with pytest.raises(InvalidInput, match=message):
        read(**changes)


def test_defaults() -> None:
    board = read(domus=[domu("a", memory=None)])
    assert board.xen_cmdline == "console=dtuart bootscrub=0 dom0_mem=512M dom0_max_vcpus=1"
    assert board.dom0 and board.dom0.cmdline == "console=hvc0 earlycon=xenboot"
    (first,) = board.domus
    assert (first.memory, first.enhanced, first.direct_map, first.cmdline) == (512, "enabled", False, "console=ttyAMA0")
    assert board.load_command == "tftpb"


def test_true_dom0less() -> None:
    board = read(dom0=None, domus=[domu("a")])
    assert board.xen_cmdline == "console=dtuart bootscrub=0"
    assert board.domus[0].enhanced == "disabled"
    assert board.domids == {"a": 1}


def test_ram_that_the_role_does_not_give() -> None:
    assert read(ram=0).ram == 0


def test_numbers_follow_the_list() -> None:
    assert read(domus=[domu("b"), domu("later", boot=False, kernel=None), domu("a")]).domids == {"dom0": 0, "b": 1, "a": 2}


def test_ram_that_ends_between_two_multiples_of_2_mib() -> None:
    assert read(memory_end="0xbff01000").memory.end == 0xBFF01000


def test_static_memory_is_mapped_directly() -> None:
    (domain,) = read(domus=[domu("a", **STATIC)]).domus
    assert (domain.memory, domain.direct_map) == (128, True)


@pytest.mark.parametrize(("short", "command"), [("sd", "load mmc 0:1"), ("usb", "fatload usb 0:1"), ("load mmc 1:2", "load mmc 1:2")])
def test_load_commands(short: str, command: str) -> None:
    assert read(load_command=short).load_command == command


def test_addresses_as_yaml_reads_them() -> None:
    assert read(memory_start=str(0x40000000)).memory.start == 0x40000000


def test_absolute_names_inside() -> None:
    assert read(xen="/srv/tftp/sub/../xen").xen == "xen"
