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
from functools import partial

from .._errors import DriverDomainsError, NotOnThisHost, TimedOut
from .._files import remove
from .._plan import Plan
from .._runner import Runner
from .._xen.xl import Domain, Xl
from .definition import Definition
from .host import Paths
from .status import HOTPLUG_LOG, not_connected, vif_status

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds."""

    create: float = 180.0
    shutdown: float = 90.0
    copy: float = 1800.0


class DomainSteps:
    """Changes domains; used only while a plan is applied."""

    def __init__(self, xl: Xl, store: XenStore | None, runner: Runner, paths: Paths, limits: Limits) -> None:
        """`store` is None on a host that does not run Xen, where no domain can be started, stopped or waited for."""
        self._xl = xl
        self._xenstore = store
        self._runner = runner
        self._paths = paths
        self._limits = limits

    @property
    def _store(self) -> XenStore:
        if self._xenstore is None:
            raise NotOnThisHost("Without Xen there is no domain to start, stop or wait for")
        return self._xenstore

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
                    os.rename(unfinished, target)
            finally:
                remove(unfinished)

    def link(self, link: str, target: str) -> None:
        """Make `link` point to `target`, whatever it was before."""
        os.makedirs(os.path.dirname(link), exist_ok=True)
        remove(link)
        os.symlink(target, link)

    def unpause(self, name: str) -> None:
        """Unpause a domain."""
        self._xl.unpause(name)

    def destroy(self, name: str) -> None:
        """Destroy what is left of a domain."""
        self._xl.destroy(name)

    def stop(self, plan: Plan, domain: Domain) -> None:
        """Shut a domain down and wait until it is gone.

        :raises Refused: it does not shut down in time, and `force` does not name `destroy`.
        """
        if domain.paused:
            self._xl.unpause(domain.name)
        self._xl.shutdown(domain.name)
        try:
            self._store.wait_for(
                [f"/local/domain/{domain.domid}/name"],
                lambda _values: domain.name not in self._domids(),
                self._limits.shutdown,
            )
        except TimedOut:
            # A domain that has shut down stays where its definition says so (on_poweroff: preserve).
            if any(other.name == domain.name and other.alive for other in self._xl.list()):
                plan.refuse_now(
                    "destroy",
                    f"Domain {domain.name}",
                    f"it did not shut down within {self._limits.shutdown:g} s",
                    "a domain whose power is cut may lose data",
                    f"Raise shutdown_timeout, or check its console: xl console {domain.name}",
                )
            self._xl.destroy(domain.name)

    def start(self, domain: Definition, starting: t.Mapping[str, Definition]) -> None:
        """Create a domain once those of its backends that are `starting` in the same run are ready.

        :raises DriverDomainsError: xl or a backend failed.
        """
        for backend in sorted(domain.backends & set(starting)):
            self.wait_ready(starting[backend])
        try:
            self._xl.create(self._paths.definition(domain.name), timeout=self._limits.create)
        except TimedOut:
            # xl was stopped half-way: what it has made of the domain would stay forever.
            with contextlib.suppress(DriverDomainsError):
                self._xl.destroy(domain.name)
            raise

    def wait_ready(self, domain: Definition) -> None:
        """Wait until a domain's readiness key has its value and all of its vifs are connected.

        :raises DriverDomainsError: the domain reports an error, a hotplug script failed, or the domain went away.
        :raises TimedOut: none of this happened in time.
        """
        domid = self._domids().get(domain.name)
        if domid is None:
            raise self._gone(domain, "went away right after its start")
        home = f"/local/domain/{domid}"
        missing = "it does not answer"

        def served(_values: dict[str, str | None]) -> bool:
            nonlocal missing
            if self._store.read_text(f"{home}/name") is None:
                raise self._gone(domain, f"(domid {domid}) went away before it was ready")
            vifs = vif_status(self._store, domid)
            missing = not_connected(domain.name, vifs, len(domain.vifs)) or self._not_ready(domain, home)
            return not missing

        # Changes below a watched node wake the wait, and so does the removal of the domain's home when it goes away.
        watched = [f"{home}/name", f"{home}/device", f"{home}/data"]
        watched += [vif.backend_path for vif in vif_status(self._store, domid) if vif.backend_path]
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
