# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Xen host for tests of the recovery service: a real XenStore protocol, domains that start and end, and what `xl` does to them."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._polling import wait_until
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.commands import Ended
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.model import Configuration, Declared
from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.service import RecoveryService
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Domain
from ansible_collections.xen.driver_domains.plugins.module_utils._xenstore.client import XenStore
from ansible_collections.xen.driver_domains.tests.unit.fakes.xenstored import FakeXenstored

STATUS = "data/driver-domain/status"


class FakeSite:
    """A context manager. `calls` are the commands that the service gave; its clock moves only when a test says so."""

    def __init__(self, root: Path, attempts: int = 5) -> None:
        self.root = root
        self.now = 1000.0
        self.calls: list[tuple[str, ...]] = []
        self.said: list[str] = []
        self.notified: list[str] = []
        #: Driver domains that are not started again.
        self.gave_up: list[str] = []
        #: How often `xl list` ran.
        self.lists = 0
        self.flags: dict[int, str] = {}
        #: First words of commands that fail, and with what.
        self.failing: dict[str, str] = {}
        #: Whether commands end at once; else `finish` ends them.
        self.prompt = True
        #: What a backend reports about a device that is attached.
        self.hotplug = "connected"
        self.states = ("4", "4")
        self.names: dict[int, str] = {}
        self.kept: dict[int, dict[str, list[dict[str, t.Any]]]] = {}
        self._last_domid = 0
        self._pending: dict[str, tuple[str, ...]] = {}
        self._ended: list[Ended] = []
        definition = root / "net-dd.cfg"
        definition.write_text("")
        self.configuration = Configuration((Declared("net-dd", str(definition), STATUS, "ready"),), attempts)
        (root / "lib").mkdir()

    def __enter__(self) -> FakeSite:
        self.store = FakeXenstored({"/local/domain/0/name": "Domain-0", "/libxl": ""}).__enter__()
        self.names[0] = "Domain-0"
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.store.__exit__(*exc_info)

    def service(self) -> RecoveryService:
        """Start the service (again)."""
        fake: t.Any = self
        return RecoveryService(
            self.configuration,
            XenStore(self.store.path),
            fake,
            fake,
            directory=str(self.root / "run"),
            metrics=str(self.root / "metrics"),
            userdata=str(self.root / "lib"),
            lock=str(self.root / "lock"),
            say=self.said.append,
            notify=self.notified.append,
            clock=lambda: self.now,
            gave_up=self.gave_up.append,
        )

    def settle(self, service: RecoveryService, seconds: float = 0.0) -> float | None:
        """Let some time pass, and the service do all that it can do without more of it; return when it wants to look again."""
        self.now += seconds
        deadline = service.step()
        for _round in range(50):
            if not self._ended and (deadline is None or deadline > self.now):
                return deadline
            deadline = service.step()
        raise AssertionError("the service does not come to rest")

    @property
    def status(self) -> dict[str, t.Any]:
        """What the service says about itself."""
        found: dict[str, t.Any] = json.loads((self.root / "run" / "status.json").read_text())
        return found

    @property
    def metrics(self) -> list[str]:
        """What it says about itself to Prometheus, without the comments."""
        lines = (self.root / "metrics" / "xen_driver_domains.prom").read_text().splitlines()
        return [line for line in lines if not line.startswith("#")]

    # Domains

    def add(self, name: str, uuid: str = "", ready: str | None = None) -> int:
        """Start a domain; a driver domain has `ready`, its status."""
        self._last_domid += 1
        domid = self._last_domid
        self.names[domid] = name
        self.kept[domid] = {"nics": [], "disks": []}
        self.store.set(f"/local/domain/{domid}/vm", f"/vm/{uuid or f'uuid-{name}'}")
        self.store.set(f"/local/domain/{domid}/name", name)
        self.store.set(f"/libxl/{domid}", "")
        if ready is not None:
            self.store.set(f"/local/domain/{domid}/{STATUS}", ready)
        return domid

    def report(self, domid: int, status: str) -> None:
        """Let a driver domain report its status."""
        self.store.set(f"/local/domain/{domid}/{STATUS}", status)

    def destroy(self, domid: int) -> None:
        """Let a domain be gone with all that it had. The frontends of its clients go on saying that they are connected."""
        del self.names[domid], self.kept[domid]
        for path in (f"/libxl/{domid}", f"/local/domain/{domid}"):
            self.store.remove(path)
        for kept in (self.root / "lib").glob(f"userdata-d.{domid}.*"):
            kept.unlink()

    def end(self, service: RecoveryService, domid: int, letters: str) -> None:
        """Let a domain shut down or crash, and stay: xenstored says that something ended, and only `xl list` shows what."""
        self.flags[domid] = letters
        self.store.fire("@releaseDomain")
        wait_until(service._take_events, 5.0, 0.01)

    def domid(self, name: str) -> int:
        """Return the newest domain of a name."""
        return max(domid for domid, other in self.names.items() if other == name)

    def device(self, client: int, kind: str, devid: int) -> dict[str, str]:
        """Return the keys that libxl keeps of a device."""
        home = f"/libxl/{client}/device/{kind}/{devid}/"
        return {path[len(home) :]: value for path, value in self.store.tree.items() if path.startswith(home)}

    def plug(self, client: int, kind: str, text: str) -> None:
        """Do what libxl and the two drivers do when a device is attached."""
        settings = dict(part.partition("=")[::2] for part in text.split(","))
        backend = self.domid(settings.get("backend", "Domain-0"))
        devid = int(settings.get("devid", 0)) if kind == "vif" else {"xvda": 51712, "xvdb": 51728}[settings["vdev"]]
        home, front = f"/libxl/{client}/device/{kind}/{devid}", f"/local/domain/{client}/device/{kind}/{devid}"
        back = f"/local/domain/{backend}/backend/{kind}/{client}/{devid}"
        if f"{home}/backend" in self.store.tree:
            raise AssertionError(f"{home} is there already")
        own = {"backend_domname": settings["backend"]}
        if kind == "vif":
            written = {"mac": settings["mac"], "bridge": settings.get("bridge", ""), "type": "vif", "mtu": "1500"}
            self._kept(client, "nics", {**own, "mac": settings["mac"], "devid": devid})
        else:
            written = {"dev": settings["vdev"], "params": settings["target"], "type": "phy", "mode": "w"}
            self._kept(client, "disks", {**own, "vdev": settings["vdev"], "pdev_path": settings["target"], "format": "raw"})
        for key, value in {"backend": back, **written}.items():
            self.store.set(f"{home}/{key}", value)
        self.store.set(f"{front}/state", self.states[0])
        self.store.set(f"{back}/state", self.states[1])
        if self.hotplug:
            self.store.set(f"{back}/hotplug-status", self.hotplug)

    def unplug(self, client: int, kind: str, devid: int) -> None:
        """Do what libxl does when a device is detached."""
        home = f"/libxl/{client}/device/{kind}/{devid}"
        back = self.store.tree[f"{home}/backend"]
        mac, vdev = self.store.tree.get(f"{home}/mac"), self.store.tree.get(f"{home}/dev")
        kept = self.kept[client]
        kept["nics"] = [nic for nic in kept["nics"] if nic["mac"] != mac]
        kept["disks"] = [disk for disk in kept["disks"] if disk["vdev"] != vdev]
        self._write_kept(client)
        for path in (back, f"/local/domain/{client}/device/{kind}/{devid}", home):
            if path in self.store.tree:
                self.store.remove(path)

    def _kept(self, client: int, kind: str, device: dict[str, t.Any]) -> None:
        self.kept.setdefault(client, {"nics": [], "disks": []})[kind].append(device)
        self._write_kept(client)

    def _write_kept(self, client: int) -> None:
        self.kept_file(client).write_text(json.dumps(self.kept[client]) + "\0")

    def kept_file(self, domid: int) -> Path:
        """Return the file in which libxl keeps the configuration of a domain. Dom0 has a UUID of zeros, and XenStore does not say so."""
        vm = self.store.tree.get(f"/local/domain/{domid}/vm", "00000000-0000-0000-0000-000000000000")
        return self.root / "lib" / f"userdata-d.{domid}.{vm.rpartition('/')[2]}.libxl-json"

    # What the service calls as xl

    def list(self) -> list[Domain]:
        self.lists += 1
        domids = {**dict.fromkeys(self.names, "b"), **self.flags}
        return [Domain(self.names.get(domid, "(null)"), domid, 1, 1, flags) for domid, flags in domids.items()]

    # What the service calls as commands

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self._pending)

    @property
    def deadline(self) -> float | None:
        return None

    def start(self, key: str, argv: t.Sequence[str], now: float, limit: float) -> str:
        assert key not in self._pending, f"{key} is busy"
        self.calls.append(tuple(argv))
        self._pending[key] = tuple(argv)
        if self.prompt and argv[0] == "xl":
            self.finish(key)
        return ""

    def finish(self, key: str, killed: bool = False) -> None:
        """Let a command end. One that is killed while it starts a domain leaves it paused."""
        argv = self._pending.pop(key)
        problem = "it was killed" if killed else next((text for word, text in self.failing.items() if word in argv), "")
        if argv[0] == "xl" and (not problem or (killed and argv[1] == "create")):
            self._perform(argv[1], list(argv[2:]))
        if killed and argv[1] == "create":
            self.flags[self._last_domid] = "p"
        self._ended.append(Ended(key, problem, killed))

    def ended(self, now: float) -> list[Ended]:
        found, self._ended = self._ended, []
        return found

    def _perform(self, verb: str, words: list[str]) -> None:
        kind = "vif" if verb.startswith("network") else "vbd"
        if verb.endswith("-attach"):
            self.plug(int(words[0]), kind, ",".join(words[1:]))
        elif verb.endswith("-detach"):
            client, devid = (int(word) for word in words[-2:])
            self.unplug(client, kind, devid)
        elif verb == "destroy":
            self.destroy(int(words[0]))
            self.flags.pop(int(words[0]), None)
        else:
            assert verb == "create", verb
            self.add(Path(words[-1]).stem, ready="starting")

    def verbs(self, *first: str) -> list[str]:
        """Return the calls so far as words, and forget them."""
        calls, self.calls = self.calls, []
        return [" ".join(call[1:]) for call in calls if not first or call[1] in first]

    def attached(self, client: int) -> list[str]:
        """Return the backends of the devices of a client, by XenStore."""
        pattern = re.compile(rf"/libxl/{client}/device/[a-z]+/[0-9]+/backend")
        return [value for path, value in self.store.tree.items() if pattern.fullmatch(path)]
