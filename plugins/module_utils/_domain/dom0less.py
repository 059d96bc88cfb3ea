# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Domains that Xen started at boot (dom0less): make them known to the toolstack under the names of the inventory."""

from __future__ import annotations

import typing as t
from functools import partial

from .._errors import NotOnThisHost
from .._plan import Plan
from .._runner import Runner
from .._xen.xl import Xl

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: Seconds that init-dom0less may take.
INIT_TIMEOUT = 120.0


class Dom0less:
    """The dom0less domains of a running host."""

    def __init__(self, xl: Xl, store: XenStore, runner: Runner, xen_version: tuple[int, int]) -> None:
        self._xl = xl
        self._store = store
        self._runner = runner
        self._program = "/usr/lib/xen-{}.{}/bin/init-dom0less".format(*xen_version)

    def plan(self, names: t.Sequence[str]) -> Plan:
        """Return the plan that names the domains 1, 2, and so on, and puts those into XenStore that are not there.

        :raises NotOnThisHost: a domain does not run.
        """
        plan = Plan()
        domains = {domain.domid: domain for domain in self._xl.list()}
        missing = [f"{domid} ({name})" for domid, name in enumerate(names, 1) if domid not in domains]
        if missing:
            raise NotOnThisHost(
                f"Xen runs no domain {', '.join(missing)}; there are {', '.join(map(str, sorted(domains)))}",
                rule="Xen numbers the domains that it starts from 1, in the order of the boot script",
                remedy="Check that the board booted with the script of this inventory; 'xl dmesg' says what Xen started",
            )
        known = self._store.domains()
        if any(domid not in known for domid in range(1, len(names) + 1)):
            plan.add("init-dom0less", self._init, subject="domains in XenStore", after="known to the toolstack")
        for domid, name in enumerate(names, 1):
            before = known.get(domid, "")
            if before != name:
                plan.add(
                    f"name domain {domid} {name}",
                    partial(self._store.write, f"/local/domain/{domid}/name", name),
                    subject=f"domain {domid}",
                    before=before,
                    after=name,
                )
        plan.results = {"domains": [{"name": name, "domid": domid} for domid, name in enumerate(names, 1)]}
        return plan

    def _init(self) -> None:
        self._runner.run(
            [self._program],
            timeout=INIT_TIMEOUT,
            remedy="Install xen-utils, which contains it, and do not run it at the same time as 'xl create'",
        )
