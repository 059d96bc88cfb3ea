# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""All that `driver_domain_doctor` checks."""

from __future__ import annotations

from .check_devices import check_devices
from .check_domains import check_domains
from .check_host import check_host
from .facts import HostFacts
from .finding import SEVERITIES, HostFinding


def examine(facts: HostFacts) -> list[HostFinding]:
    """Return all that is wrong with a host: errors first, then by id and object."""
    found = {*check_host(facts), *check_devices(facts), *check_domains(facts)}
    return sorted(found, key=lambda finding: (SEVERITIES.index(finding.severity), finding.id, finding.object, finding.problem))
