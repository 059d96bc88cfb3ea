# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole Xen host in good health, as the doctor reads it: sysfs, procfs, files, XenStore, and what xl and systemctl print."""

from __future__ import annotations

import fcntl
import json
import os
import typing as t
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._doctor.examine import examine
from ansible_collections.xen.driver_domains.plugins.module_utils._doctor.facts import HostFacts
from ansible_collections.xen.driver_domains.plugins.module_utils._doctor.finding import HostFinding
from ansible_collections.xen.driver_domains.plugins.module_utils._doctor.read import DoctorPlaces, read_facts
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER, Paths
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.files import Places, life_file, memory_file, status_file
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine, plain_server
from ansible_collections.xen.driver_domains.tests.unit.fakes.xenstored import FakeXenstored

#: The card that net-dd has, another one like it, and one that dom0 drives.
CARD, OTHER_CARD, HOST_CARD = "0000:00:04.0", "0000:03:00.0", "0000:00:03.0"
NET_DD, GUEST = 1, 2
VIF, BACKEND = f"/libxl/{GUEST}/device/vif/0", f"/local/domain/{NET_DD}/backend/vif/{GUEST}/0"
FRONTEND = f"/local/domain/{GUEST}/device/vif/0"
_DMESG = """\
(XEN) Xen version 4.20.0 (Debian 4.20.0-1) (pkg-xen-devel@lists.alioth.debian.org)
(XEN) I/O virtualisation enabled
(XEN)  - Dom0 mode: Relaxed
(XEN) Interrupt remapping enabled
(d1) Interrupt remapping disabled
"""


class WholeHost:
    """A context manager. net-dd has a card and serves guest1; the recovery service takes care of both."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.machine: FakeMachine = plain_server(root)
        self.uid = 0
        self.info = {
            "machine": "x86_64",
            "total_memory": "3071",
            "free_memory": "1800",
            "xen_commandline": "placeholder dom0_mem=768M,max:768M no-real-mode edd=off",
            "virt_caps": "pv pv_directio",
        }
        self.dmesg = _DMESG
        #: Name, memory and state letters by domid.
        self.domains = {0: ("Domain-0", 768, "r-----"), NET_DD: ("net-dd", 256, "-b----"), GUEST: ("guest1", 128, "-b----")}
        self.failed: list[str] = []
        #: First words of commands that fail.
        self.failing: set[str] = set()
        self.calls: list[tuple[str, ...]] = []
        self.places = DoctorPlaces(
            domains=Paths(
                definitions=str(root / "etc/xen"),
                userdata=str(root / "lib"),
                sysfs=str(self.machine.sys),
                run=str(root / "run/definitions"),
                units=str(root / "units"),
                active=str(root / "run/units"),
                procfs=str(self.machine.proc),
            ),
            recovery=Places(
                program=str(root / "recovery.pyz"),
                units=str(root / "units"),
                configuration=str(root / "recovery.json"),
                run=str(root / "run/recovery"),
            ),
            held_back=str(root / "run/held-back"),
            records=self.machine.records,
            boot=str(root / "boot"),
            tools=str(root / "usr/lib"),
            logs=str(root / "log"),
            oxenstored=str(root / "etc/xen/oxenstored.conf"),
        )
        self._write_host()
        self._write_devices()
        self._write_domain("net-dd", NET_DD, 256, f'pci = ["{CARD},permissive=0"]\n')
        self._write_domain("guest1", GUEST, 128)
        self._write_service()
        self._store = FakeXenstored(self._tree())
        for path in self._store.tree:
            domid = path.split("/")[3] if path.startswith("/local/domain/") and path.count("/") > 3 else "0"
            self._store.set_perms(path, f"n{domid}")

    def __enter__(self) -> WholeHost:
        self.store = self._store.__enter__()
        self._alive = self.file("run/recovery/alive", "").open()
        fcntl.flock(self._alive, fcntl.LOCK_EX)
        assert str(self.root / "run/recovery/alive") == life_file(self.places.recovery.run)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._alive.close()
        self.store.__exit__(*exc_info)

    # What it is like

    def _write_host(self) -> None:
        self.file("sys/hypervisor/type", "xen\n")
        self.file("sys/hypervisor/version/major", "4\n")
        self.file("sys/hypervisor/version/minor", "20\n")
        self.file("proc/xen/capabilities", "control_d\n")
        self.file("proc/cmdline", f"placeholder root=/dev/vda1 ro xen-pciback.hide=({CARD})\n")
        self.file("proc/meminfo", "MemTotal:         700000 kB\nMemAvailable:     400000 kB\n")
        self.file("boot/xen-4.20-amd64.gz", "")
        self.file("boot/xen-4.17-amd64.gz", "")
        self.file("boot/grub/grub.cfg", f"menuentry 'Debian' {{\n\tmodule2\t/vmlinuz placeholder xen-pciback.hide=({CARD})\n}}\n")
        self.file("etc/xen/xl.conf", '#autoballoon="auto"\n')
        self.process(40, "oxenstored")

    def _write_devices(self) -> None:
        self.machine.permanent_macs = {"eth1": "52:54:00:aa:00:02"}
        device = next(device for device in self.host_devices() if str(device.bdf) == CARD)
        self.machine.records.save(device.as_record("uplink0"))
        self.machine.hold(CARD)

    def host_devices(self) -> t.Any:
        """The PCI devices."""
        return self.facts_of_devices().devices

    def facts_of_devices(self) -> t.Any:
        """What the doctor knows of them, without XenStore."""
        return self.read(lambda: XenStore(str(self.root / "nowhere"), timeout=0.1)).pci

    def _write_domain(self, name: str, domid: int, memory: int, more: str = "") -> None:
        kernel = self.file(f"images/{name}/vmlinux", "")
        self.file(f"etc/xen/{name}.cfg", f'{MARKER}name = "{name}"\nmemory = {memory}\nkernel = "{kernel}"\n{more}')
        self.file(f"units/xen-domain@{name}.service", "")
        (self.root / "run/units" / name).mkdir(parents=True)
        kept = {"c_info": {"name": name, "uuid": f"uuid-{name}"}, "b_info": {"max_memkb": 1}, "on_crash": "restart"}
        self.keep(domid, kept)
        self.process(100 + domid, "xl", f"/var/log/xen/xl-{name}.log")

    def keep(self, domid: int, kept: t.Mapping[str, t.Any] | None) -> None:
        """Have libxl keep a configuration, or none."""
        path = self.root / "lib" / f"userdata-d.{domid}.uuid-{self.domains[domid][0]}.libxl-json"
        if kept is None:
            path.unlink()
        else:
            self.file(str(path.relative_to(self.root)), json.dumps(kept) + "\0")

    def _write_service(self) -> None:
        declared = {"name": "net-dd", "definition": "", "ready_key": "data/driver-domain/status", "ready_value": "ready"}
        self.file("recovery.pyz", "program")
        self.file("recovery.json", json.dumps({"domains": [declared], "attempts": 5}))
        unit = self.file("units/xen-domain-recovery.service", "")
        (self.root / "units/multi-user.target.wants").mkdir()
        (self.root / "units/multi-user.target.wants/xen-domain-recovery.service").symlink_to(unit)
        self.report()

    def report(self, waiting: t.Sequence[t.Mapping[str, t.Any]] = (), given_up: t.Sequence[str] = ()) -> None:
        """Let the recovery service say what it waits for, and what it has given up."""
        places = self.places.recovery
        self.file("run/recovery/status.json", json.dumps({"waiting": waiting, "given_up": given_up}))
        released = {str(number): {"client": item["name"], **item} for number, item in enumerate(waiting)}
        self.file("run/recovery/memory.json", json.dumps({"released": released}))
        assert os.path.exists(status_file(places.run)) and os.path.exists(memory_file(places.run))

    def _tree(self) -> dict[str, str]:
        tree = {"/libxl": "", "/tool/xen-driver-domains/recovery/paused": "", "/local/domain/0/name": "Domain-0"}
        for domid, name in ((NET_DD, "net-dd"), (GUEST, "guest1")):
            tree[f"/local/domain/{domid}/name"] = name
            tree[f"/local/domain/{domid}/vm"] = f"/vm/uuid-{name}"
            tree[f"/local/domain/{domid}/data/driver-domain/status"] = "ready"
        tree[f"/local/domain/{NET_DD}/data/driver-domain/bridges"] = "xenbr0"
        tree[f"/libxl/pci/{CARD.replace(':', '-').replace('.', '-')}/domid"] = str(NET_DD)
        tree[f"/libxl/pci/{CARD.replace(':', '-').replace('.', '-')}/name"] = "uplink0"
        made = {"backend": BACKEND, "mac": "00:16:3e:00:00:11", "bridge": "xenbr0", "script": "/etc/xen/scripts/vif-bridge"}
        tree.update({f"{VIF}/{key}": value for key, value in made.items()})
        tree.update({f"{FRONTEND}/state": "4", f"{BACKEND}/state": "4", f"{BACKEND}/hotplug-status": "connected"})
        return tree

    # What tests do with it

    def file(self, name: str, text: str | bytes) -> Path:
        """Write a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def process(self, pid: int, name: str, *files: str, cmdline: str = "") -> None:
        """Let a process run that has files open."""
        self.file(f"proc/{pid}/comm", f"{name}\n")
        self.file(f"proc/{pid}/cmdline", cmdline)
        (self.root / f"proc/{pid}/fd").mkdir(exist_ok=True)
        for number, file in enumerate(files):
            (self.root / f"proc/{pid}/fd/{number}").symlink_to(file)

    def stop_service(self) -> None:
        """Let the recovery service end."""
        fcntl.flock(self._alive, fcntl.LOCK_UN)

    def start_service(self) -> None:
        """Let it run."""
        fcntl.flock(self._alive, fcntl.LOCK_EX)

    def read(self, open_store: t.Callable[[], XenStore] | None = None) -> HostFacts:
        """Read it."""
        fake: t.Any = self
        macs = self.machine.permanent_macs
        connect = open_store or (lambda: XenStore(self.store.path, timeout=1.0))
        return read_facts(self.places, fake, connect, lambda: self.uid, lambda name: macs.get(name, ""))

    def examine(self) -> list[HostFinding]:
        """Read and check it."""
        return examine(self.read())

    # What the code calls as a runner

    def run(self, argv: t.Sequence[str], **_options: t.Any) -> Result:
        words = tuple(argv)
        self.calls.append(words)
        if {" ".join(words[:2]), words[0]} & self.failing:
            raise CommandFailed(f"'{' '.join(words)}' failed with exit code 1: it printed nothing", stderr="")
        printed = {
            ("xl", "info"): "".join(f"{key:<23}: {value}\n" for key, value in self.info.items()),
            ("xl", "dmesg"): self.dmesg,
            ("xl", "list"): "Name                                        ID   Mem VCPUs\tState\tTime(s)\n"
            + "".join(f"{name:<40} {domid:5} {mib:5}     1     {flags}      11.5\n" for domid, (name, mib, flags) in self.domains.items()),
            ("systemctl", "list-units"): "".join(f"{unit} loaded failed failed Xen domain\n" for unit in self.failed),
        }
        return Result(words, 0, printed[words[:2]], "")
