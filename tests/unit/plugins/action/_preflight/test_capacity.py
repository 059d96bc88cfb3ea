# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory, what only the host knows, and what is proposed."""

from __future__ import annotations

import typing as t

import pytest
import yaml

from ansible_collections.xen.driver_domains.plugins.action.preflight import role_options
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.capacity import check_memory, only_the_host_knows
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.model import DeclaredHost, declared
from ansible_collections.xen.driver_domains.plugins.module_utils._preflight.proposal import propose

OPTIONS = role_options(["dom0", "driver_domain", "domu"])
DEVICE: dict[str, t.Any] = {
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
ROUTE = {"guard": "default_route", "reason": "carries the default route: eth0 -> 0000:03:00.0"}


def host(*guests: dict[str, t.Any], **more: t.Any) -> DeclaredHost:
    variables = {"driver_domain_domains": [{"name": "net-dd", "memory": 512, **more}], "domu_domains": list(guests)}
    return declared(variables, OPTIONS)


@pytest.mark.parametrize(
    ("dom0", "memory", "fits"), [(0, 1024, True), (0, 1023, False), (1024, 2048, True), (1025, 2048, False), (4096, 0, True)]
)
def test_memory(dom0: int, memory: int, fits: bool) -> None:
    """512 of net-dd and 256 each of two guests, by default; those that are not to run need none."""
    declaration = host({"name": "a"}, {"name": "b"}, {"name": "c", "state": "present"}, {"name": "d", "state": "absent", "memory": 9999})
    problems = [finding.problem for finding in check_memory(declaration, dom0, memory)]
    assert problems == (
        []
        if fits
        else [
            f"the domains need {dom0 + 1024} MiB of memory ({f'dom0 {dom0}, ' if dom0 else ''}net-dd 512, a 256, b 256), "
            f"and the host has {memory} MiB"
        ]
    )


def test_what_only_the_host_knows() -> None:
    disks = [{"target": "/dev/vg/web"}, {"target": "/dev/xvda", "backend": "net-dd"}]
    declaration = host(
        {"name": "web1", "kernel": "/boot/k", "type": "hvm", "disks": disks, "options": {"cpus": "1"}, "vifs": [{"bridge": "br0"}]},
        {"name": "web2", "state": "absent", "kernel": "/gone", "vifs": [{"bridge": "br9"}]},
        {"name": "web3", "image": "none", "type": "pv", "vifs": [{"backend": "others", "bridge": "xenbr0"}, {"backend": "net-dd"}]},
    )
    text = "\n".join(only_the_host_knows(declaration, memory_known=True))
    assert text.splitlines() == [
        "Whether the images of these domains can be built: net-dd",
        "Whether the host has hardware assisted paging for the types of these domains: web1",
        "Whether there are these files and block devices in dom0: /boot/k, /dev/vg/web",
        "Whether there are these bridges in dom0: br0",
        "Which bridges these domains have, which the run does not manage: others",
        "Whether xl accepts the options of these domains: web1",
        "Whether these domains get ready to serve: net-dd",
    ]
    assert "memory of the host" in "\n".join(only_the_host_knows(declaration, memory_known=False))
    assert only_the_host_knows(declared({}, OPTIONS), memory_known=False) == []


def test_a_proposal_is_yaml_that_can_be_used() -> None:
    usb = {**DEVICE, "bdf": "0000:05:00.0", "class": "0c0330", "slot": "0000:00/1d.0", "mac": "", "interfaces": [], "driver": ""}
    second = {**DEVICE, "bdf": "0000:04:00.0", "mac": "52:54:00:aa:00:03"}
    others = [
        {**DEVICE, "bdf": "0000:02:00.0", "guards": [ROUTE, {"guard": "in_use", "reason": "is in use"}]},
        {**DEVICE, "bdf": "0000:01:00.0", "pciback": True},
        {**DEVICE, "bdf": "0000:00:1c.0", "class": "060400", "bridge": True},
        {**DEVICE, "bdf": "0000:03:10.0", "physical_function": "0000:03:00.0"},
        {**DEVICE, "bdf": "0000:00:01.0", "class": "030000"},
        {**DEVICE, "bdf": "0000:06:00.0"},
    ]
    text = propose([DEVICE, second, usb, *others], True, {"0000:06:00.0": "uplink0"})
    assert yaml.safe_load(text) == {
        "dom0_pci_assignable": [
            {"name": "nic0", "match": {"mac": "52:54:00:aa:00:02"}},
            {"name": "nic1", "match": {"mac": "52:54:00:aa:00:03"}},
            {"name": "usb0", "match": {"slot": "0000:00/1d.0"}},
        ],
        "driver_domain_domains": [
            {"name": f"net-{name}", "pci": [name], "bridges": [{"name": "xenbr0", "ports": [name]}]} for name in ("nic0", "nic1")
        ],
    }
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert [line for line in comments if "0000:02:00.0" in line] == [
        "#   0000:02:00.0 8086:10d3 driver e1000e eth1 52:54:00:aa:00:02: [default_route] carries the default route: eth0 -> 0000:03:00.0; "
        "[in_use] is in use"
    ]
    assert [line.split()[1] for line in comments[comments.index("# Already made assignable:") + 1 :][:2]] == [
        "0000:01:00.0",
        "0000:06:00.0",
    ]
    assert not any(address in text for address in ("0000:00:1c.0", "0000:03:10.0", "0000:00:01.0"))
    assert "IOMMU" not in text


def test_a_proposal_has_no_lines_of_the_host() -> None:
    text = propose([{**DEVICE, "driver": "x\n  - {name: evil}\x1b[2J"}], True)
    assert "driver x\\n  - {name: evil}\\x1b[2J " in text
    assert [entry["name"] for entry in yaml.safe_load(text)["dom0_pci_assignable"]] == ["nic0"]


def test_a_proposal_where_nothing_can_go() -> None:
    text = propose([{**DEVICE, "guards": [ROUTE]}], False)
    assert yaml.safe_load(text) is None
    assert "No IOMMU is in use" in text and "None of them can." in text and "[default_route]" in text
