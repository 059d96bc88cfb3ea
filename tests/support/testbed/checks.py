# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check before a long step that it can succeed; each failure names value, rule and remedy."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from .errors import TestbedError
from .hardware import MEMORY_MIB
from .ssh import HOST

BUILD_DISK_MIB = 5 * 1024
RUN_DISK_MIB = 3 * 1024
# What QEMU takes beside the machine's memory: translated code, caches, its own heap.
QEMU_MIB = 512

# Program (or file) and the Debian package that brings it.
RUN_NEEDS = {"ssh": "openssh-client"}
BUILD_NEEDS = {
    "mmdebstrap": "mmdebstrap",
    "tar": "tar",
    "ssh-keygen": "openssh-client",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
BUILD_NEEDS_UNPRIVILEGED = {"newuidmap": "uidmap"}


def before_build(cache: Path) -> None:
    """Check what building an image needs."""
    if platform.machine() != "x86_64":
        raise TestbedError(f"this machine is {platform.machine()}; the test bed's QEMU is a program for x86_64")
    needs = BUILD_NEEDS | (BUILD_NEEDS_UNPRIVILEGED if os.geteuid() else {})
    programs(needs)
    free_disk(cache, BUILD_DISK_MIB, "set XEN_TESTBED_CACHE to a directory on a larger file system")


def before_start(state_dir: Path, port: int | None) -> None:
    """Check what starting a machine needs."""
    programs(RUN_NEEDS)
    free_disk(state_dir, RUN_DISK_MIB, "use --state-dir for a directory on a larger file system")
    free_memory(Path("/proc/meminfo").read_text(), MEMORY_MIB + QEMU_MIB)
    if port is not None:
        free_port(port)


def programs(needs: dict[str, str]) -> None:
    """Check that programs (or files, by absolute path) are there."""
    missing = [name for name in needs if not (Path(name).exists() if name.startswith("/") else shutil.which(name))]
    if missing:
        packages = " ".join(_unique(needs[name] for name in missing))
        raise TestbedError(f"missing on this machine: {', '.join(missing)}; remedy: apt-get install {packages}")


def free_disk(directory: Path, needed_mib: int, remedy: str) -> None:
    """Check the free space of the file system on which a directory is or will be."""
    existing = next(path for path in (directory, *directory.absolute().parents) if path.is_dir())
    free_mib = shutil.disk_usage(existing).free >> 20
    if free_mib < needed_mib:
        raise TestbedError(f"{directory}: {free_mib} MiB free, {needed_mib} MiB needed; remedy: free some, or {remedy}")


def free_memory(meminfo: str, needed_mib: int) -> None:
    """Check MemAvailable in the text of /proc/meminfo."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    available_mib = int(match[1]) >> 10 if match else 0
    if available_mib < needed_mib:
        raise TestbedError(
            f"{available_mib} MiB of memory available, the machine needs {needed_mib} MiB; "
            "remedy: end other programs, or another test bed (its `down`)"
        )


def free_port(port: int) -> None:
    """Check that nobody listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            remedy = "remedy: another --port, or none, then a free one is chosen"
            raise TestbedError(f"port {port} on {HOST}: {error.strerror}; it must be free; {remedy}") from error


def any_free_port() -> int:
    """Return a port on which nobody listens at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
