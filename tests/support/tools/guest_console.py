# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a shell command in a guest through its console, from dom0: guest_console.py DOMAIN TIMEOUT COMMAND.

Prints the command's output and ends with its exit code; 124 when the console did not answer within TIMEOUT seconds. The guest
must have a root shell on its console, as the minimal images have. Standard library only: it runs in dom0 as it is.
"""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
import tty


def run(domain: str, timeout: float, command: str) -> tuple[int, str]:
    """Return exit code and output of `command` in the guest."""
    mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
    # The shell puts the mark together, so that the echo of what is typed does not look like the answer.
    typed = f'\nM={mark}; echo "<$M>"; {{ {command}\n}} 2>&1; echo "<$M $?>"\n'
    pattern = re.compile(rf"<{mark}>\r?\n(.*?)<{mark} (\d+)>", re.DOTALL)
    pid, console = pty.fork()
    if pid == 0:
        os.execvp("xl", ["xl", "console", "-t", "pv", domain])
    try:
        tty.setraw(console)
        deadline = time.monotonic() + timeout
        seen = ""
        next_try = 0.0
        while time.monotonic() < deadline:
            # A shell that is not there yet loses what was typed: type it again, but only until it was seen.
            if time.monotonic() > next_try and f"<{mark}>" not in seen:
                os.write(console, typed.encode())
                next_try = time.monotonic() + 10
            if select.select([console], [], [], 0.5)[0]:
                try:
                    seen += os.read(console, 65536).decode(errors="replace")
                except OSError:
                    return 125, seen
            answer = pattern.search(seen)
            if answer:
                return int(answer.group(2)), answer.group(1).replace("\r", "")
        return 124, seen
    finally:
        os.kill(pid, 15)
        os.close(console)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    code, output = run(sys.argv[1], float(sys.argv[2]), sys.argv[3])
    sys.stdout.write(output)
    sys.exit(code)
