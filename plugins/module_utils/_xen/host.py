# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Which hypervisor this host runs, and whether the module may control it."""

from __future__ import annotations

import glob
import os
import typing as t

from .._errors import NotOnThisHost
from .._files import read_text

#: Where the device model of HVM domains is: in Debian (package qemu-system-xen), and where Xen's own build puts it.
DEVICE_MODELS = (
    "/usr/libexec/xen-qemu-system-i386",
    *(f"{prefix}/lib*/xen*/bin/qemu-system-i386" for prefix in ("/usr", "/usr/local")),
)


def has_device_model(patterns: t.Sequence[str] = DEVICE_MODELS) -> bool:
    """Whether dom0 has a device model: QEMU, which libxl starts for each HVM domain."""
    return any(os.access(path, os.X_OK) for pattern in patterns for path in glob.glob(pattern))


def xen_version(sysfs: str = "/sys") -> tuple[int, int] | None:
    """Return major and minor version of the running hypervisor, or None on a host that does not run Xen."""
    if (read_text(f"{sysfs}/hypervisor/type") or "").strip() != "xen":
        return None
    major = (read_text(f"{sysfs}/hypervisor/version/major") or "").strip()
    minor = (read_text(f"{sysfs}/hypervisor/version/minor") or "").strip()
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def require_root(effective_uid: t.Callable[[], int] = os.geteuid) -> None:
    """Check that the module runs as root.

    :raises NotOnThisHost: the module does not run as root.
    """
    if effective_uid() != 0:
        raise NotOnThisHost(
            f"This task needs root but runs as uid {effective_uid()}",
            rule="only root may drive Xen's toolstack and rebind devices",
            remedy="Set become: true on the play or the task",
        )


def require_dom0(sysfs: str = "/sys", procfs: str = "/proc") -> tuple[int, int]:
    """Check that this is the control domain of a Xen host, and return the version of the hypervisor as `xen_version` does.

    :raises NotOnThisHost: this is not the control domain of a Xen host, or the module does not run as root.
    """
    version = xen_version(sysfs)
    if version is None:
        raise NotOnThisHost(
            "This host does not run under Xen",
            rule="domains and assignable devices exist only on a Xen host",
            remedy="Apply the role xen.driver_domains.dom0 first and reboot, or take the host out of the group",
        )
    capabilities = read_text(f"{procfs}/xen/capabilities")
    if capabilities is not None and "control_d" not in capabilities:
        raise NotOnThisHost(
            "This host is a guest of Xen, not its control domain",
            rule="only dom0 manages domains and makes devices assignable",
            remedy="Put the host's dom0 into the group instead",
        )
    require_root()
    return version
