# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From profiles to what images are made of."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.xen.driver_domains.plugins.filter.image_specifications import FilterModule
from ansible_collections.xen.driver_domains.tests.unit.fakes.images import public_key

FILTERS = FilterModule().filters()
KEY = public_key()
XENDD = {"path": "/usr/sbin/xendd", "content": "x", "mode": "0755"}
PROFILES = {
    "minimal": {"format": "ramdisk", "packages": ["busybox"], "modules": ["xen-netfront"], "files": [XENDD]},
    "debian": {"format": "disk", "packages": ["udev"], "modules": [], "files": [XENDD]},
}
BACKENDS: dict[str, t.Any] = {
    "packages": ["bash"],
    "common_modules": ["xenfs"],
    "modules": {"vif": ["xen-netback", "bridge"], "vbd": ["xen-blkback"]},
}
BACKENDS["networks"] = {"rules": {"packages": ["nftables"], "modules": ["nf_tables"]}, "dhcp": {"packages": ["dnsmasq-base"]}}
BACKENDS["modules"]["volumes"] = ["dm-mod"]
BACKENDS["networks"]["volumes"] = {"packages": ["lvm2"]}


def specification(image: dict[str, t.Any], xen_version: str = "4.20", architecture: str = "amd64") -> dict[str, t.Any]:
    (result,) = FILTERS["image_specifications"]([{"name": "i", **image}], PROFILES, BACKENDS, xen_version, architecture)
    return t.cast("dict[str, t.Any]", result)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, {"format": "ramdisk", "packages": ["busybox"], "modules": ["xen-netfront"], "files": [XENDD]}),
        (
            {"backends": ["vif", "vbd"], "modules": ["e1000e"], "packages": ["tcpdump"]},
            {
                "format": "ramdisk",
                "packages": ["busybox", "tcpdump", "bash", "xen-utils-4.20", "nftables"],
                "modules": ["xen-netfront", "xen-pcifront", "e1000e", "nf_tables"],
                "files": [XENDD, {"path": "/usr/lib/xendd/modules", "content": "xenfs xen-netback bridge xen-blkback\n"}],
            },
        ),
        (
            {"profile": "debian", "modules": ["e1000e"], "authorized_keys": [f"{KEY} me\n", KEY], "size": "3G"},
            {
                "format": "disk",
                "packages": ["udev"],
                "modules": [],
                "size": "3G",
                "files": [
                    XENDD,
                    {"path": "/root/.ssh/authorized_keys", "content": f"{KEY} me\n{KEY}\n", "mode": "0600"},
                ],
            },
        ),
    ],
)
def test_specification(image: dict[str, t.Any], expected: dict[str, t.Any]) -> None:
    assert specification(image) == {"name": "i", **expected}


def test_the_kernel_of_an_hvm_domain() -> None:
    assert (specification({"bzimage": True})["bzimage"], "bzimage" in specification({"bzimage": False})) == (True, False)


@pytest.mark.parametrize("profile", ["minimal", "debian"])
def test_firmware_of_the_devices(profile: str) -> None:
    images = [{"name": "with", "profile": profile, "modules": ["r8169"]}, {"name": "without", "profile": profile, "modules": []}]
    marker = {"path": "/usr/lib/xendd/nonfree-firmware", "content": "r8169\n"}
    has, has_no_device = FILTERS["image_specifications"](images, PROFILES, BACKENDS, "4.20", "amd64", True)
    assert (has["nonfree_firmware"], has["files"]) == (["r8169"], [XENDD, marker])
    assert ("nonfree_firmware" in has_no_device, has_no_device["files"]) == (False, [XENDD])
    assert "nonfree_firmware" not in specification(images[0])


def test_arm_has_no_virtual_pci_bus() -> None:
    assert specification({"modules": ["bcmgenet"]}, architecture="arm64")["modules"] == ["xen-netfront", "bcmgenet"]


@pytest.mark.parametrize(
    ("image", "xen_version", "message"),
    [
        ({"profile": "tiny"}, "4.20", "profile 'tiny' is unknown. Use one of debian, minimal."),
        ({"backends": ["vfb"]}, "4.20", "backend 'vfb' is unknown. Use one of vbd, vif."),
        ({"authorized_keys": ["/root/id.pub"]}, "4.20", "Image 'i': item 1 of authorized_keys is not an SSH public key"),
        ({"backends": ["vif"]}, "", "Set guest_image_xen_version."),
    ],
)
def test_bad_input(image: dict[str, t.Any], xen_version: str, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        specification(image, xen_version)


def test_paths() -> None:
    built = [{"name": "g", "key": "0123", "kernel": "/c/0123/kernel", "ramdisk": "/c/0123/ramdisk", "disk": ""}]
    assert FILTERS["image_paths"](built, "/i") == {
        "g": {"key": "0123", "kernel": "/i/0123/kernel", "ramdisk": "/i/0123/ramdisk", "disk": ""}
    }


def test_volumes_need_lvm() -> None:
    """Of the image that has them alone: other images stay what they are."""
    plain, storage = (specification({"backends": kinds}) for kinds in (["vif", "vbd"], ["vif", "vbd", "volumes"]))
    assert "lvm2" not in plain["packages"]
    assert set(storage["packages"]) - set(plain["packages"]) == {"lvm2"}
    assert storage["files"][-1]["content"].split() == [*plain["files"][-1]["content"].split(), "dm-mod"]
