# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Detach devices from running domains and attach them, and wait for what XenStore then says. Exit codes of `xl` say too little."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._errors import CommandFailed, DriverDomainsError, TimedOut
from .._xen.xl import Xl
from .._xenstore.client import REMOVAL_DELAY
from .devices import PvDevice, late, read_devices
from .repairs import fault
from .status import LOGS, READY, REASON, STATUS, log_line, not_connected, not_ready

if t.TYPE_CHECKING:
    from .._xenstore.client import XenStore
    from .ready import Ready

#: Seconds that a device may take to connect before it counts as stuck; a hotplug script takes 2 s in an emulated driver domain.
GRACE = 10.0


class Attacher:
    """Changes the devices of running domains; used only while a plan is applied.

    :param timeout: seconds to wait for each device, until it is gone and until it is connected.
    """

    def __init__(self, xl: Xl, store: XenStore, timeout: float, logs: str = LOGS) -> None:
        self._xl = xl
        self._store = store
        self._timeout = timeout
        self._logs = logs
        self._detached = 0.0

    def wait_serving(self, backend: str, ready: Ready | None = None, timeout: float | None = None) -> None:
        """Wait until a domain that runs reports that it serves, before a device is detached that it is to serve.

        :param ready: how it does that. By default, one that reports nothing serves.
        :param timeout: by default that of a device.
        :raises TimedOut: it does not report that in time.
        :raises DriverDomainsError: it is gone, or reports an error.
        """
        domid = self._store.domid_of(backend)
        if domid == 0:
            return
        home, missing = f"/local/domain/{domid}", ""
        key, value, error_key = (ready.key, ready.value, ready.error_key) if ready else (STATUS, READY, REASON)

        def serves(_values: dict[str, str | None]) -> bool:
            nonlocal missing
            if self._store.read_text(f"{home}/name") != backend:
                raise DriverDomainsError(f"Domain {backend} does not run, and so cannot serve a device")
            if not ready and self._store.read_text(f"{home}/{key}") is None:
                return True
            missing = not_ready(self._store, backend, home, key, value, error_key)
            return not missing

        limit = self._timeout if timeout is None else timeout
        try:
            self._store.wait_for([f"{home}/name", f"{home}/{key}"], serves, limit)
        except TimedOut as exc:
            raise TimedOut(
                f"Domain {backend} was not ready within {limit:g} s: {missing}",
                rule="a device is detached only when the domain that is to serve it then does so",
                remedy=f"Check its console: xl console -t pv {backend}",
            ) from exc

    def detach(self, domain: str, device: PvDevice, useless: bool) -> None:
        """Detach a device, and wait until nothing is left of it: what comes back too early is taken for the old one.

        :param useless: whether it does not work anyway. Then it is removed even if the guest does not let go of it.
        :raises TimedOut: it is still there.
        """
        failure: CommandFailed | None = None
        try:
            # Not by its name: a guest that was started again since has another device with the same number, which works.
            self._xl.detach_device(device.kind, str(device.domid), device.devid, force=useless)
        except CommandFailed as exc:
            failure = exc
        if not self._is_gone(device, 0.0 if failure else self._timeout):
            if not useless:
                raise TimedOut(
                    f"The {device} of {domain} was detached, but was not gone within {self._timeout:g} s"
                    f"{f' ({failure.problem})' if failure else ''}{self._log(device)}",
                    rule="a device goes when the guest lets go of it, and is attached again only when nothing is left of the old one",
                    remedy=f"End its use in {domain}, check 'xl devd' in {device.backend or device.backend_id}, and run this again",
                ) from failure
            remove_nodes(self._store, device)
        self._detached = time.monotonic()

    def _is_gone(self, device: PvDevice, timeout: float) -> bool:
        try:
            self._store.wait_for(
                [device.home, device.backend_path or device.frontend_path],
                lambda values: not any(value is not None for value in values.values()),
                timeout,
            )
        except TimedOut:
            return False
        return True

    def attach(self, domain: str, kind: str, text: str) -> None:
        """Attach a device as `text` specifies it."""
        # The guest's kernel would take a new device with the same number for the old one.
        time.sleep(max(0.0, self._detached + REMOVAL_DELAY - time.monotonic()) if self._detached else 0)
        self._xl.attach_device(kind, domain, text)

    def wait_connected(self, domain: str, domid: int, kind: str, wanted: t.Callable[[PvDevice], bool], what: str) -> PvDevice | None:
        """Wait until the device that is `wanted` is connected, and return it.

        :param what: its name in messages.
        :raises DriverDomainsError: its hotplug script failed, or the domain went away.
        :raises TimedOut: it was not connected in time.
        """
        missing = ""

        def own() -> list[PvDevice]:
            return [device for device in read_devices(self._store, [domid], [kind])[domid] if wanted(device)]

        def connected(_values: dict[str, str | None]) -> bool:
            nonlocal missing
            if self._store.read_text(f"/local/domain/{domid}/name") is None:
                raise DriverDomainsError(f"Domain {domain} went away before its {what} was connected")
            missing = not_connected(domain, own(), 1, self._logs)
            return not missing

        paths = [f"/local/domain/{domid}/name", f"/local/domain/{domid}/device/{kind}"]
        try:
            self._store.wait_for([*paths, *(device.backend_path for device in own() if device.backend_path)], connected, self._timeout)
        except TimedOut as exc:
            (log, backend) = next(((self._log(device), device.backend) for device in own()), ("", ""))
            raise TimedOut(
                f"The {what} of {domain} was not connected within {self._timeout:g} s: {missing}{log}",
                rule="with xsm=silo, the default of Debian's Xen on Arm, only dom0 can serve other domains",
                remedy=f"Check 'xl dmesg', the kernel log of {domain}, and that 'xl devd' runs in {backend or 'the backend domain'}",
            ) from exc
        return next(iter(own()), None)

    def stuck(self, device: PvDevice, running: t.Collection[int]) -> str:
        """Say why a device must be made once more, or "". One that may be about to connect gets a while to do so; nothing is changed."""
        if not late(device) or fault(device, running):
            return fault(device, running)
        now = device

        def settled(_values: dict[str, str | None]) -> bool:
            nonlocal now
            found = read_devices(self._store, [device.domid], [device.kind])[device.domid]
            now = next((other for other in found if other.devid == device.devid), device)
            return not late(now)

        with contextlib.suppress(TimedOut):
            self._store.wait_for([f"{device.frontend_path}/state", device.backend_path], settled, min(GRACE, self._timeout))
        return fault(now, running) or (f"{late(now)}: {now.states}" if late(now) else "")

    def _log(self, device: PvDevice) -> str:
        return log_line(device.backend_id, device.backend, self._logs)


def remove_nodes(store: XenStore, device: PvDevice) -> None:
    """Remove all that is left of a device in XenStore, at once, as `xl` does after its own time limit for a vif.

    libxl replaces what it keeps of it in its own file when a device with the same number is attached (device_add_domain_config).
    """

    def remove(inside: XenStore) -> None:
        for path in device.paths:
            inside.rm(path)

    store.transaction(remove)
