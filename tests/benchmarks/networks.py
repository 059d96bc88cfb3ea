# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a guest sends through the networks of a driver domain, and what dom0 sends through the same card."""

from __future__ import annotations

import json
import statistics
import tempfile
import typing as t
from pathlib import Path

from playbooks import HERE, SITE, run

ROUNDS = 3


def main() -> None:
    """Measure and print."""
    run(SITE, {})
    with tempfile.TemporaryDirectory() as directory:
        kept = Path(directory, "measured")
        try:
            run(HERE / "networks.yml", {"bench_rounds": ROUNDS, "bench_file": str(kept)})
        finally:
            # If it failed in the middle, what came before is shown.
            show([json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else [])


def show(found: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """Print the medians."""
    print("| | eight pings of 1400 bytes at once, MB/s each way | to dom0's | processor time of who has the card, s/MB |")
    print("|---|---:|---:|---:|")
    dom0 = statistics.median([item["rate"] for item in found if item["kind"] == "dom0"] or [float("nan")])
    for kind in dict.fromkeys(item["kind"] for item in found):
        rate, cpu = (statistics.median(item[key] for item in found if item["kind"] == kind) for key in ("rate", "cpu"))
        print(f"| {kind} | {rate:.2f} | {rate / dom0:.2f} | {cpu:.2f} |")


if __name__ == "__main__":
    main()
