# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What a module is going to do. Check mode, diff mode, `changed` and the list of actions all come from the plan, so they agree."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ._errors import Refused
from ._files import read_bytes, remove, write_bytes


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
    """A reason why a plan must not be applied.

    `guard` is the name by which `force` overrides it; without one nothing does.
    """

    guard: str
    subject: str
    reason: str
    #: An earlier task of the play may still resolve it. Check mode has not run that task, so it only warns.
    passing: bool = False
    rule: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        name = f" [{self.guard}]" if self.guard else ""
        rule = f" (rule: {self.rule})" if self.rule else ""
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{self.subject}: {self.reason}{name}{rule}{remedy}"

    def as_dict(self) -> dict[str, str]:
        """The refusal as a return value."""
        return {"guard": self.guard, "subject": self.subject, "reason": self.reason}


@dataclass
class Plan:
    """The actions that lead from the host as it is to the host as requested, in order; none when they agree."""

    actions: list[Action] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    #: Return values that are known before anything is applied.
    results: dict[str, t.Any] = field(default_factory=dict)
    #: Runs after the actions, even if there are none, but not in check mode: waits until the requested state is
    #: reached, and returns return values that replace those in `results`.
    conclude: t.Callable[[], dict[str, t.Any]] | None = None
    #: Descriptions of the actions that were applied.
    done: list[str] = field(default_factory=list)
    _force: t.Collection[str] = ()

    # -- planning -------------------------------------------------------------------------------------------------------

    def add(self, description: str, apply: t.Callable[[], t.Any], *, subject: str = "", before: str = "", after: str = "") -> None:
        """Append one action; diff mode shows `before` and `after` under the header `subject`."""
        self.actions.append(Action(description, apply, subject, before, after))

    def add_together(self, apply: t.Callable[[], t.Any], actions: t.Iterable[Action]) -> None:
        """Append actions that one call does all at once, such as a transaction: the first one applied makes it."""
        applied = False

        def apply_once() -> None:
            nonlocal applied
            if not applied:
                apply()
                applied = True

        for action in actions:
            self.add(action.description, apply_once, subject=action.subject, before=action.before, after=action.after)

    def write_file(self, path: str, content: str | bytes, mode: int = 0o644, **texts: str) -> bool:
        """Append the writing of a file if its content differs; return whether it does.

        :param texts: `description`, `before` and `after` where the content itself is not for the user's eyes.
        """
        new = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        old = read_bytes(path)
        if old == new:
            return False
        if isinstance(content, str):
            texts = {"before": (old or b"").decode("utf-8", "surrogateescape"), "after": content, **texts}
        self.add(texts.pop("description", f"write {path}"), lambda: write_bytes(path, new, mode), subject=path, **texts)
        return True

    def remove_file(self, path: str, shown: t.Callable[[str], str] = str) -> bool:
        """Append the removal of a text file if it exists; return whether it does.

        :param shown: returns what the user may see of the text.
        """
        old = read_bytes(path)
        if old is None:
            return False
        self.add(f"remove {path}", lambda: remove(path), subject=path, before=shown(old.decode("utf-8", "surrogateescape")))
        return True

    def refuse(self, guard: str, subject: str, reason: str, passing: bool = False, rule: str = "", remedy: str = "") -> None:
        """Record a reason why the plan must not be applied; see `Refusal`."""
        self.refusals.append(Refusal(guard, subject, reason, passing, rule, remedy))

    @property
    def diffs(self) -> list[dict[str, str]]:
        """Ansible's form of the before and after texts, one entry for each action that has them."""
        return [
            {"before_header": a.subject, "after_header": a.subject, "before": _lines(a.before), "after": _lines(a.after)}
            for a in self.actions
            if a.before != a.after
        ]

    # -- applying -------------------------------------------------------------------------------------------------------

    def apply(self, force: t.Collection[str] = (), check_mode: bool = False) -> dict[str, t.Any]:
        """Apply the plan, or in check mode only check that it could be applied, and return the return values.

        When an action raises, `done` says how far the plan got.

        :raises Refused: a reason against the plan remains that `force` does not name; nothing was changed.
        :raises DriverDomainsError: an action failed.
        """
        self._force = force
        self._check_refusals(check_mode)
        results = dict(self.results)
        if not check_mode:
            for action in self.actions:
                action.apply()
                self.done.append(action.description)
            if self.conclude:
                results.update(self.conclude())
        results.update(changed=bool(self.actions), actions=[action.description for action in self.actions])
        return results

    def refuse_now(self, guard: str, subject: str, reason: str, rule: str = "", remedy: str = "", **details: t.Any) -> None:
        """For actions: stop for a reason that only shows while the plan is applied, unless `force` names the guard.

        :param details: further return values, next to `msg`.
        :raises Refused: `force` does not name it.
        """
        refusal = Refusal(guard, subject, reason, rule=rule, remedy=remedy)
        if guard and guard in self._force:
            self.warnings.append(f"Forced: {refusal}")
            return
        remedy = ". ".join(filter(None, [remedy, guard and _by_name([guard])]))
        raise Refused(f"{subject}: {reason}", rule, remedy, refusals=[refusal.as_dict()], **details)

    def _check_refusals(self, check_mode: bool) -> None:
        remaining = []
        for refusal in self.refusals:
            if refusal.guard and refusal.guard in self._force:
                self.warnings.append(f"Forced: {refusal}")
            elif check_mode and refusal.passing:
                self.warnings.append(f"Would be refused unless an earlier task resolves it: {refusal}")
            else:
                remaining.append(refusal)
        if not remaining:
            return
        guards = sorted({refusal.guard for refusal in remaining if refusal.guard})
        raise Refused(
            "Refused before anything was changed: " + "; ".join(map(str, remaining)),
            remedy=_by_name(guards) if all(refusal.guard for refusal in remaining) else "",
            refusals=[refusal.as_dict() for refusal in remaining],
        )


def _by_name(guards: t.Sequence[str]) -> str:
    return f"If you are sure, override it by name: force: [{', '.join(guards)}]; in a role, ROLE_force, such as dom0_force"


def _lines(text: str) -> str:
    """Ansible's diff needs text that is empty or ends in a newline, and cannot print what is not Unicode, as an old file may hold."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text if not text or text.endswith("\n") else text + "\n"
