# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The changes that a plan makes to the domains of a host: copy a disk, start, stop, and wait until what runs also serves."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import typing as t
from dataclasses import dataclass
from functools import cached_property, partial
from uuid import uuid4

from .._errors import DriverDomainsError, NotOnThisHost, TimedOut
from .._files import read_text, remove, write_text
from .._plan import Plan
from .._runner import Runner
from .._xen.xl import Domain, Xl
from .aside import set_aside
from .attacher import Attacher
from .definition import Definition
from .devices import VBD, VIF, PvDevice, read_devices
from .disk_units import note_source
from .host import Paths
from .kept import make_known, make_ours
from .repairs import Repair
from .status import HOTPLUG_LOG, not_connected, vif_status

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

    @property
    def _store(self) -> XenStore:
        if self._xenstore is None:
            raise NotOnThisHost("Without Xen there is no domain to start, stop or wait for")
        return self._xenstore

    @cached_property
    def attacher(self) -> Attacher:
        """Attaches devices of domains that run."""
        return Attacher(self._xl, self._store, self._limits.attach)

    def detach(self, name: str, device: PvDevice) -> None:
        """Detach a device that does not work."""
        self.attacher.detach(name, device, useless=True)

    def attach(self, name: str, repair: Repair, starting: t.Mapping[str, Definition]) -> None:
        """Attach a device, when its backend serves if that is `starting` in the same run."""
        if repair.backend in starting:
            self.wait_ready(starting[repair.backend])
        self.attacher.attach(name, repair.kind, repair.text)
        if repair.device and repair.kind == VBD:
            self._disks.setdefault(name, set()).add(repair.device.devid)

    def copy_disk(self, source: str, target: str) -> None:
        """Copy an image to a disk that does not exist, so that it is there either whole or not at all.

        :raises DriverDomainsError: another run is copying it.
        """
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
                    self._runner.run(["cp", "--sparse=always", "--reflink=auto", source, unfinished], timeout=self._limits.copy)
                    # An existing disk is never copied again: a power cut must not leave a part of one.
                    os.fsync(handle.fileno())
                    note_source(target, source)
                    os.rename(unfinished, target)
            finally:
                remove(unfinished)

    def link(self, link: str, target: str) -> None:
        """Make `link` point to `target`, whatever it was before."""
        os.makedirs(os.path.dirname(link), exist_ok=True)
        remove(link)
        os.symlink(target, link)

    def keep_aside(self, name: str) -> None:
        """Keep a copy of the definition of others that ours replaces: it may have comments."""
        write_text(self._paths.aside(name), read_text(self._paths.definition(name)) or "", mode=0o600)

    def take_away(self, path: str, name: str) -> None:
        """Remove a link of others that starts a domain, or keep the file itself elsewhere."""
        if not os.path.islink(path):
            write_text(self._paths.aside(name), read_text(path) or "", mode=0o600)
        remove(path)

    def unpause(self, name: str) -> None:
        """Unpause a domain."""
        self._xl.unpause(name)

    def destroy(self, domain: Domain) -> None:
        """Destroy what is left of a domain. By its domid: one that xl started meanwhile in its place has the same name."""
        self._xl.destroy(str(domain.domid))

    def stop(self, plan: Plan, domain: Domain, returns: bool = False) -> None:
        """Shut a domain down and wait until it is gone.

        :param returns: xl starts the domain again then, with another domid, and that one is destroyed.
        :raises Refused: it does not shut down in time, and `force` does not name `destroy`.
        """
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
                    f"Raise shutdown_timeout, or check its console: xl console {domain.name}",
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

    def leave_to_service(self, started: t.Iterable[str], stopped: t.Iterable[str]) -> None:
        """Let the recovery service bring domains back that were started, and no longer those that were stopped as requested."""
        set_aside(self._store, add=stopped, remove=started)

    def start(self, domain: Definition, starting: t.Mapping[str, Definition]) -> None:
        """Create a domain once those of its backends that are `starting` in the same run are ready.

        :raises DriverDomainsError: xl or a backend failed.
        """
        for backend in sorted(domain.backends & set(starting)):
            self.wait_ready(starting[backend])
        # A definition that sets its own does not say which of several `xl create` made a domain.
        uuid = "" if re.search(r"^uuid\s*=", domain.text, re.MULTILINE) else str(uuid4())
        try:
            self._xl.create(self._paths.definition(domain.name), timeout=self._limits.create, uuid=uuid)
        except TimedOut:
            # xl was stopped half-way: what it has made of the domain would stay forever.
            with contextlib.suppress(DriverDomainsError):
                self._destroy_unfinished(uuid)
            raise
        domid = self._store.domid_of(domain.name)
        self.make_known(domain, None if domid is None else self._paths.kept(domid))

    def make_known(self, domain: Definition, kept: str | None) -> None:
        """Remember that what libxl keeps of a running domain agrees with its definition."""
        if kept is not None:
            make_known(self._paths.record(domain.name), domain.text, kept)

    def make_ours(self, name: str, kept: str) -> None:
        """Remember that a running domain was started from a definition of ours."""
        make_ours(self._paths.record(name), kept)

    def _destroy_unfinished(self, uuid: str) -> None:
        """Destroy the domain that has this UUID, unless it is complete.

        Its name proves nothing: while our xl waited for the lock of another one, somebody else may have started a domain of that name.
        """
        homes = {f"/local/domain/{domid}/vm": int(domid) for domid in self._store.directory("/local/domain") if domid.isdecimal()}
        for path, vm in self._store.read_texts(homes).items():
            if uuid and vm == f"/vm/{uuid}" and self._paths.kept(homes[path]) is None:
                self._xl.destroy(str(homes[path]))

    def wait_ready(self, domain: Definition) -> None:
        """Wait until a domain's readiness key has its value, and all of its vifs are connected that are not emulated as well.

        :raises DriverDomainsError: the domain reports an error, a hotplug script failed, or the domain went away.
        :raises TimedOut: none of this happened in time.
        """
        domid = self._domids().get(domain.name)
        if domid is None:
            raise self._gone(domain, "went away right after its start")
        home = f"/local/domain/{domid}"
        missing = "it does not answer"
        # Who has drivers for the emulated cards does not have to have one for the others.
        emulated = {vif.mac for vif in domain.vifs if vif.emulated}

        def served(_values: dict[str, str | None]) -> bool:
            nonlocal missing
            if self._store.read_text(f"{home}/name") is None:
                raise self._gone(domain, f"(domid {domid}) went away before it was ready")
            devices = read_devices(self._store, [domid], settings=("dev", "mac"))[domid]
            vifs = [device for device in devices if device.kind == VIF and device.mac not in emulated]
            again = [device for device in devices if device.kind == VBD and device.devid in self._disks.get(domain.name, ())]
            missing = not_connected(domain.name, vifs, len(domain.vifs) - len(emulated)) or not_connected(domain.name, again, len(again))
            missing = missing or self._not_ready(domain, home)
            return not missing

        # Changes below a watched node wake the wait, and so does the removal of the domain's home when it goes away.
        watched = [f"{home}/name", f"{home}/device", f"{home}/data"]
        watched += [device.backend_path for device in read_devices(self._store, [domid], settings=("dev",))[domid] if device.backend_path]
        try:
            self._store.wait_for(watched, served, domain.wait_timeout)
        except TimedOut as exc:
            raise TimedOut(
                f"Domain {domain.name} (domid {domid}) was not ready within {domain.wait_timeout:g} s: {missing}",
                remedy=f"Check its console (xl console {domain.name})"
                + (f" and, for its vifs, {HOTPLUG_LOG} in their backend domain" if "vif" in missing else "")
                + ", or raise wait_timeout",
            ) from exc

    def _not_ready(self, domain: Definition, home: str) -> str:
        """Return what the readiness key of a domain lacks, or "" when it has its value or there is no such key."""
        if domain.ready is None:
            return ""
        status = self._store.read_text(f"{home}/{domain.ready.key}") or ""
        if status == domain.ready.value:
            return ""
        if status == "error":
            reason = (domain.ready.error_key and self._store.read_text(f"{home}/{domain.ready.error_key}")) or "it gave no reason"
            raise DriverDomainsError(f"Domain {domain.name} reports: {reason}", remedy=f"Check its console: xl console {domain.name}")
        return f"its key {domain.ready.key} is {status!r}, not {domain.ready.value!r}"

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
        return DriverDomainsError(f"Domain {domain.name} {what}", remedy=f"Its console says why: xl create -c {path}")
