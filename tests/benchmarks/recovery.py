# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A driver domain that is destroyed: the recovery service beside a loop that polls each 5 s, 50 restarts in a row, and 20 clients."""

from __future__ import annotations

import json
import statistics
import tempfile
import typing as t
from pathlib import Path

from playbooks import HERE, SITE, run

ROUNDS, CYCLES, CLIENTS = 3, 50, 20


def main() -> None:
    """Measure and print; fails if the restarts leave something in XenStore, or if the service grows."""
    run(SITE, {})
    with tempfile.TemporaryDirectory() as directory:
        kept = Path(directory, "measured")
        try:
            run(HERE / "recovery.yml", {"bench_rounds": ROUNDS, "bench_cycles": CYCLES, "bench_clients": CLIENTS, "bench_file": str(kept)})
        finally:
            # If it failed in the middle, what came before is shown.
            show([json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else [])


def show(found: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """Print what was measured.

    :raises SystemExit: it is not as it should be.
    """
    print("seconds, median and worst: from the destruction until all clients work; without the boot; after the backend serves")
    for what in ("service", "loop", "cycle", "clients", "by hand"):
        rounds = [item for item in found if item["what"] == what]
        if not rounds:
            continue
        whole = [item["works"] for item in rounds]
        other = [item["works"] - item["serves"] + item["there"] for item in rounds]
        after = [item["works"] - item["serves"] for item in rounds]
        name = f"{what}, {rounds[0]['number']}" if "number" in rounds[0] else what
        print(
            f"{name:>14} {len(rounds):>3} times " + "  ".join(f"{statistics.median(x):6.1f} {max(x):6.1f}" for x in (whole, other, after))
        )
    for item in found:
        if item["what"].endswith(", idle"):
            print(
                f"{item['what']}: {item['seconds']} s of processor time in a minute"
                + f", {item['switches']} wake-ups" * ("switches" in item)
            )
        if item["what"] == "cycles":
            before, after = item["before"], item["after"]
            print(f"the service after {CYCLES} restarts: {after['kB']} kB, before {before['kB']} kB")
            if item["more"] or after["kB"] > before["kB"] + 1000:
                raise SystemExit(f"the restarts have left something behind: {item}")


if __name__ == "__main__":
    main()
