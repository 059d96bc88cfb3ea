# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What site.yml, preflight.yml and doctor.yml do with variables, run by ansible-playbook on a host whose modules only note their calls."""

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
MODULE = """#!/usr/bin/python
import json, os, sys
name = os.path.basename(sys.argv[0]).replace("AnsiballZ_", "").replace(".py", "")
with open(CALLS, "a") as calls:
    calls.write(NAME + "\\n")
with open(ANSWERS) as answers:
    print(json.dumps(json.load(answers).get(NAME, {"changed": True})))
# WANT_JSON
"""
NIC = {
    "name": "",
    "bdf": "0000:03:00.0",
    "slot": "0000:00/1c.0/00.0",
    "vendor_device": "8086:10d3",
    "class": "020000",
    "driver": "e1000e",
    "interfaces": [{"name": "eth1", "mac": "52:54:00:aa:00:02"}],
    "mac": "52:54:00:aa:00:02",
    "pciback": False,
    "physical_function": "",
    "bridge": False,
    "guards": [],
}
ROUTE = {"guard": "default_route", "reason": "carries the default route: eth0 -> 0000:02:00.0"}
BARE = {
    "xl_info": {"xen": False, "total_memory": 4096},
    "xl_pci_info": {"iommu": True, "devices": [NIC, {**NIC, "bdf": "0000:02:00.0", "guards": [ROUTE]}]},
    "xl_domain_info": {"failed": True, "msg": "This host does not run under Xen. Rule: domains exist only on a Xen host."},
    "xl_pci_assignable": {"xen": False, "devices": [], "pending": []},
    "dom0_boot": {"changed": False},
    "guest_image_info": {"changed": False},
}
GOOD: dict[str, t.Any] = yaml.safe_load((ROOT / "examples/testbed/group_vars/xen_hosts.yml").read_text(encoding="utf-8"))
BAD = {
    **GOOD,
    "dom0_pci_asignable": [],
    "dom0_memory": "much",
    "dom0_kernel_options": "{{ nowhere }}",
    "dom0_ip": "192.0.2.1",
    "driver_domain_domains": [
        {"name": "net-dd", "pci": ["uplink1"], "brigdes": []},
        {"name": "a", "vifs": [{"backend": "b"}]},
        {"name": "b", "vifs": [{"backend": "a"}]},
    ],
    "domu_domains": [
        {"name": "web1", "vifs": [{"backend": "net-dd", "bridge": "xenbr1", "address": "10.0.3.15/24", "gateway": "10.0.4.1"}]},
        {"name": "web1"},
    ],
}
#: What the run must say about them, each with its rule.
SAID = (
    "- dom0_pci_asignable is not an option of the role dom0: did you mean dom0_pci_assignable? Rule: ",
    "- dom0_kernel_options: it cannot be evaluated: 'nowhere' is undefined. Rule: ",
    "- dom0_memory: argument 'dom0_memory' is of type str and we were unable to convert to int",
    "- driver_domain_domains[0] (net-dd): brigdes is not an option. Rule: what is no option is not read. Did you mean bridges?",
    "- driver_domain_domains[0] (net-dd).pci[0]: there is no device 'uplink1' in dom0_pci_assignable, which has: uplink0. Rule: ",
    ": none of them can start. Rule: a backend must run before its frontends start. Let another domain serve one of them.",
    "- domu_domains[0] (web1): the name 'web1' is also that of domu_domains[1] (web1). Rule: ",
    "- domu_domains[0] (web1).vifs[0]: there is no bridge 'xenbr1' in net-dd, which has: none. Rule: ",
    "- domu_domains[0] (web1).vifs[0]: the gateway 10.0.4.1 is not in the network 10.0.3.0/24 of 10.0.3.15/24. Rule: ",
)

#: Exit code, output, and the modules that ran on the host.
Ran = tuple[int, str, list[str]]


@pytest.fixture(name="play")
def make_play(tmp_path: Path) -> t.Callable[..., Ran]:
    """Runs a playbook on hosts with these variables, none if there are none."""
    collection = tmp_path / "collections/ansible_collections/xen/driver_domains"
    calls, answers = tmp_path / "calls", tmp_path / "answers"
    (collection / "plugins/modules").mkdir(parents=True)
    for part in ("galaxy.yml", "meta", "playbooks", "roles", "plugins/action", "plugins/filter", "plugins/module_utils"):
        (collection / part).symlink_to(ROOT / part)
    for module in (ROOT / "plugins/modules").glob("*.py"):
        path = collection / "plugins/modules" / module.name
        if module.stem in ("preflight", "xl_domain"):
            # The action plugin imports the options of xl_domain.
            path.symlink_to(module)
        else:
            text = MODULE.replace("CALLS", repr(str(calls))).replace("ANSWERS", repr(str(answers))).replace("NAME", repr(module.stem))
            path.write_text(text)

    def play(name: str, variables: dict[str, t.Any] | None, *options: str, told: t.Mapping[str, t.Any] | None = None) -> Ran:
        answers.write_text(json.dumps(BARE if told is None else told))
        local = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
        hosts = {} if variables is None else {"xen1": {**local, **variables}}
        inventory = tmp_path / "inventory.json"
        inventory.write_text(json.dumps({"xen_hosts": {"hosts": hosts}, "others": {"hosts": {"other": local}}}))
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
            "ANSIBLE_NOCOLOR": "1",
        }
        environment.pop("ANSIBLE_CONFIG", None)
        result = subprocess.run(
            ["ansible-playbook", f"--inventory={inventory}", f"xen.driver_domains.{name}", *options],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=600,
            check=False,
        )
        return result.returncode, result.stdout + result.stderr, calls.read_text().splitlines() if calls.exists() else []

    return play


@pytest.mark.parametrize("options", [(), ("--check", "--tags", "configure")], ids=" ".join)
def test_site_reports_all_errors_and_touches_nothing(play: t.Callable[..., Ran], options: tuple[str, ...]) -> None:
    code, output, calls = play("site", BAD, *options)
    assert code != 0
    missing = [text for text in SAID if text not in output]
    assert not missing, output
    assert f"{len(SAID)} errors in the variables of xen1; nothing was changed:" in output
    assert calls == []
    assert "changed=0" in output and "dom0 : " not in output


def test_a_backend_that_is_not_declared_is_looked_for_on_the_host(play: t.Callable[..., Ran]) -> None:
    guests = [{"name": "web1", "vifs": [{"backend": "other-dd", "bridge": "xenbr0"}]}]
    variables = {**GOOD, "dom0_manage_packages": False, "dom0_manage_boot": False, "domu_domains": guests}
    code, output, calls = play("site", variables)
    assert (code != 0, calls) == (True, ["xl_domain_info"])
    assert "domu_domains[0] (web1).vifs[0]: its backend 'other-dd' is not known. Driver domains: net-dd." in output
    assert "not known (This host does not run under Xen)" in output
    domains = [{"name": "Domain-0", "domid": 0}, {"name": "other-dd", "domid": 3}]
    _code, output, calls = play("site", variables, "--check", told={**BARE, "xl_domain_info": {"domains": domains}})
    assert "errors in the variables" not in output
    assert calls[1:3] == ["xl_domain_info", "xl_pci_assignable"]


def test_check_mode_on_a_host_without_xen_says_what_it_cannot_know(play: t.Callable[..., Ran]) -> None:
    code, output, calls = play("site", {**GOOD, "dom0_manage_packages": False, "dom0_manage_boot": False}, "--check")
    assert code == 0, output
    # The first module that runs is that of the role dom0.
    assert calls[0] == "xl_pci_assignable"
    assert "Whether these domains get ready to serve: net-dd" in output


def test_no_host_is_an_error(play: t.Callable[..., Ran]) -> None:
    code, output, calls = play("site", None)
    assert (code != 0, calls) == (True, [])
    assert "There is no host in the group xen_hosts of " in output
    # Every playbook for this group begins like that.
    plays = [yaml.safe_load(path.read_text()) for path in (ROOT / "playbooks").glob("*.yml")]
    plays = [found for found in plays if any(part.get("hosts") == "xen_hosts" for part in found)]
    assert len(plays) >= 9
    assert all(found[0] == plays[0][0] and found[0]["hosts"] == "localhost:all" for found in plays)


def test_a_limit_to_other_hosts_is_an_error(play: t.Callable[..., Ran]) -> None:
    code, output, calls = play("doctor", GOOD, "--limit", "other")
    assert (code != 0, calls) == (True, [])
    assert "to which the limit other applies. Rule: " in output


@pytest.mark.parametrize("backend", ["store-dd", ""], ids=["it runs", "it is gone"])
def test_verify_finds_disks_that_are_not_connected(play: t.Callable[..., Ran], backend: str) -> None:
    disk = {"vdev": "xvda", "backend": backend, "connected": False}
    # A drive of dom0 that the guest does not use is never connected.
    drive = {**disk, "backend": "Domain-0"}
    web1 = {"name": "web1", "alive": True, "flags": "b", "vifs": [], "vbds": [drive]}
    told = {"xl_domain_info": {"domains": [web1], "recovery": None}}
    assert play("verify", {"domu_domains": [{"name": "web1"}]}, told=told)[0] == 0
    web1["vbds"] = [drive, disk]
    code, output, _calls = play("verify", {"domu_domains": [{"name": "web1"}]}, told=told)
    assert code != 0
    assert "Not connected: " in output and "xvda" in output


def test_preflight_proposes_variables(play: t.Callable[..., Ran]) -> None:
    code, output, calls = play("preflight", {"dom0_ip": "192.0.2.1", "domu_domains": [{"name": "web1", "type": "pv"}]})
    assert code == 0, output
    assert set(calls) == {"xl_info", "xl_pci_info", "xl_domain_info"}
    lines = output.splitlines()
    start = lines.index("# Which devices can go to a driver domain.")
    block = lines[start : lines.index("", start)]
    assert yaml.safe_load("\n".join(block)) == {
        "dom0_pci_assignable": [{"name": "nic0", "match": {"mac": "52:54:00:aa:00:02"}}],
        "driver_domain_domains": [{"name": "net-nic0", "pci": ["nic0"], "bridges": [{"name": "xenbr0", "ports": ["nic0"]}]}],
    }
    assert any("0000:02:00.0" in line and "[default_route] carries the default route" in line for line in block)
    assert "Whether the images of these domains can be built: web1" in output
    assert "dom0_ip" in output


def test_preflight_compares_with_the_host(play: t.Callable[..., Ran]) -> None:
    told = {**BARE, "xl_pci_info": {"iommu": True, "devices": [{**NIC, "name": "uplink0", "guards": [ROUTE]}]}}
    code, output, _calls = play("preflight", {**GOOD, "dom0_memory": 4000}, told=told)
    assert code != 0
    assert "2 errors in the variables of xen1; nothing was changed:" in output
    assert (
        "- dom0_pci_assignable (uplink0): 0000:03:00.0 carries the default route: eth0 -> 0000:02:00.0. Rule: guard rail default_route."
        in output
    )
    assert "the domains need 4384 MiB of memory (dom0 4000, net-dd 256, guest1 128), and the host has 4096 MiB" in output
    assert "# Which devices can go to a driver domain." in output


FINDINGS = [
    {"id": "no-iommu", "object": "Xen", "problem": "virt_caps is pv", "severity": "error", "meaning": "Meaning.", "remedy": "{{ 1 + 1 }}"},
    {"id": "no-reset", "object": "uplink0", "problem": "none", "severity": "warning", "meaning": "It stays.", "remedy": "Remedy."},
]


@pytest.mark.parametrize(
    ("findings", "variables", "fails"),
    [
        (FINDINGS, {}, True),
        (FINDINGS, {"doctor_fail_on": "never"}, False),
        (FINDINGS[1:], {}, False),
        (FINDINGS[1:], {"doctor_fail_on": "warning"}, True),
        ([], {"doctor_fail_on": "warning"}, False),
    ],
)
def test_doctor_prints_findings_and_fails_as_it_should(
    play: t.Callable[..., Ran], findings: list[dict[str, str]], variables: dict[str, t.Any], fails: bool
) -> None:
    code, output, calls = play("doctor", {**GOOD, **variables}, told={"driver_domain_doctor": {"changed": False, "findings": findings}})
    assert (code != 0, calls) == (fails, ["driver_domain_doctor"]), output
    lines = [" | ".join(item[key] for key in ("severity", "id", "object", "problem", "meaning", "remedy")) for item in findings]
    assert not [line for line in lines or ["Nothing was found"] if f'"{line}"' not in output], output
    assert not fails or f"findings: {findings[0]['id']}" in output
    assert "changed=0" in output
