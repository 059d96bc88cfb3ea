# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images and a mmdebstrap that builds nothing."""

from __future__ import annotations

import base64
import lzma
import struct
import typing as t
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.build import Builder
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import ImageCache
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.specification import Image, read_images
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result, Runner

ELF = b"\x7fELF" + bytes(range(256)) * 64


def item(**changes: t.Any) -> dict[str, t.Any]:
    """One item of the option images, as AnsibleModule hands it over."""
    return {
        "name": "dd",
        "format": "ramdisk",
        "suite": "trixie",
        "architecture": None,
        "packages": ["kmod", "busybox"],
        "files": [{"path": "/etc/a", "content": "a", "mode": "0644"}, {"path": "/etc/b", "content": "b", "mode": "0755"}],
        "kernel": True,
        "modules": ["e1000e", "xen-netfront"],
        "size": None,
        "mirror": [],
        "revision": None,
        **changes,
    }


def image(**changes: t.Any) -> Image:
    return next(iter(read_images([item(**changes)], lambda: "amd64").values()))


def public_key(kind: str = "ssh-ed25519") -> str:
    """A line of `authorized_keys`, with a key that nobody has."""
    return f"{kind} {base64.b64encode(struct.pack('>I', len(kind)) + kind.encode() + struct.pack('>I', 32) + bytes(32)).decode()}"


def bzimage(payload: bytes, version: int = 0x20F, setup_sectors: int = 3, length: int | None = None) -> bytes:
    """An x86 kernel image with the header fields that tell where the payload is."""
    image = bytearray(((setup_sectors or 4) + 1) * 512 + 64)
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, version)
    struct.pack_into("<II", image, 0x248, 64, len(payload) if length is None else length)
    return bytes(image) + payload + b"what follows the payload"


def xz(data: bytes) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_CRC32) + struct.pack("<I", len(data))


class FakeMmdebstrap(Runner):
    """Leaves what mmdebstrap leaves, and remembers every command."""

    def __init__(self, rc: int = 0, stderr: str = "", kernel: bytes = b"") -> None:
        super().__init__()
        self.rc, self.stderr = rc, stderr
        self.kernel = kernel or bzimage(xz(ELF))
        self.commands: list[list[str]] = []
        self.logs: list[str] = []
        self.environments: list[t.Mapping[str, str]] = []

    def run(self, argv: t.Sequence[str], *, environment: t.Mapping[str, str] | None = None, log: str = "", **options: t.Any) -> Result:
        self.commands.append(list(argv))
        self.logs.append(log)
        self.environments.append(environment or {})
        if "mmdebstrap" in argv and self.rc == 0:
            (out,) = (word.split()[-1] for word in argv if "-hook=copy-out " in word)
            system = Path(out) / ".guest-image"
            system.mkdir()
            (system / "kernel").write_bytes(self.kernel)
            (system / "ramdisk").write_bytes(b"ramdisk")
            (system / "packages").write_text("kmod\t34.2\nbusybox\t1:1.37\n")
        return Result(tuple(argv), self.rc, "", self.stderr)


def builder(cache: ImageCache, runner: Runner, **options: t.Any) -> Builder:
    return Builder(cache, runner, 60, **{"which": lambda name: f"/usr/bin/{name}", "uid": 0, **options})


def tree(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))
