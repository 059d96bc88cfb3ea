# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook that imports domains, run by ansible-playbook: what it finds on the hosts is given, what it does with files is its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
#: A host has what the first of its patterns names.
MODULE = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({"paths": {"type": "list", "elements": "str"}}, supports_check_mode=True)
names = [name for name in module.params["paths"] if name != "nothing"]
domains = [{"name": name, "equal": True, "differences": [], "not_expressed": []} for name in names]
variables = {"domu_domains": [{"name": name, "image": "none"} for name in names]} if names else {}
module.exit_json(variables=variables, domains=domains, left_out=[], managed=["/etc/xen/net-dd.cfg"])
"""
MANAGED = {"ansible_user": "admin", "driver_domain_domains": [{"name": "net-dd"}], "domu_domains": [{"name": "managed1"}]}


class Playbook:
    """An inventory of three hosts, and a playbook for it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        collection = base / "collections/ansible_collections/xen/driver_domains"
        (collection / "plugins/modules").mkdir(parents=True)
        for part in ("galaxy.yml", "playbooks", "roles", "plugins/filter", "plugins/module_utils"):
            (collection / part).symlink_to(ROOT / part)
        (collection / "plugins/modules/xl_config_info.py").write_text(MODULE)
        host = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
        found = {"xen1": ["web1", "web2"], "xen2": ["db1"], "xen3": ["nothing"]}
        self.variables = base / "inventory/host_vars"
        self.variables.mkdir(parents=True)
        hosts = {name: {**host, "import_paths": paths} for name, paths in found.items()}
        (base / "inventory/hosts.yml").write_text(yaml.safe_dump({"xen_hosts": {"hosts": hosts}}))
        self._environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(base / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(base / "local"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
        }

    def run(self, program: str, *arguments: str) -> tuple[int, str]:
        """Run a program of Ansible with a directory as the inventory, which Ansible reads with all that is in it."""
        command = [program, f"--inventory={self.base / 'inventory'}", *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=self.base,
            env=self._environment,
            timeout=600,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout + (done.stderr if program == "ansible-playbook" else "")

    def variables_of(self, host: str) -> dict[str, t.Any]:
        code, output = self.run("ansible-inventory", "--host", host)
        assert code == 0, output
        return dict(json.loads(output))


@pytest.fixture(name="playbook")
def make_playbook(tmp_path: Path) -> Playbook:
    return Playbook(tmp_path)


def test_variables_that_are_there_stay_in_effect(playbook: Playbook) -> None:
    (playbook.variables / "xen1.yml").write_text(yaml.safe_dump(MANAGED))
    playbook.variables.chmod(0o700)
    before = playbook.variables_of("xen1")
    code, output = playbook.run("ansible-playbook", "xen.driver_domains.import")
    assert code == 0, output
    assert playbook.variables_of("xen1") == before
    assert before["domu_domains"] == MANAGED["domu_domains"]
    assert playbook.variables.stat().st_mode & 0o777 == 0o700
    files = {path.name: path for path in playbook.variables.iterdir()}
    assert sorted(files) == ["xen1.imported.yml", "xen1.yml", "xen2.imported.yml"], "xen3 has nothing"
    assert files["xen1.imported.yml"].stat().st_mode & 0o777 == 0o600
    assert [item["name"] for item in yaml.safe_load(files["xen1.imported.yml"].read_text())["domu_domains"]] == ["web1", "web2"]
    reports = output.replace(" ", "").replace("\n", "")
    assert reports.count('"to_be_merged":["domu_domains"]') == 1, output
    assert reports.count('"to_be_merged":[]') == 2, output
    assert "none: there is nothing to import" in output


@pytest.mark.parametrize(
    "content",
    ["$ANSIBLE_VAULT;1.1;AES256\n6162\n", "---\n{}\n", "---\ndomu_domains: [{name: web1, memory: 4096}]\n"],
    ids=["encrypted", "empty", "edited"],
)
def test_a_file_that_is_there_is_left_as_it_is(playbook: Playbook, content: str) -> None:
    file = playbook.variables / "xen1.imported.yml"
    file.write_text(content)
    code, output = playbook.run("ansible-playbook", "xen.driver_domains.import")
    assert code != 0, output
    assert f"{file} exists, and is left as it is." in output
    assert file.read_text() == content
    assert (playbook.variables / "xen2.imported.yml").exists()
    assert len(list(playbook.variables.iterdir())) == 2


def test_hosts_do_not_overwrite_each_others_file(playbook: Playbook) -> None:
    file = playbook.base / "new/imported.yml"
    code, output = playbook.run("ansible-playbook", "xen.driver_domains.import", f"--extra-vars=import_dest={file}", "--forks=1")
    assert code != 0, output
    assert "of xen1." in file.read_text()
    assert "web2" in file.read_text()
