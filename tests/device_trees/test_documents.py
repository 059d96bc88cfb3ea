# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks in examples/ about device trees run as they are; a second run changes nothing, and check mode passes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from device_trees.debian import directory

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("playbook", "board"),
    [
        ("raspberry-pi-4/devices.yml", "broadcom/bcm2711-rpi-4-b.dtb"),
        ("odroid-c4/system.yml", "amlogic/meson-sm1-odroid-c4.dtb"),
    ],
)
def test_playbook(playbook: str, board: str, tmp_path: Path) -> None:
    def run(*options: str) -> str:
        variables = ["-e", f"board={directory()}/{board}", "-e", f"out={tmp_path}/out"]
        command = ["ansible-playbook", *variables, *options, str(ROOT / "examples" / playbook)]
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    assert "changed=0" not in run("--diff")
    assert re.search(r"changed=0 .*failed=0", run())
    assert re.search(r"changed=0 .*failed=0", run("--check", "--diff"))
