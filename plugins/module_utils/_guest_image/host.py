# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Read what decides which images a Xen host needs."""

from __future__ import annotations

import os
import re
import typing as t

from .._files import read_text
from .cache import ImageCache


def read_host(cache: ImageCache, xen_version: tuple[int, int] | None, os_release: str = "/etc/os-release") -> dict[str, t.Any]:
    """Return what decides which images a Xen host needs, and the keys of those it has.

    :param xen_version: of the running hypervisor, or None.
    """
    codename = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', read_text(os_release) or "", re.M)
    machine = os.uname().machine
    return {
        "suite": codename[1] if codename else "",
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "xen_version": "{}.{}".format(*xen_version) if xen_version else "",
        "image_keys": cache.keys(),
    }
