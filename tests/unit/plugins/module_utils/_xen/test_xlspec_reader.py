# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Texts for disks, vifs and PCI devices: xl accepts what is read, and makes the same of what is then written."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt import Address
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import definitions
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.disk import vdev_number
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.equality import differences
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg import render
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg_reader import read
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlspec_reader import Read, read_disk, read_pci, read_vif
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import BLANK
from ansible_collections.xen.driver_domains.tests.unit.xl_parser import libxlu, xl_program

DISK = st.sampled_from(
    [
        *(
            "/dev/vg/a",
            "phy:/dev/vg/a",
            "file:/a.img",
            "tap:aio:/a",
            "qcow2:/a",
            "iscsi:iqn.x",
            "nbd:1.2.3.4:80",
            "raw",
            "qcow2",
            "",
            "empty",
        ),
        *("xvda", "hdc:cdrom", "0x01", "sda:disk", "w", "r", "rw", "ro", "format=qcow2", "format=raw", "format=", "access=r", "access=w"),
        *("vdev=xvdb", "vdev=hdc", "devtype=cdrom", "cdrom", "devtype=disk", "backend=dd", "backendtype=phy", "backendtype=qdisk"),
        *("script=block-x", "direct-io-safe", "discard", "no-discard", "specification=virtio", "backendtype=standalone"),
        *("target=/dev/b", "target=", "target=/a,b=c", "target=rbd:a/b", "colo", "bad=1", "x:y", "phy:", "format=bad", "access=bad"),
    ]
)
VIF = st.sampled_from(
    [
        *(
            "mac=00:16:3e:00:00:01",
            "mac=0:16:3E:A:b:c",
            "mac=bad",
            "bridge=br0",
            "bridge=ovs0.10:20",
            "backend=dd",
            "type=vif",
            "type=ioemu",
        ),
        *(
            "type=bad",
            "model=e1000",
            "script=vif-route",
            "ip=10.0.0.1 10.0.0.2",
            "vifname=web-0",
            "rate=10MB/s@20ms",
            "mtu=1400",
            "netdev=eth1",
        ),
        *("gatewaydev=eth0", "untrusted", "trusted", "br1", "accel=0", ""),
    ]
)
PCI = st.sampled_from(
    [
        *(
            "0000:03:00.0",
            "3:0.1",
            "03:00.0@5",
            "0000:03:1f.7@1f",
            "03:20.0",
            "03:00.8",
            "1:2:3:4.0",
            "bdf=0000:04:00.1",
            "bdf=04:00.1 junk",
        ),
        *(
            "permissive=1",
            "permissive=true",
            "msitranslate=1",
            "seize=1",
            "power_mgmt=0",
            "rdm_policy=relaxed",
            "rdm_policy=bad",
            "vslot=a",
        ),
        *("name=nic0", "what=1", "x", "03:00.*"),
    ]
)


Parsed = t.Optional["dict[str, t.Any]"]


def written(**devices: t.Any) -> dict[str, t.Any]:
    """Return the settings of the definition that xl_domain would write."""
    addresses: t.Any = {item["device"]: Address(item.pop("bdf")) for item in devices.get("pci", [])}
    return read(definitions([{**BLANK, "name": "a", "memory": 64, "kernel": "/k", **devices}], addresses)[0].text)


def compare(
    text: str, reader: t.Callable[[str], Read], parse: t.Callable[[str], Parsed], write: t.Callable[[dict[str, t.Any]], str]
) -> None:
    theirs = parse(text)
    try:
        found = reader(text)
    except InvalidInput:
        assert theirs is None
        return
    assert theirs is not None
    if not found.lost:
        ours = parse(write(found.settings))
        assert ours is not None
        assert differences(theirs, ours) == []


@given(st.lists(DISK, min_size=1, max_size=6), st.sampled_from([",", ", "]))
def test_disks(parts: list[str], between: str) -> None:
    def write(disk: dict[str, t.Any]) -> str:
        # The collection refuses a path that xl takes as relative to where it runs, and a vdev that xl refuses only when attaching the disk.
        relative = disk.get("target") and not disk["target"].startswith(("/", "rbd:")) and not {"backend", "script"} & set(disk)
        refused = relative or not vdev_number(disk["vdev"]).isdecimal()
        return text if refused else str(written(disks=[{"trusted": True, **disk}])["disk"][0])

    text = between.join(parts)
    compare(text, read_disk, libxlu().disk, write)


@given(st.lists(PCI, min_size=1, max_size=4))
def test_pci_devices(parts: list[str]) -> None:
    def write(device: dict[str, t.Any]) -> str:
        return text if "name" in device else str(written(pci=[{"device": "d", **device}])["pci"][0])

    text = ",".join(parts)
    compare(text, read_pci, libxlu().pci, write)


# Each example takes two processes.
@settings(max_examples=15)
@given(st.lists(VIF, max_size=6, unique_by=lambda part: part.partition("=")[0]), st.sampled_from([",", ", "]))
def test_vifs(parts: list[str], between: str) -> None:
    def parse(vif: str) -> Parsed:
        parsed = xl_program().parse(render({"name": "a", "memory": 64, "kernel": "/k", "vif": [vif]}))
        return parsed and parsed["nics"][0]

    # Without an address, xl chooses one, and the collection another one.
    text = between.join([*(part for part in parts if not part.startswith("mac=0")), "mac=00:16:3e:00:00:01"])
    compare(text, read_vif, parse, lambda vif: str(written(vifs=[{"trusted": True, **vif}])["vif"][0]))


@pytest.mark.parametrize(
    "text", ["/a", "vdev=xvda", "/a,raw,xvda,w,more", "/a,raw,xvda,bad", "foo:/a,raw,xvda", "a,b=,xvda", "vdev=x,vdev=y,target=/a"]
)
def test_what_is_no_disk(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a disk"):
        read_disk(text)


def test_what_the_collection_has_no_parameter_for_is_named() -> None:
    assert read_disk("vdev=xvda,colo,target=/a").lost == ["a disk has colo"]
    assert read_vif("mac=x,accel=1").lost == [
        "the vif 'mac=x,accel=1' has no MAC address that xl can read",
        "the vif 'mac=x,accel=1' has 'accel=1'",
    ]
    assert "all functions" in read_pci("0000:03:00.*").lost[0]
