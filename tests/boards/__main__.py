# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The emulated board of the molecule scenario `board`: boards inventory DIRECTORY | power-cycle DIRECTORY | down DIRECTORY.

`inventory` writes `inventory.yml` and the files that it names; `power-cycle` starts the board, from the boot set in `tftp`, and
returns when Xen runs; `down` ends it. All of it is in DIRECTORY.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import yaml
from testbed.checks import any_free_port

from . import machine, parts, small_dom0
from .playbooks import write_inventory

#: Not the suite of the other tests, so that both versions of Xen are booted.
SUITE, XEN_VERSION = "bookworm", "4.17"
NETWORK = "10.9.0"
RTC = Path(__file__).with_name("pl031.dts")


def inventory(directory: Path) -> None:
    """Write an inventory with a board whose driver domain owns a clock and serves a guest and dom0."""
    directory.mkdir(parents=True, exist_ok=True)
    found = parts.get()
    tree, partial = directory / "virt.dtb", directory / "pl031.dtb"
    machine.virt_tree(found, tree)
    partial.write_bytes(found.run("usr/bin/dtc", "-q", "-I", "dts", "-O", "dtb", RTC))
    image = small_dom0.image()
    domain = "console=ttyAMA0 boot=xendd"
    tests = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "support")]
    board = {
        **small_dom0.connection(any_free_port()),
        "board_power_cycle": ["env", f"PYTHONPATH={':'.join(tests)}", sys.executable, "-m", "boards", "power-cycle", str(directory)],
        # Its system does not configure interfaces by itself.
        "board_vif_address": f"{NETWORK}.3/24",
        "board_pings": [f"{NETWORK}.2"],
        "board_preset": "qemu-virt",
        "board_suite": SUITE,
        "board_dir": str(directory / "tftp"),
        "board_xen": str(parts.stock_xen(SUITE, XEN_VERSION)),
        "board_device_tree": str(tree),
        "board_dom0": {**small_dom0.build(SUITE, XEN_VERSION, directory), "memory": 512, "cmdline": "console=hvc0 boot=dom0"},
        "board_domus": [
            {
                "name": "net-dd",
                "image": image,
                "memory": 256,
                "passthrough_dtb": str(partial),
                "passthrough_paths": ["/pl031@9010000"],
                "cmdline": f"{domain} xendd.backend=1 xendd.bridge=xenbr0 xendd.address=xenbr0,{NETWORK}.1/24",
            },
            {"name": "guest", "image": image, "memory": 192, "cmdline": f"{domain} xendd.address=eth0,{NETWORK}.2/24"},
        ],
        "board_vifs": [
            {"domain": "guest", "backend": "net-dd", "bridge": "xenbr0"},
            {"domain": "Domain-0", "backend": "net-dd", "bridge": "xenbr0"},
        ],
        **small_dom0.CACHE,
    }
    write_inventory(directory / "inventory.yml", "emulated", board)


def power_cycle(directory: Path) -> None:
    """Start the board, after it has been ended if it runs."""
    down(directory)
    board = yaml.safe_load((directory / "inventory.yml").read_text())["boards"]["hosts"]["emulated"]
    pid = machine.start_virt(parts.get(), directory / "tftp", board["ansible_port"], directory / "serial")
    (directory / "pid").write_text(str(pid))


def down(directory: Path) -> None:
    """End the board, if it runs."""
    file = directory / "pid"
    if not file.exists():
        return
    pid = int(file.read_text())
    # Another process may have its number by now.
    with contextlib.suppress(OSError):
        if b"qemu-system-aarch64" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
            while Path(f"/proc/{pid}/cmdline").read_bytes():
                time.sleep(0.05)
    file.unlink()


if __name__ == "__main__":
    {"inventory": inventory, "power-cycle": power_cycle, "down": down}[sys.argv[1]](Path(sys.argv[2]).absolute())
