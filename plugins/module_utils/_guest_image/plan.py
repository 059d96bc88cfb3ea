# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Kernels, ramdisks and root file systems for domains, built from Debian packages by mmdebstrap and kept in a cache.

An image is found again by its key, the hash of everything that goes into its build. The same input gives the same image,
byte for byte, as long as the archive hands out the same packages.
"""

from __future__ import annotations

import bz2
import contextlib
import fcntl
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import struct
import tarfile
import tempfile
import time
import typing as t
import zlib
from dataclasses import dataclass

from .._errors import CommandFailed, DriverDomainsError, InvalidInput, NotOnThisHost, TimedOut
from .._files import list_directory, read_text
from .._plan import Plan
from .._runner import Runner

#: Raised when the same input is to give another image because of a change that is not part of the build commands.
RECIPE = 1
#: Nothing in an image is younger (2025-01-01); seconds since 1970.
EPOCH = 1735689600
MANIFEST = "manifest.json"
#: What the directories begin with in which images are being built.
UNFINISHED = ".build-"
GIBIBYTE = 1 << 30
#: Space for packages, the unpacked system and the result, in bytes; measured: 0.6 GiB for a ramdisk, 1.3 GiB for a disk.
SPACE = {"ramdisk": 1 * GIBIBYTE, "disk": 2 * GIBIBYTE}
#: What each program belongs to in Debian.
PROGRAMS = {
    "arch-test": "arch-test",
    "mmdebstrap": "mmdebstrap",
    "zstd": "zstd",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "dumpe2fs": "e2fsprogs",
    "fakeroot": "fakeroot",
    "newuidmap": "uidmap",
}

#: How the kernel names the interpreter that runs programs of an architecture (qemu-user, through binfmt_misc).
INTERPRETERS = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64", "armhf": "qemu-arm", "i386": "qemu-i386", "riscv64": "qemu-riscv64"}
#: What each processor runs without.
NATIVE = {"x86_64": ("amd64", "i386"), "aarch64": ("arm64",)}

#: Runs outside of the new system with its directory as argument, when all packages and files are in place. It is handed over
#: as text: in the namespace of an ordinary user a file in a private directory could not be read.
FINISH_SCRIPT = """\
set -eu
root=$1
out=$root/.guest-image
mkdir "$out"
chroot "$root" dpkg-query --show --showformat '${Package}\\t${Version}\\n' >"$out/packages"
rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/lib/dbus/machine-id "$root"/var/lib/systemd/random-seed
find "$root/var/log" -type f -exec truncate --size 0 {} +
rm -rf "$root"/var/cache/ldconfig/aux-cache "$root"/var/cache/apt/*.bin "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
for modules in "$root"/lib/modules/*/modules.dep; do
    [ -e "$modules" ] || continue
    version=${modules%/modules.dep}
    version=${version##*/}
    chroot "$root" mkinitramfs -o /.guest-image/ramdisk "$version"
    cp "$root/boot/vmlinu"?-"$version" "$out/kernel"
done
"""
INITRAMFS_CONFIGURATION = "MODULES=list\nRESUME=none\n"
#: What the initramfs of a disk image needs to find its disk.
DISK_MODULES = ("ext4", "xen-blkfront")


@dataclass(frozen=True)
class OverlayFile:
    """A file that is put into an image after its packages."""

    path: str
    content: str
    mode: int


@dataclass(frozen=True)
class Image:
    """What determines an image, except its name."""

    format: str
    suite: str
    architecture: str
    packages: tuple[str, ...]
    files: tuple[OverlayFile, ...]
    modules: tuple[str, ...]
    kernel: bool
    size: int
    mirror: tuple[str, ...]
    revision: str

    @classmethod
    def from_parameters(cls, parameters: t.Mapping[str, t.Any], default_architecture: str) -> Image:
        """Check and normalise one item of the module's list `images`.

        :raises InvalidInput: a value cannot be used.
        """
        name = parameters["name"]
        for option, pattern in (("name", r"[A-Za-z0-9][A-Za-z0-9._+-]*"), ("suite", r"[a-z][a-z0-9.-]*")):
            if not re.fullmatch(pattern, parameters[option]):
                raise InvalidInput(
                    f"Image {name!r}: {option} {parameters[option]!r} is not valid",
                    rule=f"It must match {pattern}",
                )
        for option in ("packages", "modules"):
            for value in parameters[option] or []:
                if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+._:=~-]*", value):
                    raise InvalidInput(f"Image {name!r}: {value!r} in {option} is not a name that a package or module can have")
        files = tuple(sorted((_overlay_file(name, item) for item in parameters["files"] or []), key=lambda file: file.path))
        for first, second in zip(files, files[1:]):
            if first.path == second.path:
                raise InvalidInput(f"Image {name!r}: the file {first.path} is listed twice", remedy="Keep one of them")
        disk = parameters["format"] == "disk"
        if parameters["size"] and not disk:
            raise InvalidInput(f"Image {name!r}: size {parameters['size']!r} is only for format disk", remedy="Leave out size")
        return cls(
            format=parameters["format"],
            suite=parameters["suite"],
            architecture=parameters["architecture"] or default_architecture,
            packages=tuple(sorted(set(parameters["packages"] or []))),
            files=files,
            modules=tuple(sorted(set(parameters["modules"] or []).union(DISK_MODULES if disk else ()))),
            kernel=parameters["kernel"],
            size=parse_size(name, parameters["size"] or "2G") if disk else 0,
            mirror=tuple(parameters["mirror"] or []),
            revision=parameters["revision"] or "",
        )

    @property
    def key(self) -> str:
        """The hash of all that goes into the build: 16 hexadecimal digits."""
        determining = [RECIPE, self.build_command("DIRECTORY"), self.kernel, self.size, self.revision]
        digest = hashlib.sha256(json.dumps(determining).encode())
        digest.update(self.overlay())
        return digest.hexdigest()[:16]

    @property
    def parts(self) -> tuple[str, ...]:
        """The files that the image consists of; their names in its directory."""
        kernel = ("kernel",) if self.kernel else ()
        if self.format == "ramdisk":
            return (*kernel, "ramdisk")
        return (*kernel, "ramdisk", "disk") if self.kernel else ("disk",)

    @property
    def all_packages(self) -> list[str]:
        """The packages that are asked for, with those that kernel and initramfs need."""
        packages = set(self.packages)
        if self.kernel or self.format == "ramdisk":
            packages.add("initramfs-tools")
            if not any(name.startswith("linux-image-") for name in packages):
                packages.add("linux-image-arm64" if self.architecture == "arm64" else f"linux-image-{self.architecture}")
        return sorted(packages)

    def overlay(self) -> bytes:
        """Return the overlay files as a tar archive that is the same at any time."""
        files = list(self.files)
        if "initramfs-tools" in self.all_packages:
            files.append(OverlayFile("/etc/initramfs-tools/conf.d/guest-image", INITRAMFS_CONFIGURATION, 0o644))
            files.append(OverlayFile("/etc/initramfs-tools/modules", "".join(f"{name}\n" for name in self.modules), 0o644))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for file in sorted(files, key=lambda file: file.path):
                content = file.content.encode("utf-8", "surrogateescape")
                entry = tarfile.TarInfo(file.path.lstrip("/"))
                entry.size, entry.mode, entry.mtime = len(content), file.mode, EPOCH
                archive.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()

    def build_command(self, directory: str) -> list[str]:
        """Return the mmdebstrap command that builds the system and leaves its files below `directory`.

        A ramdisk is all that is wanted of a ramdisk image, so its system is thrown away; that of a disk image becomes root.tar.
        """
        disk = self.format == "disk"
        return [
            "mmdebstrap",
            # apt belongs into a system that is to be upgraded.
            f"--variant={'minbase' if disk else 'essential'}",
            f"--format={'tar' if disk else 'null'}",
            f"--architectures={self.architecture}",
            *([f"--include={','.join(self.all_packages)}"] if self.all_packages else []),
            '--aptopt=APT::Install-Recommends "false"',
            '--aptopt=Acquire::Retries "3"',
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")),
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            # Names of USB and PCI vendors; compiling them takes a minute in an emulator.
            "--dpkgopt=path-exclude=/usr/lib/udev/hwdb.d/*",
            f"--customize-hook=tar-in {directory}/overlay.tar /",
            f"--customize-hook={FINISH_SCRIPT}",
            f"--customize-hook=copy-out /.guest-image {directory}",
            '--customize-hook=rm -r "$1/.guest-image"',
            self.suite,
            f"{directory}/root.tar" if disk else "-",
            *self.mirror,
        ]

    def describe(self) -> dict[str, t.Any]:
        """Return what determines the image, for its manifest and for diff mode."""
        return {
            "format": self.format,
            "suite": self.suite,
            "architecture": self.architecture,
            "packages": self.all_packages,
            "modules": list(self.modules),
            "files": {file.path: hashlib.sha256(file.content.encode("utf-8", "surrogateescape")).hexdigest() for file in self.files},
            "kernel": self.kernel,
            **({"size": self.size} if self.size else {}),
            **({"mirror": list(self.mirror)} if self.mirror else {}),
            **({"revision": self.revision} if self.revision else {}),
        }


def _overlay_file(image: str, parameters: t.Mapping[str, t.Any]) -> OverlayFile:
    path, mode = parameters["path"], parameters["mode"] or "0644"
    if not path.startswith("/") or os.path.normpath(path) != path:
        raise InvalidInput(f"Image {image!r}: the file path {path!r} is not usable", rule="It must be absolute, without '..' or '//'")
    if not re.fullmatch(r"0?[0-7]{3,4}", mode):
        raise InvalidInput(f"Image {image!r}: the mode {mode!r} of {path} is not octal", remedy="Write it like '0644', with quotes")
    return OverlayFile(path, parameters["content"], int(mode, 8))


def parse_size(image: str, text: str) -> int:
    """Return a size in bytes from text like 512M or 2G.

    :raises InvalidInput: it is something else, or less than 64 MiB.
    """
    match = re.fullmatch(r"([1-9][0-9]*)([MG])", text)
    size = int(match[1]) << {"M": 20, "G": 30}[match[2]] if match else 0
    if size < 64 << 20:
        raise InvalidInput(
            f"Image {image!r}: size {text!r} is not usable", rule="It is a number with M or G, at least 64M", remedy="Write it like 2G"
        )
    return size


class ImageCache:
    """Built images below one directory, each in a directory named by its key."""

    def __init__(self, directory: str) -> None:
        self.directory = os.path.expanduser(directory)

    def path(self, image: Image) -> str:
        """The directory of an image, whether it is there or not."""
        return os.path.join(self.directory, image.key)

    def manifest(self, key: str) -> dict[str, t.Any] | None:
        """Return the manifest of an image, or None when it is not there, or not complete as after a power cut."""
        directory = os.path.join(self.directory, key)
        text = read_text(os.path.join(directory, MANIFEST))
        if text is None:
            return None
        try:
            manifest: dict[str, t.Any] = json.loads(text)
            complete = all(_size(f"{directory}/{name}") == file["size"] for name, file in manifest["files"].items())
        except (ValueError, LookupError, AttributeError, TypeError):
            return None
        return manifest if complete else None

    def keys(self) -> list[str]:
        """The keys of all complete images."""
        return [name for name in list_directory(self.directory) if self.manifest(name) is not None]

    @contextlib.contextmanager
    def lock(self, timeout: float) -> t.Iterator[None]:
        """Hold the cache for one build; several plays may build on the same machine at once.

        :raises TimedOut: another build held it for more than `timeout` seconds.
        """
        path = os.path.join(self.directory, ".lock")
        with open(path, "w", encoding="utf-8") as handle:
            end = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as exc:
                    if time.monotonic() > end:
                        raise TimedOut(f"Another build held {path} for more than {timeout:g} s", remedy="Wait for its end") from exc
                    time.sleep(0.5)
            yield

    def sweep(self) -> None:
        """Remove what killed builds left behind; only for who holds the lock. What the host has mounted below is not looked for there."""
        mounts = read_text("/proc/self/mountinfo") or ""
        for name in list_directory(self.directory):
            if name.startswith(UNFINISHED) and f"/{name}/" not in mounts:
                shutil.rmtree(os.path.join(self.directory, name), ignore_errors=True)

    def remove(self, key: str) -> None:
        """Remove an image; its manifest goes first, so that a half removed one is never taken for a complete one."""
        directory = os.path.join(self.directory, key)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, MANIFEST))
        shutil.rmtree(directory)


class Builder:
    """Builds one image after the other into a cache."""

    def __init__(
        self,
        cache: ImageCache,
        runner: Runner,
        timeout: float,
        which: t.Callable[[str], str | None] = shutil.which,
        uid: int | None = None,
        procfs: str = "/proc",
    ) -> None:
        self.cache = cache
        self.runner = runner
        self.timeout = timeout
        self.which = which
        self.procfs = procfs
        self.is_root = (os.geteuid() if uid is None else uid) == 0

    def check(self, images: t.Sequence[Image]) -> None:
        """See that this machine can build the images, before anything is written.

        :raises NotOnThisHost: programs, or space, are missing.
        """
        wanted = ["mmdebstrap"]
        if any(image.kernel and image.architecture == "amd64" for image in images):
            wanted.append("zstd")
        if any(image.format == "disk" for image in images):
            wanted += ["mke2fs", "debugfs", "dumpe2fs", *([] if self.is_root else ["fakeroot"])]
        if not self.is_root:
            wanted.append("newuidmap")
        foreign = sorted({image.architecture for image in images}.difference(NATIVE.get(os.uname().machine, ())))
        if foreign:
            # mmdebstrap insists on it.
            wanted.append("arch-test")
        missing = [name for name in wanted if not self.which(name)]
        if missing:
            packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
            raise NotOnThisHost(
                f"To build images, this machine lacks {', '.join(missing)}", remedy=f"apt-get install {packages}", missing=missing
            )
        for architecture in foreign:
            self._check_emulator(architecture)
        for place in sorted({_existing_parent(self.cache.directory), self._scratch()}):
            free, need = shutil.disk_usage(place).free, max(SPACE[image.format] for image in images)
            if free < need:
                raise NotOnThisHost(
                    f"{place} has {free / GIBIBYTE:.1f} GiB free",
                    rule=f"Building an image of format {'disk' if need == SPACE['disk'] else 'ramdisk'} needs {need / GIBIBYTE:.1f} GiB",
                    remedy="Make room there, or choose another cache_dir",
                )

    def _check_emulator(self, architecture: str) -> None:
        interpreter = INTERPRETERS.get(architecture, "")
        state = read_text(f"{self.procfs}/sys/fs/binfmt_misc/{interpreter}") if interpreter else None
        if not (state or "").startswith("enabled"):
            raise NotOnThisHost(
                f"This machine ({os.uname().machine}) cannot run programs for {architecture}",
                rule="packages of another architecture are configured by running their programs in an emulator",
                remedy="apt-get install qemu-user-static binfmt-support arch-test, or build the images on a machine of that architecture",
            )

    def build(self, image: Image) -> None:
        """Build an image, or do nothing when another process did so in the meantime.

        :raises CommandFailed: mmdebstrap or another step failed; the details hold the end of its log.
        """
        try:
            os.makedirs(self.cache.directory, exist_ok=True)
            with self.cache.lock(self.timeout):
                if self.cache.manifest(image.key) is None:
                    self.cache.sweep()
                    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=self.cache.directory) as directory:
                        self._build(image, directory)
        except OSError as exc:
            raise DriverDomainsError(
                f"Cannot write below {self.cache.directory}: {exc}", remedy="Choose a cache_dir that the user of this task can write to"
            ) from exc

    def _scratch(self) -> str:
        # The unpacked system of an ordinary user belongs to other user ids, which cannot get through a private home directory.
        return _existing_parent(self.cache.directory) if self.is_root else "/var/tmp"

    def _build(self, image: Image, directory: str) -> None:
        _write_bytes(f"{directory}/overlay.tar", image.overlay())
        self._run_mmdebstrap(image, directory)
        system = f"{directory}/.guest-image"
        result = f"{directory}/result"
        os.mkdir(result)
        if "kernel" in image.parts:
            self._export_kernel(f"{system}/kernel", f"{result}/kernel")
        if "ramdisk" in image.parts:
            shutil.move(f"{system}/ramdisk", f"{result}/ramdisk")
        if "disk" in image.parts:
            self._make_disk(image, directory, f"{result}/disk")
        packages = (line.split("\t") for line in (read_text(f"{system}/packages") or "").splitlines())
        manifest = {
            "key": image.key,
            "image": image.describe(),
            "files": {name: _fingerprint(f"{result}/{name}") for name in image.parts},
            "packages": dict(sorted((name, version) for name, version in packages)),
        }
        _write_bytes(f"{result}/{MANIFEST}", (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())
        for name in (*image.parts, MANIFEST):
            os.chmod(f"{result}/{name}", 0o644)
        self._share_kernel(manifest, result)
        target = self.cache.path(image)
        # What is left of an interrupted removal.
        shutil.rmtree(target, ignore_errors=True)
        os.chmod(result, 0o755)
        os.rename(result, target)

    def _run_mmdebstrap(self, image: Image, directory: str) -> None:
        # timeout ends mmdebstrap with a signal on which it removes what it has unpacked.
        command = ["timeout", "--signal=TERM", "--kill-after=60", f"{self.timeout:g}", *image.build_command(directory)]
        if self.is_root:
            # Root's mmdebstrap mounts the host's /proc, /sys and /dev into the new system. In namespaces of its own they vanish with
            # it, even when it is killed; otherwise removing its directory would remove what is in the host's /dev/shm.
            command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", *command]
        environment = {
            "SOURCE_DATE_EPOCH": str(EPOCH),
            # Keeps the kernel package from building an initramfs that nobody wants.
            "INITRD": "No",
            "HOME": os.path.expanduser("~"),
            "TMPDIR": directory if self.is_root else self._scratch(),
        }
        finished = self.runner.run(command, timeout=self.timeout + 90, check=False, environment=environment)
        if finished.rc == 0:
            return
        log = finished.stderr.splitlines()
        if finished.rc == 124:
            raise TimedOut(
                f"mmdebstrap did not end within {self.timeout:g} s and was stopped",
                remedy="Give the task a longer timeout, or a mirror that is nearer",
                log=log[-40:],
            )
        # apt's own words, without mmdebstrap's lines about the command that failed.
        errors = [line for line in log if re.match(r"E: (?!apt-get |setup failed|mmdebstrap failed)|Err:|mkinitramfs: ", line)]
        raise CommandFailed(
            f"mmdebstrap could not build the image for {image.suite}/{image.architecture}: " + (" ".join(errors[:6]) or "see its log"),
            remedy="The return value 'log' has the end of its log; suite, packages and mirror are what is wrong most often",
            log=log[-40:],
            cmd=" ".join(command),
            rc=finished.rc,
        )

    def _export_kernel(self, source: str, target: str) -> None:
        with open(source, "rb") as handle:
            image = handle.read()
        payload = bzimage_payload(image)
        if payload is None:
            _write_bytes(target, image)
        elif payload.startswith(b"\x28\xb5\x2f\xfd"):
            _write_bytes(f"{source}.zst", payload)
            self.runner.run(["zstd", "--quiet", "--decompress", f"{source}.zst", "-o", target], timeout=120)
        else:
            _write_bytes(target, decompress(payload))
        with open(target, "rb") as handle:
            magic = handle.read(4)
        if payload is not None and magic != b"\x7fELF":
            raise DriverDomainsError(f"The kernel in the image does not unpack to an ELF file (it starts with {magic.hex()})")

    def _make_disk(self, image: Image, directory: str, disk: str) -> None:
        # The file system's id, and the order of its hashed directories, come from the key.
        uuid = f"{image.key[:8]}-{image.key[8:12]}-4{image.key[13:16]}-8000-{image.key[:12]}"
        root = f"{directory}/root"
        script = (
            'set -eu; mkdir "$1"; tar --extract --numeric-owner --same-permissions --directory "$1" --file "$1.tar";'
            # Whose they are depends on who builds; apt sees to it itself.
            ' chown -f 0:0 "$1/var/cache/apt/archives/partial" "$1/var/lib/apt/lists/partial" || :;'
            ' mke2fs -q -F -t ext4 -L root -U "$3" -E "hash_seed=$3,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"'
            ' -O ^orphan_file -d "$1" "$2"; rm -r "$1" "$1.tar"'
        )
        with open(disk, "wb") as handle:
            handle.truncate(image.size)
        environment = {"SOURCE_DATE_EPOCH": str(EPOCH), "E2FSPROGS_FAKE_TIME": str(EPOCH)}
        prefix = [] if self.is_root else ["fakeroot"]
        self.runner.run(
            [*prefix, "sh", "-c", script, "mke2fs", root, disk, uuid],
            timeout=self.timeout,
            environment=environment,
            remedy=f"Is the size of {image.size >> 20} MiB enough for the packages?",
        )
        # mke2fs takes over the time of the last status change, which no one can set: the only thing that differs.
        listing = self.runner.run(["dumpe2fs", "-h", disk], timeout=60).stdout
        numbers = dict(re.findall(r"^(Inode count|Free inodes):\s+(\d+)", listing, re.M))
        count, free = int(numbers["Inode count"]), int(numbers["Free inodes"])
        fields = ("ctime", "atime", "crtime", "mtime_extra", "ctime_extra", "atime_extra", "crtime_extra")
        commands = "".join(
            f"set_inode_field <{number}> {field} {0 if field.endswith('_extra') else '@' + str(EPOCH)}\n"
            for number in range(2, count - free + 1)
            for field in fields
        )
        _write_bytes(f"{directory}/debugfs", commands.encode())
        self.runner.run(["debugfs", "-w", "-f", f"{directory}/debugfs", disk], timeout=self.timeout, environment=environment)

    def _share_kernel(self, manifest: dict[str, t.Any], result: str) -> None:
        """Let images with the same kernel share one file."""
        kernel = manifest["files"].get("kernel")
        for key in self.cache.keys() if kernel else []:
            other = self.cache.manifest(key)
            if other and other["files"].get("kernel") == kernel:
                os.unlink(f"{result}/kernel")
                os.link(os.path.join(self.cache.directory, key, "kernel"), f"{result}/kernel")
                return


def bzimage_payload(image: bytes) -> bytes | None:
    """Return the compressed ELF file inside an x86 kernel image, or None when it is none.

    The boot protocol's header (Documentation/arch/x86/boot.rst) tells where it is since version 2.08. The toolstack does the
    same for each domain it creates, slowly: hence once, here.
    """
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS" or struct.unpack_from("<H", image, 0x206)[0] < 0x208:
        return None
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if not length or len(payload) != length:
        raise DriverDomainsError("The kernel image is cut off: its header names a payload beyond its end")
    # Except for gzip, which has it itself, the kernel's build appends the unpacked size; zstd takes it for garbage.
    return payload if payload.startswith(b"\x1f\x8b") else payload[:-4]


def decompress(payload: bytes) -> bytes:
    """Unpack what Python can unpack itself: gzip, xz, lzma, bzip2.

    :raises DriverDomainsError: it is packed in another way.
    """
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31).decompress(payload)
    if payload.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)
    if payload.startswith(b"]\x00\x00"):
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(payload)
    if payload.startswith(b"BZh"):
        return bz2.BZ2Decompressor().decompress(payload)
    raise DriverDomainsError(
        f"The kernel is packed in an unknown way (it starts with {payload[:4].hex()})",
        rule="Known are gzip, xz, lzma, bzip2 and zstd",
        remedy="Choose another linux-image package",
    )


def plan_images(images: t.Mapping[str, Image], state: str, cache: ImageCache, builder: Builder) -> Plan:
    """Plan what makes the cache hold, or not hold, the images; `images` are given by their names.

    :raises NotOnThisHost: images are to be built and this machine cannot.
    """
    plan = Plan()
    manifests = {image.key: cache.manifest(image.key) for image in images.values()}
    handled: set[str] = set()
    missing = [image for image in images.values() if manifests[image.key] is None]
    if state == "present" and missing:
        builder.check(missing)
    for name, image in images.items():
        if image.key in handled:
            continue
        handled.add(image.key)
        description = json.dumps(image.describe(), indent=2, sort_keys=True)
        if state == "present" and manifests[image.key] is None:
            plan.add(f"Build image {name} ({image.key})", _bind(builder.build, image), subject=f"{name} ({image.key})", after=description)
        elif state == "absent" and os.path.isdir(cache.path(image)):
            plan.add(
                f"Remove image {name} ({image.key})", _bind(cache.remove, image.key), subject=f"{name} ({image.key})", before=description
            )
    plan.results = _results(images, cache)
    plan.conclude = lambda: _results(images, cache)
    return plan


def _bind(function: t.Callable[[t.Any], t.Any], argument: t.Any) -> t.Callable[[], t.Any]:
    return lambda: function(argument)


def _results(images: t.Mapping[str, Image], cache: ImageCache) -> dict[str, t.Any]:
    """The paths of an image are known before it is built, its sizes are not."""
    results = []
    for name, image in images.items():
        directory = cache.path(image)
        manifest = cache.manifest(image.key)
        files: dict[str, t.Any] = manifest["files"] if manifest else {}
        results.append(
            {
                "name": name,
                "key": image.key,
                "directory": directory,
                **{part: os.path.join(directory, part) if part in image.parts else "" for part in ("kernel", "ramdisk", "disk")},
                "present": manifest is not None,
                "size_bytes": sum(file["size"] for file in files.values()),
                "files": files,
            }
        )
    return {"images": results}


def read_host(cache: ImageCache, xen_version: tuple[int, int] | None, os_release: str = "/etc/os-release") -> dict[str, t.Any]:
    """Return what decides which images a Xen host needs, and the keys of those it has."""
    codename = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', read_text(os_release) or "", re.M)
    machine = os.uname().machine
    return {
        "suite": codename[1] if codename else "",
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "xen_version": "{}.{}".format(*xen_version) if xen_version else "",
        "image_keys": cache.keys(),
    }


def read_images(parameters: t.Sequence[t.Mapping[str, t.Any]], default_architecture: t.Callable[[], str]) -> dict[str, Image]:
    """Check and normalise the module's list `images`.

    :raises InvalidInput: a value cannot be used, or a name is there twice.
    """
    images: dict[str, Image] = {}
    for number, item in enumerate(parameters):
        if item["name"] in images:
            raise InvalidInput(f"Item {number + 1} of images has the name {item['name']!r}, which another one has", remedy="Rename one")
        images[item["name"]] = Image.from_parameters(item, "" if item["architecture"] else default_architecture())
    return images


def dpkg_architecture(runner: Runner) -> str:
    """The Debian architecture of this machine.

    :raises NotOnThisHost: it is no Debian.
    """
    return runner.run(["dpkg", "--print-architecture"], remedy="Name the architecture of each image").stdout.strip()


def _existing_parent(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return path


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return -1


def _write_bytes(path: str, content: bytes) -> None:
    with open(path, "wb") as handle:
        handle.write(content)


def _fingerprint(path: str) -> dict[str, t.Any]:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return {"size": _size(path), "sha256": digest.hexdigest()}
