# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The configuration of ImageBuilder's uboot-script-gen, a file that bash reads with `source`."""

from __future__ import annotations

import os
import re
import shlex
import typing as t

from .._device_tree.dtb import check_outputs
from .._errors import InvalidInput
from .._files import read_text
from .._plan import Plan
from .._spans import Span
from .boot_files import Files
from .checks import check_files, check_memory
from .configuration import ALIGNMENT, Board
from .consistency import check_length, command_lines
from .load_map import LoadMap, lay_out
from .options import BOARD_OPTIONS, DOM0_OPTIONS, DOMU_OPTIONS, Option, newer_variables
from .reader import read_board
from .xenstore_page import with_xenstore_page

#: The options that are ImageBuilder's alone.
OPTIONS: dict[str, t.Any] = {
    "path": {"type": "path", "required": True},
    "checkout": {"type": "path"},
    "uboot_source": {"type": "str", "default": "boot.source"},
    "uboot_script": {"type": "str", "default": "boot.scr"},
    "fit": {"type": "str"},
}
#: What uboot-script-gen adds to dom0's command line without a word of this kind.
_ADDED_ROOT = " root=/dev/ram0"
#: How release 2023.2 boots, with every command.
_BOOT_LINE = "$BOOT_CMD $kernel_addr - $device_tree_addr"
#: Those that name files which uboot-script-gen writes; the variable is the name in capitals.
_OUTPUTS = ("uboot_source", "uboot_script", "fit")


def plan_configuration(parameters: t.Mapping[str, t.Any]) -> Plan:
    """Check the board and its files, and plan the writing of the configuration.

    :param parameters: those of `ARGUMENT_SPEC` and `OPTIONS`.
    :raises InvalidInput: an option or a file is wrong, or the checkout would ignore a variable.
    """
    board = read_board(parameters)
    outputs = {option: parameters[option] or "" for option in _OUTPUTS}
    check_output_names(outputs)
    written = [parameters["path"], *(os.path.join(board.directory, name) for name in outputs.values() if name)]
    check_outputs(written, *(os.path.join(board.directory, name) for name in board.files))
    _check_command_lines(board)
    files, plan = Files(board.directory, board.pending), Plan()
    board = with_xenstore_page(board, files)
    check_files(board, files, plan, packed_ramdisks=False)
    load_map = lay_out(board, files, domus=board.booted[::-1])
    check_memory(board, files, load_map, plan)
    _check_fit(board, load_map, outputs["fit"])
    values = variables(board, outputs)
    _check_variables(board, values, parameters["checkout"], plan)
    plan.results = {"variables": values, "domids": board.domids, **load_map.results()}
    plan.write_file(parameters["path"], render(values, board, load_map))
    return plan


def variables(board: Board, outputs: t.Mapping[str, str]) -> dict[str, str]:
    """Return all variables in the order of the file.

    The domains are numbered backwards: uboot-script-gen puts each before those it has already put, and Xen counts from the front.

    :param outputs: the files that uboot-script-gen writes, by option.
    """
    found = {"MEMORY_START": hex(board.memory.start), "MEMORY_END": hex(board.memory.end)}
    found.update((option.variable, _value(option, board)) for option in BOARD_OPTIONS if option.variable and option.variable not in found)
    if board.dom0:
        found.update((f"DOM0_{option.variable}", _value(option, board.dom0)) for option in DOM0_OPTIONS if option.variable)
    if board.overlays:
        found["NUM_DT_OVERLAY"] = str(len(board.overlays))
        found.update((f"DT_OVERLAY[{index}]", name) for index, name in enumerate(board.overlays))
    found["NUM_DOMUS"] = str(len(board.domus))
    for index, domu in enumerate(reversed(board.domus)):
        values = {option.variable: _value(option, domu) for option in DOMU_OPTIONS if option.variable}
        # Static memory has its size; only such memory can be mapped 1:1.
        del values["MEM" if domu.static_memory else "DIRECT_MAP"]
        found.update((f"DOMU_{name}[{index}]", value) for name, value in values.items())
    found.update((option.upper(), name) for option, name in outputs.items())
    return {name: value for name, value in found.items() if value}


def _value(option: Option, owner: t.Any) -> str:
    """Return an option's value as ImageBuilder wants it; "" leaves the variable out."""
    value = getattr(owner, option.name)
    if option.variable_values is not None:
        return option.variable_values[value]
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        # The script splits them there.
        separator = "|" if option.name == "capabilities" else " "
        return separator.join(f"{item.start:#x} {item.size:#x}" if isinstance(item, Span) else item for item in value)
    return str(value)


def render(values: t.Mapping[str, str], board: Board, load_map: LoadMap) -> str:
    """Return the file's text; bash reads back each value exactly as it is."""
    lines = ["# Managed by Ansible (xen.driver_domains.imagebuilder_config): changes made here are lost.\n", "#\n"]
    lines += [f"# {line}\n" for line in load_map.text().splitlines()]
    lines += ["#\n", *(f"# domain {domid}: {name}\n" for name, domid in board.domids.items()), "\n"]
    return "".join(lines) + assignments(values)


def assignments(values: t.Mapping[str, str]) -> str:
    """Return assignments in bash's syntax."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def check_output_names(outputs: t.Mapping[str, str]) -> None:
    """Check the names of the files that uboot-script-gen writes.

    :raises InvalidInput: one is missing, or has a character that uboot-script-gen would interpret.
    """
    if not (outputs["uboot_source"] and outputs["uboot_script"]):
        raise InvalidInput(
            "uboot_source and uboot_script are not both set",
            rule="without them, and without -o, uboot-script-gen ends with success and leaves garbage",
            remedy="Set both",
        )
    for option, name in outputs.items():
        if not re.fullmatch(r"[A-Za-z0-9._+@,:=/ -]*", name):
            raise InvalidInput(f"{option} {name!r} has a character that uboot-script-gen would interpret", remedy="Rename it")


def _check_command_lines(board: Board) -> None:
    """Refuse the command lines that uboot-script-gen changes so that something else boots.

    :raises InvalidInput: there is one.
    """
    for where, text in command_lines(board).items():
        if not text.strip():
            raise InvalidInput(
                f"{where} is empty",
                rule="uboot-script-gen replaces an empty command line by a default of its own",
                remedy="Give at least one word, such as quiet, or use the module uboot_script",
            )
    if board.dom0 and "root=" not in board.dom0.cmdline:
        check_length("dom0.cmdline", board.dom0.cmdline + _ADDED_ROOT)


def _check_fit(board: Board, load_map: LoadMap, fit: str) -> None:
    """Check that a FIT image, which holds all files once more, has its place as well.

    :raises InvalidInput: it has not.
    """
    end = max(slot.span.end for slot in load_map.slots)
    if fit and 2 * (end + ALIGNMENT) > board.memory.end:
        raise InvalidInput(
            f"With fit, uboot-script-gen needs RAM up to {2 * (end + ALIGNMENT):#x}, and memory_end is {board.memory.end:#x}",
            rule="it takes twice the last address of the files: they are in memory a second time, inside of the image",
            remedy="Raise memory_end if the board has more RAM there, make files smaller, or do without fit",
        )


def _check_variables(board: Board, values: t.Mapping[str, str], checkout: str | None, plan: Plan) -> None:
    script = None
    if checkout:
        script_path = os.path.join(checkout, "scripts", "uboot-script-gen")
        script = read_text(script_path)
        if script is None:
            raise InvalidInput(f"There is no {script_path}", remedy="Set checkout to a clone of gitlab.com/xen-project/imagebuilder")
    missing = missing_variables(values, script)
    if missing and checkout:
        raise InvalidInput(
            f"The ImageBuilder in {checkout} does not know {', '.join(missing)}",
            rule="it ignores variables that it does not know",
            remedy="Use a newer one, or the module uboot_script",
        )
    if missing:
        plan.warnings.append(f"ImageBuilder 2023.2 ignores {', '.join(missing)}: use a newer one, and set checkout to it")
    other = done_otherwise(board, script)
    if other and checkout:
        raise InvalidInput(
            f"The ImageBuilder in {checkout} would do something else: {'; '.join(other)}",
            remedy="Use a newer one, or the module uboot_script",
        )
    plan.warnings += [f"ImageBuilder 2023.2 does something else: {problem}. The module uboot_script does it" for problem in other]


def done_otherwise(board: Board, script: str | None) -> list[str]:
    """Return what an uboot-script-gen makes of this board that is not what was asked for.

    :param script: its text; None stands for the one of release 2023.2.
    """
    text = script or ""
    found = []
    for domu in board.booted:
        if domu.enhanced == "no-xenstore" and "no-xenstore" not in text:
            found.append(f"enhanced: no-xenstore of {domu.name} becomes {'enabled' if board.dom0 else 'disabled'}")
        if domu.colors and "llc-colors" not in text:
            found.append(f"colors of {domu.name} become the property colors, which Xen does not have (it has llc-colors)")
    if board.boot_command == "bootefi" and re.search(r"\$BOOT_CMD \S+ - ", script or _BOOT_LINE):
        found.append("boot_command bootefi gets the argument '-' in place of the device tree")
    return found


def missing_variables(values: t.Iterable[str], script: str | None) -> list[str]:
    """Return the variables that an uboot-script-gen does not know and would silently ignore.

    :param script: its text; None stands for the one of release 2023.2.
    """
    newer = newer_variables()
    names = [name for name in dict.fromkeys(name.partition("[")[0] for name in values) if name in newer]
    return [name for name in names if script is None or not re.search(rf"\b{name}\b", script)]
