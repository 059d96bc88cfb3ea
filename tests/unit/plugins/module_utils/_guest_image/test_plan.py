# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which images are built or removed, and what check mode knows."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import DriverDomainsError
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image import uses
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import ImageCache
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.plan import plan_images
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.specification import EPOCH, read_images
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.uses import UsePlaces
from ansible_collections.xen.driver_domains.tests.unit.fakes.images import ELF, FakeMmdebstrap, builder, image, item, tree


@pytest.fixture(name="cache")
def make_cache(tmp_path: Path) -> ImageCache:
    return ImageCache(str(tmp_path / "cache"))


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
    assert runner.environments[0]["SOURCE_DATE_EPOCH"] == str(EPOCH)

    again = FakeMmdebstrap()
    assert plan_images(images, "present", cache, builder(cache, again)).actions == []
    assert again.commands == []


def test_an_image_for_an_hvm_domain_holds_the_kernel_as_it_is(cache: ImageCache) -> None:
    runner = FakeMmdebstrap()
    wanted = {"dd": image(bzimage=True)}
    plan = plan_images(wanted, "present", cache, builder(cache, runner))
    plan.apply()
    (result,) = plan.conclude()["images"]
    assert Path(result["kernel"]).read_bytes() == runner.kernel
    assert json.loads(Path(result["directory"], "manifest.json").read_text(encoding="utf-8"))["image"]["bzimage"] is True


def test_check_mode_writes_nothing_and_knows_the_paths(tmp_path: Path, cache: ImageCache) -> None:
    runner = FakeMmdebstrap()
    plan = plan_images({"dd": image()}, "present", cache, builder(cache, runner))
    (result,) = plan.results["images"]
    assert result["ramdisk"] == f"{cache.directory}/{image().key}/ramdisk"
    assert (result["present"], result["size_bytes"], result["files"]) == (False, 0, {})
    assert '"suite": "trixie"' in plan.diffs[0]["after"] and plan.diffs[0]["before"] == ""
    assert (tree(tmp_path), runner.commands) == ([], [])


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


@pytest.fixture(name="places")
def make_places(tmp_path: Path) -> UsePlaces:
    (tmp_path / "etc/auto").mkdir(parents=True)
    (tmp_path / "lib").mkdir()
    return UsePlaces(str(tmp_path / "etc"), str(tmp_path / "lib"))


#: Each with a domain that uses the image KEY.
USERS = [
    ("etc/web1.cfg", 'kernel = "/i/KEY/kernel"\n'),
    ("etc/auto/00-dd.cfg", "# keep KEY"),
    ("etc/foreign", 'kernel = "/i/KEY/kernel"\n'),
    ("etc/auto/web1.cfg", "disk = ['/i/KEY/disk,raw,xvda,w']\n"),
    ("lib/userdata-d.7.0b5a-4c.libxl-json", '{"b_info": {"kernel": "/i/KEY/kernel"}}'),
    ("lib/userdata-d.7.0b5a-4c.xl", 'ramdisk="/i/KEY/ramdisk"'),
    ("lib/userdata-p.7.0b5a-4c.xl", "\udcff /i/KEY/kernel"),
]


@pytest.mark.parametrize(("file", "text"), USERS)
@pytest.mark.parametrize("state", ["absent", "cleaned"])
def test_an_image_in_use_is_kept(cache: ImageCache, places: UsePlaces, tmp_path: Path, file: str, text: str, state: str) -> None:
    builder(cache, FakeMmdebstrap()).build(image())
    os.utime(cache.path(image().key), (0, 0))
    (tmp_path / file).write_bytes(text.replace("KEY", image().key).encode("utf-8", "surrogateescape"))
    images = {"dd": image()} if state == "absent" else {}
    plan = plan_images(images, state, cache, builder(cache, FakeMmdebstrap()), places)
    assert plan.actions == []
    if state == "absent":
        user = "running domain 7" if file.startswith("lib") else str(tmp_path / file)
        assert plan.warnings == [f"Image dd ({image().key}) is kept: it is used by {user}"]
    (tmp_path / file).unlink()
    assert len(plan_images(images, state, cache, builder(cache, FakeMmdebstrap()), places).actions) == 1


@pytest.mark.parametrize(("days", "removed"), [(0, False), (29, False), (31, True)])
def test_old_images_that_nothing_uses_are_removed(cache: ImageCache, places: UsePlaces, days: int, removed: bool) -> None:
    for revision in ("1", "2"):
        builder(cache, FakeMmdebstrap()).build(image(revision=revision))
        os.utime(cache.path(image(revision=revision).key), (time.time() - days * 86400,) * 2)
    (Path(cache.directory) / "not-an-image").mkdir()
    os.utime(Path(cache.directory) / "not-an-image", (0, 0))
    plan = plan_images({"dd": image(revision="2")}, "cleaned", cache, builder(cache, FakeMmdebstrap()), places)
    assert bool(plan.actions) is removed
    plan.apply()
    assert cache.keys() == sorted(image(revision=revision).key for revision in (["2"] if removed else ["1", "2"]))
    assert Path(cache.directory, "not-an-image").exists()
    assert plan_images({"dd": image(revision="2")}, "cleaned", cache, builder(cache, FakeMmdebstrap()), places).actions == []


@pytest.mark.parametrize("state", ["absent", "cleaned"])
def test_what_cannot_be_read_may_use_the_image(
    cache: ImageCache, places: UsePlaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    builder(cache, FakeMmdebstrap()).build(image())
    os.utime(cache.path(image().key), (0, 0))
    (tmp_path / "etc/web1.cfg").write_text("")

    def refuse(path: str) -> bytes:
        raise DriverDomainsError(f"Cannot read {path}: Permission denied")

    monkeypatch.setattr(uses, "read_bytes", refuse)
    with pytest.raises(DriverDomainsError, match=r"web1.cfg: Permission denied"):
        plan_images({"dd": image()} if state == "absent" else {}, state, cache, builder(cache, FakeMmdebstrap()), places)
