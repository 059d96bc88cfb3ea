# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""From the volumes that are declared to the orders that a driver domain gets."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass

from .._domain.devices import VBD, read_devices
from .._errors import DriverDomainsError, InvalidInput, TimedOut
from .._plan import Action, Plan
from .._volumes import Volume, declared_volumes, volume_of
from .orders import Order, carry_out
from .report import Report, read_report

if t.TYPE_CHECKING:
    from .._domain.aside import WaitingDevice
    from .._xenstore.client import XenStore


@dataclass
class _Domain:
    """A driver domain, and what becomes of each of its volumes."""

    name: str
    domid: int
    report: Report
    orders: list[Order]


def plan_volumes(
    store: XenStore, domains: t.Sequence[t.Mapping[str, t.Any]], timeout: float, waiting: t.Iterable[WaitingDevice] = ()
) -> Plan:
    """Compare the volumes that domains report with those that are declared, and plan the orders.

    :param domains: each with `name` and `volume_groups`.
    :param timeout: seconds that a domain may take for all of its orders.
    :param waiting: devices that the recovery service is going to attach again. It does not say what they are made of.
    :raises InvalidInput: something is declared that LVM cannot make, or a domain is listed twice.
    """
    declared: dict[str, list[Volume]] = {}
    for domain in domains:
        if domain["name"] in declared:
            raise InvalidInput(
                f"The domain {domain['name']} is listed twice",
                rule="a domain gets all of its orders at once",
                remedy="Put all of its volume groups into one entry",
            )
        declared[domain["name"]] = declared_volumes(domain["volume_groups"])
    plan = Plan()
    # The lowest domid wins, as in libxl.
    running = {name: domid for domid, name in sorted(store.domains().items(), reverse=True)}
    results: list[dict[str, t.Any]] = []
    users = functools.lru_cache(maxsize=None)(lambda: _users(store))
    waits = [f"disk {device.identity} of {device.domain}" for device in waiting if device.kind == VBD]
    for domain in domains:
        name = domain["name"]
        found = _reported(store, plan, name, [group["name"] for group in domain["volume_groups"]], running.get(name))
        if found is None:
            continue
        own = [_compare(plan, found, volume, users) for volume in declared[name]]
        results += own
        # Others may need the space that a volume leaves.
        found.orders.sort(key=lambda order: order.verb != "remove")
        if waits and any(order.verb == "remove" for order in found.orders):
            plan.refuse(
                "",
                name,
                f"a volume is to be removed, and the recovery service is going to attach {', '.join(waits)} again",
                rule="a volume that is a disk of a domain stays",
                remedy="Run this again when the service has done so",
            )
        actions = [_action(found, order) for order in found.orders]
        plan.add_together(functools.partial(_apply, store, plan, found, own, timeout), actions)
    plan.results["volumes"] = results
    return plan


def _reported(store: XenStore, plan: Plan, name: str, groups: t.Sequence[str], domid: int | None) -> _Domain | None:
    """Return a domain that reports all of its volume groups. One that does not may do so after an earlier task has changed it."""
    report = read_report(store, domid) if domid is not None else None
    if domid is None or report is None:
        plan.refuse(
            "",
            name,
            "it does not run, so its volumes are not known" if domid is None else "it reports no volume groups",
            passing=True,
            rule="a driver domain makes its volumes itself, while it runs",
            remedy="Start it" if domid is None else "Restart it with the definition and the image that volume_groups need",
        )
        return None
    missing = [group for group in groups if group not in report.extents]
    if missing:
        plan.refuse(
            "",
            name,
            f"it does not have the volume group {', '.join(missing)}, but: {', '.join(report.extents) or 'none'}",
            passing=True,
            rule="a driver domain makes its volume groups when it starts",
            remedy=f"Check its console (xl console -t pv {name}), and restart it after its definition changed",
        )
        return None
    return _Domain(name, domid, report, [])


def _compare(plan: Plan, domain: _Domain, volume: Volume, users: t.Callable[[], dict[tuple[str, str, str], str]]) -> dict[str, t.Any]:
    """Return what becomes of a volume, and write down the order for it."""
    size = domain.report.volumes.get((volume.group, volume.name))
    wanted = -(-volume.size // domain.report.extents[volume.group]) * domain.report.extents[volume.group]
    subject = f"volume {volume} of {domain.name}"
    result = "unchanged"
    if not volume.present:
        # Where the backend of a disk is gone, it is this domain that was started again.
        places = [(backend, volume.group, volume.name) for backend in (domain.name, "")] if size is not None else []
        user = next((users()[place] for place in places if place in users()), None)
        if user:
            plan.refuse(
                "",
                subject,
                f"it is to be absent, and {user} has it",
                rule="a volume that is a disk of a domain stays",
                remedy="Remove the disk from that domain first, in a run of its own",
            )
        if size is not None:
            result = "removed"
            domain.orders.append(Order("remove", volume, size, 0))
    elif size is None:
        result = "created"
        domain.orders.append(Order("make", volume, 0, wanted))
    elif size < wanted:
        result = "grown"
        domain.orders.append(Order("grow", volume, size, wanted))
    elif size > wanted:
        plan.refuse(
            "",
            subject,
            f"it has {size} bytes, and is to have {wanted}",
            rule="a volume is never made smaller, since what its guest has at its end would be lost",
            remedy="Declare the size that it has, or make another volume and copy what is in it",
        )
    return {
        "domain": domain.name,
        "group": volume.group,
        "name": volume.name,
        "size": wanted if result in ("created", "grown") else size if volume.present else None,
        "result": result,
        "reason": "",
    }


def _users(store: XenStore) -> dict[tuple[str, str, str], str]:
    """Return who has a volume as a disk, by the names of its domain ("" for one that is gone), its group and itself."""
    names = store.domains()
    found = {}
    for domid, devices in read_devices(store, names, [VBD], ("dev", "params")).items():
        for device in devices:
            volume = volume_of(device.made["params"])
            if volume:
                found[(device.backend, *volume)] = f"{names[domid]} ({device})"
    return found


def _action(domain: _Domain, order: Order) -> Action:
    what = {
        "make": f"make it, with {order.after} bytes",
        "grow": f"grow it from {order.before} to {order.after} bytes",
        "remove": "remove it, and overwrite what was in it",
    }[order.verb]
    subject = f"volume {order.volume} of {domain.name}"
    before, after = (f"{size} bytes\n" if size else "" for size in (order.before, order.after))
    return Action(f"{subject}: {what}", lambda: None, subject=subject, before=before, after=after)


def _apply(store: XenStore, plan: Plan, domain: _Domain, results: list[dict[str, t.Any]], timeout: float) -> None:
    """Let a domain carry out its orders.

    :raises DriverDomainsError: it refused one; the error has what became of all volumes of this domain.
    """
    # Those of other orders are done, whatever becomes of the run.
    descriptions = [_action(domain, order).description for order in domain.orders]
    try:
        reasons = carry_out(store, domain.name, domain.domid, domain.orders, timeout)
    except TimedOut as exc:
        plan.done += [descriptions[number] for number in exc.details.pop("carried_out", [])]
        raise
    refused = {(order.volume.group, order.volume.name): reason for order, reason in zip(domain.orders, reasons) if reason}
    if not refused:
        return
    plan.done += [description for description, reason in zip(descriptions, reasons) if not reason]
    for result in results:
        key = (result["group"], result["name"])
        if key in refused:
            result.update(result="refused", reason=refused[key], size=domain.report.volumes.get(key))
    shown = "; ".join(f"{group}/{name}: {reason}" for (group, name), reason in refused.items())
    raise DriverDomainsError(
        f"Domain {domain.name} refused: {shown}",
        rule="LVM in the driver domain has the last word",
        remedy="Correct the volume, or what is wrong in the domain, and run this again. The other orders were carried out",
        volumes=results,
    )
