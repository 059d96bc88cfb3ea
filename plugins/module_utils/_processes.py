# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The processes of this host, as proc(5) shows them."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ._errors import DriverDomainsError
from ._files import list_directory, read_text


class Process(t.NamedTuple):
    """A line of `/proc/PID/stat`."""

    pid: str
    name: str
    #: What follows the name: state, parent, and so on; the start time is number 19.
    fields: list[str]


def with_ancestors(procfs: str) -> t.Iterator[Process]:
    """Return this process and those above it, without the first one of the host.

    :raises DriverDomainsError: one of them may not be read.
    """
    pid = str(os.getpid())
    while pid not in ("0", "1", ""):
        name, _bracket, rest = (read_text(f"{procfs}/{pid}/stat") or "").rpartition(")")
        yield Process(pid, name.partition("(")[2], rest.split())
        pid = (*rest.split(), "", "")[1]


def open_files(procfs: str, pid: str) -> list[str]:
    """Return what the descriptors of a process lead to: paths, or words such as `socket:[7]`.

    :raises OSError: the process has ended, or we may not read it.
    """
    directory = f"{procfs}/{pid}/fd"
    return [os.readlink(f"{directory}/{descriptor}") for descriptor in os.listdir(directory)]


def open_files_of(procfs: str, programs: tuple[str, ...]) -> t.Iterator[tuple[str, list[str]]]:
    """Return the processes whose names begin with one of `programs`, each with its open files; those that may not be read are left out."""
    for pid in filter(str.isdecimal, list_directory(procfs)):
        with contextlib.suppress(OSError, DriverDomainsError):
            name = (read_text(f"{procfs}/{pid}/comm") or "").strip()
            if name.startswith(programs):
                yield name, open_files(procfs, pid)
