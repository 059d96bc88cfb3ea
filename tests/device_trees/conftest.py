# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints how long the boards took."""

from __future__ import annotations

import pytest

#: The properties of a test in which it says how many seconds of processor time its board took for one kind of guest, for how many trees,
#: and which board that is.
SECONDS, TREES, BOARD = "board_seconds", "board_trees", "board"
#: Of how many devices the pages, and how many interrupts, are those that libfdt gives.
PAGES, LINES = "equal_pages", "equal_interrupts"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("passed", [])
    found = [dict(report.user_properties) for report in reports]
    times = [properties[SECONDS] for properties in found if SECONDS in properties]
    if times:
        trees = sum(properties.get(TREES, 0) for properties in found)
        boards = {properties[BOARD] for properties in found if BOARD in properties}
        terminalreporter.write_line(
            f"{len(boards)} boards, {trees} trees made and checked in {sum(times):.0f} s of processor time; the slowest board took "
            f"{max(times):.2f} s for one kind of guest"
        )
    if any(PAGES in properties for properties in found):
        pages, lines = (sum(properties.get(key, 0) for properties in found) for key in (PAGES, LINES))
        terminalreporter.write_line(f"as libfdt reads them: the pages of {pages} devices, and {lines} interrupts")
