# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The definitions of others on a host, and the domains that run, as variables of the roles. Changes nothing."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from .._errors import InvalidInput
from .._files import find, list_directory, read_text, resolve
from .._printable import printable_value
from .._secrets import hide_secrets
from .._xen.xl import Xl
from .._xen.xlcfg_reader import Value, names_in, read
from .adopt import DRIVER_DOMAIN, GUEST, Adopted, Devices, adopt, declared
from .adopt_kept import lost_settings, settings_of
from .aside import WaitingDevice
from .devices import read_devices
from .equality import same
from .kept import agrees, entries, settings
from .paths import MARKER, Paths
from .presence import IDENTITY, Presence, without_detached
from .userdata import read_uuids

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore

#: By role, the variable that has its domains.
VARIABLES = {DRIVER_DOMAIN: "driver_domain_domains", GUEST: "domu_domains"}
#: Where the definitions of others usually are.
PATTERNS = ("/etc/xen/*.cfg", "/etc/xen/auto/*")


class _File(t.NamedTuple):
    """A definition that others wrote."""

    name: str
    path: str
    text: str
    values: t.Mapping[str, Value]


@dataclass
class _Found:
    """One domain, from its definition or from what Xen's toolstack keeps of it."""

    adopted: Adopted
    #: Its definition, or "".
    path: str
    autostart: bool = False
    running: bool = False
    differences: list[str] = field(default_factory=list)


def import_domains(
    xl: Xl, store: XenStore, patterns: t.Iterable[str], paths: Paths, machine: str, waiting: t.Sequence[WaitingDevice] = ()
) -> dict[str, t.Any]:
    """Return the variables, what was found, and what could not be expressed: the return values of xl_config_info.

    :param patterns: where the definitions of others are, as of glob(7).
    :param machine: kind of the host's processor, from uname(2).
    :param waiting: the devices that the recovery service attaches again.
    """
    found = _Import(xl, store, paths, machine, waiting)
    found.from_files(patterns)
    found.from_running()
    found.leave_out_doubles()
    return found.results()


class _Import:
    def __init__(self, xl: Xl, store: XenStore, paths: Paths, machine: str, waiting: t.Sequence[WaitingDevice]) -> None:
        self._xl = xl
        self._paths = paths
        self._machine = machine
        running = {domain.name: domain for domain in xl.list() if domain.domid != 0}
        # The domain that runs a device model belongs to the one it serves (libxl_dm.c, stub_dm_name).
        self._running = {name: domain for name, domain in running.items() if not (name.endswith("-dm") and name[: -len("-dm")] in running)}
        uuids = read_uuids(store, [domain.domid for domain in self._running.values()])
        # One that has ended may have lost its devices with that.
        attached = read_devices(store, [domain.domid for domain in self._running.values() if domain.alive], settings=IDENTITY)
        #: What libxl keeps of running domains, without the devices that were detached, and these.
        self._kept: dict[str, dict[str, t.Any]] = {}
        self._detached: dict[str, list[str]] = {}
        for name, domain in self._running.items():
            kept = settings(paths.kept(domain.domid, uuids[domain.domid]) or "")
            found = attached.get(domain.domid)
            there = None if found is None else Presence(found, [device for device in waiting if device.domain == name])
            self._kept[name], self._detached[name] = (kept, []) if there is None else without_detached(kept, there)
        self._devices = Devices(paths.sysfs)
        self._own = paths.own()
        #: What xendomains starts, by the name of the domain.
        self._started: dict[str, list[_File]] = {}
        for file in list_directory(paths.autostart):
            started, _reason = _read(f"{paths.autostart}/{file}")
            if started:
                self._started.setdefault(started.name, []).append(started)
        self._found: dict[str, _Found] = {}
        self._skipped: list[dict[str, str]] = []
        #: By the names of domains whose definition was left out, its path.
        self._left_out: dict[str, str] = {}
        #: Names of the domains that files may define that cannot be read.
        self._unreadable: set[str] = set()

    def from_files(self, patterns: t.Iterable[str]) -> None:
        """Take the domains that have definitions. Of several with the same name, the one in the place of ours counts."""
        files = []
        for path in self._files(patterns):
            file, reason = _read(path)
            if file:
                files.append(file)
            elif reason:
                self._skip(path, reason)
                file_name = os.path.basename(path)
                self._unreadable |= {file_name, os.path.splitext(file_name)[0], *names_in(read_text(path) or "")}
        for file in sorted(files, key=self._rank):
            try:
                self._found[file.name] = self._from_file(file)
            except InvalidInput as exc:
                self._skip(file.path, str(exc))
                self._left_out.setdefault(file.name, file.path)

    def from_running(self) -> None:
        """Take the running domains whose definitions were not found."""
        for name in self._running:
            # What has a definition that cannot be expressed is not to be expressed without it.
            if name not in self._found and name not in self._own and name not in self._left_out and name not in self._unreadable:
                try:
                    self._found[name] = self._from_kept(name)
                except InvalidInput as exc:
                    self._skip("", f"The running domain {name}: {exc}")

    def leave_out_doubles(self) -> None:
        """Leave out the domains of a role that cannot be declared beside others, such as a second definition for the same disk.

        Those that run are looked at first, and then those that start with the host.
        """
        for role in VARIABLES:
            those = [one for one in self._found.values() if one.adopted.role == role]
            if not self._objection([one.adopted for one in those]):
                continue
            kept: list[Adopted] = []
            for one in sorted(those, key=lambda one: (not one.running, not one.autostart)):
                objection = self._objection([*kept, one.adopted])
                if objection:
                    del self._found[one.adopted.name]
                    self._skip(one.path, f"Domain {one.adopted.name} cannot be declared beside the others: {objection}")
                else:
                    kept.append(one.adopted)

    def _objection(self, domains: t.Sequence[Adopted]) -> str:
        try:
            declared(domains, self._devices)
        except InvalidInput as exc:
            return str(exc)
        return ""

    def results(self) -> dict[str, t.Any]:
        """Return the return values of xl_config_info."""
        domains = sorted(self._found.values(), key=lambda one: (not one.path, one.path))
        variables: dict[str, t.Any] = {variable: [] for variable in ("dom0_pci_assignable", *VARIABLES.values())}
        for one in domains:
            state = {} if one.running else {"state": "present"}
            start = {} if one.autostart else {"autostart": False}
            variables[VARIABLES[one.adopted.role]].append({"name": one.adopted.name, **state, **start, **one.adopted.domain})
        used = {_device(item) for one in domains for item in one.adopted.domain.get("pci", [])}
        variables["dom0_pci_assignable"] = [device for device in self._devices.variable if device["name"] in used]
        return {
            "variables": {key: value for key, value in variables.items() if value},
            "domains": [_report(one) for one in domains],
            "left_out": hide_secrets(self._skipped),
            "managed": [self._paths.definition(name) for name in sorted(self._own)],
        }

    def _files(self, patterns: t.Iterable[str]) -> list[str]:
        """The files that may define a domain, each one once; a link to another one is another name of it."""
        paths: dict[str, str] = {}
        for pattern in patterns:
            for path in find(pattern):
                if os.path.isfile(path):
                    paths.setdefault(resolve(path), path)
        ours = {resolve(self._paths.definition(name)) for name in self._own}
        return sorted(path for real, path in paths.items() if real not in ours)

    def _rank(self, file: _File) -> tuple[bool, bool, bool, str]:
        """Which of several definitions counts: that of a domain that runs names its devices; a copy in `auto` comes last."""
        place = resolve(file.path)
        return (
            file.name not in self._running,
            place != resolve(self._paths.definition(file.name)),
            os.path.dirname(place) == resolve(self._paths.autostart),
            file.path,
        )

    def _skip(self, path: str, reason: str) -> None:
        self._skipped.append({"path": path, "reason": reason})

    def _from_file(self, file: _File) -> _Found:
        name = file.name
        other = self._found[name].path if name in self._found else self._left_out.get(name)
        if other:
            raise InvalidInput(f"{other} defines a domain of the same name")
        if name in self._own:
            raise InvalidInput(f"{self._paths.definition(name)}, which this collection wrote, defines a domain of the same name")
        kept = self._kept.get(name)
        adopted = adopt(file.values, self._devices, self._machine, None if kept is None else entries(kept, "nics"))
        one = self._one(adopted, file.path)
        ours = self._parsed(adopted)
        try:
            one.differences = same(self._xl.parse_definition(file.text), ours, file.text)
        except InvalidInput as exc:
            one.differences = [exc.problem]
        one.differences += self._in_the_way(file, ours)
        if kept is not None and not agrees(ours, kept):
            one.differences.append("it runs with another configuration than its definition has; starting it again would change it")
        # A domain that has none lacks all that are defined.
        _left, defined = without_detached(ours, Presence(()))
        one.differences += [
            f"{device} was detached while it ran, and is in its definition: site.yml attaches it again"
            for device in self._detached.get(name, ())
            if device in defined
        ]
        return one

    def _from_kept(self, name: str) -> _Found:
        kept = self._kept[name]
        if not kept:
            raise InvalidInput("the toolstack keeps nothing of it, and no definition was found")
        adopted = adopt(settings_of(kept), self._devices, self._machine)
        adopted.lost.append("no definition of it was found; it is as Xen's toolstack keeps it")
        adopted.lost += [f"{device} was detached while it ran, and is left out" for device in self._detached[name]]
        one = self._one(adopted, "")
        ours = self._parsed(adopted)
        one.differences = lost_settings(kept, ours)
        if not one.differences and not agrees(ours, kept):
            one.differences.append("it runs with another configuration than the one that the roles would write")
        return one

    def _one(self, adopted: Adopted, path: str) -> _Found:
        for key, value in adopted.domain.items():
            if printable_value({key: value}) != {key: value}:
                raise InvalidInput(
                    f"{key} holds control characters, or bytes that are not UTF-8", rule="a result must be fit to be printed"
                )
        return _Found(adopted, path, adopted.name in self._started, adopted.name in self._running)

    def _parsed(self, adopted: Adopted) -> dict[str, t.Any]:
        return self._xl.parse_definition(declared([adopted], self._devices)[0].text)

    def _in_the_way(self, file: _File, ours: t.Mapping[str, t.Any]) -> list[str]:
        """Say which other files xl_domain would refuse to replace: see `foreign_files` in host.py."""
        place = self._paths.definition(file.name)
        others = {place: read_text(place), **{started.path: started.text for started in self._started.get(file.name, ())}}
        return [
            f"{path} is not the same, and in the way"
            for path, text in others.items()
            if text is not None and text != file.text and not self._is_same(text, ours)
        ]

    def _is_same(self, text: str, ours: t.Mapping[str, t.Any]) -> bool:
        try:
            return not same(self._xl.parse_definition(text), ours, text)
        except InvalidInput:
            return False


def _read(path: str) -> tuple[_File | None, str]:
    """Return the definition that others wrote in a file, or why there is none; "" if there is no file."""
    text = read_text(path) if os.path.isfile(path) else None
    if text is None:
        return None, ""
    if text.startswith(MARKER):
        return None, "It begins as the definitions that this collection writes, but is no longer in its place"
    try:
        values = read(text)
    except InvalidInput as exc:
        return None, str(exc)
    return _File(str(values.get("name", "")), path, text, values), ""


def _device(item: t.Any) -> str:
    return str(item["device"] if isinstance(item, dict) else item)


def _report(one: _Found) -> dict[str, t.Any]:
    return {
        "name": one.adopted.name,
        "variable": VARIABLES[one.adopted.role],
        "path": one.path,
        "running": one.running,
        "autostart": one.autostart,
        "equal": not one.differences,
        "differences": hide_secrets(one.differences),
        "not_expressed": hide_secrets(one.adopted.lost),
    }
