# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each module costs before it does anything: its payload as Ansible sends it, and its CPU time on the controller."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ansible.executor.module_common import modify_module
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar

MODULES = Path(__file__).parents[2] / ".collections/ansible_collections/xen/driver_domains/plugins/modules"
BARE = """#!/usr/bin/python
from __future__ import annotations
from ansible.module_utils.basic import AnsibleModule
AnsibleModule({}).exit_json()
"""
ROUNDS = 7


def payload(name: str, path: Path) -> bytes:
    """Return what Ansible sends to a host to run the module.

    It is called with a parameter that no module has: so it imports all that it needs, checks its parameters, and stops.
    """
    built = modify_module(
        module_name=name,
        module_path=str(path),
        module_args={"bench_unknown": True},
        templar=Templar(loader=DataLoader()),
        task_vars={"ansible_python_interpreter": sys.executable},
        module_compression="ZIP_DEFLATED",
    )
    data: bytes = built.b_module_data
    return data


def cpu_seconds(script: Path) -> float:
    """Return the CPU time of one run of a payload, user and system, its child processes included."""
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _pid, _status, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    init_plugin_loader()
    with tempfile.TemporaryDirectory() as directory:
        bare = Path(directory) / "bare.py"
        bare.write_text(BARE, encoding="utf-8")
        modules = {"a bare AnsibleModule": bare, **{path.stem: path for path in sorted(MODULES.glob("*.py"))}}
        scripts = {}
        for name, path in modules.items():
            scripts[name] = Path(directory) / f"{path.stem}.payload"
            scripts[name].write_bytes(payload("bare" if path is bare else f"xen.driver_domains.{name}", path))
        seconds: dict[str, list[float]] = {name: [] for name in modules}
        for _round in range(ROUNDS):
            for name, script in scripts.items():
                seconds[name].append(cpu_seconds(script))
        floor = statistics.median(seconds["a bare AnsibleModule"])
        print(f"{'module':<26} {'payload':>9} {'CPU time / bare':>17}")
        for name, script in scripts.items():
            print(f"{name:<26} {script.stat().st_size / 1000:>6.1f} KB {statistics.median(seconds[name]) / floor:>17.2f}", flush=True)


if __name__ == "__main__":
    main()
