# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Downloads Debian's arm64 kernel with the device trees of all its boards, and other arm64 packages, once; apt checks signatures."""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
from pathlib import Path

from testbed.cache import Cache, default_dir, digest

SUITE = "trixie"
#: Runs in mmdebstrap, which has set up apt for the suite and the architecture, with Debian's keys only.
_DOWNLOAD = """
set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
cd {into}
package=$(apt-cache depends linux-image-arm64 | sed -n 's/^ *Depends: //p')
apt-get -qq download "$package"
dpkg-deb --fsys-tarfile "$package"_*.deb | tar --extract --wildcards --no-same-owner --strip-components=4 './usr/lib/linux-image-*/*/*.dtb'
rm "$package"_*.deb
"""


def _download(into: Path) -> None:
    log = into / "download.log"
    command = ["mmdebstrap", "--variant=custom", "--mode=chrootless", "--architectures=arm64", "--format=null"]
    hook = _DOWNLOAD.format(into=shlex.quote(str(into)))
    with log.open("w") as output:
        result = subprocess.run(
            [*command, f"--customize-hook={hook}", SUITE, "/dev/null"],
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=1200,
            check=False,
            env={**os.environ, "TMPDIR": str(into)},
        )
    if result.returncode:
        raise RuntimeError(f"cannot download Debian's device trees:\n{log.read_text()[-2000:]}")


@functools.cache
def directory() -> Path:
    """Return the directory with VENDOR/BOARD.dtb."""
    return Cache(default_dir()).get("device-trees", digest(SUITE, _DOWNLOAD), _download)


def dtbs() -> list[str]:
    """Return the names of all of them."""
    return sorted(path.relative_to(directory()).as_posix() for path in directory().rglob("*.dtb"))
