# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the commands do: images, a machine, its snapshots and its inventory, put together."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import checks, qmp
from .cache import Cache, digest, lock
from .errors import TestbedError
from .hardware import HARDWARE, fingerprint, nics_for_inventory
from .images import Disk, Images
from .inventory import inventory, to_yaml
from .machine import DISK, Kind, Machine
from .progress import say, step
from .tools import Tools

# The snapshot that every machine has: booted, and nothing done to it.
FRESH = "fresh"
BOOT_ATTEMPTS = 3


@dataclass(frozen=True)
class Bed:
    """A test bed: what machine, and where its files are."""

    kind: Kind
    state_dir: Path
    cache: Cache

    @property
    def machine(self) -> Machine:
        """The machine in the state directory."""
        return Machine(self.state_dir)

    def build(self) -> None:
        """Build what is not in the cache."""
        images = Images(self.cache)
        if images.missing(self.kind.suite, self.kind.flavour):
            checks.before_build(self.cache.root)
        say(f"disk image: {images.disk(self.kind.suite, self.kind.flavour).image}")

    def up(self, port: int | None, fresh_boot: bool) -> None:
        """Start the machine, unless it runs."""
        with self._locked():
            if self._is_up():
                return
            images = Images(self.cache)
            if images.missing(self.kind.suite, self.kind.flavour):
                checks.before_build(self.cache.root)
            checks.before_start(self.state_dir, port)
            tools, disk = images.tools(), images.disk(self.kind.suite, self.kind.flavour)
            booted = self._booted(images, tools, disk) if self._is_saved() and not fresh_boot else None
            machine = self.machine
            with _undone_on_failure(machine):
                if booted is None:
                    self._boot(machine, tools, disk, port)
                else:
                    with step("starting the machine from its booted state", machine.serial_log):
                        machine.add_disk(tools, disk, booted)
                        machine.start(tools, self.kind, port, FRESH)
                        machine.wait()
                self._write_access(machine)
        say(f"up: {self.kind}, SSH on port {machine.ssh().port}; {self.state_dir / 'inventory.yml'}")

    def status(self) -> dict[str, Any]:
        """Return what is known of the machine."""
        machine = self.machine
        record, pid = machine.record(), machine.pid()
        found: dict[str, Any] = {"state_dir": str(self.state_dir), "running": pid is not None, "pid": pid}
        if record is None:
            return found
        found |= {**record.kind._asdict(), "port": record.port, "argv": record.argv}
        found |= {"inventory": str(self.state_dir / "inventory.yml"), "serial_log": str(machine.serial_log)}
        found |= {"nics": nics_for_inventory(record.hardware), "ssh": pid is not None and machine.ssh().answers()}
        found["snapshots"] = qmp.snapshots(machine.qmp_socket()) if pid is not None else []
        return found

    def ssh(self, command: list[str]) -> int:
        """Run a command in the machine, or a shell; return its exit status."""
        return subprocess.run(self._running().ssh().argv(*command), check=False).returncode

    def snapshot(self, name: str) -> None:
        """Save the running machine's state."""
        self._save(self._running(), name)

    def restore(self, name: str) -> None:
        """Put the running machine back to a snapshot."""
        machine = self._running()
        self._check_snapshot(machine.qmp_socket(), name)
        with step(f"restoring snapshot {name}"):
            machine.restart(Images(self.cache).tools(), name)
            machine.wait()

    def forget(self, name: str) -> None:
        """Remove a snapshot of the running machine."""
        socket = self._running().qmp_socket()
        self._check_snapshot(socket, name)
        qmp.delete_snapshot(socket, name)

    def plug(self, device: str) -> None:
        """Cut the machine's power, plug a device in (as for QEMU's -device) and switch it on; older snapshots do not fit it any more.

        What the machine has not yet written to its disk is lost.
        """
        machine = self._running()
        with step(f"plugging in {device} and booting", machine.serial_log):
            machine.ssh().disconnect()
            qmp.plug(machine.qmp_socket(), device)
            machine.wait()

    def cycle(self) -> None:
        """Cut the machine's power and switch it on, with this bed's hardware; snapshots of other hardware do not fit it any more."""
        machine, record = self._running(), self.machine.record()
        assert record is not None
        with step(f"switching off and on, with {self.kind.hardware} hardware", machine.serial_log):
            machine.stop()
            machine.start(Images(self.cache).tools(), Kind(record.suite, record.flavour, self.kind.hardware), record.port)
            machine.wait()
        self._write_access(machine)

    def down(self) -> None:
        """End the machine and remove its state."""
        with self._locked():
            machine = self.machine
            was_running = machine.pid() is not None
            machine.remove()
        say("down" if was_running else f"{self.state_dir}: no machine was running there")

    @staticmethod
    def _check_snapshot(socket: Path, name: str) -> None:
        known = qmp.snapshots(socket)
        if name not in known:
            raise TestbedError(f"there is no snapshot {name!r}; there are: {', '.join(known) or 'none'}")

    def _is_up(self) -> bool:
        machine, record = self.machine, self.machine.record()
        if record is None:
            return False
        if machine.pid() is None:
            say("removing what is left of a machine that ended")
            machine.remove()
            return False
        if record.kind != self.kind:
            raise TestbedError(
                f"{self.state_dir}: a machine with {record.kind} runs there, "
                f"{self.kind} was asked for; remedy: `down` first, or another --state-dir"
            )
        say(f"already up: {record.kind}, SSH on port {record.port}")
        return True

    def _running(self) -> Machine:
        if self.machine.pid() is None:
            raise TestbedError(f"{self.state_dir}: no machine runs there; remedy: `up`")
        return self.machine

    def _booted(self, images: Images, tools: Tools, disk: Disk) -> Path:
        """Return the disk with the saved state of a machine that has just booted."""

        def boot(into: Path) -> None:
            machine = Machine(into)
            with _undone_on_failure(machine):
                self._boot(machine, tools, disk, None)
            booted = machine.directory / DISK
            machine.stop()
            for leftover in set(into.iterdir()) - {booted, machine.serial_log}:
                leftover.unlink()

        key = digest(images.disk_key(self.kind.suite, self.kind.flavour), fingerprint(self.kind.hardware))
        return self.cache.get(f"booted-{self.kind.suite}-{self.kind.flavour}", key, boot) / DISK

    def _boot(self, machine: Machine, tools: Tools, disk: Disk, port: int | None) -> None:
        with step(f"booting Debian {self.kind.suite} ({self.kind.flavour}) on emulated hardware", machine.serial_log):
            # Now and then the emulated processors of a booting Xen wait for each other forever: seen with two of them under TCG.
            for attempt in range(1, BOOT_ATTEMPTS + 1):
                machine.add_disk(tools, disk)
                machine.start(tools, self.kind, port)
                try:
                    machine.wait()
                    break
                except TestbedError:
                    machine.stop()
                    if attempt == BOOT_ATTEMPTS:
                        raise
                    say("the machine hangs; booting it again")
            machine.ssh().check("systemctl is-system-running --wait >/dev/null || true", timeout=300)
            if self.kind.flavour == "xen":
                machine.ssh().check("timeout 60 xl info")
        if self._is_saved():
            self._save(machine, FRESH)

    def _is_saved(self) -> bool:
        return HARDWARE[self.kind.hardware].saved

    @staticmethod
    def _save(machine: Machine, name: str) -> None:
        with step(f"saving snapshot {name}"):
            # A connection in the snapshot would be a dead one in every restored machine.
            machine.ssh().disconnect()
            qmp.save_snapshot(machine.qmp_socket(), name)

    def _write_access(self, machine: Machine) -> None:
        ssh = machine.ssh()
        (machine.directory / "ssh_config").write_text(ssh.config())
        (machine.directory / "inventory.yml").write_text(to_yaml(inventory(ssh, self.kind.hardware)))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Not in the state directory, which `down` removes.
        path = self.cache.root / "locks" / f"state-{digest(str(self.state_dir))}"
        with lock(path, f"waiting: another process works in {self.state_dir}"):
            yield


@contextmanager
def _undone_on_failure(machine: Machine) -> Iterator[None]:
    """Leave no half-started machine behind; after an error keep its serial log, which shows what happened."""
    try:
        yield
    except KeyboardInterrupt:
        machine.remove()
        raise
    except BaseException:
        machine.stop()
        raise
