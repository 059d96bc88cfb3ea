# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Installs on a host what moves dom0 to its vif: a program, the units that run it, and a rule of udev that names the vif as the card."""

from __future__ import annotations

import contextlib
import os
import typing as t
from functools import partial

from .. import _files
from .._archive import interpreter, pack
from .._files import read_text
from .._uplink_record import BOOT_LINK, BOOT_UNIT_FILE, GIVE_UP_UNIT
from .network import UP_UNIT
from .program import known_from, main, words_of

if t.TYPE_CHECKING:
    from .._plan import Plan
    from .._runner import Runner
    from .._uplink_record import UplinkRecord

#: What is installed. It is not called here, but goes with a module to the host.
UPLINK_PROGRAM = main

BOOT_UNIT = os.path.basename(BOOT_UNIT_FILE)
PROGRAM = "/usr/local/lib/xen-driver-domains/uplink.pyz"
RULE = "/etc/udev/rules.d/70-xen-driver-domains-uplink.rules"
_UNITS = "/etc/systemd/system"
_MARKER = "# Managed by Ansible (xen.driver_domains.dom0_uplink): changes made here are lost.\n"

#: The limit is that of the program. What returns the card has its own. It counts from when the driver domain may start (`_domain.units`).
#: sshd ends when it is to listen on an address that is not there (ListenAddress, sshd_config(5)).
_BOOT = """\
{marker}[Unit]
Description=Network of dom0 through a driver domain
After=xenstored.service xen.service xen-init-dom0.service xen-driver-domains-check.service network.target
Before=ssh.service sshd.service
ConditionPathExists=/sys/hypervisor/type

[Service]
Type=oneshot
ExecStart={command} boot {words}
TimeoutStartSec=infinity
Restart=on-failure
RestartSec=10
SyslogIdentifier=xen-driver-domains

[Install]
WantedBy=multi-user.target
"""
_UP = """\
{marker}[Unit]
Description=Configure the interface of dom0 that a driver domain serves

[Service]
Type=oneshot
ExecStart={command} up {words}
TimeoutStartSec=infinity
# A DHCP client that ifup has started stays.
KillMode=process
SyslogIdentifier=xen-driver-domains
"""
_GIVE_UP = """\
{marker}[Unit]
Description=Return the network card of dom0, whose driver domain is not started again

[Service]
Type=oneshot
ExecStart={command} give-up {words}
TimeoutStartSec=infinity
Restart=on-failure
RestartSec=30
SyslogIdentifier=xen-driver-domains
"""
#: The number of the rule is before that of systemd's own names (80-net-setup-link.rules), which leave one that has a name alone.
_RULE = (
    '{marker}ACTION=="add", SUBSYSTEM=="net", SUBSYSTEMS=="xen", DRIVERS=="vif", ATTR{{address}}=="{mac}", NAME="{ifname}", '
    'RUN+="/usr/bin/systemctl --no-block start {up}"\n'
)


def program_command(*words: str) -> list[str]:
    """Return the command line of the program."""
    return [interpreter(), "-ISB", PROGRAM, *words]


def texts_for(record: UplinkRecord) -> dict[str, str]:
    """Return the files for a record by their paths."""
    values = {"marker": _MARKER, "command": " ".join(program_command()), "words": " ".join(words_of(record))}
    units = {BOOT_UNIT: _BOOT, UP_UNIT: _UP, GIVE_UP_UNIT: _GIVE_UP}
    texts = {f"{_UNITS}/{name}": text.format(**values) for name, text in units.items()}
    return {**texts, RULE: _RULE.format(marker=_MARKER, mac=record.mac, ifname=record.ifname, up=UP_UNIT)}


def installed_record(root: str = "") -> UplinkRecord | None:
    """Return what the installed unit knows of dom0's card, or None when there is none.

    :param root: directory that stands for / (tests).
    """
    for line in (read_text(root + BOOT_UNIT_FILE) or "").split("\n"):
        if line.startswith("ExecStart="):
            with contextlib.suppress(ValueError):
                return known_from(line.partition(" boot ")[2].split())
    return None


def plan_files(plan: Plan, record: UplinkRecord | None, runner: Runner, root: str = "") -> None:
    """Plan that the files are there, or that none of them is.

    :param root: directory that stands for / (tests).
    """
    link, program = root + BOOT_LINK, root + PROGRAM
    units = [f"{_UNITS}/{name}" for name in (BOOT_UNIT, UP_UNIT, GIVE_UP_UNIT)]
    if record:
        plan.write_file(program, pack("_uplink.program"), 0o755, before="an older program", after="the program")
        texts = texts_for(record)
        written = [path for path, text in texts.items() if plan.write_file(root + path, text)]
        if not os.path.islink(link):
            plan.add(f"enable {BOOT_UNIT}", partial(_files.link, link, f"../{BOOT_UNIT}"))
    else:
        if os.path.islink(link):
            plan.add(f"disable {BOOT_UNIT}", partial(_files.remove, link))
        written = [path for path in (*units, RULE) if plan.remove_file(root + path)]
        if os.path.exists(program):
            plan.add(f"remove {program}", partial(_files.remove, program), subject=program, before="the program")
    if set(written) & set(units):
        plan.add("systemctl daemon-reload", partial(runner.run, ["systemctl", "daemon-reload"]))
    if RULE in written:
        plan.add("udevadm control --reload", partial(runner.run, ["udevadm", "control", "--reload"]))
