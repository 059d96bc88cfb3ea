# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Domains that Xen started at boot (dom0less): make them known to the toolstack under the names of the inventory."""

from __future__ import annotations

import re
import typing as t
from functools import partial

from .._errors import InvalidInput, NotOnThisHost
from .._plan import Plan
from .._runner import Runner
from .._xen.xl import Xl

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: Seconds that init-dom0less may take.
INIT_TIMEOUT = 120.0
#: As in a board's boot script.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_names(names: t.Sequence[str]) -> None:
    """Check the names of domains that Xen starts.

    :raises InvalidInput: one cannot be used, or is there twice.
    """
    for number, name in enumerate(names):
        if not _NAME.fullmatch(name) or name == "Domain-0":
            raise InvalidInput(f"{name!r} is not a name for a domain", rule="letters, digits, '_', '.' and '-'; Domain-0 is dom0")
        if name in names[:number]:
            raise InvalidInput(f"Two domains have the name {name!r}", rule="xl finds a domain by its name", remedy="Rename one")


def _check_known(names: t.Sequence[str], known: t.Mapping[int, str]) -> None:
    """Check that the numbers are those of domains that Xen started, and that no other domain has one of the names.

    A domain that xl creates gets the next free number: the one of a domain that is missing, if the board booted another script.
    """
    for domid, before in known.items():
        wanted = names[domid - 1] if 0 < domid <= len(names) else ""
        if wanted and before not in ("", f"dom0less-{domid}", *names):
            raise InvalidInput(
                f"Domain {domid} is called {before!r}, and is not renamed to {wanted!r}",
                rule="Xen numbers the domains that it starts from 1; one with another name is one that xl created, or was renamed",
                remedy=f"Check that the board booted with the script of this inventory. If so: xl rename {domid} {wanted}",
            )
        if not wanted and domid and before in names:
            raise InvalidInput(f"Domain {domid} is called {before!r} as well", rule="a name belongs to one domain", remedy="Rename one")


class Dom0less:
    """The dom0less domains of a running host."""

    def __init__(self, xl: Xl, store: XenStore, runner: Runner, xen_version: tuple[int, int]) -> None:
        self._xl = xl
        self._store = store
        self._runner = runner
        self._program = "/usr/lib/xen-{}.{}/bin/init-dom0less".format(*xen_version)

    def plan(self, names: t.Sequence[str]) -> Plan:
        """Return the plan that names the domains 1, 2, and so on, and puts those into XenStore that are not there.

        :raises InvalidInput: a name cannot be used, or a domain has a name that it did not get here.
        :raises NotOnThisHost: a domain does not run.
        """
        check_names(names)
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
        _check_known(names, known)
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
