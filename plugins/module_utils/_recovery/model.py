# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the recovery service knows: its configuration, the host as it is, what it remembers, and what it can do."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    from .._domain.devices import PvDevice

#: Stands for all domains in `Snapshot.aside`.
ALL = "*"


@dataclass(frozen=True)
class Declared:
    """A driver domain that should run."""

    name: str
    #: Its definition file.
    definition: str
    #: The key below its home in XenStore that reports whether it serves, and the value that says so; "" when there is none.
    ready_key: str = ""
    ready_value: str = ""
    #: Seconds in which it has to serve, or to say what is wrong.
    wait_timeout: float = 300.0


@dataclass(frozen=True)
class Configuration:
    """What the role wrote for the service."""

    domains: tuple[Declared, ...] = ()
    #: How often in an hour the same thing is tried.
    attempts: int = 5


@dataclass(frozen=True)
class Running:
    """A running domain."""

    domid: int
    name: str
    #: It stays the same when the domain reboots itself.
    uuid: str
    #: Whether it reports that it serves, or reports nothing.
    ready: bool = False
    #: Whether it reports that it will serve as soon as `xl devd` has started there.
    attachable: bool = False
    #: Whether it was declared to report, and has not yet reported that it serves or what is wrong.
    silent: bool = False

    def __str__(self) -> str:
        return f"{self.name} (domain {self.domid})"


@dataclass(frozen=True)
class Snapshot:
    """The host at one moment, read from XenStore."""

    running: t.Mapping[int, Running] = field(default_factory=dict)
    #: The vifs and disks of all running domains that other domains than dom0 serve.
    devices: tuple[PvDevice, ...] = ()
    #: Directories of backends whose device no longer exists.
    orphans: tuple[str, ...] = ()
    #: Names of domains that an operator keeps the service away from, or that a playbook has stopped.
    aside: frozenset[str] = frozenset()
    #: Changes when an operator says to go on.
    resumed: str = ""
    #: Devices that are not to be attached again, as `WaitingDevice` writes them.
    unwanted: frozenset[str] = frozenset()
    #: The state letters of all domains, as `xl list` prints them, with those that are dying; None when nobody has asked.
    flags: t.Mapping[int, str] | None = None
    #: What domains with released devices have now, whoever serves it: the keys of their devices, and those with the MAC address or the
    #: name of the disk in the place of the number.
    taken: frozenset[str] = frozenset()
    #: Names by domid of domains that have shut down or crashed, and are still there.
    ended: t.Mapping[int, str] = field(default_factory=dict)
    #: Names of declared domains that are gone, while the xl that watched over them is still there: it may start them again.
    watched: frozenset[str] = frozenset()

    def named(self, name: str) -> Running | None:
        """Return the running domain of a name; none while two have it, as when one is made in the place of the other."""
        found = [domain for domain in self.running.values() if domain.name == name]
        return found[0] if len(found) == 1 else None

    def is_paused(self, domid: int) -> bool:
        """Whether a domain is known to be paused."""
        return self.flags is not None and "p" in self.flags.get(domid, "")


@dataclass(frozen=True)
class Released:
    """A device that was detached, and is to be attached again."""

    client: str
    uuid: str
    kind: str
    devid: int
    #: The MAC address of a vif, the name of a disk in the guest.
    identity: str
    #: Name of the domain that is to serve it.
    backend: str
    #: Its specification for xl.
    text: str
    #: When nothing was left of it, or when its domain was last seen paused.
    at: float
    #: Whether the kernel of its domain had the time to notice that it is gone. Else it would take a new one of that number for the old.
    noticed: bool = False
    #: The directory of its backend, while it was attached.
    path: str = ""

    def __str__(self) -> str:
        return f"{self.client}: {'vif' if self.kind == 'vif' else 'disk'} {self.devid}"


@dataclass(frozen=True)
class Memory:
    """What the service remembers between two looks at the host; times are those of the monotonic clock. A file keeps it."""

    #: Names by domid, of running domains and of those that are gone and still named as backends.
    names: t.Mapping[int, str] = field(default_factory=dict)
    #: Names of backends that are gone, by their paths: as libxl keeps them, or else as they were called last; "" when nobody knows.
    lost: t.Mapping[str, str] = field(default_factory=dict)
    #: Declared domains that were seen running: only those are brought back. Others may be starting with the host.
    seen: frozenset[str] = frozenset()
    #: The domids that declared domains have, or had last, by name.
    last: t.Mapping[str, int] = field(default_factory=dict)
    #: Since when declared domains are gone, by name.
    gone: t.Mapping[str, float] = field(default_factory=dict)
    #: Since when devices do not work although their backend runs, by key; and since when orphans are there, by path.
    waiting: t.Mapping[str, float] = field(default_factory=dict)
    released: t.Mapping[str, Released] = field(default_factory=dict)
    #: Devices that were attached again and are not yet connected, by key: since when that was possible.
    attached: t.Mapping[str, float] = field(default_factory=dict)
    #: When something was tried, by what.
    attempts: t.Mapping[str, t.Sequence[float]] = field(default_factory=dict)
    #: What is not tried any more, until an operator says so.
    hopeless: frozenset[str] = frozenset()
    #: When backends were first seen ready, by domid.
    ready: t.Mapping[int, float] = field(default_factory=dict)
    #: When running domains began or ceased to serve in the last minute, by domid.
    changes: t.Mapping[int, t.Sequence[float]] = field(default_factory=dict)
    #: When running domains were first seen, by domid.
    appeared: t.Mapping[int, float] = field(default_factory=dict)
    #: Names of domains whose start was killed: what is left of them is paused, and nobody goes on with it.
    unfinished: frozenset[str] = frozenset()
    #: How many devices work again because the service attached them, by their kind and the name of their domain.
    recovered: t.Mapping[str, int] = field(default_factory=dict)
    resumed: str = ""


@dataclass(frozen=True)
class Release:
    """Detach what is left of a device."""

    key: str
    device: PvDevice
    client: Running
    why: str
    #: Remove it from XenStore: xl could not detach it.
    force: bool = False
    #: Whether its backend runs: libxl waits for that.
    slow: bool = False


@dataclass(frozen=True)
class Attach:
    """Attach a released device again."""

    key: str
    released: Released
    client: Running
    backend: Running


@dataclass(frozen=True)
class Create:
    """Bring a domain back."""

    key: str
    domain: Declared


@dataclass(frozen=True)
class Destroy:
    """End a domain that hangs."""

    key: str
    running: Running
    why: str


@dataclass(frozen=True)
class Sweep:
    """Remove a directory that a backend left behind."""

    key: str


Action = t.Union[Release, Attach, Create, Destroy, Sweep]


@dataclass(frozen=True)
class Decision:
    """What to do now, and when to decide again if nothing happens before."""

    actions: tuple[Action, ...] = ()
    #: On the monotonic clock; None: when something happens.
    deadline: float | None = None
    #: Whether the state letters of the domains are needed first.
    look: bool = False
    #: What is given up, with the reason.
    hopeless: t.Mapping[str, str] = field(default_factory=dict)


def device_key(uuid: str, kind: str, devid: int) -> str:
    """Return what stands for a device of a domain, also after that has rebooted."""
    return f"{uuid}/{kind}/{devid}"
