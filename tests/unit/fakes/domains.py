# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Xen host for unit tests: a toolstack and a XenStore that agree with each other and record every change."""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import definitions
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.host import read_host
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER, Paths
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.plan import plan_domains
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.revisions import on_host
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.steps import DomainSteps, Limits
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed, InvalidInput, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.bdf import Bdf
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.device import PciDevice
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xl import Domain

#: How libxl calls what xl calls otherwise.
KEPT_NAMES = {"backend": "backend_domname", "target": "pdev_path", "backendtype": "backend"}

#: Numbers of disks in a guest.
VDEVS = {"xvda": 51712, "xvdb": 51728}

#: What AnsibleModule fills in for a domain when the user gives nothing.
BLANK: dict[str, t.Any] = {
    **dict.fromkeys(("memory", "maxmem", "kernel", "ramdisk", "cmdline", "pci", "vifs", "disks", "options", "ready")),
    **dict.fromkeys(("on_poweroff", "on_reboot", "on_crash", "on_watchdog")),
    "state": "running",
    "autostart": False,
    "type": "pv",
    "vcpus": 1,
    "driver_domain": False,
    "wait_timeout": 1.0,
}


def pci_device(bdf: str, driver: str = "", owner: str = "") -> PciDevice:
    """A network card, as sysfs and XenStore show it."""
    return PciDevice(
        bdf=Bdf.parse(bdf),
        slot="0000:00/03.0",
        vendor_device="8086:10d3",
        subsystem="8086:a01f",
        class_code="020000",
        modalias="",
        driver=driver,
        interfaces=(),
        in_pciback_slots=driver == "pciback",
        iommu_group=None,
        reset_methods=(),
        boot_vga=False,
        bridge=False,
        responds=True,
        owner=owner,
    )


class FakeStore:
    """Enough of the XenStore client, over a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def read_text(self, path: str) -> str | None:
        return self.values.get(path)

    def read_texts(self, paths: t.Iterable[str]) -> dict[str, str | None]:
        return {path: self.values.get(path) for path in paths}

    def directory(self, path: str) -> list[str]:
        return sorted({key[len(path) + 1 :].split("/")[0] for key in self.values if key.startswith(f"{path}/")})

    def directories(self, paths: t.Iterable[str]) -> dict[str, list[str]]:
        return {path: self.directory(path) for path in paths}

    def domains(self) -> dict[int, str]:
        return {
            int(d): self.values[f"/local/domain/{d}/name"]
            for d in self.directory("/local/domain")
            if f"/local/domain/{d}/name" in self.values
        }

    def domid_of(self, name: str) -> int | None:
        return next((domid for domid, other in self.domains().items() if other == name), None)

    def write(self, path: str, value: str) -> None:
        self.values[path] = value

    def rm(self, path: str) -> None:
        self.values = {key: value for key, value in self.values.items() if not f"{key}/".startswith(f"{path}/")}

    def transaction(self, body: t.Callable[[FakeStore], t.Any]) -> t.Any:
        return body(self)

    def wait_for(self, paths: t.Sequence[str], predicate: t.Callable[[dict[str, str | None]], object], timeout: float) -> None:
        if not predicate(self.read_texts(paths)):
            raise TimedOut("not reached")


class FakeHost:
    """Also stands for xl and the runner; `calls` are the mutating ones."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = FakeStore()
        self.paths = Paths(
            f"{root}/xen",
            f"{root}/xen/auto",
            f"{root}/lib",
            f"{root}/sys",
            f"{root}/run",
            f"{root}/saved",
            f"{root}/units",
            f"{root}/active",
            f"{root}/program/domain.pyz",
            f"{root}/proc",
            (f"{root}/qemu*",),
            f"{root}/needrestart/conf.d/xen-driver-domains.conf",
            held_back=f"{root}/held",
            systemd=f"{root}",
        )
        #: The calls of systemctl. What starts and stops units is not among `calls`: the domains then run, or do not.
        self.systemctl: list[tuple[str, ...]] = []
        #: What systemd was asked about.
        self.shown: list[tuple[str, ...]] = []
        #: The ActiveState and the Job of units, where they are not inactive without a job.
        self.unit_states: dict[str, tuple[str, str]] = {}
        #: A call of systemctl with this verb fails.
        self.failing_verb = ""
        self.calls: list[tuple[str, ...]] = []
        #: The definitions that xl has parsed.
        self.parsed: list[str] = []
        #: The PCI devices, by BDF.
        self.devices: dict[str, PciDevice] = {}
        #: Xen does not use a domid again soon.
        self.last_domid = 0
        self.domains = {"Domain-0": Domain("Domain-0", 0, 768, 1, "r")}
        self.store.values["/local/domain/0/name"] = "Domain-0"
        self.free_memory = 1024
        self.total_memory = 4096
        self.virt_caps = "pv pv_directio"
        (root / "qemu").write_text("")
        (root / "qemu").chmod(0o755)
        self.dom0_memory(512)
        self.xen_options = "dom0_mem=768M"
        #: xl does not accept a definition that holds this text, and what it then says.
        self.rejected = ""
        self.objection = "no"
        #: A definition that holds this text makes a domain that reports an error.
        self.failing = ""
        self.vif_state = "4"
        self.hotplug: dict[str, str] = {"hotplug-status": "connected"}
        self.deaf: set[str] = set()
        #: Domains that stay when they have shut down (on_poweroff).
        self.preserved: set[str] = set()
        #: Domains that xl starts again when they have shut down (on_poweroff).
        self.returning: set[str] = set()
        (root / "lib").mkdir()
        (root / "kernel").write_text("")

    def dom0_memory(self, available: int) -> None:
        """Let dom0 have so much memory left, in MiB."""
        (self.root / "proc").mkdir(exist_ok=True)
        (self.root / "proc/meminfo").write_text(f"MemTotal:  786432 kB\nMemAvailable:   {available * 1024} kB\n")

    def run_plan(self, domains: t.Sequence[dict[str, t.Any]], pci: t.Mapping[str, str] | None = None, **options: t.Any) -> Plan:
        """Plan, and apply unless in check mode, as run_module does."""
        check_mode, force = options.pop("check_mode", False), options.pop("force", ())
        plan = self.plan(domains, pci, **options)
        plan.results.update(plan.apply(force, check_mode))
        return plan

    def plan(
        self,
        domains: t.Sequence[dict[str, t.Any]],
        pci: t.Mapping[str, str] | None = None,
        restart_changed: bool = False,
        under_xen: bool = True,
        again: bool = False,
        rollback: bool = True,
        requested: t.Sequence[dict[str, t.Any]] = (),
    ) -> Plan:
        """Plan; `pci` are the names of devices with their BDFs, and `requested` the domains that keep an older image, as requested."""
        blank = {**BLANK, "memory": 128, "kernel": str(self.root / "kernel")}
        full, before = ([{**blank, **domain} for domain in some] for some in (domains, requested))
        fake: t.Any = self
        store: t.Any = self.store if under_xen else None
        devices = {name: self.devices.get(bdf) or pci_device(bdf) for name, bdf in (pci or {}).items()}
        warnings: list[str] = []
        asked = {domain.name: domain.text for domain in definitions(before, devices)}
        wanted = on_host(definitions(full, devices), self.paths.definition, fake, again, warnings, asked)
        steps = DomainSteps(fake, store, fake, self.paths, Limits(shutdown=0.3, attach=1.0))
        stuck = steps.attacher.stuck if under_xen else None
        plan = plan_domains(wanted, read_host(wanted, fake, store, self.paths, stuck), steps, restart_changed, rollback)
        plan.warnings += warnings
        return plan

    def add(self, name: str, flags: str = "b", text: str | None = None, uuid: str = "") -> int:
        """Let a domain run; `text` is the definition that it was started with."""
        self.last_domid += 1
        domid = self.last_domid
        self.domains[name] = Domain(name, domid, 128, 1, flags)
        uuid = uuid or f"of-{domid}"
        self.store.values.update({f"/local/domain/{domid}/name": name, f"/local/domain/{domid}/vm": f"/vm/{uuid}"})
        if text is not None:
            config = {"c_info": {"uuid": uuid}, "defaults": 1, **self.parse_definition(text)}
            self.parsed.pop()
            self.kept_file(domid).write_text(json.dumps(config) + "\0")
        return domid

    def kept_file(self, domid: int) -> Path:
        """Return the file in which libxl keeps the configuration of a domain. Dom0 has a UUID of zeros, and XenStore does not say so."""
        vm = self.store.values.get(f"/local/domain/{domid}/vm", "00000000-0000-0000-0000-000000000000")
        return self.root / "lib" / f"userdata-d.{domid}.{vm.rpartition('/')[2]}.libxl-json"

    def leave_behind(self, domid: int, configuration: t.Mapping[str, t.Any]) -> None:
        """Let a power cut have left the file of an earlier domain with this number. It is newer: the clock was wrong then."""
        path = self.root / "lib" / f"userdata-d.{domid}.of-an-earlier-one.libxl-json"
        path.write_text(json.dumps({"c_info": {"uuid": "of-an-earlier-one"}, **configuration}) + "\0")
        os.utime(path, (1 << 32, 1 << 32))

    def adopt(self, name: str, flags: str = "b") -> int:
        """Let a domain run that this collection started earlier: its definition is there."""
        path = Path(self.paths.definition(name))
        path.parent.mkdir(exist_ok=True)
        path.write_text(MARKER)
        return self.add(name, flags)

    def hold(self, bdf: str, owner: str = "") -> None:
        """Let pciback hold a device, for the running domain `owner` if there is one."""
        self.devices[bdf] = pci_device(bdf, "pciback", owner)

    # What the planner calls as xl

    def list(self) -> list[Domain]:
        return [*self.domains.values()]

    def info(self) -> dict[str, str]:
        memory = {"free_memory": str(self.free_memory), "total_memory": str(self.total_memory)}
        return {**memory, "xen_commandline": self.xen_options, "virt_caps": self.virt_caps}

    def parse_definition(self, text: str) -> dict[str, t.Any]:
        self.parsed.append(text)
        if self.rejected and self.rejected in text:
            raise InvalidInput(f"xl does not accept the definition: {self.objection}")
        settings = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)
        top = {key: settings.pop(key).strip('"') for key in ("on_poweroff", "on_reboot", "on_crash", "on_watchdog") if key in settings}
        devices: dict[str, t.Any] = {}
        if "pci" in settings:
            devices["pcidevs"] = settings.pop("pci").split("|")
        for key, name in (("vif", "nics"), ("disk", "disks")):
            texts = re.findall(r'"([^"]*)"', settings.pop(key, ""))
            if texts:
                parts = [dict(part.partition("=")[::2] for part in text.split(",")) for text in texts]
                devices[name] = [{KEPT_NAMES.get(word, word): value for word, value in own.items()} for own in parts]
        settings.update({part: settings[part].strip('"') for part in ("kernel", "ramdisk") if part in settings})
        serves = {"driver_domain": "True"} if settings.pop("driver_domain", "") == "1" else {}
        return {"c_info": {"uuid": "new", **serves}, "b_info": settings, **top, **devices}

    def create(self, path: str, timeout: float, uuid: str = "") -> None:
        text = Path(path).read_text()
        name = Path(path).stem
        self.calls.append(("create", name))
        home = f"/local/domain/{self.add(name, text=text, uuid=uuid)}"
        failed = self.failing and self.failing in text
        self.store.values[f"{home}/data/driver-domain/status"] = "error" if failed else "ready"
        self.plug(name, text)

    def plug(self, name: str, text: str) -> None:
        """Put the vifs and disks of a definition into XenStore."""
        for devid, vif in enumerate(re.findall(r'"(mac=[^"]*)"', text)):
            settings = dict(part.partition("=")[::2] for part in vif.split(","))
            self.connect(name, devid, settings.get("backend", "Domain-0"))
            self.store.values[f"/libxl/{self.store.domid_of(name)}/device/vif/{devid}/mac"] = settings["mac"]
        for vdev in re.findall(r"vdev=([^,]*)", text):
            self.serve("vbd", name, "Domain-0", VDEVS[vdev])
            self.store.values[f"/libxl/{self.store.domid_of(name)}/device/vbd/{VDEVS[vdev]}/dev"] = vdev

    def connect(self, guest: str, devid: int, backend: str) -> None:
        """Put the keys of a vif into XenStore: the toolstack's own, the frontend's and the backend's."""
        guest_id, backend_id = self.store.domid_of(guest), self.store.domid_of(backend)
        front, back = f"/local/domain/{guest_id}/device/vif/{devid}", f"/local/domain/{backend_id}/backend/vif/{guest_id}/{devid}"
        self.store.values.update({f"{front}/backend": back, f"{front}/backend-id": str(backend_id), f"{front}/state": self.vif_state})
        home = f"/libxl/{guest_id}/device/vif/{devid}"
        self.store.values.update({home: "", f"{home}/backend": back, front: "", back: ""})
        self.store.values.update({f"{back}/state": self.vif_state, **{f"{back}/{key}": value for key, value in self.hotplug.items()}})

    def attach_device(self, kind: str, domain: str, specification: str) -> None:
        self.calls.append(("attach", kind, domain, specification))
        settings = dict(part.partition("=")[::2] for part in specification.split(","))
        backend = settings.get("backend") or "Domain-0"
        if kind == "vif":
            devid = int(settings.get("devid") or 0)
            self.connect(domain, devid, backend)
            if "mac" in settings:
                self.store.values[f"/libxl/{self.store.domid_of(domain)}/device/vif/{devid}/mac"] = settings["mac"]
        else:
            self.serve(kind, domain, backend, VDEVS[settings["vdev"]])
            domid, devid = self.store.domid_of(domain), VDEVS[settings["vdev"]]
            self.store.values[f"/libxl/{domid}/device/vbd/{devid}/dev"] = settings["vdev"]
            self.store.values[f"/local/domain/{domid}/device/vbd/{devid}/state"] = "4"

    def detach_device(self, kind: str, domain: str, devid: int, force: bool = False) -> None:
        domid = int(domain) if domain.isdecimal() else self.store.domid_of(domain)
        self.calls.append(("detach", kind, self.store.values.get(f"/local/domain/{domid}/name", domain), str(devid)))
        home = f"/libxl/{domid}/device/{kind}/{devid}"
        backend = self.store.values.get(f"{home}/backend") or home
        gone = tuple(f"{path}/" for path in (home, f"/local/domain/{domid}/device/{kind}/{devid}", backend))
        self.store.values = {key: value for key, value in self.store.values.items() if not f"{key}/".startswith(gone)}

    def serve(self, kind: str, guest: str, backend: str, devid: int = 0, toolstack: bool = True) -> None:
        """Put the keys of any device into XenStore; xl also writes down which devices it made, xenbus_device does not."""
        guest_id, backend_id = self.store.domid_of(guest), self.store.domid_of(backend)
        path = f"/local/domain/{backend_id}/backend/{kind}/{guest_id}/{devid}"
        self.store.values.update({f"{path}/state": "4", f"/local/domain/{guest_id}/device/{kind}/{devid}/backend": path})
        if toolstack:
            self.store.values[f"/libxl/{guest_id}/device/{kind}/{devid}/backend"] = path

    def remove(self, name: str) -> None:
        """Let a domain be gone, with all that it had in XenStore."""
        domid = self.domains.pop(name).domid
        homes = (f"/local/domain/{domid}/", f"/libxl/{domid}/")
        self.store.values = {key: value for key, value in self.store.values.items() if not key.startswith(homes)}

    def reboot(self, name: str) -> int:
        """Let a domain reboot itself: libxl makes it again from what it kept, with the same UUID and another domid."""
        before = self.domains[name]
        kept = self.kept_file(before.domid)
        uuid = self.store.values[f"/local/domain/{before.domid}/vm"].rpartition("/")[2]
        self.remove(name)
        domid = self.add(name, before.flags, uuid=uuid)
        kept.rename(self.kept_file(domid))
        return domid

    def flag(self, name: str, flags: str) -> None:
        """Let a domain be paused, shut down and so on."""
        self.domains[name] = replace(self.domains[name], flags=flags)

    def unpause(self, name: str) -> None:
        self.calls.append(("unpause", name))
        self.flag(name, "b")

    def shutdown(self, name: str) -> None:
        self.calls.append(("shutdown", name))
        if name in self.preserved:
            self.flag(name, "s")
        elif name in self.returning:
            self.reboot(name)
        elif name not in self.deaf and not self.domains[name].paused:
            self.remove(name)

    def destroy(self, name: str) -> None:
        self.calls.append(("destroy", name))
        for other in [*self.domains.values()]:
            if name in (other.name, str(other.domid)):
                self.remove(other.name)

    # What the planner calls as the runner

    def run(self, argv: t.Sequence[str], **_options: t.Any) -> Result:
        if argv[0] == "systemctl":
            return Result(tuple(argv), 0, self._systemctl(argv[1], [word for word in argv[2:] if not word.startswith("-")], argv[1:]), "")
        self.calls.append(tuple(argv))
        Path(argv[-1]).write_text(Path(argv[-2]).read_text())
        return Result(tuple(argv), 0, "", "")

    def _systemctl(self, verb: str, units: t.Sequence[str], words: t.Sequence[str]) -> str:
        if verb == self.failing_verb:
            raise CommandFailed(f"'systemctl {verb}' failed")
        if verb == "show":
            self.shown.append(tuple(units))
            states = [self.unit_states.get(unit, ("inactive", "")) for unit in units]
            return "\n\n".join(f"ActiveState={state}\nJob={job}" for state, job in states) + "\n"
        self.systemctl.append(tuple(words))
        for unit in units:
            name = "_shutdown" if "shutdown" in unit else unit[len("xen-domain@") : -len(".service")].replace("\\x2b", "+")
            active = Path(self.paths.active, name)
            if verb == "start":
                active.mkdir(parents=True)
            elif verb == "stop":
                self.unit_states.pop(unit, None)
                if active.exists():
                    active.rmdir()
        return ""
