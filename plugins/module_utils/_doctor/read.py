# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Reads a host for `driver_domain_doctor`, once and without changing anything. What cannot be read is noted, and the rest is read."""

from __future__ import annotations

import glob
import os
import re
import typing as t
from dataclasses import dataclass, field
from functools import partial

from .._domain.aside import PAUSED, STOPPED, words_in
from .._domain.boot_findings import own_lines
from .._domain.devices import KINDS, broken, read_devices
from .._domain.dom0 import available_memory, dom0_bridges
from .._domain.kept import settings
from .._domain.order import device_backends, services
from .._domain.paths import MARKER, Paths
from .._domain.status import LOGS, READY, REASON, STATUS, log_line
from .._domain.userdata import read_uuids
from .._errors import DriverDomainsError
from .._files import list_directory, read_bytes, read_text
from .._held_back import HELD_BACK
from .._pci import hide_list
from .._pci.bdf import Bdf
from .._pci.device import PCIBACK_MODULE, PciDevice
from .._pci.host import PciHost
from .._pci.records import Records
from .._pci.sharing import shared_interrupts, shared_pages
from .._processes import open_files_of
from .._recovery.files import Places, installed_digest, is_alive, read_configuration, read_status, waiting_devices
from .._recovery.model import Configuration
from .._xen.host import xen_version
from .._xen.xl import Domain, Xl
from .._xen.xlcfg_reader import number
from .._xen.xlcfg_reader import read as read_definition
from .facts import DefinitionFacts, DomainFacts, HostFacts, PciFacts, RecoveryFacts
from .reserved_memory import NAMES, reserved_memory

if t.TYPE_CHECKING:
    from .._runner import Runner
    from .._xenstore.client import XenStore

T = t.TypeVar("T")

#: What an unprivileged domain may own by default (docs/misc/xenstore.txt and tools/xenstored/domain.c of Xen).
QUOTA = 1000
#: How C xenstored is given another number (xenstored --help), and how oxenstored is (oxenstored.conf).
_QUOTA_OPTION = re.compile(r"(?:^|\0)(?:-E\0?|--entry-nb[=\0]|(?:-Q\0?|--quota[=\0])nodes=)([0-9]+)(?:\0|$)")
_QUOTA_SETTING = re.compile(r"^[ \t]*quota-maxentity[ \t]*=[ \t]*([0-9]+)[ \t]*$", re.MULTILINE)
#: The hypervisors in /boot, as Debian and Xen's own build call them.
_HYPERVISOR = re.compile(r"xen-([0-9]+)\.([0-9]+)(?:[.-].*)?")
#: The log that the xl which watches a domain has open (create_domain in tools/xl/xl_vmcontrol.c); it may have been renamed since.
_WATCHING = re.compile(r"/xl-(.+)\.log(?:\.[0-9]+)?(?: \(deleted\))?")
#: So many levels has the tree of a domain at most: paths have 2048 bytes, and a level 2.
_LEVELS = 1024


@dataclass(frozen=True)
class DoctorPlaces:
    """Where the host keeps things; tests put them elsewhere."""

    domains: Paths = field(default_factory=Paths)
    recovery: Places = field(default_factory=Places)
    held_back: str = HELD_BACK
    records: Records = field(default_factory=Records)
    boot: str = "/boot"
    #: Where Debian has the tools of each version of Xen, below `xen-VERSION`.
    tools: str = "/usr/lib"
    logs: str = LOGS
    oxenstored: str = "/etc/xen/oxenstored.conf"


def read_facts(
    places: DoctorPlaces,
    runner: Runner,
    open_store: t.Callable[[], XenStore],
    effective_uid: t.Callable[[], int] = os.geteuid,
    permanent_mac: t.Callable[[str], str] | None = None,
) -> HostFacts:
    """Read a host. Nothing is raised for what cannot be read.

    :param open_store: connects to XenStore.
    """
    return _DoctorReader(places, runner, open_store, permanent_mac).read(effective_uid())


class _DoctorReader:
    def __init__(
        self,
        places: DoctorPlaces,
        runner: Runner,
        open_store: t.Callable[[], XenStore],
        permanent_mac: t.Callable[[str], str] | None,
    ) -> None:
        self._places = places
        self._runner = runner
        self._open_store = open_store
        self._permanent_mac = permanent_mac
        self._xl = Xl(runner)
        self._facts = HostFacts()
        #: How domains report that they are ready that do so in another way than the images of the collection: a key, and its value.
        self._ready: dict[str, tuple[str, str]] = {}

    def read(self, uid: int) -> HostFacts:
        facts, paths = self._facts, self._places.domains
        facts.xen = self._maybe("/sys/hypervisor", lambda: xen_version(paths.sysfs))
        capabilities = self._maybe("/proc/xen/capabilities", lambda: read_text(f"{paths.procfs}/xen/capabilities"))
        facts.control = capabilities is None or "control_d" in capabilities
        if facts.xen is None or not facts.control:
            return facts
        if uid != 0:
            facts.unread["everything else"] = f"this runs as uid {uid}, and only root may use Xen's toolstack"
            return facts
        facts.newer = self._try("/boot", self._newer, list)
        facts.autoballoon = self._try("xl.conf", self._autoballoon, str)
        facts.available = self._maybe("/proc/meminfo", lambda: available_memory(paths.procfs))
        facts.failed_units = self._try("units of systemd", self._failed_units, list)
        facts.held_back = self._try("held back domains", self._held_back, dict)
        facts.definitions = self._definitions()
        store = self._connect()
        self._read_pci(store)
        self._read_recovery(store)
        if store:
            # Without XenStore, xl would hang.
            self._read_xl()
            self._read_domains(store)
            store.close()
        return facts

    def _maybe(self, what: str, read: t.Callable[[], T]) -> T | None:
        """Return what `read` returns, or None if it cannot be read, which is noted."""
        try:
            return read()
        except (DriverDomainsError, OSError) as exc:
            self._facts.unread[what] = exc.problem if isinstance(exc, DriverDomainsError) else str(exc)
            return None

    def _try(self, what: str, read: t.Callable[[], T], default: t.Callable[[], T]) -> T:
        """Return what `read` returns, or else what `default` returns."""
        found = self._maybe(what, read)
        return default() if found is None else found

    def _connect(self) -> XenStore | None:
        try:
            store = self._open_store()
            store.read_text("/local/domain/0/name")
        except (DriverDomainsError, OSError) as exc:
            self._facts.silent = exc.problem if isinstance(exc, DriverDomainsError) else str(exc)
            return None
        return store

    # The host

    def _newer(self) -> list[str]:
        running = self._facts.xen or (0, 0)
        versions = {tuple(map(int, match.groups())) for match in map(_HYPERVISOR.fullmatch, list_directory(self._places.boot)) if match}
        return [f"{version[0]}.{version[1]}" for version in sorted(versions) if version > running]

    def _autoballoon(self) -> str:
        text = read_text(f"{self._places.domains.definitions}/xl.conf") or ""
        found = re.findall(r"""^[ \t]*autoballoon[ \t]*=[ \t]*["']?([a-z0-9]+)""", text, re.MULTILINE)
        return str(found[-1]) if found else ""

    def _failed_units(self) -> list[str]:
        listed = self._runner.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full", "--state=failed", "xen*"])
        return [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]

    def _held_back(self) -> dict[str, str]:
        directory = self._places.held_back
        return {name: read_text(f"{directory}/{name}") or "" for name in list_directory(directory)}

    def _definitions(self) -> dict[str, DefinitionFacts]:
        found = {}
        names: list[str] = self._try("definitions of domains", self._places.domains.own, list)
        for name in names:
            definition = self._maybe(self._places.domains.definition(name), partial(self._definition, name))
            if definition:
                found[name] = definition
        return found

    def _definition(self, name: str) -> DefinitionFacts:
        paths = self._places.domains
        values = read_definition(read_text(paths.definition(name)) or MARKER)
        pci = values.get("pci", [])
        devices = [text.partition(",")[0] for text in pci if isinstance(text, str)] if isinstance(pci, list) else []
        files = [values[key] for key in ("kernel", "ramdisk") if values.get(key)]
        return DefinitionFacts(
            memory=number(values.get("memory", 0)) or 0,
            devices=tuple(str(Bdf.parse(text)) for text in devices),
            missing=tuple(str(file) for file in files if not os.path.exists(str(file))),
            unit=os.path.lexists(paths.unit(name)),
            active=paths.is_active(name),
        )

    def _read_xl(self) -> None:
        facts = self._facts
        try:
            facts.info = self._xl.info()
        except DriverDomainsError as exc:
            running = ".".join(map(str, facts.xen or ()))
            tools = [path.split("/xen-")[-1].partition("/")[0] for path in glob.glob(f"{self._places.tools}/xen-*/bin/xl")]
            if tools and running not in tools:
                facts.other_tools = sorted(tools)
            else:
                facts.unread["xl info"] = exc.problem
            return
        dmesg = self._maybe("xl dmesg", self._xl.dmesg)
        facts.dmesg = None if dmesg is None else own_lines(dmesg)

    # PCI devices

    def _read_pci(self, store: XenStore | None) -> None:
        pci, paths = self._facts.pci, self._places.domains
        host = PciHost(paths.sysfs, self._places.records, store, self._permanent_mac, paths.procfs)
        pci.loaded = host.pciback_loaded
        line = self._maybe("/proc/cmdline", lambda: read_text(f"{paths.procfs}/cmdline")) or ""
        pci.lists = hide_list.lists_in(line)
        module = PCIBACK_MODULE.replace("-", "_")
        loaded = self._maybe("the list of pciback", lambda: read_text(f"{paths.sysfs}/module/{module}/parameters/hide"))
        given = [text for text in [(loaded or "").strip()] if text not in ("", "(null)")] or pci.lists[-1:]
        pci.hidden = given[0] if given else ""
        grub = self._maybe("grub.cfg", lambda: read_text(f"{self._places.boot}/grub/grub.cfg"))
        pci.next_lists = None if grub is None else [text for row in grub.splitlines() for text in hide_list.lists_in(row)]
        pci.records = self._try("records of PCI devices", self._places.records.load, list)
        pci.devices = self._try("PCI devices", host.devices, list)
        pci.lines = self._try("interrupt lines", lambda: shared_interrupts(pci.devices, host), dict)
        pci.pages = self._try("registers of PCI devices", lambda: shared_pages(pci.devices, host), dict)
        pci.uses_line = {str(device.bdf) for device in pci.devices if _uses_line(device) and not host.has_message_interrupts(device.bdf)}
        pci.reserved = self._try("reserved memory", lambda: self._reserved(pci), dict)

    def _reserved(self, pci: PciFacts) -> dict[str, str]:
        tables = [read_bytes(f"{self._places.domains.sysfs}/firmware/acpi/tables/{name}") or b"" for name in NAMES]
        reserved = [item for table in tables for item in reserved_memory(table)]
        return {
            str(device.bdf): ", ".join(f"{item.start:#x}-{item.end:#x}" for item in reserved if item.covers(device.slot))
            for device in pci.devices
            if any(item.covers(device.slot) for item in reserved)
        }

    # Domains

    def _read_recovery(self, store: XenStore | None) -> None:
        recovery, places = RecoveryFacts(), self._places.recovery
        self._facts.recovery = recovery
        recovery.installed = self._try("the recovery service", lambda: installed_digest(places), str)
        if os.path.exists(places.configuration):
            known = self._try("configuration of the recovery service", lambda: read_configuration(places.configuration), Configuration)
            recovery.declared = frozenset(domain.name for domain in known.domains)
            self._ready = {domain.name: (domain.ready_key, domain.ready_value) for domain in known.domains if domain.ready_key}
        status = (read_status(places.run) if is_alive(places.run) else None) or {}
        recovery.given_up = [str(text) for text in status.get("given_up", ())]
        backends = {(item["name"], item["kind"], item["identity"]): item["backend"] for item in status.get("waiting", ())}
        recovery.waiting = [
            (f"{device.domain}: {device.kind} {device.identity}", str(backends.get(device[:3], "its backend")))
            for device in waiting_devices(places.run)
        ]
        if store:
            recovery.paused = frozenset(self._try("orders to the recovery service", lambda: words_in(store, PAUSED), set))
            self._facts.stopped = frozenset(self._try("orders to the recovery service", lambda: words_in(store, STOPPED), set))

    def _read_domains(self, store: XenStore) -> None:
        listed: list[Domain] | None = self._maybe("xl list", self._xl.list) if self._facts.info is not None else None
        if listed is None:
            return
        found = {domain.domid: DomainFacts(domain) for domain in listed}
        alive = {domid: own.domain.name for domid, own in found.items() if own.domain.alive}
        watched: set[str] = self._try("processes", self._watched, set)
        uuids: dict[int, str] = self._try("UUIDs of domains", lambda: read_uuids(store, found), dict)
        for domid, own in found.items():
            kept = self._maybe(f"configuration of domain {domid}", partial(self._places.domains.kept, domid, uuids.get(domid, "")))
            own.kept = None if kept is None else settings(kept)
            own.watched = own.domain.name in watched
        self._maybe("devices of domains", lambda: self._read_devices(store, found, alive))
        self._maybe("reports of domains", lambda: self._read_reports(store, found, alive))
        self._maybe("backends of domains", lambda: self._read_left_behind(store, found, alive))
        self._maybe("nodes in XenStore", lambda: self._read_nodes(store, found))
        self._facts.quota = self._try("quota of XenStore", self._quota, lambda: QUOTA)
        self._facts.domains = found
        self._facts.recovery.given_up = [self._named(uuids, text) for text in self._facts.recovery.given_up]

    def _watched(self) -> set[str]:
        files = [file for _name, files in open_files_of(self._places.domains.procfs, ("xl",)) for file in files]
        return {match.group(1) for match in map(_WATCHING.search, files) if match}

    def _read_devices(self, store: XenStore, found: dict[int, DomainFacts], alive: t.Mapping[int, str]) -> None:
        for domid, devices in read_devices(store, alive, settings=("mac", "dev", "bridge", "script")).items():
            found[domid].devices = devices
            failed = [device for device in devices if broken(device)]
            found[domid].logs = {d.home: log_line(d.backend_id, d.backend or str(d.backend_id), self._places.logs) for d in failed}
        for domid, others in device_backends(store, alive).items():
            found[domid].others = [device for device in others if device.kind not in KINDS]
        for backend, client, _kind in services(store, alive):
            found[backend].clients |= {alive[client]}

    def _read_reports(self, store: XenStore, found: dict[int, DomainFacts], alive: t.Mapping[int, str]) -> None:
        keys = {domid: self._ready.get(name, (STATUS, READY)) for domid, name in alive.items() if domid}
        bridges = "data/driver-domain/bridges"
        texts = store.read_texts(f"/local/domain/{domid}/{key}" for domid, (own, _value) in keys.items() for key in (own, REASON, bridges))
        for domid, (key, value) in keys.items():
            home = f"/local/domain/{domid}"
            listed = texts[f"{home}/{bridges}"]
            found[domid].status, found[domid].expected = texts[f"{home}/{key}"], value
            found[domid].error = texts[f"{home}/{REASON}"] or ""
            found[domid].bridges = None if listed is None else listed.split()
        if 0 in found:
            found[0].bridges = dom0_bridges(self._places.domains.sysfs)

    @staticmethod
    def _read_left_behind(store: XenStore, found: dict[int, DomainFacts], alive: t.Mapping[int, str]) -> None:
        tops = {f"/local/domain/{domid}/backend": domid for domid in alive}
        kinds = {f"{top}/{kind}": tops[top] for top, names in store.directories(tops).items() for kind in names}
        clients = {
            f"{path}/{client}": kinds[path]
            for path, names in store.directories(kinds).items()
            for client in names
            if client.isdecimal() and int(client) not in found
        }
        for path, devices in store.directories(clients).items():
            # Xen before 4.15 left an empty directory when the last device was detached.
            if devices:
                own = found[clients[path]]
                own.left_behind = [*own.left_behind, path]

    @staticmethod
    def _read_nodes(store: XenStore, found: dict[int, DomainFacts]) -> None:
        level = [f"/local/domain/{domid}" for domid in found if domid]
        for _level in range(_LEVELS):
            if not level:
                return
            for path, permissions in store.get_perms_many(level).items():
                own = int(path.split("/")[3])
                if permissions and permissions[0].domid == own:
                    found[own].nodes += 1
            level = [f"{path}/{name}" for path, names in store.directories(level).items() for name in names]

    def _quota(self) -> int:
        procfs = self._places.domains.procfs
        for pid in filter(str.isdecimal, list_directory(procfs)):
            name = (read_text(f"{procfs}/{pid}/comm") or "").strip()
            if name == "xenstored":
                options = _QUOTA_OPTION.findall(read_text(f"{procfs}/{pid}/cmdline") or "")
                return int(options[-1]) if options else QUOTA
            if name == "oxenstored":
                settings_found = _QUOTA_SETTING.findall(read_text(self._places.oxenstored) or "")
                return int(settings_found[-1]) if settings_found else QUOTA
        return QUOTA

    def _named(self, uuids: t.Mapping[int, str], text: str) -> str:
        """Return what the service has given up with the name of a domain in the place of its UUID."""
        for domid, name in self._facts.names.items():
            text = text.replace(uuids[domid], name) if uuids.get(domid) else text
        return text


def _uses_line(device: PciDevice) -> bool:
    return bool(device.driver) and not device.pciback and not device.bridge
