# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How images are built, and what is left when a build fails."""

from __future__ import annotations

import collections
import contextlib
import os
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed, DriverDomainsError, NotOnThisHost, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image import build
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import ImageCache
from ansible_collections.xen.driver_domains.tests.unit.fakes.images import FakeMmdebstrap, builder, bzimage, image, tree, xz


@pytest.fixture(name="cache")
def make_cache(tmp_path: Path) -> ImageCache:
    return ImageCache(str(tmp_path / "cache"))


def test_failure_leaves_nothing_and_tells_apts_words(cache: ImageCache) -> None:
    log = "I: running apt-get update...\nE: Unable to locate package xen-utils-9.9\nE: mmdebstrap failed to run\n"
    with pytest.raises(CommandFailed, match="trixie/amd64: E: Unable to locate package xen-utils-9.9") as caught:
        builder(cache, FakeMmdebstrap(rc=25, stderr=log)).build(image())
    assert "failed to run" not in str(caught.value)
    assert caught.value.details["log"] == log.splitlines()
    assert tree(Path(cache.directory)) == [".lock"]


def test_the_log_of_a_build_is_in_the_cache(cache: ImageCache) -> None:
    runner = FakeMmdebstrap()
    builder(cache, runner).build(image())
    assert [log for log in runner.logs if log] == [f"{cache.directory}/build.log"]


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
    with build.lock(cache.directory, 0), pytest.raises(TimedOut, match="Another build held"), build.lock(cache.directory, 0):
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
        poor.check([image(format=format_)])


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


@pytest.mark.parametrize(
    ("machine", "architecture", "processor"),
    [("x86_64", "arm64", "cortex-a57"), ("x86_64", "amd64", None), ("x86_64", "riscv64", None), ("aarch64", "arm64", None)],
)
def test_emulator_of_arm_programs_computes_no_pointer_authentication(
    cache: ImageCache, monkeypatch: pytest.MonkeyPatch, machine: str, architecture: str, processor: str | None
) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", machine)))
    runner = FakeMmdebstrap()
    builder(cache, runner).build(image(architecture=architecture))
    assert runner.environments[0].get("QEMU_CPU") == processor


def test_too_little_space(cache: ImageCache, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(build.shutil, "disk_usage", lambda path: usage(0, 0, 300 << 20))
    with pytest.raises(NotOnThisHost, match=r"0.3 GiB free. .*format ramdisk needs 1.0 GiB.*another cache_dir"):
        builder(cache, FakeMmdebstrap()).check([image()])


def test_what_a_killed_build_left_is_removed_by_the_next_one(cache: ImageCache) -> None:
    left = Path(cache.directory, ".build-killed/root")
    left.mkdir(parents=True)
    builder(cache, FakeMmdebstrap()).build(image())
    assert sorted(os.listdir(cache.directory)) == [".lock", image().key]


def test_what_the_host_has_mounted_is_not_removed(cache: ImageCache, monkeypatch: pytest.MonkeyPatch) -> None:
    left = Path(cache.directory, ".build-killed/root/dev/shm")
    left.mkdir(parents=True)
    mounts = f"36 35 0:22 / {left} rw,nosuid - tmpfs tmpfs rw\n"
    monkeypatch.setattr(build, "read_text", lambda path: mounts if path == "/proc/self/mountinfo" else None)
    build.sweep(cache.directory)
    assert left.exists()
