# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is installed on a host for the way of dom0 to its vif."""

from __future__ import annotations

import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._archive import pack
from ansible_collections.xen.driver_domains.plugins.module_utils._plan import Plan
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink.files import BOOT_UNIT, RULE, plan_files, texts_for
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink.program import COMMANDS, known_from, main, words_of
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink_record import UplinkRecord
from ansible_collections.xen.driver_domains.tests.unit.fakes.uplink import WORDS

RECORD = UplinkRecord(*WORDS[:4], "xenbr0", WORDS[4], 90)


class Commands:
    """Stands for a runner."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def run(self, argv: t.Sequence[str], **_options: t.Any) -> None:
        self.calls.append(" ".join(argv))


def apply(root: Path, record: UplinkRecord | None) -> tuple[Plan, list[str]]:
    commands: t.Any = Commands()
    plan = Plan()
    plan_files(plan, record, commands, str(root))
    plan.apply()
    return plan, commands.calls


def test_they_are_installed_once_and_removed(tmp_path: Path) -> None:
    assert apply(tmp_path, None)[0].actions == []
    assert apply(tmp_path, RECORD)[1] == ["systemctl daemon-reload", "udevadm control --reload"]
    link = tmp_path / f"etc/systemd/system/multi-user.target.wants/{BOOT_UNIT}"
    assert link.resolve() == tmp_path / f"etc/systemd/system/{BOOT_UNIT}"
    assert apply(tmp_path, RECORD)[0].actions == []
    assert apply(tmp_path, None)[1] == ["systemctl daemon-reload", "udevadm control --reload"]
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_the_rule_is_about_the_vif_alone() -> None:
    """The card has the same MAC address while dom0 has it."""
    (line,) = [line for line in texts_for(RECORD)[RULE].splitlines() if not line.startswith("#")]
    assert {'SUBSYSTEMS=="xen"', 'DRIVERS=="vif"', f'ATTR{{address}}=="{WORDS[4]}"', f'NAME="{WORDS[2]}"'} <= set(line.split(", "))


def test_units_call_commands_that_exist() -> None:
    lines = [line for text in texts_for(RECORD).values() for line in text.splitlines() if line.startswith("ExecStart=")]
    assert len(lines) == 3
    for line in lines:
        words = line.split("uplink.pyz ")[1].split()
        assert words[0] in COMMANDS and words_of(known_from(words[1:])) == WORDS


@pytest.mark.parametrize("words", [[], ["boot"], ["dance", *WORDS], ["boot", *WORDS[:4]]])
def test_a_wrong_command_line_changes_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "usage: uplink.pyz" in capsys.readouterr().err


def test_the_archive_has_all_that_it_needs(tmp_path: Path) -> None:
    archive = tmp_path / "uplink.pyz"
    archive.write_bytes(pack("_uplink.program"))
    done = subprocess.run([sys.executable, "-ISB", str(archive)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.splitlines()[0].startswith("usage: uplink.pyz")) == (2, True)
