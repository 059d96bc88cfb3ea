# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disks of running domains, and how any device is made once more; every mutating call is counted."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain import attacher, vbd_made
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.aside import WaitingDevice
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.attacher import Attacher
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.attachments import DevicePlanner
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.devices import VBD, VIF, PvDevice, kept_device
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.repairs import device_text, repair
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.status import log_line
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vbd_options import trusting
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.vbds import VBD_RULES, wanted_vbds
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed, InvalidInput, Refused, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._host_uses import Use
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.modules.xl_vbd import VBD_OPTIONS
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import VDEVS, FakeHost

DISK = {"domain": "web", "vdev": "xvdb", "backend": "store-dd", "target": "/dev/vg/web"}
TEXT = "format=raw,vdev=xvdb,access=rw,backend=store-dd,untrusted,target=/dev/vg/web"
#: What AnsibleModule fills in.
BLANK = {name: option.get("default") for name, option in VBD_OPTIONS.items()}


class Host(FakeHost):
    """Knows how libxl makes a disk."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.uses: list[Use] = []
        self.waiting: list[WaitingDevice] = []
        #: What xl says when a disk is to be detached.
        self.refusal = ""
        self.disk_states = ("4", "4")

    def attach_device(self, kind: str, domain: str, specification: str) -> None:
        head, _equals, target = specification.partition("target=")
        settings = dict(part.partition("=")[::2] for part in head.rstrip(",").split(","))
        super().attach_device(kind, domain, specification)
        domid, devid = self.store.domid_of(domain), VDEVS[settings["vdev"]]
        home = f"/libxl/{domid}/device/vbd/{devid}"
        back = self.store.values[f"{home}/backend"]
        qemu = settings.get("backendtype") == "qdisk"
        made = {
            # libxl_device.c, libxl__device_disk_string_of_format
            "params": f"{settings['format'].replace('raw', 'aio')}:{target}" if qemu else target,
            "type": "qdisk" if qemu else "phy",
            "mode": "w" if settings["access"] == "rw" and settings.get("devtype") != "cdrom" else "r",
            "device-type": settings.get("devtype", "disk"),
            "script": "" if qemu else f"/etc/xen/scripts/{settings.get('script', 'block')}",
            "discard-enable": "0" if "no-discard" in settings else "1",
            **({"direct-io-safe": "1"} if "direct-io-safe" in settings else {}),
        }
        self.store.values.update({home: "", back: "", **{f"{home}/{key}": value for key, value in made.items() if value}})
        self.store.values[f"/local/domain/{domid}/device/vbd/{devid}/state"] = self.disk_states[0]
        self.store.values[f"{back}/state"] = self.disk_states[1]

    def detach_device(self, kind: str, domain: str, devid: int, force: bool = False) -> None:
        if self.refusal:
            self.calls.append(("detach", kind, self.store.values[f"/local/domain/{domain}/name"], str(devid)))
            raise CommandFailed(f"'xl block-detach' failed with exit code 1: {self.refusal}", stderr=self.refusal)
        super().detach_device(kind, domain, devid, force)

    def disks(self, *items: dict[str, t.Any], check_mode: bool = False, force: t.Sequence[str] = (), prune: bool = False) -> Plan:
        fake: t.Any = self
        store: t.Any = self.store
        engine = Attacher(fake, store, 1, str(self.root / "log"))
        planner = DevicePlanner(VBD_RULES, store, engine, lambda: self.uses, self.paths.userdata, self.waiting)
        plan = planner.plan(wanted_vbds([{"state": "present", **BLANK, **item} for item in items]), prune)
        plan.results.update(plan.apply(force, check_mode))
        return plan

    @property
    def verbs(self) -> list[str]:
        found, self.calls = [call[0] for call in self.calls], []
        return found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(attacher, "REMOVAL_DELAY", 0.0)
    host = Host(tmp_path)
    for name in ("store-dd", "web"):
        host.add(name)
    return host


def test_attach_repeat_and_detach(host: Host) -> None:
    before = dict(host.store.values)
    foretold = host.disks(DISK, check_mode=True)
    assert [action.description for action in foretold.actions] == ["attach disk xvdb of web to store-dd"]
    assert (host.calls, host.store.values) == ([], before)
    done = host.disks(DISK)
    assert host.calls == [("attach", "vbd", "web", TEXT)]
    assert done.results["vbds"][0]["connected"] and done.results["vbds"][0]["vdev"] == "xvdb"
    host.calls.clear()
    assert (host.disks(DISK).actions, host.calls) == ([], [])
    # Under another of its names.
    assert (host.disks({**DISK, "vdev": "d1"}).actions, host.calls) == ([], [])
    host.disks({**DISK, "state": "absent", "target": None})
    assert host.verbs == ["detach"]
    assert host.disks({**DISK, "state": "absent"}).actions == []


@pytest.mark.parametrize(
    ("disk", "untrusted"),
    [({}, True), ({"trusted": True}, False), ({"backend": "Domain-0"}, False), ({"backend": None, "trusted": False}, True)],
)
def test_a_guest_trusts_the_disks_of_dom0_alone(disk: dict[str, t.Any], untrusted: bool) -> None:
    found = wanted_vbds([{"state": "present", **BLANK, **DISK, **disk}])[0]
    assert ("untrusted" in device_text(VBD, found.settings).split(",")) == untrusted


@pytest.mark.parametrize("name", ["xvdb", "d1", "hdb"])
def test_one_that_waits_for_its_backend_is_forgotten_by_any_of_its_names(name: str, host: Host) -> None:
    host.waiting = [WaitingDevice("web", "vbd", "xvdb")]
    actions = [action.description for action in host.disks({**DISK, "vdev": name, "state": "absent"}, check_mode=True).actions]
    # hdb is another disk.
    assert actions == ([] if name == "hdb" else ["forget the disk xvdb of web, which waits for its backend"])


SETTINGS: list[tuple[dict[str, t.Any], dict[str, t.Any], str]] = [
    ({}, {"target": "/dev/other"}, "its target is /dev/vg/web, not /dev/other"),
    ({}, {"access": "ro"}, "its access is rw, not ro"),
    ({}, {"devtype": "cdrom"}, "its devtype is disk, not cdrom"),
    ({"devtype": "cdrom"}, {}, "its devtype is cdrom, not disk"),
    ({}, {"script": "block-x"}, "its script is /etc/xen/scripts/block, not block-x"),
    ({}, {"direct_io_safe": True}, "its direct_io_safe is no, not yes"),
    ({"direct_io_safe": True}, {}, "its direct_io_safe is yes, not no"),
    ({}, {"discard": False}, "its discard is yes, not no"),
    ({"backendtype": "qdisk"}, {"backendtype": "phy"}, "its backendtype is qdisk, not phy"),
    ({"backendtype": "qdisk", "format": "qcow2"}, {"backendtype": "qdisk"}, "its format is qcow2, not raw"),
    ({"backendtype": "qdisk"}, {"backendtype": "qdisk", "format": "qcow2"}, "its format is raw, not qcow2"),
    ({"devtype": "cdrom"}, {"devtype": "cdrom", "target": "/dev/other"}, "its target is /dev/vg/web, not /dev/other"),
]


@pytest.mark.parametrize(("before", "after", "reason"), SETTINGS, ids=str)
def test_every_setting_is_reconciled(host: Host, before: dict[str, t.Any], after: dict[str, t.Any], reason: str) -> None:
    host.disks({**DISK, **before})
    assert (host.disks({**DISK, **before}).actions, host.verbs) == ([], ["attach"])
    changed = {**DISK, **after}
    with pytest.raises(Refused, match=rf"Disk xvdb of web: it would be replaced, as {reason}.*may be writing.*force: \[connected_disk\]"):
        host.disks(changed)
    assert host.calls == []
    host.disks(changed, force=["connected_disk"])
    assert host.verbs == ["detach", "attach"]
    assert (host.disks(changed).actions, host.calls) == ([], [])


def test_a_backend_that_was_restarted_needs_no_force(host: Host) -> None:
    host.disks(DISK)
    host.remove("store-dd")
    host.add("store-dd")
    host.calls.clear()
    plan = host.disks(DISK)
    assert host.verbs == ["detach", "attach"]
    assert "its backend is domain 1, not 3" in plan.actions[0].description


@pytest.mark.parametrize(
    ("front", "back", "status", "reason"),
    [
        ("3", "2", "", "its backend does not answer"),
        ("1", "2", "error", "its hotplug script failed"),
        ("4", "6", "", "its backend is closed"),
    ],
)
def test_a_disk_that_does_not_work_is_made_again(host: Host, front: str, back: str, status: str, reason: str) -> None:
    host.disks(DISK)
    path = "/local/domain/1/backend/vbd/2/51728"
    host.store.values.update({"/local/domain/2/device/vbd/51728/state": front, f"{path}/state": back, f"{path}/hotplug-status": status})
    host.calls.clear()
    assert reason in host.disks(DISK).actions[0].description
    assert host.verbs == ["detach", "attach"]


def test_a_guest_without_a_driver_is_waited_for(host: Host) -> None:
    host.disk_states = ("1", "2")
    with pytest.raises(TimedOut, match="The disk xvdb of web was not connected within 1 s: disk xvdb at store-dd: frontend state 1"):
        host.disks(DISK)
    assert host.verbs == ["attach"]
    with pytest.raises(TimedOut):
        host.disks(DISK)
    assert host.calls == []


def test_a_guest_that_uses_its_disk_keeps_it(host: Host) -> None:
    host.disks(DISK)
    host.refusal = "libxl_device_disk_safe_remove failed"
    with pytest.raises(TimedOut, match=r"was not gone within 1 s \(.*safe_remove failed\).*End its use in web"):
        host.disks({**DISK, "state": "absent"})
    assert "/libxl/2/device/vbd/51728/backend" in host.store.values


def test_what_does_not_work_is_removed_in_any_case(host: Host) -> None:
    """The frontend of another system never closes: after the time limit it is forced."""
    host.disks(DISK)
    host.refusal = "libxl_device_disk_safe_remove failed"
    host.store.values["/local/domain/1/backend/vbd/2/51728/hotplug-error"] = "no such file"
    host.calls.clear()
    plan = host.plan([])  # reads nothing of this disk
    assert plan.actions == []

    def attach(kind: str, domain: str, text: str) -> None:
        assert not [path for path in host.store.values if "/vbd/2/51728" in path or "/2/device/vbd/51728" in path]
        Host.attach_device(host, kind, domain, text)

    host.attach_device = attach  # type: ignore[method-assign]  # checks first that the old one is gone
    host.disks(DISK)
    assert host.verbs == ["detach", "attach"]


def test_a_guest_that_was_started_again_meanwhile_keeps_its_disk(host: Host) -> None:
    """Its new disk has the number of the one that was to be removed by force, and works."""
    host.disks(DISK)
    host.store.values["/local/domain/1/backend/vbd/2/51728/state"] = "6"
    plan = host.disks(DISK, check_mode=True)
    host.remove("web")
    host.add("web")
    host.attach_device("vbd", "web", TEXT)
    new = {key: value for key, value in host.store.values.items() if "/3/" in key}
    host.calls.clear()
    plan.actions[0].apply()
    assert (plan.actions[0].description[:11], host.verbs) == ("detach disk", ["detach"])
    assert {key: value for key, value in host.store.values.items() if "/3/" in key} == new


def test_others_stay_unless_they_are_pruned(host: Host) -> None:
    host.disks(DISK, {**DISK, "vdev": "xvda", "target": "/dev/vg/root"})
    host.calls.clear()
    assert host.disks(DISK).actions == []
    plan = host.disks(DISK, prune=True)
    assert [action.description for action in plan.actions] == ["detach disk xvda of web from store-dd (it is not in the list)"]
    assert host.verbs == ["detach"]


def test_a_disk_that_dom0_stands_on(host: Host) -> None:
    own = {**DISK, "domain": "Domain-0"}
    host.disks(own)
    host.uses = [Use("root_disk", "/ is on xvdb -> vbd-51728", ("vbd-51728",))]
    with pytest.raises(Refused, match=r"Disk xvdb of Domain-0: / is on xvdb -> vbd-51728 \[root_disk\]"):
        host.disks({**own, "state": "absent"})


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([DISK, {**DISK, "vdev": "d1"}], "web: the disk d1 is listed twice"),
        ([{**DISK, "target": None}], "web: the disk xvdb has no target"),
        ([DISK, {**DISK, "vdev": "nvme0n1", "state": "absent"}], "web: the vdev 'nvme0n1' is not the name of a disk"),
    ],
)
def test_bad_input(host: Host, items: list[dict[str, t.Any]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        host.disks(*items)


# How a device is made once more

VIF_MADE = {"mac": "00:16:3E:00:00:11", "bridge": "xenbr0", "script": "/etc/xen/scripts/vif-bridge", "ip": "", "vifname": "web0"}
VBD_MADE = {"dev": "xvda", "params": "qcow2:/srv/x,y.qcow2", "type": "qdisk", "mode": "r", "device-type": "cdrom", "discard-enable": "0"}


@pytest.mark.parametrize(
    ("kind", "made", "kept", "text"),
    [
        (
            VIF,
            {**VIF_MADE, "rate": "500000,50000", "mtu": "9000", "type": "vif"},
            {"nics": [{"mac": "00:16:3e:00:00:11", "backend_domname": "dd", "trusted": "False", "gatewaydev": "eth0", "vlan": "5"}]},
            "mac=00:16:3e:00:00:11,bridge=xenbr0,backend=dd,type=vif,script=/etc/xen/scripts/vif-bridge,vifname=web0,"
            "rate=10000000B/s@50000us,mtu=9000,gatewaydev=eth0,vlan=5,untrusted,devid=3",
        ),
        (
            VIF,
            {**VIF_MADE, "mtu": "1500", "type": "vif_ioemu"},
            {"nics": [{"mac": "00:16:3e:00:00:11", "backend_domname": "5", "model": "e1000"}]},
            "mac=00:16:3e:00:00:11,bridge=xenbr0,backend=dd,type=ioemu,model=e1000,script=/etc/xen/scripts/vif-bridge,vifname=web0,devid=3",
        ),
        # Where nobody knows whether it was trusted, it is not.
        (
            VIF,
            VIF_MADE,
            None,
            "mac=00:16:3e:00:00:11,bridge=xenbr0,backend=dd,script=/etc/xen/scripts/vif-bridge,vifname=web0,untrusted,devid=3",
        ),
        (
            VBD,
            VBD_MADE,
            {"disks": [{"vdev": "xvda", "format": "qcow2", "backend_domname": "dd", "trusted": "False"}]},
            "format=qcow2,vdev=xvda,access=ro,devtype=cdrom,backend=dd,untrusted,target=/srv/x,y.qcow2",
        ),
        (
            VBD,
            VBD_MADE,
            None,
            "format=qcow2,vdev=xvda,access=ro,devtype=cdrom,backend=dd,backendtype=qdisk,no-discard,untrusted,target=/srv/x,y.qcow2",
        ),
        (
            VBD,
            {"dev": "xvda", "params": "/dev/d", "type": "phy", "mode": "w", "direct-io-safe": "1", "discard-enable": "1"},
            {"disks": [{"vdev": "xvda", "backend": "phy", "script": "block-x", "discard_enable": "True", "backend_domname": "dd"}]},
            "vdev=xvda,access=rw,backend=dd,backendtype=phy,script=block-x,direct-io-safe,discard,target=/dev/d",
        ),
    ],
)
def test_how_a_device_is_made_once_more(kind: str, made: dict[str, str], kept: dict[str, t.Any] | None, text: str) -> None:
    device = PvDevice(kind, 2, 3, "", 5, f"/local/domain/5/backend/{kind}/2/3", made=made)
    found = repair(device, None if kept is None else json.dumps(kept) + "\0", {5: "dd"}, "")
    assert (found.text, found.backend) == (text, "dd")


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"nics": 1, "disks": {"vdev": 1}}', '{"nics": [null, 1], "disks": ["xvda"]}'])
@pytest.mark.parametrize("device", [PvDevice(VIF, 2, 3, "", 5, "", made=VIF_MADE), PvDevice(VBD, 2, 3, "", 5, "", made=VBD_MADE)], ids=str)
def test_a_damaged_record_says_nothing(device: PvDevice, kept: str) -> None:
    assert kept_device(kept, device) is None


@pytest.mark.parametrize(
    ("backend_id", "kept", "names", "name"),
    [
        (0, {}, {0: "Domain-0"}, ""),
        (5, {"backend_domname": "Domain-0"}, {}, ""),
        (5, {"backend_domname": "dd"}, {5: "other"}, "dd"),
        (5, {"backend_domname": "5"}, {5: "other"}, "other"),
        (5, {}, {}, "?"),
    ],
)
def test_the_name_of_a_backend(backend_id: int, kept: dict[str, str], names: dict[int, str], name: str) -> None:
    device = PvDevice(VIF, 2, 0, "", backend_id, f"/local/domain/{backend_id}/backend/vif/2/0", made={"mac": "m"})
    text = json.dumps({"nics": [{"mac": "m", **kept}]})
    assert repair(device, text, names, "").backend == name


def test_the_log_of_what_failed(tmp_path: Path, host: Host) -> None:
    assert log_line(0, "", str(tmp_path)) == ""
    (tmp_path / "xen-hotplug.log").write_bytes(b"old\n" * 5000 + b"Could not \x1b[2J find it\n\n")
    assert log_line(0, "", str(tmp_path)) == f" ({tmp_path}/xen-hotplug.log ends with: Could not \\x1b[2J find it)"
    (tmp_path / "xl-dd.log").write_text("Domain 5 has shut down, reason code 3 0x3\n")
    assert "has shut down" in log_line(5, "dd", str(tmp_path))
    assert log_line(5, "x\0y", str(tmp_path)) == ""
    (host.root / "log").mkdir()
    (host.root / "log" / "xl-store-dd.log").write_text("it crashed\n")
    host.disk_states = ("3", "2")
    with pytest.raises(TimedOut, match=r"backend state 2, hotplug not done \(.*/log/xl-store-dd.log ends with: it crashed\)"):
        host.disks(DISK)


@pytest.mark.parametrize(
    ("version", "disk", "trusted"),
    [
        ((4, 17), {"backend": "dd"}, True),
        ((4, 18), {"backend": "dd"}, True),
        ((4, 19), {"backend": "dd"}, None),
        (None, {"backend": "dd"}, None),
        ((4, 17), {"backend": "dd", "trusted": False}, False),
        ((4, 17), {"backend": "Domain-0"}, None),
        ((4, 17), {}, None),
    ],
)
def test_disks_trust_their_backends_where_xl_has_no_word_for_the_contrary(
    version: tuple[int, int] | None, disk: dict[str, t.Any], trusted: bool | None
) -> None:
    (found,), warnings = trusting([{"vdev": "xvda", **disk}], version, "web")
    assert found.get("trusted") is trusted
    changed = trusted != disk.get("trusted")
    assert len(warnings) == changed
    assert all(line.startswith("Domain web: the frontends of the disks xvda trust") and "this is 4.1" in line for line in warnings)


@pytest.mark.parametrize(("version", "word"), [((4, 17), False), ((4, 20), True), (None, True)])
def test_a_disk_of_unknown_trust_is_made_again_as_xl_can_have_it(
    version: tuple[int, int] | None, word: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vbd_made, "xen_version", lambda: version)
    device = PvDevice(VBD, 2, 3, "", 5, "/local/domain/5/backend/vbd/2/3", made=VBD_MADE)
    assert ("untrusted" in repair(device, None, {5: "dd"}, "").text) is word


@pytest.mark.parametrize(("runs_as", "backend"), [("new-dd", "new-dd"), ("", "old-dd")])
def test_a_backend_that_was_renamed_has_its_new_name_while_it_runs(runs_as: str, backend: str) -> None:
    kept = json.dumps({"nics": [{"mac": "00:16:3e:00:00:11", "backend_domname": "old-dd"}]}) + "\0"
    device = PvDevice(VIF, 2, 3, runs_as, 5, "/local/domain/5/backend/vif/2/3", made=VIF_MADE)
    assert repair(device, kept, {5: "new-dd"}, "").backend == backend
