# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Domains defined by one module call, and by a loop of calls for one domain each, as a module without list parameters would need."""

from __future__ import annotations

from playbooks import DOMAINS, run

COUNTS = (1, 10, 50)


def play(**variables: object) -> float:
    """Run the benchmark's playbook and return the seconds it took."""
    return run(DOMAINS, variables)[0]


def main() -> None:
    """Measure and print."""
    idle = play(bench_count=0, bench_way="none")
    # What only the first call costs.
    play(bench_count=1, bench_way="list", bench_state="absent")
    print(f"an empty play takes {idle:.1f} s, which is taken off below")
    print(f"{'domains':>8} {'one call':>10} {'again, no change':>18} {'loop of calls':>15} {'loop / one call':>17}")
    for count in COUNTS:
        seconds = {}
        for way, state in (("list", "present"), ("again", "present"), ("undo", "absent"), ("loop", "present"), ("undo", "absent")):
            way_of_call = "loop" if way == "loop" else "list"
            seconds[way] = play(bench_count=count, bench_way=way_of_call, bench_state=state) - idle
        ratio = seconds["loop"] / seconds["list"]
        print(f"{count:>8} {seconds['list']:>8.1f} s {seconds['again']:>16.1f} s {seconds['loop']:>13.1f} s {ratio:>17.1f}", flush=True)


if __name__ == "__main__":
    main()
