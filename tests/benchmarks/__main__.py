# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Performance budgets, measured side by side on a Xen host: `make bench`. Prints; fails only when something does not work.

One module call is to cost the same for one domain and for many. Compared with a loop of calls for one domain each, the way a
playbook without list parameters would do it. The domains are only defined, never started.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
COUNTS = (1, 10, 50)


def play(**variables: object) -> float:
    """Run the benchmark's playbook and return the seconds it took."""
    inventories = [f"--inventory={os.environ[name]}" for name in ("HOSTS_INVENTORY", "VARS_INVENTORY")]
    started = time.monotonic()
    argv = ["ansible-playbook", *inventories, str(HERE / "domains.yml"), f"--extra-vars={json.dumps(variables)}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode or "unreachable=0" not in done.stdout:
        sys.exit(done.stdout + done.stderr)
    return time.monotonic() - started


def main() -> None:
    """Measure and print."""
    idle = play(bench_count=0, bench_way="none")
    # What only the first call costs.
    play(bench_count=1, bench_way="list", bench_state="absent")
    print(f"an empty play takes {idle:.1f} s, which is taken off below\n")
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
