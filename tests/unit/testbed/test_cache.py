# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cache: keys that follow the content, entries that are whole or not there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from testbed.cache import UNUSED_DAYS, Cache, default_dir, digest


def make(into: Path) -> None:
    (into / "file").write_text("made")


def test_digest_follows_values() -> None:
    assert digest("a", ["b"]) == digest("a", ["b"])
    assert len({digest("a", "b"), digest("b", "a"), digest("ab"), digest(["a", "b"])}) == 4


def test_digest_follows_content_not_location(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
        (directory / "file").write_text("text")
    assert digest(one) == digest(two)
    (two / "file").chmod(0o755)
    assert digest(one) != digest(two)
    (two / "file").chmod(0o644)
    (two / "file").write_text("other")
    assert digest(one) != digest(two)


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    calls: list[Path] = []

    def count(into: Path) -> None:
        calls.append(into)
        make(into)

    first, second = cache.get("disk", "1", count), cache.get("disk", "1", count)
    assert first == second == tmp_path / "disk-1"
    assert (first / "file").read_text() == "made"
    assert len(calls) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(into: Path) -> None:
        make(into)
        raise error

    with pytest.raises(error):
        Cache(tmp_path).get("disk", "1", fail)
    assert not list(tmp_path.glob("disk-*"))


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "disk-1.tmp"
    left.mkdir()
    (left / "half").touch()
    assert [path.name for path in Cache(tmp_path).get("disk", "1", make).iterdir()] == ["file"]
    assert not left.exists()


def test_unused_entries_go_when_a_successor_is_made(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for key in ("old", "recent"):
        cache.get("disk", key, make)
    cache.get("tools", "old", make)
    long_ago = time.time() - (UNUSED_DAYS + 1) * 86400
    for name in ("disk-old", "tools-old"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    cache.get("disk", "new", make)
    assert {path.name for path in tmp_path.glob("*-*")} == {"disk-recent", "disk-new", "tools-old"}


def test_default_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XEN_TESTBED_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_dir() == Path("/x/xen-driver-domains/testbed")
    monkeypatch.setenv("XEN_TESTBED_CACHE", "/y")
    assert default_dir() == Path("/y")
