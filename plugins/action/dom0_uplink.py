# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of dom0_uplink: ask over new connections what has become of the host, and so confirm that it can be reached."""

from __future__ import annotations

import contextlib
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.validation import check_type_int
from ansible.plugins.action import ActionBase

#: Seconds beside the limit: those in which the host waits for the confirmation, and those in which it goes back and can be reached again.
_GRACE = 300
_PAUSE = 3
_LIMIT = 90


def _number(given: t.Any) -> int:
    """Read a number as the module does, which refuses what is none."""
    try:
        return int(check_type_int(given or _LIMIT))
    except TypeError:
        return _LIMIT


class ActionModule(ActionBase):
    """Runs the module, and again over new connections until nothing is pending."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module, and wait until the host has moved and is confirmed, or went back."""
        super().run(tmp, task_vars)
        end = time.monotonic() + _number(self._task.args.get("limit")) + _GRACE
        try:
            first = dict(self._execute_module(task_vars=task_vars))
        except AnsibleConnectionFailure:
            # The host may have begun: the next connection shows what became of it.
            first = {"pending": True, "changed": True, "actions": []}
        if self._task.check_mode or first.get("failed") or not first.get("pending"):
            return first
        last = self._wait(end, task_vars)
        # What another run has begun is no change of this one.
        changed = bool(first.get("changed") or last.get("changed"))
        return {**first, **last, "changed": changed, "actions": [*first.get("actions", ()), *last.get("actions", ())]}

    def _wait(self, end: float, task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        state = "absent" if self._task.args.get("state") == "absent" else "confirmed"
        arguments = {**self._task.args, "state": state}
        problem = "The host cannot be reached"
        while time.monotonic() < end:
            time.sleep(_PAUSE)
            with contextlib.suppress(AnsibleConnectionFailure):
                self._connection.reset()
                result = dict(self._execute_module(module_args=arguments, task_vars=task_vars))
                if result.get("failed") or not result.get("pending"):
                    return result
                problem = "The host can be reached, but has not ended what it began"
        return {"failed": True, "msg": f"{problem}. It returns its network card to dom0 by itself; see 'journalctl -t xen-driver-domains'"}
