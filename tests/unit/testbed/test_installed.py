# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test bed as a part of the installed collection: the command, where its files are, and what molecule runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

pytest.importorskip("qemu.qmp")

from testbed import cli

ROOT = Path(__file__).resolve().parents[3]
INSTALLED = "ansible_collections/xen/driver_domains"
#: Notes its calls, and has an inventory.
STAND_IN = """
import json, os, sys

with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "status":
    print(json.dumps({"inventory": os.environ["INVENTORY"]}))
"""


@pytest.fixture(name="testbed")
def make_testbed(tmp_path: Path) -> Path:
    """The directory of the test bed, of a collection that was installed from a tarball."""
    directory = tmp_path / INSTALLED / "tests/support/testbed"
    shutil.copytree(ROOT / "tests/support/testbed", directory, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def test_installed_its_files_are_in_the_home_directory(testbed: Path, tmp_path: Path) -> None:
    (tmp_path / "xen-testbed").symlink_to(testbed / "xen-testbed")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "XEN_TESTBED_"))}

    def state(**more: str) -> str:
        command = [str(tmp_path / "xen-testbed"), "status", "--json"]
        done = subprocess.run(command, env={**environment, "HOME": "/nowhere", **more}, capture_output=True, text=True, check=False)
        assert done.returncode == 3, done.stderr
        return str(json.loads(done.stdout)["state_dir"])

    assert state() == "/nowhere/.local/state/xen-driver-domains/testbed"
    assert state(XDG_STATE_HOME="/state") == "/state/xen-driver-domains/testbed"
    assert state(XDG_STATE_HOME="/state", XEN_TESTBED_STATE="/own") == "/own"


def test_in_a_checkout_its_files_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XEN_TESTBED_STATE", raising=False)
    monkeypatch.setattr(cli, "_ROOT", tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert cli.default_state_dir() == tmp_path / "state/xen-driver-domains/testbed"
    (tmp_path / "galaxy.yml").touch()
    assert cli.default_state_dir() == tmp_path / ".testbed"


def test_molecule_starts_it_and_gets_its_inventory(testbed: Path, tmp_path: Path) -> None:
    (testbed / "__main__.py").write_text(STAND_IN)
    (tmp_path / "inventory.yml").write_text("xen_hosts: {hosts: {dom0: }}\n")
    (tmp_path / "molecule").mkdir()
    environment = {
        **os.environ,
        "CALLS": str(tmp_path / "calls"),
        "INVENTORY": str(tmp_path / "inventory.yml"),
        "MOLECULE_INVENTORY_FILE": str(tmp_path / "molecule/ansible_inventory.yml"),
        "TESTBED_OPTIONS": "--suite bookworm",
    }
    for name in ("create", "destroy"):
        command = ["ansible-playbook", str(testbed / f"molecule/{name}.yml")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == [["up", "--suite", "bookworm"], ["status", "--json"], ["down"]]
    assert (tmp_path / "molecule/testbed.yml").read_text() == (tmp_path / "inventory.yml").read_text()


def test_the_page_names_playbooks_that_exist() -> None:
    (text,) = re.findall(r"^<!-- molecule.yml -->\n```yaml\n(.*?)^```", (ROOT / "docs/testbed.md").read_text(), re.DOTALL | re.MULTILINE)
    playbooks = yaml.safe_load(text)["provisioner"]["playbooks"]
    home = "${HOME}/.ansible/collections/" + INSTALLED
    assert set(playbooks) == {"create", "destroy"}
    assert all((ROOT / path.removeprefix(home).lstrip("/")).is_file() for path in playbooks.values())
