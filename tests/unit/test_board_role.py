# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role board on the controller, with a stand-in for ImageBuilder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.tests.unit.fakes import board

#: Fails with exit code 0, as the real one does.
GENERATOR = """
while getopts c:d: option; do
    case $option in c) configuration=$OPTARG;; d) cd "$OPTARG" || exit;; esac
done
. "$configuration"
echo "unfinished" > "$UBOOT_SCRIPT"
[ ! -e fail ] || exit 0
echo "$XEN_CMD" > "$UBOOT_SCRIPT"
echo "Generated uboot script $UBOOT_SCRIPT"
"""


class Server:
    """The machine with the boot sets: the controller."""

    def __init__(self, path: Path) -> None:
        self.directory, self.files, self.checkout = path / "tftp", path / "files", path / "checkout"
        self.files.mkdir()
        board.files(self.files)
        (self.checkout / "scripts").mkdir(parents=True)
        (self.checkout / "scripts/uboot-script-gen").write_text(GENERATOR)
        play = {"hosts": "localhost", "gather_facts": False, "connection": "local", "roles": ["xen.driver_domains.board"]}
        self.playbook = path / "play.yml"
        self.playbook.write_text(json.dumps([play]))

    def run(self, **variables: t.Any) -> int | None:
        """Apply the role; return how many tasks changed something, or None if it failed."""
        given = {
            "ansible_python_interpreter": sys.executable,
            "board_dir": str(self.directory),
            "board_preset": "qemu-virt",
            "board_imagebuilder_checkout": str(self.checkout),
            "board_xen": str(self.files / "xen"),
            "board_device_tree": str(self.files / "virt.dtb"),
            "board_dom0": {"kernel": str(self.files / "Image"), "ramdisk": str(self.files / "rd.cpio.gz"), "memory": 512},
            **variables,
        }
        result = subprocess.run(
            ["ansible-playbook", "--inventory=localhost,", f"--extra-vars={json.dumps(given)}", str(self.playbook)],
            capture_output=True,
            text=True,
            cwd=self.playbook.parent,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            timeout=600,
            check=False,
        )
        changed = re.search(r"changed=(\d+) .* failed=0", result.stdout)
        assert (result.returncode == 0) == bool(changed), result.stdout + result.stderr
        return int(changed[1]) if changed else None

    def script(self) -> str:
        """Return the script that the board runs."""
        return (self.directory / "boot.scr").read_text()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_a_script_that_could_not_be_made_is_made_by_the_next_run(server: Server) -> None:
    assert server.run()
    before = server.script()
    (server.directory / "fail").touch()
    new = {"board_xen_cmdline": "console=dtuart new"}
    assert server.run(**new) is None and server.script() == before
    assert server.run(**new) is None, "it is not taken for the result of the run before"
    (server.directory / "fail").unlink()
    assert server.run(**new) and "new" in server.script()
    assert server.run(**new) == 0


def test_what_others_have_in_the_directory_stays(server: Server) -> None:
    assert server.run(board_imagebuilder_checkout="")
    (server.directory / "other-board").mkdir()
    assert server.run(board_state="absent") == 1
    assert [path.name for path in server.directory.iterdir()] == ["other-board"]
    assert server.run(board_state="absent") == 0
