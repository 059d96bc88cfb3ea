# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Check by their first bytes that the files which a board loads are what they are named as."""

from __future__ import annotations

import difflib
import os
import re
import struct
import typing as t
import zlib
from dataclasses import dataclass

from .._device_tree.dtb import parse_dtb
from .._device_tree.tree import Node
from .._errors import InvalidInput
from .._files import list_directory

_GZIP = b"\x1f\x8b"
#: First bytes -> what it is; none of them is what a board can load as a kernel or Xen.
_KNOWN = {
    b"\x27\x05\x19\x56": "a U-Boot image (uImage)",
    b"\x7fELF": "an ELF file (vmlinux, or a Xen with symbols)",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"\xfd7zXZ": "packed with xz",
    b"BZh": "packed with bzip2",
    b"\x04\x22\x4d\x18": "packed with lz4",
    b"\x02!L\x18": "packed with lz4",
    b"\xd0\x0d\xfe\xed": "a device tree blob",
    _GZIP: "packed with gzip",
    b"0707": "a cpio archive",
    b"#!": "a script",
}
#: First bytes of what a domain's kernel unpacks itself, besides gzip.
_PACKED_RAMDISKS = (b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh", b"\x02!L\x18", b"\x04\x22\x4d\x18")


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
                raise InvalidInput(f"{option}: cannot read {path}: {exc.strerror}", remedy=self._remedy(path, option)) from exc
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
        """Check an arm64 kernel; `packed` allows gzip, which Xen unpacks for a domain (but U-Boot not for Xen).

        :raises InvalidInput: it is something else.
        """
        content = self.read(name, option)
        head = content[:64]
        if packed and content.startswith(_GZIP):
            head = _gunzip_head(content)
        if head[56:60] != b"ARM\x64":
            what = _describe(content if content[:2] != _GZIP or not packed else head)
            if content[:2] == b"MZ" and content[4:8] == b"zimg":
                what = "a packed EFI kernel (zboot)"
            raise InvalidInput(
                f"{option}: {self.directory}/{name} is {what}, not an arm64 Image",
                rule="an Image has the bytes 'ARM\\x64' at offset 56"
                + (", or is one packed with gzip" if packed else ", and is not packed"),
                remedy="Take arch/arm64/boot/Image of a kernel's build, or /boot/vmlinuz of Debian's linux-image-arm64"
                if packed
                else "Take the file xen of Xen's build, or /boot/xen-4.20-arm64 of Debian's xen-hypervisor-4.20-arm64",
            )
        (image_size,) = struct.unpack_from("<Q", head, 16)
        return Kernel(len(content), image_size or len(content))

    def ramdisk(self, name: str, option: str, packed: bool = False) -> int:
        """Check a ramdisk and return its size; `packed` allows more than gzip, which ImageBuilder refuses.

        :raises InvalidInput: it is something other than a cpio archive.
        """
        content = self.read(name, option)
        if packed and content.startswith(_PACKED_RAMDISKS):
            return len(content)
        head = _gunzip_head(content) if content.startswith(_GZIP) else content[:64]
        if not head.startswith(b"07070"):
            raise InvalidInput(
                f"{option}: {self.directory}/{name} is {_describe(head if content.startswith(_GZIP) else content)}, not a cpio archive",
                rule="a ramdisk is a cpio archive, or one packed with gzip" + (", zstd, xz, lz4 or bzip2" if packed else ""),
                remedy="Pack it with: find . | cpio -o -H newc | gzip > ramdisk.cpio.gz",
            )
        return len(content)

    def device_tree(self, name: str, option: str) -> Node:
        """Return the root of a device tree blob.

        :raises InvalidInput: it is something else.
        """
        content = self.read(name, option)
        if not content.startswith(b"\xd0\x0d\xfe\xed"):
            raise InvalidInput(
                f"{option}: {self.directory}/{name} is {_describe(content)}, not a device tree blob",
                rule="a blob starts with the bytes d00dfeed",
                remedy="Make it with dtc -I dts -O dtb",
            )
        return parse_dtb(content, f"{option}: {self.directory}/{name}")

    def text(self, name: str, option: str) -> str:
        """Return the content of an ASCII text.

        :raises InvalidInput: it is something else.
        """
        try:
            return self.read(name, option).decode("ascii")
        except UnicodeDecodeError as exc:
            raise InvalidInput(f"{option}: {self.directory}/{name} is not ASCII text: {exc.reason} at byte {exc.start}") from exc


def xen_configuration(content: bytes) -> dict[str, str] | None:
    """Return the build options of a Xen, which most builds contain (CONFIG_HYPFS_CONFIG); None when this one does not."""
    offset = content.find(_GZIP + b"\x08")
    while offset >= 0:
        try:
            text = zlib.decompressobj(31).decompress(content[offset:], 1 << 20)
            if b"Xen/" in text[:200] and b"CONFIG_" in text:
                return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text.decode("utf-8", "replace"), re.MULTILINE))
        except zlib.error:
            pass
        offset = content.find(_GZIP + b"\x08", offset + 1)
    return None


def _gunzip_head(content: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(content[: 1 << 16], 64)
    except zlib.error:
        return b""


def _describe(content: bytes) -> str:
    return next((what for magic, what in _KNOWN.items() if content.startswith(magic)), "of an unknown kind")
