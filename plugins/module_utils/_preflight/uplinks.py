# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What dom0 has in the place of its network card: what is wrong with it would cut the host off."""

from __future__ import annotations

import typing as t

from .._domain.vif_options import vif_settings
from .._errors import InvalidInput
from .finding import InputFinding, found, meant
from .model import ASSIGNABLE, DeclaredDomain, DeclaredHost
from .options import Values

#: The variable that has it.
UPLINKS = "dom0_vifs"


def check_uplinks(host: DeclaredHost, entries: t.Sequence[Values], recovery: bool) -> t.Iterator[InputFinding]:
    """Yield what is wrong with the entries.

    :param recovery: whether the host has the recovery service.
    """
    if len(entries) > 1:
        yield InputFinding(UPLINKS, f"it has {len(entries)} entries", "dom0 is reached by one card", "Leave one")
    for index, entry in enumerate(entries):
        where, card = f"{UPLINKS}[{index}]", str(entry.get("device"))
        if entry.get("state") == "absent":
            yield from _returned(host, where, card)
        else:
            yield from _values(where, entry)
            yield from _card(host, where, card)
            yield from _backend(host, where, entry, card, recovery)


def _returned(host: DeclaredHost, where: str, card: str) -> t.Iterator[InputFinding]:
    if any(entry.get("name") == card for entry in host.devices[ASSIGNABLE]):
        yield InputFinding(
            where,
            f"{card} is to return to dom0, and is an item of {ASSIGNABLE}",
            "the card that dom0 is reached by is passed through only while dom0 has a vif in its place",
            f"Take {card} out of {ASSIGNABLE}, and out of pci and bridges of its driver domain",
        )


def _values(where: str, entry: Values) -> t.Iterator[InputFinding]:
    limit = entry.get("limit", 90)
    if isinstance(limit, int) and limit < 10:
        yield InputFinding(where, f"limit is {limit}", "a driver domain takes some seconds to start", "Use e.g. 90")
    try:
        vif_settings("Domain-0", [{"mac": entry.get("mac"), "backend": entry.get("backend")}])
    except InvalidInput as exc:
        problem = exc.problem.replace("vif 0", "the interface of dom0")
        yield found(where, InvalidInput(problem, exc.rule, "Leave mac out: it is that of the card"))


def _card(host: DeclaredHost, where: str, card: str) -> t.Iterator[InputFinding]:
    names = [str(entry.get("name")) for entry in host.devices[ASSIGNABLE] if not entry.get("match_all")]
    if card not in names:
        yield InputFinding(
            where,
            f"there is no device {card!r} in {ASSIGNABLE}, which has: {', '.join(names) or 'none'}",
            f"the card of dom0 is an item of {ASSIGNABLE} of its own, without match_all",
            meant(card, names) if names else f"Add it to {ASSIGNABLE}",
        )


def _backend(host: DeclaredHost, where: str, entry: Values, card: str, recovery: bool) -> t.Iterator[InputFinding]:
    name = str(entry.get("backend"))
    backend = host.named(name)
    if backend is None or backend.role != "driver_domain":
        names = [domain.name for domain in host.domains if domain.role == "driver_domain"]
        yield InputFinding(
            where,
            f"its backend {name!r} is no item of driver_domain_domains, which has: {', '.join(names) or 'none'}",
            "dom0 is served by a driver domain that is declared",
            meant(name, names) if names else "Declare it",
        )
        return
    yield from _start(where, backend, recovery)
    if card not in [device for _where, device in backend.pci()]:
        yield InputFinding(where, f"{card} is no device of its backend {name}", "the backend has the card", f"Add {card} to pci of {name}")
    bridges = {str(item.get("name")): item for _where, item in backend.items("bridges")}
    bridge = str(entry.get("bridge"))
    if bridge not in bridges:
        yield InputFinding(
            where,
            f"there is no bridge {bridge!r} in {name}, which has: {', '.join(bridges) or 'none'}",
            "the bridge of a vif is one of its backend domain",
            meant(bridge, bridges) if bridges else f"Add it to the bridges of {name}",
        )
    elif card not in (bridges[bridge].get("ports") or []):
        yield InputFinding(
            where,
            f"{card} is no port of the bridge {bridge} of {name}",
            "dom0 reaches through the bridge what it has reached by its card",
            f"Add {card} to ports of {bridge}",
        )


def _start(where: str, backend: DeclaredDomain, recovery: bool) -> t.Iterator[InputFinding]:
    wrong = {
        "is not to run": backend.state != "running",
        "does not start with the host": not backend.settings.get("autostart"),
        "has no image of the collection, which reports that it serves": not backend.own_image,
        "is not started again when it ends, because driver_domain_recovery is false": not recovery,
    }
    for problem in [problem for problem, is_so in wrong.items() if is_so]:
        yield InputFinding(
            where,
            f"its backend {backend.name} {problem}",
            "dom0 cannot be reached without its driver domain",
            "Leave state, autostart, image and driver_domain_recovery as they are by default",
        )
