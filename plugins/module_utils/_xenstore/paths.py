# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Paths of XenStore nodes, and how users name them: absolute, or relative to the home of a domain."""

from __future__ import annotations

import typing as t

from .._errors import InvalidInput


def join(path: str, name: str) -> str:
    """Return the path of a node below another one."""
    return f"{path.rstrip('/')}/{name}"


def node_path(item: t.Mapping[str, t.Any], domids: t.Mapping[str, int | None]) -> str:
    """Return the absolute path of an item of a parameter that has `path` and perhaps `domain`.

    :param domids: the domids by name, None for a domain that does not run.
    :raises InvalidInput: the domain does not run, or the path is absolute already.
    """
    path: str = item["path"]
    if item["domain"] is None:
        return path
    if path.startswith("/"):
        raise InvalidInput(
            f"The path {path!r} is absolute, and the domain {item['domain']} is given as well", remedy="Leave out one of them"
        )
    home = f"/local/domain/{domid_in(domids, item['domain'])}"
    return join(home, path) if path else home


def domid_in(domids: t.Mapping[str, int | None], domain: str) -> int:
    """Return the domid of a domain.

    :raises InvalidInput: it does not run.
    """
    domid = domids[str(domain)]
    if domid is None:
        raise InvalidInput(f"There is no running domain {domain!r}", "XenStore has nodes of running domains only", "Start it first")
    return domid
