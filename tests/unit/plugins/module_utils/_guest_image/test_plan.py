# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images: what their key depends on, how they are built, what is left when a build fails."""

from __future__ import annotations

import bz2
import collections
import contextlib
import gzip
import io
import json
import lzma
import os
import struct
import tarfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import (
    CommandFailed,
    DriverDomainsError,
    InvalidInput,
    NotOnThisHost,
    TimedOut,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image import plan as _guest_image
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.plan import (
    Builder,
    Image,
    ImageCache,
    bzimage_payload,
    decompress,
    plan_images,
    read_host,
    read_images,
)
from ansible_collections.xen.driver_domains.plugins.module_utils._runner import Result, Runner

ELF = b"\x7fELF" + bytes(range(256)) * 64


def item(**changes: t.Any) -> dict[str, t.Any]:
    """One item of the option images, as AnsibleModule hands it over."""
    return {
        "name": "dd",
        "format": "ramdisk",
        "suite": "trixie",
        "architecture": None,
        "packages": ["kmod", "busybox"],
        "files": [{"path": "/etc/a", "content": "a", "mode": "0644"}, {"path": "/etc/b", "content": "b", "mode": "0755"}],
        "kernel": True,
        "modules": ["e1000e", "xen-netfront"],
        "size": None,
        "mirror": [],
        "revision": None,
        **changes,
    }


def image(**changes: t.Any) -> Image:
    return next(iter(read_images([item(**changes)], lambda: "amd64").values()))


def bzimage(payload: bytes, version: int = 0x20F, setup_sectors: int = 3, length: int | None = None) -> bytes:
    """An x86 kernel image with the header fields that tell where the payload is."""
    image = bytearray(((setup_sectors or 4) + 1) * 512 + 64)
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, version)
    struct.pack_into("<II", image, 0x248, 64, len(payload) if length is None else length)
    return bytes(image) + payload + b"what follows the payload"


def xz(data: bytes) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_CRC32) + struct.pack("<I", len(data))


class FakeMmdebstrap(Runner):
    """Leaves what mmdebstrap leaves, and remembers every command."""

    def __init__(self, rc: int = 0, stderr: str = "", kernel: bytes = b"") -> None:
        super().__init__()
        self.rc, self.stderr = rc, stderr
        self.kernel = kernel or bzimage(xz(ELF))
        self.commands: list[list[str]] = []
        self.environments: list[t.Mapping[str, str]] = []

    def run(self, argv: t.Sequence[str], *, environment: t.Mapping[str, str] | None = None, **options: t.Any) -> Result:
        self.commands.append(list(argv))
        self.environments.append(environment or {})
        if "mmdebstrap" in argv and self.rc == 0:
            (out,) = (word.split()[-1] for word in argv if word.startswith("--customize-hook=copy-out "))
            system = Path(out) / ".guest-image"
            system.mkdir()
            (system / "kernel").write_bytes(self.kernel)
            (system / "ramdisk").write_bytes(b"ramdisk")
            (system / "packages").write_text("kmod\t34.2\nbusybox\t1:1.37\n")
        return Result(tuple(argv), self.rc, "", self.stderr)


def builder(cache: ImageCache, runner: Runner, **options: t.Any) -> Builder:
    return Builder(cache, runner, 60, **{"which": lambda name: f"/usr/bin/{name}", "uid": 0, **options})


@pytest.fixture(name="cache")
def make_cache(tmp_path: Path) -> ImageCache:
    return ImageCache(str(tmp_path / "cache"))


def tree(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


# Keys


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "disk"},
        {"suite": "bookworm"},
        {"architecture": "arm64"},
        {"packages": ["kmod"]},
        {"packages": ["kmod", "busybox", "linux-image-cloud-amd64"]},
        {"files": [{"path": "/etc/a", "content": "a", "mode": "0644"}]},
        {"files": [{"path": "/etc/a", "content": "A", "mode": "0644"}, {"path": "/etc/b", "content": "b", "mode": "0755"}]},
        {"files": [{"path": "/etc/a", "content": "a", "mode": "0600"}, {"path": "/etc/b", "content": "b", "mode": "0755"}]},
        {"files": [{"path": "/etc/c", "content": "a", "mode": "0644"}, {"path": "/etc/b", "content": "b", "mode": "0755"}]},
        {"kernel": False},
        {"modules": ["e1000e"]},
        {"mirror": ["deb http://mirror.example.org/debian trixie main"]},
        {"revision": "2026-08"},
    ],
    ids=json.dumps,
)
def test_every_input_changes_the_key(changes: dict[str, t.Any]) -> None:
    assert image(**changes).key != image().key


def test_the_size_of_a_disk_changes_its_key() -> None:
    assert len({image(format="disk", size=size).key for size in ("1G", "1024M", "3G")}) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"packages": ["busybox", "kmod", "kmod"]},
        {"modules": ["xen-netfront", "e1000e"]},
        {"files": list(reversed(item()["files"]))},
        {"architecture": "amd64"},
        {"revision": ""},
    ],
    ids=json.dumps,
)
def test_what_does_not_change_the_image_does_not_change_the_key(changes: dict[str, t.Any]) -> None:
    assert image(**changes).key == image().key


def test_the_build_itself_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image().key
    monkeypatch.setattr(_guest_image, "FINISH_SCRIPT", "exit 1")
    assert image().key != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../x"}, r"name '../x' is not valid"),
        ({"suite": "Trixie!"}, r"suite 'Trixie!' is not valid"),
        ({"packages": ["kmod; rm"]}, r"'kmod; rm' in packages"),
        ({"modules": ["a b"]}, r"'a b' in modules"),
        ({"size": "2G"}, r"size '2G' is only for format disk"),
        ({"format": "disk", "size": "2T"}, r"size '2T' is not usable"),
        ({"format": "disk", "size": "1M"}, r"at least 64M"),
        ({"files": [{"path": "etc/a", "content": "", "mode": None}]}, r"'etc/a' is not usable"),
        ({"files": [{"path": "/etc/../a", "content": "", "mode": None}]}, r"'/etc/../a' is not usable"),
        ({"files": [{"path": "/a", "content": "", "mode": "rwx"}]}, r"mode 'rwx' of /a is not octal"),
        ({"files": [{"path": "/a", "content": "", "mode": None}] * 2}, r"/a is listed twice"),
    ],
)
def test_bad_input(changes: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        image(**changes)


def test_an_image_is_called_like_its_domain() -> None:
    """What _domain_definition takes for a name."""
    assert list(read_images([item(name="a+b_c.d-e")], lambda: "amd64")) == ["a+b_c.d-e"]


def test_two_images_with_one_name() -> None:
    with pytest.raises(InvalidInput, match="Item 2 of images has the name 'dd'"):
        read_images([item(), item(suite="bookworm")], lambda: "amd64")


# The build's commands


def test_command_for_a_ramdisk() -> None:
    command = image(mirror=["deb http://mirror.example.org/debian trixie main"]).build_command("/tmp/x")
    assert command[:5] == [
        "mmdebstrap",
        "--variant=essential",
        "--format=null",
        "--architectures=amd64",
        "--include=busybox,initramfs-tools,kmod,linux-image-amd64",
    ]
    assert command[-3:] == ["trixie", "-", "deb http://mirror.example.org/debian trixie main"]
    assert "--customize-hook=tar-in /tmp/x/overlay.tar /" in command
    assert "--customize-hook=copy-out /.guest-image /tmp/x" in command


def test_command_for_a_disk_without_kernel() -> None:
    disk = image(format="disk", kernel=False)
    assert disk.build_command("/tmp/x")[1:5] == ["--variant=minbase", "--format=tar", "--architectures=amd64", "--include=busybox,kmod"]
    assert disk.build_command("/tmp/x")[-2:] == ["trixie", "/tmp/x/root.tar"]
    assert disk.parts == ("disk",)


def test_own_kernel_package_replaces_the_default() -> None:
    assert image(packages=["linux-image-cloud-amd64"]).all_packages == ["initramfs-tools", "linux-image-cloud-amd64"]


def test_overlay() -> None:
    with tarfile.open(fileobj=io.BytesIO(image(format="disk", modules=["loop"]).overlay())) as archive:
        entries = {entry.name: entry for entry in archive}
        modules = archive.extractfile("etc/initramfs-tools/modules")
        assert modules is not None and modules.read() == b"ext4\nloop\nxen-blkfront\n"
    assert list(entries) == sorted(entries)
    assert entries["etc/b"].mode == 0o755
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries.values()} == {(0, 0, _guest_image.EPOCH)}


# Kernels


@pytest.mark.parametrize("pack", [xz, gzip.compress, lambda data: bz2.compress(data) + b"size"])
@pytest.mark.parametrize("setup_sectors", [0, 3, 31])
def test_kernel_is_unpacked(pack: t.Callable[[bytes], bytes], setup_sectors: int) -> None:
    payload = bzimage_payload(bzimage(pack(ELF), setup_sectors=setup_sectors))
    assert payload is not None and decompress(payload) == ELF


def test_zstd_payload_comes_without_the_size_behind_it() -> None:
    assert bzimage_payload(bzimage(b"\x28\xb5\x2f\xfdpacked" + struct.pack("<I", 77))) == b"\x28\xb5\x2f\xfdpacked"


@pytest.mark.parametrize("kernel", [b"MZ an Image for Arm" + bytes(4096), bzimage(xz(ELF), version=0x207), b"short"])
def test_what_is_no_bzimage_is_left_alone(kernel: bytes) -> None:
    assert bzimage_payload(kernel) is None


@pytest.mark.parametrize("length", [0, 1 << 20])
def test_kernel_that_is_cut_off(length: int) -> None:
    with pytest.raises(DriverDomainsError, match="cut off"):
        bzimage_payload(bzimage(xz(ELF), length=length))


def test_unknown_packing() -> None:
    with pytest.raises(DriverDomainsError, match="unknown way.*6c7a6f00.*Known are"):
        decompress(b"lzo\x00data")


# Building


def test_build_and_find_again(cache: ImageCache) -> None:
    runner = FakeMmdebstrap()
    images = read_images([item(), item(name="twin"), item(name="other", revision="2")], lambda: "amd64")
    plan = plan_images(images, "present", cache, builder(cache, runner))
    assert [action.description for action in plan.actions] == [
        f"Build image dd ({images['dd'].key})",
        f"Build image other ({images['other'].key})",
    ]
    plan.apply()
    first, twin, other = plan.conclude()["images"]
    assert first["directory"] == twin["directory"] == os.path.join(cache.directory, images["dd"].key)
    assert Path(first["kernel"]).read_bytes() == ELF
    assert Path(first["ramdisk"]).read_bytes() == b"ramdisk"
    assert (first["disk"], first["present"], first["size_bytes"]) == ("", True, len(ELF) + len(b"ramdisk"))
    assert os.path.samefile(first["kernel"], other["kernel"])
    manifest = json.loads(Path(first["directory"], "manifest.json").read_text(encoding="utf-8"))
    assert manifest["packages"] == {"busybox": "1:1.37", "kmod": "34.2"}
    assert manifest["image"]["suite"] == "trixie"
    assert [name for name in os.listdir(cache.directory) if name.startswith(".build")] == []
    assert runner.environments[0]["SOURCE_DATE_EPOCH"] == str(_guest_image.EPOCH)

    again = FakeMmdebstrap()
    assert plan_images(images, "present", cache, builder(cache, again)).actions == []
    assert again.commands == []


def test_check_mode_writes_nothing_and_knows_the_paths(tmp_path: Path, cache: ImageCache) -> None:
    runner = FakeMmdebstrap()
    plan = plan_images({"dd": image()}, "present", cache, builder(cache, runner))
    (result,) = plan.results["images"]
    assert result["ramdisk"] == f"{cache.directory}/{image().key}/ramdisk"
    assert (result["present"], result["size_bytes"], result["files"]) == (False, 0, {})
    assert '"suite": "trixie"' in plan.diffs[0]["after"] and plan.diffs[0]["before"] == ""
    assert (tree(tmp_path), runner.commands) == ([], [])


def test_failure_leaves_nothing_and_tells_apts_words(cache: ImageCache) -> None:
    log = "I: running apt-get update...\nE: Unable to locate package xen-utils-9.9\nE: mmdebstrap failed to run\n"
    with pytest.raises(CommandFailed, match="trixie/amd64: E: Unable to locate package xen-utils-9.9") as caught:
        builder(cache, FakeMmdebstrap(rc=25, stderr=log)).build(image())
    assert "failed to run" not in str(caught.value)
    assert caught.value.details["log"] == log.splitlines()
    assert tree(Path(cache.directory)) == [".lock"]


def test_kernel_that_cannot_be_unpacked_leaves_nothing(cache: ImageCache) -> None:
    with pytest.raises(DriverDomainsError, match="does not unpack to an ELF file"):
        builder(cache, FakeMmdebstrap(kernel=bzimage(xz(b"no kernel")))).build(image())
    assert tree(Path(cache.directory)) == [".lock"]


def test_time_limit(cache: ImageCache) -> None:
    with pytest.raises(TimedOut, match="did not end within 60 s"):
        builder(cache, FakeMmdebstrap(rc=124)).build(image())


def test_two_builds_of_one_image(cache: ImageCache) -> None:
    builder(cache, FakeMmdebstrap()).build(image())
    second = FakeMmdebstrap()
    builder(cache, second).build(image())
    assert second.commands == []


def test_lock_is_held_by_another_build(cache: ImageCache) -> None:
    os.makedirs(cache.directory)
    with cache.lock(0), pytest.raises(TimedOut, match="Another build held"), cache.lock(0):
        pass


def test_ordinary_user_gets_a_scratch_directory_that_others_can_enter(cache: ImageCache) -> None:
    runner = FakeMmdebstrap()
    builder(cache, runner, uid=1000).build(image())
    assert runner.environments[0]["TMPDIR"] == "/var/tmp"


@pytest.mark.parametrize(
    ("present", "uid", "format_", "message"),
    [
        ((), 0, "ramdisk", r"lacks mmdebstrap, zstd.*apt-get install mmdebstrap zstd"),
        (("mmdebstrap", "zstd"), 0, "disk", r"lacks mke2fs, debugfs, dumpe2fs.*apt-get install e2fsprogs"),
        (("mmdebstrap", "zstd"), 1000, "ramdisk", r"lacks newuidmap.*apt-get install uidmap"),
        (("mmdebstrap", "zstd", "mke2fs", "debugfs", "dumpe2fs", "newuidmap"), 1000, "disk", r"lacks fakeroot"),
    ],
)
def test_missing_programs(cache: ImageCache, present: tuple[str, ...], uid: int, format_: str, message: str) -> None:
    poor = builder(cache, FakeMmdebstrap(), which=lambda name: name if name in present else None, uid=uid)
    with pytest.raises(NotOnThisHost, match=message):
        plan_images({"dd": image(format=format_)}, "present", cache, poor)


@pytest.mark.parametrize(("uid", "separate"), [(0, True), (1000, False)])
def test_root_builds_in_a_mount_namespace_of_its_own(cache: ImageCache, uid: int, separate: bool) -> None:
    """What a killed mmdebstrap leaves mounted must not be there when its directory is removed."""
    runner = FakeMmdebstrap()
    builder(cache, runner, uid=uid).build(image())
    (command,) = (argv for argv in runner.commands if "mmdebstrap" in argv)
    assert (command[:2] == ["unshare", "--mount"]) is separate


def test_mmdebstrap_wants_arch_test_for_another_architecture(cache: ImageCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", "x86_64")))
    poor = builder(cache, FakeMmdebstrap(), which=lambda name: None if name == "arch-test" else name)
    poor.check([image()])
    with pytest.raises(NotOnThisHost, match="lacks arch-test.*apt-get install arch-test"):
        poor.check([image(architecture="arm64")])


@pytest.mark.parametrize(
    ("machine", "architecture", "interpreter", "missing"),
    [
        ("x86_64", "amd64", None, False),
        ("x86_64", "arm64", None, True),
        ("x86_64", "arm64", "disabled\n", True),
        ("x86_64", "arm64", "enabled\ninterpreter /usr/bin/qemu\n", False),
        ("aarch64", "arm64", None, False),
        ("x86_64", "mips64el", None, True),
    ],
)
def test_programs_of_another_architecture(
    cache: ImageCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    architecture: str,
    interpreter: str | None,
    missing: bool,
) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", machine)))
    place = tmp_path / "sys/fs/binfmt_misc"
    place.mkdir(parents=True)
    if interpreter:
        (place / "qemu-aarch64").write_text(interpreter)
    expected = pytest.raises(NotOnThisHost, match="cannot run programs for .*apt-get install qemu-user-static")
    with expected if missing else contextlib.nullcontext():
        builder(cache, FakeMmdebstrap(), procfs=str(tmp_path)).check([image(architecture=architecture)])


def test_too_little_space(cache: ImageCache, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(_guest_image.shutil, "disk_usage", lambda path: usage(0, 0, 300 << 20))
    with pytest.raises(NotOnThisHost, match=r"0.3 GiB free. .*format ramdisk needs 1.0 GiB.*another cache_dir"):
        plan_images({"dd": image()}, "present", cache, builder(cache, FakeMmdebstrap()))


# The cache


def test_image_that_is_not_complete_does_not_count(cache: ImageCache) -> None:
    builder(cache, FakeMmdebstrap()).build(image())
    assert cache.keys() == [image().key]
    os.truncate(f"{cache.path(image())}/ramdisk", 3)
    assert cache.keys() == []
    builder(cache, FakeMmdebstrap()).build(image())
    os.unlink(f"{cache.path(image())}/kernel")
    assert cache.manifest(image().key) is None


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"files": {"kernel": 1}}'])
def test_an_image_whose_manifest_a_power_cut_damaged_is_built_again(cache: ImageCache, text: str) -> None:
    builder(cache, FakeMmdebstrap()).build(image())
    Path(cache.path(image()), "manifest.json").write_text(text, encoding="utf-8")
    assert cache.keys() == []
    builder(cache, FakeMmdebstrap()).build(image())
    assert cache.keys() == [image().key]


def test_what_a_killed_build_left_is_removed_by_the_next_one(cache: ImageCache) -> None:
    left = Path(cache.directory, ".build-killed/root")
    left.mkdir(parents=True)
    builder(cache, FakeMmdebstrap()).build(image())
    assert sorted(os.listdir(cache.directory)) == [".lock", image().key]


def test_what_the_host_has_mounted_is_not_removed(cache: ImageCache, monkeypatch: pytest.MonkeyPatch) -> None:
    left = Path(cache.directory, ".build-killed/root/dev/shm")
    left.mkdir(parents=True)
    mounts = f"36 35 0:22 / {left} rw,nosuid - tmpfs tmpfs rw\n"
    monkeypatch.setattr(_guest_image, "read_text", lambda path: mounts if path == "/proc/self/mountinfo" else None)
    cache.sweep()
    assert left.exists()


def test_absent(cache: ImageCache) -> None:
    images = {"dd": image()}
    runner = FakeMmdebstrap()
    assert plan_images(images, "absent", cache, builder(cache, runner)).actions == []
    builder(cache, runner).build(image())
    plan = plan_images(images, "absent", cache, builder(cache, runner))
    (action,) = plan.actions
    action.apply()
    assert tree(Path(cache.directory)) == [".lock"]
    assert plan.diffs[0]["after"] == ""


# Hosts


@pytest.mark.parametrize(
    ("release", "version", "suite", "xen"),
    [
        ('NAME="Debian"\nVERSION_CODENAME=trixie\n', (4, 20), "trixie", "4.20"),
        ('VERSION_CODENAME="bookworm"\n', None, "bookworm", ""),
        ("NAME=other\n", (4, 17), "", "4.17"),
    ],
)
def test_host(tmp_path: Path, cache: ImageCache, release: str, version: tuple[int, int] | None, suite: str, xen: str) -> None:
    (tmp_path / "os-release").write_text(release, encoding="utf-8")
    host = read_host(cache, version, str(tmp_path / "os-release"))
    assert (host["suite"], host["xen_version"], host["image_keys"]) == (suite, xen, [])
    assert host["architecture"] not in ("x86_64", "aarch64", "")
