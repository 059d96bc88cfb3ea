# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drive a running QEMU over QMP: quit, and snapshots as jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import QMPClient, QMPError

from .errors import TestbedError
from .hardware import DISK_NODE

_JOB = "testbed"
_T = TypeVar("_T")


def quit_machine(socket: Path) -> None:
    """Make QEMU end."""
    _session(socket, lambda client: client.execute("quit"))


def plug(socket: Path, device: str) -> None:
    """Add a device, given as to QEMU's option -device, while the power is off."""
    driver, *properties = device.split(",")
    arguments: dict[str, object] = {"driver": driver, **dict(entry.split("=", 1) for entry in properties)}

    async def plug(client: QMPClient) -> None:
        await client.execute("stop")
        await client.execute("device_add", arguments)
        await client.execute("system_reset")
        await client.execute("cont")

    _session(socket, plug)


def save_snapshot(socket: Path, name: str) -> None:
    """Save the machine's memory, devices and disk; a snapshot of that name is replaced."""

    async def save(client: QMPClient) -> None:
        if name in await _snapshots(client):
            await _delete(client, name)
        await _job(client, "snapshot-save", {"tag": name, "vmstate": DISK_NODE, "devices": [DISK_NODE]})

    _session(socket, save)


def delete_snapshot(socket: Path, name: str) -> None:
    """Remove a snapshot."""
    _session(socket, lambda client: _delete(client, name))


def snapshots(socket: Path) -> list[str]:
    """Return the names of the snapshots that the machine can be put back to."""
    return _session(socket, _snapshots)


def _session(socket: Path, act: Callable[[QMPClient], Awaitable[_T]]) -> _T:
    async def session() -> _T:
        client = QMPClient("testbed")
        await client.connect(str(socket))
        try:
            return await act(client)
        finally:
            with suppress(EOFError):  # QEMU hung up first, as it does after "quit"
                await client.disconnect()

    try:
        return asyncio.run(session())
    except QMPError as error:
        raise TestbedError(f"QEMU (QMP socket {socket}): {error}") from error


async def _execute(client: QMPClient, command: str) -> Any:
    return await client.execute(command)


async def _delete(client: QMPClient, name: str) -> None:
    await _job(client, "snapshot-delete", {"tag": name, "devices": [DISK_NODE]})


async def _snapshots(client: QMPClient) -> list[str]:
    for node in await _execute(client, "query-named-block-nodes"):
        if node.get("node-name") == DISK_NODE:
            return [snapshot["name"] for snapshot in node["image"].get("snapshots", [])]
    return []


async def _job(client: QMPClient, command: str, arguments: dict[str, object]) -> None:
    """Run a job command to its end; it fails by the text in the job's record."""
    with client.listener("JOB_STATUS_CHANGE") as events:
        await client.execute(command, {"job-id": _JOB, **arguments})
        async for event in events:
            data: Any = event["data"]
            if data["id"] == _JOB and data["status"] == "concluded":
                break
    error = next((job.get("error") for job in await _execute(client, "query-jobs") if job["id"] == _JOB), None)
    await client.execute("job-dismiss", {"id": _JOB})
    if error:
        raise TestbedError(f"QEMU: {command} {arguments['tag']}: {error}")
