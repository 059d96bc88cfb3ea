# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The model of what an Arm board boots: Xen, dom0 and the domains that Xen itself starts (dom0less).

`reader` makes it from the options of a module; it becomes a boot script (`uboot_script`) or ImageBuilder's configuration
(`imagebuilder`). Attributes have the names of their options.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._spans import MIB, Span

#: ImageBuilder rounds the room of every file up to this, and so do we: an arm64 Image must start at a multiple of it.
ALIGNMENT = 2 * MIB


@dataclass(frozen=True)
class Dom0:
    """The control domain; memory in MiB."""

    kernel: str
    ramdisk: str
    cmdline: str
    memory: int
    vcpus: int


@dataclass(frozen=True)
class DomU:
    """A domain that Xen starts itself; memory in MiB."""

    name: str
    kernel: str
    ramdisk: str
    cmdline: str
    memory: int
    vcpus: int
    passthrough_dtb: str
    passthrough_paths: tuple[str, ...]
    boot: bool
    vpl011: bool
    enhanced: str
    static_memory: tuple[Span, ...]
    direct_map: bool
    colors: str
    grant_version: int | None
    grant_frames: int | None
    maptrack_frames: int | None
    capabilities: tuple[str, ...]
    shared_memory: str


@dataclass(frozen=True)
class Board:
    """Everything that a board boots. File names are relative to `directory`."""

    directory: str
    #: Where files are that are still to be copied into the directory, by their names in it.
    pending: t.Mapping[str, str]
    memory: Span
    #: In bytes; 0 when it is not given.
    ram: int
    load_command: str
    boot_command: str
    device_tree: str
    xen: str
    xen_cmdline: str
    static_heap: tuple[Span, ...]
    dom0: Dom0 | None
    domus: tuple[DomU, ...]
    overlays: tuple[str, ...]
    extra_commands_file: str

    @property
    def files(self) -> list[str]:
        """The names of all files that the board loads or that are read here."""
        found = [self.device_tree, self.xen, self.extra_commands_file, *self.overlays]
        found += [self.dom0.kernel, self.dom0.ramdisk] if self.dom0 else []
        found += [name for domu in self.domus for name in (domu.kernel, domu.ramdisk, domu.passthrough_dtb)]
        return [name for name in dict.fromkeys(found) if name]

    @property
    def booted(self) -> list[DomU]:
        """The domains that Xen starts, in the order listed."""
        return [domu for domu in self.domus if domu.boot]

    @property
    def domids(self) -> dict[str, int]:
        """The number that Xen gives to each domain."""
        return {**({"dom0": 0} if self.dom0 else {}), **{domu.name: number for number, domu in enumerate(self.booted, 1)}}

    @property
    def xen_words(self) -> dict[str, str]:
        """The words of Xen's command line, with what follows `=`."""
        return dict(word.partition("=")[::2] for word in self.xen_cmdline.split())
