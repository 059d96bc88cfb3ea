# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What is wrong with a variable: the value, the rule, and what to do about it."""

from __future__ import annotations

import difflib
import re
import typing as t

from .._errors import DriverDomainsError


class InputFinding(t.NamedTuple):
    """One thing that is wrong, or looks so."""

    #: The variable, and the place in it, such as `domu_domains[0] (web1).vifs[1]`; "" if the problem names it.
    where: str
    problem: str
    rule: str = ""
    remedy: str = ""
    #: Whether it may be meant that way.
    warning: bool = False

    def __str__(self) -> str:
        return str(DriverDomainsError(": ".join(filter(None, [self.where, self.problem])), self.rule, self.remedy))


def found(where: str, error: DriverDomainsError) -> InputFinding:
    """Return what a check of the modules says, as a finding."""
    # The place says which domain it is.
    return InputFinding(where, re.sub(r"^Domain [^:]+: ", "", error.problem), error.rule, error.remedy)


def closest(word: str, choices: t.Iterable[str], cutoff: float) -> str:
    """Return the choice that is most like a word, or "" if none is.

    :param cutoff: between 0 and 1, where 1 is the same word (`difflib`).
    """
    return next(iter(difflib.get_close_matches(word, sorted(choices), n=1, cutoff=cutoff)), "")


def meant(word: str, choices: t.Collection[str]) -> str:
    """Return the remedy for a word that is none of the choices."""
    match = closest(word, choices, 0.6)
    return f"Did you mean {match}?" if match else f"Use one of {', '.join(sorted(choices)) or 'none'}"
