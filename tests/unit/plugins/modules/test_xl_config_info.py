# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The definitions of a host as variables of the roles."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.xen.driver_domains.plugins.filter.inventory_text import inventory_text
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt_host import DefinitionPlaces, import_domains
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER
from ansible_collections.xen.driver_domains.plugins.modules import xl_config_info
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost

WEB = 'name = "web1"\ntype = "pv"\nmemory = 128\nvcpus = 1\nkernel = "/k"\n'


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    fake = FakeHost(tmp_path)
    (tmp_path / "xen" / "auto").mkdir(parents=True)
    return fake


def imported(host: FakeHost, machine: str = "x86_64") -> dict[str, t.Any]:
    root, fake = host.root, t.cast("t.Any", host)
    patterns = (f"{root}/xen/*.cfg", f"{root}/xen/auto/*")
    return import_domains(fake, DefinitionPlaces(patterns, f"{root}/xen/auto", f"{root}/lib", f"{root}/sys"), machine)


def write(host: FakeHost, name: str, text: str) -> Path:
    path = host.root / "xen" / name
    path.write_text(text)
    return path


def test_what_runs_and_what_starts_with_the_host(host: FakeHost) -> None:
    path = write(host, "web1.cfg", WEB)
    (host.root / "xen" / "auto" / "web1.cfg").symlink_to(path)
    write(host, "web2.cfg", WEB.replace("web1", "web2"))
    host.add("web1", text=WEB)
    found = imported(host)
    base = {"image": "foreign", "type": "pv", "memory": 128, "vcpus": 1, "kernel": "/k"}
    assert found["variables"] == {
        "domu_domains": [{"name": "web1", **base}, {"name": "web2", "state": "present", "autostart": False, **base}]
    }
    assert [(one["name"], one["running"], one["autostart"], one["equal"]) for one in found["domains"]] == [
        ("web1", True, True, True),
        ("web2", False, False, True),
    ]


def test_devices_have_names_and_are_matched_by_their_slot(host: FakeHost) -> None:
    bus = host.root / "sys" / "devices" / "pci0000:00" / "0000:00:1c.0" / "0000:03:00.0"
    bus.mkdir(parents=True)
    link = host.root / "sys" / "bus" / "pci" / "devices" / "0000:03:00.0"
    link.parent.mkdir(parents=True)
    link.symlink_to(bus)
    text = WEB + "driver_domain = 1\npci = [ '03:00.0,seize=1', '0000:09:00.0' ]\n"
    write(host, "a.cfg", text.replace("web1", "net-dd"))
    write(host, "b.cfg", (WEB + "pci = ['0000:09:00.0']\n").replace("web1", "desk"))
    variables = imported(host)["variables"]
    assert variables["dom0_pci_assignable"] == [
        {"name": "net-dd.0", "match": {"slot": "0000:00/1c.0/00.0"}},
        {"name": "net-dd.1", "match": {"bdf": "0000:09:00.0"}},
    ]
    (driver,) = variables["driver_domain_domains"]
    assert driver["pci"] == [{"device": "net-dd.0", "seize": True}, "net-dd.1"]
    assert (driver["on_crash"], driver["on_watchdog"]) == ("destroy", "destroy")
    assert variables["domu_domains"][0]["pci"] == ["net-dd.1"]


def test_what_cannot_be_imported_is_named_with_the_reason(host: FakeHost) -> None:
    ours = write(host, "ours.cfg", MARKER + WEB)
    write(host, "bad.cfg", "import os\n")
    write(host, "copy.cfg", WEB)
    write(host, "first.cfg", WEB)
    write(host, "small.cfg", WEB.replace("128", "8"))
    write(host, "escape.cfg", WEB.replace("web1", "esc") + "title = 'a\x1b[31m'\n")
    found = imported(host)
    reasons = {Path(item["path"]).name: item["reason"] for item in found["skipped"]}
    assert "Line 1" in reasons["bad.cfg"]
    assert "copy.cfg defines a domain of the same name" in reasons["first.cfg"]
    assert "memory is 8" in reasons["small.cfg"]
    assert "options holds control characters" in reasons["escape.cfg"]
    assert found["managed"] == [str(ours)]
    assert [one["name"] for one in found["domains"]] == ["web1"]


def test_a_vif_without_an_address_keeps_the_one_that_it_has_now(host: FakeHost) -> None:
    text = WEB + "vif = [ 'bridge=br0' ]\n"
    write(host, "web1.cfg", text)
    host.add("web1", text=WEB + 'vif = ["mac=00:16:3e:5a:00:01,bridge=br0"]\n')
    found = imported(host)
    assert found["variables"]["domu_domains"][0]["vifs"] == [{"bridge": "br0", "mac": "00:16:3e:5a:00:01"}]
    assert "keeps the one that it has now" in found["domains"][0]["not_expressed"][0]


def test_a_domain_that_runs_with_something_else(host: FakeHost) -> None:
    write(host, "web1.cfg", WEB)
    host.add("web1", text=WEB.replace("vcpus = 1", "vcpus = 2"))
    (found,) = imported(host)["domains"]
    assert not found["equal"]
    assert "starting it again would change it" in found["differences"][0]


def test_arm_domains_are_pvh_by_default(host: FakeHost) -> None:
    write(host, "web1.cfg", WEB.replace('type = "pv"\n', ""))
    assert imported(host, "aarch64")["variables"]["domu_domains"][0]["type"] == "pvh"


def test_passwords_are_in_the_variables_alone(host: FakeHost) -> None:
    write(host, "web1.cfg", WEB + "vncpasswd = 'hunter2'\nvif = ['mac=00:16:3e:5a:00:01,password=hunter2']\n")
    found = imported(host)
    assert found["variables"]["domu_domains"][0]["options"] == {"vncpasswd": "hunter2"}
    assert "hunter2" not in str({**found, "variables": None})


def test_the_module_reads_where_it_is_told(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    write(host, "web1.xl", WEB)
    monkeypatch.setattr(xl_config_info, "require_dom0", lambda: (4, 20))
    monkeypatch.setattr(xl_config_info, "Xl", lambda: host)
    plan = xl_config_info.prepare({"paths": [f"{host.root}/xen/*.xl"]})
    assert plan.actions == []
    assert plan.results["domains"][0]["path"] == f"{host.root}/xen/web1.xl"


def test_the_file_of_variables(host: FakeHost) -> None:
    """What looks like a template is none, and a note of several lines stays a comment."""
    write(host, "web1.cfg", WEB + "extra = 'a={{ b }} ü'\nvif = ['mac=00:16:3e:5a:00:01,x\\ny']\n")
    found = imported(host)
    text = inventory_text(found, "xen1")
    assert text.startswith("---\n# From the definitions and the running domains of xen1.\n# Not as they were:\n#   web1: ")
    assert 'cmdline: !unsafe "a={{ b }} ü"' in text

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(t.cast("yaml.ScalarNode", node)))
    assert yaml.load(text, Loader) == found["variables"]
