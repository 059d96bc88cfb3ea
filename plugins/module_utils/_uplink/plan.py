# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Which interface dom0 is to be reached by, and how to get from there to what the user requests."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, replace
from functools import partial

from .._domain.paths import Paths, unit_name
from .._errors import DriverDomainsError, InvalidInput
from .._files import read_text, remove
from .._pci.confirm_timer import ConfirmTimer
from .._pci.match import PciRequest, choose
from .._pci.next_boot import hidden_by
from .._pci.uplinks import is_replaced
from .._plan import Plan
from .._uplink_record import UPLINK_RECORD, UplinkRecord, problem_of, read_uplink, save_uplink
from .files import installed_record, plan_files, program_command
from .program import RETURN_UNIT, SWITCH_UNIT, UPLINK_PROBLEM, UPLINK_STATE, words_of
from .uplink import find_card, vifs_of_dom0

if t.TYPE_CHECKING:
    from .._domain.devices import PvDevice
    from .._pci.device import PciDevice
    from .._pci.guards import Guards
    from .._pci.host import PciHost
    from .._runner import Runner
    from .._xenstore.client import XenStore
    from .network import UplinkNetwork

#: The transient unit that goes back when nobody confirms.
REVERT_UNIT = "xen-driver-domains-uplink-revert"
#: Seconds after the limit of the switch in which a new connection can confirm it.
CONFIRM = 120
#: Seconds until the switch begins: the answer of the module has left by then.
_DELAY = 2
_UNDO = "set state: absent in its entry of dom0_vifs and run the playbook, or run teardown.yml"


@dataclass(frozen=True)
class Wanted:
    """What the user requests."""

    #: The card, by its entry of `dom0_pci_assignable`.
    request: PciRequest
    backend: str
    bridge: str
    mac: str = ""
    limit: int = 90


class UplinkPool:
    """Plans how dom0 is reached. The paths are different in tests."""

    def __init__(
        self,
        host: PciHost,
        store: XenStore,
        runner: Runner,
        network: UplinkNetwork,
        guards: t.Callable[[list[PciDevice]], Guards],
        *,
        root: str = "",
        procfs: str = "/proc",
    ) -> None:
        self._host = host
        self._store = store
        self._runner = runner
        self._network = network
        self._guards = guards
        self._root = root
        self._procfs = procfs
        self._path = root + UPLINK_RECORD
        self._paths = Paths(units=root + Paths.units, definitions=root + Paths.definitions)

    def plan(self, state: str, wanted: Wanted | None = None) -> Plan:
        """Plan for one of the states `present`, `confirmed` and `absent`.

        :param wanted: for the first two states.
        :raises InvalidInput: the card is not there, or a value cannot be used.
        :raises DriverDomainsError: the record is damaged, or the switch went back.
        """
        plan = Plan()
        record = read_uplink(self._path)
        devices = self._host.devices()
        if state == "absent":
            self._plan_absent(plan, record, devices)
        elif wanted and state == "present":
            self._plan_present(plan, record, wanted, devices)
        elif wanted:
            self._plan_confirmed(plan, record, wanted)
        return plan

    # -- the states -----------------------------------------------------------------------------------------------------

    def _plan_present(self, plan: Plan, record: UplinkRecord | None, wanted: Wanted, devices: list[PciDevice]) -> None:
        ((name, card),) = choose([wanted.request], devices)
        if record is None and card.pciback:
            raise DriverDomainsError(
                f"{name} ({card.bdf}) is not dom0's network card: pciback holds it, and there is no record that dom0 had it",
                rule="dom0 gets a vif in the place of the card that it is reached by",
                remedy=f"Take the entry out of dom0_vifs; or return {name} to dom0 (xl_pci_assignable, state: absent), and run this again",
            )
        # What a run without this module has left of a card that dom0 has again.
        old = record if record and card.pciback else None
        new = self._record(name, card, wanted, old)
        if old:
            self._refuse_other(plan, old, new)
        plan.results.update(interface=new.ifname, pending=False)
        if record and self._is_active(SWITCH_UNIT):
            # It was begun by another run, or by this one before its connection was lost: it waits for this confirmation, too.
            plan.results["pending"] = True
            return
        plan_files(plan, new, self._runner, self._root)
        working = self._vif(new)
        if old and working:
            self._plan_standing(plan, old, new)
            return
        if not card.pciback:
            self._check_card(plan, name, card, devices)
            self._check_rules(plan, name, card)
        self._check_backend(plan, new, card)
        self._plan_switch(plan, new)

    def _plan_standing(self, plan: Plan, old: UplinkRecord, new: UplinkRecord) -> None:
        if self._timer(new).unconfirmed().bdfs:
            plan.results["pending"] = True
            return
        if old != replace(new, confirmed=True):
            self._plan_save(plan, old, replace(new, confirmed=True))

    def _plan_switch(self, plan: Plan, record: UplinkRecord) -> None:
        seconds = record.limit + CONFIRM
        timer = self._timer(record)
        if not timer.session():
            plan.warnings.append(
                "The commit-confirm timer protects nothing here: this run did not come over SSH, so the confirmation does not show that "
                "the host can be reached"
            )
        self._plan_save(plan, None, record)
        plan.add(f"go back to {record.bdf} in {seconds} s unless confirmed", partial(timer.arm, [record.bdf], seconds))
        plan.add(
            f"give {record.bdf} to {record.backend}, and dom0 a vif at its bridge {record.bridge}",
            partial(self._start, SWITCH_UNIT, "switch", record),
            subject=record.ifname,
            before=f"{record.name} ({record.bdf})",
            after=f"vif at {record.bridge} of {record.backend}",
        )
        plan.results["pending"] = True

    def _plan_confirmed(self, plan: Plan, record: UplinkRecord | None, wanted: Wanted) -> None:
        if record is None:
            reason = read_text(self._root + UPLINK_PROBLEM) or "nobody has switched, or it went back"
            raise DriverDomainsError(
                f"dom0 has its network card {wanted.request.name}, and no vif at {wanted.backend}: {reason.strip()}",
                remedy="See 'journalctl -t xen-domain' and 'journalctl -u \"xen-driver-domains-uplink*\"' on the host",
            )
        plan.results.update(interface=record.ifname, pending=False)
        timer = self._timer(record)
        if self._is_active(SWITCH_UNIT) or not self._vif(record):
            plan.results["pending"] = True
            return
        if timer.unconfirmed().bdfs:
            if timer.same_session([record.bdf]):
                plan.refuse(
                    "",
                    record.ifname,
                    "the confirmation came over the connection that the switch was begun over",
                    rule="only a new connection shows that the host can still be reached",
                    remedy="Put 'meta: reset_connection' before the task with state: confirmed",
                )
            plan.add(f"confirm that dom0 is reached by {record.ifname}", partial(timer.confirm, [record.bdf]))
        if not record.confirmed:
            self._plan_save(plan, record, replace(record, confirmed=True))

    def _plan_absent(self, plan: Plan, record: UplinkRecord | None, devices: list[PciDevice]) -> None:
        plan.results.update(interface=record.ifname if record else "", pending=False)
        if self._is_active(RETURN_UNIT) or self._is_active(SWITCH_UNIT):
            plan.results["pending"] = True
            return
        card = find_card(record, devices) if record else None
        if record and card and card.driver and not card.pciback:
            plan.add(f"forget the vif of {record.name}", partial(remove, self._path), subject=self._path, before=record.text)
        elif record:
            plan.add(
                f"return {record.bdf} to dom0 in the place of its vif at {record.backend}, which is stopped",
                # What fails is tried again. Where the switch fails, the timer goes back.
                partial(self._start, RETURN_UNIT, "return", record, "--property=Restart=on-failure", "--property=RestartSec=30s"),
                subject=record.ifname,
                before=f"vif at {record.bridge} of {record.backend}",
                after=f"{record.name} ({record.bdf})",
            )
            # The program is needed until then.
            plan.results["pending"] = True
            return
        left = record or installed_record(self._root)
        path = hidden_by(left.bdf, self._root, self._procfs) if left else ""
        if left and path:
            plan.warnings.append(
                f"{left.name} ({left.bdf}) is still hidden at boot ({path}). So the unit that returns it to dom0 at each boot stays, until "
                "the boot options have changed and this runs again"
            )
            return
        plan_files(plan, None, self._runner, self._root)

    # -- what is checked ------------------------------------------------------------------------------------------------

    def _record(self, name: str, card: PciDevice, wanted: Wanted, old: UplinkRecord | None) -> UplinkRecord:
        ifname = old.ifname if old else card.ifname
        mac = wanted.mac.lower() or (old.mac if old else card.mac)
        record = UplinkRecord(name, str(card.bdf), ifname, wanted.backend, wanted.bridge, mac, wanted.limit)
        problem = problem_of(record)
        if problem:
            raise InvalidInput(
                f"dom0 cannot get a vif in the place of {name} ({card.bdf}): its {problem}",
                rule="a card with an interface, a domain, a bridge, six pairs of hexadecimal digits, and a number of seconds",
                remedy="Correct the entry of dom0_vifs",
            )
        return record

    def _refuse_other(self, plan: Plan, old: UplinkRecord, new: UplinkRecord) -> None:
        for key in ("name", "backend", "bridge", "mac"):
            before, after = getattr(old, key), getattr(new, key)
            if before != after:
                plan.refuse(
                    "",
                    new.ifname,
                    f"its {'device' if key == 'name' else key} is {before}, not {after}",
                    rule="dom0 is reached by this interface, so it moves by way of the card",
                    remedy=f"First return the card: {_UNDO}. Then declare the new one",
                )

    def _check_card(self, plan: Plan, name: str, card: PciDevice, devices: list[PciDevice]) -> None:
        subject = f"{name} ({card.bdf})"
        refusals = self._guards(devices).check(card, subject, [card])
        plan.refusals += [refusal for refusal in refusals if not is_replaced(refusal.guard, refusal.reason)]
        if len(card.interfaces) != 1:
            plan.refuse("", subject, f"has {len(card.interfaces)} interfaces", rule="a vif takes the place of one")
        on_top = self._network.on_top(card.ifname)
        if on_top:
            plan.refuse(
                "",
                subject,
                f"its interface {card.ifname} carries {', '.join(on_top)}",
                rule="the addresses that move to the vif are those of the card's own interface",
                remedy="Give the addresses to the card itself; bridges, bonds and VLANs belong into the driver domain",
            )

    def _check_rules(self, plan: Plan, name: str, card: PciDevice) -> None:
        tables = self._network.filtered_by_number(card.ifname)
        if tables:
            plan.refuse(
                "",
                f"{name} ({card.bdf})",
                f"nftables has its interface {card.ifname} by its number ({', '.join(tables)})",
                rule="the vif has the name of the card's interface, but another number, and so has the card when it comes back: rules with "
                "iif or oif, and chains of a device, would not apply to either",
                remedy="Use iifname and oifname in these tables",
            )

    def _check_backend(self, plan: Plan, record: UplinkRecord, card: PciDevice) -> None:
        backend = record.backend
        if card.owner and card.owner != backend:
            plan.refuse("in_use", f"{record.name} ({card.bdf})", f"is in use by {card.owner}")
        if not card.owner and self._store.domid_of(backend) is not None:
            plan.refuse(
                "",
                backend,
                f"runs already, without {record.name}",
                rule="the driver domain is started with the card of dom0",
                remedy=f"Shut it down (xl shutdown {backend}), and run this again",
            )
        if read_text(self._paths.definition(backend)) is None or not os.path.exists(self._paths.unit(backend)):
            plan.refuse(
                "",
                backend,
                "does not start with the host",
                passing=True,
                rule=f"dom0 is reached through it after each boot, for which it needs a definition and {unit_name(backend)}",
                remedy="Declare it in driver_domain_domains, with autostart: true",
            )

    # -- parts of the states --------------------------------------------------------------------------------------------

    def _vif(self, record: UplinkRecord) -> PvDevice | None:
        """Return the vif of dom0 that works."""
        vifs = [vif for vif in vifs_of_dom0(self._store, record.mac) if vif.connected and vif.bridge == record.bridge]
        return next((vif for vif in vifs if vif.backend == record.backend), None)

    def _timer(self, record: UplinkRecord) -> ConfirmTimer:
        command = program_command("revert", *words_of(record))
        return ConfirmTimer(self._runner, self._root + UPLINK_STATE, self._procfs, unit=REVERT_UNIT, command=command)

    def _is_active(self, unit: str) -> bool:
        """Whether a transient unit runs, or is about to."""
        units = [f"{unit}.timer", f"{unit}.service"]
        # 0: at least one of them is active (systemctl(1)). A service that waits for its next attempt is activating.
        shown = self._runner.run(["systemctl", "is-active", *units], check=False).stdout.split()
        return any(word in ("active", "activating", "deactivating", "reloading") for word in shown)

    def _plan_save(self, plan: Plan, old: UplinkRecord | None, new: UplinkRecord) -> None:
        before = old.text if old else read_text(self._path) or ""
        if before != new.text:
            plan.add("record how dom0 is reached", partial(save_uplink, new, self._path), subject=self._path, before=before, after=new.text)

    def _start(self, unit: str, command: str, record: UplinkRecord, *more: str) -> None:
        """Have systemd run the program in a moment: the connection that this module came over is cut by it."""
        words = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", f"--on-active={_DELAY}s", "--timer-property=AccuracySec=100ms"]
        words += ["--property=SyslogIdentifier=xen-driver-domains", *more]
        self._runner.run([*words, *program_command(command, *words_of(record))])
