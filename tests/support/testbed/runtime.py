# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A short directory for sockets, wherever the state directory is."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from .errors import TestbedError

_SOCKET_LIMIT = 107  # bytes in sockaddr_un.sun_path, less the final NUL
_SSH_SUFFIX = 17  # what ssh appends to a ControlPath while it makes the socket


def make_runtime_dir(directory: Path) -> Path:
    """Return the directory for the sockets of the machine in `directory`."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:10]
    runtime = base / f"xen-testbed-{os.getuid()}-{name}"
    longest = len(os.fsencode(runtime / "ssh")) + _SSH_SUFFIX
    if longest > _SOCKET_LIMIT:
        raise TestbedError(
            f"{runtime}: socket paths would have {longest} bytes, {_SOCKET_LIMIT} are possible; "
            "remedy: set XDG_RUNTIME_DIR or TMPDIR to a shorter directory"
        )
    runtime.mkdir(mode=0o700, exist_ok=True)
    if runtime.is_symlink() or runtime.stat().st_uid != os.getuid():
        raise TestbedError(f"{runtime} belongs to somebody else; remedy: remove it")
    return runtime
