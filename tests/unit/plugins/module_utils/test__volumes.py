# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Volume groups of the inventory: what LVM can make, and the words for xendd."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._volumes import (
    Volume,
    check_groups,
    declared_volumes,
    group_words,
    parse_size,
    volume_of,
)


def group(name: str = "vg0", disks: t.Any = ("xvdb",), volumes: t.Any = ()) -> dict[str, t.Any]:
    return {"name": name, "disks": list(disks), "volumes": list(volumes)}


def test_the_same_name_in_another_group_is_another_volume() -> None:
    groups = [
        group(volumes=[{"name": "root", "size": "2GiB"}, {"name": "old", "state": "absent"}]),
        group("vg1", ["serial:S4EW_1", "xvdc"], [{"name": "root", "size": "1T"}]),
    ]
    assert declared_volumes(groups) == [Volume("vg0", "root", 2 << 30), Volume("vg0", "old", 0, False), Volume("vg1", "root", 1 << 40)]
    assert group_words(groups) == ["xendd.volumes=vg0,xvdb", "xendd.volumes=vg1,serial:S4EW_1,xvdc"]


@pytest.mark.parametrize(
    "name", ["-x", "", "a b", "a/b", "snapshot1", "pvmove0", "removed.x", "x_rimage_0", "x_tdata", "ä", "..", ".", "a" * 128, 7]
)
def test_a_name_that_lvm_does_not_take(name: t.Any) -> None:
    with pytest.raises(InvalidInput, match="name|characters"):
        declared_volumes([group(volumes=[{"name": name, "size": "1G"}])])


@pytest.mark.parametrize("name", ["-x", "", "a,b", "..", None])
def test_a_group_that_lvm_does_not_take(name: t.Any) -> None:
    with pytest.raises(InvalidInput, match="is not the name of a volume group"):
        declared_volumes([{**group(), "name": name}])


def test_the_device_mapper_counts_hyphens_twice() -> None:
    """Also in the name that a removed volume gets."""
    longest = 127 - len("removed.") - len("vg0") - 1
    assert declared_volumes([group(volumes=[{"name": "x" * longest, "size": "1G"}])])
    for name in ("x" * (longest + 1), "x" * (longest - 1) + "-"):
        with pytest.raises(InvalidInput, match="twice"):
            declared_volumes([group(volumes=[{"name": name, "size": "1G"}])])


@pytest.mark.parametrize("disk", ["/dev/sdb", "sdb", "nvme0n1", "xvdb;x", "serial:", "serial:a b", "serial:a,b", "/dev/xvdb", None])
def test_a_disk_whose_name_moves(disk: t.Any) -> None:
    with pytest.raises(InvalidInput, match="does not say for good which disk it is.*lsblk"):
        declared_volumes([group(disks=[disk])])


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ([group(), group()], "vg0 is listed twice"),
        ([group(), group("vg1")], "the disk xvdb is listed twice, for vg0 before"),
        ([group(disks=["xvdb", "xvdb"])], "the disk xvdb is listed twice"),
        ([group(disks=[])], "it has no disks"),
        ([group(volumes=[{"name": "a", "size": "1G"}, {"name": "a", "state": "absent"}])], "the volume a is listed twice"),
        ([group(volumes=[{"name": "a"}])], "the volume a has no size"),
        ([group(volumes=[{"name": "a", "state": "gone"}])], "the state of the volume a is 'gone'"),
    ],
)
def test_groups_that_cannot_be(groups: list[dict[str, t.Any]], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        declared_volumes(groups)


def test_an_image_of_the_users_own_makes_its_volumes_itself() -> None:
    check_groups([], None)
    check_groups([group()], "minimal")
    with pytest.raises(InvalidInput, match="for an image of the collection"):
        check_groups([group()], None)


@pytest.mark.parametrize(("text", "size"), [("500MiB", 500 << 20), ("2GiB", 2 << 30), ("2G", 2 << 30), ("1TiB", 1 << 40)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size("", text) == size


@pytest.mark.parametrize("text", ["2", 2, "0G", "-1G", "1.5G", "2GB", "2g", "2 GiB", ""])
def test_what_is_no_size(text: t.Any) -> None:
    with pytest.raises(InvalidInput, match="Write it like 2GiB"):
        parse_size("vg0/a", text)


@pytest.mark.parametrize(
    ("path", "volume"),
    [
        ("/dev/vg0/web1-root", ("vg0", "web1-root")),
        ("//dev//vg0/./web1", ("vg0", "web1")),
        ("/dev/mapper/vg--0-web1--root", ("vg-0", "web1-root")),
        ("aio:/dev/vg0/web1", ("vg0", "web1")),
        ("phy:aio:/dev/mapper/vg0-web1", ("vg0", "web1")),
        ("rbd:vg0/web1", None),
        ("/dev/xvdb", None),
        ("/dev/disk/by-id/x", None),
        ("/srv/vg0/x", None),
        ("", None),
        (None, None),
    ],
)
def test_the_volume_of_a_path(path: t.Any, volume: t.Any) -> None:
    assert volume_of(path) == volume
