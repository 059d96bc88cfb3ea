# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One image for dom0, driver domain and guests of a board: a ramdisk of some MB, built in two minutes, with which dom0 boots in seconds.

What a domain does with it is on its kernel command line: `boot=dom0` or `boot=xendd`, and `report=` (see `dom0/report`).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from .playbooks import LOCAL, playbook

#: A cache of its own, because a cache builds only one image at a time.
IMAGES = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xen-driver-domains" / "board-images"
#: Where the role keeps images, and where it builds them: the same directory, so that an image of the same content is built only once.
CACHE = {"guest_image_dir": str(IMAGES), "guest_image_cache_dir": str(IMAGES)}
_FILES = Path(__file__).with_name("dom0")


def ssh_key() -> Path:
    """Return the private key for dom0, which stays the same, so that its image does too."""
    path = IMAGES.with_name("board-key")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "board", "-f", path], check=True)
    return path


def image() -> dict[str, Any]:
    """Return the option `image` of a domain in `board_domus`, which is also an item of `guest_image_images` without its name."""
    scripts = [
        ("/etc/initramfs-tools/hooks/dom0", "hook", "0755"),
        ("/etc/initramfs-tools/scripts/dom0", "boot", "0644"),
        ("/etc/initramfs-tools/scripts/init-premount/report", "report", "0755"),
    ]
    return {
        "backends": ["vif"],
        "modules": ["virtio_mmio", "virtio_net", "macb"],
        "packages": ["dropbear-bin", "python3-minimal"],
        "authorized_keys": [ssh_key().with_suffix(".pub").read_text()],
        "files": [{"path": path, "content": (_FILES / name).read_text(), "mode": mode} for path, name, mode in scripts],
    }


def connection(port: int) -> dict[str, Any]:
    """Return the inventory variables by which Ansible reaches a dom0 behind a port of this machine."""
    return {
        "ansible_host": "127.0.0.1",
        "ansible_port": port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(ssh_key()),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def build(suite: str, xen_version: str, directory: Path) -> dict[str, str]:
    """Build the image, unless it is in the cache, and return the paths of its kernel and ramdisk."""
    made = build_image({"name": "dom0", **image()}, suite, xen_version, directory)
    return {part: made[part] for part in ("kernel", "ramdisk")}


def build_image(specification: dict[str, Any], suite: str, xen_version: str, directory: Path) -> dict[str, str]:
    """Build an image with the role guest_image, and return what it exports.

    :param specification: an item of `guest_image_images`.
    :param directory: for the playbook.
    """
    name = specification["name"]
    variables = {
        **LOCAL,
        "guest_image_suite": suite,
        "guest_image_architecture": "arm64",
        "guest_image_xen_version": xen_version,
        **CACHE,
        "guest_image_timeout": 3600,
        "guest_image_images": [specification],
    }
    result = directory / f"image-{name}.json"
    tasks = [
        {"ansible.builtin.import_role": {"name": "xen.driver_domains.guest_image"}},
        {"ansible.builtin.copy": {"content": f"{{{{ guest_image_result.{name} | to_json }}}}", "dest": str(result), "mode": "0644"}},
    ]
    play = directory / f"image-{name}.yml"
    play.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    inventory = directory / f"image-{name}-inventory.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"localhost": variables}}}))
    playbook(play, inventory, 3900)
    return dict(json.loads(result.read_text()))
