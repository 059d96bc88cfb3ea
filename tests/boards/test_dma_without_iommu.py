# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A driver domain that Xen starts owns a network card that does DMA, on a board without an IOMMU, and serves two kinds of guests.

Xen is built with static memory; with Debian's own, the domain hangs as soon as the card's driver uses it. QEMU's xlnx-versal-virt has RAM
at 0x39000000, where Xen before 4.21 wants the page of XenStore of a domain that is mapped 1:1 (see `_board/xenstore_page.py`). The
Raspberry Pi 4 has, too; QEMU's virt has not.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from testbed.checks import any_free_port
from testbed.ssh import Ssh

from . import machine, small_dom0
from .parts import Parts
from .playbooks import ROOT, BuiltXen, playbook, run_on_board, write_inventory

SUITE = "bookworm"
GATEWAY = "10.0.3.2"
NAMES = ["net-dd", "guest"]
#: Outside of the memory that files are loaded into.
STATIC = {"start": "0x20000000", "size": "0x10000000"}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def xen(xen_of: Callable[[str], BuiltXen]) -> BuiltXen:
    """A Xen with static memory."""
    return xen_of(SUITE)


@pytest.fixture
def files(xen: BuiltXen, tmp_path: Path) -> dict[str, str]:
    """Kernel and ramdisk, the same for all domains."""
    return small_dom0.build(SUITE, xen.xen_version, tmp_path)


@pytest.fixture
def inventory(xen: BuiltXen, files: dict[str, str], versal_tree: Path, run_module: Run, tmp_path: Path) -> Path:
    """The board: its driver domain has memory at the addresses that the card writes to."""
    card = run_module(
        "passthrough_device_tree",
        device_tree=str(versal_tree),
        devices=[machine.CARD],
        direct_map=True,
        force=["no_iommu"],
        dest=str(tmp_path / "card.dtb"),
    )
    image = small_dom0.image()
    domain = "console=ttyAMA0 boot=xendd"
    mac = machine.CARD["mac"]
    board = {
        **small_dom0.connection(any_free_port()),
        "board_memory_start": "0x10000000",
        "board_memory_end": "0x20000000",
        "board_xen_cmdline": "console=dtuart bootscrub=0 xsm=dummy",
        "board_suite": SUITE,
        "board_xen_build": True,
        "board_dir": str(tmp_path / "tftp"),
        "board_device_tree": str(versal_tree),
        "board_dom0": {**files, "memory": 512, "cmdline": "console=hvc0 boot=dom0"},
        "board_domus": [
            {
                "name": "net-dd",
                "image": image,
                "static_memory": [STATIC],
                "passthrough_dtb": card["dest"],
                "passthrough_paths": card["passthrough_paths"],
                "cmdline": f"{domain} xendd.backend=1 xendd.bridge=xenbr0,{mac} report=eth0",
            },
            {"name": "guest", "image": image, "memory": 192, "cmdline": f"{domain} xendd.address=eth0,10.0.3.21/24 report={GATEWAY}"},
        ],
        "board_vifs": [{"domain": "guest", "backend": "net-dd", "bridge": "xenbr0"}],
        **small_dom0.CACHE,
    }
    return write_inventory(tmp_path / "inventory.yml", "virt1", board)


@pytest.fixture
def booted(inventory: Path, board_parts: Parts, tmp_path: Path) -> Iterator[tuple[machine.Machine, Ssh]]:
    """The board after its playbook ran and U-Boot ran the script; dom0 answers."""
    playbook(ROOT / "playbooks/board.yml", inventory, 1900)
    port = yaml.safe_load(inventory.read_text())["boards"]["hosts"]["virt1"]["ansible_port"]
    ssh = Ssh(port, small_dom0.ssh_key(), Path(f"/tmp/board-ssh-{port}"))
    with machine.versal(board_parts, tmp_path / "tftp", ssh_port=port, log=tmp_path / "serial") as board:
        board.console.wait_all(600, r"Xen version 4", r"^dom0 is ready")
        try:
            yield board, ssh
        finally:
            ssh.disconnect()


def interrupts(board: machine.Machine) -> int:
    """How many interrupts the card has raised in the driver domain, as it last reported."""
    found = re.findall(r"DOM1: report: eth0 has had (\d+) interrupts", board.console.text)
    return int(found[-1]) if found else 0


def test_driver_domain_serves_guests_of_both_kinds(
    booted: tuple[machine.Machine, Ssh], inventory: Path, files: dict[str, str], tmp_path: Path
) -> None:
    board, ssh = booted
    assert "Failed to assign" not in board.console.text
    playbook(ROOT / "playbooks/board_running.yml", inventory, 600)
    # The guest that Xen started.
    board.console.wait_all(240, r"DOM2: report: .*, 3 packets received")
    before = interrupts(board)
    assert before > 0, "the card raises interrupts in the driver domain"
    # A guest that dom0 starts, with a vif from the same driver domain, by its name.
    for part in ("kernel", "ramdisk"):
        ssh_copy(ssh, Path(files[part]), f"/root/{part}")
    web = {
        "name": "web",
        "memory": 192,
        "kernel": "/root/kernel",
        "ramdisk": "/root/ramdisk",
        "cmdline": f"console=hvc0 boot=xendd xendd.address=eth0,10.0.3.22/24 report={GATEWAY}",
        "vifs": [{"backend": "net-dd", "bridge": "xenbr0", "trusted": True}],
    }
    made = run_on_board(inventory, "xl_domain", domains=[web])
    assert made["changed"]
    log = "/var/log/xen/console/guest-web.log"
    wait_until(lambda: "3 packets received" in ssh.run(f"cat {log}").stdout, "a guest that dom0 starts reaches the gateway")
    wait_until(lambda: interrupts(board) >= before + 3, "the answers came by the card's interrupts")
    listed = ssh.check("xl list")
    assert re.search(r"net-dd\s+1 .*\n.*guest\s+2 .*\n.*web\s+3 ", listed)
    assert not run_on_board(inventory, "xl_domain", domains=[web])["changed"]
    assert "changed=0" in playbook(ROOT / "playbooks/board_running.yml", inventory, 600)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds, for 4 minutes."""
    end = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < end, f"not within 4 minutes: {what}"
        time.sleep(1)


def ssh_copy(ssh: Ssh, source: Path, target: str) -> None:
    """Copy a file to dom0, which has no sftp."""
    with source.open("rb") as file:
        subprocess.run(ssh.argv(f"cat >{target}"), stdin=file, check=True, timeout=300)
