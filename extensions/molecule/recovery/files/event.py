# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let something happen to net-dd while guest1 pings through it 10 times a second, and print what it cost: event.py [EVENT].

Without an event, the pings begin. Runs in dom0, beside guest_console.py. Standard library only.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

from guest_console import run

STATUS = "/run/xen-driver-domains/recovery/status.json"
BACKEND, GUEST, ADDRESS = "net-dd", "guest1", "10.0.3.2"
#: Seconds in which traffic must come back on a busy host. The watchdog of Xen takes 60 s, and the service waits 120 s for a silent domain.
LIMIT = 400.0
#: On the console of net-dd, in its background: some of them end that.
INSIDE = {
    "panic": "echo c >/proc/sysrq-trigger",
    # All processors spin with interrupts off until this time is over.
    "hang": "echo 100000 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger",
    "devd killed": "kill -KILL $(pidof xl | tr ' ' '\\n' | tail -n 1)",
    "devd stopped": "kill -STOP $(pidof xl | tr ' ' '\\n' | tail -n 1)",
}
IN_DOM0 = {
    "destroy": f"xl destroy {BACKEND}",
    "reboot": f"xl reboot {BACKEND}",
    # The init of the initial RAM disk stops there.
    "hang in its boot": f"cp /etc/xen/{BACKEND}.cfg /root; sed -i 's/xendd.backend=1/& break=top/' /etc/xen/{BACKEND}.cfg;"
    f" xl destroy {BACKEND}; sleep 20; mv /root/{BACKEND}.cfg /etc/xen",
    # It is unpaused when the new domain has served for a while.
    "destroy, while the client is paused": f"xl pause {GUEST}; xl destroy {BACKEND}; sleep 30; xl unpause {GUEST}",
    "image back, resumed": 'mv /root/ramdisk "$(sed -n \'s/^ramdisk = "\\(.*\\)"/\\1/p\' /etc/xen/net-dd.cfg)";'
    " /usr/local/lib/xen-driver-domains/recovery.pyz resume",
}
#: The same domain goes on after these; devd is back after so many seconds.
SAME = {"devd killed": 10.0, "devd stopped": 25.0}
#: Each reply with the time at which it came; ping ends when there is no interface.
PINGS = (
    f"(while :; do ping -i 0.1 {ADDRESS} 2>/dev/null; sleep 0.1; done | while read -r line; do case $line in *seq=*)"
    ' read -r now rest </proc/uptime; echo "$now" >>/root/pings ;; esac; done) >/dev/null 2>&1 &'
)
#: The longest time without a reply, and how often there was one.
LONGEST = "awk 'NR > 1 && $1 - last > most { most = $1 - last } { last = $1 } END { print \"longest\", most + 0, NR }' /root/pings"


def guest(command: str) -> str:
    """Return what a command prints in the guest."""
    code, output = run(GUEST, 60, command)
    if code:
        sys.exit(f"{GUEST}: {command!r} ended with {code}: {output}")
    return output


def pings() -> tuple[float, int]:
    """Return the longest time without a reply, and the number of replies."""
    found = re.search(r"longest ([0-9.]+) (\d+)", guest(LONGEST))
    if not found:
        sys.exit("the guest does not count its pings")
    return float(found.group(1)), int(found.group(2))


def recoveries() -> list[str]:
    """Return the last events of the service."""
    with open(STATUS, encoding="utf-8") as file:
        return list(json.load(file)["recoveries"])


def news(before: list[str]) -> list[str]:
    """Return the events that came after those."""
    now = recoveries()
    return now[now.index(before[-1]) + 1 :] if before and before[-1] in now else now


def seconds(pattern: str, lines: list[str]) -> float:
    """Return the number in the last line that has one."""
    found = [match for match in (re.search(pattern, line) for line in lines) if match]
    return float(found[-1].group(1)) if found else 0.0


def state() -> str:
    """Return what dom0 and the console of net-dd show when something went wrong."""
    shown = subprocess.run(
        ["sh", "-c", f"xl list; xenstore-ls -f | grep {BACKEND}; xl dmesg | tail"], capture_output=True, text=True, check=False
    )
    return f"{shown.stdout}{run(BACKEND, 30, 'xenstore-ls data; ip addr; dmesg | tail -n 40; tail /var/log/xen/*')}"


def main(event: str) -> None:
    """Let it happen, and print what it cost."""
    if not event:
        guest(PINGS)
        return
    before = recoveries()
    guest(": >/root/pings")
    start = time.monotonic()
    if event in INSIDE:
        run(BACKEND, 10, f"(sleep 1; {INSIDE[event]}) >/dev/null 2>&1 &")
    else:
        subprocess.run(["sh", "-c", IN_DOM0[event]], check=True, timeout=LIMIT)
    if event in SAME:
        time.sleep(SAME[event])
    while event not in SAME and not any("works again" in line for line in news(before)):
        if time.monotonic() - start > LIMIT:
            sys.exit(f"{event}: nothing works again: {news(before)}\n{state()}")
        time.sleep(0.5)
    told = news(before)
    replies = pings()[1]
    while True:
        outage, more = pings()
        if more >= replies + 10:
            break
        if time.monotonic() - start > LIMIT:
            sys.exit(f"{event}: no traffic: {told}\n{state()}")
    boot, recovery = seconds(r"serves, ([0-9.]+) s after", told), seconds(r"works again .*, after ([0-9.]+) s", told)
    sys.stdout.write(
        f"{event}: outage {outage:.1f} s, boot {boot:.1f} s, difference {outage - boot:.1f} s; works {recovery:.1f} s after it serves\n"
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
