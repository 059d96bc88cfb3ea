# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which images are built or removed, and what check mode knows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import ImageCache
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.plan import plan_images
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.specification import EPOCH, read_images
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
