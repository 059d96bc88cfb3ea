# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the measurements in dom0 have in common."""

from __future__ import annotations

import subprocess
import sys
import time
import typing as t

import guest_console

#: So many `ping` at once for so many seconds, with packets of so many bytes. Each sends the next packet when the last one was answered.
STREAMS, SECONDS, SIZE = 8, 20, 1400


def xl(*words: str) -> str:
    """Run xl."""
    return subprocess.run(["xl", *words], check=True, capture_output=True, text=True, timeout=300).stdout


def inside(domain: str, command: str) -> str:
    """Run a command in a domain, and return its output.

    :raises SystemExit: it failed.
    """
    code, output = guest_console.run(domain, 200, command)
    if code:
        sys.exit(f"{domain}: {command!r} ended with {code}: {output}")
    return output.strip()


def used() -> dict[str, float]:
    """Return the seconds of processor time of each domain."""
    return {row.split()[0]: float(row.split()[5]) for row in xl("list").splitlines()[1:]}


def sent_by_cards(domain: str) -> int:
    """Return how many bytes the cards of a domain have sent."""
    found = inside(domain, "for card in /sys/class/net/*; do [ ! -e $card/device/vendor ] || cat $card/statistics/tx_bytes; done")
    return sum(int(line) for line in found.split() if line.isdigit())


def echoes(gateway: str) -> str:
    """Return the shell command that sends as fast as the gateway answers."""
    return f"for n in $(seq {STREAMS}); do busybox ping -A -q -s {SIZE} -w {SECONDS} {gateway} >/dev/null & done; wait"


def send(guest: str, backend: str, gateway: str) -> dict[str, float]:
    """Let a guest send as fast as the gateway answers.

    :returns: `rate` in MB/s each way, and processor time of the driver domain in s/MB as `cpu`.
    """
    sent, before, since = sent_by_cards(backend), used(), time.monotonic()
    inside(guest, echoes(gateway))
    seconds, after = time.monotonic() - since, used()
    return rates(sent_by_cards(backend) - sent, seconds, after[backend] - before[backend])


def rates(sent: int, seconds: float, processor: float) -> dict[str, float]:
    """Return the result of a measurement of so many bytes."""
    return {"rate": sent / 1e6 / seconds, "cpu": processor / (sent / 1e6)}


def await_key(path: str, wanted: t.Collection[str]) -> None:
    """Wait until a key of XenStore has one of these values.

    :raises SystemExit: it has none of them after some minutes.
    """
    for _try in range(2000):
        done = subprocess.run(["xenstore-read", path], check=False, capture_output=True, text=True, timeout=60)
        if done.stdout.strip() in wanted:
            return
        time.sleep(0.1)
    sys.exit(f"{path} is {done.stdout.strip()!r}, not {' or '.join(wanted)}")
