# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What devices share although nothing should."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.xen.driver_domains.plugins.module_utils._pci.sharing import shared_interrupts, shared_pages
from ansible_collections.xen.driver_domains.tests.unit.fakes.sysfs import FakeMachine
from ansible_collections.xen.driver_domains.tests.unit.fakes.xen import FakeXen


def machine_with(root: Path) -> FakeXen:
    machine = FakeMachine(root)
    machine.pci("0000:00:03.0", "8086:100e", "020000", irq=21, bars=[(0xFEB00000, 0x20000)])
    machine.pci("0000:00:04.0", "8086:10d3", "020000", irq=21, bars=[(0xFEB20000, 0x800), (0xFEB30000, 0x1000)])
    machine.pci("0000:00:05.0", "8086:2922", "010601", irq=22, bars=[(0xFEB20800, 0x800)])
    machine.pci("0000:00:06.0", "1b36:000d", "0c0330", irq=255)
    machine.pci("0000:00:07.0", "1b36:000d", "0c0330", irq=255)
    return FakeXen(machine)


def test_interrupt_lines(tmp_path: Path) -> None:
    xen = machine_with(tmp_path)
    assert shared_interrupts(xen.host().devices(), xen.host()) == {
        "0000:00:03.0": ["0000:00:04.0"],
        "0000:00:04.0": ["0000:00:03.0"],
        "0000:00:05.0": [],
        "0000:00:06.0": [],
        "0000:00:07.0": [],
    }


def test_pages(tmp_path: Path) -> None:
    xen = machine_with(tmp_path)
    assert shared_pages(xen.host().devices(), xen.host()) == {
        "0000:00:03.0": [],
        "0000:00:04.0": ["0000:00:05.0"],
        "0000:00:05.0": ["0000:00:04.0"],
        "0000:00:06.0": [],
        "0000:00:07.0": [],
    }
