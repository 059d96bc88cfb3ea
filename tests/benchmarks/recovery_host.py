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
import threading
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

    def vifs(self) -> list[tuple[int, int]]:
        """Return the vifs that all guests have: the numbers of the domain and of the vif."""
        names = self.store.domains()
        guests = [domid for domid, name in names.items() if domid and name != BACKEND]
        return [(vif.domid, vif.devid) for found in read_devices(self.store, guests, ["vif"], settings=()).values() for vif in found]

    def works(self, backend: int, vifs: t.Sequence[tuple[int, int]]) -> bool:
        """Return whether all of these vifs work at a backend; those that are detached do not.

        :raises SystemExit: a guest is gone, so that nothing would be measured.
        """
        wanted: dict[str, str | None] = {}
        for domid, devid in vifs:
            home = f"/local/domain/{backend}/backend/vif/{domid}/{devid}"
            wanted.update({f"{home}/hotplug-status": "connected", f"{home}/state": "4"})
            wanted[f"/local/domain/{domid}/device/vif/{devid}/state"] = "4"
        found = self.store.read_texts([*wanted, *(f"/local/domain/{domid}/name" for domid, _devid in vifs)])
        if None in [found[f"/local/domain/{domid}/name"] for domid, _devid in vifs]:
            sys.exit(f"a guest is gone\n{xl('list')}")
        return bool(vifs) and all(found[path] == value for path, value in wanted.items())

    def await_recovery(
        self, old: int | None, since: float, vifs: t.Sequence[tuple[int, int]], serves: t.Callable[[], object] = lambda: None
    ) -> dict[str, float]:
        """Return how many seconds after `since` the new domain was there, when it served, and when all vifs worked again.

        :param serves: called when it serves.
        """
        found: dict[str, float] = {}
        while "works" not in found:
            begun = time.monotonic()
            if begun - since > 400:
                sys.exit(f"nothing works again: {found}\n{xl('list')}")
            domid = self.domid()
            if domid is not None and domid != old:
                found.setdefault("there", round(time.monotonic() - since, 2))
                if "serves" not in found and self.store.read_text(f"/local/domain/{domid}/data/driver-domain/status") == "ready":
                    found["serves"] = round(time.monotonic() - since, 2)
                    serves()
                if "serves" in found and self.works(domid, vifs):
                    found["works"] = round(time.monotonic() - since, 2)
            # What is measured waits for XenStore, too.
            time.sleep(max(0.1, 10 * (time.monotonic() - begun)))
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
    vifs, old, since = host.vifs(), host.domid(), time.monotonic()
    xl("destroy", BACKEND)
    if create:
        xl("create", "-q", f"/etc/xen/{BACKEND}.cfg")
    return host.await_recovery(old, since, vifs)


def restart_by_hand(host: Host) -> dict[str, float]:
    """Do what the service does with nothing but xl: detach all vifs at once, attach four at a time when the driver domain serves."""
    vifs, old, since = host.vifs(), host.domid(), time.monotonic()
    homes = {vif: f"/libxl/{vif[0]}/device/vif/{vif[1]}" for vif in vifs}
    kept = host.store.read_texts(f"{home}/{key}" for home in homes.values() for key in ("mac", "bridge", "ip"))
    orders = "".join(
        f"{domid} backend={BACKEND} " + " ".join(f"{key}={kept[f'{home}/{key}']}" for key in ("mac", "bridge", "ip")) + "\n"
        for (domid, _devid), home in homes.items()
    )
    xl("destroy", BACKEND)
    xl("create", "-q", f"/etc/xen/{BACKEND}.cfg")
    xargs(["-P4", "-L1", "xl", "network-detach"], "".join(f"{domid} {devid}\n" for domid, devid in vifs))

    def attach() -> None:
        threading.Thread(target=xargs, args=(["-P4", "-L1", "xl", "network-attach"], orders)).start()

    return host.await_recovery(old, since, vifs, attach)


def xargs(words: t.Sequence[str], lines: str) -> None:
    """Run a command for each line; if one fails, the others still run, and what it was to do is missing in the end."""
    subprocess.run(["xargs", *words], input=lines, check=False, text=True, stdout=subprocess.DEVNULL, timeout=600)


def go_on() -> None:
    """Let the service forget how often it has attached the same device: after 20 times within an hour, it waits longer."""
    subprocess.run([PROGRAM, "resume"], check=True, stdout=subprocess.DEVNULL, timeout=60)


@contextlib.contextmanager
def no_service() -> t.Iterator[None]:
    """Keep the service away."""
    subprocess.run([PROGRAM, "pause"], check=True, stdout=subprocess.DEVNULL, timeout=60)
    try:
        yield
    finally:
        go_on()


@contextlib.contextmanager
def polling_loop() -> t.Iterator[None]:
    """Run the loop instead of the service."""
    with no_service():
        loop = subprocess.Popen(["bash", "-c", LOOP], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            loop.send_signal(signal.SIGTERM)
            loop.wait()


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
    for cycle in range(number):
        if cycle % 10 == 0:
            go_on()
        say(what="cycle", **restart(host, True))
        time.sleep(1)
        after = service()
    # What a driver domain writes after it serves, and what the service removes later.
    time.sleep(60)
    now = host.count()
    say(what="cycles", before=before, after=after, more=now - store, fewer=store - now)


def create(host: Host, name: str, memory: int, mac: str, address: str) -> None:
    """Start a copy of the guest with so many MiB, in place of a domain of that name."""
    text = Path(f"/etc/xen/{GUEST}.cfg").read_text()
    own = text.replace("00:16:3e:00:00:11", mac).replace("10.0.3.15", address).replace("memory = 128", f"memory = {memory}")
    path = Path(f"/root/{name}.cfg")
    path.write_text(own.replace(GUEST, name))
    if host.store.domid_of(name) is not None:
        xl("destroy", name)
    xl("create", "-q", str(path))


def clients(host: Host, number: int) -> None:
    """Restart the driver domain of so many clients, with the service and by hand, alternately; they stay."""
    # So that 20 of them fit beside dom0 and the driver domain.
    create(host, GUEST, 88, "00:16:3e:00:00:11", "10.0.3.15")
    for copy in range(2, number + 1):
        create(host, f"copy{copy}", 88, f"00:16:3e:00:01:{copy:02x}", f"10.0.3.{100 + copy}")
    host.await_recovery(None, time.monotonic(), host.vifs())
    time.sleep(20)
    for _round in range(3):
        say(what="clients", number=number, **restart(host, True))
        time.sleep(20)
        with no_service():
            say(what="by hand", number=number, **restart_by_hand(host))
        time.sleep(20)


def main() -> None:
    """Measure all of it."""
    host = Host()
    rounds, number, *several = (int(word) for word in sys.argv[1:])
    # Each time that its vif is attached again takes 1 MiB of it (docs/recovery.md).
    create(host, GUEST, 256, "00:16:3e:00:00:11", "10.0.3.15")
    host.await_recovery(None, time.monotonic(), host.vifs())
    compare(host, rounds)
    cycles(host, number)
    for count in several:
        clients(host, count)


if __name__ == "__main__":
    main()
