# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the host already has of the requested domains, and what it can offer them. All that planning needs is read here, once."""

from __future__ import annotations

import glob
import json
import os
import typing as t
from dataclasses import dataclass, field
from functools import cached_property

from .._errors import InvalidInput, NotOnThisHost
from .._files import read_text
from .._xen.xl import Domain, Xl
from .definition import MARKER, Definition
from .status import vif_status

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore


@dataclass(frozen=True)
class Paths:
    """Where the host keeps what belongs to domains; tests put it elsewhere."""

    definitions: str = "/etc/xen"
    autostart: str = "/etc/xen/auto"
    userdata: str = "/var/lib/xen"
    sysfs: str = "/sys"

    def definition(self, name: str) -> str:
        """The definition file of a domain."""
        return f"{self.definitions}/{name}.cfg"

    def links(self, name: str) -> tuple[str, str]:
        """The links that let xendomains start a domain with the host: as a driver domain, and as any other.

        xendomains starts domains in the order of these names, and backends must come before their frontends.
        """
        return f"{self.autostart}/00-{name}.cfg", f"{self.autostart}/{name}.cfg"

    def wanted_link(self, domain: Definition) -> str:
        """The one of `links` that a domain is to have, or ""."""
        first, later = self.links(domain.name)
        return "" if not domain.autostart else first if domain.driver_domain else later


@dataclass(frozen=True)
class Current:
    """What the host has of one of the requested domains."""

    #: Its definition file, whether it exists or not.
    path: str
    #: The link for xendomains that it is to have, or "".
    wanted_link: str
    #: As `xl list` has it; None when it does not run.
    domain: Domain | None = None
    #: Whether `xl create` was cut off before the domain was complete, or is still running.
    unfinished: bool = False
    #: Why a running domain is not as requested, or "".
    outdated: str = ""
    #: The running domains that it serves, with the kinds of their devices (vif, vbd).
    clients: tuple[tuple[str, str], ...] = ()
    #: Files that this collection did not write, where the definition and its link belong.
    foreign_files: tuple[str, ...] = ()
    #: Links for xendomains that lead to the definition.
    links: tuple[str, ...] = ()
    #: Why xl does not accept a definition that differs from the one in the file, or "".
    objection: str = ""
    missing_files: tuple[str, ...] = ()
    #: Those of `Definition.copies` whose targets do not exist.
    missing_disks: tuple[tuple[str, str], ...] = ()

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
    #: The bridges in each backend domain that a domain to be started names; None when they are not known.
    bridges: t.Mapping[str, t.Sequence[str] | None] = field(default_factory=dict)
    #: What `xl info` prints, by key, when a domain may be started.
    info: t.Mapping[str, str] = field(default_factory=dict)


def read_host(wanted: t.Sequence[Definition], xl: Xl, store: XenStore | None, paths: Paths) -> DomainHost:
    """Read everything that decides what has to be done for the requested domains.

    :param store: None on a host that does not run Xen: there are only files, and no domain runs.
    """
    domains = {domain.name: domain for domain in xl.list()} if store else {}
    reader = _HostReader(xl, store, paths, domains)
    current = {domain.name: reader.current(domain) for domain in wanted}
    startable = [d for d in wanted if d.state == "running" and (not current[d.name].alive or current[d.name].outdated)]
    return DomainHost(
        domains,
        current,
        bridges={backend: reader.bridges(backend) for backend in sorted({vif.backend for d in startable for vif in d.vifs})},
        info=xl.info() if startable else {},
    )


class _HostReader:
    def __init__(self, xl: Xl, store: XenStore | None, paths: Paths, domains: t.Mapping[str, Domain]) -> None:
        self._xl = xl
        self._xenstore = store
        self._paths = paths
        self._domains = domains

    @property
    def _store(self) -> XenStore:
        if self._xenstore is None:
            raise NotOnThisHost("Without Xen no domain runs, so there is no XenStore to read")
        return self._xenstore

    @cached_property
    def _names(self) -> dict[int, str]:
        return self._store.domains()

    def current(self, wanted: Definition) -> Current:
        """Return what the host has of one domain."""
        domain = self._domains.get(wanted.name)
        path, link = self._paths.definition(wanted.name), self._paths.wanted_link(wanted)
        contents = {file: read_text(file) for file in (path, link) if file}
        parsed, objection = self._parse(wanted, domain, contents[path])
        kept = self._kept(domain.domid) if domain and (domain.paused or parsed is not None) else None
        outdated = self._outdated(wanted, domain, kept, parsed)
        stops = wanted.state in ("stopped", "absent") or (wanted.state == "running" and outdated)
        return Current(
            path=path,
            wanted_link=link,
            domain=domain,
            unfinished=domain is not None and domain.paused and kept is None,
            outdated=outdated,
            clients=tuple(self._clients(domain)) if domain and domain.alive and stops else (),
            foreign_files=tuple(file for file, text in contents.items() if not (text or MARKER).startswith(MARKER)),
            links=tuple(other for other in self._paths.links(wanted.name) if _leads_to(other, path)),
            objection=objection,
            missing_files=tuple(file for file in [*wanted.files, *_sources(wanted)] if not os.path.exists(file)),
            missing_disks=tuple(copy for copy in wanted.copies if not os.path.exists(copy[0])),
        )

    def _parse(self, wanted: Definition, domain: Domain | None, text: str | None) -> tuple[dict[str, t.Any] | None, str]:
        """Return how xl parses a definition, or why it does not accept it.

        That costs a process, so it is left out where nothing depends on it: the file is as requested, and was not touched since the
        domain started from it.
        """
        if wanted.state == "absent":
            return None, ""
        compared = wanted.state != "stopped" and domain is not None and domain.alive
        if text == wanted.text and not (compared and domain and self._touched_since_start(wanted, domain.domid)):
            return None, ""
        try:
            return self._xl.parse_definition(wanted.text), ""
        except InvalidInput as exc:
            return None, exc.problem

    def _touched_since_start(self, wanted: Definition, domid: int) -> bool:
        vm = self._store.read_text(f"/local/domain/{domid}/vm")
        started = float((vm and self._store.read_text(f"{vm}/start_time")) or 0)
        return os.stat(self._paths.definition(wanted.name)).st_mtime >= started

    def _outdated(self, wanted: Definition, domain: Domain | None, kept: str | None, parsed: dict[str, t.Any] | None) -> str:
        if wanted.state not in ("running", "present") or domain is None or not domain.alive:
            return ""
        if parsed is not None and kept is not None and not _agrees(parsed, json.loads(kept.rstrip("\0"))):
            return "it was started with another definition"
        for vif in vif_status(self._store, domain.domid):
            if vif.backend_id not in self._names:
                return f"the backend of its vif {vif.devid}, domain {vif.backend_id}, is gone"
        return ""

    def _kept(self, domid: int) -> str | None:
        """The configuration of a running domain, which libxl writes down when the domain is complete (libxl_create.c).

        Its name is in libxl_internal.h (LIBXL_USERDATA_DOMAIN_CONFIG).
        """
        kept = glob.glob(f"{self._paths.userdata}/userdata-d.{domid}.*.libxl-json")
        return read_text(kept[0]) if kept else None

    def _clients(self, domain: Domain) -> t.Iterator[tuple[str, str]]:
        alive = {str(other.domid): other.name for other in self._domains.values() if other.alive}
        for kind in ("vif", "vbd"):
            for domid in self._store.directory(f"/local/domain/{domain.domid}/backend/{kind}"):
                if domid in alive:
                    yield alive[domid], kind

    def bridges(self, backend: str) -> list[str] | None:
        """Return the bridges of a backend domain; None when it does not run, or has an image that does not publish them."""
        if backend in ("", "0", "Domain-0"):
            return [os.path.basename(os.path.dirname(path)) for path in sorted(glob.glob(f"{self._paths.sysfs}/class/net/*/bridge"))]
        domid = self._store.domid_of(backend)
        text = None if domid is None else self._store.read_text(f"/local/domain/{domid}/data/driver-domain/bridges")
        return None if text is None else text.split()


def _sources(wanted: Definition) -> list[str]:
    return [source for target, source in wanted.copies if not os.path.exists(target)]


def _leads_to(link: str, path: str) -> bool:
    return os.path.islink(link) and os.path.realpath(link) == os.path.realpath(path)


def _agrees(wanted: t.Any, actual: t.Any, top: bool = True) -> bool:
    """Whether everything requested is there. Settings that are not mentioned may have any value, but there must be no further devices."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        if top and any(actual.get(kind) and not wanted.get(kind) for kind in ("nics", "disks", "pcidevs")):
            return False
        return all(key == "uuid" or _agrees(value, actual.get(key), False) for key, value in wanted.items() if value not in ({}, []))
    if isinstance(wanted, list) and isinstance(actual, list):
        return len(wanted) == len(actual) and all(_agrees(one, other, False) for one, other in zip(wanted, actual))
    return bool(wanted == actual)
