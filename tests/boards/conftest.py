# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import guests, machine, parts
from .parts import Parts
from .playbooks import BuiltXen, SourceMissing, build_xen

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def board_parts() -> Parts:
    """QEMU, U-Boot, Xen and a kernel."""
    return parts.get()


@pytest.fixture(scope="session")
def virt_tree(board_parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The device tree of QEMU's virt machine."""
    tree = tmp_path_factory.mktemp("tree") / "virt.dtb"
    machine.virt_tree(board_parts, tree)
    return tree


@pytest.fixture(scope="session")
def versal_tree(board_parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The device tree of QEMU's xlnx-versal-virt."""
    tree = tmp_path_factory.mktemp("tree") / "versal.dtb"
    machine.versal_tree(board_parts, tree)
    return tree


@pytest.fixture
def tftp(tmp_path: Path, board_parts: Parts, virt_tree: Path) -> Path:
    """A directory with the files of the virt machine: virt.dtb, xen, vmlinuz, ramdisk.cpio.gz."""
    directory = tmp_path / "tftp"
    directory.mkdir()
    for source, name in ((virt_tree, "virt.dtb"), (board_parts.xen, "xen"), (board_parts.kernel, "vmlinuz")):
        (directory / name).symlink_to(source)
    (directory / "ramdisk.cpio.gz").write_bytes(guests.ramdisk(board_parts.busybox, guests.INIT))
    return directory


@pytest.fixture
def run_module(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run a module of the collection by ansible-playbook on this machine and return its result, or fail with its message."""

    def run(name: str, **options: Any) -> dict[str, Any]:
        result = tmp_path / "result.json"
        tasks = [
            {f"xen.driver_domains.{name}": options, "register": "made"},
            {"ansible.builtin.copy": {"content": "{{ made | to_json }}", "dest": str(result), "mode": "0644"}},
        ]
        playbook = tmp_path / "play.yml"
        playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        interpreter = f"ansible_python_interpreter={sys.executable}"
        command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", interpreter, str(playbook)]
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return dict(json.loads(result.read_text()))

    return run


@pytest.fixture
def xen_of(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], BuiltXen]:
    """Build Xen from the source package of a suite; the test is skipped if the archive does not have that at the moment."""

    def build(suite: str) -> BuiltXen:
        try:
            return build_xen(suite, tmp_path)
        except SourceMissing as missing:
            pytest.skip(f"{request.node.name}: {missing}")

    return build
