# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run of site.yml that changes nothing, for 1 guest and for 50 of which 49 are only defined, measured alternately."""

from __future__ import annotations

import statistics

from playbooks import DOMAINS, SITE, round_trips, run

COUNTS = (1, 50)
ROUNDS = 3


def variables(guests: list[dict[str, object]], count: int) -> dict[str, object]:
    """Return the variables for so many guests: those of the inventory, and others that are only defined."""
    more = [
        {"name": f"bench{number}", "state": "present", "memory": 64, "image": "none", "options": {"bootloader": "pygrub"}}
        for number in range(count - len(guests))
    ]
    return {"domu_domains": [*guests, *more]}


def inventory_guests() -> list[dict[str, object]]:
    """Return the guests of the inventory."""
    import json
    import os
    import subprocess

    inventories = [f"--inventory={os.environ[name]}" for name in ("HOSTS_INVENTORY", "VARS_INVENTORY")]
    listed = subprocess.run(["ansible-inventory", *inventories, "--list"], capture_output=True, text=True, check=True)
    found = json.loads(listed.stdout)
    host = found["xen_hosts"]["hosts"][0]
    guests: list[dict[str, object]] = found["_meta"]["hostvars"][host]["domu_domains"]
    return guests


def main() -> None:
    """Measure and print."""
    guests = inventory_guests()
    cases = {count: variables(guests, count) for count in COUNTS}
    run(SITE, cases[max(COUNTS)])
    trips = {count: round_trips(run(SITE, case, "-vvv")[1]) for count, case in cases.items()}
    seconds: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _round in range(ROUNDS):
        for count, case in cases.items():
            taken, output = run(SITE, case)
            if "changed=0" not in output:
                raise SystemExit(f"{output}\nThis run should have changed nothing.")
            seconds[count].append(taken)
    run(DOMAINS, {"bench_count": max(COUNTS), "bench_way": "list", "bench_state": "absent"})
    few, many = (statistics.median(seconds[count]) for count in COUNTS)
    print(f"{'guests':>8} {'SSH round trips':>17} {f'median of {ROUNDS}':>13}")
    for count in COUNTS:
        print(f"{count:>8} {trips[count]:>17} {statistics.median(seconds[count]):>11.1f} s")
    print(f"time for {COUNTS[1]} / time for {COUNTS[0]}: {many / few:.2f}", flush=True)


if __name__ == "__main__":
    main()
