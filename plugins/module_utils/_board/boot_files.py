# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Check the types of the files that a board loads, by their first bytes."""

from __future__ import annotations

import difflib
import os
import re
import struct
import typing as t
import zlib
from dataclasses import dataclass

from .._device_tree.dtb import parse_dtb
from .._device_tree.overlay import apply_overlay
from .._device_tree.tree import DeviceTree
from .._errors import InvalidInput
from .._file_types import ARM64_IMAGE, BZIP2, CPIO, DTB, GZIP, LZ4, LZ4_LEGACY, XZ, ZSTD, describe
from .._files import file_remedy, list_directory

#: What a domain's kernel can decompress, besides gzip.
_PACKED_RAMDISKS = (ZSTD, XZ, BZIP2, LZ4_LEGACY, LZ4)
#: Enough of a file to identify it.
_HEAD = 1024
#: In a text, all but the tab and the line end.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_DEFLATED = GZIP.magic + b"\x08"


@dataclass(frozen=True)
class Kernel:
    """An arm64 Image (Linux: Documentation/arch/arm64/booting.rst)."""

    size: int
    #: Bytes that it takes up in memory, including its uninitialised data.
    image_size: int


class Files:
    """The files below a board's directory; each is read once.

    :param pending: where files are that are still to be copied there, by their names in the directory.
    """

    def __init__(self, directory: str, pending: t.Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self._pending = pending or {}
        self._content: dict[str, bytes] = {}

    def size(self, name: str, option: str) -> int:
        """Return a file's size in bytes.

        :raises InvalidInput: it cannot be read, or is empty.
        """
        return len(self.read(name, option))

    def read(self, name: str, option: str) -> bytes:
        """Return a file's content.

        :raises InvalidInput: it cannot be read, or is empty.
        """
        if name not in self._content:
            path = self._path(name)
            try:
                with open(path, "rb") as handle:
                    self._content[name] = handle.read()
            except OSError as exc:
                remedy = self._remedy(path, option) if isinstance(exc, FileNotFoundError) else file_remedy(exc)
                raise InvalidInput(f"{option}: cannot read {path}: {exc.strerror}", remedy=remedy) from exc
            if not self._content[name]:
                raise InvalidInput(f"{option}: {path} is empty", remedy="Copy it again")
        return self._content[name]

    def _path(self, name: str) -> str:
        path = os.path.join(self.directory, name)
        return self._pending.get(name, path) if not os.path.exists(path) else path

    @staticmethod
    def _remedy(path: str, option: str) -> str:
        directory, name = os.path.split(path)
        similar = difflib.get_close_matches(name, list_directory(directory), n=1, cutoff=0.7)
        if similar:
            return f"The directory has {similar[0]}: did you mean that?"
        if option.endswith("passthrough_dtb"):
            return "Make the partial device tree with the module passthrough_device_tree, or from its source with dtc -I dts -O dtb"
        return "Build it, or copy it there, before the configuration names it"

    def kernel(self, name: str, option: str, packed: bool = True) -> Kernel:
        """Check an arm64 kernel; `packed` allows gzip, which Xen decompresses for a domain (but U-Boot does not for Xen).

        :raises InvalidInput: it is something else.
        """
        content = self.read(name, option)
        head = _unpacked_head(content) if packed else content
        if not ARM64_IMAGE.matches(head):
            raise InvalidInput(
                f"{option}: {self.directory}/{name} is {describe(head)}, not an arm64 Image",
                rule="an Image has the bytes 'ARM\\x64' at offset 56"
                + (", or is one compressed with gzip" if packed else ", and is not compressed"),
                remedy="Use arch/arm64/boot/Image of a kernel's build, or /boot/vmlinuz of Debian's linux-image-arm64"
                if packed
                else "Use the file xen of Xen's build, or /boot/xen-4.20-arm64 of Debian's xen-hypervisor-4.20-arm64",
            )
        (image_size,) = struct.unpack_from("<Q", head, 16)
        return Kernel(len(content), image_size or len(content))

    def ramdisk(self, name: str, option: str, packed: bool = False) -> int:
        """Check a ramdisk and return its size; `packed` allows more than gzip, which ImageBuilder refuses.

        :raises InvalidInput: it is something other than a cpio archive.
        """
        content = self.read(name, option)
        if packed and any(kind.matches(content) for kind in _PACKED_RAMDISKS):
            return len(content)
        head = _unpacked_head(content)
        if not CPIO.matches(head):
            raise InvalidInput(
                f"{option}: {self.directory}/{name} is {describe(head)}, not a cpio archive",
                rule="a ramdisk is a cpio archive, or one compressed with gzip" + (", zstd, xz, lz4 or bzip2" if packed else ""),
                remedy="Pack it with: find . | cpio -o -H newc | gzip > ramdisk.cpio.gz",
            )
        return len(content)

    def device_tree(self, name: str, option: str) -> DeviceTree:
        """Read a device tree blob.

        :raises InvalidInput: it is something else.
        """
        content = self.read(name, option)
        if not DTB.matches(content):
            raise InvalidInput(
                f"{option}: {self.directory}/{name} is {describe(content)}, not a device tree blob",
                rule="a blob starts with the bytes d00dfeed",
                remedy="Make it with dtc -I dts -O dtb",
            )
        source = f"{option}: {self.directory}/{name}"
        return DeviceTree(parse_dtb(content, source), source)

    def host_tree(self, name: str, overlays: t.Sequence[str]) -> DeviceTree:
        """Read the board's device tree as it is when the overlays were applied to it.

        :raises InvalidInput: a file is something else, or an overlay does not apply.
        """
        tree = self.device_tree(name, "device_tree")
        for number, overlay in enumerate(overlays):
            apply_overlay(tree.root, self.device_tree(overlay, f"overlays[{number}]").root, overlay)
        return DeviceTree(tree.root, tree.source) if overlays else tree

    def text(self, name: str, option: str) -> str:
        """Return the content of an ASCII text.

        :raises InvalidInput: it is something else.
        """
        content = self.read(name, option)
        try:
            text = content.decode("ascii")
        except UnicodeDecodeError as exc:
            raise InvalidInput(f"{option}: {self.directory}/{name} is not ASCII text: {exc.reason} at byte {exc.start}") from exc
        control = _CONTROL.search(text)
        if control:
            raise InvalidInput(
                f"{option}: {self.directory}/{name} has the character {control[0]!r} at byte {control.start()}",
                rule="a script for U-Boot ends at a zero, and a carriage return becomes a part of the last word of its line",
                remedy="Save it as text with the line ends of Unix",
            )
        return text


def xen_configuration(content: bytes) -> dict[str, str] | None:
    """Return the build options of a Xen, which most builds contain (CONFIG_HYPFS_CONFIG); None when this one does not."""
    text = _xen_configuration(content)
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE)) if text else None


def xen_release(content: bytes) -> tuple[int, int] | None:
    """Return the release of a Xen, such as (4, 17), from its build options; None when it does not contain them."""
    found = re.search(r"^# Xen/\S+ (\d+)\.(\d+)", _xen_configuration(content), re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None


def _xen_configuration(content: bytes) -> str:
    """Return the file .config that a Xen was built with; "" when it does not contain it."""
    offset = content.find(_DEFLATED)
    while offset >= 0:
        try:
            text = zlib.decompressobj(31).decompress(content[offset:], 1 << 20)
            if b"Xen/" in text[:200] and b"CONFIG_" in text:
                return text.decode("utf-8", "replace")
        except zlib.error:
            pass
        offset = content.find(_DEFLATED, offset + 1)
    return ""


def _unpacked_head(content: bytes) -> bytes:
    """Return the beginning of a file; of one that is compressed with gzip, of what is in it. Empty if that is damaged."""
    if not GZIP.matches(content):
        return content[:_HEAD]
    try:
        return zlib.decompressobj(31).decompress(content[: 1 << 16], _HEAD)
    except zlib.error:
        return b""
