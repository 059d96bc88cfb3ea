# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import lzma

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils import _file_types


@pytest.mark.parametrize(
    ("content", "description"),
    [
        (gzip.compress(b"x", mtime=0), "compressed with gzip"),
        (lzma.compress(b"x"), "compressed with xz"),
        (lzma.compress(b"x", lzma.FORMAT_ALONE), "compressed with lzma"),
        (b"\x7fELF\x02", "an ELF file (vmlinux, or a Xen with symbols)"),
        (bytes(0x202) + b"HdrS", "an x86 kernel (bzImage)"),
        (b"MZ" + bytes(54) + b"ARM\x64", "an arm64 kernel (Image)"),
        (b"MZ\0\0zimg", "a compressed EFI kernel (zboot)"),
        (b"070701" + bytes(100), "a cpio archive"),
        (b"#!/bin/sh", "a script"),
        (b"ARM\x64", "of an unknown kind"),
        (b"", "of an unknown kind"),
    ],
)
def test_describe(content: bytes, description: str) -> None:
    assert _file_types.describe(content) == description
