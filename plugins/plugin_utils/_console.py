# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Runs commands in a guest by typing them into its console, for images that have nothing but a shell there.

The console is one stream of bytes in each direction. What is typed is echoed, the kernel prints its messages in between, and nothing
says where the output of a command ends. So what is sent and what comes back is Base64, each part with a checksum, between marks that
occur nowhere else. What a message of the kernel has damaged is sent again; the command itself runs once.

The guest needs a shell of POSIX on its console that asks for no password, and `base64`, `mktemp`, `sha256sum` and `stty`, which busybox
has.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
import selectors
import shlex
import subprocess
import tempfile
import time
import typing as t

from ansible_collections.xen.driver_domains.plugins.module_utils._printable import printable_line

#: Bytes of a file that one command moves.
CHUNK = 48 * 1024
#: Characters of Base64 in a line. A terminal in its canonical mode takes lines of up to 4095 (N_TTY_BUF_SIZE in Linux).
LINE = 1000
#: Seconds after which a line is typed again if no shell has answered it yet.
TYPE_AGAIN = 5.0
#: So often the guest is asked for the output of one command before its console counts as unusable.
ATTEMPTS = 4
#: Bytes that a slow console takes in a second.
PACE = 1000
#: Bytes of Base64 that the output of one command may have. A guest could send without an end.
LARGEST = 64 * 1024 * 1024
#: Bytes that are kept of what comes while something else is awaited: more than any mark has, and as much as a message shows.
_REST = 4096

#: What the console runs for each command, after `M` was set to the mark. It reads its parts from the terminal, without an echo, and says
#: what it has received. What it reads after that is `run`, `o` or `e` (its output and errors); anything else ends it.
_SERVER = """\
say() { echo; echo "<$M $1>"; echo "<$M $1>"; }
sum() { cat "$@" | sha256sum | cut -c 1-64; }
take() { while IFS= read -r L && [ -n "$L" ]; do echo "$L"; done | base64 -d; }
trap 'rm -rf "$D"; stty echo' EXIT
D=$(mktemp -d) || exit
take >"$D/c"
take >"$D/i"
say "got $(sum "$D/c" "$D/i")"
while IFS= read -r W; do
  case $W in
    run) sh "$D/c" <"$D/i" >"$D/o" 2>"$D/e"; say "ended $?" ;;
    o | e) echo; echo "<$M $W>"; base64 "$D/$W"; echo "<$M sum $(sum "$D/$W")>" ;;
    *) break ;;
  esac
done
"""
# The shell itself reads the lines, since `sed` and others may read more than they need. It is short, since busybox takes lines of 1023
# characters. The space keeps it out of the history of bash.
_LOADER = """ M={mark};stty -echo;echo "<$M load>";sh -c "M=$M;$(while read -r L&&[ "$L" ];do echo "$L";done|base64 -d)"\n"""
_PROBE = """\n\n M={mark};echo "<$M here>"\n"""


class ConsoleError(Exception):
    """The console cannot be opened, or does not answer as a shell would."""


class Console:
    """A shell on the console of a guest, reached through the standard streams of a command such as `ssh dom0 xl console web1`."""

    def __init__(self, words: t.Sequence[str], name: str, timeout: float = 60.0) -> None:
        """Remember how to reach it.

        :param words: the command and its arguments.
        :param name: name of the guest, for messages.
        :param timeout: seconds that a shell has to answer.
        """
        self._words, self._name, self._timeout = list(words), name, timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: t.IO[bytes] | None = None
        self._seen = bytearray()

    def open(self) -> None:
        """Start the command and wait until a shell answers.

        :raises ConsoleError: it does not.
        """
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            self._process = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0, start_new_session=True
            )
        except OSError as exc:
            raise ConsoleError(f"Cannot run {self._words[0]}: {exc}") from exc
        os.set_blocking(self._descriptor("stdin"), False)
        deadline = time.monotonic() + self._timeout
        while True:
            # What an interrupted session has left reads the empty lines and ends.
            mark = self._mark()
            self._send(_PROBE.format(mark=mark).encode(), deadline)
            if self._expect(rb"<%s here>" % mark.encode(), min(deadline, time.monotonic() + TYPE_AGAIN)):
                break
            if time.monotonic() >= deadline:
                raise self._failure(f"No shell answered within {self._timeout:g} s")
        # A shell that was slow answers the earlier ones, too. After this it has answered all.
        mark = self._mark()
        self._send(_PROBE.format(mark=mark).encode(), deadline)
        self._must(rb"<%s here>" % mark.encode(), deadline)

    def close(self) -> None:
        """End the command. The shell in the guest stays."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            for stream in (self._process.stdin, self._process.stdout, self._errors):
                if stream:
                    stream.close()
        self._process = self._errors = None

    def run(self, script: str, stdin: bytes = b"", timeout: float = 600.0) -> tuple[int, bytes, bytes]:
        """Run a shell script in the guest, and return its exit code, output and errors.

        :param timeout: seconds that the script may take, and each of its output and errors to arrive.
        :raises ConsoleError: the console ended or does not answer; whether the script was run is not known then.
        """
        mark = self._mark()
        here = mark.encode()
        code = script.encode("utf-8", "surrogateescape")
        self._send(_LOADER.format(mark=mark).encode(), self._soon())
        self._must(rb"<%s load>" % here, self._soon())
        for part in (_SERVER.encode(), code, stdin):
            self._send(_lines(part), self._soon(len(part)))
        got = self._must(rb"<%s got ([0-9a-f]*)>" % here, self._soon(len(stdin)))
        if got[1].decode() != hashlib.sha256(code + stdin).hexdigest():
            self._send(b"\n", self._soon())
            raise self._failure("It received something other than what was sent; another program may read from the console")
        self._send(b"run\n", self._soon())
        status = self._must(rb"<%s ended (\d{1,3})>" % here, time.monotonic() + timeout, f"The command did not end within {timeout:g} s")
        output = self._output(here, b"o", timeout)
        errors = self._output(here, b"e", timeout)
        self._send(b"\n", self._soon())
        return int(status[1]), output, errors

    def put(self, data: t.IO[bytes], path: str) -> None:
        """Write a file of the guest.

        :raises ConsoleError: it cannot be written.
        """
        target, redirection = shlex.quote(path), ">"
        while (chunk := data.read(CHUNK)) or redirection == ">":
            self._check(path, self.run(f"cat {redirection}{target}", stdin=chunk))
            redirection = ">>"

    def fetch(self, path: str, data: t.IO[bytes]) -> None:
        """Read a file of the guest.

        :raises ConsoleError: it cannot be read.
        """
        target, position = shlex.quote(path), 0
        while True:
            chunk = self._check(path, self.run(f"test -r {target} && tail -c +{position + 1} <{target} | head -c {CHUNK}"))
            data.write(chunk)
            position += len(chunk)
            if len(chunk) < CHUNK:
                return

    def _check(self, path: str, result: tuple[int, bytes, bytes]) -> bytes:
        code, output, errors = result
        if code:
            said = printable_line(errors[-500:].decode(errors="replace").strip())
            raise ConsoleError(f"{self._name}: {path}: {said or f'exit code {code}'}")
        return output

    def _output(self, mark: bytes, which: bytes, timeout: float) -> bytes:
        latest = time.monotonic() + timeout
        for _attempt in range(ATTEMPTS):
            self._send(which + b"\n", self._soon())
            # As long as something comes, it is at work.
            if not self._expect(rb"<%s %s>\r?\n" % (mark, which), self._soon(), latest):
                continue
            found = self._expect(rb"<%s sum ([0-9a-f]{64})>" % mark, self._soon(), latest, keep=True)
            if found:
                before, end = found
                # A message of the kernel has a line of its own, or interrupts one.
                text = b"".join(line for line in before.split() if re.fullmatch(rb"[A-Za-z0-9+/=]+", line))
                try:
                    output = base64.b64decode(text, validate=True)
                except binascii.Error:
                    continue
                if hashlib.sha256(output).hexdigest().encode() == end[1]:
                    return output
            if time.monotonic() >= latest:
                raise self._failure(f"The output of a command did not arrive within {timeout:g} s")
        raise self._failure(f"Its console has damaged the output of a command {ATTEMPTS} times")

    # --- bytes ------------------------------------------------------------------------------------------------------
    def _descriptor(self, name: str) -> int:
        stream = getattr(self._process, name, None)
        if stream is None:
            raise ConsoleError(f"The console of {self._name} is not open")
        return int(stream.fileno())

    def _soon(self, size: int = 0) -> float:
        return time.monotonic() + self._timeout + size / PACE

    def _send(self, data: bytes, deadline: float) -> None:
        """Type; read what comes meanwhile, since a guest that cannot print does not read either."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor("stdin"), selectors.EVENT_WRITE)
            selector.register(self._descriptor("stdout"), selectors.EVENT_READ)
            while data:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                # A guest that prints without an end must not hide that it reads nothing.
                if not ready or time.monotonic() > deadline:
                    raise self._failure("It does not take what is typed")
                for key, _events in ready:
                    if key.fd == self._descriptor("stdout"):
                        self._read()
                        del self._seen[:-LARGEST]
                    else:
                        try:
                            data = data[os.write(key.fd, data[:4096]) :]
                        except OSError as exc:
                            raise self._failure("It ended") from exc

    def _read(self) -> None:
        received = os.read(self._descriptor("stdout"), 65536)
        if not received:
            raise self._failure("It ended")
        self._seen += received

    def _expect(self, pattern: bytes, deadline: float, latest: float = 0.0, keep: bool = False) -> tuple[bytes, re.Match[bytes]] | None:
        """Return what came before a pattern, and its match, and forget both; None if it did not come in time.

        :param pattern: what it matches is shorter than `_REST`.
        :param latest: with this, the time up to `deadline` counts from the last byte that came, and ends then.
        :param keep: whether what comes before it is needed.
        """
        compiled = re.compile(pattern)
        patience = deadline - time.monotonic()
        start = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor("stdout"), selectors.EVENT_READ)
            while True:
                if found := compiled.search(self._seen, start):
                    before = bytes(self._seen[: found.start()]) if keep else b""
                    # A match has no copy of the bytes, which go now.
                    match = t.cast("re.Match[bytes]", compiled.fullmatch(bytes(found[0])))
                    del self._seen[: found.end()]
                    return before, match
                if not keep:
                    del self._seen[:-_REST]
                elif len(self._seen) > LARGEST:
                    raise self._failure(f"The output of a command has more than {LARGEST} bytes")
                # A part of it may be here already.
                start = max(0, len(self._seen) - _REST)
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                self._read()
                if latest:
                    deadline = min(latest, time.monotonic() + patience)
                if time.monotonic() >= deadline:
                    return None

    def _must(self, pattern: bytes, deadline: float, problem: str = "It stopped to answer") -> re.Match[bytes]:
        found = self._expect(pattern, deadline)
        if not found:
            raise self._failure(problem)
        return found[1]

    def _failure(self, problem: str) -> ConsoleError:
        """Return the error, with what the command and the console said last, as far as that can be printed."""
        said = ""
        if self._errors:
            self._errors.seek(0)
            said = self._errors.read()[-500:].decode(errors="replace")
        shown = self._seen[-500:].decode(errors="replace")
        if re.search(r"login: *$", shown):
            problem += ". It asks for a login, and only a console with a root shell can be used"
        details = "".join(
            f". {title}: {_printable(text)!r}" for title, text in (("The command said", said), ("It showed", shown)) if text.strip()
        )
        return ConsoleError(f"The console of {self._name}: {problem}{details}")

    @staticmethod
    def _mark() -> str:
        return f"xdd{secrets.token_hex(6)}"


def _lines(data: bytes) -> bytes:
    """Return data as lines of Base64, and the empty line that ends them."""
    text = base64.b64encode(data)
    return b"".join(text[start : start + LINE] + b"\n" for start in range(0, len(text), LINE)) + b"\n"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text).strip()
