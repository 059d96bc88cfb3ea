# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""The errors that every part of the collection raises."""

from __future__ import annotations

import typing as t


class DriverDomainsError(Exception):
    """Something a user can act on: what is wrong, which rule it breaks, what to do about it.

    Modules turn it into `fail_json`; `details` become further return values, next to `msg`.
    """

    def __init__(self, problem: str, rule: str = "", remedy: str = "", **details: t.Any) -> None:
        self.problem = problem
        self.rule = rule
        self.remedy = remedy
        self.details = details
        super().__init__(" ".join(_sentence(part) for part in (problem, rule and f"Rule: {rule}", remedy) if part))


class InvalidInput(DriverDomainsError):
    """A value that the user gave cannot be used; nothing was changed."""


class Refused(DriverDomainsError):
    """A guard rail stopped the run, nearly always before anything was changed."""


class NotOnThisHost(DriverDomainsError):
    """The host lacks something that the task needs: Xen, root, an IOMMU, a tool."""


class CommandFailed(DriverDomainsError):
    """An external command ended with an error."""


class TimedOut(DriverDomainsError):
    """Something did not answer, or did not reach the requested state, in time."""


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else text + "."
