# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Which type a domain gets whose parameters leave that open (`auto`): the one that it has, or else the best that the host can run."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._files import read_text
from .._xen.xl import domain_types
from .paths import MARKER, Paths

#: The value of `type` that leaves it open.
AUTO = "auto"


@dataclass
class Typed:
    """The parameters of domains, each with a type, and what is to be said about them."""

    domains: list[dict[str, t.Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def settle_types(domains: t.Sequence[dict[str, t.Any]], paths: Paths, info: t.Callable[[], t.Mapping[str, str]]) -> Typed:
    """Return the parameters `domains` of the module xl_domain with a type in place of each `auto`.

    A domain that is defined keeps its type, whether it runs or not: it is not changed because the host, or what is best, has changed. Only
    a PVH domain that is to own PCI devices becomes PV.

    :param info: reads what `xl info` prints; called once at most, and only if there is a new domain.
    """
    typed = Typed()
    plain: list[str] = []
    found: t.Mapping[str, str] = {}
    for domain in domains:
        if domain["type"] != AUTO:
            typed.domains.append(domain)
            continue
        kind = "pv" if domain["state"] == "absent" else _defined(paths.definition(domain["name"]))
        if domain["pci"] and kind != "hvm":
            # x86 PVH domains cannot own PCI devices (libxl_x86.c).
            kind = "pv"
        if not kind:
            found = found or info()
            kind = "pvh" if "pvh" in domain_types(found) and (domain["options"] or {}).get("hap") in (None, True, 1, "1") else "pv"
            plain += [domain["name"]] if kind == "pv" else []
        typed.domains.append({**domain, "type": kind})
    if plain:
        typed.warnings.append(
            f"{', '.join(plain)}: type pv, not pvh, because Xen has no hap here (virt_caps of xl info: "
            f"{found.get('virt_caps') or 'none'}). Turn virtualisation on in the firmware and set type: pvh; type: pv ends this warning"
        )
    return typed


def _defined(path: str) -> str:
    """The type in a definition that this collection wrote, or ""."""
    text = read_text(path) or ""
    kind = re.search(r'^type = "(pv|pvh|hvm)"$', text, re.MULTILINE) if text.startswith(MARKER) else None
    return kind[1] if kind else ""
