# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part that runs in dom0, where `net-dd` serves `guest1`: types_of_domains_host.py ROUNDS GATEWAY TYPE=DEFINITION...

Each round starts `net-dd` from each definition in turn. Prints one JSON object for each start.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import guest_console

BACKEND, GUEST = "net-dd", "guest1"
#: Of UDP, to the discard port of the gateway: what counts is what the card has sent.
PACKETS, SIZE = 8000, 1400
SENT = "for card in /sys/class/net/*; do [ ! -e $card/device/vendor ] || cat $card/statistics/tx_bytes; done"


def xl(*words: str) -> str:
    """Run xl."""
    return subprocess.run(["xl", *words], check=True, capture_output=True, text=True, timeout=300).stdout


def inside(domain: str, command: str) -> str:
    """Run a command in a domain, and return its output."""
    code, output = guest_console.run(domain, 200, command)
    if code:
        sys.exit(f"{domain}: {command!r} ended with {code}: {output}")
    return output.strip()


def used() -> dict[str, float]:
    """Return the seconds of processor time of each domain."""
    return {row.split()[0]: float(row.split()[5]) for row in xl("list").splitlines()[1:]}


def available() -> int:
    """Return the memory that dom0 could still use, in MiB."""
    return int(re.findall(r"MemAvailable: *([0-9]+)", Path("/proc/meminfo").read_text())[0]) // 1024


def await_status(domid: str) -> None:
    """Wait until the driver domain serves."""
    for _try in range(2000):
        key = f"/local/domain/{domid}/data/driver-domain/status"
        done = subprocess.run(["xenstore-read", key], check=False, capture_output=True, text=True, timeout=60)
        if done.stdout.strip() == "ready":
            return
        time.sleep(0.1)
    sys.exit(f"{BACKEND} does not serve: {done.stdout}")


def measure(kind: str, definition: str, gateway: str) -> dict[str, object]:
    """Start the driver domain, and measure."""
    xl("destroy", BACKEND)
    time.sleep(5)
    free, memory, before, since = int(xl("info", "free_memory")), available(), used()["Domain-0"], time.monotonic()
    xl("create", "-q", definition)
    found: dict[str, object] = {"type": kind, "create": time.monotonic() - since}
    await_status(xl("domid", BACKEND).strip())
    found.update(ready=time.monotonic() - since, dom0_start=used()["Domain-0"] - before)
    time.sleep(5)
    found.update(xen=free - int(xl("info", "free_memory")), dom0=memory - available())
    vif = next(row.split() for row in xl("network-list", GUEST).splitlines()[1:])
    xl("network-detach", GUEST, vif[0])
    xl("network-attach", GUEST, f"mac={vif[2]}", "bridge=xenbr0", f"backend={BACKEND}")
    inside(GUEST, f"until ping -c 1 -W 2 {gateway}; do sleep 1; done")
    found["ping"] = float(re.findall(r"= [0-9.]+/([0-9.]+)/", inside(GUEST, f"ping -c 30 {gateway}"))[0])
    sent, before_all, since = int(inside(BACKEND, SENT).split()[-1]), used(), time.monotonic()
    inside(GUEST, f"dd if=/dev/zero bs={SIZE} count={PACKETS} 2>/dev/null | nc -u -w 1 {gateway} 9; true")
    seconds, after = time.monotonic() - since, used()
    megabytes = (int(inside(BACKEND, SENT).split()[-1]) - sent) / 1e6
    found.update(
        rate=megabytes / seconds, cpu=(after[BACKEND] - before_all[BACKEND]) / megabytes, lost=1 - megabytes * 1e6 / PACKETS / SIZE
    )
    return found


def main() -> None:
    """Measure all of it."""
    rounds, gateway, *definitions = sys.argv[1:]
    for _round in range(int(rounds)):
        for definition in definitions:
            kind, path = definition.split("=")
            sys.stdout.write(json.dumps(measure(kind, path, gateway)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
