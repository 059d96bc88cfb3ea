# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test bed's own QEMU and e2fsprogs: a Debian root whose programs run through its own ld.so.

So neither the host's versions nor root privileges matter, and a saved machine state always
meets the QEMU that wrote it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

QEMU = "usr/bin/qemu-system-x86_64"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_LOADER = "usr/lib64/ld-linux-x86-64.so.2"
_FIRMWARE = ("usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu")


@dataclass(frozen=True)
class Tools:
    """Programs below one root directory."""

    root: Path

    def argv(self, program: str, *args: str | Path) -> list[str]:
        """Return the command line that runs a program of this root."""
        loader = [str(self.root / _LOADER), "--library-path", str(self.root / _LIBRARIES)]
        return [*loader, str(self.root / program), *map(str, args)]

    def env(self) -> dict[str, str]:
        """Return the environment in which these programs find their own files."""
        return {
            **os.environ,
            "QEMU_MODULE_DIR": str(self.root / _LIBRARIES / "qemu"),
            "MKE2FS_CONFIG": str(self.root / "etc/mke2fs.conf"),
        }

    def qemu(self, *args: str) -> list[str]:
        """Return the command line of the system emulator."""
        firmware = [part for directory in _FIRMWARE for part in ("-L", str(self.root / directory))]
        return self.argv(QEMU, *firmware, *args)
