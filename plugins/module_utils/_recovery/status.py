# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What the recovery service says about itself: in its status file, in `systemctl status`, and to systemd."""

from __future__ import annotations

import contextlib
import socket
import typing as t

from .model import Configuration, Memory, Snapshot


def status_of(
    configuration: Configuration, snapshot: Snapshot, memory: Memory, recoveries: t.Sequence[str], stands_aside: bool
) -> dict[str, t.Any]:
    """Return what the service says about itself.

    :param recoveries: the last events, in words.
    :param stands_aside: whether it waits for a playbook.
    """
    running = snapshot.running
    serving = {device.backend_id for device in snapshot.devices}
    declared = {domain.name for domain in configuration.domains}
    backends = [domain for domid, domain in running.items() if domid and (domid in serving or domain.name in declared)]
    return {
        "backends": [{"name": domain.name, "domid": domain.domid, "ready": domain.domid in memory.ready} for domain in backends],
        "clients": [
            {
                "name": running[device.domid].name,
                "kind": device.kind,
                "devid": device.devid,
                "backend": memory.names.get(device.backend_id, ""),
                "connected": device.connected,
            }
            for device in snapshot.devices
            if device.domid in running
        ],
        "waiting": [
            {
                "name": released.client,
                "kind": released.kind,
                "devid": released.devid,
                "identity": released.identity,
                "backend": released.backend,
            }
            for released in memory.released.values()
        ],
        "gone": sorted(memory.gone),
        "aside": sorted(snapshot.aside),
        "given_up": sorted(memory.hopeless),
        "standing_aside_for_a_playbook": stands_aside,
        "recoveries": list(recoveries),
    }


def summary_of(status: t.Mapping[str, t.Any]) -> str:
    """Return the line that `systemctl status` shows."""
    clients = status["clients"]
    works = sum(client["connected"] for client in clients)
    parts = [f"{works} of {len(clients)} devices of {len({client['name'] for client in clients})} clients work"]
    parts.append(
        "backends: "
        + (", ".join(f"{backend['name']}{'' if backend['ready'] else ' (not ready)'}" for backend in status["backends"]) or "none")
    )
    for key, words in (("gone", "gone"), ("aside", "left alone"), ("given_up", "given up")):
        if status[key]:
            parts.append(f"{words}: {', '.join(status[key])}")
    return "; ".join(parts)


def notifier(address: str | None) -> t.Callable[[str], None]:
    """Return what sends a text to systemd, sd_notify(3).

    :param address: the value of NOTIFY_SOCKET; None where systemd does not wait for it.
    """
    if not address:
        return lambda text: None
    target = "\0" + address[1:] if address.startswith("@") else address

    def notify(text: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection, contextlib.suppress(OSError):
            connection.sendto(text.encode("utf-8", "replace"), target)

    return notify
