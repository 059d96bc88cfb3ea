# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The command line of the recovery service: run it, keep it away from domains, let it go on, and show what it says about itself."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import typing as t

from .._domain.aside import PAUSED, STOPPED, words_in
from .._errors import DriverDomainsError, InvalidInput
from .._polling import wait_until
from .._runner import Runner
from .._turn import Turn
from .._uplink_record import GIVE_UP_UNIT, UPLINK_RECORD, read_uplink
from .._xen.xl import Xl
from .._xenstore.client import XenStore
from .commands import Commands
from .files import CONFIGURATION, RUN, forget_old, life_file, read_configuration, read_status
from .model import ALL
from .observe import RESUMED
from .service import RecoveryService, wake_on_signals
from .status import notifier

#: Seconds that a new service waits for the end of another one.
LIFE_WAIT = 5.0


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words == ["run"]:
            run()
            return 0
        return _order(words)
    except DriverDomainsError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1


def _order(words: t.Sequence[str]) -> int:
    # What the service does not need takes no memory.
    import argparse

    parser = argparse.ArgumentParser(prog="recovery.pyz", description="Recovery of Xen driver domains and their clients")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the service; systemd does that")
    commands.add_parser("status", help="show clients, backends and the last events")
    for name, text in (
        ("pause", "leave these domains alone, as clients and as backends, or all without a name"),
        ("resume", "end that, for the same names or without one, and try again what was given up"),
    ):
        commands.add_parser(name, help=text).add_argument("domains", nargs="*", metavar="NAME")
    options = parser.parse_args(words)
    if options.command == "run":
        run()
    elif options.command == "status":
        sys.stdout.write(json.dumps(read_status(), indent=2) + "\n")
    else:
        with XenStore() as store:
            order(store, options.command, options.domains)
            sys.stdout.write(left_alone(store))
    return 0


def run() -> None:
    """Run the service until a signal ends it."""
    configuration = read_configuration(CONFIGURATION)

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    with XenStore() as store:
        life = Turn(life_file(RUN))
        # Who asks whether it runs has the lock for a moment.
        if not wait_until(life.take, LIFE_WAIT):
            raise DriverDomainsError("The recovery service runs already", rule=f"a lock on {life.path} lets it run once")
        forgotten = forget_old(RUN)
        if forgotten:
            say(forgotten)
        service = RecoveryService(
            configuration,
            store,
            Xl(),
            Commands(),
            directory=RUN,
            # systemd has made it; without systemd there is none.
            metrics=os.environ.get("RUNTIME_DIRECTORY", ""),
            say=say,
            notify=notifier(os.environ.pop("NOTIFY_SOCKET", None)),
            gave_up=lambda name: return_card_of(name, Runner(), say),
        )
        service.run(wake_on_signals(service))


def return_card_of(name: str, runner: Runner, say: t.Callable[[str], None], path: str = UPLINK_RECORD) -> None:
    """Have dom0's network card returned if the driver domain that has it is not started again. The unit of `_uplink` does it.

    A record that cannot be read may name this driver domain.
    """
    try:
        record = read_uplink(path)
        concerned = record is not None and record.backend == name
    except DriverDomainsError as exc:
        say(str(exc))
        concerned = True
    if concerned:
        with contextlib.suppress(DriverDomainsError):
            runner.run(["systemctl", "start", "--no-block", GIVE_UP_UNIT], timeout=20.0, check=False)


def order(store: XenStore, command: str, domains: t.Sequence[str]) -> None:
    """Let the service pause or resume. It takes effect at once, and until the host reboots.

    Each ends what was given the same names, or none. Only who names a domain has it started that a playbook has stopped.

    :raises InvalidInput: some are to be resumed while all are paused.
    """
    paused, stopped = words_in(store, PAUSED), words_in(store, STOPPED)
    if command == "pause":
        store.write(PAUSED, " ".join(sorted(paused | set(domains or [ALL]))))
        return
    if domains and ALL in paused:
        raise InvalidInput("All domains are paused", rule="what is paused without a name is resumed without one", remedy="Use 'resume'")
    values = {RESUMED: str(time.time_ns()), PAUSED: " ".join(sorted(paused - set(domains or [ALL])))}
    if stopped & set(domains):
        values[STOPPED] = " ".join(sorted(stopped - set(domains)))
    store.write_many(values)


def left_alone(store: XenStore) -> str:
    """Return a line about the domains that the service leaves alone, or ""."""
    paused, stopped = sorted(words_in(store, PAUSED)), sorted(words_in(store, STOPPED))
    words = [f"{'all' if name == ALL else name} (paused)" for name in paused] + [f"{name} (stopped by xl_domain)" for name in stopped]
    return f"Left alone: {', '.join(words)}\n" if words else ""
