# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The base of every module, and the only file here that imports Ansible: parse, plan, apply, exit."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._errors import DriverDomainsError, InvalidInput
from ._plan import Plan
from ._polling import LONGEST_TIMEOUT
from ._printable import printable_message, printable_value
from ._secrets import hide_secrets


def run_module(
    argument_spec: dict[str, t.Any],
    prepare: t.Callable[[dict[str, t.Any]], Plan],
    first: t.Callable[[], None] | None = None,
    **module_options: t.Any,
) -> t.NoReturn:
    """Run one module: parse its parameters, plan, apply unless in check mode, and exit.

    Here alone text leaves the collection: whatever a guest or a tool put into it, results, messages and warnings can be printed.

    :param prepare: gets the parameters, reads the host and returns the plan.
    :param first: is called before that, but not in check mode: waits until nobody else changes what the module changes.
    """

    # `no_log` cannot do this: it hides a value wherever it occurs in the results, so that a file with the content "root" would damage
    # every path below /root. Neither does it reach what is inside of a free dictionary.
    class Module(AnsibleModule):
        def _log_invocation(self) -> None:
            plain, self.params = self.params, hide_secrets(self.params)
            try:
                super()._log_invocation()
            finally:
                self.params = plain

    module = Module(argument_spec=argument_spec, supports_check_mode=True, **module_options)
    plan, failure, results = Plan(), None, {}
    try:
        _check_values(module.params)
        if first and not module.check_mode:
            first()
        plan = prepare(module.params)
        results = plan.apply(module.params.get("force") or (), module.check_mode)
    except DriverDomainsError as exc:
        failure = exc
    except OSError as exc:
        # A full disk, or a directory where a file should be: what was done until then must not get lost in a traceback.
        failure = DriverDomainsError(f"The host refused: {exc}")
    # Otherwise AnsibleModule adds the parameters as they are.
    (failure.details if failure else results)["invocation"] = {"module_args": hide_secrets(module.params)}
    for warning in plan.warnings:
        module.warn(printable_message(hide_secrets(warning)))
    if failure:
        details = {**failure.details, "changed": bool(plan.done), "actions": plan.done}
        module.fail_json(msg=printable_message(hide_secrets(str(failure))), **printable_value(hide_secrets(details)))
    # AnsibleModule has no public name for it.
    if module._diff:
        results["diff"] = hide_secrets(plan.diffs)
    if "actions" in results:
        results["actions"] = hide_secrets(results["actions"])
    module.exit_json(**printable_value(results))


def _check_values(value: t.Any) -> None:
    """Check that every text of the parameters can be written to a file or the command line of a program, and that times are some.

    :raises InvalidInput: a text holds what is no character, which only JSON can express (half of a surrogate pair), or something cannot
        last so long.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            _check_values(key)
            if str(key).endswith("timeout") and isinstance(item, (int, float)) and not 0 <= item <= LONGEST_TIMEOUT:
                raise InvalidInput(
                    f"{item:g} is not a usable timeout ({key})", rule=f"it is a number of seconds from 0 to {LONGEST_TIMEOUT:g}, a week"
                )
            _check_values(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_values(item)
    elif isinstance(value, str):
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as exc:
            raise InvalidInput(f"The text {value!r} holds {value[exc.start]!r}, which is no character") from exc
