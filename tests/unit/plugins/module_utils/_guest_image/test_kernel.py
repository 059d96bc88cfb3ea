# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpacking kernels."""

from __future__ import annotations

import bz2
import gzip
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.kernel import bzimage_payload, decompress, export_kernel
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Runner
from ansible_collections.xen.driver_domains.tests.unit.fakes.images import ELF, bzimage, xz


@pytest.mark.parametrize("pack", [xz, gzip.compress, lambda data: bz2.compress(data) + b"size"])
@pytest.mark.parametrize("setup_sectors", [0, 3, 31])
def test_kernel_is_unpacked(pack: t.Callable[[bytes], bytes], setup_sectors: int) -> None:
    payload = bzimage_payload(bzimage(pack(ELF), setup_sectors=setup_sectors))
    assert payload is not None and decompress(payload) == ELF


def test_zstd_payload_comes_without_the_size_behind_it() -> None:
    assert bzimage_payload(bzimage(b"\x28\xb5\x2f\xfdpacked" + struct.pack("<I", 77))) == b"\x28\xb5\x2f\xfdpacked"


@pytest.mark.parametrize("kernel", [b"MZ an Image for Arm" + bytes(4096), bzimage(xz(ELF), version=0x207), b"short"])
def test_what_is_no_bzimage_is_left_alone(kernel: bytes) -> None:
    assert bzimage_payload(kernel) is None


@pytest.mark.parametrize("length", [0, 1 << 20])
def test_kernel_that_is_cut_off(length: int) -> None:
    with pytest.raises(DriverDomainsError, match="truncated"):
        bzimage_payload(bzimage(xz(ELF), length=length))


@pytest.mark.parametrize("kept", [False, True])
def test_an_hvm_domain_gets_the_kernel_as_it_is(kept: bool, tmp_path: Path) -> None:
    packed = bzimage(xz(ELF))
    (tmp_path / "vmlinuz").write_bytes(packed)
    export_kernel(str(tmp_path / "vmlinuz"), str(tmp_path / "kernel"), Runner(), kept)
    assert (tmp_path / "kernel").read_bytes() == (packed if kept else ELF)


@pytest.mark.parametrize("kernel", [b"MZ an Image for Arm" + bytes(4096), ELF])
def test_another_kernel_is_none_for_an_hvm_domain(kernel: bytes, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(kernel)
    with pytest.raises(DriverDomainsError, match="is no bzImage"):
        export_kernel(str(tmp_path / "vmlinuz"), str(tmp_path / "kernel"), Runner(), bzimage=True)
    assert not (tmp_path / "kernel").exists()


def test_unknown_packing() -> None:
    with pytest.raises(DriverDomainsError, match="unknown format.*6c7a6f00.*are supported"):
        decompress(b"lzo\x00data")
