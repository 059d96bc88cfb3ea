# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Domains that are not to start at this boot, and why. The check at boot says so, and the units of the domains keep to it."""

from __future__ import annotations

from ._files import read_text, write_text

#: A file for each of them; gone when the host reboots.
HELD_BACK = "/run/xen-driver-domains/held-back"
#: Why the driver domain with dom0's network card is held back while dom0 has the card; only `_uplink` ends that.
HOLD_REASON = "dom0 has taken its network card back"


def hold_back(name: str, reason: str, directory: str = HELD_BACK) -> None:
    """Keep a domain from being started at this boot.

    :raises DriverDomainsError: it cannot be written down.
    """
    write_text(f"{directory}/{name}", reason)


def held_back(name: str, directory: str = HELD_BACK) -> str:
    """Return why a domain is not to be started at this boot, or "".

    :raises DriverDomainsError: it cannot be read.
    """
    return read_text(f"{directory}/{name}") or ""
