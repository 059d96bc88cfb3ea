# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of emulated boards: QEMU for Arm, U-Boot, and Debian's Xen and kernel for arm64, kept in the test bed's cache."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import Cache, default_dir, digest
from testbed.progress import run, step
from testbed.tools import Tools

SUITE = "trixie"
XEN_VERSION = "4.20"
#: QEMU knows the Raspberry Pi 4 since version 9, hence not the host's.
_TOOLS = ("qemu-system-arm", "ipxe-qemu", "u-boot-qemu", "device-tree-compiler", "mtools", "dosfstools")
_ARM64 = (f"xen-hypervisor-{XEN_VERSION}-arm64", "linux-image-arm64", "busybox-static", "u-boot-rpi")


@dataclass(frozen=True)
class Parts:
    """Two unpacked Debian roots: programs for this machine, files for the board."""

    tools: Tools
    arm64: Path

    @property
    def xen(self) -> Path:
        """Debian's hypervisor."""
        return self.arm64 / f"boot/xen-{XEN_VERSION}-arm64"

    @property
    def kernel(self) -> Path:
        """Debian's kernel."""
        return next((self.arm64 / "boot").glob("vmlinuz-*"))

    @property
    def busybox(self) -> Path:
        """A shell and tools without libraries."""
        return self.arm64 / "usr/bin/busybox"

    @property
    def raspberry_pi_tree(self) -> Path:
        """The device tree of the Raspberry Pi 4 as Debian's kernel has it."""
        return next((self.arm64 / "usr/lib").glob("linux-image-*/broadcom/bcm2711-rpi-4-b.dtb"))

    def u_boot(self, board: str) -> Path:
        """U-Boot for `qemu_arm64` or `rpi_4`."""
        root = self.arm64 if board.startswith("rpi") else self.tools.root
        return root / "usr/lib/u-boot" / board / "u-boot.bin"

    def qemu(self, *args: str | Path) -> list[str]:
        """Return the command line of the emulator."""
        return self.tools.argv("usr/bin/qemu-system-aarch64", "-L", self.tools.root / "usr/share/qemu", *args)

    def run(self, program: str, *args: str | Path) -> bytes:
        """Run a program of the tools and return its output."""
        return subprocess.run(self.tools.argv(program, *args), check=True, capture_output=True, env=self.tools.env()).stdout


def get(cache: Cache | None = None) -> Parts:
    """Return the parts; those that are not in the cache are fetched."""
    cache = cache or Cache(default_dir())
    tools = cache.get("arm-tools", digest(SUITE, _TOOLS), lambda into: _unpack(into, "amd64", _TOOLS))
    arm64 = cache.get("arm-parts", digest(SUITE, _ARM64), lambda into: _unpack(into, "arm64", _ARM64))
    return Parts(Tools(tools), arm64)


def stock_xen(suite: str, version: str, cache: Cache | None = None) -> Path:
    """Return Debian's hypervisor of another suite."""
    packages = (f"xen-hypervisor-{version}-arm64",)
    root = (cache or Cache(default_dir())).get("arm-xen", digest(suite, packages), lambda into: _unpack(into, "arm64", packages, suite))
    return root / f"boot/xen-{version}-arm64"


def _unpack(into: Path, architecture: str, packages: Iterable[str], suite: str = SUITE) -> None:
    tarball, log = into / "root.tar", into / "build.log"
    with step(f"fetching {', '.join(packages)} for {architecture}", log):
        # "extract" only unpacks, so that nothing of another architecture has to run.
        options = [f"--architectures={architecture}", f"--include={','.join(packages)}"]
        run(["mmdebstrap", "--variant=extract", *options, suite, tarball], log=log, env={**os.environ, "TMPDIR": str(into)})
        run(["tar", "-C", into, "-xf", tarball, "--no-same-owner", "--exclude=./dev/*"], log=log)
        tarball.unlink()
