# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Xen is built and kept, and what a build that fails says and leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._errors import CommandFailed, DriverDomainsError, NotOnThisHost, TimedOut
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import ImageCache
from ansible_collections.xen.driver_domains.plugins.module_utils._xen_build import build
from ansible_collections.xen.driver_domains.plugins.module_utils._xen_build.build import SourceMissing, plan_build
from ansible_collections.xen.driver_domains.plugins.module_utils._xen_build.specification import PARTS
from ansible_collections.xen.driver_domains.tests.unit.fakes.images import tree
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen_build import XEN, FakeXenBuild, source, xen_builder


@pytest.fixture(name="cache")
def make_cache(tmp_path: Path) -> ImageCache:
    return ImageCache(str(tmp_path / "cache"), PARTS)


def test_build_find_again_and_remove(cache: ImageCache) -> None:
    runner = FakeXenBuild()
    plan = plan_build(source(), "present", cache, xen_builder(cache, runner))
    predicted = plan.apply(check_mode=True)
    assert predicted["changed"] and not predicted["present"] and not os.path.exists(cache.directory)
    made = plan.apply()
    assert made["xen"] == predicted["xen"] == f"{cache.directory}/{source().key}/xen"
    assert made["present"] and made["xen_version"] == "4.17"
    assert Path(made["xen"]).read_bytes() == XEN
    assert runner.requested == "# CONFIG_XSM is not set\nCONFIG_STATIC_MEMORY=y\n"
    manifest = json.loads(Path(made["xen"]).with_name("manifest.json").read_text(encoding="utf-8"))
    assert manifest["packages"] == {"gcc-12": "12.2.0", "make": "4.3"} and manifest["source"]["version"] == source().version
    again = FakeXenBuild()
    assert plan_build(source(), "present", cache, xen_builder(cache, again)).apply()["changed"] is False
    assert again.commands == []
    removed = plan_build(source(), "absent", cache, xen_builder(cache, again))
    assert removed.apply()["changed"] and tree(Path(cache.directory)) == [".lock"]
    assert plan_build(source(), "absent", cache, xen_builder(cache, again)).apply()["changed"] is False


def test_an_altered_file_is_built_again(cache: ImageCache) -> None:
    made = plan_build(source(), "present", cache, xen_builder(cache, FakeXenBuild())).apply()
    Path(made["xen"]).write_bytes(XEN[:-1] + b"\1")
    assert plan_build(source(), "present", cache, xen_builder(cache, FakeXenBuild())).actions


def test_another_process_has_built_it_in_the_meantime(cache: ImageCache) -> None:
    late = FakeXenBuild()
    plan = plan_build(source(), "present", cache, xen_builder(cache, late))
    plan_build(source(), "present", cache, xen_builder(cache, FakeXenBuild())).apply()
    plan.apply()
    assert late.commands == []


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("xen_build: unlisted 4.17.5-1 4.17.7-1", "no source package xen .* in bookworm.*versions that it has: 4.17.5-1, 4.17.7-1"),
        ("xen_build: unlisted", "no source package xen .* in bookworm.*Check suite and mirror"),
        ("E: Failed to fetch\nxen_build: missing", "lists the source package xen .*, but does not have its files"),
    ],
)
def test_a_source_that_the_archive_lacks(cache: ImageCache, log: str, message: str) -> None:
    with pytest.raises(SourceMissing, match=message) as caught:
        xen_builder(cache, FakeXenBuild(25, f"I: extracting archives...\n{log}\nE: mmdebstrap failed to run\n")).build(source())
    assert caught.value.details["source_missing"] is True and caught.value.details["log"]
    assert tree(Path(cache.directory)) == [".lock"]


def test_options_that_are_not_taken(cache: ImageCache) -> None:
    log = "xen_build: option CONFIG_STATIC_MEMORY CONFIG_NONE\n"
    with pytest.raises(CommandFailed, match="does not take these options as requested: CONFIG_STATIC_MEMORY CONFIG_NONE") as caught:
        xen_builder(cache, FakeXenBuild(25, log)).build(source())
    assert caught.value.details["options"] == ["CONFIG_STATIC_MEMORY", "CONFIG_NONE"]


def test_other_failures_are_no_missing_source(cache: ImageCache) -> None:
    log = "E: Failed to fetch http://deb.debian.org/x.dsc  Hash Sum mismatch\n"
    with pytest.raises(CommandFailed, match="could not be built: E: Failed to fetch .*Hash Sum mismatch") as caught:
        xen_builder(cache, FakeXenBuild(25, log)).build(source())
    assert not isinstance(caught.value, SourceMissing) and "source_missing" not in caught.value.details
    with pytest.raises(CommandFailed, match="could not be built: make: .* Error 2"):
        xen_builder(cache, FakeXenBuild(25, "make: *** [Makefile:1: build] Error 2\n")).build(source())
    with pytest.raises(TimedOut, match="did not end within 60 s"):
        xen_builder(cache, FakeXenBuild(124)).build(source())


def test_what_is_built_must_be_an_arm64_image(cache: ImageCache) -> None:
    with pytest.raises(CommandFailed, match="a file that is an ELF file"):
        xen_builder(cache, FakeXenBuild(xen=b"\x7fELF" + bytes(100))).build(source())
    assert tree(Path(cache.directory)) == [".lock"]


def test_this_machine_lacks_something(cache: ImageCache, monkeypatch: pytest.MonkeyPatch) -> None:
    poor = xen_builder(cache, FakeXenBuild(), which=lambda name: None if name == "mmdebstrap" else name)
    with pytest.raises(NotOnThisHost, match="To build Xen, this machine lacks mmdebstrap.*apt-get install mmdebstrap"):
        plan_build(source(), "present", cache, poor)
    monkeypatch.setattr(build, "SPACE", 1 << 60)
    with pytest.raises(NotOnThisHost, match="Building Xen needs"):
        plan_build(source(), "present", cache, xen_builder(cache, FakeXenBuild()))


def test_a_cache_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    cache = ImageCache(str(tmp_path / "file/cache"), PARTS)
    with pytest.raises(DriverDomainsError, match="Cannot write below"):
        xen_builder(cache, FakeXenBuild()).build(source())


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", None)])
def test_machine(monkeypatch: pytest.MonkeyPatch, machine: str, architecture: str | None) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", machine)))
    if architecture:
        assert build.machine_architecture() == architecture
    else:
        with pytest.raises(NotOnThisHost, match="This machine is riscv64"):
            build.machine_architecture()
