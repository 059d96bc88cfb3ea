# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""From the definitions wanted and the host as it is to the plan: files, autostart links, starts and stops."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import time
import typing as t
from dataclasses import dataclass
from functools import cached_property, partial

from .._errors import DriverDomainsError, InvalidInput, NotOnThisHost, TimedOut
from .._files import list_directory, read_text, remove, write_text
from .._pci.bdf import Bdf
from .._plan import Plan
from .._runner import Runner
from .._xen.xl import Domain, Xl, has_iommu
from .._xenstore.client import XenStore
from .definition import MARKER, Definition
from .status import HOTPLUG_LOG, is_ready, vif_status, vif_trouble


@dataclass(frozen=True)
class Places:
    """Where the host keeps what belongs to domains; tests put it elsewhere."""

    definitions: str = "/etc/xen"
    autostart: str = "/etc/xen/auto"
    userdata: str = "/var/lib/xen"
    sysfs: str = "/sys"

    def definition(self, name: str) -> str:
        """Path of the definition file of a domain."""
        return f"{self.definitions}/{name}.cfg"

    def links(self, name: str) -> tuple[str, str]:
        """Paths of the link that lets xendomains start a domain with the host: as a driver domain, and as any other.

        xendomains starts domains in the order of these names, and backends must come before their frontends.
        """
        return f"{self.autostart}/00-{name}.cfg", f"{self.autostart}/{name}.cfg"


@dataclass(frozen=True)
class Policy:
    """What the user allows, and how long things may take (seconds)."""

    restart_changed: bool = False
    force: tuple[str, ...] = ()
    create_timeout: float = 180.0
    shutdown_timeout: float = 90.0
    copy_timeout: float = 1800.0
    #: Without Xen there are only files, and no domain runs.
    under_xen: bool = True


class DomainPlanner:
    """Reads the host once and plans; its methods that change something run only as actions of the plan."""

    def __init__(self, runner: Runner, xl: Xl, connect: t.Callable[[], XenStore], places: Places, policy: Policy) -> None:
        self._runner = runner
        self._xl = xl
        self._connect = connect
        self._places = places
        self._policy = policy
        self._plan = Plan()

    def plan(self, wanted: t.Sequence[Definition]) -> Plan:
        """Return what has to be done so that the host has the domains `wanted`.

        :raises DriverDomainsError: something that is wanted cannot work; nothing was changed.
        """
        running = {domain.name: domain for domain in self._xl.list()} if self._policy.under_xen else {}
        starts = [d for d in wanted if d.state == "running" and not _alive(running.get(d.name))]
        stops = [d for d in wanted if d.state in ("stopped", "absent") and d.name in running]
        outdated = {d.name: reason for d in wanted for reason in [self._outdated(d, running)] if reason}
        restarts = [d for d in wanted if d.name in outdated and self._policy.restart_changed and d.state == "running"]

        together = {d.name: d for d in _backends_first([d for d in wanted if d in starts or d in restarts])}
        restarts = [d for d in together.values() if d in restarts]

        self._check_needs(wanted, [*together.values()], stops, running)
        for domain in reversed(stops + restarts):
            self._guard_clients(running[domain.name], running, {d.name for d in stops + restarts})

        for domain in reversed(stops):
            self._plan_stop(running[domain.name])
        for domain in wanted:
            self._plan_files(domain)
            self._plan_disks(domain)
        for domain in reversed(restarts):
            self._plan.add(
                f"stop domain {domain.name} to restart it: {outdated[domain.name]}",
                partial(self._stop, running[domain.name]),
                subject=domain.name,
                before="running (outdated definition)",
                after="restarting",
            )
        for domain in wanted:
            if domain.state == "running" and domain.name not in together and running[domain.name].paused:
                self._plan.add(
                    f"unpause domain {domain.name}",
                    partial(self._xl.unpause, domain.name),
                    subject=domain.name,
                    before="paused",
                    after="running",
                )
        for domain in together.values():
            if domain.name in running and domain not in restarts:
                self._plan_stop(running[domain.name])
            self._plan.add(
                f"start domain {domain.name}",
                partial(self._start, domain, together),
                subject=domain.name,
                after="running",
            )
        pending = sorted(set(outdated) - {d.name for d in restarts})
        self._plan.warnings += [
            f"Domain {name} keeps running as it is ({outdated[name]}): restart it yourself, or allow it with restart_changed: true"
            for name in pending
        ]
        self._plan.results = {"pending_restart": pending, "domains": [{"name": d.name, "state": d.state} for d in wanted]}
        self._plan.conclude = lambda: self._conclude(wanted, pending)
        return self._plan

    @cached_property
    def _store(self) -> XenStore:
        return self._connect()

    # -- what the host has ---------------------------------------------------------------------------------------------

    def _outdated(self, wanted: Definition, running: t.Mapping[str, Domain]) -> str:
        """Tell why a running domain is not the one that is wanted, or "" when it is."""
        domain = running.get(wanted.name)
        if wanted.state not in ("running", "present") or not _alive(domain) or domain is None:
            return ""
        if self._differs(wanted, domain.domid):
            return "it was started with another definition"
        names = self._store.domains()
        for vif in vif_status(self._store, domain.domid):
            if vif.backend_id not in names:
                return f"its vif {vif.devid} hangs on domain {vif.backend_id}, which is gone"
        return ""

    def _differs(self, wanted: Definition, domid: int) -> bool:
        """Tell whether a running domain is configured otherwise than its definition says.

        libxl keeps the configuration of a running domain (libxl_internal.h, LIBXL_USERDATA_DOMAIN_CONFIG); xl tells what it makes
        of the wanted definition. That costs a process, so it is left out where the file was not touched since the domain started.
        """
        path = self._places.definition(wanted.name)
        if read_text(path) == wanted.text and os.stat(path).st_mtime < self._start_time(domid):
            return False
        text = self._kept(domid)
        if text is None:
            return False
        return not _agrees(self._xl.parse_definition(wanted.text), json.loads(text.rstrip("\0")))

    def _kept(self, domid: int) -> str | None:
        """The configuration of a running domain, which libxl writes down when the domain is complete (libxl_create.c)."""
        kept = glob.glob(f"{self._places.userdata}/userdata-d.{domid}.*.libxl-json")
        return read_text(kept[0]) if kept else None

    def _unfinished(self, domain: Domain) -> bool:
        """Tell whether `xl create` never got, or has not yet got, to the end of a domain."""
        return domain.paused and self._kept(domain.domid) is None

    def _start_time(self, domid: int) -> float:
        """Seconds since the epoch, or 0 when it is not known."""
        vm = self._store.read_text(f"/local/domain/{domid}/vm")
        return float((vm and self._store.read_text(f"{vm}/start_time")) or 0)

    # -- checks: everything that can be known to fail is said before the first change -----------------------------------

    def _check_needs(
        self,
        wanted: t.Sequence[Definition],
        starts: t.Sequence[Definition],
        stops: t.Sequence[Definition],
        running: t.Mapping[str, Domain],
    ) -> None:
        problems: list[DriverDomainsError] = []
        for domain in wanted:
            problems += self._foreign_definition(domain) + self._half_created(domain, running)
            if domain.state != "absent":
                problems += self._missing_files(domain) + self._unacceptable(domain)
        coming = {name for name, domain in running.items() if _alive(domain)} - {d.name for d in stops} | {d.name for d in starts}
        for domain in starts:
            problems += self._missing_backends(domain, coming) + self._missing_bridges(domain)
        if starts:
            info = self._xl.info()
            problems += self._too_little_memory(starts, stops, running, info)
            if any(d.pci for d in starts):
                problems += self._pci_trouble(starts, stops, running, info)
        for problem in problems:
            subject, _colon, reason = problem.problem.partition(": ")
            self._plan.refuse("", subject, reason, passing=True, rule=problem.rule, remedy=problem.remedy)

    def _foreign_definition(self, domain: Definition) -> list[DriverDomainsError]:
        if "foreign_definition" in self._policy.force:
            return []
        return [
            InvalidInput(
                f"{path} exists and was not written by this collection",
                rule="what others wrote is not overwritten or removed, and their domains are not stopped",
                remedy="Rename the domain, move the file away, or say force: [foreign_definition]",
            )
            for path in (self._places.definition(domain.name), self._link(domain))
            if path and not (read_text(path) or MARKER).startswith(MARKER)
        ]

    def _half_created(self, domain: Definition, running: t.Mapping[str, Domain]) -> list[DriverDomainsError]:
        if domain.state != "running" or not _alive(running.get(domain.name)) or not self._unfinished(running[domain.name]):
            return []
        return [
            DriverDomainsError(
                f"Domain {domain.name} is not complete: an 'xl create' of it is at work, or was cut off",
                remedy=f"Run this again in a while; if it is still there then, remove it: xl destroy {domain.name}",
            )
        ]

    def _unacceptable(self, domain: Definition) -> list[DriverDomainsError]:
        """Let xl parse a definition that is going to be written."""
        if read_text(self._places.definition(domain.name)) == domain.text:
            return []
        try:
            self._xl.parse_definition(domain.text)
        except InvalidInput as exc:
            return [InvalidInput(f"Domain {domain.name}: {exc.problem}", remedy="Correct the parameters, above all options")]
        return []

    def _missing_files(self, domain: Definition) -> list[DriverDomainsError]:
        return [
            InvalidInput(
                f"Domain {domain.name}: {path} does not exist on this host",
                rule="kernel, ramdisk and the targets of disks without a backend are paths in dom0",
                remedy="Put the file there or correct the path",
            )
            for path in [*domain.files, *(source for target, source in domain.copies if not os.path.exists(target))]
            if not os.path.exists(path)
        ]

    def _missing_backends(self, domain: Definition, coming: set[str]) -> list[DriverDomainsError]:
        return [
            InvalidInput(
                f"Domain {domain.name}: its backend domain {backend!r} does not run",
                rule=f"a backend must run before its frontends start; running: {', '.join(sorted(coming - {domain.name})) or 'none'}",
                remedy="Correct backend, or start that domain first (role xen.driver_domains.driver_domain)",
            )
            for backend in sorted(domain.backends)
            if backend not in coming
        ]

    def _missing_bridges(self, domain: Definition) -> list[DriverDomainsError]:
        problems: list[DriverDomainsError] = []
        for backend, bridge in domain.attachments:
            present = self._bridges(backend)
            if bridge and present is not None and bridge not in present:
                problems.append(
                    InvalidInput(
                        f"Domain {domain.name}: there is no bridge {bridge!r} in {backend or 'dom0'}",
                        rule=f"the bridge of a vif is one of its backend domain, which has: {', '.join(present) or 'none'}",
                        remedy="Correct bridge, or add it to the bridges of the driver domain",
                    )
                )
        return problems

    def _bridges(self, backend: str) -> list[str] | None:
        """The bridges of a backend domain; None when they cannot be known (not running, or an image that does not tell)."""
        if backend in ("", "0", "Domain-0"):
            return [os.path.basename(os.path.dirname(path)) for path in sorted(glob.glob(f"{self._places.sysfs}/class/net/*/bridge"))]
        domid = self._store.domid_of(backend)
        text = None if domid is None else self._store.read_text(f"/local/domain/{domid}/data/driver-domain/bridges")
        return None if text is None else text.split()

    def _too_little_memory(
        self,
        starts: t.Sequence[Definition],
        stops: t.Sequence[Definition],
        running: t.Mapping[str, Domain],
        info: t.Mapping[str, str],
    ) -> list[DriverDomainsError]:
        free = int(info.get("free_memory", "0"))
        free += sum(running[d.name].memory for d in [*starts, *stops] if d.name in running)
        needed = sum(d.memory for d in starts)
        # Without dom0_mem xl takes memory from dom0 as it needs it (xl.conf(5), autoballoon="auto").
        if needed <= free or "dom0_mem=" not in info.get("xen_commandline", ""):
            return []
        return [
            InvalidInput(
                f"{', '.join(d.name for d in starts)} need {needed} MiB of memory and the host has {free} MiB free",
                rule="the memory of the domains and of dom0 (dom0_mem) must fit into the host",
                remedy="Give the domains less memory, stop others, or lower dom0_memory",
            )
        ]

    def _pci_trouble(
        self,
        starts: t.Sequence[Definition],
        stops: t.Sequence[Definition],
        running: t.Mapping[str, Domain],
        info: t.Mapping[str, str],
    ) -> list[DriverDomainsError]:
        if not has_iommu(info):
            return [
                NotOnThisHost(
                    "Xen found no IOMMU on this host",
                    rule="without one no device can be passed through",
                    remedy="Enable VT-d or AMD-Vi in the firmware and do not boot Xen with iommu=off; 'xl dmesg' says what Xen saw",
                )
            ]
        wanted = [(domain.name, bdf) for domain in starts for bdf in domain.pci]
        held = set(list_directory(f"{self._places.sysfs}/bus/pci/drivers/pciback"))
        problems: list[DriverDomainsError] = [
            InvalidInput(
                f"Domain {name}: the device {bdf} is not assignable",
                rule="a device must be bound to pciback before a domain gets it",
                remedy="Add it to dom0_pci_assignable (role xen.driver_domains.dom0, module xen.driver_domains.xl_pci_assignable)",
            )
            for name, bdf in wanted
            if bdf not in held
        ]
        going = {domain.name for domain in [*starts, *stops]}
        staying = {str(domain.domid): domain.name for domain in running.values() if domain.name not in going}
        # Where libxl keeps the owner of a device (libxl_pci.c, PCI_INFO_PATH); that of a domain which is gone may still be there.
        keys = {bdf: f"/libxl/pci/{Bdf.parse(bdf).xenstore_name}/domid" for _name, bdf in wanted}
        owners = self._store.read_texts(keys.values())
        return problems + [
            InvalidInput(
                f"Domain {name}: the running domain {staying[owner]} has the device {bdf}",
                rule="each device belongs to one domain",
                remedy=f"Stop {staying[owner]} first, or let it be restarted without the device (restart_changed: true)",
            )
            for name, bdf in wanted
            for owner in [owners[keys[bdf]] or ""]
            if owner in staying
        ]

    def _guard_clients(self, domain: Domain, running: t.Mapping[str, Domain], going: set[str]) -> None:
        for kind in ("vif", "vbd") if domain.alive else ():
            for client in self._store.directory(f"/local/domain/{domain.domid}/backend/{kind}"):
                client_name = next((d.name for d in running.values() if str(d.domid) == client and _alive(d)), None)
                if client_name and client_name not in going:
                    reason = f"it serves the {kind} of the running domain {client_name}"
                    self._plan.refuse("serves_clients", domain.name, reason, passing=True)

    # -- changes --------------------------------------------------------------------------------------------------------

    def _link(self, domain: Definition) -> str:
        """Path of the autostart link that a domain shall have, or ""."""
        first, later = self._places.links(domain.name)
        return "" if not domain.autostart else first if domain.driver_domain else later

    def _plan_files(self, domain: Definition) -> None:
        path = self._places.definition(domain.name)
        before = read_text(path)
        link = self._link(domain)
        if domain.state != "absent" and before != domain.text:
            self._plan.add(
                f"write {path}", lambda: write_text(path, domain.text, mode=0o600), subject=path, before=before or "", after=domain.text
            )
        for stale in self._places.links(domain.name):
            if stale != link and _leads_to(stale, path):
                self._plan.add(f"remove {stale}", partial(remove, stale), subject=stale, before=f"-> {path}")
        if link and not _leads_to(link, path):
            self._plan.add(f"link {link}", lambda: _symlink(path, link), subject=link, after=f"-> {path}")
        if domain.state == "absent" and before is not None:
            self._plan.add(f"remove {path}", lambda: remove(path), subject=path, before=before)

    def _plan_disks(self, domain: Definition) -> None:
        for target, source in domain.copies:
            if not os.path.exists(target):
                self._plan.add(
                    f"create disk {target}",
                    partial(self._copy, source, target),
                    subject=target,
                    after=f"copy of {source}",
                )

    def _copy(self, source: str, target: str) -> None:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        unfinished = f"{target}.new"
        with open(unfinished, "ab", opener=partial(os.open, mode=0o600)) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise DriverDomainsError(f"Another run is making the disk {target}", remedy="Run this again when it has ended") from exc
            try:
                # Another run may have made it meanwhile, and a domain may use it already.
                if not os.path.exists(target):
                    self._runner.run(["cp", "--sparse=always", "--reflink=auto", source, unfinished], timeout=self._policy.copy_timeout)
                    # A disk that is there is never made again: after a power cut it must not be there in part.
                    os.fsync(handle.fileno())
                    os.rename(unfinished, target)
            finally:
                remove(unfinished)

    def _plan_stop(self, domain: Domain) -> None:
        if domain.alive and not self._unfinished(domain):
            self._plan.add(f"stop domain {domain.name}", partial(self._stop, domain), subject=domain.name, before="running")
        else:
            self._plan.add(f"remove what is left of domain {domain.name} ({domain.flags})", partial(self._xl.destroy, domain.name))

    def _stop(self, domain: Domain) -> None:
        name = domain.name
        if domain.paused:
            self._xl.unpause(name)
        self._xl.shutdown(name)
        deadline = time.monotonic() + self._policy.shutdown_timeout
        while name in self._store.domains().values():
            if time.monotonic() > deadline:
                # What has shut down stays, where its definition says so.
                if any(d.name == name and _alive(d) for d in self._xl.list()) and "destroy" not in self._policy.force:
                    raise TimedOut(
                        f"Domain {name} did not shut down within {self._policy.shutdown_timeout:g} s",
                        remedy="Raise shutdown_timeout, look at its console, or say force: [destroy] to cut its power",
                    )
                self._xl.destroy(name)
                return
            time.sleep(0.2)

    def _start(self, domain: Definition, together: t.Mapping[str, Definition]) -> None:
        for backend in sorted(domain.backends & set(together)):
            self._wait_ready(together[backend])
        try:
            self._xl.create(self._places.definition(domain.name), timeout=self._policy.create_timeout)
        except TimedOut:
            # xl was stopped in the middle: what it has made of the domain would stay forever.
            with contextlib.suppress(DriverDomainsError):
                self._xl.destroy(domain.name)
            raise

    # -- the end: wait until what runs also serves -----------------------------------------------------------------------

    def _conclude(self, wanted: t.Sequence[Definition], pending: t.Sequence[str]) -> dict[str, t.Any]:
        for domain in wanted:
            if domain.state == "running" and domain.name not in pending:
                self._wait_ready(domain)
        names = {name: domid for domid, name in self._store.domains().items()} if self._policy.under_xen else {}
        return {
            "domains": [
                {
                    "name": d.name,
                    "state": "running" if d.name in names else ("absent" if d.state == "absent" else "stopped"),
                    "domid": names.get(d.name),
                    "vifs": [vif.as_dict() for vif in vif_status(self._store, names[d.name])] if d.name in names else [],
                }
                for d in wanted
            ]
        }

    def _wait_ready(self, domain: Definition) -> None:
        """Wait until a domain's readiness key has its value and all of its vifs are connected.

        :raises DriverDomainsError: the domain says that it failed, a hotplug script failed, or the domain went away.
        :raises TimedOut: neither happened in time.
        """
        domid = self._store.domid_of(domain.name)
        if domid is None:
            raise DriverDomainsError(
                f"Domain {domain.name} went away right after its start",
                remedy=f"See why on its console: xl create -c {self._places.definition(domain.name)}",
            )
        home = f"/local/domain/{domid}"
        missing = "it does not answer"

        def served(_values: dict[str, str | None]) -> bool:
            nonlocal missing
            if self._store.read_text(f"{home}/name") is None:
                raise DriverDomainsError(
                    f"Domain {domain.name} (domid {domid}) went away while it was waited for",
                    remedy=f"See why on its console: xl create -c {self._places.definition(domain.name)}",
                )
            missing = vif_trouble(self._store, domain.name, domid, domain.vif_count) or is_ready(self._store, domain, home)
            return not missing

        # Changes below a watched node wake the wait, and so does the removal of the domain's home when it goes away.
        watched = [f"{home}/name", f"{home}/device", f"{home}/data"]
        watched += [vif.backend_path for vif in vif_status(self._store, domid) if vif.backend_path]
        try:
            self._store.wait_for(watched, served, domain.wait_timeout)
        except TimedOut as exc:
            raise TimedOut(
                f"Domain {domain.name} (domid {domid}) was not ready within {domain.wait_timeout:g} s: {missing}",
                remedy=f"Look at its console (xl console {domain.name})"
                + (f" and, for its vifs, at {HOTPLUG_LOG} in their backend domain" if "vif" in missing else "")
                + ", or raise wait_timeout",
            ) from exc


def _agrees(wanted: t.Any, actual: t.Any, top: bool = True) -> bool:
    """Tell whether all that is wanted is there; what is not mentioned may be as it likes, but not further devices."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        if top and any(actual.get(kind) and not wanted.get(kind) for kind in ("nics", "disks", "pcidevs")):
            return False
        return all(key == "uuid" or _agrees(value, actual.get(key), False) for key, value in wanted.items() if value not in ({}, []))
    if isinstance(wanted, list) and isinstance(actual, list):
        return len(wanted) == len(actual) and all(_agrees(one, other, False) for one, other in zip(wanted, actual))
    return bool(wanted == actual)


def _backends_first(domains: t.Sequence[Definition]) -> list[Definition]:
    """Return domains in an order in which each comes after its backends, and otherwise as given.

    :raises InvalidInput: there is no such order.
    """
    waiting = {domain.name: domain for domain in domains}
    ordered = []
    while waiting:
        free = next((domain for domain in waiting.values() if not domain.backends & set(waiting)), None)
        if free is None:
            raise InvalidInput(
                f"{', '.join(waiting)} can never start: each has a backend that waits for it",
                rule="a backend must run before its frontends start",
                remedy="Correct backend",
            )
        ordered.append(waiting.pop(free.name))
    return ordered


def _alive(domain: Domain | None) -> bool:
    return domain is not None and domain.alive


def _leads_to(link: str, path: str) -> bool:
    return os.path.islink(link) and os.path.realpath(link) == os.path.realpath(path)


def _symlink(target: str, link: str) -> None:
    os.makedirs(os.path.dirname(link), exist_ok=True)
    remove(link)
    os.symlink(target, link)
