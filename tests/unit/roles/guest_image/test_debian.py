# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a disk image does at its first boot."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[4] / "roles/guest_image/files/debian/ssh-host-key.service"


def test_a_host_key_that_a_power_cut_left_empty_is_made_again(tmp_path: Path) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("this machine has no ssh-keygen")
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    assert "ConditionFileNotEmpty=!/etc/ssh/ssh_host_ed25519_key" in lines
    for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub", "new_host_key"):
        (tmp_path / name).write_text("", encoding="utf-8")
    for line in lines:
        key, _equals, command = line.partition("=")
        if key == "ExecStart":
            subprocess.run(shlex.split(command.replace("/etc/ssh", str(tmp_path))), check=True, stdin=subprocess.DEVNULL, timeout=30)
    assert {path.name for path in tmp_path.iterdir()} == {"ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"}
    public = subprocess.run(["ssh-keygen", "-y", "-f", tmp_path / "ssh_host_ed25519_key"], check=True, capture_output=True, text=True)
    assert (tmp_path / "ssh_host_ed25519_key.pub").read_text(encoding="utf-8").split()[:2] == public.stdout.split()[:2]
