# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A driver domain that is not started again: dom0's network card returns if it has it."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._recovery.main import return_card_of
from ansible_collections.xen.driver_domains.plugins.module_utils._uplink_record import GIVE_UP_UNIT, UplinkRecord, save_uplink
from ansible_collections.xen.driver_domains.tests.unit.fakes.uplink import WORDS

RECORD = UplinkRecord(*WORDS[:4], "xenbr0", WORDS[4], 90, True)


class Commands:
    """Stands for a runner."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def run(self, argv: t.Sequence[str], **_options: t.Any) -> None:
        self.calls.append(" ".join(argv))


@pytest.mark.parametrize(
    ("name", "text", "returned"),
    [
        ("net-dd", RECORD.text, True),
        ("other", RECORD.text, False),
        ("net-dd", None, False),
        # The unit finds out whether dom0 has lost its network.
        ("other", "{", True),
    ],
)
def test_the_unit_is_started_for_the_backend_of_dom0(tmp_path: Path, name: str, text: str | None, returned: bool) -> None:
    path = tmp_path / "uplink.json"
    save_uplink(RECORD, str(path))
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    commands: t.Any = Commands()
    return_card_of(name, commands, lambda line: None, str(path))
    assert commands.calls == ([f"systemctl start --no-block {GIVE_UP_UNIT}"] if returned else [])
