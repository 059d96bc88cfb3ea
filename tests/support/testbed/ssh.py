# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reach the machine over SSH."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import TestbedError

HOST = "127.0.0.1"
USER = "root"

# It is a throw-away machine on a loopback port: its host key means nothing.
_COMMON = {
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": "/dev/null",
    "GlobalKnownHostsFile": "/dev/null",
    "LogLevel": "ERROR",
    "IdentitiesOnly": "yes",
    "ConnectTimeout": "10",
    # A connection through the emulated network can go dead without a word: notice it, instead of waiting forever.
    "ServerAliveInterval": "10",
    "ServerAliveCountMax": "6",
}


@dataclass(frozen=True)
class Ssh:
    """One machine's SSH: where it listens, the key, and the socket of the shared connection."""

    port: int
    key: Path
    control: Path

    def options(self) -> dict[str, str]:
        """Return the options that every connection needs."""
        return dict(_COMMON)

    def sharing(self) -> dict[str, str]:
        """Return the options by which connections share one: a handshake is slow under emulation."""
        return {"ControlMaster": "auto", "ControlPersist": "60s", "ControlPath": str(self.control)}

    def argv(self, *command: str, flags: tuple[str, ...] = ()) -> list[str]:
        """Return the ssh command line."""
        options = self.options() | self.sharing()
        args = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return ["ssh", *args, *flags, "-i", str(self.key), "-p", str(self.port), f"{USER}@{HOST}", *command]

    def config(self) -> str:
        """Return the same as a configuration file, for `ssh -F FILE dom0`."""
        fixed = {"HostName": HOST, "Port": str(self.port), "User": USER, "IdentityFile": f'"{self.key}"'}
        options = fixed | self.options() | self.sharing()
        return "Host dom0\n" + "".join(f"    {name} {value}\n" for name, value in options.items())

    def answers(self, timeout: float = 3) -> bool:
        """Return whether an SSH server greets on the port; QEMU accepts connections before there is one."""
        try:
            with socket.create_connection((HOST, self.port), timeout) as connection:
                connection.settimeout(timeout)
                return connection.recv(4).startswith(b"SSH-")
        except OSError:
            return False

    def run(self, *command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        return subprocess.run(
            self.argv(*command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def check(self, *command: str, timeout: float = 60) -> str:
        """Run a command that must succeed, and return its output."""
        try:
            result = self.run(*command, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise TestbedError(f"in the machine: {' '.join(command)}: no end after {timeout:.0f} s") from error
        if result.returncode:
            text = (result.stderr or result.stdout).strip()
            raise TestbedError(f"in the machine: {' '.join(command)}: exit status {result.returncode}: {text}")
        return result.stdout

    def wait(self, timeout: float, alive: Callable[[], bool]) -> None:
        """Wait until commands can be run, and set the clock: after a snapshot it is as old as that.

        Give up when `alive` says that there is no machine any more.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.answers() and self._set_clock():
                return
            if not alive():
                raise TestbedError("QEMU ended, or the machine hangs, while it was starting")
            time.sleep(0.2)
        raise TestbedError(f"no SSH on port {self.port} after {timeout:.0f} s")

    def _set_clock(self) -> bool:
        """Set the machine's clock from ours; return whether that succeeded."""
        # The time is sent when the other side is ready for it: the handshake takes seconds.
        remote = "echo ready; read now; date -u -s @$now"
        with subprocess.Popen(
            self.argv(remote), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdin and process.stdout
            watchdog = threading.Timer(60, process.kill)
            watchdog.start()
            try:
                if not process.stdout.readline():
                    return False
                process.stdin.write(f"{time.time():.3f}\n")
                process.stdin.flush()
                return process.wait() == 0
            finally:
                watchdog.cancel()
                process.kill()

    def disconnect(self) -> None:
        """Close the shared connection, if there is one."""
        if self.control.exists():
            argv = self.argv(flags=("-O", "exit"))
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
            self.control.unlink(missing_ok=True)
