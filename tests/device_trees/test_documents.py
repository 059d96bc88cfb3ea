# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks in docs/ run as they are; a second run changes nothing, and check mode passes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from device_trees.debian import directory

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["raspberry_pi_4_devices", "odroid_c4_driver_vm"])
def test_playbook(name: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / f"docs/{name}.md").read_text(), re.MULTILINE | re.DOTALL)
    playbook = tmp_path / "play.yml"
    playbook.write_text(blocks[0])

    def run(*options: str) -> str:
        command = ["ansible-playbook", "-e", f"boards={directory()}", "-e", f"out={tmp_path}/out", *options, str(playbook)]
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    assert "changed=0" not in run("--diff")
    assert re.search(r"changed=0 .*failed=0", run())
    assert re.search(r"changed=0 .*failed=0", run("--check", "--diff"))
