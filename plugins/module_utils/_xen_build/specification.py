# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What determines a build of the hypervisor, and its key: the hash of everything that goes into the build.

Source and compiler are those of one Debian suite. apt checks the source by the signed index of the archive (`Sources`), which has the
checksums of its files.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from dataclasses import dataclass

from .._errors import InvalidInput
from .._words import check_mirror, check_word

#: Increase it when a change outside of the build command makes the same input give another result.
RECIPE = 1
#: The files of a build.
PARTS = ("xen", "config")
ARCHIVE, SECURITY = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"
#: What the build needs besides the compiler for Arm. Kconfig is compiled for the machine that builds.
PACKAGES = ("bison", "dpkg-dev", "flex", "gcc", "libc6-dev", "make", "python3-minimal", "xz-utils")
#: The compiler for Arm, by the Debian architecture of the machine that builds. Its programs have the same names in both cases.
COMPILERS = {"amd64": "gcc-aarch64-linux-gnu", "arm64": "gcc"}
#: How the scripts report what is wrong with the request, in a line of mmdebstrap's log.
REPORT = re.compile(r"^xen_build: (?P<kind>unlisted|missing|option)(?: (?P<text>.*))?$", re.MULTILINE)
#: Runs before anything is installed, so that a source that the archive lacks costs seconds. apt runs outside of the new system, with
#: that system's lists and keys. Its arguments are the system's directory and the version.
FETCH_SCRIPT = """\
set -eu
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
version=$2
listed=$(apt-cache showsrc --only-source xen 2>/dev/null | sed -n 's/^Version: //p' | sort -u)
if ! printf '%s\\n' "$listed" | grep -qxF "$version"; then
    echo "xen_build: unlisted" $listed >&2
    exit 1
fi
mkdir -p "$1/build"
cd "$1/build"
if ! apt-get source -qq --download-only --only-source "xen=$version" >"$1/build/apt.log" 2>&1; then
    cat "$1/build/apt.log" >&2
    # Anything else, such as a wrong checksum, is an error like others.
    if grep -q -e ' 404 ' -e 'File not found' "$1/build/apt.log"; then echo "xen_build: missing" >&2; fi
    exit 1
fi
"""
#: Runs in the new system, as Debian's own debian/rules builds the hypervisor, with the requested options appended to its configuration.
#: Nothing of the machine that builds gets into the result, and its date is that of the source package.
BUILD_SCRIPT = """\
set -eu
cd /build
dpkg-source --extract *.dsc source >&2
cd source
DEB_VERSION=$(dpkg-parsechangelog -SVersion)
DEB_MAINTAINER="xen_build <xen_build@localhost>"
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -STimestamp)
XEN_BUILD_DATE=$(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH")
XEN_BUILD_TIME=$(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" +%T)
XEN_BUILD_HOST=localhost XEN_DOMAIN=localdomain XEN_WHOAMI=xen_build
export DEB_VERSION DEB_MAINTAINER SOURCE_DATE_EPOCH XEN_BUILD_DATE XEN_BUILD_TIME XEN_BUILD_HOST XEN_DOMAIN XEN_WHOAMI
export WGET=/bin/false GIT=/bin/false
build() {
    make -C xen "-j$(nproc)" XEN_TARGET_ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- "$@" \\
        EXTRA_CFLAGS_XEN_CORE='-ffile-prefix-map=/build/source=. -fdebug-prefix-map=/build/source=.' >&2
}
cat debian/xen-kconfig /build/requested >xen/.config
build olddefconfig
wrong=
while read -r line; do
    case $line in
    '# '*' is not set')
        option=${line#'# '}
        option=${option%' is not set'}
        if grep -q "^$option=" xen/.config; then wrong="$wrong $option"; fi
        ;;
    *) grep -qxF "$line" xen/.config || wrong="$wrong ${line%%=*}" ;;
    esac
done </build/requested
if [ -n "$wrong" ]; then
    echo "xen_build: option$wrong" >&2
    exit 1
fi
build build
mkdir /build/result
cp xen/xen /build/result/xen
cp xen/.config /build/result/config
dpkg-query --show --showformat '${Package}\\t${Version}\\n' >/build/packages
"""
_OPTION = re.compile(r"[A-Z0-9][A-Z0-9_]*")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+:~-]*")


@dataclass(frozen=True)
class XenSource:
    """What determines a build: the source package, and the options that differ from Debian's configuration."""

    suite: str
    version: str
    #: Lines of a .config, sorted.
    options: tuple[str, ...]
    mirror: tuple[str, ...]
    revision: str
    #: Debian architecture of the machine that builds.
    machine: str

    @classmethod
    def from_parameters(cls, parameters: t.Mapping[str, t.Any], machine: str) -> XenSource:
        """Check and normalise the module's parameters.

        :param machine: the Debian architecture of the machine that builds.
        :raises InvalidInput: a value cannot be used.
        """
        check_word("suite", parameters["suite"])
        if not _VERSION.fullmatch(parameters["version"]):
            raise InvalidInput(
                f"{parameters['version']!r} is not the version of a source package", remedy="Write it like 4.17.5+72-g01140da4e8-1"
            )
        if machine not in COMPILERS:
            raise InvalidInput(
                f"This machine ({machine}) cannot build Xen for Arm",
                rule=f"it is built on {' or '.join(COMPILERS)}",
                remedy="Run the task on another machine",
            )
        for line in parameters["mirror"]:
            check_mirror(line)
        return cls(
            suite=parameters["suite"],
            version=parameters["version"],
            options=tuple(sorted(_option_line(name, value) for name, value in parameters["config"].items())),
            mirror=tuple(parameters["mirror"]),
            revision=parameters["revision"] or "",
            machine=machine,
        )

    @property
    def key(self) -> str:
        """The hash of everything that goes into the build, as 16 hexadecimal digits."""
        determining = [RECIPE, self.build_command("DIRECTORY"), BUILD_SCRIPT, self.options, self.revision]
        return hashlib.sha256(json.dumps(determining).encode()).hexdigest()[:16]

    @property
    def xen_version(self) -> str:
        """The version that the tools must match, such as 4.17."""
        return ".".join(self.version.split("-")[0].split("+")[0].split(".")[:2])

    @property
    def sources(self) -> tuple[str, ...]:
        """Lines for sources.list: the given ones, or Debian's archive with its security updates."""
        if self.mirror:
            return self.mirror
        return (
            f"deb {ARCHIVE} {self.suite} main",
            f"deb-src {ARCHIVE} {self.suite} main",
            f"deb-src {SECURITY} {self.suite}-security main",
        )

    def build_command(self, directory: str) -> list[str]:
        """Return the mmdebstrap command that builds Xen in a new system and leaves it below `directory`: `result` and `packages`."""
        return [
            "mmdebstrap",
            "--variant=essential",
            "--format=null",
            f"--architectures={self.machine}",
            f"--include={','.join(sorted({*PACKAGES, COMPILERS[self.machine]}))}",
            '--aptopt=APT::Install-Recommends "false"',
            '--aptopt=Acquire::Retries "3"',
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")),
            f"--extract-hook=set -- \"$1\" '{self.version}'\n{FETCH_SCRIPT}",
            f"--customize-hook=upload {directory}/requested /build/requested",
            f"--customize-hook=upload {directory}/build.sh /build/build.sh",
            '--customize-hook=chroot "$1" sh /build/build.sh',
            f"--customize-hook=copy-out /build/result /build/packages {directory}",
            self.suite,
            "-",
            *self.sources,
        ]

    def describe(self) -> dict[str, t.Any]:
        """Return what determines the build, for its manifest and for diff mode."""
        return {
            "suite": self.suite,
            "version": self.version,
            "options": list(self.options),
            **({"mirror": list(self.mirror)} if self.mirror else {}),
            **({"revision": self.revision} if self.revision else {}),
        }


def _option_line(name: str, value: t.Any) -> str:
    """Return the line of a .config for one option (docs/misc/kconfig-language.rst of Xen)."""
    short = name[len("CONFIG_") :] if name.startswith("CONFIG_") else name
    if not _OPTION.fullmatch(short):
        raise InvalidInput(f"config: {name!r} is not the name of an option", rule="such as STATIC_MEMORY, with or without CONFIG_")
    if isinstance(value, bool):
        return f"CONFIG_{short}=y" if value else f"# CONFIG_{short} is not set"
    if isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]+", value)):
        return f"CONFIG_{short}={value}"
    if isinstance(value, str) and value.isprintable() and not set(value) & set('"\\'):
        return f'CONFIG_{short}="{value}"'
    raise InvalidInput(
        f"config: {name} has the value {value!r}", rule="true, false, a number, or text in one line without double quotes and backslashes"
    )
