# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The kernel, ramdisk and device tree that a running board has booted, and whether they belong together."""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import typing as t
import zlib
from dataclasses import dataclass

from .._errors import CommandFailed, DriverDomainsError, InvalidInput, NotOnThisHost
from .._file_types import DTB, GZIP, ZBOOT
from .._files import read_bytes
from .._runner import Runner

_KERNELS = ("vmlinuz-{0}", "Image-{0}", "vmlinux-{0}", "kernel-{0}")
_RAMDISKS = ("initrd.img-{0}", "initramfs-{0}.img", "initrd-{0}", "uInitrd-{0}")

UNDER_XEN = (
    "The device tree is the one that Xen made for dom0. It lacks the devices of Xen and of other domains, and has the memory of dom0, not "
    "that of the board. If you need the board's own device tree, use the boot loader's, or boot Linux without Xen"
)


@dataclass(frozen=True)
class File:
    """A file of the board."""

    path: str
    size: int
    sha256: str
    #: Whether its content was found to belong to the running kernel; False: there was no way to find out.
    checked: bool


@dataclass(frozen=True)
class Payload:
    """Files that belong together."""

    release: str
    model: str
    compatible: list[str]
    kernel: File
    ramdisk: File | None
    device_tree: File


def under_xen(root: str = "/") -> bool:
    """Return whether the kernel runs in a domain of Xen (docs/misc/arm/device-tree/guest.txt)."""
    return b"xen,xen\0" in (read_bytes(os.path.join(root, "proc/device-tree/hypervisor/compatible")) or b"")


def find_payload(runner: Runner, root: str = "/", release: str = "") -> Payload:
    """Find the files of the running kernel.

    :raises NotOnThisHost: the machine has no device tree, or does not keep its kernel in /boot.
    :raises InvalidInput: a file belongs to another kernel or another board.
    """
    release = release or platform.release()
    compatible = read_bytes(os.path.join(root, "proc/device-tree/compatible"))
    if compatible is None:
        raise NotOnThisHost(
            "This machine has no device tree in /proc/device-tree", rule="a payload is fetched from an Arm board that runs Linux"
        )
    kernel = _find(root, _KERNELS, release)
    if kernel is None:
        raise NotOnThisHost(
            f"There is no kernel {release} in /boot",
            rule=f"it is expected as {', '.join(name.format(release) for name in _KERNELS)}",
            remedy="Boot the kernel that the package manager installed, or copy the files yourself",
        )
    ramdisk = _find(root, _RAMDISKS, release)
    return Payload(
        release=release,
        model=_strings(read_bytes(os.path.join(root, "proc/device-tree/model")) or b"")[0],
        compatible=_strings(compatible),
        kernel=_describe(kernel, _check_kernel(kernel, release)),
        ramdisk=_describe(ramdisk, _check_ramdisk(ramdisk, release, runner)) if ramdisk else None,
        device_tree=_describe(*_device_tree(root, compatible)),
    )


def _find(root: str, names: t.Sequence[str], release: str) -> str | None:
    paths = [os.path.join(root, "boot", name.format(release)) for name in names]
    return next((path for path in paths if os.path.isfile(path)), None)


def _strings(data: bytes) -> list[str]:
    return [part.decode("utf-8", "replace") for part in data.rstrip(b"\0").split(b"\0")]


def _describe(path: str, checked: bool) -> File:
    data = read_bytes(path)
    if data is None:
        raise DriverDomainsError(f"{path} disappeared while it was read")
    return File(path, len(data), hashlib.sha256(data).hexdigest(), checked)


def _check_kernel(path: str, release: str) -> bool:
    data = read_bytes(path) or b""
    if GZIP.matches(data):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as exc:
            raise InvalidInput(f"The kernel {path} is damaged: {exc}", remedy="Install its package again") from exc
    elif ZBOOT.matches(data):
        # The standard library cannot decompress it.
        return False
    if f"Linux version {release} ".encode() not in data:
        raise InvalidInput(f"{path} is not the running kernel {release}", rule="a kernel has its version in the text 'Linux version'")
    return True


def _check_ramdisk(path: str, release: str, runner: Runner) -> bool:
    try:
        listed = runner.run(["lsinitramfs", path]).stdout
    except NotOnThisHost:
        return False
    except CommandFailed as exc:
        raise InvalidInput(
            f"The ramdisk {path} is damaged: {exc.problem}", remedy=f"Make it again: update-initramfs -u -k {release}"
        ) from exc
    others = {name.split("lib/modules/")[1].split("/")[0] for name in listed.splitlines() if "lib/modules/" in name}
    if others and release not in others:
        raise InvalidInput(f"{path} has modules of {', '.join(sorted(others))}, not of the running kernel {release}")
    return True


def _device_tree(root: str, compatible: bytes) -> tuple[str, bool]:
    """Return the path of the tree that the boot loader passed to the kernel, as one file."""
    path = os.path.join(root, "sys/firmware/fdt")
    data = read_bytes(path)
    if data is None or not DTB.matches(data):
        raise NotOnThisHost(f"{path} does not exist or is no device tree", rule="root finds the tree that Linux was booted with there")
    if compatible not in data:
        raise InvalidInput(f"{path} is not the device tree of {', '.join(_strings(compatible))}")
    return path, True
