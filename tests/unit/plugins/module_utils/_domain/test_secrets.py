# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What diffs show of the passwords in definitions."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost


def guest(options: dict[str, t.Any] | None = None, **settings: t.Any) -> list[dict[str, t.Any]]:
    return [{"name": "web1", "options": options, **settings}]


@pytest.mark.parametrize(
    "options",
    [{"vncpasswd": "s3cret"}, {"spicepasswd": "s3cret"}, {"vfb": ["vnc=1,vncpasswd=s3cret"]}],
    ids=lambda options: next(iter(options)),
)
def test_passwords_in_a_definition_that_is_written_changed_or_removed(tmp_path: Path, options: dict[str, t.Any]) -> None:
    host = FakeHost(tmp_path)
    plans = [host.run_plan(guest(options)), host.run_plan(guest()), host.run_plan(guest(options))]
    assert "s3cret" in Path(host.paths.definition("web1")).read_text()
    plans.append(host.run_plan(guest(state="absent")))
    for plan in plans:
        assert any(diff["before_header"] == host.paths.definition("web1") for diff in plan.diffs)
        assert "s3cret" not in str(plan.diffs)
