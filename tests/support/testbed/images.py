# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build what a machine is made of: the tool root and the disk of a dom0."""

from __future__ import annotations

import io
import os
import shlex
import struct
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import emulator
from .cache import Cache, digest
from .progress import run, say, step
from .tools import QEMU, Tools

SUITES = ("trixie", "bookworm")
FLAVOURS = ("xen", "bare")
TOOLS_SUITE = "trixie"

ROOT_UUID = "5ee5b21e-6f00-4d0b-9d3c-000000000001"
DISK_SIZE = 8 << 30
SECTOR = 512
PARTITION_START = 1 << 20

# One virtual processor is enough for dom0 and boots faster; the other one is for the guests.
XEN_OPTIONS = "dom0_mem=768M,max:768M dom0_max_vcpus=1"

_SOURCE = Path(__file__).resolve().parent / "image"


@dataclass(frozen=True)
class Disk:
    """The disk of a dom0 that has never been booted, and the key that opens it."""

    directory: Path

    @property
    def image(self) -> Path:
        """The raw disk image."""
        return self.directory / "disk.raw"

    @property
    def ssh_key(self) -> Path:
        """The private key of its root user."""
        return self.directory / "id_ed25519"


class Images:
    """The images in a cache; asked for one that is not there, it builds it."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def tools_key(self) -> str:
        """Return the hash of what the tool root is made of."""
        return digest(TOOLS_SUITE, _packages("tools"), Path(__file__), Path(emulator.__file__))

    def disk_key(self, suite: str, flavour: str) -> str:
        """Return the hash of what a dom0's disk is made of."""
        files = (_SOURCE / "overlay", _SOURCE / "setup.sh", Path(__file__))
        return digest(suite, disk_packages(flavour), _xen_options(flavour), self.tools_key(), *files)

    def missing(self, suite: str, flavour: str) -> bool:
        """Tell whether something must be built first."""
        entries = (("tools", self.tools_key()), (f"disk-{suite}-{flavour}", self.disk_key(suite, flavour)))
        return not all(self._cache.path(*entry).is_dir() for entry in entries)

    def tools(self) -> Tools:
        """Return the tool root."""
        return Tools(self._cache.get("tools", self.tools_key(), _build_tools))

    def disk(self, suite: str, flavour: str) -> Disk:
        """Return the disk of a dom0."""
        tools = self.tools()
        key = self.disk_key(suite, flavour)
        return Disk(self._cache.get(f"disk-{suite}-{flavour}", key, lambda into: _build_disk(into, tools, suite, flavour)))


def disk_packages(flavour: str) -> list[str]:
    """Return the packages of a dom0's disk."""
    return _packages("bare") + (_packages("xen") if flavour == "xen" else [])


def _packages(name: str) -> list[str]:
    lines = (_SOURCE / "packages" / f"{name}.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _xen_options(flavour: str) -> str:
    return XEN_OPTIONS if flavour == "xen" else ""


def _build_tools(into: Path) -> None:
    tarball = into / "tools.tar"
    log = into / "build.log"
    with step("building the tool root (QEMU, e2fsprogs)", log):
        # "extract" only unpacks: nothing of this root is ever configured or started as a system.
        _mmdebstrap(TOOLS_SUITE, tarball, _packages("tools"), ["--variant=extract"], log=log)
        # Device nodes need root, and a tool root needs none of them.
        run(["tar", "-C", into, "-xf", tarball, "--no-same-owner", "--exclude=./dev/*"], log=log)
        tarball.unlink()
        for fault in emulator.mend(into / QEMU):
            say(f"   this QEMU is not the one that is known, so PVH and HVM domains may end with a triple fault if {fault}")


def _build_disk(into: Path, tools: Tools, suite: str, flavour: str) -> None:
    disk, log = Disk(into), into / "build.log"
    tarball, overlay = into / "root.tar", into / "overlay.tar"
    with step(f"installing Debian {suite} ({flavour})", log):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f", disk.ssh_key], log=log)
        public_key = disk.ssh_key.with_suffix(".pub").read_bytes()
        _pack_overlay(overlay, extra={"root/.ssh/authorized_keys": public_key})
        setup = f"env ROOT_UUID={ROOT_UUID} XEN_OPTIONS='{_xen_options(flavour)}' sh /setup.sh"
        hooks = [
            # Early, so that the one initramfs that is built follows the settings in the overlay.
            f"--essential-hook=tar-in {shlex.quote(str(overlay))} /",
            f"--customize-hook=upload {shlex.quote(str(_SOURCE / 'setup.sh'))} /setup.sh",
            f'--customize-hook=chroot "$1" {setup}',
            '--customize-hook=rm "$1/setup.sh"',
        ]
        _mmdebstrap(suite, tarball, disk_packages(flavour), ["--variant=minbase", *hooks], log=log)
    with step("writing the disk image", log):
        with disk.image.open("wb") as image:
            image.truncate(DISK_SIZE)
        layout = ["-t", "ext4", "-U", ROOT_UUID, "-E", f"offset={PARTITION_START},root_owner=0:0"]
        blocks = f"{(DISK_SIZE - PARTITION_START) >> 10}k"
        mke2fs = tools.argv("usr/sbin/mke2fs", "-q", "-F", *layout, "-d", tarball, disk.image, blocks)
        run(mke2fs, log=log, env=tools.env())
        _install_grub(tarball, disk.image)
        tarball.unlink()
        overlay.unlink()


def _mmdebstrap(suite: str, target: Path, packages: Iterable[str], options: list[str], *, log: Path) -> None:
    env, wrapper = dict(os.environ), list[str]()
    if os.geteuid() == 0:
        # As root it mounts the host's /proc, /sys and /dev into what it builds. In namespaces of its own, those
        # mounts and all its processes end with it, even if it is killed. Not as root, it makes its own.
        wrapper = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        env["TMPDIR"] = str(target.parent)  # so that nothing is left behind when it is killed
    include = f"--include={','.join(packages)}"
    command: list[str | Path] = ["mmdebstrap", "--format=tar", "--architectures=amd64", include, *options, suite, target]
    run([*wrapper, *command], log=log, env=env)


def _pack_overlay(target: Path, extra: dict[str, bytes]) -> None:
    """Pack the overlay, with owners and modes that do not depend on the checkout's."""
    source = _SOURCE / "overlay"
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    files |= extra
    directories = {parent.as_posix() for name in files for parent in Path(name).parents} - {"."}
    with tarfile.open(target, "w") as tar:
        for name in sorted(directories | files.keys()):
            private = name.startswith("root")
            info = tarfile.TarInfo(f"./{name}")
            if name in files:
                info.size, info.mode = len(files[name]), 0o600 if private else 0o644
                tar.addfile(info, io.BytesIO(files[name]))
            else:
                info.type, info.mode = tarfile.DIRTYPE, 0o700 if private else 0o755
                tar.addfile(info)


def _install_grub(tarball: Path, image: Path) -> None:
    """Do what grub-install does to a disk: boot sector, partition table, core image in the gap."""
    with tarfile.open(tarball) as tar:
        boot, core = (_member(tar, f"./boot/grub/i386-pc/{name}.img") for name in ("boot", "core"))
    with image.open("r+b") as disk:
        disk.write(boot_sector(boot))
        disk.write(check_core(core))


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    assert stream is not None, f"{name} is not a regular file"
    return stream.read()


def boot_sector(boot: bytes) -> bytes:
    """Return the master boot record: GRUB's code, and one active Linux partition."""
    beyond_chs = b"\xfe\xff\xff"
    start, length = PARTITION_START // SECTOR, (DISK_SIZE - PARTITION_START) // SECTOR
    entry = struct.pack("<B3sB3sII", 0x80, beyond_chs, 0x83, beyond_chs, start, length)
    return boot[:440] + b"XENT\0\0" + entry + bytes(48) + b"\x55\xaa"


def check_core(core: bytes) -> bytes:
    """Return the core image if it fits between the boot sector and the partition."""
    room = PARTITION_START - SECTOR
    if len(core) > room:
        raise ValueError(f"GRUB's core image has {len(core)} bytes, and there is room for {room}")
    return core
