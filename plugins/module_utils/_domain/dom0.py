# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What dom0 itself offers domains: its bridges, its memory, and its settings for xl."""

from __future__ import annotations

import os
import re

from .._files import list_directory, read_text


def available_memory(procfs: str) -> int | None:
    """Return the memory in MiB that programs of dom0 can still get, or None if the kernel does not say."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", read_text(f"{procfs}/meminfo") or "", re.MULTILINE)
    return int(found[1]) // 1024 if found else None


def dom0_bridges(sysfs: str) -> list[str]:
    """Return the names that vifs of dom0 may give as their bridge.

    Xen's script takes ethN for xenbrN (vif-bridge). A bridge of Open vSwitch cannot be distinguished from its port of the same name, so
    where Open vSwitch runs every virtual interface may be one.
    """
    interfaces = list_directory(f"{sysfs}/class/net")
    bridges = [name for name in interfaces if os.path.isdir(f"{sysfs}/class/net/{name}/bridge")]
    aliases = [f"xenbr{name[3:]}" for name in bridges if re.fullmatch(r"eth[0-9]+", name)]
    switches = [name for name in interfaces if "ovs-system" in interfaces and not os.path.exists(f"{sysfs}/class/net/{name}/device")]
    return list(dict.fromkeys([*bridges, *aliases, *switches]))


def default_vif_script(directory: str) -> str:
    """Return the script of vifs that name none; xl passes the one in dom0's xl.conf(5) to driver domains as well."""
    found = re.findall(r"""^\s*vif\.default\.script\s*=\s*["']?([^"'\s]*)""", read_text(f"{directory}/xl.conf") or "", re.MULTILINE)
    return found[-1] if found else "vif-bridge"
