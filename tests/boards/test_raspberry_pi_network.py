# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example with the Raspberry Pi 4's network card, as far as it can be shown without the board: QEMU does not have the card."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import card, machine, small_dom0
from .parts import Parts
from .playbooks import ROOT, BuiltXen, playbook, write_inventory

EXAMPLE = ROOT / "examples/raspberry-pi-4-network"
CARD = "/scb/ethernet@7d580000"
MAC = "dc:a6:32:aa:bb:cc"
#: Of the shell in dom0.
PROMPT = r"^~ # "


@pytest.fixture
def example() -> dict[str, Any]:
    """The board in the example's inventory."""
    return dict(yaml.safe_load((EXAMPLE / "inventory.yml").read_text())["boards"]["hosts"]["pi4"])


@pytest.fixture
def firmware_tree(board_parts: Parts, tmp_path: Path) -> Path:
    """Debian's device tree with the MAC address, as the firmware leaves it in memory."""
    tree = tmp_path / "board.dtb"
    tree.write_bytes(board_parts.raspberry_pi_tree.read_bytes())
    command = board_parts.tools.argv("usr/bin/fdtput", "-t", "bx", tree, CARD, "local-mac-address", *MAC.split(":"))
    subprocess.run(command, check=True, capture_output=True, env=board_parts.tools.env())
    return tree


@pytest.mark.parametrize("from_firmware", [True, False], ids=["firmware", "inventory"])
def test_the_boot_set(
    board_parts: Parts,
    example: dict[str, Any],
    firmware_tree: Path,
    xen_of: Callable[[str], BuiltXen],
    run_module: Callable[..., dict[str, Any]],
    tmp_path: Path,
    from_firmware: bool,
) -> None:
    """card.yml and the role board, with the real device tree and a Xen that has static memory."""
    xen_of(example["board_suite"])
    tree = firmware_tree if from_firmware else board_parts.raspberry_pi_tree
    partial, directory = tmp_path / "card.dtb", tmp_path / "card"
    (tmp_path / "ramdisk").write_bytes(b"070701" + bytes(3 << 20))
    own = {"kernel": str(board_parts.kernel), "ramdisk": str(tmp_path / "ramdisk")}
    domus = [{**{key: value for key, value in domu.items() if key != "image"}, **own} for domu in example["board_domus"]]
    board = example | {
        "board_dir": str(directory),
        "board_kernel": str(board_parts.kernel),
        "board_device_tree": str(tree),
        "board_dom0": example["board_dom0"] | own,
        "board_domus": domus,
        "pi4_mac": "" if from_firmware else MAC,
        "pi4_card": str(partial),
    }
    inventory = write_inventory(tmp_path / "inventory.yml", "pi4", board)
    playbook(EXAMPLE / "card.yml", inventory, 120)
    source = board_parts.run("usr/bin/dtc", "-q", "-I", "dtb", "-O", "dts", partial).decode()
    (node,) = re.findall(r"ethernet@fd580000 \{.*", source, re.DOTALL)
    assert "xen,reg = <0x00 0xfd580000 0x00 0x10000 0x00 0xfd580000>;" in node
    assert re.search(r"interrupts(-extended)? = <[^>]*0x00 0x9d 0x04 [^>]*0x00 0x9e 0x04>;", node), "SPI 157 and 158, by level"
    assert f"local-mac-address = [{MAC.replace(':', ' ')}];" in node
    assert "mdio@e14 {" in node and "ethernet-phy@1 {" in node and 'phy-mode = "rgmii-rxid";' in node
    assert re.search(r'ethernet0 = "/passthrough/ethernet@fd580000"', source)
    assert run_module("device_tree_lint", device_tree=str(tree), partial=str(partial), fail_on="warning")["findings"] == []
    playbook(ROOT / "playbooks/board.yml", inventory, 1900)
    assert "changed=0" in playbook(ROOT / "playbooks/board.yml", inventory, 300)
    script = (directory / "boot.scr").read_bytes().decode("ascii", "replace")
    assert "fdt set /chosen/domU-net-dd xen,static-mem <0x0 0x20000000 0x0 0x10000000 0x0 0x39000000 0x0 0x200000>" in script
    assert re.search(r'domU-net-dd/kernel bootargs ".* mem=262144K"', script), "Linux keeps off the page of XenStore"
    assert "fdt set /chosen/domU-net-dd direct-map" in script and f"fdt set {CARD} xen,passthrough" in script


def test_the_drivers_are_in_debians_kernel(board_parts: Parts, example: dict[str, Any]) -> None:
    """Of the card, its bus and its PHY; the PHY is a BCM54213PE."""
    names = {path.name.partition(".ko")[0] for path in (board_parts.arm64 / "usr/lib/modules").rglob("*.ko*")}
    modules = example["board_domus"][0]["image"]["modules"]
    assert modules == ["genet", "mdio-bcm-unimac", "broadcom"] and set(modules) <= names


def test_static_memory_on_the_board(board_parts: Parts, example: dict[str, Any], xen_of: Callable[[str], BuiltXen], tmp_path: Path) -> None:
    """On QEMU's raspi4b, without the card: the Xen that was built starts dom0, and the driver domain at its addresses."""
    xen = xen_of(example["board_suite"])
    files = small_dom0.build(example["board_suite"], xen.xen_version, tmp_path)
    directory, tree = tmp_path / "card", tmp_path / "pi4.dtb"
    card.emulated_tree(board_parts, tree)
    driver = next(domu for domu in example["board_domus"] if domu["name"] == "net-dd")
    left_out = ("image", "passthrough_dtb", "passthrough_paths")
    console = card.OPTIONS["xen_cmdline"]
    board = example | {
        "board_dir": str(directory),
        "board_load_command": "sd",
        "board_ram": 2048,
        "board_xen_cmdline": console,
        "board_device_tree": str(tree),
        "board_dom0": {**files, "memory": 512, "cmdline": "console=hvc0 clk_ignore_unused boot=dom0"},
        "board_domus": [{key: value for key, value in driver.items() if key not in left_out} | files],
    }
    inventory = write_inventory(tmp_path / "inventory.yml", "pi4", board)
    playbook(ROOT / "playbooks/board.yml", inventory, 1900)
    image = tmp_path / "sd.img"
    card.write_card(board_parts, directory, tree, image)
    with machine.raspi4b(board_parts, image, log=tmp_path / "serial") as pi:
        _uart, auxiliary = pi.consoles
        auxiliary.wait_all(
            300,
            rf"Xen version {re.escape(xen.xen_version)}",
            r"Loading zImage from \w+ to 0*20000000-",
            r"^dom0 is ready",
            PROMPT,
        )
        assert "Failed to assign" not in auxiliary.text and "vpl011:" not in auxiliary.text
        # The domain has no console, so Linux in it is seen by what it writes to XenStore.
        domain = "/local/domain/1/data/driver-domain/status"
        answer = auxiliary.run(f"/usr/lib/xen-*/bin/init-dom0less && until xenstore-read {domain}; do sleep 1; done", PROMPT, 300)
        assert re.search(r"^(starting|attachable|ready|error)$", answer, re.MULTILINE)
