# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Xen is built from Debian's source package, for each suite whose source the archive has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from testbed.progress import say

from .playbooks import BuiltXen


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_xen_is_built_with_static_memory(suite: str, xen_of: Callable[[str], BuiltXen], capsys: pytest.CaptureFixture[str]) -> None:
    built = xen_of(suite)
    with capsys.disabled():
        say(f"\nXen of {suite}: its build took {built.seconds} s, {'just now' if built.changed else 'some time ago'}")
    assert built.xen.read_bytes()[56:60] == b"ARM\x64"
    lines = built.config.read_text().splitlines()
    assert {"CONFIG_STATIC_MEMORY=y", "CONFIG_STATIC_SHM=y", "# CONFIG_XSM is not set", "# CONFIG_DEBUG is not set"} <= set(lines)
    again = xen_of(suite)
    assert not again.changed and again == BuiltXen(built.xen, built.config, built.xen_version, built.seconds, changed=False)
