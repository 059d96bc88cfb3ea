# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Installs `boot_check` on a host: a Python archive of the files here that it needs, and a unit of systemd that runs it at boot."""

from __future__ import annotations

import inspect
import io
import os
import sys
import types
import zipfile
from functools import partial

from .. import _errors, _files, _runner
from .._plan import Plan
from . import bdf, boot_check, device, host, records
from .device import PCIBACK_MODULE

CHECK_UNIT = "xen-driver-domains-check.service"
CHECK_ARCHIVE = "/usr/local/lib/xen-driver-domains-check.pyz"
_UNIT_FILE = f"/etc/systemd/system/{CHECK_UNIT}"
_LINK = f"/etc/systemd/system/multi-user.target.wants/{CHECK_UNIT}"

#: What the check is made of: itself and all that it imports.
_MODULES = (_errors, _files, _runner, bdf, boot_check, device, host, records)
_PACKAGE = "xen_driver_domains"
#: It stays when the host gets another version; without it, the interpreter of this run has to do.
_PYTHON = "/usr/bin/python3"
_MAIN = f"import sys\n\nfrom {_PACKAGE}._pci.boot_check import main\n\nsys.exit(main())\n"

_UNIT = f"""\
# Managed by Ansible (xen.driver_domains.dom0_boot): changes made here are lost.
[Unit]
Description=Compare the PCI devices of domains with their records
After=systemd-modules-load.service systemd-udev-trigger.service
Before=xendomains.service libvirtd.service
ConditionPathExists=/sys/hypervisor/type

[Service]
Type=oneshot
# Domains start after it, even if it fails.
TimeoutStartSec=120
# Otherwise pciback may take devices only later, with the first driver that waits for it.
ExecStartPre=-modprobe {PCIBACK_MODULE}
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
        plan.write_file(archive, check_archive())
        plan.write_file(unit, _UNIT.format(python=_PYTHON if os.path.exists(_PYTHON) else sys.executable))
        if not os.path.islink(link):
            plan.add(f"enable {CHECK_UNIT}", partial(_enable, link))
        return
    if os.path.islink(link):
        plan.add(f"disable {CHECK_UNIT}", partial(_files.remove, link))
    plan.remove_file(unit)
    if os.path.exists(archive):
        plan.add(f"remove {archive}", partial(_files.remove, archive))


def check_archive() -> bytes:
    """Return the archive, which `python3 ARCHIVE` runs. The same files make the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for package in (_PACKAGE, f"{_PACKAGE}/_pci"):
            _add(archive, f"{package}/__init__.py", "")
        for module in _MODULES:
            _add(archive, _path(module), inspect.getsource(module))
        _add(archive, "__main__.py", _MAIN)
    return content.getvalue()


def _add(archive: zipfile.ZipFile, path: str, text: str) -> None:
    archive.writestr(zipfile.ZipInfo(path), text)


def _path(module: types.ModuleType) -> str:
    """Return where a module is in the archive: where it is below module_utils."""
    base = __name__.rsplit(".", 2)[0]
    return f"{_PACKAGE}/{module.__name__[len(base) + 1 :].replace('.', '/')}.py"


def _enable(link: str) -> None:
    os.makedirs(os.path.dirname(link), exist_ok=True)
    os.symlink(f"../{CHECK_UNIT}", link)
