# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The xl that watches over a domain: `xl create` stays as a daemon, and removes the domain or starts it again when that has ended.

There may be none: it ends with the SSH session or the unit that it was started in.
"""

from __future__ import annotations

import os
import re

from .._files import list_directory, read_text

#: Seconds in which an xl that is there has removed its domain, whatever the domain has: libxl waits up to 10 s for each PCI device of a
#: domain that has shut down, and up to 40 s for a hotplug script (libxl_internal.h, LIBXL_DESTROY_TIMEOUT, LIBXL_HOTPLUG_TIMEOUT).
REMOVED = 90.0


def is_watched(name: str, procfs: str = "/proc") -> bool:
    """Return whether an xl watches over the domain of this name: its output goes to the domain's log (xl_utils.c, do_daemonize)."""
    # A later xl gives the log of an earlier one another name.
    log = re.compile(rf"/var/log/xen/xl-{re.escape(name)}\.log(\.\d+)?( \(deleted\))?")
    for pid in filter(str.isdecimal, list_directory(procfs)):
        try:
            if read_text(f"{procfs}/{pid}/comm") == "xl\n" and log.fullmatch(os.readlink(f"{procfs}/{pid}/fd/1")):
                return True
        except OSError:
            # It has ended.
            continue
    return False
