# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What a kernel, ramdisk or device tree file is, by the magic bytes in it."""

from __future__ import annotations

import typing as t


class FileType(t.NamedTuple):
    """A kind of file: how messages describe it, and the bytes that identify it at `offset`."""

    description: str
    magic: bytes
    offset: int = 0

    def matches(self, content: bytes) -> bool:
        """Whether `content`, which may be only the beginning of a file, is of this type."""
        return content.startswith(self.magic, self.offset)


GZIP = FileType("compressed with gzip", b"\x1f\x8b")
XZ = FileType("compressed with xz", b"\xfd7zXZ")
LZMA = FileType("compressed with lzma", b"]\x00\x00")
BZIP2 = FileType("compressed with bzip2", b"BZh")
ZSTD = FileType("compressed with zstd", b"\x28\xb5\x2f\xfd")
LZ4 = FileType("compressed with lz4", b"\x04\x22\x4d\x18")
#: The only format of lz4 that Linux unpacks.
LZ4_LEGACY = FileType("compressed with lz4", b"\x02\x21\x4c\x18")
ELF = FileType("an ELF file (vmlinux, or a Xen with symbols)", b"\x7fELF")
#: Linux Documentation/arch/x86/boot.rst.
BZIMAGE = FileType("an x86 kernel (bzImage)", b"HdrS", 0x202)
#: Linux Documentation/arch/arm64/booting.rst.
ARM64_IMAGE = FileType("an arm64 kernel (Image)", b"ARM\x64", 56)
#: An EFI program that unpacks the kernel in it (CONFIG_EFI_ZBOOT; Linux drivers/firmware/efi/libstub/zboot-header.S).
ZBOOT = FileType("a compressed EFI kernel (zboot)", b"zimg", 4)
UIMAGE = FileType("a U-Boot image (uImage)", b"\x27\x05\x19\x56")
#: A FIT image of U-Boot is a device tree, too.
DTB = FileType("a device tree blob", b"\xd0\x0d\xfe\xed")
#: The formats of cpio that Linux unpacks as a ramdisk (newc, with or without checksums).
CPIO = FileType("a cpio archive", b"07070")
SCRIPT = FileType("a script", b"#!")

_ALL = (GZIP, XZ, LZMA, BZIP2, ZSTD, LZ4, LZ4_LEGACY, ELF, BZIMAGE, ARM64_IMAGE, ZBOOT, UIMAGE, DTB, CPIO, SCRIPT)


def describe(content: bytes) -> str:
    """Return what a file is, for messages of the form "FILE is ..."; its first 1 KiB is enough."""
    return next((kind.description for kind in _ALL if kind.matches(content)), "of an unknown kind")
