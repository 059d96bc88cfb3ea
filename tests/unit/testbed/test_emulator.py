# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fault of QEMU is mended where it is known to be, and nowhere else. The scenario `hvm` shows that it is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from testbed.emulator import mend_injection

#: As Debian's QEMU 10.0.13 has it.
BEFORE = bytes.fromhex("41 0f b6 f4 44 89 ab e0 33 00 00")
NOTE = bytes.fromhex("89 b3 10 d7 ff ff")
AFTER = bytes.fromhex("c7 83 e4 33 00 00 00 00 00 00 48 c7 83 e8 33 00 00 ff ff ff ff")
OTHER = b"\x7fELF" + bytes(range(256))


def test_only_the_note_is_replaced(tmp_path: Path) -> None:
    program = tmp_path / "qemu"
    program.write_bytes(OTHER + BEFORE + NOTE + AFTER + OTHER)
    assert mend_injection(program)
    assert program.read_bytes() == OTHER + BEFORE + bytes.fromhex("66 0f 1f 44 00 00") + AFTER + OTHER


@pytest.mark.parametrize(
    "code",
    [OTHER, BEFORE + AFTER, BEFORE + NOTE + OTHER, (BEFORE + NOTE + AFTER) * 2],
    ids=["nothing like it", "without a note", "another one", "two places"],
)
def test_another_version_stays_as_it_is(tmp_path: Path, code: bytes) -> None:
    program = tmp_path / "qemu"
    program.write_bytes(code)
    assert not mend_injection(program)
    assert program.read_bytes() == code
