# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A domain that Xen starts owns the PCI host bridge of QEMU's virt, and a network card behind it that no device tree names.

Xen is built with static memory, as the board has no IOMMU. The card is one that has never heard of message-signalled interrupts: its
interrupts are those of the bridge's interrupt-map, of which Xen passes on only what the node lists as its own `interrupts`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import machine, small_dom0
from .parts import Parts
from .playbooks import BuiltXen

SUITE = "bookworm"
BRIDGE = "/pcie@10000000"
#: INTA to INTD of the bridge are SPI 3 to 6 (hw/arm/virt.c).
INTERRUPTS = [cell for line in range(3, 7) for cell in ("0", str(line), "4")]
NETWORK, ADDRESS, GATEWAY = "10.0.3.0/24", "10.0.3.21/24", "10.0.3.2"
STATIC = {"start": "0x60000000", "size": "0x10000000"}
Run = Callable[..., dict[str, Any]]
#: initramfs-tools boot script, selected by boot=pci.
OWNER = f"""\
mountroot()
{{
    modprobe e1000
    for path in /sys/bus/pci/devices/*; do
        driver=$(readlink "$path/driver")
        echo "pci: ${{path##*/}} $(cat "$path/vendor") $(cat "$path/device") driver ${{driver##*/}}"
    done
    ip address add {ADDRESS} dev eth0
    ip link set dev eth0 up
    while ! ping -c 3 -W 5 {GATEWAY}; do sleep 1; done
    sed -n 's/^ *[0-9]*: *\\([0-9]*\\) .* eth0$/eth0 has had \\1 interrupts/p' /proc/interrupts
    echo 'the owner is done'
    while :; do sleep 60; done
}}
"""


@pytest.fixture
def xen(xen_of: Callable[[str], BuiltXen]) -> BuiltXen:
    """A Xen with static memory."""
    return xen_of(SUITE)


@pytest.fixture
def files(xen: BuiltXen, tftp: Path, tmp_path: Path) -> Path:
    """The directory of the virt machine, with that Xen, and kernel and ramdisk of the owner."""
    image = small_dom0.image()
    script = {"path": "/etc/initramfs-tools/scripts/pci", "content": OWNER, "mode": "0644"}
    image = {"name": "pci", **image, "modules": ["e1000"], "files": [*image["files"], script]}
    made = small_dom0.build_image(image, SUITE, xen.xen_version, tmp_path)
    (tftp / "xen").unlink()
    shutil.copy(xen.xen, tftp / "xen")
    shutil.copy(made["kernel"], tftp / "owner")
    shutil.copy(made["ramdisk"], tftp / "owner.cpio.gz")
    return tftp


def partial(run_module: Run, directory: Path, force: list[str]) -> dict[str, Any]:
    """Make the partial tree of the bridge."""
    return run_module(
        "passthrough_device_tree",
        device_tree=str(directory / "virt.dtb"),
        devices=[{"node": "pci-host-ecam-generic"}],
        direct_map=True,
        force=force,
        dest=str(directory / "bridge.dtb"),
    )


def test_a_domain_that_owns_the_bridge(
    board_parts: Parts, files: Path, tmp_path: Path, run_module: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = files / "virt.dtb"
    shutil.copy(tree.resolve(), tmp_path / "changed.dtb")
    tree.unlink()
    shutil.move(tmp_path / "changed.dtb", tree)
    # The end of the window of 32 bits is where Xen has the grant table of each guest; Linux uses the window from its beginning.
    force = ["no_iommu", "guest_layout"]
    with pytest.raises(AssertionError, match="interrupts 35, 36, 37, 38 are only in its interrupt-map"):
        partial(run_module, files, force)
    command = board_parts.tools.argv("usr/bin/fdtput", "-t", "u", tree, BRIDGE, "interrupts", *INTERRUPTS)
    subprocess.run(command, check=True)
    made = partial(run_module, files, force)
    assert made["passthrough_paths"] == [BRIDGE]
    assert any("(MSI) behind" in warning for warning in made["warnings"])
    lint = run_module("device_tree_lint", device_tree=str(tree), partial=str(files / "bridge.dtb"))
    assert [finding for finding in lint["findings"] if finding["severity"] == "error"] == []
    owner = {"name": "owner", "kernel": "owner", "ramdisk": "owner.cpio.gz", "static_memory": [STATIC], "direct_map": True}
    run_module(
        "uboot_script",
        directory=str(files),
        memory_start="0x40000000",
        memory_end="0x60000000",
        device_tree="virt.dtb",
        xen="xen",
        xen_cmdline="console=dtuart bootscrub=0 xsm=dummy",
        dom0={"kernel": "vmlinuz", "ramdisk": "ramdisk.cpio.gz", "memory": 512},
        domus=[
            {
                **owner,
                # No page of XenStore: before 4.21, Xen wants it in RAM at 0x39000000, which virt does not have.
                "enhanced": "disabled",
                "cmdline": "console=ttyAMA0 boot=pci net.ifnames=0",
                "passthrough_dtb": "bridge.dtb",
                "passthrough_paths": made["passthrough_paths"],
            }
        ],
    )
    usual = machine.virt_args()
    # U-Boot may take either card for its own.
    card = ["-netdev", f"user,id=card,net={NETWORK},tftp={files}", "-device", "e1000,netdev=card,addr=0x5,romfile="]
    monkeypatch.setattr(machine, "virt_args", lambda: [*usual, *card])
    with machine.virt(board_parts, files, log=tmp_path / "serial") as board:
        board.uboot_prompt()
        board.source()
        board.console.wait_all(400, r"DOM1: .*the owner is done")
        text = board.console.text
    assert "Failed to assign" not in text
    devices = re.findall(r"DOM1: .*pci: (\S+) (\S+) (\S+) driver (\S*)", text)
    assert ("0000:00:05.0", "0x8086", "0x100e", "e1000") in devices
    counted = re.findall(r"DOM1: .*eth0 has had (\d+) interrupts", text)
    assert counted and int(counted[-1]) > 0, "the card raises INTx in the domain"
    assert re.search(r"DOM1: .*3 packets received", text)
