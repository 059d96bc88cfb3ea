# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Orders to a driver domain, in a place in XenStore that it can read, and only dom0 can write: what is below the directory of a domain
has the permissions of that directory, unless libxl gives it others (libxl__domain_make in libxl_create.c, construct_node in xenstored)."""

from __future__ import annotations

import secrets
import typing as t
from dataclasses import dataclass

from .._errors import DriverDomainsError, TimedOut
from .._printable import printable_line
from .._volumes import Volume
from .report import PLACE

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: What a domain answers to an order that it has carried out.
_DONE = "done"


@dataclass(frozen=True)
class Order:
    """What a driver domain is to do with a volume: make, grow or remove. Sizes are in bytes."""

    verb: str
    volume: Volume
    before: int
    after: int

    @property
    def text(self) -> str:
        """The words that xendd reads."""
        return " ".join([self.verb, self.volume.group, self.volume.name, *([str(self.after)] if self.after else [])])


def carry_out(store: XenStore, name: str, domid: int, orders: t.Sequence[Order], timeout: float) -> list[str]:
    """Give orders to a domain, wait until it has carried them out, and return why it refused each, or "".

    However this ends, the orders are gone then: those that it did not begin with are not carried out later.

    :raises DriverDomainsError: the domain ended.
    :raises TimedOut: it did not answer to all of them within `timeout` seconds; `details["carried_out"]` has the numbers of those that
        it did.
    """
    home = f"/local/domain/{domid}"
    place = f"{home}/volumes"
    key, alive = f"{home}/{PLACE}/orders", f"{home}/name"
    # Not one that the domain has seen, whatever it reports.
    identity = secrets.token_hex(8)

    def give(inside: XenStore) -> None:
        if inside.read_text(alive) != name:
            raise DriverDomainsError(f"Domain {name} (domid {domid}) went away before it got its orders", remedy="Run this again")
        inside.rm(place)
        inside.write_many({f"{place}/id": identity, **{f"{place}/{number}": order.text for number, order in enumerate(orders)}})

    def withdraw(inside: XenStore) -> None:
        if inside.read_text(f"{place}/id") == identity:
            inside.rm(place)

    store.transaction(give)
    try:
        values = store.wait_for([key, alive], lambda values: values[key] == identity or values[alive] != name, timeout)
    except TimedOut as exc:
        # After that, it does at most what it has begun with.
        store.transaction(withdraw)
        answers = _answers(store, home, identity, orders)
        carried_out = [number for number, answer in enumerate(answers) if answer == _DONE]
        refused = "".join(
            f"; it refused {order.volume}: {_reason(answer)}" for order, answer in zip(orders, answers) if answer not in (None, _DONE)
        )
        raise TimedOut(
            f"Domain {name} (domid {domid}) carried out {len(carried_out)} of {len(orders)} orders within {timeout:g} s{refused}",
            rule="it carries out one after the other, and those that it has not begun with are withdrawn",
            remedy=f"Check its console (xl console -t pv {name}), or raise timeout",
            carried_out=carried_out,
        ) from exc
    finally:
        store.transaction(withdraw)
    if values[alive] != name:
        raise DriverDomainsError(
            f"Domain {name} (domid {domid}) went away while it carried out its orders", remedy="Run this again when it is back"
        )
    return [_reason(answer) for answer in _answers(store, home, identity, orders)]


def _answers(store: XenStore, home: str, identity: str, orders: t.Sequence[Order]) -> list[str | None]:
    """What the domain says about each order; None where it says nothing about this one."""
    paths = [f"{home}/{PLACE}/orders/{number}" for number in range(len(orders))]
    values = store.read_texts(paths)
    found: list[str | None] = []
    for path in paths:
        own, _blank, answer = (values[path] or "").partition(" ")
        found.append(answer if own == identity else None)
    return found


def _reason(answer: str | None) -> str:
    if answer == _DONE:
        return ""
    return printable_line((answer or "").removeprefix("refused ").strip()) or "it gave no reason"
