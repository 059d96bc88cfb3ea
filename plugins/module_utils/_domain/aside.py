# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Orders to the recovery service: what operators and playbooks stop or detach must stay so."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: Where the service takes orders, in XenStore. Only dom0 may write there, and a reboot of the host clears it. The service creates it.
ORDERS = "/tool/xen-driver-domains/recovery"
#: The keys with the names of the domains that the service leaves alone: those that operators pause, and those that playbooks have stopped.
#: Neither ends what the other one says.
PAUSED, STOPPED = f"{ORDERS}/paused", f"{ORDERS}/stopped"
#: The key with the devices that wait for their backend in vain: they are not to be attached again.
UNWANTED = f"{ORDERS}/unwanted"


def words_in(store: XenStore, key: str) -> set[str]:
    """Return the words of one of the keys."""
    return set((store.read_text(key) or "").split())


def set_stopped(store: XenStore, add: t.Iterable[str] = (), remove: t.Iterable[str] = ()) -> None:
    """Let the service leave stopped domains alone, or take care of them again; nothing is written where it has never run."""
    before = words_in(store, STOPPED)
    after = (before | set(add)) - set(remove)
    if after != before and store.read_text(ORDERS) is not None:
        store.write(STOPPED, " ".join(sorted(after)))


class WaitingDevice(t.NamedTuple):
    """A device that the service has detached, and attaches again when its backend serves."""

    domain: str
    kind: str
    #: The MAC address of a vif, the name of a disk in the guest.
    identity: str
    #: The number that it had, and gets again.
    devid: int | None = None

    def __str__(self) -> str:
        return f"{self.domain}/{self.kind}/{self.identity}"


def give_up_waiting(store: XenStore, devices: t.Iterable[WaitingDevice]) -> None:
    """Let the service forget devices that it would attach again."""
    store.write(UNWANTED, " ".join(sorted(words_in(store, UNWANTED) | {str(device) for device in devices})))
