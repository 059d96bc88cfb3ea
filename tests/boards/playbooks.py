# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run playbooks for boards that have this machine as their server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


def write_inventory(path: Path, name: str, board: dict[str, Any]) -> Path:
    """Write the inventory of one board with its variables."""
    path.write_text(yaml.safe_dump({"boards": {"hosts": {name: board}}, "ungrouped": {"hosts": {"localhost": LOCAL}}}))
    return path


def playbook(name: Path, inventory: Path, timeout: float, *flags: str) -> str:
    """Run a playbook and return its output; it must succeed."""
    command = ["ansible-playbook", "-i", str(inventory), *flags, str(name)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout
