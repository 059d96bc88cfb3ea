# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Chains from what a host needs down to hardware: followed until they lead to a device or to a known harmless end.

A chain that ends anywhere else is not known, and what is not known counts as a use of every device that could be at its end.
"""

from __future__ import annotations

import typing as t

#: Kinds of things in a chain: network interfaces, block devices, servers by address, and what cannot be followed.
INTERFACE, DISK, SERVER, UNKNOWN = "interface", "disk", "server", "unknown"
#: Classes of devices that a chain may end at.
NETWORK, STORAGE = "network", "storage"

#: What may be at the end of a chain that is lost at a thing of this kind. A virtual disk may be a remote one.
_CLASSES = {INTERFACE: (NETWORK,), SERVER: (NETWORK,), DISK: (STORAGE, NETWORK), UNKNOWN: (STORAGE, NETWORK)}


class Thing(t.NamedTuple):
    """One member of a chain: its kind, and its name or address."""

    kind: str
    name: str


class Footing(t.NamedTuple):
    """What a thing stands on."""

    #: Devices of the caller's kind: each way from the root of the bus down to the device itself.
    ways: t.Sequence[t.Sequence[str]] = ()
    #: Other things, which have to be followed.
    below: t.Sequence[Thing] = ()
    #: Whether it needs nothing else: RAM, loopback, hardware of another kind than the caller's.
    end: bool = False


class Use(t.NamedTuple):
    """Something that the host needs."""

    guard: str
    #: With the chain of interfaces or block devices that shows it.
    reason: str
    #: The devices on the way to it, from the root of the bus down, the device itself last; or, if the chain is not known, all devices
    #: that could be at its end.
    devices: tuple[str, ...]
    #: If the chain is not known, the classes of devices that could be at its end, also those that have no driver.
    unknown: tuple[str, ...] = ()
    #: Uses of one group stand in for each other: the host needs one of them.
    group: str = ""


def follow(
    guard: str,
    reason: str,
    top: Thing,
    footing: t.Callable[[Thing], Footing],
    candidates: t.Callable[[str], t.Iterable[str]],
) -> t.Iterator[Use]:
    """Follow the chains from `top` down, and give them as a part of the reason.

    :param candidates: returns all devices of a class (`NETWORK`, `STORAGE`).
    """
    seen = {top}

    def visit(chain: tuple[Thing, ...]) -> t.Generator[Use, None, tuple[Thing, ...]]:
        """Follow one chain; return it if it leads only back to where it came from, as the two ends of a veth do, and () otherwise."""
        found = footing(chain[-1])
        reached = " -> ".join([reason_of(chain), ""])
        yield from (Use(guard, reached + way[-1], tuple(way)) for way in found.ways)
        onward = [thing for thing in found.below if thing not in chain]
        ends = bool(found.ways) or found.end
        if not (ends or found.below):
            yield lost(guard, reason_of(chain), candidates, _CLASSES[chain[-1].kind])
            return ()
        back = chain
        for thing in onward:
            # What was followed already, from elsewhere, is no way back.
            returned: tuple[Thing, ...] = ()
            if thing not in seen:
                seen.add(thing)
                returned = yield from visit((*chain, thing))
            ends, back = ends or not returned, returned or back
        return () if ends else back

    def reason_of(chain: tuple[Thing, ...]) -> str:
        return reason + " -> ".join(thing.name for thing in chain)

    back = yield from visit((top,))
    if back:
        yield lost(guard, reason_of(back), candidates, _CLASSES[back[-1].kind])


def lost(guard: str, reason: str, candidates: t.Callable[[str], t.Iterable[str]], classes: tuple[str, ...]) -> Use:
    """Return the use of a chain that cannot be followed any further."""
    devices = dict.fromkeys(device for name in classes for device in candidates(name))
    return Use(guard, f"{reason}: what it stands on is not known", tuple(devices), classes)
