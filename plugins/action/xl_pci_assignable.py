# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of xl_pci_assignable: with `confirm_timeout`, confirm over a new connection what was taken."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.validation import check_type_int
from ansible.plugins.action import ActionBase

#: Seconds that the host may take after `confirm_timeout` to return devices and to be reachable again.
_GRACE = 120
_PAUSE = 5
#: Seconds that the last attempt may take.
_LEAST = 30


class _Hangs(BaseException):
    """The time is over; no connection plugin handles this, as it would an error, by running the module once more."""


@contextlib.contextmanager
def _limited(seconds: float) -> t.Iterator[None]:
    """End what takes longer: over a connection that is dead, ssh may wait for a module until the kernel gives up.

    A task with a `timeout` of its own has that one: there is only one alarm.

    :raises AnsibleConnectionFailure: it took longer.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def ring(_number: int, _frame: t.Any) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _Hangs as exc:
        raise AnsibleConnectionFailure(f"The host has not answered for {seconds:g} s") from exc
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _number(given: t.Any) -> int:
    """Read a number as the module does, which refuses what is none."""
    try:
        return int(check_type_int(given or 0))
    except TypeError:
        return 0


class ActionModule(ActionBase):
    """Runs the module, and then its state `confirmed` over a new connection."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module, and check that the host can still be reached."""
        super().run(tmp, task_vars)
        seconds = _number(self._task.args.get("confirm_timeout"))
        end = time.monotonic() + seconds + _GRACE
        try:
            with _limited(seconds + _GRACE) if seconds else contextlib.nullcontext():
                result = dict(self._execute_module(task_vars=task_vars))
        except AnsibleConnectionFailure:
            if not seconds:
                raise
            # Taking a device cut the connection: the confirmation shows what became of it.
            result = {"unconfirmed": True}
        if self._task.check_mode or result.get("failed") or not result.get("unconfirmed"):
            return result
        confirmation = self._confirm(end, task_vars)
        if confirmation.get("failed"):
            problem = "The devices were taken, but a fresh connection could not confirm in time that the host can still be reached"
            # The devices are not as the module left them.
            result.pop("devices", None)
            return {**result, "failed": True, "changed": True, "msg": f"{problem}. {confirmation.get('msg', '')}"}
        return {**result, "changed": True, "devices": confirmation["devices"]}

    def _confirm(self, end: float, task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """Confirm as soon as the host can be reached, even if that is only because it returned the devices."""
        arguments = {**self._task.args, "state": "confirmed"}
        while True:
            with contextlib.suppress(AnsibleConnectionFailure), _limited(max(_LEAST, end - time.monotonic())):
                self._connection.reset()
                return dict(self._execute_module(module_args=arguments, task_vars=task_vars))
            if time.monotonic() > end:
                return {"failed": True, "msg": "The host cannot be reached any more"}
            time.sleep(_PAUSE)
