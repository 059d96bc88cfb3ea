# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The files of the recovery service: its configuration, which the role writes, what it remembers, and its status for others."""

from __future__ import annotations

import hashlib
import json
import os
import typing as t
from dataclasses import asdict

from .._domain.aside import WaitingDevice
from .._errors import DriverDomainsError, InvalidInput
from .model import Configuration, Declared, Memory, Released

#: Where things are.
PROGRAM = "/usr/local/lib/xen-driver-domains/recovery.pyz"
CONFIGURATION = "/etc/xen-driver-domains/recovery.json"
RUN = "/run/xen-driver-domains/recovery"


def memory_file(directory: str) -> str:
    """What the service remembers; gone when the host reboots, as are the domains."""
    return f"{directory}/memory.json"


def status_file(directory: str) -> str:
    """What the service says about itself."""
    return f"{directory}/status.json"


def configuration_of(domains: t.Iterable[t.Mapping[str, t.Any]], attempts: int | None = None) -> Configuration:
    """Return the configuration for the parameters of the module domain_recovery."""
    declared = []
    for domain in domains:
        ready = domain.get("ready") or {}
        definition = domain.get("definition") or f"/etc/xen/{domain['name']}.cfg"
        declared.append(Declared(domain["name"], definition, ready.get("key", ""), ready.get("value", "")))
    return Configuration(tuple(declared), Configuration.attempts if attempts is None else attempts)


def configuration_text(configuration: Configuration) -> str:
    """Return the text of the configuration file."""
    return json.dumps(asdict(configuration), indent=2) + "\n"


def digest(program: bytes, configuration: str) -> str:
    """Return what stands for a program and its configuration."""
    return hashlib.sha256(b"%d\n" % len(program) + program + configuration.encode()).hexdigest()


def installed_digest(program: str = PROGRAM, configuration: str = CONFIGURATION) -> str:
    """Return what stands for the program and the configuration that this host has; "" when it does not have both."""
    try:
        with open(program, "rb") as code, open(configuration, encoding="utf-8") as text:
            return digest(code.read(), text.read())
    except (OSError, ValueError):
        return ""


def read_configuration(path: str) -> Configuration:
    """Read the configuration file.

    :raises InvalidInput: it is not one.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return Configuration(tuple(Declared(**domain) for domain in found["domains"]), int(found["attempts"]))
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise InvalidInput(
            f"{path} is not a configuration of the recovery service: {exc}", remedy="Run the role driver_domain again, which writes it"
        ) from exc


def memory_text(memory: Memory) -> str:
    """Return the text of the file that keeps what the service remembers."""
    plain = {**asdict(memory), "seen": sorted(memory.seen), "hopeless": sorted(memory.hopeless)}
    return json.dumps(plain)


def read_memory(path: str) -> Memory:
    """Read what the service remembers; nothing if there is no such file, or it is damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return Memory(
            names={int(domid): str(name) for domid, name in found["names"].items()},
            seen=frozenset(found["seen"]),
            gone=found["gone"],
            waiting=found["waiting"],
            released={key: Released(**released) for key, released in found["released"].items()},
            attached=found["attached"],
            attempts=found["attempts"],
            hopeless=frozenset(found["hopeless"]),
            ready={int(domid): at for domid, at in found["ready"].items()},
            appeared={int(domid): at for domid, at in found["appeared"].items()},
            resumed=found["resumed"],
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Memory()


def read_status(directory: str = RUN) -> dict[str, t.Any] | None:
    """Return what the service says about itself; None when it does not run."""
    try:
        with open(status_file(directory), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def waiting_devices(directory: str = RUN) -> list[WaitingDevice]:
    """Return the devices that the service has detached, and attaches again when their backends serve."""
    waiting = (read_status(directory) or {}).get("waiting", [])
    return [WaitingDevice(device["name"], device["kind"], device["identity"]) for device in waiting]


def replace_file(path: str, text: str) -> None:
    """Write a small file below /run, whole or not at all.

    :raises DriverDomainsError: it cannot be written.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
        os.replace(f"{path}.new", path)
    except OSError as exc:
        raise DriverDomainsError(f"Cannot write {path}: {exc.strerror}", remedy="Run the service as root") from exc
