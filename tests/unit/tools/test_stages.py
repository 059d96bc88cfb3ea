# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `make test` says at its end: every stage, where its time went, what was skipped and why, and the count."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "tools" / "stages.py"


@pytest.fixture(name="stages")
def _stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> t.Any:
    """The program, which is no part of a package, with its logs in a directory of the test."""
    found = importlib.util.spec_from_file_location("stages", PROGRAM)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, "stages", module)
    found.loader.exec_module(module)
    monkeypatch.setattr(module, "LOGS", tmp_path / "logs")
    return module


@pytest.fixture
def fake_make(tmp_path: Path) -> list[str]:
    """A `make` whose targets are pass, fail, wait, and slow."""
    program = tmp_path / "make"
    program.write_text(
        "#!/bin/sh\ntrap 'echo cleaned up; exit 130' INT\necho doing $1\ncase $1 in fail*) exit 3 ;; slow*) sleep 5 & wait $! ;; "
        "wait) sleep 3 ;; "
        "*) echo 'SKIPPED [1] tests/unit/x.py:3: no such program' ;; esac\n"
    )
    program.chmod(0o755)
    return [str(program)]


def read(steps: t.Any, *lines: tuple[float, str]) -> list[str | None]:
    """Have lines read, each at its time."""
    reports = []
    for now, line in lines:
        steps.clock = lambda now=now: now
        reports.append(steps.line(line))
    return reports


def test_steps_of_molecule_pytest_and_scripts(stages: t.Any) -> None:
    steps = stages.Steps(lambda: 0)
    assert read(
        steps,
        (1, "\x1b[36mINFO    \x1b[0m [site > converge] Executing\n"),
        (2, "TASK [Something] ****\n"),
        (63, "ERROR    [site > converge] \x1b[31mExecuted: Failed\x1b[0m\n"),
        (64, "\x1b[36mINFO    \x1b[0m \x1b[32msite\x1b[0m ➜ \x1b[33mverify\x1b[0m: \x1b[36mExecuting\x1b[0m\n"),
        (64, "INFO     site ➜ verify: Executing Testinfra tests found in tests/...\n"),
        (65, "INFO     site ➜ verify: \x1b[32mExecuted: Successful\x1b[0m\n"),
        (66, "tests/boards/test_virt.py::test_domains[1-a b] PASSED   [ 7%]\n"),
        (70, "==> building the tarball\n"),
    ) == [None, None, "site > converge: 62 s", None, None, "site > verify: 1 s", "test_virt > test_domains[1-a b]: 1 s", None]
    steps.clock = lambda: 74
    assert steps.finish() == "building the tarball: 4 s"
    assert [line.split() for line in steps.table()] == [
        ["site", "63", "s", "converge", "62,", "verify", "1"],
        ["test_virt", "1", "s", "test_domains[1-a", "b]", "1"],
        ["building", "the", "tarball", "4", "s"],
        ["slowest", "tasks:", "Something", "61"],
    ]


def test_slow_tasks_of_ansible(stages: t.Any) -> None:
    steps = stages.Steps(lambda: 0)
    read(
        steps,
        (1, "TASK [xen.driver_domains.dom0 : Set the boot options] ****\n"),
        (9, "ok: [dom0]\n"),
        (11, "TASK [Reboot] ********\n"),
        (14, "RUNNING HANDLER [xen.driver_domains.dom0 : Set the boot options] ****\n"),
        (20, "PLAY RECAP ****\n"),
        (24, "TASK [Fast] **\n"),
        (24.5, "PLAY [all] ***\n"),
    )
    assert steps.table() == ["slowest tasks: xen.driver_domains.dom0 : Set the boot options 16; Reboot 3"]


def test_a_skipped_test_is_named_with_its_reason_once(stages: t.Any) -> None:
    steps = stages.Steps()
    for line in ("SKIPPED [1] tests/unit/test_x.py:9: no dtc\n",) * 2 + ('WARNING: Skipping sanity test "import" because it is so.\n',):
        steps.line(line)
    assert steps.skipped == ["tests/unit/test_x.py:9: no dtc", 'sanity test "import" because it is so.']


LOG = """TASK [Try it] ****
\x1b[31mfatal: [dom0]: FAILED! => \x1b[0m
\x1b[31m    msg: no\x1b[0m

TASK [Check that it is refused] ****
fatal: [dom0]: FAILED! =>
    msg: refused
...ignoring

TASK [Clean up] ****
ok: [dom0]
"""


def test_the_task_that_failed_is_repeated(stages: t.Any) -> None:
    """Not one whose failure was what is tested, nor what cleans up."""
    assert stages.failure(LOG) == ["TASK [Try it]", "fatal: [dom0]: FAILED! =>", "    msg: no"]
    assert stages.failure("\n".join(map(str, range(20)))) == [str(number) for number in range(8, 20)]


def test_lanes_run_side_by_side_and_are_counted(stages: t.Any, fake_make: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = stages.Run([["one", "two"], ["three"]], keep_going=False, make=fake_make)
    run.run()
    lines = run.report().splitlines()
    assert run.passed
    assert lines[-1] == "3 passed, 0 failed"
    assert [line.split()[:2] for line in lines if line.startswith("  ") and "passed" in line] == [
        ["one", "passed"],
        ["two", "passed"],
        ["three", "passed"],
    ]
    assert "  two: tests/unit/x.py:3: no such program" in lines
    printed = capsys.readouterr().out
    assert "===== two =====\ndoing two\n" in printed
    assert (stages.LOGS / "three.log").read_text().startswith("doing three\n")


def test_what_comes_after_a_failure_is_not_run(stages: t.Any, fake_make: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = stages.Run([["fail", "after"]], keep_going=False, make=fake_make)
    run.run()
    assert not run.passed
    assert run.report().splitlines()[-4:-2] == ["fail failed:", "  doing fail"]
    assert run.report().splitlines()[-1] == "0 passed, 1 failed, 1 skipped"
    assert "===== fail =====\ndoing fail\n" in capsys.readouterr().out
    run = stages.Run([["fail", "after"]], keep_going=True, make=fake_make)
    run.run()
    assert run.report().splitlines()[-1] == "1 passed, 1 failed"


def test_a_lane_that_is_done_takes_the_rest(stages: t.Any, fake_make: list[str]) -> None:
    run = stages.Run([["wait"], ["short"]], keep_going=False, rest=["next", "last"], make=fake_make)
    run.run()
    assert [[stage.name for stage in lane] for lane in run.lanes] == [["wait"], ["short", "next", "last"]]
    assert run.passed
    assert run.report().splitlines()[-1] == "4 passed, 0 failed"
    run = stages.Run([["fail"]], keep_going=False, rest=["next"], make=fake_make)
    run.run()
    assert not run.passed
    assert run.report().splitlines()[-1] == "0 passed, 1 failed, 1 skipped"


def test_a_scenario_that_was_left_out_has_not_passed(stages: t.Any, tmp_path: Path) -> None:
    fake = tmp_path / "left_out"
    fake.write_text('#!/bin/sh\necho "WARNING: Skipping the scenario bare: it would take 9 minutes"\n')
    fake.chmod(0o755)
    run = stages.Run([["molecule-bare", "molecule-board"]], keep_going=False, make=[str(fake)])
    run.run()
    assert [stage.outcome for stage in run.stages] == ["skipped", "passed"]
    assert run.passed
    lines = run.report().splitlines()
    assert "  molecule-bare: the scenario bare: it would take 9 minutes" in lines
    assert lines[-1] == "1 passed, 0 failed, 1 skipped"


def test_an_interrupt_has_stages_clean_up(stages: t.Any, fake_make: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = stages.Run([["slow", "after"]], keep_going=True, make=fake_make)
    thread = threading.Thread(target=run.run)
    thread.start()
    log = stages.LOGS / "slow.log"
    end = time.monotonic() + 20
    while not (log.exists() and "doing" in log.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)
    run.interrupt()
    thread.join(20)
    assert "cleaned up" in log.read_text()
    assert run.report().splitlines()[-1] == "0 passed, 1 failed, 1 skipped"


def test_the_exit_status_reports_a_failure(tmp_path: Path) -> None:
    (tmp_path / "make").write_text("#!/bin/sh\n[ $2 = good ]\n")
    (tmp_path / "make").chmod(0o755)
    program = tmp_path / "checkout" / "tests" / "support" / "tools" / "stages.py"
    program.parent.mkdir(parents=True)
    program.write_bytes(PROGRAM.read_bytes())
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for lanes, status in ((["good"], 0), (["good", "bad"], 1)):
        ran = subprocess.run([sys.executable, program, *lanes], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == status, ran.stdout + ran.stderr
