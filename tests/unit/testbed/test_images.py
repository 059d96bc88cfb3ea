# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the images are made of, and the parts of a disk that are written by hand."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import pytest
from testbed import images
from testbed.cache import Cache


def test_every_image_has_a_key_of_its_own(tmp_path: Path) -> None:
    made = images.Images(Cache(tmp_path))
    keys = {made.disk_key(suite, flavour) for suite in images.SUITES for flavour in images.FLAVOURS}
    assert len(keys) == len(images.SUITES) * len(images.FLAVOURS)
    assert made.missing("trixie", "xen")


def test_only_the_xen_flavour_has_xen() -> None:
    assert not [name for name in images.disk_packages("bare") if "xen" in name]
    assert set(images.disk_packages("xen")) - set(images.disk_packages("bare")) == {"xen-system-amd64"}


def test_boot_sector() -> None:
    sector = images.boot_sector(b"\x90" * 512)
    assert len(sector) == 512
    assert sector[:440] == b"\x90" * 440
    assert sector[510:] == b"\x55\xaa"
    active, kind, start, length = struct.unpack("<B3xB3xII", sector[446:462])
    assert (active, kind) == (0x80, 0x83)
    assert start * 512 == images.PARTITION_START
    assert (start + length) * 512 == images.DISK_SIZE
    assert sector[462:510] == bytes(48)


def test_core_image_must_fit_before_the_partition() -> None:
    room = images.PARTITION_START - 512
    assert images.check_core(bytes(room)) == bytes(room)
    with pytest.raises(ValueError, match=f"has {room + 1} bytes, and there is room for {room}"):
        images.check_core(bytes(room + 1))


def test_overlay_belongs_to_root_whatever_the_checkout_says(tmp_path: Path) -> None:
    target = tmp_path / "overlay.tar"
    images._pack_overlay(target, extra={"root/.ssh/authorized_keys": b"key"})
    with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as tar:
        members = {member.name: member for member in tar}
        key = tar.extractfile("./root/.ssh/authorized_keys")
        assert key is not None
        assert key.read() == b"key"
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    assert members["./etc/default/grub"].mode == 0o644
    assert members["./root/.ssh"].mode == 0o700
    assert members["./root/.ssh/authorized_keys"].mode == 0o600
    names = list(members)
    assert names.index("./root/.ssh") < names.index("./root/.ssh/authorized_keys")
