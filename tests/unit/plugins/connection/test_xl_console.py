# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible on a console. A script stands for `xl` of a dom0 that is this machine, and its console is a terminal with a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[4]
XL = f"""#!{sys.executable}
import pty, sys, time
if sys.argv[-1] == "mute":
    time.sleep(60)
if sys.argv[1:] != ["console", "-t", "pv", "web1"]:
    sys.exit(f"{{sys.argv}} is an invalid domain identifier")
pty.spawn(["sh", "-i"])
"""
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.raw: printf %s "$NAME"; echo oh >&2; exit 3
      register: raw
      failed_when: raw.rc != 3 or raw.stdout != 'from the guest' or raw.stderr != 'oh\\n'
    - ansible.builtin.script: script.sh one 'two three'
      register: script
      failed_when: script.stdout_lines != ['two three', 'from the guest']
    - ansible.builtin.ping:
    - ansible.builtin.copy: {src: big, dest: copied, mode: "0600"}
    - ansible.builtin.fetch: {src: copied, dest: fetched, flat: true}
"""


def play(directory: Path, name: str, **variables: object) -> str:
    collections = directory / "collections/ansible_collections/xen"
    collections.mkdir(parents=True)
    (collections / "driver_domains").symlink_to(ROOT)
    (directory / "bin").mkdir()
    for program, text in {"xl": XL, "sudo": '#!/bin/sh\nshift\nexec "$@"\n'}.items():
        (directory / "bin" / program).write_text(text)
        (directory / "bin" / program).chmod(0o755)
    (directory / "big").write_bytes(os.urandom(60000))
    (directory / "script.sh").write_text('#!/bin/sh\necho "$2"\necho "$NAME"\n')
    (directory / "play.yml").write_text(
        PLAY.replace("dest: copied", f"dest: {directory}/copied").replace("src: copied", f"src: {directory}/copied")
    )
    inventory = {
        "ansible_connection": "xen.driver_domains.xl_console",
        "ansible_python_interpreter": sys.executable,
        "ansible_xl_console_timeout": 60,
        "ansible_remote_tmp": f"{directory}/remote",
        **variables,
    }
    (directory / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {name: inventory}}}))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(directory / "collections"),
        "ANSIBLE_LOCAL_TEMP": str(directory / "local"),
        "ANSIBLE_NOCOLOR": "1",
        "NAME": "from the guest",
        "PATH": f"{directory}/bin:{os.environ['PATH']}",
    }
    environment.pop("ANSIBLE_CONFIG", None)
    done = subprocess.run(
        ["ansible-playbook", "-i", "inventory.yml", "play.yml"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return f"{done.returncode} {done.stdout}{done.stderr}"


def test_ansible_works_over_a_console(tmp_path: Path) -> None:
    """The name of the domain is another one than that of the host."""
    said = play(tmp_path, "web1.xen1", xl_name="web1")
    assert said.startswith("0 "), said
    assert (tmp_path / "fetched").read_bytes() == (tmp_path / "big").read_bytes()


def test_a_domain_that_does_not_run_is_unreachable(tmp_path: Path) -> None:
    said = " ".join(play(tmp_path, "web2").split())
    assert said.startswith("4 "), said
    assert "The console of web2: It ended" in said and "is an invalid domain identifier" in said


def test_a_shell_has_the_time_to_answer_that_the_variable_says(tmp_path: Path) -> None:
    said = " ".join(play(tmp_path, "mute", ansible_xl_console_timeout=2).split())
    assert said.startswith("4 ") and "The console of mute: No shell answered within 2 s" in said, said
