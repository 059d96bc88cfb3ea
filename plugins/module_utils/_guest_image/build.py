# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Build images with mmdebstrap and mke2fs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
import typing as t
from pathlib import Path

from .._errors import CommandFailed, DriverDomainsError, NotOnThisHost, TimedOut
from .._files import list_directory, make_directories, read_text, rename
from .._polling import wait_until
from .._runner import Result, Runner
from .._secrets import hide_secrets
from .cache import MANIFEST, ImageCache, sha256
from .kernel import export_kernel
from .specification import EPOCH, Image

#: Prefix of the directories in which images are being built.
UNFINISHED = ".build-"
#: The file in a cache in which the last build says how far it is.
LOG = "build.log"
GIBIBYTE = 1 << 30
#: Space for packages, the unpacked system and the result, in bytes; measured: 0.6 GiB for a ramdisk, 1.3 GiB for a disk.
SPACE = {"ramdisk": 1 * GIBIBYTE, "disk": 2 * GIBIBYTE}
#: The Debian package of each program.
PROGRAMS = {
    "apt-get": "apt",
    "arch-test": "arch-test",
    "mmdebstrap": "mmdebstrap",
    "zstd": "zstd",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "dumpe2fs": "e2fsprogs",
    "fakeroot": "fakeroot",
    "newuidmap": "uidmap",
}

#: The kernel's name for the interpreter that runs programs of an architecture (qemu-user, through binfmt_misc).
INTERPRETERS = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64", "armhf": "qemu-arm", "i386": "qemu-i386", "riscv64": "qemu-riscv64"}
#: The processor that an interpreter emulates, if its default one is slow. By default it has all that Arm ever defined, and computes a
#: cipher for each function call (pointer authentication), which takes ten times longer than the rest. Debian requires no more than this.
EMULATED_PROCESSORS = {"arm64": "cortex-a57"}
#: The architectures whose programs each machine runs without an interpreter.
NATIVE = {"x86_64": ("amd64", "i386"), "aarch64": ("arm64",)}


class Bootstrap:
    """Runs mmdebstrap on this machine, as root or as an ordinary user."""

    def __init__(
        self,
        runner: Runner,
        timeout: float,
        which: t.Callable[[str], str | None] = shutil.which,
        uid: int | None = None,
    ) -> None:
        self.runner = runner
        self.timeout = timeout
        self.which = which
        self.is_root = (os.geteuid() if uid is None else uid) == 0

    def require(self, programs: t.Iterable[str], purpose: str) -> None:
        """Check that programs are there, and what mmdebstrap needs as an ordinary user.

        :raises NotOnThisHost: some are missing.
        """
        missing = [name for name in (*programs, *([] if self.is_root else ["newuidmap"])) if not self.which(name)]
        if missing:
            packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
            raise NotOnThisHost(
                f"To {purpose}, this machine lacks {', '.join(missing)}", remedy=f"apt-get install {packages}", missing=missing
            )

    def require_space(self, directory: str, need: int, purpose: str) -> None:
        """Check that there is room for a build and its result.

        :param need: in bytes.
        :raises NotOnThisHost: there is less.
        """
        for place in sorted({_existing_parent(directory), self._scratch(directory)}):
            free = shutil.disk_usage(place).free
            if free < need:
                raise NotOnThisHost(
                    f"{place} has {free / GIBIBYTE:.1f} GiB free",
                    rule=f"{purpose} needs {need / GIBIBYTE:.1f} GiB",
                    remedy="Make room there, or choose another cache_dir",
                )

    def run(self, command: t.Sequence[str], cache: str, directory: str, environment: t.Mapping[str, str] | None = None) -> Result:
        """Run mmdebstrap and return its result, whose exit code may be any but that for the end of time.

        :param cache: the directory of the cache, and `directory` that of this build in it.
        What it writes goes to the file `LOG` in the cache as it comes, so that others see how far it is.

        :raises TimedOut: it took more than `timeout` seconds.
        :raises DriverDomainsError: the log cannot be written.
        """
        # On the signal that timeout sends, mmdebstrap removes what it has unpacked.
        command = ["timeout", "--signal=TERM", "--kill-after=60", f"{self.timeout:g}", *command]
        if self.is_root:
            # As root, mmdebstrap mounts the host's /proc, /sys and /dev into the new system. In namespaces of its own, the mounts
            # disappear with it even if it is killed. Otherwise, removing its directory would empty the host's /dev/shm.
            command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", *command]
        own = {
            "SOURCE_DATE_EPOCH": str(EPOCH),
            "HOME": os.path.expanduser("~"),
            "TMPDIR": directory if self.is_root else self._scratch(cache),
            **(environment or {}),
        }
        finished = self.runner.run(command, timeout=self.timeout + 90, check=False, environment=own, log=f"{cache}/{LOG}")
        if finished.rc == 124:
            raise TimedOut(
                f"mmdebstrap did not end within {self.timeout:g} s and was stopped",
                remedy="Give the task a longer timeout or a nearer mirror",
                log=finished.stderr.splitlines()[-40:],
            )
        return finished

    def _scratch(self, directory: str) -> str:
        # The system that an ordinary user unpacks belongs to other user ids, which cannot enter a private home directory.
        return _existing_parent(directory) if self.is_root else "/var/tmp"


class Builder:
    """Builds images into a cache, one at a time."""

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
        self.procfs = procfs
        self.bootstrap = Bootstrap(runner, timeout, which, uid)

    def check(self, images: t.Sequence[Image]) -> None:
        """Check that this machine can build the images, before anything is written.

        :raises NotOnThisHost: programs or space are missing.
        """
        wanted = ["mmdebstrap"]
        if any(image.kernel and image.architecture == "amd64" and not image.bzimage for image in images):
            wanted.append("zstd")
        if any(image.format == "disk" for image in images):
            wanted += ["mke2fs", "debugfs", "dumpe2fs", *([] if self.bootstrap.is_root else ["fakeroot"])]
        foreign = sorted({image.architecture for image in images if _is_foreign(image.architecture)})
        if foreign:
            # mmdebstrap requires it.
            wanted.append("arch-test")
        self.bootstrap.require(wanted, "build images")
        for architecture in foreign:
            self._check_emulator(architecture)
        need = max(SPACE[image.format] for image in images)
        kind = "disk" if need == SPACE["disk"] else "ramdisk"
        self.bootstrap.require_space(self.cache.directory, need, f"Building an image of format {kind}")

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
        """Build an image, unless another process has built it in the meantime.

        :raises CommandFailed: mmdebstrap or another step failed; the details hold the end of its log.
        """
        try:
            make_directories(self.cache.directory)
            with lock(self.cache.directory, self.timeout):
                if self.cache.manifest(image.key) is None:
                    sweep(self.cache.directory)
                    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=self.cache.directory) as directory:
                        self._build(image, directory)
        except OSError as exc:
            raise DriverDomainsError(
                f"Cannot write below {self.cache.directory}: {exc}", remedy="Choose a cache_dir that the user of this task can write to"
            ) from exc

    def _build(self, image: Image, directory: str) -> None:
        Path(directory, "overlay.tar").write_bytes(image.overlay())
        self._run_mmdebstrap(image, directory)
        system = f"{directory}/.guest-image"
        result = f"{directory}/result"
        os.mkdir(result)
        if "kernel" in image.parts:
            export_kernel(f"{system}/kernel", f"{result}/kernel", self.runner, image.bzimage)
        if "ramdisk" in image.parts:
            shutil.move(f"{system}/ramdisk", f"{result}/ramdisk")
        if "disk" in image.parts:
            self._make_disk(image, directory, f"{result}/disk")
        packages = (line.split("\t") for line in (read_text(f"{system}/packages") or "").splitlines())
        files = {name: fingerprint(f"{result}/{name}") for name in image.parts}
        manifest = {
            "key": image.key,
            "image": hide_secrets(image.describe()),
            "files": files,
            "packages": dict(sorted((name, version) for name, version in packages)),
        }
        Path(result, MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        # Root file systems hold files that only root of the domain may read. A kernel is public.
        for name in (*image.parts, MANIFEST):
            os.chmod(f"{result}/{name}", 0o644 if name in ("kernel", MANIFEST) else 0o600)
        self._share_kernel(manifest, result)
        target = self.cache.path(image.key)
        # An interrupted removal may have left something here.
        shutil.rmtree(target, ignore_errors=True)
        os.chmod(result, 0o755)
        rename(result, target)
        self.cache.remember(image.key, files)

    def _run_mmdebstrap(self, image: Image, directory: str) -> None:
        # Keeps the kernel package from building an initramfs that is not used.
        environment = {"INITRD": "No"}
        if _is_foreign(image.architecture) and image.architecture in EMULATED_PROCESSORS:
            environment["QEMU_CPU"] = EMULATED_PROCESSORS[image.architecture]
        command = image.build_command(directory)
        finished = self.bootstrap.run(command, self.cache.directory, directory, environment)
        if finished.rc == 0:
            return
        log = finished.stderr.splitlines()
        # apt's own messages, without mmdebstrap's lines about the command that failed.
        errors = [line for line in log if re.match(r"E: (?!apt-get |setup failed|mmdebstrap failed)|Err:|mkinitramfs: ", line)]
        raise CommandFailed(
            f"mmdebstrap could not build the image for {image.suite}/{image.architecture}: " + (" ".join(errors[:6]) or "see its log"),
            remedy="Check suite, packages and mirror; the return value 'log' has the end of its log",
            log=log[-40:],
            cmd=" ".join(command),
            rc=finished.rc,
        )

    def _make_disk(self, image: Image, directory: str, disk: str) -> None:
        # The file system's id and the order of its hashed directories come from the key.
        uuid = f"{image.key[:8]}-{image.key[8:12]}-4{image.key[13:16]}-8000-{image.key[:12]}"
        root = f"{directory}/root"
        script = (
            'set -eu; mkdir "$1"; tar --extract --numeric-owner --same-permissions --directory "$1" --file "$1.tar";'
            # Their owner depends on the build user; apt resets it on first use.
            ' chown -f 0:0 "$1/var/cache/apt/archives/partial" "$1/var/lib/apt/lists/partial" || :;'
            ' mke2fs -q -F -t ext4 -L root -U "$3" -E "hash_seed=$3,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"'
            ' -O ^orphan_file -d "$1" "$2"; rm -r "$1" "$1.tar"'
        )
        with open(disk, "wb") as handle:
            handle.truncate(image.size)
        environment = {"SOURCE_DATE_EPOCH": str(EPOCH), "E2FSPROGS_FAKE_TIME": str(EPOCH)}
        prefix = [] if self.bootstrap.is_root else ["fakeroot"]
        self.runner.run(
            [*prefix, "sh", "-c", script, "mke2fs", root, disk, uuid],
            timeout=self.timeout,
            environment=environment,
            remedy=f"Is the size of {image.size >> 20} MiB enough for the packages?",
        )
        # mke2fs copies the time of the last status change, which cannot be set. It is all that differs between two builds.
        listing = self.runner.run(["dumpe2fs", "-h", disk], timeout=60).stdout
        numbers = dict(re.findall(r"^(Inode count|Free inodes):\s+(\d+)", listing, re.M))
        count, free = int(numbers["Inode count"]), int(numbers["Free inodes"])
        fields = ("ctime", "atime", "crtime", "mtime_extra", "ctime_extra", "atime_extra", "crtime_extra")
        commands = "".join(
            f"set_inode_field <{number}> {field} {0 if field.endswith('_extra') else '@' + str(EPOCH)}\n"
            for number in range(2, count - free + 1)
            for field in fields
        )
        Path(directory, "debugfs").write_text(commands, encoding="ascii")
        self.runner.run(["debugfs", "-w", "-f", f"{directory}/debugfs", disk], timeout=self.timeout, environment=environment)

    def _share_kernel(self, manifest: dict[str, t.Any], result: str) -> None:
        """Let images with the same kernel share one file."""
        kernel = manifest["files"].get("kernel")
        for key in self.cache.keys() if kernel else []:
            other = self.cache.manifest(key)
            if other and other["files"].get("kernel") == kernel:
                os.unlink(f"{result}/kernel")
                os.link(os.path.join(self.cache.path(key), "kernel"), f"{result}/kernel")
                return


@contextlib.contextmanager
def lock(directory: str, timeout: float) -> t.Iterator[None]:
    """Hold a cache for one build; several plays may build on the same machine at once.

    :raises TimedOut: another build held it for more than `timeout` seconds.
    """
    path = os.path.join(directory, ".lock")
    with open(path, "w", encoding="utf-8") as handle:
        if not wait_until(lambda: _try_lock(handle), timeout, interval=0.5):
            raise TimedOut(f"Another build held {path} for more than {timeout:g} s", remedy="Wait until it ends")
        yield


def _try_lock(handle: t.IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sweep(directory: str) -> None:
    """Remove what killed builds left in a cache, unless something is still mounted there; the caller holds the lock."""
    mounts = read_text("/proc/self/mountinfo") or ""
    for name in list_directory(directory):
        if name.startswith(UNFINISHED) and f"/{name}/" not in mounts:
            shutil.rmtree(os.path.join(directory, name), ignore_errors=True)


def dpkg_architecture(runner: Runner) -> str:
    """Return the Debian architecture of this machine.

    :raises NotOnThisHost: this is not Debian.
    """
    return runner.run(["dpkg", "--print-architecture"], remedy="Set the architecture of each image").stdout.strip()


def _is_foreign(architecture: str) -> bool:
    return architecture not in NATIVE.get(os.uname().machine, ())


def _existing_parent(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return path


def fingerprint(path: str) -> dict[str, t.Any]:
    """Return size and checksum of a file of the cache."""
    return {"size": os.path.getsize(path), "sha256": sha256(path)}
