# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The form that U-Boot's command `source` wants a script in: a legacy image, as mkimage makes it."""

from __future__ import annotations

import struct
import zlib

from .._file_types import UIMAGE


def image(text: str, load_address: int) -> bytes:
    """Wrap a script as `mkimage -A arm64 -T script -C none` does.

    The time in the header is always 0, so that the same script makes the same file.
    """
    script = text.encode("ascii")
    data = struct.pack(">2I", len(script), 0) + script
    address = load_address & 0xFFFFFFFF
    # magic, CRC of the header, time, size, load address, entry, CRC of the data, Linux, arm64, script, not packed, name
    fields = (int.from_bytes(UIMAGE.magic, "big"), 0, 0, len(data), address, address, zlib.crc32(data), 5, 22, 6, 0, b"Xen boot script")
    header = struct.pack(">7I4B32s", *fields)
    return header[:4] + struct.pack(">I", zlib.crc32(header)) + header[8:] + data


def text_of(content: bytes) -> str:
    """Return the script inside an image; "" when the content is something else."""
    if len(content) < 72 or not UIMAGE.matches(content):
        return ""
    (length,) = struct.unpack_from(">I", content, 64)
    return content[72 : 72 + length].decode("ascii", "replace")
