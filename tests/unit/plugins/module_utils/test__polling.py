# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.xen.driver_domains.plugins.module_utils._polling import wait_until


def test_a_condition_that_holds_is_read_once_and_needs_no_time() -> None:
    calls: list[int] = []
    assert wait_until(lambda: calls.append(1) or True, timeout=0)
    assert len(calls) == 1


def test_it_waits_until_the_condition_holds() -> None:
    answers = iter([False, "", "there"])
    assert wait_until(lambda: next(answers), timeout=5, interval=0.001)


def test_a_condition_that_never_holds_is_read_once_more_at_the_end() -> None:
    calls: list[int] = []
    assert not wait_until(lambda: calls.append(1), timeout=0.01, interval=60)
    assert len(calls) == 2
