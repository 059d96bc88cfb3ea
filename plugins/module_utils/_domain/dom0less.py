# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Domains that Xen itself started: made known to the toolstack, named as in the inventory, and looked over."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._errors import NotOnThisHost
from .._plan import Plan
from .._runner import Runner
from .._xen.xl import Domain, Xl

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

INIT_TIMEOUT = 120.0


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be after a board booted."""

    name: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}. {self.remedy}."


class Dom0less:
    """The dom0less domains of a running host."""

    def __init__(self, xl: Xl, store: XenStore, runner: Runner, xen_version: tuple[int, int]) -> None:
        self._xl = xl
        self._store = store
        self._runner = runner
        self._program = "/usr/lib/xen-{}.{}/bin/init-dom0less".format(*xen_version)

    def plan(self, names: t.Sequence[str]) -> Plan:
        """Plan what gives the domains 1, 2, ... their names, and their place in XenStore if they have none yet.

        :raises NotOnThisHost: a domain does not run.
        """
        plan = Plan()
        domains = {domain.domid: domain for domain in self._xl.list()}
        missing = [f"{domid} ({name})" for domid, name in enumerate(names, 1) if domid not in domains]
        if missing:
            raise NotOnThisHost(
                f"Xen runs no domain {', '.join(missing)}; there are {', '.join(map(str, sorted(domains)))}",
                rule="Xen numbers the domains that it starts from 1, in the order of the boot script",
                remedy="Did the board boot with the script of this inventory? 'xl dmesg' tells what Xen started, and why a domain is gone",
            )
        known = self._store.domains()
        if any(domid not in known for domid in range(1, len(names) + 1)):
            plan.add("init-dom0less", self._init, subject="domains in XenStore", after="known to the toolstack")
        for domid, name in enumerate(names, 1):
            before = known.get(domid, "")
            if before != name:
                plan.add(
                    f"name domain {domid} {name}", _writer(self._store, domid, name), subject=f"domain {domid}", before=before, after=name
                )
        plan.results = {"domains": [{"name": name, "domid": domid} for domid, name in enumerate(names, 1)]}
        return plan

    def _init(self) -> None:
        self._runner.run([self._program], timeout=INIT_TIMEOUT, remedy="It comes with xen-utils; it must not run while 'xl create' runs")


def _writer(store: XenStore, domid: int, name: str) -> t.Callable[[], None]:
    return lambda: store.write(f"/local/domain/{domid}/name", name)


def findings(names: t.Sequence[str], domains: t.Sequence[Domain], known: t.Mapping[int, str], dmesg: str, cmdline: str) -> list[Finding]:
    """Tell what went wrong when the board booted.

    :param names: the domains that Xen was to start, in order.
    :param known: the names in XenStore, by domid.
    :param dmesg: what `xl dmesg` prints.
    :param cmdline: Xen's command line.
    """
    found: list[Finding] = []
    for match in re.finditer(r"Failed to assign device ?(\S*)", dmesg):
        found.append(
            Finding(
                "device_not_assigned",
                f"Xen could not assign the device {match[1] or '(see xl dmesg)'}, and started its domain without it",
                "The node must be marked (passthrough_paths), and without an IOMMU its partial device tree needs "
                "xen,force-assign-without-iommu",
            )
        )
    running = {domain.domid for domain in domains}
    for domid, name in enumerate(names, 1):
        if domid not in running:
            found.append(
                Finding(
                    "domain_missing",
                    f"Domain {name} ({domid}) does not run",
                    "Look in 'xl dmesg' for its start: too little memory, a kernel that crashed, or a boot script of another inventory",
                )
            )
        elif domid not in known:
            found.append(
                Finding("not_initialised", f"Domain {name} ({domid}) is not in XenStore", "Run init-dom0less (module dom0less_domain)")
            )
        elif known[domid] != name and known[domid] != f"dom0less-{domid}":
            found.append(
                Finding(
                    "wrong_order",
                    f"Domain {domid} is {known[domid]}, and the inventory has {name} in its place",
                    "The board booted with the script of another inventory, or of an ImageBuilder configuration that was not made here",
                )
            )
        elif known[domid] != name:
            found.append(Finding("not_named", f"Domain {name} is called {known[domid]}", "Name it (module dom0less_domain)"))
    if len(names) > 1 and _silo(dmesg, cmdline):
        found.append(
            Finding(
                "silo",
                "Xen runs in SILO mode: domains can reach dom0, but not each other, so a backend in a domU serves nobody",
                "Add xsm=dummy to Xen's command line",
            )
        )
    words = cmdline.split()
    if not any(word.startswith("console=dtuart") for word in words):
        found.append(Finding("console", "Xen's command line has no console=dtuart, so nobody sees why a boot fails", "Add console=dtuart"))
    if not any(word.startswith("dom0_mem=") for word in words):
        found.append(
            Finding(
                "dom0_memory", "Xen's command line has no dom0_mem, so dom0 has 512 MiB", "Add dom0_mem (the role does, from dom0.memory)"
            )
        )
    return found


def _silo(dmesg: str, cmdline: str) -> bool:
    modes = re.findall(r"^xsm=(\S+)$", "\n".join(cmdline.split()), re.MULTILINE)
    return modes[-1] == "silo" if modes else "Initialising XSM SILO mode" in dmesg
