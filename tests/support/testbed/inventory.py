# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the inventory by which Ansible reaches the machine."""

from __future__ import annotations

import json
import shlex
from typing import Any

from .hardware import nics_for_inventory
from .ssh import HOST, USER, Ssh


def inventory(ssh: Ssh, hardware: str) -> dict[str, Any]:
    """Return the inventory: host dom0 in group xen_hosts."""
    host = {
        "ansible_host": HOST,
        "ansible_port": ssh.port,
        "ansible_user": USER,
        "ansible_ssh_private_key_file": str(ssh.key),
        "ansible_ssh_common_args": _args(ssh.options()),
        "ansible_ssh_args": _args(ssh.sharing()),
        "ansible_ssh_pipelining": True,
        # After a connection was lost: every module of the collection may run twice.
        "ansible_ssh_retries": 3,
        "ansible_python_interpreter": "/usr/bin/python3",
        "testbed_nics": nics_for_inventory(hardware),
    }
    return {"xen_hosts": {"hosts": {"dom0": host}}}


def to_yaml(value: Any) -> str:
    """Return a YAML document; JSON is YAML, so the scalars are written as JSON."""
    return "---\n" + "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [line for name, item in value.items() for line in _entry(f"{name}:", item)]
    return [line for item in value for line in _item(_lines(item))]


def _entry(head: str, value: Any) -> list[str]:
    if isinstance(value, dict | list):
        return [head, *("  " + line for line in _lines(value))]
    return [f"{head} {json.dumps(value)}"]


def _item(lines: list[str]) -> list[str]:
    return [("- " if number == 0 else "  ") + line for number, line in enumerate(lines)]


def _args(options: dict[str, str]) -> str:
    return " ".join(f"-o {shlex.quote(f'{name}={value}')}" for name, value in options.items())
