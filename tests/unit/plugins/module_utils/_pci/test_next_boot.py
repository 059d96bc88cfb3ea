# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the next boot hides a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.driver_domains.plugins.module_utils._pci.next_boot import hidden_by

CARD = "0000:03:00.0"
GRUB, RUNNING, MODPROBE = "boot/grub/grub.cfg", "proc/cmdline", "etc/modprobe.d/pciback.conf"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({}, ""),
        ({GRUB: "menuentry 'a' {\n\tmodule2 /vmlinuz xen-pciback.hide=(03:00.0)\n}\n"}, GRUB),
        ({GRUB: 'module2 /vmlinuz quiet\nmodule2 /vmlinuz "xen_pciback.hide=(0000:00:1f.2)(0000:03:00.*)" quiet\n'}, GRUB),
        ({GRUB: "module2 /vmlinuz xen-pciback.hide=(03:00.1)\n"}, ""),
        # The kernel does not read such a list.
        ({GRUB: "module2 /vmlinuz xen-pciback.hide=(03:00.0)x\n"}, ""),
        # What the running kernel has does not matter where the next boot is known.
        ({GRUB: "module2 /vmlinuz quiet\n", RUNNING: "xen-pciback.hide=(03:00.0)"}, ""),
        ({RUNNING: "root=/dev/sda1 xen-pciback.hide=(03:00.0)\n"}, RUNNING),
        ({GRUB: "module2 /vmlinuz quiet\n", MODPROBE: "options xen-pciback hide=(0000:03:00.0)\n"}, "modprobe.d"),
        ({MODPROBE: "# options xen-pciback hide=(0000:03:00.0)\n"}, ""),
    ],
)
def test_hidden_by(tmp_path: Path, files: dict[str, str], name: str) -> None:
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = hidden_by(CARD, str(tmp_path), str(tmp_path / "proc"))
    assert found == (name if name in ("", "modprobe.d") else str(tmp_path / name))
