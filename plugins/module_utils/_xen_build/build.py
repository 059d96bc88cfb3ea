# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Build the hypervisor from Debian's source package, in a new system that mmdebstrap makes, and keep it in a cache."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import typing as t
from functools import partial
from pathlib import Path

from .._errors import CommandFailed, DriverDomainsError, NotOnThisHost
from .._file_types import ARM64_IMAGE, describe
from .._files import make_directories, read_text, rename
from .._guest_image.build import UNFINISHED, Bootstrap, fingerprint, lock, sweep
from .._guest_image.cache import MANIFEST, ImageCache
from .._plan import Plan
from .specification import BUILD_SCRIPT, PARTS, REPORT, XenSource

#: Space for the compiler and the objects, in bytes; measured: 0.9 GiB.
SPACE = 3 << 29


class SourceMissing(DriverDomainsError):
    """The archive does not have the source package; `source_missing` in the details says so to programs."""

    def __init__(self, problem: str, remedy: str, **details: t.Any) -> None:
        super().__init__(problem, "Xen is built only from the distribution's own source package", remedy, source_missing=True, **details)


class XenBuilder:
    """Builds Xen into a cache, one build at a time."""

    def __init__(self, cache: ImageCache, bootstrap: Bootstrap) -> None:
        self.cache = cache
        self.bootstrap = bootstrap

    def check(self) -> None:
        """Check that this machine can build, before anything is written.

        :raises NotOnThisHost: programs or space are missing.
        """
        self.bootstrap.require(["apt-get", "mmdebstrap"], "build Xen")
        self.bootstrap.require_space(self.cache.directory, SPACE, "Building Xen")

    def build(self, source: XenSource) -> None:
        """Build, unless another process has done so in the meantime.

        :raises SourceMissing: the archive does not list the version, or does not have its files.
        :raises CommandFailed: another step failed; the details hold the end of its log.
        """
        try:
            make_directories(self.cache.directory)
            with lock(self.cache.directory, self.bootstrap.timeout):
                if self.cache.manifest(source.key) is None:
                    sweep(self.cache.directory)
                    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=self.cache.directory) as directory:
                        self._build(source, directory)
        except OSError as exc:
            raise DriverDomainsError(
                f"Cannot write below {self.cache.directory}: {exc}", remedy="Choose a cache_dir that the user of this task can write to"
            ) from exc

    def _build(self, source: XenSource, directory: str) -> None:
        started = time.monotonic()
        Path(directory, "requested").write_text("".join(f"{line}\n" for line in source.options), encoding="utf-8")
        Path(directory, "build.sh").write_text(BUILD_SCRIPT, encoding="utf-8")
        finished = self.bootstrap.run(source.build_command(directory), self.cache.directory, directory)
        if finished.rc:
            _fail(source, finished.rc, finished.stderr)
        result = f"{directory}/result"
        with open(f"{result}/xen", "rb") as handle:
            start = handle.read(1024)
        if not ARM64_IMAGE.matches(start):
            raise CommandFailed(f"The build left a file that is {describe(start)}", rule="U-Boot starts Xen as an arm64 Image")
        packages = (line.split("\t") for line in (read_text(f"{directory}/packages") or "").splitlines())
        files = {name: fingerprint(f"{result}/{name}") for name in PARTS}
        manifest = {
            "key": source.key,
            "source": source.describe(),
            "files": files,
            "packages": dict(sorted((name, version) for name, version in packages)),
            "seconds": round(time.monotonic() - started),
        }
        Path(result, MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for name in (*PARTS, MANIFEST):
            os.chmod(f"{result}/{name}", 0o644)
        target = self.cache.path(source.key)
        # An interrupted removal may have left something here.
        shutil.rmtree(target, ignore_errors=True)
        os.chmod(result, 0o755)
        rename(result, target)
        self.cache.remember(source.key, files)


def _fail(source: XenSource, rc: int, stderr: str) -> t.NoReturn:
    report = REPORT.search(stderr)
    log = stderr.splitlines()[-40:]
    kind, text = (report["kind"], report["text"] or "") if report else ("", "")
    if kind == "unlisted":
        raise SourceMissing(
            f"The archive has no source package xen {source.version} in {source.suite}",
            f"Choose one of the versions that it has: {', '.join(text.split())}" if text else "Check suite and mirror",
            log=log,
        )
    if kind == "missing":
        raise SourceMissing(
            f"The archive lists the source package xen {source.version} in {source.suite}, but does not have its files",
            "Try again later, choose another version, or set mirror to an archive that has them",
            log=log,
        )
    if kind == "option":
        raise CommandFailed(
            f"Xen {source.version} does not take these options as requested: {text}",
            rule="Kconfig drops an option that does not exist, or whose dependencies are not fulfilled",
            remedy="Remove them from config, or add what they depend on",
            options=text.split(),
            log=log,
        )
    errors = [line for line in log if line.startswith(("E: ", "Err:")) or " error: " in line or "Error " in line]
    raise CommandFailed(
        f"Xen {source.version} could not be built: " + (" ".join(errors[:4]) or "see the log"),
        remedy="The return value 'log' has the end of the log",
        log=log,
        rc=rc,
    )


def plan_build(source: XenSource, state: str, cache: ImageCache, builder: XenBuilder) -> Plan:
    """Plan the build (`state` present) or its removal (absent).

    :raises NotOnThisHost: it is missing, and this machine cannot build it.
    """
    plan = Plan()
    present = cache.manifest(source.key) is not None
    name = f"Xen {source.version} ({source.key})"
    description = json.dumps(source.describe(), indent=2, sort_keys=True)
    if state == "present" and not present:
        builder.check()
        plan.add(f"Build {name}", partial(builder.build, source), subject=name, after=description)
    elif state == "absent" and os.path.isdir(cache.path(source.key)):
        plan.add(f"Remove {name}", partial(cache.remove, source.key), subject=name, before=description)
    plan.results = _results(source, cache)
    plan.conclude = lambda: _results(source, cache)
    return plan


def _results(source: XenSource, cache: ImageCache) -> dict[str, t.Any]:
    """Return the module's results. The paths are known before the build, the checksums are not."""
    manifest = cache.manifest(source.key) or {}
    return {
        "key": source.key,
        **{part: os.path.join(cache.path(source.key), part) for part in PARTS},
        "xen_version": source.xen_version,
        "present": bool(manifest),
        "seconds": manifest.get("seconds", 0),
        "files": manifest.get("files", {}),
    }


def machine_architecture() -> str:
    """Return the Debian architecture of this machine, as far as Xen can be built there.

    :raises NotOnThisHost: it is another one.
    """
    machine = os.uname().machine
    found = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine)
    if not found:
        raise NotOnThisHost(
            f"This machine is {machine}", rule="Xen for Arm is built on x86-64 or arm64", remedy="Run the task on another one"
        )
    return found
