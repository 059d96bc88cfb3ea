# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The files of the recovery service: its configuration, which the role writes, what it remembers, and its status for others."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import typing as t
from dataclasses import asdict, fields

from .._domain.aside import WaitingDevice
from .._errors import DriverDomainsError, InvalidInput
from .metrics import METRICS
from .model import Configuration, Declared, Memory, Released

UNIT = "xen-domain-recovery.service"
#: Where things are.
UNITS = "/etc/systemd/system"
PROGRAM = "/usr/local/lib/xen-driver-domains/recovery.pyz"
CONFIGURATION = "/etc/xen-driver-domains/recovery.json"
RUN = "/run/xen-driver-domains/recovery"
#: The directory of the metrics, which systemd makes when the service starts, and removes when it stops: all users can read it.
METRICS_DIRECTORY = "xen-driver-domains-metrics"
#: Where Debian's node_exporter looks for metrics of others.
TEXTFILES = "/var/lib/prometheus/node-exporter"
#: Seconds after which a service that was stopped forgets what it was about to do: others have been at work meanwhile.
STOPPED_LONG = 300.0
#: Stands for a service that is not whole, or does not run.
INCOMPLETE = "incomplete"


class Places(t.NamedTuple):
    """Where the service is installed; tests put it elsewhere."""

    program: str = PROGRAM
    units: str = UNITS
    configuration: str = CONFIGURATION
    run: str = RUN
    metrics: str = f"/run/{METRICS_DIRECTORY}/{METRICS}"
    textfiles: str = TEXTFILES

    @property
    def unit(self) -> str:
        """Its unit file."""
        return f"{self.units}/{UNIT}"

    @property
    def enabled(self) -> str:
        """The link by which it starts with the host."""
        return f"{self.units}/multi-user.target.wants/{UNIT}"

    @property
    def textfile(self) -> str:
        """The link by which node_exporter finds the metrics."""
        return f"{self.textfiles}/{METRICS}"

    def lacks_textfile(self) -> bool:
        """Whether the host has a node_exporter that does not find the metrics."""
        if not os.path.isdir(self.textfiles):
            return False
        return not os.path.islink(self.textfile) or os.readlink(self.textfile) != self.metrics


def life_file(directory: str) -> str:
    """The file that the service keeps locked while it runs (flock(2)). The kernel releases it when the process dies."""
    return f"{directory}/alive"


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
        limit = float(domain.get("wait_timeout") or Declared.wait_timeout)
        declared.append(Declared(domain["name"], definition, ready.get("key", ""), ready.get("value", ""), limit))
    return Configuration(tuple(declared), Configuration.attempts if attempts is None else attempts)


def configuration_text(configuration: Configuration) -> str:
    """Return the text of the configuration file."""
    return json.dumps(asdict(configuration), indent=2) + "\n"


def digest(program: bytes, configuration: str) -> str:
    """Return what stands for a program and its configuration."""
    return hashlib.sha256(b"%d\n" % len(program) + program + configuration.encode()).hexdigest()


def installed_digest(places: Places | None = None) -> str:
    """Return what stands for the program and the configuration of the service of this host.

    "" when it has nothing of the service, and `INCOMPLETE` when it has a part of it, or the service is not enabled, or does not run.
    """
    places = places or Places()
    parts = (places.program, places.configuration, places.unit, places.enabled)
    if not any(os.path.lexists(path) for path in (*parts, places.textfile)):
        return ""
    if all(os.path.exists(path) for path in parts) and not places.lacks_textfile() and is_alive(places.run):
        with contextlib.suppress(OSError, ValueError), open(places.program, "rb") as code, open(places.configuration, "rb") as text:
            return digest(code.read(), text.read().decode())
    return INCOMPLETE


def is_alive(directory: str = RUN) -> bool:
    """Whether the service runs."""
    try:
        descriptor = os.open(life_file(directory), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


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
    plain = asdict(memory)
    return json.dumps({name: sorted(value) if isinstance(value, frozenset) else value for name, value in plain.items()})


def _released(found: dict[str, t.Any]) -> Released:
    names = {field.name for field in fields(Released)}
    return Released(**{name: value for name, value in found.items() if name in names})


def _times(found: list[t.Any]) -> list[float]:
    return [float(at) for at in found]


#: How the entries of the memory's mappings are read: their keys, and their values.
_ENTRIES: dict[str, tuple[t.Callable[[str], t.Any], t.Callable[[t.Any], t.Any]]] = {
    "names": (int, str),
    "lost": (str, str),
    "last": (str, int),
    "gone": (str, float),
    "waiting": (str, float),
    "released": (str, _released),
    "attached": (str, float),
    "attempts": (str, _times),
    "ready": (int, float),
    "changes": (int, _times),
    "appeared": (int, float),
    "recovered": (str, int),
}


def read_memory(path: str, tell: t.Callable[[str], None] = lambda line: None) -> Memory:
    """Read what the service remembers, nothing if there is no such file. What another version did not write gets its default.

    :param tell: gets what cannot be read, and is forgotten.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if not isinstance(found, dict):
            raise ValueError("it is no mapping")
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError) as exc:
        tell(f"{path} cannot be read, so all of it is forgotten: {exc}")
        return Memory()
    read: dict[str, t.Any] = {}
    damaged: list[str] = []
    for name in (field.name for field in fields(Memory) if field.name in found):
        value = found[name]
        if name in _ENTRIES and isinstance(value, dict):
            read[name] = _entries(name, value, damaged)
        elif name in ("seen", "hopeless", "unfinished") and isinstance(value, list):
            read[name] = frozenset(map(str, value))
        elif name == "resumed" and isinstance(value, str):
            read[name] = value
        else:
            damaged.append(name)
    if damaged:
        tell(f"{path} is damaged; what is forgotten: {', '.join(damaged)}")
    return Memory(**read)


def _entries(name: str, found: dict[str, t.Any], damaged: list[str]) -> dict[t.Any, t.Any]:
    read_key, read_value = _ENTRIES[name]
    entries = {}
    for key, value in found.items():
        try:
            entries[read_key(key)] = read_value(value)
        except (ValueError, TypeError, AttributeError):
            damaged.append(f"{name}: {key}")
    return entries


def read_status(directory: str = RUN) -> dict[str, t.Any] | None:
    """Return what the service says about itself; None when it does not run."""
    return _read(status_file(directory))


def waiting_devices(directory: str = RUN) -> list[WaitingDevice]:
    """Return the devices that the service has detached, and attaches again when their backends serve; also one that was stopped."""
    try:
        released = (_read(memory_file(directory)) or {}).get("released", {}).values()
        return [WaitingDevice(device["client"], device["kind"], device["identity"], device["devid"]) for device in released]
    except (AttributeError, KeyError, TypeError):
        return []


def forget_old(directory: str = RUN) -> str:
    """Forget what a service that was stopped long ago was about to do; return what that was, in words, or "".

    One that was killed has left its status behind. It is started again at once, and forgets nothing.

    :raises DriverDomainsError: the file cannot be written.
    """
    path = memory_file(directory)
    found = _read(path)
    if not found or os.path.exists(status_file(directory)) or time.time() - os.stat(path).st_mtime < STOPPED_LONG:
        return ""
    waiting = [f"{device.kind} {device.devid} of {device.domain}" for device in waiting_devices(directory)]
    replace_file(path, json.dumps({**found, "released": {}, "seen": []}))
    return f"It was stopped for long, and no longer attaches {', '.join(waiting)}" if waiting else ""


def _read(path: str) -> dict[str, t.Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def replace_file(path: str, text: str, mode: int = 0o600) -> None:
    """Write a small file below /run, whole or not at all.

    :raises DriverDomainsError: it cannot be written.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
        os.replace(f"{path}.new", path)
    except OSError as exc:
        raise DriverDomainsError(f"Cannot write {path}: {exc.strerror}", remedy="Run the service as root") from exc
