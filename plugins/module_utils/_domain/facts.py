# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the host has of the requested domains, and what it can offer them: the facts that planning is made of."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._xen.xl import Domain
from .disks import OpenDisk
from .repairs import Repair


@dataclass(frozen=True)
class Current:
    """What the host has of one of the requested domains."""

    #: Its definition file, whether it exists or not.
    path: str
    #: The unit that it is to have, or "".
    unit: str
    #: As `xl list` has it; None when it does not run.
    domain: Domain | None = None
    #: Whether `xl create` was cut off before the domain was complete, or is still running.
    unfinished: bool = False
    #: What libxl keeps of it, when that was compared with the definition and agrees, or "".
    agreed: str = ""
    #: Whether the definition file is to be written.
    changed: bool = False
    #: What libxl keeps of it, or "".
    kept: str = ""
    #: Whether it runs, but others started it from something other than our definition.
    foreign: bool = False
    #: What xl does when the domain shuts down, if it then runs again; see `returns_after_shutdown`.
    returns: str = ""
    #: Why a running domain is not as requested, or "".
    outdated: str = ""
    #: The definition of ours with which it runs, when that is not the requested one and known; else "".
    running_text: str = ""
    #: Its vifs and disks that are to be attached, once more or because they got lost.
    repairs: tuple[Repair, ...] = ()
    #: Files that this collection did not write, where the definition and the unit belong.
    foreign_files: tuple[str, ...] = ()
    #: Whether the definition file is one of others that is the same as the requested one, and is replaced by it.
    taken_over: bool = False
    #: Other definitions of the same domain that xendomains starts, and that are the same as the requested one.
    other_starts: tuple[str, ...] = ()
    #: Links for xendomains that lead to the definition.
    links: tuple[str, ...] = ()
    #: Why xl does not accept a definition that differs from the one in the file, or "".
    objection: str = ""
    missing_files: tuple[str, ...] = ()
    #: Whether its kernel is an ELF file, which QEMU does not boot in an HVM domain.
    elf_kernel: bool = False
    #: Those of `Definition.copies` whose targets do not exist.
    missing_disks: tuple[tuple[str, str], ...] = ()
    #: Those of `Definition.copies` whose targets are of another image.
    other_disks: tuple[tuple[str, str], ...] = ()
    #: The disks that are of another image than the previous definition, when that is requested, each with the one that was kept.
    kept_disks: tuple[tuple[str, str], ...] = ()
    #: How the host itself uses one of the disks of a domain that may be started, by target.
    used_disks: t.Mapping[str, str] = field(default_factory=dict)
    #: The identity of each of its disks, by target; "" when it does not exist.
    identities: t.Mapping[str, str] = field(default_factory=dict)
    #: What holds the same data as each disk of a domain that may be started, itself among it; see `Disks.related`.
    related: t.Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether the domain runs its kernel."""
        return self.domain is not None and self.domain.alive


@dataclass(frozen=True)
class DomainHost:
    """The facts that decide what has to be done for the requested domains."""

    #: All domains of the host by name, as `xl list` has them. None of them without Xen.
    domains: t.Mapping[str, Domain] = field(default_factory=dict)
    #: By the names of the requested domains.
    current: t.Mapping[str, Current] = field(default_factory=dict)
    #: Who serves whom now, as (backend, client, kind of device); only read when a domain is to be stopped or restarted.
    services: tuple[tuple[str, str, str], ...] = ()
    #: How to attach the vifs and disks again that domains have from those that may be restarted, by the names of these clients.
    served: t.Mapping[str, t.Sequence[Repair]] = field(default_factory=dict)
    #: The disks of running domains that dom0 serves, or that are volumes of others; only read when a domain may be started.
    open_disks: tuple[OpenDisk, ...] = ()
    #: The bridges in each backend domain that a domain to be started names; None when they are not known.
    bridges: t.Mapping[str, t.Sequence[str] | None] = field(default_factory=dict)
    #: The script of vifs that name none.
    vif_script: str = ""
    #: Whether there is a device model for HVM domains; only looked for when one of them may be started.
    device_model: bool = True
    #: The memory in MiB that dom0 itself can still use; only read when an HVM domain may be started.
    dom0_available: int | None = None
    #: Whether systemd runs the host, which starts and stops domains with it.
    systemd: bool = True
    #: What `xl info` prints, by key, when a domain may be started, or needs more of the processor than PV guests and is new.
    info: t.Mapping[str, str] = field(default_factory=dict)
