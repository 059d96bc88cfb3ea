# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("qemu.qmp")

from testbed import cli
from testbed.machine import Machine


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XEN_TESTBED_STATE", raising=False)
    options = cli.parser().parse_args(["up"])
    assert (options.suite, options.flavour, options.port, options.fresh_boot) == ("trixie", "xen", None, False)
    assert options.state_dir == Path(__file__).resolve().parents[3] / ".testbed"


def test_state_directory_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XEN_TESTBED_STATE", "/elsewhere")
    assert cli.parser().parse_args(["down"]).state_dir == Path("/elsewhere")


def test_options_of_a_remote_command_are_not_ours() -> None:
    options = cli.parser().parse_args(["ssh", "--state-dir", "/s", "xl", "list", "-l", "--state-dir", "x"])
    assert options.state_dir == Path("/s")
    assert options.remote == ["xl", "list", "-l", "--state-dir", "x"]


@pytest.mark.parametrize("command", [["ssh", "true"], ["snapshot", "a"], ["restore", "a"], ["forget", "a"], ["cycle"]])
def test_without_a_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    name, *rest = command
    assert cli.main([name, "--state-dir", str(tmp_path), *rest]) == 1
    assert capsys.readouterr().err == f"testbed: {tmp_path}: no machine runs there; remedy: `up`\n"


def test_status_without_a_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--json", "--state-dir", str(tmp_path)]) == 3
    assert '"running": false' in capsys.readouterr().out


def test_a_process_that_took_over_the_number_is_not_the_machine(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.pid() is None
    machine.pid_file.write_text("1\n")
    assert machine.pid() is None
