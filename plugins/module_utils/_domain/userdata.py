# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The files that libxl itself keeps about running domains."""

from __future__ import annotations

import glob
import os

from .._files import read_text

#: Where they are.
USERDATA = "/var/lib/xen"


def kept_configuration(userdata: str, domid: int) -> str | None:
    """Return the configuration of a running domain as JSON, which libxl writes down when the domain is complete (libxl_create.c).

    Its name is in libxl_internal.h (LIBXL_USERDATA_DOMAIN_CONFIG). Dom0 and dom0less domains have one, too (init-dom-json.c).

    :param userdata: the directory.
    """
    kept = glob.glob(f"{userdata}/userdata-d.{domid}.*.libxl-json")
    # After a power cut, that of a domain is left that had the number before.
    return read_text(max(kept, key=_written)) if kept else None


def _written(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        # It has gone meanwhile.
        return 0.0
