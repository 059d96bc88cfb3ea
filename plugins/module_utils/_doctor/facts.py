# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What `driver_domain_doctor` knows of a host. It is read once (`read`); the checks are functions of it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    from .._domain.devices import PvDevice
    from .._domain.order import ServedDevice
    from .._pci.device import PciDevice
    from .._pci.records import Record
    from .._xen.xl import Domain


@dataclass(frozen=True)
class DefinitionFacts:
    """What a definition of this collection names."""

    memory: int
    #: Addresses of PCI devices, as `str(Bdf)`.
    devices: tuple[str, ...]
    #: Those of its kernel and ramdisk that are not there.
    missing: tuple[str, ...]
    #: Whether it has a unit, and whether that is active.
    unit: bool
    active: bool


@dataclass
class DomainFacts:
    """A domain as `xl list` has it, and what it says about itself."""

    domain: Domain
    #: What libxl keeps of it; None while it is not complete.
    kept: t.Mapping[str, t.Any] | None = None
    devices: t.Sequence[PvDevice] = ()
    #: What logs of dom0 say about those that are broken, by `PvDevice.home`.
    logs: t.Mapping[str, str] = field(default_factory=dict)
    #: Its devices of other kinds.
    others: t.Sequence[ServedDevice] = ()
    #: The domains that it serves.
    clients: frozenset[str] = frozenset()
    #: The readiness that is expected of it, what it reports, and why; None where it reports nothing.
    expected: str = ""
    status: str | None = None
    error: str = ""
    #: The bridges that it has; None when that is not known.
    bridges: t.Sequence[str] | None = None
    #: Directories of its backends for domains that do not exist.
    left_behind: t.Sequence[str] = ()
    #: How many nodes it owns in XenStore.
    nodes: int = 0
    #: Whether a process of xl watches it.
    watched: bool = True


@dataclass
class RecoveryFacts:
    """The recovery service."""

    #: "" when there is nothing of it, "incomplete" when it does not run, else anything.
    installed: str = ""
    #: Names of the domains that it starts again.
    declared: frozenset[str] = frozenset()
    paused: frozenset[str] = frozenset()
    given_up: t.Sequence[str] = ()
    #: The devices that it attaches again later, with their backends.
    waiting: t.Sequence[tuple[str, str]] = ()


@dataclass
class PciFacts:
    """The PCI devices, and how pciback gets them."""

    loaded: bool = False
    devices: t.Sequence[PciDevice] = ()
    records: t.Sequence[Record] = ()
    #: The list that is in effect, "" without one; and those of the kernel's command line and of the next boot's.
    hidden: str = ""
    lists: t.Sequence[str] = ()
    next_lists: t.Sequence[str] | None = None
    #: By BDF: the devices on the same line or in the same page, and those that use their line in dom0.
    lines: t.Mapping[str, t.Sequence[str]] = field(default_factory=dict)
    pages: t.Mapping[str, t.Sequence[str]] = field(default_factory=dict)
    uses_line: t.Collection[str] = ()
    #: Memory that the firmware has reserved, by BDF, in words.
    reserved: t.Mapping[str, str] = field(default_factory=dict)


@dataclass
class HostFacts:
    """A host."""

    #: Major and minor version of the hypervisor that runs, None without one.
    xen: tuple[int, int] | None = None
    control: bool = True
    #: What could not be read, with the reason.
    unread: dict[str, str] = field(default_factory=dict)
    #: Why XenStore does not answer, or "".
    silent: str = ""
    #: Versions whose tools are installed in Debian's way, when xl does not run for the running one.
    other_tools: t.Sequence[str] = ()
    #: Versions of the hypervisors in /boot that are newer than the one that runs.
    newer: t.Sequence[str] = ()
    #: What `xl info` and `xl dmesg` print; None when they could not be run.
    info: t.Mapping[str, str] | None = None
    #: Only what Xen itself says.
    dmesg: str | None = None
    autoballoon: str = ""
    #: Memory in MiB that programs of dom0 can still get.
    available: int | None = None
    #: By domid; None when they are not known.
    domains: t.Mapping[int, DomainFacts] | None = None
    quota: int = 1000
    pci: PciFacts = field(default_factory=PciFacts)
    definitions: t.Mapping[str, DefinitionFacts] = field(default_factory=dict)
    #: Names of the domains that are stopped on purpose.
    stopped: frozenset[str] = frozenset()
    failed_units: t.Sequence[str] = ()
    held_back: t.Mapping[str, str] = field(default_factory=dict)
    recovery: RecoveryFacts = field(default_factory=RecoveryFacts)

    @property
    def names(self) -> dict[int, str]:
        """The names of the domains that run their kernel, by domid."""
        return {domid: own.domain.name for domid, own in (self.domains or {}).items() if own.domain.alive}
