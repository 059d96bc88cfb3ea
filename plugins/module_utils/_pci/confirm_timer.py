# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Devices that were taken on probation: the host gives them back by itself unless a fresh connection confirms that it is reached.

What gives them back is a transient timer of systemd that runs a few lines of shell: it lives on when the connection, and with it
this code, is gone. A reboot ends it, and the probation with it.
"""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass

from .._errors import DriverDomainsError, Refused
from .._files import read_text, remove, write_text
from .._host_uses import SSH_SERVERS
from .._runner import Runner
from .host import RECORDS

UNIT = "xen-driver-domains-give-back"
STATE = "/run/xen-driver-domains/unconfirmed.json"

#: Arguments: the file of the state, the directory of the records, the devices. What xl cannot release is not in quarantine, as
#: when taking it was cut off: put it there, and try again.
GIVE_BACK = """\
state=$1 records=$2; shift 2
cd /sys/bus/pci || exit
for bdf; do
  for attempt in 1 2; do
    [ -e drivers/pciback/$bdf ] || break
    timeout 30 xl pci-assignable-remove -r $bdf && break
    timeout 30 xl pci-assignable-add $bdf
  done
  [ ! -e drivers/pciback/$bdf ] || echo $bdf > drivers/pciback/unbind
  if [ ! -e devices/$bdf/driver ]; then
    grep -qx $bdf drivers/pciback/slots && echo $bdf > drivers/pciback/remove_slot
    echo $bdf > drivers_probe
  fi
  [ ! -e devices/$bdf/driver ] || rm -f "$records/$bdf.json"
done
rm -f "$state"
"""


@dataclass(frozen=True)
class Probation:
    """The devices that wait for a confirmation, by BDF, and the SSH session that they were taken over ("" where there was none)."""

    bdfs: tuple[str, ...] = ()
    session: str = ""


class SafetyNet:
    """The timer that gives devices back. `path` and `procfs` are other ones in tests."""

    def __init__(self, runner: Runner, path: str = STATE, procfs: str = "/proc", records: str = RECORDS) -> None:
        self._runner = runner
        self._path = path
        self._procfs = procfs
        self._records = records

    def probation(self) -> Probation:
        """Return what waits for a confirmation."""
        text = read_text(self._path)
        if text is None:
            return Probation()
        try:
            found = json.loads(text)
            return Probation(tuple(map(str, found["bdfs"])), str(found["session"]))
        except (ValueError, TypeError, KeyError) as exc:
            raise DriverDomainsError(f"{self._path} is damaged: {exc}", remedy=f"Remove it and stop {UNIT}.timer") from exc

    def arm(self, bdfs: t.Sequence[str], seconds: int) -> None:
        """Have devices given back in `seconds`, beside those that wait already.

        :raises NotOnThisHost: the host has no systemd.
        """
        bdfs = sorted({*self.probation().bdfs, *bdfs})
        self._stop_timer()
        # The state first: a timer without it would be one that nobody can stop.
        write_text(self._path, json.dumps({"bdfs": bdfs, "session": self.session()}) + "\n", mode=0o600)
        command = ["systemd-run", "--quiet", "--collect", f"--unit={UNIT}", f"--on-active={seconds}s", "--timer-property=AccuracySec=1s"]
        self._runner.run([*command, "/bin/sh", "-c", GIVE_BACK, UNIT, self._path, self._records, *bdfs])

    def refuse_stale_session(self) -> None:
        """Refuse a confirmation that tells nothing: over the connection that was there before the devices were taken.

        :raises Refused: it is the same connection.
        """
        session = self.session()
        if session and session == self.probation().session:
            raise Refused(
                "The confirmation came over the connection that the devices were taken over",
                rule="only a fresh connection shows that the host is still reached",
                remedy="Put 'meta: reset_connection' before the task with state: confirmed",
            )

    def confirm(self) -> None:
        """Keep the devices.

        :raises DriverDomainsError: they are being given back at this moment.
        """
        self._stop_timer()
        if self._runner.run(["systemctl", "is-active", "--quiet", f"{UNIT}.service"], check=False).rc == 0:
            raise DriverDomainsError("The confirmation came too late: the devices are being given back", remedy="Run the playbook again")
        remove(self._path)

    def session(self) -> str:
        """Return what tells the SSH connection that this process was started over from others; "" when there is none.

        It is the nearest SSH server above this process: there is one for each connection, also when sessions share it.
        """
        pid = str(os.getpid())
        while pid not in ("0", "1", ""):
            # stat of proc(5): pid (name) state parent ...; the 22nd is when it started, as pids are used again.
            name, _bracket, rest = (read_text(f"{self._procfs}/{pid}/stat") or "").rpartition(")")
            fields = rest.split()
            if name.partition("(")[2].startswith(SSH_SERVERS):
                return f"{pid}/{fields[19]}"
            pid = fields[1] if fields else ""
        return ""

    def _stop_timer(self) -> None:
        self._runner.run(["systemctl", "stop", f"{UNIT}.timer"], check=False)
