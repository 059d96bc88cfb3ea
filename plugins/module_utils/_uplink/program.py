# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The program on the host that moves dom0 to its vif and back. It runs while no connection to the host works: units of systemd start it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import typing as t

from .._errors import DriverDomainsError
from .._files import make_directories, remove, write_text
from .._pci.host import PciHost
from .._pci.next_boot import hidden_by
from .._pci.records import Records
from .._pci.steps import DeviceSteps
from .._printable import printable_line
from .._runner import Runner
from .._uplink_record import BOOT_LINK, UPLINK_RECORD, UplinkRecord, read_uplink
from .._xen.xl import Xl
from .._xenstore.client import XenStore
from .._xenstore.wire import XenStoreError
from .network import UplinkNetwork
from .uplink import Uplink, find_card, return_plainly

#: Where the timer that awaits the confirmation keeps its state. Who changes something has the lock beside it.
UPLINK_STATE = "/run/xen-driver-domains/uplink.json"
#: Why the last switch went back; for the module.
UPLINK_PROBLEM = "/run/xen-driver-domains/uplink-problem"
#: The transient units that run `switch` and `return`.
SWITCH_UNIT, RETURN_UNIT = "xen-driver-domains-uplink-switch", "xen-driver-domains-uplink-return"
_USAGE = """\
usage: uplink.pyz switch|revert|return|boot|give-up|up NAME BDF INTERFACE BACKEND MAC
Run by the units xen-driver-domains-uplink*. What follows the command is what the record should say, for when it cannot be read.
"""


class Program(t.NamedTuple):
    """What the commands work on; tests put it elsewhere."""

    #: What the units know of the record, which may be damaged.
    known: UplinkRecord
    runner: Runner
    network: UplinkNetwork
    #: Opens what the commands work with; the first is without XenStore.
    plain_host: t.Callable[[], PciHost]
    uplink: t.Callable[[UplinkRecord], t.ContextManager[Uplink]]
    record: str = UPLINK_RECORD
    state: str = UPLINK_STATE
    problem: str = UPLINK_PROBLEM
    link: str = BOOT_LINK
    #: Returns which file has the next boot hide a device, or "".
    hidden_by: t.Callable[[str], str] = hidden_by

    def switch(self) -> int:
        """Move dom0 to the vif; if that fails, go back at once."""
        remove(self.problem)
        try:
            with self.uplink(self._record()) as uplink:
                uplink.switch()
            return 0
        except (DriverDomainsError, OSError) as exc:
            say(f"dom0 keeps its network card: {exc}")
            with contextlib.suppress(DriverDomainsError, OSError):
                write_text(self.problem, str(exc))
        return self._revert()

    def revert(self) -> int:
        """Undo a switch that nobody has confirmed."""
        self.runner.run(["systemctl", "stop", f"{SWITCH_UNIT}.timer", f"{SWITCH_UNIT}.service"], check=False)
        return self._revert()

    def _revert(self) -> int:
        with self._alone():
            if not os.path.exists(self.state):
                # It was confirmed, or undone by the other one.
                return 0
            if not os.path.exists(self.problem):
                write_text(self.problem, "no new connection has shown in time that the host can be reached")
            say("dom0 gets its network card back, because nobody has confirmed the switch")
            record = self._record()
            self._give_back(record)
            self._forget(record)
        return 0

    def return_(self) -> int:
        """Return the card because that is wanted."""
        with self._alone():
            record = self._record()
            self._give_back(record, gently=True)
            self._forget(record)
        return 0

    def boot(self) -> int:
        """Connect dom0 to the driver domain that starts with the host, or return the card to dom0.

        What nobody has confirmed does not outlive a reboot.
        """
        with self._alone():
            problem = f"there is no {self.record}"
            try:
                record = read_uplink(self.record)
            except DriverDomainsError as exc:
                record, problem = None, str(exc)
            known = record or self.known
            card = find_card(known, self.plain_host().devices())
            if card.driver and not card.pciback:
                say(f"dom0 has its network card {card.bdf} itself")
                # An attempt of this unit may have ended before it was configured.
                return_plainly(known, self.plain_host(), self.network)
                if not known.confirmed:
                    self._forget(known)
                return 0
            if record is None or not record.confirmed:
                say(f"dom0 gets its network card back: {'nobody has confirmed that it is reached without it' if record else problem}")
                self._give_back(known)
                self._forget(known)
                return 0
            try:
                with self.uplink(record) as uplink:
                    uplink.connect()
                say(f"dom0 is connected to {record.backend} by {record.ifname}")
            except (DriverDomainsError, OSError) as exc:
                say(f"dom0 gets its network card back: {exc}")
                self._give_back(record)
        return 0

    def give_up(self) -> int:
        """Return the card because the recovery service does not start the driver domain again."""
        with self._alone():
            record = self._record()
            with contextlib.suppress(DriverDomainsError), self.uplink(record) as uplink:
                if uplink.works:
                    return 0
            say(f"dom0 gets its network card back, because {record.backend} is not started again")
            self._give_back(record)
        return 0

    def up(self) -> int:
        """Have the vif configured, which udev has just reported."""
        self.network.bring_up(self._record().ifname)
        return 0

    def _forget(self, record: UplinkRecord) -> None:
        """Forget the vif. The unit of `boot` stays enabled while a boot would hide the card: without a record, it returns the card."""
        remove(self.record)
        remove(self.state)
        path = self.hidden_by(record.bdf)
        if path:
            say(f"{record.bdf} is hidden at boot ({path}), so each boot returns it to dom0 until it is no longer hidden")
        else:
            remove(self.link)

    def _record(self) -> UplinkRecord:
        try:
            return read_uplink(self.record) or self.known
        except DriverDomainsError as exc:
            say(str(exc))
            return self.known

    def _give_back(self, record: UplinkRecord, gently: bool = False) -> None:
        try:
            with self.uplink(record) as uplink:
                uplink.give_back(gently)
        except XenStoreError as exc:
            # Where it does not run, no domain has been started.
            say(str(exc))
            return_plainly(record, self.plain_host(), self.network)
        say(f"dom0 has its network card {record.name} ({record.bdf}) again")

    @contextlib.contextmanager
    def _alone(self) -> t.Iterator[None]:
        make_directories(os.path.dirname(self.state))
        with open(f"{self.state}.lock", "a", encoding="ascii") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


#: The commands by their names.
COMMANDS: dict[str, t.Callable[[Program], int]] = {
    "switch": Program.switch,
    "revert": Program.revert,
    "return": Program.return_,
    "boot": Program.boot,
    "give-up": Program.give_up,
    "up": Program.up,
}


def words_of(record: UplinkRecord) -> list[str]:
    """Return what the command line has of a record."""
    return [record.name, record.bdf, record.ifname, record.backend, record.mac]


def known_from(words: t.Sequence[str]) -> UplinkRecord:
    """Return what the command line has of a record, see `words_of`.

    :raises ValueError: words are missing.
    """
    name, bdf, ifname, backend, mac = words[:5]
    return UplinkRecord(name, bdf, ifname, backend, "", mac, 1)


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command, known = COMMANDS[words[0]], known_from(words[1:])
    except (LookupError, ValueError):
        sys.stderr.write(_USAGE)
        return 2
    runner = Runner()
    network = UplinkNetwork(runner)

    def open_host(store: XenStore | None = None) -> PciHost:
        # The card comes back whatever the records of others are.
        return PciHost(records=Records(strict=False), store=store)

    @contextlib.contextmanager
    def open_uplink(record: UplinkRecord) -> t.Iterator[Uplink]:
        with XenStore() as store:
            host, xl = open_host(store), Xl(runner)
            yield Uplink(record, host, DeviceSteps(host, xl, runner), xl, store, runner, network, say)

    try:
        return command(Program(known, runner, network, open_host, open_uplink))
    except (DriverDomainsError, OSError) as exc:
        say(str(exc))
        return 1


def say(line: str) -> None:
    """Write a line to the journal."""
    sys.stdout.write(f"{printable_line(line)}\n")
    sys.stdout.flush()
