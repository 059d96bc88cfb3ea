# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook that writes the report, run by ansible-playbook: what it finds on the hosts is given, what it does with it is its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from .fakes import fleet

ROOT = Path(__file__).resolve().parents[2]
#: Each host has its own interpreter line, and so its own answers.
MODULE = """#!/usr/bin/python
import json, os
with open(ANSWERS) as answers:
    print(json.dumps({"changed": False, **json.load(answers)[os.environ["XEN_HOST"]][NAME]}))
# WANT_JSON
"""
BROKEN = {"failed": True, "msg": "xenstored does not answer within 20 s"}
WITHOUT_XEN = {**fleet.INFO, "xen": False, "dom0": False, "version": ""}


@pytest.fixture(name="report")
def make_report(tmp_path: Path) -> t.Callable[..., tuple[int, str, Path]]:
    """Runs the playbook: returns its exit code, its output and the path of the page."""
    collection = tmp_path / "collections/ansible_collections/xen/driver_domains"
    (collection / "plugins/modules").mkdir(parents=True)
    for part in ("galaxy.yml", "playbooks", "plugins/filter", "plugins/module_utils"):
        (collection / part).symlink_to(ROOT / part)
    answers = tmp_path / "answers"
    for name in ("xl_info", "xl_domain_info", "driver_domain_doctor"):
        text = MODULE.replace("ANSWERS", repr(str(answers))).replace("NAME", repr(name))
        (collection / "plugins/modules" / f"{name}.py").write_text(text)

    def report(hosts: dict[str, dict[str, t.Any]], *options: str, **variables: t.Any) -> tuple[int, str, Path]:
        answers.write_text(json.dumps(hosts))
        inventory = tmp_path / "inventory.json"
        local = {"ansible_connection": "local", "ansible_become": False, **variables}
        for name in hosts:
            interpreter = tmp_path / f"python-{name}"
            interpreter.write_text(f'#!/bin/sh\nXEN_HOST={name} exec {sys.executable} "$@"\n')
            interpreter.chmod(0o755)
        found = {name: {**local, "ansible_python_interpreter": str(tmp_path / f"python-{name}")} for name in hosts}
        # The first host is the one for which the page is written.
        lost = {"ansible_host": "127.0.0.1", "ansible_port": 9, "ansible_connection": "ssh"}
        inventory.write_text(json.dumps({"xen_hosts": {"hosts": {"xen0": lost, **found}}}))
        page = tmp_path / "page.html"
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
            "ANSIBLE_NOCOLOR": "1",
        }
        environment.pop("ANSIBLE_CONFIG", None)
        result = subprocess.run(
            ["ansible-playbook", f"--inventory={inventory}", "-e", f"report_path={page}", "xen.driver_domains.report", *options],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=600,
            check=False,
        )
        return result.returncode, result.stdout + result.stderr, page

    return report


def answers_of(raw: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return what the modules say about a host."""
    return {"xl_info": raw["info"], "xl_domain_info": raw["domains"], "driver_domain_doctor": raw["doctor"]}


def states(page: str) -> dict[str, str]:
    """Return the state of each host."""
    entries = re.findall(r'<section class="host" id="h\d+" data-s="(\w+)".*?<h2 [^>]*>(\S+) ', page, re.DOTALL)
    return {name: state for state, name in entries}


def test_every_host_is_in_the_page_whatever_became_of_it(report: t.Callable[..., tuple[int, str, Path]]) -> None:
    # A name that would be a template if anything took it for one.
    web = fleet.domain("{{ 6 * 7 }}", 3, fleet.device("vif", 0, "net-dd", 1))
    note = {**fleet.RMRR, "severity": "note"}
    hosts = {
        "xen1": answers_of(fleet.host(fleet.domain("net-dd", 1, status="ready"), web, doctor={"findings": [note]})),
        "xen2": {"xl_info": fleet.INFO, "xl_domain_info": BROKEN, "driver_domain_doctor": BROKEN},
        "xen3": {"xl_info": WITHOUT_XEN, "xl_domain_info": BROKEN},
    }
    code, output, page = report(hosts, driver_domain_domains=[{"name": "net-dd"}, {"name": "off-dd", "state": "stopped"}])
    assert code == 0, output
    text = page.read_text(encoding="utf-8")
    assert states(text) == {"xen1": "good", "xen2": "problem", "xen3": "problem", "xen0": "unreached"}
    assert '(<a href="#k-rmrr">rmrr</a>)' in text
    assert "{{ 6 * 7 }}" in text and "off-dd" not in text
    assert "xenstored does not answer within 20 s" in text and "It does not run Xen" in text
    assert re.search("could not be reached: .*port 9", text)
    assert page.stat().st_mode & 0o777 == 0o600


def test_one_host_is_asked_and_what_should_run_there_is_missed(report: t.Callable[..., tuple[int, str, Path]]) -> None:
    hosts = {name: answers_of(fleet.host()) for name in ("xen1", "xen2")}
    code, output, page = report(hosts, "--limit", "xen2", domu_domains=[{"name": "web1"}])
    assert code == 0, output
    assert states(page.read_text(encoding="utf-8")) == {"xen2": "problem"}
    assert "web1</b>: not running" in page.read_text(encoding="utf-8")
