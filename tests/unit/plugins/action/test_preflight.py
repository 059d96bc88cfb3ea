# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All variables of a host, with the options that the roles really have."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.xen.driver_domains.plugins.action import preflight
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt import Devices, adopt
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.model import declared
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.references import undeclared_backends
from ansible_collections.xen.driver_domains.plugins.module_utils._xen.xlcfg_reader import read
from ansible_collections.xen.driver_domains.plugins.modules import xl_info

ROOT = Path(__file__).resolve().parents[4]
OPTIONS = preflight.role_options(preflight.SITE)
SHAPES = sorted((ROOT / "tests/unit/plugins/filter/definitions").glob("*.cfg"))
#: A host that was asked and has no other domains.
ASKED = preflight.HostFacts(unread="")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f someone"


def problems(variables: dict[str, t.Any], facts: preflight.HostFacts = ASKED) -> list[str]:
    """Everything that is said about the variables of the host xen1."""
    values, findings = preflight.read_variables(variables, OPTIONS)
    return [str(finding) for finding in findings + preflight.check_values(declared(values, OPTIONS), values, "xen1", facts, variables)]


def guest(**options: t.Any) -> dict[str, t.Any]:
    return {"domu_domains": [{"name": "web1", **options}]}


def variables_of(path: Path) -> dict[str, t.Any]:
    """The variables of a file, or of the first host of an inventory, as they would be with the files that they name."""
    text = path.read_text(encoding="utf-8").replace("\"{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}\"", f'"{KEY}"')
    found: dict[str, t.Any] = yaml.safe_load(text)
    hosts = found.get("xen_hosts", {}).get("hosts")
    return next(iter(hosts.values())) if hosts else found


@pytest.mark.parametrize(
    "path",
    [
        ROOT / "examples/redundant-pair/inventory.yml",
        ROOT / "examples/testbed/group_vars/xen_hosts.yml",
        ROOT / "extensions/molecule/two_driver_domains/vars.yml",
    ],
    ids=lambda path: path.parent.name,
)
def test_variables_that_work_raise_no_alarm(path: Path) -> None:
    variables = variables_of(path)
    assert variables["driver_domain_domains"] and variables["domu_domains"]
    assert problems(variables) == []


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_imported_domains_raise_no_alarm(path: Path) -> None:
    devices = Devices("/nonexistent")
    found = adopt(read(path.read_text(encoding="utf-8")), devices)
    (domain,) = yaml.safe_load(yaml.safe_dump([found.domain], allow_unicode=True))
    variables = {f"{found.role}_domains": [domain], "dom0_pci_assignable": devices.variable}
    values, _findings = preflight.read_variables(variables, OPTIONS)
    others = undeclared_backends(declared(values, OPTIONS))
    assert problems(variables, preflight.HostFacts(domains=others, unread="")) == []


def test_nothing_is_declared() -> None:
    assert problems({}) == []
    assert problems({"driver_domain_domains": [], "domu_domains": [], "dom0_pci_assignable": []}) == []


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"dom0_memory": "lots"}, "dom0_memory: argument 'dom0_memory' is of type str"),
        ({"dom0_reboot_ok": "perhaps"}, "dom0_reboot_ok: argument 'dom0_reboot_ok' is of type str"),
        ({"domu_state": "runing"}, "domu_state: value of domu_state must be one of: running, stopped, present, absent, got: runing"),
        ({"domu_domains": None}, "domu_domains: has no value"),
        ({"domu_domains": "web1"}, "domu_domains: "),
        ({"domu_domains": ["web1"]}, "domu_domains[0]: 'web1' is no dictionary"),
        ({"domu_domains": [{"memory": 256}]}, "domu_domains[0]: missing required arguments: name"),
        (guest(memory="much"), "domu_domains[0] (web1).memory: argument 'memory' is of type str"),
        (guest(brigdes=[]), "domu_domains[0] (web1): brigdes is not an option"),
        (guest(vif=[]), "Did you mean vifs?"),
        (guest(vifs=[{"bridg": "x"}]), "domu_domains[0] (web1).vifs[0]: bridg is not an option"),
        (guest(vifs=["x"]), "domu_domains[0] (web1).vifs[0]: 'x' is no dictionary"),
        (guest(vifs=[{"type": "emulated"}]), "domu_domains[0] (web1).vifs[0].type: value of type must be one of: vif, ioemu"),
        (guest(bonds=[{"name": "bond0"}]), "domu_domains[0] (web1).bonds[0] (bond0): missing required arguments: address"),
        ({"dom0_pci_assignable": [{"name": "a"}]}, "dom0_pci_assignable[0] (a): missing required arguments: match"),
        ({"driver_domain_domains": [{"name": "a", "ready": "yes"}]}, "driver_domain_domains[0] (a).ready: "),
    ],
)
def test_values_of_the_wrong_form(variables: dict[str, t.Any], text: str) -> None:
    found = problems(variables)
    assert [line for line in found if text in line], found


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (guest(memory=8), "memory is 8. Rule: a domain needs its memory in MiB, at least 16"),
        (guest(vcpus=0), "vcpus is 0"),
        (guest(memory=256, maxmem=128), "maxmem is 128 and memory is 256"),
        ({"domu_domains": [{"name": "7"}]}, "'7' is not a usable domain name"),
        ({"domu_domains": [{"name": "a/b"}]}, "'a/b' is not a valid domain name"),
        (guest(options={"vif": []}), "options sets vif"),
        (guest(image="none"), "there is nothing to boot"),
        (guest(type="pv", cmdline="x" * 1100), "the kernel command line has "),
        (guest(disks=[{"vdev": "xvda", "target": "relative"}]), "the disk xvda has the target 'relative'"),
        (guest(disks=[{"target": "/x"}]), "missing required arguments: vdev"),
        (guest(disks=[{"vdev": "xvda", "target": "/x", "format": "iso"}]), "value of format must be one of"),
        (guest(vifs=[{}], bonds=[{"name": "bond0", "address": "10.0.0.9/24", "gateway": "10.0.0.1", "vifs": [0, 1]}]), "there is no vif 1"),
        (guest(vifs=[{}], bonds=[{"name": "bond0", "address": "10.0.0.9/24", "gateway": "10.0.0.1"}]), "it has 1 vif"),
        (guest(authorized_keys=["-----BEGIN"]), "item 1 of authorized_keys is not an SSH public key"),
        (guest(packages=["a b"]), "'a b' is not a valid package"),
        (
            {
                "driver_domain_domains": [{"name": "a", "type": "pvh", "pci": ["b"]}],
                "dom0_pci_assignable": [{"name": "b", "match": {"class": "usb"}}],
            },
            "type is pvh, and it is to own PCI devices",
        ),
        ({"driver_domain_domains": [{"name": "a", "bridges": [{"name": "a b"}]}]}, "'a b' is not a valid bridge"),
        ({"dom0_force": ["management_rout"]}, "dom0_force: there is no guard rail 'management_rout'"),
        ({"domu_force": ["destroi"]}, "Did you mean destroy?"),
        ({"guest_image_build_host": "builder"}, "Use localhost or xen1"),
    ],
)
def test_what_would_be_refused_later(variables: dict[str, t.Any], text: str) -> None:
    (found,) = problems(variables)
    assert text in found


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"pci": "uplink0", "bridges": []}, "pci names the device 'u'"),
        ({"bridges": [{"name": "xenbr0", "ports": "uplink0"}]}, "the port 'u' is not one of the devices"),
        ({"cmdline": 5}, "'int' object has no attribute"),
    ],
)
def test_what_only_the_conversion_makes_right(options: dict[str, t.Any], problem: str) -> None:
    """The roles get what is inside of an item as it was written."""
    driver = {"name": "net-dd", "pci": ["uplink0"], **options}
    devices = [{"name": "uplink0", "match": {"mac": "52:54:00:aa:00:02"}}]
    (found,) = problems({"dom0_pci_assignable": devices, "driver_domain_domains": [driver]})
    assert found.startswith("driver_domain_domains[0] (net-dd): ") and problem in found
    assert "Write a list as a list, such as [a], and a text in quotes" in found


def test_texts_that_modules_convert_raise_no_alarm() -> None:
    assert problems(guest(memory="256", vcpus="2", autostart="no", packages="python3", vifs=[{"mtu": "9000"}])) == []


@pytest.mark.parametrize("role", ["driver_domain_domains", "domu_domains"])
def test_a_disk_of_two_domains(role: str) -> None:
    disk = {"vdev": "xvdb", "target": "/dev/vg/data"}
    first, second = {"name": "a", "disks": [disk]}, {"name": "b", "disks": [{**disk, "target": "/dev//vg/data"}]}
    variables = {"domu_domains": [second]}
    variables[role] = [first, *variables.get(role, [])]
    (found,) = problems(variables)
    place = len(variables["domu_domains"]) - 1
    assert found.startswith(f"domu_domains[{place}] (b): The disk /dev/vg/data is given twice: to a and to b. Rule: ")
    disk["access"] = second["disks"][0]["access"] = "ro"
    assert problems(variables) == []
    del disk["access"]
    assert problems({**variables, role: [{**first, "state": "absent"}, *variables[role][1:]]}) == []


def test_values_from_the_command_line_are_texts() -> None:
    assert problems({"dom0_memory": "2048", "dom0_reboot_ok": "true", "dom0_vcpus": "2"}, preflight.HostFacts(unread="", memory=4096)) == []
    (found,) = problems({"dom0_memory": "8192", **guest()}, preflight.HostFacts(unread="", memory=4096))
    assert "the domains need 8448 MiB of memory (dom0 8192, web1 256), and the host has 4096 MiB" in found


def test_errors_of_one_domain_do_not_hide_those_of_others() -> None:
    domains = [{"name": "a", "memory": 1, "vifs": [{"mac": "x"}]}, {"name": "b", "memory": 1}, {"name": "c", "vcpus": 0}]
    assert [text.partition(":")[0] for text in problems({"domu_domains": domains})] == [
        "domu_domains[0] (a).vifs[0]",
        "domu_domains[1] (b)",
        "domu_domains[2] (c)",
    ]


def test_guard_rails_of_devices() -> None:
    guards = [{"guard": "management_route", "reason": "carries it"}, {"guard": "boot_vga", "reason": "is one"}]
    device = {"name": "uplink0", "bdf": "0000:03:00.0", "pciback": False, "guards": guards}
    assert len(preflight.check_devices([device], [])) == 2
    (finding,) = preflight.check_devices([device], ["boot_vga"])
    assert str(finding).startswith("dom0_pci_assignable (uplink0): 0000:03:00.0 carries it. Rule: guard rail management_route.")
    assert preflight.check_devices([{**device, "pciback": True}], []) == []


def test_memory_of_a_linux_without_xen(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:        2048000 kB\nMemFree: 1 kB\n")
    assert xl_info.linux_memory(str(tmp_path)) == 2000
    assert xl_info.linux_memory(str(tmp_path / "nothing")) == 0


@pytest.mark.parametrize(
    ("name", "value", "counts"),
    [
        ("dom0_memry", 1, True),
        ("dom0_memry", {"a": 1}, True),
        ("__dom0_memry", 1, False),
        ("_dom0_memry", 1, False),
        ("ansible_dom0_memry", 1, False),
        ("dom0_memry", {"changed": True, "failed": False}, False),
        ("dom0_memry", {"changed": False, "skipped": True}, False),
    ],
)
def test_which_variables_are_looked_at(name: str, value: t.Any, counts: bool) -> None:
    assert preflight._is_variable(name, value) is counts


@pytest.mark.parametrize("role", ["driver_domain", "domu"])
def test_the_default_of_the_devices_of_a_role(role: str) -> None:
    defaults = yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8"))
    assert defaults[f"{role}_pci_devices"] == preflight.DEVICES_OF_DOM0
