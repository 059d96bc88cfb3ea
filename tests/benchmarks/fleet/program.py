# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""xl and systemctl of a host of the fleet: they hand their arguments to the benchmark, and print what it answers."""

from __future__ import annotations

import json
import os
import socket
import sys


def text(word: str) -> str:
    """Return the contents of a definition."""
    try:
        with open(word, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


request = {
    "host": text("/etc/hostname").strip(),
    "argv": [os.path.basename(sys.argv[0]), *sys.argv[1:]],
    "definition": next((text(word) for word in sys.argv[1:] if word.startswith("/")), ""),
}
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/toolstack")
    connection.sendall(json.dumps(request).encode())
    connection.shutdown(socket.SHUT_WR)
    with connection.makefile("rb") as stream:
        answer = json.load(stream)
sys.stdout.write(answer["stdout"])
sys.stderr.write(answer["stderr"])
sys.exit(answer["rc"])
