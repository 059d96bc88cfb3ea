# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The options that describe what an Arm board boots, in one table.

It is the source of the modules' argument specs, of how values are read, of ImageBuilder's variables and of the device tree properties
of domains. The prose is in the doc fragment `board`, which a unit test compares with this table.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

#: What a value is; `reader` has a check for each of these, and takes other values as they are.
FILE, FILES, COMMAND_LINE, LOAD_COMMAND = "file", "files", "command line", "load command"
SPANS, COLOURS, NODE_PATHS, NAMES, SHARED_MEMORY = "spans", "colours", "node paths", "names", "shared memory"

#: What a domain may be allowed to do, and the bits for it (xen/include/public/bootfdt.h).
CAPABILITIES = {"control": 1, "hardware": 2, "xenstore": 4}

_SPAN = {"start": {"type": "str", "required": True}, "size": {"type": "str", "required": True}}
_SPANS = {"type": "list", "elements": "dict", "default": [], "options": _SPAN}
_SHARED_MEMORY = {
    "type": "dict",
    "options": {
        "id": {"type": "str", "required": True},
        "host_address": {"type": "str"},
        "guest_address": {"type": "str", "required": True},
        "size": {"type": "str", "required": True},
    },
}


@dataclass(frozen=True)
class Option:
    """One option: its argument spec and what it becomes."""

    name: str
    spec: dict[str, t.Any]
    kind: str = ""
    #: Variable of ImageBuilder's uboot-script-gen, for a domain without the prefix DOM0_ or DOMU_.
    variable: str = ""
    #: The variable's values, where they are not the option's own.
    variable_values: t.Mapping[t.Any, str] | None = None
    #: Property of a domain's node (Xen: docs/misc/arm/device-tree/booting.txt).
    property: str = ""
    #: ImageBuilder has the variable, but its release 2023.2 of Xilinx does not.
    newer: bool = False


DOM0_OPTIONS = (
    Option("kernel", {"type": "str", "required": True}, FILE, "KERNEL"),
    Option("ramdisk", {"type": "str"}, FILE, "RAMDISK"),
    Option("cmdline", {"type": "str", "default": "console=hvc0 earlycon=xenboot"}, COMMAND_LINE, "CMD"),
    # These two become words of Xen's command line.
    Option("memory", {"type": "int", "default": 1024}),
    Option("vcpus", {"type": "int", "default": 1}),
)

# In the order in which the properties are written.
DOMU_OPTIONS = (
    Option("name", {"type": "str", "required": True}),
    Option("kernel", {"type": "str"}, FILE, "KERNEL"),
    Option("ramdisk", {"type": "str"}, FILE, "RAMDISK"),
    Option("cmdline", {"type": "str", "default": "console=ttyAMA0"}, COMMAND_LINE, "CMD"),
    Option("memory", {"type": "int"}, variable="MEM", property="memory"),
    Option("vcpus", {"type": "int", "default": 1}, variable="VCPUS", property="cpus"),
    # Nothing here is a secret, whatever the names look like.
    Option("passthrough_dtb", {"type": "str", "no_log": False}, FILE, "PASSTHROUGH_DTB"),
    Option(
        "passthrough_paths", {"type": "list", "elements": "str", "default": [], "no_log": False}, NODE_PATHS, variable="PASSTHROUGH_PATHS"
    ),
    Option("boot", {"type": "bool", "default": True}, variable="NOBOOT", variable_values={True: "", False: "1"}),
    Option(
        "vpl011",
        {"type": "bool", "default": True},
        variable="VPL011",
        variable_values={True: "", False: "0"},
        property="vpl011",
        newer=True,
    ),
    Option(
        "enhanced",
        {"type": "str", "choices": ["enabled", "no-xenstore", "disabled"]},
        variable="ENHANCED",
        variable_values={"enabled": "1", "no-xenstore": "2", "disabled": "0"},
        property="xen,enhanced",
    ),
    Option("static_memory", _SPANS, SPANS, "STATIC_MEM", property="xen,static-mem"),
    Option("direct_map", {"type": "bool"}, variable="DIRECT_MAP", property="direct-map"),
    Option("colors", {"type": "str"}, COLOURS, "COLORS", property="llc-colors"),
    Option("grant_version", {"type": "int", "choices": [1, 2]}, variable="GRANT_VER", property="max_grant_version", newer=True),
    Option("grant_frames", {"type": "int"}, variable="GRANT_FRAMES", property="max_grant_frames", newer=True),
    Option("maptrack_frames", {"type": "int"}, variable="MAPTRACK_FRAMES", property="max_maptrack_frames", newer=True),
    Option(
        "capabilities",
        {"type": "list", "elements": "str", "choices": list(CAPABILITIES), "default": []},
        NAMES,
        variable="CAPS",
        property="capabilities",
        newer=True,
    ),
    # uboot_script does not make the node that it takes (xen,domain-shared-memory-v1).
    Option("shared_memory", _SHARED_MEMORY, SHARED_MEMORY, "SHARED_MEM", newer=True),
)

BOARD_OPTIONS = (
    Option("directory", {"type": "path", "required": True}),
    Option("pending", {"type": "dict", "default": {}}),
    Option("memory_start", {"type": "str", "required": True}, variable="MEMORY_START"),
    Option("memory_end", {"type": "str", "required": True}, variable="MEMORY_END"),
    Option("ram", {"type": "int"}),
    Option("load_command", {"type": "str", "default": "tftp"}, LOAD_COMMAND, "LOAD_CMD"),
    Option("boot_command", {"type": "str", "choices": ["booti", "bootm", "bootefi", "none"], "default": "booti"}, variable="BOOT_CMD"),
    Option("device_tree", {"type": "str", "required": True}, FILE, "DEVICE_TREE"),
    Option("xen", {"type": "str", "required": True}, FILE, "XEN"),
    Option("xen_cmdline", {"type": "str", "default": "console=dtuart bootscrub=0"}, COMMAND_LINE, "XEN_CMD"),
    Option("static_heap", _SPANS, SPANS, "XEN_STATIC_HEAP", property="xen,static-heap", newer=True),
    Option("dom0", {"type": "dict"}),
    Option("domus", {"type": "list", "elements": "dict", "default": []}),
    Option("overlays", {"type": "list", "elements": "str", "default": []}, FILES),
    Option("extra_commands_file", {"type": "str"}, FILE, "APPEND_EXTRA_CMDS"),
    Option("force", {"type": "list", "elements": "str", "choices": ["dma_without_iommu"], "default": []}),
)


def _spec(options: t.Iterable[Option]) -> dict[str, t.Any]:
    return {option.name: option.spec for option in options}


_SPEC = _spec(BOARD_OPTIONS)
#: The argument spec that all modules have in common that take a board.
ARGUMENT_SPEC: dict[str, t.Any] = {
    **_SPEC,
    "dom0": {**_SPEC["dom0"], "options": _spec(DOM0_OPTIONS)},
    "domus": {**_SPEC["domus"], "options": _spec(DOMU_OPTIONS)},
}


def named_files(options: t.Iterable[Option]) -> list[str]:
    """The options whose value names one file."""
    return [option.name for option in options if option.kind == FILE]


def newer_variables() -> list[str]:
    """The variables that ImageBuilder's release 2023.2 silently ignores."""
    found = [option.variable for option in BOARD_OPTIONS if option.newer]
    return found + [f"DOMU_{option.variable}" for option in DOMU_OPTIONS if option.newer]
