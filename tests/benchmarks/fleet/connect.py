# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ssh runs to reach a host of the fleet (ProxyCommand): connect.py HOST_DIRECTORY MILLISECONDS

Starts the host's sshd, in a mount namespace of its own, with the directory as its root. sshd speaks to standard input and output, so there
is no network; what is sent is held back for half of the time in each direction. It is a delay of what is sent, as netem makes it, and not
of each ssh: whatever the protocol waits for takes so long.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
import typing as t

ENTER = """
for directory in usr proc dev; do mount --rbind "/$directory" "$0/root/$directory"; done
mount --bind "$0/local" "$0/root/usr/local"
LD_LIBRARY_PATH=/usr/local/lib exec chroot "$0/root" "$1" -i -f /etc/ssh/sshd_config -E /var/log/sshd.log
"""


def relay(source: int, sink: int, seconds: float) -> None:
    """Pass on what arrives, each part as long after its arrival."""
    waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def read() -> None:
        while True:
            data = os.read(source, 1 << 16)
            waiting.put((time.monotonic() + seconds, data))
            if not data:
                return

    threading.Thread(target=read, daemon=True).start()
    while True:
        due, data = waiting.get()
        time.sleep(max(0.0, due - time.monotonic()))
        if not data:
            os.close(sink)
            return
        view = memoryview(data)
        while view:
            view = view[os.write(sink, view) :]


def main() -> None:
    """Connect, until one of the two ends."""
    directory, milliseconds = sys.argv[1], float(sys.argv[2])
    sshd = "/usr/local/sbin/sshd" if os.path.exists(f"{directory}/local/sbin/sshd") else "/usr/sbin/sshd"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", ENTER, directory, sshd]
    if not milliseconds:
        os.execvp(command[0], command)
    pipe: t.Any = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdin and process.stdout
        seconds = milliseconds / 2000
        threading.Thread(target=relay, args=(0, os.dup(process.stdin.fileno()), seconds), daemon=True).start()
        process.stdin.close()
        relay(process.stdout.fileno(), 1, seconds)


if __name__ == "__main__":
    main()
