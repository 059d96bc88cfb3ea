# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Xen host for unit tests: what xl, modprobe, ip, systemd and writes to sysfs do to a `FakeMachine`."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed, NotOnThisHost
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.assignable import AssignablePool
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.confirm_timer import ConfirmTimer
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.device import PciDevice
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.guards import Guards
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.host import PciHost
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.match import parse_requests
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.return_script import RETURN_SCRIPT
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine

#: Put before the script of the timer: the commands with which it changes the machine ask this process and wait for its answer.
_PRELUDE = """
ask() { command echo "$@" >&2; read code; return $code; }
xl() { ask xl "$@"; }
timeout() { shift; "$@"; }
echo() { printf '%s\\n' "$*"; ask echo; }
"""

_ASK = 'echo "${0##*/}" "$@" >&2; read code; exit $code'
#: Programs that ask as well, because another shell calls them: the unit that `systemd-run` makes.
_PROGRAMS = {
    **dict.fromkeys(("ip", "ifquery", "ifdown", "ifup"), _ASK),
    "systemd-run": 'while [ "$1" != /bin/sh ]; do shift; done; exec "$@"',
}

#: The modules that the fake kernel has, by the start of a modalias.
MODULES = {"pci:v00008086d000010D3": ["e1000e"], "pci:v00008086d0000100E": ["e1000"], "pci:v00001AF4d00001041": ["virtio_pci"]}


class FakeStore:
    """The keys of XenStore that libxl keeps for PCI devices."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self.values: dict[str, str] = {}
        self.running: dict[int, str] = {0: "Domain-0"}
        self.reads = 0
        self.writes = 0

    def read_texts(self, paths: t.Iterable[str]) -> dict[str, str | None]:
        self.reads += 1
        return {path: self.values.get(path) for path in paths}

    def domains(self) -> dict[int, str]:
        return self.running

    def rm(self, path: str) -> None:
        self._machine.step(f"remove {path}")
        self.writes += 1
        self.values = {key: value for key, value in self.values.items() if key != path and not key.startswith(f"{path}/")}


class FakeKernelHost(PciHost):
    """The host as the code sees it, on a kernel that reacts to what is written to sysfs; `calls` counts that."""

    def __init__(self, machine: FakeMachine, store: FakeStore | None, calls: list[tuple[str, ...]]) -> None:
        macs = machine.permanent_macs
        super().__init__(str(machine.sys), machine.records, store, lambda name: macs.get(name, ""), str(machine.proc))
        self._machine = machine
        self._calls = calls

    def _write(self, path: str, text: str) -> None:
        self._machine.step(f"write {text.strip()} to {os.path.relpath(path, self.sysfs)}")
        slots = self._machine.slots if "/pciback/" in path else []
        super()._write(path, text)
        self._calls.append(("write", os.path.relpath(path, self.sysfs), text))
        if path.endswith("/drivers_probe"):
            self._machine.probe(text)
        elif path.endswith("/pciback/unbind"):
            self._machine.bind(text, "")
        elif path.endswith("/pciback/remove_slot"):
            self._machine.slots = [slot for slot in slots if slot != text]


class FakeXen:
    """A machine that runs Xen: xl, modprobe and ip on it. `calls` are the changes that were asked for."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        self.store = FakeStore(machine)
        self.calls: list[tuple[str, ...]] = []
        self.questions: list[tuple[str, ...]] = []
        self.virt_caps = "pv pv_directio"
        self.dmesg_text = "(XEN) I/O virtualisation enabled\n(XEN)  - Dom0 mode: Relaxed\n(XEN) Interrupt remapping enabled\n"
        #: BDFs that Xen has in quarantine.
        self.quarantine: set[str] = set()
        self.quarantine_fails = False
        self.bind_fails = False
        self.remove_fails = False
        self.forgets_to_bind = False
        self.leaves_override = False
        self.modprobe = True
        #: Answers of ip: "address", "-4" and so on to what it prints instead, None where it fails.
        self.spoilt_ip: dict[str, str | None] = {}
        self.under_xen = True
        self.environment: dict[str, str] = {}
        #: The command of the armed timer.
        self._timer: tuple[str, ...] = ()
        self.firing = False
        self.stop_fails = False
        self.bus_fails = False

    # What the code calls as a runner

    def run(self, argv: t.Sequence[str], *, check: bool = True, **_options: t.Any) -> Result:
        words = tuple(argv)
        if words[0] in ("ifquery", "ifdown", "ifup") or words[:3] == ("ip", "link", "set"):
            return Result(words, self._configure(words), "", "")
        if words[0] in ("ip", "zpool"):
            self.questions.append(words)
            for printed in [text for word, text in self.spoilt_ip.items() if word in words]:
                if check and printed is None:
                    raise CommandFailed(f"'{' '.join(words)}' failed with exit code 1: it printed nothing", remedy=_options["remedy"])
                return Result(words, int(printed is None), printed or "", "")
            return Result(words, 0, self._zpool(words) if words[0] == "zpool" else json.dumps(self._ip(*words[2:])), "")
        if words[:2] == ("systemctl", "is-active"):
            if self.bus_fails:
                return Result(words, 1, "", "Failed to connect to bus")
            active = bool(self._timer) if words[-1].endswith(".timer") else self.firing
            return Result(words, 0 if active else 3, "", "")
        if words[:2] == ("systemctl", "stop") and self.stop_fails:
            return Result(words, 1, "", "Failed to stop")
        if words[0] in ("systemctl", "systemd-run"):
            self.machine.step(" ".join(words[:2]))
            self.calls.append(words)
            self._timer = words[words.index("/bin/sh") :] if words[0] == "systemd-run" else ()
            return Result(words, 0, "", "")
        if words[:2] == ("udevadm", "settle"):
            self.machine.settle()
            return Result(words, 0, "", "")
        assert words[0] == "modprobe", words
        if not self.modprobe:
            raise NotOnThisHost("The program 'modprobe' is not installed on this host")
        if "--resolve-alias" in words:
            self.questions.append(words)
            lines = [name for word in words[4:] for name in self._modules(word)]
            return Result(words, 1, "".join(f"{line}\n" for line in lines), "")
        self.machine.step(" ".join(words))
        self.calls.append(words)
        if words[-1] == "xen-pciback":
            self.machine.driver_directory("pciback")
        return Result(words, 0, "", "")

    def _configure(self, words: tuple[str, ...]) -> int:
        machine, name = self.machine, words[4] if words[0] == "ip" else words[-1]
        if words[0] == "ifquery":
            return int(name not in machine.ifupdown)
        self.calls.append(words)
        assert (machine.sys / "class/net" / name).exists(), words
        if words[0] == "ifdown":
            machine.addresses.pop(name, None)
        elif words[0] == "ifup":
            machine.addresses[name] = list(machine.ifupdown[name])
        elif "master" in words:
            machine.enslave(name, words[-1])
        return 0

    def _ip(self, *words: str) -> list[dict[str, t.Any]]:
        machine = self.machine
        if words[:3] == ("address", "show", "dev"):
            return [{"ifname": words[3], "addr_info": [{"local": address} for address in machine.addresses.get(words[3], ())]}]
        if words[-2:] == ("address", "show"):
            names = sorted({*machine.addresses, *machine.kinds})
            return [
                {
                    "ifname": name,
                    "addr_info": [{"local": address} for address in machine.addresses.get(name, ())],
                    **({"linkinfo": {"info_kind": machine.kinds[name]}} if name in machine.kinds else {}),
                }
                for name in names
            ]
        if words[:2] == ("route", "get"):
            local = words[4] if len(words) > 4 else ""
            way = machine.ways.get((local, words[2]))
            return [{"dst": words[2], "from": local, "dev": way, "flags": []}] if way else []
        assert words[1:] == ("route", "show", "table", "all", "default"), words
        return machine.default_routes[words[0]]

    def _zpool(self, words: tuple[str, ...]) -> str:
        disks = self.machine.pools.get(words[-1], [])
        return f"{words[-1]}\t9G\t1G\n" + "".join(f"\t/dev/{disk}\t9G\t1G\n" for disk in disks)

    @staticmethod
    def _modules(word: str) -> list[str]:
        if not word.startswith("pci:"):
            return [word.replace("-", "_")]
        return next((modules for start, modules in MODULES.items() if word.startswith(start)), [])

    # What the code calls as xl: the steps of libxl_pci.c, in their order

    def info(self) -> dict[str, str]:
        self.questions.append(("xl", "info"))
        return {"virt_caps": self.virt_caps}

    def dmesg(self) -> str:
        self.questions.append(("xl", "dmesg"))
        return self.dmesg_text

    def pci_assignable_add(self, bdf: str, name: str | None = None) -> None:
        self.calls.append(("pci-assignable-add", bdf, name or ""))
        key, step, values = self._key(bdf), self.machine.step, self.store.values
        driver = self.machine.driver(bdf)
        if driver != "pciback":
            if driver:
                step(f"xl unbinds {bdf}")
                self.machine.bind(bdf, "")
                step(f"xl records the driver of {bdf}")
                values[f"{key}/driver_path"] = f"/sys/bus/pci/drivers/{driver}"
            if bdf not in self.machine.slots:
                step(f"xl adds the slot {bdf}")
                self.machine.slots = [*self.machine.slots, bdf]
            if self.bind_fails:
                raise _failed("libxl: error: Couldn't bind device to pciback!")
            if self.forgets_to_bind:
                self.machine.bind(bdf, driver)
                return
            step(f"xl binds {bdf} to pciback")
            self.machine.bind(bdf, "pciback")
            if self.leaves_override:
                (self.machine.device(bdf) / "driver_override").write_text("pciback\n")
        step(f"xl names {bdf}")
        if name:
            values[f"{key}/name"] = name
        else:
            values.pop(f"{key}/name", None)
        if self.quarantine_fails:
            raise _failed(f"libxl: error: failed to quarantine {bdf}")
        step(f"xl puts {bdf} into quarantine")
        self.quarantine.add(bdf)

    def pci_assignable_remove(self, bdf: str, rebind: bool = True) -> None:
        self.calls.append(("pci-assignable-remove", bdf))
        key, step, values = self._key(bdf), self.machine.step, self.store.values
        if bdf not in self.quarantine or self.remove_fails:
            raise _failed(f"libxl: error: failed to de-quarantine {bdf}")
        step(f"xl takes {bdf} out of quarantine")
        self.quarantine.remove(bdf)
        if self.machine.driver(bdf) == "pciback":
            step(f"xl unbinds {bdf} from pciback")
            self.machine.bind(bdf, "")
            step(f"xl removes the slot {bdf}")
            self.machine.slots = [slot for slot in self.machine.slots if slot != bdf]
        driver = values.get(f"{key}/driver_path", "").rpartition("/")[2]
        if driver and rebind:
            if (self.machine.device(bdf) / "driver_override").read_text().strip() not in ("", "(null)"):
                raise _failed(f"libxl: error: Couldn't bind device to {driver}")
            step(f"xl binds {bdf} to {driver}")
            self.machine.bind(bdf, driver)
            step(f"xl forgets the driver of {bdf}")
            values.pop(f"{key}/driver_path")
        step(f"xl forgets the name of {bdf}")
        values.pop(f"{key}/name", None)

    # What tests do with it

    def assign(self, bdf: str, domid: int) -> None:
        """Let a domain have a device."""
        self.store.values[f"{self._key(bdf)}/domid"] = str(domid)

    def remembered_driver(self, bdf: str, driver: str) -> None:
        """Have xl remember another driver of a device, or none."""
        self.store.values.pop(f"{self._key(bdf)}/driver_path", None)
        if driver:
            self.store.values[f"{self._key(bdf)}/driver_path"] = f"/sys/bus/pci/drivers/{driver}"

    def reboot(self, *hidden: str) -> None:
        """Boot the host again: XenStore, quarantine and timers are gone, pciback has only what is hidden at boot."""
        for device in self.host().devices():
            bdf = str(device.bdf)
            if device.pciback:
                self.machine.release(bdf)
        for device in self.host().devices():
            if not device.driver and str(device.bdf) not in hidden:
                self.machine.probe(str(device.bdf))
        for bdf in hidden:
            self.machine.hold(bdf)
        self.machine.boot_id += "+"
        self.store.values.clear()
        self.quarantine.clear()
        self._timer = ()
        (self.machine.root / "unconfirmed.json").unlink(missing_ok=True)

    @property
    def timer(self) -> list[str]:
        """The devices that the armed timer returns."""
        return list(self._timer[7:])

    def fire(self) -> None:
        """Let the timer, if it is armed, run its script on this machine: see `_PRELUDE`."""
        if not self._timer:
            return
        shell, option, script, *arguments = self._timer
        assert script == RETURN_SCRIPT
        self._timer = ()
        for path in self._control_files():
            path.unlink(missing_ok=True)
        argv = [shell, option, _PRELUDE + script, *arguments]
        programs = self.machine.root / "programs"
        programs.mkdir(exist_ok=True)
        for name, text in _PROGRAMS.items():
            (programs / name).write_text(f"#!/bin/sh\n{text}\n")
            (programs / name).chmod(0o755)
        environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1, env=environment) as process:
            assert process.stdin and process.stderr
            for question in process.stderr:
                process.stdin.write(f"{self._answer_script(*question.split())}\n")
            assert process.wait(10) == 0

    def _answer_script(self, command: str, *words: str) -> int:
        """Do what the script wants, and return an exit code."""
        try:
            if words[:1] == ("pci-assignable-remove",):
                self.pci_assignable_remove(words[-1])
            elif words[:1] == ("pci-assignable-add",):
                self.pci_assignable_add(words[-1])
            elif command in _PROGRAMS:
                return self.run([command, *words]).rc
            else:
                assert command == "echo", (command, words)
                self._react_to_writes()
            return 0
        except CommandFailed:
            return 1

    def _react_to_writes(self) -> None:
        """Do what the kernel does with what the script wrote to the files of sysfs."""
        for path in self._control_files():
            if path.exists():
                self.host()._write(str(path), path.read_text().strip())
                path.unlink()

    def _control_files(self) -> list[Path]:
        """Return the files of sysfs that the kernel reacts to."""
        bus = self.machine.sys / "bus/pci"
        return [bus / "drivers_probe", bus / "drivers/pciback/unbind", bus / "drivers/pciback/remove_slot"]

    def confirm_timer(self) -> ConfirmTimer:
        """Return the timer of this machine."""
        fake: t.Any = self
        machine = self.machine
        state = str(machine.root / "unconfirmed.json")
        return ConfirmTimer(fake, state, str(machine.proc), machine.records.directory, str(machine.sys))

    def host(self) -> PciHost:
        """Return the host as the code reads it."""
        return FakeKernelHost(self.machine, self.store if self.under_xen else None, self.calls)

    def guards(self, devices: t.Sequence[PciDevice]) -> Guards:
        """Return the guard rails of this machine."""
        fake: t.Any = self
        return Guards(devices, fake, str(self.machine.sys), str(self.machine.proc), self.environment)

    def plan(self, state: str, devices: t.Sequence[t.Mapping[str, t.Any]], confirm_timeout: int = 0, **options: t.Any) -> Plan:
        """Plan as the module does."""
        fake: t.Any = self
        pool = AssignablePool(self.host(), fake, fake, self.guards, self.confirm_timer(), under_xen=self.under_xen, patience=0.0, **options)
        return pool.plan(state, parse_requests(devices), confirm_timeout)

    def apply(
        self,
        state: str,
        devices: t.Sequence[t.Mapping[str, t.Any]],
        force: t.Sequence[str] = (),
        confirm_timeout: int = 0,
        **options: t.Any,
    ) -> Plan:
        """Plan and apply as the module does."""
        plan = self.plan(state, devices, confirm_timeout, **options)
        plan.results.update(plan.apply(force))
        return plan

    @staticmethod
    def _key(bdf: str) -> str:
        return "/libxl/pci/" + bdf.replace(":", "-").replace(".", "-")


def _failed(stderr: str) -> CommandFailed:
    return CommandFailed(f"'xl' failed with exit code 1: {stderr}", stderr=stderr)
