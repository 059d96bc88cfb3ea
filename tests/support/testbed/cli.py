# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from .bed import FRESH, Bed
from .cache import Cache, default_dir
from .errors import TestbedError
from .hardware import HARDWARE
from .images import FLAVOURS, SUITES
from .machine import Kind
from .progress import say

_ROOT = Path(__file__).resolve().parents[3]


def default_state_dir() -> Path:
    """Return where the machine's files are, unless the user says otherwise: in the checkout, or, installed, where the user's state is."""
    if own := os.environ.get("XEN_TESTBED_STATE"):
        return Path(own)
    # Tarballs do not have this file.
    if (_ROOT / "galaxy.yml").exists():
        return _ROOT / ".testbed"
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "xen-driver-domains" / "testbed"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--suite", choices=SUITES, default=SUITES[0], help="the Debian release of dom0 [%(default)s]")
    common.add_argument("--flavour", choices=FLAVOURS, default=FLAVOURS[0], help="a Xen host, or a Debian without Xen [%(default)s]")
    common.add_argument("--hardware", choices=HARDWARE, default="plain", help="the kind of machine that is emulated [%(default)s]")
    common.add_argument("--state-dir", type=Path, default=default_state_dir(), help="the machine's files [%(default)s]")

    top = argparse.ArgumentParser(prog="xen-testbed", description="A nested Xen on emulated hardware.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("build", parents=[common], help="build the images that are not in the cache")
    up = commands.add_parser("up", parents=[common], help="start the machine and write its inventory")
    up.add_argument("--fresh-boot", action="store_true", help="boot it, instead of resuming from its booted state")
    up.add_argument("--port", type=int, help="the loopback port of its SSH [a free one]")
    status = commands.add_parser("status", parents=[common], help="report whether the machine runs, and where")
    status.add_argument("--json", action="store_true", help="as JSON on stdout")
    ssh = commands.add_parser("ssh", parents=[common], help="run a command in the machine, or a shell")
    ssh.add_argument("remote", nargs=argparse.REMAINDER, metavar="CMD")
    snapshot = commands.add_parser("snapshot", parents=[common], help="save the running machine's state")
    snapshot.add_argument("name")
    restore = commands.add_parser("restore", parents=[common], help="put the running machine back to a snapshot")
    restore.add_argument("name", help=f"{FRESH!r}, which is always there, or one that was saved")
    forget = commands.add_parser("forget", parents=[common], help="remove a snapshot of the running machine")
    forget.add_argument("name")
    plug = commands.add_parser("plug", parents=[common], help="plug a device into the machine while its power is off, and boot")
    plug.add_argument("device", help="as for QEMU's option -device, such as pcie-pci-bridge,id=moved,bus=port1")
    commands.add_parser("cycle", parents=[common], help="cut the machine's power, and switch it on with the hardware of --hardware")
    commands.add_parser("down", parents=[common], help="end the machine and remove its state")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run a command; return the exit status."""
    options = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(options)
    except TestbedError as error:
        say(f"testbed: {error}")
        return 1
    except KeyboardInterrupt:
        say("testbed: interrupted, and cleaned up")
        return 130


def _run(options: argparse.Namespace) -> int:
    bed = Bed(Kind(options.suite, options.flavour, options.hardware), options.state_dir.absolute(), Cache(default_dir()))
    if options.command == "status":
        return _status(bed, options.json)
    if options.command == "ssh":
        return bed.ssh(options.remote)
    actions: dict[str, Callable[[], None]] = {
        "build": bed.build,
        "up": lambda: bed.up(options.port, options.fresh_boot),
        "snapshot": lambda: bed.snapshot(options.name),
        "restore": lambda: bed.restore(options.name),
        "forget": lambda: bed.forget(options.name),
        "plug": lambda: bed.plug(options.device),
        "cycle": bed.cycle,
        "down": bed.down,
    }
    actions[options.command]()
    return 0


def _status(bed: Bed, as_json: bool) -> int:
    found = bed.status()
    if as_json:
        print(json.dumps(found, indent=2))
    elif found["running"]:
        ssh = "answers" if found["ssh"] else "does not answer"
        print(f"up: {found['suite']} {found['flavour']} {found['hardware']}, pid {found['pid']}, SSH on port {found['port']} {ssh}")
        print(f"snapshots: {', '.join(found['snapshots'])}")
        print(f"inventory: {found['inventory']}")
    else:
        print(f"down: no machine runs in {found['state_dir']}")
    return 0 if found["running"] else 3


def _interrupt(*_: object) -> None:
    """End as at Ctrl-C, with everything cleaned up."""
    raise KeyboardInterrupt
