# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which domains an xl watches over, in a fake /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._xen.watcher import is_watched


@pytest.mark.parametrize(
    ("comm", "log", "watched"),
    [
        ("xl", "/var/log/xen/xl-net-dd.log", True),
        ("xl", "/var/log/xen/xl-net-dd.log.1", True),
        ("xl", "/var/log/xen/xl-net-dd.log.2 (deleted)", True),
        ("xl", "/var/log/xen/xl-net-dd2.log", False),
        ("xl", "/var/log/xen/xl-netxdd.log", False),
        ("xl", "/dev/null", False),
        ("tail", "/var/log/xen/xl-net-dd.log", False),
    ],
)
def test_the_output_of_xl_tells_which_domain_it_watches(tmp_path: Path, comm: str, log: str, watched: bool) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "12").mkdir()  # has just ended
    (tmp_path / "345/fd").mkdir(parents=True)
    (tmp_path / "345/comm").write_text(f"{comm}\n")
    (tmp_path / "345/fd/1").symlink_to(log)
    assert is_watched("net-dd", str(tmp_path)) == watched
