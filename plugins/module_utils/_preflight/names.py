# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""Names of variables that look like options of the roles, and are none."""

from __future__ import annotations

import re
import typing as t

from .finding import InputFinding, closest

#: What begins with the prefix of a role and is no option: facts that roles export, and variables of the playbooks.
NO_OPTIONS = frozenset(
    {
        "board_attached",
        "board_domains",
        "board_info",
        "board_result",
        "board_vifs",
        "dom0_reboot_reasons",
        "dom0_reboot_required",
        "driver_domain_check",
        "driver_domain_drain",
        "driver_domain_previous",
        "driver_domain_restart_ok",
        "driver_domain_rollback",
        "driver_domain_serial",
        "guest_image_result",
        "xen_build_result",
    }
)
#: How alike a name and an option must be, without their prefix, to be taken for the same (`difflib`): one wrong, missing or swapped
#: letter in seven. `dom0_packages_extra` is a variable of the user's own, `dom0_pakages` is not.
CLOSE = 0.85
#: The same for whole names whose prefix is wrong.
CLOSE_WHOLE = 0.9


def misspelt(names: t.Iterable[str], options: t.Mapping[str, t.Collection[str]]) -> tuple[list[InputFinding], list[str]]:
    """Return findings about names of variables, and the names that begin with the prefix of a role and are left alone.

    A name that is close to an option is an error: with it, the role silently does something else. Where the prefix is another one it may
    well be a variable of somebody else, hence a warning. What is not close may be a variable of the user's own.

    :param options: the options of each role.
    """
    known = NO_OPTIONS.union(*options.values())
    findings: list[InputFinding] = []
    alone: list[str] = []
    for name in sorted(set(names) - known):
        roles = [role for role in options if name.startswith(f"{role}_")]
        if not roles:
            match = _with_another_prefix(name, known - NO_OPTIONS)
            if match:
                findings.append(_finding(name, "any role", match, warning=True))
            continue
        for role in roles:
            suffixes = {option[len(role) + 1 :] for option in options[role]}
            match = closest(name[len(role) + 1 :], suffixes, CLOSE)
            if match:
                findings.append(_finding(name, f"the role {role}", f"{role}_{match}"))
                break
        else:
            alone.append(name)
    return findings, alone


def _with_another_prefix(name: str, options: t.Collection[str]) -> str:
    # A number says which one is meant: dom1_memory is not dom0_memory.
    match, numbers = closest(name, options, CLOSE_WHOLE) if "_" in name else "", re.findall("[0-9]+", name)
    return match if numbers in ([], re.findall("[0-9]+", match)) else ""


def _finding(name: str, role: str, match: str, warning: bool = False) -> InputFinding:
    return InputFinding(
        "",
        f"{name} is not an option of {role}: did you mean {match}?",
        "what is no option is not read",
        "Correct the name, or rename a variable of your own that only looks like it",
        warning,
    )
