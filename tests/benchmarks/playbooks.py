# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run playbooks and measure them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SITE = HERE.parents[1] / "playbooks/site.yml"
DOMAINS = HERE / "domains.yml"


def run(playbook: Path, variables: dict[str, object], *options: str) -> tuple[float, str]:
    """Run a playbook on the host of the inventory; return the seconds that it took and its output.

    :raises SystemExit: the playbook failed, or the host could not be reached.
    """
    inventories = [f"--inventory={os.environ[name]}" for name in ("HOSTS_INVENTORY", "VARS_INVENTORY")]
    argv = ["ansible-playbook", *inventories, str(playbook), f"--extra-vars={json.dumps(variables)}", *options]
    started = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode or "unreachable=0" not in done.stdout:
        sys.exit(done.stdout + done.stderr)
    return seconds, done.stdout


def round_trips(output: str) -> int:
    """Count the SSH round trips of a run from its output with -vvv.

    Ansible's ssh connection prints such a line each time that it runs ssh, scp or sftp. With pipelining a module is one of them.
    What is delegated to the controller is none.
    """
    return sum("> SSH: EXEC " in line for line in output.splitlines())
