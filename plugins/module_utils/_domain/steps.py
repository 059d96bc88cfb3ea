# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The changes that a plan makes to the domains of a host: copy a disk, start, stop, and wait until what runs also serves."""

from __future__ import annotations

import contextlib
import fcntl
import os
import typing as t
from dataclasses import dataclass
from functools import cached_property, partial

from .._errors import DriverDomainsError, NotOnThisHost, Refused, TimedOut
from .._files import make_directories, read_text, remove, rename, write_text
from .._held_back import HOLD_REASON, held_back
from .._plan import Plan
from .._runner import Runner
from .._xen.xl import Domain, Xl
from .aside import set_stopped
from .attacher import Attacher
from .creation import create_domain
from .definition import Definition
from .devices import CONNECTED, VBD, WAITING, PvDevice, read_devices
from .exchange import exchange, forget, kept_of, note_source, source_of
from .kept import make_known, make_ours, returns_after_shutdown
from .paths import Paths
from .ready import Expected, WentAway, wait_until_ready
from .repairs import Repair
from .revisions import as_defined, previous_of, withdrawn_of
from .status import HOTPLUG_LOG, vif_status
from .units import DomainUnits
from .userdata import read_uuids

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore


#: Seconds within which xl starts a domain again that has shut down.
_RETURN = 30.0


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds."""

    create: float = 180.0
    shutdown: float = 90.0
    copy: float = 1800.0
    attach: float = 60.0


@dataclass(frozen=True)
class WayBack:
    """How a domain ran before it was restarted with another definition."""

    text: str
    #: The images of which those of its disks were that are exchanged, by target.
    disks: t.Mapping[str, str]


class DomainSteps:
    """Changes domains; used only while a plan is applied."""

    def __init__(self, xl: Xl, store: XenStore | None, runner: Runner, paths: Paths, limits: Limits) -> None:
        """`store` is None on a host that does not run Xen, where no domain can be started, stopped or waited for."""
        self._xl = xl
        self._xenstore = store
        self._runner = runner
        self._paths = paths
        self._limits = limits
        #: The disks that were attached again, by the names of their domains.
        self._disks: dict[str, set[int]] = {}
        #: Those domains that were started with their previous definitions again, why, and where the new ones are.
        self._went_back: dict[str, tuple[Definition, DriverDomainsError, str]] = {}

    @property
    def _store(self) -> XenStore:
        if self._xenstore is None:
            raise NotOnThisHost("Without Xen there is no domain to start, stop or wait for")
        return self._xenstore

    @cached_property
    def attacher(self) -> Attacher:
        """Attaches devices of domains that run."""
        return Attacher(self._xl, self._store, self._limits.attach)

    def units(self) -> DomainUnits:
        """What plans the units of the domains."""
        return DomainUnits(self._runner, self._paths)

    def defines_others(self, names: t.Collection[str]) -> bool:
        """Whether the host has a definition of ours of another domain."""
        return bool(set(self._paths.own()) - set(names))

    def plan_allowing(self, plan: Plan, name: str) -> None:
        """Plan that the unit of a domain starts it again which the check at boot holds back: its definition is for the devices of now."""
        if held_back(name, self._paths.held_back) not in ("", HOLD_REASON):
            plan.remove_file(f"{self._paths.held_back}/{name}")

    def detach(
        self, name: str, device: PvDevice, backends: t.Iterable[str], wanted: t.Mapping[str, Definition], starting: t.Collection[str]
    ) -> None:
        """Detach a device that does not work, once all of `backends` serve: the guest could get no other one before.

        :param wanted: the domains that should run.
        :param starting: those of them that are started in the same run.
        """
        for backend in backends:
            self._wait_serving(backend, wanted, starting)
        self.attacher.detach(name, device, useless=True)

    def _wait_serving(self, backend: str, wanted: t.Mapping[str, Definition], starting: t.Collection[str]) -> None:
        if backend in starting:
            self.wait_ready(wanted[backend])
        elif backend in wanted and wanted[backend].ready:
            self.attacher.wait_serving(backend, wanted[backend].ready, wanted[backend].wait_timeout)
        else:
            self.attacher.wait_serving(backend)

    def attach(self, name: str, repair: Repair, wanted: t.Mapping[str, Definition], starting: t.Collection[str]) -> None:
        """Attach a device, once its backend serves; see `detach`. Where something was detached before, that has waited."""
        if repair.backend and (repair.backend in starting or not repair.device):
            self._wait_serving(repair.backend, wanted, starting)
        self.attacher.attach(name, repair.kind, repair.text)
        if repair.device and repair.kind == VBD:
            self._disks.setdefault(name, set()).add(repair.device.devid)

    def copy_disk(self, source: str, target: str) -> None:
        """Copy an image to a disk that does not exist, so that it is there either whole or not at all.

        :raises DriverDomainsError: another run is copying it.
        """
        make_directories(os.path.dirname(target))
        unfinished = f"{target}.new"
        with open(unfinished, "ab", opener=partial(os.open, mode=0o600)) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise DriverDomainsError(f"Another run is making the disk {target}", remedy="Run this again when it has ended") from exc
            try:
                # Another run may have made it meanwhile, and a domain may use it already.
                if not os.path.exists(target):
                    self._runner.run(["cp", "--sparse=always", "--reflink=auto", source, unfinished], timeout=self._limits.copy)
                    # An existing disk is never copied again: a power cut must not leave a part of one.
                    os.fsync(handle.fileno())
                    note_source(target, source)
                    rename(unfinished, target)
            finally:
                remove(unfinished)

    def prepare_disk(self, source: str, new: str) -> None:
        """Copy an image to a disk that will take the place of another one, unless an earlier run has done it.

        :raises DriverDomainsError: there is no such image, no room for it, or another run is copying it.
        """
        if source_of(new) == source:
            return
        if not os.path.exists(source):
            raise DriverDomainsError(f"{source} does not exist, so no disk was made of it", remedy="Deliver the image first")
        forget(new)
        self.copy_disk(source, new)

    def keep_aside(self, name: str) -> None:
        """Keep a copy of the definition of others that ours replaces: it may have comments."""
        write_text(self._paths.aside(name), read_text(self._paths.definition(name)) or "", mode=0o600)

    def take_away(self, path: str, name: str, keep: bool) -> None:
        """Remove a link of others that starts a domain, or keep the file itself elsewhere.

        :param keep: whether nothing else is to be kept there.
        """
        if keep and not os.path.islink(path):
            write_text(self._paths.aside(name), read_text(path) or "", mode=0o600)
        remove(path)

    def unpause(self, name: str) -> None:
        """Unpause a domain."""
        self._xl.unpause(name)

    def destroy(self, domain: Domain, stays: bool = False) -> None:
        """Destroy what is left of a domain. By its domid: one that xl started meanwhile in its place has the same name.

        :param stays: it is not started again.
        """
        if stays:
            self._leave_stopped(domain.name)
        self._xl.destroy(str(domain.domid))

    def stop(self, plan: Plan, domain: Domain, returns: bool = False, stays: bool = False) -> None:
        """Shut a domain down and wait until it is gone.

        :param returns: xl starts the domain again then, with another domid, and that one is destroyed.
        :param stays: it is not started again.
        :raises Refused: it does not shut down in time, and `force` does not name `destroy`.
        """
        if stays:
            self._leave_stopped(domain.name)
        if domain.paused:
            self._xl.unpause(domain.name)
        self._xl.shutdown(domain.name)
        try:
            self._store.wait_for(
                [f"/local/domain/{domain.domid}/name"],
                lambda _values: self._domids().get(domain.name) != domain.domid,
                self._limits.shutdown,
            )
            if returns:
                self._destroy_returned(domain)
        except TimedOut:
            # A domain that has shut down stays where its definition says so (on_poweroff: preserve).
            if any(other.domid == domain.domid and other.alive for other in self._xl.list()):
                plan.refuse_now(
                    "destroy",
                    f"Domain {domain.name}",
                    f"it did not shut down within {self._limits.shutdown:g} s",
                    "a domain whose power is cut may lose data",
                    f"Raise shutdown_timeout, or check its console: xl console -t pv {domain.name}",
                )
            self.destroy(domain)

    def _destroy_returned(self, domain: Domain) -> None:
        with contextlib.suppress(TimedOut):
            self._store.wait_for(["@introduceDomain"], lambda _values: domain.name in self._domids(), _RETURN)
        domid = self._domids().get(domain.name)
        if domid is not None:
            self._xl.destroy(str(domid))

    def check_stopped(self, domain: Definition) -> None:
        """Check that a domain that should not run does not, whatever `xl` made of its end.

        :raises DriverDomainsError: it runs.
        """
        domid = self._domids().get(domain.name) if self._xenstore else None
        if domid is not None:
            raise DriverDomainsError(
                f"Domain {domain.name} was stopped, but runs again (domid {domid})",
                rule="xl starts a domain again as on_poweroff and on_reboot say, and so may other tools",
                remedy="Find out who starts it; to end it: xl destroy " + domain.name,
            )

    def _leave_stopped(self, name: str) -> None:
        """Keep the recovery service from starting a domain, before it ends: the run may fail later.

        One that is restarted needs no such thing. The service waits while the run lasts, and if that fails it may start the domain.
        """
        set_stopped(self._store, add=[name])

    def leave_to_service(self, running: t.Iterable[str], stopped: t.Iterable[str]) -> None:
        """Let the recovery service bring domains back that should run, and none of those that were stopped as requested."""
        if self._xenstore:
            set_stopped(self._xenstore, add=stopped, remove=running)

    def start(
        self,
        plan: Plan,
        domain: Definition,
        starting: t.Mapping[str, Definition],
        changes: t.Sequence[t.Callable[[], t.Any]] = (),
        way_back: WayBack | None = None,
    ) -> None:
        """Create a domain once those of its backends that are `starting` in the same run are ready.

        :param changes: what is changed while it does not run, right before.
        :param way_back: how it ran before. It is started in that way again if a change fails, or it does not become ready; not if it is a
            guest that may only be slow. `check_none_went_back` then says so.
        :raises DriverDomainsError: xl, a change or a backend failed.
        """
        # If that fails, the recovery service may still succeed.
        self.leave_to_service([domain.name], ())
        for backend in sorted(domain.backends & set(starting)):
            self.wait_ready(starting[backend])
        changed = created = False
        try:
            for change in changes:
                change()
            changed = True
            self._create(domain)
            created = True
            if way_back:
                self.wait_ready(domain)
        except DriverDomainsError as exc:
            if way_back is None:
                raise
            if created and isinstance(exc, TimedOut) and not domain.driver_domain:
                raise TimedOut(
                    f"{exc.problem}. It runs on with its new definition",
                    rule="only a driver domain is taken back for being slow: a guest may be checking its file systems",
                    remedy=f"{exc.remedy}. To go back, request its state previous",
                    **exc.details,
                ) from exc
            try:
                if created:
                    self._discard(plan, domain)
            except Refused as stuck:
                raise Refused(f"{exc.problem}. It was not taken back: {stuck.problem}", stuck.rule, stuck.remedy, **stuck.details) from exc
            self._go_back(domain, way_back, exc, changed)

    def _go_back(self, domain: Definition, way_back: WayBack, reason: DriverDomainsError, changed: bool) -> None:
        """:param changed: whether its definition and its disks were changed: otherwise these are not to blame."""
        try:
            before = as_defined(domain, way_back.text, self._xl.parse_definition(way_back.text))
            path = self._paths.definition(domain.name)
            withdrawn = withdrawn_of(path) if changed else ""
            if withdrawn:
                write_text(withdrawn, domain.text, mode=0o600)
            disks = [(target, kept_of(target, source)) for target, source in way_back.disks.items() if source_of(target) != source]
            exchange(path, before.text, disks)
            remove(previous_of(path))
            self._create(before)
            self.wait_ready(before)
        except DriverDomainsError as exc:
            raise DriverDomainsError(
                f"Domain {domain.name} did not become ready with its new definition ({reason.problem}), nor with the previous one "
                f"({exc.problem})",
                remedy=exc.remedy,
                **exc.details,
            ) from exc
        self._went_back[domain.name] = (before, reason, withdrawn)
        self.units().put_back(before)

    def _discard(self, plan: Plan, wanted: Definition) -> None:
        """End what has become of a domain that does not serve, or of the next one: xl may start it again after a crash.

        :raises Refused: a guest does not shut down in time, and `force` does not name `destroy`.
        """

        def runs(_values: dict[str, str | None]) -> bool:
            return any(domain.name == wanted.name and domain.alive for domain in self._xl.list())

        with contextlib.suppress(TimedOut):
            self._store.wait_for(["@introduceDomain"], runs, _RETURN)
        for domain in self._xl.list():
            if domain.name == wanted.name:
                if domain.alive and not wanted.driver_domain:
                    kept = self._paths.kept(domain.domid, read_uuids(self._store, [domain.domid])[domain.domid])
                    self.stop(plan, domain, bool(returns_after_shutdown(kept or "")))
                else:
                    self.destroy(domain)

    def check_none_went_back(self) -> None:
        """Check that all domains run with their new definitions.

        :raises DriverDomainsError: there are others.
        """
        if self._went_back:
            name, (_before, reason, withdrawn) = next(iter(self._went_back.items()))
            where = f"The new one is in {withdrawn}, and is not used again by itself. Its console says more if you set rollback: false. "
            raise DriverDomainsError(
                f"Domain {name} did not become ready with its new definition, and runs with the previous one again: {reason.problem}",
                rule=reason.rule,
                remedy=(where if withdrawn else "") + reason.remedy,
                rolled_back=sorted(self._went_back),
                **reason.details,
            )

    def _create(self, domain: Definition) -> None:
        create_domain(self._xl, self._store, self._paths, domain.name, domain.text, self._limits.create)

    def make_known(self, domain: Definition, kept: str | None) -> None:
        """Remember that what libxl keeps of a running domain agrees with its definition."""
        if kept is not None:
            make_known(self._paths.record(domain.name), domain.text, kept)

    def make_ours(self, name: str, kept: str) -> None:
        """Remember that a running domain was started from a definition of ours."""
        make_ours(self._paths.record(name), kept)

    def wait_ready(self, domain: Definition) -> None:
        """Wait until a domain's readiness key has its value, and all of its vifs are connected that are not emulated as well.

        :raises DriverDomainsError: the domain reports an error, a hotplug script failed, or the domain went away.
        :raises TimedOut: none of this happened in time.
        """
        domain = self._went_back.get(domain.name, (domain,))[0]
        domid = self._domids().get(domain.name)
        if domid is None:
            raise self._gone(domain, f"Domain {domain.name} went away right after its start")
        vifs = sum(not vif.emulated for vif in domain.vifs)
        expected = Expected(domain.ready, vifs, domain.emulated, self._disks.get(domain.name, ()), domain.console)
        try:
            wait_until_ready(self._store, domain.name, domid, expected, domain.wait_timeout)
        except WentAway as ended:
            raise self._gone(domain, ended.problem) from None

    def wait_served(self, served: t.Mapping[str, t.Sequence[Repair]]) -> None:
        """Wait until the devices that were attached again are connected, as far as their guests used them before.

        :param served: the devices by the names of the domains that have them.
        :raises TimedOut: some are not.
        """
        wanted = {
            (name, repair.device.kind, repair.device.devid)
            for name, repairs in served.items()
            for repair in repairs
            if repair.device and repair.device.frontend_state in (WAITING, CONNECTED)
        }
        if not wanted:
            return
        missing: list[str] = []

        def connected(_values: dict[str, str | None]) -> bool:
            found = self._of(wanted)
            missing[:] = [
                f"{device or f'{kind} {devid}'} of {name}: {device.states if device else 'it is not there'}"
                for (name, kind, devid), device in found.items()
                if device is None or not device.connected
            ]
            return not missing

        paths = [f"/local/domain/{domid}/device" for name, domid in self._domids().items() if name in served]
        paths += [device.backend_path for device in self._of(wanted).values() if device and device.backend_path]
        try:
            self._store.wait_for(paths, connected, self._limits.attach)
        except TimedOut as exc:
            raise TimedOut(
                f"These were attached again, but are not connected after {self._limits.attach:g} s: {'; '.join(missing)}",
                remedy=f"Check their domains (xl console -t pv NAME), and {HOTPLUG_LOG} in their backend domains",
            ) from exc

    def _of(self, wanted: t.Collection[tuple[str, str, int]]) -> dict[tuple[str, str, int], PvDevice | None]:
        """Return devices by their domains, kinds and numbers; those of domains that no longer run are left out."""
        domids = {name: domid for name, domid in self._domids().items() if any(name == own for own, _kind, _devid in wanted)}
        devices = read_devices(self._store, domids.values(), settings=("dev",))
        there = {(name, device.kind, device.devid): device for name, domid in domids.items() for device in devices[domid]}
        return {key: there.get(key) for key in sorted(wanted) if key[0] in domids}

    def report(self, domains: t.Sequence[Definition]) -> list[dict[str, t.Any]]:
        """Return the domains as they are now, for the return value `domains`."""
        domids = self._domids() if self._xenstore else {}
        return [
            {
                "name": domain.name,
                "state": "running" if domain.name in domids else "absent" if domain.state == "absent" else "stopped",
                "domid": domids.get(domain.name),
                "vifs": [vif.as_dict() for vif in vif_status(self._store, domids[domain.name])] if domain.name in domids else [],
            }
            for domain in domains
        ]

    def _domids(self) -> dict[str, int]:
        return {name: domid for domid, name in self._store.domains().items()}

    def _gone(self, domain: Definition, what: str) -> DriverDomainsError:
        path = self._paths.definition(domain.name)
        return DriverDomainsError(what, remedy=f"Its console says why: xl create -c {path}")
