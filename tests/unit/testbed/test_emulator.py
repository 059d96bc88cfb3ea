# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The faults of QEMU are mended where they are known to be, and nowhere else. The scenario `hvm` shows that they are gone."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from testbed.emulator import FAULTS, mend

OTHER = b"\x7fELF" + bytes(range(256))


class Code(t.NamedTuple):
    """What Debian's QEMU 10.0.13 has there."""

    before: bytes
    instruction: bytes
    after: bytes


CODES = (
    Code(
        bytes.fromhex("41 0f b6 f4 44 89 ab e0 33 00 00"),
        bytes.fromhex("89 b3 10 d7 ff ff"),
        bytes.fromhex("c7 83 e4 33 00 00 00 00 00 00 48 c7 83 e8 33 00 00 ff ff ff ff"),
    ),
    Code(bytes.fromhex("e8 42 64 14 00"), bytes.fromhex("81 a0 74 2c 00 00 7f ff ff ff"), bytes.fromhex("48 83 c4 08 31 c0")),
)


def test_only_the_instructions_are_replaced(tmp_path: Path) -> None:
    program = tmp_path / "qemu"
    program.write_bytes(OTHER + OTHER.join(b"".join(code) for code in CODES) + OTHER)
    assert mend(program) == []
    mended = [code.before + fault.nothing + code.after for code, fault in zip(CODES, FAULTS, strict=True)]
    assert program.read_bytes() == OTHER + OTHER.join(mended) + OTHER


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[fault.name for fault in FAULTS])
@pytest.mark.parametrize("what", ["nothing like it", "without the instruction", "another one", "two places"])
def test_another_version_stays_as_it_is(tmp_path: Path, what: str, number: int) -> None:
    one, other = CODES[number], CODES[1 - number]
    code = {
        "nothing like it": OTHER,
        "without the instruction": one.before + one.after,
        "another one": one.before + one.instruction + OTHER,
        "two places": b"".join(one) * 2,
    }[what]
    program = tmp_path / "qemu"
    program.write_bytes(code + b"".join(other))
    assert mend(program) == [FAULTS[number].name]
    assert program.read_bytes() == code + other.before + FAULTS[1 - number].nothing + other.after
