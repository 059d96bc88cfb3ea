# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the tests on a real Xen: the variables of the host, and a shell in each domain through its console."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

if t.TYPE_CHECKING:
    from testinfra.host import Host

CONSOLE = (Path(__file__).parents[1] / "support/tools/guest_console.py").read_bytes()


@pytest.fixture(scope="module")
def site(host: Host, pytestconfig: pytest.Config) -> dict[str, t.Any]:
    """The variables that the scenario's playbook was run with: those of the inventories, and those that the scenario's vars.yml changes."""
    # testinfra knows only the inventory with the address of the host; the variables are in the other one.
    model = os.environ.get("VARS_INVENTORY") or str(Path(__file__).parents[2] / "examples/testbed")
    inventories = [f"--inventory={path}" for path in (pytestconfig.getoption("ansible_inventory"), model)]
    told = subprocess.run(["ansible-inventory", *inventories, "--host", host.backend.host], capture_output=True, text=True, check=True)
    variables = json.loads(told.stdout)
    own = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "vars.yml"
    if own.exists():
        variables.update(yaml.safe_load(own.read_text()))
    assert variables["dom0_pci_assignable"], "the inventory passes no device through: nothing would be tested"
    assert variables["driver_domain_domains"], "the inventory has no driver domain: nothing would be tested"
    assert variables["domu_domains"], "the inventory has no guest: nothing would be tested"
    return variables


@pytest.fixture(scope="module")
def console(host: Host) -> t.Callable[[str, str], str]:
    """Run a shell command in a domain through its console, from dom0; its output is returned, its failure fails the test."""

    def run(domain: str, command: str, timeout: int = 90) -> str:
        # The script travels on the command line, so that nothing has to be copied to the host.
        script = f"import base64; exec(base64.b64decode('{base64.b64encode(CONSOLE).decode()}'))"
        result = host.run(" ".join(map(shlex.quote, ["python3", "-c", script, domain, str(timeout), command])))
        assert result.rc == 0, f"{command!r} in {domain} ended with {result.rc}:\n{result.stdout}\n{result.stderr}"
        return result.stdout

    return run


@pytest.fixture(scope="module")
def devices(host: Host, site: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """The devices of the site by name, as the kernel of dom0 shows them; found by the MAC addresses in their records."""
    found = {}
    for wanted in site["dom0_pci_assignable"]:
        mac = wanted["match"]["mac"]
        paths = host.check_output(f"grep -l -i {shlex.quote(mac)} /var/lib/xen-driver-domains/pci/*.json").split()
        assert len(paths) == 1, f"{len(paths)} records have the MAC address {mac}"
        found[wanted["name"]] = {"bdf": Path(paths[0]).stem, "mac": mac}
    return found
