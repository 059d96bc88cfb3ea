# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How roles and playbooks evaluate variables, both from an inventory and from -e, where every value is a string."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.xen.driver_domains.plugins.filter.domain_definitions import domain_definitions, domain_images

ROOT = Path(__file__).resolve().parents[2]


def value(expressions: dict[str, t.Any], name: str, variables: dict[str, t.Any]) -> t.Any:
    """Return the value of the template `name`, evaluated with these variables."""
    templates = {key: trust_as_template(text) if isinstance(text, str) else text for key, text in expressions.items()}
    return Templar(loader=DataLoader(), variables={**templates, **variables}).template(templates[name])


@pytest.mark.parametrize(
    ("memory", "vcpus", "options"),
    [
        (0, 0, []),
        ("0", "0", []),
        (2048, 2, ["dom0_mem=2048M,max:2048M", "dom0_max_vcpus=2"]),
        ("2048", "2", ["dom0_mem=2048M,max:2048M", "dom0_max_vcpus=2"]),
    ],
)
def test_options_of_xen(memory: t.Any, vcpus: t.Any, options: list[str]) -> None:
    expressions = yaml.safe_load((ROOT / "roles/dom0/vars/main.yml").read_text(encoding="utf-8"))
    variables = {"dom0_memory": memory, "dom0_vcpus": vcpus, "dom0_hypervisor_options": []}
    assert value(expressions, "__dom0_hypervisor_options", variables) == options


@pytest.mark.parametrize(
    ("variables", "running"),
    [
        ({}, []),
        ({"domu_domains": [{"name": "a"}, {"name": "b", "state": "stopped"}]}, ["a"]),
        ({"domu_domains": [{"name": "a"}, {"name": "b", "state": "running"}], "domu_state": "stopped"}, ["b"]),
    ],
)
def test_verify_respects_the_state_of_the_role(variables: dict[str, t.Any], running: list[str]) -> None:
    (block,) = yaml.safe_load((ROOT / "playbooks/tasks/verify.yml").read_text(encoding="utf-8"))
    assert [guest["name"] for guest in value(block["vars"], "verify_guests", variables)] == running


@pytest.mark.parametrize(
    ("alive", "flags", "missing"), [(True, "b", []), (True, "r", []), (False, "c", ["a"]), (True, "p", ["a"]), (True, "bp", ["a"])]
)
def test_verify_finds_domains_that_do_not_run(alive: bool, flags: str, missing: list[str]) -> None:
    (block,) = yaml.safe_load((ROOT / "playbooks/tasks/verify.yml").read_text(encoding="utf-8"))
    (task,) = [task for task in block["block"] if task["name"] == "Check that the domains run"]
    found = {"domains": [{"name": "a", "alive": alive, "flags": flags}]}
    variables = {"domu_domains": [{"name": "a"}], "verify_domains": found}
    assert value({**block["vars"], **task["vars"]}, "verify_missing", variables) == missing


def test_no_boot_options_on_a_host_where_the_role_is_not_to_manage_them() -> None:
    """Not even after the reboot of a host on which only the packages are managed."""
    tasks = [
        task
        for name in ("present", "reboot", "absent")
        for task in yaml.safe_load((ROOT / f"roles/dom0/tasks/{name}.yml").read_text(encoding="utf-8"))
        if "xen.driver_domains.dom0_boot" in task
    ]
    assert len(tasks) == 4
    for task in tasks:
        conditions = task["when"] if isinstance(task["when"], list) else [task["when"]]
        assert "dom0_manage_boot | bool" in conditions, task["name"]


def test_the_example_of_a_redundant_pair_is_one() -> None:
    inventory = yaml.safe_load((ROOT / "examples/redundant-pair/inventory.yml").read_text(encoding="utf-8"))
    (host,) = inventory["xen_hosts"]["hosts"].values()
    devices = [{"name": device["name"], "mac": device["match"]["mac"], "kernel_modules": ["igb"]} for device in host["dom0_pci_assignable"]]
    images = {
        image["name"]: {"kernel": "/k", "ramdisk": "/r", "disk": "/d"}
        for role, key in (("driver_domain", "driver_domain_domains"), ("domu", "domu_domains"))
        for image in domain_images(host[key], role, devices=devices)
    }
    drivers = domain_definitions(host["driver_domain_domains"], "driver_domain", images=images, devices=devices)
    (guest,) = domain_definitions(host["domu_domains"], "domu", images=images)
    assert [vif["backend"] for vif in guest["vifs"]] == [driver["name"] for driver in drivers]
    assert "xendd.bond=bond0,192.168.1.1/192.168.1.2,eth0,eth1" in guest["cmdline"].split()
