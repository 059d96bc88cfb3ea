# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep what Python compiles from zip archives, which it does not do by itself.

Each Ansible module comes as an archive of sources, which are compiled at every run. Under emulation that takes more time than all else
that a module does. The key is the source itself, so a source that has changed is compiled. Every Python process of the machine imports this
file (testbed_compiled.pth does), so it imports little.
"""

from __future__ import annotations

import marshal
import os
import sys
import zipimport

DIRECTORY = "/var/cache/testbed-compiled"

_compile = zipimport._compile_source  # type: ignore[attr-defined]  # there is no public way


def compile_source(pathname: str, source: bytes) -> object:
    """Return the code of a source in an archive. The file name in it may be that of an earlier archive with the same source."""
    import hashlib  # only here, because it loads OpenSSL

    name = pathname.rpartition(".zip/")[2].encode()
    key = hashlib.sha256(b"\0".join((sys.version.encode(), name, source))).hexdigest()
    path = f"{DIRECTORY}/{key}"
    try:
        with open(path, "rb") as file:
            return marshal.load(file)
    except (OSError, EOFError, ValueError, TypeError):
        pass  # not there, or cut off by a power cut
    code = _compile(pathname, source)
    try:
        os.makedirs(DIRECTORY, exist_ok=True)
        with open(f"{path}.{os.getpid()}", "wb") as file:
            marshal.dump(code, file)
        os.replace(f"{path}.{os.getpid()}", path)
    except OSError:
        pass  # a full or read-only disk costs only time
    return code


zipimport._compile_source = compile_source  # type: ignore[attr-defined]  # as above
