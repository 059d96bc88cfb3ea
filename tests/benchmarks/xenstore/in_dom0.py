# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it costs to write XenStore keys, in dom0: in_dom0.py COUNTS ROUNDS. Prints one JSON object a line."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "libraries.zip"))
import pyxs
from ansible.module_utils.testing import patch_module_args

from ansible_collections.xen.driver_domains.plugins.modules import xenstore_key

TOP = "/tool/bench-rest"
SOCKET = "/run/xenstored/socket"
WRITE = 11


def run_module(keys: dict[str, str]) -> bool:
    """Run the module as Ansible does, in a process of its own; return whether it changed something."""
    tree = {path.rpartition("/")[2]: value for path, value in keys.items()}
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            with patch_module_args({"keys": [{"path": TOP, "tree": tree}]}):
                xenstore_key.main()
        if os.waitpid(child, 0)[1]:
            sys.exit("the module failed")
        output.seek(0)
        return json.load(output)["changed"]


def by_module(keys: dict[str, str]) -> None:
    """All of them in one task."""
    if not run_module(keys):
        sys.exit("the module did not write")


def by_module_again(keys: dict[str, str]) -> None:
    """The same task when nothing is to be done."""
    if run_module(keys):
        sys.exit("the module wrote what was there")


def one_process(keys: dict[str, str]) -> None:
    """All of them in one call of xenstore-write."""
    subprocess.run(["xenstore-write", *(word for pair in keys.items() for word in pair)], check=True)


def by_pyxs(keys: dict[str, str]) -> None:
    """The package of PyPI."""
    with pyxs.Client(unix_socket_path=SOCKET) as client:
        for path, value in keys.items():
            client.write(path.encode(), value.encode())


def floor(keys: dict[str, str]) -> None:
    """Nothing but bytes on the socket, each reply awaited."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(SOCKET)
        for path, value in keys.items():
            payload = path.encode() + b"\0" + value.encode()
            connection.sendall(struct.pack("=4I", WRITE, 0, 0, len(payload)) + payload)
            if connection.recv(4096)[:4] != struct.pack("=I", WRITE):
                sys.exit("xenstored refused a key")


def main() -> None:
    """Measure all ways alternately, so that each sees the same machine."""
    ways: dict[str, Callable[[dict[str, str]], None]] = {
        "module": by_module,
        "module, no change": by_module_again,
        "xenstore-write": one_process,
        "pyxs": by_pyxs,
        "floor": floor,
    }
    for _round in range(int(sys.argv[2])):
        for count in json.loads(sys.argv[1]):
            for way, write in ways.items():
                if write is not by_module_again:
                    subprocess.run(["xenstore-rm", TOP], check=False, capture_output=True)
                keys = {f"{TOP}/key-{number}": f"value {number}" for number in range(count)}
                started = time.monotonic()
                write(keys)
                print(json.dumps({"way": way, "count": count, "seconds": time.monotonic() - started}), flush=True)
    subprocess.run(["xenstore-rm", TOP], check=False, capture_output=True)


if __name__ == "__main__":
    main()
