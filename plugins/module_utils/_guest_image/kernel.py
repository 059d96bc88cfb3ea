# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Decompress x86 kernels once, when an image is built. Otherwise the toolstack does it for each domain it creates, and slowly."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from pathlib import Path

from .._errors import DriverDomainsError
from .._file_types import BZIMAGE, BZIP2, ELF, GZIP, LZMA, XZ, ZSTD
from .._runner import Runner


def export_kernel(source: str, target: str, runner: Runner, bzimage: bool = False) -> None:
    """Write the kernel in the file `source` to `target`: an x86 kernel decompressed, any other as it is.

    :param bzimage: leave an x86 kernel as it is, too.
    :raises DriverDomainsError: it is damaged, compressed in an unknown way, or not the `bzimage` that it should be.
    """
    image = Path(source).read_bytes()
    payload = bzimage_payload(image)
    if bzimage and payload is None:
        raise DriverDomainsError(
            "The kernel in the image is no bzImage", rule="HVM domains are an affair of x86, whose kernels are bzImages"
        )
    if bzimage or payload is None:
        Path(target).write_bytes(image)
    elif ZSTD.matches(payload):
        Path(f"{source}.zst").write_bytes(payload)
        runner.run(["zstd", "--quiet", "--decompress", f"{source}.zst", "-o", target], timeout=120)
    else:
        Path(target).write_bytes(decompress(payload))
    with open(target, "rb") as handle:
        start = handle.read(4)
    if payload is not None and not bzimage and not ELF.matches(start):
        raise DriverDomainsError(f"The kernel in the image does not unpack to an ELF file (it starts with {start.hex()})")


def bzimage_payload(image: bytes) -> bytes | None:
    """Return the compressed ELF file inside an x86 kernel image, or None for another kind of image.

    Since version 2.08, the boot protocol's header has its offset and length (Documentation/arch/x86/boot.rst).

    :raises DriverDomainsError: the image is truncated.
    """
    if len(image) < 0x250 or not BZIMAGE.matches(image) or struct.unpack_from("<H", image, 0x206)[0] < 0x208:
        return None
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if not length or len(payload) != length:
        raise DriverDomainsError("The kernel image is truncated: its header has a payload beyond its end")
    # The kernel's build appends the uncompressed size, which zstd takes for garbage. gzip includes that size itself.
    return payload if GZIP.matches(payload) else payload[:-4]


def decompress(payload: bytes) -> bytes:
    """Unpack the formats that Python knows: gzip, xz, lzma, bzip2.

    :raises DriverDomainsError: it is in another format.
    """
    if GZIP.matches(payload):
        return zlib.decompressobj(wbits=31).decompress(payload)
    if XZ.matches(payload):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)
    if LZMA.matches(payload):
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(payload)
    if BZIP2.matches(payload):
        return bz2.BZ2Decompressor().decompress(payload)
    raise DriverDomainsError(
        f"The kernel is compressed in an unknown format (it starts with {payload[:4].hex()})",
        rule="gzip, xz, lzma, bzip2 and zstd are supported",
        remedy="Choose another linux-image package",
    )
