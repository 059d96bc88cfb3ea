# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.xen.driver_domains.plugins.filter.boards import FilterModule

FILTERS = FilterModule().filters()
BOARD = {
    "xen": "/boot/xen",
    "device_tree": "/boot/virt.dtb",
    "overlays": ["/o.dtbo"],
    "memory_start": "0x0",
    "dom0": {"kernel": "/boot/vmlinuz", "ramdisk": "/rd", "memory": 512},
    "domus": [
        {"name": "net-dd", "image": {"backends": ["vif"]}, "passthrough_dtb": "/rtc.dtb", "cmdline": "boot=xendd xendd.backend=1"},
        {"name": "web", "ramdisk": "/rd"},
        {"name": "later", "boot": False},
    ],
}
IMAGES = {"net-dd": {"kernel": "/i/1/kernel", "ramdisk": "/i/1/ramdisk", "disk": "", "key": "1"}}


def test_images() -> None:
    assert FILTERS["board_images"](BOARD["domus"]) == [{"name": "net-dd", "backends": ["vif"]}]


def test_names() -> None:
    assert FILTERS["board_names"](BOARD["domus"]) == ["net-dd", "web"]


def test_from_paths_to_stored_names() -> None:
    board = FILTERS["board_with_images"](BOARD, IMAGES, "/boot/vmlinuz")
    assert board["domus"] == [
        {
            "name": "net-dd",
            "kernel": "/i/1/kernel",
            "ramdisk": "/i/1/ramdisk",
            "cmdline": "boot=xendd xendd.backend=1",
            "passthrough_dtb": "/rtc.dtb",
        },
        {"name": "web", "kernel": "/boot/vmlinuz", "ramdisk": "/rd"},
        {"name": "later", "boot": False, "kernel": "/boot/vmlinuz"},
    ]
    sources = FILTERS["board_sources"](board)
    expected = ["/boot/xen", "/boot/virt.dtb", "/o.dtbo", "/boot/vmlinuz", "/rd", "/i/1/kernel", "/i/1/ramdisk", "/rtc.dtb"]
    assert sources == {path: path for path in expected}
    stored = FILTERS["board_with_files"](board, {path: f"files{path}" for path in sources})
    assert (stored["xen"], stored["overlays"], stored["memory_start"]) == ("files/boot/xen", ["files/o.dtbo"], "0x0")
    assert stored["dom0"] == {"kernel": "files/boot/vmlinuz", "ramdisk": "files/rd", "memory": 512}
    assert stored["domus"][1] == {"name": "web", "kernel": "files/boot/vmlinuz", "ramdisk": "files/rd"}


def test_true_dom0less() -> None:
    board = {**BOARD, "dom0": None, "domus": []}
    assert FILTERS["board_with_files"](board, {path: path for path in FILTERS["board_sources"](board)})["dom0"] is None


@pytest.mark.parametrize(
    ("domu", "wrong"),
    [
        ({"image": {}, "cmdline": "console=ttyAMA0"}, True),
        ({"image": {"profile": "minimal"}, "cmdline": "boot=xendd2"}, True),
        ({"image": {}}, False),
        ({"image": {}, "cmdline": "quiet boot=xendd"}, False),
        ({"image": {"profile": "debian"}, "cmdline": "root=/dev/xvda"}, False),
    ],
)
def test_a_ramdisk_is_told_to_stay(domu: dict[str, t.Any], wrong: bool) -> None:
    board = {**BOARD, "domus": [{"name": "net-dd", **domu}]}
    if wrong:
        with pytest.raises(AnsibleFilterError, match="'net-dd': its cmdline lacks boot=xendd"):
            FILTERS["board_with_images"](board, IMAGES, "")
    else:
        assert FILTERS["board_with_images"](board, IMAGES, "")["domus"][0]["ramdisk"] == "/i/1/ramdisk"


def test_an_image_that_was_not_built() -> None:
    with pytest.raises(AnsibleFilterError, match="'net-dd': its image was not built"):
        FILTERS["board_with_images"](BOARD, {}, "")
