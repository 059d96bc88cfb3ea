# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What decides which images a host needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.cache import ImageCache
from ansible_collections.xen.driver_domains.plugins.module_utils._guest_image.host import read_host


@pytest.mark.parametrize(
    ("release", "version", "suite", "xen"),
    [
        ('NAME="Debian"\nVERSION_CODENAME=trixie\n', (4, 20), "trixie", "4.20"),
        ('VERSION_CODENAME="bookworm"\n', None, "bookworm", ""),
        ("NAME=other\n", (4, 17), "", "4.17"),
    ],
)
def test_host(tmp_path: Path, release: str, version: tuple[int, int] | None, suite: str, xen: str) -> None:
    (tmp_path / "os-release").write_text(release, encoding="utf-8")
    host = read_host(ImageCache(str(tmp_path / "cache")), version, str(tmp_path / "os-release"))
    assert (host["suite"], host["xen_version"], host["image_keys"]) == (suite, xen, [])
    assert host["architecture"] not in ("x86_64", "aarch64", "")
