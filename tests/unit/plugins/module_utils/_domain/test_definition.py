# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parameters of domains: what is written, and what is refused."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import Definition, definitions
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vif_options import default_mac
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import BLANK, pci_device

UPLINK = {"uplink0": pci_device("0000:03:00.0")}


def define(**parameters: t.Any) -> Definition:
    (definition,) = definitions([{**BLANK, "name": "web1", "memory": 128, "kernel": "/k", **parameters}], UPLINK)
    return definition


def test_everything_is_written_in_the_syntax_of_xl() -> None:
    definition = define(
        ramdisk="/r",
        cmdline='console=hvc0 a="b"',
        driver_domain=True,
        pci=[{"device": "uplink0", "permissive": False, "msitranslate": None}],
        vifs=[{"mac": "00:16:3E:00:00:11", "bridge": "xenbr0", "backend": "net-dd", "trusted": False}],
        disks=[{"vdev": "xvda", "target": "/d.img", "format": "raw", "access": "rw"}],
        on_crash="restart",
        options={"sdl": False, "cpus": ["0", "1"]},
    )
    assert definition.text == MARKER + (
        'name = "web1"\ntype = "pv"\nmemory = 128\nvcpus = 1\nkernel = "/k"\nramdisk = "/r"\n'
        'cmdline = "console=hvc0 a=\\"b\\""\ndriver_domain = 1\npci = ["0000:03:00.0,permissive=0"]\n'
        'vif = ["mac=00:16:3e:00:00:11,bridge=xenbr0,backend=net-dd,untrusted"]\n'
        'disk = ["format=raw,vdev=xvda,access=rw,target=/d.img"]\n'
        'on_crash = "restart"\ncpus = ["0", "1"]\nsdl = 0\n'
    )
    assert definition.files == ("/k", "/r", "/d.img")
    assert definition.backends == {"net-dd"}


def test_a_vif_without_mac_gets_one_that_stays() -> None:
    mac = default_mac("web1", 0)
    assert mac.startswith("00:16:3e:")
    assert f"mac={mac}" in define(vifs=[{}]).text
    assert len({default_mac(name, index) for name in ("a", "b") for index in range(3)}) == 6


@pytest.mark.parametrize(
    "removed",
    [
        {"backend": "dmz-dd", "bridge": "xenbr0"},
        {"bridge": "xenbr0"},
        {"mac": "00:16:3e:00:00:11", "backend": "net-dd", "bridge": "xenbr0"},
    ],
    ids=["at another backend", "in dom0", "with an address of its own"],
)
def test_the_address_of_a_vif_stays_when_one_before_it_is_removed(removed: dict[str, str]) -> None:
    kept: dict[str, t.Any] = {"backend": "net-dd", "bridge": "xenbr0"}
    macs = [[vif.mac for vif in define(vifs=vifs).vifs] for vifs in ([removed, kept, {"bridge": "br1"}], [kept, {"bridge": "br1"}])]
    assert macs[0][1:] == macs[1]
    assert len(set(macs[0])) == 3


def test_vifs_at_the_same_place_have_addresses_of_their_own() -> None:
    assert len({vif.mac for vif in define(vifs=[{"bridge": "br0"}] * 3).vifs}) == 3


def test_dom0_is_no_backend_to_wait_for() -> None:
    assert define(vifs=[{"backend": "Domain-0"}, {"backend": "0"}, {}]).backends == frozenset()


BAD: dict[str, tuple[dict[str, t.Any], str]] = {
    "name with a slash": ({"name": "../web"}, r"'../web' is not a usable domain name"),
    "empty name": ({"name": ""}, "not a usable domain name"),
    "name of dom0": ({"name": "Domain-0"}, "neither Domain-0"),
    "name that xl takes for a number": ({"name": "7"}, "xl would take for a domid"),
    "name of several lines": ({"name": "web1\n"}, "not a usable domain name"),
    "no memory": ({"memory": None}, "memory is None"),
    "tiny memory": ({"memory": 4}, "at least 16"),
    "no vcpu": ({"vcpus": 0}, "vcpus is 0"),
    "long command line": ({"cmdline": "x" * 1024}, "has 1024 bytes"),
    "typed setting in options": ({"options": {"memory": 1}}, "options sets memory"),
    "nothing to boot": ({"kernel": None}, "nothing to boot"),
    "unknown device": ({"pci": [{"device": "nic9"}]}, r"device 'nic9'.*which has: uplink0"),
    "pvh with a device": ({"type": "pvh", "pci": [{"device": "uplink0"}]}, r"PVH domains cannot own PCI devices up to Xen 4.22"),
    "maxmem with a device": ({"maxmem": 256, "pci": [{"device": "uplink0"}]}, "maxmem is 256.*PCI devices cannot grow"),
    "maxmem below memory": ({"maxmem": 64}, "maxmem is 64 and memory is 128"),
    "emulated card of a driver domain": ({"type": "hvm", "vifs": [{"backend": "dd", "type": "ioemu"}]}, "only dom0 can serve an emulated"),
    "model of a card of a driver domain": ({"type": "hvm", "vifs": [{"backend": "dd", "model": "e1000"}]}, "is emulated, and dd serves it"),
    "malformed MAC": ({"vifs": [{"mac": "00:16:3e:00:00"}]}, "MAC address '00:16:3e:00:00'"),
    "multicast MAC": ({"vifs": [{"mac": "01:16:3e:00:00:11"}]}, "unicast"),
    "comma in a bridge": ({"vifs": [{"bridge": "a,backend=b"}]}, "cannot be expressed"),
    "source of a disk elsewhere": ({"disks": [{"vdev": "xvda", "target": "/d", "source": "/s", "backend": "dd"}]}, "source and a backend"),
    "vdev that is none": ({"disks": [{"vdev": "xvd", "target": "/d"}]}, "Domain web1: the vdev 'xvd' is not the name of a disk"),
    "target that is no whole path": ({"disks": [{"vdev": "xvda", "target": "disk.img"}]}, "has an absolute path"),
    "target with a blank before it": ({"disks": [{"vdev": "xvda", "target": " /d"}]}, "has an absolute path"),
    "option that is no value": ({"options": {"a": {"b": 1}}}, "cannot be written"),
}


@pytest.mark.parametrize(("parameters", "problem"), BAD.values(), ids=BAD.keys())
def test_bad_values_are_refused(parameters: dict[str, t.Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        define(**parameters)


@pytest.mark.parametrize(
    ("kind", "vif", "written"),
    [
        ("hvm", {"backend": "net-dd"}, True),
        ("hvm", {"backend": "net-dd", "type": "vif"}, True),
        ("hvm", {"backend": "Domain-0"}, False),
        ("hvm", {"model": "e1000"}, False),
        ("pv", {"backend": "net-dd"}, False),
        ("pvh", {"backend": "net-dd"}, False),
    ],
)
def test_a_driver_domain_serves_no_emulated_card(kind: str, vif: dict[str, t.Any], written: bool) -> None:
    assert ("type=vif" in define(type=kind, vifs=[vif]).text) == written


@pytest.mark.parametrize(
    ("disk", "untrusted"),
    [
        ({}, False),
        ({"backend": "Domain-0"}, False),
        ({"trusted": False}, True),
        ({"backend": "store-dd"}, True),
        ({"backend": "store-dd", "trusted": True}, False),
    ],
)
def test_a_guest_trusts_the_disks_of_dom0_alone(disk: dict[str, t.Any], untrusted: bool) -> None:
    text = define(disks=[{"vdev": "xvda", "target": "/d", **disk}]).text
    assert (",untrusted,target=/d" in text, "target=/d" in text, "trusted=" in text) == (untrusted, True, False)


@pytest.mark.parametrize(("kind", "vcpus", "needed"), [("pv", 1, 256), ("pvh", 1, 259), ("hvm", 4, 262)])
def test_the_memory_that_maps_the_memory(kind: str, vcpus: int, needed: int) -> None:
    assert define(type=kind, memory=256, vcpus=vcpus).memory_needed == needed


@pytest.mark.parametrize(("kind", "command"), [("pv", "xl console web1"), ("pvh", "xl console web1"), ("hvm", "xl console -t pv web1")])
def test_where_a_domain_says_what_is_wrong(kind: str, command: str) -> None:
    assert define(type=kind).console == command


def test_maxmem_that_is_memory() -> None:
    assert "maxmem = 128" in define(maxmem=128, pci=[{"device": "uplink0"}]).text


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ({"name": "a"}, {"name": "a"}, "name a is given twice"),
        ({"name": "a", "vifs": [{"mac": "00:16:3e:00:00:11"}]}, {"name": "b", "vifs": [{"mac": "00:16:3E:00:00:11"}]}, "to a and to b"),
        ({"name": "a", "pci": [{"device": "uplink0"}]}, {"name": "b", "pci": [{"device": "uplink0"}]}, "PCI device 0000:03:00.0"),
    ],
    ids=["name", "MAC address", "device"],
)
def test_what_can_only_be_once(first: dict[str, t.Any], second: dict[str, t.Any], problem: str) -> None:
    blank = {**BLANK, "memory": 128, "kernel": "/k"}
    with pytest.raises(InvalidInput, match=problem):
        definitions([{**blank, **first}, {**blank, **second}], UPLINK)


def test_a_stopped_domain_does_not_claim_its_device() -> None:
    blank = {**BLANK, "memory": 128, "kernel": "/k", "pci": [{"device": "uplink0"}]}
    assert len(definitions([{**blank, "name": "a"}, {**blank, "name": "b", "state": "stopped"}], UPLINK)) == 2


def test_an_absent_domain_needs_only_its_name() -> None:
    (definition,) = definitions([{**BLANK, "name": "a", "state": "absent"}], {})
    assert (definition.text, definition.files) == ("", ())
