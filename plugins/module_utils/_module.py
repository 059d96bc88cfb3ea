# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Read once, plan, apply: the base of every module.

A module hands L(run_module) a function that reads the host and returns a L(Plan). Check mode stops there; diff mode,
C(changed) and the list of actions all come from the plan, so they can not disagree with what is done.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible.module_utils.basic import AnsibleModule

from ._errors import DriverDomainsError, Refused


@dataclass(frozen=True)
class Action:
    """One change: what it does in words, how to do it, and what it looks like before and after."""

    description: str
    apply: t.Callable[[], t.Any]
    subject: str = ""
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Refusal:
    """A guard rail that speaks against the plan; I(guard) is the name that C(force) takes."""

    guard: str
    subject: str
    reason: str
    #: Whether an earlier task of the same play may end it, which check mode does not run either.
    passing: bool = False

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason} [{self.guard}]"


@dataclass
class Plan:
    """What a module is going to do, in order; empty when the host is as wanted."""

    actions: list[Action] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    #: Return values that are known before anything is applied.
    results: dict[str, t.Any] = field(default_factory=dict)
    #: Runs last, after the actions and also when there were none, but not in check mode: waits until the wanted state is
    #: really reached and returns return values that replace those of I(results).
    conclude: t.Callable[[], dict[str, t.Any]] | None = None

    def add(self, description: str, apply: t.Callable[[], t.Any], *, subject: str = "", before: str = "", after: str = "") -> None:
        """Append one action; I(before) and I(after) are what diff mode shows under the header I(subject)."""
        self.actions.append(Action(description, apply, subject, before, after))

    def refuse(self, guard: str, subject: str, reason: str, passing: bool = False) -> None:
        """Record that a guard rail speaks against this plan."""
        self.refusals.append(Refusal(guard, subject, reason, passing))

    @property
    def diffs(self) -> list[dict[str, str]]:
        """Ansible's form of the before and after texts, one entry for each action that has them."""
        return [
            {"before_header": a.subject, "after_header": a.subject, "before": _lines(a.before), "after": _lines(a.after)}
            for a in self.actions
            if a.before != a.after
        ]

    def check_refusals(self, force: t.Sequence[str] = (), check_mode: bool = False) -> None:
        """Turn the refusals that I(force) names into warnings, and in check mode those that an earlier task may end.

        :raises Refused: a refusal remains; every one is listed.
        """
        remaining = [refusal for refusal in self.refusals if refusal.guard not in force]
        self.warnings += [f"Forced: {refusal}" for refusal in self.refusals if refusal.guard in force]
        if check_mode:
            self.warnings += [f"Would be refused unless an earlier task ends it: {refusal}" for refusal in remaining if refusal.passing]
            remaining = [refusal for refusal in remaining if not refusal.passing]
        if remaining:
            guards = sorted({refusal.guard for refusal in remaining})
            raise Refused(
                "Refused before anything was changed: " + "; ".join(str(refusal) for refusal in remaining),
                remedy=f"If you are sure, say so by name: force: [{', '.join(guards)}]",
                refusals=[{"guard": r.guard, "subject": r.subject, "reason": r.reason} for r in remaining],
            )


def run_module(
    argument_spec: dict[str, t.Any],
    prepare: t.Callable[[dict[str, t.Any], bool], Plan],
    **module_options: t.Any,
) -> t.NoReturn:
    """Run one module: parse its parameters, plan, apply unless in check mode, and exit.

    :param prepare: gets the parameters and whether check mode is on, reads the host and returns the plan.
    """
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True, **module_options)
    done: list[str] = []
    plan = Plan()
    try:
        plan = prepare(module.params, module.check_mode)
        plan.check_refusals(module.params.get("force") or (), module.check_mode)
        results = dict(plan.results)
        if not module.check_mode:
            for action in plan.actions:
                action.apply()
                done.append(action.description)
            if plan.conclude:
                results.update(plan.conclude())
    except DriverDomainsError as exc:
        for warning in plan.warnings:
            module.warn(warning)
        module.fail_json(msg=str(exc), **{**exc.details, "changed": bool(done), "actions": done})
    except OSError as exc:
        # A full disk, a directory where a file should be: what was done until then must not get lost in a traceback.
        module.fail_json(msg=f"The host refused: {exc}", changed=bool(done), actions=done)
    for warning in plan.warnings:
        module.warn(warning)
    results.update(changed=bool(plan.actions), actions=[action.description for action in plan.actions])
    # AnsibleModule has no public name for it.
    if module._diff:
        results["diff"] = plan.diffs
    module.exit_json(**results)


def _lines(text: str) -> str:
    """Ansible's diff needs text that ends in a newline, or is empty; and it stops at what is not Unicode, such as an old file can hold."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text if not text or text.endswith("\n") else text + "\n"
