# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Which PCI devices others than this collection hide at boot: the one list that is in effect without ours."""

from __future__ import annotations

import os
import re

from .._errors import DriverDomainsError, InvalidInput
from .._files import drop_ins, list_directory, read_text
from .._runner import Runner
from . import hide_list

#: Reads GRUB's settings as grub-mkconfig does, and prints the kernel's command line as 20_linux_xen makes it of them.
_READ_SETTINGS = """
exec 3>&1 >/dev/null 2>&1
for file; do [ ! -e "$file" ] || . "$file"; done
printf '%s %s END' "${GRUB_CMDLINE_LINUX_XEN_REPLACE:-$GRUB_CMDLINE_LINUX}" \
  "${GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT:-$GRUB_CMDLINE_LINUX_DEFAULT}" >&3
"""
_MODPROBE_DIRECTORIES = ("etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d")
_TIMEOUT = 20.0


def hidden_by_others(root: str, own_file: str, runner: Runner) -> tuple[tuple[str, ...], list[str]]:
    """Return what others hide at boot, and warnings about a list that cannot be read.

    The kernel takes the last list of its command line, and the one of modprobe.d only if there is none.

    :param root: directory that stands for / (tests).
    :param own_file: our file of GRUB's settings.
    """
    warnings: list[str] = []
    lists = _lists_of_grub(root, own_file, runner, warnings) or lists_of_modprobe(root)[-1:]
    items: set[str] = set()
    for text in lists:
        try:
            items.update(hide_list.parse(text))
        except InvalidInput as exc:
            warnings.append(f"A list of hidden devices that others wrote is not kept, because the kernel cannot read it either. {exc}")
    return tuple(sorted(items)), warnings


def _lists_of_grub(root: str, own_file: str, runner: Runner, warnings: list[str]) -> list[str]:
    directory = f"{root}/etc/default/grub.d"
    files = [f"{root}/etc/default/grub", *(f"{directory}/{name}" for name in list_directory(directory) if name.endswith(".cfg"))]
    files = [path for path in files if path != root + own_file]
    texts = [read_text(path) or "" for path in files]
    if not any("hide" in text for text in texts):
        return []
    try:
        line = runner.run(["sh", "-c", _READ_SETTINGS, "sh", *files], timeout=_TIMEOUT).stdout
        # A file that ends the shell ends grub-mkconfig, too.
        if line.endswith(" END"):
            return hide_list.lists_in(line)[-1:]
        problem = "They end the shell that reads them"
    except DriverDomainsError as exc:
        problem = str(exc)
    warnings.append(f"GRUB's settings cannot be read as GRUB does, so every list of hidden devices in them is kept. {problem}")
    active = [re.sub(r"^\s*#.*$|[\"'\\]", " ", text, flags=re.MULTILINE) for text in texts]
    return [found for text in active for found in hide_list.lists_in(text.replace("=xen", " xen"))]


def lists_of_modprobe(root: str) -> list[str]:
    """Return the lists of hidden devices that the files of modprobe.d have.

    :param root: directory that stands for / (tests).
    """
    lists = []
    for name in drop_ins(root, _MODPROBE_DIRECTORIES, ".conf"):
        path = f"{root}/{name}"
        text = (read_text(path) or "").replace("\\\n", " ") if os.path.isfile(path) else ""
        for line in text.split("\n"):
            if re.match(r"\s*options\s+xen[-_]pciback\s", line):
                words = [word.strip("\"'") for word in line.replace('="', "=").split()]
                lists += [word[len("hide=") :] for word in words if word.startswith("hide=")]
    return lists
