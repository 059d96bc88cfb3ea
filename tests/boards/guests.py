# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests so small that two dozen of them boot in seconds, and a ramdisk with a shell."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

#: Where Xen puts the emulated UART of a domain (xen/include/public/arch-arm.h, GUEST_PL011_BASE).
_UART = 0x2200


def tiny_kernel(text: str) -> bytes:
    """Return an arm64 Image that prints a text on the domain's emulated UART, and sleeps."""
    message = text.encode("ascii") + b"\n\0"
    code = [
        0x10000001 | (10 * 4 >> 2) << 5,  # adr x1, message
        0xD2A00002 | _UART << 5,  # mov x2, #UART << 16
        0x38401423,  # next: ldrb w3, [x1], #1
        0x34000000 | 5 << 5 | 3,  # cbz w3, sleep
        0xB9401844,  # busy: ldr w4, [x2, #0x18]
        0x372FFFE4,  # tbnz w4, #5, busy
        0xB9000043,  # str w3, [x2]
        0x17FFFFFB,  # b next
        0xD503207F,  # sleep: wfi
        0x17FFFFFF,  # b sleep
    ]
    body = struct.pack(f"<{len(code)}I", *code) + message
    size = 64 + len(body)
    # branch over the header, offset, size, flags (little endian, 4 KiB pages, anywhere), magic
    header = struct.pack("<IIQQQ", 0x14000010, 0, 0, 0x10000, 0xA).ljust(56, b"\0") + b"ARM\x64" + bytes(4)
    return (header + body).ljust(-(-size // 4096) * 4096, b"\0")


def ramdisk(busybox: Path, init: str) -> bytes:
    """Return a packed cpio archive with busybox and a script as /init."""
    buffer = io.BytesIO()
    entries: list[tuple[str, int, bytes]] = [(name, 0o040755, b"") for name in ("bin", "dev", "proc", "sys")]
    entries += [("bin/busybox", 0o100755, busybox.read_bytes()), ("init", 0o100755, init.encode()), ("TRAILER!!!", 0, b"")]
    for number, (name, mode, content) in enumerate(entries, 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
        buffer.write(header + bytes(-len(header) % 4) + content + bytes(-len(content) % 4))
    return gzip.compress(buffer.getvalue(), 6, mtime=0)


#: Prints its command line and the number of its real-time clocks, sets off the clock's alarm, and starts a shell. Do not type on a
#: domain's console: what comes faster than it reads is lost.
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
read -r line </proc/cmdline
set -- /sys/class/rtc/rtc*
[ -e "$1" ] || shift
echo "guest: $line, clocks: $#"
if [ $# -gt 0 ]; then
    echo +2 >"$1/wakealarm"
    sleep 4
    grep rtc /proc/interrupts
fi
exec setsid cttyhack sh
"""
