# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check at boot, as it is installed on a host."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils import _archive
from ansible_collections.xen.driver_domains.plugins.module_utils._archive import pack
from ansible_collections.xen.driver_domains.plugins.module_utils._pci.check_unit import CHECK_ARCHIVE, CHECK_UNIT, plan_check_unit
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan

UNIT = Path("etc/systemd/system") / CHECK_UNIT
LINK = Path("etc/systemd/system/multi-user.target.wants") / CHECK_UNIT


def plan(root: Path, installed: bool) -> Plan:
    found = Plan()
    plan_check_unit(found, installed, str(root))
    found.apply()
    return found


def test_it_is_installed_once_and_removed(tmp_path: Path) -> None:
    assert plan(tmp_path, False).actions == []
    assert len(plan(tmp_path, True).actions) == 3
    assert (tmp_path / LINK).resolve() == tmp_path / UNIT
    assert (tmp_path / CHECK_ARCHIVE[1:]).read_bytes() == pack("_pci.boot_check")
    assert plan(tmp_path, True).actions == []
    assert len(plan(tmp_path, False).actions) == 3
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


@pytest.mark.parametrize("there", [True, False])
def test_the_unit_comes_before_the_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    python = tmp_path / "python3"
    monkeypatch.setattr(_archive, "PYTHON", str(python))
    if there:
        python.touch()
    plan(tmp_path, True)
    lines = (tmp_path / UNIT).read_text().splitlines()
    assert f"ExecStart={python if there else sys.executable} {CHECK_ARCHIVE}" in lines
    assert "ExecStartPre=-modprobe xen-pciback" in lines
    assert any(line.startswith("Before=") and "xendomains.service" in line for line in lines)


def test_the_unit_comes_before_the_network_and_waits_for_nothing_that_comes_after_it(tmp_path: Path) -> None:
    plan(tmp_path, True)
    lines = [line.partition("=")[::2] for line in (tmp_path / UNIT).read_text().splitlines()]
    words = {key: {word for other, value in lines if other == key for word in value.split()} for key, _value in lines}
    assert words["DefaultDependencies"] == {"no"}
    assert {"network-pre.target", "ifupdown-pre.service", "networking.service", "shutdown.target"} <= words["Before"]
    assert words["After"] == {"local-fs.target", "systemd-modules-load.service", "systemd-udev-trigger.service"}
    assert words["Wants"] == {"network-pre.target"}
    assert words["Conflicts"] == {"shutdown.target"}


def test_the_archive_has_all_that_it_needs(tmp_path: Path) -> None:
    """By itself: without this collection, and without what is installed for Ansible."""
    archive = tmp_path / "check.pyz"
    archive.write_bytes(pack("_pci.boot_check"))
    code = f"import sys; sys.path.insert(0, {str(archive)!r}); from xen_driver_domains._pci import boot_check; print(boot_check.main)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=True)
    assert done.stdout.startswith("<function main")
    with zipfile.ZipFile(archive) as opened:
        assert "__main__.py" in opened.namelist()
        assert "boot_check import main" in opened.read("__main__.py").decode()


def test_the_same_files_make_the_same_archive() -> None:
    assert pack("_pci.boot_check") == pack("_pci.boot_check")
