# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Installs `boot_check` on a host: a program, and a unit of systemd that runs it at boot."""

from __future__ import annotations

import os
from functools import partial

from .. import _files
from .._archive import interpreter, pack
from .._plan import Plan
from .boot_check import main
from .device import PCIBACK_MODULE

#: What is installed. It is not called here, but goes with a module to the host.
CHECK = main

CHECK_UNIT = "xen-driver-domains-check.service"
CHECK_ARCHIVE = "/usr/local/lib/xen-driver-domains-check.pyz"
_UNIT_FILE = f"/etc/systemd/system/{CHECK_UNIT}"
_LINK = f"/etc/systemd/system/multi-user.target.wants/{CHECK_UNIT}"

#: It comes before the network is configured, because it may return the card that dom0 is reached by: ifupdown would not configure it later.
#: So it does not wait for basic.target, as other services do, nor for Xen's: it needs no XenStore.
_UNIT = f"""\
# Managed by Ansible (xen.driver_domains.dom0_boot): changes made here are lost.
[Unit]
Description=Compare the PCI devices of domains with their records
DefaultDependencies=no
After=local-fs.target systemd-modules-load.service systemd-udev-trigger.service
Wants=network-pre.target
Before=network-pre.target ifupdown-pre.service networking.service
Before=xendomains.service libvirtd.service
Conflicts=shutdown.target
Before=shutdown.target
ConditionPathExists=/sys/hypervisor/type

[Service]
Type=oneshot
# Domains start after it, even if it fails.
TimeoutStartSec=120
# Otherwise pciback may take devices only later, with the first driver that waits for it.
ExecStartPre=-modprobe {PCIBACK_MODULE}
# Cards that dom0's drivers have are compared by their MAC addresses, too.
ExecStartPre=-udevadm settle --timeout=30
ExecStart={{python}} {CHECK_ARCHIVE}
SyslogIdentifier=xen-driver-domains

[Install]
WantedBy=multi-user.target
"""


def plan_check_unit(plan: Plan, installed: bool, root: str = "") -> None:
    """Plan that the check runs at each boot, or that it does not. The next boot reads it; nothing has to be started now.

    :param root: directory that stands for / (tests).
    """
    link, unit, archive = root + _LINK, root + _UNIT_FILE, root + CHECK_ARCHIVE
    if installed:
        plan.write_file(archive, pack("_pci.boot_check"))
        plan.write_file(unit, _UNIT.format(python=interpreter()))
        if not os.path.islink(link):
            plan.add(f"enable {CHECK_UNIT}", partial(_files.link, link, f"../{CHECK_UNIT}"))
        return
    if os.path.islink(link):
        plan.add(f"disable {CHECK_UNIT}", partial(_files.remove, link))
    plan.remove_file(unit)
    if os.path.exists(archive):
        plan.add(f"remove {archive}", partial(_files.remove, archive))
