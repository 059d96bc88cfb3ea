# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guests of many hosts, by this collection and by builtin modules, side by side: `make bench-fleet`. Needs root, and no test bed.

The hosts are simulated (hosts.py): a toolstack and a XenStore that are fakes, behind ssh and sshd that are not. Each way has hosts of its
own. For each delay and for each way:

* first: once, without delay; no guest is there, and all are defined and started,
* no-op: a run that changes nothing,
* check: one guest is missing on each host, and a run in check mode says so,
* change: the same without check mode; the guest is defined, starts with the host, and runs.

Counts are what each host's sshd counted, so they are exact. Times are relative: they depend on the machine, and on what else it does.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from hosts import HERE, Fleet, SimulatedHost

ROOT = HERE.parents[2]
#: The names of the playbooks, and of the hosts.
WAYS = ("collection", "builtin")
CASES = ("no-op", "check", "change")


#: With this many guests, the role is to have so many times fewer round trips.
TARGET_GUESTS, TARGET = 50, 10


class Measured(t.NamedTuple):
    """One run: round trips for each host, which are commands and transfers of files, and seconds for all of them."""

    trips: int
    seconds: float


def guests(count: int) -> list[dict[str, object]]:
    """Return the guests of a host."""
    return [
        {
            "name": f"web{number:03}",
            "type": "pv",
            "image": "none",
            "kernel": "/etc/xen/vmlinuz",
            "memory": 128,
            "autostart": True,
            "vifs": [{"bridge": "xenbr0", "mac": f"00:16:3e:00:{number >> 8:02x}:{number & 255:02x}"}],
        }
        for number in range(count)
    ]


class Bench:
    """Runs playbooks on the fleet."""

    def __init__(self, fleet: Fleet, options: argparse.Namespace) -> None:
        self._fleet = fleet
        self._forks = options.forks
        self._last = guests(options.guests)[-1]["name"]

    def hosts(self, way: str) -> dict[str, SimulatedHost]:
        """Return the hosts of one way."""
        return {name: host for name, host in self._fleet.hosts.items() if name.startswith(way)}

    def run(self, way: str, milliseconds: float, *options: str) -> tuple[Measured, set[int]]:
        """Run a way's playbook; return what it cost each host, and the numbers of changes that Ansible reports of hosts.

        :raises SystemExit: it failed, or did not cost each host the same.
        """
        hosts = self.hosts(way)
        with self._fleet.reached(list(hosts), milliseconds) as (inventory, environment):
            argv = ["ansible-playbook", f"--inventory={inventory}", f"--forks={self._forks}", str(HERE / f"{way}.yml")]
            started = time.monotonic()
            done = subprocess.run(
                [*argv, *options],
                env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **environment},
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            seconds = time.monotonic() - started
        found = re.findall(r" changed=(\d+) +unreachable=0 +failed=0 ", done.stdout)
        if done.returncode or len(found) != len(hosts):
            sys.exit(done.stdout + done.stderr)
        counts = {host.sessions() for host in hosts.values()}
        if len(counts) != 1:
            sys.exit(f"This run did not cost all hosts the same: {counts}")
        return Measured(counts.pop(), seconds), {int(number) for number in found}

    def measure(self, way: str, case: str, milliseconds: float) -> Measured:
        """Run one case.

        :raises SystemExit: the run did not do what the case is about.
        """
        hosts = self.hosts(way).values()
        if case == "check":
            for host in hosts:
                host.lose(self._last)
        measured, changes = self.run(way, milliseconds, *(["--check"] if case == "check" else []))
        running = {host.runs(self._last) for host in hosts}
        if (0 in changes) != (case == "no-op") or running != {case != "check"}:
            sys.exit(f"{way}, {case}: changes {changes}, the last guest runs: {running}")
        return measured


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="fleet", description="Measure a fleet of simulated hosts.")
    parser.add_argument("--hosts", type=int, default=20, help="for each of the two ways (default: %(default)s)")
    parser.add_argument("--guests", type=int, default=50, help="of each host (default: %(default)s)")
    parser.add_argument("--forks", type=int, default=20, help="of Ansible (default: %(default)s)")
    parser.add_argument("--latency", type=float, nargs="+", default=[0, 10, 50], help="of a round trip, in ms (default: 0 10 50)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("The simulated hosts have mount namespaces: run it as root.")
    names = [f"{way}{number}" for way in WAYS for number in range(1, options.hosts + 1)]
    variables = {"domu_domains": guests(options.guests)}
    with tempfile.TemporaryDirectory(prefix="fleet-") as directory, Fleet(Path(directory), names, variables) as fleet:
        bench = Bench(fleet, options)
        print(f"{options.hosts} hosts, {options.guests} guests on each, {options.forks} forks\n")
        print("| run | latency | round trips: role domu | builtin modules | ratio | time: role domu | builtin modules | ratio |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
        lowest = show("first", 0, *(bench.run(way, 0)[0] for way in WAYS))
        for milliseconds in options.latency:
            for case in CASES:
                lowest = min(lowest, show(case, milliseconds, *(bench.measure(way, case, milliseconds) for way in WAYS)))
    if options.guests >= TARGET_GUESTS and lowest < TARGET:
        sys.exit(f"The role is to have at least {TARGET} times fewer round trips.")


def show(case: str, milliseconds: float, own: Measured, other: Measured) -> float:
    """Print a row of the table, and return how many times fewer round trips the role has."""
    ratio = other.trips / own.trips
    cells = [case, f"{milliseconds:g} ms", f"{own.trips}", f"{other.trips}", f"{ratio:.0f}"]
    cells += [f"{own.seconds:.1f} s", f"{other.seconds:.1f} s", f"{other.seconds / own.seconds:.1f}"]
    print(f"| {' | '.join(cells)} |", flush=True)
    return ratio


if __name__ == "__main__":
    main()
