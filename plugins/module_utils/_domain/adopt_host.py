# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The definitions of others on a host, and the domains that run, as variables of the roles. Changes nothing."""

from __future__ import annotations

import glob
import os
import typing as t
from dataclasses import dataclass, field

from .._errors import InvalidInput
from .._files import list_directory, read_text
from .._printable import printable_value
from .._secrets import hide_secrets
from .._xen.xl import Domain, Xl
from .._xen.xlcfg_reader import Value, read
from .adopt import DRIVER_DOMAIN, GUEST, Adopted, Devices, adopt, definition
from .adopt_kept import settings_of
from .equality import same
from .kept import agrees, settings
from .paths import MARKER
from .userdata import USERDATA, kept_configuration

#: By role, the variable that has its domains.
VARIABLES = {DRIVER_DOMAIN: "driver_domain_domains", GUEST: "domu_domains"}


@dataclass(frozen=True)
class DefinitionPlaces:
    """Where to look; tests look elsewhere."""

    patterns: tuple[str, ...] = ("/etc/xen/*.cfg", "/etc/xen/auto/*")
    autostart: str = "/etc/xen/auto"
    userdata: str = USERDATA
    sysfs: str = "/sys"


@dataclass
class _Found:
    """One domain, from its definition or from what Xen's toolstack keeps of it."""

    adopted: Adopted
    #: Its definition, or "".
    path: str
    text: str
    autostart: bool
    running: Domain | None = None
    differences: list[str] = field(default_factory=list)


def import_domains(xl: Xl, places: DefinitionPlaces, machine: str) -> dict[str, t.Any]:
    """Return the variables, what was found, and what could not be expressed: the return values of xl_config_info."""
    running = {domain.name: domain for domain in xl.list() if domain.domid != 0}
    # The domain that runs a device model belongs to the one it serves (libxl_dm.c, stub_dm_name).
    running = {name: domain for name, domain in running.items() if not (name.endswith("-dm") and name[: -len("-dm")] in running)}
    devices = Devices(places.sysfs)
    found: dict[str, _Found] = {}
    skipped: list[dict[str, str]] = []
    managed: list[str] = []
    started = _autostarted(places)
    for path in _files(places):
        text = read_text(path)
        if text is None or text.startswith(MARKER):
            managed += [] if text is None else [path]
            continue
        try:
            one = _from_file(path, text, devices, running, places, machine)
            if one.adopted.name in found:
                raise InvalidInput(f"{found[one.adopted.name].path} defines a domain of the same name")
        except InvalidInput as exc:
            skipped.append({"path": path, "reason": str(exc)})
            continue
        one.autostart = os.path.realpath(path) in started
        _compare(one, xl, devices, places)
        found[one.adopted.name] = one
    ours = {os.path.basename(path)[: -len(".cfg")] for path in managed}
    for name, domain in running.items():
        if name not in found and name not in ours:
            try:
                one = _from_kept(domain, devices, places, machine)
            except InvalidInput as exc:
                skipped.append({"path": "", "reason": f"The running domain {name}: {exc}"})
                continue
            _compare(one, xl, devices, places)
            found[name] = one
    variables: dict[str, t.Any] = {variable: [] for variable in ("dom0_pci_assignable", *VARIABLES.values())}
    for one in found.values():
        state = {} if one.running else {"state": "present"}
        start = {} if one.autostart else {"autostart": False}
        variables[VARIABLES[one.adopted.role]].append({"name": one.adopted.name, **state, **start, **one.adopted.domain})
    used = {_device(item) for one in found.values() for item in one.adopted.domain.get("pci", [])}
    variables["dom0_pci_assignable"] = [device for device in devices.variable if device["name"] in used]
    return {
        "variables": {key: value for key, value in variables.items() if value},
        "domains": [_report(one) for one in found.values()],
        "skipped": hide_secrets(skipped),
        "managed": managed,
    }


def _files(places: DefinitionPlaces) -> list[str]:
    """The files that may define a domain, each one once; a link to another one is another name of it."""
    paths: dict[str, str] = {}
    for pattern in places.patterns:
        for path in sorted(glob.glob(pattern)):
            if os.path.isfile(path):
                paths.setdefault(os.path.realpath(path), path)
    return sorted(paths.values())


def _autostarted(places: DefinitionPlaces) -> set[str]:
    return {os.path.realpath(f"{places.autostart}/{name}") for name in list_directory(places.autostart)}


def _from_file(path: str, text: str, devices: Devices, running: t.Mapping[str, Domain], places: DefinitionPlaces, machine: str) -> _Found:
    values: t.Mapping[str, Value] = read(text)
    domain = running.get(str(values.get("name")))
    adopted = adopt(values, devices, machine, _macs(domain, places))
    _check_printable(adopted)
    return _Found(adopted, path, text, False, domain)


def _from_kept(domain: Domain, devices: Devices, places: DefinitionPlaces, machine: str) -> _Found:
    kept = settings(kept_configuration(places.userdata, domain.domid) or "")
    if not kept:
        raise InvalidInput("the toolstack keeps nothing of it, and no definition was found")
    values, left = settings_of(kept)
    adopted = adopt(values, devices, machine)
    adopted.lost.append(
        "no definition of it was found; it is as Xen's toolstack keeps it" + (f", apart from {', '.join(left)}" if left else "")
    )
    _check_printable(adopted)
    return _Found(adopted, "", "", False, domain)


def _macs(domain: Domain | None, places: DefinitionPlaces) -> list[str]:
    nics = settings(kept_configuration(places.userdata, domain.domid) or "").get("nics") if domain else None
    return [str(nic.get("mac", "")) for nic in nics if isinstance(nic, dict)] if isinstance(nics, list) else []


def _check_printable(adopted: Adopted) -> None:
    for key, value in adopted.domain.items():
        if printable_value({key: value}) != {key: value}:
            raise InvalidInput(f"{key} holds control characters, or bytes that are not UTF-8", rule="a result must be fit to be printed")


def _compare(one: _Found, xl: Xl, devices: Devices, places: DefinitionPlaces) -> None:
    """Find out whether xl makes the same of our definition as of theirs, and whether a running domain already is that."""
    ours = xl.parse_definition(definition(one.adopted, devices).text)
    if one.text:
        try:
            one.differences = same(xl.parse_definition(one.text), ours, one.text)
        except InvalidInput as exc:
            one.differences = [exc.problem]
    kept = settings(kept_configuration(places.userdata, one.running.domid) or "") if one.running else None
    if kept is not None and not agrees(ours, kept):
        one.differences.append("it runs with another configuration than its definition has; starting it again would change it")


def _device(item: t.Any) -> str:
    return str(item["device"] if isinstance(item, dict) else item)


def _report(one: _Found) -> dict[str, t.Any]:
    return {
        "name": one.adopted.name,
        "variable": VARIABLES[one.adopted.role],
        "path": one.path,
        "running": one.running is not None,
        "autostart": one.autostart,
        "equal": not one.differences,
        "differences": hide_secrets(one.differences),
        "not_expressed": hide_secrets(one.adopted.lost),
    }
