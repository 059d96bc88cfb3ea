# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part that runs in dom0, where `net-dd` serves `guest1`: types_of_domains_host.py ROUNDS GATEWAY TYPE=DEFINITION...

Each round starts `net-dd` from each definition in turn. Prints one JSON object for each start.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from measuring import await_key, inside, send, used, xl

BACKEND, GUEST = "net-dd", "guest1"


def available() -> int:
    """Return the memory that dom0 could still use, in MiB."""
    return int(re.findall(r"MemAvailable: *([0-9]+)", Path("/proc/meminfo").read_text())[0]) // 1024


def measure(kind: str, definition: str, gateway: str) -> dict[str, object]:
    """Start the driver domain, and measure."""
    xl("destroy", BACKEND)
    time.sleep(5)
    free, memory, before, since = int(xl("info", "free_memory")), available(), used()["Domain-0"], time.monotonic()
    xl("create", "-q", definition)
    found: dict[str, object] = {"type": kind, "create": time.monotonic() - since}
    await_key(f"/local/domain/{xl('domid', BACKEND).strip()}/data/driver-domain/status", ["ready"])
    found.update(ready=time.monotonic() - since, dom0_start=used()["Domain-0"] - before)
    time.sleep(5)
    found.update(xen=free - int(xl("info", "free_memory")), dom0=memory - available())
    vif = next(row.split() for row in xl("network-list", GUEST).splitlines()[1:])
    xl("network-detach", GUEST, vif[0])
    xl("network-attach", GUEST, f"mac={vif[2]}", "bridge=xenbr0", f"backend={BACKEND}")
    inside(GUEST, f"until ping -c 1 -W 2 {gateway}; do sleep 1; done")
    found["ping"] = float(re.findall(r"= [0-9.]+/([0-9.]+)/", inside(GUEST, f"ping -c 30 {gateway}"))[0])
    found.update(send(GUEST, BACKEND, gateway))
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
