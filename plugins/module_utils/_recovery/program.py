# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Install the recovery service: its program, its unit and its configuration."""

from __future__ import annotations

import contextlib
import os
import shutil

from .._archive import pack as archive
from .._errors import CommandFailed, DriverDomainsError, TimedOut
from .._files import link, read_bytes, remove
from .._plan import Plan
from .._runner import Runner
from .files import METRICS_DIRECTORY, PROGRAM, UNIT, Places, configuration_text, is_alive, memory_file
from .model import Configuration

#: Seconds that systemctl may take: a service that ends waits for its commands (LAST_WAIT in service.py).
_SYSTEMCTL_LIMIT = 120.0

#: Written for the host's Python. No option gives the service a file system view of its own: `xl` hands it on to what it starts, QEMU and
#: the scripts of disks in dom0. What `xl` starts stays when the service ends (KillMode).
_UNIT_TEXT = """\
# Managed by Ansible (xen.driver_domains.domain_recovery): changes made here are lost.
[Unit]
Description=Recovery of Xen driver domains and their clients
Documentation=man:xl(1)
# It stops before domains are stopped with the host, and so brings none of them back.
After=xenstored.service xen.service xen-init-dom0.service xendomains.service xen-driver-domains-shutdown.service
ConditionPathExists=/proc/xen

[Service]
Type=notify
ExecStart={python} -ISB {program} run
Restart=on-failure
RestartSec=2
RuntimeDirectory={metrics}
RuntimeDirectoryPreserve=restart
KillMode=process
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
CapabilityBoundingSet=~CAP_SYS_BOOT CAP_SYS_TIME CAP_SYSLOG CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_WAKE_ALARM

[Install]
WantedBy=multi-user.target
"""


def unit_text(python: str, program: str = PROGRAM) -> str:
    """Return the text of the unit file."""
    return _UNIT_TEXT.format(python=python, program=program, metrics=METRICS_DIRECTORY)


def pack() -> bytes:
    """Return the program. With another unit, it is another one.

    :raises DriverDomainsError: the source of a module cannot be read.
    """
    return archive("_recovery.main", _UNIT_TEXT)


class Installer:
    """Plans the installation and the removal of the service.

    :param python: the interpreter that is to run it.
    """

    def __init__(self, runner: Runner, python: str, places: Places | None = None) -> None:
        self._runner = runner
        self._python = python
        self._places = places or Places()

    def plan(self, configuration: Configuration | None) -> Plan:
        """Return the plan that installs the service with a configuration, or removes it with None."""
        return self._plan_removal() if configuration is None else self._plan_installation(configuration)

    def _plan_installation(self, configuration: Configuration) -> Plan:
        plan, places = Plan(), self._places
        changed = plan.write_file(places.program, pack(), mode=0o755, before="an older program", after="the program")
        changed = plan.write_file(places.configuration, configuration_text(configuration)) or changed
        unit = plan.write_file(places.unit, unit_text(self._python, places.program))
        if places.lacks_textfile():
            plan.add(
                f"link {places.textfile}", lambda: link(places.textfile, places.metrics), subject=places.textfile, after=places.metrics
            )
        if unit:
            plan.add("systemctl daemon-reload", lambda: self._systemctl("daemon-reload"))
        if self._ask("is-enabled") not in ("enabled",):
            plan.add(f"enable {UNIT}", lambda: self._systemctl("enable", UNIT), subject=UNIT, before="disabled", after="enabled")
        active = self._ask("is-active")
        if changed or unit or active not in ("active", "activating"):
            verb = "restart" if active in ("active", "activating") else "start"
            plan.add(f"{verb} {UNIT}", lambda: self._systemctl("restart", UNIT), subject=UNIT, before=active, after="active")
        return plan

    def _plan_removal(self) -> Plan:
        plan, places = Plan(), self._places
        if read_bytes(places.unit) is not None:
            plan.add(f"stop and disable {UNIT}", lambda: self._systemctl("disable", "--now", UNIT), subject=UNIT, before="enabled")
        else:
            # Without its unit file systemd disables nothing.
            if is_alive(places.run):
                plan.add(f"stop {UNIT}", lambda: self._systemctl("stop", UNIT), subject=UNIT, before="active")
            if os.path.lexists(places.enabled):
                plan.add(f"remove {places.enabled}", lambda: remove(places.enabled), subject=places.enabled, before="enabled")
        if os.path.lexists(places.textfile):
            plan.add(f"remove {places.textfile}", lambda: remove(places.textfile), subject=places.textfile, before=places.metrics)
        removed = [plan.remove_file(path) for path in (places.unit, places.configuration)]
        if os.path.exists(memory_file(places.run)):
            # Another service must not take up what this one was about to do.
            plan.add(
                f"remove {places.run}",
                lambda: shutil.rmtree(places.run, ignore_errors=True),
                subject=places.run,
                before="what it remembers",
            )
        if read_bytes(places.program) is not None:
            plan.add(f"remove {places.program}", self._remove_program, subject=places.program, before="the program")
        if removed[0]:
            plan.add("systemctl daemon-reload", lambda: self._systemctl("daemon-reload"))
        return plan

    def _remove_program(self) -> None:
        remove(self._places.program)
        for path in (self._places.program, self._places.configuration):
            # Others may have put something there.
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(path))

    def _ask(self, question: str) -> str:
        return self._runner.run(["systemctl", question, UNIT], check=False).stdout.strip()

    def _systemctl(self, *words: str) -> None:
        try:
            self._runner.run(["systemctl", *words], timeout=_SYSTEMCTL_LIMIT)
        except (CommandFailed, TimedOut) as exc:
            raise DriverDomainsError(exc.problem, remedy=f"See 'journalctl -u {UNIT}'", **exc.details) from exc
