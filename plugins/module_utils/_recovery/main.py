# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The command line of the recovery service: run it, keep it away from domains, let it go on, and show what it says about itself."""

from __future__ import annotations

import json
import os
import sys
import time
import typing as t

from .._domain.aside import ASIDE, names_aside
from .._errors import DriverDomainsError
from .._xen.xl import Xl
from .._xenstore.client import XenStore
from .commands import Commands
from .files import CONFIGURATION, RUN, read_configuration, read_status
from .model import ALL
from .observe import RESUMED
from .service import RecoveryService, notifier, wake_on_signals


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
        ("resume", "take care of them again, and try again what was given up"),
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
    return 0


def run() -> None:
    """Run the service until a signal ends it."""
    configuration = read_configuration(CONFIGURATION)

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    with XenStore() as store:
        service = RecoveryService(
            configuration, store, Xl(), Commands(), directory=RUN, say=say, notify=notifier(os.environ.pop("NOTIFY_SOCKET", None))
        )
        service.run(wake_on_signals(service))


def order(store: XenStore, command: str, domains: t.Sequence[str]) -> None:
    """Let the service pause or resume, for these domains or for all. It takes effect at once, and until the host reboots."""
    aside = names_aside(store)
    if command == "pause":
        aside |= set(domains or [ALL])
    else:
        aside = aside - set(domains) - {ALL} if domains else set()
    values = {ASIDE: " ".join(sorted(aside))}
    if command == "resume":
        values[RESUMED] = str(time.time_ns())
    store.write_many(values)
