# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Definitions as people write them, as variables of the roles, and back: xl must read both in the same way."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.xen.driver_domains.plugins.filter.domain_definitions import FilterModule
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt import (
    Address,
    Adopted,
    Devices,
    adopt,
    declared,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt_kept import lost_settings, settings_of
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import definitions
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.equality import differences, same
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.kept import agrees
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg_reader import read
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import BLANK
from ansible_collections.xen.driver_domains.tests.unit.xl_parser import xl_program

SHAPES = sorted(Path(__file__).with_name("definitions").glob("*.cfg"))

#: What cannot be expressed, by definition; where nothing is named, everything can.
LOST = {
    "random_macs": [
        "vcpus is 'two', which is no number, and which xl ignores",
        "root is a list, which xl ignores",
        "vif 0 has no MAC address, so xl chooses another one at each start; it gets one that stays",
        "vif 1 has no MAC address, so xl chooses another one at each start; it gets one that stays",
        "the vif 'mac=00:16:3e:91:00:02,br1' has 'br1'",
    ],
}


def adopted(path: Path) -> tuple[Adopted, Devices]:
    devices = Devices("/nonexistent")
    return adopt(read(path.read_text(encoding="utf-8")), devices), devices


def test_there_are_twenty_shapes() -> None:
    assert len(SHAPES) >= 20


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_xl_reads_the_same(path: Path) -> None:
    """From the definition to the inventory as YAML, by the filter of the roles to the parameters of xl_domain, and to its definition."""
    text, program = path.read_text(encoding="utf-8"), xl_program()
    found, devices = adopted(path)
    assert found.lost == LOST.get(path.stem, [])
    (item,) = yaml.safe_load(yaml.safe_dump([found.domain], allow_unicode=True))
    (by_role,) = FilterModule().filters()["domain_definitions"]([item], found.role, devices=[{"name": n} for n in devices.names.values()])
    known: t.Any = {name: Address(bdf) for bdf, name in devices.names.items()}
    ours = definitions([{**BLANK, **by_role}], known)[0].text
    assert ours == declared([found], devices)[0].text
    theirs_parsed, ours_parsed = program.parse(text), program.parse(ours)
    assert theirs_parsed is not None, program.errors
    assert ours_parsed is not None, program.errors
    assert same(theirs_parsed, ours_parsed, text) == []


@pytest.mark.parametrize("path", [path for path in SHAPES if path.stem not in LOST], ids=lambda path: path.stem)
def test_all_that_the_toolstack_keeps_is_expressed_or_named(path: Path) -> None:
    """What xl makes of a definition is what libxl keeps, apart from what it fills in."""
    parsed = kept(path.read_text(encoding="utf-8"))
    ours = by_toolstack(parsed)
    named = {text.partition(" is ")[0] for text in lost_settings(parsed, ours)}
    filled = FILLED_IN[parsed["c_info"]["type"]]
    missing = {text.partition(" is ")[0] for text in differences(merged(filled, parsed), merged(filled, ours))} - {"c_info.uuid"}
    # 16 MiB are the default of the graphics card that is named.
    missing -= {"b_info.video_memkb"}
    assert [place for place in missing if not any(other.startswith(place) for other in named)] == []
    assert agrees(ours, parsed)


#: What libxl_domain_need_memory writes into the configuration of each kind of domain (libxl__domain_config_setdefault of Xen 4.17).
_CREATE = {"driver_domain": "False", "xend_suspend_evtchn_compat": "False", "passthrough": "disabled", "ssidref": 11, "poolid": 0}
_BUILD = {
    "device_model_stubdomain": "False",
    "vpmu": "False",
    "device_model_version": "qemu_xen",
    "blkdev_start": "xvda",
    "acpi": "True",
    "max_vcpus": 1,
    "avail_vcpus": [0],
    "numa_placement": "True",
    "stubdomain_memkb": 0,
    "localtime": "False",
    "event_channels": 1023,
    "disable_migrate": "False",
    "dm_restrict": "False",
    "iommu_memkb": 0,
    "max_grant_version": 2,
    "bootloader_restrict": "False",
}
_NOT_PV = {"timer_mode": "no_delay_for_missed_ticks", "apic": "True", "nested_hvm": "False"}
_HVM = {
    **dict.fromkeys(("pae", "acpi_s3", "acpi_s4", "nx", "hpet", "vpt_align", "vkb_device", "xen_platform_pci"), "True"),
    **dict.fromkeys(("acpi_laptop_slate", "viridian", "altp2m", "usb", "pirq", "nographic", "gfx_passthru"), "False"),
    "bios": "seabios",
    "hdtype": "ide",
    "boot": "cda",
    "mmio_hole_memkb": 0,
    "rdm_mem_boundary_memkb": 2097152,
    "vga": {"kind": "cirrus"},
    "vnc": {"enable": "True", "listen": "127.0.0.1", "findunused": "True"},
    "sdl": {"enable": "False"},
    "spice": {"enable": "False"},
    "rdm": {"policy": "relaxed"},
}
FILLED_IN: dict[str, dict[str, t.Any]] = {
    "pv": {"c_info": _CREATE, "b_info": {**_BUILD, "video_memkb": 0, "shadow_memkb": 1536, "type.pv": {"e820_host": "False"}}},
    "pvh": {
        "c_info": {**_CREATE, "hap": "True", "oos": "True"},
        "b_info": {**_BUILD, **_NOT_PV, "video_memkb": 0, "shadow_memkb": 1536, "type.pvh": {"pvshim": "False"}},
    },
    "hvm": {
        "c_info": {**_CREATE, "hap": "True", "oos": "True"},
        "b_info": {**_BUILD, **_NOT_PV, "video_memkb": 8192, "shadow_memkb": 1536, "type.hvm": _HVM},
    },
}


def kept(text: str, filled: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """Return what libxl keeps of a domain."""
    parsed = xl_program().parse(text)
    assert parsed is not None, xl_program().errors
    return merged(filled or {}, parsed)


def merged(filled: t.Mapping[str, t.Any], parsed: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    deep = {key: merged(filled[key], value) for key, value in parsed.items() if isinstance(value, dict) and key in filled}
    return {**filled, **parsed, **deep}


def by_toolstack(found: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return what xl makes of our definition of a domain of which only that was found."""
    devices = Devices("/nonexistent")
    parsed = xl_program().parse(declared([adopt(settings_of(found), devices)], devices)[0].text)
    assert parsed is not None, xl_program().errors
    return parsed


BASE = 'name = "w"\nmemory = 128\nvcpus = 1\nkernel = "/k"\n'


@pytest.mark.parametrize("filled", [True, False], ids=["filled in", "as xl wrote it"])
@pytest.mark.parametrize("kind", ["pv", "pvh", "hvm"])
def test_what_libxl_fills_in_is_no_loss(kind: str, filled: bool) -> None:
    found = kept(f'{BASE}type = "{kind}"\n', FILLED_IN[kind] if filled else None)
    assert lost_settings(found, by_toolstack(found)) == []


@pytest.mark.parametrize("filled", [True, False], ids=["filled in", "as xl wrote it"])
@pytest.mark.parametrize(
    ("kind", "setting", "place"),
    [
        ("hvm", 'bios = "ovmf"', "b_info.type.hvm.bios"),
        ("hvm", "nestedhvm = 1", "b_info.nested_hvm"),
        ("hvm", 'boot = "dc"', "b_info.type.hvm.boot"),
        ("hvm", "apic = 0", "b_info.apic"),
        ("hvm", 'vga = "stdvga"', "b_info.type.hvm.vga.kind"),
        ("hvm", "videoram = 32", "b_info.video_memkb"),
        ("hvm", "shadow_memory = 64", "b_info.shadow_memkb"),
        ("hvm", "viridian = 1", "b_info.type.hvm.viridian"),
        ("hvm", 'vnclisten = "0.0.0.0"', "b_info.type.hvm.vnc.listen"),
        ("hvm", "dm_restrict = 1", "b_info.dm_restrict"),
        ("hvm", 'passthrough = "sync_pt"', "c_info.passthrough"),
        ("hvm", 'altp2m = "mixed"', "b_info.altp2m"),
        ("pvh", "cpu_weight = 512", "b_info.sched_params.weight"),
        ("pvh", "cap = 50", "b_info.sched_params.cap"),
        ("pvh", 'pool = "Pool-1"', "c_info.pool_name"),
        ("pvh", 'timer_mode = "delay_for_missed_ticks"', "b_info.timer_mode"),
        ("pv", 'cpus = "2"', "b_info.vcpu_hard_affinity"),
        ("pv", 'cpus_soft = "2"', "b_info.vcpu_soft_affinity"),
        ("pv", 'seclabel = "a:b:c"', "c_info.ssid_label"),
        ("pv", "localtime = 1", "b_info.localtime"),
        ("pv", "e820_host = 1", "b_info.type.pv.e820_host"),
        ("pv", 'vfb = ["type=vnc,vncpasswd=geheim"]', "vfbs"),
        ("pv", 'vtpm = ["backend=tpm"]', "vtpms"),
    ],
)
def test_what_was_set_and_is_not_read_is_a_loss(kind: str, setting: str, place: str, filled: bool) -> None:
    found = kept(f'{BASE}type = "{kind}"\n{setting}\n', FILLED_IN[kind] if filled else None)
    lost = lost_settings(found, by_toolstack(found))
    assert [text for text in lost if text.startswith(place)]
    assert "geheim" not in str(lost)


@pytest.mark.parametrize("setting", ["hap = 0", "acpi = 0", "max_grant_version = 1"])
def test_what_depends_on_the_host_is_set(setting: str) -> None:
    found = kept(f'{BASE}type = "pvh"\n{setting}\n', FILLED_IN["pvh"])
    assert lost_settings(found, by_toolstack(found)) == []
    assert setting.partition(" ")[0] in settings_of(found)


def test_a_setting_of_a_device_that_is_not_read_is_a_loss() -> None:
    found = kept(BASE + 'type = "pvh"\nvif = ["mac=00:16:3e:5a:00:01,bridge=br0"]\n')
    ours = by_toolstack(found)
    assert lost_settings(found, ours) == []
    found["nics"][0]["coloft_forwarddev"] = "eth9"
    assert lost_settings(found, ours) == ["nics[0].coloft_forwarddev is None, not 'eth9'"]
