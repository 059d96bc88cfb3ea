# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which disks are the same, and who uses them; with loop devices and device mapper where the machine allows it."""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._domain.disk import Disk, vdev_number
from ansible_collections.xen.driver_domains.plugins.module_utils._domain.disks import Disks, identity
from ansible_collections.xen.driver_domains.plugins.module_utils._errors import InvalidInput, Refused
from ansible_collections.xen.driver_domains.tests.unit.fakes.domains import FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def guest(name: str, target: object, **options: t.Any) -> dict[str, t.Any]:
    return {"name": name, "disks": [{"vdev": "xvda", "target": str(target), **options}]}


@pytest.mark.parametrize(
    "names",
    [("xvda", "d0", "d0p0", "51712", "0xca00", "/dev/xvda"), ("xvdb1", "d1p1", "51729"), ("hda", "768"), ("sdb2", "2066"), ("xvdq", "d16")],
)
def test_names_of_one_device(names: tuple[str, ...]) -> None:
    assert len({vdev_number(name) for name in names}) == 1


def test_names_of_different_devices() -> None:
    names = ["xvda", "xvda1", "xvdb", "hda", "hdb", "hdc", "sda", "sdb", "xvdz", "xvdaa", "xvdaaa", "d30", "something", "d0p2"]
    assert len({vdev_number(name) for name in names}) == len(names)


@pytest.mark.parametrize("second", ["xvda", "d0", "51712"])
def test_a_vdev_twice(second: str, host: FakeHost) -> None:
    disks = [{"vdev": "xvda", "target": "/a"}, {"vdev": second, "target": "/b"}]
    with pytest.raises(InvalidInput, match="Domain web1: The vdev 51712 is given twice"):
        host.run_plan([{"name": "web1", "disks": disks}])


class TestTwoDomains:
    """One disk for two domains."""

    @pytest.mark.parametrize(("first", "second"), [("rw", "rw"), ("rw", "ro"), ("ro", "rw")])
    @pytest.mark.parametrize("path", ["/disks/../disks/a.img", "//disks/a.img", "/disks//./a.img"])
    def test_one_of_them_writes(self, first: str, second: str, path: str, host: FakeHost) -> None:
        guests = [guest("web1", "/disks/a.img", access=first), guest("web2", path, access=second)]
        with pytest.raises(InvalidInput, match=r"The disk /disks/a.img is given twice: to web1 and to web2"):
            host.run_plan(guests)

    @pytest.mark.parametrize(
        "options",
        [{"backend": "store-dd"}, {"script": "block-iscsi"}],
        ids=["served by the same domain", "attached by a script"],
    )
    def test_wherever_it_is(self, options: dict[str, t.Any], host: FakeHost) -> None:
        with pytest.raises(InvalidInput, match=r"The disk iqn.x is given twice: to web1 and to web2"):
            host.run_plan([guest("web1", "iqn.x", **options), guest("web2", "iqn.x", **options)])

    @pytest.mark.parametrize("path", ["/dev/mapper/vg--0-web", "aio:/dev/vg-0/web", "//dev/vg-0/./web"])
    def test_the_names_of_a_volume_in_another_domain(self, path: str, host: FakeHost) -> None:
        with pytest.raises(InvalidInput, match=r"The disk /dev/vg-0/web is given twice: to web1 and to web2"):
            host.run_plan([guest("web1", "/dev/vg-0/web", backend="store-dd"), guest("web2", path, backend="store-dd")])

    def test_nobody_writes(self, host: FakeHost, tmp_path: Path) -> None:
        (tmp_path / "a.iso").write_text("")
        host.run_plan([guest(name, tmp_path / "a.iso", access="ro") for name in ("web1", "web2")])
        assert len(host.calls) == 2

    def test_disks_of_different_backends_are_not_the_same(self, host: FakeHost) -> None:
        host.run_plan([{"name": "a-dd"}, {"name": "b-dd"}, guest("web1", "/d", backend="a-dd"), guest("web2", "/d", backend="b-dd")])
        assert len(host.calls) == 4

    @pytest.mark.parametrize("link", [os.symlink, os.link])
    def test_two_names_of_one_file(self, link: t.Callable[[Path, Path], None], host: FakeHost, tmp_path: Path) -> None:
        (tmp_path / "a.img").write_text("")
        link(tmp_path / "a.img", tmp_path / "b.img")
        with pytest.raises(Refused, match=r"Domain web2: its disk .*b.img is, or holds, or is a part of a disk of web1"):
            host.run_plan([guest("web1", tmp_path / "a.img"), guest("web2", tmp_path / "b.img")])
        assert host.calls == []

    @pytest.mark.parametrize("params", ["{}", "aio:{}", "qcow2:{}", "aio:qcow2:{}"])
    @pytest.mark.parametrize("kind", ["vbd", "vbd3", "qdisk"])
    def test_a_running_domain_that_the_list_does_not_have(self, kind: str, params: str, host: FakeHost, tmp_path: Path) -> None:
        (tmp_path / "a.img").write_text("")
        domid = host.add("other")
        node = f"/local/domain/0/backend/{kind}/{domid}/51712"
        host.store.values.update({f"{node}/params": params.format(tmp_path / "a.img"), f"{node}/mode": "w"})
        with pytest.raises(Refused, match="a part of a disk of other"):
            host.run_plan([guest("web1", tmp_path / "a.img")])
        with pytest.raises(Refused, match="a part of a disk of other"):
            host.run_plan([guest("web1", tmp_path / "a.img", access="ro")])
        host.remove("other")
        host.run_plan([guest("web1", tmp_path / "a.img")])
        assert host.calls == [("create", "web1")]

    @pytest.mark.parametrize(
        ("path", "mode", "access", "refused"),
        [
            ("/dev/mapper/vg0-web", "w", "ro", True),
            ("/dev/vg0/web", "r", "rw", True),
            ("/dev/vg0/web", "r", "ro", False),
            ("/dev/vg1/web", "w", "rw", False),
        ],
    )
    def test_a_volume_of_a_running_domain(self, path: str, mode: str, access: str, refused: bool, host: FakeHost) -> None:
        storage, other = host.add("store-dd"), host.add("other")
        own = f"/libxl/{other}/device/vbd/51712"
        host.store.values.update(
            {
                f"{own}/backend": f"/local/domain/{storage}/backend/vbd/{other}/51712",
                f"{own}/params": "/dev/vg0/web",
                f"{own}/mode": mode,
            }
        )
        wanted = [guest("web1", path, access=access, backend="store-dd")]
        if refused:
            with pytest.raises(Refused, match=f"its disk {path} is, or holds, or is a part of a disk of other"):
                host.run_plan(wanted)
            host.remove("other")
        host.run_plan(wanted)
        assert host.calls == [("create", "web1")]

    def test_the_domain_itself_and_those_that_are_stopped_do_not_count(self, host: FakeHost, tmp_path: Path) -> None:
        (tmp_path / "a.img").write_text("")
        domid = host.adopt("old")
        node = f"/local/domain/0/backend/vbd/{domid}/51712"
        host.store.values.update({f"{node}/params": str(tmp_path / "a.img"), f"{node}/mode": "w"})
        host.run_plan([{"name": "old", "state": "absent"}, guest("web1", tmp_path / "a.img")])
        assert host.calls == [("shutdown", "old"), ("create", "web1")]


@pytest.mark.parametrize("target", ["/dev/not-a-volume-group/not-there", "/dev/../dev/not-there"])
def test_a_source_is_not_copied_into_devtmpfs(target: str, host: FakeHost) -> None:
    (host.root / "image").write_text("")
    with pytest.raises(Refused, match="would be copied into memory: /dev is not on a disk"):
        host.run_plan([guest("web1", target, source=str(host.root / "image"))])
    assert not os.path.exists(host.paths.definition("web1"))
    plan = host.run_plan([guest("web1", target, source=str(host.root / "image"))], check_mode=True)
    assert "unless an earlier task resolves it" in plan.warnings[0]


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def undo() -> t.Iterator[list[tuple[str, ...]]]:
    """Commands that take real devices away again, the last one first."""
    commands: list[tuple[str, ...]] = []
    yield commands
    for command in reversed(commands):
        subprocess.run(command, check=False, capture_output=True)


class TestRealDevices:
    """Block devices of this machine's kernel."""

    @pytest.fixture
    def loop(self, tmp_path: Path, undo: list[tuple[str, ...]]) -> str:
        if os.geteuid() != 0 or not shutil.which("losetup"):
            pytest.skip("loop devices need root and losetup")
        with open(tmp_path / "backing.img", "wb") as handle:
            handle.truncate(32 << 20)
        try:
            device = run("losetup", "--find", "--show", str(tmp_path / "backing.img"))
        except subprocess.CalledProcessError as exc:
            pytest.skip(f"no loop device: {exc.stderr}")
        undo.append(("losetup", "--detach", device))
        return device

    @staticmethod
    def mapped(device: str, undo: list[tuple[str, ...]]) -> str:
        name = f"xdd-test-{os.getpid()}"
        try:
            run("dmsetup", "create", name, "--table", f"0 65536 linear {device} 0")
        except (OSError, subprocess.CalledProcessError) as exc:
            pytest.skip(f"no device mapper: {exc}")
        undo.append(("dmsetup", "remove", name))
        return f"/dev/mapper/{name}"

    @staticmethod
    def mounted(device: str, tmp_path: Path, undo: list[tuple[str, ...]], *options: str) -> None:
        (tmp_path / "mnt").mkdir()
        try:
            run("mkfs.ext4", "-q", device)
            run("mount", *options, device, str(tmp_path / "mnt"))
        except (OSError, subprocess.CalledProcessError) as exc:
            pytest.skip(f"no file system: {exc}")
        undo.append(("umount", str(tmp_path / "mnt")))

    def test_a_free_device(self, loop: str) -> None:
        assert Disks().host_use(Disk(loop)) == ""
        assert Disks().related(loop) == {identity(loop), identity(run("losetup", "-nO", "BACK-FILE", loop))}

    def test_a_mounted_device_and_its_file(self, loop: str, host: FakeHost, undo: list[tuple[str, ...]]) -> None:
        self.mounted(loop, host.root, undo)
        assert f"it is mounted at {host.root}/mnt" in Disks().host_use(Disk(loop))
        for target in (loop, f"{host.root}/backing.img"):
            assert f"this host writes to it, at {host.root}/mnt" in Disks().host_use(Disk(target, writable=False))
        assert loop in Disks().host_use(Disk(f"{host.root}/backing.img"))
        with pytest.raises(Refused, match="Domain web1: its disk /dev/loop.* is in use: this host uses it: it is mounted at"):
            host.run_plan([guest("web1", loop)])
        assert (host.calls, os.path.exists(host.paths.definition("web1"))) == ([], False)

    def test_a_device_that_is_mounted_to_be_read(self, loop: str, tmp_path: Path, undo: list[tuple[str, ...]]) -> None:
        self.mounted(loop, tmp_path, undo, "-o", "ro")
        assert Disks().host_use(Disk(loop, writable=False)) == ""
        assert Disks().host_use(Disk(loop)) != ""

    def test_a_device_of_which_a_volume_is_made(self, loop: str, host: FakeHost, undo: list[tuple[str, ...]]) -> None:
        volume = self.mapped(loop, undo)
        assert "is made of it" in Disks().host_use(Disk(loop))
        assert Disks().host_use(Disk(volume)) == ""
        # The volume is a running guest's; its physical volume is asked for, to be read only.
        domid = host.add("other")
        node = f"/local/domain/0/backend/vbd/{domid}/51712"
        host.store.values.update({f"{node}/params": volume, f"{node}/mode": "w"})
        host.paths = type(host.paths)(*[*vars(host.paths).values()][:3], "/sys", host.paths.run)
        for target in (loop, f"{host.root}/backing.img"):
            with pytest.raises(Refused, match="is, or holds, or is a part of a disk of other"):
                host.run_plan([guest("web1", target, access="ro")])

    def test_swap(self, loop: str, undo: list[tuple[str, ...]]) -> None:
        try:
            run("mkswap", loop)
            run("swapon", loop)
        except (OSError, subprocess.CalledProcessError) as exc:
            pytest.skip(f"no swap: {exc}")
        undo.append(("swapoff", loop))
        assert Disks().host_use(Disk(loop)) != ""


def test_what_is_below_and_above_a_device(tmp_path: Path) -> None:
    """Two partitions of a disk (8:0), the first of them with two volumes: each of the four can be another domain's."""
    sysfs = tmp_path / "sys"
    disk, volumes = sysfs / "devices/sda", {name: sysfs / f"devices/{name}" for name in ("dm-0", "dm-1")}
    numbers = {"8:0": disk, "8:1": disk / "sda1", "8:2": disk / "sda2", "253:0": volumes["dm-0"], "253:1": volumes["dm-1"]}
    (sysfs / "dev/block").mkdir(parents=True)
    for number, node in numbers.items():
        node.mkdir(parents=True)
        (node / "dev").write_text(f"{number}\n")
        (sysfs / "dev/block" / number).symlink_to(node)
    for partition in ("sda1", "sda2"):
        (disk / partition / "partition").write_text("1\n")
    for name, node in volumes.items():
        for folder, other in ((disk / "sda1/holders" / name, node), (node / "slaves/sda1", disk / "sda1")):
            folder.parent.mkdir(exist_ok=True)
            folder.symlink_to(other)
    disks = Disks(str(sysfs))
    walks = {number: (disks._walk(f"b{number}", disks._below), disks._walk(f"b{number}", disks._above)) for number in numbers}
    assert walks == {
        "8:0": ({"b8:1", "b8:2", "b253:0", "b253:1"}, set()),
        "8:1": ({"b253:0", "b253:1"}, {"b8:0"}),
        "8:2": (set(), {"b8:0"}),
        "253:0": (set(), {"b8:1", "b8:0"}),
        "253:1": (set(), {"b8:1", "b8:0"}),
    }
