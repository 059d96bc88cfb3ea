# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The definitions of a host as variables of the roles."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.adopt_host import import_domains
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.aside import WaitingDevice
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.definition import definitions
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.paths import MARKER
from ansible_collections.xen.driver_domains.plugins.modules import xl_config_info
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import BLANK, FakeHost, pci_device

WEB = 'name = "web1"\ntype = "pv"\nmemory = 128\nvcpus = 1\nkernel = "/k"\n'


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    fake = FakeHost(tmp_path)
    (tmp_path / "xen" / "auto").mkdir(parents=True)
    return fake


def imported(host: FakeHost, machine: str = "x86_64", patterns: t.Sequence[str] = ("xen/*.cfg", "xen/auto/*")) -> dict[str, t.Any]:
    fake = t.cast("t.Any", host)
    return import_domains(fake, fake.store, [f"{host.root}/{pattern}" for pattern in patterns], host.paths, machine)


def write(host: FakeHost, name: str, text: str) -> Path:
    path = host.root / "xen" / name
    path.write_text(text)
    return path


def run(host: FakeHost, name: str, text: str) -> int:
    """Let a domain run, with its vifs and disks."""
    domid = host.add(name, text=text)
    host.plug(name, text)
    return domid


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
    ours = write(host, "ours.cfg", MARKER + WEB.replace("web1", "ours"))
    write(host, "bad.cfg", "import os\n")
    write(host, "copy.cfg", WEB)
    write(host, "first.cfg", WEB)
    write(host, "small.cfg", WEB.replace("128", "8").replace("web1", "small"))
    write(host, "escape.cfg", WEB.replace("web1", "esc") + "title = 'a\x1b[31m'\n")
    found = imported(host)
    reasons = {Path(item["path"]).name: item["reason"] for item in found["left_out"]}
    assert "Line 1" in reasons["bad.cfg"]
    assert "copy.cfg defines a domain of the same name" in reasons["first.cfg"]
    assert "memory is 8" in reasons["small.cfg"]
    assert "options holds control characters" in reasons["escape.cfg"]
    assert found["managed"] == [str(ours)]
    assert [one["name"] for one in found["domains"]] == ["web1"]


def test_a_vif_without_an_address_keeps_the_one_that_it_has_now(host: FakeHost) -> None:
    text = WEB + "vif = [ 'bridge=br0' ]\n"
    write(host, "web1.cfg", text)
    run(host, "web1", WEB + 'vif = ["mac=00:16:3e:5a:00:01,bridge=br0"]\n')
    found = imported(host)
    assert found["variables"]["domu_domains"][0]["vifs"] == [{"bridge": "br0", "mac": "00:16:3e:5a:00:01"}]
    assert "keeps the one that it has now" in found["domains"][0]["not_expressed"][0]


def test_a_domain_that_runs_with_something_else(host: FakeHost) -> None:
    write(host, "web1.cfg", WEB)
    host.add("web1", text=WEB.replace("vcpus = 1", "vcpus = 2"))
    (found,) = imported(host)["domains"]
    assert not found["equal"]
    assert "starting it again would change it" in found["differences"][0]


def test_what_an_earlier_domain_left_is_not_what_runs(host: FakeHost) -> None:
    write(host, "web1.cfg", WEB)
    host.leave_behind(host.add("web1", text=WEB), {"b_info": {"vcpus": "2"}})
    host.leave_behind(host.add("web2"), {"c_info": {"name": "web2"}})
    found = imported(host)
    assert [(one["name"], one["equal"]) for one in found["domains"]] == [("web1", True)]
    assert "the toolstack keeps nothing of it" in found["left_out"][0]["reason"]


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
    monkeypatch.setattr(xl_config_info, "XenStore", lambda: host.store)
    monkeypatch.setattr(xl_config_info, "Paths", lambda: host.paths)
    plan = xl_config_info.prepare({"paths": [f"{host.root}/xen/*.xl"]})
    assert plan.actions == []
    assert plan.results["domains"][0]["path"] == f"{host.root}/xen/web1.xl"


@pytest.mark.parametrize("name", ["apache", "zope", "auto", "web1.example"])
@pytest.mark.parametrize("entry", ["{}.cfg", "{}", "10-{}", "zz"])
def test_a_copy_in_auto_starts_with_the_host(host: FakeHost, name: str, entry: str) -> None:
    """The definition in the place of ours counts, whichever file comes first."""
    text = WEB.replace("web1", name)
    path = write(host, f"{name}.cfg", text)
    copy = write(host, f"auto/{entry.format(name)}", text)
    found = imported(host)
    assert [(one["path"], one["autostart"], one["equal"]) for one in found["domains"]] == [(str(path), True, True)]
    assert "autostart" not in found["variables"]["domu_domains"][0]
    assert found["left_out"] == [{"path": str(copy), "reason": f"{path} defines a domain of the same name."}]
    # What xendomains starts does not depend on where definitions are looked for.
    assert imported(host, patterns=["xen/*.cfg"])["domains"][0]["autostart"]


def test_a_definition_in_auto_alone(host: FakeHost) -> None:
    path = write(host, "auto/web1", WEB)
    found = imported(host)
    assert [(one["path"], one["autostart"], one["equal"]) for one in found["domains"]] == [(str(path), True, True)]


@pytest.mark.parametrize("place", ["auto/web1", "auto/10-web"])
def test_a_file_that_would_be_in_the_way(host: FakeHost, place: str) -> None:
    """xl_domain refuses to replace what is not the same."""
    write(host, "web1.cfg", WEB)
    other = write(host, place, WEB.replace("128", "256"))
    (found,) = imported(host)["domains"]
    assert found["differences"] == [f"{other} is not the same, and in the way"]


@pytest.mark.parametrize("text", [WEB.replace("web1", "web2"), "import os\n", WEB.replace("vcpus = 1", "vcpus = 2")])
def test_another_definition_in_the_place_of_ours(host: FakeHost, text: str) -> None:
    place = write(host, "web1.cfg", text)
    (host.root / "srv").mkdir()
    (host.root / "srv" / "db.xl").write_text(WEB)
    (found,) = imported(host, patterns=["srv/*.xl"])["domains"]
    assert found["differences"] == [f"{place} is not the same, and in the way"]


@pytest.mark.parametrize("running", [True, False])
def test_a_definition_that_xl_refuses_leaves_the_others(host: FakeHost, running: bool) -> None:
    host.rejected, host.objection = "bios", "invalid value for bios"
    for name, extra in (("a", 'bios = "foo"\n'), ("web1", ""), ("z", 'bios = "bar"\n')):
        write(host, f"{name}.cfg", WEB.replace("web1", name) + extra)
    if running:
        host.add("a", text=WEB.replace("web1", "a"))
    found = imported(host)
    assert [one["name"] for one in found["domains"]] == ["web1"]
    assert [Path(item["path"]).name for item in found["left_out"]] == ["a.cfg", "z.cfg"]
    assert all("invalid value for bios" in item["reason"] for item in found["left_out"])


def test_a_definition_that_xl_refuses_by_its_own_words_alone(host: FakeHost) -> None:
    """Words of an older xl are written as they are called today."""
    host.rejected, host.objection = "builder", "there is no builder"
    write(host, "web1.cfg", WEB.replace('type = "pv"', "builder='generic'"))
    (found,) = imported(host)["domains"]
    assert found["differences"] == ["xl does not accept the definition: there is no builder"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("web1.cfg", WEB + 'pci = ["name=uplink"]\n'),
        ("guest.cfg", WEB.replace("128", "8")),
        ("web1.cfg", "import os\n"),
        ("auto/web1", "import os\n"),
        ("guest.cfg", "import os\n" + WEB),
        ("auto/guest", MARKER + WEB),
    ],
    ids=["a device with a name", "too little memory", "unreadable", "unreadable in auto", "unreadable with a name", "moved away"],
)
def test_a_running_domain_is_not_expressed_without_its_definition(host: FakeHost, name: str, text: str) -> None:
    path = write(host, name, text)
    host.add("web1", text=WEB)
    found = imported(host)
    assert (found["variables"], found["domains"]) == ({}, [])
    assert [item["path"] for item in found["left_out"]] == [str(path)]


def test_a_running_domain_without_a_definition(host: FakeHost) -> None:
    """What the toolstack keeps and is not read is a difference."""
    host.add("web1", text=WEB)
    (file,) = (host.root / "lib").iterdir()
    kept: dict[str, t.Any] = {
        "c_info": {"type": "pv", "name": "web1"},
        "b_info": {"max_vcpus": 1, "avail_vcpus": [0], "max_memkb": 131072, "target_memkb": 131072, "kernel": "/k", "sched_params": {}},
        "on_reboot": "restart",
    }
    ours = dict(kept)
    host.parse_definition = lambda _text: ours  # type: ignore[method-assign]  # as libxl would read it
    file.write_text(json.dumps(kept) + "\0")
    (found,) = imported(host)["domains"]
    assert (found["equal"], found["path"], found["running"]) == (True, "", True)
    kept["b_info"] = {**kept["b_info"], "sched_params": {"weight": 512}}
    file.write_text(json.dumps(kept) + "\0")
    (found,) = imported(host)["domains"]
    assert not found["equal"]
    assert found["differences"] == ["b_info.sched_params.weight is None, not 512"]


def nic(number: int, **settings: t.Any) -> dict[str, t.Any]:
    return {"devid": number, "mac": f"00:16:3e:00:00:0{number}", "bridge": "br0", "script": "vif-bridge", **settings}


DEVICES: dict[str, t.Any] = {
    "nics": [nic(0), nic(1)],
    "disks": [{"vdev": vdev, "pdev_path": f"/dev/vg/{vdev}", "format": "raw", "readwrite": 1} for vdev in ("xvda", "xvdb")],
}


@pytest.fixture
def detached(host: FakeHost) -> dict[str, t.Any]:
    """A domain of which nobody has the definition, and without its second vif and its second disk. What libxl keeps of it."""
    domid = run(host, "web1", WEB + 'vif = ["mac=00:16:3e:00:00:00", "mac=00:16:3e:00:00:01"]\ndisk = ["vdev=xvda,", "vdev=xvdb,"]\n')
    build = {"max_vcpus": 1, "avail_vcpus": [0], "max_memkb": 131072, "target_memkb": 131072, "kernel": "/k"}
    kept = {"c_info": {"type": "pv", "name": "web1"}, "b_info": build, "on_reboot": "restart", **DEVICES}
    host.kept_file(domid).write_text(json.dumps(kept) + "\0")
    host.parse_definition = lambda _text: {**kept, **{kind: DEVICES[kind][:1] for kind in DEVICES}}  # type: ignore[method-assign]  # as libxl would read it
    host.detach_device("vif", "web1", 1)
    host.detach_device("vbd", "web1", 51728)
    return kept


def test_devices_that_were_detached_are_left_out(host: FakeHost, detached: dict[str, t.Any]) -> None:
    """libxl keeps them all the same."""
    found = imported(host)
    (domain,) = found["variables"]["domu_domains"]
    assert [vif["mac"] for vif in domain["vifs"]] == ["00:16:3e:00:00:00"]
    assert [disk["vdev"] for disk in domain["disks"]] == ["xvda"]
    (report,) = found["domains"]
    assert (report["equal"], report["not_expressed"][1:]) == (
        True,
        ["vif 00:16:3e:00:00:01 was detached while it ran, and is left out", "disk xvdb was detached while it ran, and is left out"],
    )


def test_devices_that_the_recovery_service_attaches_again_are_not_left_out(host: FakeHost, detached: dict[str, t.Any]) -> None:
    fake = t.cast("t.Any", host)
    waiting = [
        WaitingDevice("web1", "vif", "00:16:3e:00:00:01", 1),
        WaitingDevice("web1", "vbd", "xvdb"),
        WaitingDevice("web2", "vif", "00:16:3e:00:00:00", 0),
    ]
    host.parse_definition = lambda _text: detached  # type: ignore[method-assign]  # as libxl would read it
    found = import_domains(fake, fake.store, [], host.paths, "x86_64", waiting)
    (domain,) = found["variables"]["domu_domains"]
    assert [vif["mac"] for vif in domain["vifs"]] == ["00:16:3e:00:00:00", "00:16:3e:00:00:01"]
    assert [disk["vdev"] for disk in domain["disks"]] == ["xvda", "xvdb"]
    assert not [line for one in found["domains"] for line in one["not_expressed"] if "detached" in line]


def test_a_domain_that_has_ended_keeps_its_devices(host: FakeHost, detached: dict[str, t.Any]) -> None:
    """libxl takes them from it when it is destroyed."""
    host.flag("web1", "s")
    (domain,) = imported(host)["variables"]["domu_domains"]
    assert (len(domain["vifs"]), len(domain["disks"])) == (2, 2)


def test_a_device_that_was_detached_and_is_in_the_definition(host: FakeHost) -> None:
    text = WEB + 'vif = ["mac=00:16:3e:00:00:01,bridge=br0", "mac=00:16:3e:00:00:02,bridge=br0"]\n'
    write(host, "web1.cfg", text)
    run(host, "web1", text)
    assert imported(host)["domains"][0]["equal"]
    host.detach_device("vif", "web1", 1)
    found = imported(host)
    assert len(found["variables"]["domu_domains"][0]["vifs"]) == 2
    assert found["domains"][0]["differences"] == [
        "it runs with another configuration than its definition has; starting it again would change it",
        "vif 00:16:3e:00:00:02 was detached while it ran, and is in its definition: site.yml attaches it again",
    ]


def test_a_device_that_somebody_attached_and_detached_is_nobodys(host: FakeHost) -> None:
    write(host, "web1.cfg", WEB)
    run(host, "web1", WEB + 'vif = ["mac=00:16:3e:00:00:01,bridge=br0"]\n')
    assert not imported(host)["domains"][0]["equal"]
    host.detach_device("vif", "web1", 0)
    (found,) = imported(host)["domains"]
    assert (found["equal"], found["not_expressed"]) == (True, [])


def test_a_vif_that_was_replaced_by_hand_has_its_new_address(host: FakeHost) -> None:
    write(host, "web1.cfg", WEB + "vif = [ 'bridge=br0' ]\n")
    run(host, "web1", WEB + 'vif = ["mac=00:16:3e:5a:00:01,bridge=br0", "mac=00:16:3e:5a:00:02,bridge=br0"]\n')
    host.detach_device("vif", "web1", 0)
    assert imported(host)["variables"]["domu_domains"][0]["vifs"] == [{"bridge": "br0", "mac": "00:16:3e:5a:00:02"}]


def test_own_domains_are_left_out_wherever_definitions_are_looked_for(host: FakeHost) -> None:
    for name in ("net-dd", "web1"):
        write(host, f"{name}.cfg", MARKER + WEB.replace("web1", name))
        host.add(name, text=WEB.replace("web1", name))
    (host.root / "srv").mkdir()
    (host.root / "srv" / "db.cfg").write_text(WEB.replace("web1", "db"))
    (host.root / "srv" / "old.cfg").write_text(WEB)
    found = imported(host, patterns=["srv/*.cfg"])
    assert [one["name"] for one in found["domains"]] == ["db"]
    assert found["managed"] == [f"{host.root}/xen/net-dd.cfg", f"{host.root}/xen/web1.cfg"]
    assert "web1.cfg, which this collection wrote, defines a domain of the same name" in found["left_out"][0]["reason"]


NICS = {name: f"00:16:3e:00:00:{number:02x}" for number, name in enumerate(("a", "b", "c"), 10)}


@pytest.mark.parametrize(
    ("declared", "kept", "chosen"),
    [
        (["mac=A,bridge=br0", "bridge=br1"], ["mac=B,bridge=br1", "mac=A,bridge=br0"], "AB"),
        (["bridge=br0", "bridge=br1"], ["mac=B,bridge=br1", "mac=A,bridge=br0"], "AB"),
        (["bridge=br0,backend=dd", "bridge=br0"], ["mac=B,bridge=br0", "mac=A,bridge=br0,backend=dd"], "AB"),
        (
            ["bridge=br0,script=vif-x", "bridge=br0,script=vif-y"],
            ["mac=B,bridge=br0,script=/e/vif-y", "mac=A,script=/e/vif-x,bridge=br0"],
            "AB",
        ),
        # By elimination: the first one may have any bridge.
        (["vifname=", "bridge=br1"], ["mac=B,bridge=br1", "mac=A,bridge=br0"], "AB"),
        (["bridge=br0", "mac=A,bridge=br0"], ["mac=A,bridge=br0", "mac=B,bridge=br0"], "BA"),
        # Two that cannot be distinguished, one that was detached, one that was moved, and one that was attached since.
        (["bridge=br0", "bridge=br0", "bridge=br1"], ["mac=C,bridge=br1", "mac=B,bridge=br0", "mac=A,bridge=br0"], "--C"),
        (["bridge=br0", "bridge=br0"], ["mac=A,bridge=br0"], "--"),
        (["bridge=br0"], ["mac=A,bridge=br1"], "-"),
        (["bridge=br0"], ["mac=A,bridge=br0", "mac=B,bridge=br0"], "-"),
        (["bridge=br0,backend=dd"], ["mac=A,bridge=br0"], "-"),
    ],
)
def test_addresses_are_not_assigned_by_place(host: FakeHost, declared: list[str], kept: list[str], chosen: str) -> None:
    def text(vifs: list[str]) -> str:
        for name, mac in NICS.items():
            vifs = [vif.replace(f"mac={name.upper()}", f"mac={mac}") for vif in vifs]
        return WEB + f"vif = {json.dumps(vifs)}\n"

    write(host, "web1.cfg", text(declared))
    run(host, "web1", text(kept))
    found = imported(host)
    vifs = found["variables"]["domu_domains"][0]["vifs"]
    assert [vif.get("mac") for vif in vifs] == [None if one == "-" else NICS[one.lower()] for one in chosen]
    notes = [note for note in found["domains"][0]["not_expressed"] if "which one it has now cannot be said" in note]
    assert len(notes) == chosen.count("-")


CLAIMS = {
    "disk": 'disk = [ "/dev/vg/web1,raw,xvda,w" ]\n',
    "card": 'pci = [ "0000:09:00.0" ]\n',
    "address": 'vif = [ "mac=00:16:3e:5a:00:01,bridge=br0" ]\n',
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("which", ["web1", "web1-rescue"])
@pytest.mark.parametrize("how", ["running", "autostart"])
def test_alternative_definitions(host: FakeHost, claim: str, which: str, how: str) -> None:
    """Of two that claim the same, the one that runs is declared, or else the one that starts with the host."""
    for name in ("web1", "web1-rescue", "db"):
        path = write(host, f"{name}.cfg", WEB.replace("web1", name) + ("" if name == "db" else CLAIMS[claim]))
        if name == which:
            (host.root / "xen" / "auto" / name).symlink_to(path) if how == "autostart" else run(host, name, path.read_text())
    found = imported(host)
    (other,) = {"web1", "web1-rescue"} - {which}
    assert {one["name"] for one in found["domains"]} == {"db", which}
    (left_out,) = found["left_out"]
    assert left_out["path"] == str(host.root / "xen" / f"{other}.cfg")
    assert "is given twice: to " in left_out["reason"]
    items = [{**BLANK, **{key: value for key, value in item.items() if key != "image"}} for item in found["variables"]["domu_domains"]]
    known = {name: pci_device("0000:09:00.0") for item in items for name in item["pci"] or []}
    items = [{**item, "pci": [{"device": name} for name in item["pci"] or []]} for item in items]
    assert len(definitions(items, known)) == 2
    assert len(found["variables"].get("dom0_pci_assignable", [])) == (claim == "card")


def test_a_cdrom_may_be_in_several_drives(host: FakeHost) -> None:
    for name in ("web1", "web2"):
        write(host, f"{name}.cfg", WEB.replace("web1", name) + 'disk = [ "/srv/iso,raw,xvdc,devtype=cdrom" ]\n')
    assert imported(host)["left_out"] == []
