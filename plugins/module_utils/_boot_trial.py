# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""A boot that is tried once: an additional entry of GRUB's menu that only the next boot takes.

The settings of GRUB, and with them the default entry, stay as they are. A script of /etc/grub.d adds the entry: it has 20_linux_xen write
the entry of Xen with other options. GRUB takes `next_entry` out of its environment block before it boots, so whatever becomes of that
boot, the one after it takes the default entry again. Beside it, the block has which options were tried, so that no other run tries them
again.
"""

from __future__ import annotations

import hashlib
import re

from ._errors import DriverDomainsError
from ._files import read_text
from ._runner import Runner

#: The last script, so that its entry does not change the numbers of others.
TRIAL_FILE = "/etc/grub.d/99_xen_driver_domains"
TRIAL_ENTRY = "xen-driver-domains-trial"
#: The option of the kernel that shows which trial runs. Linux ignores options of modules that it does not have.
TRIAL_OPTION = "xen_driver_domains.trial="
GRUB_ENVIRONMENT = "/boot/grub/grubenv"

#: Where GRUB can write a file (grub-mkconfig's 00_header has the opposite list, which others were left out of).
_WRITABLE = ("ext2", "xfs", "fat")
_TRIED = "xen_driver_domains_trial"
#: Seconds after which a kernel that panics reboots, and an initramfs that does not find the root file system.
_PANIC = "panic=10"

_SETTINGS = """\
unset GRUB_CMDLINE_LINUX GRUB_CMDLINE_LINUX_DEFAULT GRUB_CMDLINE_LINUX_XEN_REPLACE GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT \\
  GRUB_CMDLINE_XEN GRUB_CMDLINE_XEN_DEFAULT
for file in /etc/default/grub /etc/default/grub.d/*.cfg; do
  [ ! -e "$file" ] || [ "${file##*/}" = OWN ] || . "$file" >/dev/null 2>&1
done
"""
#: Only the title and the ID are replaced: without --unrestricted, GRUB would ask for a password on a host that has set superusers.
_ENTRY = f"""\
export GRUB_CMDLINE_LINUX GRUB_CMDLINE_LINUX_DEFAULT GRUB_CMDLINE_LINUX_XEN_REPLACE GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT \\
  GRUB_CMDLINE_XEN GRUB_CMDLINE_XEN_DEFAULT
/etc/grub.d/20_linux_xen 2>/dev/null | sed -n "/^menuentry .*'xen-gnulinux-simple-/,/^}}/ {{
  s/^menuentry '[^']*'\\(\\\\\\\\''[^']*'\\)*/menuentry 'Xen, tried once (xen.driver_domains)'/
  s/[^ ]* 'xen-gnulinux-simple-[^']*'/--id {TRIAL_ENTRY}/
  p
}}"
"""
_DEFAULT = """\
# Until Xen was booted once and the host was reached, the default is the one that it would be without Xen.
GRUB_DEFAULT="$(
  GRUB_DEFAULT=0
  for file in /etc/default/grub /etc/default/grub.d/*.cfg; do
    case ${file##*/} in xen.cfg | OWN) ;; *) [ ! -e "$file" ] || . "$file" >/dev/null 2>&1 ;; esac
  done
  printf %s "$GRUB_DEFAULT"
)"
"""


def default_without_xen(own: str) -> str:
    """Return the settings with which the default entry is what it was before Debian's package made it Xen.

    :param own: name of our file of settings.
    """
    return _DEFAULT.replace("OWN", own)


class BootTrial:
    """One set of options that is tried once.

    :param options: what identifies them.
    :param root: directory that stands for / (tests).
    """

    def __init__(self, options: str, runner: Runner, root: str = "") -> None:
        self._digest = hashlib.sha256(options.encode()).hexdigest()[:12]
        self._runner = runner
        self._root = root

    @property
    def kernel_options(self) -> tuple[str, str]:
        """Options for the kernel of the trial alone: what goes before all others, and what shows that it is the trial that runs."""
        return _PANIC, f"{TRIAL_OPTION}{self._digest}"

    def script(self, header: str, settings: str, own: str) -> str:
        """Return the script for /etc/grub.d.

        :param settings: those of the trial, as for /etc/default/grub.
        :param own: name of our file of settings, which the trial replaces.
        """
        return f"#!/bin/sh\n{header}{_SETTINGS.replace('OWN', own)}{settings}{_ENTRY}"

    def runs(self, kernel_line: str) -> bool:
        """Return whether the running kernel was booted by this trial."""
        return self.kernel_options[1] in kernel_line.split()

    @property
    def armed(self) -> bool:
        """Whether the next boot tries it."""
        return self.tried and _environment(self._root).get("next_entry") == TRIAL_ENTRY

    @property
    def tried(self) -> bool:
        """Whether it was armed once, and so either is armed now or was booted."""
        return _environment(self._root).get(_TRIED) == self._digest

    def problem(self) -> str:
        """Return why GRUB cannot take an entry once, or "": it would boot it again and again where it cannot write.

        GRUB writes to plain partitions only (grub-reboot warns, too).
        """
        directory = GRUB_ENVIRONMENT.rsplit("/", 1)[0]
        try:
            abstraction = self._probe("abstraction", directory)
            kind = self._probe("fs", directory)
        except DriverDomainsError as exc:
            return f"it is not known whether GRUB can write to {directory}: {exc}"
        if abstraction or kind not in _WRITABLE:
            return f"GRUB cannot write to {directory}, which is on {abstraction or kind or 'an unknown file system'}"
        return ""

    def arm(self) -> None:
        """Have the next boot try it.

        :raises CommandFailed: GRUB's environment block cannot be written.
        """
        self._edit("set", f"next_entry={TRIAL_ENTRY}", f"{_TRIED}={self._digest}")

    def _probe(self, target: str, directory: str) -> str:
        return self._runner.run(["grub-probe", f"--target={target}", directory]).stdout.strip()

    def _edit(self, *words: str) -> None:
        self._runner.run(["grub-editenv", self._root + GRUB_ENVIRONMENT, *words])


def left_in_environment(root: str = "") -> list[str]:
    """Return the names of what GRUB's environment block has of trials."""
    environment = _environment(root)
    return [name for name, ours in (("next_entry", environment.get("next_entry") == TRIAL_ENTRY), (_TRIED, _TRIED in environment)) if ours]


def forget_trials(names: list[str], runner: Runner, root: str = "") -> None:
    """Remove from GRUB's environment block what `left_in_environment` returned.

    :raises CommandFailed: it cannot be written.
    """
    runner.run(["grub-editenv", root + GRUB_ENVIRONMENT, "unset", *names])


def _environment(root: str) -> dict[str, str]:
    """Read GRUB's environment block: lines of NAME=VALUE, and what fills it up."""
    text = read_text(root + GRUB_ENVIRONMENT) or ""
    return dict(re.findall(r"^([^=#\n]+)=(.*)$", text, re.MULTILINE))
