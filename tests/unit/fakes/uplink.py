# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with one network card, for tests of how dom0 moves to a vif and back: a kernel, XenStore, and the programs that are called."""

from __future__ import annotations

import contextlib
import os
import typing as t
from functools import partial
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.host import PciHost
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.match import parse_requests
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.next_boot import GRUB_CONFIGURATION, hidden_by
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.steps import DeviceSteps
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink.network import UP_UNIT, UplinkNetwork
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink.plan import REVERT_UNIT, UplinkPool, Wanted
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink.program import Program
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink.uplink import Uplink
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink_record import UplinkRecord
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.wire import XenStoreError
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen
from ansible_collections.xen.driver_domains.tests.unit.fakes.xenstored import FakeXenstored

CARD, IFNAME, MAC = "0000:00:03.0", "enp0s3", "52:54:00:aa:00:01"
DEVICES = [{"name": "uplink0", "match": {"mac": MAC}}]
WORDS = ["uplink0", CARD, IFNAME, "net-dd", MAC]
STATUS = "data/driver-domain/status"


class FakeOneCard:
    """A context manager. `calls` are the commands, without questions; `said` is what the program has written to the journal."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.machine = FakeMachine(root)
        self.machine.pci(CARD, "8086:10d3", "020000", driver="e1000e")
        self.machine.nic(IFNAME, CARD, MAC)
        self.machine.driver_directory("pciback")
        # It is the card of the SSH connection.
        self.machine.addresses = {IFNAME: ["192.0.2.5"]}
        self.machine.connection("192.0.2.5", "198.51.100.7")
        self.machine.default_route(IFNAME)
        self.machine.pci("0000:00:1f.2", "8086:2922", "010601", driver="ahci")
        self.machine.disk("sda", "8:0", where="pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block", partitions=["sda1"])
        self.machine.mount("/", "8:1")
        self.xen = FakeXen(self.machine)
        self.calls: list[str] = []
        self.said: list[str] = []
        #: What the driver domain reports when it has started; "" for one that does not get that far.
        self.status = "ready"
        self.hotplug = "connected"
        #: First words of commands that fail.
        self.failing: set[str] = set()
        self.ifupdown = False
        self.addressed: set[str] = set()
        self.active: set[str] = set()
        #: What nft prints.
        self.nftables = ""
        self.domid = 0
        self.no_xenstore = False
        (root / "etc/xen").mkdir(parents=True)
        (root / "etc/xen/net-dd.cfg").write_text('name = "net-dd"\n')
        (root / "etc/systemd/system").mkdir(parents=True)
        (root / "etc/systemd/system/xen-domain@net-dd.service").write_text("")

    def __enter__(self) -> FakeOneCard:
        self.server = FakeXenstored({"/local/domain/0/name": "Domain-0", "/libxl": "", "/tool": ""}).__enter__()
        self.store = XenStore(self.server.path)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.store.close()
        self.server.__exit__(*exc_info)

    # What tests look at

    @property
    def record(self) -> Path:
        return self.root / "var/lib/xen-driver-domains/uplink.json"

    @property
    def state(self) -> Path:
        return self.root / "run/xen-driver-domains/uplink.json"

    @property
    def link(self) -> Path:
        return self.root / "etc/systemd/system/multi-user.target.wants/xen-driver-domains-uplink.service"

    @property
    def held(self) -> Path:
        return self.root / "held-back/net-dd"

    @property
    def vifs(self) -> list[str]:
        return self.store.directory("/libxl/0/device/vif")

    @property
    def interfaces(self) -> list[str]:
        return sorted(name for name in os.listdir(self.machine.sys / "class/net") if name != "bonding_masters")

    def card_is_with(self) -> str:
        return self.machine.driver(CARD)

    def changes(self) -> list[str]:
        """The commands, and forget them."""
        calls, self.calls = self.calls, []
        return calls

    # What the code is given

    def host(self, store: t.Any = None) -> PciHost:
        host = self.xen.host()
        host._store = store
        return host

    def network(self) -> UplinkNetwork:
        runner: t.Any = self
        return UplinkNetwork(runner, str(self.machine.sys), 0.0)

    def pool(self) -> UplinkPool:
        runner: t.Any = self
        host = self.host(self.store)
        return UplinkPool(host, self.store, runner, self.network(), self.xen.guards, root=str(self.root), procfs=str(self.machine.proc))

    def plan(self, state: str = "present", **wanted: t.Any) -> Plan:
        values = {"request": parse_requests(DEVICES)[0], "backend": "net-dd", "bridge": "xenbr0", **wanted}
        return self.pool().plan(state, None if state == "absent" else Wanted(**values))

    def apply(self, state: str = "present", **wanted: t.Any) -> dict[str, t.Any]:
        return self.plan(state, **wanted).apply()

    def program(self) -> Program:
        runner: t.Any = self

        @contextlib.contextmanager
        def opened(record: UplinkRecord) -> t.Iterator[Uplink]:
            if self.no_xenstore:
                raise XenStoreError("no xenstored")
            host, xl = self.host(self.store), runner
            steps = DeviceSteps(host, xl, runner, patience=0.0)
            held = str(self.held.parent)
            yield Uplink(record, host, steps, xl, self.store, runner, self.network(), self.said.append, held=held, patience=0.0)

        return Program(
            UplinkRecord(*WORDS[:4], "", MAC, 1),
            runner,
            self.network(),
            self.host,
            opened,
            str(self.record),
            str(self.state),
            str(self.root / "run/xen-driver-domains/uplink-problem"),
            str(self.link),
            partial(hidden_by, root=str(self.root), procfs=str(self.machine.proc)),
        )

    # What the code calls as a runner

    def run(self, argv: t.Sequence[str], *, check: bool = True, **options: t.Any) -> Result:
        words = tuple(argv)
        line = " ".join(words)
        if any(line.startswith(start) for start in self.failing):
            if check:
                raise CommandFailed(f"'{line}' failed with exit code 1: no", cmd=line)
            return Result(words, 1, "", "no")
        if words[0] == "ifquery":
            return Result(words, 0 if self.ifupdown else 1, "", "")
        if words[:4] == ("ip", "-json", "address", "show") and "dev" in words:
            text = '[{"addr_info": [{"local": "192.0.2.1"}]}]' if words[5] in self.addressed else "[{}]"
            return Result(words, 0, text, "")
        if words[0] == "nft":
            return Result(words, 0, self.nftables, "")
        if words[:2] == ("systemctl", "is-active"):
            units = [word for word in words[2:] if not word.startswith("-")]
            shown = ["active" if unit in self.active else "inactive" for unit in units]
            return Result(words, 0 if "active" in shown else 3, "".join(f"{word}\n" for word in shown), "")
        if words[0] in ("ip", "modprobe", "udevadm", "networkctl", "systemctl", "systemd-run", "ifup", "ifdown"):
            if words[0] == "ip" and words[1] == "-json":
                return self.xen.run(argv, check=check, **options)
            if words[:2] != ("udevadm", "settle"):
                self.machine.step(line)
                self.calls.append(line)
            self._react(words)
            return Result(words, 0, "", "")
        raise AssertionError(line)

    def _react(self, words: tuple[str, ...]) -> None:
        if words[:2] == ("systemctl", "restart"):
            self.start()
        elif words == ("systemctl", "start", UP_UNIT):
            self.program().up()
        elif words[0] == "systemd-run":
            self.active.add(f"{words[3].partition('=')[2]}.timer")
        elif words[:2] == ("systemctl", "stop"):
            self.active -= set(words[2:])
        elif words[0] == "ip" and "address" in words:
            (self.machine.sys / "class/net" / words[4] / "address").write_text(f"{words[-1]}\n")
        elif words[0] == "ip" and "name" in words:
            self._rename(words[4], words[-1])

    def _rename(self, old: str, new: str) -> None:
        for directory in (self.machine.sys / "class/net", *(self.machine.sys / "bus/xen/devices").glob("*/net")):
            if os.path.lexists(directory / old):
                (directory / old).rename(directory / new)

    def fire(self) -> int:
        """Let the timer that awaits the confirmation fire."""
        self.active.discard(f"{REVERT_UNIT}.timer")
        return self.program().revert()

    def begin(self) -> int:
        """Let the transient unit of the switch run."""
        self.active.discard("xen-driver-domains-uplink-switch.timer")
        return self.program().switch()

    def start(self) -> None:
        """Start the driver domain: it gets the card that pciback holds."""
        self.domid += 1
        self.server.set(f"/local/domain/{self.domid}/name", "net-dd")
        if self.status:
            self.server.set(f"/local/domain/{self.domid}/{STATUS}", self.status)
        self.server.set("/libxl/pci/0000-00-03-0/domid", str(self.domid))

    def hide(self, hidden: bool) -> None:
        """Have GRUB hide the card at the next boot, or not."""
        path = self.root / GRUB_CONFIGURATION.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"menuentry 'Xen' {{\n\tmodule2 /vmlinuz placeholder root=/dev/sda1 {f'xen-pciback.hide=({CARD})' if hidden else ''}\n}}\n"
        )

    def reboot(self, hidden: bool = True) -> None:
        """Boot the host again: nothing is left of domains."""
        self.hide(hidden)
        for path in ("/local/domain/1", "/local/domain/2", "/libxl/0", "/libxl/pci", "/local/domain/0/device"):
            self.server.remove(path)
        self._drop_interfaces()
        self.xen.reboot(*([CARD] if hidden else []))
        self.state.unlink(missing_ok=True)
        self.held.unlink(missing_ok=True)
        self.active.clear()
        self.calls.clear()

    # What the code calls as xl

    def pci_assignable_add(self, bdf: str, name: str | None = None) -> None:
        self.calls.append(f"xl pci-assignable-add {bdf}")
        self.xen.pci_assignable_add(bdf, name)

    def pci_assignable_remove(self, bdf: str, rebind: bool = True) -> None:
        self.calls.append(f"xl pci-assignable-remove {bdf}")
        self.xen.pci_assignable_remove(bdf, rebind)

    def destroy(self, domain: str) -> None:
        self.calls.append(f"xl destroy {domain}")
        self.server.remove(f"/local/domain/{self.domid}")
        self.server.remove("/libxl/pci/0000-00-03-0/domid")
        self.server.fire("@releaseDomain")

    def shutdown(self, domain: str) -> None:
        self.destroy(domain)
        self.calls[-1] = f"xl shutdown {domain}"

    def list(self) -> list[t.Any]:
        return []

    def attach_device(self, kind: str, domain: str, specification: str) -> None:
        self.calls.append(f"xl network-attach {domain} {specification}")
        if "xl network-attach" in self.failing:
            raise CommandFailed("'xl network-attach' failed with exit code 1: no")
        settings = dict(word.partition("=")[::2] for word in specification.split(","))
        back, front = f"/local/domain/{self.domid}/backend/vif/0/0", "/local/domain/0/device/vif/0"
        for key, value in {"backend": back, "mac": settings["mac"], "bridge": settings["bridge"]}.items():
            self.server.set(f"/libxl/0/device/vif/0/{key}", value)
        for path in (front, back):
            self.server.set(f"{path}/state", "4")
        self.server.set(f"{back}/hotplug-status", self.hotplug)
        directory = self.machine.sys / "bus/xen/devices/vif-0/net"
        (directory / "enX0").mkdir(parents=True)
        (self.machine.sys / "class/net/enX0").symlink_to(directory / "enX0")

    def detach_device(self, kind: str, domain: str, devid: int, force: bool = False) -> None:
        self.calls.append(f"xl network-detach {domain} {devid}")
        for path in ("/libxl/0/device/vif/0", "/local/domain/0/device/vif/0", f"/local/domain/{self.domid}/backend/vif/0/0"):
            self.server.remove(path)
        self._drop_interfaces()

    def _drop_interfaces(self) -> None:
        for path in (self.machine.sys / "bus/xen/devices").glob("*/net/*"):
            (self.machine.sys / "class/net" / path.name).unlink(missing_ok=True)
            path.rmdir()
