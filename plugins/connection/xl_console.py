# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: xl_console
short_description: Run commands in a guest through its Xen console
version_added: 0.1.0
description:
  - Runs commands in a guest by typing them into its console, C(xl console), in dom0, which it reaches by SSH. The guest needs no network,
    no SSH server and no Python, but without Python only M(ansible.builtin.raw) and M(ansible.builtin.script) work.
  - The guest needs a root shell on its console that asks for no password, as the images of P(xen.driver_domains.guest_image#role) have, and
    C(base64), C(mktemp), C(sha256sum) and C(stty), as busybox has. Commands run as root, so C(become) is not needed.
  - Files are copied in pieces. That is slow, some tens of kilobytes per second, but it works while the network of the guest does not.
author:
  - The xen.driver_domains authors (@xen-driver-domains)
requirements:
  - On the controller C(ssh), unless it is dom0 itself.
notes:
  - P(xen.driver_domains.xl#inventory) sets the variables that this plugin reads.
  - A console has one reader. While somebody has C(xl console) of the guest open, tasks fail.
  - Standard output and standard error of a command are separate, but nothing is shown before it ends.
options:
  domain:
    description: Name of the domain in Xen.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: xl_name
  jump:
    description:
      - The command that reaches dom0, such as V(ssh root@xen1.example.org). It gets one more argument, the command for dom0, and must not
        ask for a password. If the user there is not root, C(sudo) must not ask for one either.
      - Empty if the controller is dom0.
    type: str
    default: ""
    vars:
      - name: xl_jump
  # Not "timeout": to an option of this name Ansible gives the timeout of its configuration, 10 s.
  answer_timeout:
    description: Seconds that the shell on the console has to answer.
    type: int
    default: 60
    vars:
      - name: ansible_xl_console_timeout
  command_timeout:
    description: Seconds that one command may take, and each of its output and errors to arrive. One of them has 48 MB at most.
    type: int
    default: 1800
    vars:
      - name: ansible_xl_console_command_timeout
"""

EXAMPLES = r"""
# In an inventory. The plugin xen.driver_domains.xl writes this by itself.
guests:
  hosts:
    guest1:
      xl_jump: ssh root@xen1.example.org
  vars:
    ansible_connection: xen.driver_domains.xl_console
"""

import shlex
import typing as t
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase

from ansible_collections.xen.driver_domains.plugins.plugin_utils._console import Console, ConsoleError
from ansible_collections.xen.driver_domains.plugins.plugin_utils._hypervisor import in_dom0

_Result = t.TypeVar("_Result")
#: Run in dom0. xenconsole, which xl runs, reads only from a terminal (tools/console/client/main.c of Xen), and does not end with the
#: connection. The images have a PV console in domains of all types.
_TERMINAL = """
import os, pty, select, sys, tty
pid, console = pty.fork()
if pid == 0:
    os.execvp("xl", ["xl", "console", "-t", "pv", sys.argv[1]])
tty.setraw(console)
try:
    while True:
        ready = select.select([0, console], [], [])[0]
        for source, target in ((console, 1), (0, console)):
            if source in ready:
                data = os.read(source, 65536)
                if not data:
                    raise SystemExit
                while data:
                    data = data[os.write(target, data):]
except OSError:
    pass
finally:
    os.kill(pid, 15)
    os.waitpid(pid, 0)
"""


class Connection(ConnectionBase):
    """A shell on the console of a guest."""

    transport = "xen.driver_domains.xl_console"
    has_pipelining = True

    _console: Console | None = None

    def _connect(self) -> Connection:
        if self._console is None:
            domain = str(self.get_option("domain"))
            command = f"PATH=$PATH:/usr/sbin:/sbin; exec python3 -c {shlex.quote(_TERMINAL)} {shlex.quote(domain)}"
            console = Console(in_dom0(shlex.split(self.get_option("jump")), command), domain, self.get_option("answer_timeout"))
            try:
                console.open()
            except ConsoleError as exc:
                console.close()
                raise AnsibleConnectionFailure(str(exc)) from exc
            self._console, self._connected = console, True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command."""
        timeout = self.get_option("command_timeout")
        return self._do(lambda console: console.run(cmd, in_data or b"", timeout))

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file to the guest."""
        try:
            with Path(in_path).open("rb") as data:
                self._do(lambda console: console.put(data, out_path))
        except FileNotFoundError as exc:
            raise AnsibleFileNotFound(f"There is no file {in_path}") from exc

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from the guest."""
        with Path(out_path).open("wb") as data:
            self._do(lambda console: console.fetch(in_path, data))

    def close(self) -> None:
        """Leave the console."""
        if self._console:
            self._console.close()
        self._console, self._connected = None, False

    def _do(self, action: t.Callable[[Console], _Result]) -> _Result:
        self._connect()
        try:
            return action(t.cast(Console, self._console))
        except ConsoleError as exc:
            self.close()
            raise AnsibleConnectionFailure(str(exc)) from exc
