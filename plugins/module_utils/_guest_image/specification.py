# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What determines an image, and its key: the hash of everything that goes into the build.

The same input gives the same image, byte for byte, as long as the archive serves the same packages.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import typing as t
from dataclasses import dataclass

from .._errors import InvalidInput
from .._words import check_mirror, check_word
from .firmware import COMPONENT, SETUP_SCRIPT, firmware_script

#: Increase it when a change outside of the build commands makes the same input give another image.
RECIPE = 1
#: Upper limit of all timestamps in an image (2025-01-01), in seconds since 1970.
EPOCH = 1735689600
#: Runs outside of the new system, with its directory as argument, after all packages and files are in place. It is passed
#: as text, because the namespace of an ordinary user cannot read a file in a private directory.
FINISH_SCRIPT = """\
set -eu
root=$1
out=$root/.guest-image
mkdir "$out"
if [ "$MMDEBSTRAP_HOOK" = extract ]; then
    for package in "$root"/var/cache/apt/archives/*.deb; do
        dpkg-deb --show --showformat '${Package}\\t${Version}\\n' "$package"
    done >"$out/packages"
else
    chroot "$root" dpkg-query --show --showformat '${Package}\\t${Version}\\n' >"$out/packages"
    rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/lib/dbus/machine-id "$root"/var/lib/systemd/random-seed
    find "$root/var/log" -type f -exec truncate --size 0 {} +
    rm -rf "$root"/var/cache/ldconfig/aux-cache "$root"/var/cache/apt/*.bin "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
fi
for modules in "$root"/lib/modules/*; do
    [ -e "$modules/kernel" ] || continue
    version=${modules##*/}
    # The scripts of packages that were only unpacked have not done it. This machine's depmod needs no emulator.
    if [ ! -e "$modules/modules.dep" ]; then
        if command -v depmod >/dev/null; then depmod --basedir "$root" "$version"; else chroot "$root" depmod "$version"; fi
    fi
    chroot "$root" mkinitramfs -o /.guest-image/ramdisk "$version"
    cp "$root/boot/vmlinu"?-"$version" "$out/kernel"
done
"""
INITRAMFS_CONFIGURATION = "MODULES=list\nRESUME=none\n"
#: Modules that the initramfs of a disk image needs to mount the disk.
DISK_MODULES = ("ext4", "xen-blkfront")


@dataclass(frozen=True)
class OverlayFile:
    """A file that is put into an image after its packages."""

    path: str
    content: str
    mode: int

    @property
    def data(self) -> bytes:
        """The content as it is in the file."""
        return self.content.encode("utf-8", "surrogateescape")

    @property
    def public(self) -> bool:
        """Whether everybody in the domain may read it."""
        return bool(self.mode & 0o004)


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
    #: Whether the kernel for x86 stays a bzImage.
    bzimage: bool = False
    #: The kernel modules whose firmware the image gets from the archive's component non-free-firmware.
    nonfree_firmware: tuple[str, ...] = ()

    @classmethod
    def from_parameters(cls, parameters: t.Mapping[str, t.Any], default_architecture: str) -> Image:
        """Check and normalise one item of the module's list `images`.

        :raises InvalidInput: a value cannot be used.
        """
        name = parameters["name"]
        _check_names(parameters)
        files = tuple(sorted((_overlay_file(name, item) for item in parameters["files"] or []), key=lambda file: file.path))
        for first, second in zip(files, files[1:]):
            if first.path == second.path:
                raise InvalidInput(f"Image {name!r}: the file {first.path} is listed twice", remedy="Keep one of them")
        disk = parameters["format"] == "disk"
        if parameters["size"] and not disk:
            raise InvalidInput(f"Image {name!r}: size {parameters['size']!r} is only for format disk", remedy="Remove size")
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
            bzimage=bool(parameters.get("bzimage")) and parameters["kernel"],
            nonfree_firmware=tuple(sorted(set(parameters.get("nonfree_firmware") or []))) if parameters["kernel"] else (),
        )

    @property
    def key(self) -> str:
        """The hash of everything that goes into the build, as 16 hexadecimal digits."""
        determining = [
            RECIPE,
            self.build_command("DIRECTORY"),
            self.kernel,
            self.size,
            self.revision,
            *(["bzimage"] if self.bzimage else []),
        ]
        digest = hashlib.sha256(json.dumps(determining).encode())
        digest.update(self.overlay())
        return digest.hexdigest()[:16]

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the image's files in its directory."""
        kernel = ("kernel",) if self.kernel else ()
        if self.format == "ramdisk":
            return (*kernel, "ramdisk")
        return (*kernel, "ramdisk", "disk") if self.kernel else ("disk",)

    @property
    def all_packages(self) -> list[str]:
        """The requested packages, and those that kernel and initramfs need."""
        packages = set(self.packages)
        if self.kernel or self.format == "ramdisk":
            packages.add("initramfs-tools")
            if not any(name.startswith("linux-image-") for name in packages):
                packages.add(f"linux-image-{self.architecture}")
        return sorted(packages)

    def overlay(self) -> bytes:
        """Return the overlay files as a tar archive that is always the same for the same files."""
        files = list(self.files)
        if "initramfs-tools" in self.all_packages:
            files.append(OverlayFile("/etc/initramfs-tools/conf.d/guest-image", INITRAMFS_CONFIGURATION, 0o644))
            files.append(OverlayFile("/etc/initramfs-tools/modules", "".join(f"{name}\n" for name in self.modules), 0o644))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for file in sorted(files, key=lambda file: file.path):
                entry = tarfile.TarInfo(file.path.lstrip("/"))
                entry.size, entry.mode, entry.mtime = len(file.data), file.mode, EPOCH
                archive.addfile(entry, io.BytesIO(file.data))
        return buffer.getvalue()

    def build_command(self, directory: str) -> list[str]:
        """Return the mmdebstrap command that builds the system and leaves its files below `directory`.

        The system of a ramdisk image is discarded, since only the ramdisk is used. Its packages are only unpacked: what their scripts
        would configure is of no use, and takes minutes in an emulator. That of a disk image becomes root.tar.
        """
        disk = self.format == "disk"
        hook = "customize" if disk else "extract"
        return [
            "mmdebstrap",
            # A disk has apt, because it is meant to be upgraded.
            f"--variant={'minbase' if disk else 'extract'}",
            f"--format={'tar' if disk else 'null'}",
            f"--architectures={self.architecture}",
            *([f"--components=main,{COMPONENT}"] if self.nonfree_firmware else []),
            *([] if disk else ["--include=?essential"]),
            *([f"--include={','.join(self.all_packages)}"] if self.all_packages else []),
            '--aptopt=APT::Install-Recommends "false"',
            '--aptopt=Acquire::Retries "3"',
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")),
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            # Names of USB and PCI vendors; compiling them takes a minute in an emulator.
            "--dpkgopt=path-exclude=/usr/lib/udev/hwdb.d/*",
            f"--{hook}-hook=tar-in {directory}/overlay.tar /",
            *([f"--setup-hook={SETUP_SCRIPT}", f"--{hook}-hook={firmware_script(self.nonfree_firmware)}"] if self.nonfree_firmware else []),
            f"--{hook}-hook={FINISH_SCRIPT}",
            f"--{hook}-hook=copy-out /.guest-image {directory}",
            f'--{hook}-hook=rm -r "$1/.guest-image"',
            self.suite,
            f"{directory}/root.tar" if disk else "-",
            *(map(_with_nonfree_firmware, self.mirror) if self.nonfree_firmware else self.mirror),
        ]

    def describe(self) -> dict[str, t.Any]:
        """Return what determines the image, for its manifest and for diff mode."""
        return {
            "format": self.format,
            "suite": self.suite,
            "architecture": self.architecture,
            "packages": self.all_packages,
            "modules": list(self.modules),
            # The checksum of a short secret gives it away.
            "files": {file.path: hashlib.sha256(file.data).hexdigest() if file.public else "secret" for file in self.files},
            "kernel": self.kernel,
            **({"bzimage": True} if self.bzimage else {}),
            **({"nonfree_firmware": list(self.nonfree_firmware)} if self.nonfree_firmware else {}),
            **({"size": self.size} if self.size else {}),
            **({"mirror": list(self.mirror)} if self.mirror else {}),
            **({"revision": self.revision} if self.revision else {}),
        }


def _check_names(parameters: t.Mapping[str, t.Any]) -> None:
    check_word("image name", parameters["name"])
    where = f"Image {parameters['name']!r}"
    check_word("suite", parameters["suite"], where)
    if parameters["architecture"]:
        check_word("architecture", parameters["architecture"], where)
    for option, kind in (("packages", "package"), ("modules", "module"), ("nonfree_firmware", "module")):
        for value in parameters.get(option) or []:
            check_word(kind, value, f"{where}, {option}")
    for line in parameters["mirror"] or []:
        check_mirror(line, where)


def _with_nonfree_firmware(line: str) -> str:
    """Return a line of sources.list with the component of non-free firmware. The address of a mirror gets its components by option."""
    words = line.split()
    return f"{line} {COMPONENT}" if words[0] == "deb" and "main" in words and COMPONENT not in words else line


def _overlay_file(image: str, parameters: t.Mapping[str, t.Any]) -> OverlayFile:
    path, mode = parameters["path"], parameters["mode"] or "0644"
    if not re.fullmatch(r"/[^/].*", path) or os.path.normpath(path) != path or not path.isprintable():
        raise InvalidInput(
            f"Image {image!r}: the file path {path!r} is not valid", rule="It must be absolute, without '..', '//' or control characters"
        )
    if not re.fullmatch(r"0?[0-7]{3,4}", mode):
        raise InvalidInput(f"Image {image!r}: the mode {mode!r} of {path} is not octal", remedy="Write it like '0644', with quotes")
    return OverlayFile(path, parameters["content"], int(mode, 8))


def parse_size(image: str, text: str) -> int:
    """Return a size in bytes from text like 512M or 2G.

    :raises InvalidInput: the text is in another form, or the size is below 64 MiB.
    """
    match = re.fullmatch(r"([1-9][0-9]*)([MG])", text)
    size = int(match[1]) << {"M": 20, "G": 30}[match[2]] if match else 0
    if size < 64 << 20:
        raise InvalidInput(
            f"Image {image!r}: size {text!r} is not valid", rule="It must be a number with M or G, at least 64M", remedy="Write it like 2G"
        )
    return size


def read_images(parameters: t.Sequence[t.Mapping[str, t.Any]], default_architecture: t.Callable[[], str]) -> dict[str, Image]:
    """Check and normalise the module's list `images`, and return the images by name.

    :param default_architecture: called for images that do not set one.
    :raises InvalidInput: a value cannot be used, or two images have one name.
    """
    images: dict[str, Image] = {}
    for number, item in enumerate(parameters):
        if item["name"] in images:
            raise InvalidInput(f"Item {number + 1} of images has the name {item['name']!r} of an earlier one", remedy="Rename one of them")
        images[item["name"]] = Image.from_parameters(item, "" if item["architecture"] else default_architecture())
    return images
