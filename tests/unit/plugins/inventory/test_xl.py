# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inventories as `ansible-inventory` makes them. A script stands for ssh and for what the Xen hosts answer."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[4]


def domain(domid: int, name: str, *backends: str, **c_info: t.Any) -> dict[str, t.Any]:
    nics = [{"mac": f"00:16:3e:00:00:{domid:02x}", "bridge": "xenbr0", "backend_domname": backend} for backend in backends]
    return {"domid": domid, "config": {"c_info": {"type": "pv", "name": name, **c_info}, "b_info": {"max_vcpus": 1}, "nics": nics}}


NET_DD = domain(1, "net-dd", driver_domain="True")
ANSWERS = {
    "xen1": {"domains": [domain(0, "Domain-0"), NET_DD, domain(2, "web1", "net-dd"), domain(3, "db1", "net-dd")], "neighbours": []},
    "xen2": {"domains": [domain(0, "Domain-0"), NET_DD, domain(2, "web2", "net-dd")], "neighbours": []},
}
HOSTS = {
    "xen_hosts": {
        "hosts": {
            "xen1": {
                "ansible_host": "{{ inventory_hostname }}.example.org",
                "driver_domain_domains": [{"name": "net-dd"}],
                "domu_domains": [
                    {"name": "web1", "vifs": [{"address": "{{ prefix }}.15/24"}]},
                    {"name": "db1", "image": "minimal", "vifs": [{"address": "10.0.3.16/24"}]},
                ],
            }
        },
        "vars": {"prefix": "10.0.3", "ansible_port": 2222},
    }
}


class Inventory:
    """The files of an inventory, and what comes of them."""

    def __init__(self, tmp_path: Path) -> None:
        self._directory = tmp_path
        (tmp_path / "collections/ansible_collections/xen").mkdir(parents=True)
        (tmp_path / "collections/ansible_collections/xen/driver_domains").symlink_to(ROOT)
        self.calls = tmp_path / "calls"
        ssh = tmp_path / "ssh"
        ssh.write_text(f"""#!/bin/sh
echo "$@" >>{self.calls}
for word; do case $word in *.example.org) exec cat {tmp_path}/answers/${{word%.example.org}} ;; esac; done
""")
        ssh.chmod(0o755)
        (tmp_path / "answers").mkdir()
        for name, answer in ANSWERS.items():
            (tmp_path / "answers" / name).write_text(json.dumps(answer))

    def answer(self, host: str, *domains: t.Any, neighbours: t.Sequence[t.Any] = ()) -> None:
        """Let a Xen host have other domains."""
        answer = {"domains": [domain(0, "Domain-0"), *domains], "neighbours": neighbours}
        (self._directory / "answers" / host).write_text(json.dumps(answer))

    def run(self, options: dict[str, t.Any], hosts: t.Any = None, name: str = "guests.xl.yml") -> subprocess.CompletedProcess[str]:
        files = {"hosts.yml": hosts or HOSTS, name: {"plugin": "xen.driver_domains.xl", **options}}
        words = []
        for file, content in files.items():
            (self._directory / file).write_text(yaml.safe_dump(content))
            words += ["-i", file]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self._directory / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(self._directory / "local"),
            "ANSIBLE_SSH_EXECUTABLE": str(self._directory / "ssh"),
            "ANSIBLE_NOCOLOR": "1",
        }
        environment.pop("ANSIBLE_CONFIG", None)
        return subprocess.run(
            ["ansible-inventory", *words, "--list"],
            cwd=self._directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def read(self, options: dict[str, t.Any], hosts: t.Any = None, warnings: bool = False) -> dict[str, t.Any]:
        done = self.run(options, hosts)
        assert done.returncode == 0, done.stderr
        assert warnings or not done.stderr, done.stderr
        # What comes from a host is no template, and is marked like that.
        return dict(json.loads(done.stdout, object_hook=lambda found: found.get("__ansible_unsafe", found)))


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return Inventory(tmp_path)


def with_xen2(**variables: t.Any) -> dict[str, t.Any]:
    group = HOSTS["xen_hosts"]
    return {"xen_hosts": {**group, "hosts": {**group["hosts"], "xen2": {"ansible_host": "xen2.example.org", **variables}}}}


def test_domains_are_hosts_in_groups(inventory: Inventory) -> None:
    found = inventory.read({"keyed_groups": [{"prefix": "type", "key": "xl_type"}], "groups": {"web": "xl_name is match('web')"}})
    groups = {name: set(group["hosts"]) for name, group in found.items() if group.get("hosts")}
    assert groups == {
        "xen_hosts": {"xen1"},
        "driver_domains": {"net-dd"},
        "guests": {"web1", "db1"},
        "domains_of_xen1": {"net-dd", "web1", "db1"},
        "served_by_net_dd": {"web1", "db1"},
        "type_pv": {"net-dd", "web1", "db1"},
        "web": {"web1"},
    }
    (call,) = inventory.calls.read_text().splitlines()[:1]
    assert "-p 2222 xen1.example.org" in call


def test_each_is_reached_as_it_can_be(inventory: Inventory) -> None:
    hosts = inventory.read({"compose": {"ansible_user": "'admin'"}})["_meta"]["hostvars"]
    web1, db1, net_dd = (hosts[name] for name in ("web1", "db1", "net-dd"))
    assert (web1["ansible_connection"], web1["ansible_host"], web1["ansible_user"]) == ("ansible.builtin.ssh", "10.0.3.15", "admin")
    assert (
        "ProxyCommand=" in web1["ansible_ssh_common_args"]
        and "-W '\"'\"'[%h]:%p'\"'\"' xen1.example.org" in web1["ansible_ssh_common_args"]
    )
    for host in (db1, net_dd):
        assert host["ansible_connection"] == "xen.driver_domains.xl_console"
        assert host["xl_jump"].endswith("-p 2222 xen1.example.org")
    assert (db1["xl_host"], db1["xl_backends"], db1["xl_image"], db1["xl_domid"]) == ("xen1", ["net-dd"], "minimal", 3)


def test_names_that_several_hosts_have_get_the_name_of_the_host(inventory: Inventory) -> None:
    found = inventory.read({}, with_xen2())
    assert set(found["driver_domains"]["hosts"]) == {"net-dd.xen1", "net-dd.xen2"}
    assert set(found["guests"]["hosts"]) == {"web1", "db1", "web2"}
    found = inventory.read({"hostname": "xl_name ~ '.' ~ xl_host"}, with_xen2())
    assert "web2.xen2" in found["guests"]["hosts"]


def test_a_domain_does_not_take_the_place_of_something_else(inventory: Inventory) -> None:
    names = ("localhost", "all", "xen_hosts", "guests", "xen2", "other", "web1.xen2", "web1", "a\nb\x1b[2J")
    inventory.answer("xen1", *(domain(number, name) for number, name in enumerate(names, 1)))
    inventory.answer("xen2", domain(1, "web1"))
    found = inventory.read({}, {**with_xen2(), "switches": {"hosts": {"other": {}}}})
    expected = {"localhost.xen1", "all.xen1", "xen_hosts.xen1", "guests.xen1", "xen2.xen1", "other", "web1.xen2", "web1.xen1"}
    # Two domains, two hosts.
    assert set(found["guests"]["hosts"]) == {*expected, "web1.xen2.1", "a\\nb\\x1b[2J"}
    assert found["_meta"]["hostvars"]["web1.xen2.1"]["xl_host"] == "xen2"
    assert found["_meta"]["hostvars"]["localhost.xen1"]["xl_name"] == "localhost"


def test_a_guest_that_claims_the_address_of_another_is_not_reached_there(inventory: Inventory) -> None:
    claims = ("10.0.3.15", "192.0.2.1", "10.0.9.9")
    macs = {address: f"00:16:3e:00:00:{number:02x}" for number, address in enumerate(claims, 4)}
    inventory.answer(
        "xen1",
        domain(2, "web1", "net-dd"),
        *(domain(number, f"evil{number}", "net-dd") for number in range(4, 7)),
        neighbours=[{"dst": address, "lladdr": mac, "state": ["REACHABLE"]} for address, mac in macs.items()],
    )
    inventory.answer("xen2")
    hosts = inventory.read({}, with_xen2(ansible_host="192.0.2.1"), warnings=True)["_meta"]["hostvars"]
    assert hosts["web1"]["ansible_host"] == "10.0.3.15"
    assert "HostKeyAlias" not in hosts["web1"]["ansible_ssh_common_args"]
    assert [hosts[name].get("ansible_host") for name in ("evil4", "evil5", "evil6")] == [None, None, "10.0.9.9"]
    # It may be that of a machine whose key is known.
    assert hosts["evil6"]["ansible_ssh_common_args"].endswith(" -o HostKeyAlias=evil6.xen1")


def test_what_one_host_says_does_not_hide_the_others(inventory: Inventory, tmp_path: Path) -> None:
    (tmp_path / "answers/xen2").write_text("[]")
    done = inventory.run({}, with_xen2())
    assert "The Xen host xen2 was not asked for its domains: it sent something other than" in " ".join(done.stderr.split())
    assert "web1" in json.loads(done.stdout)["guests"]["hosts"]


def test_a_host_that_cannot_be_asked_is_a_warning_or_an_error(inventory: Inventory) -> None:
    hosts = with_xen2(ansible_host="down.example.org")
    done = inventory.run({}, hosts)
    assert done.returncode == 0 and "The Xen host xen2 was not asked for its domains: exit code 1" in " ".join(done.stderr.split())
    assert "web1" in json.loads(done.stdout)["guests"]["hosts"]
    done = inventory.run({"strict": True}, hosts)
    assert "guests" not in json.loads(done.stdout)
    hosts = with_xen2(ansible_connection="community.docker.docker")
    assert "only ssh and local can be used" in " ".join(inventory.run({}, hosts).stderr.split())


def test_the_hosts_must_be_there_before(inventory: Inventory) -> None:
    done = inventory.run({"hosts": ["nobody"]})
    assert "no Xen host was found by nobody" in " ".join(done.stderr.split())


def test_a_file_of_another_name_is_not_ours(inventory: Inventory) -> None:
    done = inventory.run({}, name="guests.yml")
    assert not inventory.calls.exists()
    assert "guests" not in json.loads(done.stdout)


def test_the_cache_is_asked_first(inventory: Inventory, tmp_path: Path) -> None:
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    first = inventory.read(cache)
    asked = len(inventory.calls.read_text().splitlines())
    assert asked
    assert inventory.read(cache) == first
    assert len(inventory.calls.read_text().splitlines()) == asked
    # A host that is new since is asked, and only that.
    inventory.read(cache, with_xen2())
    assert "xen2.example.org" in inventory.calls.read_text()
    assert inventory.calls.read_text().count("xen1.example.org") == 1
