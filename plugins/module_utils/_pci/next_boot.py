# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Whether the next boot hides a PCI device, whoever has written that, and whichever entry of the boot loader's menu is taken."""

from __future__ import annotations

import typing as t

from .._errors import InvalidInput
from .._files import read_text
from .foreign_hides import lists_of_modprobe
from .hide_list import covers, lists_in, parse

GRUB_CONFIGURATION = "/boot/grub/grub.cfg"


def hidden_by(bdf: str, root: str = "", procfs: str = "/proc") -> str:
    """Return the file by which pciback takes a device at the next boot, or "".

    Where the configuration of GRUB is not there, the command line of the running kernel stands for that of the next one.

    :param bdf: in its full form.
    :param root: directory that stands for / (tests).
    """
    path = root + GRUB_CONFIGURATION
    text = read_text(path)
    if text is None:
        path = f"{procfs}/cmdline"
        text = read_text(path) or ""
    lists = {path: [found for line in text.split("\n") if "hide=" in line for found in lists_in(line)]}
    lists["modprobe.d"] = lists_of_modprobe(root)
    return next((name for name, found in lists.items() if _covered(found, bdf)), "")


def _covered(lists: t.Iterable[str], bdf: str) -> bool:
    for text in lists:
        try:
            if covers(parse(text), bdf):
                return True
        except InvalidInput:
            # The kernel ignores it, too.
            continue
    return False
