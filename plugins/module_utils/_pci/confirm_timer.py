# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.
"""The timer that returns devices unless a new connection confirms that the host can still be reached without them.

It is what network devices call "commit confirmed". The timer is a transient one of systemd and runs `RETURN_SCRIPT`, or a program of the
caller's. It ends with a reboot, which returns the devices to the host anyway unless they are hidden at boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import typing as t
from dataclasses import dataclass, field

from .._errors import DriverDomainsError
from .._files import make_directories, read_text, remove, write_text
from .._host_network import SSH_SERVERS
from .._polling import wait_until
from .._processes import with_ancestors
from .._runner import Runner
from .records import RECORDS
from .return_script import RETURN_SCRIPT

UNIT = "xen-driver-domains-give-back"
STATE = "/run/xen-driver-domains/unconfirmed.json"
#: Seconds to wait for another run to arm or confirm. The script holds the lock for as long as it returns devices.
LOCK_TIMEOUT = 20.0


@dataclass(frozen=True)
class Unconfirmed:
    """The devices to be confirmed, by BDF, and the SSH session that each was taken over ("" if there was none)."""

    sessions: t.Mapping[str, str] = field(default_factory=dict)

    @property
    def bdfs(self) -> tuple[str, ...]:
        """The devices, in the order of their addresses."""
        return tuple(sorted(self.sessions))


class ConfirmTimer:
    """Arms, reads and stops the timer. `path` is its state file; this and the other paths are different in tests.

    :param unit: its name.
    :param command: what it runs instead of `RETURN_SCRIPT`: it takes the lock beside the state file, and does nothing without that file.
    """

    def __init__(
        self,
        runner: Runner,
        path: str = STATE,
        procfs: str = "/proc",
        records: str = RECORDS,
        sysfs: str = "/sys",
        unit: str = UNIT,
        command: t.Sequence[str] = (),
    ) -> None:
        self._runner = runner
        self._unit = unit
        self._command = command
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
            return Unconfirmed({str(bdf): str(session) for bdf, session in json.loads(text)["devices"].items()})
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise DriverDomainsError(f"{self._path} is damaged: {exc}", remedy=f"Remove it and stop {self._unit}.timer") from exc

    def arm(self, bdfs: t.Sequence[str], seconds: int) -> None:
        """Return devices in `seconds`, together with those that wait already.

        :raises NotOnThisHost: the host has no systemd.
        :raises DriverDomainsError: an earlier timer cannot be stopped, or returns devices at this moment.
        """
        with self._locked():
            # Those of another run wait on, for their own confirmation.
            sessions = {**self.unconfirmed().sessions, **dict.fromkeys(bdfs, self.session())}
            self._stop_timer()
            # The state first: nobody could stop a timer without it.
            self._save(sessions)
            start = ["systemd-run", "--quiet", "--collect", f"--unit={self._unit}", f"--on-active={seconds}s"]
            start += ["--timer-property=AccuracySec=1s", "--property=Restart=on-failure", "--property=RestartSec=30s"]
            script = ["/bin/sh", "-c", RETURN_SCRIPT, UNIT, self._sysfs, self._path, self._records, *sorted(sessions)]
            self._runner.run([*start, *(self._command or script)])

    def same_session(self, bdfs: t.Iterable[str]) -> bool:
        """Return whether this process was started over the connection that one of the devices was taken over: it proves nothing then."""
        session, sessions = self.session(), self.unconfirmed().sessions
        return bool(session) and session in [sessions.get(bdf) for bdf in bdfs]

    def confirm(self, bdfs: t.Collection[str]) -> None:
        """Keep devices; others that wait go on waiting.

        :raises DriverDomainsError: they are being returned at this moment, or nothing shows that they will not be.
        """
        with self._locked():
            sessions = dict(self.unconfirmed().sessions)
            if not set(bdfs) <= set(sessions):
                raise _too_late()
            remaining = {bdf: session for bdf, session in sessions.items() if bdf not in bdfs}
            if remaining:
                # The script leaves out what the state has no longer.
                self._save(remaining)
                return
            self._stop_timer()
            remove(self._path)

    @contextlib.contextmanager
    def waiting(self, bdf: str) -> t.Iterator[None]:
        """Keep the script from running while a device is taken, which has to wait for its confirmation: it would not be returned again.

        :raises DriverDomainsError: it does not wait any more, or devices are being returned at this moment.
        """
        with self._locked():
            if bdf not in self.unconfirmed().sessions:
                raise _too_slow(bdf)
            yield

    def session(self) -> str:
        """Return an identifier of the SSH connection that this process was started over; "" if there is none.

        It is the nearest SSH server above this process: there is one for each connection, even if several sessions share it.
        """
        for process in with_ancestors(self._procfs):
            if process.name.startswith(SSH_SERVERS):
                # With its start time, because PIDs are reused.
                return f"{process.pid}/{process.fields[19]}"
        return ""

    def _stop_timer(self) -> None:
        """Stop the timer, and check that neither it nor its script is active: systemctl may fail to stop it.

        :raises DriverDomainsError: one of them is, or nothing shows that it is not.
        """
        # The script, too: under our lock it does nothing but wait, for the lock or to try again.
        timer, service = f"{self._unit}.timer", f"{self._unit}.service"
        self._runner.run(["systemctl", "stop", timer, service], check=False)
        for unit, problem in ((service, _too_late()), (timer, _not_stopped(timer))):
            # 3: not active; 4: there is no such unit (systemctl(1)). Anything else, such as a bus that does not answer, shows nothing.
            if self._runner.run(["systemctl", "is-active", "--quiet", unit], check=False).rc not in (3, 4):
                raise problem

    def _save(self, sessions: t.Mapping[str, str]) -> None:
        write_text(self._path, json.dumps({"devices": dict(sorted(sessions.items()))}) + "\n", mode=0o600)

    @contextlib.contextmanager
    def _locked(self) -> t.Iterator[None]:
        """Keep other runs, and the script of the timer, from changing the state meanwhile."""
        make_directories(os.path.dirname(self._path))
        with open(f"{self._path}.lock", "a", encoding="ascii") as handle:
            if not wait_until(lambda: _lock(handle), LOCK_TIMEOUT):
                raise _too_late()
            yield


def _lock(handle: t.IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _too_late() -> DriverDomainsError:
    return DriverDomainsError("The confirmation came too late: the devices are being returned", remedy="Run the playbook again")


def _too_slow(bdf: str) -> DriverDomainsError:
    return DriverDomainsError(
        f"{bdf} is not taken: the time for the confirmation ended before, and nothing would return it",
        rule="the time begins before the first device is taken",
        remedy="Run the playbook again with a longer confirm_timeout",
    )


def _not_stopped(timer: str) -> DriverDomainsError:
    return DriverDomainsError(
        f"{timer} cannot be stopped: the devices will be returned",
        rule="devices are confirmed only when nothing returns them any more",
        remedy=f"Find out why 'systemctl stop {timer}' fails, and run the playbook again",
    )
