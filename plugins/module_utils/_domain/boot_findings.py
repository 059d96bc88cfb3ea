# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What is wrong after a board has booted Xen and its dom0less domains, from what Xen and XenStore report."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from .._xen.xl import Domain


#: A line of Xen itself, perhaps with a time.
_XEN_LINE = re.compile(r"\(XEN\) (?:\[[^\]]*\] ?)?(?!DOM[0-9]+: )")


@dataclass(frozen=True)
class BootFinding:
    """Something that is wrong after a board booted."""

    name: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}. {self.remedy}."


def findings(
    names: t.Sequence[str], domains: t.Sequence[Domain], known: t.Mapping[int, str], dmesg: str, cmdline: str
) -> list[BootFinding]:
    """Return what went wrong when the board booted, or will at its next boot.

    :param names: the domains that Xen should have started, in order.
    :param known: the names in XenStore, by domid.
    :param dmesg: the output of `xl dmesg`.
    :param cmdline: Xen's command line.
    """
    own = own_lines(dmesg)
    return [*_unassigned(own), *_domains(names, domains, known), *_settings(len(names), own, cmdline)]


def own_lines(dmesg: str) -> str:
    """Return what Xen itself says: the output of guests is in the same log, marked with their numbers (vpl011.c, guest_printk).

    Xen does not mark the output of a guest that has the input of its console.
    """
    # Xen ends lines with this character; a guest may send others that look like an end.
    return "".join(f"{line}\n" for line in dmesg.split("\n") if _XEN_LINE.match(line))


def _unassigned(dmesg: str) -> t.Iterator[BootFinding]:
    for match in re.finditer(r"Failed to assign device(?: (?!to )(\S+))?", dmesg):
        yield BootFinding(
            "device_not_assigned",
            f"Xen could not assign the device {match[1] or '(see xl dmesg)'}, and started its domain without it",
            "The node must be marked (passthrough_paths), and without an IOMMU its partial device tree needs "
            "xen,force-assign-without-iommu",
        )


def _domains(names: t.Sequence[str], domains: t.Sequence[Domain], known: t.Mapping[int, str]) -> t.Iterator[BootFinding]:
    running = {domain.domid for domain in domains}
    for domid, name in enumerate(names, 1):
        if domid not in running:
            yield BootFinding(
                "domain_missing",
                f"Domain {name} ({domid}) does not run",
                "See its start in 'xl dmesg': too little memory, a kernel that crashed, or the boot script of another inventory",
            )
        elif domid not in known:
            yield BootFinding(
                "not_initialised", f"Domain {name} ({domid}) is not in XenStore", "Run init-dom0less (module dom0less_domain)"
            )
        elif known[domid] not in (name, f"dom0less-{domid}"):
            yield BootFinding(
                "wrong_order",
                f"Domain {domid} is {known[domid]}, where the inventory has {name}",
                "The board booted with the script of another inventory, or of an ImageBuilder configuration from elsewhere",
            )
        elif known[domid] != name:
            yield BootFinding("not_named", f"Domain {name} is called {known[domid]}", "Name it (module dom0less_domain)")


def _settings(count: int, dmesg: str, cmdline: str) -> t.Iterator[BootFinding]:
    if count > 1 and is_silo(dmesg, cmdline):
        yield BootFinding(
            "silo",
            "Xen runs in SILO mode: domains can reach dom0, but not each other, so a backend in a domU cannot serve any",
            "Add xsm=dummy to Xen's command line",
        )
    words = cmdline.split()
    if not any(word.startswith("console=dtuart") for word in words):
        yield BootFinding(
            "console",
            "Xen's command line has no console=dtuart, so the reason for a failed boot is not visible",
            "Add console=dtuart",
        )
    if not any(word.startswith("dom0_mem=") for word in words):
        yield BootFinding(
            "dom0_memory", "Xen's command line has no dom0_mem, so dom0 has 512 MiB", "Add dom0_mem (the role does, from dom0.memory)"
        )


def is_silo(dmesg: str, cmdline: str) -> bool:
    """Whether XSM lets domains reach dom0 only.

    :param dmesg: what Xen itself says, `own_lines`.
    :param cmdline: Xen's command line.
    """
    modes = re.findall(r"^xsm=(\S+)$", "\n".join(cmdline.split()), re.MULTILINE)
    return modes[-1] == "silo" if modes else "Initialising XSM SILO mode" in dmesg
