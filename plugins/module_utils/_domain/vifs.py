# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Attach and detach virtual network interfaces of running domains, and wait until they are connected."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._errors import DriverDomainsError, InvalidInput, TimedOut
from .._plan import Plan
from .._xen.xl import Xl
from .._xen.xlcfg import specification
from .status import Vif, not_connected, vif_status
from .vif_options import vif_settings

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: A frontend or backend that is closing or closed does not come back by itself (xen/include/public/io/xenbus.h).
_CLOSED = ("5", "6")


@dataclass(frozen=True)
class WantedVif:
    """One vif of a domain; `settings` are those of xl-network-configuration(5)."""

    domain: str
    present: bool
    settings: t.Mapping[str, t.Any]

    @property
    def mac(self) -> str:
        """Its identity: vifs are matched by MAC address."""
        return str(self.settings["mac"])


def wanted_vifs(items: t.Sequence[t.Mapping[str, t.Any]]) -> list[WantedVif]:
    """Check the parameter `vifs` of the module xl_vif.

    :raises InvalidInput: a MAC address is not usable, or listed twice.
    """
    by_domain: dict[str, list[t.Mapping[str, t.Any]]] = {}
    for item in items:
        by_domain.setdefault(item["domain"], []).append(item)
    macs = {id(item): settings for domain, own in by_domain.items() for item, settings in zip(own, vif_settings(domain, own))}
    wanted = [WantedVif(item["domain"], item["state"] == "present", macs[id(item)]) for item in items]
    for number, vif in enumerate(wanted):
        if any(vif.mac == other.mac for other in wanted[:number]):
            raise InvalidInput(
                f"{vif.domain}: the MAC address {vif.mac} is listed twice",
                rule="each vif has its own",
                remedy="Change or remove one of them",
            )
    return wanted


class VifPlanner:
    """Compares vifs with what XenStore says, and plans the calls of xl that they need.

    :param timeout: seconds to wait for each vif.
    """

    def __init__(self, xl: Xl, store: XenStore, timeout: float) -> None:
        self._xl = xl
        self._store = store
        self._timeout = timeout

    def plan(self, wanted: t.Sequence[WantedVif]) -> Plan:
        """Return the plan that attaches, replaces and detaches vifs."""
        plan = Plan()
        domids = {name: domid for domid, name in self._store.domains().items()}
        existing = {name: vif_status(self._store, domids[name]) for name in {vif.domain for vif in wanted} if name in domids}
        for vif in wanted:
            current = next((found for found in existing.get(vif.domain, ()) if found.mac.lower() == vif.mac), None)
            if not vif.present:
                if current:
                    self._detach(plan, vif, current)
            elif not self._refuse_missing(plan, vif, domids):
                reason = self._outdated(vif, current, domids[self._backend(vif)]) if current else ""
                if current and reason:
                    self._detach(plan, vif, current, f" ({reason})")
                if not current or reason:
                    self._attach(plan, vif)
        plan.conclude = lambda: self._conclude(wanted)
        return plan

    def _refuse_missing(self, plan: Plan, vif: WantedVif, domids: t.Collection[str]) -> bool:
        missing = False
        for role, name in (("should have it", vif.domain), ("should serve it", self._backend(vif))):
            if name not in domids:
                missing = True
                plan.refuse(
                    "",
                    f"Vif {vif.mac} of {vif.domain}",
                    f"the domain {name!r}, which {role}, does not run",
                    # An earlier task may start it, or name it.
                    passing=True,
                    rule=f"a vif is attached between running domains, which are: {', '.join(sorted(domids))}",
                    remedy="Start it first. A dom0less domain has a name only after init-dom0less",
                )
        return missing

    @staticmethod
    def _backend(vif: WantedVif) -> str:
        return str(vif.settings.get("backend") or "Domain-0")

    @staticmethod
    def _outdated(vif: WantedVif, current: Vif, backend_id: int) -> str:
        """Return why an existing vif must be replaced, or ""."""
        if current.backend_id != backend_id:
            return f"its backend is domain {current.backend_id}, not {backend_id}"
        bridge = vif.settings.get("bridge")
        if bridge and current.bridge != bridge:
            return f"its bridge is {current.bridge or 'none'}, not {bridge}"
        if current.frontend_state in _CLOSED or current.backend_state in ("", *_CLOSED):
            return f"it is closed: frontend state {current.frontend_state or 'none'}, backend state {current.backend_state or 'none'}"
        return ""

    def _attach(self, plan: Plan, vif: WantedVif) -> None:
        text = specification("vif", vif.settings)
        plan.add(
            f"attach vif {vif.mac} of {vif.domain} to {self._backend(vif)}",
            lambda: self._xl.network_attach(vif.domain, text),
            subject=f"vif of {vif.domain}",
            after=text,
        )

    def _detach(self, plan: Plan, vif: WantedVif, current: Vif, why: str = "") -> None:
        plan.add(
            f"detach vif {vif.mac} of {vif.domain} from {current.backend or current.backend_id}{why}",
            lambda: self._xl.network_detach(vif.domain, current.devid),
            subject=f"vif of {vif.domain}",
            before=specification(
                "vif", {"mac": vif.mac, "bridge": current.bridge or None, "backend": current.backend or current.backend_id}
            ),
        )

    def _conclude(self, wanted: t.Sequence[WantedVif]) -> dict[str, t.Any]:
        """Wait until all are connected, and return their states."""
        results = []
        for vif in wanted:
            domid = self._store.domid_of(vif.domain)
            found = self._wait(vif, domid) if vif.present and domid is not None else None
            results.append({"domain": vif.domain, "mac": vif.mac, "present": found is not None, **(found.as_dict() if found else {})})
        return {"vifs": results}

    def _wait(self, vif: WantedVif, domid: int) -> Vif | None:
        missing = ""

        def own() -> list[Vif]:
            return [found for found in vif_status(self._store, domid) if found.mac.lower() == vif.mac]

        def connected(_values: dict[str, str | None]) -> bool:
            nonlocal missing
            if self._store.read_text(f"/local/domain/{domid}/name") is None:
                raise DriverDomainsError(f"Domain {vif.domain} went away before its vif {vif.mac} was connected")
            missing = not_connected(vif.domain, own(), 1)
            return not missing

        paths = [f"/local/domain/{domid}/name", f"/local/domain/{domid}/device/vif"]
        try:
            self._store.wait_for([*paths, *(found.backend_path for found in own())], connected, self._timeout)
        except TimedOut as exc:
            raise TimedOut(
                f"The vif {vif.mac} of {vif.domain} was not connected within {self._timeout:g} s: {missing}",
                rule="with xsm=silo, the default of Debian's Xen on Arm, only dom0 can serve other domains",
                remedy=f"Check 'xl dmesg', the kernel log of {vif.domain}, and that 'xl devd' runs in {self._backend(vif)}",
            ) from exc
        return next(iter(own()), None)
