# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which images a cache has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import ImageCache
from ansible_collections.xen.driver_domains.tests.unit.fakes.images import FakeMmdebstrap, builder, image


@pytest.fixture(name="cache")
def make_cache(tmp_path: Path) -> ImageCache:
    return ImageCache(str(tmp_path / "cache"))


def test_image_that_is_not_complete_does_not_count(cache: ImageCache) -> None:
    builder(cache, FakeMmdebstrap()).build(image())
    assert cache.keys() == [image().key]
    os.truncate(f"{cache.path(image().key)}/ramdisk", 3)
    assert cache.keys() == []
    builder(cache, FakeMmdebstrap()).build(image())
    os.unlink(f"{cache.path(image().key)}/kernel")
    assert cache.manifest(image().key) is None


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"files": {"kernel": 1}}'])
def test_an_image_whose_manifest_a_power_cut_damaged_is_built_again(cache: ImageCache, text: str) -> None:
    builder(cache, FakeMmdebstrap()).build(image())
    Path(cache.path(image().key), "manifest.json").write_text(text, encoding="utf-8")
    assert cache.keys() == []
    builder(cache, FakeMmdebstrap()).build(image())
    assert cache.keys() == [image().key]
