# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether xendomains saves domains when the host shuts down."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.shutdown import NEVER_SAVE, plan_saving
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan

HOSTS_OWN = "XENDOMAINS_AUTO=/etc/xen/auto\nXENDOMAINS_SAVE=/var/lib/xen/save\n"


def apply(settings: Path, save: bool) -> bool:
    """Plan and apply; return whether something changed."""
    plan = Plan()
    plan_saving(plan, save, str(settings))
    return bool(plan.apply()["changed"])


def saves_to(settings: Path) -> str:
    """The directory that a shell finds in the file, as xendomains does."""
    return subprocess.run(["sh", "-c", f". {settings}; echo $XENDOMAINS_SAVE"], capture_output=True, text=True, check=True).stdout.strip()


def test_the_setting_comes_and_goes(tmp_path: Path) -> None:
    settings = tmp_path / "xendomains"
    settings.write_text(HOSTS_OWN)
    assert apply(settings, save=False)
    assert saves_to(settings) == ""
    assert not apply(settings, save=False)
    assert apply(settings, save=True)
    assert settings.read_text() == HOSTS_OWN
    assert not apply(settings, save=True)


def test_the_last_assignment_counts(tmp_path: Path) -> None:
    settings = tmp_path / "xendomains"
    settings.write_text(f"{NEVER_SAVE}\n{HOSTS_OWN}")
    assert apply(settings, save=False)
    assert saves_to(settings) == ""
    assert settings.read_text().count(NEVER_SAVE) == 1


@pytest.mark.parametrize("save", [True, False])
def test_without_xendomains_there_is_nothing_to_set(tmp_path: Path, save: bool) -> None:
    assert not apply(tmp_path / "xendomains", save)
    assert not (tmp_path / "xendomains").exists()


def test_a_file_that_is_fine_is_not_rewritten_for_its_last_newline(tmp_path: Path) -> None:
    settings = tmp_path / "xendomains"
    settings.write_text(HOSTS_OWN.rstrip())
    assert not apply(settings, save=True)
