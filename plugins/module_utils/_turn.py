# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Who may change the domains of this host: one process at a time, a module or the recovery service."""

from __future__ import annotations

import fcntl
import os

from ._errors import DriverDomainsError
from ._polling import wait_until

#: The file whose lock (flock(2)) is the turn. The kernel releases it when its holder dies.
LOCK = "/run/xen-driver-domains/lock"
#: Seconds that a module waits: a playbook that starts many domains takes long.
PATIENCE = 900.0


class Turn:
    """The turn of this process; not taken at first."""

    def __init__(self, path: str = LOCK) -> None:
        self.path = path
        self._descriptor = -1

    @property
    def taken(self) -> bool:
        """Whether it is this process's turn."""
        return self._descriptor >= 0

    def take(self) -> bool:
        """Take the turn if nobody has it, and return whether this process has it now.

        :raises OSError: the file cannot be made.
        """
        if not self.taken:
            os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            else:
                self._descriptor = descriptor
        return self.taken

    def pass_on(self) -> None:
        """Let others have it."""
        if self.taken:
            os.close(self._descriptor)
            self._descriptor = -1


#: The turn of a module, which ends with its process.
_OWN = Turn()


def take_turn(turn: Turn = _OWN, patience: float = PATIENCE) -> None:
    """Wait for the turn, and keep it until this process ends.

    Without root there is none: the module then refuses by itself (`require_root`).

    :raises DriverDomainsError: others kept it for longer than `patience` seconds.
    """
    try:
        taken = wait_until(turn.take, patience)
    except PermissionError:
        return
    if not taken:
        raise DriverDomainsError(
            f"Another process has been changing the domains of this host for {patience:g} s",
            rule=f"runs and the recovery service do so one after the other, by a lock on {turn.path}",
            remedy=f"Find out who has it ('fuser -v {turn.path}'), and run this again when it has ended",
        )
