# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the recovery service sees, for Prometheus: its text format 0.0.4, as the textfile collector of node_exporter reads it."""

from __future__ import annotations

import typing as t

from .._printable import printable_line

if t.TYPE_CHECKING:
    from .model import Configuration, Memory, Snapshot

#: The name of the file. The collector reads what ends like that.
METRICS = "xen_driver_domains.prom"
#: The metrics, in the order of the file: what each one is, and its type.
_HELP = {
    "xen_domain_up": ("Whether a domain runs: all domains that do, and the declared driver domains.", "gauge"),
    "xen_domain_id": ("Number of a running domain. It changes when the domain is started again.", "gauge"),
    "xen_domain_left_alone": ("Domains that the recovery service leaves alone.", "gauge"),
    "xen_driver_domain_ready": ("Whether a driver domain runs and reports that it serves.", "gauge"),
    "xen_vif_connected": ("Whether a network interface that a driver domain serves works.", "gauge"),
    "xen_vbd_connected": ("Whether a disk that a driver domain serves works.", "gauge"),
    "xen_recoveries_total": ("Devices that were attached again and then worked, since the host has booted.", "counter"),
    "xen_recovery_given_up": ("Number of cases in which the recovery service tries nothing more.", "gauge"),
}
_Labels = tuple[tuple[str, str], ...]


def metrics_text(configuration: Configuration, snapshot: Snapshot, memory: Memory) -> str:
    """Return the content of the file. Each series is there once, even while two domains have the same name."""
    samples: dict[str, dict[_Labels, int]] = {name: {} for name in _HELP}

    def sample(name: str, value: int, **labels: object) -> None:
        samples[name][tuple((key, str(text)) for key, text in labels.items())] = value

    running, declared = snapshot.running, {domain.name for domain in configuration.domains}
    for name in (*sorted(declared), *snapshot.ended.values()):
        sample("xen_domain_up", 0, domain=name)
    for name in declared:
        sample("xen_driver_domain_ready", 0, domain=name)
    serving = {device.backend_id for device in snapshot.devices}
    for domid, domain in sorted(running.items()):
        sample("xen_domain_up", 1, domain=domain.name)
        sample("xen_domain_id", domid, domain=domain.name)
        if domid and (domid in serving or domain.name in declared):
            sample("xen_driver_domain_ready", int(domid in memory.ready), domain=domain.name)
    for name in snapshot.aside:
        sample("xen_domain_left_alone", 1, domain=name)
    for released in memory.released.values():
        sample(f"xen_{released.kind}_connected", 0, domain=released.client, device=released.devid, backend=released.backend)
    for device in snapshot.devices:
        backend = memory.names.get(device.backend_id) or memory.lost.get(device.backend_path, "")
        works = device.connected and device.backend_id in running
        name = running[device.domid].name
        sample(f"xen_{device.kind}_connected", int(works), domain=name, device=device.devid, backend=backend)
        # There is a series to watch before anything has happened.
        sample("xen_recoveries_total", 0, domain=name, kind=device.kind)
    for key, count in memory.recovered.items():
        kind, _slash, name = key.partition("/")
        sample("xen_recoveries_total", count, domain=name, kind=kind)
    sample("xen_recovery_given_up", len(memory.hopeless))
    lines = []
    for name, (text, kind) in _HELP.items():
        if samples[name]:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_braces(labels)} {value}" for labels, value in sorted(samples[name].items())]
    return "".join(f"{line}\n" for line in lines)


def _braces(labels: _Labels) -> str:
    """Return labels as they are written. A value has its backslashes, quotes and line feeds escaped."""
    shown = ((key, printable_line(text).replace("\\", "\\\\").replace('"', '\\"')) for key, text in labels)
    written = ",".join(f'{key}="{text}"' for key, text in shown)
    return f"{{{written}}}" if written else ""
