# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Plan how to get from the host as it is to the requested domains: files, units, disks, stops, removals and starts, in this order."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from functools import partial

from .._files import read_text, remove
from .._plan import Action, Plan
from .._secrets import hide_secrets_in_text
from .checks import check
from .definition import PREVIOUS, Definition
from .devices import KINDS, VBD, VIF
from .exchange import disks_of, exchange, kept_as, next_of, source_of
from .facts import DomainHost
from .order import start_order, stop_order
from .repairs import Repair
from .revisions import previous_of, withdrawn_of
from .steps import DomainSteps, WayBack
from .units import DomainUnits


def plan_domains(
    wanted: t.Sequence[Definition], host: DomainHost, steps: DomainSteps, restart_changed: bool = False, rollback: bool = True
) -> Plan:
    """Return what has to be done so that the host has the domains `wanted`.

    :param restart_changed: whether running domains that are outdated are restarted, or only reported.
    :param rollback: whether those that then do not become ready are started with their previous definition again.
    :raises InvalidInput: domains wait for each other.
    """
    outdated = {d.name: host.current[d.name].outdated for d in wanted if host.current[d.name].outdated}
    coming = {d.name for d in wanted if d.state == "running"}
    repairs: dict[str, list[Repair]] = {d.name: [] for d in wanted}
    for domain in wanted:
        for repair in host.current[domain.name].repairs:
            if _serves(host, repair.backend, coming):
                repairs[domain.name].append(repair)
            else:
                outdated.setdefault(domain.name, f"{repair}: {repair.why}, and {repair.backend} does not run")
    stops = [d for d in wanted if d.state in ("stopped", "absent") and d.name in host.domains]
    starts = _backends_first(
        [
            d
            for d in wanted
            if d.state == "running" and (not host.current[d.name].alive or ((restart_changed or d.verb) and d.name in outdated))
        ]
    )
    restarts = [d for d in starts if d.name in outdated]
    pending = sorted(set(outdated) - {d.name for d in restarts})
    cut_off = _cut_off(host, {d.name for d in [*stops, *restarts]})
    served = _served_again(host, {d.name for d in starts if d.verb or d in restarts}, {d.name for d in [*stops, *starts]})

    plan, units = Plan(refusals=list(check(host, wanted, starts, stops, restarts))), steps.units()
    # Definition and disks change while the domain does not run. What takes long, or may fail for lack of room, comes before.
    changes = {d.name: _changes(host, d) for d in wanted if d.state != "absent"}
    late = {d.name for d in starts if d in restarts or _exchanged(host, d)}
    for domain in starts:
        for target, source in host.current[domain.name].other_disks:
            new = next_of(target)
            plan.add(f"copy {source} to {new}", partial(steps.prepare_disk, source, new), subject=new, after=f"copy of {source}")
    remaining = any(d.state != "absent" for d in wanted) or steps.defines_others({d.name for d in wanted})
    if remaining:
        # Units do nothing without it, and a later step may fail.
        units.plan_common(plan, remaining)
    for domain in wanted:
        if domain.state != "absent":
            early = [] if domain.name in late else changes[domain.name]
            if domain.verb:
                plan.actions += early
            else:
                _plan_files(plan, host, units, domain, steps, early)
    units.plan_reload(plan)
    for domain in _clients_first(host, [*stops, *restarts]):
        _plan_stop(plan, host, steps, domain, outdated.get(domain.name, "") if domain in restarts else "")
    units.plan_stops(plan, [d.name for d in wanted if d.state in ("stopped", "absent")])
    for domain in wanted:
        if domain.state == "absent":
            _plan_files(plan, host, units, domain, steps, [])
    if not remaining:
        units.plan_common(plan, remaining)
    units.plan_reload(plan)
    for domain in wanted:
        if domain.state == "running" and domain not in starts and host.domains[domain.name].paused:
            plan.add(
                f"unpause domain {domain.name}", partial(steps.unpause, domain.name), subject=domain.name, before="paused", after="running"
            )
    together = {domain.name: domain for domain in starts}
    for domain in starts:
        if domain not in restarts:
            _plan_stop(plan, host, steps, domain)
        own = changes[domain.name] if domain.name in late else []
        way_back = _way_back(host, domain) if rollback and domain in restarts else None
        start = partial(steps.start, plan, domain, together, [change.apply for change in own], way_back)
        plan.add_together(start, [*own, Action(f"start domain {domain.name}", start, domain.name, after="running")])
    for name, found in served.items():
        there = {one.device.paths for one in repairs.get(name, ()) if one.device}
        repairs.setdefault(name, []).extend(one for one in found if one.device and one.device.paths not in there)
    running = {domain.name: domain for domain in wanted if domain.state == "running"}
    _plan_repairs(plan, steps, {name: found for name, found in repairs.items() if name not in together}, running, together)
    for domain in wanted:
        if not domain.verb:
            steps.plan_allowing(plan, domain.name)
    units.plan_starts(plan, [d.name for d in wanted if d.state == "running" and units.starts_with_host(d)], remaining)
    _adopt_first(plan, wanted, host, steps)
    plan.warnings += [
        f"Domain {name} keeps running as it is ({outdated[name]}): restart it yourself, or allow it with restart_changed: true"
        for name in pending
    ]
    plan.warnings += _not_again(host, cut_off, {d.name for d in restarts})
    plan.results = {"pending_restart": pending, "cut_off": cut_off, "domains": [{"name": d.name, "state": d.state} for d in wanted]}
    plan.conclude = lambda: _conclude(wanted, host, steps, pending, together, served)
    return plan


def _cut_off(host: DomainHost, going: t.Collection[str]) -> list[dict[str, t.Any]]:
    """Return which running domains lose their backends meanwhile, for the return value of that name."""
    pairs = {(client, backend) for backend, client, _kind in host.services if backend in going and client not in going}
    return [
        {
            "domain": client,
            "backend": backend,
            "kinds": sorted({kind for own, other, kind in host.services if (other, own) == (client, backend)}),
            "other_backends": sorted({own for own, other, _kind in host.services if other == client} - set(going)),
        }
        for client, backend in sorted(pairs)
    ]


def _served_again(host: DomainHost, restarted: t.Collection[str], going: t.Collection[str]) -> dict[str, list[Repair]]:
    """Return the vifs and disks that are attached again, by the names of the domains that run on while their backends are restarted."""
    return {
        name: [repair for repair in found if repair.backend in restarted]
        for name, found in host.served.items()
        if name not in going and not host.domains[name].paused
    }


def _not_again(host: DomainHost, cut_off: t.Sequence[t.Mapping[str, t.Any]], restarted: t.Collection[str]) -> list[str]:
    found = []
    for client in cut_off:
        others = [kind for kind in client["kinds"] if kind not in KINDS]
        if client["backend"] in restarted and host.domains[client["domain"]].paused:
            found.append(
                f"Domain {client['domain']} is paused: its devices of {client['backend']} are not attached again before it is unpaused, "
                "by the recovery service or the next run"
            )
        elif client["backend"] in restarted and others:
            found.append(
                f"Domain {client['domain']} gets its {' and '.join(others)} of {client['backend']} again only when it is restarted, too"
            )
    return found


def _serves(host: DomainHost, backend: str, coming: t.Collection[str]) -> bool:
    """Whether a backend domain runs, or will when the domains are as requested."""
    return not backend or backend in coming or (backend in host.domains and host.domains[backend].alive)


def _plan_repairs(
    plan: Plan,
    steps: DomainSteps,
    repairs: t.Mapping[str, t.Sequence[Repair]],
    wanted: t.Mapping[str, Definition],
    starting: t.Mapping[str, Definition],
) -> None:
    """Append what attaches devices of running domains once more. All are detached first: the kernels are then waited for only once.

    Disks come last: a guest waits for a disk, and gets errors for one that is gone.

    :param wanted: the domains that should run.
    :param starting: those of them that are started in the same run.
    """
    # One that gets a device itself may not be ready before.
    backends = sorted({r.backend for found in repairs.values() for r in found if r.backend} - {name for name in repairs if repairs[name]})
    for kind in (VIF, VBD):
        listed = [(name, repair) for name, found in repairs.items() for repair in found if repair.kind == kind]
        for name, repair in listed:
            if repair.device:
                plan.add(
                    f"detach {repair} of domain {name} ({repair.why})",
                    partial(steps.detach, name, repair.device, backends, wanted, starting),
                    subject=f"{repair} of {name}",
                    before=f"broken: {repair.why}",
                )
        for name, repair in listed:
            plan.add(
                f"attach {repair} of domain {name} to {repair.backend or 'Domain-0'}",
                partial(steps.attach, name, repair, wanted, starting),
                subject=f"{repair} of {name}",
                after=repair.text,
            )


def _adopt_first(plan: Plan, wanted: t.Sequence[Definition], host: DomainHost, steps: DomainSteps) -> None:
    """Put on record which running domains are ours, before the first change: a new definition no longer shows it."""
    kept = {d.name: host.current[d.name].kept for d in wanted if host.current[d.name].kept and not host.current[d.name].foreign}
    if plan.actions and kept:
        first = plan.actions[0]

        def adopt() -> None:
            for name, text in kept.items():
                steps.make_ours(name, text)
            first.apply()

        plan.actions[0] = replace(first, apply=adopt)


def _plan_stop(plan: Plan, host: DomainHost, steps: DomainSteps, wanted: Definition, outdated: str = "") -> None:
    name, current = wanted.name, host.current[wanted.name]
    if current.domain is None:
        return
    stays = wanted.state != "running"
    stop = partial(steps.stop, plan, current.domain, bool(current.returns), stays)
    if outdated:
        plan.add(
            f"stop domain {name} to restart it: {outdated}",
            stop,
            subject=name,
            before="running (outdated definition)",
            after="restarting",
        )
    elif current.alive and not current.unfinished:
        plan.add(f"stop domain {name}", stop, subject=name, before="running")
    else:
        plan.add(f"remove what is left of domain {name} ({current.domain.flags})", partial(steps.destroy, current.domain, stays))


def _exchanged(host: DomainHost, domain: Definition) -> list[tuple[str, str]]:
    """Return the disks of a domain that others take the places of, each with that other one."""
    current = host.current[domain.name]
    return [*((target, next_of(target)) for target, _source in current.other_disks), *current.kept_disks]


def _way_back(host: DomainHost, domain: Definition) -> WayBack | None:
    """Return how a domain runs before it is restarted, if that is known and not as requested."""
    text = host.current[domain.name].running_text
    return WayBack(text, {target: source_of(target) for target, _new in _exchanged(host, domain)}) if text else None


def _changes(host: DomainHost, domain: Definition) -> list[Action]:
    """Return what changes the definition of a domain, and the disks that go with it. A definition that is replaced is kept beside it."""
    current, found, disks = host.current[domain.name], Plan(), _exchanged(host, domain)
    path, text, sources = current.path, read_text(current.path), dict(current.other_disks)
    changed = text != domain.text
    if changed and domain.verb == PREVIOUS and text is not None:
        found.write_file(withdrawn_of(path), text, mode=0o600, before="", after="")
    if changed and domain.verb != PREVIOUS and current.running_text:
        found.write_file(previous_of(path), current.running_text, mode=0o600, before="", after="")
    apply = partial(exchange, path, domain.text, disks)
    before, after = (hide_secrets_in_text(shown) for shown in (text or "", domain.text))
    written = [Action(f"write {path}", apply, path, before, after)] if changed else []
    for target, new in disks:
        old = source_of(target)
        words = f"use {new} as disk {target}, and keep the old one as {kept_as(target, old)}"
        written.append(Action(words, apply, target, f"copy of {old}", f"copy of {sources.get(target) or source_of(new)}"))
    found.add_together(apply, written)
    if changed or domain.verb == PREVIOUS:
        found.remove_file((previous_of if domain.verb == PREVIOUS else withdrawn_of)(path), hide_secrets_in_text)
    return found.actions


def _plan_files(
    plan: Plan, host: DomainHost, units: DomainUnits, domain: Definition, steps: DomainSteps, changes: t.Sequence[Action]
) -> None:
    """:param changes: those of its definition, unless they come later."""
    current = host.current[domain.name]
    path = current.path
    if current.taken_over:
        plan.add(f"take over {path}, which is the same", partial(steps.keep_aside, domain.name))
    plan.actions += changes
    units.plan_files(plan, domain.name, current.unit)
    # Until here xendomains starts it, which does not start what runs. Now it has a unit, or is not to start.
    for other in current.other_starts:
        plan.add(
            f"take {other} away, which is the same as {path}",
            partial(steps.take_away, other, domain.name, not current.taken_over),
            subject=other,
            before=f"starts {domain.name}",
        )
    for link in current.links:
        plan.add(f"remove {link}", partial(remove, link), subject=link, before=f"-> {path}")
    if domain.state == "absent":
        for file in (path, previous_of(path), withdrawn_of(path), disks_of(path)):
            plan.remove_file(file, hide_secrets_in_text)
    for target, source in current.missing_disks:
        plan.add(f"create disk {target}", partial(steps.copy_disk, source, target), subject=target, after=f"copy of {source}")


def _conclude(
    wanted: t.Sequence[Definition],
    host: DomainHost,
    steps: DomainSteps,
    pending: t.Collection[str],
    started: t.Collection[str],
    served: t.Mapping[str, t.Sequence[Repair]],
) -> dict[str, t.Any]:
    """Wait until the domains are as requested, and those that they serve are connected again.

    :param started: the names of the domains that were started.
    :param served: what was attached again to other domains.
    """
    # Also what somebody else has started, and what is gone and would be brought back.
    steps.leave_to_service([d.name for d in wanted if d.state == "running"], [d.name for d in wanted if d.state == "stopped"])
    for domain in wanted:
        if domain.name not in started:
            steps.make_known(domain, host.current[domain.name].agreed or None)
        if domain.state in ("stopped", "absent"):
            steps.check_stopped(domain)
        if domain.state == "running" and domain.name not in pending:
            steps.wait_ready(domain)
    steps.wait_served(served)
    steps.check_none_went_back()
    return {"domains": steps.report(wanted)}


def _clients_first(host: DomainHost, going: t.Sequence[Definition]) -> list[Definition]:
    by_name = {domain.name: domain for domain in going}
    serves = {(backend, client) for backend, client, _kind in host.services}
    # What the list says counts as well, unless it has them the other way round: who serves whom now is what must not be cut off.
    serves |= {(backend, d.name) for d in going for backend in d.backends if (d.name, backend) not in serves}
    return [by_name[name] for name in stop_order(list(by_name), serves)]


def _backends_first(starts: t.Sequence[Definition]) -> list[Definition]:
    by_name = {domain.name: domain for domain in starts}
    return [by_name[name] for name in start_order(list(by_name), {domain.name: domain.backends for domain in starts})]
