# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What becomes of running domains when the host shuts down: xendomains saves them, or shuts them down."""

from __future__ import annotations

from .._files import read_text
from .._plan import Plan

SETTINGS = "/etc/default/xendomains"

#: xendomains sources the file, so the last assignment counts. It saves domains unless the variable is empty
#: (tools/hotplug/Linux/init.d/sysconfig.xendomains.in and xendomains.in of Xen).
NEVER_SAVE = 'XENDOMAINS_SAVE=""  # set by Ansible (xen.driver_domains)'


def plan_saving(plan: Plan, save: bool, path: str = SETTINGS) -> None:
    """Append what makes xendomains shut domains down instead of saving them, or what takes that back.

    Without the file there is no xendomains, so nobody saves domains.

    :raises DriverDomainsError: the file cannot be read.
    """
    text = read_text(path)
    if text is None:
        return
    lines = text.splitlines()
    if lines[-1:] == [NEVER_SAVE] if not save else NEVER_SAVE not in lines:
        return
    kept = [line for line in lines if line != NEVER_SAVE]
    plan.write_file(path, "".join(f"{line}\n" for line in [*kept, *([] if save else [NEVER_SAVE])]))
