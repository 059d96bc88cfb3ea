# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Read a board from the options of a module: check each value by itself, and fill in what follows from others.

No file is read here; `checks` does that.
"""

from __future__ import annotations

import os
import re
import typing as t

from .._errors import InvalidInput
from .._spans import MIB, PAGE, Span
from .configuration import ALIGNMENT, Board, Dom0, DomU
from .consistency import check_consistency
from .options import (
    BOARD_OPTIONS,
    COLOURS,
    COMMAND_LINE,
    DOM0_OPTIONS,
    DOMU_OPTIONS,
    FILE,
    FILES,
    LOAD_COMMAND,
    NAMES,
    NODE_PATHS,
    SHARED_MEMORY,
    SPANS,
    Option,
)

#: The load commands that the short names stand for (uboot-script-gen, -t).
LOAD_COMMANDS = {"tftp": "tftpb", "sd": "load mmc 0:1", "scsi": "load scsi 0:1", "usb": "fatload usb 0:1"}

#: U-Boot's shell and ImageBuilder's bash both interpret all other characters, even within quotes.
_COMMAND_LINE = re.compile(r"[ !#%&()*+,./0-9:;<=>?@A-Z\[\]^_a-z{|}~-]*")
_FILE_NAME = re.compile(r"(?!-)[A-Za-z0-9._+@,=/-]+")
_NODE_PATH = re.compile(r"(/[A-Za-z0-9,._+@-]+)+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_COLOURS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")


def read_board(parameters: t.Mapping[str, t.Any]) -> Board:
    """Check and normalise the options of `ARGUMENT_SPEC`.

    :raises InvalidInput: a value cannot be used, or contradicts another one.
    """
    directory = os.path.abspath(parameters["directory"])
    values = _Values(directory).read(BOARD_OPTIONS, parameters, "")
    del values["force"]
    # The role has 0 for what is not given.
    _at_least(values["ram"] or 0, 0, "ram", "MiB")
    dom0 = _read_dom0(directory, values["dom0"]) if values["dom0"] else None
    values.update(
        directory=directory,
        memory=_window(values.pop("memory_start"), values.pop("memory_end")),
        ram=(values["ram"] or 0) * MIB,
        xen_cmdline=_xen_cmdline(values["xen_cmdline"], dom0),
        dom0=dom0,
        domus=tuple(_read_domu(directory, item, dom0 is not None) for item in values["domus"]),
    )
    board = Board(**values)
    check_consistency(board)
    return board


def _read_dom0(directory: str, item: t.Mapping[str, t.Any]) -> Dom0:
    dom0 = Dom0(**_Values(directory).read(DOM0_OPTIONS, item, "dom0."))
    _at_least(dom0.memory, 64, "dom0.memory", "MiB")
    _at_least(dom0.vcpus, 1, "dom0.vcpus")
    return dom0


def _read_domu(directory: str, item: t.Mapping[str, t.Any], with_dom0: bool) -> DomU:
    name = item["name"]
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is not a name for a domain", rule="letters, digits, '_', '.' and '-'")
    values = _Values(directory).read(DOMU_OPTIONS, item, f"{name}: ")
    if values["boot"] and not values["kernel"]:
        raise InvalidInput(f"{name}: a domain that Xen starts needs a kernel", remedy="Set its kernel, or boot: false")
    if not values["boot"] and not with_dom0:
        raise InvalidInput(f"{name}: boot is false and there is no dom0 that could start it", remedy="Remove it, or set dom0")
    values["enhanced"] = values["enhanced"] or ("enabled" if with_dom0 else "disabled")
    if values["enhanced"] == "enabled" and not with_dom0:
        raise InvalidInput(
            f"{name}: enhanced is 'enabled' but there is no dom0 that runs XenStore", remedy="Use 'no-xenstore' or 'disabled'"
        )
    _read_memory(values, name)
    _at_least(values["memory"], 1, f"{name}: memory", "MiB")
    _at_least(values["vcpus"], 1, f"{name}: vcpus")
    for option in ("grant_frames", "maptrack_frames"):
        if values[option] is not None and not 0 <= values[option] < 1 << 31:
            raise InvalidInput(f"{name}: {option} is {values[option]}", rule="from 0 to 2147483647, or left out for Xen's default")
    return DomU(**values)


def _read_memory(values: dict[str, t.Any], name: str) -> None:
    """Fill in `memory` and `direct_map`, which follow from `static_memory` where it is given."""
    static: tuple[Span, ...] = values["static_memory"]
    if values["direct_map"] and not static:
        raise InvalidInput(
            f"{name}: direct_map needs static_memory",
            rule="memory that is mapped 1:1 must be reserved at a fixed place",
            remedy="Set static_memory to a region of RAM that nothing else uses",
        )
    total = sum(span.size for span in static)
    if static and values["memory"] and values["memory"] * MIB != total:
        raise InvalidInput(f"{name}: memory is {values['memory']} MiB but static_memory has {total / MIB:g} MiB", remedy="Leave out memory")
    if static:
        # The property `memory` is exact, see uboot_script.
        values["memory"] = -(-total // MIB)
    elif values["memory"] is None:
        values["memory"] = 512
    if values["direct_map"] is None:
        values["direct_map"] = bool(static)


class _Values:
    """Reads the values of options, each according to its kind."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._readers: dict[str, t.Callable[[t.Any, str], t.Any]] = {
            FILE: self._file,
            FILES: lambda names, where: tuple(self._file(name, where) for name in names),
            COMMAND_LINE: _command_line,
            LOAD_COMMAND: _load_command,
            SPANS: _spans,
            COLOURS: _colours,
            NODE_PATHS: lambda paths, where: tuple(_node_path(path, where) for path in paths),
            NAMES: lambda names, _where: tuple(names),
            SHARED_MEMORY: _shared_memory,
        }

    def read(self, options: t.Iterable[Option], given: t.Mapping[str, t.Any], prefix: str) -> dict[str, t.Any]:
        """Return the values of options; `prefix` precedes their names in messages."""
        return {
            option.name: self._readers[option.kind](given[option.name], f"{prefix}{option.name}") if option.kind else given[option.name]
            for option in options
        }

    def _file(self, name: str | None, where: str) -> str:
        """Return a file name relative to the directory; "" when none is given."""
        if not name:
            return ""
        relative = os.path.relpath(os.path.join(self.directory, name), self.directory)
        if relative.startswith(".."):
            raise InvalidInput(
                f"{where}: {name} is outside of {self.directory}",
                rule="the board loads files below that directory only; a TFTP server refuses all others",
                remedy=f"Copy it below {self.directory}",
            )
        if not _FILE_NAME.fullmatch(relative):
            raise InvalidInput(
                f"{where}: the file name {relative!r} has a character that U-Boot's shell would interpret", remedy="Rename it"
            )
        return relative


def _window(start_text: str, end_text: str) -> Span:
    """Return the RAM that files are loaded into."""
    start, end = _address(start_text, "memory_start"), _address(end_text, "memory_end")
    if end <= start:
        raise InvalidInput(f"memory_end {end:#x} is not above memory_start {start:#x}", remedy="Give the window of RAM to load into")
    if start % ALIGNMENT:
        raise InvalidInput(
            f"memory_start {start:#x} is not a multiple of 2 MiB (0x200000)", rule="kernels must be loaded at such addresses"
        )
    if end % PAGE:
        raise InvalidInput(f"memory_end {end:#x} is not a multiple of 4 KiB (0x1000)", rule="RAM consists of whole pages")
    return Span(start, end)


def _xen_cmdline(text: str, dom0: Dom0 | None) -> str:
    """Return Xen's whole command line: what the user gave, and what follows from other options."""
    words = text.split()
    for word in words:
        key = word.split("=", 1)[0]
        if dom0 is None and key.startswith("dom0"):
            raise InvalidInput(
                f"xen_cmdline has {word!r} but there is no dom0", rule="true dom0less has no options of dom0", remedy="Remove it"
            )
        if key in ("dom0_mem", "dom0_max_vcpus"):
            raise InvalidInput(f"xen_cmdline has {word!r}, which has an option of its own", remedy="Use dom0.memory or dom0.vcpus")
    if dom0:
        words += [f"dom0_mem={dom0.memory}M", f"dom0_max_vcpus={dom0.vcpus}"]
    return " ".join(words)


def _command_line(text: str, where: str) -> str:
    match = _COMMAND_LINE.match(text)
    if not match or match.end() != len(text):
        bad = text[match.end() if match else 0]
        raise InvalidInput(
            f"{where} has the character {bad!r}",
            rule="quotes, $, backquotes, backslashes and control characters mean something to U-Boot's shell and to bash, even in quotes",
            remedy="Write it without that character",
        )
    if text[:1] in ("<", "["):
        raise InvalidInput(
            f"{where} begins with {text[0]!r}", rule="U-Boot reads that as numbers", remedy="Begin it with another character"
        )
    return text


def _load_command(text: str, where: str) -> str:
    text = _command_line(text, where).strip()
    if re.search(r"[;&|<>#]", text):
        raise InvalidInput(f"{where} {text!r} is not one command", remedy="Use tftp, sd, scsi, usb, or one like 'load mmc 1:2'")
    return LOAD_COMMANDS.get(text, text)


def _colours(text: str | None, where: str) -> str:
    if text and not _COLOURS.fullmatch(text):
        raise InvalidInput(
            f"{where}: {text!r} are not cache colours", rule="numbers and ranges, such as 0-3 or 0-3,6", remedy="Put them in quotes"
        )
    return text or ""


def _shared_memory(item: t.Mapping[str, str] | None, where: str) -> str:
    """Return it as ImageBuilder wants it: "ID [HOST_ADDRESS] GUEST_ADDRESS SIZE"."""
    if not item:
        return ""
    if not _NAME.fullmatch(item["id"]):
        raise InvalidInput(f"{where}.id {item['id']!r} is not usable", rule="letters, digits, '_', '.' and '-'")
    numbers = [_address(item[key], f"{where}.{key}") for key in ("host_address", "guest_address", "size") if item[key]]
    if any(value % PAGE for value in numbers):
        raise InvalidInput(f"{where} is not made of whole pages", rule="its addresses and size are multiples of 4 KiB (0x1000)")
    return " ".join([item["id"], *map(hex, numbers)])


def _node_path(path: str, where: str) -> str:
    if not _NODE_PATH.fullmatch(path):
        raise InvalidInput(f"{where}: {path!r} is not the path of a device tree node", rule="a full path, such as /soc/serial@7e201000")
    return path


def _spans(items: t.Sequence[t.Mapping[str, str]] | None, where: str) -> tuple[Span, ...]:
    spans = []
    for item in items or []:
        span = Span.sized(_address(item["start"], where), _address(item["size"], where))
        if not span.size or span.start % PAGE or span.size % PAGE:
            raise InvalidInput(f"{where}: {span} is not made of whole pages", rule="start and size are multiples of 4 KiB (0x1000), not 0")
        spans.append(span)
    return tuple(spans)


def _address(text: str, where: str) -> int:
    """Read 0x40000000, or 1073741824, which is how YAML reads the former.

    :raises InvalidInput: it is neither, or needs more than 64 bits.
    """
    try:
        value = int(text, 0)
        if not 0 <= value < 1 << 64:
            raise ValueError
    except ValueError as exc:
        raise InvalidInput(f"{where}: {text!r} is not an address or size", remedy="Write it like 0x40000000") from exc
    return value


def _at_least(value: int, minimum: int, where: str, unit: str = "") -> None:
    if value < minimum:
        raise InvalidInput(f"{where} is {value} {unit}".rstrip(), rule=f"at least {minimum}")
