# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The serial console of a board: wait for a text, send a line."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path


class ConsoleError(Exception):
    """The expected text did not come; the message has the end of what came."""


class Console:
    """One serial port of an emulated board, behind a Unix socket.

    A thread reads it all the time: a board stops when nobody reads its port, because the socket holds only a few hundred bytes.
    """

    def __init__(self, path: Path) -> None:
        self.text = ""
        #: The end of what a wait has already searched.
        self.position = 0
        self._socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 10
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self._ended = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def send(self, text: str) -> None:
        """Type something; a newline sends it."""
        self._socket.sendall(text.encode())

    def wait(self, pattern: str, timeout: float) -> re.Match[str]:
        """Return the first match of a regular expression after the last one.

        :raises ConsoleError: none came within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        with self._news:
            while True:
                match = re.compile(pattern, re.MULTILINE).search(self.text, self.position)
                if match:
                    self.position = match.end()
                    return match
                left = end - time.monotonic()
                if left <= 0 or self._ended:
                    raise ConsoleError(f"{pattern!r} did not come within {timeout:.0f} s; the end of the console:\n{self.text[-3000:]}")
                self._news.wait(left)

    def wait_all(self, timeout: float, *patterns: str) -> None:
        """Wait until each of these has come, from the start on and in any order.

        :raises ConsoleError: one did not come within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        for pattern in patterns:
            self.position = 0
            self.wait(pattern, max(1.0, end - time.monotonic()))

    def run(self, command: str, prompt: str, timeout: float) -> str:
        """Type a command at a prompt and return what it printed."""
        start = self.position
        self.send(command + "\n")
        self.wait(prompt, timeout)
        return self.text[start : self.position]

    def _read(self) -> None:
        """Receive text until the other side closes the connection."""
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                data = b""
            with self._news:
                self.text += data.decode("utf-8", "replace").replace("\r", "")
                self._ended = not data
                self._news.notify_all()
            if not data:
                return
