# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Directories of drop-in files, and the escapes of proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._files import drop_ins, unescape


def test_a_file_shadows_those_of_the_same_name(tmp_path: Path) -> None:
    for name in ("etc/b.conf", "etc/x", "lib/b.conf", "lib/a.conf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert drop_ins(str(tmp_path), ["etc", "gone", "lib"], ".conf") == ["lib/a.conf", "etc/b.conf"]


@pytest.mark.parametrize(("text", "meant"), [(r"a\040b\011\134", "a b\t\\"), (r"a\04", r"a\04"), ("\udcff", "\udcff")])
def test_escapes(text: str, meant: str) -> None:
    assert unescape(text) == meant
