# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run playbooks for boards that have this machine as their server."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
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


def run_on_board(inventory: Path, name: str, *flags: str, **options: Any) -> dict[str, Any]:
    """Run a module of the collection on the inventory's board and return its result, with what Ansible `printed`, the diff among it."""
    with tempfile.TemporaryDirectory() as tree:
        command = ["ansible", "boards", "-i", str(inventory), "-m", f"xen.driver_domains.{name}", "-a", json.dumps(options), *flags]
        finished = subprocess.run([*command, "--tree", tree], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        (result,) = Path(tree).iterdir()
        return {**json.loads(result.read_text()), "printed": finished.stdout}


class SourceMissing(Exception):
    """The archive does not have the source package of Xen, or not its files."""


@dataclass(frozen=True)
class BuiltXen:
    """A Xen that the role xen_build made, and how long the build took."""

    xen: Path
    config: Path
    xen_version: str
    seconds: int
    changed: bool


def build_xen(suite: str, directory: Path) -> BuiltXen:
    """Build Xen from the source package of a suite.

    :raises SourceMissing: the archive does not have it at the moment.
    """
    result, play = directory / f"xen-{suite}.json", directory / f"xen-{suite}.yml"
    keep = {"ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": str(result), "mode": "0644"}}
    role = {"name": "xen.driver_domains.xen_build"}
    tasks = [
        {
            "block": [
                {"ansible.builtin.include_role": role, "vars": {"xen_build_suite": suite}},
                {**keep, "vars": {"found": "{{ __xen_build_made }}"}},
            ],
            "rescue": [{**keep, "vars": {"found": "{{ ansible_failed_result }}"}}],
        }
    ]
    play.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    inventory = directory / f"xen-{suite}-inventory.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"localhost": LOCAL}}}))
    playbook(play, inventory, 1900)
    found = json.loads(result.read_text())
    if found.get("source_missing"):
        raise SourceMissing(found["msg"].partition(". Rule: ")[0])
    assert "xen" in found, found["msg"]
    return BuiltXen(Path(found["xen"]), Path(found["config"]), found["xen_version"], found["seconds"], found["changed"])
