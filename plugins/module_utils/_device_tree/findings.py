# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: other collections must not import it.

"""What a linter finds: the place, the problem and the fix."""

from __future__ import annotations

from dataclasses import asdict, dataclass

#: What cannot work; what may be a mistake; what is only said, and never makes a task fail.
ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True)
class Finding:
    """One mistake; `rule` is a short, stable name."""

    place: str
    rule: str
    problem: str
    fix: str
    severity: str = ERROR

    def as_dict(self) -> dict[str, str]:
        """Return it as a module's return value."""
        return asdict(self)
