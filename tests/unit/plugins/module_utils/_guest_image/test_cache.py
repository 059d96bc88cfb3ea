# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which images a cache has."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image import cache as cache_module
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import VERIFIED, ImageCache
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


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"files": {"kernel": 1}}', '{"files": {}}', '{"files": {"../x": {}}}'])
def test_an_image_whose_manifest_a_power_cut_damaged_is_built_again(cache: ImageCache, text: str) -> None:
    builder(cache, FakeMmdebstrap()).build(image())
    Path(cache.path(image().key), "manifest.json").write_text(text, encoding="utf-8")
    assert cache.keys() == []
    builder(cache, FakeMmdebstrap()).build(image())
    assert cache.keys() == [image().key]


def swap_content(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


def swap_file(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    os.replace(other, path)


def swap_content_and_set_time_back(path: Path) -> None:
    found = path.stat()
    swap_content(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("part", ["kernel", "ramdisk"])
@pytest.mark.parametrize("forget", [False, True])
@pytest.mark.parametrize("alter", [swap_content, swap_file, swap_content_and_set_time_back, replace_by_link])
def test_an_image_that_was_altered_is_not_there(cache: ImageCache, alter: t.Callable[[Path], None], part: str, forget: bool) -> None:
    """The size is the same; the checksum in the manifest decides."""
    builder(cache, FakeMmdebstrap()).build(image())
    directory = Path(cache.path(image().key))
    if forget:
        (directory / VERIFIED).unlink()
    alter(directory / part)
    assert cache.keys() == []
    builder(cache, FakeMmdebstrap()).build(image())
    assert cache.keys() == [image().key]


def test_what_was_verified_is_read_once(cache: ImageCache, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    builder(cache, FakeMmdebstrap()).build(image())
    plain = cache_module.sha256
    monkeypatch.setattr(cache_module, "sha256", lambda path: read.append(os.path.basename(path)) or plain(path))
    assert (cache.keys(), read) == ([image().key], [])
    os.utime(f"{cache.path(image().key)}/ramdisk")
    assert [cache.keys(), cache.keys()] == [[image().key]] * 2
    assert read == ["ramdisk"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kernel": 1}', '{"kernel": {"sha256": 0}}'])
def test_a_damaged_note_of_the_verification_is_no_proof(cache: ImageCache, text: str) -> None:
    builder(cache, FakeMmdebstrap()).build(image())
    note = Path(cache.path(image().key), VERIFIED)
    note.write_text(text)
    swap_content(note.with_name("ramdisk"))
    assert cache.keys() == []


def test_an_image_under_the_name_of_another_is_not_there(cache: ImageCache) -> None:
    builder(cache, FakeMmdebstrap()).build(image())
    os.rename(cache.path(image().key), cache.path("0" * 16))
    assert cache.keys() == []


def test_files_that_may_hold_secrets_are_readable_by_their_owner_only(cache: ImageCache) -> None:
    secret = image(files=[{"path": "/root/token", "content": "1234", "mode": "0600"}])
    builder(cache, FakeMmdebstrap()).build(secret)
    modes = {path.name: path.stat().st_mode & 0o777 for path in Path(cache.path(secret.key)).iterdir() if path.name != VERIFIED}
    assert modes == {"kernel": 0o644, "ramdisk": 0o600, "manifest.json": 0o644}
    manifest = json.loads(Path(cache.path(secret.key), "manifest.json").read_text())
    assert manifest["image"]["files"] == {"/root/token": "secret"}
