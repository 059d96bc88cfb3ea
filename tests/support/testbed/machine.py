# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine in a directory of its own: start it, talk to it, end it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from . import qmp
from .checks import any_free_port
from .errors import TestbedError
from .hardware import Files, qemu_args, qemu_args_from
from .images import Disk
from .progress import tail
from .runtime import make_runtime_dir
from .ssh import Ssh
from .tools import Tools

DISK = "disk.qcow2"
SSH_KEY = "id_ed25519"
_STATE = "state.json"
_PORT_ATTEMPTS = 5
_BOOT_TIMEOUT = 600
# A boot that says nothing on its console for so long hangs: user space is silent for half a minute at most.
_SILENCE_TIMEOUT = 120
_QUIT_TIMEOUT = 20


class Kind(NamedTuple):
    """What a machine is: its Debian, whether Xen is installed, and what hardware is emulated."""

    suite: str
    flavour: str
    hardware: str

    def __str__(self) -> str:
        return " ".join(self)


@dataclass(frozen=True)
class Record:
    """What is written down of a started machine."""

    suite: str
    flavour: str
    hardware: str
    port: int
    runtime_dir: str
    argv: list[str]

    @property
    def kind(self) -> Kind:
        """What machine it is."""
        return Kind(self.suite, self.flavour, self.hardware)


class Machine:
    """The machine whose files are in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()

    @property
    def serial_log(self) -> Path:
        """What Xen and Linux print while they boot, and when they crash."""
        return self.directory / "serial.log"

    @property
    def pid_file(self) -> Path:
        """Written by QEMU."""
        return self.directory / "qemu.pid"

    def record(self) -> Record | None:
        """Return what is known of the machine, or None if it was never started."""
        try:
            return Record(**json.loads((self.directory / _STATE).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def pid(self) -> int | None:
        """Return the process of the running machine; a process that took over its number does not count."""
        try:
            pid = int(self.pid_file.read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.pid_file) in arguments else None

    def ssh(self) -> Ssh:
        """Return how to reach the machine."""
        record = self._record()
        return Ssh(record.port, self.directory / SSH_KEY, Path(record.runtime_dir) / "ssh")

    def qmp_socket(self) -> Path:
        """Return the socket on which QEMU takes commands."""
        return Path(self._record().runtime_dir) / "qmp"

    def add_disk(self, tools: Tools, base: Disk, booted: Path | None = None) -> None:
        """Give the machine a disk of its own on top of the image: a fresh one, or a copy of a booted one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        disk = self.directory / DISK
        if booted:
            # Copied by cp for its reflinks and holes.
            _quiet(["cp", "--sparse=auto", "--reflink=auto", str(booted), str(disk)])
        else:
            create: list[str | Path] = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base.image, disk]
            _quiet(tools.argv("usr/bin/qemu-img", *create), tools.env())
        key = self.directory / SSH_KEY
        key.touch(mode=0o600)
        key.write_bytes(base.ssh_key.read_bytes())

    def start(self, tools: Tools, kind: Kind, port: int | None, snapshot: str | None = None) -> None:
        """Start QEMU; it goes on in the background, from the start or from a snapshot."""
        runtime = make_runtime_dir(self.directory)
        files = Files(self.directory / DISK, self.serial_log, runtime / "qmp", self.pid_file)
        for attempt in range(_PORT_ATTEMPTS):
            chosen = any_free_port() if port is None else port
            argv = tools.qemu(*qemu_args(files, chosen, snapshot, kind.hardware))
            record = Record(kind.suite, kind.flavour, kind.hardware, chosen, str(runtime), argv)
            (self.directory / _STATE).write_text(json.dumps(asdict(record), indent=2) + "\n")
            try:
                with _uninterrupted():  # or QEMU would be left behind before it wrote down its process
                    _quiet(argv, tools.env())
                return
            except TestbedError as error:
                # Between choosing a port and QEMU's taking it, somebody else may have taken it.
                if port is not None or "host forwarding" not in str(error) or attempt + 1 == _PORT_ATTEMPTS:
                    raise

    def restart(self, tools: Tools, snapshot: str) -> None:
        """End QEMU and start it again, on the same port, from a snapshot.

        A snapshot loaded into the QEMU that runs sets the clocks back but not all timers: dom0 then sleeps for minutes.
        """
        record = self._record()
        self.stop()
        make_runtime_dir(self.directory)
        argv = qemu_args_from(record.argv, snapshot)
        (self.directory / _STATE).write_text(json.dumps(asdict(replace(record, argv=argv)), indent=2) + "\n")
        with _uninterrupted():
            _quiet(argv, tools.env())

    def wait(self) -> None:
        """Wait until the machine takes commands over SSH, as long as it lives and goes on booting."""
        started = time.time()

        def alive() -> bool:
            last_words = max(started, self.serial_log.stat().st_mtime if self.serial_log.exists() else 0)
            return self.pid() is not None and time.time() - last_words < _SILENCE_TIMEOUT

        try:
            self.ssh().wait(_BOOT_TIMEOUT, alive=alive)
        except TestbedError as error:
            raise TestbedError(f"{error}; the end of {self.serial_log}:\n{tail(self.serial_log)}") from error

    def stop(self) -> None:
        """End QEMU, and the connections to it."""
        if self.record() is None:
            return
        self.ssh().disconnect()
        pid = self.pid()
        if pid is not None:
            try:
                qmp.quit_machine(self.qmp_socket())
            except (TestbedError, OSError):
                os.kill(pid, signal.SIGTERM)
            if not self._ended(_QUIT_TIMEOUT):
                os.kill(pid, signal.SIGKILL)
                self._ended(_QUIT_TIMEOUT)
        shutil.rmtree(self._record().runtime_dir, ignore_errors=True)

    def remove(self) -> None:
        """End the machine and remove its files, and the directory if nothing else is in it."""
        self.stop()
        for name in (DISK, SSH_KEY, _STATE, "ssh_config", "inventory.yml"):
            (self.directory / name).unlink(missing_ok=True)
        self.serial_log.unlink(missing_ok=True)
        self.pid_file.unlink(missing_ok=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _record(self) -> Record:
        record = self.record()
        if record is None:
            raise TestbedError(f"{self.directory}: no machine was started there; remedy: `up`")
        return record

    def _ended(self, timeout: float) -> bool:
        end = time.monotonic() + timeout
        while self.pid() is not None:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C for a moment."""
    pending: list[object] = []
    before = {number: signal.signal(number, lambda *_: pending.append(_)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if pending:
        raise KeyboardInterrupt


def _quiet(argv: list[str], env: dict[str, str] | None = None) -> None:
    # In a session of its own: a Ctrl-C at the terminal is for us, and we decide what ends.
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, start_new_session=True, check=False)
    if result.returncode:
        program = next((part for part in argv if "qemu" in part.rsplit("/", 1)[-1]), argv[0])
        raise TestbedError(f"{Path(program).name}: exit status {result.returncode}: {result.stderr.strip()}")
