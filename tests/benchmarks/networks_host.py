# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part that runs in dom0: networks_host.py ROUNDS GATEWAY KIND [BACKEND GUEST]

A guest sends through the card of its driver domain, or dom0 does so itself. Prints one JSON object for each round.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from measuring import echoes, inside, rates, send, used


def send_from_dom0(gateway: str) -> dict[str, float]:
    """Let dom0 send through the card that has the route to the gateway; the result is that of `send`."""
    route = subprocess.run(["ip", "-o", "route", "get", gateway], check=True, capture_output=True, text=True, timeout=60).stdout.split()
    statistics = Path("/sys/class/net", route[route.index("dev") + 1], "statistics/tx_bytes")
    sent, before, since = int(statistics.read_text()), used(), time.monotonic()
    subprocess.run(["sh", "-c", echoes(gateway)], check=True, timeout=200)
    seconds, after = time.monotonic() - since, used()
    return rates(int(statistics.read_text()) - sent, seconds, after["Domain-0"] - before["Domain-0"])


def rounds_of(number: int, gateway: str, domains: t.Sequence[str]) -> t.Iterator[dict[str, float]]:
    """Yield the result of each round."""
    if domains:
        backend, guest = domains
        inside(guest, f"until ping -c 1 -W 2 {gateway}; do sleep 1; done")
    for _round in range(number):
        yield send(guest, backend, gateway) if domains else send_from_dom0(gateway)


def main() -> None:
    """Measure all of it."""
    number, gateway, kind, *domains = sys.argv[1:]
    for result in rounds_of(int(number), gateway, domains):
        sys.stdout.write(json.dumps({"kind": kind, **result}) + "\n")


if __name__ == "__main__":
    main()
