# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Plan how to get from the host as it is to the requested domains: files, links, disks, stops and starts, in this order."""

from __future__ import annotations

import typing as t
from functools import partial

from .._errors import InvalidInput
from .._files import remove
from .._plan import Plan
from .checks import check
from .definition import Definition
from .host import DomainHost
from .steps import DomainSteps


def plan_domains(wanted: t.Sequence[Definition], host: DomainHost, steps: DomainSteps, restart_changed: bool = False) -> Plan:
    """Return what has to be done so that the host has the domains `wanted`.

    :param restart_changed: whether running domains that are outdated are restarted, or only reported.
    :raises InvalidInput: domains wait for each other.
    """
    outdated = {d.name: host.current[d.name].outdated for d in wanted if host.current[d.name].outdated}
    stops = [d for d in wanted if d.state in ("stopped", "absent") and d.name in host.domains]
    starts = _backends_first(
        [d for d in wanted if d.state == "running" and (not host.current[d.name].alive or (restart_changed and d.name in outdated))]
    )
    restarts = [d for d in starts if d.name in outdated]
    pending = sorted(set(outdated) - {d.name for d in restarts})

    plan = Plan(refusals=list(check(host, wanted, starts, stops, restarts)))
    for domain in reversed(stops):
        _plan_stop(plan, host, steps, domain)
    for domain in wanted:
        _plan_files(plan, host, steps, domain)
    for domain in reversed(restarts):
        plan.add(
            f"stop domain {domain.name} to restart it: {outdated[domain.name]}",
            partial(steps.stop, plan, host.domains[domain.name]),
            subject=domain.name,
            before="running (outdated definition)",
            after="restarting",
        )
    for domain in wanted:
        if domain.state == "running" and domain not in starts and host.domains[domain.name].paused:
            plan.add(
                f"unpause domain {domain.name}", partial(steps.unpause, domain.name), subject=domain.name, before="paused", after="running"
            )
    together = {domain.name: domain for domain in starts}
    for domain in starts:
        if domain not in restarts:
            _plan_stop(plan, host, steps, domain)
        plan.add(f"start domain {domain.name}", partial(steps.start, domain, together), subject=domain.name, after="running")
    plan.warnings += [
        f"Domain {name} keeps running as it is ({outdated[name]}): restart it yourself, or allow it with restart_changed: true"
        for name in pending
    ]
    plan.results = {"pending_restart": pending, "domains": [{"name": d.name, "state": d.state} for d in wanted]}
    plan.conclude = lambda: _conclude(wanted, steps, pending)
    return plan


def _plan_stop(plan: Plan, host: DomainHost, steps: DomainSteps, wanted: Definition) -> None:
    name, current = wanted.name, host.current[wanted.name]
    if current.domain is None:
        return
    if current.alive and not current.unfinished:
        plan.add(f"stop domain {name}", partial(steps.stop, plan, current.domain), subject=name, before="running")
    else:
        plan.add(f"remove what is left of domain {name} ({current.domain.flags})", partial(steps.destroy, name))


def _plan_files(plan: Plan, host: DomainHost, steps: DomainSteps, domain: Definition) -> None:
    current = host.current[domain.name]
    path, link = current.path, current.wanted_link
    if domain.state != "absent":
        plan.write_file(path, domain.text, mode=0o600)
    for stale in current.links:
        if stale != link:
            plan.add(f"remove {stale}", partial(remove, stale), subject=stale, before=f"-> {path}")
    if link and link not in current.links:
        plan.add(f"link {link}", partial(steps.link, link, path), subject=link, after=f"-> {path}")
    if domain.state == "absent":
        plan.remove_file(path)
    for target, source in current.missing_disks:
        plan.add(f"create disk {target}", partial(steps.copy_disk, source, target), subject=target, after=f"copy of {source}")


def _conclude(wanted: t.Sequence[Definition], steps: DomainSteps, pending: t.Collection[str]) -> dict[str, t.Any]:
    for domain in wanted:
        if domain.state == "running" and domain.name not in pending:
            steps.wait_ready(domain)
    return {"domains": steps.report(wanted)}


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
                f"{', '.join(waiting)} can never start: each waits for a backend among them",
                rule="a backend must run before its frontends start",
                remedy="Correct backend",
            )
        ordered.append(waiting.pop(free.name))
    return ordered
