# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same driver domain as a PV and as an HVM domain, with the same card."""

from __future__ import annotations

import json
import statistics
import tempfile
import typing as t
from pathlib import Path

from playbooks import HERE, SITE, run

ROUNDS = 3
ROWS = {
    "create": "`xl create`, s",
    "ready": "`xl create` until the domain serves, s",
    "dom0_start": "processor time of dom0 until then, s",
    "xen": "memory of Xen, MiB",
    "dom0": "memory of dom0 (the device model), MiB",
    "ping": "ping from the guest to the gateway, ms",
    "rate": "eight pings of 1400 bytes at once, MB/s each way",
    "cpu": "processor time of the driver domain, s/MB",
}


def main() -> None:
    """Measure and print."""
    run(SITE, {})
    with tempfile.TemporaryDirectory() as directory:
        kept = Path(directory, "measured")
        try:
            run(HERE / "types_of_domains.yml", {"bench_rounds": ROUNDS, "bench_file": str(kept)})
        finally:
            # If it failed in the middle, what came before is shown.
            show([json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else [])


def show(found: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """Print the medians."""
    kinds = list(dict.fromkeys(item["type"] for item in found))
    print(f"| median of {ROUNDS} | " + " | ".join(map(str.upper, kinds)) + " |\n|---|" + "---:|" * len(kinds))
    for key, title in ROWS.items():
        medians = [statistics.median(item[key] for item in found if item["type"] == kind) for kind in kinds]
        print(f"| {title} | " + " | ".join(f"{median:.2f}" for median in medians) + " |")


if __name__ == "__main__":
    main()
