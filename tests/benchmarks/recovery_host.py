# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part that runs in dom0, where `net-dd` serves `guest1`: host.py CYCLES CLIENTS... Prints one JSON object for each measurement.

It finds the code of the recovery service in sys.path: PYTHONPATH=/usr/local/lib/xen-driver-domains/recovery.pyz
"""

from __future__ import annotations

import contextlib
import json
import re
import resource
import signal
import subprocess
import sys
import time
import typing as t
from collections import Counter
from pathlib import Path

from xen_driver_domains._domain.devices import read_devices  # type: ignore[import-not-found]  # in the service's program
from xen_driver_domains._xenstore.client import XenStore  # type: ignore[import-not-found]  # as above

BACKEND, GUEST = "net-dd", "guest1"
PROGRAM = "/usr/local/lib/xen-driver-domains/recovery.pyz"
#: What people use without the service. It knows each guest and each bridge.
LOOP = """
while sleep 5; do
  id=$(xl domid net-dd 2>/dev/null) || { xl create -q /etc/xen/net-dd.cfg; continue; }
  for guest in guest1; do
    xl network-list $guest | tail -n +2 | while read -r devid backend mac rest; do
      [ "$backend" = "$id" ] || { xl network-detach $guest $devid; xl network-attach $guest mac=$mac bridge=xenbr0 backend=net-dd; }
    done
  done
done
"""


def xl(*words: str) -> str:
    """Run xl."""
    return subprocess.run(["xl", *words], check=True, capture_output=True, text=True, timeout=300).stdout


def say(**found: object) -> None:
    """Print a result."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


class Host:
    """What XenStore and the kernel say."""

    def __init__(self) -> None:
        self.store = XenStore()

    def domid(self) -> int | None:
        """Return the number of the driver domain; none while it is gone."""
        found: int | None = self.store.domid_of(BACKEND)
        return found

    def works(self, backend: int) -> bool:
        """Return whether all vifs of all guests work at a backend; those that are detached do not.

        :raises SystemExit: the guest is gone, so that nothing would be measured.
        """
        names = self.store.domains()
        if GUEST not in names.values():
            sys.exit(f"{GUEST} is gone\n{xl('list')}")
        guests = [domid for domid, name in names.items() if domid and domid != backend]
        found = read_devices(self.store, guests, ["vif"], settings=())
        return all(found[domid] and all(d.connected and d.backend_id == backend for d in found[domid]) for domid in guests)

    def await_recovery(self, old: int | None, since: float) -> dict[str, float]:
        """Return how many seconds after `since` the new domain was there, when it served, and when all guests worked again."""
        found: dict[str, float] = {}
        while "works" not in found:
            if time.monotonic() - since > 200:
                sys.exit(f"nothing works again: {found}\n{xl('list')}")
            domid = self.domid()
            if domid is not None and domid != old:
                found.setdefault("there", round(time.monotonic() - since, 2))
                if self.store.read_text(f"/local/domain/{domid}/data/driver-domain/status") == "ready":
                    found.setdefault("serves", round(time.monotonic() - since, 2))
                    if self.works(domid):
                        found["works"] = round(time.monotonic() - since, 2)
            time.sleep(0.1)
        return found

    def count(self) -> Counter[str]:
        """Count what is in XenStore, apart from numbers of domains."""
        listing = subprocess.run(["xenstore-ls", "-f"], check=True, capture_output=True, text=True, timeout=60).stdout
        return Counter(re.sub(r"/([0-9]+|[0-9a-f]{8}-[0-9a-f-]+)(?=/|$)", "/N", line.split(" = ")[0]) for line in listing.splitlines())


def service() -> dict[str, int]:
    """Return what the service has used: resident kB, voluntary context switches, ticks of processor time."""
    pid = subprocess.check_output(["systemctl", "show", "-P", "MainPID", "xen-domain-recovery"], text=True).strip()
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    stat = Path(f"/proc/{pid}/stat").read_text().split()
    return {
        "kB": int(status["VmRSS"].split()[0]),
        "switches": int(status["voluntary_ctxt_switches"]),
        "ticks": int(stat[13]) + int(stat[14]),
    }


def restart(host: Host, create: bool) -> dict[str, float]:
    """Let the driver domain be destroyed, and return what `await_recovery` does.

    :param create: start it at once, as an operator would.
    """
    old, since = host.domid(), time.monotonic()
    xl("destroy", BACKEND)
    if create:
        xl("create", "-q", f"/etc/xen/{BACKEND}.cfg")
    return host.await_recovery(old, since)


@contextlib.contextmanager
def polling_loop() -> t.Iterator[None]:
    """Keep the service away, and run the loop instead."""
    subprocess.run([PROGRAM, "pause"], check=True, stdout=subprocess.DEVNULL, timeout=60)
    loop = subprocess.Popen(["bash", "-c", LOOP], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        loop.send_signal(signal.SIGTERM)
        loop.wait()
        subprocess.run([PROGRAM, "resume"], check=True, stdout=subprocess.DEVNULL, timeout=60)


def compare(host: Host, rounds: int) -> None:
    """Let the service and the loop do the same, alternately, and count what each costs in an idle minute."""
    for _round in range(rounds):
        say(what="service", **restart(host, False))
        time.sleep(5)
        with polling_loop():
            say(what="loop", **restart(host, False))
        time.sleep(5)
    before = service()
    time.sleep(60)
    after = service()
    say(what="service, idle", seconds=(after["ticks"] - before["ticks"]) / 100, switches=after["switches"] - before["switches"])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with polling_loop():
        time.sleep(60)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Those of its processes that have ended, and two short calls of the service's program.
    say(what="loop, idle", seconds=round(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, 2))


def cycles(host: Host, number: int) -> None:
    """Restart the driver domain again and again."""
    store, before, after = host.count(), service(), {}
    for _cycle in range(number):
        say(what="cycle", **restart(host, True))
        time.sleep(1)
        after = service()
    # What a driver domain writes after it serves, and what the service removes later.
    time.sleep(60)
    now = host.count()
    say(what="cycles", before=before, after=after, more=now - store, fewer=store - now)


def clients(host: Host, number: int) -> None:
    """Restart the driver domain of so many clients; copies of the guest stay."""
    text = Path(f"/etc/xen/{GUEST}.cfg").read_text()
    for copy in range(2, number + 1):
        path = Path(f"/root/copy{copy}.cfg")
        own = (
            text.replace(GUEST, f"copy{copy}")
            .replace("00:16:3e:00:00:11", f"00:16:3e:00:01:{copy:02x}")
            .replace("10.0.3.15", f"10.0.3.{100 + copy}")
            # So that 20 of them fit beside dom0 and the driver domain.
            .replace("memory = 128", "memory = 88")
        )
        path.write_text(own)
        if f"copy{copy} " not in xl("list"):
            xl("create", "-q", str(path))
    since = time.monotonic()
    host.await_recovery(None, since)
    time.sleep(20)
    for _round in range(3):
        say(what="clients", number=number, **restart(host, True))
        time.sleep(5)


def main() -> None:
    """Measure all of it."""
    host = Host()
    rounds, number, *several = (int(word) for word in sys.argv[1:])
    compare(host, rounds)
    cycles(host, number)
    for count in several:
        clients(host, count)


if __name__ == "__main__":
    main()
