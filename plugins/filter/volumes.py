# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn the volume groups of the inventory into the parameters of the module driver_domain_volumes."""

from __future__ import annotations

import typing as t


def domain_volumes(domains: t.Sequence[dict[str, t.Any]], state: str = "running") -> list[dict[str, t.Any]]:
    """Return the parameter `domains` of the module driver_domain_volumes: the domains that should run, and have volume groups.

    :param state: state of the domains that set none.
    """
    return [
        {"name": domain["name"], "volume_groups": domain["volume_groups"]}
        for domain in domains
        if domain.get("volume_groups") and domain.get("state", state) == "running"
    ]


class FilterModule:
    """The collection's filters for volumes."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"domain_volumes": domain_volumes}
