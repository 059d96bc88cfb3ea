# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an image and its key depend on, and the command that builds it."""

from __future__ import annotations

import io
import json
import tarfile
import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image import specification
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.specification import read_images
from ansible_collections.xen.driver_domains.tests.unit.fakes.images import image, item


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "disk"},
        {"suite": "bookworm"},
        {"architecture": "arm64"},
        {"packages": ["kmod"]},
        {"packages": ["kmod", "busybox", "linux-image-cloud-amd64"]},
        {"files": [{"path": "/etc/a", "content": "a", "mode": "0644"}]},
        {"files": [{"path": "/etc/a", "content": "A", "mode": "0644"}, {"path": "/etc/b", "content": "b", "mode": "0755"}]},
        {"files": [{"path": "/etc/a", "content": "a", "mode": "0600"}, {"path": "/etc/b", "content": "b", "mode": "0755"}]},
        {"files": [{"path": "/etc/c", "content": "a", "mode": "0644"}, {"path": "/etc/b", "content": "b", "mode": "0755"}]},
        {"kernel": False},
        {"bzimage": True},
        {"nonfree_firmware": ["e1000e"]},
        {"modules": ["e1000e"]},
        {"mirror": ["deb http://mirror.example.org/debian trixie main"]},
        {"revision": "2026-08"},
    ],
    ids=json.dumps,
)
def test_every_input_changes_the_key(changes: dict[str, t.Any]) -> None:
    assert image(**changes).key != image().key


def test_the_size_of_a_disk_changes_its_key() -> None:
    assert len({image(format="disk", size=size).key for size in ("1G", "1024M", "3G")}) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"packages": ["busybox", "kmod", "kmod"]},
        {"modules": ["xen-netfront", "e1000e"]},
        {"files": list(reversed(item()["files"]))},
        {"architecture": "amd64"},
        {"revision": ""},
        {"bzimage": False},
        {"nonfree_firmware": []},
    ],
    ids=json.dumps,
)
def test_what_does_not_change_the_image_does_not_change_the_key(changes: dict[str, t.Any]) -> None:
    assert image(**changes).key == image().key


def test_the_build_itself_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image().key
    monkeypatch.setattr(specification, "FINISH_SCRIPT", "exit 1")
    assert image().key != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../x"}, r"'../x' is not a valid image name"),
        ({"suite": "Trixie!"}, r"Image 'dd': 'Trixie!' is not a valid suite"),
        ({"suite": "--simulate"}, r"is not a valid suite"),
        ({"suite": "trixie\n"}, r"is not a valid suite"),
        ({"architecture": "amd64,i386"}, r"is not a valid architecture"),
        ({"architecture": "--help"}, r"is not a valid architecture"),
        ({"architecture": "amd64 kmod"}, r"is not a valid architecture"),
        ({"packages": ["kmod; rm"]}, r"dd', packages: 'kmod; rm' is not a valid package"),
        ({"packages": ["kmod-"]}, r"is not a valid package"),
        ({"packages": ["-kmod"]}, r"is not a valid package"),
        ({"packages": ["kmod,udev"]}, r"is not a valid package"),
        ({"packages": ["./evil.deb"]}, r"is not a valid package"),
        ({"packages": ["?essential"]}, r"is not a valid package"),
        ({"packages": ["~nkmod"]}, r"is not a valid package"),
        ({"packages": ["kmod\n"]}, r"is not a valid package"),
        ({"modules": ["a b"]}, r"dd', modules: 'a b' is not a valid module"),
        ({"modules": ["e1000e\nloop"]}, r"is not a valid module"),
        ({"modules": ["--remove"]}, r"is not a valid module"),
        ({"modules": ["../x"]}, r"is not a valid module"),
        ({"nonfree_firmware": ["e1000e'; reboot; '"]}, r"is not a valid module"),
        ({"mirror": ["--setup-hook=touch /x"]}, r"the mirror '--setup-hook=touch /x' is not valid"),
        ({"mirror": ["deb http://a trixie main", "--mode=root"]}, r"is not valid"),
        ({"mirror": ["-"]}, r"is not valid"),
        ({"mirror": ["http://a --mode=root"]}, r"is not valid"),
        ({"mirror": ["x:--mode=root"]}, r"is not valid"),
        ({"mirror": [" --x"]}, r"is not valid"),
        ({"mirror": ["deb http://a trixie main\ndeb http://b trixie main"]}, r"is not valid"),
        ({"mirror": [""]}, r"is not valid"),
        ({"files": [{"path": "//etc/a", "content": "", "mode": None}]}, r"'//etc/a' is not valid"),
        ({"files": [{"path": "/", "content": "", "mode": None}]}, r"'/' is not valid"),
        ({"files": [{"path": "/etc/a\nb", "content": "", "mode": None}]}, r"is not valid"),
        ({"size": "2G"}, r"size '2G' is only for format disk"),
        ({"format": "disk", "size": "2T"}, r"size '2T' is not valid"),
        ({"format": "disk", "size": "1M"}, r"at least 64M"),
        ({"files": [{"path": "etc/a", "content": "", "mode": None}]}, r"'etc/a' is not valid"),
        ({"files": [{"path": "/etc/../a", "content": "", "mode": None}]}, r"'/etc/../a' is not valid"),
        ({"files": [{"path": "/a", "content": "", "mode": "rwx"}]}, r"mode 'rwx' of /a is not octal"),
        ({"files": [{"path": "/a", "content": "", "mode": None}] * 2}, r"/a is listed twice"),
    ],
)
def test_bad_input(changes: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        image(**changes)


@pytest.mark.parametrize(
    "package", ["g++", "libc6:i386", "kmod=34.2-1~bpo13+1", "kmod/trixie-backports", "linux-image-6.12.48+deb13-amd64", "bc"]
)
def test_every_way_to_name_a_package(package: str) -> None:
    assert package in image(packages=[package]).packages


@pytest.mark.parametrize(
    "mirror",
    [
        "deb [trusted=yes] http://a/debian trixie main",
        "deb-src http://a/debian trixie main",
        "http://127.0.0.1:3142/deb.debian.org/debian",
        "https://a/debian",
        "file:///srv/mirror",
        "copy:/srv/mirror",
        "tor+http://a/debian",
    ],
)
def test_every_way_to_name_a_mirror(mirror: str) -> None:
    assert image(mirror=[mirror]).build_command("/x")[-1] == mirror


def test_an_image_is_called_like_its_domain() -> None:
    """A domain and its image share one name, with the characters that a definition allows."""
    assert list(read_images([item(name="a+b_c.d-e")], lambda: "amd64")) == ["a+b_c.d-e"]


def test_two_images_with_one_name() -> None:
    with pytest.raises(InvalidInput, match="Item 2 of images has the name 'dd'"):
        read_images([item(), item(suite="bookworm")], lambda: "amd64")


def test_command_for_a_ramdisk() -> None:
    command = image(mirror=["deb http://mirror.example.org/debian trixie main"]).build_command("/tmp/x")
    assert command[:6] == [
        "mmdebstrap",
        "--variant=extract",
        "--format=null",
        "--architectures=amd64",
        "--include=?essential",
        "--include=busybox,initramfs-tools,kmod,linux-image-amd64",
    ]
    assert command[-3:] == ["trixie", "-", "deb http://mirror.example.org/debian trixie main"]
    assert "--extract-hook=tar-in /tmp/x/overlay.tar /" in command
    assert "--extract-hook=copy-out /.guest-image /tmp/x" in command


def test_command_for_a_disk_without_kernel() -> None:
    disk = image(format="disk", kernel=False)
    assert disk.build_command("/tmp/x")[1:5] == ["--variant=minbase", "--format=tar", "--architectures=amd64", "--include=busybox,kmod"]
    assert disk.build_command("/tmp/x")[-2:] == ["trixie", "/tmp/x/root.tar"]
    assert disk.parts == ("disk",)


def test_own_kernel_package_replaces_the_default() -> None:
    assert image(packages=["linux-image-cloud-amd64"]).all_packages == ["initramfs-tools", "linux-image-cloud-amd64"]


def test_overlay() -> None:
    with tarfile.open(fileobj=io.BytesIO(image(format="disk", modules=["loop"]).overlay())) as archive:
        entries = {entry.name: entry for entry in archive}
        modules = archive.extractfile("etc/initramfs-tools/modules")
        assert modules is not None and modules.read() == b"ext4\nloop\nxen-blkfront\n"
    assert list(entries) == sorted(entries)
    assert entries["etc/b"].mode == 0o755
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries.values()} == {(0, 0, specification.EPOCH)}
