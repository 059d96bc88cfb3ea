# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.
"""The timer that returns devices unless a new connection confirms that the host can still be reached without them.

It is what network devices call "commit confirmed". The timer is a transient one of systemd and runs `RETURN_SCRIPT`. It ends with
a reboot, which returns the devices to the host anyway unless they are hidden at boot.
"""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass

from .._errors import DriverDomainsError
from .._files import read_text, remove, write_text
from .._host_uses import SSH_SERVERS
from .._runner import Runner
from .records import RECORDS
from .return_script import RETURN_SCRIPT

UNIT = "xen-driver-domains-give-back"
STATE = "/run/xen-driver-domains/unconfirmed.json"


@dataclass(frozen=True)
class Unconfirmed:
    """The devices to be confirmed, by BDF, and the SSH session that they were taken over ("" if there was none)."""

    bdfs: tuple[str, ...] = ()
    session: str = ""


class ConfirmTimer:
    """Arms, reads and stops the timer. `path` is its state file; this and the other paths are different in tests."""

    def __init__(self, runner: Runner, path: str = STATE, procfs: str = "/proc", records: str = RECORDS, sysfs: str = "/sys") -> None:
        self._runner = runner
        self._path = path
        self._procfs = procfs
        self._records = records
        self._sysfs = sysfs

    def unconfirmed(self) -> Unconfirmed:
        """Return what waits for a confirmation.

        :raises DriverDomainsError: the state file is damaged.
        """
        text = read_text(self._path)
        if text is None:
            return Unconfirmed()
        try:
            found = json.loads(text)
            return Unconfirmed(tuple(map(str, found["bdfs"])), str(found["session"]))
        except (ValueError, TypeError, KeyError) as exc:
            raise DriverDomainsError(f"{self._path} is damaged: {exc}", remedy=f"Remove it and stop {UNIT}.timer") from exc

    def arm(self, bdfs: t.Sequence[str], seconds: int) -> None:
        """Return devices in `seconds`, together with those that wait already.

        :raises NotOnThisHost: the host has no systemd.
        """
        bdfs = sorted({*self.unconfirmed().bdfs, *bdfs})
        self._stop_timer()
        # The state first: nobody could stop a timer without it.
        write_text(self._path, json.dumps({"bdfs": bdfs, "session": self.session()}) + "\n", mode=0o600)
        command = ["systemd-run", "--quiet", "--collect", f"--unit={UNIT}", f"--on-active={seconds}s", "--timer-property=AccuracySec=1s"]
        self._runner.run([*command, "/bin/sh", "-c", RETURN_SCRIPT, UNIT, self._sysfs, self._path, self._records, *bdfs])

    def same_session(self) -> bool:
        """Return whether this process was started over the connection that the devices were taken over: it proves nothing then."""
        session = self.session()
        return bool(session) and session == self.unconfirmed().session

    def confirm(self) -> None:
        """Keep the devices.

        :raises DriverDomainsError: they are being returned at this moment.
        """
        self._stop_timer()
        if self._runner.run(["systemctl", "is-active", "--quiet", f"{UNIT}.service"], check=False).rc == 0:
            raise DriverDomainsError("The confirmation came too late: the devices are being returned", remedy="Run the playbook again")
        remove(self._path)

    def session(self) -> str:
        """Return an identifier of the SSH connection that this process was started over; "" if there is none.

        It is the nearest SSH server above this process: there is one for each connection, even if several sessions share it.
        """
        pid = str(os.getpid())
        while pid not in ("0", "1", ""):
            # stat of proc(5): pid (name) state parent ...; the 22nd field is its start time, because PIDs are reused.
            name, _bracket, rest = (read_text(f"{self._procfs}/{pid}/stat") or "").rpartition(")")
            fields = rest.split()
            if name.partition("(")[2].startswith(SSH_SERVERS):
                return f"{pid}/{fields[19]}"
            pid = fields[1] if fields else ""
        return ""

    def _stop_timer(self) -> None:
        self._runner.run(["systemctl", "stop", f"{UNIT}.timer"], check=False)
