# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Reads the facts about the requested domains from the host: all that planning needs, once."""

from __future__ import annotations

import os
import typing as t
from functools import cached_property

from .._errors import InvalidInput, NotOnThisHost
from .._file_types import ELF
from .._files import list_directory, read_text, resolve
from .._xen.host import DEVICE_MODELS, has_device_model
from .._xen.xl import Domain, Xl
from .._xen.xlcfg_reader import names_in
from .definition import PREVIOUS, RESTARTED, Definition
from .device_text import setting_in
from .devices import KINDS, VBD, VIF, PvDevice, read_devices
from .disk_units import disks_to_put_back, disks_to_rebuild
from .disks import Disks, OpenDisk, identity, open_disks
from .dom0 import available_memory, default_vif_script, dom0_bridges
from .equality import differences, same
from .facts import Current, DomainHost
from .kept import agrees, agrees_at_heart, is_known, is_ours, returns_after_shutdown, settings, was_started_from
from .order import ServedDevice, device_backends, services
from .paths import MARKER, Paths
from .presence import IDENTITY, Presence, without_detached
from .repairs import Repair, repair
from .revisions import previous_of
from .units import unit_texts
from .userdata import read_uuids

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore


def read_host(
    wanted: t.Sequence[Definition],
    xl: Xl,
    store: XenStore | None,
    paths: Paths,
    stuck: t.Callable[[PvDevice, t.Collection[int]], str] | None = None,
) -> DomainHost:
    """Read everything that decides what has to be done for the requested domains.

    :param store: None on a host that does not run Xen: there are only files, and no domain runs.
    :param stuck: says why a device of a running domain has to be attached once more, `Attacher.stuck`.
    """
    domains = {domain.name: domain for domain in xl.list()} if store else {}
    reader = _HostReader(xl, store, paths, domains, {domain.name for domain in wanted}, stuck)
    texts = unit_texts(wanted, paths)
    current = {domain.name: reader.current(domain, texts.get(domain.name, "")) for domain in wanted}
    startable = [d for d in wanted if d.state == "running" and (not current[d.name].alive or current[d.name].outdated)]
    hvm = any(d.kind == "hvm" for d in startable)
    goes = any(current[d.name].alive and (d.state in ("stopped", "absent") or current[d.name].outdated) for d in wanted)
    restartable = {d.name for d in wanted if d.verb or (current[d.name].alive and current[d.name].outdated)}
    return DomainHost(
        domains,
        current,
        services=reader.services() if goes else (),
        served=reader.served(restartable) if restartable else {},
        bridges={backend: reader.bridges(backend) for backend in sorted({vif.backend for d in startable for vif in d.vifs})},
        vif_script=default_vif_script(paths.definitions) if any(domain.vifs for domain in startable) else "",
        open_disks=reader.open_disks() if any(domain.disks for domain in startable) else (),
        device_model=not hvm or has_device_model(paths.device_models or DEVICE_MODELS),
        dom0_available=available_memory(paths.procfs) if hvm else None,
        systemd=paths.has_systemd(),
        info=xl.info() if startable or any(d.kind != "pv" and current[d.name].changed for d in wanted) else {},
    )


class _HostReader:
    def __init__(
        self,
        xl: Xl,
        store: XenStore | None,
        paths: Paths,
        domains: t.Mapping[str, Domain],
        requested: t.Collection[str],
        stuck: t.Callable[[PvDevice, t.Collection[int]], str] | None,
    ) -> None:
        self._xl = xl
        self._requested = requested
        self._stuck = stuck
        self._xenstore = store
        self._paths = paths
        self._domains = domains
        self._disks = Disks(paths.sysfs)
        self._parses: dict[str, tuple[dict[str, t.Any] | None, str]] = {}
        #: Definitions of others that xendomains starts, by the name of the domain, with their texts.
        self._starts = _foreign_starts(paths)

    @property
    def _store(self) -> XenStore:
        if self._xenstore is None:
            raise NotOnThisHost("Without Xen no domain runs, so there is no XenStore to read")
        return self._xenstore

    @cached_property
    def _alive(self) -> dict[int, str]:
        return {domain.domid: domain.name for domain in self._domains.values() if domain.alive}

    @cached_property
    def _devices(self) -> dict[int, list[ServedDevice]]:
        return device_backends(self._store, self._alive)

    @cached_property
    def _uuids(self) -> dict[int, str]:
        return read_uuids(self._store, [domain.domid for domain in self._domains.values()])

    def _kept(self, domid: int) -> str | None:
        return self._paths.kept(domid, self._uuids[domid])

    def current(self, wanted: Definition, unit: str) -> Current:
        """Return what the host has of one domain; `unit` is the one that it is to have, or ""."""
        domain = self._domains.get(wanted.name)
        path = self._paths.definition(wanted.name)
        contents = {file: read_text(file) for file in (path, self._paths.unit(wanted.name))}
        # A definition that is used as the host has it is nobody else's business.
        replaced = wanted.state != "absent" and not wanted.verb
        starts = self._starts.get(wanted.name, {}) if replaced else {}
        other_starts = tuple(file for file, text in starts.items() if self._is_same(wanted, text))
        taken_over = replaced and self._is_same(wanted, contents[path])
        kept = self._kept(domain.domid) if domain else None
        compared = kept if domain and domain.alive and wanted.state in ("running", "present") else None
        parsed, objection = self._parse(wanted, compared, contents[path])
        # What the previous definition does not mention may have any value, but goes back as well.
        goes_back = wanted.verb == PREVIOUS and contents[path] != wanted.text
        agreed = parsed is not None and compared is not None and not goes_back and self._agrees(wanted, parsed, compared, contents[path])
        outdated = ""
        repairs: list[Repair] = []
        if domain and domain.alive and wanted.state in ("running", "present"):
            repairs = self._broken_devices(domain, kept) if wanted.state == "running" else []
            outdated = self._missing_backend(domain, () if wanted.state == "present" or self._stuck is None else KINDS)
        lost = self._lost_devices(wanted, domain.domid, compared) if domain and compared is not None and wanted.state == "running" else []
        repairs += lost
        if parsed is not None and compared is not None and not agreed and not lost:
            outdated = "it was started with another definition"
        rebuilt = disks_to_rebuild(wanted.copies) if wanted.state == "running" else []
        put_back = disks_to_put_back(wanted.kernel, [disk.target for disk in wanted.local_disks]) if wanted.verb == PREVIOUS else []
        if domain and domain.alive and (rebuilt or put_back):
            outdated = outdated or f"its disk {(rebuilt or put_back)[0][0]} is of another image"
        if wanted.verb == RESTARTED and domain and domain.alive:
            outdated = outdated or "this was requested"
        running_text = self._running_text(wanted, kept, contents[path]) if kept and domain and domain.alive and not agreed else ""
        startable = wanted.state == "running" and (not (domain and domain.alive) or bool(outdated))
        return Current(
            path=path,
            unit=unit,
            domain=domain,
            unfinished=domain is not None and domain.paused and kept is None,
            agreed=compared if agreed and compared else "",
            changed=contents[path] != wanted.text,
            kept=kept or "",
            foreign=domain is not None
            and not (domain.paused and kept is None)
            and not agreed
            # Where the definition of others is the same, they started it before they changed that: it is outdated.
            and not (taken_over or other_starts)
            and self._is_foreign(wanted.name, kept, contents[path]),
            returns=returns_after_shutdown(kept) if kept and domain and domain.alive else "",
            outdated=outdated,
            running_text=running_text,
            repairs=tuple(repairs),
            taken_over=taken_over,
            other_starts=other_starts,
            foreign_files=(
                *(file for file, text in contents.items() if not (text or MARKER).startswith(MARKER) and not (taken_over and file == path)),
                *(file for file in starts if file not in other_starts),
            ),
            links=tuple(self._paths.links(wanted.name)),
            objection=objection,
            missing_files=tuple(file for file in [*wanted.files, *_sources(wanted)] if not os.path.exists(file)),
            elf_kernel=wanted.kind == "hvm" and _is_elf(wanted.kernel),
            missing_disks=tuple(copy for copy in wanted.copies if not os.path.exists(copy[0])),
            other_disks=tuple(rebuilt),
            kept_disks=tuple(put_back),
            used_disks={disk.target: self._disks.host_use(disk) for disk in wanted.local_disks} if startable else {},
            related={disk.target: self._disks.related(disk.target) for disk in wanted.local_disks} if startable else {},
            identities={disk.target: identity(disk.target) for disk in wanted.local_disks},
        )

    def _is_same(self, wanted: Definition, text: str | None) -> bool:
        """Whether a definition of others is the same to xl as the requested one."""
        if text is None or text.startswith(MARKER):
            return False
        theirs, ours = self._parsed(text)[0], self._parsed(wanted.text)[0]
        return theirs is not None and ours is not None and not same(theirs, ours, text)

    def _parse(self, wanted: Definition, compared: str | None, text: str | None) -> tuple[dict[str, t.Any] | None, str]:
        """Return how xl parses a definition, or why it does not accept it.

        That costs a process, so it is left out where nothing depends on it: the file is as requested, and is known to agree with what
        libxl keeps of the domain that is `compared` with it.
        """
        if wanted.state == "absent":
            return None, ""
        known = compared is None or is_known(self._paths.record(wanted.name), wanted.text, compared)
        if text == wanted.text and known:
            return None, ""
        return self._parsed(wanted.text)

    def _agrees(self, wanted: Definition, parsed: t.Mapping[str, t.Any], kept: str, text: str | None) -> bool:
        record = self._paths.record(wanted.name)
        if was_started_from(record, wanted.text, kept):
            return agrees(parsed, settings(kept), further=True)
        if not agrees(parsed, settings(kept)):
            # What was detached is kept, and need not be wanted.
            left, detached = without_detached(settings(kept), Presence(self._attached.get(self._domains[wanted.name].domid, ())))
            if not detached or not agrees(parsed, left):
                return False
        # What libxl keeps does not show that something is wanted to have its default again: that is left out in both.
        for found in (text, read_text(previous_of(self._paths.definition(wanted.name)))):
            if found and found != wanted.text and was_started_from(record, found, kept):
                ran = self._parsed(found)[0]
                if ran is not None and [place for place in differences(ran, parsed) if not place.startswith("c_info.uuid ")]:
                    return False
        return True

    def _running_text(self, wanted: Definition, kept: str, text: str | None) -> str:
        """Return the definition of ours with which a domain runs, unless it is the requested one: that in the file, or the previous."""
        record = self._paths.record(wanted.name)
        if wanted.state not in ("running", "present") or is_known(record, wanted.text, kept) or was_started_from(record, wanted.text, kept):
            return ""
        for found in (text, read_text(previous_of(self._paths.definition(wanted.name)))):
            if found and found.startswith(MARKER) and found != wanted.text:
                if is_known(record, found, kept):
                    return found
                parsed = self._parsed(found)[0]
                if parsed is not None and agrees(parsed, settings(kept), was_started_from(record, found, kept)):
                    return found
        return ""

    def _parsed(self, text: str) -> tuple[dict[str, t.Any] | None, str]:
        if text not in self._parses:
            try:
                self._parses[text] = self._xl.parse_definition(text), ""
            except InvalidInput as exc:
                self._parses[text] = None, exc.problem
        return self._parses[text]

    def _is_foreign(self, name: str, kept: str | None, text: str | None) -> bool:
        """Whether others started a running domain. Our definition is written before its domain is started, and removed after it is gone.

        :param text: the definition file; one of others is a matter of its own.
        """
        if text is None:
            return True
        if kept is None or not text.startswith(MARKER) or is_ours(self._paths.record(name), kept):
            return False
        if not settings(kept):
            return False
        parsed, _objection = self._parsed(text)
        return parsed is None or not agrees_at_heart(parsed, settings(kept))

    def _broken_devices(self, domain: Domain, kept: str | None) -> list[Repair]:
        """Return how to attach the vifs and disks of a running domain once more that will never work as they are."""
        if self._stuck is None:
            return []
        reasons = {device.paths: self._stuck(device, self._alive) for device in self._attached.get(domain.domid, ())}
        if not any(reasons.values()):
            return []
        # Its settings are needed only now.
        whole = read_devices(self._store, [domain.domid])[domain.domid]
        return [repair(device, kept, self._alive, why) for device in whole for why in [reasons.get(device.paths)] if why]

    @cached_property
    def _attached(self) -> dict[int, list[PvDevice]]:
        """The devices of the requested domains, all read at once, with what distinguishes them."""
        return read_devices(self._store, [domid for domid, name in self._alive.items() if name in self._requested], settings=IDENTITY)

    def _lost_devices(self, wanted: Definition, domid: int, kept: str) -> list[Repair]:
        """Return how to attach the devices that a domain no longer has, although it was started from this very definition.

        Somebody detached them, or a repair was cut off between its two halves. One that is there and differs is not lost.
        """
        if not was_started_from(self._paths.record(wanted.name), wanted.text, kept):
            return []
        there = Presence(self._attached.get(domid, ()))
        found = []
        for place, text in enumerate(wanted.specifications.get(VIF, ())):
            # libxl numbers the vifs of a definition from 0. Guests name interfaces by these numbers.
            if not there.has_vif(setting_in(text, "mac"), place):
                number = f",devid={place}" if place not in there.numbers else ""
                found.append(Repair(VIF, None, _backend_in(text), text + number, "it is missing"))
        for text in wanted.specifications.get(VBD, ()):
            if not there.has_disk(setting_in(text, "vdev"), setting_in(text, "specification")):
                found.append(Repair(VBD, None, _backend_in(text), text, "it is missing"))
        return found

    def _missing_backend(self, domain: Domain, repaired: t.Collection[str]) -> str:
        """Say which device has lost its backend, apart from those of kinds that are attached again."""
        for device in self._devices[domain.domid]:
            if device.backend not in self._alive and device.kind not in repaired:
                return f"the backend of its {device.kind} {device.devid}, domain {device.backend}, is gone"
        return ""

    def served(self, backends: t.Collection[str]) -> dict[str, list[Repair]]:
        """Return how to attach the vifs and disks again that domains have from others, by the names of the domains that have them."""
        found: dict[str, list[Repair]] = {}
        for domid, devices in read_devices(self._store, self._alive).items():
            kept = self._kept(domid) if devices else None
            repairs = [repair(device, kept, self._alive, "its backend was restarted") for device in devices]
            own = [other for other in repairs if other.backend in backends]
            if own:
                found[self._alive[domid]] = own
        return found

    def services(self) -> tuple[tuple[str, str, str], ...]:
        """Return who serves whom, as (backend, client, kind of device)."""
        names = {domid: self._principal(name) for domid, name in self._alive.items()}
        found = services(self._store, names)
        return tuple((names[backend], names[client], kind) for backend, client, kind in found if names[backend] != names[client])

    def open_disks(self) -> tuple[OpenDisk, ...]:
        """Return the disks of running domains that dom0 serves, or that are volumes of others."""
        return tuple(open_disks(self._store, {domid: self._principal(name) for domid, name in self._alive.items()}))

    def _principal(self, name: str) -> str:
        """The domain for which a stub domain runs the device model; libxl starts and stops them together (libxl_dm.c, stub_dm_name)."""
        base = name[: -len("-dm")] if name.endswith("-dm") else name
        return base if base in self._domains else name

    def bridges(self, backend: str) -> list[str] | None:
        """Return the bridges of a backend domain; None when it does not run, or has an image that does not publish them."""
        if backend == "":
            return dom0_bridges(self._paths.sysfs)
        domid = self._store.domid_of(backend)
        text = None if domid is None else self._store.read_text(f"/local/domain/{domid}/data/driver-domain/bridges")
        return None if text is None else text.split()


def _is_elf(path: str) -> bool:
    try:
        with open(path, "rb") as handle:
            return ELF.matches(handle.read(8))
    except OSError:
        # Whether the file is there is checked for every domain.
        return False


def _foreign_starts(paths: Paths) -> dict[str, dict[str, str]]:
    """Return the definitions of others that xendomains starts, by the name of the domain: their files there, and their texts."""
    found: dict[str, dict[str, str]] = {}
    for file in list_directory(paths.autostart):
        path = f"{paths.autostart}/{file}"
        text = read_text(path) if os.path.isfile(path) else None
        names = names_in(text) if text and not text.startswith(MARKER) else []
        # What leads to the place of our definition is a link to that.
        if names and resolve(path) != resolve(paths.definition(names[-1])):
            found.setdefault(names[-1], {})[path] = str(text)
    return found


def _backend_in(text: str) -> str:
    found = setting_in(text, "backend")
    return "" if found in ("0", "Domain-0") else found


def _sources(wanted: Definition) -> list[str]:
    return [source for target, source in wanted.copies if not os.path.exists(target)]
