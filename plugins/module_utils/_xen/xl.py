# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Runs `xl`: one method for each sub-command that the collection needs."""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import dataclass

from .._errors import CommandFailed, InvalidInput, TimedOut
from .._runner import Runner

#: The usual cause of a timeout: with a dead xenstored every call of xl hangs forever.
XENSTORED_REMEDY = "xenstored may be dead: check 'systemctl status xenstored' and the host's journal"

_BACKEND_REMEDY = {
    kind: f"Check that the backend domain is ready: its kernel needs {module}, and 'xl devd' must run in it; see its console"
    for kind, module in (("vif", "xen-netback"), ("vbd", "xen-blkback"))
}

#: xl has no option for a device's name before this version (tools/xl/xl_pci.c).
NAMES_SINCE = (4, 15)


@dataclass(frozen=True)
class Domain:
    """One line of `xl list`."""

    name: str
    domid: int
    memory: int
    vcpus: int
    #: The letters that are set: r(unning), b(locked), p(aused), s(hutdown) with the reason r(eboot), s(uspend), c(rash), w(atchdog) or
    #: S(oft reset), d(ying).
    flags: str

    @property
    def alive(self) -> bool:
        """Whether the domain runs its kernel."""
        return not set(self.flags) & set("scd")

    @property
    def suspended(self) -> bool:
        """Whether the domain is suspended, as while `xl save` writes down its memory: it then goes on, or is removed."""
        return self.flags.count("s") > 1 and "d" not in self.flags

    @property
    def paused(self) -> bool:
        """Whether the domain was paused, or `xl create` of it is not complete."""
        return "p" in self.flags


class Xl:
    """The toolstack command of Xen, with a time limit on every call."""

    def __init__(self, runner: Runner | None = None, executable: str = "xl") -> None:
        self._runner = runner or Runner()
        self._executable = executable

    def _run(self, *arguments: str, timeout: float | None = None, remedy: str = "") -> str:
        try:
            return self._runner.run([self._executable, *arguments], timeout=timeout, remedy=remedy).stdout
        except TimedOut as exc:
            raise TimedOut(exc.problem, remedy=XENSTORED_REMEDY, **exc.details) from exc

    def info(self) -> dict[str, str]:
        """Return what `xl info` prints, by key (xl(1), info)."""
        pairs = (line.split(":", 1) for line in self._run("info").splitlines() if ":" in line)
        return {key.strip(): value.strip() for key, value in pairs}

    def list(self) -> list[Domain]:
        """Return the domains of this host, including dom0 (xl(1), list)."""
        domains = []
        for line in self._run("list").splitlines()[1:]:
            match = re.fullmatch(r"(.*?)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+[\d.]+\s*", line)
            if match:
                name, domid, memory, vcpus, flags = match.groups()
                domains.append(Domain(name, int(domid), int(memory), int(vcpus), flags.replace("-", "")))
        return domains

    def dmesg(self) -> str:
        """Return the log of Xen itself since its boot, as far as its buffer holds it (xl(1), dmesg)."""
        return self._run("dmesg")

    def create(self, definition: str, timeout: float, uuid: str = "") -> None:
        """Start a domain from the definition file at path `definition`; gives up after `timeout` seconds.

        :param uuid: the domain's UUID, unless the definition sets one (xl(1), create: settings after the file are added to it).
        """
        self._run("create", "--quiet", definition, *([f'uuid="{uuid}"'] if uuid else []), timeout=timeout)

    def parse_definition(self, text: str) -> dict[str, t.Any]:
        """Return a definition as xl parses it, as libxl's domain configuration; nothing is created or written.

        :raises InvalidInput: xl refuses the definition; the error holds its message.
        """
        # xl needs a regular file. A memory file is one, and leaves nothing on the disk, not even in check mode.
        descriptor = os.memfd_create("definition")
        try:
            os.write(descriptor, text.encode("utf-8", "surrogateescape"))
            parsed = self._run("create", "--quiet", "--dryrun", f"/proc/{os.getpid()}/fd/{descriptor}")
            return dict(json.loads(parsed))
        except CommandFailed as exc:
            raise InvalidInput(f"xl does not accept the definition: {exc.details['stderr'].strip()}") from exc
        except ValueError as exc:
            raise InvalidInput("xl printed something other than the parsed definition") from exc
        finally:
            os.close(descriptor)

    def unpause(self, domain: str) -> None:
        """Unpause a domain (xl(1), unpause)."""
        self._run("unpause", domain)

    def shutdown(self, domain: str) -> None:
        """Ask a domain to shut down, by ACPI if its kernel knows no other way; returns at once (xl(1), shutdown)."""
        self._run("shutdown", "-F", domain)

    def destroy(self, domain: str) -> None:
        """End a domain as if its power were cut (xl(1), destroy)."""
        self._run("destroy", domain)

    def attach_device(self, kind: str, domain: str, specification: str) -> None:
        """Add a network interface or a disk (`vif` or `vbd`), given as a specification string of xl.cfg(5)."""
        self._run(*attach_arguments(kind, domain, specification), remedy=_BACKEND_REMEDY[kind])

    def detach_device(self, kind: str, domain: str, devid: int, force: bool = False) -> None:
        """Remove a network interface or a disk by its device number.

        :param domain: its name, or its domid.
        :param force: do not wait for the guest to close a disk; of an interface, xl gives the guest 10 s in any case.
        """
        self._run(*detach_arguments(kind, domain, devid, force))

    def pci_assignable_add(self, bdf: str, name: str | None = None) -> None:
        """Bind a device to pciback, quarantine it and record its name.

        A repeated call without a name deletes the recorded name (libxl_pci.c, libxl_device_pci_assignable_add).
        """
        self._run("pci-assignable-add", *(["-n", name] if name else []), bdf)

    def pci_assignable_remove(self, bdf: str, rebind: bool = True) -> None:
        """Release a device from pciback; `rebind` binds it to the driver that xl recorded."""
        self._run("pci-assignable-remove", *(["-r"] if rebind else []), bdf)


def attach_arguments(kind: str, domain: str, specification: str) -> tuple[str, ...]:
    """Return the arguments of `xl` that add a device (xl(1), network-attach and block-attach)."""
    if kind == "vif":
        return ("network-attach", domain, *specification.split(","))
    # The target comes last and may hold a comma.
    return ("block-attach", domain, specification)


def detach_arguments(kind: str, domain: str, devid: int, force: bool = False) -> tuple[str, ...]:
    """Return the arguments of `xl` that remove a device (xl(1), network-detach and block-detach).

    Since Xen 4.15, a disk is removed only when its guest lets go of it, unless by force.
    """
    if kind == "vif":
        return ("network-detach", domain, str(devid))
    return ("block-detach", *(["--force"] if force else []), domain, str(devid))


def domain_types(info: t.Mapping[str, str], without_hap: bool = False) -> tuple[str, ...]:
    """Return the types of domains that a host can run, from `xl info` (virt_caps, xl(1), info).

    PVH and HVM need the processor's virtualisation, and its help with their memory (hap). Shadow paging does without that help.

    :param without_hap: for a domain with `hap=0`.
    """
    caps = set(info.get("virt_caps", "").split())
    pv = ("pv",) if "pv" in caps else ()
    return (*pv, "pvh", "hvm") if {"hvm", "shadow" if without_hap else "hap"} <= caps else pv


def has_iommu(info: t.Mapping[str, str]) -> bool:
    """Whether devices can be passed through at all, from `xl info` (virt_caps, xl(1), info)."""
    return bool({"pv_directio", "hvm_directio"} & set(info.get("virt_caps", "").split()))


def has_interrupt_remapping(dmesg: str) -> bool | None:
    """Return whether Xen remaps interrupts, from `xl dmesg`; None when the log has lost the line, since newer ones replace old ones.

    Xen says it once, at boot (iommu_setup of xen/drivers/passthrough/iommu.c), before any guest could write into the log.
    """
    found = re.search(r"^\(XEN\) (?:\[[^\]\n]*\] ?)?Interrupt remapping (en|dis)abled\.?\s*$", dmesg, re.MULTILINE)
    return found.group(1) == "en" if found else None
