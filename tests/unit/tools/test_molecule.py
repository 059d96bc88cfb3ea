# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which scenarios tests/support/tools/molecule runs, and in which order."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tests/support/tools/molecule"
LONG = "# Not in make test without LONG=1: it is long.\n"
#: What they cost in minutes; how the fake molecule ends is in their names.
SCENARIOS = {"site": 1, "short": 2, "longer": 30, "long": 3, "fails": 4}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(name="run")
def fixture_run(tmp_path: Path) -> Run:
    """Return a function that runs the tool, with a molecule that takes a second and notes its scenario."""
    if not shutil.which("bash"):
        pytest.skip("the tool is a script for bash, which is not here")
    copy = tmp_path / TOOL.relative_to(TOOL.parents[3])
    copy.parent.mkdir(parents=True)
    shutil.copy(TOOL, copy)
    for name, cost in SCENARIOS.items():
        directory = tmp_path / "extensions/molecule" / name
        directory.mkdir(parents=True)
        (directory / "molecule.yml").write_text(f"# Costs {cost} minutes.\n{LONG * (name == 'long')}")
    fake = tmp_path / "bin/molecule"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nsleep 1\nfor word; do :; done\necho "$word" >>ran\ncase $word in *=fails) exit 1 ;; esac\n')
    fake.chmod(0o755)

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{fake.parent}:/usr/local/bin:/usr/bin:/bin"
        return subprocess.run([str(copy), *words], env={"PATH": path, **environment}, capture_output=True, text=True, check=False)

    return run


def ran(tmp_path: Path) -> list[str]:
    """Return the scenarios that ran, in order."""
    lines = (tmp_path / "ran").read_text().split()
    return [line.partition("=")[2] for line in lines]


def test_site_is_first_and_then_the_longest(run: Run, tmp_path: Path) -> None:
    done = run("--shared", KEEP_GOING="1")
    assert done.returncode == 1
    assert ran(tmp_path) == ["site", "longer", "fails", "short"]
    assert "Skipping the scenario long without LONG=1: it is long." in done.stdout
    (tmp_path / "ran").unlink()
    assert run("--shared", LONG="1").returncode == 1
    assert ran(tmp_path) == ["site", "longer", "fails"]


def test_what_would_end_too_late_is_left_out(run: Run, tmp_path: Path) -> None:
    """What has run before took a second for a minute that it was said to take."""
    pace = tmp_path / ".build/pace"
    pace.parent.mkdir()
    pace.write_text("3 3\n")
    done = run("longer", "short", TESTS_END=str(int(time.time()) + 20))
    assert done.returncode == 0
    assert ran(tmp_path) == ["short"]
    (line,) = [line for line in done.stdout.splitlines() if "Skipping" in line]
    assert line.startswith("WARNING: Skipping the scenario longer: it would take ")
    assert pace.read_text().split()[::2] == ["3", "2"]


def test_without_experience_a_scenario_takes_what_it_says(run: Run, tmp_path: Path) -> None:
    assert run("short", TESTS_END=str(int(time.time()) + 100)).returncode == 0
    assert not (tmp_path / "ran").exists()
    assert run("short", TESTS_END=str(int(time.time()) + 140)).returncode == 0
    assert ran(tmp_path) == ["short"]
