# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Attach and detach virtual network interfaces of running domains, and wait until they are connected."""

from __future__ import annotations

import re
import time
import typing as t
from dataclasses import dataclass

from .._errors import DriverDomainsError, InvalidInput, TimedOut
from .._plan import Plan
from .._xen.xl import Xl
from .._xen.xlcfg import specification
from .._xenstore.client import REMOVAL_DELAY
from .status import Vif, not_connected, vif_status
from .userdata import USERDATA
from .vif_made import differences, made_settings, rate_of
from .vif_options import vif_settings

if t.TYPE_CHECKING:
    from .._host_chains import Use
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

    :raises InvalidInput: a MAC address or a rate is not usable, or an address is listed twice.
    """
    by_domain: dict[str, list[t.Mapping[str, t.Any]]] = {}
    for item in items:
        by_domain.setdefault(item["domain"], []).append(item)
    macs = {id(item): settings for domain, own in by_domain.items() for item, settings in zip(own, vif_settings(domain, own))}
    wanted = [WantedVif(item["domain"], item["state"] == "present", macs[id(item)]) for item in items]
    for vif in wanted:
        rate_of(vif.settings.get("rate", "1B/s"))
    for number, vif in enumerate(wanted):
        if any(vif.mac == other.mac for other in wanted[:number]):
            raise InvalidInput(
                f"{vif.domain}: the MAC address {vif.mac} is listed twice",
                rule="each vif has its own",
                remedy="Change or remove one of them",
            )
    return wanted


def vifs_in_path(path: str) -> list[str]:
    """Return the vif of this domain that a resolved path of sysfs leads through, if any (frontend_bus_id in xenbus_probe_frontend.c)."""
    return re.findall(r"/(vif-[0-9]+)(?=/|$)", path)


class VifPlanner:
    """Compares vifs with what the toolstack made, and plans the calls of xl that they need.

    xl changes no setting of a vif that exists: what differs is detached and attached again.

    :param timeout: seconds to wait for each vif.
    :param host_uses: what dom0 stands on, with its own vifs as `vifs_in_path` names them; asked only before one of them is detached.
    :param userdata: the directory of libxl's own files.
    """

    def __init__(
        self, xl: Xl, store: XenStore, timeout: float, host_uses: t.Callable[[], t.Sequence[Use]], userdata: str = USERDATA
    ) -> None:
        self._xl = xl
        self._store = store
        self._timeout = timeout
        self._host_uses = host_uses
        self._userdata = userdata
        self._detached = 0.0

    def plan(self, wanted: t.Sequence[WantedVif]) -> Plan:
        """Return the plan that attaches, replaces and detaches vifs."""
        plan = Plan()
        domids = {name: domid for domid, name in self._store.domains().items()}
        existing = {name: vif_status(self._store, domids[name]) for name in {vif.domain for vif in wanted} if name in domids}
        for vif in wanted:
            current = next((found for found in existing.get(vif.domain, ()) if found.mac.lower() == vif.mac), None)
            if not vif.present:
                if current:
                    self._detach(plan, vif, current, domids[vif.domain])
            elif not self._refuse_missing(plan, vif, domids):
                reason = self._outdated(plan, vif, current, domids) if current else ""
                if current and reason:
                    self._detach(plan, vif, current, domids[vif.domain], f" ({reason})")
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

    def _outdated(self, plan: Plan, vif: WantedVif, current: Vif, domids: t.Mapping[str, int]) -> str:
        """Return why an existing vif must be replaced, or ""."""
        backend_id = domids[self._backend(vif)]
        if current.backend_id != backend_id:
            return f"its backend is domain {current.backend_id}, not {backend_id}"
        bridge = vif.settings.get("bridge")
        if bridge and current.bridge != bridge:
            return f"its bridge is {current.bridge or 'none'}, not {bridge}"
        if current.frontend_state in _CLOSED or current.backend_state in ("", *_CLOSED):
            return f"it is closed: frontend state {current.frontend_state or 'none'}, backend state {current.backend_state or 'none'}"
        made = made_settings(self._store, self._userdata, domids[vif.domain], current.devid)
        unknown = [key for key in vif.settings if key in ("trusted", "model") and key not in made]
        if unknown:
            plan.warnings.append(
                f"Whether the vif {vif.mac} of {vif.domain} has the wanted {' and '.join(unknown)} is not known: "
                f"libxl keeps no configuration of it in {self._userdata}. It is left as it is"
            )
        return ", ".join(differences(vif.settings, made))

    def _attach(self, plan: Plan, vif: WantedVif) -> None:
        text = specification("vif", vif.settings)

        def attach() -> None:
            # The guest's kernel would take a new vif with the same number for the old one.
            time.sleep(max(0.0, self._detached + REMOVAL_DELAY - time.monotonic()) if self._detached else 0)
            self._xl.network_attach(vif.domain, text)

        plan.add(f"attach vif {vif.mac} of {vif.domain} to {self._backend(vif)}", attach, subject=f"vif of {vif.domain}", after=text)

    def _detach(self, plan: Plan, vif: WantedVif, current: Vif, domid: int, why: str = "") -> None:
        if domid == 0:
            self._guard_own(plan, vif, current)
        made = made_settings(self._store, self._userdata, domid, current.devid)
        before = {"mac": vif.mac, "bridge": current.bridge, "backend": current.backend or str(current.backend_id), **made}

        def detach() -> None:
            self._xl.network_detach(vif.domain, current.devid)
            self._wait_gone(vif, current, domid)
            self._detached = time.monotonic()

        plan.add(
            f"detach vif {vif.mac} of {vif.domain} from {current.backend or current.backend_id}{why}",
            detach,
            subject=f"vif of {vif.domain}",
            before=",".join(f"{key}={value}" for key, value in before.items() if value),
        )

    def _guard_own(self, plan: Plan, vif: WantedVif, current: Vif) -> None:
        """Refuse to detach a vif of dom0 that it is reached through, or that it cannot live without."""
        for use in self._host_uses():
            if f"vif-{current.devid}" in use.devices:
                plan.refuse(
                    use.guard,
                    f"Vif {vif.mac} of {vif.domain}",
                    use.reason,
                    rule="a change of a vif detaches it first, and whether it comes back is not certain",
                    remedy="Reach dom0 another way first, or change the vif at the host's console",
                )

    def _wait_gone(self, vif: WantedVif, current: Vif, domid: int) -> None:
        """Wait until nothing of a vif is left: what comes back too early is taken for the old one."""
        paths = [path for path in (f"/libxl/{domid}/device/vif/{current.devid}", current.backend_path) if path]
        try:
            self._store.wait_for(paths, lambda values: not any(value is not None for value in values.values()), self._timeout)
        except TimedOut as exc:
            raise TimedOut(
                f"The vif {vif.mac} of {vif.domain} was detached, but was not gone within {self._timeout:g} s",
                rule="a vif is attached again only when nothing is left of the old one",
                remedy=f"Check that 'xl devd' runs in {current.backend or current.backend_id}, and run the task again",
            ) from exc

    def _conclude(self, wanted: t.Sequence[WantedVif]) -> dict[str, t.Any]:
        """Wait until all are connected, and return their states."""
        results = []
        for vif in wanted:
            domid = self._store.domid_of(vif.domain)
            found = self._wait(vif, domid) if vif.present and domid is not None else None
            if found and domid is not None:
                self._check_made(vif, found, domid)
            results.append({"domain": vif.domain, "mac": vif.mac, "present": found is not None, **(found.as_dict() if found else {})})
        return {"vifs": results}

    def _check_made(self, vif: WantedVif, found: Vif, domid: int) -> None:
        """Check that the toolstack made a vif as requested: another run would replace it once more."""
        different = differences(vif.settings, made_settings(self._store, self._userdata, domid, found.devid))
        if different:
            raise DriverDomainsError(
                f"The vif {vif.mac} of {vif.domain} is attached, but {', '.join(different)}",
                rule="this version of Xen does not know the setting, or changes it",
                remedy="Leave the setting out, or give it as 'xl' understands it",
                vif=found.as_dict(),
            )

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
