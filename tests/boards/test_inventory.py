# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From an inventory to a running board: its playbook, U-Boot, Xen, dom0 on a disk, and a driver domain that serves another domain."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from testbed.checks import any_free_port
from testbed.ssh import Ssh

from . import machine, small_dom0
from .parts import XEN_VERSION, Parts
from .playbooks import ROOT, playbook, run_on_board, write_inventory

RTC = Path(__file__).with_name("pl031.dts")
NETWORK = "10.9.0"
#: The domains that Xen starts.
NAMES = ["net-dd", "guest"]
#: Without it, the initramfs of an image of profile debian has only the drivers for PV disks.
VIRTIO = """\
#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_blk virtio_net virtio_mmio virtio_pci ext4
"""
#: The network card is dom0's own, so what configures frontends does not configure it.
DHCP = """\
[Match]
Name=eth0

[Network]
DHCP=ipv4
"""


@pytest.fixture(scope="session")
def dom0(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Kernel, ramdisk and disk of a dom0 with Xen's tools, Python and SSH."""
    image = {
        "name": "dom0",
        "profile": "debian",
        "size": "3G",
        "packages": [f"xen-utils-{XEN_VERSION}", "python3-minimal", "busybox"],
        "authorized_keys": [small_dom0.ssh_key().with_suffix(".pub").read_text()],
        "files": [
            {"path": "/etc/initramfs-tools/hooks/virtio", "content": VIRTIO, "mode": "0755"},
            {"path": "/etc/systemd/network/eth0.network", "content": DHCP},
        ],
    }
    made = small_dom0.build_image(image, "trixie", XEN_VERSION, tmp_path_factory.mktemp("dom0"))
    return {part: made[part] for part in ("kernel", "ramdisk", "disk")}


@pytest.fixture
def inventory(tmp_path: Path, board_parts: Parts, virt_tree: Path, dom0: dict[str, str]) -> Path:
    """A board with a driver domain that owns a device and serves a guest."""
    partial = tmp_path / "pl031.dtb"
    partial.write_bytes(board_parts.run("usr/bin/dtc", "-q", "-I", "dts", "-O", "dtb", RTC))
    image = {"backends": ["vif"]}
    domain = "console=ttyAMA0 boot=xendd"
    board = {
        **small_dom0.connection(any_free_port()),
        "board_preset": "qemu-virt",
        "board_dir": str(tmp_path / "tftp"),
        "board_xen": str(board_parts.xen),
        "board_device_tree": str(virt_tree),
        "board_dom0": {
            "kernel": dom0["kernel"],
            "ramdisk": dom0["ramdisk"],
            "memory": 768,
            "cmdline": "console=hvc0 root=/dev/vda rw net.ifnames=0 systemd.show_status=0",
        },
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
    return write_inventory(tmp_path / "inventory.yml", "virt1", board)


@pytest.fixture
def booted(inventory: Path, board_parts: Parts, dom0: dict[str, str], tmp_path: Path) -> Iterator[tuple[machine.Machine, Ssh]]:
    """The board after its playbook ran and U-Boot ran the script; dom0 answers."""
    playbook(ROOT / "playbooks/board.yml", inventory, 3600)
    assert "changed=0" in playbook(ROOT / "playbooks/board.yml", inventory, 900)
    disk = tmp_path / "disk.img"
    subprocess.run(["cp", "--sparse=always", dom0["disk"], disk], check=True)
    port = yaml.safe_load(inventory.read_text())["boards"]["hosts"]["virt1"]["ansible_port"]
    ssh = Ssh(port, small_dom0.ssh_key(), Path(f"/tmp/board-ssh-{port}"))
    with machine.virt(board_parts, tmp_path / "tftp", disk=disk, ssh_port=port, log=tmp_path / "serial") as board:
        board.uboot_prompt()
        board.source()
        board.console.wait("Xen version 4", 90)
        end = time.monotonic() + 900
        while not ssh.answers():
            assert time.monotonic() < end, board.console.text[-3000:]
            time.sleep(1)
        # SSH answers before XenStore runs.
        ssh.run("systemctl is-system-running --wait", timeout=300)
        try:
            yield board, ssh
        finally:
            ssh.disconnect()


@pytest.mark.skipif(
    os.environ.get("LONG") != "1",
    reason="without LONG=1: a whole Debian for arm64 is made and booted, in 10 minutes; the scenario board has a small one",
)
def test_from_inventory_to_running_system(
    booted: tuple[machine.Machine, Ssh], inventory: Path, dom0: dict[str, str], tmp_path: Path
) -> None:
    board, ssh = booted
    # Its driver is bound, and dom0 has no such device.
    board.console.wait_all(60, r"DOM1: .*rtc-pl031 9010000.rtc: registered as rtc0")
    assert ssh.check("ls /sys/class/rtc") == ""
    assert findings(inventory, NAMES) == ["not_initialised"] * 2
    running = ROOT / "playbooks/board_running.yml"
    playbook(running, inventory, 600)
    assert re.search(r"net-dd\s+1 .*\n.*guest\s+2 ", ssh.check("xl list"))
    assert "changed=0" in playbook(running, inventory, 600)
    reach_guest(ssh)
    assert findings(inventory, ["guest", "net-dd", "third"]) == ["wrong_order", "wrong_order", "domain_missing"]
    detach_and_attach_vif(ssh, inventory)
    fetch_payload(ssh, inventory, dom0, tmp_path)
    assert "changed=0" in playbook(ROOT / "playbooks/board.yml", inventory, 900)


def findings(inventory: Path, names: list[str]) -> list[str]:
    """The findings for the board, if it was to start domains of these names."""
    return [finding["name"] for finding in run_on_board(inventory, "dom0less_domain_info", names=names)["findings"]]


def reach_guest(ssh: Ssh) -> None:
    """Ping from dom0 through the driver domain's bridge to the guest; no vif connects the two directly."""
    ssh.check(f"ip address add {NETWORK}.3/24 dev eth1 && ip link set eth1 up")
    ssh.check(f"ping -c 3 -W 10 {NETWORK}.2", timeout=120)


def detach_and_attach_vif(ssh: Ssh, inventory: Path) -> None:
    vif = {"domain": "Domain-0", "backend": "net-dd", "bridge": "xenbr0"}
    absent = {"vifs": [{**vif, "state": "absent"}]}
    predicted = run_on_board(inventory, "xl_vif", "--check", "--diff", **absent)
    assert predicted["changed"] and "bridge=xenbr0,backend=net-dd" in predicted["printed"]
    assert "eth1" in ssh.check("ls /sys/class/net"), "check mode writes nothing"
    assert run_on_board(inventory, "xl_vif", **absent)["actions"] == predicted["actions"]
    assert "eth1" not in ssh.check("ls /sys/class/net")
    assert not run_on_board(inventory, "xl_vif", **absent)["changed"]
    again = run_on_board(inventory, "xl_vif", vifs=[vif])
    assert again["changed"] and again["vifs"][0]["connected"]
    reach_guest(ssh)


def fetch_payload(ssh: Ssh, inventory: Path, dom0: dict[str, str], tmp_path: Path) -> None:
    """Kernel, ramdisk and device tree of the board's dom0, which gets its ramdisk in /boot first: U-Boot loaded it from elsewhere."""
    play = tmp_path / "payload.yml"
    release = ssh.check("uname -r").strip()
    ramdisk = {"ansible.builtin.copy": {"src": dom0["ramdisk"], "dest": f"/boot/initrd.img-{release}", "mode": "0600"}}
    role = {"role": "xen.driver_domains.board_payload", "board_payload_directory": str(tmp_path / "payload")}
    play.write_text(yaml.safe_dump([{"hosts": "boards", "gather_facts": False, "pre_tasks": [ramdisk], "roles": [role]}]))
    playbook(play, inventory, 900)
    payload = tmp_path / "payload/virt1"
    assert sorted(path.name for path in payload.iterdir()) == ["board.dtb", "kernel", "payload.json", "ramdisk"]
    assert all((payload / name).read_bytes() == Path(dom0[name]).read_bytes() for name in ("kernel", "ramdisk"))
    description = json.loads((payload / "payload.json").read_text())
    assert description["kernel_release"] == release and all(description[part]["checked"] for part in ("kernel", "ramdisk", "device_tree"))
    assert "changed=0" in playbook(play, inventory, 900)
