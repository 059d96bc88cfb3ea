# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a machine keeps of the Python sources that come in zip archives."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from testbed import images

Run = Callable[..., subprocess.CompletedProcess[str]]

HOOK = Path(images.__file__).parent / "image/overlay/usr/lib/python3/dist-packages/testbed_compiled.py"
PROGRAM = """
import sys
sys.dont_write_bytecode = True
import testbed_compiled
testbed_compiled.DIRECTORY, archive, compiles = sys.argv[1:]
if compiles == "no":
    testbed_compiled._compile = None
sys.path.insert(0, archive)
import thing
print(thing.VALUE)
"""


@pytest.fixture(name="run")
def fixture_run(tmp_path: Path) -> Run:
    """Return a function that imports a source from a new archive in a new process, and returns what it printed."""
    (tmp_path / HOOK.name).write_bytes(HOOK.read_bytes())

    def run(number: int, source: str, compiles: str = "yes") -> subprocess.CompletedProcess[str]:
        archive = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("thing.py", source)
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "kept"), str(archive), compiles],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_same_source_is_compiled_once(run: Run) -> None:
    assert run(1, "VALUE = 1").stdout == "1\n"
    assert run(2, "VALUE = 1", compiles="no").stdout == "1\n"


def test_another_source_is_compiled(run: Run) -> None:
    run(1, "VALUE = 1")
    refused = run(2, "VALUE = 2", compiles="no")
    assert refused.returncode != 0
    assert "TypeError" in refused.stderr
    assert run(3, "VALUE = 2").stdout == "2\n"


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, b"c"])
def test_a_damaged_file_is_replaced(run: Run, tmp_path: Path, damage: bytes) -> None:
    run(1, "VALUE = 1")
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(damage)
    assert run(2, "VALUE = 1").stdout == "1\n"
    assert run(3, "VALUE = 1", compiles="no").stdout == "1\n"


def test_a_directory_that_cannot_be_written_to(run: Run, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file in its place")
    assert run(1, "VALUE = 1").stdout == "1\n"
    assert run(2, "raise SyntaxError('mine')").returncode != 0
