# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The configuration of ImageBuilder's uboot-script-gen, a file that bash reads with `source`."""

from __future__ import annotations

import re
import shlex
import typing as t

from .._errors import InvalidInput
from .configuration import Board
from .load_map import LoadMap

#: Variables that ImageBuilder has got after its release 2023.2 of Xilinx.
NEWER = (
    "XEN_LOAD",
    "DOM0_LOAD",
    "DOMU_LOAD",
    "XEN_POLICY",
    "XEN_STATIC_HEAP",
    "DOMU_SHARED_MEM",
    "DOMU_VPL011",
    "DOMU_NR_SPIS",
    "DOMU_GRANT_VER",
    "DOMU_GRANT_FRAMES",
    "DOMU_MAPTRACK_FRAMES",
    "DOMU_CAPS",
    "DOMU_VCPU_HARD_AFFINITY",
    "DOMU_STATIC_EVTCHNS",
    "DOMU_TRAP_UNMAP",
)


def variables(board: Board, extra: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return all variables in the order of the file.

    The domains are numbered backwards: uboot-script-gen puts each before those it has already put, and Xen counts from the front.

    :param extra: the options of the module that are not about the board.
    """
    found: dict[str, str] = {
        "MEMORY_START": hex(board.memory.start),
        "MEMORY_END": hex(board.memory.end),
        "LOAD_CMD": board.load_command,
        "BOOT_CMD": board.boot_command,
        "DEVICE_TREE": board.device_tree,
        "XEN": board.xen,
        "XEN_CMD": board.xen_cmdline,
        "XEN_LOAD": board.xen_load_command,
        "XEN_POLICY": board.xen_policy,
        "XEN_STATIC_HEAP": " ".join(f"{region.start:#x} {region.size:#x}" for region in board.static_heap),
        "PASSTHROUGH_DTS_REPO": extra["passthrough_dts_repo"],
        "LOPPER_PATH": extra["lopper_path"],
        "LOPPER_CMD": extra["lopper_options"],
    }
    if board.dom0:
        found["DOM0_KERNEL"] = board.dom0.kernel
        found["DOM0_RAMDISK"] = board.dom0.ramdisk
        found["DOM0_CMD"] = board.dom0.cmdline
        found["DOM0_ROOTFS"] = board.dom0.rootfs
        found["DOM0_LOAD"] = board.dom0.load_command
    _indexed(found, "NUM_DT_OVERLAY", "DT_OVERLAY", board.overlays)
    _indexed(found, "NUM_CPUPOOLS", "CPUPOOL", [" ".join(filter(None, (",".join(p.cpus), p.scheduler))) for p in board.cpupools])
    found["NUM_DOMUS"] = str(len(board.domus))
    for index, domu in enumerate(reversed(board.domus)):
        values = {
            "KERNEL": domu.kernel,
            "RAMDISK": domu.ramdisk,
            "CMD": domu.cmdline,
            "ROOTFS": domu.rootfs,
            "MEM": "" if domu.static_memory else str(domu.memory),
            "VCPUS": str(domu.vcpus),
            "PASSTHROUGH_DTB": domu.passthrough_dtb,
            "PASSTHROUGH_PATHS": " ".join(domu.passthrough_paths),
            "NOBOOT": "" if domu.boot else "1",
            "ENHANCED": {"enabled": "1", "no-xenstore": "2", "disabled": "0"}[domu.enhanced],
            "STATIC_MEM": " ".join(f"{region.start:#x} {region.size:#x}" for region in domu.static_memory),
            "DIRECT_MAP": str(int(domu.direct_map)) if domu.static_memory else "",
            "CPUPOOL": "" if domu.cpupool is None else str(domu.cpupool),
            "COLORS": domu.colors,
            "DRIVER_DOMAIN": "1" if domu.driver_domain else "",
            "VPL011": "" if domu.vpl011 else "0",
            "NR_SPIS": _number(domu.nr_spis),
            "GRANT_VER": _number(domu.grant_version),
            "GRANT_FRAMES": _number(domu.grant_frames),
            "MAPTRACK_FRAMES": _number(domu.maptrack_frames),
            "CAPS": ",".join(domu.capabilities),
            "SHARED_MEM": domu.shared_memory,
            "STATIC_EVTCHNS": domu.static_event_channels,
            "TRAP_UNMAP": "" if domu.trap_unmapped is None else str(int(domu.trap_unmapped)),
            "LOAD": domu.load_command,
        }
        found.update({f"DOMU_{key}[{index}]": value for key, value in values.items()})
        found.update({f"DOMU_VCPU_HARD_AFFINITY[{index},{vcpu}]": cpus for vcpu, cpus in domu.vcpu_affinity})
    found["BITSTREAM"] = board.bitstream
    _indexed(found, "NUM_BOOT_AUX_FILE", "BOOT_AUX_FILE", extra["boot_aux_files"])
    found["APPEND_EXTRA_CMDS"] = board.extra_commands_file
    for option in ("uboot_source", "uboot_script", "fdtedit", "fit", "fit_enc_key_dir", "fit_enc_ub_dtb"):
        found[option.upper()] = extra[option] or ""
    return {name: value for name, value in found.items() if value}


def render(values: t.Mapping[str, str], board: Board, load_map: LoadMap) -> str:
    """Return the file's text; bash reads back each value exactly as it is."""
    lines = ["# Managed by Ansible (xen.driver_domains.imagebuilder_config): changes made here are lost.\n", "#\n"]
    lines += [f"# {line}\n" for line in load_map.text().splitlines()]
    lines += ["#\n", *(f"# domain {domid}: {name}\n" for name, domid in board.domids.items()), "\n"]
    if any("," in name for name in values):
        lines.append("declare -A DOMU_VCPU_HARD_AFFINITY\n")
    return "".join(lines) + assignments(values)


def assignments(values: t.Mapping[str, str]) -> str:
    """Return assignments in bash's syntax."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def check_extra(board: Board, extra: t.Mapping[str, t.Any]) -> None:
    """Check the options that are ImageBuilder's alone.

    :raises InvalidInput: they contradict each other, or the board.
    """
    generated = [option for option in ("passthrough_dts_repo", "lopper_path") if extra[option]]
    if len(generated) > 1:
        raise InvalidInput("passthrough_dts_repo and lopper_path are both set", remedy="Keep one of them")
    for domu in board.domus:
        if generated and domu.passthrough_dtb:
            raise InvalidInput(f"{domu.name}: passthrough_dtb is set, and {generated[0]} would make another one", remedy="Keep one of them")
    if extra["lopper_options"] and not extra["lopper_path"]:
        raise InvalidInput("lopper_options is set without lopper_path", remedy="Set lopper_path")
    if not (extra["uboot_source"] and extra["uboot_script"]):
        raise InvalidInput(
            "uboot_source and uboot_script are not both set",
            rule="without them, and without -o, uboot-script-gen ends with success and leaves garbage",
            remedy="Set both",
        )
    if extra["fit_enc_ub_dtb"] and not extra["fit_enc_key_dir"]:
        raise InvalidInput("fit_enc_ub_dtb is set without fit_enc_key_dir", remedy="Set fit_enc_key_dir")
    for option in (
        "passthrough_dts_repo",
        "lopper_path",
        "lopper_options",
        "uboot_source",
        "uboot_script",
        "fdtedit",
        "fit",
        "fit_enc_key_dir",
    ):
        if extra[option] and not re.fullmatch(r"[A-Za-z0-9._+@,:=/ -]+", extra[option]):
            raise InvalidInput(f"{option} {extra[option]!r} has a character that uboot-script-gen would interpret", remedy="Rename it")


def missing_variables(values: t.Iterable[str], script: str | None) -> list[str]:
    """Return the variables that a given uboot-script-gen does not know and would silently ignore.

    Without its text, those that it had not in 2023.
    """
    names = dict.fromkeys(name.partition("[")[0] for name in values)
    if script is None:
        return [name for name in names if name in NEWER]
    return [name for name in names if name in NEWER and not re.search(rf"\b{name}\b", script)]


def _indexed(found: dict[str, str], count: str, name: str, items: t.Sequence[str]) -> None:
    if items:
        found[count] = str(len(items))
        found.update({f"{name}[{index}]": item for index, item in enumerate(items)})


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
