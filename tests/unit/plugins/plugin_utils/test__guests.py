# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the toolstack says of domains, as the inventory shows it."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.xen.driver_domains.plugins.plugin_utils import _guests
from ansible_collections.xen.driver_domains.tests.unit.xl_parser import xl_program

NET_DD = {
    "domid": 1,
    "config": {
        "c_info": {"type": "pv", "name": "net-dd", "uuid": "11111111-0000-0000-0000-000000000000", "driver_domain": "True"},
        "b_info": {"max_vcpus": 1, "max_memkb": 262144, "target_memkb": 262144},
        "pcidevs": [{"dev": 4, "rdm_policy": "invalid"}, {"domain": 0, "bus": 3, "dev": 31, "func": 7}],
    },
}
WEB1 = {
    "domid": 7,
    "config": {
        "c_info": {"type": "pvh", "name": "web1"},
        "b_info": {"max_vcpus": 2, "target_memkb": 524288},
        "nics": [
            {"devid": 0, "mac": "00:16:3E:00:00:11", "bridge": "xenbr0", "backend_domname": "net-dd"},
            {"devid": 1, "mac": "00:16:3e:00:00:12", "bridge": "xenbr1", "backend_domid": 1},
            {"devid": 2, "mac": "00:16:3e:00:00:13", "bridge": "br0"},
        ],
        "disks": [{"pdev_path": "/dev/vg/web1", "vdev": "xvda", "backend_domid": 9}],
    },
}
ALIAS = "-o HostKeyAlias=web1.xen_1.example.org"
DOM0 = {"domid": 0, "config": {"c_info": {"type": "pv", "name": "Domain-0"}, "b_info": {}}}
UNFINISHED = {"domid": 8, "config": {"c_info": {"type": "pv"}}}
READING = {
    "domains": [DOM0, NET_DD, WEB1, UNFINISHED],
    "neighbours": [
        {"dst": "fe80::1", "lladdr": "00:16:3e:00:00:11", "state": ["REACHABLE"]},
        {"dst": "2001:db8::11", "lladdr": "00:16:3e:00:00:11", "state": ["STALE"]},
        {"dst": "192.0.2.11", "lladdr": "00:16:3e:00:00:11", "state": ["STALE"]},
        {"dst": "192.0.2.12", "lladdr": "00:16:3e:00:00:12", "state": ["FAILED"]},
        {"dst": "192.0.2.13", "state": ["INCOMPLETE"]},
        {"dst": "-oProxyCommand=evil", "lladdr": "00:16:3e:00:00:13", "state": ["STALE"]},
    ],
}


def test_domains_are_those_that_have_names() -> None:
    net, web = _guests.running_guests(READING)
    assert (net.name, net.domid, net.driver_domain, net.memory, net.pci) == ("net-dd", 1, True, 256, ("0000:00:04.0", "0000:03:1f.7"))
    assert (web.name, web.type, web.vcpus, web.driver_domain) == ("web1", "pvh", 2, False)


def test_the_words_are_those_of_libxl() -> None:
    """`xl list -l` prints configurations as xl makes them of definitions."""
    definition = """name="net-dd"
type="pv"
kernel="/bin/true"
memory=256
vcpus=2
driver_domain=1
pci=["0000:03:1f.7"]
vif=["mac=00:16:3E:00:00:11,bridge=xenbr0,backend=other"]
disk=["format=raw,vdev=xvda,access=rw,backend=store-dd,backendtype=phy,target=/dev/vg/x"]
"""
    parsed = xl_program().parse(definition)
    (found,) = _guests.running_guests({"domains": [{"domid": 3, "config": parsed}]})
    assert (found.name, found.type, found.memory, found.vcpus, found.driver_domain) == ("net-dd", "pv", 256, 2, True)
    assert found.vifs == ({"mac": "00:16:3e:00:00:11", "bridge": "xenbr0", "backend": "other"},)
    assert (found.pci, found.backends, bool(found.uuid)) == (("0000:03:1f.7",), ("other", "store-dd"), True)


def test_backends_are_named_however_libxl_has_them() -> None:
    web = _guests.running_guests(READING)[1]
    assert [vif["backend"] for vif in web.vifs] == ["net-dd", "net-dd", "Domain-0"]
    # One that has ended since has no name any more.
    assert web.backends == ("net-dd", "Domain-0", "9")
    assert web.vifs[0]["mac"] == "00:16:3e:00:00:11"


@pytest.mark.parametrize(
    "reading", [{}, {"domains": None, "neighbours": None}, {"domains": [None, {}, {"domid": 4, "config": []}]}], ids=str
)
def test_odd_answers_are_no_domains(reading: dict[str, t.Any]) -> None:
    assert _guests.running_guests(reading) == []
    assert _guests.seen_addresses(reading) == {}


def test_addresses_in_the_neighbour_table_are_addresses() -> None:
    """Guests write there what they like."""
    assert _guests.seen_addresses(READING) == {"00:16:3e:00:00:11": ["192.0.2.11", "2001:db8::11"]}


def test_an_address_that_is_known_to_be_of_another_is_not_taken() -> None:
    assert _guests.seen_addresses(READING, {"192.0.2.11"}) == {"00:16:3e:00:00:11": ["2001:db8::11"]}


@pytest.mark.parametrize("odd", ["abc", "\u00b2", None, [], {}, 1.5, float("inf"), "9" * 5000], ids=lambda odd: str(odd)[:9])
def test_numbers_that_are_none_hide_no_domain(odd: t.Any) -> None:
    config = {
        "c_info": {"name": "web1"},
        "b_info": {"max_memkb": odd, "max_vcpus": odd},
        "nics": [{"backend_domname": odd}, {"backend_domid": odd}],
        "pcidevs": [{"bus": odd, "dev": 3}],
    }
    (found,) = _guests.running_guests({"domains": [{"domid": 7, "config": config}]})
    assert (found.name, found.memory, found.vcpus, found.pci) == ("web1", 0, 1, ("0000:00:03.0",))


def test_declared_domains_have_the_defaults_of_the_roles() -> None:
    variables = {
        "driver_domain_domains": [{"name": "net-dd", "bridges": [{"name": "xenbr0", "address": "10.0.3.2/24"}]}],
        "domu_domains": [
            {"name": "web1", "vifs": [{"address": "10.0.3.15/24"}, {}], "bonds": [{"address": "10.0.4.15/24"}]},
            {"name": "own", "kernel": "/boot/own", "vifs": "not a list"},
            {"memory": 5},
            None,
        ],
    }
    found = _guests.declared_guests(variables)
    assert {name: (guest.role, guest.image, guest.addresses) for name, guest in found.items()} == {
        "net-dd": ("driver_domain", "minimal", ("10.0.3.2",)),
        "web1": ("guest", "debian", ("10.0.3.15", "10.0.4.15")),
        "own": ("guest", "none", ()),
    }
    assert _guests.declared_guests({"domu_domains": "{{ nowhere }}"}) == {}


def described(**declared: t.Any) -> dict[str, t.Any]:
    web = _guests.running_guests(READING)[1]
    known = _guests.DeclaredGuest("guest", **declared) if declared else None
    return _guests.guest_variables(web, known, _guests.seen_addresses(READING)) | {"xl_host": "xen 1.example.org"}


def test_what_is_declared_comes_before_what_was_seen() -> None:
    assert described(image="debian", addresses=("10.0.3.15",))["xl_addresses"] == ["10.0.3.15", "192.0.2.11", "2001:db8::11"]


def test_who_serves_is_a_driver_domain() -> None:
    web = _guests.running_guests(READING)[1]
    roles = [_guests.guest_variables(web, None, {}, serves)["xl_role"] for serves in (False, True)]
    assert roles == ["guest", "driver_domain"]
    assert _guests.guest_variables(web, _guests.DeclaredGuest("driver_domain", "none"), {})["xl_role"] == "driver_domain"


@pytest.mark.parametrize(
    ("declared", "reach", "expected"),
    [
        (
            {"image": "debian", "addresses": ("10.0.3.15",)},
            "jump",
            {"ansible_host": "10.0.3.15", "ansible_ssh_common_args": "-o through", "ansible_user": "root"},
        ),
        ({"image": "none", "addresses": ("10.0.3.15",)}, "direct", {"ansible_host": "10.0.3.15"}),
        ({}, "jump", {"ansible_host": "192.0.2.11", "ansible_ssh_common_args": f"-o through {ALIAS}"}),
        ({}, "direct", {"ansible_host": "192.0.2.11", "ansible_ssh_common_args": ALIAS}),
        ({}, "console", None),
        ({"image": "minimal", "addresses": ("10.0.3.15",)}, "jump", None),
    ],
    ids=str,
)
def test_how_a_domain_is_reached(declared: dict[str, t.Any], reach: str, expected: dict[str, t.Any] | None) -> None:
    """The key of a host that only claims its address is known by its name: the address may be that of another one."""
    found = _guests.connection_variables(described(**declared), reach, "ssh dom0", "-o through", declared.get("addresses", ()))
    if expected is None:
        assert found == {"ansible_connection": "xen.driver_domains.xl_console", "xl_jump": "ssh dom0"}
    else:
        assert found == {"ansible_connection": "ansible.builtin.ssh", "xl_jump": "ssh dom0", **expected}
